"""Searches messages in the catalog's database.

A header's text is compared by the function `folded`, which each connection has, because SQLite's LIKE ignores case
only for ASCII letters. The table of headers is read once, the messages that match are found by their digest, and
only those that are shown are read completely.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, Select, and_, exists, func, not_, or_, select, tuple_

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import IS_PRESENT, PLACE, FlagSets, folder_name, of_messages, parts, placement
from archiver.catalog.sqlite.schema import EPOCH, FOLDER, HEADER, MESSAGE
from archiver.facts.query import Found, Query, Unindexed
from archiver.facts.replica import MessageKey
from archiver.mail.headers import folded
from archiver.mail.model import Digest, Headers

_HEADERS = (HEADER.c.sender, HEADER.c.recipients, HEADER.c.subject, HEADER.c.sent)
_SYSTEM_FLAGS = frozenset({"answered", "flagged", "deleted", "seen", "draft"})


class SqlMessageIndex:
    """The index that searches use; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def headers(self, digests: Collection[Digest]) -> Mapping[Digest, Headers]:
        """The recorded headers of the messages with these digests."""
        rows = select(HEADER.c.digest, *_HEADERS)
        with self._database.reading() as connection:
            return {
                digest: Headers(*texts)
                for part in parts(HEADER.c.digest, digests)
                for digest, *texts in connection.execute(rows.where(part))
            }

    def find(self, query: Query) -> Sequence[Found]:
        """The messages that match `query`, newest arrival first."""
        sets = FlagSets()
        with self._database.reading() as connection:
            return [_found(row, sets) for row in connection.execute(_finding(query))]

    def unindexed(self, after: MessageKey, limit: int) -> Sequence[Unindexed]:
        """The next messages after `after`, by epoch and UID, whose headers are not recorded."""
        sets = FlagSets()
        later = tuple_(MESSAGE.c.epoch, MESSAGE.c.uid) > tuple_(*after)
        rows = of_messages(MESSAGE.c.epoch, *PLACE).where(later, _UNKNOWN)
        rows = rows.order_by(MESSAGE.c.epoch, MESSAGE.c.uid).limit(limit)
        with self._database.reading() as connection:
            places = [(row[0], placement(row[1:], sets)) for row in connection.execute(rows)]
        return [Unindexed((epoch, place.uid), place) for epoch, place in places]

    def count_unindexed(self) -> int:
        """How many digests have no recorded headers."""
        with self._database.reading() as connection:
            return int(connection.scalar(select(func.count(MESSAGE.c.digest.distinct())).where(_UNKNOWN)) or 0)


_UNKNOWN = not_(exists().where(HEADER.c.digest == MESSAGE.c.digest))


def _finding(query: Query) -> Select[*tuple[Any, ...]]:
    """Selects the rows that are shown first, reading only the columns that the query needs."""
    newest = (MESSAGE.c.arrived.desc(), MESSAGE.c.epoch, MESSAGE.c.uid.desc())
    chosen = (
        select(MESSAGE.c.epoch, MESSAGE.c.uid)
        .join(EPOCH, EPOCH.c.number == MESSAGE.c.epoch)
        .where(*_conditions(query))
        .order_by(*newest)
        .limit(query.limit)
        .subquery()
    )
    columns = (FOLDER.c.path, _GONE_AT, EPOCH.c.ended_at)
    return (
        of_messages(*columns, *_HEADERS, *PLACE)
        .join(chosen, and_(chosen.c.epoch == MESSAGE.c.epoch, chosen.c.uid == MESSAGE.c.uid))
        .outerjoin(HEADER, HEADER.c.digest == MESSAGE.c.digest)
        .order_by(*newest)
    )


_GONE_AT = func.coalesce(MESSAGE.c.vanished_at, EPOCH.c.ended_at)


def _found(row: Row[*tuple[Any, ...]], sets: FlagSets) -> Found:
    path, gone_at, ended_at, *rest = row
    headers = None if rest[0] is None else Headers(*rest[:4])
    place = placement(rest[4:], sets)
    return Found(folder_name(path), place, gone_at, ended_at is None, headers)


def _conditions(query: Query) -> Iterator[ColumnElement[bool]]:
    yield IS_PRESENT if not query.vanished else or_(EPOCH.c.ended_at.is_(None), not_(_IS_STILL_THERE))
    if query.folders is not None:
        yield EPOCH.c.folder.in_(query.folders)
    if query.uid is not None:
        yield MESSAGE.c.uid == query.uid
    yield from _bounds(query)
    yield from (_has_flag(flag) for flag in query.flagged)
    yield from (not_(_has_flag(flag)) for flag in query.unflagged)
    if query.message_id is not None:
        bare = query.message_id.removeprefix("<").removesuffix(">")
        yield MESSAGE.c.message_id.in_([query.message_id, bare, f"<{bare}>"])
    if texts := list(_texts(query)):
        yield MESSAGE.c.digest.in_(select(HEADER.c.digest).where(*texts))


def _bounds(query: Query) -> Iterator[ColumnElement[bool]]:
    if query.since is not None:
        yield MESSAGE.c.arrived >= query.since
    if query.before is not None:
        yield MESSAGE.c.arrived < query.before
    if query.larger is not None:
        yield MESSAGE.c.size > query.larger
    if query.smaller is not None:
        yield MESSAGE.c.size < query.smaller
    if query.digest is not None:
        yield MESSAGE.c.digest >= query.digest
        yield MESSAGE.c.digest < query.digest + "g"  # after all hex digits


def _texts(query: Query) -> Iterator[ColumnElement[bool]]:
    by_column = ((HEADER.c.sender, query.sender), (HEADER.c.recipients, query.recipients))
    for column, text in (*by_column, (HEADER.c.subject, query.subject)):
        if text is not None:
            yield _holds(column, text)
    if query.text is not None:
        yield or_(*(_holds(column, query.text) for column in _HEADERS[:3]))


def _holds(column: Column[str], text: str) -> ColumnElement[bool]:
    return func.folded(column).contains(folded(text), autoescape=True)


def _has_flag(flag: str) -> ColumnElement[bool]:
    """`Seen` is the system flag, too. The column is JSON, so a flag in quotes is a whole one."""
    names = [flag, f"\\{flag}"] if flag.lower() in _SYSTEM_FLAGS else [flag]
    return or_(*(MESSAGE.c.flags.icontains(json.dumps(name), autoescape=True) for name in names))


_other, _current = MESSAGE.alias("other"), EPOCH.alias("current")
#: Whether a message of an ended epoch is still in its folder, under another UID.
_IS_STILL_THERE = exists().where(
    _other.c.digest == MESSAGE.c.digest,
    _other.c.vanished_at.is_(None),
    _current.c.number == _other.c.epoch,
    _current.c.folder == EPOCH.c.folder,
    _current.c.ended_at.is_(None),
)
