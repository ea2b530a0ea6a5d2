"""What a Maildir asks of the file system below it, tried before anything is fetched.

vfat, exfat and many Windows shares refuse ":" in names, which every message's file has; ecryptfs and others take
shorter names than 255 octets; some file systems do not tell "A" from "a". Names of folders are chosen so that they
fit; for messages there is only one name.

Hard links and the sync of directories are not asked for: without the former there are copies, without the latter
the file system has nothing to sync.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from archiver.errors import ArchiveNotWritable
from archiver.mail.folder_names import DIRECTORY_OCTETS, DirectoryNames
from archiver.storage.files import DIRECTORY_MODE

_USUAL_OCTETS = 255
_BESIDES = _USUAL_OCTETS - DIRECTORY_OCTETS
"""Octets that are kept free in a directory's name for the epoch of vanished messages."""

_FILE_OCTETS = 143
"""What the longest name of a message's file needs, and what ecryptfs has."""

_HINT = "use a file system with Unix's names, such as ext4, XFS, Btrfs or ZFS, or change [archive] path"


def ground_of(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def directory_names(path: Path) -> DirectoryNames:
    """Which names of folders' directories fit at `path`; nothing is written."""
    ground = ground_of(path)
    return DirectoryNames(min(DIRECTORY_OCTETS, _name_octets(ground) - _BESIDES), folds_case=_folds_case(ground))


def require_fit(path: Path) -> None:
    """Check that the names of a Maildir can be made at `path`, or at its nearest parent that exists. A directory is
    made there and removed again. Where nothing can be written it finds out nothing.

    Raises:
        ArchiveNotWritable: they cannot.
    """
    ground = ground_of(path)
    octets = _name_octets(ground)
    if octets < _FILE_OCTETS:
        raise _unfit(ground, f"takes names of {octets} octets at most, and messages need {_FILE_OCTETS}")
    beginning = f".archiver-{secrets.token_hex(8)}"
    try:
        _try(ground, beginning)
    except OSError:
        return
    for name, problem in (
        (f"{beginning}:2,S", 'refuses ":" in names, which every file of a Maildir has'),
        (beginning.ljust(min(octets, _USUAL_OCTETS), "x"), "refuses names as long as it says it takes"),
    ):
        try:
            _try(ground, name)
        except OSError as error:
            raise _unfit(ground, f"{problem} ({error.strerror})") from error


def _try(ground: Path, name: str) -> None:
    """Make a directory and remove it; some systems change a name instead of refusing it."""
    os.mkdir(ground / name, DIRECTORY_MODE)
    try:
        if name not in os.listdir(ground):
            raise OSError(errno.EINVAL, "it is stored under another name")
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(ground / name)


def _unfit(ground: Path, problem: str) -> ArchiveNotWritable:
    return ArchiveNotWritable(f"{ground}: this file system {problem}", hint=_HINT)


def _name_octets(ground: Path) -> int:
    try:
        return os.pathconf(ground, "PC_NAME_MAX")
    except (OSError, ValueError):
        return _USUAL_OCTETS


def _folds_case(ground: Path) -> bool:
    """Whether the name of something at `ground` is also found in the other case."""
    try:
        names = os.listdir(ground)
    except OSError:
        return False
    other = next((name.swapcase() for name in names if name.swapcase() != name and name.isascii()), None)
    return other is not None and other not in names and os.path.lexists(ground / other)
