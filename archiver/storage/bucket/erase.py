"""Erases messages from a bucket: their objects, and the packs that held them, with all their versions.

A pack is never changed. What else is in it is packed again, and recorded, before it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from archiver.errors import IntegrityError
from archiver.facts.archive import Fact, PackedFact
from archiver.mail.model import Digest, Frame
from archiver.storage.bucket.keys import message_key
from archiver.storage.bucket.objects import SPOOL
from archiver.storage.bucket.pack_format import Entry, Unreadable, assemble, pack_key, pack_of_key
from archiver.storage.bucket.pack_reader import PackObjects
from archiver.storage.bucket.port import Bucket
from archiver.storage.files import Writing
from archiver.storage.port import Doomed, Rows
from archiver.storage.threads import Threads

_HINT = "`archiver repair` fetches what is damaged again; then give `archiver forget --finish`"


class BucketEraser:
    """Implements `archiver.storage.port.Eraser`. `rows` are what the archive holds, without what is to be erased;
    spooled messages are below `path`."""

    def __init__(self, bucket: Bucket, threads: Threads, path: Path, rows: Rows) -> None:
        self._bucket = bucket
        self._packs = PackObjects(bucket, threads)
        self._path = path
        self._rows = rows

    def spare(self, doomed: Doomed) -> Sequence[Fact]:
        """Pack again what lies in the same packs, as it is there.

        Raises:
            IntegrityError: one of the others is damaged; nothing was recorded or removed.
        """
        return [fact for pack in sorted(doomed.packs) if (fact := self._spared(pack, doomed.digests)) is not None]

    def erase(self, doomed: Doomed) -> Sequence[tuple[str, str]]:
        """Remove objects and packs, with all their versions; what had to stay, each with the reason."""
        with Writing(str(self._path)):
            for leftover in (self._path / SPOOL).glob("*"):
                leftover.unlink(missing_ok=True)
        known = {pack for pack, _ in self._rows.packs()}
        packs = {*doomed.packs, *self._unrecorded(doomed.digests, known)}
        keys = [*map(message_key, sorted(doomed.digests)), *map(pack_key, sorted(packs))]
        return [(self._bucket.place(kept.key), kept.reason) for kept in self._bucket.delete(keys)]

    def _spared(self, pack: Digest, digests: Collection[Digest]) -> PackedFact | None:
        """The fact of the pack that has what else was in `pack` and is read there; None: there is nothing."""
        try:
            entries = self._entries(pack)
        except (IntegrityError, Unreadable) as error:
            if not self._used(pack):
                return None  # it is gone, or nobody reads it
            raise IntegrityError(f"{self._packs.place(pack)}: {error}", hint=_HINT) from error
        frames = self._rows.frames([each.digest for each in entries])
        kept = [each for each in entries if each.digest not in digests and _is_in(frames.get(each.digest), pack)]
        if not kept:
            return None
        messages = [
            (each.digest, each.size, octets) for each, octets in zip(kept, self._raw(pack, kept), strict=True)
        ]
        other = assemble(messages)
        self._packs.write(other)
        return PackedFact(other.digest, len(other.octets), tuple(entry[:3] for entry in other.entries))

    def _raw(self, pack: Digest, entries: Sequence[Entry]) -> Iterator[bytes]:
        """The frames of these messages, each checked."""
        for each in entries:
            self._packs.read(Frame(pack, each.offset, each.length), each.digest, each.size)
            yield self._packs.octets(pack, each.offset, each.length)

    def _entries(self, pack: Digest) -> Sequence[Entry]:
        facts = self._bucket.head(pack_key(pack))
        if facts is None:
            raise IntegrityError("it is not in the bucket")
        return self._packs.entries(pack, facts.size)

    def _used(self, pack: Digest) -> bool:
        """Whether a message of the archive is read from that pack."""
        some: list[Digest] = []
        for place in self._rows.by_digest():
            some.append(place.digest)
            if len(some) == 500:
                if _any_in(self._rows.frames(some), pack):
                    return True
                some = []
        return _any_in(self._rows.frames(some), pack)

    def _unrecorded(self, digests: Collection[Digest], known: Collection[Digest]) -> Iterator[Digest]:
        """Packs of killed runs that have one of these messages. Nothing else of them is recorded."""
        for facts in self._packs.listed():
            pack = pack_of_key(facts.key)
            if pack is None or pack in known:
                continue
            try:
                if any(each.digest in digests for each in self._packs.entries(pack, facts.size)):
                    yield pack
            except (Unreadable, IntegrityError):
                continue


def _is_in(frame: Frame | None, pack: Digest) -> bool:
    return frame is not None and frame.pack == pack


def _any_in(frames: Mapping[Digest, Frame], pack: Digest) -> bool:
    return any(frame.pack == pack for frame in frames.values())
