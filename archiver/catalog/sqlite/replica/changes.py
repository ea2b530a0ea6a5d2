"""What has to be checked or changed in a folder of a destination."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import and_, or_

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import IS_PRESENT, FlagSets
from archiver.catalog.sqlite.replica.gone import gone_from_source, is_needed
from archiver.catalog.sqlite.replica.queries import (
    IS_WANTED,
    OUTGOING_COLUMNS,
    REPLICAS,
    outgoing_of,
    replica_of,
    replicas,
)
from archiver.catalog.sqlite.replica.twins import attempts, twins
from archiver.catalog.sqlite.schema import COPY, FOLDER, MESSAGE
from archiver.facts.replica import Attempt, LateTwin, Outgoing, Replica


class SqlReplicaChanges:
    """Implements `archiver.catalog.replicas.ReplicaChanges`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Replica]:
        """The next `limit` replicas after the UID `after` whose message has other flags than were replayed, or that
        are marked as deleted although their message exists at the source."""
        changed = or_(MESSAGE.c.flags != COPY.c.source_flags, COPY.c.marked)
        # NOTE: not in a folder that the source no longer has: our marks there are intended.
        wanted = or_(and_(IS_PRESENT, FOLDER.c.gone_at.is_(None)), COPY.c.how == "restored")
        rows = REPLICAS.where(COPY.c.target == target, COPY.c.removed_at.is_(None), wanted, changed)
        with self._database.reading() as connection:
            return replicas(connection, rows.where(COPY.c.target_uid > after).limit(limit))

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Replica, Outgoing]]:
        """The next `limit` replicas after the UID `after` whose size differs from what was sent and whose octets
        were not compared yet, with their messages, in UID order."""
        rows = (
            REPLICAS.add_columns(*OUTGOING_COLUMNS)
            .where(COPY.c.target == target, COPY.c.target_uid > after, COPY.c.removed_at.is_(None), IS_WANTED)
            .where(COPY.c.likeness.is_(None), COPY.c.repaired == "")
            .where(COPY.c.size.not_in((MESSAGE.c.size, MESSAGE.c.crlf_size)))
            .limit(limit)
        )
        sets, columns = FlagSets(), len(REPLICAS.selected_columns)
        with self._database.reading() as connection:
            return [
                (replica_of(row[:columns], sets), outgoing_of(row[columns:], sets))
                for row in connection.execute(rows)
            ]

    def deletable(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas that we appended and that may be deleted: two complete archive steps saw that their message
        vanished, or that its folder, one of `gone`, did. A replica is kept if the same octets are still at the
        source and the destination has no other replica of them."""
        with self._database.reading() as connection:
            return replicas(connection, gone_from_source(target, gone, twice=True).where(~is_needed(target)))

    def attempts(self, target: int) -> Sequence[Attempt]:
        """Messages that have a replica and may be stored a second time."""
        with self._database.reading() as connection:
            return attempts(connection, target)

    def twins(self, target: int) -> Sequence[LateTwin]:
        """Messages that were stored a second time and still exist as far as known, in UID order."""
        with self._database.reading() as connection:
            return twins(connection, target)
