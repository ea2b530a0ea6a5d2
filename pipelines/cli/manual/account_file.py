"""archiver.toml(5): the account file, from what docs/configuration.md has of its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipelines.cli.manual import roff
from pipelines.cli.manual.pages import Edition, items
from pipelines.cli.manual.words import FILES

_DESCRIPTION = """\
An account file is TOML, one for each account of archiver(1). It may have any name that ends with .toml: the rest of
the name is the account's. `archiver init` writes one with comments. All mistakes in one are named together, and
`archiver check` shows what follows from it.

Relative paths are relative to the file. {account} in any text stands for the account's name.

Give a folder in place of a file: all account files in it, and in its subfolders, are accounts. What they have in
common goes into a file defaults.toml in the folder. The account's own file wins over it, key by key, and a
defaults.toml in a subfolder wins over that of the folder above.
"""
_EXAMPLE = """\
[source]
host = "imap.example.org"
user = "alice@example.org"
password = { file = "passwords/alice" }

[archive]
path = "/srv/mail-archive/{account}"

[destination]                           # only if the account moves there
host = "imap.example.net"
user = "alice@example.net"
password = { env = "ALICE_NEW_PASSWORD" }

[folders]
exclude = ["Junk", "Public/*"]
"""


def page_of_account_file(configuration: str, edition: Edition) -> str:
    """archiver.toml(5). `configuration` is the text of docs/configuration.md."""
    return roff.page(
        [
            *edition.heading("archiver.toml", 5),
            roff.section("NAME"),
            r"archiver.toml \- an account of archiver(1)",
            roff.section("DESCRIPTION"),
            *roff.paragraphs(_DESCRIPTION),
            roff.section("PASSWORDS"),
            *roff.paragraph("A password is never in an account file, only where it is:"),
            *(line for cells in _rows(configuration, "## Passwords") for line in _reference(cells)),
            roff.section("KEYS"),
            *_keys(_rows(configuration, "## Keys")),
            roff.section("FILES"),
            *items(FILES),
            roff.section("EXAMPLES"),
            *roff.lines(_EXAMPLE.splitlines()),
            roff.section("SEE ALSO"),
            ",\n".join(f"{roff.bold(name)}(1)" for name in ("archiver", "archiver-init", "archiver-check")),
        ]
    )


def _rows(document: str, heading: str) -> Iterator[list[str]]:
    """The cells of the first table below a heading."""
    _, _, below = document.partition(f"\n{heading}\n")
    table = [line for line in below.split("\n## ")[0].splitlines() if line.startswith("|")]
    for line in table[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def _reference(cells: Sequence[str]) -> list[str]:
    reference, words = cells
    return roff.item(roff.bold(reference.strip("`")), f"The password is {_without_links(words)}.")


def _keys(rows: Iterator[list[str]]) -> Iterator[str]:
    table = None
    for words, default, meaning in rows:
        ((of, name),) = re.findall(r"`\[([\w.]+)\] (\w+)`", words)
        if of != table:
            table = of
            yield roff.subsection(f"[{of}]")
        default = default.strip("`")
        tag = roff.bold(name) + (f" = {roff.verbatim(default)}" if default not in ("none", "required") else "")
        text = _without_links(meaning)
        required = "Required. " if default == "required" else ""
        yield from roff.item(tag, f"{required}{text[:1].upper()}{text[1:]}.")


def _without_links(words: str) -> str:
    """Links as the name of the document that they lead to."""
    return re.sub(r"\[([^]]+)\]\(([^)#]*)[^)]*\)", _link, words).rstrip(".")


def _link(found: re.Match[str]) -> str:
    text, target = found.groups()
    document = f"docs/{target or 'configuration.md'}".removeprefix("docs/../")
    return document if document.endswith(f"/{text}") else f"{text} ({document})"
