"""From the steps to whoever shows them: events over a pipe, since workers are forked processes.

An event is one line of JSON below the size a pipe writes in one piece, so lines of several workers do not
mix. Under the bare `luigi` command nobody reads, and events become log lines.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType

from archiver.errors import ArchiverError
from archiver.progress import Event, Noted, Planned, Progress, Stored, Working

log = logging.getLogger("archiver")

_KINDS: dict[str, type] = {cls.__name__: cls for cls in (Planned, Working, Stored, Noted)}
_TEXT_LIMIT = 3000  # below PIPE_BUF


@dataclass(frozen=True, slots=True)
class Began:
    """A step of an account begins."""

    step: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An account's step failed: the line for people, and the exit code."""

    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An account's run is over and its report is written."""

    exit_code: int
    report: str


AnyEvent = Event | Began | Failed | Ended
_KINDS |= {cls.__name__: cls for cls in (Began, Failed, Ended)}
Listener = Callable[[str, AnyEvent], None]


class Channel:
    """A pipe that outlives forks; a thread of the parent hands each event to `listener(account, event)`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)

    def __enter__(self) -> Channel:
        global _channel
        _channel = self
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _channel
        _channel = None
        os.write(self._write, b"\n")  # an empty line is the end
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def send(self, account: str, event: AnyEvent) -> None:
        """Write one event; called in any process."""
        record = asdict(event)
        for key in ("text", "message"):
            if key in record:
                record[key] = record[key][:_TEXT_LIMIT]
        line = json.dumps([account, type(event).__name__, record]).encode()
        if len(line) > 4000:
            line = json.dumps(
                [account, type(event).__name__, {**record, "text": record.get("text", "")[:500]}]
            ).encode()
        os.write(self._write, line + b"\n")

    def _listen(self) -> None:
        with os.fdopen(os.dup(self._read), "rb") as lines:
            for line in lines:
                if line == b"\n":
                    return
                account, kind, record = json.loads(line)
                self._listener(account, _KINDS[kind](**record))


_channel: Channel | None = None


def emit(account: str, event: AnyEvent) -> None:
    """Tell whoever listens; a log line when nobody does."""
    if _channel is not None:
        _channel.send(account, event)
        return
    text = log_line(event)
    if text:
        log.log(logging.ERROR if isinstance(event, Failed) else logging.INFO, "%s: %s", account, text)


def progress_of(account: str) -> Progress:
    """An account's listener for the steps."""
    return lambda event: emit(account, event)


def failed(error: ArchiverError) -> Failed:
    """The event of an error."""
    return Failed(str(error), error.exit_code)


def log_line(event: AnyEvent) -> str | None:
    """An event as a line of a log; None where it says too little."""
    match event:
        case Began(step):
            return f"{step} begins"
        case Noted(text):
            return text
        case Planned(messages, octets):
            about = f", about {octets / 1e6:.1f} MB" if octets else ""
            return f"{messages} messages to fetch{about}"
        case Stored(messages, octets):
            return f"{messages} messages stored, {octets / 1e6:.1f} MB"
        case Failed(message, _):
            return message
        case _:
            return None
