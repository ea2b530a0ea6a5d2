"""Messages fetched before they are needed: many small ones at the same time take no longer than one.

A reader announces its order in advance. Announced messages that are never opened are dropped at the next
announcement, so memory stays bounded whatever callers do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future

from msgspec import Struct, field

from archiver.mail.model import Digest
from archiver.storage.threads import Threads

SMALL_OCTETS = 1 << 20
AHEAD_OCTETS = 16 << 20
AHEAD_REQUESTS = 64


class Request(Struct, frozen=True):
    """Messages that one request fetches, each with its size in octets. `fetch` leaves out those that it could not
    read."""

    sizes: Mapping[Digest, int]
    fetch: Callable[[], Mapping[Digest, bytes]]


class ReadAhead:
    """The announced messages of each thread, at most AHEAD_OCTETS or one request of them in memory.

    A fetch that fails is simply repeated when the message is opened, and fails there.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._mine = threading.local()

    def expect(self, requests: Iterable[Request]) -> None:
        """This thread needs these next, in this order; replaces its previous announcement. `requests` is consumed a
        little at a time, in the thread that calls `expect` and `take`."""
        if ahead := self._of_this_thread():
            ahead.cancel()
        self._mine.ahead = _Ahead(self._threads, iter(requests))
        self._mine.ahead.fill()

    def take(self, digest: Digest) -> bytes | None:
        """The message, if it was announced and could be fetched; each is returned once."""
        ahead = self._of_this_thread()
        return ahead.take(digest) if ahead else None

    def _of_this_thread(self) -> _Ahead | None:
        ahead: _Ahead | None = getattr(self._mine, "ahead", None)
        return ahead


class _Ahead:
    """The announcement of one thread; other threads write only `_Fetch.content`."""

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
        """Fetch nothing that is not under way yet."""
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


class _Fetch(Struct):
    """A request under way. `left`: how many of its messages are not taken yet."""

    request: Request
    left: int
    done: Future[None] | None = None
    content: dict[Digest, bytes] = field(default_factory=dict)

    def run(self) -> None:
        self.content = dict(self.request.fetch())
