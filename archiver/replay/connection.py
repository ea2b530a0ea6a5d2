"""The connections to a destination: each is opened when it is needed, and reopened after it was lost; and how
several of them share the work."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from archiver.control.run import RunControl
from archiver.destination.port import MailDestination
from archiver.errors import TemporaryError, Throttled
from archiver.events import Noted, Slowed
from archiver.replay.context import ReplayJob
from archiver.source.backoff import Backoff

_ATTEMPTS_BESIDE = 2

T = TypeVar("T")


class ConnectPolicy(Protocol):
    """How to connect and how often to retry; a ReplayContext is one. A `patient` one waits up to five minutes for a
    server that throttles."""

    @property
    def connect(self) -> Callable[[], MailDestination]: ...

    @property
    def attempts(self) -> int: ...

    @property
    def patient(self) -> bool: ...

    @property
    def control(self) -> RunControl: ...


class ConnectionGroup:
    """The connections of an account that are at work. A connection that runs into a limit leaves the work to the
    others: servers count sessions, and some refuse one only after the login, whichever they choose. The first
    connection stays open to the end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beside = 0
        self._first_struck = False

    def join(self) -> None:
        """One more connection is at work besides the first."""
        with self._lock:
            self._beside += 1

    def leave(self) -> None:
        """One of the further connections is done."""
        with self._lock:
            self._beside -= 1

    def leaves_to_others(self, *, first: bool) -> bool:
        """Whether a connection that ran into a limit can leave the work to others; if so, it has left."""
        with self._lock:
            if self._alone(first=first):
                return False
            self._first_struck = self._first_struck or first
            return True

    def alone(self, *, first: bool) -> bool:
        """Whether this is the only connection left."""
        with self._lock:
            return self._alone(first=first)

    def _alone(self, *, first: bool) -> bool:
        return self._beside == 0 if first else self._first_struck and self._beside == 1


class JobQueue:
    """The folders that are still to be done, for several connections.

    A connection that finds none waits while another one is at work, because that one may give its job back. It is
    also the evidence that the server delivers: what breaks over one connection only is not a message's fault.
    """

    def __init__(self, jobs: Iterable[ReplayJob]) -> None:
        self._waiting = deque(jobs)
        self._begun = 0
        self._ended = False
        self._changed = threading.Condition()

    def next(self) -> ReplayJob | None:
        """The next job, which `done` or `give_back` must follow; None if all are done or `end` was called."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended or not self._begun)
            if self._ended or not self._waiting:
                return None
            self._begun += 1
            return self._waiting.popleft()

    def take(self) -> ReplayJob | None:
        """The next job as by `next`, if there is one now."""
        with self._changed:
            if self._ended or not self._waiting:
                return None
            self._begun += 1
            return self._waiting.popleft()

    def done(self) -> None:
        """A job is done."""
        with self._changed:
            self._begun -= 1
            self._changed.notify_all()

    def give_back(self, job: ReplayJob) -> None:
        """Leave a job to another connection; it is the next one."""
        with self._changed:
            self._waiting.appendleft(job)
            self.done()

    def end(self) -> None:
        """Hand out no more jobs, because the replay failed."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class DestinationConnection:
    """One connection at a time. Belongs to one thread. It retries while it is `alone`; while others are at work, it
    tries only once more, and not if it is throttled."""

    def __init__(self, context: ConnectPolicy, alone: Callable[[], bool] = lambda: True) -> None:
        self._context = context
        self.alone = alone
        self._destination: MailDestination | None = None
        self._leave: Callable[[MailDestination], None] = lambda destination: destination.close()
        self._backoff = Backoff(context.attempts, context.patient)

    def take(self, destination: MailDestination, leave: Callable[[MailDestination], None]) -> None:
        """Use this one, which is logged in already; `leave` closes it, or those that follow if it is lost."""
        self._destination, self._leave = destination, leave

    def get(self) -> MailDestination:
        """The connection; logs in if necessary."""
        if self._destination is None:
            self._destination = self._context.connect()
        return self._destination

    def with_retries(self, work: Callable[[MailDestination], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Do `work`, and again on a new connection after a temporary failure. `progress` counts what is done so
        far: only attempts without progress count."""
        done = progress()
        self._backoff.progressed()
        while True:
            try:
                result = work(self.get())
            except TemporaryError as error:
                if progress() != done:
                    done = progress()
                    self._backoff.progressed()
                self._failed(error)
            else:
                self._backoff.progressed()
                return result

    def _failed(self, error: TemporaryError) -> None:
        """Drop the connection and wait, or give up by raising `error`."""
        self.drop()
        self._context.control.pause(0)  # if a stop was requested, this is not the server's failure
        delay = self._backoff.delay_after(error)
        if (isinstance(error, Throttled) or self._backoff.failures >= _ATTEMPTS_BESIDE) and not self.alone():
            raise error
        self._context.control.progress(Noted(self._backoff.notice(error, delay)))
        if isinstance(error, Throttled):
            self._context.control.progress(Slowed(delay))
        self._context.control.pause(delay)

    def drop(self) -> None:
        """Close without a LOGOUT."""
        destination, self._destination = self._destination, None
        if destination is not None:
            destination.hang_up()

    def leave(self, to: Callable[[MailDestination], None]) -> None:
        """Hand on the connection, which is in the middle of nothing."""
        destination, self._destination = self._destination, None
        if destination is not None:
            to(destination)

    def close(self) -> None:
        """Log out."""
        destination, self._destination = self._destination, None
        if destination is not None:
            self._leave(destination)
