"""The threads that wait for a bucket, so that many requests are on their way at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """At most `count` at a time, made when first needed. A fork has threads of its own."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._making = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do it on one of them.

        NOTE: work that waits for other work of the same threads may wait for ever.
        """
        with self._making:
            if self._pool is None or self._pool[0] != os.getpid():  # threads do not survive a fork
                self._pool = os.getpid(), ThreadPoolExecutor(self._count, "bucket")
            return self._pool[1].submit(work)

    def close(self) -> None:
        """Let them end, when what they are at is done; what they have not begun is not done. Fine if called twice;
        work that comes later has new ones."""
        with self._making:
            pool, self._pool = self._pool, None
        if pool is not None and pool[0] == os.getpid():
            pool[1].shutdown(cancel_futures=True)
