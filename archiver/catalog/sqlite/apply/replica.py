"""What each fact about a destination changes in the tables.

As in `apply`: facts take effect in order, adjacent facts of one kind are passed together, and every statement is a
plain upsert, update or delete.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.apply.statements import flags_to_text, insert, text, upsert
from archiver.catalog.sqlite.apply.tries import failed_again
from archiver.facts.archive import Segment
from archiver.facts.destination import (
    AcceptedFact,
    ComparedFact,
    CopiedFact,
    IntentFact,
    LabelledFact,
    MappedFact,
    MarkedFact,
    ReflaggedFact,
    RefusedFact,
    RemovedFact,
    RenamedFact,
    RenamingFact,
    SettledFact,
    TargetFact,
    TargetStateFact,
    TwinFact,
    UnsentFact,
)

_UPSERT_MAPPED = upsert(
    "mapped", ("destination", "folder", "raw", "path", "rules", "subscribed"), ("destination", "folder")
)


def _maps(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[MappedFact]) -> None:
    rows = [
        (fact.destination, fact.folder, fact.raw, json.dumps(fact.path), fact.rules, fact.subscribed)
        for fact in facts
    ]
    connection.executemany(_UPSERT_MAPPED, rows)


_END_TARGET = "UPDATE target SET ended_at = ? WHERE destination = ? AND raw = ? AND ended_at IS NULL"
_INSERT_TARGET = insert("target", ("number", "destination", "raw", "uidvalidity", "reason", "began_at"))


def _targets(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[TargetFact]) -> None:
    for fact in facts:
        connection.execute(_END_TARGET, (fact.at, fact.destination, fact.raw))
        row = (fact.number, fact.destination, fact.raw, fact.uidvalidity, fact.reason, fact.at)
        connection.execute(_INSERT_TARGET, row)


_MESSAGE = ("target", "epoch", "uid")
_THIS_MESSAGE = "target = ? AND epoch = ? AND uid = ?"
_UPSERT_INTENT = upsert(
    "intent",
    (*_MESSAGE, "uidnext", "at"),
    _MESSAGE,
    # NOTE: an unresolved intent keeps the lower UIDNEXT: its message may have a UID from there on.
    uidnext="min(intent.uidnext, excluded.uidnext)",
)


def _intents(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[IntentFact]) -> None:
    rows = [(fact.target, epoch, uid, fact.uidnext, fact.at) for fact in facts for epoch, uid in fact.messages]
    connection.executemany(_UPSERT_INTENT, rows)
    # NOTE: what is sent now may arrive later than what the folder was watched for.
    connection.executemany("DELETE FROM watch WHERE target = ?", {(fact.target,) for fact in facts})


_END_INTENT = f"DELETE FROM intent WHERE {_THIS_MESSAGE}"
_END_REFUSAL = f"DELETE FROM refusal WHERE {_THIS_MESSAGE}"
_END_COPY = f"DELETE FROM copy WHERE {_THIS_MESSAGE} AND target_uid != ?"
_END_TWIN = "DELETE FROM twin WHERE target = ? AND target_uid = ?"
_UPSERT_COPY = upsert(
    "copy",
    (
        *("target", "target_uid", "epoch", "uid", "how", "source_flags", "flags", "lost", "size", "repaired"),
        *("sent_digest", "dated", "likeness", "run", "at", "removed_at", "removed_by", "marked", "accepted_at"),
        "compared",
    ),
    ("target", "target_uid"),
    # NOTE: `again` assigns a replica to another message of the archive; whether the user removed it does not
    # change. What is learned later about the replica of the same message does not make it a replica of that run.
    run="CASE WHEN copy.epoch = excluded.epoch AND copy.uid = excluded.uid THEN copy.run ELSE excluded.run END",
    removed_at="copy.removed_at",
    removed_by="copy.removed_by",
    marked="copy.marked",
    accepted_at="copy.accepted_at",
)


def _copied(connection: sqlite3.Connection, segment: Segment, facts: Sequence[CopiedFact]) -> None:
    keys = [(fact.target, fact.epoch, fact.uid) for fact in facts]
    connection.executemany(_END_COPY, [(*key, fact.target_uid) for key, fact in zip(keys, facts, strict=True)])
    rows = [
        (
            fact.target,
            fact.target_uid,
            fact.epoch,
            fact.uid,
            fact.how,
            flags_to_text(fact.source_flags),
            flags_to_text(fact.flags),
            flags_to_text(fact.lost),
            fact.size,
            ",".join(fact.repaired),
            fact.sent_digest,
            fact.dated,
            fact.likeness,
            segment.run,
            fact.at,
            None,
            None,
            False,
            None,
            None,
        )
        for fact in facts
    ]
    connection.executemany(_UPSERT_COPY, rows)
    connection.executemany(_END_TWIN, [(fact.target, fact.target_uid) for fact in facts])
    connection.executemany(_END_INTENT, keys)
    connection.executemany(_END_REFUSAL, keys)


_END_ATTEMPT = f"DELETE FROM attempt WHERE {_THIS_MESSAGE}"
_UPSERT_ATTEMPT = upsert(
    "attempt",
    (*_MESSAGE, "uidnext", "times", "at", "silent"),
    _MESSAGE,
    uidnext="min(attempt.uidnext, excluded.uidnext)",
    times="attempt.times + 1",
)
_UPSERT_TWIN = upsert(
    "twin", ("target", "target_uid", "epoch", "uid", "flags", "certain", "at"), ("target", "target_uid")
)


def _unsent(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[UnsentFact]) -> None:
    rows = [(fact.target, epoch, uid) for fact in facts for epoch, uid in fact.messages]
    connection.executemany(_END_INTENT, rows)
    attempts = [
        (fact.target, epoch, uid, uidnext, 1, fact.at, fact.silent)
        for fact in facts
        for epoch, uid, uidnext in fact.attempted
    ]
    connection.executemany(_UPSERT_ATTEMPT, attempts)


def _settled(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[SettledFact]) -> None:
    rows = [(fact.target, epoch, uid) for fact in facts for epoch, uid in fact.messages]
    connection.executemany(_END_ATTEMPT, rows)


def _twins(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[TwinFact]) -> None:
    rows = [
        (
            fact.target,
            fact.target_uid,
            fact.epoch,
            fact.uid,
            flags_to_text(fact.flags),
            fact.certain,
            fact.at,
        )
        for fact in facts
    ]
    connection.executemany(_UPSERT_TWIN, rows)


_UPSERT_REFUSAL = upsert(
    "refusal",
    (
        *("epoch", "uid", "target", "refusal", "reason", "server_reply"),
        *("date", "subject", "tries", "accepted", "last_run"),
    ),
    _MESSAGE,
    **failed_again("refusal"),
)


def _refused(connection: sqlite3.Connection, segment: Segment, facts: Sequence[RefusedFact]) -> None:
    """A refusal counts as one try of its run; an acceptance does not count as a try."""
    rows = [
        (
            fact.epoch,
            fact.uid,
            fact.target,
            fact.refusal,
            text(fact.reason),
            text(fact.server_reply),
            text(fact.date),
            text(fact.subject),
            0 if fact.accepted else 1,
            fact.accepted,
            None if fact.accepted else segment.run,
        )
        for fact in facts
    ]
    connection.executemany(_UPSERT_REFUSAL, rows)
    connection.executemany(_END_INTENT, [(fact.target, fact.epoch, fact.uid) for fact in facts])


_THIS_COPY = "target = ? AND target_uid = ?"
_REFLAG = f"UPDATE copy SET source_flags = ?, flags = ?, lost = ? WHERE {_THIS_COPY}"


def _reflagged(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[ReflaggedFact]) -> None:
    rows = [
        (
            *(flags_to_text(flags) for flags in (fact.source_flags, fact.flags, fact.lost)),
            fact.target,
            fact.target_uid,
        )
        for fact in facts
    ]
    connection.executemany(_REFLAG, rows)


# NOTE: what the copy shows now has to be compared again.
_LABEL = f"UPDATE copy SET source_labels = ?, labels = ?, lost_labels = ?, compared = NULL WHERE {_THIS_COPY}"


def _labelled(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[LabelledFact]) -> None:
    rows = [
        (
            *(flags_to_text(labels) for labels in (fact.source_labels, fact.labels, fact.lost)),
            fact.target,
            fact.target_uid,
        )
        for fact in facts
    ]
    connection.executemany(_LABEL, rows)


_REMOVE = f"UPDATE copy SET removed_at = ?, removed_by = ? WHERE {_THIS_COPY} AND removed_at IS NULL"
_FORGET = f"DELETE FROM copy WHERE {_THIS_COPY}"


def _removed(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[RemovedFact]) -> None:
    """Replicas that we expunged, or that we marked and somebody else expunged, are forgotten: if the message
    returns at the source, it is sent again. What the destination's user removed is remembered, so it is not sent
    again."""
    for fact in facts:
        rows = [(fact.target, uid) for uid in fact.uids]
        connection.executemany(_END_TWIN, rows)
        if fact.by == "policy":
            connection.executemany(_FORGET, rows)
        else:
            connection.executemany(f"{_FORGET} AND marked", rows)
            connection.executemany(_REMOVE, [(fact.at, fact.by, *row) for row in rows])


def _marked(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[MarkedFact]) -> None:
    for fact in facts:
        rows = [(fact.marked, fact.target, uid) for uid in fact.uids]
        connection.executemany(f"UPDATE copy SET marked = ? WHERE {_THIS_COPY}", rows)


def _accepted(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[AcceptedFact]) -> None:
    rows = [(fact.at, fact.target, uid) for fact in facts for uid in fact.uids]
    connection.executemany(f"UPDATE copy SET accepted_at = ? WHERE {_THIS_COPY}", rows)


def _states(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[TargetStateFact]) -> None:
    rows = [(fact.uidnext, fact.messages, fact.target) for fact in facts]
    connection.executemany("UPDATE target SET uidnext = ?, messages = ? WHERE number = ?", rows)


_SET_COMPARED = """
UPDATE target SET compared_uidnext = ?, compared_messages = ?, compared_modseq = ?, compared_size = ?
WHERE number = ?
"""
_COMPARE = "UPDATE copy SET compared = TRUE WHERE target = ? AND target_uid BETWEEN ? AND ?"


def _compared(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[ComparedFact]) -> None:
    for fact in facts:
        status = (fact.uidnext, fact.messages, fact.highestmodseq, fact.size)
        connection.execute(_SET_COMPARED, (*(status if fact.highestmodseq else (None,) * 4), fact.target))
        connection.executemany(_COMPARE, [(fact.target, *uids) for uids in fact.uids])


def _renaming(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[RenamingFact]) -> None:
    rows = [(fact.raw, fact.target) for fact in facts]
    connection.executemany("UPDATE target SET renaming = ? WHERE number = ?", rows)


_END_NAMESAKES = """
UPDATE target SET ended_at = :at
WHERE destination = (SELECT destination FROM target WHERE number = :target)
AND raw = :raw AND number != :target AND ended_at IS NULL
"""


def _renamed(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[RenamedFact]) -> None:
    """What was known about an earlier folder of that name no longer applies."""
    for fact in facts:
        connection.execute(_END_NAMESAKES, {"at": fact.at, "raw": fact.raw, "target": fact.target})
        connection.execute("UPDATE target SET raw = ?, renaming = NULL WHERE number = ?", (fact.raw, fact.target))


COPY_HANDLERS: Mapping[type[Any], Callable[[sqlite3.Connection, Segment, Sequence[Any]], None]] = {
    MappedFact: _maps,
    TargetFact: _targets,
    IntentFact: _intents,
    CopiedFact: _copied,
    UnsentFact: _unsent,
    SettledFact: _settled,
    TwinFact: _twins,
    RefusedFact: _refused,
    ReflaggedFact: _reflagged,
    LabelledFact: _labelled,
    RemovedFact: _removed,
    MarkedFact: _marked,
    AcceptedFact: _accepted,
    TargetStateFact: _states,
    ComparedFact: _compared,
    RenamingFact: _renaming,
    RenamedFact: _renamed,
}
