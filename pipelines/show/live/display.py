"""Output while a run works: a few live lines on a terminal, a plain log elsewhere.

Events come from several processes. They become one live line for each account that is being worked on, and log
lines for what people should know. Progress is logged every few seconds, not with each event.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from archiver.control.waiting import lock_free_after_fork
from archiver.errors import TIME_IS_OVER
from archiver.events import Exported, Noted, Planned, Received, Sent, Stored, Verified, Working
from archiver.mail.folder_names import printable
from pipelines.events import AnyEvent, Began, Ended, Expected, Failed, Important, Unchanged, log_line
from pipelines.show.lines import folder_in
from pipelines.show.live.work import Work, progress_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_TICK_SECONDS = 0.25
_LOG_SECONDS = 5.0

# NOTE: a worker that was forked while another thread wrote could not flush its own output, and never ended.
_writing = lock_free_after_fork()


_PROGRESS = (Received, Stored, Sent, Verified, Exported)


class LogLine(Struct, frozen=True):
    """A line of the log as a value; `text` has no control characters but line ends. `account` is "" and the others
    are None if it is about none."""

    at: datetime
    level: Literal["info", "warning", "error"]
    account: str
    folder: str | None
    run: str | None
    text: str


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
        self._live: Live | None = None
        if live is not None:
            from pipelines.show.live.table import live_on

            self._live = live_on(live)

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
        # As in reports, which may be open next to it.
        stamp = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = f"{account}: " if account else ""
        for line in text.splitlines():
            self._say(f"{stamp} {name}{printable(line)}", style)

    def _tick(self) -> None:
        while not self._over.wait(_TICK_SECONDS):
            with _writing:
                self._announce_stop()
                if self._live is not None:
                    self._live.update(self._lines(self._live.console), refresh=True)

    def _announce_stop(self) -> None:
        """Report once that the run is stopping. The terminal is restored in case we are killed next."""
        number = self._stopping()
        if self._announced_stop or number is None:
            return
        self._announced_stop = True
        self._end_live()
        if self._quiet:
            return
        if number == TIME_IS_OVER:
            text = "the time of --max-duration is over: stopping after the current batch"
        else:
            again = "press Ctrl-C again" if number == signal.SIGINT else "send the signal again"
            text = f"stopping after the current batch; {again} to stop immediately"
        self._show("", text, "yellow")

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _lines(self, console: Console) -> Table:
        from pipelines.show.live.table import live_lines

        now = time.monotonic()
        return live_lines(list(self._works.values()), console, now, now - self._began)
