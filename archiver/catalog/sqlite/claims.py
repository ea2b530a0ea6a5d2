"""What another account's catalog says of messages at a destination. It is read as it lies there: not made, not
upgraded to this version, and nothing is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from archiver.catalog.sqlite.migrations import MIGRATIONS
from archiver.errors import ArchiverError, IntegrityError
from archiver.facts.replica import KnownTarget
from archiver.mail.model import Digest

_IN_LIST = 500
_BUSY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A copy that an account has at a destination and did not see go, in what we know as `target`: of a message
    with this digest, at a destination that was reached at this host and user, as they were written then. One that
    was reached at several is a claim for each."""

    target: KnownTarget
    host: str
    user: str
    uid: int
    digest: Digest


def claims(catalog: Path, uids: Mapping[KnownTarget, Collection[int]]) -> Sequence[Claim]:
    """What the catalog of another account claims of these UIDs in folders of those names and UIDVALIDITYs, at
    whatever destination.

    Raises:
        ArchiverError: it cannot be read, or is of a newer version.
    """
    with _opened(catalog) as connection:
        if not _knows_destinations(connection):
            return []
        return [claim for target, its in uids.items() for claim in _claims(connection, target, sorted(its))]


def fillers(catalog: Path, raw: bytes) -> Sequence[tuple[str, str]]:
    """The hosts and users at which the account of this catalog fills a folder of that name, or once did.

    Raises:
        ArchiverError: it cannot be read, or is of a newer version.
    """
    with _opened(catalog) as connection:
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


def last_segment(catalog: Path) -> int:
    """The number of the newest segment of the journal that the catalog has applied.

    Raises:
        ArchiverError: it cannot be read, or is of a newer version.
    """
    with _opened(catalog) as connection:
        (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM segment").fetchone()
        return int(number)


def _claims(connection: sqlite3.Connection, target: KnownTarget, uids: Sequence[int]) -> Iterator[Claim]:
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
    """Where destinations were reached: a mailbox gets other addresses in its life, and each of them counts. Up to
    version 3 only the first one is known."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'address'").fetchone() is not None:
        return "address"
    return "(SELECT number AS destination, host, user FROM destination)"


@contextmanager
def _opened(catalog: Path) -> Iterator[sqlite3.Connection]:
    address = f"file:{quote(str(catalog.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("BEGIN")
            (version,) = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() or (
                0,
            )
            if int(version) > 1 + len(MIGRATIONS):
                raise ArchiverError(f"{catalog}: is of a newer version of this program")
            yield connection
    except sqlite3.Error as error:
        raise IntegrityError(f"{catalog}: {error}") from error
