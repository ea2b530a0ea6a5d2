"""What a destination has to be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from archiver.errors import FolderRefused
from archiver.facts.replica import Appended, DestinationFolders, Letter, LookedAt, OpenedTarget
from archiver.mail.model import Attributes, Flags
from archiver.mail.reader import MailReader


class MailDestination(MailReader, Protocol):
    """A server to replay to, one connection. It changes what it is told to change and nothing else."""

    @property
    def most_in_flight(self) -> int:
        """How many groups may be begun before the first of them is ended."""

    @property
    def can_expunge(self) -> bool:
        """Whether it expunges the messages it is told to and no others (UIDPLUS, RFC 4315)."""

    def list_folders(self) -> DestinationFolders:
        """All folders with their status, and how new ones are named.

        Raises:
            ServerUnavailable: the list is empty.
        """

    def create(self, raw: bytes, use: str | None) -> None:
        """Make a folder; fine if it is there. `use` is its special-use, given where the server takes it (RFC 6154).

        Raises:
            FolderRefused: the server does not want a folder of that name.
        """

    def create_all(
        self, folders: Sequence[tuple[bytes, str | None]]
    ) -> Iterator[tuple[bytes, FolderRefused | None]]:
        """Make folders, parents first, in few round trips. What becomes of each as it is known: why the server does
        not want it, or None."""

    def rename(self, raw: bytes, to: bytes) -> None:
        """Rename a folder, and those below it with it; fine if that is done already. No folder is open afterwards.

        Raises:
            FolderRefused: it was not done.
        """

    def subscribe(self, raws: Collection[bytes]) -> None:
        """Subscribe to folders; one that the server refuses is passed over."""

    def open(self, raw: bytes, *, readonly: bool = False) -> OpenedTarget:
        """Open a folder; later calls speak of it. Not read-only, it may be changed.

        Raises:
            FolderNotFound, PermissionDenied: this folder only.
        """

    def look(self, folders: Sequence[tuple[bytes, Collection[int]]]) -> Sequence[LookedAt | None]:
        """What folders show of these UIDs, read-only and in one round trip. None for one that tells nothing in this
        way: opening it says why. No folder is open afterwards."""

    def begin_append(self, letters: Sequence[Letter]) -> None:
        """Send messages to the open folder, in order, as few commands as the server's abilities allow. Nothing is
        known of them before `end_append`."""

    def end_append(self) -> Sequence[Appended]:
        """Wait for the answers to the oldest group that was begun, in the order of its messages."""

    @property
    def unanswered(self) -> Sequence[Letter]:
        """Of the letters given to `begin_append` those that may be on the wire, and of which nothing was heard."""

    def shown(self, since: int, *, taken: int = 0) -> dict[int, Attributes]:
        """What the open folder shows now, from the UID `since` on. `taken` messages were appended since it was last
        asked, all with success: where the server told meanwhile that the folder holds as many more, it is not asked
        for news, and mail of others may be missing.
        """

    def flags(self, uids: Collection[int]) -> dict[int, Flags]:
        """The flags the server shows of these; those that are gone are left out."""

    def store(self, changes: Mapping[tuple[Flags, Flags], Collection[int]]) -> dict[int, Flags]:
        """Add and remove flags: (added, removed) → UIDs. Returns the flags the server shows of them afterwards: a
        change that it refuses was not made."""

    def expunge(self, uids: Collection[int]) -> None:
        """Remove these messages, which have \\Deleted, and no others."""

    def close(self) -> None:
        """Log out; never raises, may be called twice."""

    def hang_up(self) -> None:
        """Close at once; never raises, may be called twice."""
