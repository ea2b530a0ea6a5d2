"""How far each account is, as events show it: done, left, pace, and the time that the rest will take."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from msgspec import Struct, field

from archiver.events import Exported, Linked, Planned, Received, Sent, Verified, Working
from archiver.mail.counts import counted
from archiver.report.units import size
from pipelines.events import AnyEvent, Began, Ended, Expected, Failed, Named, Unchanged, Waiting
from pipelines.show.lines import kind_of

_LEAST_PACE_SECONDS = 0.1
_LEAST_SHARE = 0.05  # of a run of several accounts, before an estimate means something
_MOST_ALIKE = 20  # lines of an account that differ only in names and numbers
_PACE_SECONDS = 15.0
# When an estimate means something: a connection begins slowly, with logins and with one command at a time.
_TELLING_SECONDS = 3.0
_TELLING_SHARE = 0.02

_DOING = {
    "enumerate": "listing folders",
    "archive": "archiving",
    "replay": "replaying",
    "verify": "verifying",
    "compare": "comparing",
    "rebuild": "rebuilding",
    "export": "exporting",
    "index": "reading headers",
    "restore": "restoring",
}

_WAITING = "waiting"

_DONE = {
    "archive": "fetched",
    "replay": "sent",
    "verify": "verified",
    "compare": "compared",
    "rebuild": "read",
    "export": "exported",
    "index": "read",
    "restore": "sent",
}


class Work(Struct):
    """One account's work, as far as events have shown. Times are of the monotonic clock."""

    account: str
    step: str = ""
    doing: str = _WAITING
    expected: tuple[int, int] = (0, 0)
    planned: tuple[int, int] = (0, 0)
    done: tuple[int, int] = (0, 0)
    ended: bool = False
    logged: float = 0.0
    run: str | None = None
    notes: Counter[str] = field(default_factory=Counter)
    _pace: deque[tuple[float, int, int]] | None = None

    def take(self, event: AnyEvent, now: float) -> None:
        """Update from one event."""
        match event:
            case Began(step):
                self.ended = False  # an account that was postponed starts again
                self.step, self.logged = step, now
                self.doing = _DOING.get(step, step)
                self.expected = self.planned = self.done = (0, 0)  # each step has its own work
                self._pace = None
            case Named(run):
                self.run = run
            case Waiting():
                self.doing = _WAITING
            case Working(folder):
                self.doing = folder
            case Expected(messages, octets):
                self.expected = (messages, octets)
            case Planned(messages, octets):
                self.planned = (self.planned[0] + messages, self.planned[1] + octets)
                if not self._pace:
                    self._pace = deque([(now, *self.done)])
            case Linked(messages, octets):
                self.expected = (self.expected[0] - messages, self.expected[1] - octets)
                self.planned = (self.planned[0] - messages, self.planned[1] - octets)
            case (
                Received(messages, octets)
                | Sent(messages, octets)
                | Verified(messages, octets)
                | Exported(messages, octets)
            ):
                self.done = (self.done[0] + messages, self.done[1] + octets)
                self._pace = deque() if self._pace is None else self._pace
                self._pace.append((now, *self.done))
                while len(self._pace) > 2 and self._pace[0][0] < now - _PACE_SECONDS:
                    self._pace.popleft()
            case Ended() | Failed() | Unchanged():
                self.ended = True

    @property
    def is_busy(self) -> bool:
        """Whether it is at work, neither waiting nor done."""
        return not self.ended and self.doing != _WAITING

    def note(self, text: str) -> str | None:
        """The line for a note; None if there were many of its kind. A server may refuse a thousand folders."""
        kind = kind_of(text)
        self.notes[kind] += 1
        if self.notes[kind] == _MOST_ALIKE:
            return f"{text} (further lines like this are left out; the report lists everything)"
        return text if self.notes[kind] < _MOST_ALIKE else None

    @property
    def total(self) -> tuple[int, int]:
        """Messages and octets to process, as far as known; never less than what is done."""
        messages = max(self.expected[0], self.planned[0], self.done[0])
        return messages, max(self.expected[1], self.planned[1], self.done[1])

    def pace(self, now: float) -> tuple[float, float]:
        """Messages and octets per second over the last seconds; 0 if there is too little data."""
        if not self._pace or now < self._pace[0][0] + _LEAST_PACE_SECONDS:
            return 0.0, 0.0
        since, messages, octets = self._pace[0]
        return (self.done[0] - messages) / (now - since), (self.done[1] - octets) / (now - since)

    def seconds_left(self, now: float) -> float | None:
        """How long the rest will take at this pace; by octets if they are known. None as long as the pace is that
        of a beginning, which says nothing about the rest."""
        by_octets = bool(self.planned[1] and self.done[1])
        total, done, pace = (each[by_octets] for each in (self.total, self.done, self.pace(now)))
        if not pace or not self._pace:
            return None
        measured = now - self._pace[0][0]
        telling = done >= _TELLING_SHARE * total or measured >= _PACE_SECONDS
        return (total - done) / pace if telling and measured >= _TELLING_SECONDS else None


def share_done(works: Sequence[Work]) -> float:
    """How much of a run of several accounts is done, from 0 to 1. Each account counts the same, since nobody knows
    the size of one that has not begun; one that is at work counts by its messages."""
    return sum(
        1.0 if work.ended else work.done[0] / work.total[0] if work.total[0] else 0.0 for work in works
    ) / len(works)


def seconds_left(done: float, elapsed: float) -> float | None:
    """How long the rest of a run will take if it goes on like this; None while too little is done to say."""
    return elapsed * (1 - done) / done if done >= _LEAST_SHARE else None


def progress_line(work: Work, now: float) -> str:
    """An account's progress, for a log."""
    left = work.seconds_left(now)
    done = f"{work.done[0]:,} of {counted(work.total[0], 'message')} {_DONE.get(work.step, 'done')}"
    parts = [done, size(work.done[1])]
    if pace := work.pace(now)[1]:
        parts.append(f"{size(pace)}/s")
    return ", ".join(parts + ([f"{duration(left)} left"] if left is not None else []))


def duration(seconds: float) -> str:
    """Seconds as 0:07, 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
