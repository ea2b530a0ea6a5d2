"""Locks that are free in a forked worker.

A fork copies a lock as it is. If another thread holds it at that moment, nobody releases the copy.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager


def lock_free_after_fork() -> AbstractContextManager[object]:
    """A lock for the lifetime of the process: a fork waits until no other thread holds it, so hold it only briefly.
    Do not fork while you hold it. The thread that holds it may take it again: a garbage collection may end a
    generator that needs it at any moment."""
    lock = threading.RLock()
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
