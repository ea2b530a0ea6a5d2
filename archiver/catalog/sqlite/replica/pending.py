"""The messages that are missing in a folder of a destination."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import IS_PRESENT, IS_PRUNED, MESSAGES, FlagSets, any_of, json_list
from archiver.catalog.sqlite.replica.gone import gone_from_source
from archiver.catalog.sqlite.replica.queries import (
    GOES_THERE,
    OUTGOING,
    REFUSED,
    missing,
    outgoing_of,
    refused_of,
    replicas,
)
from archiver.facts.outgoing import Intent, Outgoing, Refused, Watch
from archiver.facts.replica import MessageKey, Replica

_COUNT = "SELECT count(*), coalesce(sum(message.size), 0) FROM"
_EPOCHS = f"SELECT number FROM epoch WHERE folder IN {any_of('folders')} AND number >= :first ORDER BY number"
_BATCH = "message.epoch = :epoch AND message.uid > :after ORDER BY message.uid LIMIT :limit"
_INTENTS = f"""
SELECT intent.uidnext, intent.at, {OUTGOING} FROM {MESSAGES}
JOIN intent ON intent.target = :target AND intent.epoch = message.epoch AND intent.uid = message.uid
ORDER BY message.epoch, message.uid
"""
_REFUSED = f"""
SELECT {REFUSED} FROM {MESSAGES}
JOIN refusal ON refusal.epoch = message.epoch AND refusal.uid = message.uid
JOIN target ON target.number = refusal.target
JOIN mapped ON {GOES_THERE}
WHERE target.destination = :destination AND target.ended_at IS NULL AND (:vanished OR {IS_PRESENT} OR {IS_PRUNED})
ORDER BY refusal.epoch, refusal.uid
"""
_WITHOUT_EQUAL = f"""
SELECT epoch.folder, count(*) FROM {MESSAGES}
WHERE epoch.folder IN {any_of("folders")} AND {IS_PRESENT} AND NOT EXISTS (
    SELECT 1 FROM message AS other JOIN epoch AS its ON its.number = other.epoch
    WHERE other.digest = message.digest AND other.vanished_at IS NULL AND its.ended_at IS NULL
    AND its.folder IN {any_of("among")}
) GROUP BY epoch.folder
"""
_VANISHED = f"{gone_from_source(twice=False)} ORDER BY copy.target_uid"


class SqlPendingMessages:
    """Implements `archiver.catalog.replicas.PendingMessages`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages `batch` would return in all, and their octets."""
        values = {"target": target, "folders": json_list(folders)}
        with self._database.reading() as connection:
            messages, octets = connection.execute(f"{_COUNT} {missing(vanished=vanished)}", values).fetchone()
        return messages, octets

    def batch(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next `limit` messages of `folders` that have no replica in the destination folder, by epoch and
        UID."""
        statement = f"SELECT {OUTGOING} FROM {missing(vanished=vanished)} AND {_BATCH}"
        values: dict[str, Any] = {"target": target, "folders": json_list(folders), "first": after[0]}
        found: list[Outgoing] = []
        sets = FlagSets()
        with self._database.reading() as connection:
            # NOTE: one query for all epochs would make SQLite read all messages for every part.
            for (epoch,) in connection.execute(_EPOCHS, values).fetchall():
                first = after[1] if epoch == after[0] else 0
                part = {"epoch": epoch, "after": first, "limit": limit - len(found)}
                found += [outgoing_of(row, sets) for row in connection.execute(statement, values | part)]
                if len(found) == limit:
                    break
        return found

    def without_equal(self, folders: Collection[int], among: Collection[int]) -> Mapping[int, int]:
        """How many messages of each of `folders` have octets that no message of the folders `among` has."""
        values = {"folders": json_list(folders), "among": json_list(among)}
        with self._database.reading() as connection:
            return dict(connection.execute(_WITHOUT_EQUAL, values).fetchall())

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome, by epoch and UID."""
        sets = FlagSets()
        with self._database.reading() as connection:
            rows = connection.execute(_INTENTS, {"target": target})
            return [Intent(outgoing_of(row[2:], sets), row[0], row[1]) for row in rows]

    def watched(self, target: int, watch: Watch) -> Watch:
        """Since when the folder is watched for messages whose APPEND has an unknown outcome: since `watch`, which
        is recorded, or since an earlier one by the same clock, unless a message was about to be sent after it."""
        with self._database.writing() as connection:
            row = connection.execute("SELECT clock, began FROM watch WHERE target = ?", (target,)).fetchone()
            if row is not None and row[0] == watch.clock and row[1] <= watch.began:
                return Watch(*row)
            connection.execute("INSERT OR REPLACE INTO watch VALUES (?, ?, ?)", (target, watch.clock, watch.began))
            return watch

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Messages that were refused by the folder that theirs is mapped to now. `vanished` includes all that are
        gone from the source, not only those that we removed there."""
        values = {"destination": destination, "vanished": vanished}
        with self._database.reading() as connection:
            return [refused_of(*row) for row in connection.execute(_REFUSED, values)]

    def vanished(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas that we appended whose messages vanished, or were in one of the folders `gone`."""
        with self._database.reading() as connection:
            return replicas(connection.execute(_VANISHED, {"target": target, "gone": json_list(gone)}))
