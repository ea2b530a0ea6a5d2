"""The gc step: what lies in a bucket although no segment of the journal ever named it, and may be removed.

A run that was killed leaves objects and packs that nobody recorded. They do no harm, and are used when their
messages are put again, so they are given a week. What a segment named once stays for ever, whatever was recorded
later: the archive as of a past date may need it.

A journal that was lost and begun anew is whole, and names next to nothing. What looks like that waits for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from archiver.control import RunControl
from archiver.errors import IntegrityError
from archiver.events import Noted
from archiver.facts.archive import Fact, HeadersFact, PackedFact, StoredFact
from archiver.journal.port import Journal
from archiver.mail.model import Digest
from archiver.storage.bucket.order import in_order
from archiver.storage.bucket.port import Bucket, Kept, ObjectFacts

MIN_AGE_SECONDS = 7 * 86400.0


class Named(Protocol):
    """The digests that the journal named."""

    def add(self, digests: Iterable[Digest]) -> None:
        """Put them in."""

    def __iter__(self) -> Iterator[Digest]:
        """All of them, in their order."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Objects that are named by a digest: what people call them, the beginning of their keys, which are in the
    order of digests, and the digest in a key, None for one of another form. `few` of them may go, whatever share of
    all they are."""

    name: str
    under: str
    digest_of: Callable[[str], Digest | None]
    few: int


@dataclass(frozen=True, slots=True)
class Garbage:
    """An object that no segment names."""

    place: str
    size: int
    since: float
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class GarbageResult:
    """`garbage` is what may be removed, or was, if `deleted`; what of it had to stay says in `kept` why.
    `blocked_reason`: why nothing is removed until a person confirms it. `young` are the objects that no segment
    names either, but not for long, with their octets."""

    segments: int
    deleted: bool
    blocked_reason: str | None = None
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


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a kind: how many objects, and those that no segment names, for a week (`old`) or not."""

    kind: Kind
    listed: int
    old: Sequence[ObjectFacts]
    young: int = 0
    young_octets: int = 0


def exceeds_deletion_limit(found: Sequence[Found], began: float) -> str | None:
    """Why removing that needs a person's word, for people; None if it does not. `began`: when the first segment of
    the journal was written.

    A run writes to the journal before it sends a message, so what was there before is of another journal. Where
    objects are younger than they were, having been copied to another bucket, much of a kind tells: more than a few
    and more than a quarter. A killed run leaves less, for most of that is put again, and named, by the next one.
    """
    early = sum(facts.modified < began for each in found for facts in each.old)
    if early:
        return f"{early} of {sum(each.listed for each in found)} objects are not named and older than the journal"
    for each in found:
        much = len(each.old)
        if much > each.kind.few and much * 4 > each.listed:
            limit = f"being more than {each.kind.few} and more than a quarter"
            return f"{much} of {each.listed} {each.kind.name} are not named, {limit}"
    return None


@dataclass(slots=True)
class GarbageStep:
    """What the step needs. `named` is empty; `last` is number and digest of the last segment the catalog applied,
    when it had caught up; `began` is when the first one was written, by the endpoint's clock. Nobody else may write
    meanwhile. Without `delete` nothing is removed, nor beyond the brake without `confirm_deletions`."""

    bucket: Bucket
    journal: Journal
    last: tuple[int, Digest]
    began: float
    named: Named
    kinds: tuple[Kind, ...]
    delete: bool
    confirm_deletions: bool
    control: RunControl

    def run(self) -> GarbageResult:
        """Look, and remove if that was asked for; interrupted or done again, the rest is left to do.

        Raises:
            IntegrityError: the journal is damaged, not complete, or empty: then nothing can be known to be garbage.
        """
        segments = self._read_journal()
        self.control.progress(Noted(f"{segments} segments of the journal read; looking through the bucket"))
        found = [self._find(kind) for kind in self.kinds]
        old = [facts for each in found for facts in each.old]
        blocked_reason = None if self.confirm_deletions else exceeds_deletion_limit(found, self.began)
        kept: dict[str, Kept] = {}
        deleted = self.delete and blocked_reason is None
        if deleted:
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
        young, young_octets = sum(each.young for each in found), sum(each.young_octets for each in found)
        return GarbageResult(segments, deleted, blocked_reason, garbage, young, young_octets)

    def _going(self, old: Iterable[ObjectFacts]) -> Iterator[str]:
        for facts in old:
            self.control.check_stop()
            yield facts.key

    def _read_journal(self) -> int:
        last = (0, Digest(""))
        for segment in self.journal.read(last):
            self.control.check_stop()
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

    def _find(self, kind: Kind) -> Found:
        listed = young = young_octets = 0
        old: list[ObjectFacts] = []
        for facts, is_named in self._walk(kind):
            listed += 1
            if is_named:
                continue
            if facts.asked - facts.modified >= MIN_AGE_SECONDS:
                old.append(facts)
            else:
                young, young_octets = young + 1, young_octets + facts.size
        return Found(kind, listed, old, young, young_octets)

    def _walk(self, kind: Kind) -> Iterator[tuple[ObjectFacts, bool]]:
        """The objects of that kind, and whether the journal names them: two walks in one order, side by side."""
        named = iter(self.named)
        name = next(named, None)
        for facts in in_order(self.bucket.list(kind.under), self.bucket.place(kind.under)):
            self.control.check_stop()
            digest = kind.digest_of(facts.key)
            if digest is None:  # not ours: `verify` tells of it, a person decides
                continue
            while name is not None and name < digest:
                name = next(named, None)
            yield facts, name == digest


def _digests(fact: Fact) -> Iterator[Digest]:
    """What a fact names."""
    if isinstance(fact, StoredFact):
        yield fact.message.digest
    elif isinstance(fact, HeadersFact):
        yield fact.digest
    elif isinstance(fact, PackedFact):
        yield fact.pack
        yield from (digest for digest, _, _ in fact.frames)
