"""What has to be checked or changed in a folder of a destination."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import IS_PRESENT, MESSAGES, FlagSets, json_list
from archiver.catalog.sqlite.replica.gone import IS_NEEDED, gone_from_source
from archiver.catalog.sqlite.replica.queries import (
    IS_ALTERED,
    IS_DOUBTFUL,
    IS_UNCOMPARED,
    IS_WANTED,
    OF_MESSAGE,
    OUTGOING,
    REPLICA,
    REPLICA_COLUMNS,
    REPLICAS,
    outgoing_of,
    replica_of,
    replicas,
)
from archiver.catalog.sqlite.replica.twins import attempts, twins
from archiver.facts.outgoing import Attempt, LateTwin, Outgoing
from archiver.facts.replica import Replica

_NEXT = "copy.target = :target AND copy.target_uid > :after AND copy.removed_at IS NULL"
# NOTE: not in a folder that the source no longer has: our marks there are intended.
_REFLAGGED = f"""
{REPLICAS} WHERE {_NEXT}
AND (({IS_PRESENT} AND folder.gone_at IS NULL) OR copy.how = 'restored')
AND (message.flags != copy.source_flags OR copy.marked)
ORDER BY copy.target_uid LIMIT :limit
"""
_RELABELLED = f"""
{REPLICAS} WHERE {_NEXT} AND {IS_PRESENT} AND message.labels IS NOT NULL
AND message.labels IS NOT copy.source_labels
ORDER BY copy.target_uid LIMIT :limit
"""
_DOUBTFUL = f"""
SELECT {REPLICA}, {OUTGOING} FROM {MESSAGES} JOIN copy ON {OF_MESSAGE}
WHERE {_NEXT} AND {IS_WANTED} AND {IS_DOUBTFUL}
ORDER BY copy.target_uid LIMIT :limit
"""
_UNCOMPARED = f"""
{REPLICAS} WHERE copy.target = :target AND copy.removed_at IS NULL AND {IS_WANTED} AND {IS_UNCOMPARED}
ORDER BY copy.target_uid LIMIT :limit
"""
_ALTERED = f"""
SELECT copy.target_uid FROM {MESSAGES} JOIN copy ON {OF_MESSAGE}
WHERE copy.target = :target AND copy.removed_at IS NULL AND {IS_WANTED}
AND {IS_ALTERED} AND copy.accepted_at IS NULL ORDER BY copy.target_uid
"""
_DELETABLE = f"{gone_from_source(twice=True)} AND NOT {IS_NEEDED} ORDER BY copy.target_uid"


class SqlReplicaChanges:
    """Implements `archiver.catalog.replicas.ReplicaChanges`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Replica]:
        """The next `limit` replicas after the UID `after` whose message has other flags than were replayed, or that
        are marked as deleted although their message exists at the source."""
        values = {"target": target, "after": after, "limit": -1 if limit is None else limit}
        with self._database.reading() as connection:
            return replicas(connection.execute(_REFLAGGED, values))

    def relabelled(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Replica]:
        """The next `limit` replicas after the UID `after` whose message has other labels than were replayed."""
        values = {"target": target, "after": after, "limit": -1 if limit is None else limit}
        with self._database.reading() as connection:
            return replicas(connection.execute(_RELABELLED, values))

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Replica, Outgoing]]:
        """The next `limit` replicas after the UID `after` whose size differs from what was sent and whose octets
        were not compared yet, with their messages, in UID order."""
        sets = FlagSets()
        values = {"target": target, "after": after, "limit": limit}
        with self._database.reading() as connection:
            return [
                (replica_of(row[:REPLICA_COLUMNS], sets), outgoing_of(row[REPLICA_COLUMNS:], sets))
                for row in connection.execute(_DOUBTFUL, values)
            ]

    def uncompared(self, target: int, *, limit: int) -> Sequence[Replica]:
        """At most `limit` replicas that were not compared since they were recorded, or whose flags were not
        replayed, in UID order."""
        with self._database.reading() as connection:
            return replicas(connection.execute(_UNCOMPARED, {"target": target, "limit": limit}))

    def altered(self, target: int) -> Sequence[int]:
        """The UIDs of replicas that the destination altered or shows cut off, and that the user did not accept."""
        with self._database.reading() as connection:
            return [uid for (uid,) in connection.execute(_ALTERED, {"target": target})]

    def deletable(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas that we appended and that may be deleted: two complete archive steps saw that their message
        vanished, or that its folder, one of `gone`, did. A replica is kept if the same octets are still at the
        source and the destination has no other replica of them."""
        with self._database.reading() as connection:
            return replicas(connection.execute(_DELETABLE, {"target": target, "gone": json_list(gone)}))

    def attempts(self, target: int) -> Sequence[Attempt]:
        """Messages that have a replica and may be stored a second time."""
        with self._database.reading() as connection:
            return attempts(connection, target)

    def twins(self, target: int) -> Sequence[LateTwin]:
        """Messages that were stored a second time and still exist as far as known, in UID order."""
        with self._database.reading() as connection:
            return twins(connection, target)
