"""Settings become open adapters; the only module that names them all."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from archiver.account.catalog import catalog_place
from archiver.account.lease import HeldLease, give_back, hold, observed
from archiver.account.medium import Medium, medium_of
from archiver.account.note import Begin, require_archive, why_not_begin, why_not_this
from archiver.account.store import open_store
from archiver.archive.context import Context
from archiver.archive.plan import live_epochs
from archiver.archive.run import Rules, archive_folders, record_folders
from archiver.archive.scanned import QuarantineRetry
from archiver.archive.unrecorded import UnrecordedFiles
from archiver.catalog.port import Catalog, CatalogPlace
from archiver.config.load import Settings
from archiver.control import RunControl, utc_now
from archiver.errors import ConfigError
from archiver.events import Noted, Progress
from archiver.facts.archive import ArchiveFact, FenceFact
from archiver.imap.auth import Authenticator, authenticator_of
from archiver.journal.port import Journal
from archiver.journal.recorder import Recorder
from archiver.mail.content import Spool
from archiver.mail.model import Listed
from archiver.source.open import open_source
from archiver.source.port import SourceConnection
from archiver.source.retry import RetryingSource
from archiver.storage.bucket.lease import Lease
from archiver.storage.bucket.port import Bucket
from archiver.storage.files import Writing, create_file, private_file, sync_paths
from archiver.storage.port import FolderMetadata, MessageStore, Prefetch
from archiver.storage.run_lock import account_lock


@dataclass(frozen=True, slots=True)
class Archive:
    """An account's archive, open. `place` is its catalog's, whether it is there or not. Where the archive cannot be
    written to, it is a copy of that in the directory `copy_in`. `metadata` and `prefetch` are None if the store
    needs none. `collectable` is where killed runs may leave objects that no fact names."""

    settings: Settings
    store: MessageStore
    journal: Journal
    catalog: Catalog
    place: CatalogPlace
    copy_in: Path | None = None
    metadata: FolderMetadata | None = None
    prefetch: Prefetch | None = None
    collectable: Bucket | None = None
    lease: Lease | None = None

    @property
    def medium(self) -> Medium:
        """What can be said of where it lies."""
        return medium_of(self.settings)

    def other_writers(self) -> object:
        """A value that stays equal while no other machine writes to the archive, and never is while one does."""
        if self.collectable is None:
            return None
        number, held = observed(self.collectable, self.settings.archive.path)
        return object() if held else number

    def guarded(self, control: RunControl) -> RunControl:
        """`control` whose `check_stop` also raises Locked when the archive may be another machine's by now."""
        return control if self.lease is None else control.also_checking(self.lease.check)

    def spool(self) -> BinaryIO:
        """A new, private, empty file for a message too large for memory."""
        if self.is_copy:
            return private_file(str(self.temporary(f"{uuid.uuid4().hex}.spool")))
        return self.store.spool()

    @property
    def is_copy(self) -> bool:
        """Whether its catalog is a copy, and nothing in the archive is changed."""
        return self.copy_in is not None

    def temporary(self, name: str) -> Path:
        """Where a temporary file of this name may be made."""
        return (self.copy_in or self.settings.archive.path) / name

    @property
    def reports(self) -> Path:
        """Where reports of runs lie."""
        return self.settings.archive.path / "runs"

    @property
    def _unsettled(self) -> Path:
        return self.settings.archive.path / "unsettled"

    @property
    def is_settled(self) -> bool:
        """Whether the store is as the catalog says: whatever worked on it came to its good end."""
        return not os.path.lexists(self._unsettled)

    def begin_work(self) -> None:
        """From here on the store may not be as the catalog says; durable on return, fine if it was said before.

        NOTE: this is recorded next to the store. A catalog may be replaced by last week's, and clocks go back.
        """
        if self.is_copy:
            return  # what is done to a copy of the catalog is gone with it
        with Writing(str(self._unsettled)):
            if self.is_settled:
                os.close(create_file(str(self._unsettled)))
            if self.settings.archive.durability != "none":
                sync_paths([str(self.settings.archive.path)])

    def end_work(self) -> None:
        """All that was begun is recorded; the store is as the catalog says."""
        if self.is_copy:
            return
        with Writing(str(self._unsettled)):
            self._unsettled.unlink(missing_ok=True)


@contextmanager
def open_archive(
    settings: Settings, held: HeldLease | None = None, *, copy_in: Path | None = None
) -> Iterator[Archive]:
    """The archive of an account that has one, with its own catalog or with a copy of it, made in the directory
    `copy_in`. To write to it, use `writing`; only to read it, `open_for_reading`.

    Raises:
        ConfigError: there is none yet.
    """
    require_archive(settings)
    place = catalog_place(settings)
    if copy_in is not None:
        place = place.copied(copy_in)
    catalog = place.open()
    bucket, lease = (held.bucket, held.lease) if held else (None, None)
    stored = open_store(settings, catalog.messages.frames, bucket, lease)
    try:
        yield Archive(
            settings=settings,
            store=stored.messages,
            journal=stored.journal,
            catalog=catalog,
            place=place,
            copy_in=copy_in,
            metadata=stored.metadata,
            prefetch=stored.prefetch,
            collectable=stored.bucket,
            lease=lease,
        )
    finally:
        stored.close(keep_bucket=held is not None)
        catalog.close()


@contextmanager
def locked(settings: Settings, run: str) -> Iterator[None]:
    """Hold the account's lock, which the processes of one run share: nobody else on this machine works on it."""
    holder = {"run": run, "pid": os.getpid(), "host": socket.gethostname(), "since": utc_now()}
    with account_lock(settings.archive.path, holder) as begins_here:
        try:
            yield
        finally:
            if begins_here:
                give_back(settings.archive.path)


@contextmanager
def writing(settings: Settings, run: str, begin: Begin = "never") -> Iterator[tuple[Archive, Recorder]]:
    """The archive, kept from all other writers on whatever machine, and caught up with its journal. The lease of
    one in a bucket is held until the lock that `locked` holds around this is let go of. `begin` says whether its
    journal may be empty.

    Raises:
        Locked: another run works on it.
        ArchiveNotWritable: there is no such bucket.
        ArchiveMissing: the journal is empty, or of another archive than the account's.
        ConfigError: there is no archive yet; or the endpoint does not do what the account file asks for, by name of
            what, and nothing was written.
    """
    require_archive(settings)
    with locked(settings, run), open_archive(settings, hold(settings, run, utc_now(), begin)) as archive:
        recorder = Recorder(archive.journal, archive.catalog, run)
        recorder.catch_up(archive.begin_work)
        _require_own(archive, begin)
        if archive.lease is not None and archive.lease.claim_due:
            take_number(archive, recorder, run)
        yield archive, recorder


def _require_own(archive: Archive, begin: Begin) -> None:
    """
    Raises:
        ArchiveMissing, ConfigError: the archive is empty and may not be, or is not the account's.
    """
    identity, settings = archive.catalog.account.identity(), archive.settings
    reason = why_not_begin(settings, begin) if identity is None else why_not_this(settings, identity, begin)
    if reason is not None:
        raise reason


def take_number(archive: Archive, recorder: Recorder, run: str) -> None:
    """Write a segment that says nothing, so that none which is still on its way can come next.

    Raises:
        IntegrityError: one came already.
    """
    fence = archive.lease.fence if archive.lease else 0
    recorder.write([FenceFact(fence, socket.gethostname(), run, utc_now())])


def confirm_identity(archive: Archive, recorder: Recorder, *, new_source: bool) -> None:
    """The archive belongs to one account and one source; another one is refused until the user confirms it.

    Raises:
        ConfigError: the archive holds another account's mail.
    """
    identity = archive.catalog.account.identity()
    stranger = stranger_to(archive)
    if stranger is None and identity is not None:
        return
    if stranger is not None and not new_source:
        raise stranger
    source = archive.settings.source
    here = (archive.settings.account, source.protocol, source.host, source.user)
    archive_id = identity.archive_id if identity else uuid.uuid4().hex
    recorder.write([ArchiveFact(archive_id, *here, at=utc_now())])


def stranger_to(archive: Archive) -> ConfigError | None:
    """Why the account file and the archive do not belong together; None if they do, or the archive is new."""
    settings, identity = archive.settings, archive.catalog.account.identity()
    if identity is None:
        return None
    source = settings.source
    here = (settings.account, source.protocol, source.host, source.user)
    there = (identity.account, identity.protocol, identity.host, identity.user)
    if there == here:
        return None
    problem = f"the archive at {settings.archive.path} belongs to account {there[0]} ({there[3]} at {there[2]}), "
    problem += f"this file names account {here[0]} ({here[3]} at {here[2]})"
    hint = "change [archive] path, or give --new-source if it is the same mail on a new server"
    return ConfigError(str(settings.file), [problem], hint=hint)


def source_of(
    settings: Settings,
    spool: Spool,
    *,
    control: RunControl,
    accept: bool = False,
    attempts: int | None = None,
    authenticator: Authenticator | None = None,
    leave: Callable[[], bool] = lambda: False,
    patient: bool = False,
) -> RetryingSource:
    """The account's source; it connects when it is first used. `accept` takes placeholders for messages.
    Connections that share an `authenticator` look up their password once. `leave` and `patient` are those of
    `RetryingSource`."""
    authenticator = authenticator or authenticator_of(settings.source)

    def connect(*, fallback: bool) -> SourceConnection:
        return open_source(settings.source, authenticator, spool, fallback=fallback, accept=accept)

    attempts = attempts or settings.source.attempts
    return RetryingSource(connect, attempts=attempts, control=control, leave=leave, patient=patient)


def connect_once(settings: Settings, *, fallback: bool = False) -> SourceConnection:
    """A single attempt at a logged-in connection, for a look that fetches no message."""
    server = settings.source
    return open_source(server, authenticator_of(server), no_spool, fallback=fallback)


def no_spool() -> BinaryIO:
    """A look at a server fetches no messages."""
    raise RuntimeError("a look at a server needs no spool")


def archive_listed(
    archive: Archive,
    recorder: Recorder,
    listed: Sequence[Listed],
    unrecorded: UnrecordedFiles,
    *,
    control: RunControl,
    retry: QuarantineRetry = "due",
    accept: bool = False,
) -> Mapping[bytes, str]:
    """The archive step over this archive; why folders could not be opened that it never held, by raw name.

    Raises:
        ArchiverError: the account could not be finished; what was done so far is recorded.
    """
    settings = archive.settings
    authenticator = authenticator_of(settings.source)

    def connect(extra: bool, leave: Callable[[], bool]) -> RetryingSource:
        spool = archive.store.spool
        source = source_of(
            settings,
            spool,
            control=control,
            accept=accept,
            authenticator=authenticator,
            leave=leave,
        )
        if extra:
            source.connect_now()
        return source

    folders, epochs = record_folders(listed, archive.catalog, recorder, utc_now()), archive.catalog.account.epochs()
    context = Context(
        connect=connect,
        store=archive.store,
        metadata=archive.metadata,
        prefetch=archive.prefetch,
        catalog=archive.catalog,
        recorder=recorder,
        search=settings.messages.search,
        whole=settings.folders.whole,
        retry=retry,
        accept=accept,
        control=archive.guarded(control),
        folders=folders,
        epochs=epochs,
        live=live_epochs(listed, folders, epochs),
        unrecorded=unrecorded,
        refused={},
    )
    archive_folders(context, listed, rules_of(settings))
    return context.refused


def rules_of(settings: Settings) -> Rules:
    """Which folders an account archives."""
    return Rules(
        settings.folders.include, settings.folders.exclude, settings.source.connections, settings.folders.whole
    )


def recover_store(archive: Archive, progress: Progress) -> UnrecordedFiles:
    """After a run that did not end well: bring the store to what the catalog says, keep what it left."""
    progress(Noted("what the last run left may not be as the catalog says: looking through the store"))
    return UnrecordedFiles(archive.store.recover(archive.catalog.messages))
