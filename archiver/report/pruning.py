"""Removes old reports by `[reports] keep`.

Which ones is read from the list of runs, not from their directories: a night in which none is old enough costs one
question to the catalog.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from archiver.catalog.port import ReportLedger

_TOGETHER = 100  # so that a kill costs no more than another look at as many
_OURS = ("report.html", "report.json")  # the page first: it is made of the other one
_UNFINISHED = ".report-"  # what a write left that was killed
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def prune_reports(runs: Path, ledger: ReportLedger, *, before: str, at: str, check_stop: Callable[[], None]) -> int:
    """Remove the reports of runs that ended well before `before` (ISO 8601), but that of the last such run; returns
    of how many. Those of runs that did not end well stay, and so does whatever else lies in a run's directory. Cut
    off anywhere, the next call goes on.

    Raises:
        OSError: one cannot be removed.
    """
    old = ledger.old_reports(before)
    if not old:
        return 0
    try:
        top = os.open(runs, _DIRECTORY)
    except FileNotFoundError:
        ledger.forget_reports(old, at)
        return 0
    removed = 0
    try:
        for start in range(0, len(old), _TOGETHER):
            some = old[start : start + _TOGETHER]
            for run in some:
                check_stop()
                removed += _remove(run, top)
            os.fsync(top)
            ledger.forget_reports(some, at)
    finally:
        os.close(top)
    return removed


def _remove(run: str, top: int) -> bool:
    """Remove the report of a run; False if there was none.

    NOTE: an archive may come from somebody else: a name must not lead out of it, nor a link.
    """
    if run in ("", ".", "..") or "/" in run or "\0" in run:
        return False
    try:
        directory = os.open(run, _DIRECTORY, dir_fd=top)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        if stat.S_ISLNK(os.stat(run, dir_fd=top, follow_symlinks=False).st_mode):
            return False
        raise
    try:
        names = sorted(_of_report(directory))
        for name in names:
            os.unlink(name, dir_fd=directory)
        is_empty = not os.listdir(directory)
    finally:
        os.close(directory)
    if is_empty:
        os.rmdir(run, dir_fd=top)
    return bool(names)


def _of_report(directory: int) -> Iterator[str]:
    return (name for name in os.listdir(directory) if name in _OURS or name.startswith(_UNFINISHED))
