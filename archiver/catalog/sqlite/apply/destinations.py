"""What each fact about the destinations themselves changes in the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.apply.statements import insert, text, upsert
from archiver.catalog.sqlite.reading import CURRENT_SOURCE
from archiver.facts.archive import Segment
from archiver.facts.destination import (
    DestinationFact,
    DistinctFact,
    ReachedFact,
    RestoreFact,
    RestorePlaceFact,
)

_INSERT_DESTINATION = insert("destination", ("number", "host", "user", "at"))
_INSERT_ADDRESS = insert("address", ("destination", "host", "user", "port", "at"))
_INSERT_DISTINCT = f"""
INSERT INTO distinct_source (destination, source) SELECT ?, {CURRENT_SOURCE} WHERE true ON CONFLICT DO NOTHING
"""


def _destinations(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[DestinationFact]) -> None:
    for fact in facts:
        connection.execute(_INSERT_DESTINATION, (fact.number, fact.host, fact.user, fact.at))
        connection.execute(_INSERT_ADDRESS, (fact.number, fact.host, fact.user, fact.port, fact.at))


def _reached(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[ReachedFact]) -> None:
    rows = [(fact.destination, fact.host, fact.user, fact.port, fact.at) for fact in facts]
    connection.executemany(_INSERT_ADDRESS, rows)


def _distinct(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[DistinctFact]) -> None:
    connection.executemany(_INSERT_DISTINCT, [(fact.destination,) for fact in facts])


_INSERT_PLACE = insert("restore_place", ("number", "host", "user", "port", "folder"))
_UPSERT_RESTORE = upsert(
    "restore",
    ("place", "epoch", "uid", "asked_by", "run", "at", "last_at"),
    ("place", "epoch", "uid"),
    # NOTE: a copy that came after it was asked for first is what that led to, however often it is asked for.
    at="restore.at",
)


def _places(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[RestorePlaceFact]) -> None:
    """NOTE: the number is one of a destination, for its folders; without an address nobody takes it for one that
    the account is replayed to."""
    for fact in facts:
        connection.execute(_INSERT_DESTINATION, (fact.number, fact.host, fact.user, fact.at))
        connection.execute(_INSERT_PLACE, (fact.number, fact.host, fact.user, fact.port, fact.into))


def _restores(connection: sqlite3.Connection, segment: Segment, facts: Sequence[RestoreFact]) -> None:
    rows = [
        (fact.place, epoch, uid, text(fact.by), segment.run, fact.at, fact.at)
        for fact in facts
        for epoch, uid in fact.messages
    ]
    connection.executemany(_UPSERT_RESTORE, rows)


DESTINATION_HANDLERS: Mapping[type[Any], Callable[[sqlite3.Connection, Segment, Sequence[Any]], None]] = {
    DestinationFact: _destinations,
    ReachedFact: _reached,
    DistinctFact: _distinct,
    RestorePlaceFact: _places,
    RestoreFact: _restores,
}
