"""Messages written to a Maildir and made durable together.

Files are written to `tmp`, synced, and renamed to `cur`, so that files in `cur` are complete, even after a crash or
a power cut.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from archiver.errors import IntegrityError
from archiver.facts.archive import Fact
from archiver.mail.model import Body, Digest, Placement
from archiver.storage.audit import fault_in
from archiver.storage.files import Writing, create_file, open_regular, set_time, sync_paths, write_all
from archiver.storage.maildir.format import base_name, folder_name
from archiver.storage.maildir.lookup import FileListing
from archiver.storage.maildir.tree import MaildirTree
from archiver.storage.syncing import WatchedFileSystem

_COPY_OCTETS = 1 << 20
_NEW_FILES = 10_000


class NewFiles:
    """The newest files by digest and time, which no catalog may know yet: of batches that are being written and of
    those just committed. Threads may share it."""

    def __init__(self) -> None:
        self._paths: dict[tuple[Digest, int], str] = {}
        self._lock = threading.Lock()

    def find(self, placement: Placement) -> str | None:
        """Where equal octets with the same time were written. The file may have been renamed or removed since."""
        return self._paths.get((placement.digest, placement.arrived))

    def add(self, placement: Placement, path: str) -> None:
        """The file is complete under this name."""
        with self._lock:
            self._paths[placement.digest, placement.arrived] = path
            while len(self._paths) > _NEW_FILES:
                del self._paths[next(iter(self._paths))]


class MaildirBatch:
    """A StoreBatch of `MaildirStore`. Octets that are among the `new` files are linked, and not written again."""

    def __init__(self, tree: MaildirTree, listing: FileListing, new: NewFiles) -> None:
        self._tree = tree
        self._listing = listing
        self._new = new
        self._writing = Writing(tree.root)
        self._watched: WatchedFileSystem | None = None
        self._sync_each = False
        #: What was written: path in tmp → its placement, and whether it is a second name of a file.
        self._written: dict[str, tuple[Placement, bool]] = {}

    def put(self, placement: Placement, body: Body, twin: Placement | None = None) -> None:
        """Write the octets to the folder's `tmp`, or link them to those of a `twin`. Takes ownership of
        `body.spool`. If a message is put twice, the last one counts."""
        if twin is not None and self._linked(placement, twin):
            if body.spool is not None:
                _unlink(str(body.spool))
            return
        with self._writing:
            temporary = self._temporary(placement)
            if self._linked_to_new(placement, temporary):
                body.discard()
                return
            if body.octets is not None:
                self._create(temporary, placement, body.octets)
            elif body.spool is not None:
                self._take(temporary, placement, body.spool)
            else:
                raise ValueError("a body without octets and without a spool file")
            self._written[temporary] = (placement, False)
            self._new.add(placement, temporary)

    def link(self, placement: Placement, twin: Placement) -> None:
        """Link the octets of `twin` to `placement`: a hard link, or a copy if the system refuses one.

        Raises:
            IntegrityError: the twin's octets are missing or incomplete.
        """
        with self._writing:
            temporary = self._temporary(placement)
            _unlink(temporary)
            try:
                self._link(self._tree.expected(twin), temporary, placement)
            except FileNotFoundError:
                self._link_elsewhere(twin, temporary, placement)
            if not _is_intact(temporary, placement):
                _unlink(temporary)
                raise IntegrityError(f"{self._tree.expected(twin)}: its octets are not the recorded ones")
            self._written[temporary] = (placement, True)

    def _linked(self, placement: Placement, twin: Placement) -> bool:
        """Whether a link to the twin was made; a damaged twin is not used."""
        try:
            self.link(placement, twin)
        except IntegrityError:
            return False
        return True

    def _linked_to_new(self, placement: Placement, temporary: str) -> bool:
        """Whether a link was made to equal octets that this connection or another one has just written."""
        path = self._new.find(placement)
        if path is None or path == temporary:
            return False
        _unlink(temporary)
        try:
            os.link(path, temporary)
        except OSError:  # it was renamed or removed, or links are refused
            return False
        if not _is_intact(temporary, placement):
            _unlink(temporary)
            return False
        self._written[temporary] = (placement, True)
        return True

    def _link_elsewhere(self, twin: Placement, temporary: str, placement: Placement) -> None:
        """The twin is not at its place: a mail program or another connection of this run moved it."""
        try:
            self._link(self._listing.find(twin), temporary, placement)
        except FileNotFoundError as error:
            raise IntegrityError(f"{error.filename}: moved while it was read") from error

    def commit(self) -> Sequence[Fact]:
        """Sync, rename to `cur`, sync the directories. A second call without a put in between does nothing. A
        placement determines where its file is, so there is nothing more to record."""
        if not self._written:
            return ()
        with self._writing:
            if self._watched is not None:
                self._watched.sync()
            # Lists of keywords are durable before a file name uses them.
            self._tree.reserve_for(placement for placement, _ in self._written.values())
            touched = set()
            for temporary, (placement, linked) in self._written.items():
                folder = self._tree.folder(folder_name(placement))
                final = folder.cur + temporary[len(folder.tmp) :] + folder.info(placement.flags)
                os.rename(temporary, final)
                if linked:
                    # NOTE: a rename between two names of one file does nothing (POSIX).
                    _unlink(temporary)
                self._new.add(placement, final)
                touched.add(folder.cur)
            self._tree.sync(touched)
        self._written.clear()
        return ()

    def abandon(self) -> None:
        """Remove from `tmp` what was not committed."""
        for temporary in self._written:
            _unlink(temporary)
        self._written.clear()

    def _temporary(self, placement: Placement) -> str:
        # NOTE: before the file is written: otherwise lost pages might not be reported.
        self._watched = self._tree.watched()
        self._sync_each = self._watched is None and self._tree.durability != "none"
        return f"{self._tree.made(folder_name(placement)).tmp}/{base_name(placement)}"

    def _create(self, temporary: str, placement: Placement, octets: bytes) -> None:
        descriptor = create_file(temporary)
        try:
            write_all(descriptor, octets)
            set_time(descriptor, placement.arrived)
            if self._sync_each:
                os.fsync(descriptor)
        except BaseException:
            _unlink(temporary)
            raise
        finally:
            os.close(descriptor)

    def _take(self, temporary: str, placement: Placement, spool: Path) -> None:
        """Rename a spool file, or copy it from another file system."""
        try:
            os.rename(spool, temporary)
        except OSError:
            self._copy(os.fspath(spool), temporary, placement)
            spool.unlink()
            return
        os.chmod(temporary, 0o600)
        set_time(temporary, placement.arrived)
        if self._sync_each:
            sync_paths([temporary])

    def _link(self, source: str, temporary: str, placement: Placement) -> None:
        try:
            os.link(source, temporary)
        except FileNotFoundError:
            raise
        except OSError:
            # Too many links, another file system, or a system that refuses or does not support links: a copy is as
            # good.
            self._copy(source, temporary, placement)

    def _copy(self, source: str, temporary: str, placement: Placement) -> None:
        with open_regular(source) as octets, open(create_file(temporary), "wb") as copy:
            try:
                shutil.copyfileobj(octets, copy, _COPY_OCTETS)
                copy.flush()
                set_time(copy.fileno(), placement.arrived)
                if self._sync_each:
                    os.fsync(copy.fileno())
            except BaseException:
                _unlink(temporary)
                raise


def _is_intact(path: str, placement: Placement) -> bool:
    """Whether the file has the message's octets. Damage must not get a second name."""
    with open_regular(path) as file:
        return fault_in(file, placement) is None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
