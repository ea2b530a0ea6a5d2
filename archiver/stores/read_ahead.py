"""Messages fetched before they are asked for: many small ones at once take no longer than one does.

Whoever reads messages in an order says so beforehand. What was foreseen and is never opened is dropped when
something else is foreseen, so memory stays bounded whatever callers do.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import BinaryIO

from archiver.model import Digest, Placement

SMALL_OCTETS = 1 << 20
AHEAD_OCTETS = 16 << 20
AHEAD_MESSAGES = 64


@dataclass(slots=True)
class _Fetch:
    octets: int
    done: Future[None] | None = None
    content: bytes = b""


class ReadAhead:
    """What is foreseen by each thread, at most AHEAD_OCTETS of it in memory.

    `submit` runs something on another thread, `read` opens a message. A fetch that fails is simply made again by
    whoever opens the message, and fails there.
    """

    def __init__(
        self, submit: Callable[[Callable[[], None]], Future[None]], read: Callable[[Placement], BinaryIO]
    ) -> None:
        self._submit = submit
        self._read = read
        self._mine = threading.local()

    def expect(self, placements: Sequence[Placement]) -> None:
        """These are opened next by this thread, in this order; what it foresaw before is forgotten."""
        self._mine.waiting = deque(each for each in placements if each.size <= SMALL_OCTETS)
        self._mine.fetches = {}
        self._mine.octets = 0
        self._fill()

    def take(self, placement: Placement) -> BinaryIO | None:
        """The message, if it was foreseen and could be fetched; each once."""
        fetches: dict[Digest, _Fetch] = getattr(self._mine, "fetches", {})
        fetch = fetches.pop(placement.digest, None)
        if fetch is None or fetch.done is None:
            return None
        failed = fetch.done.exception()
        self._mine.octets -= fetch.octets
        self._fill()
        return None if failed else io.BytesIO(fetch.content)

    def _fill(self) -> None:
        waiting: deque[Placement] = self._mine.waiting
        fetches: dict[Digest, _Fetch] = self._mine.fetches
        while waiting and len(fetches) < AHEAD_MESSAGES:
            if fetches and self._mine.octets + waiting[0].size > AHEAD_OCTETS:
                return
            placement = waiting.popleft()
            if placement.digest not in fetches:
                fetches[placement.digest] = fetch = _Fetch(placement.size)
                self._mine.octets += placement.size
                fetch.done = self._submit(self._fetching(fetch, placement))

    def _fetching(self, fetch: _Fetch, placement: Placement) -> Callable[[], None]:
        def work() -> None:
            with self._read(placement) as file:
                # NOTE: an object that is larger than it should be is not read into memory whole.
                fetch.content = file.read(placement.size + 1)

        return work
