"""A search as a statement.

A header's text is compared by the function `folded`, which each connection has, because SQLite's LIKE ignores case
only for ASCII letters. The messages that match are found first, reading only the columns that the query needs, and
only those that are shown are read completely.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from msgspec import Struct

from archiver.catalog.sqlite.reading import (
    IS_PRESENT,
    MESSAGES,
    PLACE,
    FlagSets,
    folder_name,
    json_list,
    placement,
)
from archiver.facts.query import Found, Query
from archiver.facts.replica import MessageKey
from archiver.mail.headers import folded
from archiver.mail.model import IMPORTED, Headers

HEADERS = "header.sender, header.recipients, header.subject, header.sent"
_SHOWN = f"""folder.path, coalesce(message.vanished_at, epoch.ended_at), epoch.ended_at, epoch.number,
            {HEADERS}, {PLACE}"""
_NEWEST = "message.arrived DESC, message.epoch, message.uid DESC"
_SYSTEM_FLAGS = frozenset({"answered", "flagged", "deleted", "seen", "draft"})
_ITS_HEADER = "EXISTS (SELECT 1 FROM header WHERE header.digest = message.digest AND"
_HOLDING = "message.digest IN (SELECT header.digest FROM header WHERE"


class Among(Protocol):
    """Among which messages is searched, and so in which order the tables are read."""

    @property
    def tables(self) -> str:
        """The tables `message` and `epoch`, joined."""

    def limits(self) -> Iterator[tuple[str, Sequence[Any]]]:
        """What holds for the messages themselves: conditions with their parameters."""

    def where(self, condition: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """The messages whose headers meet `condition`, with the parameters."""


class All(Struct, frozen=True):
    """All messages: the headers are read once, from the beginning to the end."""

    tables: str = "message JOIN epoch ON epoch.number = message.epoch"

    def limits(self) -> Iterator[tuple[str, Sequence[Any]]]:
        yield from ()

    def where(self, condition: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return f"{_HOLDING} {condition})", values


class WithHeaders(Struct, frozen=True):
    """Those with one of these headers, or with one whose number is higher than `covered`."""

    numbers: Sequence[int]
    covered: int
    tables: str = All().tables

    def limits(self) -> Iterator[tuple[str, Sequence[Any]]]:
        yield from ()  # `where` is enough: there is a text

    def where(self, condition: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        among = "header.id IN (SELECT value FROM json_each(?)) OR header.id > ?"
        return f"{_HOLDING} ({among}) AND {condition})", [json_list(self.numbers), self.covered, *values]


class Newest(Struct, frozen=True):
    """Those that arrived at `since` or later, the newest first, until enough are found."""

    since: int
    tables: str = "message INDEXED BY ix_message_arrived CROSS JOIN epoch ON epoch.number = message.epoch"

    def limits(self) -> Iterator[tuple[str, Sequence[Any]]]:
        yield "message.arrived >= ?", (self.since,)

    def where(self, condition: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return f"{_ITS_HEADER} {condition})", values


class WithDigests(Struct, frozen=True):
    """Those of these digests."""

    digests: Sequence[str]
    tables: str = All().tables

    def limits(self) -> Iterator[tuple[str, Sequence[Any]]]:
        yield "message.digest IN (SELECT value FROM json_each(?))", (json_list(self.digests),)

    def where(self, condition: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return f"{_ITS_HEADER} {condition})", values


def finding(query: Query, among: Among) -> tuple[str, Sequence[Any]]:
    """A statement and its parameters, for the messages that match `query`, newest arrival first."""
    chosen, values = choosing(query, among)
    statement = f"""
        SELECT {_SHOWN} FROM {MESSAGES}
        JOIN ({chosen} LIMIT ?) AS chosen ON chosen.epoch = message.epoch AND chosen.uid = message.uid
        LEFT JOIN header ON header.digest = message.digest
        ORDER BY {_NEWEST}
        """
    return statement, [*values, query.limit]


def choosing(query: Query, among: Among) -> tuple[str, Sequence[Any]]:
    """The same for their epoch, UID, digest and arrival alone, without the limit and without what is inside of
    them."""
    conditions, values = zip(*among.limits(), *_conditions(query, among), strict=True)
    statement = f"""
        SELECT message.epoch, message.uid, message.digest, message.arrived FROM {among.tables}
        WHERE {" AND ".join(conditions)} ORDER BY {_NEWEST}
        """
    return statement, [value for each in values for value in each]


def showing(keys: Sequence[MessageKey]) -> tuple[str, Sequence[Any]]:
    """The same as `finding` for the messages of these epochs and UIDs."""
    statement = f"""
        SELECT {_SHOWN} FROM json_each(?) AS its CROSS JOIN {MESSAGES}
        LEFT JOIN header ON header.digest = message.digest
        WHERE message.epoch = json_extract(its.value, '$[0]') AND message.uid = json_extract(its.value, '$[1]')
        ORDER BY {_NEWEST}
        """
    return statement, [json_list(keys)]


def found_of(row: Sequence[Any], sets: FlagSets) -> Found:
    """From a row of `finding` or `showing`."""
    path, gone_at, ended_at, epoch, *rest = row
    headers = None if rest[0] is None else Headers(*rest[:4])
    place = placement(rest[4:], sets)
    return Found(folder_name(path), place, gone_at, ended_at is None, headers, epoch)


def _conditions(query: Query, among: Among) -> Iterator[tuple[str, Sequence[Any]]]:
    """Each with its parameters."""
    yield IS_PRESENT if not query.vanished else f"(epoch.ended_at IS NULL OR NOT {_IS_STILL_THERE})", ()
    if query.gone:
        yield f"(message.vanished_at IS NOT NULL OR epoch.ended_at IS NOT NULL OR epoch.folder IN ({_GONE}))", ()
    if query.folders is not None:
        yield "epoch.folder IN (SELECT value FROM json_each(?))", (json_list(query.folders),)
    if query.uid is not None:
        yield "message.uid = ?", (query.uid,)
    yield from _bounds(query)
    for flag in query.flagged:
        yield _has_flag(flag)
    for flag in query.unflagged:
        condition, values = _has_flag(flag)
        yield f"NOT {condition}", values
    for label in query.labels:
        yield _has_label(label)
    if query.message_id is not None:
        bare = query.message_id.removeprefix("<").removesuffix(">")
        yield "message.message_id IN (?, ?, ?)", (query.message_id, bare, f"<{bare}>")
    if texts := list(_texts(query)):
        yield among.where(" AND ".join(condition for condition, _ in texts), [v for _, vs in texts for v in vs])


def _bounds(query: Query) -> Iterator[tuple[str, Sequence[Any]]]:
    if query.since is not None:
        yield "message.arrived >= ?", (query.since,)
    if query.before is not None:
        yield "message.arrived < ?", (query.before,)
    if query.larger is not None:
        yield "message.size > ?", (query.larger,)
    if query.smaller is not None:
        yield "message.size < ?", (query.smaller,)
    if query.digest is not None:
        # All hex digits come before "g".
        yield "message.digest >= ? AND message.digest < ?", (query.digest, query.digest + "g")


def _texts(query: Query) -> Iterator[tuple[str, Sequence[Any]]]:
    by_column = {"sender": query.sender, "recipients": query.recipients, "subject": query.subject}
    for column, text in by_column.items():
        if text is not None:
            yield _holds(column), (folded(text),)
    if query.text is not None:
        yield f"({' OR '.join(map(_holds, by_column))})", [folded(query.text)] * len(by_column)


def _holds(column: str) -> str:
    return f"instr(folded(header.{column}), ?)"


def texts_of(query: Query) -> Sequence[str]:
    """The texts that are searched for, as they are compared."""
    asked = (query.sender, query.recipients, query.subject, query.text)
    return [folded(text) for text in asked if text is not None]


def _has_flag(flag: str) -> tuple[str, Sequence[Any]]:
    """`Seen` is the system flag, too. The column is JSON, so a flag in quotes is a whole one."""
    names = [flag, f"\\{flag}"] if flag.lower() in _SYSTEM_FLAGS else [flag]
    condition = " OR ".join("instr(lower(message.flags), lower(?))" for _ in names)
    return f"({condition})", [json.dumps(name) for name in names]


def _has_label(label: str) -> tuple[str, Sequence[Any]]:
    """`Inbox` is the system label, too."""
    names = [label] if label.startswith("\\") else [label, f"\\{label}"]
    condition = " OR ".join("instr(lower(coalesce(message.labels, '')), lower(?))" for _ in names)
    return f"({condition})", [json.dumps(name) for name in names]


#: Folders that the source no longer has, or never had, so that their mail counts as present for ever. Their
#: attributes are JSON.
_IMPORTED = json.dumps(IMPORTED).replace("'", "''")
_GONE = f"""
SELECT number FROM folder WHERE gone_at IS NOT NULL OR NOT listed OR instr(attributes, '{_IMPORTED}')
"""

#: Whether a message of an ended epoch is still in its folder, under another UID.
_IS_STILL_THERE = """EXISTS (
    SELECT 1 FROM message AS other JOIN epoch AS current ON current.number = other.epoch
    WHERE other.digest = message.digest AND other.vanished_at IS NULL
    AND current.folder = epoch.folder AND current.ended_at IS NULL
)"""
