"""What each fact about messages that we remove from the source changes in the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.apply.statements import text, upsert
from archiver.facts.archive import Segment
from archiver.facts.pruning import PrunedFact, PruningFact, UnprunedFact

_THIS = "epoch = :epoch AND uid = :uid"
_BEGIN = upsert("prune", ("epoch", "uid", "marked", "by", "run", "at", "pruned_at", "listed"), ("epoch", "uid"))
_END = f"UPDATE prune SET pruned_at = coalesce(pruned_at, :at), listed = 1 WHERE {_THIS}"
_UNDO = f"DELETE FROM prune WHERE {_THIS} AND pruned_at IS NULL"

PRUNED_IF_BEGUN = f"UPDATE prune SET pruned_at = :at WHERE {_THIS} AND pruned_at IS NULL"
"""A message is seen to be gone that we were about to remove: so we did, as far as anybody can tell."""

BACK = f"DELETE FROM prune WHERE {_THIS}"
"""A message is there after all: what becomes of it now is none of our doing."""


def _pruning(connection: sqlite3.Connection, segment: Segment, facts: Sequence[PruningFact]) -> None:
    for fact in facts:
        marked = frozenset(fact.marked)
        rows = [
            (fact.epoch, uid, uid in marked, text(fact.by), segment.run, fact.at, None, False)
            for uid in dict.fromkeys(fact.uids)
        ]
        connection.executemany(_BEGIN, rows)


def _pruned(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[PrunedFact]) -> None:
    connection.executemany(_END, _rows(facts))


def _unpruned(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[UnprunedFact]) -> None:
    connection.executemany(_UNDO, _rows(facts))


def _rows(facts: Sequence[PrunedFact | UnprunedFact]) -> Iterator[dict[str, Any]]:
    return ({"epoch": fact.epoch, "uid": uid, "at": fact.at} for fact in facts for uid in fact.uids)


PRUNING_HANDLERS: Mapping[type[Any], Callable[[sqlite3.Connection, Segment, Sequence[Any]], None]] = {
    PruningFact: _pruning,
    PrunedFact: _pruned,
    UnprunedFact: _unpruned,
}
