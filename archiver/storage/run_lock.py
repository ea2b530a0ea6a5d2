"""The account's lock: a kernel lock, which is released when its last holder ends.

The content of the file is for people; only the kernel decides whether it is locked. Processes that are forked while
it is held share it, so a child of a killed parent excludes others as long as it still writes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from archiver.control.waiting import lock_free_after_fork
from archiver.errors import ArchiveNotWritable, Locked


class _Held(NamedTuple):
    descriptor: int
    process: int


_held: dict[Path, _Held] = {}

#: Held while a descriptor and its entry in `_held` differ. A fork in between would inherit a lock that it does not
#: know of, and keep it after its holder has given it back.
_changing = lock_free_after_fork()


@contextmanager
def account_lock(path: Path, holder: dict[str, Any]) -> Iterator[bool]:
    """Hold the lock of the archive at `path`; a process that already holds it, and its forks, may enter again.
    Yields whether it was taken now, so that resources of the archive must be released at the end of this block.

    `holder` (run, pid, since, host) is written into the file for processes that find it locked.

    Raises:
        Locked: another process holds it; the message says which one.
        ArchiveNotWritable: the lock file cannot be written.
    """
    file = path.resolve() / "lock"
    if (held := _held.get(file)) is not None:
        if os.getpid() == held.process:
            yield False
            return
        _let_go_of_others(file)
        _held[file] = held._replace(process=os.getpid())
        try:
            yield True
        finally:
            _held[file] = held
        return
    with _changing:
        descriptor = _open(file)
        try:
            _lock(descriptor, file)
            _say(descriptor, holder)
        except BaseException:
            os.close(descriptor)
            raise
        _held[file] = _Held(descriptor, os.getpid())
    try:
        yield True
    finally:
        with _changing:
            del _held[file]
            os.close(descriptor)


def require_lockable(path: Path) -> None:
    """Check that this user may lock the archive at `path`; it is not locked.

    Raises:
        ArchiveNotWritable: the lock file cannot be written.
    """
    os.close(_open(path.resolve() / "lock"))


@contextmanager
def reader_lock(path: Path) -> Iterator[str | None]:
    """Exclude writers of the archive at `path`, for a reader without write access; other readers may enter. Yields
    why that is impossible, None if it was done.

    Raises:
        Locked: a process holds the lock; the message says which one.
    """
    file = path.resolve() / "lock"
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        yield f"{file}: {error.strerror}"
        return
    try:
        problem = None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _locked(file, descriptor) from error
        except OSError as error:
            problem = f"{file}: {error.strerror}"
        yield problem
    finally:
        os.close(descriptor)


def lock_place(path: Path) -> str:
    """An identifier of the lock file of the archive at `path`, on this machine since its boot. A copy of the
    archive has another one, and so has another machine with the same files, where this kernel's locks do not
    apply."""
    file = path.resolve() / "lock"
    facts = file.stat()
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:  # not Linux
        machine = f"{socket.gethostname()} {uuid.getnode()}"
    words = "\n".join([machine, str(facts.st_dev), str(facts.st_ino), str(file)])
    return hashlib.sha256(os.fsencode(words)).hexdigest()


def _let_go_of_others(file: Path) -> None:
    """A fork works on one archive: it must not keep other archives locked after its siblings are done."""
    for other in _held.keys() - {file}:
        os.close(_held.pop(other).descriptor)


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "give this user write access to the archive, or change [archive] path"
        if file.is_symlink():  # what it leads to would be written to, and an archive may come from somebody else
            hint = "remove it: the lock has to be a file in the archive"
        raise ArchiveNotWritable(f"{file}: {error.strerror}", hint=hint) from error


def _lock(descriptor: int, file: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _locked(file, descriptor) from error


def _locked(file: Path, descriptor: int) -> Locked:
    hint = "wait for it to end, or stop it"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return Locked(f"{file}: another run holds the lock ({_read(descriptor)})", hint=hint)
    # NOTE: a process that can share the lock competes only with readers, which could not write into the file.
    return Locked(
        f"{file}: a process that only reads the archive holds the lock, such as `archiver verify`", hint=hint
    )


def _read(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return ", ".join(f"{key} {value}" for key, value in holder.items())
    except (ValueError, AttributeError):
        return "unknown holder"


def _say(descriptor: int, holder: dict[str, Any]) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError:
        pass  # a full disk: it is locked all the same
