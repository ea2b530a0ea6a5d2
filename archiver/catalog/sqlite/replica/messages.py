"""The replicas in a folder of a destination, as recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import or_, select

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import IS_PRESENT, STREAM, FlagSets, of_messages, parts
from archiver.catalog.sqlite.replica.queries import IS_WANTED, REPLICAS, replica_of, replicas, uncopied
from archiver.catalog.sqlite.schema import COPY, FOLDER, MESSAGE, TARGET
from archiver.facts.replica import MessageKey, Replica, by_epoch
from archiver.mail.model import Digest


class SqlReplicaMessages:
    """Implements `archiver.catalog.replicas.ReplicaMessages`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, target: int, *, removed: bool = False) -> Iterator[Replica]:
        """The replicas of present and of restored messages that still exist as far as known, in UID order; with
        `removed`, all that are gone."""
        rows = REPLICAS.where(COPY.c.target == target)
        if removed:
            rows = rows.where(COPY.c.removed_at.is_not(None))
        else:
            rows = rows.where(COPY.c.removed_at.is_(None), IS_WANTED)
        sets = FlagSets()
        with self._database.reading() as connection:
            for row in connection.execute(rows, execution_options=STREAM):
                yield replica_of(row, sets)

    def newest(self, target: int, limit: int) -> Sequence[Replica]:
        """The `limit` existing replicas with the highest UIDs."""
        rows = REPLICAS.where(COPY.c.target == target, COPY.c.removed_at.is_(None))
        with self._database.reading() as connection:
            return replicas(connection, rows.order_by(None).order_by(COPY.c.target_uid.desc()).limit(limit))

    def claimed(self, target: int) -> dict[int, bool]:
        """The UIDs of all replicas; true for those that still exist as far as known."""
        rows = select(COPY.c.target_uid, COPY.c.removed_at.is_(None)).where(COPY.c.target == target)
        with self._database.reading() as connection:
            return {row[0]: bool(row[1]) for row in connection.execute(rows, execution_options=STREAM)}

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        """The UIDs of replicas that are gone, by folder, including ended folders."""
        rows = (
            select(COPY.c.target, COPY.c.target_uid)
            .join(TARGET, TARGET.c.number == COPY.c.target)
            .where(TARGET.c.destination == destination, COPY.c.removed_at.is_not(None))
        )
        found: dict[int, list[int]] = {}
        with self._database.reading() as connection:
            for target, uid in connection.execute(rows):
                found.setdefault(target, []).append(uid)
        return found

    def equal(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Replicas with one of these digests, including those that are gone."""
        # NOTE: + 0, so that SQLite looks up the digests instead of reading all replicas of the folder.
        rows = REPLICAS.where(COPY.c.target + 0 == target)
        with self._database.reading() as connection:
            return replicas(connection, *(rows.where(part) for part in parts(MESSAGE.c.digest, digests)))

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Replicas with one of these digests whose message the source no longer has under that UID, or in that
        folder: it vanished, its epoch ended, or the folder is gone. The same octets under another UID are then
        known to be there."""
        # NOTE: + 0, so that SQLite looks up the digests instead of reading all replicas of the folder.
        rows = REPLICAS.where(COPY.c.target + 0 == target, or_(~IS_PRESENT, FOLDER.c.gone_at.is_not(None)))
        with self._database.reading() as connection:
            return replicas(connection, *(rows.where(part) for part in parts(MESSAGE.c.digest, digests)))

    def missing(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Which of these messages, present or not, have no replica in the folder and were not removed by its
        user."""
        rows = uncopied(of_messages(MESSAGE.c.epoch, MESSAGE.c.uid), target)
        with self._database.reading() as connection:
            return {
                (row[0], row[1])
                for epoch, uids in by_epoch(keys).items()
                for part in parts(MESSAGE.c.uid, uids)
                for row in connection.execute(rows.where(MESSAGE.c.epoch == epoch, part))
            }
