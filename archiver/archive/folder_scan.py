"""One folder opened: which epoch it is in, what is new, which flags changed, what vanished.

The scan checks everything the plan assumed, because the plan was made from another connection's view. Its result
is the set of UIDs to fetch. Where the server's own counts disagree, the messages that it lists are fetched, and
nothing is concluded about those that it does not list.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.archive.absence import Absence
from archiver.archive.flag_changes import changed_marks, without_our_marks
from archiver.archive.openings import Prepared, first_request
from archiver.archive.plan.folders import is_due
from archiver.archive.plan.same import PROBED, EpochVerdict, compare_known, compare_unrecorded, judge_epoch
from archiver.archive.rematch import Match, find_known
from archiver.archive.scanned import QuarantineRetry, ScannedFolder
from archiver.archive.unrecorded import UnrecordedFiles, unrecorded_fact
from archiver.catalog.port import Catalog
from archiver.errors import CountsDisagree, IntegrityError
from archiver.events import Noted, Progress
from archiver.facts.archive import EpochFact, FlagsFact, LabelsFact, StateFact, StoredFact, VanishedFact
from archiver.facts.known import KnownEpoch, KnownFolder, Quarantined
from archiver.journal.recorder import BATCH_MESSAGES, Batch, Recorder
from archiver.mail.content import BROKE, HEADER_OCTETS, header_block, header_digest, with_header
from archiver.mail.dates import internaldate_seconds
from archiver.mail.folder_names import matches
from archiver.mail.model import Attributes, Digest, Listed, Marks, Opened, Placement
from archiver.mail.uidset import UidSet
from archiver.mail.unnumbered import NamedMessage, names_other_mail
from archiver.mail.window import window_words
from archiver.source.port import MailSource
from archiver.storage.port import FolderMetadata, MessageStore, Prefetch

#: Why a new epoch begins, for people.
NEW_EPOCH: Mapping[EpochVerdict, str] = {
    "uidvalidity": "UIDVALIDITY changed",
    "rewound": "the server went back to an earlier state",
    "source": "the source is another server now",
    "renumbered": "the server gives no UIDVALIDITY, and its UIDs name other messages now",
}


class _Shown(Struct, frozen=True):
    """What the server shows of a folder: whether UIDs still name the messages that were recorded; all UIDs, and the
    error if they disagree with its count; attributes of some known messages; the UIDs of forgotten ones."""

    verdict: EpochVerdict
    present: UidSet = UidSet()
    odd: CountsDisagree | None = None
    seen: Mapping[int, Attributes] = field(default_factory=dict)
    forgotten: UidSet = UidSet()


class FolderScanner(Struct):
    """Scans folders over one connection; its facts go into that connection's batch.

    `live` are the epochs that the server still shows (`plan.live_epochs`). Mail of all other epochs, and mail that
    vanished, may be matched in a new epoch. `whole` are globs of the folders that count as complete. `accept`: the
    user accepts what waits in quarantine. `unrecorded` are messages that a crashed run stored but did not record.
    `rematch` is False as long as no folder of the archive was ever complete. `forgotten` are digests of messages
    that must not come back.
    """

    source: MailSource
    store: MessageStore
    metadata: FolderMetadata | None
    prefetch: Prefetch | None
    catalog: Catalog
    recorder: Recorder
    batch: Batch
    progress: Progress
    now: Callable[[], str]
    search: str | None
    whole: Sequence[str]
    retry: QuarantineRetry
    accept: bool
    live: frozenset[tuple[str, int]]
    unrecorded: UnrecordedFiles
    rematch: bool
    forgotten: Mapping[Digest, int]

    def scan(self, listed: Listed, prepared: Prepared) -> ScannedFolder:
        """Open the folder and compare it with the catalog. Facts about flags and vanished messages stay in the
        batch until it is flushed."""
        known, epoch, recorded, opening = prepared.known, prepared.epoch, prepared.recorded, prepared.opening
        opened = self.source.open(
            opening.folder,
            opening.since,
            opening.ask,
            identify=opening.identify,
            known=opening.known,
            fetch=opening.fetch,
        )
        shown = self._compared(known, epoch, opened, recorded)
        if self.metadata is not None:
            self.metadata.reserve_keywords(known.directory, opened.keywords)
        if epoch is None or shown.verdict != "same":
            epoch = self._begin_epoch(known, epoch, opened, shown.verdict)
            recorded = held = UidSet()
            shown = _Shown("same", *self._all())
        else:
            # NOTE: not the messages that reappeared: their flags were just read, and their move waits in the batch.
            held = recorded & shown.present
            recorded |= self._take_back(epoch, {uid: shown.seen[uid] for uid in shown.seen if uid not in recorded})
        present, odd, forgotten = shown.present, shown.odd, shown.forgotten
        matching = present if self.search is None else self.source.uids(self.search) & present
        absence = self._absence(known, epoch)
        at_window = absence.at_window(listed, opened, present)
        kept = self._left_here(known, epoch, present, may_be_hidden=at_window or odd is not None)
        matching |= kept & present
        waiting = self.catalog.account.quarantined(epoch.number)
        hidden = UidSet()
        if odd is None:
            hidden = absence.conclude(
                recorded | forgotten, waiting, present, at_window=at_window, accept=self.accept
            )
            hidden |= kept - present
        is_part = at_window or bool(hidden)
        if is_part:
            self.progress(Noted(window_words(known.folder.name, len(present), len(hidden))))
        if odd is not None:
            self.progress(Noted(str(odd)))
        if epoch.state is not None or recorded:
            self._follow_flags(known, epoch, opened, held)
        quarantined = UidSet(each.uid for each in waiting) & present
        not_due = UidSet(each.uid for each in waiting if not self._due(each))
        wanted = matching - recorded - not_due - forgotten
        newest_known = max(recorded.last, quarantined.last, forgotten.last)
        scanned = ScannedFolder(
            listed=listed,
            known=known,
            epoch=epoch,
            opened=opened,
            on_server=len(present) + len(hidden) if odd is None else odd.exists,
            excluded=len(present - matching - recorded - quarantined - forgotten),
            wanted=wanted,
            state=self._state(listed, epoch, opened),
            quarantined=quarantined,
            shown=len(present) if is_part else None,
            breaking=UidSet(each.uid for each in waiting if each.reason.startswith(BROKE)),
            newest_known=newest_known,
            has_past=epoch.state is None and len(self.catalog.account.numbering(known.number).uidvalidities) > 1,
            fetches_again=bool(wanted & range(newest_known + 1)),
            disagreement=None if odd is None else str(odd),
            seen=_newest_rows(opened.seen, wanted),
        )
        if epoch.state is None and self.rematch and wanted:
            self._match_again(scanned, present)
        return scanned

    def _compared(self, known: KnownFolder, epoch: KnownEpoch | None, opened: Opened, recorded: UidSet) -> _Shown:
        """Whether UIDs still name the messages that were recorded. If the folder's numbers say so, also what the
        server shows."""
        verdict = judge_epoch(epoch, opened.status)
        if epoch is None or verdict != "same":
            return _Shown(verdict)
        forgotten = self.catalog.keeping.forgotten_uids(epoch.number) if self.forgotten else UidSet()
        present, odd, seen = self._present_and_probed(epoch, opened, recorded, forgotten)
        if not opened.status.uidvalidity and self._renumbered(epoch, recorded, present):
            verdict = "renumbered"
        elif not opened.status.uidvalidity and epoch.uidvalidity:
            why = "the server gives no UIDVALIDITY this time; its messages were compared and are the known ones"
            self.progress(Noted(f'folder "{known.folder.name}": {why}'))
        elif self._other_mail(epoch, seen) or self._other_mail_left(known, epoch, present):
            verdict = "rewound"
        return _Shown(verdict, present, odd, seen, forgotten)

    def _absence(self, known: KnownFolder, epoch: KnownEpoch) -> Absence:
        is_whole = matches(known.folder.path, self.whole)
        return Absence(known, epoch, self.catalog.messages, self.batch, self.now, is_whole=is_whole)

    def _all(self) -> tuple[UidSet, CountsDisagree | None]:
        """All UIDs that the server lists, and the error if its counts show that some are missing."""
        try:
            return self.source.uids(), None
        except CountsDisagree as error:
            return UidSet(error.named), error

    def _due(self, quarantined: Quarantined) -> bool:
        return self.retry == "all" or is_due(quarantined)

    def _renumbered(self, epoch: KnownEpoch, recorded: UidSet, present: UidSet) -> bool:
        """Whether the UIDs of a folder without UIDVALIDITY name other messages than those that were recorded, also
        than those that had vanished and are back."""
        placements = self.catalog.messages.placements(epoch.number, uids=recorded | present)
        known = (
            NamedMessage(
                uid=each.uid,
                size=each.message.server_size,
                arrived=internaldate_seconds(each.message.internaldate),
                message_id=each.message.message_id,
                header_digest=each.message.header_digest,
            )
            for each in placements
        )
        return names_other_mail(self.source, known, present)

    def _state(self, listed: Listed, epoch: KnownEpoch, opened: Opened) -> StateFact:
        status = opened.status
        # Only STATUS has the size, so it is valid only if nothing changed between it and the opening.
        unchanged = listed.status and replace(listed.status, size=None) == status
        size = listed.status.size if listed.status and unchanged else None
        return StateFact(
            epoch.number, status.uidnext, status.highestmodseq, status.messages, self.search, self.now(), size
        )

    def _present_and_probed(
        self, epoch: KnownEpoch, opened: Opened, known: UidSet, forgotten: UidSet
    ) -> tuple[UidSet, CountsDisagree | None, dict[int, Attributes]]:
        """All UIDs on the server, the error if they disagree with its count, and the current attributes of some: of
        the newest known ones, since a server that was restored from a backup reassigns the newest UIDs first, and
        of those that had vanished and are back."""
        present = self._from_changes(epoch, opened, known | forgotten)
        if present is not None:
            seen = self._probe(epoch, opened, known, present)
            if len(seen) == min(PROBED, len(known & present)):
                return present, None, seen
            # Some messages are missing that were reported as present, so the answer cannot be trusted.
        present, odd = self._all()
        return present, odd, self._probe(epoch, opened, known, present)

    def _from_changes(self, epoch: KnownEpoch, opened: Opened, known: UidSet) -> UidSet | None:
        """All UIDs on the server, derived from what has changed since the last pass. Only new ones are requested.
        None if the server did not say what has changed, or if the count does not agree."""
        if opened.changes is None or first_request(epoch, self.search) == "all":
            return None
        vanished = opened.changes.vanished
        waiting = UidSet(each.uid for each in self.catalog.account.quarantined(epoch.number))
        expected = (known | waiting) - vanished
        expected |= self.source.uids(since=epoch.known_state)
        return expected if len(expected) == opened.status.messages else None

    def _probe(self, epoch: KnownEpoch, opened: Opened, known: UidSet, present: UidSet) -> dict[int, Attributes]:
        newest = (known & present).newest(PROBED)
        # NOTE: includes UIDs above the last UIDNEXT: a later pass that failed may have stored other mail under
        # them.
        asked = UidSet([*newest, *self._recorded(epoch, present - known)])
        seen = _newest_rows(opened.seen, asked)
        left = asked - seen.keys()
        return seen | ({each.uid: each for each in self.source.scan(left) if each.uid in left} if left else {})

    def _other_mail(self, epoch: KnownEpoch, seen: Mapping[int, Attributes]) -> bool:
        """Whether any UID now has other mail than was recorded. Where size and date leave a doubt, the headers
        decide."""
        recorded = self._recorded(epoch, seen)
        doubts = {uid: compare_known(recorded[uid], seen[uid]) for uid in recorded}
        doubtful = [uid for uid, doubt in doubts.items() if doubt == "doubtful"]
        held = {p.uid: p for p in self.catalog.messages.placements(epoch.number, uids=doubtful)} if doubtful else {}
        return "other" in doubts.values() or self._other_headers(held)

    def _other_mail_left(self, known: KnownFolder, epoch: KnownEpoch, present: UidSet) -> bool:
        """The same for UIDs whose messages a crashed run stored but did not record."""
        left = {uid: each for uid, each in self._unrecorded(known, epoch).items() if uid in present}
        seen = [each for each in self.source.scan(left) if each.uid in left] if left else []
        doubts = {each.uid: compare_unrecorded(left[each.uid], each) for each in seen}
        doubtful = {uid: left[uid] for uid, doubt in doubts.items() if doubt == "doubtful"}
        return "other" in doubts.values() or self._other_headers(doubtful)

    def _other_headers(self, held: Mapping[int, Placement]) -> bool:
        return any(
            attributes.uid in held and header_digest(header) != header_digest(self._header(held[attributes.uid]))
            for attributes, header in (list(self.source.headers(list(held))) if held else ())
        )

    def _take_back(self, epoch: KnownEpoch, seen: Mapping[int, Attributes]) -> UidSet:
        """Restore messages that had vanished and are on the server again, without a download; their UIDs."""
        back: list[int] = []
        for placement in list(self.catalog.messages.placements(epoch.number, uids=seen.keys())):
            uid = placement.uid
            try:
                header = self._header(placement)
            except IntegrityError:
                continue  # the file was removed; the message is fetched again
            now = replace(seen[uid], internaldate=placement.message.internaldate)
            message = with_header(placement.message, header_block(header)).seen_as(now)
            fact = StoredFact(epoch.number, message, "returned", self.now())
            back.append(uid)
            self.batch.moved(fact, [(placement, replace(placement, message=message, present=True))])
        return UidSet(back)

    def _header(self, placement: Placement) -> bytes:
        with self.store.open(placement) as file:
            return file.read(HEADER_OCTETS)

    def _begin_epoch(
        self, known: KnownFolder, before: KnownEpoch | None, opened: Opened, verdict: EpochVerdict
    ) -> KnownEpoch:
        """Record a new epoch durably before any message of it. The previous one is moved away, never dropped."""
        fact = self.recorder.number_epoch(
            EpochFact(0, known.number, opened.status.uidvalidity, 1, verdict, self.now())
        )
        self.recorder.write([*self._of_ending(known, before), fact])
        if before is not None:
            self.progress(
                Noted(
                    f'folder "{known.folder.name}": {NEW_EPOCH[verdict]}; '
                    "matching known messages without downloading them again"
                )
            )
            ended = (each for each in self.catalog.messages.placements(before.number) if not each.present)
            self.batch.move((replace(each, present=True), each) for each in ended)
        return KnownEpoch(fact.number, known.number, fact.uidvalidity, fact.generation)

    def _of_ending(self, known: KnownFolder, epoch: KnownEpoch | None) -> list[StoredFact]:
        """Facts of what a crashed run left unrecorded in an epoch that is ending. Afterwards nobody can tell which
        epoch it belongs to."""
        if epoch is None:
            return []
        left = self._unrecorded(known, epoch)
        for placement in left.values():
            self.unrecorded.mark_recorded(placement)
        return [unrecorded_fact(self.store, epoch, placement, None, self.now) for placement in left.values()]

    def _left_here(self, known: KnownFolder, epoch: KnownEpoch, present: UidSet, *, may_be_hidden: bool) -> UidSet:
        """Record what a crashed run left unrecorded in this folder; returns the UIDs of all that did not vanish.

        Messages that are on the server are wanted, whatever the filter says now, and need no download. Those that
        are gone from it are recorded as vanished, and those that may only be hidden as present."""
        left = self._unrecorded(known, epoch)
        for placement in [left[uid] for uid in left if uid not in present]:
            self.unrecorded.mark_recorded(placement)
            fact = unrecorded_fact(self.store, epoch, placement, None, self.now)
            place = replace(placement, generation=epoch.generation, present=may_be_hidden)
            if may_be_hidden:
                self.batch.moved(fact, [(placement, place)])
            else:
                self.batch.fact(fact)
                self.batch.moved(VanishedFact(epoch.number, (placement.uid,), self.now()), [(placement, place)])
        return UidSet(left) if may_be_hidden else present & left.keys()

    def _unrecorded(self, known: KnownFolder, epoch: KnownEpoch) -> dict[int, Placement]:
        left = self.unrecorded.of(known.directory, epoch)
        recorded = self._recorded(epoch, left)
        return {uid: placement for uid, placement in left.items() if uid not in recorded}

    def _recorded(self, epoch: KnownEpoch, uids: Iterable[int]) -> dict[int, Attributes]:
        """Recorded flags, INTERNALDATE and RFC822.SIZE of these messages, including vanished ones."""
        placements = self.catalog.messages.placements(epoch.number, uids=UidSet(uids))
        return {each.uid: each.message.attributes for each in placements}

    def _follow_flags(self, known: KnownFolder, epoch: KnownEpoch, opened: Opened, held: UidSet) -> None:
        """Record flags and labels that changed since the last pass, as the server reported them or as a scan shows
        them."""
        if opened.changes is not None and not opened.labels:
            rows = opened.changes.changed
            seen: Iterable[Sequence[Marks]] = [
                [Marks(each.uid, each.flags) for each in rows if each.flags is not None]
            ]
        elif held:
            seen = self.source.flags(since=None if epoch.unlabelled and opened.labels else epoch.known_state)
        else:
            return
        seen = without_our_marks(seen, self.catalog.prunes.begun(epoch.number))
        changed = changed_marks(self.catalog.messages, epoch.number, seen, held)
        if not changed:
            return
        for placement in self.catalog.messages.placements(epoch.number, uids=changed):
            self._record(epoch, placement, changed[placement.uid])

    def _record(self, epoch: KnownEpoch, placement: Placement, marks: Marks) -> None:
        if marks.flags != placement.flags:
            fact = FlagsFact(epoch.number, placement.uid, marks.flags, self.now())
            self.batch.moved(fact, [(placement, placement.with_flags(marks.flags))])
        if marks.labels is not None:
            thrid = marks.thrid or placement.message.thrid
            if (marks.labels, thrid) != (placement.message.labels, placement.message.thrid):
                self.batch.fact(LabelsFact(epoch.number, placement.uid, thrid, marks.labels, self.now()))

    def _match_again(self, scanned: ScannedFolder, present: UidSet) -> None:
        """Link known messages of a new epoch instead of fetching them, except those whose octets are lost."""
        linked: set[int] = set()
        matches = find_known(self.source, self.catalog.messages, present, scanned.wanted, linked, self._usable)
        while some := list(islice(matches, BATCH_MESSAGES)):
            missing = self.prefetch.missing([each.twin for each in some]) if self.prefetch is not None else ()
            for found in some:
                # NOTE: another match may already have provided this message.
                if found.seen.uid in linked or found.twin.digest in missing:
                    continue
                if self._link(scanned, found):
                    linked.add(found.seen.uid)
        scanned.wanted -= linked

    def _usable(self, placement: Placement) -> bool:
        """Whether this placement is one that the server no longer shows: vanished, of an epoch that ended or ends
        now, or of a folder that is no longer listed."""
        return not placement.present or (placement.directory, placement.uidvalidity) not in self.live

    def _link(self, scanned: ScannedFolder, found: Match) -> bool:
        """Whether the archive has its octets; otherwise it stays wanted and is fetched."""
        message = found.twin.message.seen_as(found.seen)
        fact = StoredFact(scanned.epoch.number, message, found.how, self.now())
        return self.batch.linked(fact, scanned.placement(fact), found.twin)


def _newest_rows(rows: Iterable[Attributes], uids: Container[int]) -> dict[int, Attributes]:
    """The rows of these UIDs; of several about one message, what each says last."""
    found: dict[int, Attributes] = {}
    for each in rows:
        if each.uid in uids:
            found[each.uid] = found.get(each.uid, each).updated(each)
    return found
