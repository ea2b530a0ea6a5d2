"""The ports of a server to replay to: small ones, by who uses them.

A connection implements all of them (`MailDestination`). It changes only what its methods say, in the folder that
was opened last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from archiver.control.limits.port import Meter
from archiver.destination.rights import RightsChange
from archiver.errors import FolderRefused
from archiver.facts.access import Rights
from archiver.facts.mailbox import Appended, AppendMessage, DestinationFolders, FolderStat, SelectedFolder
from archiver.imap.capabilities import ServerFacts
from archiver.mail.content import Spool
from archiver.mail.model import Attributes, Flags, Labels
from archiver.mail.reader import MailReader


class FolderTree(Protocol):
    """The folders of a destination."""

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


class RightsKeeper(Protocol):
    """The access rights of a destination's folders."""

    def rights(self, raws: Sequence[bytes]) -> Mapping[bytes, Rights]:
        """The rights of those of these folders whose rights it shows; none if it has none. No folder is open
        afterwards."""

    def change_rights(self, changes: Sequence[tuple[bytes, RightsChange]]) -> Sequence[str | None]:
        """Give and take away rights in folders, in few round trips. For each change the reason if it is
        refused, else None."""


class FolderOpener(Protocol):
    """Opens a folder for what is done in it."""

    def open(self, raw: bytes, *, readonly: bool = False) -> SelectedFolder:
        """Open a folder, for writing unless `readonly`; later calls are about it.

        Raises:
            FolderNotFound, PermissionDenied: about this folder only.
        """


class DestinationReader(FolderOpener, MailReader, Protocol):
    """Reads what is in a destination's folders."""

    def stat(
        self, folders: Sequence[tuple[bytes, Collection[int]]], *, since: Mapping[bytes, int] | None = None
    ) -> Sequence[FolderStat | None]:
        """The attributes of these UIDs in several folders, read-only and in one round trip; in the folders of
        `since` also of all messages that are new or changed since that HIGHESTMODSEQ (CONDSTORE, RFC 7162). None
        for a folder where this fails: opening it shows why. No folder is open afterwards."""


class Appender(FolderOpener, Protocol):
    """Appends messages to the open folder."""

    @property
    def most_in_flight(self) -> int:
        """How many groups of messages may be begun before the first one is ended."""

    def begin_append(self, messages: Sequence[AppendMessage]) -> None:
        """Send messages to the open folder, in order, in as few commands as the server supports. Their results are
        known after `end_append`."""

    def end_append(self) -> Sequence[Appended]:
        """Wait for the answers to the oldest group that was begun; in the order of its messages."""

    def begin_look(self, uids: Sequence[int]) -> None:
        """Ask for the attributes of these messages behind what was begun. They are known after `end_look`, which
        takes its turn with `end_append`."""

    def end_look(self) -> Mapping[int, Attributes]:
        """Wait for what `begin_look` asked for; empty if the server refuses it."""

    @property
    def unanswered(self) -> Sequence[AppendMessage]:
        """The messages that may have been sent and have no answer yet."""

    def list_since(self, uid: int, *, taken: int = 0, then: bytes | None = None) -> dict[int, Attributes]:
        """The messages of the open folder from this UID on. `taken` is how many were appended since the last call,
        all with success: if the server has reported as many new messages meanwhile, it is not asked for more, and
        mail from others may be missing. `then` is the folder that will be opened next, so that this can be sent
        along; until it is opened, calls are about this one.
        """


class FlagStore(FolderOpener, Protocol):
    """Changes the flags of messages in the open folder, and removes messages from it."""

    @property
    def can_expunge(self) -> bool:
        """Whether it can expunge given messages and no others (UIDPLUS, RFC 4315)."""

    def flags(self, uids: Collection[int]) -> dict[int, Flags]:
        """The flags of these messages; those that are gone are left out."""

    def store(self, changes: Mapping[tuple[Flags, Flags], Collection[int]]) -> dict[int, Flags]:
        """Add and remove flags: (added, removed) → UIDs. Returns the flags afterwards, without changes that the
        server refused."""

    def expunge(self, uids: Collection[int]) -> None:
        """Remove these messages, which have \\Deleted, and no others."""


class LabelStore(Protocol):
    """Changes Gmail's labels of messages in the open folder."""

    def read(self, uids: Collection[int]) -> dict[int, Labels]:
        """The labels of these messages; those that are gone are left out."""

    def store(self, changes: Mapping[tuple[Labels, Labels], Collection[int]]) -> dict[int, Labels]:
        """Add and remove labels: (added, removed) → UIDs. Returns the labels afterwards, without changes that the
        server refused."""


class Labelling(Protocol):
    """A server that may have labels."""

    @property
    def labels(self) -> LabelStore | None:
        """The labels of messages in the open folder; None if the server has none (X-GM-EXT-1)."""


class Waiting(Protocol):
    """A connection that can wait for another user."""

    @property
    def can_wait(self) -> bool:
        """Whether it can be used later for something else, as if it had just logged in."""

    def use(self, spool: Spool) -> bool:
        """Put messages that are too large for memory there from now on. False if the server has ended the
        connection meanwhile, as far as that shows without asking it."""


class Metered(Protocol):
    """A connection whose octets are counted."""

    def meter(self, meter: Meter) -> None:
        """Count the octets of the connection there from now on, and let it decide when more may pass."""


class Closing(Protocol):
    """A connection that can be ended."""

    def close(self) -> None:
        """Log out. Never raises; may be called twice."""

    def hang_up(self) -> None:
        """Close at once. Never raises; may be called twice."""


class DestinationInfo(Protocol):
    """What `archiver check` prints about a destination."""

    @property
    def facts(self) -> ServerFacts:
        """What the server has said about itself so far."""

    def free_octets(self) -> int | None:
        """The free space in octets; None if there is no limit or it is not known."""


class MailDestination(
    FolderTree,
    RightsKeeper,
    DestinationReader,
    Appender,
    FlagStore,
    Labelling,
    DestinationInfo,
    Waiting,
    Metered,
    Closing,
    Protocol,
):
    """One connection to a server to replay to, for what opens it, reconnects it, and hands it on."""
