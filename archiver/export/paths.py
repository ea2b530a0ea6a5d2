"""The file or directory of each exported folder, whatever the folder's name is.

The levels are those of the folder's directory in the archive, which are safe, printable ASCII and unique. Exports
are copied to other file systems, so names that differ only in case are made unique, too.
"""

from __future__ import annotations

import itertools
import os

from archiver.storage.files import make_directory


class ExportPaths:
    """Assigns each folder its path; the same order of folders gets the same paths."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, directory: str) -> str:
        """The path of the folder with that directory in the archive, relative to the export."""
        place = directory[1:].replace(".", "/") if directory else "INBOX"
        for number in itertools.count(1):
            wanted = place if number == 1 else f"{place}~{number}"
            if wanted.lower() not in self._taken:
                self._taken.add(wanted.lower())
                return wanted
        raise AssertionError("unreachable: itertools.count is infinite")


def make_directories(root: str, place: str) -> None:
    """Create the directory `place` below `root` and its parents, private."""
    parent, _, _ = place.rpartition("/")
    if parent:
        make_directories(root, parent)
    if place:
        make_directory(os.path.join(root, place))
