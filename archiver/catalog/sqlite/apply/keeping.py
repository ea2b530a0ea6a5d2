"""What each fact about what must be kept, and about what was forgotten, changes in the tables."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.apply.statements import insert, text, upsert
from archiver.facts.archive import Segment
from archiver.facts.keeping import (
    BlotFact,
    BlottedFact,
    CopiesErasedFact,
    ErasedFact,
    ForgottenFact,
    HoldEndedFact,
    HoldFact,
    StateMarkedFact,
)

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


_FORGET = insert("forget", ("number", "reason", "by", "at")) + " ON CONFLICT DO NOTHING"
_FORGOTTEN = upsert("forgotten", ("digest", "forget"), ("digest",), forget="forgotten.forget")
_PLACE = upsert(
    "forgotten_place", ("epoch", "uid", "digest", "size", "crlf_size", "arrived", "gone_at"), ("epoch", "uid")
)
_COPY = upsert(
    "forgotten_copy",
    ("target", "target_uid", "forget", "form", "digest", "size"),
    ("target", "target_uid"),
    forget="forgotten_copy.forget",
)
_COPY_GONE = "UPDATE forgotten_copy SET gone_at = coalesce(gone_at, ?) WHERE target = ? AND target_uid = ?"
#: Of everything that says something of a message at its place.
_OF_PLACES = (
    *("message", "flag_change", "label_change", "presence_change", "quarantine"),
    *("copy", "twin", "intent", "attempt", "refusal", "restore"),
)
_OF_DIGESTS = ("header", "frame")


def _forgotten(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[ForgottenFact]) -> None:
    for fact in facts:
        connection.execute(_FORGET, (fact.number, text(fact.reason), text(fact.by), fact.at))
        rows = [(*place[:6], None if place[6] else fact.at) for place in fact.places]
        connection.executemany(_PLACE, rows)
        digests = [(digest,) for digest in {place[2] for place in fact.places}]
        connection.executemany(_FORGOTTEN, [(digest, fact.number) for (digest,) in digests])
        removed = 0
        for table in _OF_PLACES:
            keys = [place[:2] for place in fact.places]
            removed += connection.executemany(f"DELETE FROM {table} WHERE epoch = ? AND uid = ?", keys).rowcount
        for table in _OF_DIGESTS:
            removed += connection.executemany(f"DELETE FROM {table} WHERE digest = ?", digests).rowcount
        if removed:
            connection.execute(_UNCLEAN)
        copies = [(target, uid, fact.number, form, digest, size) for target, uid, form, digest, size in fact.there]
        connection.executemany(_COPY, copies)


def _copies_erased(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[CopiesErasedFact]) -> None:
    rows = [(fact.at, fact.target, uid) for fact in facts for uid in fact.uids]
    connection.executemany(_COPY_GONE, rows)


#: What was deleted may still be in pages that are free, until `SqlCatalog.purge`.
_UNCLEAN = "INSERT OR REPLACE INTO meta (\"key\", value) VALUES ('unclean', '1')"

_ERASED = "UPDATE forget SET listed = ?, kept = ?, erased_at = ? WHERE number = ?"


def _erased(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[ErasedFact]) -> None:
    for fact in facts:
        kept = json.dumps(fact.kept)
        connection.execute(_ERASED, (fact.listed, kept, fact.at, fact.number))
        packs = [(pack,) for pack in fact.packs]
        connection.executemany("DELETE FROM frame WHERE pack = ?", packs)
        connection.executemany("DELETE FROM pack WHERE digest = ?", packs)


def _nothing(_connection: sqlite3.Connection, _segment: Segment, _facts: Sequence[Any]) -> None:
    """Changes nothing: it is about the journal itself."""


KEEPING_HANDLERS: Mapping[type[Any], Callable[[sqlite3.Connection, Segment, Sequence[Any]], None]] = {
    HoldFact: _holds,
    HoldEndedFact: _ended,
    StateMarkedFact: _marked,
    ForgottenFact: _forgotten,
    ErasedFact: _erased,
    CopiesErasedFact: _copies_erased,
    BlottedFact: _nothing,
    BlotFact: _nothing,
}
