"""What each fact about the destinations themselves changes in the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from archiver.catalog.sqlite.reading import CURRENT_SOURCE
from archiver.catalog.sqlite.schema import ADDRESS, DESTINATION, DISTINCT
from archiver.facts.archive import Segment
from archiver.facts.destination import DestinationFact, DistinctFact, ReachedFact


def _destinations(connection: Connection, _segment: Segment, facts: Sequence[DestinationFact]) -> None:
    for fact in facts:
        address = {"host": fact.host, "user": fact.user, "at": fact.at}
        connection.execute(insert(DESTINATION), {"number": fact.number, **address})
        connection.execute(insert(ADDRESS), {"destination": fact.number, "port": fact.port, **address})


def _reached(connection: Connection, _segment: Segment, facts: Sequence[ReachedFact]) -> None:
    names = ("destination", "host", "user", "port", "at")
    connection.execute(insert(ADDRESS), [{name: getattr(fact, name) for name in names} for fact in facts])


def _distinct(connection: Connection, _segment: Segment, facts: Sequence[DistinctFact]) -> None:
    source = connection.scalar(select(CURRENT_SOURCE))
    rows = [{"destination": fact.destination, "source": source} for fact in facts]
    connection.execute(upsert(DISTINCT).on_conflict_do_nothing(), rows)


DESTINATION_HANDLERS: Mapping[type[Any], Callable[[Connection, Segment, Sequence[Any]], None]] = {
    DestinationFact: _destinations,
    ReachedFact: _reached,
    DistinctFact: _distinct,
}
