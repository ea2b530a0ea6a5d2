"""Copies at a destination of what the source no longer has: of messages that vanished, and of folders that did."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select, tuple_

from archiver.catalogs.reading import of_messages
from archiver.catalogs.schema import COPY, EPOCH, FOLDER, MESSAGE, PASS, STEP, TARGET
from archiver.copies import Moved
from archiver.window import WINDOWS

#: Copies that we appended and nobody removed. What a person had brought back is not among them.
OURS = and_(COPY.c.removed_at.is_(None), COPY.c.how.in_(("appended", "found", "again")))


def is_withdrawable(gone: Collection[int], *, twice: bool) -> ColumnElement[bool]:
    """The message vanished, or its folder did, which is among `gone`; `twice`: two complete archive steps saw that.

    NOTE: not where the folder shows a number at which providers cut: what was taken for deleted there before that
    was known may have been hidden.
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
    """Two complete archive steps saw what happened then. Times have seconds: of one second those count that are no
    earlier run's."""
    afterwards = tuple_(STEP.c.at, STEP.c.run) >= tuple_(at, run)
    return select(func.count()).where(STEP.c.step == "archive", afterwards).scalar_subquery() >= 2


def stranded(connection: Connection, destination: int) -> Mapping[int, int]:
    """How many copies of ours there are of folders that the source no longer has, by the folders' numbers."""
    rows = (
        of_messages(FOLDER.c.number, func.count())
        .join(COPY, and_(COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid))
        .join(TARGET, TARGET.c.number == COPY.c.target)
        .where(
            FOLDER.c.gone_at.is_not(None), TARGET.c.destination == destination, TARGET.c.ended_at.is_(None), OURS
        )
        .group_by(FOLDER.c.number)
    )
    return {row[0]: row[1] for row in connection.execute(rows)}


def moved(connection: Connection, destination: int) -> list[Moved]:
    """Targets all of whose copies are of mail that is not in its folder at the source any more, with the folders
    that have it now."""
    is_there = MESSAGE.c.vanished_at.is_(None)
    is_left = and_(is_there, or_(EPOCH.c.ended_at.is_not(None), FOLDER.c.gone_at.is_not(None)))
    stays = and_(is_there, EPOCH.c.ended_at.is_(None), FOLDER.c.gone_at.is_(None))
    of_target = and_(COPY.c.epoch == MESSAGE.c.epoch, COPY.c.uid == MESSAGE.c.uid, COPY.c.removed_at.is_(None))
    current = and_(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
    count = (func.sum(case((condition, 1), else_=0)) for condition in (is_left, stays))
    copies = of_messages(COPY.c.target, *count).join(COPY, of_target).join(TARGET, TARGET.c.number == COPY.c.target)
    rows = connection.execute(copies.where(current).group_by(COPY.c.target)).all()
    left = {target: number for target, number, others in rows if number and not others}
    if not left:
        return []
    message, epoch, folder = MESSAGE.alias("other"), EPOCH.alias("its_epoch"), FOLDER.alias("its_folder")
    now = and_(message.c.vanished_at.is_(None), epoch.c.ended_at.is_(None), folder.c.gone_at.is_(None))
    equal = (
        of_messages(COPY.c.target, epoch.c.folder, func.count(COPY.c.target_uid.distinct()), epoch.c.messages)
        .join(COPY, of_target)
        .join(message, message.c.digest == MESSAGE.c.digest)
        .join(epoch, epoch.c.number == message.c.epoch)
        .join(folder, folder.c.number == epoch.c.folder)
        .where(COPY.c.target.in_(left), is_left, now)
        .group_by(COPY.c.target, epoch.c.number)
    )
    found = connection.execute(equal).all()
    counted = of_messages(EPOCH.c.folder, func.count()).where(EPOCH.c.folder.in_({row[1] for row in found}), stays)
    held = {row[0]: row[1] for row in connection.execute(counted.group_by(EPOCH.c.folder))}
    return [Moved(row[0], row[1], row[2], left[row[0]], held[row[1]], row[3] is not None) for row in found]
