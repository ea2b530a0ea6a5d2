"""The folders of a destination, with totals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import and_, func, select

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.replica.counts import losses, tallies
from archiver.catalog.sqlite.replica.gone import moved, stranded
from archiver.catalog.sqlite.replica.queries import folder_of
from archiver.catalog.sqlite.schema import COPY, MAPPED, TARGET
from archiver.facts.replica import Loss, MappedPlace, Moved, ReplicaFolder, ReplicaTally


class SqlReplicaFolders:
    """Implements `archiver.catalog.replicas.ReplicaFolders`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self, destination: int) -> Mapping[bytes, ReplicaFolder]:
        """The current folders by raw name, without ended ones."""
        current = select(TARGET).where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
        with self._database.reading() as connection:
            return {row.raw: folder_of(row) for row in connection.execute(current)}

    def mapped(self, destination: int) -> Mapping[int, MappedPlace]:
        """The destination folder that each folder is mapped to, by the folder's number."""
        mine = select(MAPPED).where(MAPPED.c.destination == destination)
        with self._database.reading() as connection:
            return {
                row.folder: MappedPlace(row.raw, tuple(json.loads(row.path)), row.rules, row.subscribed)
                for row in connection.execute(mine)
            }

    def moved(self, destination: int) -> Sequence[Moved]:
        """Destination folders whose mail now belongs to a source folder that is mapped elsewhere, from the records
        alone."""
        with self._database.reading() as connection:
            return moved(connection, destination)

    def holding(self, destination: int) -> Mapping[bytes, tuple[int, int]]:
        """UIDVALIDITY and number of our replicas in each current folder, by raw name."""
        live = and_(COPY.c.target == TARGET.c.number, COPY.c.removed_at.is_(None))
        rows = (
            select(TARGET.c.raw, TARGET.c.uidvalidity, func.count(COPY.c.target_uid))
            .outerjoin(COPY, live)
            .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
            .group_by(TARGET.c.number)
        )
        with self._database.reading() as connection:
            return {row[0]: (row[1], row[2]) for row in connection.execute(rows)}

    def stranded(self, destination: int) -> Mapping[int, int]:
        """How many replicas that we appended belong to folders that the source no longer has, by folder number;
        without those that the user restored."""
        with self._database.reading() as connection:
            return stranded(connection, destination)

    def tallies(self, destination: int, run: str | None) -> Sequence[ReplicaTally]:
        """The outcome for every mapped folder's present messages."""
        with self._database.reading() as connection:
            return tallies(connection, destination, run)

    def losses(self, destination: int) -> Sequence[Loss]:
        """What the destination altered or does not keep of present messages, and what it stored twice, by folder
        and kind."""
        with self._database.reading() as connection:
            return losses(connection, destination)
