"""SIGINT and SIGTERM end a run cleanly: what was gathered is made lasting, then the run stops.

Connections are cut, so that a server that keeps us waiting cannot hold up the end. A second signal of the same
kind kills, as it would without us.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from types import FrameType

from archiver.errors import Interrupted
from archiver.imap.line import cut_lines

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.1


class Stop:
    """Whether the run is to end. Forked workers inherit it and get the signal from their parent."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._owner = os.getpid()

    def install(self) -> None:
        """Take over SIGINT and SIGTERM; only in the main thread of the process that was started."""
        self._owner = os.getpid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._received)

    def _received(self, number: int, frame: FrameType | None) -> None:
        # NOTE: runs between any two steps of the main thread, so it must not wait for a lock.
        first, self.signal = self.signal is None, self.signal or number
        # A terminal sends ^C to the workers too, and then it comes to them again from their parent.
        if os.getpid() == self._owner or not first:
            signal.signal(number, signal.SIG_DFL)
        cut_lines()
        for child in multiprocessing.active_children():
            if child.pid is not None:
                try:
                    os.kill(child.pid, number)
                except ProcessLookupError:
                    pass  # it ended by itself

    def check(self) -> None:
        """
        Raises:
            Interrupted: a signal asked for an end.
        """
        if self.signal is not None:
            raise Interrupted(self.signal)

    def pause(self, seconds: float) -> None:
        """Wait, and raise as `check` does as soon as a signal comes."""
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
            self.check()


STOP = Stop()
"""The one of this process: signals belong to a process, not to a task."""


def end_with_parent(parent: int) -> None:
    """A forked worker is asked to end when its parent dies, where the system can do that (Linux)."""
    if os.getpid() == parent:
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    except (OSError, AttributeError):
        return  # another system: the account's lock still keeps a second run out
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
