"""Searches messages in the catalog's database.

A search reads as little as it can: the headers that the index of texts names, if they are few; or else the newest
messages, if enough of them match; and all only if neither is so. What is found is the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import MESSAGES, PLACE, FlagSets, any_of, json_list, placement
from archiver.catalog.sqlite.search.bodies import Unusable
from archiver.catalog.sqlite.search.body_index import BodyIndex
from archiver.catalog.sqlite.search.contents import SqlContents
from archiver.catalog.sqlite.search.finding import (
    HEADERS,
    All,
    Among,
    Newest,
    WithHeaders,
    finding,
    found_of,
    texts_of,
)
from archiver.catalog.sqlite.search.history import belongs, state_of
from archiver.catalog.sqlite.search.parts import LENGTH
from archiver.catalog.sqlite.search.texts import Covered, IndexedTexts, TextIndex
from archiver.errors import ArchiverError
from archiver.facts.query import Found, Query, Unindexed
from archiver.facts.replica import MessageKey
from archiver.mail.model import Digest, Headers

_OF_DIGESTS = f"SELECT header.digest, {HEADERS} FROM header WHERE header.digest IN {any_of('digests')}"
_IS_UNKNOWN = "NOT EXISTS (SELECT 1 FROM header WHERE header.digest = message.digest)"
_UNINDEXED = f"""
SELECT message.epoch, {PLACE} FROM {MESSAGES}
WHERE (message.epoch, message.uid) > (?, ?) AND {_IS_UNKNOWN}
ORDER BY message.epoch, message.uid LIMIT ?
"""
_IS_INDEXED = "SELECT 1 FROM meta WHERE key = 'indexed'"
_COUNT_UNINDEXED = f"SELECT count(DISTINCT message.digest) FROM message WHERE {_IS_UNKNOWN}"
_ARRIVED = "SELECT arrived FROM message ORDER BY arrived DESC LIMIT 1 OFFSET ?"
_TEXTS_AFTER = "SELECT id, sender, recipients, subject FROM header WHERE id > ? ORDER BY id LIMIT ?"

# How many headers a search reads in one way before it tries the next one: 10 to 300 ms for each.
_FEW = 8000
_NEWEST = (5000, 50_000)
_MANY = 100_000
# To read fewer headers takes less time than to keep an index of them.
_WORTH_INDEXING = 5000
_AT_ONCE = 20_000


class SqlMessageIndex:
    """The index that searches use; each call is a separate transaction."""

    def __init__(self, database: Database, texts: TextIndex | None = None, bodies: BodyIndex | None = None) -> None:
        self._database = database
        self._texts = texts
        self._bodies = bodies
        self.contents = SqlContents(database, bodies)

    def headers(self, digests: Collection[Digest]) -> Mapping[Digest, Headers]:
        """The recorded headers of the messages with these digests."""
        with self._database.reading() as connection:
            rows = connection.execute(_OF_DIGESTS, {"digests": json_list(digests)})
            return {digest: Headers(*texts) for digest, *texts in rows}

    def find(self, query: Query) -> Sequence[Found]:
        """The messages that match `query`, newest arrival first."""
        if query.asks_inside:
            return self._find_inside(query)
        texts = texts_of(query)
        if self._texts is None or not texts:
            with self._database.reading() as connection:
                return _found_first(connection, query, None, texts)
        with self._texts.reading() as index, self._database.reading() as connection:
            current = index if index is not None and belongs(connection, index.covered) else None
            found = _found_first(connection, query, current, texts)
        if index is not None and index.is_damaged:
            self._texts.discard()
        return found

    def _find_inside(self, query: Query) -> Sequence[Found]:
        if self._bodies is None:
            return []
        from archiver.catalog.sqlite.search.inside import find_inside

        try:
            with self._bodies.reading() as inside, self._database.reading() as connection:
                if inside is None:
                    return []
                texts, few = texts_of(query), None
                if self._texts is not None and texts:
                    with self._texts.reading() as index:
                        if index is not None and belongs(connection, index.covered):
                            few = _holding(index, texts, _FEW)
                return find_inside(connection, query, inside, few)
        except Unusable as error:
            if error.is_damaged:
                self._bodies.remove()
            hint = "`archiver search --index` makes it again" if error.is_damaged else "search again"
            raise ArchiverError(f"{self._bodies.file}: {error}", hint=hint) from error

    def unindexed(self, after: MessageKey, limit: int) -> Sequence[Unindexed]:
        """The next messages after `after`, by epoch and UID, whose headers are not recorded."""
        sets = FlagSets()
        with self._database.reading() as connection:
            rows = connection.execute(_UNINDEXED, (*after, limit))
            places = [(epoch, placement(row, sets)) for epoch, *row in rows]
        return [Unindexed((epoch, place.uid), place) for epoch, place in places]

    def count_unindexed(self) -> int:
        """How many digests have no recorded headers. NOTE: to find out that all have some, all messages are read,
        so this is recorded."""
        with self._database.reading() as connection:
            if connection.execute(_IS_INDEXED).fetchone() is not None:
                return 0
            count, before = int(connection.execute(_COUNT_UNINDEXED).fetchone()[0]), state_of(connection)
        if not count:
            with suppress(ArchiverError), self._database.writing() as connection:
                if state_of(connection) == before:
                    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('indexed', 'all')")
        return count

    def count_uncovered(self) -> int:
        """About how many headers each search has to read, since the index of texts does not cover them; 0 if they
        are too few to matter, or it may not be changed."""
        if self._texts is None or not self._texts.may_change:
            return 0
        with self._texts.reading() as index, self._database.reading() as connection:
            newest = state_of(connection).header
            covered = index.covered.header if index is not None and belongs(connection, index.covered) else 0
        return newest - covered if newest - covered >= _WORTH_INDEXING else 0

    def cover(self) -> Iterator[int]:
        """Extend the index of texts to all headers; yields how many were added at a time. What was added is kept,
        wherever it stops. It ends at once if this user cannot, or another process is just doing it."""
        if self._texts is None:
            return
        with self._texts.extending() as extension:
            if extension is None:
                return
            last = extension.covered
            with self._database.reading() as connection:
                known = last is not None and belongs(connection, last)
            if last is None or not known:
                last = None
                if not extension.make():
                    return
            number = last.header if last is not None else 0
            while True:
                with self._database.reading() as connection:
                    headers = connection.execute(_TEXTS_AFTER, (number, _AT_ONCE)).fetchall()
                    state = state_of(connection)
                if not headers:
                    return
                number = headers[-1][0]
                if not extension.add(headers, Covered(state.catalog, state.segment, state.digest, number)):
                    return
                yield len(headers)


def _found_first(
    connection: sqlite3.Connection, query: Query, index: IndexedTexts | None, texts: Sequence[str]
) -> Sequence[Found]:
    """The first way that finds everything, of those that read less than all."""
    by_time = query.digest is None and query.uid is None and query.message_id is None
    ways = list(_NEWEST) if by_time else []
    if ways and all(len(text) < LENGTH for text in texts):
        # A short text mostly is in many headers, and the index takes its time to name them.
        found = _among_newest(connection, query, ways.pop(0))
        if found is not None:
            return found
    few = None if index is None else _holding(index, texts, _FEW)
    if few is not None:
        return _found_in(connection, query, few)
    for count in ways:
        found = _among_newest(connection, query, count)
        if found is not None:
            return found
    many = None if index is None else _holding(index, texts, _MANY)
    return _found_in(connection, query, many or All())


def _among_newest(connection: sqlite3.Connection, query: Query, count: int) -> Sequence[Found] | None:
    """As many messages as are wanted, if so many of the newest `count` match; they are read as far as needed."""
    bound = connection.execute(_ARRIVED, (count,)).fetchone()
    if bound is None:
        return None
    found = _found_in(connection, query, Newest(bound[0]))
    return found if len(found) == query.limit else None


def _holding(index: IndexedTexts, texts: Sequence[str], limit: int) -> WithHeaders | None:
    numbers = index.holding(texts, limit)
    return None if numbers is None else WithHeaders(numbers, index.covered.header)


def _found_in(connection: sqlite3.Connection, query: Query, among: Among) -> Sequence[Found]:
    sets = FlagSets()
    return [found_of(row, sets) for row in connection.execute(*finding(query, among))]
