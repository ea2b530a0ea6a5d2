"""What each fact about what must be kept changes in the tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.apply.statements import insert, text, upsert
from archiver.facts.archive import Segment
from archiver.facts.keeping import HoldEndedFact, HoldFact, StateMarkedFact

_HOLD = upsert("hold", ("number", "folders", "addresses", "reason", "by", "at"), ("number",))
_END_HOLD = "UPDATE hold SET ended_reason = ?, ended_by = ?, ended_at = ? WHERE number = ? AND ended_at IS NULL"

_MARK = insert("mark", ("state", "reason", "by", "at"))


def _holds(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[HoldFact]) -> None:
    rows = [
        (
            fact.number,
            json.dumps(fact.folders),
            json.dumps(fact.addresses),
            text(fact.reason),
            text(fact.by),
            fact.at,
        )
        for fact in facts
    ]
    connection.executemany(_HOLD, rows)


def _ended(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[HoldEndedFact]) -> None:
    rows = [(text(fact.reason), text(fact.by), fact.at, fact.number) for fact in facts]
    connection.executemany(_END_HOLD, rows)


def _marked(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[StateMarkedFact]) -> None:
    rows = [(text(fact.state), text(fact.reason), text(fact.by), fact.at) for fact in facts]
    connection.executemany(_MARK, rows)


KEEPING_HANDLERS: Mapping[type[Any], Callable[[sqlite3.Connection, Segment, Sequence[Any]], None]] = {
    HoldFact: _holds,
    HoldEndedFact: _ended,
    StateMarkedFact: _marked,
}
