"""What is in packs beside what the catalog says is: by one listing, and by reading as they lie those that are asked
for.

A pack that is there with its size has its messages, as far as that can be told without a download. Where messages
are read, neighbours come by one request, and the index of their pack is looked at, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import islice

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


@dataclass(frozen=True, slots=True)
class _Reading:
    """Messages of one window, on their way."""

    frames: Mapping[Digest, Frame]
    faults: Future[dict[Digest, Fault | None]]


def audit_packs(
    bucket: Bucket, packs: PackObjects, threads: Threads, rows: Rows, reads: Callable[[Placement], bool]
) -> Generator[Audited, None, None]:
    """Every message of an archive with packs. A message in a pack that no row names is no stray: packs stay as
    they were written."""

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
            yield Damage(packs.place(pack), f"the pack has {sizes[pack]} octets, was stored with {known[pack]}")
    yield from audit_objects(bucket, _unpacked(rows), reads, threads.submit, _OBJECTS_AHEAD, is_packed)
    yield from audit_elsewhere(bucket)


def _strays(
    bucket: Bucket, packs: PackObjects, known: Mapping[Digest, int], sizes: dict[Digest, int]
) -> Iterator[Stray]:
    """Packs that nobody recorded; fills `sizes` with all others that are there."""
    for facts in packs.listed():
        pack = pack_of_key(facts.key)
        if pack is None or pack not in known:
            yield Stray(bucket.place(facts.key), f"{NOBODYS}; there since {since(facts)}")
        else:
            sizes[pack] = facts.size


class _Reader:
    """Looks at messages in packs, which are there with those sizes; `altered` ones are not as they were written.
    `used` gathers the packs that messages are in: one that was repaired by packing its messages anew is in use no
    more, and nobody cares for what is left of it."""

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
            return Fault("damaged", f"its pack is cut short, to {size} octets")
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
        """What is wrong with the index of a pack of which something is read, looked at once."""
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
    """The messages that are in no pack, by digest."""
    placements = rows.by_digest()
    while chunk := list(islice(placements, _CHUNK)):
        frames = rows.frames({each.digest for each in chunk})
        yield from (each for each in chunk if each.digest not in frames)
