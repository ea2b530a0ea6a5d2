"""Searches messages in the catalog's database.

A header's text is compared by the function `folded`, which each connection has, because SQLite's LIKE ignores case
only for ASCII letters. The table of headers is read once, the messages that match are found by their digest, and
only those that are shown are read completely.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import (
    IS_PRESENT,
    MESSAGES,
    PLACE,
    FlagSets,
    any_of,
    folder_name,
    json_list,
    placement,
)
from archiver.facts.query import Found, Query, Unindexed
from archiver.facts.replica import MessageKey
from archiver.mail.headers import folded
from archiver.mail.model import Digest, Headers

_HEADERS = "header.sender, header.recipients, header.subject, header.sent"
_OF_DIGESTS = f"SELECT header.digest, {_HEADERS} FROM header WHERE header.digest IN {any_of('digests')}"
_IS_UNKNOWN = "NOT EXISTS (SELECT 1 FROM header WHERE header.digest = message.digest)"
_UNINDEXED = f"""
SELECT message.epoch, {PLACE} FROM {MESSAGES}
WHERE (message.epoch, message.uid) > (?, ?) AND {_IS_UNKNOWN}
ORDER BY message.epoch, message.uid LIMIT ?
"""
_COUNT_UNINDEXED = f"SELECT count(DISTINCT message.digest) FROM message WHERE {_IS_UNKNOWN}"
_NEWEST = "message.arrived DESC, message.epoch, message.uid DESC"
_SYSTEM_FLAGS = frozenset({"answered", "flagged", "deleted", "seen", "draft"})


class SqlMessageIndex:
    """The index that searches use; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def headers(self, digests: Collection[Digest]) -> Mapping[Digest, Headers]:
        """The recorded headers of the messages with these digests."""
        with self._database.reading() as connection:
            rows = connection.execute(_OF_DIGESTS, {"digests": json_list(digests)})
            return {digest: Headers(*texts) for digest, *texts in rows}

    def find(self, query: Query) -> Sequence[Found]:
        """The messages that match `query`, newest arrival first."""
        sets = FlagSets()
        statement, parameters = _finding(query)
        with self._database.reading() as connection:
            return [_found(row, sets) for row in connection.execute(statement, parameters)]

    def unindexed(self, after: MessageKey, limit: int) -> Sequence[Unindexed]:
        """The next messages after `after`, by epoch and UID, whose headers are not recorded."""
        sets = FlagSets()
        with self._database.reading() as connection:
            rows = connection.execute(_UNINDEXED, (*after, limit))
            places = [(epoch, placement(row, sets)) for epoch, *row in rows]
        return [Unindexed((epoch, place.uid), place) for epoch, place in places]

    def count_unindexed(self) -> int:
        """How many digests have no recorded headers."""
        with self._database.reading() as connection:
            return int(connection.execute(_COUNT_UNINDEXED).fetchone()[0])


def _finding(query: Query) -> tuple[str, Sequence[Any]]:
    """A statement and its parameters. It selects the rows that are shown first, reading only the columns that the
    query needs."""
    conditions, values = zip(*_conditions(query), strict=True)
    statement = f"""
        SELECT folder.path, coalesce(message.vanished_at, epoch.ended_at), epoch.ended_at, {_HEADERS}, {PLACE}
        FROM {MESSAGES}
        JOIN (
            SELECT message.epoch, message.uid FROM message JOIN epoch ON epoch.number = message.epoch
            WHERE {" AND ".join(conditions)} ORDER BY {_NEWEST} LIMIT ?
        ) AS chosen ON chosen.epoch = message.epoch AND chosen.uid = message.uid
        LEFT JOIN header ON header.digest = message.digest
        ORDER BY {_NEWEST}
        """
    return statement, [*(value for each in values for value in each), query.limit]


def _found(row: Sequence[Any], sets: FlagSets) -> Found:
    path, gone_at, ended_at, *rest = row
    headers = None if rest[0] is None else Headers(*rest[:4])
    place = placement(rest[4:], sets)
    return Found(folder_name(path), place, gone_at, ended_at is None, headers)


def _conditions(query: Query) -> Iterator[tuple[str, Sequence[Any]]]:
    """Each with its parameters."""
    yield IS_PRESENT if not query.vanished else f"(epoch.ended_at IS NULL OR NOT {_IS_STILL_THERE})", ()
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
    if query.message_id is not None:
        bare = query.message_id.removeprefix("<").removesuffix(">")
        yield "message.message_id IN (?, ?, ?)", (query.message_id, bare, f"<{bare}>")
    if texts := list(_texts(query)):
        conditions = " AND ".join(condition for condition, _ in texts)
        found = f"message.digest IN (SELECT header.digest FROM header WHERE {conditions})"
        yield found, [value for _, values in texts for value in values]


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


def _has_flag(flag: str) -> tuple[str, Sequence[Any]]:
    """`Seen` is the system flag, too. The column is JSON, so a flag in quotes is a whole one."""
    names = [flag, f"\\{flag}"] if flag.lower() in _SYSTEM_FLAGS else [flag]
    condition = " OR ".join("instr(lower(message.flags), lower(?))" for _ in names)
    return f"({condition})", [json.dumps(name) for name in names]


#: Whether a message of an ended epoch is still in its folder, under another UID.
_IS_STILL_THERE = """EXISTS (
    SELECT 1 FROM message AS other JOIN epoch AS current ON current.number = other.epoch
    WHERE other.digest = message.digest AND other.vanished_at IS NULL
    AND current.folder = epoch.folder AND current.ended_at IS NULL
)"""
