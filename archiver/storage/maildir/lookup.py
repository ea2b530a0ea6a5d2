"""Finds a message's file if it is not where it is expected.

A mail program that reads the archive renames files when flags change or a folder is opened. The message is then
found by the part of the name that stays.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from archiver.errors import IntegrityError
from archiver.mail.model import Placement
from archiver.storage.maildir.format import base_name, folder_name, other_folder_name
from archiver.storage.maildir.tree import MaildirTree

_RECENT_NANOSECONDS = 2_000_000_000
_HELD = 2

Names = dict[str, str]
"""Base name → "cur" or "new" and what follows the base name, as in `cur:2,S`."""


def names_of(tree: MaildirTree, name: str) -> tuple[Names, list[tuple[str, str]]]:
    """The files of a folder, and the (base name, rest) of those with a duplicate base name."""
    names: Names = {}
    again = []
    for sub, file in tree.folder(name).files():
        base, colon, info = file.partition(":")
        rest = sys.intern(sub + colon + info)
        if names.setdefault(base, rest) is not rest:
            again.append((base, rest))
    return names, again


def path_of(tree: MaildirTree, name: str, base: str, rest: str) -> str:
    """The path of a listed file."""
    return f"{tree.root}/{name}/{rest[:3]}/{base}{rest[3:]}"


class FileListing:
    """Files by base name. `steady`: only the caller renames files, so each folder is read once; otherwise a folder
    is read again if it changed, and only the most recent ones are held."""

    def __init__(self, tree: MaildirTree, *, steady: bool) -> None:
        self._tree = tree
        self._steady = steady
        self._held: dict[str, tuple[int, Names]] = {}
        self._lock = threading.Lock()

    def find(self, placement: Placement) -> str:
        """The message's file, whatever flags its name has, in either tree.

        Raises:
            IntegrityError: it is in neither.
        """
        base = base_name(placement)
        for name in (folder_name(placement), other_folder_name(placement)):
            with self._lock:
                rest = self._names(name).get(base)
            if rest:
                return path_of(self._tree, name, base, rest)
        raise missing(placement)

    def _names(self, name: str) -> Names:
        changed = 0 if self._steady else self._tree.folder(name).changed_ns()
        held = self._held.pop(name, None)
        if held is None or held[0] != changed:
            # NOTE: two changes within one tick of the clock have the same time, so a recent time proves nothing.
            settled = self._steady or time.time_ns() - changed > _RECENT_NANOSECONDS
            held = (changed if settled else -1, names_of(self._tree, name)[0])
            while not self._steady and len(self._held) >= _HELD:
                del self._held[next(iter(self._held))]
        self._held[name] = held
        return held[1]


def has_files(folder: Path) -> bool:
    """Whether a folder of a Maildir has any message. One that cannot be looked at counts as one that has."""
    for sub in ("cur", "new"):
        try:
            with os.scandir(folder / sub) as entries:
                if next(entries, None) is not None:
                    return True
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False


def missing(placement: Placement) -> IntegrityError:
    """The error that names a message without octets."""
    return IntegrityError(
        f"{folder_name(placement)}: message {base_name(placement)} is missing",
        hint="`archiver verify` lists what is missing, `archiver repair` fetches it again",
    )
