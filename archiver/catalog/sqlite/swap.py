"""Replaces one catalog with another; the old one is kept under another name.

SQLite keeps changes that are not yet in its main file in a second file, `-wal`. A main file must never be next to
the `-wal` of another one, since SQLite would use it as its own.
"""

from __future__ import annotations

import os
from pathlib import Path

from archiver.errors import ArchiveNotWritable

SIDE_FILES = ("-shm", "-wal")


def remove_catalog(path: Path) -> None:
    """Remove a catalog that was not finished, if there is one."""
    for suffix in ("", *SIDE_FILES):
        _with_suffix(path, suffix).unlink(missing_ok=True)


def swap_catalog(new: Path, current: Path, aside: Path) -> bool:
    """Move `current` to `aside` and `new`, which is closed, to `current`; False if there was no current one.

    If interrupted, `current` is the old one, the new one, or missing (then the next run rebuilds it from the
    journal); never a mixture.

    Raises:
        ArchiveNotWritable: a file cannot be renamed.
    """
    try:
        # The side files go first: without them the old main file is only an earlier state.
        for suffix in SIDE_FILES:
            _rename(_with_suffix(current, suffix), _with_suffix(aside, suffix))
        was_there = _rename(current, aside)
        _sync_directory(current.parent)
        os.rename(new, current)
        _sync_directory(current.parent)
    except OSError as error:
        raise ArchiveNotWritable(
            f"{current}: {error.strerror}", hint="fix the permissions and run again"
        ) from error
    return was_there


def _rename(source: Path, target: Path) -> bool:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        return False
    return True


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
