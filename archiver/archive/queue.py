"""What is left to do, shared by the connections of one account.

A folder is surveyed by whoever takes it; what it wants is dealt into slices that any connection may take. Another
connection is opened only when enough waits to be worth one. One that fails while others are at work gives back what
it had not done. Messages at which a connection broke come last, each by itself, so that they hold up nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from archiver.archive.plan import estimated_octets, slices
from archiver.archive.scanned import Surveyed
from archiver.errors import BackendError, IntegrityError
from archiver.events import Planned, Progress
from archiver.mail.model import Folder, Listed

#: Another connection is opened when this much waits, in messages.
_WORTH_A_CONNECTION = 200


#: Of messages at which a connection broke: when so many in a row did not come, the others are not asked for.
_ALONE_IN_VAIN = 15


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """Some of a folder's wanted UIDs. One that is `last` waits until all others are done; one that is `alone` is a
    message at which a connection broke, in this run `breaks` times. One that was `put_off` so often was refused
    as a whole, last to the connection `refused_to`."""

    surveyed: Surveyed
    uids: list[int]
    last: bool = False
    alone: bool = False
    breaks: int = 0
    put_off: int = 0
    refused_to: Member | None = None


Job = Listed | Slice


@dataclass(slots=True)
class Member:
    """One connection's place among those at work."""

    dealing: Dealing
    left: bool = False

    def leave(self) -> bool:
        """Whether others go on without this connection; from then on they do. False: it is the last one."""
        if not self.left:
            self.left = self.dealing.let_go()
        return self.left


@dataclass(slots=True)
class Dealing:
    """The jobs of one account. `work_off(member, extra)` is what a connection does; each `extra` one has a thread
    of its own. `damage` is something missing in the archive that stopped nobody."""

    connections: int
    progress: Progress
    work_off: Callable[[Member, bool], None]
    failure: BaseException | None = None
    damage: IntegrityError | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _surveys: deque[Listed] = field(default_factory=deque)
    _slices: deque[Slice] = field(default_factory=deque)
    _last: deque[Slice] = field(default_factory=deque)
    _surveyed_again: set[bytes] = field(default_factory=set)
    _in_vain: int = 0
    _busy: int = 0
    _at_work: int = 0
    _gave_up: BackendError | None = None
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self, folders: Iterable[Listed]) -> None:
        """Work until nothing is left, the largest folders first. The first failure of the account, else the damage,
        is raised after all connections ended."""
        self._surveys.extend(sorted(folders, key=lambda listed: -_messages(listed)))
        if not self._surveys:
            return
        self._at_work = 1
        self._work(extra=False)  # the calling thread is the first connection
        for thread in self._threads:
            thread.join()
        left = self._slices or self._surveys or self._last
        if (failure := self.failure or (self._gave_up if left else None) or self.damage) is not None:
            raise failure

    def _work(self, *, extra: bool) -> None:
        member = Member(self)
        try:
            self.work_off(member, extra)
        except BaseException as error:  # NOTE: raised again by `run`, in the calling thread
            with self._changed:
                self.failure = self.failure or error
                self._changed.notify_all()
        finally:
            with self._changed:
                self._at_work -= not member.left

    def let_go(self) -> bool:
        """One connection ends before the work does. False: nobody else is at work, so it has to go on."""
        with self._changed:
            if self._at_work < 2:
                return False
            self._at_work -= 1
            return True

    def give_back(self, job: Job, error: BackendError) -> None:
        """A job that a connection could not finish because of `error`, for another one. What was done of it is
        lasting."""
        with self._changed:
            self._gave_up = error
            if isinstance(job, Listed):
                self._surveyed_again.add(job.folder.raw)
                self._surveys.appendleft(job)
            elif job.last:
                self._last.appendleft(job)
            else:
                self._slices.appendleft(job)

    def is_surveyed_again(self, listed: Listed) -> bool:
        """Whether a connection that gave up had begun with it."""
        with self._changed:
            return listed.folder.raw in self._surveyed_again

    def next_job(self, current: Folder | None, member: Member, *, wait: bool) -> Job | None:
        """The next job, slices of the folder that is open first; None when there is nothing. With `wait`, not
        before the jobs of other connections are done, which may leave more, or one has failed."""
        with self._changed:
            while self.failure is None:
                job = self._take(current, member)
                if job is not None:
                    self._busy += 1
                    return job
                if not (self._busy and wait):
                    break
                self._changed.wait()
            return None

    def _take(self, current: Folder | None, member: Member) -> Job | None:
        """NOTE: what was refused to one connection is left to those that are busy: they may be given it."""
        last = [each for each in self._last if each.refused_to is not member or not self._busy]
        for waiting, some in ((self._slices, list(self._slices)), (self._last, [] if self._surveys else last)):
            if some:
                job = next((each for each in some if each.surveyed.listed.folder == current), some[0])
                waiting.remove(job)
                return job
        return self._surveys.popleft() if self._surveys else None

    def done(self) -> None:
        """The job that was taken is finished."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def add_slices(self, surveyed: Surveyed) -> None:
        """Deal a folder's wanted messages, and open another connection if that is worth one."""
        wanted, surveyed.wanted = surveyed.wanted, set()
        status = surveyed.listed.status
        new = {uid for uid in wanted if uid > surveyed.newest_known}
        dealt = [Slice(surveyed, uids) for uids in slices(new, status)]
        left_over = wanted - new
        last = [Slice(surveyed, uids, last=True) for uids in slices(left_over - surveyed.breaking, status)]
        last += [Slice(surveyed, [uid], last=True, alone=True) for uid in sorted(left_over & surveyed.breaking)]
        surveyed.slices_left = len(dealt) + len(last)
        self.progress(Planned(len(wanted), estimated_octets(len(wanted), surveyed.listed.status)))
        with self._changed:
            self._slices.extend(dealt)
            self._last.extend(last)
            self._last = deque(sorted(self._last, key=lambda job: job.alone))
            waiting = sum(len(each.uids) for each in (*self._slices, *self._last))
            waiting += sum(map(_messages, self._surveys))
            more = len(self._threads) + 1 < self.connections and self._gave_up is None
            if waiting > _WORTH_A_CONNECTION and more:
                name = f"connection-{len(self._threads) + 2}"
                thread = threading.Thread(target=self._work, kwargs={"extra": True}, name=name)
                self._threads.append(thread)
                self._at_work += 1
                thread.start()
            self._changed.notify_all()

    def add_alone(self, surveyed: Surveyed, uid: int, breaks: int) -> None:
        """A message at which the connection broke so often, while a slice of its folder was being fetched."""
        with self._changed:
            surveyed.slices_left += 1
            self._last.append(Slice(surveyed, [uid], last=True, alone=True, breaks=breaks))

    def put_off(self, job: Slice, member: Member) -> None:
        """A slice of which the server gave this connection nothing: when all else is done it is known whether it
        gives anything."""
        with self._changed:
            self._last.append(replace(job, last=True, put_off=job.put_off + 1, refused_to=member))

    def again(self, job: Slice) -> None:
        """A slice of which the connection is to try the rest."""
        with self._changed:
            (self._last if job.last else self._slices).appendleft(job)

    def came_alone(self, *, came: bool) -> None:
        """Whether a message that was asked for by itself came."""
        with self._changed:
            self._in_vain = 0 if came else self._in_vain + 1

    @property
    def alone_is_in_vain(self) -> bool:
        """Whether so many in a row did not come that the others are left for the next run."""
        with self._changed:
            return self._in_vain >= _ALONE_IN_VAIN

    def slice_lasting(self, surveyed: Surveyed) -> bool:
        """One slice of the folder is lasting; True if it was the last one."""
        with self._changed:
            surveyed.slices_left -= 1
            return surveyed.slices_left == 0


def _messages(listed: Listed) -> int:
    return listed.status.messages if listed.status else 0
