"""The journal as files: one compressed, numbered, immutable file for each batch of facts.

Each file has the digest of the file before it, so a lost, damaged or foreign file is noticed when it is read, and
the catalog can be rebuilt from `journal/` alone. A file is written under a temporary name, synced, and only then
renamed: a file with a final name is complete.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from archiver.errors import ArchiveNotWritable, ArchiverError, IntegrityError
from archiver.facts.archive import Fact, Segment
from archiver.facts.segment import (
    RESTORE,
    Blots,
    digest_of,
    missing,
    parsed,
    require_known,
    require_next,
    segment_of,
)
from archiver.mail.model import Digest
from archiver.storage.files import Writing, make_directories, open_regular, replace_file

_NAME = re.compile(r"(\d{8,})-(.+)\.jsonl\.gz")
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


class FileJournal:
    """The journal of one archive, in `journal/` (0700) below `path`; each segment is one file (0600).

    `durability` "batch" and "file" sync every segment before it becomes visible; "none" leaves that to the system.
    Threads may append concurrently: one gets the number, the others an IntegrityError. The account's lock excludes
    other processes. A segment whose writing was interrupted never becomes visible; its temporary file is removed
    when the segment is written again.
    """

    def __init__(self, path: Path, durability: Literal["batch", "file", "none"] = "batch") -> None:
        self._path = path
        self._directory = path / "journal"
        self._sync = durability != "none"
        self._appending = threading.Lock()
        #: State of the directory after our last segment, and its number: nothing else came since.
        self._known: tuple[tuple[int, int], int] | None = None

    def append(self, run: str, facts: Sequence[Fact], after: tuple[int, Digest]) -> Segment:
        """Write the next segment, durable on return; `after` is number and digest of the last one.

        Raises:
            IntegrityError: that number already exists, whichever run wrote it.
            ArchiveNotWritable: the disk is full or read-only, or permission is denied; nothing was appended.
            ConfigError: the run id cannot be part of a file name.
        """
        segment, octets = segment_of(run, facts, after)
        with self._appending:
            self._refuse_taken(segment.number)
            try:
                self._write(segment.name, octets)
                state = self._state()
                self._known = None if state is None else (state, segment.number)
            except OSError as error:
                raise ArchiveNotWritable(
                    f"{self._directory / segment.name}: {error.strerror}",
                    hint="free space or fix the permissions, and run again",
                ) from error
        return segment

    def read(self, after: tuple[int, Digest]) -> Iterator[Segment]:
        """The segments after that one, in order, each checked against the chain; one at a time is in memory.

        The file of `after` itself must exist with that digest, so that a catalog is never continued from another
        archive's journal, nor from an older backup of the journal.

        Raises:
            IntegrityError: a segment is missing, damaged or duplicate, or does not follow from the one before.
            ConfigError: a newer archiver wrote it.
        """
        number, previous = after
        fence: int | None = None
        blots = Blots()
        files = self._files()
        if number:
            if number not in files:
                raise missing(str(self._directory), number)
            path = self._directory / files[number]
            if (digest := digest_of(octets := _octets(path))) != previous:
                known = parsed(str(path), octets, number)
                digest = known.digest
                blots.saw(str(path), known)
            require_known(str(path), digest, previous)
        for found in sorted(other for other in files if other > number):
            number += 1
            if found != number:
                raise missing(str(self._directory), number)
            segment = _segment(self._directory / files[found], number)
            require_next(str(self._directory / segment.name), segment, previous, fence)
            blots.saw(str(self._directory / segment.name), segment)
            previous, fence = segment.digest, segment.fence
            yield segment
        blots.check()

    def octets(self, number: int) -> tuple[str, bytes]:
        """A segment's path, and its octets."""
        path = self._path_of(number)
        return str(path), _octets(path)

    def rewrite(self, number: int, octets: bytes) -> None:
        """Replace the octets of a segment in which facts were blotted out, durable on return; the old ones are
        gone.

        Raises:
            ArchiveNotWritable: the disk is full or read-only, or permission is denied; the old ones are there.
        """
        path = self._path_of(number)
        with self._appending, Writing(str(path)):
            replace_file(str(path), str(self._directory / f".{path.name}.tmp"), octets, sync=self._sync)

    def _path_of(self, number: int) -> Path:
        if (name := self._files().get(number)) is None:
            raise missing(str(self._directory), number)
        return self._directory / name

    def _files(self) -> dict[int, str]:
        """The segment files by number; temporary and other files are ignored."""
        try:
            names = sorted(os.listdir(self._directory))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise _unreadable(self._directory, error) from error
        files: dict[int, str] = {}
        for name in names:
            if match := _NAME.fullmatch(name):
                other = files.setdefault(int(match[1]), name)
                if other != name:
                    raise IntegrityError(
                        f"{self._directory / name}: its number is also that of {other}",
                        hint="two runs wrote at the same time; keep the one whose digest the next file has, and "
                        "remove the other",
                    )
        return files

    def _refuse_taken(self, number: int) -> None:
        """A listing has every segment there ever was, so it is read only if something else came into the directory
        since our last one, whose successor this is."""
        if self._known == (self._state(), number - 1):
            return
        if taken := self._files().get(number):
            raise _taken(self._directory / taken)

    def _state(self) -> tuple[int, int] | None:
        try:
            its = os.stat(self._directory)
        except OSError:
            return None
        return its.st_ino, its.st_mtime_ns

    def _write(self, name: str, octets: bytes) -> None:
        if not self._directory.is_dir():
            make_directories(self._directory)
            self._sync_directory(self._path)
        temporary = self._directory / f".{name}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            with open(temporary, "xb", opener=_private) as file:
                file.write(octets)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            _publish(temporary, self._directory / name)
        finally:
            temporary.unlink(missing_ok=True)
        self._sync_directory(self._directory)

    def _sync_directory(self, directory: Path) -> None:
        if not self._sync:
            return
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _publish(temporary: Path, final: Path) -> None:
    """Give a complete file its final name, unless that name is taken."""
    try:
        try:
            os.link(temporary, final)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # NOTE: an empty file must not reserve the name first: a crash would leave it as a damaged segment. The
            # number was just checked to be free, and the account's lock excludes other processes.
            temporary.replace(final)
    except FileExistsError as error:
        raise _taken(final) from error


def _taken(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path}: the journal already has that number", hint="is another run active? run again to catch up"
    )


def _octets(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ArchiverError:
    """The error for a file that cannot be read; a file that another user may read is not damaged."""
    if isinstance(error, PermissionError):
        return ArchiveNotWritable(f"{path}: {error.strerror}", hint="give this user access to it, and run again")
    return IntegrityError(f"{path}: {error.strerror}", hint=RESTORE)


def _segment(path: Path, number: int) -> Segment:
    segment = parsed(str(path), _octets(path), number)
    if segment.name != path.name:
        raise IntegrityError(f"{path}: its header does not agree with its name", hint=RESTORE)
    return segment
