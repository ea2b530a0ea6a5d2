"""Which scratch files a living process still uses: each has its own lock file, which its process holds (flock).

Numbers of processes do not tell: two containers on one volume have the same ones. The kernel's locks hold across
containers, and end with their process, whatever killed it.

NOTE: the lock is not on the scratch file itself. That may be a database, and closing a descriptor of it would drop
the locks that SQLite holds on it in the same process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archiver.errors import Locked
from archiver.storage.files import FILE_MODE, Writing

LOCK = ".lock"


@contextmanager
def in_use(scratch: Path) -> Iterator[None]:
    """Say that the scratch file at `scratch`, which is not made here, is in use. The block removes it in the end.

    Raises:
        Locked: a living process uses one of that name.
        ArchiveNotWritable: the lock file cannot be written.
    """
    lock = _lock_of(scratch)
    descriptor = _taken(lock, scratch)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _taken(lock: Path, scratch: Path) -> int:
    while True:
        with Writing(os.fspath(lock)):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        if not _locked(descriptor):
            os.close(descriptor)
            raise Locked(f"{scratch}: another process is working with it", hint="wait for it to end, or stop it")
        if _is_at(lock, descriptor):
            return descriptor
        os.close(descriptor)  # it was taken for abandoned before it was locked, and removed


@contextmanager
def abandoned(scratch: Path) -> Iterator[bool]:
    """Whether the process that used the scratch file at `scratch` has ended without removing it. If so, the block
    has to remove it, and no process uses that name meanwhile. A file without a lock was not made by `in_use`."""
    lock = _lock_of(scratch)
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # there is none, or it is another user's
        yield False
        return
    try:
        is_abandoned = _locked(descriptor) and _is_at(lock, descriptor)
        yield is_abandoned
        if is_abandoned:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock_of(scratch: Path) -> Path:
    return scratch.with_name(scratch.name + LOCK)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
