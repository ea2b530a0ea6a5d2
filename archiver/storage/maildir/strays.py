"""Unexpected files in a Maildir archive: those that belong to no message's row.

Files of the store itself, and those that other programs keep in a Maildir that they read, are not unexpected.
Nothing is changed here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from archiver.mail.model import Placement
from archiver.storage.audit import NOBODYS
from archiver.storage.maildir.format import (
    CONTROL_FILES,
    PRESENT,
    VANISHED,
    base_name,
    folder_name,
    other_folder_name,
)
from archiver.storage.maildir.tree import MaildirTree

_OWN = frozenset({"cur", "new", "tmp", "maildirfolder", *CONTROL_FILES})
_OF_OTHERS = (".", "dovecot")  # .notmuch, .mbsyncstate, dovecot.index

_RENAMED = "a message of the archive, but under another name than recorded"

_Expected = Mapping[str, Mapping[str, str]]
"""Folder → base name → what follows it, as in `:2,S`."""


def strays(tree: MaildirTree, expected: Iterable[Placement]) -> Iterator[tuple[str, str]]:
    """(path relative to the archive, reason) of every file that is not at the place of one of `expected`.

    The messages of an epoch are adjacent; the names of one epoch at a time are in memory.
    """
    seen: set[str] = set()
    for _, messages in groupby(expected, lambda p: (p.directory, p.uidvalidity, p.generation)):
        of_epoch = _names(tree, messages)
        for name, files in of_epoch.items():
            # NOTE: an ended epoch has no present messages; that directory belongs to the folder's next epoch.
            if files or not name.startswith(PRESENT):
                seen.add(name)
                yield from _among_messages(tree, name, of_epoch)
    for name in tree.names():
        if name not in seen:
            yield from _among_messages(tree, name, {})
        yield from _beside_messages(tree, name)
    yield from _beside_messages(tree, VANISHED)


def _names(tree: MaildirTree, messages: Iterable[Placement]) -> dict[str, dict[str, str]]:
    names: dict[str, dict[str, str]] = {}
    for each in messages:
        name = folder_name(each)
        if not names:
            names = {name: {}, other_folder_name(each): {}}
        names[name][base_name(each)] = sys.intern(f":2,{tree.folder(name).letters(each.flags)}")
    return names


def _among_messages(tree: MaildirTree, name: str, expected: _Expected) -> Iterator[tuple[str, str]]:
    here = expected.get(name, {})
    found = []
    for sub, file in tree.folder(name).files():
        base, colon, info = file.partition(":")
        if sub != "cur" or here.get(base) != colon + info:
            known = any(base in names for names in expected.values())
            found.append((f"{name}/{sub}/{file}", _RENAMED if known else NOBODYS))
    yield from sorted(found)


def _beside_messages(tree: MaildirTree, name: str) -> Iterator[tuple[str, str]]:
    path = f"{tree.root}/{name}"
    if not os.path.isdir(path) or (name not in (PRESENT, VANISHED) and not os.path.isdir(f"{path}/cur")):
        return
    for entry in sorted(os.listdir(path)):
        if entry not in _OWN and not entry.startswith(_OF_OTHERS):
            yield f"{name}/{entry}", NOBODYS
