"""What each fact about messages changes in the tables: what is stored, its headers, packs, flags and quarantine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    Connection,
    Text,
    and_,
    bindparam,
    delete,
    false,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from archiver.catalog.sqlite.apply.executemany import flags_to_text, send, text
from archiver.catalog.sqlite.apply.tries import failed_again
from archiver.catalog.sqlite.schema import FLAG_CHANGE, FRAME, HEADER, MESSAGE, PACK, PRESENCE_CHANGE, QUARANTINE
from archiver.facts.archive import (
    Fact,
    FlagsFact,
    HeadersFact,
    PackedFact,
    QuarantinedFact,
    ReleasedFact,
    Segment,
    StoredFact,
    VanishedFact,
)
from archiver.mail.model import Digest, Headers, StoredMessage

_THIS_MESSAGE = and_(MESSAGE.c.epoch == bindparam("of_epoch"), MESSAGE.c.uid == bindparam("of_uid"))
_THIS_QUARANTINE = and_(QUARANTINE.c.epoch == bindparam("of_epoch"), QUARANTINE.c.uid == bindparam("of_uid"))

_message = upsert(MESSAGE)
_UPSERT_MESSAGE = _message.on_conflict_do_update(
    index_elements=[MESSAGE.c.epoch, MESSAGE.c.uid],
    set_={column.name: _message.excluded[column.name] for column in MESSAGE.c if not column.primary_key},
)
_UNQUARANTINE = delete(QUARANTINE).where(_THIS_QUARANTINE)


def _presence(present: bool) -> Any:
    """Record history for a message only if its presence is about to change."""
    vanished = MESSAGE.c.vanished_at
    return insert(PRESENCE_CHANGE).from_select(
        ["epoch", "uid", "at", "run", "present"],
        select(
            MESSAGE.c.epoch, MESSAGE.c.uid, bindparam("when"), bindparam("by"), true() if present else false()
        ).where(_THIS_MESSAGE, vanished.is_not(None) if present else vanished.is_(None)),
    )


_RECORD_RETURN, _RECORD_VANISHING = _presence(True), _presence(False)


def _stored(connection: Connection, segment: Segment, facts: Sequence[StoredFact]) -> None:
    messages = [{"of_epoch": fact.epoch, "of_uid": fact.message.uid} for fact in facts]
    returns = [
        {**message, "when": fact.at, "by": segment.run} for message, fact in zip(messages, facts, strict=True)
    ]
    send(connection, _RECORD_RETURN, returns)
    send(connection, _UPSERT_MESSAGE, [_row(segment.run, fact) for fact in facts])
    send(connection, _UNQUARANTINE, messages)
    _set_headers(connection, [(fact.message.digest, fact.headers) for fact in facts if fact.headers is not None])


_OF_MESSAGE = tuple(each.name for each in fields(StoredMessage))


_values_of = attrgetter(*_OF_MESSAGE)
_TEXTS = [name for name in _OF_MESSAGE if name != "flags" and isinstance(MESSAGE.c[name].type, Text)]


def _row(run: str, fact: StoredFact) -> dict[str, object]:
    row: dict[str, Any] = dict(zip(_OF_MESSAGE, _values_of(fact.message), strict=True))
    row["flags"] = flags_to_text(fact.message.flags)
    for name in _TEXTS:
        row[name] = text(row[name])
    return row | {
        "epoch": fact.epoch,
        "matched": fact.matched,
        "stored_run": run,
        "stored_at": fact.at,
        "vanished_run": None,
        "vanished_at": None,
    }


_header = upsert(HEADER)
_UPSERT_HEADER = _header.on_conflict_do_update(
    index_elements=[HEADER.c.digest],
    set_={column.name: _header.excluded[column.name] for column in HEADER.c if not column.primary_key},
)


def _headers(connection: Connection, _segment: Segment, facts: Sequence[HeadersFact]) -> None:
    _set_headers(connection, [(fact.digest, fact.headers) for fact in facts])


def _set_headers(connection: Connection, known: Sequence[tuple[Digest, Headers]]) -> None:
    rows = [
        {
            "digest": digest,
            "sender": text(headers.sender),
            "recipients": text(headers.recipients),
            "subject": text(headers.subject),
            "sent": text(headers.sent),
        }
        for digest, headers in known
    ]
    if rows:
        send(connection, _UPSERT_HEADER, rows)


_pack = upsert(PACK)
_UPSERT_PACK = _pack.on_conflict_do_update(index_elements=[PACK.c.digest], set_={"size": _pack.excluded["size"]})
_frame = upsert(FRAME)
_UPSERT_FRAME = _frame.on_conflict_do_update(
    index_elements=[FRAME.c.digest],
    set_={column.name: _frame.excluded[column.name] for column in FRAME.c if not column.primary_key},
)


def _packed(connection: Connection, _segment: Segment, facts: Sequence[PackedFact]) -> None:
    send(connection, _UPSERT_PACK, [{"digest": fact.pack, "size": fact.size} for fact in facts])
    frames = [
        {"digest": digest, "pack": fact.pack, "offset": offset, "length": length}
        for fact in facts
        for digest, offset, length in fact.frames
    ]
    if frames:
        send(connection, _UPSERT_FRAME, frames)


_CHANGED_FLAGS = and_(_THIS_MESSAGE, MESSAGE.c.flags != bindparam("now"))
_RECORD_FLAGS = insert(FLAG_CHANGE).from_select(
    ["epoch", "uid", "at", "run", "flags_before", "flags_after"],
    select(
        MESSAGE.c.epoch, MESSAGE.c.uid, bindparam("when"), bindparam("by"), MESSAGE.c.flags, bindparam("now")
    ).where(_CHANGED_FLAGS),
)
_SET_FLAGS = update(MESSAGE).where(_CHANGED_FLAGS).values(flags=bindparam("now"))


def _flags(connection: Connection, segment: Segment, facts: Sequence[FlagsFact]) -> None:
    changes = [{"of_epoch": fact.epoch, "of_uid": fact.uid, "now": flags_to_text(fact.flags)} for fact in facts]
    history = [{**change, "when": fact.at, "by": segment.run} for change, fact in zip(changes, facts, strict=True)]
    send(connection, _RECORD_FLAGS, history)
    send(connection, _SET_FLAGS, changes)


_SET_VANISHED = (
    update(MESSAGE)
    .where(_THIS_MESSAGE, MESSAGE.c.vanished_at.is_(None))
    .values(vanished_at=bindparam("when"), vanished_run=bindparam("by"))
)


def _vanished(connection: Connection, segment: Segment, facts: Sequence[VanishedFact]) -> None:
    for fact in facts:
        rows = [
            {"of_epoch": fact.epoch, "of_uid": uid, "when": fact.at, "by": segment.run}
            for uid in dict.fromkeys(fact.uids)
        ]
        if rows:
            send(connection, _RECORD_VANISHING, rows)
            send(connection, _SET_VANISHED, rows)


_quarantine = upsert(QUARANTINE)
_UPSERT_QUARANTINE = _quarantine.on_conflict_do_update(
    index_elements=[QUARANTINE.c.epoch, QUARANTINE.c.uid],
    set_={
        "step": _quarantine.excluded.step,
        "reason": _quarantine.excluded.reason,
        "server_reply": _quarantine.excluded.server_reply,
        **failed_again(QUARANTINE, _quarantine),
    },
)


def _quarantined(connection: Connection, segment: Segment, facts: Sequence[QuarantinedFact]) -> None:
    """A failure counts as one try of its run; an acceptance does not count as a try."""
    rows = [
        {
            "epoch": fact.epoch,
            "uid": fact.uid,
            "step": fact.step,
            "reason": text(fact.reason),
            "server_reply": text(fact.server_reply),
            "tries": 0 if fact.accepted else 1,
            "accepted": fact.accepted,
            "since": fact.at,
            "last_run": None if fact.accepted else segment.run,
        }
        for fact in facts
    ]
    connection.execute(_UPSERT_QUARANTINE, rows)


def _released(connection: Connection, _segment: Segment, facts: Sequence[ReleasedFact]) -> None:
    rows = [{"of_epoch": fact.epoch, "of_uid": uid} for fact in facts for uid in fact.uids]
    if rows:
        send(connection, _UNQUARANTINE, rows)


MESSAGE_HANDLERS: Mapping[type[Fact], Callable[[Connection, Segment, Sequence[Any]], None]] = {
    StoredFact: _stored,
    HeadersFact: _headers,
    PackedFact: _packed,
    FlagsFact: _flags,
    VanishedFact: _vanished,
    QuarantinedFact: _quarantined,
    ReleasedFact: _released,
}
