"""The files that Dovecot and other programs read besides the messages: names, keywords, UIDs, subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import chain

from archiver.mail.model import Placement
from archiver.mail.uidset import UidSet
from archiver.storage.files import Writing
from archiver.storage.maildir import uidlist
from archiver.storage.maildir.format import (
    FOLDER_FILE,
    PRESENT,
    SUBSCRIPTIONS_FILE,
    UIDLIST_FILE,
    format_folder,
    format_subscriptions,
)
from archiver.storage.maildir.tree import MaildirTree


class MaildirMetadata:
    """The FolderMetadata of a Maildir++. Threads may share it."""

    def __init__(self, tree: MaildirTree) -> None:
        self._tree = tree
        self._writing = Writing(tree.root)

    def write_folder_name(self, directory: str, raw: bytes, path: Sequence[str]) -> None:
        """Write the folder's real name into its directory."""
        with self._writing:
            self._tree.made(_present(directory)).write(FOLDER_FILE, format_folder(raw, path).encode("ascii"))

    def reserve_keywords(self, directory: str, keywords: Sequence[str]) -> None:
        """Assign letters to keywords in this order; those that have one keep it, those beyond `z` get none."""
        with self._writing:
            self._tree.made(_present(directory)).reserve(keywords)

    def write_uidlist(
        self,
        directory: str,
        status: tuple[int, int],
        uids: UidSet,
        of: Callable[[UidSet], Iterable[Placement]],
        *,
        settled: bool = False,
    ) -> None:
        """Write the folder's `dovecot-uidlist`, if it differs, so that Dovecot serves it with the same UIDs."""
        folder = self._tree.made(_present(directory))
        uidvalidity, uidnext = status
        header = uidlist.header_of(directory, uidvalidity, max(uidnext, uids.last + 1))
        with self._writing, ExitStack() as stack:
            pieces = uidlist.rows_of(uids, of)
            if settled and (file := folder.opened(UIDLIST_FILE)) is not None:
                stack.enter_context(file)
                kept = uidlist.kept(file, directory, uidvalidity, uids)
                if kept is not None:
                    if kept.is_all and kept.header == header:
                        return
                    pieces = chain(uidlist.copied(file, kept.spans), uidlist.rows_of(kept.came, of))
            folder.write_pieces(UIDLIST_FILE, chain([header], pieces))
            self._tree.sync(())

    def write_subscriptions(self, directories: Sequence[str]) -> None:
        """Write the list of subscribed folders, if it differs."""
        with self._writing:
            self._tree.made(PRESENT).write(SUBSCRIPTIONS_FILE, format_subscriptions(directories).encode("ascii"))


def _present(directory: str) -> str:
    return f"{PRESENT}/{directory}" if directory else PRESENT
