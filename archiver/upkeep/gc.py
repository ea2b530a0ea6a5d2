"""The gc step: finds and removes objects of a bucket that no segment of the journal ever named.

A run that was killed leaves objects and packs that are not recorded. They do no harm and are used when their
messages are stored again, so they are kept for a week. What a segment ever named stays forever, whatever was
recorded later: the archive as of a past date may need it.

A journal that was lost and restarted is valid but names almost nothing. What looks like that needs a confirmation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from archiver.control.run import RunControl
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
        """Add digests."""

    def __iter__(self) -> Iterator[Digest]:
        """All of them, in ascending order."""


class GarbageKind(Struct, frozen=True):
    """A kind of objects whose keys contain a digest: their name for people, and the prefix of their keys, which are
    in the order of the digests. `digest_of` returns the digest in a key, None if the key has another form. Up to
    `few` of them may be removed, whatever share of all they are."""

    name: str
    under: str
    digest_of: Callable[[str], Digest | None]
    few: int


class Garbage(Struct, frozen=True):
    """An object that no segment names."""

    place: str
    size: int
    since: float
    kept: str | None = None


class GarbageResult(Struct, frozen=True):
    """`garbage` is what may be removed, or was removed if `deleted`; objects that had to stay have their reason in
    `kept`. `blocked_reason` is why nothing is removed without a confirmation. `young` is the number of unnamed
    objects that are not old enough, and `young_octets` their octets."""

    segments: int
    deleted: bool
    blocked_reason: str | None = None
    garbage: tuple[Garbage, ...] = ()
    young: int = 0
    young_octets: int = 0

    @property
    def octets(self) -> int:
        """The octets that the removal frees, or freed."""
        return sum(each.size for each in self.garbage if each.kept is None)

    @property
    def kept(self) -> tuple[Garbage, ...]:
        """The objects that could not be removed."""
        return tuple(each for each in self.garbage if each.kept is not None)


class KindFound(Struct, frozen=True):
    """The objects of a kind: how many were `listed`, and those that no segment names, `old` ones (a week) and young
    ones."""

    kind: GarbageKind
    listed: int
    old: Sequence[ObjectFacts]
    young: int = 0
    young_octets: int = 0


def exceeds_deletion_limit(found: Sequence[KindFound], began: float) -> str | None:
    """Why the removal needs a confirmation, for people; None if it does not. `began`: when the first segment of the
    journal was written.

    A run writes to the journal before it stores a message, so older objects belong to another journal. If objects
    look younger because they were copied to another bucket, their number shows it: more than a few of a kind and
    more than a quarter of all. A killed run leaves less, since the next one stores and names most of that again.
    """
    early = sum(facts.modified < began for each in found for facts in each.old)
    if early:
        return f"{early} of {sum(each.listed for each in found)} objects are not named and older than the journal"
    for each in found:
        much = len(each.old)
        if much > each.kind.few and much * 4 > each.listed:
            limit = f"more than {each.kind.few} and more than a quarter"
            return f"{much} of {each.listed} {each.kind.name} are not named: {limit}"
    return None


class GarbageStep(Struct):
    """Collects garbage. `named` is empty at first; `last` is number and digest of the last segment, from a catalog
    that has caught up; `began` is when the first one was written, by the endpoint's clock. No other writer may be
    active. Without `delete` nothing is removed, and beyond the deletion limit only with `confirm_deletions`."""

    bucket: Bucket
    journal: Journal
    last: tuple[int, Digest]
    began: float
    named: Named
    kinds: tuple[GarbageKind, ...]
    delete: bool
    confirm_deletions: bool
    control: RunControl

    def run(self) -> GarbageResult:
        """List the garbage, and remove it if requested. If interrupted, run it again for the rest.

        Raises:
            IntegrityError: the journal is damaged, incomplete or empty, so it is unknown what is garbage.
        """
        segments = self._read_journal()
        self.control.progress(Noted(f"{segments} segments of the journal read; listing the bucket"))
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
                "it is unknown which objects are garbage",
                hint="nothing was removed; `archiver verify` shows what is wrong with the journal",
            )
        return last[0]

    def _find(self, kind: GarbageKind) -> KindFound:
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
        return KindFound(kind, listed, old, young, young_octets)

    def _walk(self, kind: GarbageKind) -> Iterator[tuple[ObjectFacts, bool]]:
        """The objects of that kind, and whether the journal names them: a merge of two lists in the same order."""
        named = iter(self.named)
        name = next(named, None)
        for facts in in_order(self.bucket.list(kind.under), self.bucket.place(kind.under)):
            self.control.check_stop()
            digest = kind.digest_of(facts.key)
            if digest is None:  # not ours: `verify` lists it, and the user decides
                continue
            while name is not None and name < digest:
                name = next(named, None)
            yield facts, name == digest


def _digests(fact: Fact) -> Iterator[Digest]:
    """The digests that a fact names."""
    if isinstance(fact, StoredFact):
        yield fact.message.digest
    elif isinstance(fact, HeadersFact):
        yield fact.digest
    elif isinstance(fact, PackedFact):
        yield fact.pack
        yield from (digest for digest, _, _ in fact.frames)
