"""Replicas at a destination whose messages or folders vanished from the source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)

from archiver.catalog.sqlite.reading import of_messages
from archiver.catalog.sqlite.replica.queries import REPLICAS
from archiver.catalog.sqlite.schema import COPY, EPOCH, FOLDER, MAPPED, MESSAGE, PASS, STEP, TARGET
from archiver.facts.replica import Moved
from archiver.mail.window import WINDOWS

#: Replicas that we appended and that were not removed, without those that the user restored.
_OURS = and_(COPY.c.removed_at.is_(None), COPY.c.how.in_(("appended", "found", "again")))


def gone_from_source(target: int, gone: Collection[int], *, twice: bool) -> Select[*tuple[Any, ...]]:
    """Our replicas in the folder whose message vanished, or whose source folder, one of `gone`, did; `twice`: two
    complete archive steps saw that."""
    rows = REPLICAS.where(COPY.c.target == target, _OURS, EPOCH.c.ended_at.is_(None))
    return rows.where(_is_gone(gone, twice=twice))


def _is_gone(gone: Collection[int], *, twice: bool) -> ColumnElement[bool]:
    """The message vanished, or its folder, one of `gone`, did; `twice`: two complete archive steps saw that.

    NOTE: not if the folder shows a number of messages at which providers cut off: what earlier versions took for
    deleted there may only be hidden.
    """
    vanished = MESSAGE.c.vanished_at.is_not(None)
    with_its_folder = and_(FOLDER.c.gone_at.is_not(None), FOLDER.c.number.in_(gone))
    if not twice:
        return or_(vanished, with_its_folder)
    is_cut = (
        select(func.coalesce(PASS.c.shown.in_(WINDOWS), False))
        .where(PASS.c.epoch == EPOCH.c.number, PASS.c.error.is_(None))
        .order_by(PASS.c.segment.desc())
        .limit(1)
        .scalar_subquery()
    )
    return or_(
        and_(vanished, _seen_twice(MESSAGE.c.vanished_at, MESSAGE.c.vanished_run), ~func.coalesce(is_cut, False)),
        and_(with_its_folder, _seen_twice(FOLDER.c.gone_at, FOLDER.c.gone_run)),
    )


def _seen_twice(at: ColumnElement[str], run: ColumnElement[str]) -> ColumnElement[bool]:
    """Two complete archive steps saw what happened at that time. Times have a resolution of a second: within the
    same second only steps of the same or a later run count.

    NOTE: a run whose clock was ahead has a step that seems to come afterwards. So a step also counts only if it was
    recorded no earlier than the first one of `run`; a rebuilt catalog knows no earlier step.
    """
    its, number = STEP.alias("its"), literal_column("its.rowid", Integer)
    first = select(func.coalesce(func.min(number), 0)).select_from(its).where(its.c.run == run).scalar_subquery()
    afterwards = and_(
        tuple_(STEP.c.at, STEP.c.run) >= tuple_(at, run), literal_column("step.rowid", Integer) >= first
    )
    return select(func.count()).where(STEP.c.step == "archive", afterwards).scalar_subquery() >= 2


def stranded(connection: Connection, destination: int) -> Mapping[int, int]:
    """How many of our replicas belong to folders that the source no longer has, by folder number."""
    rows = (
        of_messages(FOLDER.c.number, func.count())
        .join(COPY, and_(COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid))
        .join(TARGET, TARGET.c.number == COPY.c.target)
        .where(
            FOLDER.c.gone_at.is_not(None), TARGET.c.destination == destination, TARGET.c.ended_at.is_(None), _OURS
        )
        .group_by(FOLDER.c.number)
    )
    return {row[0]: row[1] for row in connection.execute(rows)}


def is_needed(target: int) -> ColumnElement[bool]:
    """The message has the same octets as one that is at the source and missing at the destination; for instance, it
    was moved and then refused in its new folder. Then the replica of the vanished message is the only one there."""
    other, epoch, folder = MESSAGE.alias("other"), EPOCH.alias("its_epoch"), FOLDER.alias("its_folder")
    replica, its_target = COPY.alias("its_copy"), TARGET.alias("its_target")
    destination = select(TARGET.c.destination).where(TARGET.c.number == target).scalar_subquery()
    is_there = (
        select(replica.c.target_uid)
        .join(its_target, its_target.c.number == replica.c.target)
        .where(replica.c.epoch == other.c.epoch, replica.c.uid == other.c.uid, replica.c.removed_at.is_(None))
        .where(its_target.c.destination == destination, its_target.c.ended_at.is_(None))
        .exists()
    )
    return (
        select(other.c.uid)
        .join(epoch, epoch.c.number == other.c.epoch)
        .join(folder, folder.c.number == epoch.c.folder)
        .join(MAPPED, and_(MAPPED.c.folder == folder.c.number, MAPPED.c.destination == destination))
        .where(other.c.digest == MESSAGE.c.digest, other.c.vanished_at.is_(None), epoch.c.ended_at.is_(None))
        .where(folder.c.gone_at.is_(None), ~is_there)
        .correlate(MESSAGE)
        .exists()
    )


def moved(connection: Connection, destination: int) -> list[Moved]:
    """Destination folders whose replicas belong to source folders that are mapped elsewhere, with the folders that
    have their mail now. The message of each replica is no longer in its folder; or it still is and the folder is
    mapped elsewhere, for instance if a run was interrupted after it followed a rename that was undone before the
    next run."""
    is_there = MESSAGE.c.vanished_at.is_(None)
    stays = and_(is_there, EPOCH.c.ended_at.is_(None), FOLDER.c.gone_at.is_(None))
    goes_here = and_(MAPPED.c.folder == FOLDER.c.number, MAPPED.c.destination == destination)
    is_astray = and_(stays, func.coalesce(MAPPED.c.raw != TARGET.c.raw, False))
    of_target = and_(COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid, COPY.c.removed_at.is_(None))
    current = and_(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
    conditions = (and_(is_there, ~stays), is_astray, and_(stays, ~is_astray))
    count = (func.sum(case((condition, 1), else_=0)) for condition in conditions)
    replicas = of_messages(COPY.c.target, FOLDER.c.number, *count).join(COPY, of_target)
    replicas = replicas.join(TARGET, TARGET.c.number == COPY.c.target).outerjoin(MAPPED, goes_here).where(current)
    left: Counter[int] = Counter()
    homes: defaultdict[int, set[int]] = defaultdict(set)
    stay: set[int] = set()
    for target, its_folder, gone, astray, staying in connection.execute(
        replicas.group_by(COPY.c.target, FOLDER.c.number)
    ):
        left[target] += gone + astray
        if astray:
            homes[target].add(its_folder)
        if staying:
            stay.add(target)
    movable = {
        target for target, number in left.items() if number and target not in stay and len(homes[target]) < 2
    }
    if not movable:
        return []
    message, epoch, folder = MESSAGE.alias("other"), EPOCH.alias("its_epoch"), FOLDER.alias("its_folder")
    now = and_(message.c.vanished_at.is_(None), epoch.c.ended_at.is_(None), folder.c.gone_at.is_(None))
    equal = (
        of_messages(COPY.c.target, epoch.c.folder, func.count(COPY.c.target_uid.distinct()), epoch.c.messages)
        .join(COPY, of_target)
        .join(message, message.c.digest == MESSAGE.c.digest)
        .join(epoch, epoch.c.number == message.c.epoch)
        .join(folder, folder.c.number == epoch.c.folder)
        .where(COPY.c.target.in_(movable), is_there, now)
        .group_by(COPY.c.target, epoch.c.number)
    )
    # NOTE: what the account's rules map elsewhere stays where it was, and does not belong to another folder.
    found = [row for row in connection.execute(equal).all() if homes[row[0]] <= {row[1]}]
    counted = of_messages(EPOCH.c.folder, func.count()).where(EPOCH.c.folder.in_({row[1] for row in found}), stays)
    held = {row[0]: row[1] for row in connection.execute(counted.group_by(EPOCH.c.folder))}
    return [Moved(row[0], row[1], row[2], left[row[0]], held[row[1]], row[3] is not None) for row in found]
