"""Which folder of an export goes into which file or directory, whatever the folder's name.

The levels are those of the folder's directory in the archive, which are safe, printable ASCII, and never the same
for two folders. Exports are carried to other file systems, so names that differ only in case are kept apart, too.
"""

from __future__ import annotations

import itertools
import os

from archiver.storage.files import make_directory


class Places:
    """Gives each folder its place; asked in the same order it gives the same ones."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, directory: str) -> str:
        """The place of the folder with that directory in the archive: its levels with "/" between them."""
        place = directory[1:].replace(".", "/") if directory else "INBOX"
        for number in itertools.count(1):
            wanted = place if number == 1 else f"{place}~{number}"
            if wanted.lower() not in self._taken:
                self._taken.add(wanted.lower())
                return wanted
        raise AssertionError("numbers do not end")


def make_directories(root: str, place: str) -> None:
    """Make `place` below `root` and what is above it, private."""
    parent, _, _ = place.rpartition("/")
    if parent:
        make_directories(root, parent)
    if place:
        make_directory(os.path.join(root, place))
