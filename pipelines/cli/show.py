"""`show`: one message of an archive: its header, its path, its parts, or its octets."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from msgspec import to_builtins

from archiver.errors import ArchiverError, ConfigError, IntegrityError
from archiver.facts.query import Found
from archiver.mail.content import read_header
from archiver.mail.folder_names import printable
from archiver.mail.headers import fields_of
from archiver.mail.parts.mime import Part, Structure, structure_of
from archiver.report.units import size
from pipelines.cli.accounts import load_one
from pipelines.cli.options import config_argument, json_option, terminal_of
from pipelines.cli.references import arrived_text, found_to_record, resolve
from pipelines.cli.streams import failure_of

if TYPE_CHECKING:
    from rich.tree import Tree

    from archiver.account.archive import Archive
    from pipelines.cli.terminal import Terminal

_READ_OCTETS = 1 << 20
#: What people want to see first; --json has every field.
_FIRST = ("from", "sender", "reply-to", "to", "cc", "bcc", "subject", "date", "message-id", "list-id")


@click.command
@config_argument
@click.argument("reference", metavar="REF", help="FOLDER/UID, or 8 or more hex digits of the digest.")
@click.option("--raw", is_flag=True, help="Write the exact message to stdout, and nothing else.")
@json_option
def show(
    config: Path,
    reference: str,
    raw: bool,
    as_json: bool,
) -> int:
    """Show one message of an archive: its decoded header; each folder it is in, with its UID, or since when it is
    gone from there; its date, flags, size and digest; the path of its file; and the tree of its parts.

    With --raw the message is written exactly as the server sent it, whatever its size, for other programs to read.
    Its digest is checked on the way: the exit code is 6 if it is not what was stored.

    REF is what `archiver search` prints: INBOX/17, or the beginning of a digest, which finds the message in any
    folder. The exit code is 2 if REF matches no message, or several. No mail server is contacted.

    \b
      archiver show configs/alice.toml INBOX/17
      archiver show configs/alice.toml 5f2c1a90b3d4e6f7 --raw >message.eml
      archiver show configs/alice.toml "Lists/dovecot/4" --raw | less
    """
    from archiver.account.account import Account

    terminal = terminal_of(as_json)
    if raw and as_json:
        raise ConfigError("show", ["--raw and --json contradict each other"])
    settings = load_one(config, "show")
    account = Account(settings)
    account.fetch_catalog("show", lambda: None)
    with account.reading(with_catalog=True) as archive:
        places = resolve(archive, reference)
        if raw:
            return _write_octets(archive, places[0])
        with archive.store.open(places[0].placement) as file:
            header = read_header(file)
        with archive.store.open(places[0].placement) as file:
            structure = structure_of(file)
        path = archive.store.display_path(places[0].placement)
    fields = [(printable(name), printable(value)) for name, value in fields_of(header)]
    terminal.document(_document(places, path, fields, structure))
    if terminal.tables:
        _show(places, path, fields, structure, terminal)
    return 0


def _write_octets(archive: Archive, found: Found) -> int:
    """Write the exact octets to stdout, and compare their digest with the recorded one on the way.

    Raises:
        IntegrityError: they are not what was stored.
        ArchiverError: they cannot be written completely.
    """
    out = sys.stdout.buffer
    sha256 = hashlib.sha256()
    with archive.store.open(found.placement) as file:
        _copy(file, out, sha256)
    if (failure := failure_of(sys.stdout)) is not None:
        raise ArchiverError(f"standard output: {failure.strerror}", hint="the message was not written completely")
    if sha256.hexdigest() != found.placement.digest:
        problem = f"{archive.store.display_path(found.placement)}: its bytes have the digest {sha256.hexdigest()}"
        raise IntegrityError(problem, hint="restore it from a backup")
    return 0


def _copy(file: BinaryIO, out: BinaryIO, sha256: Any) -> None:
    while octets := file.read(_READ_OCTETS):
        sha256.update(octets)
        out.write(octets)
    out.flush()


def _document(
    places: Sequence[Found], path: str, fields: Sequence[tuple[str, str]], structure: Structure
) -> dict[str, Any]:
    return {
        "format": "archiver-show/1",
        **found_to_record(places[0]),
        "path": printable(path),
        "also": [found_to_record(each) for each in places[1:]],
        "fields": fields,
        "structure": _part_to_record(structure.root),
        "structure_complete": structure.complete,
        "exit_code": 0,
    }


def _part_to_record(part: Part) -> dict[str, Any]:
    return {
        name: printable(value) if isinstance(value, str) else value
        for name, value in to_builtins(part).items()
        if name not in ("parts", "start")  # where it lies is nothing for people
    } | {"parts": [_part_to_record(each) for each in part.parts]}


def _show(
    places: Sequence[Found],
    path: str,
    fields: Sequence[tuple[str, str]],
    structure: Structure,
    terminal: Terminal,
) -> None:
    from rich.text import Text

    from pipelines.show.tables import plain_table

    out, place = terminal.out, places[0].placement
    shown = [(name, value) for name, value in fields if name.lower() in _FIRST]
    for name, value in shown:
        out.say(f"{name}: {value}")
    if len(shown) < len(fields):
        out.say(f"and {len(fields) - len(shown):,} more header fields; --json or --raw shows them", "dim")
    out.print()
    facts = plain_table("", "", left=2)
    facts.show_header = False
    for each in places:
        facts.add_row("folder", Text(f"{printable(each.folder)}, {_standing(each)}"))
    facts.add_row("arrived", Text(printable(place.message.internaldate or arrived_text(place.arrived))))
    facts.add_row("flags", Text(printable(" ".join(sorted(place.flags)) or "none")))
    if any(each.placement.message.labels is not None for each in places):
        labels = sorted(frozenset().union(*(each.placement.message.labels or () for each in places)))
        facts.add_row("labels", Text(printable(", ".join(labels) or "none")))
    facts.add_row("size", f"{place.size:,} bytes")
    facts.add_row("digest", place.digest)
    facts.add_row("path", Text(printable(path)))
    out.table(facts)
    out.print()
    out.table(_tree(structure.root))
    if not structure.complete:
        out.say("not all parts are shown: there are too many, or they are nested too deeply", "yellow")


def _standing(found: Found) -> str:
    place = found.placement
    where = f"uid {place.uid}, uidvalidity {place.uidvalidity}"
    if found.gone_at is None:
        return f"{where}, present"
    return f"{where}, gone since {found.gone_at}" + ("" if found.is_current else " (its epoch ended)")


def _tree(part: Part, tree: Tree | None = None) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    words = [part.type, part.charset, part.encoding, size(part.size), part.filename and f'"{part.filename}"']
    label = Text(printable("  ".join(word for word in words if word)))
    branch = Tree(label) if tree is None else tree.add(label)
    for each in part.parts:
        _tree(each, branch)
    return branch
