"""The outcome for each folder's messages at a destination, and what it altered or does not keep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from archiver.catalog.sqlite.reading import IS_PRESENT, folder_name, of_messages
from archiver.catalog.sqlite.replica.queries import IS_WANTED, goes_there, is_current_target, was_removed
from archiver.catalog.sqlite.replica.twins import twins_listed
from archiver.catalog.sqlite.schema import COPY, EPOCH, FOLDER, MAPPED, MESSAGE, REFUSAL, TARGET
from archiver.facts.replica import Loss, ReplicaTally


def tallies(connection: Connection, destination: int, run: str | None) -> Sequence[ReplicaTally]:
    """The outcome for every mapped folder's present messages."""
    live = COPY.c.removed_at.is_(None)
    new = and_(COPY.c.run == run, COPY.c.how.in_(("appended", "found", "restored")))
    copied = COPY.c.target.is_not(None)
    gone = or_(and_(copied, ~live), and_(~copied, was_removed(TARGET.c.destination, TARGET.c.raw)))

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((and_(MESSAGE.c.uid.is_not(None), condition), 1), else_=0)), 0)

    rows = (
        select(
            MAPPED.c.folder,
            FOLDER.c.path,
            MAPPED.c.path,
            count(and_(copied, live, new)),
            count(and_(copied, live, ~func.coalesce(new, False))),
            count(and_(~copied, ~gone, REFUSAL.c.uid.is_not(None))),
            count(gone),
            count(and_(~copied, ~gone, REFUSAL.c.uid.is_(None))),
        )
        .select_from(MAPPED)
        .join(FOLDER, FOLDER.c.number == MAPPED.c.folder)
        .outerjoin(EPOCH, and_(EPOCH.c.folder == FOLDER.c.number, EPOCH.c.ended_at.is_(None)))
        .outerjoin(MESSAGE, and_(MESSAGE.c.epoch == EPOCH.c.number, MESSAGE.c.vanished_at.is_(None)))
        .outerjoin(TARGET, is_current_target())
        .outerjoin(
            COPY,
            and_(
                COPY.c.target == TARGET.c.number,
                COPY.c.epoch == MESSAGE.c.epoch,
                COPY.c.uid == MESSAGE.c.uid,
            ),
        )
        .outerjoin(
            REFUSAL,
            and_(
                REFUSAL.c.target == TARGET.c.number,
                REFUSAL.c.epoch == MESSAGE.c.epoch,
                REFUSAL.c.uid == MESSAGE.c.uid,
            ),
        )
        .where(MAPPED.c.destination == destination)
        .group_by(MAPPED.c.folder)
        .order_by(MAPPED.c.folder)
    )
    restored = _restored(connection, destination, run)
    return [
        replace(
            ReplicaTally(folder_name(row[1]), folder_name(row[2]), *row[3:]),
            restored=restored.get(row[0], 0),
        )
        for row in connection.execute(rows)
    ]


def _restored(connection: Connection, destination: int, run: str | None) -> dict[int, int]:
    """How many messages that are gone from the source the run restored, by folder number."""
    rows = (
        select(EPOCH.c.folder, func.count())
        .select_from(COPY)
        .join(MESSAGE, and_(MESSAGE.c.epoch == COPY.c.epoch, MESSAGE.c.uid == COPY.c.uid))
        .join(EPOCH, EPOCH.c.number == MESSAGE.c.epoch)
        .join(FOLDER, FOLDER.c.number == EPOCH.c.folder)
        .join(TARGET, TARGET.c.number == COPY.c.target)
        .join(MAPPED, goes_there())
        .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None), COPY.c.removed_at.is_(None))
        .where(COPY.c.run == run, COPY.c.how == "restored", ~IS_PRESENT)
        .group_by(EPOCH.c.folder)
    )
    return {row[0]: row[1] for row in connection.execute(rows)}


def losses(connection: Connection, destination: int) -> Sequence[Loss]:
    """What the destination altered or does not keep of present messages, and what it stored twice, by folder and
    kind."""
    odd = or_(COPY.c.lost != "[]", COPY.c.repaired != "", ~COPY.c.dated, COPY.c.likeness.in_(_REWRITTEN))
    rows = (
        of_messages(FOLDER.c.path, COPY.c.uid, COPY.c.lost, COPY.c.repaired, COPY.c.dated, COPY.c.likeness)
        .join(COPY, and_(COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid))
        .join(TARGET, TARGET.c.number == COPY.c.target)
        .join(MAPPED, goes_there())
        .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None), IS_WANTED)
        .where(COPY.c.removed_at.is_(None), odd)
        .order_by(FOLDER.c.number, COPY.c.uid)
    )
    found: dict[tuple[str, str, str], list[int]] = {}
    for path, uid, lost, repaired, dated, likeness in connection.execute(rows):
        folder = folder_name(path)
        for kind, detail in _losses_of(lost, repaired, dated, likeness):
            found.setdefault((folder, kind, detail), []).append(uid)
    twice = twins_listed(connection, destination)
    return [*twice, *(Loss(*what, tuple(uids)) for what, uids in found.items())]


_REWRITTEN = {
    "line-ends": "line ends",
    "headers": "headers",
    "other": "the bytes",
}


def _losses_of(lost: str, repaired: str, dated: bool, likeness: str | None) -> Iterator[tuple[str, str]]:
    if lost != "[]":
        yield "flags", " ".join(json.loads(lost))
    if repaired:
        yield "repaired", repaired.replace(",", ", ")
    if not dated:
        yield "internaldate", "the destination does not keep it"
    if likeness in _REWRITTEN:
        yield "rewritten", _REWRITTEN[likeness]
