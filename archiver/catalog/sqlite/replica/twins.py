"""What the catalog knows about messages that a destination may have stored twice: attempts, and late twins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, or_, select

from archiver.catalog.sqlite.reading import PLACE, FlagSets, folder_name, of_messages, placement
from archiver.catalog.sqlite.schema import ATTEMPT, COPY, FOLDER, MAPPED, MESSAGE, TARGET, TWIN
from archiver.facts.replica import Attempt, LateTwin, Loss, Outgoing
from archiver.mail.uidset import format_uid_set

_LINE = 10_000_000


def attempts(connection: Connection, target: int) -> Sequence[Attempt]:
    """Messages that have a replica and may be stored a second time."""
    its_copy = and_(COPY.c.target == ATTEMPT.c.target, COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid)
    rows = (
        of_messages(
            ATTEMPT.c.uidnext, ATTEMPT.c.times, ATTEMPT.c.at, ATTEMPT.c.silent,
            COPY.c.size, COPY.c.dated, COPY.c.flags, MESSAGE.c.epoch, *PLACE,
        )
        .join(ATTEMPT, and_(ATTEMPT.c.epoch == MESSAGE.c.epoch, ATTEMPT.c.uid == MESSAGE.c.uid))
        .join(COPY, its_copy)
        .where(ATTEMPT.c.target == target)
        .order_by(MESSAGE.c.epoch, MESSAGE.c.uid)
    )  # fmt: skip
    sets = FlagSets()
    return [_attempt(row, sets) for row in connection.execute(rows)]


def _attempt(row: Row[*tuple[Any, ...]], sets: FlagSets) -> Attempt:
    uidnext, times, at, silent, size, dated, flags, epoch, *columns = row
    place = placement(columns, sets)
    sizes = frozenset({place.size, place.crlf_size, *([] if size is None else [size])})
    return Attempt(Outgoing(epoch, place), uidnext, times, sizes, bool(dated), sets[flags], at, bool(silent))


def twins(connection: Connection, target: int) -> Sequence[LateTwin]:
    """Twins that still exist as far as known, in UID order, with their message's replica if it still exists."""
    its_copy = and_(
        COPY.c.target == TWIN.c.target,
        COPY.c.epoch == TWIN.c.epoch,
        COPY.c.uid == TWIN.c.uid,
        COPY.c.removed_at.is_(None),
    )
    rows = (
        select(TWIN.c.target_uid, TWIN.c.epoch, TWIN.c.uid, COPY.c.target_uid, TWIN.c.flags, TWIN.c.certain)
        .outerjoin(COPY, its_copy)
        .where(TWIN.c.target == target)
        .order_by(TWIN.c.target_uid)
    )
    return [
        LateTwin(uid, (epoch, message), replica, frozenset(json.loads(flags)), bool(certain))
        for uid, epoch, message, replica, flags, certain in connection.execute(rows)
    ]


def twins_listed(connection: Connection, destination: int) -> Sequence[Loss]:
    """The twins of a destination, for its report: one row per folder. The last remaining replica of a message is
    not a twin."""
    others = COPY.alias(), TWIN.alias()
    replicas, twins = (
        exists()
        .where(other.c.target == TWIN.c.target, other.c.epoch == TWIN.c.epoch, other.c.uid == TWIN.c.uid)
        .where(other.c.target_uid != TWIN.c.target_uid)
        for other in others
    )
    rows = (
        of_messages(FOLDER.c.path, TWIN.c.uid, TWIN.c.target_uid)
        .where(or_(replicas.where(others[0].c.removed_at.is_(None)), twins))
        .join(TWIN, and_(TWIN.c.epoch == MESSAGE.c.epoch, TWIN.c.uid == MESSAGE.c.uid))
        .join(TARGET, TARGET.c.number == TWIN.c.target)
        .join(MAPPED, and_(MAPPED.c.destination == TARGET.c.destination, MAPPED.c.folder == FOLDER.c.number))
        .where(MAPPED.c.raw == TARGET.c.raw)
        .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
        .order_by(FOLDER.c.number, TWIN.c.target_uid)
    )
    found: dict[str, list[tuple[int, int]]] = {}
    for path, uid, there in connection.execute(rows):
        found.setdefault(folder_name(path), []).append((uid, there))
    return [
        Loss(
            folder,
            "twin",
            ",".join(format_uid_set({there for _, there in pairs}, _LINE)),
            tuple(sorted(uid for uid, _ in pairs)),
        )
        for folder, pairs in found.items()
    ]
