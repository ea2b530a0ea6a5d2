"""What each fact changes in the tables.

Facts take effect in order; adjacent facts of one kind are passed to the database together. The statements are plain
upserts and updates, so a thousand messages take only a few calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from archiver.catalog.sqlite.apply.destinations import DESTINATION_HANDLERS
from archiver.catalog.sqlite.apply.executemany import flags_to_text, send, text
from archiver.catalog.sqlite.apply.messages import MESSAGE_HANDLERS
from archiver.catalog.sqlite.apply.replica import COPY_HANDLERS
from archiver.catalog.sqlite.reading import CURRENT_SOURCE
from archiver.catalog.sqlite.schema import (
    ARCHIVE,
    EPOCH,
    FOLDER,
    PASS,
)
from archiver.facts.archive import (
    ArchiveFact,
    EpochFact,
    Fact,
    FenceFact,
    FlagsFact,
    FolderFact,
    PassFact,
    QuarantinedFact,
    Segment,
    StateFact,
    StoredFact,
)
from archiver.facts.destination import CopiedFact, ReflaggedFact, RefusedFact
from archiver.mail.model import UNSELECTABLE


def apply_facts(connection: Connection, segment: Segment) -> None:
    """Apply a segment's facts, in order, in the caller's transaction."""
    for group in _groups(segment.facts):
        _HANDLERS[type(group[0])](connection, segment, group)


def _groups(facts: Sequence[Fact]) -> Iterator[list[Any]]:
    """Adjacent facts of one kind. Each message and each replica is in a group at most once, so that its history has
    every change."""
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
    """What a fact is about: a message, a replica, or a replica and its message in that folder."""
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
    """Changes nothing: what counts is that its segment has its number."""


_HANDLERS: Mapping[type[Fact], Callable[[Connection, Segment, Sequence[Any]], None]] = {
    ArchiveFact: _archive,
    FolderFact: _folders,
    EpochFact: _epochs,
    PassFact: _passes,
    StateFact: _states,
    FenceFact: _fences,
    **MESSAGE_HANDLERS,
    **DESTINATION_HANDLERS,
    **COPY_HANDLERS,
}
