"""The files that Dovecot and other programs read besides the messages: names, keywords, UIDs, subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from archiver.errors import IntegrityError
from archiver.mail.model import Placement
from archiver.mail.uidset import UidSet
from archiver.storage.files import Writing, open_regular
from archiver.storage.maildir.format import (
    FOLDER_FILE,
    PRESENT,
    SUBSCRIPTIONS_FILE,
    UIDLIST_FILE,
    format_folder,
    format_subscriptions,
    format_uidlist,
    updated_uidlist,
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

    def write_uidlist(self, directory: str, status: tuple[int, int], uids: Iterable[Placement]) -> None:
        """Write the folder's `dovecot-uidlist`, if it differs, so that Dovecot serves it with the same UIDs."""
        uidvalidity, uidnext = status
        uidlist = format_uidlist(directory, uidvalidity, uidnext, uids)
        with self._writing:
            self._tree.made(_present(directory)).write(UIDLIST_FILE, uidlist)
            self._tree.sync(())

    def update_uidlist(
        self, directory: str, status: tuple[int, int], uids: UidSet, of: Callable[[UidSet], Iterable[Placement]]
    ) -> None:
        """Change what came or went in the folder's `dovecot-uidlist`; see the port."""
        uidvalidity, uidnext = status
        try:
            with open_regular(f"{self._tree.folder(_present(directory)).path}/{UIDLIST_FILE}") as file:
                before = file.read()
        except (FileNotFoundError, NotADirectoryError, IntegrityError):
            before = b""
        uidlist = updated_uidlist(before, directory, uidvalidity, uidnext, uids, of)
        if uidlist is None:
            self.write_uidlist(directory, status, of(uids))
        elif uidlist != before:
            with self._writing:
                self._tree.made(_present(directory)).write(UIDLIST_FILE, uidlist)
                self._tree.sync(())

    def write_subscriptions(self, directories: Sequence[str]) -> None:
        """Write the list of subscribed folders, if it differs."""
        with self._writing:
            self._tree.made(PRESENT).write(SUBSCRIPTIONS_FILE, format_subscriptions(directories).encode("ascii"))


def _present(directory: str) -> str:
    return f"{PRESENT}/{directory}" if directory else PRESENT
