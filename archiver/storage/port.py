"""What a store of messages has to be: where octets lie."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

from archiver.facts.archive import Fact
from archiver.mail.model import Body, Digest, Frame, Placement
from archiver.storage.audit import Audited


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
    """What the catalog says is in a store, in the orders that stores look in; a Catalog is one. Each call
    starts again."""

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

        What is wrong with one message is reported and stops nothing.
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
