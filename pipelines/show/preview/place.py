"""Where an archive is or will be, looked at without writing there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from msgspec import Struct


class ArchivePlace(Struct, frozen=True):
    """Where an archive is or will be. `problem` is why a run could not write there."""

    path: Path
    exists: bool
    free_octets: int
    problem: str | None


def place_of(path: Path) -> ArchivePlace:
    """Check the archive's place without writing there. Never raises for a place that cannot be read."""
    ground, problem = path, None
    while (found := _looked_at(ground)) is None and ground != ground.parent:
        ground = ground.parent
    if isinstance(found, OSError):
        problem = f"{ground}: {found.strerror}; give this user access, or change [archive] path"
    elif ground != path and os.path.lexists(path):
        problem = f"{path}: is a dangling symbolic link; change [archive] path"
    elif not ground.is_dir():
        problem = f"{ground}: is not a directory; change [archive] path"
    elif not os.access(ground, os.W_OK | os.X_OK):
        problem = f"{ground}: this user cannot write there; give write access, or change [archive] path"
    return ArchivePlace(path, ground == path, _free(ground), problem)


def nowhere(path: Path) -> ArchivePlace:
    """A place that was not looked at."""
    return ArchivePlace(path, exists=False, free_octets=0, problem=None)


def _looked_at(path: Path) -> os.stat_result | OSError | None:
    """The status of what exists there, or the error; None if nothing exists."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error


def _free(ground: Path) -> int:
    try:
        return shutil.disk_usage(ground).free
    except OSError:
        return 0
