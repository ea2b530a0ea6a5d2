"""What each fact about messages changes in the tables: what is stored, its headers, packs, flags and quarantine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from archiver.catalog.sqlite.apply.pruning import BACK, PRUNED_IF_BEGUN
from archiver.catalog.sqlite.apply.statements import flags_to_text, text, upsert
from archiver.catalog.sqlite.apply.tries import failed_again
from archiver.catalog.sqlite.reading import any_of, json_list
from archiver.facts.archive import (
    Fact,
    FlagsFact,
    HeadersFact,
    LabelsFact,
    PackedFact,
    QuarantinedFact,
    ReleasedFact,
    Segment,
    StoredFact,
    VanishedFact,
)
from archiver.mail.model import Digest, Headers, StoredMessage

_OF_MESSAGE = StoredMessage.__struct_fields__
_values_of = attrgetter(*_OF_MESSAGE)
_FLAGS = _OF_MESSAGE.index("flags")
_LABELS = _OF_MESSAGE.index("labels")
_TEXTS = [_OF_MESSAGE.index(name) for name in ("internaldate", "message_id", "header_digest", "emailid", "thrid")]

_KEY = ("epoch", "uid")
_THIS_MESSAGE = "epoch = :epoch AND uid = :uid"
_UPSERT_MESSAGE = upsert(
    "message",
    ("epoch", *_OF_MESSAGE, "matched", "stored_run", "stored_at", "vanished_run", "vanished_at"),
    _KEY,
)
_UNQUARANTINE = f"DELETE FROM quarantine WHERE {_THIS_MESSAGE}"
_NEWEST = "SELECT coalesce(max(uid), 0) FROM message WHERE epoch = ?"


def _recording_presence(present: bool) -> str:
    """Record history for a message only if its presence is about to change."""
    changes = "vanished_at IS NOT NULL" if present else "vanished_at IS NULL"
    return f"""
        INSERT INTO presence_change (epoch, uid, at, run, present)
        SELECT epoch, uid, :at, :run, {int(present)} FROM message WHERE {_THIS_MESSAGE} AND {changes}
        """


_RECORD_RETURN, _RECORD_VANISHING = _recording_presence(True), _recording_presence(False)


#: `meta` says that the headers of all messages are known, which takes long to find out: until there is another one.
_ONE_IS_UNINDEXED = f"""
DELETE FROM meta WHERE key = 'indexed' AND EXISTS (
    SELECT 1 FROM message WHERE digest IN {any_of("digests")}
    AND NOT EXISTS (SELECT 1 FROM header WHERE header.digest = message.digest)
)
"""


def _stored(connection: sqlite3.Connection, segment: Segment, facts: Sequence[StoredFact]) -> None:
    events = [{"epoch": fact.epoch, "uid": fact.message.uid, "at": fact.at, "run": segment.run} for fact in facts]
    # Nearly all messages are new, and nothing waits in quarantine: to ask once takes less than for each of them.
    newest = {
        epoch: connection.execute(_NEWEST, (epoch,)).fetchone()[0] for epoch in {fact.epoch for fact in facts}
    }
    known = [event for event, fact in zip(events, facts, strict=True) if fact.message.uid <= newest[fact.epoch]]
    connection.executemany(_RECORD_RETURN, known)
    connection.executemany(_UPSERT_MESSAGE, [_row(segment.run, fact) for fact in facts])
    if connection.execute("SELECT EXISTS (SELECT 1 FROM quarantine)").fetchone()[0]:
        connection.executemany(_UNQUARANTINE, events)
    connection.executemany(
        BACK, [event for event, fact in zip(events, facts, strict=True) if fact.matched == "returned"]
    )
    _set_headers(connection, [(fact.message.digest, fact.headers) for fact in facts if fact.headers is not None])
    if bare := {fact.message.digest for fact in facts if fact.headers is None}:
        connection.execute(_ONE_IS_UNINDEXED, {"digests": json_list(bare)})


def _row(run: str, fact: StoredFact) -> Sequence[Any]:
    values = list(_values_of(fact.message))
    values[_FLAGS] = flags_to_text(values[_FLAGS])
    if values[_LABELS] is not None:
        values[_LABELS] = flags_to_text(values[_LABELS])
    for place in _TEXTS:
        values[place] = text(values[place])
    return fact.epoch, *values, fact.matched, run, fact.at, None, None


_OF_HEADER = ("sender", "recipients", "subject", "sent")
# NOTE: a row that changes gets a new number, so that a reader who stopped at a number misses nothing.
_UPSERT_HEADER = f"""
{upsert("header", ("digest", *_OF_HEADER), ("digest",))}, id = (SELECT max(id) + 1 FROM header)
WHERE ({", ".join(f"header.{each}" for each in _OF_HEADER)}) IS NOT
    ({", ".join(f"excluded.{each}" for each in _OF_HEADER)})
"""


def _headers(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[HeadersFact]) -> None:
    _set_headers(connection, [(fact.digest, fact.headers) for fact in facts])


def _set_headers(connection: sqlite3.Connection, known: Sequence[tuple[Digest, Headers]]) -> None:
    rows = [
        (digest, text(headers.sender), text(headers.recipients), text(headers.subject), text(headers.sent))
        for digest, headers in known
    ]
    connection.executemany(_UPSERT_HEADER, rows)


_UPSERT_PACK = upsert("pack", ("digest", "size"), ("digest",))
_UPSERT_FRAME = upsert("frame", ("digest", "pack", "offset", "length"), ("digest",))


def _packed(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[PackedFact]) -> None:
    connection.executemany(_UPSERT_PACK, [(fact.pack, fact.size) for fact in facts])
    frames = [(digest, fact.pack, offset, length) for fact in facts for digest, offset, length in fact.frames]
    connection.executemany(_UPSERT_FRAME, frames)


_RECORD_FLAGS = f"""
INSERT INTO flag_change (epoch, uid, at, run, flags_before, flags_after)
SELECT epoch, uid, :at, :run, flags, :flags FROM message WHERE {_THIS_MESSAGE} AND flags != :flags
"""
_SET_FLAGS = f"UPDATE message SET flags = :flags WHERE {_THIS_MESSAGE} AND flags != :flags"


def _flags(connection: sqlite3.Connection, segment: Segment, facts: Sequence[FlagsFact]) -> None:
    rows = [
        {
            "epoch": fact.epoch,
            "uid": fact.uid,
            "flags": flags_to_text(fact.flags),
            "at": fact.at,
            "run": segment.run,
        }
        for fact in facts
    ]
    connection.executemany(_RECORD_FLAGS, rows)
    connection.executemany(_SET_FLAGS, rows)


# NOTE: labels that were not known before are no change.
_RECORD_LABELS = f"""
INSERT INTO label_change (epoch, uid, at, run, labels_before, labels_after)
SELECT epoch, uid, :at, :run, labels, :labels FROM message WHERE {_THIS_MESSAGE} AND labels != :labels
"""
_SET_LABELS = f"UPDATE message SET labels = :labels, thrid = :thrid WHERE {_THIS_MESSAGE}"


def _labels(connection: sqlite3.Connection, segment: Segment, facts: Sequence[LabelsFact]) -> None:
    rows = [
        {
            "epoch": fact.epoch,
            "uid": fact.uid,
            "thrid": text(fact.thrid),
            "labels": flags_to_text(fact.labels),
            "at": fact.at,
            "run": segment.run,
        }
        for fact in facts
    ]
    connection.executemany(_RECORD_LABELS, rows)
    connection.executemany(_SET_LABELS, rows)


_SET_VANISHED = (
    f"UPDATE message SET vanished_at = :at, vanished_run = :run WHERE {_THIS_MESSAGE} AND vanished_at IS NULL"
)

_SET_FORGOTTEN_GONE = f"UPDATE forgotten_place SET gone_at = :at WHERE {_THIS_MESSAGE} AND gone_at IS NULL"


def _vanished(connection: sqlite3.Connection, segment: Segment, facts: Sequence[VanishedFact]) -> None:
    for fact in facts:
        rows = [
            {"epoch": fact.epoch, "uid": uid, "at": fact.at, "run": segment.run} for uid in dict.fromkeys(fact.uids)
        ]
        connection.executemany(_RECORD_VANISHING, rows)
        connection.executemany(_SET_VANISHED, rows)
        connection.executemany(_SET_FORGOTTEN_GONE, rows)
        connection.executemany(PRUNED_IF_BEGUN, rows)


_UPSERT_QUARANTINE = upsert(
    "quarantine",
    ("epoch", "uid", "step", "reason", "server_reply", "tries", "accepted", "since", "last_run"),
    _KEY,
    since="quarantine.since",
    **failed_again("quarantine"),
)


def _quarantined(connection: sqlite3.Connection, segment: Segment, facts: Sequence[QuarantinedFact]) -> None:
    """A failure counts as one try of its run; an acceptance does not count as a try."""
    rows = [
        (
            fact.epoch,
            fact.uid,
            fact.step,
            text(fact.reason),
            text(fact.server_reply),
            0 if fact.accepted else 1,
            fact.accepted,
            fact.at,
            None if fact.accepted else segment.run,
        )
        for fact in facts
    ]
    connection.executemany(_UPSERT_QUARANTINE, rows)


def _released(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[ReleasedFact]) -> None:
    rows = [{"epoch": fact.epoch, "uid": uid} for fact in facts for uid in fact.uids]
    connection.executemany(_UNQUARANTINE, rows)


MESSAGE_HANDLERS: Mapping[type[Fact], Callable[[sqlite3.Connection, Segment, Sequence[Any]], None]] = {
    StoredFact: _stored,
    HeadersFact: _headers,
    PackedFact: _packed,
    FlagsFact: _flags,
    LabelsFact: _labels,
    VanishedFact: _vanished,
    QuarantinedFact: _quarantined,
    ReleasedFact: _released,
}
