"""What a mail source has to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from archiver.mail.model import Folder, Listed, Opened, Resume
from archiver.mail.reader import MailReader


class MailSource(MailReader, Protocol):
    """A server to archive from, one connection. It never changes the server's mail (EXAMINE, BODY.PEEK[])."""

    def list_folders(self) -> Sequence[Listed]:
        """All folders with their status where the server tells it without opening them.

        Raises:
            ServerUnavailable: the list is empty or has no INBOX-like entry at all: never "nothing there".
        """

    def open(self, folder: Folder, resume: Resume | None = None, ask: str | None = None) -> Opened:
        """Open `folder` read-only; later calls speak of it. With `resume`, ask what changed since, if possible.
        `ask` is an IMAP SEARCH of which the caller is going to want the UIDs, "ALL" where it wants them all.

        Raises:
            FolderNotFound, PermissionDenied: this folder only.
            FolderChanged: on reconnecting, its UIDVALIDITY is not the one that was opened.
        """

    def gives(self, uid: int) -> bool:
        """Whether the server gives an octet of this message of the open folder.

        Raises:
            TemporaryError: the connection ends, or the server says that it is a limit.
        """

    def close(self) -> None:
        """Log out; never raises, may be called twice."""
