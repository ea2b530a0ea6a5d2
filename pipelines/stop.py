"""SIGINT and SIGTERM end a run cleanly: the current batch is made durable, then the run stops. So does the end
of the time that a run was given, by a signal that the process has the system send to itself.

Connections to mail servers are closed, so that a slow server cannot delay the end. Requests to a bucket have some
seconds to finish the batch before they are closed, too. A process that talks to a bucket and does not end within
ten seconds is killed: the next run resumes a killed run. A second signal of the same kind kills at once, as is
usual.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from archiver.control.run import RunControl
from archiver.control.waiting import mail_lines, token_requests
from archiver.errors import TIME_IS_OVER, Interrupted, stopped_code
from archiver.events import Progress, silent
from archiver.storage.ending import end_requests, has_requests

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, TIME_IS_OVER)
_SOON = 0.001  # 0 would be never
_LOOK_SECONDS = 0.1
_CUT_SECONDS = 0.5  # for the main thread to do it by itself
_BUCKET_SECONDS = 3.0  # for a bucket to finish the current batch
_END_SECONDS = 9.5  # systemd and people expect ten


class Stop:
    """Whether the run should stop. Forked workers inherit it and get the signal from their parent. `also` is a
    check of what this process works on just now: it raises if that has to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.also: Callable[[], None] | None = None
        self._owner = os.getpid()

    def install(self) -> None:
        """Take over SIGINT and SIGTERM; only in the main thread of the process that was started."""
        self._owner = os.getpid()
        for number in _SIGNALS:
            signal.signal(number, self._received)
        _watch_signals()

    def after(self, seconds: float) -> None:
        """Stop this process and its workers in that many seconds, as a signal would. `install` comes first."""
        signal.setitimer(signal.ITIMER_REAL, max(seconds, _SOON))

    @property
    def asked_to(self) -> int | None:
        """The signal of somebody who wants an end, now. The end of a run's time is none: what follows the run may
        still be done."""
        return None if self.signal == TIME_IS_OVER else self.signal

    def _received(self, number: int, frame: FrameType | None) -> None:
        # NOTE: runs between any two steps of the main thread, so it must not wait for a lock.
        first, self.signal = self.signal is None, self.signal or number
        # A terminal sends ^C to the workers, too, and then their parent sends it again.
        if os.getpid() == self._owner or not first:
            signal.signal(number, signal.SIG_DFL)
        mail_lines.shut_down()
        token_requests.shut_down()
        # NOTE: not imported for this: who has not imported it has no children.
        processes = sys.modules.get("multiprocessing.process")
        for child in processes.active_children() if processes is not None else ():
            if child.pid is not None:
                try:
                    os.kill(child.pid, number)
                except ProcessLookupError:
                    pass  # it has already ended

    def check(self) -> None:
        """Check for a signal.

        Raises:
            Interrupted: a signal was received.
            Locked: what is worked on may be another host's meanwhile.
        """
        if self.signal is not None:
            raise Interrupted(self.signal)
        if self.also is not None:
            self.also()

    def control(self, progress: Progress = silent) -> RunControl:
        """The control of a step: a signal stops it, and it reports to `progress`."""
        return RunControl(self.check, self.pause, progress)

    def pause(self, seconds: float) -> None:
        """Wait, and raise as `check` does as soon as a signal comes."""
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
            self.check()


def _watch_signals() -> None:
    """Start a thread that a signal wakes even while the main thread is blocked in a library."""
    global _waking
    if _waking is not None:
        return
    _waking = os.pipe()
    os.set_blocking(_waking[1], False)
    signal.set_wakeup_fd(_waking[1], warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(_waking[0],), name="end", daemon=True).start()


def _end_in_time(woken: int) -> None:
    """Wait for a signal that stops the process, and make sure that it ends in time."""
    while (number := os.read(woken, 1)[0]) not in _SIGNALS:
        pass
    began = time.monotonic()
    # NOTE: a signal may come when the main thread is about to wait for a server. Then its handler runs when the
    # server has spoken, which may be minutes later, or when the line is cut.
    time.sleep(_CUT_SECONDS)
    mail_lines.shut_down()
    time.sleep(_BUCKET_SECONDS)
    end_requests(number)
    time.sleep(max(0.0, began + _END_SECONDS - time.monotonic()))
    if has_requests():
        os._exit(stopped_code(number))


def _watch_in_child() -> None:
    global _waking
    if _waking is not None:
        for descriptor in _waking:
            os.close(descriptor)
        _waking = None
        _watch_signals()


_waking: tuple[int, int] | None = None

os.register_at_fork(after_in_child=_watch_in_child)

STOP = Stop()
"""One for the process, because signals belong to a process, not to a task."""


def end_with_parent(parent: int) -> None:
    """Let a forked worker get SIGTERM when its parent dies, if the system can do that (Linux)."""
    if os.getpid() == parent:
        return
    import ctypes

    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    except (OSError, AttributeError):
        return  # another system: the account's lock still excludes a second run
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
