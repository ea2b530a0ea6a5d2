"""The replicas in a folder of a destination, as recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import IS_PRESENT, FlagSets, any_of, json_list
from archiver.catalog.sqlite.replica.queries import IS_WANTED, REPLICAS, UNCOPIED, replica_of, replicas
from archiver.facts.replica import MessageKey, Replica, by_epoch
from archiver.mail.model import Digest

_IN_FOLDER = f"{REPLICAS} WHERE copy.target = :target"
_BY_UID = " ORDER BY copy.target_uid"
_REMOVED = f"{_IN_FOLDER} AND copy.removed_at IS NOT NULL{_BY_UID}"
_THERE = f"{_IN_FOLDER} AND copy.removed_at IS NULL AND {IS_WANTED}{_BY_UID}"
_NEWEST = f"{_IN_FOLDER} AND copy.removed_at IS NULL ORDER BY copy.target_uid DESC LIMIT :limit"
_NEWEST_EVER = f"{_IN_FOLDER} ORDER BY copy.target_uid DESC LIMIT :limit"
# NOTE: + 0, so that SQLite looks up the digests instead of reading all replicas of the folder.
_EQUAL = f"{REPLICAS} WHERE copy.target + 0 = :target AND message.digest IN {any_of('digests')}"
_LEFT_OVER = f"{_EQUAL} AND (NOT {IS_PRESENT} OR folder.gone_at IS NOT NULL) ORDER BY copy.target_uid"
_SHOWN_BEFORE = f"""
{REPLICAS} JOIN target AS former ON former.number = copy.target
JOIN target AS now ON now.destination = former.destination AND now.raw = former.raw
WHERE now.number = :target AND former.number != now.number AND copy.removed_at IS NULL
AND message.digest IN {any_of("digests")} ORDER BY copy.target
"""
_REMOVED_AT = """
SELECT copy.target, copy.target_uid FROM copy JOIN target ON target.number = copy.target
WHERE target.destination = ? AND copy.removed_at IS NOT NULL
"""
_MISSING = f"""
SELECT message.epoch, message.uid FROM {UNCOPIED} AND message.epoch = :epoch AND message.uid IN {any_of("uids")}
"""


class SqlReplicaMessages:
    """Implements `archiver.catalog.replicas.ReplicaMessages`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, target: int, *, removed: bool = False, uids: Collection[int] | None = None) -> Iterator[Replica]:
        """The replicas of present and of restored messages that still exist as far as known, in UID order; with
        `removed`, all that are gone; with `uids`, only these."""
        sets = FlagSets()
        statement = _REMOVED if removed else _THERE
        if uids is not None:
            statement = f"{statement[: -len(_BY_UID)]} AND copy.target_uid IN {any_of('uids')}{_BY_UID}"
        with self._database.reading() as connection:
            for row in connection.execute(statement, {"target": target, "uids": json_list(uids or ())}):
                yield replica_of(row, sets)

    def newest(self, target: int, limit: int, *, removed: bool = False) -> Sequence[Replica]:
        """The `limit` existing replicas with the highest UIDs; with `removed`, also of those that are gone."""
        statement = _NEWEST_EVER if removed else _NEWEST
        with self._database.reading() as connection:
            return replicas(connection.execute(statement, {"target": target, "limit": limit}))

    def claimed(self, target: int, *, since: int = 0) -> dict[int, bool]:
        """The UIDs of all replicas from `since` on; true for those that still exist as far as known."""
        rows = "SELECT target_uid, removed_at IS NULL FROM copy WHERE target = ? AND target_uid >= ?"
        with self._database.reading() as connection:
            return {uid: bool(is_there) for uid, is_there in connection.execute(rows, (target, since))}

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        """The UIDs of replicas that are gone, by folder, including ended folders."""
        found: dict[int, list[int]] = {}
        with self._database.reading() as connection:
            for target, uid in connection.execute(_REMOVED_AT, (destination,)):
                found.setdefault(target, []).append(uid)
        return found

    def equal(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Replicas with one of these digests, including those that are gone."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"{_EQUAL} ORDER BY copy.target_uid", {"target": target, "digests": json_list(digests)}
            )
            return replicas(rows)

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Replicas with one of these digests whose message the source no longer has under that UID, or in that
        folder: it vanished, its epoch ended, or the folder is gone. The same octets under another UID are then
        known to be there."""
        with self._database.reading() as connection:
            rows = connection.execute(_LEFT_OVER, {"target": target, "digests": json_list(digests)})
            return replicas(rows)

    def shown_before(self, target: int, digests: Collection[Digest]) -> Mapping[Digest, Replica]:
        """Replicas of messages with one of these digests that were in the folder before it got other UIDs: the
        newest of each."""
        with self._database.reading() as connection:
            rows = connection.execute(_SHOWN_BEFORE, {"target": target, "digests": json_list(digests)})
            return {each.message.digest: each for each in replicas(rows)}

    def missing(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Which of these messages, present or not, have no replica in the folder and were not removed by its
        user."""
        with self._database.reading() as connection:
            return {
                (found, uid)
                for epoch, uids in by_epoch(keys).items()
                for found, uid in connection.execute(
                    _MISSING, {"target": target, "epoch": epoch, "uids": json_list(uids)}
                )
            }
