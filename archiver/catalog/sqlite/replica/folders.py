"""The folders of a destination, with totals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import MESSAGES
from archiver.catalog.sqlite.replica.counts import losses, tallies
from archiver.catalog.sqlite.replica.gone import moved, stranded
from archiver.catalog.sqlite.replica.queries import IS_UNCOMPARED, IS_WANTED, OF_MESSAGE, REPLICA_FOLDER, folder_of
from archiver.facts.replica import Loss, MappedPlace, Moved, ReplicaCount, ReplicaFolder, ReplicaTally

_CURRENT = f"SELECT {REPLICA_FOLDER} FROM target WHERE destination = ? AND ended_at IS NULL"
_HOLDING = """
SELECT target.raw, target.uidvalidity, count(copy.target_uid)
FROM target LEFT JOIN copy ON copy.target = target.number AND copy.removed_at IS NULL
WHERE target.destination = ? AND target.ended_at IS NULL
GROUP BY target.number
"""
_COUNTS = f"""
SELECT copy.target, folder.number, count(*), count(copy.accepted_at),
    count(*) FILTER (WHERE copy.likeness IN ('line-ends', 'headers')), count(*) FILTER (WHERE {IS_UNCOMPARED})
FROM {MESSAGES} JOIN copy ON {OF_MESSAGE} JOIN target ON target.number = copy.target
WHERE target.destination = ? AND target.ended_at IS NULL AND copy.removed_at IS NULL AND {IS_WANTED}
GROUP BY copy.target, folder.number
"""


class SqlReplicaFolders:
    """Implements `archiver.catalog.replicas.ReplicaFolders`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self, destination: int) -> Mapping[bytes, ReplicaFolder]:
        """The current folders by raw name, without ended ones."""
        with self._database.reading() as connection:
            return {row[1]: folder_of(*row) for row in connection.execute(_CURRENT, (destination,))}

    def mapped(self, destination: int) -> Mapping[int, MappedPlace]:
        """The destination folder that each folder is mapped to, by the folder's number."""
        mine = "SELECT folder, raw, path, rules, subscribed FROM mapped WHERE destination = ?"
        with self._database.reading() as connection:
            return {
                folder: MappedPlace(
                    raw, tuple(json.loads(path)), rules, None if subscribed is None else bool(subscribed)
                )
                for folder, raw, path, rules, subscribed in connection.execute(mine, (destination,))
            }

    def moved(self, destination: int) -> Sequence[Moved]:
        """Destination folders whose mail now belongs to a source folder that is mapped elsewhere, from the records
        alone."""
        with self._database.reading() as connection:
            return moved(connection, destination)

    def holding(self, destination: int) -> Mapping[bytes, tuple[int, int]]:
        """UIDVALIDITY and number of our replicas in each current folder, by raw name."""
        with self._database.reading() as connection:
            return {row[0]: (row[1], row[2]) for row in connection.execute(_HOLDING, (destination,))}

    def counts(self, destination: int) -> Mapping[int, Mapping[int, ReplicaCount]]:
        """What each current folder holds of each folder of the archive, by their numbers."""
        found: dict[int, dict[int, ReplicaCount]] = {}
        with self._database.reading() as connection:
            for target, folder, *counts in connection.execute(_COUNTS, (destination,)):
                found.setdefault(target, {})[folder] = ReplicaCount(*counts)
        return found

    def stranded(self, destination: int) -> Mapping[int, int]:
        """How many replicas that we appended belong to folders that the source no longer has, by folder number;
        without those that the user restored."""
        with self._database.reading() as connection:
            return stranded(connection, destination)

    def tallies(self, destination: int, run: str | None) -> Sequence[ReplicaTally]:
        """The outcome for every mapped folder's present messages."""
        with self._database.reading() as connection:
            return tallies(connection, destination, run)

    def losses(self, destination: int) -> Sequence[Loss]:
        """What the destination altered or does not keep of present messages, and what it stored twice, by folder
        and kind."""
        with self._database.reading() as connection:
            return losses(connection, destination)
