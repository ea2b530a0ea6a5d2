"""Sending messages to one open folder: in groups, exactly once, down to the single message that is refused.

An intent is recorded before anything is sent, and what became of it when it is answered. In between nothing is
assumed: after a lost connection `archiver.settle` looks at what arrived.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from archiver.copies import Appended, MessageKey, Outgoing
from archiver.copy_facts import CopiedFact, IntentFact, ReflaggedFact, RefusedFact
from archiver.destination_ports import MailDestination
from archiver.errors import (
    BackendError,
    FolderNotFound,
    IntegrityError,
    OverQuota,
    PermissionDenied,
    TemporaryError,
    Throttled,
)
from archiver.facts import Fact
from archiver.flags import respelled
from archiver.message import HEADER_OCTETS, header_value, readable
from archiver.model import Attributes, Flags
from archiver.names import printable
from archiver.progress import Noted, Sent
from archiver.refusals import Features, Refusal, classify, describe, features_of, suspect
from archiver.replay.context import SETTLE_SECONDS, ReplayContext, Target
from archiver.replay.following import NO_FLAGS
from archiver.replay.parcels import Parcel, groups, in_form, keywords_of, parcel_of, repaired_by
from archiver.replay.recognise import Recogniser, octets_of
from archiver.replay.repair import repairs_for


@dataclass(slots=True)
class Sender:
    """Sends to the folder that is open at `destination`. Belongs to one connection's thread.

    `claimed` are the UIDs that are known to be somebody's copy; it grows.
    """

    context: ReplayContext
    destination: MailDestination
    target: Target
    recogniser: Recogniser
    claimed: set[int]
    since: int
    appended: int = 0
    _facts: list[Fact] = field(default_factory=list)
    _waiting: deque[list[Outgoing] | list[Parcel]] = field(default_factory=deque)
    _in_flight: deque[list[Parcel]] = field(default_factory=deque)
    _taken: list[tuple[list[Parcel], Appended]] = field(default_factory=list)
    _refused: list[tuple[list[Parcel], Appended]] = field(default_factory=list)
    _doubtful: list[tuple[Parcel, CopiedFact]] = field(default_factory=list)
    _told: list[int] = field(default_factory=lambda: [0, 0])
    _forgotten: dict[Flags, dict[int, Parcel]] = field(default_factory=dict)

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send these, in their order; recorded on return.

        Raises:
            TemporaryError: the outcome of some is unknown; their intents stay.
            OverQuota, FolderNotFound, PermissionDenied: nothing more can be sent here.
        """
        sendable = [each for each in outgoing if not self._known_too_big(each)]
        if sendable:
            keys = tuple(each.key for each in sendable)
            self._fact(IntentFact(self.target.number, self.since, keys, self.context.now()))
        self.flush()
        self._waiting.extend(groups(sendable, self.target.job.alone))
        try:
            self._work_off()
            self._look_closer()
            self.since = max([self.since, *(uid + 1 for uid in self.claimed)])
        except TemporaryError as error:
            self._suspect(error)
            raise
        finally:
            self.flush()

    def flush(self) -> None:
        """Record what became known."""
        facts, self._facts = self._facts, []
        self.context.recorder.write(facts)

    def _work_off(self) -> None:
        """Everything that waits, and what has to be tried again in another form or by itself."""
        while self._waiting:
            while self._waiting or self._in_flight:
                self.context.check_stop()
                while self._waiting and len(self._in_flight) < self._most_in_flight():
                    self._begin(self._waiting.popleft())
                if self._in_flight:
                    commands = self.destination.end_append()
                    self._answered(self._in_flight.popleft(), commands)
            self._account_for()

    def _tell(self) -> None:
        messages, octets = self._told
        if messages:
            self._told = [0, 0]
            self.context.progress(Sent(messages, octets))

    def _most_in_flight(self) -> int:
        """One where a message is to be found that breaks connections."""
        return 1 if self.target.job.alone else self.destination.most_in_flight

    def _begin(self, group: list[Outgoing] | list[Parcel]) -> None:
        made = (each if isinstance(each, Parcel) else self._parcel(each) for each in group)
        parcels = [parcel for parcel in made if parcel is not None]
        if parcels:
            self._in_flight.append(parcels)
            self.destination.begin_append([parcel.letter for parcel in parcels])

    def _parcel(self, outgoing: Outgoing) -> Parcel | None:
        try:
            return parcel_of(self.context.store, outgoing, self.target.opened)
        except IntegrityError as error:
            self.context.damaged(error)
            self._refuse(outgoing, "damaged", "the archive's own octets are missing or altered", None)
            return None

    def _answered(self, parcels: Sequence[Parcel], commands: Sequence[Appended]) -> None:
        left = iter(parcels)
        for command in commands:
            some = [next(left) for _ in range(command.count)]
            (self._taken if command.ok else self._refused).append((some, command))

    def _account_for(self) -> None:
        """With nothing in flight: every message that was taken gets its UID, by what the folder shows now; what was
        refused is looked at more closely, after it is sure that none of it arrived."""
        taken, self._taken = self._taken, []
        refused, self._refused = self._refused, []
        # NOTE: asked behind the answers and not together with the messages: Dovecot shows a pipelined question the
        # folder as it was.
        new = self._shown()
        unplaced: list[Parcel] = []
        for some, command in taken:
            uids = self._believed(command, new)
            if uids is None:
                unplaced += some
            else:
                for parcel, uid in zip(some, uids, strict=True):
                    self._copied(parcel, new.pop(uid))
        left = sorted(new)
        if len(left) == len(unplaced) and not refused:
            fit = all(parcel.fits(new[uid].size) for parcel, uid in zip(unplaced, left, strict=True))
            if fit:
                for parcel, uid in zip(unplaced, left, strict=True):
                    self._copied(parcel, new.pop(uid))
                unplaced = []
        found = self._recognise([*unplaced, *(each for some, _ in refused for each in some)], new)
        self._not_shown([each for each in unplaced if each.key not in found])
        self._tell()
        for some, command in refused:
            still = [each for each in some if each.key not in found]
            if len(still) > 1:
                middle = len(still) // 2
                self._waiting += (still[:middle], still[middle:])
            elif still:
                self._refused_one(still[0], command)

    def _shown(self) -> dict[int, Attributes]:
        shown = self.destination.shown(self.since)
        return {uid: seen for uid, seen in shown.items() if uid not in self.claimed}

    def _recognise(self, parcels: Sequence[Parcel], new: Mapping[int, Attributes]) -> set[MessageKey]:
        """Which of these arrived as one of the new messages that nobody claimed: by their octets."""
        if not parcels or not new:
            return set()
        found = self.recogniser.among([each.outgoing for each in parcels], new.keys(), headers_alone=True)
        for parcel in parcels:
            if parcel.key in found:
                self._copied(parcel, found[parcel.key].seen)
        return set(found)

    def _not_shown(self, parcels: Sequence[Parcel]) -> None:
        """Taken with an OK, and not to be seen: the folder is opened again, and once more after a while."""
        for wait in (0.0, SETTLE_SECONDS):
            if parcels:
                self.context.pause(wait)
                self.destination.open(self.target.job.raw)
                new = self._shown()
                found = self._recognise(parcels, new)
                parcels = [each for each in parcels if each.key not in found]
                left = [uid for uid in sorted(new) if uid not in self.claimed]
                if _may_be(parcels, [new[uid] for uid in left]):
                    for parcel, uid in zip(parcels, left, strict=True):
                        self._copied(parcel, new[uid])
                    parcels = []
        for parcel in parcels:
            self._refuse(parcel.outgoing, "unknown", "the destination answered OK and does not show it", None)

    def _believed(self, command: Appended, new: Mapping[int, Attributes]) -> Sequence[int] | None:
        """The UIDs of APPENDUID, if they can be true. DavMail swaps UIDVALIDITY and UID, Proton gives none."""
        if command.uids is None:
            return None
        uidvalidity, uids = command.uids
        plausible = (
            uidvalidity == self.target.opened.uidvalidity
            and len(uids) == command.count
            and list(uids) == sorted(set(uids))
            and all(uid in new for uid in uids)
        )
        return uids if plausible else None

    def _copied(self, parcel: Parcel, seen: Attributes) -> None:
        wanted = parcel.outgoing.placement.flags
        shown = parcel.letter.flags if seen.flags is None else respelled(seen.flags, wanted)
        fact = CopiedFact(
            target=self.target.number,
            target_uid=seen.uid,
            epoch=parcel.key[0],
            uid=parcel.key[1],
            how="appended" if parcel.outgoing.present else "restored",
            source_flags=wanted,
            flags=shown,
            lost=wanted - shown,
            size=seen.size,
            repaired=parcel.repaired,
            sent_digest=parcel.sent_digest,
            dated=parcel.dated and parcel.shows_its_date(seen.internaldate),
            likeness=None,
            at=self.context.now(),
        )
        self._fact(fact)
        self.claimed.add(seen.uid)
        self.appended += 1
        if not parcel.fits(seen.size):
            self._doubtful.append((parcel, fact))
        if forgotten := parcel.letter.flags - shown:
            self._forgotten.setdefault(forgotten, {})[seen.uid] = parcel
        self._told[0] += 1
        self._told[1] += parcel.letter.size

    def _refused_one(self, parcel: Parcel, command: Appended) -> None:
        """A message by itself: sent again in another form if that may help, else refused for good."""
        error = command.error
        assert error is not None
        refusal = classify(command.reply)
        if refusal == "throttled":
            raise error if isinstance(error, TemporaryError) else Throttled(error.reason, where=error.where)
        if refusal == "over-quota":
            raise OverQuota(error.reason, where=error.where, server_reply=error.server_reply)
        if refusal == "folder":
            raise error if isinstance(error, FolderNotFound | PermissionDenied) else _of_folder(error)
        if (again := self._in_another_form(parcel, refusal)) is not None:
            self._waiting.append([again])
            return
        if refusal != "unknown":
            self._refuse(parcel.outgoing, refusal, describe(refusal), error.server_reply)
            return
        suspected = suspect(self._features(parcel))
        reason = describe(suspected) if suspected == "unknown" else f"probably: {describe(suspected)}"
        self._refuse(parcel.outgoing, suspected, reason, error.server_reply)

    def _in_another_form(self, parcel: Parcel, refusal: Refusal) -> Parcel | None:
        """What may be taken in place of what was refused; None if nothing is left to try."""
        opened = self.target.opened
        form = next((form for form in _forms(parcel, refusal) if form not in parcel.tried), None)
        if form is not None:
            return in_form(parcel, opened, form)
        features = self._features(parcel)
        cause = suspect(features) if refusal == "unknown" else refusal
        kinds = {*parcel.repaired, *repairs_for(cause, features, self.context.repairs)}
        if refusal == "unknown":
            kinds.update(repairs_for(refusal, features, self.context.repairs))
            parcel = in_form(parcel, opened, "as it is")  # flags and date were not to blame
        if kinds == {*parcel.repaired}:
            return None
        return repaired_by(self.context.store, parcel, sorted(kinds))

    def _features(self, parcel: Parcel) -> Features:
        return features_of(octets_of(self.context.store, parcel.outgoing.placement))

    def _known_too_big(self, outgoing: Outgoing) -> bool:
        """RFC 7889: what is known to be refused is not even sent."""
        limit = self.context.append_limit
        if limit is None or outgoing.placement.size <= limit:
            return False
        self._refuse(outgoing, "too-big", describe("too-big", limit), None)
        return True

    def _refuse(self, outgoing: Outgoing, refusal: str, reason: str, reply: str | None) -> None:
        header = b""
        try:
            with self.context.store.open(outgoing.placement) as file:
                header = file.read(HEADER_OCTETS)
        except IntegrityError:
            pass  # then it is refused for that
        date, subject = (readable(header_value(header, name)) for name in ("Date", "Subject"))
        epoch, uid = outgoing.key
        now, accepted = self.context.now(), self.context.retry == "accept"
        self._fact(
            RefusedFact(self.target.number, epoch, uid, refusal, reason, reply, date, subject, accepted, now)
        )
        name = printable(self.target.job.name)
        said = f" ({reply})" if reply else ""
        self.context.progress(Noted(f'folder "{name}": a message is refused: {reason}{said}'))

    def _fact(self, fact: Fact) -> None:
        self._facts.append(fact)

    def _suspect(self, error: TemporaryError) -> None:
        """The connection broke while these were under way. One of them may be to blame: next time each goes by
        itself, and one at which it breaks again and again is refused."""
        job = self.target.job
        parcels = [parcel for group in self._in_flight for parcel in group]
        job.alone.update(parcel.key for parcel in parcels)
        if len(parcels) == 1:
            job.breaks[parcels[0].key] += 1
            job.said = error.server_reply

    def _look_closer(self) -> None:
        """Copies that show another size than was sent are read back, flags that were forgotten are set again."""
        doubtful = {fact.target_uid: (parcel, fact) for parcel, fact in self._doubtful if not parcel.repaired}
        pairs = {uid: parcel.outgoing for uid, (parcel, _) in doubtful.items()}
        for uid, how in self.recogniser.compared(pairs).items():
            self._fact(replace(doubtful[uid][1], likeness=how))
        self._doubtful = []
        for forgotten, parcels in self._forgotten.items():  # Exchange takes \\Flagged only from a STORE
            shown = self.destination.store({(forgotten, NO_FLAGS): parcels})
            for uid, parcel in parcels.items():
                if uid in shown:
                    wanted = parcel.outgoing.placement.flags
                    flags, now = respelled(shown[uid], wanted), self.context.now()
                    self._fact(ReflaggedFact(self.target.number, uid, wanted, flags, wanted - flags, now))
        self._forgotten = {}


def _forms(parcel: Parcel, refusal: Refusal) -> Sequence[str]:
    """In which forms to try a message that was refused, in this order. Many servers answer a date or a keyword that
    they do not like with a syntax error (Courier, iCloud)."""
    keywords = bool(keywords_of(parcel.outgoing.placement.flags))
    old = parcel.outgoing.placement.arrived < 0
    match refusal:
        case "flags":
            return ("no keywords", "no flags")
        case "date":
            return ("1970",)
        case "unknown":
            return (*["1970"] * old, *["no keywords"] * keywords, *["no keywords, 1970"] * (old and keywords))
        case _:
            return ()


def _may_be(parcels: Sequence[Parcel], seen: Sequence[Attributes]) -> bool:
    """Whether these are the messages, rewritten beyond recognition: as many, in their order, each with its own
    date. Mail that somebody delivers meanwhile has the date of now."""
    return len(parcels) == len(seen) and all(
        each.internaldate is not None and parcel.shows_its_date(each.internaldate)
        for parcel, each in zip(parcels, seen, strict=True)
    )


def _of_folder(error: BackendError) -> FolderNotFound:
    return FolderNotFound(error.reason, where=error.where, server_reply=error.server_reply)
