"""The messages that are missing in a folder of a destination."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import and_, func, select

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import IS_PRESENT, FlagSets, of_messages
from archiver.catalog.sqlite.replica.gone import gone_from_source
from archiver.catalog.sqlite.replica.queries import (
    OUTGOING,
    OUTGOING_COLUMNS,
    goes_there,
    missing,
    outgoing_of,
    refused_of,
    replicas,
)
from archiver.catalog.sqlite.schema import EPOCH, FOLDER, INTENT, MAPPED, MESSAGE, REFUSAL, TARGET
from archiver.facts.replica import Intent, MessageKey, Outgoing, Refused, Replica


class SqlPendingMessages:
    """Implements `archiver.catalog.replicas.PendingMessages`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages of `folders` have no replica in the destination folder, and their octets."""
        counted = of_messages(func.count(), func.coalesce(func.sum(MESSAGE.c.size), 0))
        rows = missing(counted, target, folders, vanished=vanished)
        with self._database.reading() as connection:
            messages, octets = connection.execute(rows).one()
        return messages, octets

    def batch(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next `limit` messages of `folders` that have no replica in the destination folder, by epoch and
        UID."""
        rows = missing(OUTGOING, target, folders, vanished=vanished).order_by(MESSAGE.c.uid)
        epochs = select(EPOCH.c.number).where(EPOCH.c.folder.in_(folders), EPOCH.c.number >= after[0])
        found: list[Outgoing] = []
        sets = FlagSets()
        with self._database.reading() as connection:
            # NOTE: one query for all epochs would make SQLite read all messages for every part.
            for epoch in connection.scalars(epochs.order_by(EPOCH.c.number)).all():
                its = (MESSAGE.c.epoch == epoch, MESSAGE.c.uid > (after[1] if epoch == after[0] else 0))
                part = rows.where(*its).limit(limit - len(found))
                found += [outgoing_of(row, sets) for row in connection.execute(part)]
                if len(found) == limit:
                    break
        return found

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome, by epoch and UID."""
        mine = and_(INTENT.c.target == target, INTENT.c.epoch == MESSAGE.c.epoch, INTENT.c.uid == MESSAGE.c.uid)
        rows = (
            of_messages(INTENT.c.uidnext, INTENT.c.at, *OUTGOING_COLUMNS)
            .join(INTENT, mine)
            .order_by(MESSAGE.c.epoch, MESSAGE.c.uid)
        )
        sets = FlagSets()
        with self._database.reading() as connection:
            return [Intent(outgoing_of(row[2:], sets), row[0], row[1]) for row in connection.execute(rows)]

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Messages that were refused by the folder that theirs is mapped to now. `vanished` includes those that are
        gone from the source."""
        rows = (
            of_messages(*REFUSAL.c, FOLDER.c.path.label("folder"))
            .join(REFUSAL, and_(REFUSAL.c.epoch == MESSAGE.c.epoch, REFUSAL.c.uid == MESSAGE.c.uid))
            .join(TARGET, TARGET.c.number == REFUSAL.c.target)
            .join(MAPPED, goes_there())
            .where(TARGET.c.destination == destination, TARGET.c.ended_at.is_(None))
            .order_by(REFUSAL.c.epoch, REFUSAL.c.uid)
        )
        rows = rows if vanished else rows.where(IS_PRESENT)
        with self._database.reading() as connection:
            return [refused_of(row) for row in connection.execute(rows)]

    def vanished(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas that we appended whose messages vanished, or were in one of the folders `gone`."""
        with self._database.reading() as connection:
            return replicas(connection, gone_from_source(target, gone, twice=False))
