"""Output while a run works: a few live lines on a terminal, a plain log elsewhere.

Events come from several processes. They become one live line for each account that is being worked on, and log
lines for what people should know. Progress is logged every few seconds, not with each event.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from archiver.control.waiting import lock_free_after_fork
from archiver.errors import TIME_IS_OVER
from archiver.events import Exported, Linked, Noted, Planned, Received, Sent, Stored, Verified, Working
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import size
from pipelines.events import (
    AnyEvent,
    Began,
    Ended,
    Expected,
    Failed,
    Important,
    Named,
    Unchanged,
    Waiting,
    log_line,
)
from pipelines.show.lines import folder_in, kind_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_LEAST_PACE_SECONDS = 0.1
_LEAST_SHARE = 0.05  # of a run of several accounts, before an estimate means something
_TICK_SECONDS = 0.25
_LOG_SECONDS = 5.0
_MOST_ALIKE = 20  # lines of an account that differ only in names and numbers
_PACE_SECONDS = 15.0
# When an estimate means something: a connection begins slowly, with logins and with one command at a time.
_TELLING_SECONDS = 3.0
_TELLING_SHARE = 0.02
_BAR_FROM_WIDTH = 100
_NUMBER_WIDTHS = (11, 7, 9, 9)

# NOTE: a worker that was forked while another thread wrote could not flush its own output, and never ended.
_writing = lock_free_after_fork()

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

_PROGRESS = (Received, Stored, Sent, Verified, Exported)

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


class LogLine(Struct, frozen=True):
    """A line of the log as a value; `text` has no control characters but line ends. `account` is "" and the others
    are None if it is about none."""

    at: datetime
    level: Literal["info", "warning", "error"]
    account: str
    folder: str | None
    run: str | None
    text: str


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


class Display:
    """A listener for `run_accounts` and a context manager around it.

    `say` writes a line of the log in a style of Rich's. `live` is the terminal that shows live lines, None if
    nothing moves. `stopping()` returns the signal that requested a stop, or None. `log` gets every line as a value,
    also those that people do not see with `quiet`.
    """

    def __init__(
        self,
        say: Callable[[str, str | None], None],
        accounts: Sequence[str],
        *,
        live: Console | None,
        quiet: bool,
        verbose: bool,
        stopping: Callable[[], int | None],
        log: Callable[[LogLine], None] | None = None,
    ) -> None:
        self._say = say
        self._works = {account: Work(account) for account in accounts}
        self._quiet, self._verbose, self._log_line = quiet, verbose, log
        self._stopping = stopping
        self._announced_stop = False
        self._began = time.monotonic()
        #: With --quiet: failures after which the account may be tried again, with their time.
        self._held: dict[str, tuple[datetime, str]] = {}
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="display", daemon=True)
        self._live = _live_on(live) if live is not None else None

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._ticker.join()
        with _writing:
            self._announce_stop()
            self._end_live()
            for account, (at, text) in self._held.items():
                self._show(account, text, "red", at)
            self._held.clear()

    def __call__(self, account: str, event: AnyEvent) -> None:
        now = time.monotonic()
        with _writing:
            work = self._works.setdefault(account, Work(account))
            work.take(event, now)
            text = self._text(work, event, now)
            if text:
                self._write(work, event, text)
                text = self._for_people(event, text)
            if isinstance(event, Began | Failed):
                self._held.pop(account, None)  # it is tried again, and only the result of that counts
            if self._quiet and text and isinstance(event, Failed) and event.again is not None:
                self._held[account] = (datetime.now(UTC), text)
            elif text:
                self._show(account, text, "red" if isinstance(event, Failed) else None)

    def _for_people(self, event: AnyEvent, text: str) -> str | None:
        """What of a log line people see, who may have asked for less, or have the rest in a live line."""
        if isinstance(event, Failed | Important):
            return text
        if self._quiet or (self._live and isinstance(event, _PROGRESS)):
            return None
        return text.partition(", report: ")[0] if self._live and isinstance(event, Ended | Unchanged) else text

    def _text(self, work: Work, event: AnyEvent, now: float) -> str | None:
        """The log line for an event, if any."""
        match event:
            case Failed() | Important():
                return log_line(event)
            case _ if self._quiet and self._log_line is None:
                return None
            case Noted(text):
                return work.note(text)
            case Expected():
                return log_line(event)
            case Ended(exit_code, report):
                how = "complete" if exit_code == 0 else f"exit code {exit_code}"
                return f"{how}, report: {report}"
            case Unchanged(since, report):
                return f"complete, nothing new since run {since}, report: {report}"
            case Working(folder) if self._verbose:
                return f'folder "{folder}"'
            case Began() | Planned() if self._verbose:
                return log_line(event)
            case Received() | Stored() | Sent() | Verified() | Exported() if self._is_time_to_log(work, now):
                work.logged = now
                return progress_line(work, now)
        return None

    def _is_time_to_log(self, work: Work, now: float) -> bool:
        return (self._live is None or self._log_line is not None) and now - work.logged >= _LOG_SECONDS

    def _write(self, work: Work, event: AnyEvent, text: str) -> None:
        """Add a line to the log for machines."""
        if self._log_line is not None:
            level: Literal["info", "warning", "error"] = "info"
            if isinstance(event, Failed):
                level = "error"
            elif isinstance(event, Important) or not work.account:  # a library's warning is about no account
                level = "warning"
            folder = event.folder if isinstance(event, Working) else folder_in(text)
            shown = "\n".join(map(printable, text.splitlines()))
            self._log_line(LogLine(datetime.now(UTC), level, work.account, folder, work.run, shown))

    def _show(self, account: str, text: str, style: str | None = None, at: datetime | None = None) -> None:
        stamp = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")  # as in reports, which may be beside it
        name = f"{account}: " if account else ""
        for line in text.splitlines():
            self._say(f"{stamp} {name}{printable(line)}", style)

    def _tick(self) -> None:
        while not self._over.wait(_TICK_SECONDS):
            with _writing:
                self._announce_stop()
                if self._live is not None:
                    self._live.update(self._moving(self._live.console), refresh=True)

    def _announce_stop(self) -> None:
        """Report once that the run is stopping. The terminal is restored in case we are killed next."""
        number = self._stopping()
        if self._announced_stop or number is None:
            return
        self._announced_stop = True
        self._end_live()
        if number == TIME_IS_OVER:
            if not self._quiet:
                self._show("", "the time of --max-duration is over: stopping after the current batch", "yellow")
        elif not self._quiet:
            again = "press Ctrl-C again" if number == signal.SIGINT else "send the signal again"
            self._show("", f"stopping after the current batch; {again} to stop immediately", "yellow")

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _moving(self, console: Console) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        works = list(self._works.values())
        busy = [work for work in works if not work.ended and work.doing != _WAITING]
        shown = busy[: max(1, console.height - 3)]
        now, width = time.monotonic(), console.width
        table = works_table(shown, width, now)
        if len(works) > 1:
            done, pace = share_done(works), sum(work.pace(now)[1] for work in busy)
            left = seconds_left(done, now - self._began)
            table.add_row(
                Text(f"{sum(work.ended for work in works)} of {len(works)} accounts done", style="dim"),
                Text(""),
                *([ProgressBar(1.0, done, width=20)] if width >= _BAR_FROM_WIDTH else []),
                Text(f"{done:.0%}"),
                Text(""),
                Text(f"{size(pace)}/s" if pace else ""),
                Text(f"{duration(left)} left" if left is not None else ""),
            )
        return table


def share_done(works: Sequence[Work]) -> float:
    """How much of a run of several accounts is done, from 0 to 1. Each account counts the same, since nobody knows
    the size of one that has not begun; one that is at work counts by its messages."""
    return sum(
        1.0 if work.ended else work.done[0] / work.total[0] if work.total[0] else 0.0 for work in works
    ) / len(works)


def seconds_left(done: float, elapsed: float) -> float | None:
    """How long the rest of a run will take if it goes on like this; None while too little is done to say."""
    return elapsed * (1 - done) / done if done >= _LEAST_SHARE else None


def _live_on(console: Console) -> Live:
    # NOTE: only our ticker refreshes it: rich's own thread would hold its lock while a worker is forked.
    from rich.live import Live

    return Live(console=console, auto_refresh=False, transient=True)


def works_table(works: Sequence[Work], width: int, now: float) -> Table:
    """The live lines: account, activity, messages, bytes, rate, time left."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1, style="cyan")
    if width >= _BAR_FROM_WIDTH:
        table.add_column(width=20)
    for least in _NUMBER_WIDTHS:  # fixed, so that columns do not jump while numbers grow
        table.add_column(no_wrap=True, justify="right", min_width=least)
    for work in works:
        (done, octets), (total, all_octets) = work.done, work.total
        bar = [ProgressBar(all_octets or total or 1, octets if all_octets else done, width=20)]
        pace, left = work.pace(now)[1], work.seconds_left(now)
        table.add_row(
            Text(work.account, style="bold"),
            Text(printable(work.doing)),
            *(bar if width >= _BAR_FROM_WIDTH else []),
            Text(f"{done:,}/{total:,}" if total else ""),
            Text(size(octets) if total else ""),
            Text(f"{size(pace)}/s" if pace else ""),
            Text(f"{duration(left)} left" if left is not None else ""),
        )
    return table


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
