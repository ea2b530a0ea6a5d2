"""What each fact changes in the tables.

Facts take effect in order; adjacent facts of one kind are passed to the database together. The statements are plain
upserts and updates, so a thousand messages take only a few calls.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.apply.access import ACCESS_HANDLERS
from archiver.catalog.sqlite.apply.destinations import DESTINATION_HANDLERS
from archiver.catalog.sqlite.apply.keeping import KEEPING_HANDLERS
from archiver.catalog.sqlite.apply.messages import MESSAGE_HANDLERS
from archiver.catalog.sqlite.apply.pruning import PRUNING_HANDLERS
from archiver.catalog.sqlite.apply.replica import COPY_HANDLERS
from archiver.catalog.sqlite.apply.statements import flags_to_text, insert, text, upsert
from archiver.catalog.sqlite.reading import CURRENT_SOURCE
from archiver.facts.archive import (
    ArchiveFact,
    EpochFact,
    Fact,
    FenceFact,
    FlagsFact,
    FolderFact,
    LabelsFact,
    NumberedFact,
    PassFact,
    QuarantinedFact,
    Segment,
    StateFact,
    StoredFact,
)
from archiver.facts.destination import CopiedFact, LabelledFact, ReflaggedFact, RefusedFact
from archiver.mail.model import UNSELECTABLE


def apply_facts(connection: sqlite3.Connection, segment: Segment) -> None:
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
    if isinstance(fact, (FlagsFact, LabelsFact, QuarantinedFact, RefusedFact)):
        return ((fact.epoch, fact.uid),)
    if isinstance(fact, CopiedFact):
        return (fact.target, fact.target_uid), (fact.target, fact.epoch, fact.uid)
    if isinstance(fact, (ReflaggedFact, LabelledFact)):
        return ((fact.target, fact.target_uid),)
    return ()


_ARCHIVE = ("archive_id", "account", "protocol", "host", "user", "at")
_INSERT_ARCHIVE = insert("archive", _ARCHIVE)


def _archive(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[ArchiveFact]) -> None:
    rows = [tuple(text(getattr(fact, name)) for name in _ARCHIVE) for fact in facts]
    connection.executemany(_INSERT_ARCHIVE, rows)


def _gone(name: str) -> str:
    """Since when a folder is gone: since the first time that it was."""
    return f"CASE WHEN excluded.gone_at IS NOT NULL THEN coalesce(folder.{name}, excluded.{name}) END"


_UPSERT_FOLDER = upsert(
    "folder",
    (
        *("number", "raw", "path", "delimiter", "directory", "attributes"),
        *("subscribed", "listed", "first_seen", "gone_at", "gone_run"),
    ),
    ("number",),
    raw="folder.raw",
    directory="folder.directory",
    first_seen="folder.first_seen",
    gone_at=_gone("gone_at"),
    gone_run=_gone("gone_run"),
)


def _folders(connection: sqlite3.Connection, segment: Segment, facts: Sequence[FolderFact]) -> None:
    rows = [
        (
            fact.number,
            fact.raw,
            json.dumps(fact.path),
            text(fact.delimiter),
            text(fact.directory),
            flags_to_text(fact.attributes),
            fact.subscribed,
            fact.listed,
            fact.at,
            fact.at if is_gone else None,
            segment.run if is_gone else None,
        )
        for fact in facts
        for is_gone in [not fact.listed or bool(fact.attributes & UNSELECTABLE)]
    ]
    connection.executemany(_UPSERT_FOLDER, rows)


_END_EPOCH = "UPDATE epoch SET ended_at = :at WHERE folder = :folder AND ended_at IS NULL"
_INSERT_EPOCH = insert("epoch", ("number", "folder", "source", "uidvalidity", "generation", "reason", "began_at"))


def _epochs(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[EpochFact]) -> None:
    (source,) = connection.execute(f"SELECT {CURRENT_SOURCE}").fetchone()
    for fact in facts:
        connection.execute(_END_EPOCH, {"folder": fact.folder, "at": fact.at})
        row = (fact.number, fact.folder, source, fact.uidvalidity, fact.generation, fact.reason, fact.at)
        connection.execute(_INSERT_EPOCH, row)


_UPSERT_NUMBERING = upsert(
    "numbering",
    ("folder", "uidvalidity", "uidnext"),
    ("folder", "uidvalidity"),
    uidnext="max(numbering.uidnext, excluded.uidnext)",
)
_UPSERT_NAME = upsert("name", ("folder", "uidvalidity", "name", "uid"), ("folder", "uidvalidity", "name"))


def _numbered(connection: sqlite3.Connection, _segment: Segment, facts: Sequence[NumberedFact]) -> None:
    for fact in facts:
        of, names = (fact.folder, fact.uidvalidity), enumerate(map(text, fact.names), fact.first)
        connection.execute(_UPSERT_NUMBERING, (*of, fact.first + len(fact.names)))
        connection.executemany(_UPSERT_NAME, ((*of, name, uid) for uid, name in names))


_UPSERT_PASS = upsert(
    "pass", ("run", "epoch", "segment", "on_server", "excluded", "error", "at", "shown"), ("run", "epoch")
)


def _passes(connection: sqlite3.Connection, segment: Segment, facts: Sequence[PassFact]) -> None:
    rows = [
        (
            segment.run,
            fact.epoch,
            segment.number,
            fact.on_server,
            fact.excluded,
            text(fact.error),
            fact.at,
            fact.shown,
        )
        for fact in facts
    ]
    connection.executemany(_UPSERT_PASS, rows)


_SET_STATE = """
UPDATE epoch SET uidnext = ?, highestmodseq = ?, messages = ?, filter = ?, status_size = ?, completed_run = ?
WHERE number = ?
"""


def _states(connection: sqlite3.Connection, segment: Segment, facts: Sequence[StateFact]) -> None:
    rows = [
        (fact.uidnext, fact.highestmodseq, fact.messages, fact.filter, fact.size, segment.run, fact.epoch)
        for fact in facts
    ]
    connection.executemany(_SET_STATE, rows)


def _fences(_connection: sqlite3.Connection, _segment: Segment, _facts: Sequence[FenceFact]) -> None:
    """Changes nothing: what counts is that its segment has its number."""


_HANDLERS: Mapping[type[Fact], Callable[[sqlite3.Connection, Segment, Sequence[Any]], None]] = {
    ArchiveFact: _archive,
    FolderFact: _folders,
    EpochFact: _epochs,
    NumberedFact: _numbered,
    PassFact: _passes,
    StateFact: _states,
    FenceFact: _fences,
    **MESSAGE_HANDLERS,
    **DESTINATION_HANDLERS,
    **COPY_HANDLERS,
    **ACCESS_HANDLERS,
    **KEEPING_HANDLERS,
    **PRUNING_HANDLERS,
}
