"""What each fact about access rights and annotations changes in the tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.apply.statements import text, upsert
from archiver.facts.access import AnnotationsFact, Entries, GrantedFact, RightsFact
from archiver.facts.archive import Segment

_RIGHTS = upsert("rights", ("folder", "entries", "mine", "at"), ("folder",))
_ANNOTATIONS = upsert("annotations", ("folder", "entries", "left_out", "at"), ("folder",))
_GRANTED = upsert(
    "granted", ("destination", "folder", "raw", "entries", "refused", "at"), ("destination", "folder")
)


def _rights(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[RightsFact]) -> None:
    for fact in facts:
        entries = None if fact.entries is None else _json(fact.entries)
        connection.execute(_RIGHTS, (fact.folder, entries, text(fact.mine), fact.at))


def _annotations(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[AnnotationsFact]) -> None:
    for fact in facts:
        connection.execute(_ANNOTATIONS, (fact.folder, _json(fact.entries), fact.left_out, fact.at))


def _granted(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[GrantedFact]) -> None:
    for fact in facts:
        row = (fact.destination, fact.folder, fact.raw, _json(fact.entries), _json(fact.refused), fact.at)
        connection.execute(_GRANTED, row)


def _json(entries: Entries) -> str:
    return json.dumps(entries, separators=(",", ":"))


ACCESS_HANDLERS: Mapping[type[Any], Callable[[sqlite3.Connection, Segment, Sequence[Any]], None]] = {
    RightsFact: _rights,
    AnnotationsFact: _annotations,
    GrantedFact: _granted,
}
