"""archiver(1), and archiver-VERB(1) for each verb."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from pipelines.cli.manual import roff
from pipelines.cli.manual.verbs import Argument, Line, Option, Verb
from pipelines.cli.manual.words import ARCHIVE_FILES, ENVIRONMENT, FILES

_NAME = "archive and migrate mail accounts exactly, incrementally and provably"
_DESCRIPTION = """\
`archiver` copies mail accounts into archives: over IMAP, over POP3 or from files, byte for byte, into a
Maildir that any mail program reads, or into a bucket. Each run fetches what is new. An account with a
destination is brought up to date there, too, from the archive, and every copy is compared.

The source is never changed, but by `archiver restore`, which only adds to it, and by `archiver prune`, which
removes from it what the archive has. What was deleted at the source stays in the archive. A run may be
stopped at any moment: the next one goes on, and nothing arrives twice.

Each verb has a page of its own: `man archiver-run`, or `archiver run --help`. CONFIG is an account file, or a
folder of account files with its subfolders: see archiver.toml(5).
"""
_ANY_OPTION = f"[{roff.italic('OPTION')} ...]"
_FIRST_STEPS = (
    "archiver init configs/alice.toml    # write an account file",
    "archiver check configs/alice.toml   # log in and look; changes nothing",
    "archiver run configs/alice.toml     # archive it, and replay it if there is a destination",
    "archiver status configs/            # what the archives hold",
    "archiver search configs/alice.toml --from bob --since 2025",
)


class Edition(Struct, frozen=True):
    """What the pages have in common: the version that they are of, the day on which they were made, and the exit
    codes of all verbs."""

    version: str
    day: str
    exit_codes: Mapping[int, str]

    def heading(self, title: str, number: int) -> list[str]:
        name, of = (
            roff.verbatim(f"mail-archiver {self.version}"),
            "User Commands" if number == 1 else "File Formats",
        )
        return [
            r".\" Made from the program's own help; changes belong there.",
            f'.TH {roff.verbatim(title.upper())} {number} {self.day} "{name}" "{of}"',
            ".ad l",
        ]


def page_of_program(verbs: Iterable[Verb], options: Iterable[Option], edition: Edition) -> str:
    """archiver(1)."""
    return roff.page(
        [
            *edition.heading("archiver", 1),
            roff.section("NAME"),
            "archiver \\-",
            *roff.text(_NAME),
            roff.section("SYNOPSIS"),
            " ".join((roff.bold("archiver"), roff.italic("VERB"), _ANY_OPTION, roff.italic("CONFIG"), "...")),
            ".br",
            f"{roff.bold('archiver')} {roff.bold('--help')} | {roff.bold('--version')}",
            roff.section("DESCRIPTION"),
            *roff.paragraphs(_DESCRIPTION),
            roff.section("COMMANDS"),
            *(
                line
                for each in verbs
                for line in roff.item(_reference(f"archiver-{each.name}", 1), f"{each.line}.")
            ),
            roff.section("OPTIONS"),
            *(line for option in options for line in _option(option)),
            *_exit_status(edition.exit_codes),
            *_environment(),
            *_files(),
            roff.section("EXAMPLES"),
            *roff.lines(_FIRST_STEPS),
            *_see_also([("archiver.toml", 5), *((f"archiver-{each.name}", 1) for each in verbs)]),
        ]
    )


def page_of_verb(verb: Verb, verbs: Iterable[Verb], edition: Edition) -> str:
    """archiver-VERB(1). The page refers to those of `verbs` that name this one, or that it names."""
    name = f"archiver-{verb.name}"
    others = [(f"archiver-{each.name}", 1) for each in verbs if _names(each, verb) or _names(verb, each)]
    return roff.page(
        [
            *edition.heading(name, 1),
            roff.section("NAME"),
            f"{roff.verbatim(name)} \\-",
            *roff.text(_lower(verb.line)),
            roff.section("SYNOPSIS"),
            " ".join(_synopsis(verb)),
            roff.section("DESCRIPTION"),
            *(line for block in verb.text for line in _block(block)),
            *_arguments(verb.arguments),
            roff.section("OPTIONS"),
            *(line for option in verb.options for line in _option(option)),
            *_exit_status(edition.exit_codes),
            *_environment(),
            *_files(),
            roff.section("EXAMPLES"),
            *roff.lines(map(_with_comment, verb.examples)),
            *_see_also([("archiver", 1), *others, ("archiver.toml", 5)]),
        ]
    )


def items(entries: Mapping[str, str]) -> Iterator[str]:
    """A list of names that stand for themselves."""
    for name, words in entries.items():
        yield from roff.item(roff.bold(name), words)


def _synopsis(verb: Verb) -> Iterator[str]:
    yield roff.bold("archiver")
    yield roff.bold(verb.name)
    yield _ANY_OPTION
    for each in verb.arguments:
        name = re.sub(r"\W", "", each.metavar)
        many = " ..." if "..." in each.metavar else ""
        yield f"[{roff.italic(name)}{many}]" if each.metavar.startswith("[") else f"{roff.italic(name)}{many}"


def _block(block: str | tuple[Line, ...]) -> list[str]:
    return roff.paragraph(block) if isinstance(block, str) else roff.lines(block)


def _arguments(arguments: Iterable[Argument]) -> Iterator[str]:
    for each in arguments:
        yield from roff.item(roff.italic(re.sub(r"\W", "", each.metavar)), each.help)


def _option(option: Option) -> list[str]:
    names = ", ".join(map(roff.bold, option.names))
    value = "" if option.metavar is None else f" {_value(option.metavar)}"
    default = "" if option.default is None else f" Default: {option.default}."
    return roff.item(f"{names}{value}", option.help + default)


def _value(metavar: str) -> str:
    """[text|json] as words to choose from, FILE as something to put in."""
    if metavar.startswith("["):
        return "|".join(map(roff.bold, metavar.strip("[]").split("|")))
    return roff.italic(metavar)


def _exit_status(codes: Mapping[int, str]) -> Iterator[str]:
    yield roff.section("EXIT STATUS")
    for code, words in codes.items():
        name = roff.bold(str(code)) if code < 128 else f"{roff.bold('128')}+{roff.italic('N')}"
        yield from roff.item(name, f"{words[:1].upper()}{words[1:]}.")
    yield from roff.paragraph(
        "With several accounts the worst counts, in the order 1, 6, 8, 2, 5, 4, 3, 7, 75; a signal before all."
    )


def _environment() -> Iterator[str]:
    yield roff.section("ENVIRONMENT")
    yield from items(ENVIRONMENT)


def _files() -> Iterator[str]:
    yield roff.section("FILES")
    yield from items(FILES)
    yield from roff.paragraph("In an archive, below the path that the account file names:")
    yield from items(ARCHIVE_FILES)


def _see_also(pages: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield roff.section("SEE ALSO")
    yield ",\n".join(_reference(*each) for each in pages)


def _reference(name: str, number: int) -> str:
    return f"{roff.bold(name)}({number})"


def _names(one: Verb, other: Verb) -> bool:
    return one != other and f"archiver {other.name}" in f"{one.text} {one.examples}"


def _with_comment(line: Line) -> Line:
    """An example whose comment a shell takes for one: in the help it is only set apart."""
    found = re.fullmatch(r"(archiver .*?\S)( {2,})(\S.*)", line)
    return line if found is None else f"{found[1]}{found[2]}# {found[3]}"


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]
