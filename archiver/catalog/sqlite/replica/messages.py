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
    """Implements `archiver.catalog.replicas.ReplicaMessages`; each call is a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, target: int, *, removed: bool = False) -> Iterator[Replica]:
        """All copies of present messages, and of those that were brought back, that were not seen to be gone, in
        UID order; or all that were."""
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
        """The `limit` copies with the highest UIDs that were not seen to be gone."""
        rows = REPLICAS.where(COPY.c.target == target, COPY.c.removed_at.is_(None))
        with self._database.reading() as connection:
            return replicas(connection, rows.order_by(None).order_by(COPY.c.target_uid.desc()).limit(limit))

    def claimed(self, target: int) -> dict[int, bool]:
        """The UIDs of all copies, true for those that were not seen to be gone."""
        rows = select(COPY.c.target_uid, COPY.c.removed_at.is_(None)).where(COPY.c.target == target)
        with self._database.reading() as connection:
            return {row[0]: bool(row[1]) for row in connection.execute(rows, execution_options=STREAM)}

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        """The UIDs of copies that were seen to be gone, by target, ended ones too."""
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
        """Copies with one of these digests, also those that were seen to be gone."""
        # NOTE: + 0, so that SQLite looks the digests up and not at all copies of the target.
        rows = REPLICAS.where(COPY.c.target + 0 == target)
        with self._database.reading() as connection:
            return replicas(connection, *(rows.where(part) for part in parts(MESSAGE.c.digest, digests)))

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Copies with one of these digests whose message the source no longer has under that UID, or in that
        folder: it vanished, its epoch ended, or the folder is gone. The same octets under another UID are then
        known to be there."""
        # NOTE: + 0, so that SQLite looks the digests up and not at all copies of the target.
        rows = REPLICAS.where(COPY.c.target + 0 == target, or_(~IS_PRESENT, FOLDER.c.gone_at.is_not(None)))
        with self._database.reading() as connection:
            return replicas(connection, *(rows.where(part) for part in parts(MESSAGE.c.digest, digests)))

    def missing(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Those of these messages, present or not, that have no copy in the target and that its user did not
        remove."""
        rows = uncopied(of_messages(MESSAGE.c.epoch, MESSAGE.c.uid), target)
        with self._database.reading() as connection:
            return {
                (row[0], row[1])
                for epoch, uids in by_epoch(keys).items()
                for part in parts(MESSAGE.c.uid, uids)
                for row in connection.execute(rows.where(MESSAGE.c.epoch == epoch, part))
            }
