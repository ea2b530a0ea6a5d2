"""A copy of a catalog that this user cannot write to, for commands that only read.

SQLite creates files next to a database in WAL mode even to read it, and a catalog may have to catch up first.
Neither is possible on a snapshot or as another user, and a run may be working there at the same time.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from archiver.errors import ArchiveNotWritable, ArchiverError, IntegrityError, Locked

_BESIDE = ("", "-wal", "-shm")
_TRIES, _PAUSE = 5, 0.2
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

#: SQLite cannot create its files next to the catalog, or there is no space for them or for the copy.
_NOT_ITSELF = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)


def can_write(path: Path) -> bool:
    """Whether this user can write to the catalog at `path` and to the files that SQLite keeps next to it.

    NOTE: root may write whatever the permissions are, but not on a read-only file system or to an immutable file.
    """
    there = [file for file in map(path.with_name, (path.name + suffix for suffix in _BESIDE)) if file.exists()]
    return all(os.access(each, os.W_OK) for each in (path.parent, *there))


def copy_catalog(path: Path, copy: Path) -> None:
    """Copy the catalog at `path` to `copy`, as it was at one moment, even while another process writes
    to it. Does nothing if there is none. Writes nothing next to `path`.

    Raises:
        ArchiveNotWritable: this user cannot read it, or there is no space for the copy.
        IntegrityError: it is damaged.
        Locked: another process kept writing to it.
    """
    if not path.exists():
        return
    if not os.access(path, os.R_OK):
        raise ArchiveNotWritable(
            f"{path}: this user cannot read it", hint="give this user read access, or run as the user who owns it"
        )
    for _ in range(_TRIES):
        if _backed_up(path, copy) or _copied(path, copy):
            return
        time.sleep(_PAUSE)
    raise Locked(f"{path}: it kept changing while it was copied", hint="try again when the run has ended")


def _backed_up(path: Path, copy: Path) -> bool:
    """Copy it with SQLite. This works if a writer has created the files next to the catalog, or left them there."""
    copy.unlink(missing_ok=True)
    try:
        uri = f"file:{quote(os.fspath(path))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _NOT_ITSELF:
            return False
        raise _worded(path, error, code) from error
    return True


def _worded(path: Path, error: sqlite3.Error, code: int) -> ArchiverError:
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return Locked(f"{path}: {error}", hint="try again when the run has ended")
    return IntegrityError(f"{path}: {error}", hint="`archiver rebuild` recreates the catalog from the journal")


def _no_room(path: Path, copy: Path) -> ArchiveNotWritable:
    octets = path.stat().st_size
    problem = f"{copy.parent}: no space to copy the catalog there ({octets:,} bytes), which is needed to read it"
    return ArchiveNotWritable(problem, hint="free space, or set TMPDIR to a directory with enough of it")


def _copied(path: Path, copy: Path) -> bool:
    """Copy it file by file; False if anything changed in the meantime. While a process writes to it, `-shm` exists;
    without that file there is no writer."""
    before = _state(path)
    try:
        for suffix in ("", "-wal"):
            target = copy.with_name(copy.name + suffix)
            target.unlink(missing_ok=True)
            if before[suffix] is not None:
                shutil.copyfile(path.with_name(path.name + suffix), target)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _no_room(path, copy) from error
        raise ArchiveNotWritable(f"{path}: {error.strerror}", hint="check the disk") from error
    return _state(path) == before


def _state(path: Path) -> dict[str, tuple[int, ...] | None]:
    """A value that differs after the catalog has changed."""
    states: dict[str, tuple[int, ...] | None] = {}
    for suffix in _BESIDE:
        try:
            facts = path.with_name(path.name + suffix).stat()
        except FileNotFoundError:
            states[suffix] = None
        else:
            states[suffix] = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return states
