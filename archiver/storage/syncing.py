"""A whole file system synced at once, with word of what it lost.

What Linux could not write to the disk it forgets, and reports once: a sync fails if pages were lost since its
descriptor was opened. So the descriptor is opened before the first write, and kept. One that is opened for the sync
alone knows nothing of pages that were lost before, and of whom somebody else was told.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import sys
import threading
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path

from archiver.storage.mounts import kind_of

#: Since when syncfs reports lost pages at all.
_LINUX = (5, 8)

#: Where it does. NOTE: not overlay or others that lie over another one: the pages are that one's. Not FUSE, whose
#: program is not asked to sync.
_KINDS = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "bcachefs", "zfs"),
        *("vfat", "exfat", "ntfs3", "tmpfs"),
    }
)


_NOBODY = -1  # a sandbox that forbids the call does so whatever the descriptor


def reports_losses(directory: str) -> bool:
    """Whether syncing the file system of `directory` as a whole reports pages that were lost."""
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    is_new = sys.platform == "linux" and release is not None and (int(release[1]), int(release[2])) >= _LINUX
    return is_new and kind_of(Path(directory)) in _KINDS and sync_descriptor(_NOBODY) == errno.EBADF


class WatchedFileSystem:
    """The file system of a directory from now on. Threads may share it, also with what they write."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._lock = threading.Lock()
        self._error = 0

    def sync(self) -> None:
        """Bring all that was written to it to the disk.

        Raises:
            OSError: it cannot, or pages were lost since this was made, whoever wrote them.
        """
        # NOTE: one at a time, and never again after an error: the next sync would not report it, and may
        # have written what was lost.
        with self._lock:
            self._error = self._error or sync_descriptor(self._descriptor)
            if self._error:
                raise OSError(self._error, os.strerror(self._error), self._directory)


def watched(directory: str) -> WatchedFileSystem | None:
    """The file system of `directory`, to be synced as a whole after what is written from now on; None where files
    have to be synced each by itself."""
    return WatchedFileSystem(directory) if reports_losses(directory) else None


def sync_descriptor(descriptor: int) -> int:
    """Sync the file system that is open as `descriptor`; the error's number, 0 for none."""
    syncfs = _syncfs()
    if syncfs is None:
        return errno.ENOSYS
    return 0 if syncfs(descriptor) == 0 else ctypes.get_errno()


@cache
def _syncfs() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
