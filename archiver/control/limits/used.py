"""The octets that an account used on a day (UTC), in a file of the archive's directory.

Octets are counted when they have passed, by one call to the system, so a run that is killed at any moment has
counted all that it received. A transaction of the catalog would be a sync for each of them, and the count is no
fact about mail: without it, the day begins again at 0. Processes take turns by a lock.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from archiver.control.waiting import lock_free_after_fork

_LINE = re.compile(rb"(\d{4}-\d\d-\d\d) (\d{20})\n")

_Count = tuple[date, int]
"""A day, and the octets that were used on it."""


class UsedOctets:
    """The count of one account at one side; `today` is the present day in UTC. Where the file cannot be written, as
    by another user who only looks, the count is that of this process alone. Safe for threads."""

    def __init__(self, path: Path, today: Callable[[], date]) -> None:
        self._path = path
        self._today = today
        self._lock = lock_free_after_fork()
        self._here: _Count | None = None  # what is counted without the file

    def add(self, octets: int) -> int:
        """Count octets; returns how many the day has now."""
        return self._count(octets)[1]

    def ends(self) -> date:
        """The day on which the count begins again."""
        return self._count(0)[0] + timedelta(days=1)

    def _count(self, octets: int) -> _Count:
        with self._lock:
            try:
                with _locked(self._path) as file:
                    day, used = self._now(_parsed(os.pread(file, 64, 0)))
                    if octets:
                        os.pwrite(file, b"%b %020d\n" % (day.isoformat().encode(), used + octets), 0)
            except OSError:
                day, used = self._now(self._here)
                self._here = day, used + octets
            return day, used + octets

    def _now(self, held: _Count | None) -> _Count:
        """The day that is being counted and what it has. NOTE: a clock that is set back over midnight must not give
        the same day twice; one that was a week ahead must not stop the account for a week."""
        today = self._today()
        if held is None or not today <= held[0] <= today + timedelta(days=1):
            return today, 0
        return held


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open, while no other process uses it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _parsed(line: bytes) -> _Count | None:
    """What the line says; None if it is not one of ours."""
    found = _LINE.match(line)
    if found is None:
        return None
    try:
        return date.fromisoformat(found[1].decode()), int(found[2])
    except ValueError:
        return None
