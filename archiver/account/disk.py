"""An account's archive on a disk: a Maildir and the files of a journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from archiver.account.store import Ends, HeldLease, OpenStore
from archiver.errors import ArchiverError
from archiver.journal.files import FileJournal
from archiver.mail.folder_names import DirectoryNames
from archiver.storage.files import Durability, shown_by
from archiver.storage.maildir.format import PRESENT
from archiver.storage.maildir.lookup import has_files
from archiver.storage.maildir.names import directory_names, require_fit
from archiver.storage.maildir.store import MaildirStore

if TYPE_CHECKING:
    from archiver.storage.bucket.pack_batch import FramesOf


class OnDisk(Struct, frozen=True):
    """Implements `Medium`. No other machine can write to it, and killed runs leave nothing that the next one does
    not find."""

    path: Path
    durability: Durability

    wanted = "disk mounted"
    is_remote = False
    has_directories = True
    leaves_garbage = False
    bucket = None

    @property
    def name(self) -> str:
        return os.fspath(self.path)

    @property
    def own_directory(self) -> Path:
        return self.path / "journal"

    def shown(self, ends: Ends | None) -> object:
        """NOTE: the journal's directory, to which every change comes first; and the directories of the store and of
        its INBOX, which may be missing while there are no messages."""
        journal, store = os.stat(self.own_directory), self.path / PRESENT
        return (
            (journal.st_dev, journal.st_ino, journal.st_mtime_ns),
            [shown_by(each) for each in (store, store / "cur")],
        )

    def is_emptied(self, directory: str) -> bool:
        return not has_files(self.path / PRESENT / directory)

    def directory_names(self) -> DirectoryNames:
        return directory_names(self.path)

    def require_fit(self) -> None:
        if not os.path.lexists(self.path / PRESENT):  # which was made where it fits
            require_fit(self.path)

    def hold(self, run: str, since: str, why_not_begin: Callable[[], ArchiverError | None]) -> None:
        return None

    def give_back(self) -> None:
        pass

    @contextmanager
    def opened(self, frames: FramesOf, held: HeldLease | None = None) -> Iterator[OpenStore]:
        files = MaildirStore(self.path, self.durability)
        journal = FileJournal(self.path, self.durability)
        yield OpenStore(files, journal, lambda _: files.eraser, metadata=files.metadata)
