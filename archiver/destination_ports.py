"""The ports of a replay: reading an open folder, changing a destination, and what the catalog knows of one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from archiver.copies import (
    Address,
    Appended,
    Attempt,
    Copy,
    CopyTally,
    DestinationFolders,
    Intent,
    KnownDestination,
    KnownTarget,
    Letter,
    LookedAt,
    Loss,
    MessageKey,
    Moved,
    OpenedTarget,
    Outgoing,
    Refused,
    Stranger,
    Twin,
)
from archiver.errors import FolderRefused
from archiver.model import Attributes, Digest, Fetched, Flags, Undelivered


class MailReader(Protocol):
    """Reading the folder that is open."""

    def uids(self, criteria: str | None = None) -> set[int]:
        """The UIDs in the open folder, all of them or those an IMAP SEARCH finds.

        Raises:
            CountsDisagree: the answer does not agree with the number of messages the folder holds.
            MessageRefused: the server does not take the criteria.
        """

    def scan(self, uids: Collection[int] | None, *, changed_since: int | None = None) -> Iterator[Attributes]:
        """FLAGS, INTERNALDATE and RFC822.SIZE of `uids` (None: all), in any order, each at least once.

        `changed_since`: only those whose modseq is above it (RFC 7162). UIDs that are gone are left out.
        """

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        """The header blocks of `uids`, with the blank line, as the server cuts them; or that one field alone."""

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        """The messages, streamed: exactly one outcome for each of `uids`, in any order.

        A message comes only when its octets are complete. One message's failure is an Undelivered, never an
        exception. After TemporaryError the UIDs without an outcome may be asked again. One with `breaks` may come
        when it is asked for by itself.
        """


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


class Destinations(Protocol):
    """Which destinations the catalog knows, and what they are known by."""

    def at(self, address: Address) -> KnownDestination | None:
        """The destination that was met under this address last; one whose port is not recorded only where no port
        of that host and user is. None if it is new."""

    def with_history(self) -> Sequence[KnownDestination]:
        """The destinations whose folders were opened, each by its newest address, the one met last first."""

    def is_distinct(self, destination: int) -> bool:
        """Whether a person said that it is another mailbox than the present source."""

    def known_before(self, destination: int) -> Collection[int]:
        """The UIDVALIDITYs that the source showed before a folder of the destination did."""

    def count_known(self, strangers: Collection[Stranger]) -> int:
        """How many of these messages are messages of the archive, by Message-ID; by size and INTERNALDATE where
        they have none."""


class Copies(Protocol):
    """What the catalog knows of destinations. A destination, a target and a folder are named by their numbers."""

    def mapped(self, destination: int) -> Mapping[int, tuple[bytes, tuple[str, ...], str]]:
        """(raw, path, rules) of each folder's place at the destination, by the folder's number."""

    def targets(self, destination: int) -> Mapping[bytes, KnownTarget]:
        """The current targets by their raw names; ended ones are not among them."""

    def work(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages `pending` would give, and their octets."""

    def pending(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next `limit` present messages of `folders` after `after` that have no copy in the target, in the
        order of epoch and UID. `vanished`: also those that are gone from the source, each as often as the folder
        held it."""

    def lacking(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Those of these messages, present or not, that have no copy in the target and that its user did not
        remove."""

    def equal(self, target: int, digests: Collection[Digest]) -> Sequence[Copy]:
        """Copies with one of these digests, also those that were seen to be gone."""

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        """The UIDs of copies that were seen to be gone, by target, ended ones too."""

    def claimed(self, target: int) -> dict[int, bool]:
        """The UIDs of all copies, true for those that were not seen to be gone."""

    def newest(self, target: int, limit: int) -> Sequence[Copy]:
        """The `limit` copies with the highest UIDs that were not seen to be gone."""

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome, in the order of epoch and UID."""

    def attempts(self, target: int) -> Sequence[Attempt]:
        """Messages that have a copy and may be stored once more: an APPEND before that was never answered."""

    def twins(self, target: int) -> Sequence[Twin]:
        """Messages that were stored once more, and that were not seen to be gone, in UID order."""

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Copy]:
        """Copies with one of these digests whose message the source no longer has under that UID, or in that
        folder."""

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Copy]:
        """The next `limit` copies after the UID `after` whose message's flags are no longer those that were
        replayed, or that are marked although their message is there."""

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Copy, Outgoing]]:
        """The next `limit` copies after the UID `after` that show another size than was sent and were not compared
        yet, with their messages, in UID order."""

    def vanished(self, target: int, *, twice: bool = True, gone: Collection[int] = ()) -> Sequence[Copy]:
        """Copies that we appended whose message vanished, or was in one of the folders `gone` and these are no
        longer at the source. `twice`: those that may be withdrawn, being seen so by two complete archive steps, and
        without those with the octets of a message that is at the source, is to be at the destination and has no
        copy there."""

    def moved(self, destination: int) -> Sequence[Moved]:
        """Targets that are not where the folders that have their mail now go, by what was recorded."""

    def stranded(self, destination: int) -> Mapping[int, int]:
        """How many copies that we appended are there of folders that the source no longer has, by their numbers;
        without those that a person had brought back."""

    def copies(self, target: int, *, removed: bool = False) -> Iterator[Copy]:
        """All copies of present messages, and of those that were brought back, that were not seen to be gone, in
        UID order; or all that were."""

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Present messages that were refused; `vanished`: also those that are gone from the source."""

    def tallies(self, destination: int, run: str | None) -> Sequence[CopyTally]:
        """What became of every mapped folder's present messages, and beside them what `run` brought back."""

    def losses(self, destination: int) -> Sequence[Loss]:
        """What the destination altered or does not keep, and what it stored twice."""
