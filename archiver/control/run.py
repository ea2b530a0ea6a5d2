"""How a run is stopped and reports progress: one value that every step gets."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from archiver.events import Progress, silent


def utc_now() -> str:
    """The present moment in UTC, ISO 8601 with seconds."""
    return _utc(int(time.time()))


def moment(seconds: float) -> str:
    """A moment in seconds of the Unix epoch, as `utc_now` writes it."""
    return _utc(int(seconds))


def utc_moment() -> datetime:
    """The present moment in UTC, as a value."""
    return datetime.now(UTC)


def utc_today() -> date:
    """The present day in UTC."""
    return datetime.now(UTC).date()


@lru_cache(maxsize=1)  # called for every message, and the same for thousands of them
def _utc(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=1)
def monotonic_clock() -> str | None:
    """The clock that `time.monotonic` reads here: two processes that name the same one may compare what they read.
    It is another one after each boot. None if that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/time').stat().st_ino}"
    except OSError:  # not Linux
        return None


class RunControl(Struct, frozen=True):
    """check_stop: raises if the run has to end. Steps call it between messages, and as late as possible before
    they change something. pause: waits that many seconds, and raises as `check_stop` does as soon as the run has to
    end. progress: receives events; never blocks. now: the present moment in UTC, ISO 8601.
    """

    check_stop: Callable[[], None]
    pause: Callable[[float], None]
    progress: Progress = silent
    now: Callable[[], str] = utc_now

    def also_checking(self, check: Callable[[], None]) -> RunControl:
        """The same control, which also calls `check` after each `check_stop`."""

        def check_stop() -> None:
            self.check_stop()
            check()

        return RunControl(check_stop, self.pause, self.progress, self.now)
