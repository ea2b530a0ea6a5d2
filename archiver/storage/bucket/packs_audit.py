"""Compares packs with the catalog: with one listing, and by reading the selected messages in the order of the
packs.

A pack that exists with its size has its messages, as far as this is known without a download. If messages are read,
neighbours come with one request, and the index of their pack is checked, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice

from msgspec import Struct

from archiver.errors import ArchiveNotWritable, IntegrityError
from archiver.mail.model import Digest, Frame, Placement
from archiver.storage.audit import NOBODYS, NOT_THERE, Audited, Damage, Fault, Looked, Stray
from archiver.storage.bucket.keys import digest_of_key
from archiver.storage.bucket.objects_audit import audit_elsewhere, audit_objects, since
from archiver.storage.bucket.pack_format import TAIL_OCTETS, Unreadable, pack_of_key
from archiver.storage.bucket.pack_reader import PackObjects, pack_of, windows
from archiver.storage.bucket.port import Bucket
from archiver.storage.port import Rows
from archiver.storage.threads import Threads

_CHUNK = 2000
_AHEAD = 4  # windows of some MiB each
_OBJECTS_AHEAD = 32


class _Reading(Struct, frozen=True):
    """The messages of one window, which are being read."""

    frames: Mapping[Digest, Frame]
    faults: Future[dict[Digest, Fault | None]]


def audit_packs(
    bucket: Bucket, packs: PackObjects, threads: Threads, rows: Rows, reads: Callable[[Placement], bool]
) -> Generator[Audited, None, None]:
    """Every message of an archive with packs. A message in a pack without a row is not unexpected, since packs stay
    as they were written."""

    def is_packed(key: str) -> bool:
        digest = digest_of_key(key)
        return digest is not None and bool(rows.frames([digest]))

    known, sizes = dict(rows.packs()), dict[Digest, int]()
    yield from _strays(bucket, packs, known, sizes)
    reader = _Reader(packs, threads, sizes, {pack for pack, size in sizes.items() if size != known[pack]})
    yield from reader.audit(rows, reads)
    for pack in sorted(reader.used):
        if pack not in sizes:
            yield Damage(packs.place(pack), "the pack is not in the bucket")
        elif sizes[pack] != known[pack]:
            yield Damage(packs.place(pack), f"the pack has {sizes[pack]} bytes, was stored with {known[pack]}")
    yield from audit_objects(bucket, _unpacked(rows), reads, threads.submit, _OBJECTS_AHEAD, is_packed)
    yield from audit_elsewhere(bucket)


def _strays(
    bucket: Bucket, packs: PackObjects, known: Mapping[Digest, int], sizes: dict[Digest, int]
) -> Iterator[Stray]:
    """Packs that are not recorded; fills `sizes` with all others that exist."""
    for facts in packs.listed():
        pack = pack_of_key(facts.key)
        if pack is None or pack not in known:
            yield Stray(bucket.place(facts.key), f"{NOBODYS}; written {since(facts)}")
        else:
            sizes[pack] = facts.size


class _Reader:
    """Checks messages in packs that exist with those sizes; `altered` packs are not as they were written. `used`
    collects the packs that have messages: a pack that was repaired by packing its messages again is no longer used,
    and its remains do not matter."""

    def __init__(
        self, packs: PackObjects, threads: Threads, sizes: Mapping[Digest, int], altered: set[Digest]
    ) -> None:
        self._packs = packs
        self._threads = threads
        self._sizes = sizes
        self._altered = altered
        self._indexed = set(altered)
        self.used: set[Digest] = set()

    def audit(self, rows: Rows, reads: Callable[[Placement], bool]) -> Iterator[Audited]:
        """Every message that is in a pack."""
        placements = rows.placements()
        while chunk := list(islice(placements, _CHUNK)):
            frames = rows.frames({each.digest for each in chunk})
            self.used.update(frame.pack for frame in frames.values())
            of: dict[Digest, list[Placement]] = {}
            for each in chunk:
                if each.digest in frames:
                    of.setdefault(each.digest, []).append(each)
            wanted: dict[Digest, Frame] = {}
            for digest, equal in of.items():
                fault = self._fault(frames[digest])
                if fault is None and reads(equal[0]):
                    wanted[digest] = frames[digest]
                else:
                    fault = fault or self._danger(frames[digest].pack)
                    yield from (Looked(each, reads(each), fault) for each in equal)
            yield from self._read(wanted, of)

    def _fault(self, frame: Frame) -> Fault | None:
        size = self._sizes.get(frame.pack)
        if size is None:
            return NOT_THERE
        if size < frame.offset + frame.length + TAIL_OCTETS:
            return Fault("damaged", f"its pack is truncated to {size} bytes")
        return None

    def _danger(self, pack: Digest) -> Fault | None:
        return Fault("endangered", "its pack is not as it was written") if pack in self._altered else None

    def _read(self, frames: Mapping[Digest, Frame], of: Mapping[Digest, Sequence[Placement]]) -> Iterator[Audited]:
        sizes = {digest: of[digest][0].size for digest in frames}
        for found in self._side_by_side(frames, sizes):
            yield from self._index(pack_of(found.frames))
            faults = found.faults.result()
            for digest in found.frames:
                fault = faults[digest] or self._danger(found.frames[digest].pack)
                yield from (Looked(each, True, fault) for each in of[digest])

    def _side_by_side(self, frames: Mapping[Digest, Frame], sizes: Mapping[Digest, int]) -> Iterator[_Reading]:
        reading: deque[_Reading] = deque()
        try:
            for window in windows(frames, sizes):
                faults = self._threads.submit(partial(self._faults, window, sizes))
                reading.append(_Reading(window, faults))
                if len(reading) >= _AHEAD:
                    yield reading.popleft()
            while reading:
                yield reading.popleft()
        finally:
            for each in reading:
                each.faults.cancel()

    def _faults(self, frames: Mapping[Digest, Frame], sizes: Mapping[Digest, int]) -> dict[Digest, Fault | None]:
        try:
            found = self._packs.read_window(frames, sizes)
        except (IntegrityError, ArchiveNotWritable) as error:  # gone meanwhile, or kept from us
            return dict.fromkeys(frames, Fault("damaged", f"cannot be read: {error.message}"))
        return {
            digest: Fault("damaged", str(octets)) if isinstance(octets, Unreadable) else None
            for digest, octets in found.items()
        }

    def _index(self, pack: Digest) -> Iterator[Damage]:
        """What is wrong with the index of a pack whose messages are read; checked once."""
        if pack in self._indexed:
            return
        self._indexed.add(pack)
        try:
            self._packs.entries(pack, self._sizes[pack])
        except Unreadable as error:
            self._altered.add(pack)
            yield Damage(self._packs.place(pack), str(error))
        except (IntegrityError, ArchiveNotWritable) as error:
            self._altered.add(pack)
            yield Damage(self._packs.place(pack), f"its index cannot be read: {error.message}")


def _unpacked(rows: Rows) -> Iterator[Placement]:
    """The messages that are not in a pack, by digest."""
    placements = rows.by_digest()
    while chunk := list(islice(placements, _CHUNK)):
        frames = rows.frames({each.digest for each in chunk})
        yield from (each for each in chunk if each.digest not in frames)
