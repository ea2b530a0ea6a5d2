"""The options that say which messages are meant, by headers and contents, and the query that they make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec import Struct
from msgspec.structs import replace

from archiver.errors import ConfigError
from archiver.facts.query import Found, Query
from archiver.mail.folder_names import matches
from pipelines.cli.references import Named

if TYPE_CHECKING:
    from archiver.account.archive import Archive

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKmMgG]?)[bB]?")
_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}

_FOLDER = click.option(
    "--folder", multiple=True, metavar="GLOB", help='Only in these folders, like "Lists/*"; repeatable.'
)
_SENDER = click.option("--from", "sender", metavar="TEXT", help="Part of the sender.")
_OTHERS = (
    click.option("--subject", metavar="TEXT", help="Part of the subject."),
    click.option("--text", metavar="TEXT", help="Part of the sender, the recipients or the subject."),
    click.option("--since", metavar="DATE", help="Arrived on that day or later, like 2026-01-05."),
    click.option("--before", metavar="DATE", help="Arrived before that day."),
    click.option("--larger", metavar="SIZE", help="Larger than this, like 5M or 300k."),
    click.option("--smaller", metavar="SIZE", help="Smaller than this."),
    click.option(
        "--flag", multiple=True, metavar="FLAG", help="Has this flag, like Seen or $Forwarded; repeatable."
    ),
    click.option("--unflagged", multiple=True, metavar="FLAG", help="Does not have this flag; repeatable."),
    click.option(
        "--label", multiple=True, metavar="LABEL", help="Has this label of Gmail, like Inbox; repeatable."
    ),
    click.option("--message-id", metavar="ID", help="Its whole Message-ID, with or without <>."),
)

_INSIDE = (
    click.option("--body", metavar="TEXT", help='Part of its text; needs [search] index = "text".'),
    click.option(
        "--attachment", metavar="NAME", help='Part of the name of an attachment; needs [search] index = "text".'
    ),
    click.option(
        "--has",
        multiple=True,
        type=click.Choice(["attachment"]),
        help='Something is attached; needs [search] index = "text".',
    ),
)


def matching_options(verb: _Function) -> _Function:
    """The options as `search` has them."""
    recipient = click.option(
        "--to", "--recipient", "recipients", metavar="TEXT", help="Part of the recipients: To, Cc, Bcc."
    )
    return _with(verb, (_FOLDER, _SENDER, recipient, *_OTHERS, *_INSIDE))


def choosing_options(verb: _Function) -> _Function:
    """The same for a verb whose `--to` means something else."""
    recipient = click.option(
        "--recipient", "recipients", metavar="TEXT", help="Part of the recipients: To, Cc, Bcc."
    )
    return _with(verb, (_FOLDER, _SENDER, recipient, *_OTHERS))


def _with(verb: _Function, options: Sequence[Callable[[_Function], _Function]]) -> _Function:
    for option in reversed(options):
        verb = option(verb)
    return verb


class Selection(Struct, frozen=True):
    """The messages that a command line means: those that are named, or else those that match the query, in these
    folders."""

    named: Sequence[Named]
    query: Query | None
    folders: Sequence[str]

    def find(self, archive: Archive) -> Sequence[Sequence[Found]]:
        """The places of each message, the one that is meant first; of a match that place alone.

        Raises:
            ConfigError: a name means no message, or several; or there is no such folder.
        """
        if self.query is None:
            return [each.places(archive) for each in self.named]
        query = in_folders(archive, self.query, self.folders)
        if query is None:
            hint = "`archiver status` lists the folders"
            raise ConfigError("--folder", ["matches no folder of the archive"], hint=hint)
        return [[each] for each in archive.catalog.index.find(query)]


def query_of(matching: Mapping[str, Any], *, vanished: bool, limit: int, gone: bool = False) -> Query:
    """The query that the values of these options make, without the folders.

    Raises:
        ConfigError: one of them is not what it should be.
    """
    return Query(
        sender=matching["sender"],
        recipients=matching["recipients"],
        subject=matching["subject"],
        text=matching["text"],
        since=_moment("--since", matching["since"]),
        before=_moment("--before", matching["before"]),
        larger=_octets("--larger", matching["larger"]),
        smaller=_octets("--smaller", matching["smaller"]),
        flagged=tuple(matching["flag"]),
        unflagged=tuple(matching["unflagged"]),
        labels=tuple(matching["label"]),
        message_id=matching["message_id"],
        vanished=vanished,
        gone=gone,
        limit=limit,
        body=matching.get("body"),
        attachment=matching.get("attachment"),
        attached="attachment" in matching.get("has", ()),
    )


def in_folders(archive: Archive, query: Query, globs: Sequence[str]) -> Query | None:
    """The query with the numbers of the folders that match; None if there is no such folder."""
    if not globs:
        return query
    known = archive.catalog.account.folders().values()
    numbers = {each.number for each in known if matches(each.folder.path, globs)}
    return replace(query, folders=numbers) if numbers else None


def _moment(option: str, text: str | None) -> int | None:
    """The start of a year, month, day or minute, in seconds since 1970; local time unless it names a zone."""
    if text is None:
        return None
    whole = {4: f"{text}-01-01", 7: f"{text}-01"}.get(len(text), text)
    try:
        return int(datetime.fromisoformat(whole).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        hint = 'write it like "2026-01-05", "2026-01" or "2026-01-05T13:30"'
        raise ConfigError(option, [f'"{text}" is not a date'], hint=hint) from error


def _octets(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(option, [f'"{text}" is not a size'], hint='write it like "300k", "5M" or "1.5G"')
    return int(float(match[1]) * _FACTORS[match[2].lower()])
