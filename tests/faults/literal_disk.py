"""A disk that takes POSIX at its word: until a directory is synced, each change of it may be kept or not.

`LiteralDisk` listens to the system calls of a block and knows, after each of them, which messages no power cut
could take away: those that a durable directory held when it was last synced and holds still. A rename within a
directory is one change of it; one between two directories is two changes, of which a cut may keep either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Entries = set[tuple[str, int]]
"""Directories, and the files and directories that are right in them."""


class LiteralDisk:
    """What below `root` would outlive a power cut; all that is there at the beginning would."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._inodes: dict[str, int] = {}
        self._now: Entries = self._looked()
        self._durable = set(self._now)
        self.cuts = 0
        self.lost: list[str] = []

    def _looked(self) -> Entries:
        found: Entries = set()
        for directory, directories, files in os.walk(self._root):
            self._inodes[directory] = os.lstat(directory).st_ino
            found |= {(directory, os.lstat(f"{directory}/{name}").st_ino) for name in (*directories, *files)}
        return found

    def messages(self) -> set[int]:
        """Those that outlive a cut now."""
        kept = self._durable & self._now
        return {inode for directory, inode in kept if directory.endswith("/cur") and self._is_safe(directory, kept)}

    def _is_safe(self, directory: str, kept: Entries) -> bool:
        while directory != self._root:
            above = os.path.dirname(directory)
            if (above, self._inodes[directory]) not in kept:
                return False
            directory = above
        return True

    def _synced(self, directory: str) -> None:
        here = {entry for entry in self._now if entry[0] == directory}
        self._durable = {entry for entry in self._durable if entry[0] != directory} | here

    @contextmanager
    def watching(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Cut the power after every system call of the block, as it were; `lost` tells which cuts lose a message
        that was there at the beginning."""
        expected = self.messages()

        def heard(name: str) -> None:
            before: Callable[..., Any] = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                result = before(*arguments, **options)
                target = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else str(arguments[-1])
                self._now = self._looked()
                if name == "fsync":
                    self._synced(target)
                self.cuts += 1
                if missing := len(expected - self.messages()):
                    self.lost.append(f"{missing} after {name} {os.path.relpath(target, self._root)}")
                return result

            patch.setattr(os, name, call)

        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "link", "unlink", "mkdir", "fsync"):
                heard(name)
            yield
