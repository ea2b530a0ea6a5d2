"""Messages that we removed from the source. Nobody deleted them, so their replicas stay, and a new destination gets
them, too."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from archiver.catalog.pruning import BegunPrune, Pruned, Unsent
from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.replica.queries import OF_MESSAGE, was_never_there, was_removed
from archiver.facts.replica import by_epoch
from archiver.mail.uidset import UidSet

_BEGUN = "SELECT uid, at, marked FROM prune WHERE epoch = ? AND pruned_at IS NULL ORDER BY uid"
_UNSETTLED = "SELECT DISTINCT epoch FROM prune WHERE pruned_at IS NULL"
_DONE = "SELECT uid FROM prune WHERE epoch = ? AND pruned_at IS NOT NULL ORDER BY uid"
_UNLISTED = "SELECT epoch, uid FROM prune WHERE pruned_at IS NOT NULL AND NOT listed ORDER BY epoch, uid"
# NOTE: a CROSS JOIN makes SQLite begin with what was pruned: it would look through all messages.
_UNSENT = f"""
SELECT folder, sum(NOT is_refused), sum(is_refused) FROM (
    SELECT epoch.folder AS folder, EXISTS (
        SELECT 1 FROM refusal
        WHERE refusal.epoch = message.epoch AND refusal.uid = message.uid AND refusal.target = target.number
    ) AS is_refused
    FROM prune
    CROSS JOIN message ON message.epoch = prune.epoch AND message.uid = prune.uid
    CROSS JOIN epoch ON epoch.number = message.epoch
    CROSS JOIN folder ON folder.number = epoch.folder
    LEFT JOIN mapped ON mapped.folder = folder.number AND mapped.destination = :destination
    LEFT JOIN target ON target.destination = :destination AND target.raw = mapped.raw AND target.ended_at IS NULL
    LEFT JOIN copy ON copy.target = target.number AND {OF_MESSAGE}
    WHERE {was_never_there(":destination")}
    AND NOT {was_removed(":destination", "mapped.raw")}
) GROUP BY folder
"""
_FOLDERS = "SELECT DISTINCT folder FROM epoch WHERE number IN (SELECT epoch FROM prune)"
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

    def folders(self) -> Collection[int]:
        """The folders, by number, from which we removed messages, or were about to."""
        with self._database.reading() as connection:
            return {folder for (folder,) in connection.execute(_FOLDERS)}

    def unsent(self, destination: int | None) -> Mapping[int, Unsent]:
        """How many of each folder, by its number, that destination never had; None: none did."""
        with self._database.reading() as connection:
            rows = connection.execute(_UNSENT, {"destination": destination or 0})
            return {folder: Unsent(waiting, refused) for folder, waiting, refused in rows}

    def tally(self) -> Pruned:
        """How many of all epochs."""
        with self._database.reading() as connection:
            messages, last, unknown = connection.execute(_TALLY).fetchone()
        return Pruned(messages, last, unknown or 0)
