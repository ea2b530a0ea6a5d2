"""Sending messages to one open folder: in groups, exactly once, down to the single message that is refused.

An intent is recorded before anything is sent, and what became of it when it is answered. In between nothing is
assumed: after a lost connection `sync_folder` looks at what arrived.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from archiver.destination.port import MailDestination
from archiver.errors import (
    BackendError,
    ConnectionLost,
    FolderNotFound,
    IntegrityError,
    OverQuota,
    PermanentError,
    PermissionDenied,
    TemporaryError,
    Throttled,
)
from archiver.events import Sent
from archiver.facts.archive import Fact
from archiver.facts.destination import CopiedFact, IntentFact, UnsentFact
from archiver.facts.replica import Appended, MessageKey, Outgoing
from archiver.mail.flags import respelled
from archiver.mail.model import Attributes
from archiver.mail.refusal import Features, Refusal, classify, describe, features_of, suspect
from archiver.mail.rewrite import repairs_for
from archiver.replay.context import MOST_BLAMED, SETTLE_SECONDS, ReplayContext, Target, UnderWay
from archiver.replay.send.arrivals import certain_uids, rewritten
from archiver.replay.send.match import Recognised, Recogniser, octets_of
from archiver.replay.send.outcomes import refusal_of, reopened
from archiver.replay.send.prepare import Parcel, forms_of, groups, in_form, parcel_of, repaired_by, within


@dataclass(slots=True)
class Sender:
    """Sends to the folder that is open at `destination`. Belongs to one connection's thread.

    `claimed` are the UIDs that are known to be somebody's copy; it grows. `restored` of the `appended` messages are
    gone from the source.
    """

    context: ReplayContext
    destination: MailDestination
    target: Target
    recogniser: Recogniser
    claimed: set[int]
    since: int
    appended: int = 0
    restored: int = 0
    _facts: list[Fact] = field(default_factory=list)
    _waiting: deque[list[Outgoing] | list[Parcel]] = field(default_factory=deque)
    _in_flight: deque[list[Parcel]] = field(default_factory=deque)
    _begun: deque[float] = field(default_factory=deque)
    _heard: float = 0.0
    _taken: list[tuple[list[Parcel], Appended]] = field(default_factory=list)
    _refused: list[tuple[list[Parcel], Appended]] = field(default_factory=list)
    _not_there: list[MessageKey] = field(default_factory=list)
    _told: list[int] = field(default_factory=lambda: [0, 0])

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send these, in their order; recorded on return.

        Raises:
            TemporaryError, FolderChanged: the outcome of some is unknown; their intents stay.
            OverQuota, FolderNotFound, PermissionDenied: nothing more can be sent here.
        """
        sendable = [each for each in outgoing if not self._known_too_big(each)]
        if sendable:
            keys = tuple(each.key for each in sendable)
            self._fact(IntentFact(self.target.number, self.since, keys, self.context.control.now()))
        self.flush()
        self._waiting.extend(groups(sendable, self.target.job.alone))
        self.context.store.foresee([each.placement for each in sendable])
        try:
            self._work_off()
            self.since = max([self.since, *(uid + 1 for uid in self.claimed)])
        except TemporaryError as error:
            self._suspect(error)
            raise
        except PermanentError:
            self._end_intents()
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
                self.context.control.check_stop()
                while self._waiting and len(self._in_flight) < self._most_in_flight():
                    self._begin(self._next_group())
                if self._in_flight:
                    commands = self.destination.end_append()
                    self._measure(self._in_flight[0], self._begun.popleft())
                    self._answered(self._in_flight.popleft(), commands)
            self._account_for()

    def _next_group(self) -> list[Outgoing] | list[Parcel]:
        """What waits longest, no more of it than the destination answers in good time."""
        group = self._waiting.popleft()
        count = within(group, self.context.pace)
        if count < len(group):
            self._waiting.appendleft(group[count:])
        return group[:count]

    def _measure(self, group: Sequence[Parcel], begun: float) -> None:
        now, before = time.monotonic(), max(begun, self._heard)
        self._heard = now
        self.context.pace.answered(len(group), sum(parcel.letter.size for parcel in group), now - before)

    def _tell(self) -> None:
        messages, octets = self._told
        if messages:
            self._told = [0, 0]
            self.context.control.progress(Sent(messages, octets))

    def _most_in_flight(self) -> int:
        """One where a message is to be found that breaks connections, and where the pace is not known."""
        careful = self.target.job.alone or not self.context.pace.steady
        return 1 if careful else self.destination.most_in_flight

    def _begin(self, group: list[Outgoing] | list[Parcel]) -> None:
        made = (each if isinstance(each, Parcel) else self._parcel(each) for each in group)
        parcels = [parcel for parcel in made if parcel is not None]
        if parcels:
            self.context.control.check_stop()  # as late as can be: reading them may have taken long
            self._in_flight.append(parcels)
            self._begun.append(time.monotonic())  # before, as some servers are waited for in between
            self.destination.begin_append([parcel.letter for parcel in parcels])

    def _parcel(self, outgoing: Outgoing) -> Parcel | None:
        try:
            parcel = parcel_of(self.context.store, outgoing, self.target.opened)
            mended = self.target.job.mended.get(outgoing.key)
            return parcel if mended is None else repaired_by(self.context.store, parcel, sorted(mended))
        except IntegrityError as error:
            self.context.damaged(error)
            self._refuse(outgoing, "damaged", "the archive's own octets are missing or altered", None)
            return None

    def _answered(self, parcels: Sequence[Parcel], commands: Sequence[Appended]) -> None:
        left, job = iter(parcels), self.target.job
        for command in commands:
            some = [next(left) for _ in range(command.count)]
            (self._taken if command.ok else self._refused).append((some, command))
            for parcel in () if command.ok else some:
                job.put_off.setdefault(parcel.key, job.taken)

    def _account_for(self) -> None:
        """With nothing in flight: every message that was taken gets its UID, by what the folder shows now; what was
        refused is looked at more closely, after it is sure that none of it arrived."""
        taken, self._taken = self._taken, []
        refused, self._refused = self._refused, []
        # NOTE: asked behind the answers and not together with the messages: Dovecot shows a pipelined question the
        # folder as it was.
        sent = [parcel for some, _ in taken for parcel in some]
        new = self._shown(taken=0 if refused else len(sent))
        told = self._told_uids(taken)
        certain = certain_uids(sent, told, new, complete=not refused)
        unsure = [parcel for parcel in sent if parcel.key not in certain]
        others = [parcel for some, _ in refused for parcel in some]
        found = self._recognise([*unsure, *others], new.keys() - certain.values())
        for parcel in sent:
            if parcel.key in certain:
                self._copied(parcel, new[certain[parcel.key]])
        missing = []
        for parcel in unsure:
            if parcel.key not in found:
                uid = told.get(parcel.key)
                if uid in new and uid not in self.claimed:  # rewritten beyond recognition
                    self._copied(parcel, new[uid])
                else:
                    missing.append(parcel)
        self._not_shown(missing)
        self._tell()
        rest = [([each for each in some if each.key not in found], command) for some, command in refused]
        self._not_there = [parcel.key for some, _ in rest for parcel in some]
        for some, command in rest:
            if len(some) > 1:
                middle = len(some) // 2
                self._waiting += (some[:middle], some[middle:])
            elif some:
                self._refused_one(some[0], command)
        self._not_there = []

    def _shown(self, *, taken: int = 0) -> dict[int, Attributes]:
        shown = self.destination.shown(self.since, taken=taken)
        return {uid: seen for uid, seen in shown.items() if uid not in self.claimed}

    def _recognise(self, parcels: Sequence[Parcel], uids: Collection[int]) -> set[MessageKey]:
        """Which of these arrived as one of the new messages that nobody claimed: by their octets."""
        found = self.recogniser.sent([each.outgoing for each in parcels], uids)
        for parcel in parcels:
            if (one := found.get(parcel.key)) is not None:
                self._copied(parcel, one.seen, one)
        return set(found)

    def _not_shown(self, parcels: Sequence[Parcel]) -> None:
        """Taken with an OK, and not to be seen: the folder is opened again, and once more after a while."""
        for wait in (0.0, SETTLE_SECONDS):
            if parcels:
                self.context.control.pause(wait)
                reopened(self.destination, self.target)
                new = self._shown()
                found = self._recognise(parcels, new.keys())
                parcels = [each for each in parcels if each.key not in found]
                left = [uid for uid in sorted(new) if uid not in self.claimed]
                if rewritten(parcels, [new[uid] for uid in left]):
                    for parcel, uid in zip(parcels, left, strict=True):
                        self._copied(parcel, new[uid])
                    parcels = []
        for parcel in parcels:
            self._refuse(parcel.outgoing, "unknown", "the destination answered OK and does not show it", None)
        if parcels:
            # NOTE: a refusal ends an intent, and these are none: should they show later, they are not sent again.
            keys = tuple(parcel.key for parcel in parcels)
            self._fact(IntentFact(self.target.number, self.since, keys, self.context.control.now()))

    def _told_uids(self, taken: Sequence[tuple[list[Parcel], Appended]]) -> dict[MessageKey, int]:
        """The UIDs of APPENDUID, if they can be true. DavMail swaps UIDVALIDITY and UID, Proton gives none."""
        told: dict[MessageKey, int] = {}
        for some, command in taken:
            uidvalidity, uids = command.uids or (0, ())
            if uidvalidity == self.target.opened.uidvalidity and len(uids) == len(some):
                told.update(zip((parcel.key for parcel in some), uids, strict=True))
        return told

    def _copied(self, parcel: Parcel, seen: Attributes, one: Recognised | None = None) -> None:
        wanted = parcel.outgoing.placement.flags
        shown = parcel.letter.flags if seen.flags is None else respelled(seen.flags, wanted)
        # Exchange takes \\Flagged only from a STORE: what was sent and is not shown is left to be followed.
        replayed = wanted - (parcel.letter.flags - shown)
        lost = replayed - shown
        if parcel.outgoing.followed is not None:  # flags of the past, which nobody follows
            replayed, lost = parcel.outgoing.followed, wanted - shown
        fact = CopiedFact(
            target=self.target.number,
            target_uid=seen.uid,
            epoch=parcel.key[0],
            uid=parcel.key[1],
            how="appended" if parcel.outgoing.present else "restored",
            source_flags=replayed,
            flags=shown,
            lost=lost,
            size=seen.size,
            repaired=parcel.repaired if one is None else one.repaired,
            sent_digest=parcel.sent_digest if one is None else one.sent_digest,
            dated=parcel.dated and parcel.shows_its_date(seen.internaldate),
            likeness=None if one is None else one.how,
            at=self.context.control.now(),
        )
        self._fact(fact)
        self.claimed.add(seen.uid)
        self.appended += 1
        self.restored += not parcel.outgoing.present
        self.target.job.steps += 1
        self.target.job.taken += 1
        self.target.job.blamed = self.target.job.unanswered = self.target.job.again = 0
        self.target.job.alone.discard(parcel.key)
        self._told[0] += 1
        self._told[1] += parcel.letter.size

    def _refused_one(self, parcel: Parcel, command: Appended) -> None:
        """A message by itself: sent again in another form if that may help, else refused for good."""
        error = command.error
        assert error is not None
        refusal = classify(command.reply)
        if isinstance(error, Throttled) and not self.target.job.alone_at_work():
            raise error  # perhaps a limit on connections; one that is alone finds out what it means
        if refusal == "throttled" and not self._is_its_own(parcel, error):
            raise error if isinstance(error, TemporaryError) else Throttled(error.reason, where=error.where)
        if refusal == "over-quota":
            raise OverQuota(error.reason, where=error.where, server_reply=error.server_reply)
        if refusal == "folder":
            if not self._others_were_taken(parcel):
                raise error if isinstance(error, FolderNotFound | PermissionDenied) else _of_folder(error)
            refusal = "unknown"
        if (again := self._in_another_form(parcel, refusal)) is not None:
            self._waiting.append([again])
            return
        if refusal != "unknown":
            self._refuse(parcel.outgoing, refusal, describe(refusal), error.server_reply)
            return
        suspected = suspect(self._features(parcel))
        reason = describe(suspected) if suspected == "unknown" else f"probably: {describe(suspected)}"
        self._refuse(parcel.outgoing, suspected, reason, error.server_reply)

    def _is_its_own(self, parcel: Parcel, error: BackendError) -> bool:
        """Whether a server that says "not now" means this message: others were taken, and a pause was of no use."""
        waited_for = self.target.job.waited_for
        waited = parcel.key in waited_for or parcel.key in self.context.refused
        waited_for.add(parcel.key)
        return waited and not isinstance(error, Throttled) and self._others_were_taken(parcel)

    def _others_were_taken(self, parcel: Parcel) -> bool:
        """Since this one was refused first; in an earlier run, if that was found out there."""
        job = self.target.job
        return parcel.key in self.context.refused or job.taken > job.put_off[parcel.key]

    def _in_another_form(self, parcel: Parcel, refusal: Refusal) -> Parcel | None:
        """What may be taken in place of what was refused; None if nothing is left to try."""
        opened = self.target.opened
        form = next((form for form in forms_of(parcel, refusal) if form not in parcel.tried), None)
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
        self._fact(refusal_of(self.context, self.target, outgoing, refusal, reason, reply))

    def _fact(self, fact: Fact) -> None:
        self._facts.append(fact)

    def _suspect(self, error: TemporaryError) -> None:
        """The connection broke while these were under way. One of them may be to blame: next time each goes by
        itself, and one at which it breaks again and again is refused. Coming closer to it is something got done."""
        job = self.target.job
        keys = {parcel.key for group in self._in_flight for parcel in group}
        silent = isinstance(error, ConnectionLost) and error.silence > 0
        self._note_under_way(silent)
        if keys and silent:
            self.context.pace.silent(len(keys))
        if not (self.appended or job.alone_at_work()):
            job.alone |= keys
            return  # a limit of this connection, perhaps: nothing was taken over it
        if keys - job.alone:
            job.alone |= keys
            job.steps += 1
        if len(keys) == 1:
            (job.silences if silent else job.breaks).update(keys)
            job.said = error.server_reply
            job.steps += job.blamed < MOST_BLAMED

    def _note_under_way(self, silent: bool) -> None:
        """What was on the wire when the connection was lost, and what was not."""
        unanswered = {id(letter) for letter in self.destination.unanswered}
        for group, begun in zip(self._in_flight, self._begun, strict=True):
            for parcel in group:
                if id(parcel.letter) in unanswered:
                    self.target.job.under_way[parcel.key] = UnderWay(begun, silent)
        self._end_intents()

    def _end_intents(self) -> None:
        """End the intents of what was not sent, and of what was refused and is not there: otherwise the next run
        would wait for it to arrive late."""
        keys = dict.fromkeys([*self._not_there, *(each.key for group in self._waiting for each in group)])
        unsent = tuple(key for key in keys if key not in self.target.job.refused)
        if unsent:
            self._fact(UnsentFact(self.target.number, unsent, self.context.control.now()))


def _of_folder(error: BackendError) -> FolderNotFound:
    return FolderNotFound(error.reason, where=error.where, server_reply=error.server_reply)
