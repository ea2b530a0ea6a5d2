"""Looks at many things side by side, none of which can hold the others.

A look that takes long keeps its thread, and another thread takes its place; one that takes too long is given up:
its thread is left behind, and ends with the process at the latest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Generic, TypeVar

from pipelines.stop import STOP

T = TypeVar("T")
R = TypeVar("R")

_SLOW = 3.0  # seconds, after which a look no longer counts as one of those side by side
_TICK = 0.5


class Looks(Generic[T, R]):
    """Does `work` for each item, `at_once` of them at a time. `give_up` makes the result of one that takes longer
    than `seconds`. `work` never raises."""

    def __init__(self, work: Callable[[T], R], give_up: Callable[[T], R], *, at_once: int, seconds: float) -> None:
        self._work, self._give_up = work, give_up
        self._at_once, self._seconds = at_once, seconds
        self._changed = Condition()
        self._waiting: deque[tuple[int, T]] = deque()
        self._begun: dict[int, tuple[float, T]] = {}
        self._replaced: set[int] = set()
        self._results: dict[int, R] = {}

    def results(self, items: Sequence[T], progress: Callable[[int], None] = lambda _: None) -> list[R]:
        """The results in the order of the items. `progress` gets the number of results now and then.

        Raises:
            Interrupted: a signal arrived.
        """
        self._waiting.extend(enumerate(items))
        for _ in range(min(self._at_once, len(items))):
            self._start()
        with self._changed:
            while len(self._results) < len(items):
                self._changed.wait(_TICK)
                STOP.check()
                self._look_after()
                progress(len(self._results))
            return [self._results[number] for number in range(len(items))]

    def _start(self) -> None:
        Thread(target=self._go, name="look", daemon=True).start()

    def _go(self) -> None:
        while True:
            with self._changed:
                if not self._waiting or STOP.signal is not None:
                    return
                number, item = self._waiting.popleft()
                self._begun[number] = time.monotonic(), item
            result = self._work(item)
            with self._changed:
                self._begun.pop(number, None)
                self._results.setdefault(number, result)
                self._changed.notify()
                if number in self._replaced:
                    return

    def _look_after(self) -> None:
        now = time.monotonic()
        for number, (since, item) in list(self._begun.items()):
            if now - since > self._seconds:
                del self._begun[number]
                self._results[number] = self._give_up(item)
            if now - since > min(_SLOW, self._seconds) and number not in self._replaced:
                self._replaced.add(number)
                if self._waiting:
                    self._start()
