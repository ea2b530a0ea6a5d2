"""The catalog in an SQL database.

It keeps nothing in memory between calls: what it says is what was committed. Rows are streamed, so that a million
messages cost no more memory than a thousand.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, func, insert, select

from archiver.catalog.sqlite.apply.archive import apply_facts
from archiver.catalog.sqlite.database import Database
from archiver.catalog.sqlite.migrations import MIGRATIONS, Migration
from archiver.catalog.sqlite.reading import (
    CURRENT_SOURCE,
    IS_PRESENT,
    PLACE,
    STREAM,
    FlagSets,
    of_messages,
    parts,
    placement,
)
from archiver.catalog.sqlite.replica.destinations import SqlDestinations
from archiver.catalog.sqlite.replica.replicas import SqlCopies
from archiver.catalog.sqlite.runs import SqlRunLedger
from archiver.catalog.sqlite.schema import (
    ARCHIVE,
    DESTINATION,
    EPOCH,
    FOLDER,
    FRAME,
    HEADER,
    MESSAGE,
    PACK,
    PASS,
    QUARANTINE,
    SEGMENT,
    TARGET,
)
from archiver.catalog.sqlite.search import SqlMessageIndex
from archiver.catalog.sqlite.tallies import tallies
from archiver.errors import IntegrityError
from archiver.facts.archive import ArchiveFact, Segment
from archiver.mail.model import (
    Attributes,
    Digest,
    Flags,
    Folder,
    FolderState,
    Frame,
    Headers,
    KnownEpoch,
    KnownFolder,
    Numbers,
    Placement,
    Quarantined,
    Tally,
)

AnyRow: TypeAlias = "Row[*tuple[Any, ...]]"


class SqlCatalog:
    """The catalog of one archive in an SQLite file.

    Opened at the first call, in whatever thread or forked child that is, and again after `close`. Any call raises
    ConfigError if the database is of a newer version or on a network file system, IntegrityError if it is damaged,
    ArchiveNotWritable if its disk is full or read-only, Locked if another process keeps it occupied.
    """

    def __init__(self, file: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self._database = Database(file, migrations)

    def close(self) -> None:
        """Close the database; may be called twice."""
        self._database.close()

    def last_segment(self) -> tuple[int, Digest]:
        """Number and digest of the newest segment applied; (0, "") for none."""
        with self._database.reading() as connection:
            return _last_segment(connection)

    def apply(self, segment: Segment) -> None:
        """Apply a segment's facts and its number in one transaction. A segment applied before is refused.

        Raises:
            IntegrityError: it is not the next one, or its facts do not fit those before.
        """
        with self._database.writing() as connection:
            number, digest = _last_segment(connection)
            if (segment.number, segment.previous) != (number + 1, digest):
                raise IntegrityError(
                    f"{segment.name}: does not follow segment {number}, the last one in {self._database.path}",
                    hint="archiver rebuild makes the catalog again from the journal",
                )
            apply_facts(connection, segment)
            row = {"number": segment.number, "run": segment.run, "digest": segment.digest}
            connection.execute(insert(SEGMENT), row)

    def identity(self) -> ArchiveFact | None:
        """Whose archive this is; None when new."""
        columns = [column for column in ARCHIVE.c if column is not ARCHIVE.c.id]
        with self._database.reading() as connection:
            row = connection.execute(select(*columns).order_by(ARCHIVE.c.id.desc()).limit(1)).first()
        return None if row is None else ArchiveFact(**row._mapping)

    def begun_by(self) -> str | None:
        """The run that began the archive; None when new."""
        with self._database.reading() as connection:
            return connection.scalar(select(SEGMENT.c.run).where(SEGMENT.c.number == 1))

    def folders(self) -> Mapping[bytes, KnownFolder]:
        """All folders ever seen, by their raw name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(FOLDER).order_by(FOLDER.c.number))
            return {row.raw: KnownFolder(row.number, _folder(row), row.directory, row.listed) for row in rows}

    def epochs(self) -> Mapping[int, KnownEpoch]:
        """The current epoch of each folder, by folder number; ended ones are not among them."""
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
        """The numbers that come next."""
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

    def known(self, epoch: int) -> dict[int, Flags]:
        """The present messages of an epoch: uid → flags. Equal sets of flags are one object."""
        sets = FlagSets()
        present = of_messages(MESSAGE.c.uid, MESSAGE.c.flags).where(MESSAGE.c.epoch == epoch, IS_PRESENT)
        with self._database.reading() as connection:
            return {uid: sets[flags] for uid, flags in connection.execute(present, execution_options=STREAM)}

    def placements(self, epoch: int | None = None, *, uids: Collection[int] | None = None) -> Iterator[Placement]:
        """Where messages are: of one epoch (present and vanished) or of all, in UID order within an epoch.

        `uids` keeps to those of them that are there. The state at the first item holds to the last, whatever is
        applied meanwhile.
        """
        sets = FlagSets()
        with self._database.reading() as connection:
            every = select(EPOCH.c.number).order_by(EPOCH.c.number)
            for number in [epoch] if epoch is not None else connection.scalars(every).all():
                rows = _PLACED.where(MESSAGE.c.epoch == number).order_by(MESSAGE.c.uid)
                asked = [rows] if uids is None else [rows.where(part) for part in parts(MESSAGE.c.uid, uids)]
                for statement in asked:
                    for row in connection.execute(statement, execution_options=STREAM):
                        yield placement(row, sets)

    def by_digest(self) -> Iterator[Placement]:
        """All messages of all epochs, present and vanished, ordered by their digests. As of `placements`, the state
        at the first item holds to the last."""
        sets = FlagSets()
        with self._database.reading() as connection:
            for row in connection.execute(_BY_DIGEST, execution_options=STREAM):
                yield placement(row, sets)

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where those of these messages that lie in packs do so."""
        columns = (FRAME.c.digest, FRAME.c.pack, FRAME.c.offset, FRAME.c.length)
        with self._database.reading() as connection:
            return {
                digest: Frame(pack, offset, length)
                for part in parts(FRAME.c.digest, digests)
                for digest, pack, offset, length in connection.execute(select(*columns).where(part))
            }

    def headers(self, digests: Collection[Digest]) -> Mapping[Digest, Headers]:
        """What is known of the headers of these octets."""
        columns = (HEADER.c.digest, HEADER.c.sender, HEADER.c.recipients, HEADER.c.subject, HEADER.c.sent)
        with self._database.reading() as connection:
            return {
                digest: Headers(*texts)
                for part in parts(HEADER.c.digest, digests)
                for digest, *texts in connection.execute(select(*columns).where(part))
            }

    def packs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of every pack, by digest. As of `placements`, the state at the first item holds."""
        every = select(PACK.c.digest, PACK.c.size).order_by(PACK.c.digest)
        with self._database.reading() as connection:
            yield from map(tuple, connection.execute(every, execution_options=STREAM))

    def attributes(self, epoch: int, uids: Collection[int]) -> dict[int, Attributes]:
        """Recorded flags, INTERNALDATE and RFC822.SIZE of these messages, vanished ones too."""
        return {each.uid: each.message.attributes for each in self.placements(epoch, uids=uids)}

    def twins(self, digests: Collection[Digest]) -> dict[tuple[Digest, int], Placement]:
        """Committed places of equal octets that arrived at the same second, by (digest, arrived). Present ones are
        preferred."""
        sets = FlagSets()
        found: dict[tuple[Digest, int], Placement] = {}
        with self._database.reading() as connection:
            for part in parts(MESSAGE.c.digest, digests):
                for row in connection.execute(_PLACED.where(part)):
                    twin = placement(row, sets)
                    key = (twin.digest, twin.arrived)
                    if key not in found or (twin.present and not found[key].present):
                        found[key] = twin
        return found

    def candidates(self, sizes: Collection[int]) -> Sequence[Placement]:
        """Messages with one of these RFC822.SIZEs in the whole account, for re-matching in a new epoch."""
        sets = FlagSets()
        with self._database.reading() as connection:
            return [
                placement(row, sets)
                for part in parts(MESSAGE.c.server_size, sizes)
                for row in connection.execute(_PLACED.where(part))
            ]

    def quarantined(self, epoch: int | None = None) -> Sequence[Quarantined]:
        """What waits in quarantine, of one current epoch or of those of all listed folders."""
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

    def destinations(self) -> SqlDestinations:
        """Which destinations are known, and what they are known by."""
        return SqlDestinations(self._database)

    def at_destinations(self) -> SqlCopies:
        """What destinations hold of the archive."""
        return SqlCopies(self._database)

    def index(self) -> SqlMessageIndex:
        """What messages are found by."""
        return SqlMessageIndex(self._database)

    def ledger(self) -> SqlRunLedger:
        """The runs and their steps."""
        return SqlRunLedger(self._database)


_PLACED = of_messages(*PLACE)
_BY_DIGEST = _PLACED.order_by(MESSAGE.c.digest, MESSAGE.c.epoch, MESSAGE.c.uid)


def _last_segment(connection: Connection) -> tuple[int, Digest]:
    newest = select(SEGMENT.c.number, SEGMENT.c.digest).order_by(SEGMENT.c.number.desc()).limit(1)
    row = connection.execute(newest).first()
    return (row.number, row.digest) if row else (0, Digest(""))


def _folder(row: AnyRow) -> Folder:
    path, attributes = tuple(json.loads(row.path)), frozenset(json.loads(row.attributes))
    return Folder(row.raw, path, row.delimiter, attributes, row.subscribed)


def _state(row: AnyRow) -> FolderState | None:
    if row.completed_run is None:
        return None
    return FolderState(row.uidnext, row.highestmodseq, row.messages, row.filter, row.status_size)


def _quarantined(row: AnyRow) -> Quarantined:
    return Quarantined(
        folder="/".join(json.loads(row.path)),
        epoch=row.epoch,
        uid=row.uid,
        step=row.step,
        reason=row.reason,
        server_reply=row.server_reply,
        tries=row.tries,
        accepted=row.accepted,
        since=row.since,
    )
