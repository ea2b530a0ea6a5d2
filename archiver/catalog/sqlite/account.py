"""The account's identity, its folders and their epochs, and the counts of its messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Row, func, select

from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.reading import CURRENT_SOURCE, folder_name
from archiver.catalog.sqlite.schema import ARCHIVE, DESTINATION, EPOCH, FOLDER, PASS, QUARANTINE, TARGET
from archiver.catalog.sqlite.tallies import tallies
from archiver.facts.archive import ArchiveFact
from archiver.mail.model import Folder, FolderState, KnownEpoch, KnownFolder, Numbers, Quarantined, Tally

AnyRow: TypeAlias = "Row[*tuple[Any, ...]]"


class SqlAccount:
    """Implements `archiver.catalog.port.CatalogAccount`; each call is a separate transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def identity(self) -> ArchiveFact | None:
        """The archive's identity; None if it is new."""
        columns = [column for column in ARCHIVE.c if column is not ARCHIVE.c.id]
        with self._database.reading() as connection:
            row = connection.execute(select(*columns).order_by(ARCHIVE.c.id.desc()).limit(1)).first()
        return None if row is None else ArchiveFact(**row._mapping)

    def folders(self) -> Mapping[bytes, KnownFolder]:
        """All folders that were ever seen, by raw name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(FOLDER).order_by(FOLDER.c.number))
            return {row.raw: KnownFolder(row.number, _folder(row), row.directory, row.listed) for row in rows}

    def epochs(self) -> Mapping[int, KnownEpoch]:
        """The current epoch of each folder, by folder number, without ended ones."""
        with self._database.reading() as connection:
            newest_error = (
                select(PASS.c.error).where(PASS.c.epoch == EPOCH.c.number).order_by(PASS.c.segment.desc())
            )
            newest_hidden = (
                select(PASS.c.on_server - PASS.c.shown)
                .where(PASS.c.epoch == EPOCH.c.number, PASS.c.error.is_(None))
                .order_by(PASS.c.segment.desc())
            )
            current = select(
                EPOCH,
                (EPOCH.c.source != CURRENT_SOURCE).label("foreign"),
                newest_error.limit(1).scalar_subquery().is_not(None).label("failed"),
                newest_hidden.limit(1).scalar_subquery().label("hidden"),
            )
            return {
                row.folder: KnownEpoch(
                    number=row.number,
                    folder=row.folder,
                    uidvalidity=row.uidvalidity,
                    generation=row.generation,
                    state=_state(row),
                    other_source=row.foreign,
                    failed=row.failed,
                    hidden=row.hidden,
                )
                for row in connection.execute(current.where(EPOCH.c.ended_at.is_(None)))
            }

    def next_numbers(self) -> Numbers:
        """The next free numbers."""
        used = select(EPOCH.c.folder, EPOCH.c.uidvalidity, func.max(EPOCH.c.generation)).group_by(
            EPOCH.c.folder, EPOCH.c.uidvalidity
        )
        with self._database.reading() as connection:
            folder, epoch, destination, target = (
                1 + (connection.scalar(select(func.max(table.c.number))) or 0)
                for table in (FOLDER, EPOCH, DESTINATION, TARGET)
            )
            generations = {(row[0], row[1]): row[2] for row in connection.execute(used)}
        return Numbers(folder, epoch, generations, destination, target)

    def quarantined(self, epoch: int | None = None) -> Sequence[Quarantined]:
        """The messages in quarantine, of one current epoch or of those of all listed folders."""
        waiting = (
            select(QUARANTINE, FOLDER.c.path)
            .join(EPOCH, EPOCH.c.number == QUARANTINE.c.epoch)
            .join(FOLDER, FOLDER.c.number == EPOCH.c.folder)
            .where(EPOCH.c.ended_at.is_(None))
            .order_by(QUARANTINE.c.epoch, QUARANTINE.c.uid)
        )
        waiting = waiting.where(FOLDER.c.listed if epoch is None else QUARANTINE.c.epoch == epoch)
        with self._database.reading() as connection:
            return [_quarantined(row) for row in connection.execute(waiting)]

    def tallies(self, run: str | None = None) -> Sequence[Tally]:
        """The equation of every listed folder that has an epoch, with the work of `run`."""
        with self._database.reading() as connection:
            return tallies(connection, run)


def _folder(row: AnyRow) -> Folder:
    path, attributes = tuple(json.loads(row.path)), frozenset(json.loads(row.attributes))
    return Folder(row.raw, path, row.delimiter, attributes, row.subscribed)


def _state(row: AnyRow) -> FolderState | None:
    if row.completed_run is None:
        return None
    return FolderState(row.uidnext, row.highestmodseq, row.messages, row.filter, row.status_size)


def _quarantined(row: AnyRow) -> Quarantined:
    return Quarantined(
        folder=folder_name(row.path),
        epoch=row.epoch,
        uid=row.uid,
        step=row.step,
        reason=row.reason,
        server_reply=row.server_reply,
        tries=row.tries,
        accepted=row.accepted,
        since=row.since,
    )
