"""A source that reconnects: wraps a `MailSource` and continues at the same message, with limited attempts.

It connects when it is first used, so that no unused connection is opened. A message at which the connection breaks
is set aside, so that it cannot block the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from archiver.control.limits.limiter import UNLIMITED, Limiter
from archiver.control.run import RunControl
from archiver.errors import (
    AllRefused,
    ConnectionLost,
    CountsDisagree,
    NothingDelivered,
    ServerUnavailable,
    TemporaryError,
    Throttled,
    Where,
)
from archiver.events import Noted, Slowed
from archiver.facts.access import FolderAccess
from archiver.mail.content import broke
from archiver.mail.folder_names import printable
from archiver.mail.model import Attributes, Fetched, Folder, KnownState, Listed, Marks, Opened, Undelivered
from archiver.mail.uidset import UidSet
from archiver.mail.unnumbered import require_same_uids
from archiver.source.backoff import Backoff
from archiver.source.limited import fetch_within
from archiver.source.port import Expected, NextRequest, Opening, SourceConnection

T = TypeVar("T")

_TRIES_ALONE = 2  # for a message that is requested alone; the second one on a new connection
_BREAKS_BEFORE_A_JUMP = 2
_BREAKS_BEFORE_A_DOUBT = 2  # while nothing was delivered; then the server may be the cause
_LONGEST_PAUSE_AT_A_MESSAGE = 2.0


class Connect(Protocol):
    """Opens a connection; a `fallback` one, without what some servers hang up on, after connections were lost while
    the folders were listed."""

    def __call__(self, *, fallback: bool) -> SourceConnection: ...


class _Breaks(Struct):
    """Counts the breaks of the connection at messages, and decides when there are too many.

    Every delivered message pays for a part of a break, a large one for a whole break. So a line may break now and
    then for ever, but a folder full of damaged messages cannot delay all others. A break after a long silence took
    as much time as several and counts as several. While nothing was delivered at all, messages may not be the
    cause.
    """

    in_a_row: int = 0
    delivered: bool = False
    _debt: float = 0.0
    _most: float = 12.0

    def add(self, seconds: float) -> None:
        """The connection broke after that many seconds without a message."""
        self.in_a_row += 1
        self._debt += 1 + seconds // 60

    def pay(self, octets: int) -> None:
        """A message of that many octets was delivered."""
        self.in_a_row, self.delivered = 0, True
        if not self._debt:
            self._most = 40.0
            return
        self._debt = max(0.0, self._debt - min(1.0, max(0.2, octets / (1 << 20))))
        self._most = max(40.0, self._debt + 6)

    @property
    def nothing_works(self) -> bool:
        """Whether the server may be the cause, since it has delivered no message at all."""
        return not self.delivered and self._debt >= _BREAKS_BEFORE_A_DOUBT

    @property
    def too_many(self) -> bool:
        """Whether the rest of the folder has to be left to the next run."""
        return self._debt >= self._most

    def give_up_here(self) -> None:
        """The rest of the folder is left; what is requested next may break a few times again."""
        self._most = self._debt + 6


class RetryingSource:
    """Implements `MailSource` over connections that may be lost.

    After `attempts` without progress the error is raised. `leave()` returns whether other connections take over the
    work, so that this one need not wait for a server that throttles; if it does, this source must not be used any
    more. `patient` is that of `Backoff`. `limits` are those of the account.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        attempts: int,
        control: RunControl,
        leave: Callable[[], bool] = lambda: False,
        patient: bool = False,
        limits: Limiter = UNLIMITED,
    ) -> None:
        self._connect = connect
        self._backoff = Backoff(attempts, patient)
        self._control = control
        self._leave = leave
        self._breaks = _Breaks()
        self._server: str | None = None
        self._source: SourceConnection | None = None
        self._streaming = False
        self._folder: Folder | None = None
        self._folder_again = False
        self._opened: Opened | None = None
        self._fallback = False
        self._announced: Sequence[Opening] = ()
        self._limits = limits
        # After a loss nothing is asked ahead any more, nor where each message has to fit into a day.
        self._is_careful = limits.most is not None

    def connect_now(self) -> None:
        """Connect in a single attempt, whose error is raised; for an optional connection."""
        self._connected()

    def list_folders(self) -> Sequence[Listed]:
        def listed() -> Sequence[Listed]:
            source = self._connected()
            try:
                return source.list_folders()
            except ConnectionLost:
                # Exchange 2003 hangs up on NAMESPACE. NOTE: not after the first loss, which may be the network's:
                # without the namespace folders have other paths, and the account's globs match others.
                self._fallback = self._backoff.failures > 0 or self._backoff.attempts <= 2
                raise

        return self._with_retries(listed)

    def open(
        self,
        folder: Folder,
        since: KnownState | None = None,
        ask: NextRequest | None = None,
        *,
        identify: bool = False,
        known: Collection[int] = (),
        fetch: Expected | None = None,
    ) -> Opened:
        self._folder = None

        def opened() -> Opened:
            # Once: perhaps it is one of these messages at which the connection breaks.
            nonlocal identify, known, fetch
            asked, identify, named, known, expected, fetch = identify, False, known, (), fetch, None
            source, may_go_ahead = self._prepared(self._connected()), not self._is_careful
            expected = expected if may_go_ahead else None
            try:
                return source.open(folder, since, ask, identify=asked, known=named, fetch=expected)
            except ConnectionLost as error:
                error.at_opening = True
                if not (may_go_ahead and error.asked_ahead):
                    raise
                self._drop()  # it is no attempt yet: open this one alone
                return opened()

        result = self._with_retries(opened)
        self._folder, self._opened = folder, result
        is_first = bool(self._announced) and self._announced[0].folder == folder
        self._announced = self._announced[1:] if is_first else ()
        return result

    def prepare(self, openings: Sequence[Opening]) -> None:
        self._announced = openings

    def _prepared(self, source: SourceConnection) -> SourceConnection:
        """The connection, which knows what is next."""
        source.prepare(() if self._is_careful else self._announced)
        return source

    def uids(self, search: str | None = None, *, since: KnownState | None = None) -> UidSet:
        try:
            return self._with_retries(lambda: self._reopened().uids(search, since=since))
        except CountsDisagree:  # mail may have come or gone meanwhile; opening the folder again shows it
            self._folder_again = self._folder is not None
        return self._with_retries(lambda: self._reopened().uids(search, since=since))

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        return self._from_the_start(lambda: self._reopened().scan(uids), lambda _: 1)

    def flags(self, *, since: KnownState | None = None) -> Iterator[Sequence[Marks]]:
        return self._from_the_start(lambda: self._reopened().flags(since=since), len)

    def _from_the_start(self, begin: Callable[[], Iterator[T]], messages: Callable[[T], int]) -> Iterator[T]:
        """A stream that starts again after a loss, which its port allows. `messages` counts those of an item."""
        # NOTE: it counts as progress only to get further than before, else a line that always breaks at the same
        # octet would be tried for ever.
        furthest = 0
        while True:
            try:
                came = 0
                for each in self._streamed(begin()):
                    came += messages(each)
                    if came > furthest:
                        furthest = came
                        self._backoff.progressed()
                    yield each
                return
            except TemporaryError as error:
                self._failed(error)

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        wanted, seen = UidSet(uids), set[int]()
        while True:
            try:
                left = wanted - seen
                for attributes, header in self._streamed(self._reopened().headers(left, field)):
                    if attributes.uid not in seen:
                        self._backoff.progressed()
                    seen.add(attributes.uid)
                    yield attributes, header
                return
            except TemporaryError as error:
                self._failed(error)

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        """As in the port. A message at which the connection broke is set aside at once, and the others are
        requested without it; a message that is requested alone gets a second try. After breaks in a row the fetch
        continues elsewhere in the folder, so that a damaged stretch delays as little as possible.

        Raises:
            AllRefused: the server delivers no message of this folder.
            ServerUnavailable: about this folder only: the connection broke at too many messages in a row.
        """
        tries = _TRIES_ALONE if len(uids) == 1 else 1
        stretches = [sorted(set(uids))]
        broken = 0
        while stretches:
            stretches.sort(key=len)
            left = dict.fromkeys(stretches.pop())
            since = time.monotonic()
            try:
                source = self._prepared(self._reopened())
                for outcome in self._streamed(fetch_within(source, list(left), self._limits, self._control)):
                    uid = outcome.attributes.uid if isinstance(outcome, Fetched) else outcome.uid
                    del left[uid]
                    self._backoff.progressed()
                    if isinstance(outcome, Fetched):
                        self._breaks.pay(outcome.body.size)
                    yield outcome
                    since = time.monotonic()
                continue
            except AllRefused:
                raise  # another attempt would end in the same way; other folders may be fine
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

    def access(self, folders: Sequence[Folder]) -> Mapping[bytes, FolderAccess]:
        """As in the port, in a single attempt: mail is worth more."""
        self._folder = None
        try:
            return self._connected().access(folders)
        except TemporaryError as error:
            self._drop()
            self._control.progress(Noted(f"{error.reason}: access rights and annotations are read by the next run"))
            return {}

    def gives(self, uid: int) -> bool:
        """As in the port, in a single attempt; a connection that breaks delivers nothing."""
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

    def give_up(self) -> SourceConnection | None:
        """The connection, if there is one, for somebody else. One in the middle of a response is closed, and one
        that leaves things out for the sake of its server. Afterwards this source would connect again."""
        if self._streaming or self._fallback:
            self.close()
        source, self._source = self._source, None
        return source

    def close(self) -> None:
        source, self._source = self._source, None
        if source is None:
            return
        if self._streaming:  # the caller stopped half-way; LOGOUT would wait for all the rest
            source.hang_up()
        else:
            source.close()

    def _streamed(self, stream: Iterator[T]) -> Iterator[T]:
        self._streaming = True
        yield from stream
        self._streaming = False

    def _connected(self) -> SourceConnection:
        self._limits.require()
        if self._source is None:
            self._source = self._connect(fallback=self._fallback)
        return self._source

    def _reopened(self) -> SourceConnection:
        """The connection, with the folder open that was open on the previous one."""
        fresh = self._source is None or self._folder_again
        source = self._connected()
        if fresh and self._folder is not None:
            self._folder_again = False
            assert self._opened is not None
            require_same_uids(self._folder, self._opened, source.open(self._folder))
        return source

    def _with_retries(self, operation: Callable[[], T]) -> T:
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
        """The connection broke at a message, which is set aside. That is progress, as long as messages are the
        cause. Raises `error` if another connection takes over, NothingDelivered if the server may be the cause."""
        self._drop()
        self._backoff.progressed()
        self._server = error.where.server if error.where else None
        self._breaks.add(seconds)
        if not self._breaks.delivered and self._breaks.in_a_row > 1 and self._leave():
            raise error
        if self._breaks.nothing_works:
            raise NothingDelivered(
                f"{error.reason}, at every requested message",
                where=error.where and replace(error.where, uid=None),
            )
        delay = min(0.25 * 2.0 ** (in_a_row - 1), _LONGEST_PAUSE_AT_A_MESSAGE)
        self._control.progress(Noted(f"{error.message}, at uid {uid}; continuing in {delay:g} seconds"))
        self._control.pause(delay)

    def _given_up(self, left: int) -> None:
        """Leave the folder, or this part of it, to the next run."""
        folder, count = self._folder, self._breaks.in_a_row
        self._breaks.give_up_here()
        raise ServerUnavailable(
            f"the connection broke at {count} messages in a row; {left} more are left for the next run",
            where=Where(self._server, printable(folder.name) if folder else None, operation="fetch"),
        )

    def _drop(self) -> None:
        source, self._source = self._source, None
        self._streaming, self._is_careful = False, True
        if source is not None:
            source.hang_up()
        self._control.pause(0)  # a stopped run also loses its connections, and that is no failure of the server

    def _failed(self, error: TemporaryError) -> None:
        """Drop the connection and wait, or give up by raising `error`."""
        self._drop()
        if isinstance(error, Throttled) and self._leave():
            raise error
        delay = self._backoff.delay_after(error)
        self._control.progress(Noted(self._backoff.notice(error, delay)))
        if isinstance(error, Throttled):
            self._control.progress(Slowed(delay))
        self._control.pause(delay)
