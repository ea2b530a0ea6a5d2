"""Messages that we removed from the source. Nobody deleted them, so their replicas stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from archiver.catalog.pruning import BegunPrune, Pruned
from archiver.catalog.sqlite.database import Database
from archiver.facts.replica import by_epoch
from archiver.mail.uidset import UidSet

#: The message of the statement was removed by us; or it was about to be, and it is not known whether it was.
IS_PRUNED = "EXISTS (SELECT 1 FROM prune WHERE prune.epoch = message.epoch AND prune.uid = message.uid)"

_BEGUN = "SELECT uid, at, marked FROM prune WHERE epoch = ? AND pruned_at IS NULL ORDER BY uid"
_UNSETTLED = "SELECT DISTINCT epoch FROM prune WHERE pruned_at IS NULL"
_DONE = "SELECT uid FROM prune WHERE epoch = ? AND pruned_at IS NOT NULL ORDER BY uid"
_UNLISTED = "SELECT epoch, uid FROM prune WHERE pruned_at IS NOT NULL AND NOT listed ORDER BY epoch, uid"
_TALLY = "SELECT count(pruned_at), max(pruned_at), sum(pruned_at IS NULL) FROM prune"


class SqlPrunes:
    """Implements `archiver.catalog.pruning.Prunes`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begun(self, epoch: int) -> Mapping[int, BegunPrune]:
        """The messages of an epoch, by UID, whose outcome is not known."""
        with self._database.reading() as connection:
            return {uid: BegunPrune(at, bool(marked)) for uid, at, marked in connection.execute(_BEGUN, (epoch,))}

    def unsettled(self) -> Collection[int]:
        """The epochs that have such messages."""
        with self._database.reading() as connection:
            return {epoch for (epoch,) in connection.execute(_UNSETTLED)}

    def done(self, epoch: int) -> UidSet:
        """The messages of an epoch that we removed."""
        with self._database.reading() as connection:
            return UidSet(uid for (uid,) in connection.execute(_DONE, (epoch,)))

    def unlisted(self) -> Mapping[int, UidSet]:
        """By epoch, the messages that we removed and that are in no list yet."""
        with self._database.reading() as connection:
            keys = by_epoch(connection.execute(_UNLISTED).fetchall())
        return {epoch: UidSet(uids) for epoch, uids in keys.items()}

    def tally(self) -> Pruned:
        """How many of all epochs."""
        with self._database.reading() as connection:
            messages, last, unknown = connection.execute(_TALLY).fetchone()
        return Pruned(messages, last, unknown or 0)
