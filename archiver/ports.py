"""The few ports: what a step needs of a server, a store, a journal and a catalog.

Steps are written against these alone. Each port has one contract suite in tests/contracts that every adapter
passes. All calls are synchronous. A source belongs to one thread; a store, a journal and a catalog may be
called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

from archiver.audit import Audited
from archiver.copies import MessageKey
from archiver.destination_ports import Copies, Destinations, MailReader
from archiver.facts import ArchiveFact, Fact, Segment
from archiver.model import (
    Attributes,
    Body,
    Digest,
    Flags,
    Folder,
    Frame,
    Headers,
    KnownEpoch,
    KnownFolder,
    Listed,
    Numbers,
    Opened,
    Placement,
    Quarantined,
    Resume,
    Tally,
    Twin,
)
from archiver.queries import Found, Query, Unindexed


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


class StoreBatch(Protocol):
    """Messages made durable together. One thread, many messages, one `commit`."""

    def put(self, placement: Placement, body: Body, twin: Placement | None = None) -> None:
        """Write the octets where they are not yet seen. Takes over `body.spool`. `twin` is a committed place of the
        same octets that arrived at the same second: a store may use it, where it is what it should be."""

    def link(self, placement: Placement, twin: Placement) -> None:
        """The octets at `twin`, already committed, also at `placement`.

        Raises:
            IntegrityError: the twin's octets are not there. A store that asks far away says so in `commit`.
        """

    def commit(self) -> Sequence[Fact]:
        """Make all of it durable and seen at its place; returns what is to be recorded of where it lies, for stores
        where a placement alone does not tell. Interrupted at any point, nothing half-written is seen at a final
        name; what is there may be put again."""

    def abandon(self) -> None:
        """Drop what was not committed. A bucket may keep octets that no fact will name; they are used when the
        message is put again."""


class Rows(Protocol):
    """What the catalog says is in a store, in the orders that stores look in; a Catalog is one. Each call walks
    anew."""

    def placements(self) -> Iterator[Placement]:
        """All messages, those of an epoch next to each other."""

    def by_digest(self) -> Iterator[Placement]:
        """All messages, by digest."""

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where those of these messages that lie in packs do so."""

    def packs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of every pack, by digest."""


class MessageStore(Protocol):
    """The bytes of an account. No call deletes a message, and none but `mend` overwrites one.

    Raises (all): ArchiveNotWritable when the disk is full or read-only; ArchiveUnreachable, ArchiveThrottled when
    the store is a bucket that does not answer.
    """

    def batch(self) -> StoreBatch:
        """Begin a batch."""

    def move(self, moves: Iterable[tuple[Placement, Placement]]) -> None:
        """Messages changed flags, or left the present ones; durable on return. A move done before is fine.

        Raises:
            IntegrityError: a message is at neither place; all other moves are done.
        """

    def open(self, placement: Placement) -> BinaryIO:
        """The message's octets, from the first to the last; they may come from far away and not be seekable.

        Raises:
            IntegrityError: not there.
        """

    def lacking(self, placements: Sequence[Placement]) -> Collection[Digest]:
        """What is known of them not to be there, and need not be linked; a store where `link` says so at once
        leaves it to that."""

    def foresee(self, placements: Sequence[Placement]) -> None:
        """The calling thread opens these next, in this order. Told again, what it foresaw before is forgotten."""

    def spool(self) -> BinaryIO:
        """A new, private, empty local file (with a `name`) for a message too large for memory."""

    def found(self) -> Iterator[tuple[str, str]]:
        """Every file of the store as (directory-relative path, name), vanished ones too, tmp leftovers not."""

    def place(self, placement: Placement) -> str:
        """Where the message's octets should lie, relative to the store, whether they are there or not."""

    def audit(self, rows: Rows, reads: Callable[[Placement], bool]) -> Generator[Audited, None, None]:
        """Look at every message of `rows` once, in whatever order: that it is there with its size, and its octets
        where `reads` says so, which is the same for equal octets. Between them comes what lies where nothing of the
        archive should, and what is damaged of the store's own. Nobody writes meanwhile; changes nothing.

        What is wrong with one message is told and stops nothing.
        """

    def mend(self, damaged: Sequence[Placement]) -> StoreBatch:
        """Begin a batch that takes the place of whatever lies there for these messages, which are missing or
        damaged. Only a repair may; what is put has to be theirs. Interrupted, what was there is there still, or it
        is whole."""

    def settle(self, rows: Rows) -> Iterator[Placement]:
        """After a crash: bring every message of `rows` to its place, clear leftovers of unfinished writes, and
        yield what lies in the store without a row, as far as its name tells a placement whose octets' digest fits
        (flags from the name)."""

    def reserve(self, directory: str, keywords: Sequence[str]) -> None:
        """The folder's keywords in the server's order, said before messages use them; keywords known to the
        store keep their place."""

    def describe(self, directory: str, raw: bytes, path: Sequence[str]) -> None:
        """Write the folder's true name beside its messages."""

    def publish(self, directory: str, status: tuple[int, int], uids: Iterable[Placement]) -> None:
        """Write the folder's control files for its present messages, best given in UID order; `status` =
        (uidvalidity, uidnext)."""

    def subscribe(self, directories: Sequence[str]) -> None:
        """Write the list of subscribed folders."""


class Journal(Protocol):
    """The append-only copy of the facts beside the bytes."""

    def append(self, run: str, facts: Sequence[Fact], after: tuple[int, Digest]) -> Segment:
        """Write the next segment, durable on return; `after` is number and digest of the last one.

        Raises:
            IntegrityError: that number exists already.
        """

    def read(self, after: tuple[int, Digest]) -> Iterator[Segment]:
        """The segments after that one, in order, each checked against the chain.

        Raises:
            IntegrityError: a segment is missing, damaged, or does not follow from the one before.
        """


class Catalog(Protocol):
    """The facts, queryable. `apply` is the only way facts get in."""

    def last_segment(self) -> tuple[int, Digest]:
        """Number and digest of the newest segment applied; (0, "") for none."""

    def apply(self, segment: Segment) -> None:
        """Apply a segment's facts and its number in one transaction. A segment applied before is refused.

        Raises:
            IntegrityError: it is not the next one.
        """

    def identity(self) -> ArchiveFact | None:
        """Whose archive this is; None when new."""

    def folders(self) -> Mapping[bytes, KnownFolder]:
        """All folders ever seen, by their raw name."""

    def epochs(self) -> Mapping[int, KnownEpoch]:
        """The current epoch of each folder, by folder number; ended ones are not among them."""

    def next_numbers(self) -> Numbers:
        """The numbers that come next."""

    def known(self, epoch: int) -> dict[int, Flags]:
        """The present messages of an epoch: uid → flags. Equal sets of flags are one object."""

    def placements(self, epoch: int | None = None, *, uids: Collection[int] | None = None) -> Iterator[Placement]:
        """Where messages are: of one epoch (present and vanished) or of all, in UID order within an epoch."""

    def by_digest(self) -> Iterator[Placement]:
        """All messages of all epochs, present and vanished, ordered by their digests: for stores that name objects
        so. Messages of equal octets are next to each other."""

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where those of these messages that lie in packs do so."""

    def packs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of every pack, by digest."""

    def headers(self, digests: Collection[Digest]) -> Mapping[Digest, Headers]:
        """What is known of the headers of these octets."""

    def attributes(self, epoch: int, uids: Collection[int]) -> dict[int, Attributes]:
        """Recorded flags, INTERNALDATE and RFC822.SIZE of these messages, to compare with a server's."""

    def twins(self, digests: Collection[Digest]) -> dict[tuple[Digest, int], Placement]:
        """Committed places of equal octets that arrived at the same second, by (digest, arrived)."""

    def candidates(self, sizes: Collection[int]) -> Sequence[tuple[Attributes, Twin]]:
        """Messages with one of these RFC822.SIZEs in the whole account, for re-matching in a new epoch."""

    def quarantined(self, epoch: int | None = None) -> Sequence[Quarantined]:
        """What waits in quarantine, of one current epoch or of those of all listed folders."""

    def tallies(self, run: str | None = None) -> Sequence[Tally]:
        """The equation of every listed folder, with the work of `run`."""

    def index(self) -> MessageIndex:
        """What messages are found by."""

    def ledger(self) -> RunLedger:
        """The runs and their steps."""

    def destinations(self) -> Destinations:
        """Which destinations are known, and what they are known by."""

    def at_destinations(self) -> Copies:
        """What destinations hold of the archive."""


class MessageIndex(Protocol):
    """What the messages of a catalog are found by."""

    def find(self, query: Query) -> Sequence[Found]:
        """The newest messages that are what `query` asks for, by when they arrived. One that is in its folder under
        a new UID, in a new epoch, is not found under the old one."""

    def unindexed(self, after: MessageKey, limit: int) -> Sequence[Unindexed]:
        """The next messages after `after`, by epoch and UID, whose headers are not known."""

    def count_unindexed(self) -> int:
        """How many digests there are whose headers are not known."""


class RunLedger(Protocol):
    """Which runs there were, which of their steps are done. Part of the catalog, not of the archive's facts."""

    def begin(self, run: str, at: str) -> None:
        """A run begins; fine if it did before."""

    def finish(self, run: str, status: str, exit_code: int, at: str) -> None:
        """A run ended."""

    def runs(self) -> Sequence[tuple[str, str, str | None, str | None, int | None]]:
        """(run, started, finished, status, exit_code) of all runs, oldest first."""

    def complete_step(self, run: str, step: str, result: str, at: str, seconds: float | None = None) -> None:
        """A step is done, in so many seconds; `result` is JSON for the steps after it."""

    def timings(self, run: str) -> Mapping[str, float]:
        """How many seconds the steps of a run took."""

    def step_result(self, run: str, step: str) -> str | None:
        """The result of a step that is done; None if it is not."""


Spool = Callable[[], BinaryIO]
"""Opens a new, private, empty spool file (with a `name`) on the archive's own file system."""
