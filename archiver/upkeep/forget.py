"""The forget step: messages are gone from every place of an archive, and never come back.

What is to be forgotten is recorded first, with the digests that segments of the journal will have. From then on the
messages do not belong to the archive. Then everything that holds something of them is erased, one after the other,
and at last it is recorded that this is done. Each part can be repeated: whatever cuts it off, `finish` ends it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from msgspec import Struct

from archiver.catalog.keeping import HeldPlace
from archiver.catalog.port import Catalog
from archiver.control.run import RunControl
from archiver.facts.archive import (
    Fact,
    HeadersFact,
    LabelsFact,
    PackedFact,
    QuarantinedFact,
    StoredFact,
)
from archiver.facts.destination import RefusedFact
from archiver.facts.keeping import (
    BlotFact,
    BlottedFact,
    CopiesErasedFact,
    ErasedFact,
    ForgottenCopy,
    ForgottenFact,
    ForgottenPlace,
)
from archiver.facts.replica import MessageKey
from archiver.facts.segment import blot
from archiver.journal.port import Journal
from archiver.journal.recorder import Recorder
from archiver.mail.counts import counted
from archiver.mail.model import Digest
from archiver.storage.port import Doomed, Eraser

_FACT_PLACES = 1000

Kept = tuple[str, str]
"""What could not be removed, for people, and why."""

Copy = tuple[int, int]
"""A folder of a destination by its number, and a UID there."""


class Order(Struct, frozen=True):
    """What is to be forgotten: all places of some digests, and these copies; why, and who says so. `there` are all
    copies at destinations that are known."""

    places: Sequence[HeldPlace]
    copies: Sequence[Copy]
    reason: str
    by: str
    there: Sequence[ForgottenCopy] = ()


class _Known(Struct, frozen=True):
    """What the journal has about messages: the segments with facts of them, and the packs that ever held one."""

    segments: Sequence[int]
    packs: frozenset[Digest]
    copies: Sequence[ForgottenCopy] = ()
    blotted: Mapping[int, tuple[Digest, Digest]] = {}


class ForgetStep(Struct):
    """Forgets messages of one archive, whose lock is held and whose catalog has caught up. `eraser` erases from the
    store. `clean(number)` erases what else is local, and may be repeated; `remove_copies` removes copies at the
    destination, records what is gone, and returns what stays there, None: copies are left to another call.
    `list_of` writes the list of what was forgotten under a number, durable on return, and returns its digest.
    """

    journal: Journal
    catalog: Catalog
    recorder: Recorder
    eraser: Eraser
    control: RunControl
    clean: Callable[[int], None]
    remove_copies: Callable[[Sequence[ForgottenCopy]], Sequence[Kept]] | None
    list_of: Callable[[int, Sequence[Kept]], Digest]

    def forget(self, order: Order) -> int:
        """Record that messages are forgotten; returns the number, under which `finish` erases them. Before that
        nothing has changed, after it they do not belong to the archive."""
        number = max((each.number for each in self.catalog.keeping.forgets()), default=0) + 1
        places = [_place(each) for each in order.places]
        about = _About.of(number, places)
        known = self._known(about)
        now = self.control.now()
        facts: list[Fact] = []
        for start in range(0, max(len(places), len(order.there)), _FACT_PLACES):
            copies = tuple(order.copies) if start == 0 else ()
            some = tuple(places[start : start + _FACT_PLACES])
            there = tuple(order.there[start : start + _FACT_PLACES])
            facts.append(ForgottenFact(number, some, copies, order.reason, order.by, now, there))
        if rows := tuple(self._rows(known.segments, about)):
            facts.append(BlottedFact(number, rows, now))
        self.control.check_stop()
        self.recorder.write(facts)
        return number

    def finish(self, number: int) -> Sequence[Kept]:
        """Erase what was forgotten under that number; returns what could not be removed.

        Raises:
            ArchiverError: it was cut off; call it again.
        """
        keeping = self.catalog.keeping
        places = keeping.forgotten_places(number)
        digests = frozenset(digest for digest, its in keeping.forgotten().items() if its == number)
        about = _About(number, {each.key for each in places}, digests)
        known = self._known(about)
        doomed = Doomed([each.placement for each in places], digests, known.packs)
        kept = list(self._copies(known.copies))
        if spared := self.eraser.spare(doomed):
            self.recorder.write(spared)
        kept += self.eraser.erase(doomed)
        self.clean(number)
        kept += self._blot(known, about)
        self.catalog.purge()
        listed = self.list_of(number, kept)
        packs = tuple(sorted(known.packs))
        self.recorder.write([ErasedFact(number, packs, tuple(kept), listed, self.control.now())])
        return kept

    def list_again(self, number: int) -> None:
        """Write the list of what was forgotten under that number again, after copies of it were removed."""
        its = next(each for each in self.catalog.keeping.forgets() if each.number == number)
        listed = self.list_of(number, its.kept)
        self.recorder.write([ErasedFact(number, (), its.kept, listed, self.control.now())])

    def _copies(self, copies: Sequence[ForgottenCopy]) -> Sequence[Kept]:
        if not copies:
            return ()
        if self.remove_copies is None:
            words = counted(len(copies), "copy at the destination", "copies at the destination")
            return [(words, "not removed yet: `archiver forget --finish` does it")]
        return self.remove_copies(copies)

    def _known(self, about: _About) -> _Known:
        """What the journal has about these messages, from one reading of it."""
        segments: list[int] = []
        packs: set[Digest] = set()
        copies: set[Copy] = set()
        there: dict[Copy, ForgottenCopy] = {}
        blotted: dict[int, tuple[Digest, Digest]] = {}
        for segment in self.journal.read((0, Digest(""))):
            self.control.check_stop()
            if any(about.is_in(fact) for fact in segment.facts):
                segments.append(segment.number)
            for fact in segment.facts:
                if isinstance(fact, PackedFact) and any(digest in about.digests for digest, _, _ in fact.frames):
                    packs.add(fact.pack)
                elif isinstance(fact, ForgottenFact) and fact.number == about.number:
                    copies |= set(fact.copies)
                    there |= {each[:2]: each for each in fact.there}
                elif isinstance(fact, CopiesErasedFact):
                    copies -= {(fact.target, uid) for uid in fact.uids}
                elif isinstance(fact, BlottedFact) and fact.number == about.number:
                    blotted |= {number: (was, now) for number, was, now in fact.segments}
        wanted = [there.get(copy, (*copy, "any", "", 0)) for copy in sorted(copies)]
        return _Known(segments, frozenset(packs), wanted, blotted)

    def _rows(self, segments: Sequence[int], about: _About) -> Iterator[tuple[int, Digest, Digest]]:
        """What becomes of these segments."""
        for number in segments:
            self.control.check_stop()
            if (other := blot(*self.journal.octets(number), number, about.instead)) is not None:
                yield number, other.was, other.now

    def _blot(self, known: _Known, about: _About) -> Iterator[Kept]:
        """Write the segments again, without the facts of these messages; yields those of which older versions
        stay."""
        for number in sorted({*known.segments, *known.blotted}):
            where, octets = self.journal.octets(number)
            other = blot(where, octets, number, about.instead)
            if other is not None and known.blotted.get(number) != (other.was, other.now):
                # Another version of zlib writes other octets.
                row = (number, other.was, other.now)
                self.recorder.write([BlottedFact(about.number, (row,), self.control.now())])
            # NOTE: also one that is so already: a bucket may still have an older version.
            why = self.journal.rewrite(number, octets if other is None else other.octets)
            if why is not None:
                yield where, why


class _About(Struct, frozen=True):
    """Which facts say something of forgotten messages."""

    number: int
    keys: Collection[MessageKey]
    digests: Collection[Digest]

    @classmethod
    def of(cls, number: int, places: Sequence[ForgottenPlace]) -> _About:
        return cls(number, {place[:2] for place in places}, {place[2] for place in places})

    def is_in(self, fact: Fact) -> bool:
        """Whether a fact has texts of one of them. What has only numbers and digests stays."""
        match fact:
            case StoredFact():
                return fact.message.digest in self.digests or (fact.epoch, fact.message.uid) in self.keys
            case HeadersFact():
                return fact.digest in self.digests
            case LabelsFact() | QuarantinedFact() | RefusedFact():
                return (fact.epoch, fact.uid) in self.keys
        return False

    def instead(self, fact: Fact, line: str) -> Fact | None:
        """What stands in the place of a fact."""
        if not self.is_in(fact):
            return None
        return BlotFact(self.number, Digest(hashlib.sha256(line.encode("ascii")).hexdigest()))


def _place(held: HeldPlace) -> ForgottenPlace:
    its = held.placement
    return (*held.key, its.digest, its.size, its.crlf_size, its.arrived, int(held.shown))
