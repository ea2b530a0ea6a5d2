"""A source that reconnects: wraps a `MailSource`, goes on at the same message, within bounded attempts.

It connects at its first use, so that an idle connection is never opened. A message at which the connection
breaks is set aside, so that it cannot stop the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from archiver.backoff import Backoff
from archiver.errors import (
    AllRefused,
    ConnectionLost,
    CountsDisagree,
    FolderChanged,
    NothingDelivered,
    ServerUnavailable,
    TemporaryError,
    Throttled,
    Where,
)
from archiver.events import Noted, Progress
from archiver.mail.content import broke
from archiver.mail.folder_names import printable
from archiver.mail.model import Attributes, Fetched, Folder, Listed, Opened, Resume, Undelivered
from archiver.source.port import MailSource

T = TypeVar("T")

_TRIES_ALONE = 2  # of a message that is asked for by itself; the second one on a connection that did nothing else
_BREAKS_BEFORE_A_JUMP = 2
_BREAKS_BEFORE_A_DOUBT = 2  # of the server, while nothing was delivered
_LONGEST_PAUSE_AT_A_MESSAGE = 2.0


class Connection(MailSource, Protocol):
    """A source that can also be left in the middle of what it says."""

    def hang_up(self) -> None:
        """Close at once; never raises, may be called twice."""


class Connect(Protocol):
    """Opens a connection; `cautious` after others were lost while it listed the folders."""

    def __call__(self, *, cautious: bool) -> Connection: ...


@dataclass(slots=True)
class _Breaks:
    """How often the connection broke at messages, and when that is too often.

    Every message that is delivered pays for a part of a break, a large one for a whole one: a line that breaks now
    and then may do so for ever, but a folder full of damaged messages cannot hold up all others. A break after a
    long silence costs as much time as several others and counts as several. While nothing was delivered at all, it
    is in doubt whether messages are to blame.
    """

    in_a_row: int = 0
    delivered: bool = False
    _debt: float = 0.0
    _most: float = 12.0

    def add(self, seconds: float) -> None:
        """It broke, after so many seconds without a message."""
        self.in_a_row += 1
        self._debt += 1 + seconds // 60

    def pay(self, octets: int) -> None:
        """A message was delivered."""
        self.in_a_row, self.delivered = 0, True
        self._debt = max(0.0, self._debt - min(1.0, max(0.2, octets / (1 << 20))))
        self._most = max(40.0, self._debt + 6)

    @property
    def nothing_works(self) -> bool:
        """Whether this may not be the fault of single messages: nothing was delivered that shows it."""
        return not self.delivered and self._debt >= _BREAKS_BEFORE_A_DOUBT

    @property
    def too_many(self) -> bool:
        """Whether what is asked for now has to be left for another run."""
        return self._debt >= self._most

    def give_up_here(self) -> None:
        """What was asked for is left; what is asked for next gets a few tries of its own."""
        self._most = self._debt + 6


class RetryingSource:
    """Implements `ports.MailSource` over connections that may be lost.

    `attempts` without progress are made before an error goes up. `pause(seconds)` waits, and raises when the
    run is to end. `leave()` says that other connections go on with the work, so that this one need not wait for a
    server that wants fewer of them; once it said so, this source is not used any more. A `patient` one waits as
    long as five minutes for a server that throttles; others give up for now, so that other accounts go on.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        attempts: int,
        pause: Callable[[float], None],
        progress: Progress,
        leave: Callable[[], bool] = lambda: False,
        patient: bool = False,
    ) -> None:
        self._connect = connect
        self._backoff = Backoff(attempts, patient)
        self._pause = pause
        self._progress = progress
        self._leave = leave
        self._breaks = _Breaks()
        self._server: str | None = None
        self._source: Connection | None = None
        self._talking = False
        self._folder: Folder | None = None
        self._folder_again = False
        self._uidvalidity: int | None = None
        self._cautious = False

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
                self._cautious = self._backoff.failures > 0 or self._backoff.attempts <= 2
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
        try:
            return self._insist(lambda: self._reopened().uids(criteria))
        except CountsDisagree:  # mail may have come or gone meanwhile: opening the folder again tells
            self._folder_again = self._folder is not None
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
                        furthest = number
                        self._backoff.progressed()
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
                        self._backoff.progressed()
                    seen.add(attributes.uid)
                    yield attributes, header
                return
            except TemporaryError as error:
                self._failed(error)

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        """As the port says. A message at which the connection broke is set aside at once, and the others are asked
        for without it; one that is asked for by itself gets a second try. After breaks one behind the other the
        search goes on elsewhere, so that a damaged stretch holds up as little as possible.

        Raises:
            AllRefused: the server gives no message of this folder.
            ServerUnavailable: about this folder alone: the connection broke at too many messages in a row.
        """
        tries = _TRIES_ALONE if len(uids) == 1 else 1
        stretches = [sorted(set(uids))]
        broken = 0
        while stretches:
            stretches.sort(key=len)
            left = dict.fromkeys(stretches.pop())
            since = time.monotonic()
            try:
                for outcome in self._streamed(self._reopened().fetch(list(left))):
                    uid = outcome.attributes.uid if isinstance(outcome, Fetched) else outcome.uid
                    del left[uid]
                    self._backoff.progressed()
                    if isinstance(outcome, Fetched):
                        self._breaks.pay(outcome.body.size)
                    yield outcome
                    since = time.monotonic()
                continue
            except AllRefused:
                raise  # asked again, it would say the same; it may be about this folder alone
            except TemporaryError as error:
                suspect = error.where.uid if error.where else None
                if suspect is None or suspect not in left or isinstance(error, Throttled):
                    self._failed(error)
                    stretches.append(list(left))
                    continue
                broken += 1
                in_a_row = broken if len(uids) == 1 else self._breaks.in_a_row + 1
                self._broke(error, suspect, time.monotonic() - since, in_a_row)
                said = error.reason
            if broken >= tries or self._breaks.too_many:
                del left[suspect]
                yield Undelivered(suspect, broke(broken), said, breaks=broken)
                broken = 0
            rest = list(left)
            if rest and self._breaks.too_many:
                self._given_up(len(rest) + sum(map(len, stretches)))
            jump = self._breaks.in_a_row % _BREAKS_BEFORE_A_JUMP == 0
            middle = len(rest) // 2 if jump else 0
            stretches += [part for part in (rest[:middle], rest[middle:]) if part]

    def gives(self, uid: int) -> bool:
        """As the port says, in a single attempt; a connection that breaks gives nothing."""
        try:
            given = self._reopened().gives(uid)
        except TemporaryError as error:
            self._drop()
            if isinstance(error, Throttled) and error.certain:
                raise
            return False
        if given:
            self._breaks.delivered = True
            self._backoff.progressed()
        return given

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
        fresh = self._source is None or self._folder_again
        source = self._connected()
        if fresh and self._folder is not None:
            self._folder_again = False
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
            except CountsDisagree:
                raise
            except TemporaryError as error:
                self._failed(error)
            else:
                self._backoff.progressed()
                return result

    def _broke(self, error: TemporaryError, uid: int, seconds: float, in_a_row: int) -> None:
        """The connection broke at a message, which is set aside: that is progress, as long as messages are to
        blame. Raises `error` if they cannot be."""
        self._drop()
        self._backoff.progressed()
        self._server = error.where.server if error.where else None
        self._breaks.add(seconds)
        if not self._breaks.delivered and self._breaks.in_a_row > 1 and self._leave():
            raise error
        if self._breaks.nothing_works:
            raise NothingDelivered(
                f"{error.reason}, at every message that was asked for",
                where=error.where and replace(error.where, uid=None),
            )
        delay = min(0.25 * 2.0 ** (in_a_row - 1), _LONGEST_PAUSE_AT_A_MESSAGE)
        self._progress(Noted(f"{error.message}, at uid {uid}; going on in {delay:g} seconds"))
        self._pause(delay)

    def _given_up(self, left: int) -> None:
        """The folder, or this part of it, is left for another run."""
        folder, count = self._folder, self._breaks.in_a_row
        self._breaks.give_up_here()
        raise ServerUnavailable(
            f"the connection broke at {count} messages one after the other; {left} more are left for the next run",
            where=Where(self._server, printable(folder.name) if folder else None, operation="fetch"),
        )

    def _drop(self) -> None:
        source, self._source = self._source, None
        self._talking = False
        if source is not None:
            source.hang_up()
        self._pause(0)  # an end that was asked for is no failure of the server

    def _failed(self, error: TemporaryError) -> None:
        """Drop the connection and wait, or give up by raising `error`."""
        self._drop()
        if isinstance(error, Throttled) and self._leave():
            raise error
        delay = self._backoff.delay_after(error)
        self._progress(Noted(self._backoff.notice(error, delay)))
        self._pause(delay)
