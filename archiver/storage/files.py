"""Durable files: syncing a file system, files and directories, and replacing a file atomically.

The three levels of durability differ in what is synced and when, never in the order: a file with a final name was
complete before it got that name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from types import TracebackType
from typing import BinaryIO, Literal

from archiver.errors import ArchiveNotWritable, IntegrityError

Durability = Literal["batch", "file", "none"]

DIRECTORY_MODE, FILE_MODE = 0o700, 0o600

_HINTS = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "raise the quota or free some space, and run again",
    errno.EROFS: "mount the file system for writing and run again",
    errno.EACCES: "give this user the archive's directory, or run as the user who owns it",
    errno.EPERM: "give this user the archive's directory, or run as the user who owns it",
    errno.ENOTDIR: "a file is in the way of a directory",
    errno.EIO: "check the disk",
    errno.EINVAL: "this file system refuses such a name; use one with Unix's names, such as ext4 or XFS",
    errno.ENAMETOOLONG: "this file system refuses such a long name; use one that takes 255 octets, such as ext4",
    errno.EFBIG: "this file system refuses such a large file; use another one, such as ext4 or XFS",
}
_PIECE = 1 << 20
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Writing:
    """A block that writes below `path`: errors that make the archive not writable become ArchiveNotWritable."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, OSError) and error.errno in _HINTS:
            path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else self._path
            raise ArchiveNotWritable(f"{path}: {error.strerror}", hint=_HINTS[error.errno]) from error


def shown_by(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """What shows that a file or directory of ours is another one, or changed; empty if it is not there."""
    try:
        its = os.lstat(path)
    except FileNotFoundError:
        return ()
    return its.st_ino, its.st_size, its.st_mtime_ns


def make_directory(path: str) -> bool:
    """Create one directory, private whatever the umask is; False if it existed."""
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        return False
    os.chmod(path, DIRECTORY_MODE)
    return True


def make_directories(path: str | os.PathLike[str]) -> None:
    """Create a directory and its missing parents, each private whatever the umask is; it may exist.

    NOTE: `os.makedirs` and `Path.mkdir(parents=True)` apply their mode only to the last one.
    """
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        make_directories(os.path.dirname(path))
        make_directory(path)


def create_file(path: str) -> int:
    """A descriptor of a new empty private file; a file of that name left by an unfinished write is replaced."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, FILE_MODE)
    except FileExistsError:
        os.unlink(path)
        descriptor = os.open(path, flags, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return descriptor


def private_file(path: str) -> BinaryIO:
    """A new, empty file to write and read, private whatever the umask is."""
    return open(path, "x+b", opener=_private)


def _private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return descriptor


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open one of the archive's own files for reading.

    NOTE: an archive may come from somebody else. A link would lead out of it, and a pipe would never end.

    Raises:
        IntegrityError: it is no regular file.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    return open(descriptor, "rb")


def _not_regular(path: str | os.PathLike[str]) -> IntegrityError:
    return IntegrityError(
        f"{os.fspath(path)}: is not a regular file", hint="remove it, or put the file itself in its place"
    )


def write_all(descriptor: int, octets: bytes | bytearray) -> None:
    """Write everything, with several calls if the system writes less."""
    written = os.write(descriptor, octets)
    if written < len(octets):
        rest = memoryview(octets)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def set_time(target: int | str, seconds: int) -> None:
    """Set atime and mtime; a time that the file system does not support becomes the nearest one that is safe."""
    try:
        os.utime(target, (seconds, seconds))
    except (OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOVERFLOW):
            raise
        nearest = max(-(2**31), min(seconds, 2**31 - 1))
        os.utime(target, (nearest, nearest))


def replace_file(path: str, temporary: str, octets: bytes | bytearray, *, sync: bool) -> bool:
    """Replace the content of `path` atomically, using `temporary`: at any moment it is completely the old file or
    the new one. False if the content was already the same."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size == len(octets) and file.read() == octets:
                return False
    except (FileNotFoundError, IntegrityError):
        pass
    descriptor = create_file(temporary)
    try:
        write_all(descriptor, octets)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)
    if sync:
        sync_paths([os.path.dirname(path)])
    return True


def replace_in_pieces(path: str, temporary: str, pieces: Iterable[bytes], *, sync: bool) -> bool:
    """As `replace_file`, for a file that need not be in memory: it is written to `temporary`, and then compared."""
    descriptor = create_file(temporary)
    try:
        for piece in pieces:
            write_all(descriptor, piece)
        if _are_equal(path, temporary):
            os.unlink(temporary)
            return False
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)
    if sync:
        sync_paths([os.path.dirname(path)])
    return True


def _are_equal(path: str, temporary: str) -> bool:
    try:
        with open_regular(path) as one, open_regular(temporary) as other:
            if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
                return False
            while piece := one.read(_PIECE):
                if piece != other.read(_PIECE):
                    return False
    except (FileNotFoundError, IntegrityError):
        return False
    return True


def sync_paths(paths: Iterable[str]) -> None:
    """fsync each file or directory; directories are skipped on a file system that cannot sync them."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        finally:
            os.close(descriptor)


def sync_tree(directory: str) -> None:
    """fsync every file and directory below `directory`, the deepest first, and itself."""
    for here, _, files in os.walk(directory, topdown=False):
        sync_paths([*(f"{here}/{name}" for name in sorted(files)), here])
