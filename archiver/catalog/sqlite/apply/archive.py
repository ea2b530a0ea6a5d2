"""What each fact changes in the tables.

Facts take effect in their order; neighbours of one kind are sent to the database together. The statements are
plain upserts and updates, so that a thousand messages are a handful of round trips.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from archiver.catalog.sqlite.apply.destinations import DESTINATION_EFFECTS
from archiver.catalog.sqlite.apply.executemany import flags_to_text, send, text
from archiver.catalog.sqlite.apply.replica import COPY_EFFECTS
from archiver.catalog.sqlite.reading import CURRENT_SOURCE
from archiver.catalog.sqlite.schema import (
    ARCHIVE,
    EPOCH,
    FLAG_CHANGE,
    FOLDER,
    FRAME,
    HEADER,
    MESSAGE,
    PACK,
    PASS,
    PRESENCE_CHANGE,
    QUARANTINE,
)
from archiver.facts.archive import (
    ArchiveFact,
    EpochFact,
    Fact,
    FenceFact,
    FlagsFact,
    FolderFact,
    HeadersFact,
    PackedFact,
    PassFact,
    QuarantinedFact,
    ReleasedFact,
    Segment,
    StateFact,
    StoredFact,
    VanishedFact,
)
from archiver.facts.destination import CopiedFact, ReflaggedFact, RefusedFact
from archiver.mail.model import UNSELECTABLE, Digest, Flags, Headers, StoredMessage


def apply_facts(connection: Connection, segment: Segment) -> None:
    """Apply a segment's facts, in order, in the caller's transaction."""
    for group in _groups(segment.facts):
        _EFFECTS[type(group[0])](connection, segment, group)


def _groups(facts: Sequence[Fact]) -> Iterator[list[Any]]:
    """Neighbours of one kind; each message, and each copy, at most once in a group, so that its history keeps every
    change."""
    group: list[Fact] = []
    seen: set[tuple[int, ...]] = set()
    for fact in facts:
        about = _about(fact)
        if group and (type(fact) is not type(group[0]) or not seen.isdisjoint(about)):
            yield group
            group, seen = [], set()
        group.append(fact)
        seen.update(about)
    if group:
        yield group


def _about(fact: Fact) -> Sequence[tuple[int, ...]]:
    """What a fact is about: a message, a copy, or a copy and the message in that target."""
    if isinstance(fact, StoredFact):
        return ((fact.epoch, fact.message.uid),)
    if isinstance(fact, (FlagsFact, QuarantinedFact, RefusedFact)):
        return ((fact.epoch, fact.uid),)
    if isinstance(fact, CopiedFact):
        return (fact.target, fact.target_uid), (fact.target, fact.epoch, fact.uid)
    if isinstance(fact, ReflaggedFact):
        return ((fact.target, fact.target_uid),)
    return ()


def _archive(connection: Connection, _segment: Segment, facts: Sequence[ArchiveFact]) -> None:
    names = ("archive_id", "account", "protocol", "host", "user", "at")
    connection.execute(insert(ARCHIVE), [{name: text(getattr(fact, name)) for name in names} for fact in facts])


_folder = upsert(FOLDER)
_UPSERT_FOLDER = _folder.on_conflict_do_update(
    index_elements=[FOLDER.c.number],
    set_={name: _folder.excluded[name] for name in ("path", "delimiter", "attributes", "subscribed", "listed")}
    | {
        name: case((_folder.excluded.gone_at.is_(None), None), else_=func.coalesce(FOLDER.c[name], given))
        for name, given in (("gone_at", _folder.excluded.gone_at), ("gone_run", _folder.excluded.gone_run))
    },
)


def _folders(connection: Connection, segment: Segment, facts: Sequence[FolderFact]) -> None:
    rows = [
        {
            "number": fact.number,
            "raw": fact.raw,
            "path": json.dumps(fact.path),
            "delimiter": text(fact.delimiter),
            "directory": text(fact.directory),
            "attributes": flags_to_text(fact.attributes),
            "subscribed": fact.subscribed,
            "listed": fact.listed,
            "first_seen": fact.at,
            "gone_at": fact.at if is_gone else None,
            "gone_run": segment.run if is_gone else None,
        }
        for fact in facts
        for is_gone in [not fact.listed or bool(fact.attributes & UNSELECTABLE)]
    ]
    send(connection, _UPSERT_FOLDER, rows)


_END_EPOCH = (
    update(EPOCH)
    .where(EPOCH.c.folder == bindparam("of_folder"), EPOCH.c.ended_at.is_(None))
    .values(ended_at=bindparam("end"))
)


def _epochs(connection: Connection, _segment: Segment, facts: Sequence[EpochFact]) -> None:
    source = connection.scalar(select(CURRENT_SOURCE))
    for fact in facts:
        connection.execute(_END_EPOCH, {"of_folder": fact.folder, "end": fact.at})
        connection.execute(
            insert(EPOCH),
            {
                "number": fact.number,
                "folder": fact.folder,
                "source": source,
                "uidvalidity": fact.uidvalidity,
                "generation": fact.generation,
                "reason": fact.reason,
                "began_at": fact.at,
            },
        )


_THIS_MESSAGE = and_(MESSAGE.c.epoch == bindparam("of_epoch"), MESSAGE.c.uid == bindparam("of_uid"))
_THIS_QUARANTINE = and_(QUARANTINE.c.epoch == bindparam("of_epoch"), QUARANTINE.c.uid == bindparam("of_uid"))

_message = upsert(MESSAGE)
_UPSERT_MESSAGE = _message.on_conflict_do_update(
    index_elements=[MESSAGE.c.epoch, MESSAGE.c.uid],
    set_={column.name: _message.excluded[column.name] for column in MESSAGE.c if not column.primary_key},
)
_UNQUARANTINE = delete(QUARANTINE).where(_THIS_QUARANTINE)


def _presence(present: bool) -> Any:
    """History for a message whose presence is about to change, nothing for one where it is not."""
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


def _value(value: int | str | Flags | None) -> int | str | None:
    if isinstance(value, frozenset):
        return flags_to_text(value)
    return text(value) if isinstance(value, str) else value


def _row(run: str, fact: StoredFact) -> dict[str, object]:
    return {
        "epoch": fact.epoch,
        **{name: _value(getattr(fact.message, name)) for name in _OF_MESSAGE},
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
        "tries": QUARANTINE.c.tries
        + case(
            (_quarantine.excluded.last_run.is_(None), 0),
            (QUARANTINE.c.last_run == _quarantine.excluded.last_run, 0),
            else_=1,
        ),
        # A person's word is not taken back by another failure.
        "accepted": or_(QUARANTINE.c.accepted, _quarantine.excluded.accepted),
        "last_run": func.coalesce(_quarantine.excluded.last_run, QUARANTINE.c.last_run),
    },
)


def _quarantined(connection: Connection, segment: Segment, facts: Sequence[QuarantinedFact]) -> None:
    """A failure counts as one try of its run; an acceptance is no try."""
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


_pass = upsert(PASS)
_UPSERT_PASS = _pass.on_conflict_do_update(
    index_elements=[PASS.c.run, PASS.c.epoch],
    set_={column.name: _pass.excluded[column.name] for column in PASS.c if not column.primary_key},
)


def _passes(connection: Connection, segment: Segment, facts: Sequence[PassFact]) -> None:
    rows = [
        {
            "run": segment.run,
            "epoch": fact.epoch,
            "segment": segment.number,
            "on_server": fact.on_server,
            "excluded": fact.excluded,
            "error": text(fact.error),
            "at": fact.at,
            "shown": fact.shown,
        }
        for fact in facts
    ]
    connection.execute(_UPSERT_PASS, rows)


_STATE = {name: name for name in ("uidnext", "highestmodseq", "messages", "filter")} | {"status_size": "size"}
_SET_STATE = (
    update(EPOCH)
    .where(EPOCH.c.number == bindparam("of_epoch"))
    .values(completed_run=bindparam("by"), **{column: bindparam(f"its_{name}") for column, name in _STATE.items()})
)


def _states(connection: Connection, segment: Segment, facts: Sequence[StateFact]) -> None:
    rows = [
        {"of_epoch": fact.epoch, "by": segment.run}
        | {f"its_{name}": getattr(fact, name) for name in _STATE.values()}
        for fact in facts
    ]
    connection.execute(_SET_STATE, rows)


def _fences(_connection: Connection, _segment: Segment, _facts: Sequence[FenceFact]) -> None:
    """Nothing: what counts is that its segment has its number."""


_EFFECTS: Mapping[type[Fact], Callable[[Connection, Segment, Sequence[Any]], None]] = {
    ArchiveFact: _archive,
    FolderFact: _folders,
    EpochFact: _epochs,
    StoredFact: _stored,
    HeadersFact: _headers,
    PackedFact: _packed,
    FlagsFact: _flags,
    VanishedFact: _vanished,
    QuarantinedFact: _quarantined,
    ReleasedFact: _released,
    PassFact: _passes,
    StateFact: _states,
    FenceFact: _fences,
    **DESTINATION_EFFECTS,
    **COPY_EFFECTS,
}
