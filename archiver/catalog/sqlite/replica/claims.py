"""What another account's catalog records about messages at a destination. The file is read as it is: neither
created nor upgraded, and nothing is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from archiver.catalog.sqlite.migrations import MIGRATIONS, UnknownSchema, version_of
from archiver.errors import ArchiverError, IntegrityError
from archiver.facts.replica import Claim, ReplicaFolder

_IN_LIST = 500
_BUSY_SECONDS = 10.0


class SqlClaims:
    """Implements `archiver.catalog.port.Claims` for the catalog in an SQLite file.

    Every method raises ArchiverError if the catalog cannot be read or was written by a newer version.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def last_segment(self) -> int:
        """The number of the newest segment of the journal that the catalog has applied."""
        with self._opened() as connection:
            (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM segment").fetchone()
            return int(number)

    def replicas(self, uids: Mapping[ReplicaFolder, Collection[int]]) -> Sequence[Claim]:
        """Which of these UIDs the account claims, in folders with those names and UIDVALIDITYs at any
        destination."""
        with self._opened() as connection:
            if not _knows_destinations(connection):
                return []
            return [claim for target, its in uids.items() for claim in _claims(connection, target, sorted(its))]

    def fillers(self, raw: bytes) -> Sequence[tuple[str, str]]:
        """The destinations (host, user) where the account fills a folder of that name, or did so before."""
        with self._opened() as connection:
            if not _knows_destinations(connection):
                return []
            rows = connection.execute(
                "SELECT DISTINCT met.host, met.user FROM mapped "
                f"JOIN {_addresses(connection)} AS met ON met.destination = mapped.destination "
                "JOIN folder ON folder.number = mapped.folder AND folder.listed "
                "WHERE mapped.raw = ?",
                (raw,),
            )
            return [(host, user) for host, user in rows]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        address = f"file:{quote(str(self._file.absolute()))}?mode=ro"
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS)) as connection:
                connection.execute("BEGIN")
                if version_of(connection) > 1 + len(MIGRATIONS):
                    raise ArchiverError(f"{self._file}: was written by a newer version of archiver")
                yield connection
        except (sqlite3.Error, UnknownSchema) as error:
            raise IntegrityError(f"{self._file}: {error}") from error


def _claims(connection: sqlite3.Connection, target: ReplicaFolder, uids: Sequence[int]) -> Iterator[Claim]:
    for start in range(0, len(uids), _IN_LIST):
        some = uids[start : start + _IN_LIST]
        rows = connection.execute(
            "SELECT DISTINCT met.host, met.user, copy.target_uid, message.digest "
            f"FROM target JOIN {_addresses(connection)} AS met ON met.destination = target.destination "
            "JOIN copy ON copy.target = target.number "
            "JOIN message ON message.epoch = copy.epoch AND message.uid = copy.uid "
            "WHERE target.raw = ? AND target.uidvalidity = ? AND target.ended_at IS NULL "
            f"AND copy.removed_at IS NULL AND copy.target_uid IN ({', '.join('?' * len(some))})",
            (target.raw, target.uidvalidity, *some),
        )
        yield from (Claim(target, *row) for row in rows)


def _knows_destinations(connection: sqlite3.Connection) -> bool:
    """The first version did not."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'mapped'").fetchone() is not None


def _addresses(connection: sqlite3.Connection) -> str:
    """The addresses of destinations: a mailbox may have several over time, and each of them counts. Up to version 3
    only the first one is known."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'address'").fetchone() is not None:
        return "address"
    return "(SELECT number AS destination, host, user FROM destination)"
