"""An archive opened by those who change nothing in it, wired: also on a read-only medium, and as another user."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from archiver.account.catalog import catalog_place
from archiver.account.note import require_archive, why_not_this
from archiver.account.opening import Archive, locked, open_archive
from archiver.config.load import Settings
from archiver.errors import ConfigError, IntegrityError
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import printable
from archiver.storage.run_lock import reader_lock

log = logging.getLogger(__name__)

EmitText = Callable[[str], None]


@contextmanager
def open_for_reading(settings: Settings) -> Iterator[Archive]:
    """The archive of an account that has one. Where this user cannot write to its catalog, or the disk is full, a
    copy of it, in a directory of its own and caught up with the journal, stands for it; the archive is not touched.

    Raises:
        ArchiveMissing, ConfigError: there is none, or another one than the account's.
        ArchiveNotWritable: this user cannot read the catalog, or there is no room for a copy.
    """
    require_archive(settings)
    if catalog_place(settings).is_writable():
        with open_archive(settings) as archive:
            _require_own(archive)
            yield archive
        return
    with (
        tempfile.TemporaryDirectory(prefix="archiver-", ignore_cleanup_errors=True) as scratch,
        open_archive(settings, copy_in=Path(scratch)) as archive,
    ):
        if not archive.medium.is_remote:
            _catch_up(archive)
        _require_own(archive)
        yield archive


def _catch_up(archive: Archive) -> None:
    try:
        Recorder(archive.journal, archive.catalog, "read").catch_up(archive.begin_work)
    except IntegrityError as error:
        # What needs the journal reads it again, and fails. The others show what they can.
        reason = printable(str(error))
        log.warning("%s: %s; what changed later is not shown", archive.settings.account, reason)


def _require_own(archive: Archive) -> None:
    if not archive.place.exists():
        return
    identity = archive.catalog.account.identity()
    if identity is not None and (reason := why_not_this(archive.settings, identity, "never")) is not None:
        raise reason


@contextmanager
def existing_archive(settings: Settings) -> Iterator[Archive]:
    """The archive of an account, with its catalog, to be read.

    Raises:
        ConfigError: one of them is not there.
    """
    with open_for_reading(settings) as archive:
        if not archive.place.exists():
            hint = "`archiver rebuild` makes it again from the journal"
            raise ConfigError(str(settings.archive.path), ["the archive's catalog is not there"], hint=hint)
        yield archive


@contextmanager
def locked_for_reading(settings: Settings, run: str, emit: EmitText) -> Iterator[None]:
    """Keep writers on this machine out while the archive is read; `emit` gets a note if that is impossible.

    Raises:
        Locked: a run works on it.
    """
    path = settings.archive.path
    lock = path / "lock"
    if os.access(lock if lock.exists() else path, os.W_OK):
        with locked(settings, run):
            yield
        return
    with reader_lock(path) as problem:
        if problem is not None:
            emit(f"{problem}: no lock is held; what a run does in the meantime may look like damage")
        yield


@contextmanager
def looking(settings: Settings, run: str, emit: EmitText) -> Iterator[tuple[Archive, Recorder]]:
    """The archive, caught up with its journal, for commands that only read. Nothing on this machine writes to it
    meanwhile, but other machines may. Nothing needs to be writable, and the recorder must not write.

    Raises:
        Locked: another run works on it here.
        ConfigError: there is no archive yet.
    """
    with open_for_reading(settings) as archive, locked_for_reading(settings, run, emit):
        recorder = Recorder(archive.journal, archive.catalog, run)
        recorder.catch_up(archive.begin_work)
        yield archive, recorder
