"""The Maildir store: an account's messages as a Maildir++ that other programs can serve and read.

`PATH/Maildir/` has only the present messages of the current epochs, so that it can be served as a live mailbox;
`PATH/vanished/` has what the server no longer has, in the same layout with the epoch in the folder's name. A file's
name determines its placement, so a message without a record can be recorded later.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from archiver.errors import IntegrityError
from archiver.mail.model import Placement
from archiver.storage.audit import Audited
from archiver.storage.files import Durability, Writing, open_regular, private_file
from archiver.storage.maildir.audit import audit
from archiver.storage.maildir.batch import MaildirBatch, NewFiles
from archiver.storage.maildir.erase import MaildirEraser
from archiver.storage.maildir.format import folder_name
from archiver.storage.maildir.lookup import FileListing
from archiver.storage.maildir.metadata import MaildirMetadata
from archiver.storage.maildir.moving import Moves
from archiver.storage.maildir.recover import SPOOL, SPOOL_PREFIX, SPOOL_SUFFIX, Recovery, clear_leftovers
from archiver.storage.maildir.tree import MaildirTree
from archiver.storage.port import Rows

_CHUNK = 1000


class MaildirStore:
    """A MessageStore below `path`; directories (0700) are created when first needed, files are 0600. Its `metadata`
    writes the files that servers read besides the messages, and its `eraser` erases what is forgotten.

    `durability`: "batch" syncs the file system once for each batch, "file" each file separately, "none" leaves it
    to the system. In any case a file in `cur` was written completely before it got there, except after a power
    failure with "none". Threads may share it; the account's lock excludes other processes.
    """

    def __init__(self, path: Path, durability: Durability = "batch") -> None:
        self._tree = MaildirTree(os.path.abspath(path), durability)
        self._writing = Writing(self._tree.root)
        self._listing = FileListing(self._tree, steady=False)
        self._new = NewFiles()
        self.metadata = MaildirMetadata(self._tree)
        self.eraser = MaildirEraser(self._tree)

    def batch(self) -> MaildirBatch:
        """Begin a batch."""
        return MaildirBatch(self._tree, self._listing, self._new)

    def move(self, moves: Iterable[tuple[Placement, Placement]]) -> None:
        """Rename files to their new flags or tree; durable on return. Moves may be repeated.

        Raises:
            IntegrityError: a message is at neither place (the first such one); all other moves are done.
        """
        pairs = iter(moves)
        missing: IntegrityError | None = None
        listing = FileListing(self._tree, steady=True)
        moves_made = Moves(self._tree)
        with self._writing:
            try:
                while chunk := list(islice(pairs, _CHUNK)):
                    self._tree.reserve_for(new for _, new in chunk)
                    for old, new in chunk:
                        try:
                            self._move(old, new, listing, moves_made)
                        except IntegrityError as error:
                            missing = missing or error
                    moves_made.finish()
            finally:
                moves_made.finish()
        if missing is not None:
            raise missing

    def _move(self, old: Placement, new: Placement, listing: FileListing, moves: Moves) -> None:
        self._tree.made(folder_name(new))
        source, target = self._tree.expected(old), self._tree.expected(new)
        try:
            moves.move(source, target)
        except FileNotFoundError:
            if not os.path.lexists(target):
                moves.move(listing.find(old), target)  # which looks in both trees, so also where `new` is

    def open(self, placement: Placement) -> BinaryIO:
        """The message's octets, even if a mail program renamed the file.

        Raises:
            IntegrityError: missing, or no regular file.
            ArchiveNotWritable: this user may not read it.
        """
        with self._writing:
            try:
                return open_regular(self._tree.expected(placement))
            except FileNotFoundError:
                return open_regular(self.locate(placement))

    def locate(self, placement: Placement) -> str:
        """The path of the message's file, whatever its flags and its tree.

        Raises:
            IntegrityError: it is in neither.
        """
        path = self._tree.expected(placement)
        return path if os.path.lexists(path) else self._listing.find(placement)

    def display_path(self, placement: Placement) -> str:
        """The expected path of the message's file, relative to the archive."""
        return os.path.relpath(self._tree.expected(placement), self._tree.root)

    def audit(self, rows: Rows, reads: Callable[[Placement], bool]) -> Generator[Audited, None, None]:
        """Every file that is not the expected one of a message, then every message."""
        with self._writing:
            yield from audit(self._tree, rows, reads, self.open)

    def rewrite_batch(self, damaged: Sequence[Placement]) -> MaildirBatch:
        """A batch whose files replace existing ones, even if a mail program renamed these."""
        try:
            self.move((each, each) for each in damaged)
        except IntegrityError:
            pass  # some are missing
        return self.batch()

    def recover(self, rows: Rows) -> Iterator[Placement]:
        """Move messages to their expected places and remove leftovers before returning; then yield unexpected files
        that match their names. Other files are not touched.

        A message in neither tree is skipped; verify reports it.
        """
        with self._writing:
            clear_leftovers(self._tree)
            recovery = Recovery(self._tree)
            recovery.place(rows.placements())
        return self._unexpected(recovery)

    def _unexpected(self, recovery: Recovery) -> Iterator[Placement]:
        with self._writing:
            yield from recovery.unexpected()

    def spool(self) -> BinaryIO:
        """A new, private, empty file for a message too large for memory, on the store's own file system."""
        directory = f"{self._tree.root}/{SPOOL}"
        name = f"{directory}/{SPOOL_PREFIX}{secrets.token_hex(8)}{SPOOL_SUFFIX}"
        with self._writing:
            self._tree.watched()  # before what is written there becomes a message's file
            self._tree.make_directory(SPOOL)
            return private_file(name)
