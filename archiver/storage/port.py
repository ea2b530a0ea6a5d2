"""What a store of messages has to be: where octets lie.

Every store is a `MessageStore`. One that is read from far away is also a `Prefetch`. One that other programs read
has `FolderMetadata` beside its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

from archiver.facts.archive import Fact
from archiver.mail.model import Body, Digest, Frame, Placement
from archiver.storage.audit import Audited


class StoreBatch(Protocol):
    """Messages made durable together. One thread, many messages, one `commit`."""

    def put(self, placement: Placement, body: Body, twin: Placement | None = None) -> None:
        """Write the octets where nobody sees them yet. Takes over `body.spool`. `twin` is a committed place of the
        same octets that arrived in the same second: a store may use it if the octets there are intact."""

    def link(self, placement: Placement, twin: Placement) -> None:
        """Store the octets at `twin`, which are committed already, also at `placement`.

        Raises:
            IntegrityError: the twin's octets are not there. A remote store raises it in `commit`.
        """

    def commit(self) -> Sequence[Fact]:
        """Make all of it durable and visible at its place. Returns the facts to record about where it lies, for
        stores in which a placement alone does not say so. Interrupted at any point, nothing half-written is visible
        under a final name; what is there may be put again."""

    def abandon(self) -> None:
        """Drop what was not committed. A bucket may keep octets that no fact names; they are used when the message
        is put again."""


class Rows(Protocol):
    """What the catalog says is in a store, in the orders that stores need; a Catalog is one. Each call starts
    again."""

    def placements(self) -> Iterator[Placement]:
        """All messages, those of an epoch next to each other."""

    def by_digest(self) -> Iterator[Placement]:
        """All messages, by digest."""

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where these messages lie in packs; those that lie in none are left out."""

    def packs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of every pack, by digest."""


class MessageStore(Protocol):
    """The bytes of an account. No call deletes a message, and only `rewrite_batch` overwrites one.

    Raises (all): ArchiveNotWritable when the disk is full or read-only; ArchiveUnreachable, ArchiveThrottled when
    the store is remote and does not answer.
    """

    def batch(self) -> StoreBatch:
        """Begin a batch."""

    def rewrite_batch(self, damaged: Sequence[Placement]) -> StoreBatch:
        """Begin a batch that replaces whatever lies there for these messages, which are missing or damaged. Only a
        repair may do so, with their own octets. Interrupted, each message is what it was before, or intact."""

    def move(self, moves: Iterable[tuple[Placement, Placement]]) -> None:
        """Bring messages to another placement: their flags changed, or they vanished or returned. Durable on
        return. A move that was done before is fine.

        Raises:
            IntegrityError: a message is at neither place; all other moves are done.
        """

    def open(self, placement: Placement) -> BinaryIO:
        """The message's octets, from the first to the last; they may come from far away and not be seekable.

        Raises:
            IntegrityError: not there.
        """

    def audit(self, rows: Rows, reads: Callable[[Placement], bool]) -> Generator[Audited, None, None]:
        """Check every message of `rows` once, in the order that suits the store: that it is there with its size,
        and its octets if `reads` says so, which is the same for equal octets. Also yields what lies where nothing
        of the archive should, and what is damaged of the store's own. Changes nothing; nobody writes meanwhile.

        What is wrong with one message is reported and stops nothing.
        """

    def recover(self, rows: Rows) -> Iterator[Placement]:
        """After a crash: bring every message of `rows` to its place and remove what unfinished writes left. Yields
        what lies in the store without a row, if its name says a placement and its octets have the digest in it
        (flags from the name)."""

    def spool(self) -> BinaryIO:
        """A new, private, empty local file (with a `name`) for a message too large for memory."""

    def display_path(self, placement: Placement) -> str:
        """Where the message's octets should lie, for people: relative to the store, or a URL."""


class Prefetch(Protocol):
    """What a store that is read from far away is told in advance, so that many requests go out at once."""

    def missing(self, placements: Sequence[Placement]) -> Collection[Digest]:
        """Which of these are not there, and so need not be linked."""

    def prefetch(self, placements: Sequence[Placement]) -> None:
        """The calling thread opens these next, in this order. A second call replaces the first."""


class FolderMetadata(Protocol):
    """What other programs read beside the messages: names, keywords, UIDs, subscriptions. `directory` is that of
    the catalog. Each call may be repeated, also by a later run.

    Raises (all): ArchiveNotWritable when the disk is full or read-only.
    """

    def write_folder_name(self, directory: str, raw: bytes, path: Sequence[str]) -> None:
        """Write the folder's true name beside its messages."""

    def reserve_keywords(self, directory: str, keywords: Sequence[str]) -> None:
        """Reserve the folder's keywords in the server's order, before messages use them. Keywords that the store
        knows already keep their position."""

    def write_uidlist(self, directory: str, status: tuple[int, int], uids: Iterable[Placement]) -> None:
        """Write the UIDs of the folder's present messages, which are best given in UID order; `status` is
        (uidvalidity, uidnext)."""

    def write_subscriptions(self, directories: Sequence[str]) -> None:
        """Write the list of subscribed folders."""
