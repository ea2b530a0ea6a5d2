"""Messages that are being written into packs.

They are compressed a few at a time while the next are fetched, and a pack is sent as soon as it is full, so a batch
has about two packs in memory and nothing on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial

from msgspec import Struct

from archiver.errors import IntegrityError
from archiver.facts.archive import Fact, PackedFact
from archiver.mail.model import Body, Digest, Frame, Placement
from archiver.storage.bucket.objects import ObjectBatch
from archiver.storage.bucket.pack_format import Entry, assemble, compress
from archiver.storage.bucket.pack_reader import PackObjects
from archiver.storage.bucket.spool import octets_of, unlink
from archiver.storage.threads import Threads

PACK_OCTETS = 8 << 20
_CHUNK_MESSAGES, _CHUNK_OCTETS = 64, 1 << 20

FramesOf = Callable[[Collection[Digest]], Mapping[Digest, Frame]]


class _Compressing(Struct, frozen=True):
    sizes: Sequence[tuple[Digest, int]]
    frames: Future[list[bytes]]


class _Sent(Struct, frozen=True):
    pack: Digest
    size: int
    entries: tuple[Entry, ...]
    done: Future[None]

    @property
    def fact(self) -> PackedFact:
        return PackedFact(self.pack, self.size, tuple(entry[:3] for entry in self.entries))


class PackBatch:
    """A StoreBatch. `frames` returns where packed messages of the archive are. A message of fewer than `below`
    octets is packed; any other, and one that is probably already an object, goes to `objects`. `rewrite`: existing
    packs are not used but overwritten."""

    def __init__(
        self,
        packs: PackObjects,
        objects: ObjectBatch,
        frames: FramesOf,
        threads: Threads,
        below: int,
        *,
        rewrite: bool = False,
    ) -> None:
        self._packs = packs
        self._objects = objects
        self._frames = frames
        self._threads = threads
        self._below = below
        self._rewrites = rewrite
        self._forget()

    def _forget(self) -> None:
        self._seen: set[Digest] = set()
        self._waiting: list[tuple[Placement, Body, Placement | None]] = []
        self._waiting_octets = 0
        self._links: dict[Digest, tuple[Placement, Placement]] = {}
        self._compressing: list[_Compressing] = []
        self._pack_octets = 0
        self._sent: list[_Sent] = []
        self._adopted: list[PackedFact] = []

    def put(self, placement: Placement, body: Body, twin: Placement | None = None) -> None:
        """Add the octets; a full pack is sent. Takes ownership of `body.spool`.

        Raises:
            IntegrityError: the local disk returned other octets than were spooled.
            ArchiverError: a pack could not be sent.
        """
        if body.digest in self._seen:
            unlink(body.spool)
            return
        self._seen.add(body.digest)
        self._waiting.append((placement, body, twin))
        self._waiting_octets += body.size
        if len(self._waiting) >= _CHUNK_MESSAGES or self._waiting_octets >= _CHUNK_OCTETS:
            self._sort_out()

    def link(self, placement: Placement, twin: Placement) -> None:
        """The octets must already exist; `commit` checks it."""
        self._links[twin.digest] = (placement, twin)

    def commit(self) -> Sequence[Fact]:
        """Wait until everything is written; returns the facts about which message is in which pack.

        Raises:
            IntegrityError: a linked message's octets are missing.
            ArchiverError: something could not be sent.
        """
        self._sort_out()
        if self._compressing:
            self._send_pack()
        wait([each.done for each in self._sent])
        self._look_at_links()
        self._objects.commit()
        for each in self._sent:
            each.done.result()
        facts = (*self._adopted, *(each.fact for each in self._sent))
        self._forget()
        return facts

    def abandon(self) -> None:
        """Send nothing more. Packs that were sent stay, and are used when their messages are stored again."""
        for _, body, _ in self._waiting:
            unlink(body.spool)
        for compressing in self._compressing:
            compressing.frames.cancel()
        wait([each.done for each in self._sent])
        for sent in self._sent:
            if sent.done.exception() is None:
                self._packs.orphan(sent.pack, sent.size, sent.entries)
        self._objects.abandon()
        self._forget()

    def _sort_out(self) -> None:
        """Sort the waiting messages: those that already exist, those that become objects, those that are packed."""
        waiting, self._waiting, self._waiting_octets = self._waiting, [], 0
        known = self._frames({body.digest for _, body, _ in waiting}) if waiting else {}
        there = set() if self._rewrites else self._packs.holding(known)
        unknown = {body.digest: body.size for _, body, _ in waiting if body.digest not in there}
        adopted = [] if self._rewrites else self._packs.adopt(unknown)
        self._adopted += adopted
        there.update(digest for fact in adopted for digest, _, _ in fact.frames)
        fresh: list[tuple[Digest, bytes]] = []
        for placement, body, twin in waiting:
            if body.digest in there:
                unlink(body.spool)
            # NOTE: a message whose pack is lost is packed again, since readers use its newest frame.
            elif body.digest not in known and (twin is not None or body.size >= self._below):
                self._objects.put(placement, body, twin)
            else:
                fresh.append((body.digest, octets_of(placement, body)))
        if fresh:
            self._compress(fresh)

    def _compress(self, messages: Sequence[tuple[Digest, bytes]]) -> None:
        sizes = [(digest, len(octets)) for digest, octets in messages]
        frames = self._threads.submit(partial(compress, [octets for _, octets in messages]))
        self._compressing.append(_Compressing(sizes, frames))
        self._pack_octets += sum(size for _, size in sizes)
        if self._pack_octets >= PACK_OCTETS:
            self._send_pack()

    def _send_pack(self) -> None:
        """Send what is compressed as one pack, after the previous one has arrived."""
        if self._sent:
            self._sent[-1].done.result()
        sizes = [size for each in self._compressing for size in each.sizes]
        frames = [frame for each in self._compressing for frame in each.frames.result()]
        self._compressing, self._pack_octets = [], 0
        pack = assemble([(digest, size, frame) for (digest, size), frame in zip(sizes, frames, strict=True)])
        done = self._threads.submit(partial(self._packs.rewrite if self._rewrites else self._packs.write, pack))
        self._sent.append(_Sent(pack.digest, len(pack.octets), pack.entries, done))

    def _look_at_links(self) -> None:
        frames = self._frames(self._links.keys()) if self._links else {}
        there = self._packs.holding(frames)
        for digest, (placement, twin) in self._links.items():
            if digest not in frames:
                self._objects.link(placement, twin)
            elif digest not in there:
                raise IntegrityError(
                    f"{self._packs.place_in(frames[digest])}: message {digest}: its pack is not in the bucket",
                    hint="`archiver verify` lists what is missing, `archiver repair` fetches it again",
                )
