"""The store in a bucket with layout "packs": small messages together in packs, large ones as separate objects.

A thousand messages take one request instead of a thousand. Which message is in which pack is a fact like all
others; a message without such a fact is an object. So an archive may change its layout at any time: existing
messages stay where they are, and only new ones use the new layout.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import BinaryIO

from archiver.mail.model import Digest, Frame, Placement
from archiver.storage.audit import Audited
from archiver.storage.bucket.objects import ObjectStore, is_small
from archiver.storage.bucket.pack_batch import FramesOf, PackBatch
from archiver.storage.bucket.pack_reader import PackObjects, octets_of, windows
from archiver.storage.bucket.packs_audit import audit_packs
from archiver.storage.bucket.port import Bucket
from archiver.storage.bucket.prefetch import SMALL_OCTETS, ReadAhead, Request
from archiver.storage.port import Rows

_LOOKED_UP = 500


class PackStore:
    """A MessageStore and Prefetch of packs and objects. `frames` returns where packed messages are. Messages
    smaller than `below` octets are packed; with 0 none are, but existing packs can be read. Threads may share it; a
    fork opens its own connections."""

    def __init__(self, bucket: Bucket, objects: ObjectStore, frames: FramesOf, below: int = SMALL_OCTETS) -> None:
        self._bucket = bucket
        self._objects = objects
        self._frames = frames
        self._below = below
        self._packs = PackObjects(bucket, objects.threads)
        self._ahead = ReadAhead(objects.threads)

    def batch(self) -> PackBatch:
        """Begin a batch. The facts about packs that it returns must be recorded with its messages."""
        return PackBatch(self._packs, self._objects.batch(), self._frames, self._objects.threads, self._below)

    def move(self, moves: Iterable[tuple[Placement, Placement]]) -> None:
        """Does nothing: flags, and whether a message is present, are only facts."""

    def open(self, placement: Placement) -> BinaryIO:
        """The message's octets; for a packed one the digest is verified.

        Raises:
            IntegrityError: missing, or another message's; names pack and message.
        """
        octets = self._ahead.take(placement.digest)
        if octets is None:
            frame = self._frame(placement)
            if frame is None:
                return self._objects.read(placement)
            octets = self._packs.read(frame, placement.digest, placement.size)
        return io.BytesIO(octets)

    def missing(self, placements: Sequence[Placement]) -> Collection[Digest]:
        """Those whose packs are missing or truncated, and those whose objects are missing."""
        frames = self._frames({each.digest for each in placements})
        objects = self._objects.missing([each for each in placements if each.digest not in frames])
        return {*objects, *frames.keys()} - self._packs.holding(frames)

    def prefetch(self, placements: Sequence[Placement]) -> None:
        """These are opened next, in this order: neighbours in a pack are fetched with one request."""
        self._ahead.expect(self._requests(filter(is_small, placements)))

    def _requests(self, placements: Iterator[Placement]) -> Iterator[Request]:
        while some := list(islice(placements, _LOOKED_UP)):
            order = {each.digest: number for number, each in enumerate(some)}
            frames = self._frames(order.keys())
            sizes = {each.digest: each.size for each in some if each.digest in frames}
            wanted = windows({digest: frames[digest] for digest in sizes}, sizes)
            requests = [_request(self._packs, window, sizes) for window in wanted]
            requests += [self._objects.request(each) for each in some if each.digest not in frames]
            yield from sorted(requests, key=lambda request: min(order[digest] for digest in request.sizes))

    def display_path(self, placement: Placement) -> str:
        """The pack's URL and the octets there, or the URL of the message's own object."""
        frame = self._frame(placement)
        return self._packs.place_in(frame) if frame else self._objects.display_path(placement)

    def audit(self, rows: Rows, reads: Callable[[Placement], bool]) -> Generator[Audited, None, None]:
        """The packs with one listing, their messages in the order of the packs, then those that are objects."""
        return audit_packs(self._bucket, self._packs, self._objects.threads, rows, reads)

    def rewrite_batch(self, damaged: Sequence[Placement]) -> PackBatch:
        """A batch that packs packed messages again, and overwrites objects."""
        return PackBatch(
            self._packs,
            self._objects.rewrite_batch(damaged),
            self._frames,
            self._objects.threads,
            below=0,
            rewrite=True,
        )

    def recover(self, rows: Rows) -> Iterator[Placement]:
        """Read the indexes of unrecorded packs, so that their messages are used when they are stored again."""
        self._packs.find_orphans({pack for pack, _ in rows.packs()})
        return self._objects.recover(rows)

    def spool(self) -> BinaryIO:
        """A new, private, empty local file for a message too large for memory."""
        return self._objects.spool()

    def _frame(self, placement: Placement) -> Frame | None:
        return self._frames([placement.digest]).get(placement.digest)


def _request(packs: PackObjects, frames: Mapping[Digest, Frame], sizes: Mapping[Digest, int]) -> Request:
    own = {digest: sizes[digest] for digest in frames}
    return Request(own, lambda: octets_of(packs.read_window(frames, own)))
