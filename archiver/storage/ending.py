"""The end of a process that was asked to stop: how long requests to a bucket may continue.

After a signal, requests that are under way may finish, since a batch that is nearly written is worth some seconds.
After that, requests that still wait are cancelled, and no new ones are made except the last ones, which release the
lease. So a silent endpoint causes no delay, and one that answers knows that the archive is free.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from typing import Any

from archiver.control.waiting import OpenSockets
from archiver.errors import Interrupted

_LOOK_SECONDS = 0.1
_LAST_WORDS_SECONDS = 3.0
_CUT_SECONDS = 1.0

_open = OpenSockets()
_signal: int | None = None
_in_use = False
_speaking = threading.local()
_waited_for: set[Future[Any]] = set()


def end_requests(number: int) -> None:
    """Cancel the requests that are under way and refuse new ones, after the signal `number`. Any thread may call
    it."""
    global _signal
    _signal = number
    _open.shut_down()
    time.sleep(_CUT_SECONDS)  # what was cut fails by itself
    for work in tuple(_waited_for):
        with contextlib.suppress(InvalidStateError):
            work.set_exception(Interrupted(number))


def abandon(work: Future[Any]) -> None:
    """Do not wait for this work after the end, since some requests cannot be cancelled."""
    _waited_for.add(work)
    work.add_done_callback(_waited_for.discard)


def has_ended() -> bool:
    """Whether no new requests may be made."""
    return _signal is not None


def has_requests() -> bool:
    """Whether this process has ever talked to a bucket."""
    return _in_use


def watch(sock: socket.socket) -> None:
    """Register a connection, so that it can be cut."""
    global _in_use
    _in_use = True
    _open.add(sock)
    check_end()


def check_end() -> None:
    """Check that a new request may be made.

    Raises:
        Interrupted: no new request may be made.
    """
    if _signal is not None and not getattr(_speaking, "last", False):
        raise Interrupted(_signal)


def wait(seconds: float) -> None:
    """Sleep, but at most as long as requests may be made."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and _signal is None:
        time.sleep(min(left, _LOOK_SECONDS))


@contextmanager
def last_words() -> Iterator[None]:
    """Allow requests of this thread after the end: they are short, and nothing depends on them."""
    _speaking.last = True
    try:
        yield
    finally:
        _speaking.last = False


def patience(seconds: float) -> float:
    """How long to wait for something to end: `seconds`, or less if the process has to end."""
    return seconds if _signal is None else min(seconds, _LAST_WORDS_SECONDS)
