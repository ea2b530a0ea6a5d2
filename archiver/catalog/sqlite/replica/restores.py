"""What was given back to a mailbox because somebody asked for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import FlagSets, any_of, json_list
from archiver.catalog.sqlite.replica.queries import REPLICA_FOLDER, folder_of
from archiver.facts.replica import Address, MessageKey, ReplicaFolder, by_epoch
from archiver.facts.restored import Restored, RestorePlace, RestoreTally
from archiver.mail.model import Digest

_PLACES = """
SELECT number, host, user, port, folder FROM restore_place
WHERE host = ? AND user = ? AND port IS ? ORDER BY number
"""

#: The copy came after the message was asked for, so it is what that led to.
_CAME_BACK = """EXISTS (
    SELECT 1 FROM restore WHERE restore.place = target.destination
    AND restore.epoch = copy.epoch AND restore.uid = copy.uid AND restore.at <= copy.at
)"""
_OUTCOMES = f"""
SELECT copy.uid, target.destination, target.raw, copy.target_uid, copy.removed_at IS NOT NULL, copy.lost,
    copy.dated, copy.at, copy.repaired, copy.likeness
FROM copy JOIN target ON target.number = copy.target
WHERE copy.epoch = :epoch AND copy.uid IN {any_of("uids")} AND target.destination IN {any_of("places")} AND (
    copy.removed_at IS NULL AND target.ended_at IS NULL
    OR copy.removed_at IS NOT NULL AND {_CAME_BACK}
)
ORDER BY copy.removed_at IS NULL, copy.at
"""
_LIVE = f"""
SELECT uid FROM copy
WHERE target = :target AND epoch = :epoch AND uid IN {any_of("uids")} AND removed_at IS NULL
"""
_UNRESOLVED = f"""
SELECT target.destination, {REPLICA_FOLDER} FROM target
WHERE target.destination IN {any_of("places")} AND target.ended_at IS NULL
AND EXISTS (SELECT 1 FROM intent WHERE intent.target = target.number)
ORDER BY target.number
"""
_AT_SOURCE = f"""
SELECT DISTINCT message.digest, epoch.folder FROM message
JOIN epoch ON epoch.number = message.epoch
JOIN folder ON folder.number = epoch.folder
WHERE message.digest IN {any_of("digests")} AND message.vanished_at IS NULL AND epoch.ended_at IS NULL
AND folder.listed AND folder.gone_at IS NULL
"""
_AT_DESTINATION = f"""
SELECT DISTINCT message.digest, target.raw FROM message
JOIN copy ON copy.epoch = message.epoch AND copy.uid = message.uid
JOIN target ON target.number = copy.target
WHERE message.digest IN {any_of("digests")} AND target.destination = :destination
AND target.ended_at IS NULL AND copy.removed_at IS NULL
"""

_COPY_THERE = """copy JOIN target ON target.number = copy.target
    WHERE copy.epoch = restore.epoch AND copy.uid = restore.uid AND target.destination = restore.place"""
_IS_THERE = f"EXISTS (SELECT 1 FROM {_COPY_THERE} AND copy.removed_at IS NULL AND target.ended_at IS NULL)"
_WAS_REMOVED = f"EXISTS (SELECT 1 FROM {_COPY_THERE} AND copy.at >= restore.at)"
_WAS_REFUSED = """EXISTS (
    SELECT 1 FROM refusal JOIN target ON target.number = refusal.target
    WHERE refusal.epoch = restore.epoch AND refusal.uid = restore.uid AND target.destination = restore.place
)"""
#: It was asked for again, and then went to another place.
_WENT_ELSEWHERE = """EXISTS (
    SELECT 1 FROM restore AS later WHERE later.epoch = restore.epoch AND later.uid = restore.uid
    AND later.place != restore.place AND later.last_at >= restore.last_at
)"""
_TALLIES = f"""
SELECT place, sum(how != 'elsewhere'), sum(how = 'there'), sum(how = 'removed'), sum(how = 'refused'),
    sum(how = 'waiting'), max(last_at), asked_by, host, user, port, folder
FROM (
    SELECT restore.place, restore.last_at, restore.asked_by, restore_place.folder,
        coalesce(restore_place.host, met.host) AS host, coalesce(restore_place.user, met.user) AS user,
        coalesce(restore_place.port, met.port) AS port,
        CASE WHEN {_IS_THERE} THEN 'there' WHEN {_WAS_REMOVED} THEN 'removed'
            WHEN {_WENT_ELSEWHERE} THEN 'elsewhere' WHEN {_WAS_REFUSED} THEN 'refused'
            ELSE 'waiting' END AS how
    FROM restore
    LEFT JOIN restore_place ON restore_place.number = restore.place
    LEFT JOIN address AS met ON met.id = (
        SELECT max(its.id) FROM address AS its WHERE its.destination = restore.place
    )
)
GROUP BY place ORDER BY max(last_at) DESC, place DESC
"""


class SqlRestores:
    """Implements `archiver.catalog.replicas.Restores`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def places(self, address: Address) -> Sequence[RestorePlace]:
        """The places at this address to which messages were restored."""
        with self._database.reading() as connection:
            rows = connection.execute(_PLACES, (address.host, address.user, address.port))
            return [RestorePlace(number, Address(*at), into) for number, *at, into in rows]

    def outcomes(self, places: Collection[int], keys: Collection[MessageKey]) -> Mapping[MessageKey, Restored]:
        """What became of these messages at these places, as far as known."""
        found: dict[MessageKey, Restored] = {}
        sets = FlagSets()
        with self._database.reading() as connection:
            for epoch, uids in by_epoch(keys).items():
                values = {"epoch": epoch, "uids": json_list(uids), "places": json_list(places)}
                for uid, *row in connection.execute(_OUTCOMES, values):
                    found[epoch, uid] = _restored(row, sets)
        return found

    def live(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Which of these messages have a replica in the folder that exists as far as known."""
        with self._database.reading() as connection:
            return {
                (epoch, uid)
                for epoch, uids in by_epoch(keys).items()
                for (uid,) in connection.execute(_LIVE, {"target": target, "epoch": epoch, "uids": json_list(uids)})
            }

    def unresolved(self, places: Collection[int]) -> Sequence[tuple[int, ReplicaFolder]]:
        """Places and their folders where the outcome of an APPEND is unknown."""
        with self._database.reading() as connection:
            rows = connection.execute(_UNRESOLVED, {"places": json_list(places)})
            return [(place, folder_of(*folder)) for place, *folder in rows]

    def at_source(self, digests: Collection[Digest]) -> Mapping[Digest, Collection[int]]:
        """The folders, by number, in which the source still has messages with these digests."""
        found: dict[Digest, set[int]] = {}
        with self._database.reading() as connection:
            for digest, folder in connection.execute(_AT_SOURCE, {"digests": json_list(digests)}):
                found.setdefault(digest, set()).add(folder)
        return found

    def at_destination(self, destination: int, digests: Collection[Digest]) -> Mapping[Digest, Collection[bytes]]:
        """The folders, by raw name, in which a destination has messages with these digests as far as known."""
        found: dict[Digest, set[bytes]] = {}
        values = {"destination": destination, "digests": json_list(digests)}
        with self._database.reading() as connection:
            for digest, raw in connection.execute(_AT_DESTINATION, values):
                found.setdefault(digest, set()).add(raw)
        return found

    def tallies(self) -> Sequence[RestoreTally]:
        """What was restored to each place, the most recent one first."""
        with self._database.reading() as connection:
            return [_tally(*row) for row in connection.execute(_TALLIES)]


def _restored(row: Sequence[Any], sets: FlagSets) -> Restored:
    place, raw, there, removed, lost, dated, at, repaired, likeness = row
    return Restored(
        place=place,
        raw=raw,
        uid=there,
        removed=bool(removed),
        lost=sets[lost],
        dated=bool(dated),
        at=at,
        repaired=tuple(repaired.split(",")) if repaired else (),
        likeness=likeness,
    )


def _tally(
    place: int,
    asked: int,
    restored: int,
    removed: int,
    refused: int,
    waiting: int,
    at: str,
    by: str,
    host: str,
    user: str,
    port: int | None,
    into: str | None,
) -> RestoreTally:
    its = RestorePlace(place, Address(host, user, port), into)
    return RestoreTally(its, asked, restored, removed, refused, waiting, at, by)
