"""A source that reconnects: wraps a `MailSource`, goes on at the same message, within bounded attempts.

It connects at its first use, so that an idle connection is never opened. A message at which the connection
breaks again and again is set aside, so that it cannot stop the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol, TypeVar

from archiver.errors import ConnectionLost, FolderChanged, TemporaryError, Throttled
from archiver.model import Attributes, Fetched, Folder, Listed, Opened, Resume, Undelivered
from archiver.ports import MailSource
from archiver.progress import Noted, Progress

T = TypeVar("T")

_BREAKS_AT_ONE_MESSAGE = 3
_SET_ASIDE_IN_A_ROW = 3
_LONGEST_THROTTLE_SECONDS = 300


class Connection(MailSource, Protocol):
    """A source that can also be left in the middle of what it says."""

    def hang_up(self) -> None:
        """Close at once; never raises, may be called twice."""


class Connect(Protocol):
    """Opens a connection; `cautious` after others were lost while it listed the folders."""

    def __call__(self, *, cautious: bool) -> Connection: ...


class RetryingSource:
    """Implements `ports.MailSource` over connections that may be lost.

    `attempts` without progress are made before an error goes up. `pause(seconds)` waits, and raises when the
    run is to end.
    """

    def __init__(
        self, connect: Connect, *, attempts: int, pause: Callable[[float], None], progress: Progress
    ) -> None:
        self._connect = connect
        self._attempts = attempts
        self._pause = pause
        self._progress = progress
        self._source: Connection | None = None
        self._talking = False
        self._folder: Folder | None = None
        self._uidvalidity: int | None = None
        self._cautious = False
        self._failures = 0

    def connect_now(self) -> None:
        """Connect, in a single attempt, whose failure goes up; for a connection that can be done without."""
        self._connected()

    def list_folders(self) -> Sequence[Listed]:
        def listed() -> Sequence[Listed]:
            source = self._connected()
            try:
                return source.list_folders()
            except ConnectionLost:
                # Exchange 2003 hangs up on NAMESPACE. NOTE: not at the first loss, which may be the line's: without
                # the namespace folders have other paths, and the account's globs mean others.
                self._cautious = self._failures > 0 or self._attempts <= 2
                raise

        return self._insist(listed)

    def open(self, folder: Folder, resume: Resume | None = None, ask: str | None = None) -> Opened:
        self._folder = None

        def opened() -> Opened:
            return self._connected().open(folder, resume, ask)

        result = self._insist(opened)
        self._folder, self._uidvalidity = folder, result.status.uidvalidity
        return result

    def uids(self, criteria: str | None = None) -> set[int]:
        return self._insist(lambda: self._reopened().uids(criteria))

    def scan(self, uids: Collection[int] | None, *, changed_since: int | None = None) -> Iterator[Attributes]:
        # NOTE: asked again from the start after a loss; the port allows a message to come twice. Progress is to
        # get further than before, else a line that always breaks at the same octet would be tried for ever.
        furthest = 0
        while True:
            try:
                stream = self._streamed(self._reopened().scan(uids, changed_since=changed_since))
                for number, attributes in enumerate(stream, 1):
                    if number > furthest:
                        furthest, self._failures = number, 0
                    yield attributes
                return
            except TemporaryError as error:
                self._failed(error)

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        seen: set[int] = set()
        while True:
            try:
                left = [uid for uid in uids if uid not in seen]
                for attributes, header in self._streamed(self._reopened().headers(left, field)):
                    if attributes.uid not in seen:
                        self._failures = 0
                    seen.add(attributes.uid)
                    yield attributes, header
                return
            except TemporaryError as error:
                self._failed(error)

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        left = dict.fromkeys(uids)
        breaks: Counter[int] = Counter()
        aside = 0
        while left:
            try:
                for outcome in self._streamed(self._reopened().fetch(list(left))):
                    uid = outcome.attributes.uid if isinstance(outcome, Fetched) else outcome.uid
                    del left[uid]
                    self._failures = aside = 0
                    yield outcome
                return
            except TemporaryError as error:
                suspect = error.where.uid if error.where else None
                if suspect in left:
                    breaks[suspect] += 1
                    if breaks[suspect] >= _BREAKS_AT_ONE_MESSAGE and aside < _SET_ASIDE_IN_A_ROW:
                        aside += 1
                        self._failures = 0
                        del left[suspect]
                        yield Undelivered(
                            suspect, f"the connection broke {breaks[suspect]} times at it", error.reason
                        )
                self._failed(error)

    def close(self) -> None:
        source, self._source = self._source, None
        if source is None:
            return
        if self._talking:  # somebody stopped listening half-way; a goodbye would wait for all the rest
            source.hang_up()
        else:
            source.close()

    def _streamed(self, stream: Iterator[T]) -> Iterator[T]:
        self._talking = True
        yield from stream
        self._talking = False

    def _connected(self) -> Connection:
        if self._source is None:
            self._source = self._connect(cautious=self._cautious)
        return self._source

    def _reopened(self) -> Connection:
        """The connection, with the folder open that was open on the one before."""
        fresh = self._source is None
        source = self._connected()
        if fresh and self._folder is not None:
            status = source.open(self._folder).status
            if status.uidvalidity != self._uidvalidity:
                raise FolderChanged(
                    f'folder "{self._folder.name}": UIDVALIDITY changed from {self._uidvalidity} '
                    f"to {status.uidvalidity} during the run",
                    hint="the next run begins a new epoch",
                )
        return source

    def _insist(self, operation: Callable[[], T]) -> T:
        while True:
            try:
                result = operation()
            except TemporaryError as error:
                self._failed(error)
            else:
                self._failures = 0
                return result

    def _failed(self, error: TemporaryError) -> None:
        """Drop the connection and wait, or give up by raising `error`."""
        source, self._source = self._source, None
        self._talking = False
        if source is not None:
            source.hang_up()
        self._pause(0)  # an end that was asked for is no failure of the server
        self._failures += 1
        delay = min(0.25 * 4 ** (self._failures - 1), 30.0)
        if isinstance(error, Throttled):
            delay = error.delay_seconds if error.delay_seconds is not None else 4 * delay
        if self._failures >= self._attempts or delay > _LONGEST_THROTTLE_SECONDS:
            raise error
        attempt = f"attempt {self._failures + 1} of {self._attempts} in {delay:g} seconds"
        self._progress(Noted(f"{error.message}; {attempt}"))
        self._pause(delay)
