"""The gc step: what lies in a bucket although no segment of the journal ever named it, and may be removed.

A run that was killed leaves objects and packs that nobody recorded. They do no harm, and are used when their
messages are put again, so they are given a week. What a segment named once stays for ever, whatever was recorded
later: the archive as of a past date may need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from archiver.errors import IntegrityError
from archiver.facts import Fact, HeadersFact, PackedFact, StoredFact
from archiver.model import Digest
from archiver.ports import Journal
from archiver.progress import Noted, Progress
from archiver.s3.bucket import Bucket, Kept, ObjectFacts
from archiver.s3.order import in_order

MIN_AGE_SECONDS = 7 * 86400.0


class Named(Protocol):
    """The digests that the journal named."""

    def add(self, digests: Iterable[Digest]) -> None:
        """Put them in."""

    def __iter__(self) -> Iterator[Digest]:
        """All of them, in their order."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Objects that are named by a digest: the beginning of their keys, which are in the order of digests, and the
    digest in a key, None for one of another form."""

    under: str
    digest_of: Callable[[str], Digest | None]


@dataclass(frozen=True, slots=True)
class Garbage:
    """An object that no segment names."""

    place: str
    size: int
    since: float
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class GarbageResult:
    """`garbage` is what may be removed, or was; what of it had to stay says in `kept` why. `young` are the objects
    that no segment names either, but not for long, with their octets."""

    segments: int
    deleted: bool
    garbage: tuple[Garbage, ...] = ()
    young: int = 0
    young_octets: int = 0

    @property
    def octets(self) -> int:
        """What removing it frees, or freed."""
        return sum(each.size for each in self.garbage if each.kept is None)

    @property
    def kept(self) -> tuple[Garbage, ...]:
        """What could not be removed."""
        return tuple(each for each in self.garbage if each.kept is not None)


@dataclass(slots=True)
class GarbageStep:
    """What the step needs. `named` is empty; `last` is number and digest of the last segment the catalog applied,
    when it had caught up. Nobody else may write meanwhile. Without `delete` nothing is removed."""

    bucket: Bucket
    journal: Journal
    last: tuple[int, Digest]
    named: Named
    kinds: tuple[Kind, ...]
    delete: bool
    progress: Progress
    check_stop: Callable[[], None]

    def run(self) -> GarbageResult:
        """Look, and remove if that was asked for; interrupted or done again, the rest is left to do.

        Raises:
            IntegrityError: the journal is damaged, not complete, or empty: then nothing can be known to be garbage.
        """
        segments = self._read_journal()
        self.progress(Noted(f"{segments} segments of the journal read; looking through the bucket"))
        old: list[ObjectFacts] = []
        young = young_octets = 0
        for kind in self.kinds:
            for facts in self._unnamed(kind):
                if facts.asked - facts.modified >= MIN_AGE_SECONDS:
                    old.append(facts)
                else:
                    young, young_octets = young + 1, young_octets + facts.size
        kept: dict[str, Kept] = {}
        if self.delete:
            for each in self.bucket.delete(self._going(old)):
                kept[each.key] = each
        garbage = tuple(
            Garbage(
                self.bucket.place(facts.key),
                facts.size,
                facts.modified,
                kept[facts.key].reason if facts.key in kept else None,
            )
            for facts in old
        )
        return GarbageResult(segments, self.delete, garbage, young, young_octets)

    def _going(self, old: Iterable[ObjectFacts]) -> Iterator[str]:
        for facts in old:
            self.check_stop()
            yield facts.key

    def _read_journal(self) -> int:
        last = (0, Digest(""))
        for segment in self.journal.read(last):
            self.check_stop()
            for fact in segment.facts:
                self.named.add(_digests(fact))
            last = (segment.number, segment.digest)
        if not last[0] or last != self.last:
            raise IntegrityError(
                f"the journal ends at segment {last[0]}, the catalog at segment {self.last[0]}: "
                "what nobody named cannot be known",
                hint="nothing was removed; `archiver verify` says what is wrong with the journal",
            )
        return last[0]

    def _unnamed(self, kind: Kind) -> Iterator[ObjectFacts]:
        """The objects of that kind that the journal does not name: two walks in one order, side by side."""
        named = iter(self.named)
        name = next(named, None)
        for facts in in_order(self.bucket.list(kind.under), self.bucket.place(kind.under)):
            self.check_stop()
            digest = kind.digest_of(facts.key)
            if digest is None:  # not ours: `verify` tells of it, a person decides
                continue
            while name is not None and name < digest:
                name = next(named, None)
            if name != digest:
                yield facts


def _digests(fact: Fact) -> Iterator[Digest]:
    """What a fact names."""
    if isinstance(fact, StoredFact | HeadersFact):
        yield fact.digest
    elif isinstance(fact, PackedFact):
        yield fact.pack
        yield from (digest for digest, _, _ in fact.frames)
