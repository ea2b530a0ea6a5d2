"""The store in a bucket: each message is one object, named by the digest of its octets and written once.

Folders, flags and vanished messages are facts, not keys: a message that is in ten folders, or found by twenty runs,
is one object, and nothing that happens to it at the server changes the object.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import BinaryIO

from archiver.errors import IntegrityError
from archiver.facts.archive import Fact
from archiver.mail.model import Body, Digest, Placement
from archiver.storage.audit import Audited
from archiver.storage.bucket.keys import message_key
from archiver.storage.bucket.objects_audit import audit_elsewhere, audit_objects
from archiver.storage.bucket.port import Bucket, Octets
from archiver.storage.bucket.prefetch import SMALL_OCTETS, ReadAhead, Request
from archiver.storage.bucket.spool import sendable, unlink
from archiver.storage.files import Writing, make_directory, private_file
from archiver.storage.port import Rows
from archiver.storage.threads import Threads

SPOOL = "spool"

_REMEMBERED = 200_000  # digests known to be there: 64 octets each


class ObjectStore:
    """A MessageStore and Prefetch in `bucket`; messages that are too large for memory are spooled below `path`, on
    the local disk.

    Up to `connections` objects are transferred at the same time. Threads may share it; a fork opens its own
    connections.
    """

    def __init__(self, bucket: Bucket, path: Path, connections: int) -> None:
        self._bucket = bucket
        self._path = path
        self._connections = connections
        self.threads = Threads(connections)
        self._there: set[Digest] = set()
        self._ahead = ReadAhead(self.threads)

    def batch(self) -> ObjectBatch:
        """Begin a batch."""
        return ObjectBatch(self.threads, self.write, self.require)

    def move(self, moves: Iterable[tuple[Placement, Placement]]) -> None:
        """Does nothing: flags, and whether a message is present, are only facts."""

    def open(self, placement: Placement) -> BinaryIO:
        """The message's octets, as they arrive; not seekable.

        Raises:
            IntegrityError: not there.
        """
        octets = self._ahead.take(placement.digest)
        return self.read(placement) if octets is None else io.BytesIO(octets)

    def missing(self, placements: Sequence[Placement]) -> Collection[Digest]:
        """Those that do not exist with their size; checked concurrently."""
        looks = {each.digest: self.threads.submit(partial(self.require, each)) for each in placements}
        wait(looks.values())
        return {digest for digest, look in looks.items() if _is_missing(look)}

    def prefetch(self, placements: Sequence[Placement]) -> None:
        """These are opened next, in this order: small ones are fetched concurrently while the first are used."""
        self._ahead.expect(map(self.request, filter(is_small, placements)))

    def request(self, placement: Placement) -> Request:
        """What fetches a small message."""

        def fetch() -> dict[Digest, bytes]:
            with self.read(placement) as file:
                # NOTE: an object that is larger than expected is not completely read into memory.
                return {placement.digest: file.read(placement.size + 1)}

        return Request({placement.digest: placement.size}, fetch)

    def display_path(self, placement: Placement) -> str:
        """The message's URL."""
        return self._bucket.place(message_key(placement.digest))

    def audit(self, rows: Rows, reads: Callable[[Placement], bool]) -> Generator[Audited, None, None]:
        """A listing merged with the rows in the order of digests; octets are read if `reads` selects them."""
        yield from audit_objects(self._bucket, rows.by_digest(), reads, self.threads.submit, 2 * self._connections)
        yield from audit_elsewhere(self._bucket)

    def rewrite_batch(self, damaged: Sequence[Placement]) -> ObjectBatch:
        """A batch that overwrites objects."""

        def replace(digest: Digest, size: int, octets: Octets, *, likely: bool = False) -> None:
            self._bucket.replace(message_key(digest), octets, digest, "message")

        return ObjectBatch(self.threads, replace, self.require)

    def recover(self, rows: Rows) -> Iterator[Placement]:
        """Nothing to do: a bucket has no half-written objects, and none in the wrong place.

        Objects without a fact have no folder and no UID. They are found by their digest when the message is stored
        again; `gc` removes those that stay unused.
        """
        with Writing(str(self._path)):
            for leftover in (self._path / SPOOL).glob("*"):
                leftover.unlink(missing_ok=True)
        return iter(())

    def spool(self) -> BinaryIO:
        """A new, private, empty local file for a message too large for memory."""
        directory = self._path / SPOOL
        with Writing(str(directory)):
            make_directory(str(directory))
            return private_file(str(directory / secrets.token_hex(8)))

    def write(self, digest: Digest, size: int, octets: Octets, *, likely: bool = False) -> None:
        """Ensure that the message exists, durable on return; `likely`: it probably does, so check before sending.

        Raises:
            IntegrityError: an object of that name exists and is not that message.
        """
        key = message_key(digest)
        if digest in self._there:
            return
        if likely and (facts := self._bucket.head(key)) is not None and facts.size == size:
            self._remember(digest)
            return
        create_once(self._bucket, key, octets, digest, size)
        self._remember(digest)

    def require(self, placement: Placement) -> None:
        """Check that the message exists.

        Raises:
            IntegrityError: its octets are missing.
        """
        if placement.digest in self._there:
            return
        facts = self._bucket.head(message_key(placement.digest))
        if facts is None or facts.size != placement.size:
            raise IntegrityError(
                f"{self.display_path(placement)}: its bytes are not in the bucket",
                hint="`archiver verify` lists what is missing, `archiver repair` fetches it again",
            )
        self._remember(placement.digest)

    def read(self, placement: Placement) -> BinaryIO:
        """The message's octets, straight from the bucket."""
        return self._bucket.read(message_key(placement.digest))

    def _remember(self, digest: Digest) -> None:
        if len(self._there) < _REMEMBERED:
            self._there.add(digest)


def _is_missing(look: Future[None]) -> bool:
    try:
        look.result()
    except IntegrityError:
        return True
    return False


def is_small(placement: Placement) -> bool:
    """Whether it may be held in memory together with others."""
    return placement.size <= SMALL_OCTETS


def create_once(bucket: Bucket, key: str, octets: Octets, digest: Digest, size: int) -> None:
    """Ensure that an object exists that is named by its digest, durable on return.

    Raises:
        IntegrityError: an object of that name exists and has another size.
    """
    if bucket.create(key, octets, digest, "message"):
        return
    facts = bucket.head(key)
    if facts is None or facts.size != size:
        held = "nothing" if facts is None else f"{facts.size} bytes"
        raise IntegrityError(
            f"{bucket.place(key)}: holds {held} in place of the {size} it is named for",
            hint="`archiver verify` lists what is damaged, `archiver repair` fetches it again",
        )


class ObjectBatch:
    """Messages that are being written to the bucket. Each is sent as soon as it is put, while the next are
    fetched."""

    def __init__(
        self,
        threads: Threads,
        write: Callable[..., None],
        require: Callable[[Placement], None],
    ) -> None:
        self._threads = threads
        self._write = write
        self._require = require
        self._under_way: dict[Digest, Future[None]] = {}
        self._required: set[Digest] = set()

    def put(self, placement: Placement, body: Body, twin: Placement | None = None) -> None:
        """Begin to send the octets. With a `twin` they probably exist, which is checked first."""
        if body.digest in self._under_way and body.digest not in self._required:
            unlink(body.spool)
            return

        def send() -> None:
            self._write(body.digest, body.size, sendable(placement, body), likely=twin is not None)
            unlink(body.spool)

        self._under_way[body.digest] = self._threads.submit(send)
        self._required.discard(body.digest)

    def link(self, placement: Placement, twin: Placement) -> None:
        """The octets must already exist; `commit` raises if they do not."""
        if twin.digest not in self._under_way:
            self._under_way[twin.digest] = self._threads.submit(lambda: self._require(twin))
            self._required.add(twin.digest)

    def commit(self) -> Sequence[Fact]:
        """Wait until everything is written. The digest names the object, so there is nothing more to record.

        Raises:
            IntegrityError: a linked message's octets are missing, or the local disk returned others than were
                spooled.
            ArchiverError: something could not be sent; all other requests have ended.
        """
        under_way = list(self._under_way.values())
        wait(under_way)
        self._under_way.clear()
        for each in under_way:
            each.result()
        return ()

    def abandon(self) -> None:
        """Send nothing more. Objects that were sent stay: they are valid, and are used when stored again."""
        for each in self._under_way.values():
            each.cancel()
        wait(list(self._under_way.values()))
        self._under_way.clear()
