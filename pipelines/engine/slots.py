"""Processes that live on, each of which works on one account at a time.

What a worker has imported, compiled and learnt stays with it, and it forks for no step. One that dies takes only
the account with it that it was working on.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import TracebackType

from msgspec import Struct

from pipelines.stop import STOP, end_with_parent

_FORK = multiprocessing.get_context("fork")
_LOOK_SECONDS = 1.0

Work = Callable[[int], None]
"""Does the work with this number; never raises."""


class _Slot(Struct):
    process: ForkProcess
    jobs: Connection
    number: int | None = None


class Slots:
    """So many workers. A context manager: at the end they end, too, each after the work it is at."""

    def __init__(self, count: int, work: Work) -> None:
        self._count, self._work = count, work
        self._slots: list[_Slot] = []

    def __enter__(self) -> Slots:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self._slots:
            try:
                slot.jobs.send(None)
            except OSError:
                pass  # it has died
        for slot in self._slots:
            slot.process.join()
            slot.jobs.close()

    @property
    def free(self) -> int:
        """How many workers have nothing to do."""
        return self._count - self.busy

    @property
    def busy(self) -> int:
        """How many are at work."""
        return sum(slot.number is not None for slot in self._slots)

    def begin(self, number: int) -> None:
        """Let a free worker do this."""
        for slot in self._slots:
            if slot.number is None:
                try:
                    slot.jobs.send(number)
                except OSError:
                    self._bury(slot)  # it died while it had nothing to do
                    continue
                slot.number = number
                return
        slot = self._started()
        slot.jobs.send(number)
        slot.number = number

    def ended(self, seconds: float) -> list[int]:
        """The work that has ended since, or ends within so many seconds: it may have been cut off by the death of
        its worker."""
        done = []
        ready = wait([slot.jobs for slot in self._slots if slot.number is not None], seconds)
        for slot in [each for each in self._slots if each.jobs in ready]:
            assert slot.number is not None
            done.append(slot.number)
            try:
                slot.jobs.recv()
                slot.number = None
            except (EOFError, OSError):
                self._bury(slot)
        return done

    def _started(self) -> _Slot:
        ours, theirs = multiprocessing.Pipe()
        others = [slot.jobs for slot in self._slots] + [ours]
        process = _FORK.Process(target=_live, args=(theirs, others, self._work, os.getpid()), name="worker")
        process.start()
        theirs.close()
        slot = _Slot(process, ours)
        self._slots.append(slot)
        return slot

    def _bury(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        slot.jobs.close()
        slot.process.join()


def _live(jobs: Connection, others: list[Connection], work: Work, parent: int) -> None:
    end_with_parent(parent)
    for each in others:
        each.close()
    try:
        while True:
            while not jobs.poll(_LOOK_SECONDS):
                if STOP.signal is not None or os.getppid() != parent:
                    return
            if (number := jobs.recv()) is None:
                return
            work(number)
            jobs.send(number)
    except (EOFError, OSError):
        pass  # the parent has died
