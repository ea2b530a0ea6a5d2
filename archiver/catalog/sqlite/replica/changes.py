"""What has to be looked at or changed in a folder of a destination."""

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
    """Implements `archiver.catalog.replicas.ReplicaChanges`; each call is a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Replica]:
        """The next `limit` copies after the UID `after` whose message's flags are no longer those that were
        replayed, or that are marked although their message is there."""
        changed = or_(MESSAGE.c.flags != COPY.c.source_flags, COPY.c.marked)
        # NOTE: not of a folder that the source no longer has: a mark of ours there is meant.
        wanted = or_(and_(IS_PRESENT, FOLDER.c.gone_at.is_(None)), COPY.c.how == "restored")
        rows = REPLICAS.where(COPY.c.target == target, COPY.c.removed_at.is_(None), wanted, changed)
        with self._database.reading() as connection:
            return replicas(connection, rows.where(COPY.c.target_uid > after).limit(limit))

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Replica, Outgoing]]:
        """The next `limit` copies after the UID `after` that show another size than was sent and were not compared
        yet, with their messages, in UID order."""
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
        vanished, or that its folder did, one of `gone`; without what the destination has of a message that is at
        the source."""
        with self._database.reading() as connection:
            return replicas(connection, gone_from_source(target, gone, twice=True).where(~is_needed(target)))

    def attempts(self, target: int) -> Sequence[Attempt]:
        """Messages that have a copy and may be stored once more."""
        with self._database.reading() as connection:
            return attempts(connection, target)

    def twins(self, target: int) -> Sequence[LateTwin]:
        """Messages that were stored once more and that were not seen to be gone, in UID order."""
        with self._database.reading() as connection:
            return twins(connection, target)
