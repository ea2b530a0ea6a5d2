"""What is left to do, shared by the connections of one account.

A folder is surveyed by whoever takes it; what it wants is dealt into slices that any connection may take. Another
connection is opened only when enough waits to be worth one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from archiver.errors import IntegrityError
from archiver.model import Folder, Listed
from archiver.plan import estimated_octets, slices
from archiver.progress import Planned, Progress
from archiver.survey import Surveyed

#: Another connection is opened when this much waits, in messages.
_WORTH_A_CONNECTION = 200


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of a folder's wanted UIDs."""

    surveyed: Surveyed
    uids: list[int]


Job = Listed | Slice


@dataclass(slots=True)
class Dealing:
    """The jobs of one account. `work_off(self, extra)` is what a connection does; each `extra` one has a thread of
    its own. `damage` is something missing in the archive that stopped nobody."""

    connections: int
    progress: Progress
    work_off: Callable[[Dealing, bool], None]
    failure: BaseException | None = None
    damage: IntegrityError | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _surveys: deque[Listed] = field(default_factory=deque)
    _slices: deque[Slice] = field(default_factory=deque)
    _busy: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self, folders: Iterable[Listed]) -> None:
        """Work until nothing is left, the largest folders first. The first failure of the account, else the damage,
        is raised after all connections ended."""
        self._surveys.extend(sorted(folders, key=lambda listed: -_messages(listed)))
        if not self._surveys:
            return
        self._work(extra=False)  # the calling thread is the first connection
        for thread in self._threads:
            thread.join()
        if (failure := self.failure or self.damage) is not None:
            raise failure

    def _work(self, *, extra: bool) -> None:
        try:
            self.work_off(self, extra)
        except BaseException as error:  # NOTE: raised again by `run`, in the calling thread
            with self._changed:
                self.failure = self.failure or error
                self._changed.notify_all()

    def next_job(self, current: Folder | None, *, wait: bool) -> Job | None:
        """The next job, slices of the folder that is open first; None when there is nothing. With `wait`, not
        before the jobs of other connections are done, which may leave more, or one has failed."""
        with self._changed:
            while self.failure is None:
                job = self._take(current)
                if job is not None:
                    self._busy += 1
                    return job
                if not (self._busy and wait):
                    break
                self._changed.wait()
            return None

    def _take(self, current: Folder | None) -> Job | None:
        for job in self._slices:
            if job.surveyed.listed.folder == current:
                self._slices.remove(job)
                return job
        if self._slices:
            return self._slices.popleft()
        return self._surveys.popleft() if self._surveys else None

    def done(self) -> None:
        """The job that was taken is finished."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def add_slices(self, surveyed: Surveyed) -> None:
        """Deal a folder's wanted messages, and open another connection if that is worth one."""
        wanted, surveyed.wanted = surveyed.wanted, set()
        dealt = slices(wanted, surveyed.listed.status)
        surveyed.slices_left = len(dealt)
        self.progress(Planned(len(wanted), estimated_octets(len(wanted), surveyed.listed.status)))
        with self._changed:
            self._slices.extend(Slice(surveyed, uids) for uids in dealt)
            waiting = sum(len(each.uids) for each in self._slices) + sum(map(_messages, self._surveys))
            if waiting > _WORTH_A_CONNECTION and len(self._threads) + 1 < self.connections:
                name = f"connection-{len(self._threads) + 2}"
                thread = threading.Thread(target=self._work, kwargs={"extra": True}, name=name)
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()

    def slice_lasting(self, surveyed: Surveyed) -> bool:
        """One slice of the folder is lasting; True if it was the last one."""
        with self._changed:
            surveyed.slices_left -= 1
            return surveyed.slices_left == 0


def _messages(listed: Listed) -> int:
    return listed.status.messages if listed.status else 0
