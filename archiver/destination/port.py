"""The interface of a destination."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from archiver.errors import FolderRefused
from archiver.facts.replica import Appended, AppendMessage, DestinationFolders, LookedAt, OpenedTarget
from archiver.mail.model import Attributes, Flags
from archiver.mail.reader import MailReader


class MailDestination(MailReader, Protocol):
    """One connection to a server to replay to. It changes nothing but what its methods say."""

    @property
    def most_in_flight(self) -> int:
        """How many groups of messages may be begun before the first one is ended."""

    @property
    def can_expunge(self) -> bool:
        """Whether it can expunge given messages and no others (UIDPLUS, RFC 4315)."""

    def list_folders(self) -> DestinationFolders:
        """All folders with their status, and the rules for naming new ones.

        Raises:
            ServerUnavailable: the list is empty or incomplete.
        """

    def create(self, raw: bytes, use: str | None) -> None:
        """Create a folder, unless it exists. `use` is its special use, set if the server supports that (RFC 6154).

        Raises:
            FolderRefused: the server does not accept a folder of that name.
        """

    def create_all(
        self, folders: Sequence[tuple[bytes, str | None]]
    ) -> Iterator[tuple[bytes, FolderRefused | None]]:
        """Create folders, parents first, in few round trips. Yields each name as soon as its result is known, with
        the reason if the server does not accept it, else None."""

    def rename(self, raw: bytes, to: bytes) -> None:
        """Rename a folder and those below it, unless that is done already. No folder is open afterwards.

        Raises:
            FolderRefused: the server did not rename it.
        """

    def subscribe(self, raws: Collection[bytes]) -> None:
        """Subscribe to folders. Refusals are ignored."""

    def open(self, raw: bytes, *, readonly: bool = False) -> OpenedTarget:
        """Open a folder, for writing unless `readonly`; later calls are about it.

        Raises:
            FolderNotFound, PermissionDenied: about this folder only.
        """

    def look(self, folders: Sequence[tuple[bytes, Collection[int]]]) -> Sequence[LookedAt | None]:
        """The attributes of these UIDs in several folders, read-only and in one round trip. None for a folder where
        this fails: opening it shows why. No folder is open afterwards."""

    def begin_append(self, messages: Sequence[AppendMessage]) -> None:
        """Send messages to the open folder, in order, in as few commands as the server supports. Their results are
        known after `end_append`."""

    def end_append(self) -> Sequence[Appended]:
        """Wait for the answers to the oldest group that was begun; in the order of its messages."""

    @property
    def unanswered(self) -> Sequence[AppendMessage]:
        """The messages that may have been sent and have no answer yet."""

    def shown(self, since: int, *, taken: int = 0) -> dict[int, Attributes]:
        """The messages of the open folder from the UID `since` on. `taken` is how many were appended since the last
        call, all with success: if the server has reported as many new messages meanwhile, it is not asked for more,
        and mail from others may be missing.
        """

    def flags(self, uids: Collection[int]) -> dict[int, Flags]:
        """The flags of these messages; those that are gone are left out."""

    def store(self, changes: Mapping[tuple[Flags, Flags], Collection[int]]) -> dict[int, Flags]:
        """Add and remove flags: (added, removed) → UIDs. Returns the flags afterwards, without changes that the
        server refused."""

    def expunge(self, uids: Collection[int]) -> None:
        """Remove these messages, which have \\Deleted, and no others."""

    def close(self) -> None:
        """Log out. Never raises; may be called twice."""

    def hang_up(self) -> None:
        """Close at once. Never raises; may be called twice."""
