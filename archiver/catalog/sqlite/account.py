"""The account's identity, its folders and their epochs, and the counts of its messages."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import CURRENT_SOURCE, any_of, folder_name, json_list
from archiver.catalog.sqlite.tallies import tallies
from archiver.facts.archive import ArchiveFact
from archiver.facts.known import FolderNumbering, FolderState, KnownEpoch, KnownFolder, Numbers, Quarantined, Tally
from archiver.mail.model import Folder

_IDENTITY = "SELECT archive_id, account, protocol, host, user, at FROM archive ORDER BY id DESC LIMIT 1"
_FOLDERS = """
SELECT number, directory, listed, raw, path, delimiter, attributes, subscribed FROM folder ORDER BY number
"""
_EPOCHS = f"""
SELECT number, folder, uidvalidity, generation, source != {CURRENT_SOURCE},
    (SELECT error FROM pass WHERE pass.epoch = epoch.number ORDER BY segment DESC LIMIT 1) IS NOT NULL,
    (SELECT on_server - shown FROM pass
        WHERE pass.epoch = epoch.number AND error IS NULL ORDER BY segment DESC LIMIT 1),
    EXISTS (SELECT 1 FROM message INDEXED BY ix_message_unlabelled WHERE message.epoch = epoch.number
        AND labels IS NULL AND vanished_at IS NULL AND emailid >= 'gm:' AND emailid < 'gm;'),
    completed_run, uidnext, highestmodseq, messages, filter, status_size
FROM epoch WHERE ended_at IS NULL
"""
_QUARANTINED = """
SELECT folder.path, quarantine.epoch, uid, step, quarantine.reason, server_reply, tries, accepted, since
FROM quarantine
JOIN epoch ON epoch.number = quarantine.epoch
JOIN folder ON folder.number = epoch.folder
WHERE epoch.ended_at IS NULL AND CASE WHEN :epoch IS NULL THEN folder.listed ELSE quarantine.epoch = :epoch END
ORDER BY quarantine.epoch, uid
"""

_EPOCH = f"{_EPOCHS} AND folder = :folder"
_UIDVALIDITIES = "SELECT DISTINCT uidvalidity FROM epoch WHERE folder = :folder"
_NUMBERING = "SELECT uidvalidity, uidnext FROM numbering WHERE folder = :folder"
_BY_DIGEST = """
SELECT count(DISTINCT name.uid) FROM name JOIN epoch ON epoch.folder = name.folder
    AND epoch.uidvalidity = name.uidvalidity AND epoch.ended_at IS NULL
JOIN message ON message.epoch = epoch.number AND message.uid = name.uid AND message.vanished_at IS NULL
WHERE name.folder = :folder AND name.name >= 'd:' AND name.name < 'd;'
"""
_NAMED = f"""
SELECT name, uid FROM name
WHERE folder = :folder AND uidvalidity = :uidvalidity AND name IN {any_of("names")}
"""


class SqlAccount:
    """Implements `archiver.catalog.port.CatalogAccount`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def identity(self) -> ArchiveFact | None:
        """The archive's identity; None if it is new."""
        with self._database.reading() as connection:
            row = connection.execute(_IDENTITY).fetchone()
        return None if row is None else ArchiveFact(*row)

    def folders(self) -> Mapping[bytes, KnownFolder]:
        """All folders that were ever seen, by raw name."""
        with self._database.reading() as connection:
            return {
                raw: KnownFolder(number, _folder(raw, *its), directory, bool(is_listed))
                for number, directory, is_listed, raw, *its in connection.execute(_FOLDERS)
            }

    def epochs(self) -> Mapping[int, KnownEpoch]:
        """The current epoch of each folder, by folder number, without ended ones."""
        with self._database.reading() as connection:
            return {row[1]: _epoch(*row) for row in connection.execute(_EPOCHS)}

    def next_numbers(self) -> Numbers:
        """The next free numbers."""
        used = "SELECT folder, uidvalidity, max(generation) FROM epoch GROUP BY folder, uidvalidity"
        with self._database.reading() as connection:
            folder, epoch, destination, target = (
                connection.execute(f"SELECT 1 + coalesce(max(number), 0) FROM {table}").fetchone()[0]
                for table in ("folder", "epoch", "destination", "target")
            )
            generations = {(row[0], row[1]): row[2] for row in connection.execute(used)}
        return Numbers(folder, epoch, generations, destination, target)

    def quarantined(self, epoch: int | None = None) -> Sequence[Quarantined]:
        """The messages in quarantine, of one current epoch or of those of all listed folders."""
        with self._database.reading() as connection:
            return [_quarantined(*row) for row in connection.execute(_QUARANTINED, {"epoch": epoch})]

    def numbering(self, folder: int) -> FolderNumbering:
        """What is known of the UIDs that a folder's messages were given here."""
        values = {"folder": folder}
        with self._database.reading() as connection:
            row = connection.execute(_EPOCH, values).fetchone()
            used = frozenset(each for (each,) in connection.execute(_UIDVALIDITIES, values))
            uidnexts = dict(connection.execute(_NUMBERING, values).fetchall())
            (by_digest,) = connection.execute(_BY_DIGEST, values).fetchone()
        return FolderNumbering(None if row is None else _epoch(*row), used, uidnexts, by_digest)

    def uids_of(self, folder: int, uidvalidity: int, names: Collection[str]) -> Mapping[str, int]:
        """The UIDs of those of `names` that have one under this UIDVALIDITY."""
        values = {"folder": folder, "uidvalidity": uidvalidity, "names": json_list(names)}
        with self._database.reading() as connection:
            return dict(connection.execute(_NAMED, values).fetchall())

    def tallies(self, run: str | None = None) -> Sequence[Tally]:
        """The equation of every listed folder that has an epoch, with the work of `run`."""
        with self._database.reading() as connection:
            return tallies(connection, run)


def _folder(raw: bytes, path: str, delimiter: str | None, attributes: str, subscribed: int) -> Folder:
    return Folder(raw, tuple(json.loads(path)), delimiter, frozenset(json.loads(attributes)), bool(subscribed))


def _epoch(
    number: int,
    folder: int,
    uidvalidity: int,
    generation: int,
    other_source: int,
    failed: int,
    hidden: int | None,
    unlabelled: int,
    completed_run: str | None,
    *state: Any,
) -> KnownEpoch:
    return KnownEpoch(
        number=number,
        folder=folder,
        uidvalidity=uidvalidity,
        generation=generation,
        state=None if completed_run is None else FolderState(*state),
        other_source=bool(other_source),
        failed=bool(failed),
        hidden=hidden,
        unlabelled=bool(unlabelled),
    )


def _quarantined(
    path: str,
    epoch: int,
    uid: int,
    step: str,
    reason: str,
    server_reply: str | None,
    tries: int,
    accepted: int,
    since: str,
) -> Quarantined:
    return Quarantined(
        folder=folder_name(path),
        epoch=epoch,
        uid=uid,
        step=step,
        reason=reason,
        server_reply=server_reply,
        tries=tries,
        accepted=bool(accepted),
        since=since,
    )
