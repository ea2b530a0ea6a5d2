"""What each fact about a destination changes in the tables.

As in `apply`: facts take effect in order, adjacent facts of one kind are passed together, and every statement is a
plain upsert, update or delete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from archiver.catalog.sqlite.apply.executemany import flags_to_text, send, text
from archiver.catalog.sqlite.apply.tries import failed_again
from archiver.catalog.sqlite.schema import ATTEMPT, COPY, INTENT, MAPPED, REFUSAL, TARGET, TWIN
from archiver.facts.archive import Segment
from archiver.facts.destination import (
    CopiedFact,
    IntentFact,
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

_mapped = upsert(MAPPED)
_UPSERT_MAPPED = _mapped.on_conflict_do_update(
    index_elements=[MAPPED.c.destination, MAPPED.c.folder],
    set_={name: _mapped.excluded[name] for name in ("raw", "path", "rules", "subscribed")},
)


def _maps(connection: Connection, _segment: Segment, facts: Sequence[MappedFact]) -> None:
    rows = [
        {
            "destination": fact.destination,
            "folder": fact.folder,
            "raw": fact.raw,
            "path": json.dumps(fact.path),
            "rules": fact.rules,
            "subscribed": fact.subscribed,
        }
        for fact in facts
    ]
    connection.execute(_UPSERT_MAPPED, rows)


_END_TARGET = (
    update(TARGET)
    .where(
        TARGET.c.destination == bindparam("of_destination"),
        TARGET.c.raw == bindparam("of_raw"),
        TARGET.c.ended_at.is_(None),
    )
    .values(ended_at=bindparam("end"))
)


def _targets(connection: Connection, _segment: Segment, facts: Sequence[TargetFact]) -> None:
    for fact in facts:
        connection.execute(_END_TARGET, {"of_destination": fact.destination, "of_raw": fact.raw, "end": fact.at})
        connection.execute(
            insert(TARGET),
            {
                "number": fact.number,
                "destination": fact.destination,
                "raw": fact.raw,
                "uidvalidity": fact.uidvalidity,
                "reason": fact.reason,
                "began_at": fact.at,
            },
        )


_intent = upsert(INTENT)
_UPSERT_INTENT = _intent.on_conflict_do_update(
    index_elements=[INTENT.c.target, INTENT.c.epoch, INTENT.c.uid],
    # NOTE: an unresolved intent keeps the lower UIDNEXT: its message may have a UID from there on.
    set_={"uidnext": func.min(INTENT.c.uidnext, _intent.excluded.uidnext), "at": _intent.excluded.at},
)


def _intents(connection: Connection, _segment: Segment, facts: Sequence[IntentFact]) -> None:
    rows = [
        {"target": fact.target, "epoch": epoch, "uid": uid, "uidnext": fact.uidnext, "at": fact.at}
        for fact in facts
        for epoch, uid in fact.messages
    ]
    if rows:
        send(connection, _UPSERT_INTENT, rows)


_END_INTENT = delete(INTENT).where(
    INTENT.c.target == bindparam("of_target"),
    INTENT.c.epoch == bindparam("of_epoch"),
    INTENT.c.uid == bindparam("of_uid"),
)
_END_REFUSAL = delete(REFUSAL).where(
    REFUSAL.c.target == bindparam("of_target"),
    REFUSAL.c.epoch == bindparam("of_epoch"),
    REFUSAL.c.uid == bindparam("of_uid"),
)
_END_COPY = delete(COPY).where(
    COPY.c.target == bindparam("of_target"),
    COPY.c.epoch == bindparam("of_epoch"),
    COPY.c.uid == bindparam("of_uid"),
    COPY.c.target_uid != bindparam("but"),
)
_END_TWIN = delete(TWIN).where(TWIN.c.target == bindparam("of_target"), TWIN.c.target_uid == bindparam("of_uid"))
_copy = upsert(COPY)
_UPSERT_COPY = _copy.on_conflict_do_update(
    index_elements=[COPY.c.target, COPY.c.target_uid],
    # NOTE: `again` assigns a replica to another message of the archive; whether the user removed it does not
    # change. What is learned later about the replica of the same message does not make it a replica of that run.
    set_={
        **{
            column.name: _copy.excluded[column.name]
            for column in COPY.c
            if not column.primary_key and column.name not in ("removed_at", "removed_by", "marked")
        },
        "run": case(
            (and_(COPY.c.epoch == _copy.excluded.epoch, COPY.c.uid == _copy.excluded.uid), COPY.c.run),
            else_=_copy.excluded.run,
        ),
    },
)


def _copied(connection: Connection, segment: Segment, facts: Sequence[CopiedFact]) -> None:
    keys = [{"of_target": fact.target, "of_epoch": fact.epoch, "of_uid": fact.uid} for fact in facts]
    send(connection, _END_COPY, [{**key, "but": fact.target_uid} for key, fact in zip(keys, facts, strict=True)])
    rows = [
        {
            "target": fact.target,
            "target_uid": fact.target_uid,
            "epoch": fact.epoch,
            "uid": fact.uid,
            "how": fact.how,
            "source_flags": flags_to_text(fact.source_flags),
            "flags": flags_to_text(fact.flags),
            "lost": flags_to_text(fact.lost),
            "size": fact.size,
            "repaired": ",".join(fact.repaired),
            "sent_digest": fact.sent_digest,
            "dated": int(fact.dated),
            "likeness": fact.likeness,
            "run": segment.run,
            "at": fact.at,
            "removed_at": None,
            "removed_by": None,
            "marked": 0,
        }
        for fact in facts
    ]
    send(connection, _UPSERT_COPY, rows)
    send(connection, _END_TWIN, [{"of_target": fact.target, "of_uid": fact.target_uid} for fact in facts])
    send(connection, _END_INTENT, keys)
    send(connection, _END_REFUSAL, keys)


_END_ATTEMPT = delete(ATTEMPT).where(
    ATTEMPT.c.target == bindparam("of_target"),
    ATTEMPT.c.epoch == bindparam("of_epoch"),
    ATTEMPT.c.uid == bindparam("of_uid"),
)
_attempt = upsert(ATTEMPT)
_UPSERT_ATTEMPT = _attempt.on_conflict_do_update(
    index_elements=[ATTEMPT.c.target, ATTEMPT.c.epoch, ATTEMPT.c.uid],
    set_={
        "uidnext": func.min(ATTEMPT.c.uidnext, _attempt.excluded.uidnext),
        "times": literal_column("attempt.times + 1"),  # no parameter, so that many rows go in one call
        "at": _attempt.excluded.at,
        "silent": _attempt.excluded.silent,
    },
)
_twin = upsert(TWIN)
_UPSERT_TWIN = _twin.on_conflict_do_update(
    index_elements=[TWIN.c.target, TWIN.c.target_uid],
    set_={column.name: _twin.excluded[column.name] for column in TWIN.c if not column.primary_key},
)


def _unsent(connection: Connection, _segment: Segment, facts: Sequence[UnsentFact]) -> None:
    rows = [
        {"of_target": fact.target, "of_epoch": epoch, "of_uid": uid}
        for fact in facts
        for epoch, uid in fact.messages
    ]
    if rows:
        send(connection, _END_INTENT, rows)
    attempts = [
        {
            "target": fact.target,
            "epoch": epoch,
            "uid": uid,
            "uidnext": uidnext,
            "times": 1,
            "at": fact.at,
            "silent": int(fact.silent),
        }
        for fact in facts
        for epoch, uid, uidnext in fact.attempted
    ]
    if attempts:
        send(connection, _UPSERT_ATTEMPT, attempts)


def _settled(connection: Connection, _segment: Segment, facts: Sequence[SettledFact]) -> None:
    rows = [
        {"of_target": fact.target, "of_epoch": epoch, "of_uid": uid}
        for fact in facts
        for epoch, uid in fact.messages
    ]
    if rows:
        send(connection, _END_ATTEMPT, rows)


def _twins(connection: Connection, _segment: Segment, facts: Sequence[TwinFact]) -> None:
    rows = [
        {
            "target": fact.target,
            "target_uid": fact.target_uid,
            "epoch": fact.epoch,
            "uid": fact.uid,
            "flags": flags_to_text(fact.flags),
            "certain": int(fact.certain),
            "at": fact.at,
        }
        for fact in facts
    ]
    send(connection, _UPSERT_TWIN, rows)


_refusal = upsert(REFUSAL)
_UPSERT_REFUSAL = _refusal.on_conflict_do_update(
    index_elements=[REFUSAL.c.epoch, REFUSAL.c.uid, REFUSAL.c.target],
    set_={
        **{name: _refusal.excluded[name] for name in ("refusal", "reason", "server_reply", "date", "subject")},
        **failed_again(REFUSAL, _refusal),
    },
)


def _refused(connection: Connection, segment: Segment, facts: Sequence[RefusedFact]) -> None:
    """A refusal counts as one try of its run; an acceptance does not count as a try."""
    rows = [
        {
            "target": fact.target,
            "epoch": fact.epoch,
            "uid": fact.uid,
            "refusal": fact.refusal,
            "reason": text(fact.reason),
            "server_reply": text(fact.server_reply),
            "date": text(fact.date),
            "subject": text(fact.subject),
            "tries": 0 if fact.accepted else 1,
            "accepted": fact.accepted,
            "last_run": None if fact.accepted else segment.run,
        }
        for fact in facts
    ]
    connection.execute(_UPSERT_REFUSAL, rows)
    keys = [{"of_target": fact.target, "of_epoch": fact.epoch, "of_uid": fact.uid} for fact in facts]
    send(connection, _END_INTENT, keys)


_THIS_COPY = and_(COPY.c.target == bindparam("of_target"), COPY.c.target_uid == bindparam("of_uid"))
_REFLAG = (
    update(COPY)
    .where(_THIS_COPY)
    .values(source_flags=bindparam("replayed"), flags=bindparam("said"), lost=bindparam("not_kept"))
)


def _reflagged(connection: Connection, _segment: Segment, facts: Sequence[ReflaggedFact]) -> None:
    rows = [
        {
            "of_target": fact.target,
            "of_uid": fact.target_uid,
            "replayed": flags_to_text(fact.source_flags),
            "said": flags_to_text(fact.flags),
            "not_kept": flags_to_text(fact.lost),
        }
        for fact in facts
    ]
    send(connection, _REFLAG, rows)


_REMOVE = (
    update(COPY)
    .where(_THIS_COPY, COPY.c.removed_at.is_(None))
    .values(removed_at=bindparam("when"), removed_by=bindparam("whom"))
)
_FORGET = delete(COPY).where(_THIS_COPY)
_FORGET_MARKED = _FORGET.where(COPY.c.marked)


def _removed(connection: Connection, _segment: Segment, facts: Sequence[RemovedFact]) -> None:
    """Replicas that we expunged, or that we marked and somebody else expunged, are forgotten: if the message
    returns at the source, it is sent again. What the destination's user removed is remembered, so it is not sent
    again."""
    for fact in facts:
        rows = [{"of_target": fact.target, "of_uid": uid} for uid in fact.uids]
        send(connection, _END_TWIN, rows)
        if fact.by == "policy":
            send(connection, _FORGET, rows)
        else:
            send(connection, _FORGET_MARKED, rows)
            send(connection, _REMOVE, [{**row, "when": fact.at, "whom": fact.by} for row in rows])


_MARK = update(COPY).where(_THIS_COPY).values(marked=bindparam("is_marked"))


def _marked(connection: Connection, _segment: Segment, facts: Sequence[MarkedFact]) -> None:
    for fact in facts:
        rows = [{"of_target": fact.target, "of_uid": uid, "is_marked": int(fact.marked)} for uid in fact.uids]
        send(connection, _MARK, rows)


_SET_STATE = (
    update(TARGET)
    .where(TARGET.c.number == bindparam("of_target"))
    .values(uidnext=bindparam("its_uidnext"), messages=bindparam("its_messages"))
)


def _states(connection: Connection, _segment: Segment, facts: Sequence[TargetStateFact]) -> None:
    connection.execute(
        _SET_STATE,
        [{"of_target": fact.target, "its_uidnext": fact.uidnext, "its_messages": fact.messages} for fact in facts],
    )


def _renaming(connection: Connection, _segment: Segment, facts: Sequence[RenamingFact]) -> None:
    for fact in facts:
        connection.execute(update(TARGET).where(TARGET.c.number == fact.target).values(renaming=fact.raw))


def _renamed(connection: Connection, _segment: Segment, facts: Sequence[RenamedFact]) -> None:
    """What was known about an earlier folder of that name no longer applies."""
    for fact in facts:
        its = select(TARGET.c.destination).where(TARGET.c.number == fact.target).scalar_subquery()
        others = (TARGET.c.destination == its, TARGET.c.raw == fact.raw, TARGET.c.number != fact.target)
        end = update(TARGET).where(*others, TARGET.c.ended_at.is_(None))
        connection.execute(end.values(ended_at=fact.at))
        now = update(TARGET).where(TARGET.c.number == fact.target)
        connection.execute(now.values(raw=fact.raw, renaming=None))


COPY_HANDLERS: Mapping[type[Any], Callable[[Connection, Segment, Sequence[Any]], None]] = {
    MappedFact: _maps,
    TargetFact: _targets,
    IntentFact: _intents,
    CopiedFact: _copied,
    UnsentFact: _unsent,
    SettledFact: _settled,
    TwinFact: _twins,
    RefusedFact: _refused,
    ReflaggedFact: _reflagged,
    RemovedFact: _removed,
    MarkedFact: _marked,
    TargetStateFact: _states,
    RenamingFact: _renaming,
    RenamedFact: _renamed,
}
