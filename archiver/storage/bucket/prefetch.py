"""Messages fetched before they are asked for: many small ones at once take no longer than one does.

Whoever reads messages in an order says so beforehand. What was foreseen and is never opened is dropped when
something else is foreseen, so memory stays bounded whatever callers do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from archiver.mail.model import Digest
from archiver.storage.threads import Threads

SMALL_OCTETS = 1 << 20
AHEAD_OCTETS = 16 << 20
AHEAD_REQUESTS = 64


@dataclass(frozen=True, slots=True)
class Request:
    """Messages that one request fetches, each with its size in octets. What `fetch` leaves out could not be had."""

    sizes: Mapping[Digest, int]
    fetch: Callable[[], Mapping[Digest, bytes]]


class ReadAhead:
    """What is foreseen by each thread, at most AHEAD_OCTETS of it in memory, or one request's.

    A fetch that fails is simply made again by whoever opens the message, and fails there.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._mine = threading.local()

    def expect(self, requests: Iterable[Request]) -> None:
        """These are wanted next by this thread, in this order; what it foresaw before is forgotten. `requests` is
        read a little at a time, in the thread that calls `expect` and `take`."""
        if ahead := self._of_this_thread():
            ahead.cancel()
        self._mine.ahead = _Ahead(self._threads, iter(requests))
        self._mine.ahead.fill()

    def take(self, digest: Digest) -> bytes | None:
        """The message, if it was foreseen and could be fetched; each once."""
        ahead = self._of_this_thread()
        return ahead.take(digest) if ahead else None

    def _of_this_thread(self) -> _Ahead | None:
        ahead: _Ahead | None = getattr(self._mine, "ahead", None)
        return ahead


class _Ahead:
    """One thread's; only `_Fetch.content` is written by another."""

    def __init__(self, threads: Threads, waiting: Iterator[Request]) -> None:
        self._threads = threads
        self._waiting = waiting
        self._next = next(waiting, None)
        self._fetches: dict[Digest, _Fetch] = {}
        self._requests = 0
        self._octets = 0

    def fill(self) -> None:
        while (request := self._next) is not None and self._requests < AHEAD_REQUESTS:
            octets = sum(request.sizes.values())
            if self._requests and self._octets + octets > AHEAD_OCTETS:
                return
            self._begin(request)
            self._next = next(self._waiting, None)

    def _begin(self, request: Request) -> None:
        new = [digest for digest in request.sizes if digest not in self._fetches]
        if not new:
            return
        fetch = _Fetch(request, len(new))
        fetch.done = self._threads.submit(fetch.run)
        self._requests += 1
        for digest in new:
            self._fetches[digest] = fetch
            self._octets += request.sizes[digest]

    def cancel(self) -> None:
        """What is not under way yet is not fetched any more."""
        for fetch in self._fetches.values():
            if fetch.done is not None:
                fetch.done.cancel()

    def take(self, digest: Digest) -> bytes | None:
        fetch = self._fetches.pop(digest, None)
        if fetch is None or fetch.done is None:
            return None
        failed = fetch.done.exception()
        self._octets -= fetch.request.sizes[digest]
        fetch.left -= 1
        self._requests -= not fetch.left
        octets = None if failed else fetch.content.pop(digest, None)
        self.fill()
        return octets


@dataclass(slots=True)
class _Fetch:
    """`left`: how many messages of it are not taken yet."""

    request: Request
    left: int
    done: Future[None] | None = None
    content: dict[Digest, bytes] = field(default_factory=dict)

    def run(self) -> None:
        self.content = dict(self.request.fetch())
