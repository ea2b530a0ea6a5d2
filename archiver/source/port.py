"""The interface of a mail source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from archiver.mail.model import Folder, Listed, Opened, Resume
from archiver.mail.reader import MailReader


class MailSource(MailReader, Protocol):
    """One connection to a server to archive from. It never changes the server's mail (EXAMINE, BODY.PEEK[])."""

    def list_folders(self) -> Sequence[Listed]:
        """All folders, with their status if the server gives it without opening them.

        Raises:
            ServerUnavailable: the list is empty or incomplete. An account without folders is never assumed.
        """

    def open(self, folder: Folder, resume: Resume | None = None, ask: str | None = None) -> Opened:
        """Open `folder` read-only; later calls are about it. With `resume`, also return what has changed since, if
        the server can say so. `ask` is an IMAP SEARCH whose UIDs the caller will request next ("ALL": all UIDs),
        so that it can be sent along.

        Raises:
            FolderNotFound, PermissionDenied: about this folder only.
            FolderChanged: after a reconnect the folder has another UIDVALIDITY than when it was opened.
        """

    def gives(self, uid: int) -> bool:
        """Whether the server delivers an octet of this message of the open folder.

        Raises:
            TemporaryError: the connection is lost, or the server refuses it because of a limit.
        """

    def close(self) -> None:
        """Log out. Never raises; may be called twice."""
