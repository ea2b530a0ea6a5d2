"""Copies at a destination of what the source no longer has: of messages that vanished, and of folders that did."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_

from archiver.catalogs.reading import of_messages
from archiver.catalogs.schema import COPY, EPOCH, FOLDER, MESSAGE, PASS, STEP, TARGET
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
