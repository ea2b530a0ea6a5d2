"""The ports of a store of messages.

Every store is a `MessageStore`. A remote one is also a `Prefetch`. One that other programs read also has
`FolderMetadata`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

from msgspec import Struct

from archiver.facts.archive import Fact
from archiver.mail.model import Body, Digest, Frame, Placement
from archiver.mail.uidset import UidSet
from archiver.storage.audit import Audited


class StoreBatch(Protocol):
    """Messages made durable together. One thread, many messages, one `commit`."""

    def put(self, placement: Placement, body: Body, twin: Placement | None = None) -> None:
        """Write the octets where they are not visible yet. Takes ownership of `body.spool`. `twin` is a committed
        placement of the same octets that arrived in the same second: a store may link to it if it is intact."""

    def link(self, placement: Placement, twin: Placement) -> None:
        """Store the octets of `twin`, which are already committed, also at `placement`.

        Raises:
            IntegrityError: the twin's octets are missing. A remote store raises it in `commit`.
        """

    def commit(self) -> Sequence[Fact]:
        """Make everything durable and visible at its place. Returns the facts to record about where it is, for
        stores in which the placement does not determine this. If interrupted at any point, nothing half-written is
        visible under a final name, and messages may be put again."""

    def abandon(self) -> None:
        """Drop what was not committed. A bucket may keep octets that no fact names; they are used when the message
        is stored again."""


class Rows(Protocol):
    """What a store must have according to the catalog, in the orders that stores need. Each call starts from the
    beginning."""

    def placements(self) -> Iterator[Placement]:
        """All messages; those of an epoch are adjacent."""

    def by_digest(self) -> Iterator[Placement]:
        """All messages, by digest."""

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where these messages are in packs; those that are not in a pack are left out."""

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
        """Begin a batch that replaces what exists of these messages, which are missing or damaged. Only a repair
        may do this, with their own octets. If interrupted, each message is as it was before, or intact."""

    def move(self, moves: Iterable[tuple[Placement, Placement]]) -> None:
        """Move messages to another placement: their flags changed, or they vanished or returned. Durable on return.
        A move may be repeated.

        Raises:
            IntegrityError: a message is at neither place; all other moves are done.
        """

    def open(self, placement: Placement) -> BinaryIO:
        """The message's octets, from the first to the last; not seekable if they come over a network.

        Raises:
            IntegrityError: missing.
        """

    def audit(self, rows: Rows, reads: Callable[[Placement], bool]) -> Generator[Audited, None, None]:
        """Check every message of `rows` once, in the order that suits the store: that it exists with its size, and
        its octets if `reads` selects it, which is the same for equal octets. Also yields unexpected files and
        objects, and damaged parts of the store itself. Changes nothing; there must be no writer at the same time.

        A fault of one message is reported and does not stop the audit.
        """

    def recover(self, rows: Rows) -> Iterator[Placement]:
        """After a crash: move every message of `rows` to its place and remove leftovers of unfinished writes.
        Yields files without a row whose names have a placement and whose octets match the digest in it (flags from
        the name)."""

    def spool(self) -> BinaryIO:
        """A new, private, empty local file (with a `name`) for a message too large for memory."""

    def display_path(self, placement: Placement) -> str:
        """The expected place of the message's octets, for people: a path relative to the store, or a URL."""


class Doomed(Struct, frozen=True):
    """What is to be erased: messages at their places, all that have these digests wherever else they are, and the
    packs that ever held one of them."""

    places: Sequence[Placement]
    digests: frozenset[Digest]
    packs: Collection[Digest] = ()


class Eraser(Protocol):
    """Erases messages from a store, for those who have recorded that they are forgotten."""

    def spare(self, doomed: Doomed) -> Sequence[Fact]:
        """Store elsewhere what would be erased with them; durable on return. Returns the facts to be recorded
        before `erase`."""

    def erase(self, doomed: Doomed) -> Sequence[tuple[str, str]]:
        """Erase all octets of these messages, durable on return; what had to stay, for people, each with the
        reason. May be repeated."""


class Prefetch(Protocol):
    """Announcements to a remote store, so that it can send many requests at the same time."""

    def missing(self, placements: Sequence[Placement]) -> Collection[Digest]:
        """Which of these are missing, so that they need not be linked."""

    def prefetch(self, placements: Sequence[Placement]) -> None:
        """The calling thread opens these next, in this order. A second call replaces the first."""


class FolderMetadata(Protocol):
    """The files that other programs read besides the messages: names, keywords, UIDs, subscriptions. `directory` is
    that of the catalog. Each call may be repeated, also by a later run.

    Raises (all): ArchiveNotWritable when the disk is full or read-only.
    """

    def write_folder_name(self, directory: str, raw: bytes, path: Sequence[str]) -> None:
        """Write the folder's real name next to its messages."""

    def reserve_keywords(self, directory: str, keywords: Sequence[str]) -> None:
        """Reserve the folder's keywords in the server's order, before messages use them. Keywords that the store
        already knows keep their position."""

    def write_uidlist(
        self,
        directory: str,
        status: tuple[int, int],
        uids: UidSet,
        of: Callable[[UidSet], Iterable[Placement]],
        *,
        settled: bool = False,
    ) -> None:
        """Write the UIDs of the folder's present messages; `status` is (uidvalidity, uidnext), and `of` returns the
        placements of some. `settled`: the list is as the folder's last complete pass left it, so only what came or
        went is looked at. A list that is not as it was left is written as a whole all the same."""

    def write_subscriptions(self, directories: Sequence[str]) -> None:
        """Write the list of subscribed folders."""
