"""One folder opened: which epoch it is in, what is new, what changed its flags, what vanished.

The survey looks again at everything the plan assumed, because the plan was made from another connection's
view. It ends with the UIDs whose octets have to be fetched. Where the server's own numbers disagree, what it names
is fetched, and nothing is concluded from what it does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from itertools import islice

from archiver.archive.absence import Absence
from archiver.archive.plan import PROBED, Verdict, doubt_left, doubt_same, is_due, judge_epoch
from archiver.archive.rematch import Match, known_again
from archiver.archive.scanned import Retry, Surveyed
from archiver.archive.unrecorded import Orphans, adopted
from archiver.catalog.port import Catalog
from archiver.errors import CountsDisagree, IntegrityError
from archiver.events import Noted, Progress
from archiver.facts.archive import EpochFact, FlagsFact, StateFact, StoredFact, VanishedFact
from archiver.journal.recorder import BATCH_MESSAGES, Batch, Recorder
from archiver.mail.content import BROKE, HEADER_OCTETS, header_digest, with_header
from archiver.mail.folder_names import matches
from archiver.mail.model import (
    Attributes,
    Flags,
    KnownEpoch,
    KnownFolder,
    Listed,
    Opened,
    Placement,
    Quarantined,
    Resume,
)
from archiver.mail.window import window_words
from archiver.source.port import MailSource
from archiver.storage.port import MessageStore


@dataclass(slots=True)
class Surveyor:
    """Surveys folders over one connection; its facts go into that connection's batch.

    `shown` are the epochs the server still shows (`plan.shown_epochs`): mail of others, or mail that vanished, may
    be known again in a new epoch. `whole` are globs of the folders that a person calls whole. `accept`: a person
    accepts what waits in quarantine. `orphans` are octets that a crashed run left without facts. `rematch` is False
    while the archive is new.
    """

    source: MailSource
    store: MessageStore
    catalog: Catalog
    recorder: Recorder
    batch: Batch
    progress: Progress
    now: Callable[[], str]
    search: str | None
    whole: Sequence[str]
    retry: Retry
    accept: bool
    shown: frozenset[tuple[str, int]]
    orphans: Orphans
    rematch: bool

    def survey(self, listed: Listed, known: KnownFolder, epoch: KnownEpoch | None) -> Surveyed:
        """Open the folder and find out. Facts about flags and vanished messages are left in the batch."""
        opened = self.source.open(listed.folder, _resume(epoch), self._question(epoch))
        verdict = judge_epoch(epoch, opened.status)
        known_flags: dict[int, Flags] = {}
        odd: CountsDisagree | None = None
        if epoch is not None and verdict == "same":
            known_flags = self.catalog.known(epoch.number)
            present, odd, seen = self._look_again(epoch, opened, known_flags)
            if self._other_mail(epoch, seen) or self._other_mail_left(known, epoch, present):
                verdict = "rewound"
        self.store.reserve(known.directory, opened.keywords)
        if epoch is None or verdict != "same":
            epoch = self._begin_epoch(known, epoch, opened, verdict)
            known_flags, held = {}, {}
            present, odd = self._all()
        else:
            # NOTE: the flags of those that are back were just seen, and their move waits in the batch.
            held = {uid: known_flags[uid] for uid in known_flags.keys() & present}
            known_flags |= self._take_back(epoch, {uid: seen[uid] for uid in seen.keys() - known_flags.keys()})
        matching = present if self.search is None else self.source.uids(self.search) & present
        absence = Absence(
            known, epoch, self.catalog, self.batch, self.now, is_whole=matches(known.folder.path, self.whole)
        )
        at_window = absence.at_window(listed, opened, present)
        kept = self._left_here(known, epoch, present, may_be_hidden=at_window or odd is not None)
        matching |= kept & present
        waiting = self.catalog.quarantined(epoch.number)
        hidden: set[int] = set()
        if odd is None:
            hidden = absence.conclude(known_flags.keys(), waiting, present, at_window=at_window, accept=self.accept)
            hidden |= kept - present
        is_part = at_window or bool(hidden)
        if is_part:
            self.progress(Noted(window_words(known.folder.name, len(present), len(hidden))))
        if epoch.state is not None or known_flags:
            self._follow_flags(known, epoch, opened, held)
        quarantined = frozenset(each.uid for each in waiting if each.uid in present)
        not_due = {each.uid for each in waiting if not self._due(each)}
        wanted = matching - known_flags.keys() - not_due
        surveyed = Surveyed(
            listed=listed,
            known=known,
            epoch=epoch,
            opened=opened,
            on_server=len(present) + len(hidden) if odd is None else odd.exists,
            excluded=len(present - matching - known_flags.keys() - quarantined),
            wanted=wanted,
            state=self._state(listed, epoch, opened),
            quarantined=quarantined,
            shown=len(present) if is_part else None,
            breaking=frozenset(each.uid for each in waiting if each.reason.startswith(BROKE)),
            newest_known=max([*known_flags, *quarantined], default=0),
            disagreement=None if odd is None else str(odd),
        )
        if odd is not None:
            self.progress(Noted(str(odd)))
        if epoch.state is None and self.rematch and wanted:
            self._match_again(surveyed, present)
        return surveyed

    def _all(self) -> tuple[set[int], CountsDisagree | None]:
        """All UIDs that the server names, and whether they cannot be all."""
        try:
            return self.source.uids(), None
        except CountsDisagree as error:
            return set(error.named), error

    def _question(self, epoch: KnownEpoch | None) -> str:
        """What is going to be asked first of the folder, as far as that is known before it is open."""
        state = epoch.state if epoch else None
        if _resume(epoch) is None or state is None or state.uidnext is None:
            return "ALL"
        return "ALL" if state.filter is not None or self.search is not None else f"UID {state.uidnext}:*"

    def _due(self, quarantined: Quarantined) -> bool:
        return self.retry == "all" or is_due(quarantined)

    def _state(self, listed: Listed, epoch: KnownEpoch, opened: Opened) -> StateFact:
        status = opened.status
        # Only STATUS tells the size, so it counts if nothing happened between it and the opening.
        told = listed.status and replace(listed.status, size=None) == status
        size = listed.status.size if listed.status and told else None
        return StateFact(
            epoch.number, status.uidnext, status.highestmodseq, status.messages, self.search, self.now(), size
        )

    def _look_again(
        self, epoch: KnownEpoch, opened: Opened, known: Mapping[int, Flags]
    ) -> tuple[set[int], CountsDisagree | None, dict[int, Attributes]]:
        """All UIDs on the server, whether it names others than it counts, and how the telling ones among them look
        now: the newest known ones, since a server that went back in time gives the newest UIDs away first, and
        those that had vanished and are back."""
        present = self._told(epoch, opened, known)
        if present is not None:
            seen = self._probe(epoch, known, present)
            if len(seen) == min(PROBED, len(known.keys() & present)):
                return present, None, seen
            # Messages that should be there, or should be gone, are not: what QRESYNC told is not to be trusted.
        present, odd = self._all()
        return present, odd, self._probe(epoch, known, present)

    def _told(self, epoch: KnownEpoch, opened: Opened, known: Mapping[int, Flags]) -> set[int] | None:
        """All UIDs on the server by what QRESYNC told: only the new ones are asked for. None if it was not asked,
        or if the count does not agree."""
        state = epoch.state
        if opened.vanished is None or state is None or state.uidnext is None:
            return None
        if state.filter is not None or self.search is not None:
            return None
        expected = set(known) - opened.vanished
        expected |= {each.uid for each in self.catalog.quarantined(epoch.number)} - opened.vanished
        # NOTE: "n:*" names the last message even when its UID is below n (RFC 3501 section 6.4.8).
        expected |= {uid for uid in self.source.uids(f"UID {state.uidnext}:*") if uid >= state.uidnext}
        return expected if len(expected) == opened.status.messages else None

    def _probe(self, epoch: KnownEpoch, known: Mapping[int, Flags], present: set[int]) -> dict[int, Attributes]:
        newest = nlargest(PROBED, known.keys() & present)
        # NOTE: also those above the last UIDNEXT: a pass that failed after it may have met them, under other mail.
        asked = {*newest, *self.catalog.attributes(epoch.number, present - known.keys())}
        return {each.uid: each for each in self.source.scan(asked) if each.uid in asked} if asked else {}

    def _other_mail(self, epoch: KnownEpoch, seen: Mapping[int, Attributes]) -> bool:
        """Whether UIDs show other mail than is recorded of them. Doubtful ones are settled by their headers."""
        recorded = self.catalog.attributes(epoch.number, seen)
        doubts = {uid: doubt_same(recorded[uid], seen[uid]) for uid in recorded}
        doubtful = [uid for uid, doubt in doubts.items() if doubt == "doubtful"]
        held = {p.uid: p for p in self.catalog.placements(epoch.number, uids=doubtful)} if doubtful else {}
        return "other" in doubts.values() or self._other_headers(held)

    def _other_mail_left(self, known: KnownFolder, epoch: KnownEpoch, present: set[int]) -> bool:
        """The same of UIDs under which a crashed run left octets."""
        left = {uid: each for uid, each in self._unrecorded(known, epoch).items() if uid in present}
        seen = [each for each in self.source.scan(left) if each.uid in left] if left else []
        doubts = {each.uid: doubt_left(left[each.uid], each) for each in seen}
        doubtful = {uid: left[uid] for uid, doubt in doubts.items() if doubt == "doubtful"}
        return "other" in doubts.values() or self._other_headers(doubtful)

    def _other_headers(self, held: Mapping[int, Placement]) -> bool:
        return any(
            attributes.uid in held and header_digest(header) != header_digest(self._header(held[attributes.uid]))
            for attributes, header in (list(self.source.headers(list(held))) if held else ())
        )

    def _take_back(self, epoch: KnownEpoch, seen: Mapping[int, Attributes]) -> dict[int, Flags]:
        """Messages that had vanished and are on the server again: their octets are here."""
        back: dict[int, Flags] = {}
        for placement in list(self.catalog.placements(epoch.number, uids=seen.keys())):
            uid = placement.uid
            try:
                header = self._header(placement)
            except IntegrityError:
                continue  # somebody removed the file; the message is fetched again
            now = replace(seen[uid], internaldate=placement.message.internaldate)
            message = with_header(placement.message, header).seen_as(now)
            fact = StoredFact(epoch.number, message, "returned", self.now())
            back[uid] = message.flags
            self.batch.moved(fact, [(placement, replace(placement, message=message, present=True))])
        return back

    def _header(self, placement: Placement) -> bytes:
        with self.store.open(placement) as file:
            return file.read(HEADER_OCTETS)

    def _begin_epoch(
        self, known: KnownFolder, before: KnownEpoch | None, opened: Opened, verdict: Verdict
    ) -> KnownEpoch:
        """A new epoch is lasting before any message of it; the one before is put away, never dropped."""
        fact = self.recorder.number_epoch(
            EpochFact(0, known.number, opened.status.uidvalidity, 1, verdict, self.now())
        )
        self.recorder.write([*self._of_ending(known, before), fact])
        if before is not None:
            self.progress(
                Noted(
                    f'folder "{known.folder.name}": epoch {fact.number} begins ({verdict}); '
                    "known messages are matched again, nothing is lost"
                )
            )
            ended = (each for each in self.catalog.placements(before.number) if not each.present)
            self.batch.move((replace(each, present=True), each) for each in ended)
        return KnownEpoch(fact.number, known.number, fact.uidvalidity, fact.generation)

    def _of_ending(self, known: KnownFolder, epoch: KnownEpoch | None) -> list[StoredFact]:
        """What a crashed run left of an epoch that ends now: the last moment at which it is known whose it is."""
        if epoch is None:
            return []
        left = self._unrecorded(known, epoch)
        for placement in left.values():
            self.orphans.adopt(placement)
        return [adopted(self.store, epoch, placement, None, self.now) for placement in left.values()]

    def _left_here(
        self, known: KnownFolder, epoch: KnownEpoch, present: set[int], *, may_be_hidden: bool
    ) -> set[int]:
        """What a crashed run left of this folder. Those on the server are wanted, whatever the filter says now,
        and cost no download; those that are gone from it are kept as vanished, and those that may only be hidden as
        if they were present. The UIDs of all that did not vanish."""
        left = self._unrecorded(known, epoch)
        for placement in [left[uid] for uid in left.keys() - present]:
            self.orphans.adopt(placement)
            fact = adopted(self.store, epoch, placement, None, self.now)
            place = replace(placement, generation=epoch.generation, present=may_be_hidden)
            if may_be_hidden:
                self.batch.moved(fact, [(placement, place)])
            else:
                self.batch.fact(fact)
                self.batch.moved(VanishedFact(epoch.number, (placement.uid,), self.now()), [(placement, place)])
        return set(left) if may_be_hidden else left.keys() & present

    def _unrecorded(self, known: KnownFolder, epoch: KnownEpoch) -> dict[int, Placement]:
        left = self.orphans.of(known.directory, epoch)
        recorded = self.catalog.attributes(epoch.number, left) if left else {}
        return {uid: placement for uid, placement in left.items() if uid not in recorded}

    def _follow_flags(
        self, known: KnownFolder, epoch: KnownEpoch, opened: Opened, held: Mapping[int, Flags]
    ) -> None:
        """Flags that changed since the last pass: told by QRESYNC, asked by CHANGEDSINCE, or scanned."""
        modseq = epoch.state.highestmodseq if epoch.state else None
        if opened.changed is not None:
            seen: Iterable[Attributes] = opened.changed
        elif not held:
            return
        elif modseq is not None and opened.status.highestmodseq is not None:
            if modseq == opened.status.highestmodseq:
                return
            seen = self.source.scan(None, changed_since=modseq)
        else:
            seen = self.source.scan(None)
        changed = {
            each.uid: each.flags
            for each in seen
            if each.flags is not None and each.uid in held and each.flags != held[each.uid]
        }
        if not changed:
            return
        for placement in self.catalog.placements(epoch.number, uids=changed):
            flags = changed[placement.uid]
            fact = FlagsFact(epoch.number, placement.uid, flags, self.now())
            self.batch.moved(fact, [(placement, placement.with_flags(flags))])

    def _match_again(self, surveyed: Surveyed, present: set[int]) -> None:
        """Known messages in a new epoch are linked, not fetched, but those whose octets the archive lost."""
        matches = known_again(self.source, self.catalog, present, surveyed.wanted, self._usable)
        while some := list(islice(matches, BATCH_MESSAGES)):
            lacking = self.store.lacking([each.twin for each in some])
            for found in some:
                # NOTE: a match may be one of a message that another one of them took.
                if found.seen.uid in surveyed.wanted and found.twin.digest not in lacking:
                    self._link(surveyed, found)

    def _usable(self, placement: Placement) -> bool:
        """Mail that is not where the server shows it now: vanished, of an ended or ending epoch, of a folder
        unlisted."""
        return not placement.present or (placement.directory, placement.uidvalidity) not in self.shown

    def _link(self, surveyed: Surveyed, found: Match) -> None:
        message = found.twin.message.seen_as(found.seen)
        fact = StoredFact(surveyed.epoch.number, message, found.how, self.now())
        if self.batch.linked(fact, surveyed.placement(fact), found.twin):
            surveyed.wanted.discard(found.seen.uid)
        # else its octets are not where they should be; it stays wanted and is fetched


def _resume(epoch: KnownEpoch | None) -> Resume | None:
    if epoch is None or epoch.foreign or epoch.state is None or epoch.state.highestmodseq is None:
        return None
    return Resume(epoch.uidvalidity, epoch.state.highestmodseq)
