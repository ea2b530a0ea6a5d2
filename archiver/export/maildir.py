"""A Maildir++ like the archive's own: messages with their names, flags, dates and UIDs, folders, subscriptions."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from archiver.events import Noted, Progress
from archiver.export.writer import ExportedFolder
from archiver.facts.outgoing import Outgoing
from archiver.mail.counts import counted
from archiver.mail.flags import KEYWORD_LETTERS, LETTERS, is_keyword
from archiver.mail.folder_names import printable
from archiver.mail.model import Body, Placement
from archiver.mail.uidset import UidSet
from archiver.storage.port import FolderMetadata, MessageStore, StoreBatch

_BATCH_MESSAGES = 500
_BATCH_OCTETS = 16 << 20

#: A message above this size is never completely in memory.
_LARGE_OCTETS = 1 << 20


class MaildirWriter:
    """An ExportWriter into an empty store that is a Maildir++.

    A Maildir's folder has 26 keywords. Flags that it cannot hold are reported to `progress`.
    """

    def __init__(self, store: MessageStore, metadata: FolderMetadata, progress: Progress) -> None:
        self._store = store
        self._metadata = metadata
        self._progress = progress
        self._subscribed: list[str] = []
        self._folder: ExportedFolder | None = None
        self._batch: StoreBatch | None = None
        self._messages = self._octets = self._without = 0
        self._uids: set[int] = set()
        self._keywords: dict[str, None] = {}

    def begin(self, folder: ExportedFolder) -> str:
        """Create the folder, with its real name in a file next to its messages."""
        self._folder, self._uids, self._keywords, self._without = folder, set(), {}, 0
        known = folder.known
        self._metadata.write_folder_name(known.directory, known.folder.raw, known.folder.path)
        if known.folder.subscribed:
            self._subscribed.append(known.directory)
        return f"Maildir/{known.directory}".rstrip("/")

    def write(self, message: Outgoing, octets: Iterable[bytes]) -> None:
        """Write the message; it becomes visible when its batch is committed."""
        assert self._folder is not None
        # NOTE: messages that are gone from the source are among the others here, not in a separate tree.
        placement = replace(message.placement, present=True)
        body = self._body(placement, octets)
        if self._batch is None:
            self._batch = self._store.batch()
        self._batch.put(placement, body)
        self._count_keywords(placement)
        if message.key[0] == self._folder.epoch.number:
            self._uids.add(placement.uid)
        self._messages += 1
        self._octets += placement.size
        if self._messages >= _BATCH_MESSAGES or self._octets >= _BATCH_OCTETS:
            self._commit()

    def _body(self, placement: Placement, octets: Iterable[bytes]) -> Body:
        sizes = (placement.digest, placement.size, placement.crlf_size)
        if placement.size <= _LARGE_OCTETS:
            return Body(*sizes, header=b"", octets=b"".join(octets))
        with self._store.spool() as spool:
            try:
                for piece in octets:
                    spool.write(piece)
            except BaseException:
                os.unlink(spool.name)
                raise
        return Body(*sizes, header=b"", octets=None, spool=Path(spool.name))

    def _count_keywords(self, placement: Placement) -> None:
        keywords = placement.flags - LETTERS.keys()
        for keyword in sorted(keywords - self._keywords.keys()):
            if is_keyword(keyword) and len(self._keywords) < KEYWORD_LETTERS:
                self._keywords[keyword] = None
        self._without += not keywords <= self._keywords.keys()

    def _commit(self) -> None:
        if self._batch is not None:
            assert self._folder is not None
            self._metadata.reserve_keywords(self._folder.known.directory, list(self._keywords))
            self._batch.commit()
        self._batch = None
        self._messages = self._octets = 0

    def end(self) -> None:
        """Commit the rest, and write the file from which Dovecot reads the UIDs. Messages of an ended epoch are not
        in it, so Dovecot assigns them new UIDs."""
        assert self._folder is not None
        self._commit()
        folder, uids = self._folder, self._uids
        status = (folder.epoch.uidvalidity, folder.uidnext)
        self._metadata.write_uidlist(folder.known.directory, status, UidSet(uids), folder.placements)
        if self._without:
            these = counted(self._without, "message has", "messages have")
            words = f"{these} flags that a Maildir cannot hold; --to eml and mbox list them"
            self._progress(Noted(f'folder "{printable(folder.name)}": {words}'))

    def close(self) -> None:
        """Drop what is not committed."""
        if self._batch is not None:
            self._batch.abandon()
            self._batch = None

    def finish(self) -> None:
        """Write the list of subscribed folders."""
        self._metadata.write_subscriptions(self._subscribed)
