"""Restores a consistent Maildir after a crash.

A process may have ended between writing, renaming and recording. Then files are left in `tmp`, are still in the
previous tree or have their previous flags, or are complete without a record. None of them is lost or half-written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice

from archiver.mail.content import BodyBuilder
from archiver.mail.flags import flags_from_letters
from archiver.mail.model import Body, Placement, StoredMessage
from archiver.storage.files import open_regular
from archiver.storage.maildir.format import (
    CONTROL_FILES,
    PRESENT,
    base_name,
    folder_name,
    other_folder_name,
    parse_base_name,
    parse_folder_name,
)
from archiver.storage.maildir.lookup import Names, names_of, path_of
from archiver.storage.maildir.moving import Moves
from archiver.storage.maildir.tree import MaildirTree

_CHUNK = 1000
_READ_OCTETS = 1 << 20

SPOOL, SPOOL_PREFIX, SPOOL_SUFFIX = "spool", "message-", ".spool"


def clear_leftovers(tree: MaildirTree) -> None:
    """Remove files of unfinished writes in `tmp` and in the spool directory; other files stay."""
    for name in tree.names():
        tmp = tree.folder(name).tmp
        for file in _entries(tmp):
            if file in CONTROL_FILES or parse_base_name(file):
                os.unlink(f"{tmp}/{file}")
    spool = f"{tree.root}/{SPOOL}"
    for file in _entries(spool):
        if file.startswith(SPOOL_PREFIX) and file.endswith(SPOOL_SUFFIX):
            os.unlink(f"{spool}/{file}")


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


class Recovery:
    """A list of both trees, from which expected messages are removed; the rest is unexpected.

    It has the names of all files in memory: about 250 octets for each message.
    """

    def __init__(self, tree: MaildirTree) -> None:
        self._tree = tree
        self._names: dict[str, Names] = {}
        #: (folder, base name) → what followed it in further files of one message in one folder.
        self._again: dict[tuple[str, str], list[str]] = {}
        for name in tree.names():
            self._names[name], again = names_of(tree, name)
            for base, rest in again:
                self._again.setdefault((name, base), []).append(rest)
        #: (folder, base name) of a second file of a message → where its expected one lies.
        self._elsewhere: dict[tuple[str, str], str] = {}
        self._moves = Moves(tree)

    def place(self, expected: Iterable[Placement]) -> None:
        """Move every message that is in one of the trees to its expected place; durable on return."""
        placements = iter(expected)
        elsewhere: list[Placement] = []
        while chunk := list(islice(placements, _CHUNK)):
            self._tree.reserve_for(chunk)
            elsewhere += [placement for placement in chunk if not self._place(placement)]
        # NOTE: after all others: the file in the other tree may be the same message of another generation.
        for placement in elsewhere:
            self._bring(placement)
        self._moves.finish()

    def _place(self, placement: Placement) -> bool:
        """Rename a message of the expected folder to its name; False if it is not in that folder."""
        name, other, base = folder_name(placement), other_folder_name(placement), base_name(placement)
        rest = "cur:2," + self._tree.folder(name).letters(placement.flags)
        found = self._names.get(name, {}).pop(base, None)
        if found is None:
            return False
        if base in self._names.get(other, ()):
            self._elsewhere[other, base] = path_of(self._tree, name, base, rest)
        again = self._again.pop((name, base), None)
        if again:
            self._single(name, base, rest, [found, *again])
        elif found != rest:
            self._rename(path_of(self._tree, name, base, found), path_of(self._tree, name, base, rest), name)
        return True

    def _bring(self, placement: Placement) -> None:
        """Move a message from the other tree, if it is there."""
        other, base = other_folder_name(placement), base_name(placement)
        found = self._names.get(other, {}).pop(base, None)
        if found is not None:
            target = self._tree.expected(placement)
            self._rename(path_of(self._tree, other, base, found), target, folder_name(placement))

    def _single(self, name: str, base: str, rest: str, found: list[str]) -> None:
        """Keep one of several files of a message, under the expected name; only equal octets are removed."""
        found.sort(key=lambda other: other != rest)
        kept = path_of(self._tree, name, base, rest)
        if found[0] != rest:
            self._rename(path_of(self._tree, name, base, found[0]), kept, name)
        for other in found[1:]:
            path = path_of(self._tree, name, base, other)
            if body_of_file(path).digest == body_of_file(kept).digest:
                os.unlink(path)

    def _rename(self, source: str, target: str, name: str) -> None:
        self._tree.made(name)
        self._moves.move(source, target)

    def unexpected(self) -> Iterator[Placement]:
        """Unexpected files that match their names, moved to their places."""
        for name, names in sorted(self._names.items()):
            for base, rest in sorted(names.items()):
                path = path_of(self._tree, name, base, rest)
                if expected := self._elsewhere.get((name, base)):
                    _drop_copy(path, expected, name)
                elif placement := self._adoptable(name, base, rest):
                    target = self._tree.expected(placement)
                    if path != target:
                        self._moves.move(path, target)
                        self._moves.finish()
                    yield placement

    def _adoptable(self, name: str, base: str, rest: str) -> Placement | None:
        folder, message = parse_folder_name(name), parse_base_name(base)
        if folder is None or message is None or folder.uidvalidity not in (None, message.uidvalidity):
            return None
        body = body_of_file(path_of(self._tree, name, base, rest))
        if not body.digest.startswith(message.digest) or (body.size, body.crlf_size) != (
            message.size,
            message.crlf_size,
        ):
            return None
        flags = flags_from_letters(rest.partition(":2,")[2], self._tree.folder(name).keywords)
        left = StoredMessage.bare(message.uid, body.digest, body.size, body.crlf_size, message.arrived, flags)
        return Placement(folder.directory, message.uidvalidity, folder.generation, left, folder.present)


def _drop_copy(path: str, expected: str, name: str) -> None:
    """Remove the second name of a message that was moved between the trees; or of one of an ended epoch that a
    crashed run linked among the present ones and could not record: it will be matched again. Only equal octets are
    removed."""
    if not os.path.lexists(expected):
        return
    is_equal = os.path.samefile(path, expected)
    if not is_equal and name.startswith(PRESENT):
        is_equal = body_of_file(path).digest == body_of_file(expected).digest
    if is_equal:
        os.unlink(path)


def body_of_file(path: str) -> Body:
    """Digest and sizes of a file's octets."""
    builder = BodyBuilder()
    with open_regular(path) as file:
        while chunk := file.read(_READ_OCTETS):
            builder.feed(chunk)
    return builder.body()
