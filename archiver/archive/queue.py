"""The work that is left, shared by the connections of one account.

The connection that takes a folder scans it; its wanted messages are split into slices that any connection may take.
Another connection is opened only if enough work waits to be worth it. A connection that fails while others are at
work returns its unfinished job. Messages that broke a connection are fetched last, one at a time, so that they
delay nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.archive.plan.amounts import estimated_octets, slices
from archiver.archive.plan.twins import Identity
from archiver.archive.scanned import ScannedFolder
from archiver.errors import BackendError, IntegrityError
from archiver.events import Planned, Progress
from archiver.mail.model import Folder, Listed
from archiver.mail.uidset import UidSet

#: Another connection is opened if more than this many messages wait.
_WORTH_A_CONNECTION = 200

#: Once this many messages in a row have broken the connection without arriving, the rest are not requested.
_ALONE_FAILURES = 15


#: How long after a limit another connection is tried again.
_CALM_SECONDS = 60.0

#: Another connection is closed again if this process has been busy for that much of that many seconds.
_BUSY_SHARE, _TELLING_SECONDS = 0.9, 0.25


def _clocks() -> tuple[float, float]:
    """The time, and this process's share of it, in seconds."""
    return time.monotonic(), time.process_time()


class Slice(Struct, frozen=True, eq=False):
    """Some of a folder's wanted UIDs. A slice that is `last` waits until all others are done. One that is `alone`
    is a single message at which a connection broke, `breaks` times in this run. `put_off` counts how often the
    server refused all of the slice, most recently to the connection `refused_to`. It `waits_for` messages that were
    being fetched from other folders."""

    scanned: ScannedFolder
    uids: UidSet
    last: bool = False
    alone: bool = False
    breaks: int = 0
    put_off: int = 0
    refused_to: Member | None = None
    waits_for: frozenset[Identity] = frozenset()


Job = Listed | Slice


class Member(Struct):
    """One of the connections that share the work. `reserved` are folders that it will scan next, in order. An
    `extra` one is there because the others wait for the server."""

    queue: WorkQueue
    extra: bool = False
    left: bool = False
    reserved: deque[Listed] = field(default_factory=deque)
    _began: tuple[float, float] = field(default_factory=_clocks)

    def leave(self, *, limited: bool = True) -> bool:
        """Leave the work to the other connections, mostly because of a limit. False if this is the last one, which
        has to go on."""
        if not self.left:
            self.left = self.queue.leave_if_others(self, limited=limited)
        return self.left

    def leave_if_in_the_way(self) -> None:
        """Leave the work to the others if this process has been busy all the time: then the server waits for us,
        and connections in turns take longer than one."""
        seconds, busy = (now - began for now, began in zip(_clocks(), self._began, strict=True))
        if self.extra and not self.reserved and seconds >= _TELLING_SECONDS and busy >= _BUSY_SHARE * seconds:
            self.leave(limited=False)


class WorkQueue(Struct):
    """The jobs of one account. `work_off(member, extra)` is what a connection does; each `extra` one has its own
    thread. `expected` estimates the messages of which the scan of a folder reads something. `damage` is something
    missing in the archive that did not stop the work."""

    connections: int
    progress: Progress
    work_off: Callable[[Member, bool], None]
    expected: Callable[[Listed], int]
    failure: BaseException | None = None
    damage: IntegrityError | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _to_scan: deque[Listed] = field(default_factory=deque)
    _slices: deque[Slice] = field(default_factory=deque)
    _last: deque[Slice] = field(default_factory=deque)
    _fetching: set[Identity] = field(default_factory=set)
    _scanned_again: set[bytes] = field(default_factory=set)
    _alone_failures: int = 0
    _busy: int = 0
    _at_work: int = 0
    _reserved: int = 0
    _gave_up: BackendError | None = None
    _struck: int = 0  # connections that left because of a limit
    _struck_at: float = float("-inf")
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self, folders: Iterable[Listed], *, smallest_first: bool = False) -> None:
        """Work until nothing is left, the largest folders first, or the smallest. Raises the first failure of the
        account, otherwise the damage, after all connections ended."""
        self._to_scan.extend(sorted(folders, key=_messages, reverse=not smallest_first))
        if not self._to_scan:
            return
        self._at_work = 1
        with self._changed:
            self._add_connection_if_worth_it()
        self._work(extra=False)  # the calling thread is the first connection
        for thread in self._threads:
            thread.join()
        left = self._slices or self._to_scan or self._last
        if (failure := self.failure or (self._gave_up if left else None) or self.damage) is not None:
            raise failure

    def _work(self, *, extra: bool) -> None:
        member = Member(self, extra)
        try:
            self.work_off(member, extra)
        except BaseException as error:  # NOTE: raised again by `run`, in the calling thread
            with self._changed:
                self.failure = self.failure or error
                self._changed.notify_all()
        finally:
            with self._changed:
                self._at_work -= not member.left

    def leave_if_others(self, member: Member, *, limited: bool) -> bool:
        """One connection ends before the work does, perhaps because of a limit. False: no other is at work, so this
        one has to go on."""
        with self._changed:
            if self._at_work < 2:
                return False
            if limited:
                self._struck, self._struck_at = self._struck + 1, time.monotonic()
            self._at_work -= 1
            self._to_scan.extendleft(reversed(member.reserved))
            self._reserved -= len(member.reserved)
            member.reserved.clear()
            self._changed.notify_all()
            return True

    def reserve(self, member: Member) -> Listed | None:
        """One more folder that this connection will scan next, after what it is at and what it has reserved. None:
        there is something else to do before, or nothing that others do not wait for."""
        with self._changed:
            idle = max(0, self._at_work - self._busy)  # who leaves is busy until its job is given back
            if self._slices or len(self._to_scan) <= idle:
                return None
            member.reserved.append(listed := self._to_scan.popleft())
            self._reserved += 1
            return listed

    def give_back(self, job: Job, error: BackendError) -> None:
        """Return a job that a connection could not finish because of `error`, for another one. What was done of it
        is durable."""
        with self._changed:
            self._gave_up = error
            if isinstance(job, Listed):
                self._scanned_again.add(job.folder.raw)
                self._to_scan.appendleft(job)
            elif job.last:
                self._last.appendleft(job)
            else:
                self._slices.appendleft(job)

    def is_scanned_again(self, listed: Listed) -> bool:
        """Whether a connection that gave up had begun to scan it."""
        with self._changed:
            return listed.folder.raw in self._scanned_again

    def next_job(self, current: Folder | None, member: Member, *, wait: bool) -> Job | None:
        """The next job, slices of the open folder first; None if there is none. With `wait`, wait until the other
        connections are done, since their jobs may add more, or until one has failed."""
        with self._changed:
            while self.failure is None:
                job = self._take(current, member)
                if job is not None:
                    self._busy += 1
                    return job
                if not ((self._busy or self._reserved) and wait):
                    break
                self._changed.wait()
            return None

    @property
    def is_over(self) -> bool:
        """Whether no connection is at work and nothing is left, not even something that waits for others."""
        with self._changed:
            return not (self._busy or self._reserved or self._slices or self._last or self._to_scan)

    def _take(self, current: Folder | None, member: Member) -> Job | None:
        """NOTE: a slice that was refused to one connection is left to the busy ones: the server may deliver it to
        them."""
        if member.reserved:
            here = next((each for each in self._slices if each.scanned.listed.folder == current), None)
            if here is not None:
                self._slices.remove(here)
                return here
            self._reserved -= 1
            return member.reserved.popleft()
        is_scanned = not (self._to_scan or self._reserved)
        last = [
            each
            for each in self._last
            if (each.refused_to is not member or not self._busy) and each.waits_for.isdisjoint(self._fetching)
        ]
        for waiting, some in ((self._slices, list(self._slices)), (self._last, last if is_scanned else [])):
            if some:
                job = next((each for each in some if each.scanned.listed.folder == current), some[0])
                waiting.remove(job)
                return job
        return self._to_scan.popleft() if self._to_scan else None

    def done(self) -> None:
        """A job that was taken is finished."""
        with self._changed:
            self._busy -= 1
            if self._struck:
                self._add_connection_if_worth_it()
            self._changed.notify_all()

    def add_slices(self, scanned: ScannedFolder) -> None:
        """Split a folder's wanted messages into slices, and open another connection if that is worth it."""
        wanted, scanned.wanted = scanned.wanted, UidSet()
        status = scanned.listed.status
        new = wanted - range(scanned.newest_known + 1)
        first = [Slice(scanned, uids) for uids in slices(new, status)]
        left_over = wanted - new
        last = [Slice(scanned, uids, last=True) for uids in slices(left_over - scanned.breaking, status)]
        last += [Slice(scanned, UidSet([uid]), last=True, alone=True) for uid in left_over & scanned.breaking]
        scanned.slices_left = len(first) + len(last)
        self.progress(Planned(len(wanted), estimated_octets(len(wanted), scanned.listed.status)))
        with self._changed:
            self._slices.extend(first)
            self._last.extend(last)
            self._last = deque(sorted(self._last, key=lambda job: job.alone))
            self._add_connection_if_worth_it()
            self._changed.notify_all()

    def _add_connection_if_worth_it(self) -> None:
        """At the beginning it logs in while the first one opens a folder; later scans tell what is really new. In
        place of one that was struck by a limit there is another one when it has been calm for a while."""
        is_calm = time.monotonic() - self._struck_at >= _CALM_SECONDS
        if not is_calm or len(self._threads) + 1 - self._struck >= self.connections:
            return
        waiting = sum(len(each.uids) for each in (*self._slices, *self._last))
        waiting += sum(map(self.expected, self._to_scan))
        if waiting > _WORTH_A_CONNECTION:
            name = f"connection-{len(self._threads) + 2}"
            thread = threading.Thread(target=self._work, kwargs={"extra": True}, name=name)
            self._threads.append(thread)
            self._at_work += 1
            thread.start()

    def add_alone(self, scanned: ScannedFolder, uid: int, breaks: int) -> None:
        """Add a message at which the connection broke `breaks` times while a slice of its folder was fetched."""
        with self._changed:
            scanned.slices_left += 1
            self._last.append(Slice(scanned, UidSet([uid]), last=True, alone=True, breaks=breaks))

    def claim(self, identities: frozenset[Identity]) -> frozenset[Identity]:
        """Those of the messages that no connection fetches now. The caller fetches or links them, and releases
        them afterwards."""
        with self._changed:
            free = identities - self._fetching
            self._fetching |= free
            return free

    def release(self, identities: Iterable[Identity]) -> None:
        """These messages are recorded, or will not be fetched."""
        with self._changed:
            self._fetching.difference_update(identities)
            self._changed.notify_all()

    def add_waiting(self, scanned: ScannedFolder, uids: UidSet, waits_for: frozenset[Identity]) -> None:
        """Add messages that are being fetched from other folders, to be linked when these are recorded."""
        with self._changed:
            scanned.slices_left += 1
            self._last.append(Slice(scanned, uids, last=True, waits_for=waits_for))

    def put_off(self, job: Slice, member: Member) -> None:
        """Postpone a slice of which the server delivered nothing to this connection: when everything else is done,
        it is known whether the server delivers anything."""
        with self._changed:
            self._last.append(replace(job, last=True, put_off=job.put_off + 1, refused_to=member))

    def again(self, job: Slice) -> None:
        """Return a slice whose rest is to be tried again."""
        with self._changed:
            (self._last if job.last else self._slices).appendleft(job)

    def note_alone(self, *, came: bool) -> None:
        """Record whether a message that was requested on its own arrived."""
        with self._changed:
            self._alone_failures = 0 if came else self._alone_failures + 1

    @property
    def alone_given_up(self) -> bool:
        """Whether too many in a row did not come, so that the others are left for the next run."""
        with self._changed:
            return self._alone_failures >= _ALONE_FAILURES

    def slice_done(self, scanned: ScannedFolder) -> bool:
        """One slice of the folder is durable; True if it was the last one."""
        with self._changed:
            scanned.slices_left -= 1
            return scanned.slices_left == 0


def _messages(listed: Listed) -> int:
    return listed.status.messages if listed.status else 0
