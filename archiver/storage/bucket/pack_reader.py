"""The packs of an account in its bucket: read, written, and found again after a crash.

A pack is written once, under the digest of its octets. Packs that are not recorded because a run ended too early
are found by their indexes and used when their messages are stored again, after their octets were verified.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from archiver.errors import IntegrityError
from archiver.facts.archive import PackedFact
from archiver.mail.model import Digest, Frame
from archiver.storage.bucket.objects import create_once
from archiver.storage.bucket.pack_format import (
    PACKS,
    TAIL_OCTETS,
    Entry,
    Pack,
    Unreadable,
    decompress,
    pack_key,
    pack_of_key,
    read_index,
    read_tail,
)
from archiver.storage.bucket.port import Bucket, ObjectFacts
from archiver.storage.threads import Threads

WINDOW_OCTETS = 4 << 20
_GAP_OCTETS = 64 << 10
_DAMAGED = "`archiver verify` lists what is damaged, `archiver repair` fetches it again"


class _Orphan(NamedTuple):
    frame: Frame
    size: int


class PackObjects:
    """May be shared by threads."""

    def __init__(self, bucket: Bucket, threads: Threads) -> None:
        self._bucket = bucket
        self._threads = threads
        self._sizes: dict[Digest, int] = {}
        self._orphans: dict[Digest, _Orphan] = {}

    def write(self, pack: Pack) -> None:
        """Ensure that the pack exists, durable on return.

        Raises:
            IntegrityError: an object of its name exists and has another size.
        """
        create_once(self._bucket, pack_key(pack.digest), pack.octets, pack.digest, len(pack.octets))
        self._sizes[pack.digest] = len(pack.octets)

    def rewrite(self, pack: Pack) -> None:
        """Write the pack, overwriting what exists.

        NOTE: packing the same messages again may give the name of the very pack that is damaged.
        """
        self._bucket.replace(pack_key(pack.digest), pack.octets, pack.digest, "message")
        self._sizes[pack.digest] = len(pack.octets)

    def read(self, frame: Frame, digest: Digest, size: int) -> bytes:
        """One message, with its digest verified.

        Raises:
            IntegrityError: the pack is missing or truncated, or has something else at that place.
        """
        octets = self._octets(frame.pack, frame.offset, frame.length)
        try:
            return decompress(octets, digest, size)
        except Unreadable as error:
            raise IntegrityError(f"{self.place_in(frame)}: message {digest}: {error}", hint=_DAMAGED) from error

    def read_window(
        self, frames: Mapping[Digest, Frame], sizes: Mapping[Digest, int]
    ) -> dict[Digest, bytes | Unreadable]:
        """Messages of one pack with one request, or why they cannot be read.

        Raises:
            IntegrityError: the pack is missing.
        """
        first = min(frame.offset for frame in frames.values())
        end = max(frame.offset + frame.length for frame in frames.values())
        octets = self._octets(pack_of(frames), first, end - first)
        messages = {}
        for digest, frame in frames.items():
            at = frame.offset - first
            messages[digest] = _message(octets[at : at + frame.length], digest, sizes[digest])
        return messages

    def holding(self, frames: Mapping[Digest, Frame]) -> set[Digest]:
        """Those whose packs are in the bucket and long enough. Each pack is checked once."""
        unseen = {frame.pack for frame in frames.values()} - self._sizes.keys()
        looks = {pack: self._threads.submit(partial(self._bucket.head, pack_key(pack))) for pack in unseen}
        for pack, look in looks.items():
            if (facts := look.result()) is not None:
                self._sizes[pack] = facts.size
        return {
            digest
            for digest, frame in frames.items()
            if self._sizes.get(frame.pack, 0) >= frame.offset + frame.length + TAIL_OCTETS
        }

    def listed(self) -> Iterator[ObjectFacts]:
        """Every pack in the bucket."""
        return self._bucket.list(PACKS)

    def entries(self, pack: Digest, size: int) -> tuple[Entry, ...]:
        """The messages of a pack of that size, by two requests.

        Raises:
            Unreadable: its tail or its index is not valid.
            IntegrityError: it is missing.
        """
        tail = read_tail(self._octets(pack, max(0, size - TAIL_OCTETS), TAIL_OCTETS), size)
        return read_index(self._octets(pack, tail.offset, tail.length), tail)

    def find_orphans(self, known: Collection[Digest]) -> None:
        """Read the indexes of unknown packs. Objects that are not packs are ignored: `verify` and `gc` report
        them."""
        for facts in self.listed():
            pack = pack_of_key(facts.key)
            if pack is None or pack in known:
                continue
            try:
                self.orphan(pack, facts.size, self.entries(pack, facts.size))
            except (Unreadable, IntegrityError):
                continue

    def orphan(self, pack: Digest, size: int, entries: Collection[Entry]) -> None:
        """Note a pack that exists and is not recorded."""
        self._sizes[pack] = size
        for each in entries:
            self._orphans[each.digest] = _Orphan(Frame(pack, each.offset, each.length), each.size)

    def adopt(self, sizes: Mapping[Digest, int]) -> list[PackedFact]:
        """The facts for those messages, of the given sizes, that are in unrecorded packs. Their octets were read
        and verified."""
        found = {digest: self._orphans[digest].frame for digest in sizes.keys() & self._orphans.keys()}
        facts = []
        for frames in windows(found, sizes):
            try:
                whole = octets_of(self.read_window(frames, sizes))
            except IntegrityError:
                continue
            rows = tuple((digest, frames[digest].offset, frames[digest].length) for digest in whole)
            if rows:
                facts.append(PackedFact(pack_of(frames), self._sizes[pack_of(frames)], rows))
        return facts

    def place(self, pack: Digest) -> str:
        """Where a pack is, for people."""
        return self._bucket.place(pack_key(pack))

    def place_in(self, frame: Frame) -> str:
        """Where a message is, for people."""
        return f"{self.place(frame.pack)} bytes {frame.offset}-{frame.offset + frame.length - 1}"

    def octets(self, pack: Digest, first: int, octets: int) -> bytes:
        """The octets at a place of a pack, as they are stored.

        Raises:
            IntegrityError: it is missing.
        """
        return self._octets(pack, first, octets)

    def _octets(self, pack: Digest, first: int, octets: int) -> bytes:
        with self._bucket.read(pack_key(pack), first, octets) as file:
            return file.read(octets)


def _message(frame: bytes, digest: Digest, size: int) -> bytes | Unreadable:
    try:
        return decompress(frame, digest, size)
    except Unreadable as error:
        return error


def octets_of(messages: Mapping[Digest, bytes | Unreadable]) -> dict[Digest, bytes]:
    """The messages that could be read."""
    return {digest: octets for digest, octets in messages.items() if isinstance(octets, bytes)}


def pack_of(frames: Mapping[Digest, Frame]) -> Digest:
    """The pack that has all of these."""
    (pack,) = {frame.pack for frame in frames.values()}
    return pack


def windows(frames: Mapping[Digest, Frame], sizes: Mapping[Digest, int]) -> list[dict[Digest, Frame]]:
    """Frames that are read together: of one pack, near each other, at most WINDOW_OCTETS in the pack and in memory.
    The windows are in the order of their first frames in `frames`."""
    order = {digest: number for number, digest in enumerate(frames)}
    groups: list[dict[Digest, Frame]] = []
    pack, first, end, octets = Digest(""), 0, 0, 0
    for digest, frame in sorted(frames.items(), key=lambda item: (item[1].pack, item[1].offset)):
        octets += sizes[digest]
        far = frame.offset > end + _GAP_OCTETS or frame.offset + frame.length - first > WINDOW_OCTETS
        if frame.pack != pack or far or octets > WINDOW_OCTETS:
            groups.append({})
            pack, first, octets = frame.pack, frame.offset, sizes[digest]
        groups[-1][digest] = frame
        end = frame.offset + frame.length
    return sorted(groups, key=lambda group: min(order[digest] for digest in group))
