"""An account: the one place through which what belongs to it is opened."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from archiver.account.archive import Archive
from archiver.account.medium import catalog_place, medium_of
from archiver.account.note import Begin, NoteFile
from archiver.account.store import HeldLease, Medium
from archiver.catalog.port import CatalogPlace
from archiver.config.settings import Settings
from archiver.control.run import RunControl, utc_now
from archiver.errors import ArchiveNotWritable, ConfigError, IntegrityError
from archiver.journal.rebuild import replay_journal
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import printable
from archiver.mail.model import Digest
from archiver.storage.files import make_directories
from archiver.storage.ownership import open_to_others
from archiver.storage.run_lock import account_lock, reader_lock, require_lockable

if TYPE_CHECKING:
    from archiver.account.servers import DestinationServer, SourceServer

log = logging.getLogger(__name__)

EmitText = Callable[[str], None]

_HINT = "give this user access to the archive, or change [archive] path"


class Account(Struct, frozen=True, dict=True):
    """An account as its file says, with nothing open. Its archive is opened by what is to be done with it:

    | | may change it | needs write access | catches up | other writers here are kept out |
    |---|---|---|---|---|
    | `writing` | yes | yes | yes | yes, and on other machines |
    | `looking` | no | no | yes | yes |
    | `reading` | no | no | only a copy of the catalog | no |
    | `opened` | with `locked` | yes | no | with `locked` |

    Servers are connected to through `source` and `destination`. Nothing is imported before it is asked for.
    """

    settings: Settings

    @cached_property
    def medium(self) -> Medium:
        """Where its archive lies."""
        return medium_of(self.settings)

    @property
    def catalog(self) -> CatalogPlace:
        """Where its catalog is, whether there is one yet or not."""
        return catalog_place(self.settings)

    @property
    def note(self) -> NoteFile:
        """Which archive is the account's, and whether one may be begun."""
        return NoteFile(self.settings, self.medium)

    @cached_property
    def source(self) -> SourceServer:
        """The server that it is archived from."""
        from archiver.account.servers import source_of

        return source_of(self.settings)

    @cached_property
    def destination(self) -> DestinationServer:
        """The server that it is replayed to.

        Raises:
            ConfigError: the account has none.
        """
        from archiver.account.servers import destination_of

        return destination_of(self.settings)

    def has_archive(self) -> bool:
        """Whether something of an archive is at its path; of one in a bucket, what is local of it.

        Raises:
            ArchiveNotWritable: this user may not look, or the path is no folder.
        """
        path = self.settings.archive.path
        if _is_there(path) and not path.is_dir():
            raise ArchiveNotWritable(f"{path}: is not a folder", hint=_HINT)
        return self.catalog.exists() or _is_there(self.medium.own_directory)

    def make_archive(self, begin: Begin) -> None:
        """Make the archive's directory, private; fine if it is there. `begin` says whether there may be none yet;
        what is in a bucket is looked at by `writing`.

        Raises:
            ArchiveMissing, ConfigError: there is none, and none is to be begun; nothing was made.
            ArchiveNotWritable: it cannot be made, or messages cannot be stored there under their names.
        """
        is_checked_later = self.medium.is_remote or self.has_archive()
        if not is_checked_later and (reason := self.note.why_not_begin(begin)) is not None:
            raise reason
        self.medium.require_fit()
        try:
            make_directories(self.medium.own_directory)
        except OSError as error:
            what = "is not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
            raise ArchiveNotWritable(
                f"{self.settings.archive.path}: {what}",
                hint="give this user write access, or change [archive] path",
            ) from error
        self._warn_of_others()

    @contextmanager
    def locked(self, run: str) -> Iterator[None]:
        """Hold the account's lock, which the processes of one run share: nobody else on this machine works on it.

        Raises:
            Locked: another run works on it.
        """
        holder = {"run": run, "pid": os.getpid(), "host": socket.gethostname(), "since": utc_now()}
        with account_lock(self.settings.archive.path, holder) as begins_here:
            try:
                yield
            finally:
                if begins_here:
                    self.medium.give_back()

    def fetch_catalog(self, run: str, check_stop: Callable[[], None]) -> None:
        """If the catalog of an archive in a bucket is not here, make it from the journal there: then the archive
        can be looked at from any machine that has the account file. Otherwise nothing is done.

        Raises:
            ConfigError: there is no archive in the bucket.
            IntegrityError: the journal is damaged.
        """
        if not self.medium.is_remote or self.catalog.exists():
            return
        with self.medium.opened(lambda _: {}) as storage:
            if next(iter(storage.journal.read((0, Digest("")))), None) is None:
                reason = self.note.why_not_begin("never")
                assert reason is not None
                raise reason
            self.make_archive("never")
            with self.locked(run):
                with self.catalog.scratch(run, to_install=True) as scratch:
                    replay_journal(storage.journal, scratch, check_stop)
                    scratch.close()
                    self.catalog.install(run)
                with self._opened(self.catalog) as archive:
                    self._require_own(archive, "never")
                    archive.begin_work()  # what killed runs left in the bucket is looked for by the next one

    def require_lockable(self) -> None:
        """Check that this user may lock its archive, which is there; it is not locked.

        Raises:
            ArchiveNotWritable: the medium or its permissions do not allow that.
        """
        require_lockable(self.settings.archive.path)

    @contextmanager
    def opened(self) -> Iterator[Archive]:
        """The archive with its own catalog, as it is: nobody is kept out, and nothing is caught up.

        Raises:
            ArchiveMissing, ConfigError: there is none.
        """
        self._require_archive()
        with self._opened(self.catalog) as archive:
            yield archive

    @contextmanager
    def writing(self, run: str, begin: Begin = "never") -> Iterator[tuple[Archive, Recorder]]:
        """The archive, kept from all other writers on whatever machine, and caught up with its journal. The lease
        of one in a bucket is held until the lock that `locked` holds around this is released. `begin` says whether
        its journal may be empty.

        Raises:
            Locked: another run works on it.
            ArchiveNotWritable: there is no such bucket.
            ArchiveMissing: the journal is empty, or of another archive than the account's.
            ConfigError: there is no archive yet; or the endpoint does not do what the account file asks for, which
                the error names, and nothing was written.
        """
        self._require_archive()
        self._warn_of_others()
        with self.locked(run):
            held = self.medium.hold(run, utc_now(), lambda: self.note.why_not_begin(begin))
            with self._opened(self.catalog, held) as archive:
                recorder = Recorder(archive.journal, archive.catalog, run)
                recorder.catch_up(archive.begin_work)
                self._require_own(archive, begin)
                lease = archive.storage.lease
                if lease is not None and lease.fence_pending:
                    archive.take_number(recorder, run)
                _finish_forgetting(archive, recorder)
                yield archive, recorder

    def end_what_was_cut_off(self, run: str, emit: EmitText) -> None:
        """End a forget that was cut off, if this user can write to the archive: what is left of it looks like
        damage to those who only read.

        Raises:
            Locked: a run works on it.
        """
        with self.reading() as archive, self.locked_for_reading(run, emit):
            if archive.is_copy:
                return
            try:
                Recorder(archive.journal, archive.catalog, run).catch_up(archive.begin_work)
            except IntegrityError:
                return  # reading it says what is wrong
            if not archive.is_forgetting:
                return
        with self.writing(run):
            pass

    @contextmanager
    def reading(self, *, with_catalog: bool = False) -> Iterator[Archive]:
        """The archive for those who change nothing in it, also on a read-only medium and as another user. If this
        user cannot write to its catalog, or the disk is full, a copy is used, in a directory of its own and caught
        up with the journal; the archive is not touched. `with_catalog`: there has to be one.

        Raises:
            ArchiveMissing, ConfigError: there is none, or another one than the account's.
            ArchiveNotWritable: this user cannot read the catalog, or there is no room for a copy.
        """
        self._require_archive()
        with self._own_or_copied() as archive:
            if archive.place.exists():
                self._require_own(archive, None)
            elif with_catalog:
                hint = "`archiver rebuild` recreates it from the journal"
                path = str(self.settings.archive.path)
                raise ConfigError(path, ["the archive's catalog is not there"], hint=hint)
            yield archive

    @contextmanager
    def locked_for_reading(self, run: str, emit: EmitText) -> Iterator[None]:
        """Keep writers on this machine out while the archive is read; `emit` gets a note if that is impossible.

        Raises:
            Locked: a run works on it.
        """
        path = self.settings.archive.path
        lock = path / "lock"
        if os.access(lock if lock.exists() else path, os.W_OK):
            with self.locked(run):
                yield
            return
        with reader_lock(path) as problem:
            if problem is not None:
                emit(f"{problem}: no lock is held; what a run does in the meantime may look like damage")
            yield

    @contextmanager
    def looking(self, run: str, emit: EmitText) -> Iterator[tuple[Archive, Recorder]]:
        """The archive, caught up with its journal, for commands that only read. Nothing on this machine writes to
        it meanwhile, but other machines may. Nothing needs to be writable, and the recorder must not write.

        Raises:
            Locked: another run works on it here.
            ConfigError: there is no archive yet.
        """
        with self.reading() as archive, self.locked_for_reading(run, emit):
            recorder = Recorder(archive.journal, archive.catalog, run)
            recorder.catch_up(archive.begin_work)
            yield archive, recorder

    @contextmanager
    def _opened(
        self, place: CatalogPlace, held: HeldLease | None = None, copy_in: Path | None = None
    ) -> Iterator[Archive]:
        """The only opening of an archive, whatever it is opened for. What is `held` stays open."""
        catalog = place.open()
        try:
            with self.medium.opened(catalog.messages.frames, held) as storage:
                yield Archive(self.settings, self.medium, storage, catalog, place, copy_in)
        finally:
            catalog.close()

    @contextmanager
    def _own_or_copied(self) -> Iterator[Archive]:
        if self.catalog.is_writable():
            with self._opened(self.catalog) as archive:
                yield archive
            return
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="archiver-", ignore_cleanup_errors=True) as scratch:
            copy_in = Path(scratch)
            with self._opened(self.catalog.copied(copy_in), copy_in=copy_in) as archive:
                if not archive.medium.is_remote:
                    self._catch_up(archive)
                yield archive

    def _catch_up(self, archive: Archive) -> None:
        try:
            Recorder(archive.journal, archive.catalog, "read").catch_up(archive.begin_work)
        except IntegrityError as error:
            # What needs the journal reads it again, and fails. The others show what they can.
            reason = printable(str(error))
            log.warning("%s: %s; what changed later is not shown", self.settings.account, reason)

    def _warn_of_others(self) -> None:
        if (warning := open_to_others(self.settings.archive.path)) is not None:
            _warn_once(f"{self.settings.account}: {warning}")

    def _require_archive(self) -> None:
        """
        Raises:
            ArchiveMissing: there is none, and there should be one.
            ConfigError: there is none yet.
        """
        if self.has_archive():
            return
        if self.medium.is_remote:
            hint = "`archiver rebuild` makes one here from what is in the bucket; `archiver run` does so too"
            path = str(self.settings.archive.path)
            raise ConfigError(path, ["there is no archive here yet"], hint=hint)
        if (reason := self.note.why_not_begin("never")) is not None:
            raise reason

    def _require_own(self, archive: Archive, begin: Begin | None) -> None:
        """Refuse an archive that is not the account's; an empty one, too, if `begin` says that none may be begun.

        Raises:
            ArchiveMissing, ConfigError: it is refused.
        """
        identity = archive.catalog.account.identity()
        if identity is not None:
            reason = self.note.why_not_this(identity, begin or "never")
        else:
            reason = None if begin is None else self.note.why_not_begin(begin)
        if reason is not None:
            raise reason


def _finish_forgetting(archive: Archive, recorder: Recorder) -> None:
    """What was to be forgotten when something cut that off goes before anything else is done. Damage that keeps it
    must not keep `repair` from mending that."""
    if archive.is_forgetting:
        from archiver.account.upkeep.forgetting import finish

        log.warning("%s: ending a forget that was cut off", archive.settings.account)
        try:
            left = finish(archive, recorder, RunControl(lambda: None, lambda _: None))
            for what, why in (each for some in left.values() for each in some):
                log.warning("%s: %s: %s", archive.settings.account, printable(what), printable(why))
        except IntegrityError as error:
            reason = printable(str(error))
            log.warning("%s: what was forgotten is not erased yet: %s", archive.settings.account, reason)


def _is_there(path: Path) -> bool:
    """Whether the file or folder is there. What cannot be looked at is neither there nor missing.

    Raises:
        ArchiveNotWritable: this user may not look, or something on the way is no folder.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ArchiveNotWritable(f"{path}: {error.strerror}", hint=_HINT) from error
    return True


@cache
def _warn_once(text: str) -> None:
    """Each step of a run comes by."""
    log.warning("%s", text)
