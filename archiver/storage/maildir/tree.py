"""The folders of a Maildir archive on disk: created on demand, with their keywords and pending syncs.

The expected name of a message's file follows from its placement and from the letters that its folder assigned to
keywords; letters never change once they are assigned.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from archiver.errors import IntegrityError
from archiver.mail.flags import KEYWORD_LETTERS, is_keyword, maildir_letters, parse_keywords
from archiver.mail.folder_names import is_directory, printable
from archiver.mail.model import Flags, Placement
from archiver.storage.files import (
    Durability,
    create_file,
    make_directories,
    make_directory,
    open_regular,
    replace_file,
    replace_in_pieces,
    sync_paths,
)
from archiver.storage.maildir.format import (
    KEYWORDS_FILE,
    PRESENT,
    VANISHED,
    base_name,
    folder_name,
    format_keywords,
)
from archiver.storage.syncing import WatchedFileSystem, watched

_KEYWORDS_OCTETS = 1 << 20
_HINT = "the catalog is damaged or forged; `archiver rebuild` recreates it from the journal"


class MaildirFolder:
    """One directory with `cur`, `new` and `tmp`, and the letters of its keywords."""

    __slots__ = ("_letters", "_lock", "_sync", "cur", "is_made", "name", "new", "path", "tmp")

    def __init__(self, root: str, name: str, *, sync: bool) -> None:
        self.name = name
        self.path = f"{root}/{name}"
        self.cur, self.new, self.tmp = f"{self.path}/cur", f"{self.path}/new", f"{self.path}/tmp"
        self._sync = sync
        self.is_made = False
        self._lock = threading.Lock()
        # NOTE: keywords and the letters that follow from them are replaced together, so that a thread that
        # read the old keywords cannot leave old letters behind.
        self._letters: tuple[list[str], dict[Flags, str]] = (self._read_keywords(), {})

    def make(self) -> list[str]:
        """Create what is missing; returns the directories with new entries, which must be synced."""
        new = make_directory(self.path)
        new = any([new, *map(make_directory, (self.tmp, self.new, self.cur))])
        if self.name != PRESENT and not os.path.lexists(f"{self.path}/maildirfolder"):
            os.close(create_file(f"{self.path}/maildirfolder"))
            new = True
        self.is_made = True
        return [self.path, os.path.dirname(self.path)] if new else []

    def letters(self, flags: Flags) -> str:
        """The letters of `flags`; a keyword without a place in the list has none."""
        keywords, known = self._letters
        letters = known.get(flags)
        if letters is None:
            letters = maildir_letters(flags, keywords)
            if not _missing(flags, keywords):
                known[flags] = letters
        return letters

    def info(self, flags: Flags) -> str:
        """What a file's name has after the name of the message."""
        return ":2," + self.letters(flags)

    def missing(self, flags: Flags) -> list[str]:
        """The keywords of `flags` that can have a letter and have none yet."""
        keywords, known = self._letters
        return [] if flags in known else _missing(flags, keywords)

    @property
    def keywords(self) -> list[str]:
        """The keywords by position; "" for a position without one."""
        return self._letters[0]

    def reserve(self, keywords: Iterable[str]) -> None:
        """Assign the next letters to `keywords` in this order, durably; those that have one keep it. The folder
        must exist."""
        with self._lock:
            known = list(self.keywords)
            wanted = dict.fromkeys(filter(is_keyword, keywords))
            known += [keyword for keyword in wanted if keyword not in known]
            del known[max(KEYWORD_LETTERS, len(self.keywords)) :]
            if len(known) > len(self.keywords):
                self.write(KEYWORDS_FILE, format_keywords(known).encode("utf-8", "surrogateescape"))
                self._letters = (known, {})

    def write(self, name: str, octets: bytes | bytearray) -> None:
        """Replace one of the folder's own files, if it differs."""
        replace_file(f"{self.path}/{name}", f"{self.tmp}/{name}", octets, sync=self._sync)

    def write_pieces(self, name: str, pieces: Iterable[bytes]) -> None:
        """The same, for one that may be large."""
        replace_in_pieces(f"{self.path}/{name}", f"{self.tmp}/{name}", pieces, sync=self._sync)

    def opened(self, name: str) -> BinaryIO | None:
        """One of the folder's own files, to be read; None if it is not there, or no file."""
        try:
            return open_regular(f"{self.path}/{name}")
        except (FileNotFoundError, NotADirectoryError, IntegrityError):
            return None

    def files(self) -> Iterator[tuple[str, str]]:
        """("cur" or "new", file name) of every message file."""
        for sub, path in (("cur", self.cur), ("new", self.new)):
            try:
                with os.scandir(path) as entries:
                    names = [entry.name for entry in entries if not entry.name.startswith(".")]
            except FileNotFoundError:
                continue
            yield from ((sub, name) for name in names)

    def changed_ns(self) -> int:
        """When a file was last added, renamed or removed."""
        return max((os.stat(path).st_mtime_ns for path in (self.cur, self.new) if os.path.isdir(path)), default=0)

    def _read_keywords(self) -> list[str]:
        try:
            with open_regular(f"{self.path}/{KEYWORDS_FILE}") as file:
                return parse_keywords(file.read(_KEYWORDS_OCTETS).decode("utf-8", "surrogateescape"))
        except (FileNotFoundError, NotADirectoryError, IntegrityError):
            return []


def _missing(flags: Flags, keywords: list[str]) -> list[str]:
    if len(keywords) >= KEYWORD_LETTERS:
        return []
    return [flag for flag in flags if is_keyword(flag) and flag not in keywords]


class MaildirTree:
    """All folders below one archive path. May be used by several threads."""

    def __init__(self, root: str, durability: Durability) -> None:
        self.root = root
        self.durability = durability
        self._folders: dict[str, MaildirFolder] = {}
        self._unsynced: set[str] = set()
        self._lock = threading.Lock()
        self._watched: WatchedFileSystem | None = None
        self._is_watching = False

    def watched(self) -> WatchedFileSystem | None:
        """The file system that messages are written to, opened before the first one is written; None if each file
        is synced separately, or none is."""
        with self._lock:
            if not self._is_watching:
                if self.durability == "batch":
                    self.make_directory(PRESENT)
                    self._watched = watched(f"{self.root}/{PRESENT}")
                self._is_watching = True
            return self._watched

    def folder(self, name: str) -> MaildirFolder:
        """The folder of that relative directory, whether it exists or not.

        Raises:
            IntegrityError: it is not directly in one of the two trees. The catalog may come from somebody else.
        """
        folder = self._folders.get(name)
        if folder is None:
            tree, _, directory = name.partition("/")
            if tree not in (PRESENT, VANISHED) or (directory and not is_directory(directory)):
                raise IntegrityError(f"{self.root}: {printable(name)} is not a folder's directory", hint=_HINT)
            made = MaildirFolder(self.root, name, sync=self.durability != "none")
            folder = self._folders.setdefault(name, made)
        return folder

    def made(self, name: str) -> MaildirFolder:
        """The folder, created on disk if it did not exist."""
        folder = self.folder(name)
        if not folder.is_made:
            with self._lock:
                self.make_directory(name.partition("/")[0])
                self._unsynced.update(folder.make())
        return folder

    def make_directory(self, name: str) -> None:
        """Create a directory directly below the archive path, and that path."""
        if not os.path.isdir(self.root):
            make_directories(self.root)
            self._unsynced.add(os.path.dirname(self.root))
        if make_directory(f"{self.root}/{name}"):
            self._unsynced.add(self.root)

    def reserve_for(self, placements: Iterable[Placement]) -> None:
        """Assign letters to all keywords of these messages, so that `expected` can name their files."""
        wanted: dict[str, set[str]] = {}
        for placement in placements:
            name = folder_name(placement)
            if keywords := self.folder(name).missing(placement.flags):
                wanted.setdefault(name, set()).update(keywords)
        for name, new in wanted.items():
            self.made(name).reserve(sorted(new))

    def sync(self, directories: Iterable[str]) -> None:
        """Make renames in these directories durable, and the directories that any thread created."""
        if self.durability == "none":
            return
        with self._lock:
            # NOTE: synced under the lock, so that a thread that finds nothing left here may rely on durability.
            sync_paths(sorted(self._unsynced))
            self._unsynced.clear()
        sync_paths(sorted(directories))

    def names(self) -> Iterator[str]:
        """The relative directories of the folders on disk, sorted."""
        for tree in (PRESENT, VANISHED):
            try:
                with os.scandir(f"{self.root}/{tree}") as entries:
                    names = sorted(e.name for e in entries if e.name.startswith(".") and e.is_dir())
            except FileNotFoundError:
                continue
            if tree == PRESENT:
                yield PRESENT
            yield from (f"{tree}/{name}" for name in names)

    def expected(self, placement: Placement) -> str:
        """The path a message's file should have."""
        folder = self.folder(folder_name(placement))
        return f"{folder.cur}/{base_name(placement)}{folder.info(placement.flags)}"
