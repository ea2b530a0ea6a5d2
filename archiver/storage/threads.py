"""The threads that wait for a bucket, so that many requests run concurrently."""

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
    """At most `count` threads, started when first needed. A fork starts its own."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._making = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run it in one of the threads.

        NOTE: work that waits for other work of the same threads may wait forever.
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
        """End the threads after their current work; work that has not begun is dropped. May be called twice; later
        work starts new threads."""
        with self._making:
            pool, self._pool = self._pool, None
        if pool is not None and pool[0] == os.getpid():
            pool[1].shutdown(wait=not ending.has_ended(), cancel_futures=True)


def _into(done: Future[T], work: Callable[[], T]) -> None:
    """Run it, unless it was cancelled; the waiter may already be gone."""
    if not done.set_running_or_notify_cancel():
        return
    with suppress(InvalidStateError):
        try:
            done.set_result(work())
        except InvalidStateError:
            raise
        except BaseException as error:
            done.set_exception(error)
