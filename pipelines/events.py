"""Events from the steps to the display, over a pipe, because workers are forked processes.

An event is one line of JSON, short enough for a pipe to write atomically, so lines of several workers do not mix.
Under the bare `luigi` command nobody reads the pipe, and events become log lines.
"""

from __future__ import annotations

import json
import logging
import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import get_args

from msgspec import Struct
from msgspec.structs import asdict

from archiver.config.secrecy import redacted
from archiver.errors import ConfigError, Throttled
from archiver.events import Event, Exported, Linked, Noted, Planned, Progress, Sent, Stored, Verified, Working
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import size
from pipelines.failures import UnexpectedError, foreseen, with_file

log = logging.getLogger("archiver")

_KINDS: dict[str, type] = {cls.__name__: cls for cls in get_args(Event)}
_DRAIN = b"null\n"
_LINE_OCTETS = select.PIPE_BUF  # what a pipe writes atomically


class Began(Struct, frozen=True):
    """A step of an account begins."""

    step: str


class Failed(Struct, frozen=True):
    """An account's step failed: the line for people, and the exit code. `trace` is the end of the traceback of an
    unexpected error; `again`: in how many seconds another attempt may succeed; `hint`: the end of the message that
    says what to do next."""

    message: str
    exit_code: int
    trace: str = ""
    again: float | None = None
    hint: str | None = None


class Named(Struct, frozen=True):
    """An account's run has this name."""

    run: str


class Expected(Struct, frozen=True):
    """What a step is about to fetch, estimated before any folder is opened; 0 octets: unknown."""

    messages: int
    octets: int


class Ended(Struct, frozen=True):
    """An account's run is over and its report is written. `fingerprint`: what the account showed, if nothing is
    left to do for it."""

    exit_code: int
    report: str
    fingerprint: str | None = None


class Unchanged(Struct, frozen=True):
    """An account shows what it did after the run `since`, so its run is over, and the report of that run is right.
    `fingerprint` is the one of that look; `seconds`: how long it took."""

    since: str
    report: str
    fingerprint: str
    seconds: float


class Waiting(Struct, frozen=True):
    """An account was looked at, and waits for its turn."""


class Freed(Struct, frozen=True):
    """A build does nothing more for an account: its lock, or its claim, can be given back."""


class Important(Struct, frozen=True):
    """Something that people must see even with --quiet, although nothing failed."""

    text: str


AnyEvent = Event | Began | Expected | Failed | Ended | Freed | Important | Named | Unchanged | Waiting
_OURS = (Began, Expected, Failed, Ended, Freed, Important, Named, Unchanged, Waiting)
_KINDS |= {cls.__name__: cls for cls in _OURS}
Listener = Callable[[str, AnyEvent], None]


class Channel:
    """A pipe that outlives forks; a thread of the parent hands each event to `listener(account, event)`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._failure: BaseException | None = None
        self._before: Channel | None = None
        self._drained = threading.Event()
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)

    def __enter__(self) -> Channel:
        global _channel
        self._before, _channel = _channel, self
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _channel
        _channel = self._before
        os.write(self._write, b"\n")  # an empty line is the end
        self._thread.join()
        os.close(self._read)
        os.close(self._write)
        if self._failure is not None and error is None:
            raise self._failure

    def drain(self) -> None:
        """Return when everything sent before has been handed on."""
        self._drained.clear()
        os.write(self._write, _DRAIN)
        self._drained.wait()

    def send(self, account: str, event: AnyEvent) -> None:
        """Write one event; called in any process."""
        line = _line(account, event)
        try:
            os.write(self._write, line)
        except BrokenPipeError:
            pass  # the parent is dead; a worker that outlives it finishes its batch unseen

    def _in_child(self) -> None:
        # NOTE: a worker that kept the reading end open would block on a full pipe instead of getting EPIPE.
        os.close(self._read)

    def _listen(self) -> None:
        with os.fdopen(self._read, "rb", closefd=False) as lines:
            for line in lines:
                if line == b"\n":
                    return
                if line == _DRAIN:
                    self._drained.set()
                    continue
                account, kind, record = json.loads(line)
                try:
                    self._listener(account, _KINDS[kind](**record))
                except BaseException as error:  # NOTE: raised at the end; a full pipe blocks all workers
                    self._failure = self._failure or error


def _line(account: str, event: AnyEvent) -> bytes:
    """The event as one line; its longest text is cut until a pipe can write the line atomically."""
    record = asdict(event)
    while True:
        document = json.dumps([account, type(event).__name__, record], ensure_ascii=False)
        line = document.encode("utf-8", "surrogatepass") + b"\n"
        if len(line) <= _LINE_OCTETS:
            return line
        longest = max(record, key=lambda name: len(record[name]) if isinstance(record[name], str) else 0)
        record[longest] = record[longest][: len(record[longest]) * 3 // 4]


_channel: Channel | None = None

os.register_at_fork(after_in_child=lambda: _channel._in_child() if _channel else None)


def emit(account: str, event: AnyEvent) -> None:
    """Send an event to the display, or log it if there is none. Text from servers is escaped first."""
    event = _harmless(event)
    if _channel is not None:
        _channel.send(account, event)
        return
    text = log_line(event)
    if text:
        level = logging.ERROR if isinstance(event, Failed) else logging.INFO
        log.log(logging.WARNING if isinstance(event, Important) else level, "%s: %s", account, text)


def all_heard() -> None:
    """Return when everything that was emitted before has been handed on."""
    if _channel is not None:
        _channel.drain()


def _harmless(event: AnyEvent) -> AnyEvent:
    match event:
        case Noted(text):
            return Noted(printable(redacted(text)))
        case Important(text):
            return Important(printable(redacted(text)))
        case Working(folder):
            return Working(printable(folder))
        case _:
            return event


@contextmanager
def forward_logs(listener: Callable[[str], None]) -> Iterator[None]:
    """Send what the library logs as a warning or worse to `listener`, and from workers to the channel, so that it
    does not disturb the display."""
    handler = _Forward(listener)
    log.addHandler(handler)
    log.propagate, before = False, log.propagate
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before


class _Forward(logging.Handler):
    def __init__(self, listener: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        text = redacted(record.getMessage())
        if _channel is not None:
            _channel.send("", Noted(printable(text)))
        else:
            self._listener(text)


def progress_of(account: str) -> Progress:
    """An account's listener for the steps."""
    return lambda event: emit(account, event)


def failed(error: BaseException, file: Path | None = None) -> Failed:
    """The event of an error; an unexpected one is a bug and keeps its traceback. `file` is the account's."""
    known = foreseen(error)

    def told(words: str) -> str:
        words = redacted(with_file(words, file) if file else words)
        # NOTE: a ConfigError has a line for each mistake, and no text from a server.
        return words if isinstance(known, ConfigError) else printable(words)

    trace = known.trace if isinstance(known, UnexpectedError) else ""
    again = known.delay_seconds if isinstance(known, Throttled) and known.may_put_back else None
    hint = told(known.hint) if known.hint else None
    return Failed(told(str(known)), known.exit_code, trace, again, hint)


def log_line(event: AnyEvent) -> str | None:
    """An event as a line of a log; None if it is not worth a line."""
    match event:
        case Began(step):
            return f"{step} begins"
        case Noted(text) | Important(text):
            return text
        case Planned(messages, octets):
            about = f", about {size(octets)}" if octets else ""
            return f"{counted(messages, 'message')} to do{about}"
        case Linked(messages):
            there = "is" if messages == 1 else "are"
            return f"{counted(messages, 'message')} {there} in the archive already, from other folders"
        case Stored(messages, octets):
            return f"{counted(messages, 'message')} stored, {size(octets)}"
        case Sent(messages, octets):
            return f"{counted(messages, 'message')} sent, {size(octets)}"
        case Verified(messages, octets):
            return f"{counted(messages, 'message')} verified, {size(octets)}"
        case Exported(messages, octets):
            return f"{counted(messages, 'message')} exported, {size(octets)}"
        case Expected(messages, octets):
            about = f", about {size(octets)}" if octets else ""
            return f"about {counted(messages, 'message')} to fetch{about}" if messages else None
        case Failed(message, _, trace):
            return f"{message}\n{trace}" if trace else message
        case _:
            return None
