"""How many copies the folders of a destination hold, counted by the database."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, and_, func, select

from archiver.catalog.sqlite.schema import COPY, TARGET


def holding(connection: Connection, destination: int) -> Mapping[bytes, tuple[int, int]]:
    """UIDVALIDITY and number of the copies that were not seen to be gone, by the raw name of the current target."""
    live = and_(COPY.c.target == TARGET.c.number, COPY.c.removed_at.is_(None))
    rows = (
        select(TARGET.c.raw, TARGET.c.uidvalidity, func.count(COPY.c.target_uid))
        .outerjoin(COPY, live)
        .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
        .group_by(TARGET.c.number)
    )
    return {row[0]: (row[1], row[2]) for row in connection.execute(rows)}
