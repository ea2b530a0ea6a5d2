"""What must be kept, read from the catalog's tables."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence

from archiver.catalog.keeping import Holdable, KnownHold
from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import any_of, json_list
from archiver.facts.keeping import HoldEndedFact, HoldFact, StateMarkedFact
from archiver.facts.replica import MessageKey, by_epoch

_HOLDS = """
SELECT number, folders, addresses, reason, "by", at, ended_reason, ended_by, ended_at FROM hold ORDER BY number
"""
_MARKS = 'SELECT state, reason, "by", at FROM mark ORDER BY rowid'
_HOLDABLE = f"""
SELECT message.uid, message.digest, folder.path, header.sender, header.recipients FROM message
JOIN epoch ON epoch.number = message.epoch
JOIN folder ON folder.number = epoch.folder
LEFT JOIN header ON header.digest = message.digest
WHERE message.epoch = :epoch AND message.uid IN {any_of("uids")}
"""


class SqlKeeping:
    """Implements `archiver.catalog.keeping.Keeping`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def holds(self) -> Sequence[KnownHold]:
        """All holds, those that ended included, by number."""
        with self._database.reading() as connection:
            return [_hold(*row) for row in connection.execute(_HOLDS)]

    def marks(self) -> Sequence[StateMarkedFact]:
        """What people said about how far the migration is, in their order."""
        with self._database.reading() as connection:
            return [StateMarkedFact(*row) for row in connection.execute(_MARKS)]

    def holdable(self, keys: Collection[MessageKey]) -> Iterator[Holdable]:
        """What decides whether these messages are held; those that the catalog does not know are left out."""
        with self._database.reading() as connection:
            for epoch, uids in by_epoch(keys).items():
                values = {"epoch": epoch, "uids": json_list(uids)}
                for uid, digest, path, sender, recipients in connection.execute(_HOLDABLE, values):
                    people = None if sender is None else f"{sender}, {recipients}"
                    yield Holdable((epoch, uid), digest, tuple(json.loads(path)), people)


def _hold(
    number: int,
    folders: str,
    addresses: str,
    reason: str,
    by: str,
    at: str,
    ended_reason: str | None,
    ended_by: str | None,
    ended_at: str | None,
) -> KnownHold:
    hold = HoldFact(number, tuple(json.loads(folders)), tuple(json.loads(addresses)), reason, by, at)
    ended = None if ended_at is None else HoldEndedFact(number, ended_reason or "", ended_by or "", ended_at)
    return KnownHold(hold, ended)
