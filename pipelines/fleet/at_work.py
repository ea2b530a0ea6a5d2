"""Whether somebody works on an archive of this machine just now. Nothing is locked to find out."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

_LOCKS = Path("/proc/locks")
_HELD = re.compile(r"^\d+: FLOCK +ADVISORY +WRITE +\d+ [0-9a-f]+:[0-9a-f]+:(\d+) ", re.MULTILINE)


class Locks:
    """The locks that were held when it was made."""

    def __init__(self) -> None:
        try:
            self._inodes: frozenset[int] | None = frozenset(map(int, _HELD.findall(_LOCKS.read_text("ascii"))))
        except (OSError, ValueError):
            self._inodes = None  # not Linux

    def is_held(self, archive: Path) -> bool:
        """Whether a process holds the lock of the archive at this path to write to it."""
        file = archive / "lock"
        try:
            inode = file.stat().st_ino
        except OSError:
            return False
        if self._inodes is not None:
            return inode in self._inodes
        return _is_locked(file)


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
