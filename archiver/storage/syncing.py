"""Syncs a whole file system, and notices lost writes.

Linux drops pages that it could not write to the disk, and reports it once: a sync fails if pages were lost since
its descriptor was opened. So the descriptor is opened before the first write and kept. A descriptor that is opened
only for the sync would not report pages that were lost before, or that were already reported to another process.
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

#: File systems that do. NOTE: not overlay and other stacked ones, since the pages belong to the lower one. Not
#: FUSE, whose daemon is not asked to sync.
_KINDS = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "nilfs2", "bcachefs", "zfs"),
        *("vfat", "exfat", "ntfs3", "tmpfs"),
    }
)


_NOBODY = -1  # a sandbox that forbids the call does so for any descriptor


def reports_losses(directory: str) -> bool:
    """Whether syncing the whole file system of `directory` reports lost pages."""
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    is_new = sys.platform == "linux" and release is not None and (int(release[1]), int(release[2])) >= _LINUX
    return is_new and kind_of(Path(directory)) in _KINDS and sync_descriptor(_NOBODY) == errno.EBADF


class WatchedFileSystem:
    """The file system of a directory, watched from now on. Threads may share it, while they write."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._lock = threading.Lock()
        self._error = 0

    def sync(self) -> None:
        """Write everything to the disk.

        Raises:
            OSError: this failed, or pages of any process were lost since this object was created.
        """
        # NOTE: one at a time, and never again after an error: the next sync would not report it, and may
        # have written what was lost.
        with self._lock:
            self._error = self._error or sync_descriptor(self._descriptor)
            if self._error:
                raise OSError(self._error, os.strerror(self._error), self._directory)


def watched(directory: str) -> WatchedFileSystem | None:
    """The file system of `directory`, to sync as a whole after writes from now on; None if files have to be synced
    separately."""
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
