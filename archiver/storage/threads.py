"""The threads that wait for a bucket, so that many requests are on their way at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from archiver.storage import ending

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
            pool = self._pool[1]
        done: Future[T] = Future()
        pool.submit(_into, done, work).add_done_callback(lambda each: done.cancel() if each.cancelled() else None)
        ending.abandon(done)
        return done

    def close(self) -> None:
        """Let them end, when what they are at is done; what they have not begun is not done. Fine if called twice;
        work that comes later has new ones."""
        with self._making:
            pool, self._pool = self._pool, None
        if pool is not None and pool[0] == os.getpid():
            pool[1].shutdown(wait=not ending.has_ended(), cancel_futures=True)


def _into(done: Future[T], work: Callable[[], T]) -> None:
    """Do it, unless it was cancelled; nobody may be waiting for it any more."""
    if not done.set_running_or_notify_cancel():
        return
    with suppress(InvalidStateError):
        try:
            done.set_result(work())
        except InvalidStateError:
            raise
        except BaseException as error:
            done.set_exception(error)
