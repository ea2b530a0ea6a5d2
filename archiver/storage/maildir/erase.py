"""Erases messages from a Maildir: every file that has one, wherever it lies, and what mail programs noted of
them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from archiver.facts.archive import Fact
from archiver.mail.model import Digest
from archiver.storage.files import Writing
from archiver.storage.maildir.format import base_name, parse_base_name
from archiver.storage.maildir.recover import body_of_file, clear_leftovers
from archiver.storage.maildir.tree import MaildirTree
from archiver.storage.port import Doomed

_CACHES = ("dovecot.index.cache",)  # where Dovecot keeps headers of what it showed; it makes another one


class MaildirEraser:
    """Implements `archiver.storage.port.Eraser`. A file is one of a forgotten message if it has its name; or, in
    another folder, if its octets have its digest."""

    def __init__(self, tree: MaildirTree) -> None:
        self._tree = tree

    def spare(self, doomed: Doomed) -> Sequence[Fact]:
        """Nothing: each file is one message."""
        return ()

    def erase(self, doomed: Doomed) -> Sequence[tuple[str, str]]:
        """Remove the files, in both trees, and what interrupted writes left; durable on return."""
        names = {base_name(each) for each in doomed.places}
        with Writing(self._tree.root):
            clear_leftovers(self._tree)
            touched = set()
            for directory, path in self._files(names, doomed.digests):
                with suppress(FileNotFoundError):
                    os.unlink(path)
                touched.add(directory)
            for name in self._tree.names():
                for cache in _CACHES:
                    with suppress(FileNotFoundError):
                        os.unlink(f"{self._tree.root}/{name}/{cache}")
            self._tree.sync(touched)
        return ()

    def _files(self, names: set[str], digests: frozenset[Digest]) -> Iterator[tuple[str, str]]:
        """The directory and the path of every file that is one of them."""
        beginnings = {digest[:16] for digest in digests}
        for name in self._tree.names():
            folder = self._tree.folder(name)
            for sub, file in list(folder.files()):
                base, directory = file.partition(":")[0], f"{folder.path}/{sub}"
                found = parse_base_name(base)
                if found is None or found.digest not in beginnings:
                    continue
                path = f"{directory}/{file}"
                if base in names or body_of_file(path).digest in digests:
                    yield directory, path
