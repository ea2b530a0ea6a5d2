"""One folder of a destination brought up to date: opened, understood, filled, its flags followed.

Everything the plan assumed is looked at again. A pass that was cut off is simply made again: what became of it is
found out before anything else is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from archiver.copies import Copy, Intent, KnownTarget, MessageKey, OpenedTarget, Outgoing
from archiver.copy_facts import (
    CopiedFact,
    MarkedFact,
    ReflaggedFact,
    RefusedFact,
    RemovedFact,
    TargetFact,
    TargetStateFact,
    UnsentFact,
)
from archiver.destination_ports import MailDestination
from archiver.facts import Fact
from archiver.flags import respelled
from archiver.message import internaldate_seconds, same_moment
from archiver.model import Flags
from archiver.progress import Noted, Working
from archiver.replay.context import SETTLE_SECONDS, ReplayContext, ReplayJob, Target
from archiver.replay.following import NO_FLAGS, change_of, grouped
from archiver.replay.recognise import Recognised, Recogniser, Strangers
from archiver.replay.sending import Sender

BATCH_MESSAGES = 500
BATCH_OCTETS = 32 << 20

_BREAKS_AT_ONE_MESSAGE = 3


@dataclass(slots=True)
class TargetPass:
    """One pass over one folder, on one connection."""

    context: ReplayContext
    destination: MailDestination
    job: ReplayJob
    _facts: list[Fact] = field(default_factory=list)

    def run(self) -> None:
        """
        Raises:
            TemporaryError: run again on another connection.
            OverQuota: nothing more fits into the account.
            BackendError: this folder only.
        """
        self.context.check_stop()
        self.context.progress(Working(self.job.name))
        opened = self.destination.open(self.job.raw)
        target = Target(self.job, self._target(opened), opened)
        copies = self.context.copies
        recogniser = Recogniser(self.destination, self.context.store, self.context.check_stop)
        opened = self._settle(target, recogniser)
        claimed = copies.claimed(target.number)
        present = self._present(opened, claimed)
        gone = {uid for uid, live in claimed.items() if live} - present if present is not None else set()
        if gone:
            self._fact(RemovedFact(target.number, tuple(sorted(gone)), "user", self.context.now()))
            self._flush()
        sender = Sender(self.context, self.destination, target, recogniser, set(claimed), opened.uidnext)
        self._send(target, sender, recogniser, self._strangers(opened, set(claimed), present))
        self.follow_flags(target)
        if sender.appended or self._moved(opened):
            state = TargetStateFact(
                target.number, sender.since, opened.messages + sender.appended, self.context.now()
            )
            self._fact(state)
        self._flush()

    def _moved(self, opened: OpenedTarget) -> bool:
        state = self.job.known.state if self.job.known else None
        return state is None or (state.uidnext, state.messages) != (opened.uidnext, opened.messages)

    # -- which epoch of the folder it is ---------------------------------------------------------------------

    def _target(self, opened: OpenedTarget) -> int:
        """The number under which the folder is known. UIDs that the server gives again mean other mail."""
        known = self.job.known
        reason = "first"
        if known is not None:
            claimed = self.context.copies.claimed(known.number)
            highest = max(claimed, default=0)
            if known.uidvalidity != opened.uidvalidity:
                reason = "uidvalidity"
            elif opened.uidnext <= highest or (known.state is not None and opened.uidnext < known.state.uidnext):
                reason = "rewound"
            else:
                return known.number
            self.context.progress(
                Noted(
                    f'destination folder "{self.job.name}": its messages have other UIDs now ({reason}); '
                    "they are matched again, and what is there is not sent again"
                )
            )
        fact = self.context.recorder.number_target(
            TargetFact(0, self.context.destination, self.job.raw, opened.uidvalidity, reason, self.context.now())
        )
        self._fact(fact)
        self._flush()
        self.job.known = KnownTarget(fact.number, self.job.raw, opened.uidvalidity)
        return fact.number

    # -- what an earlier run left ----------------------------------------------------------------------------

    def _settle(self, target: Target, recogniser: Recogniser) -> OpenedTarget:
        """Find out what became of messages whose APPEND was not answered. The folder as it is afterwards."""
        opened = target.opened
        intents = self.context.copies.intents(target.number)
        if not intents:
            return opened
        found = self._arrived(target, recogniser, intents)
        wait = SETTLE_SECONDS - self._age(intents)
        if len(found) < len(intents) and wait > 0:
            # NOTE: a server may still be busy with what a lost connection brought it.
            self.context.pause(wait)
            opened = self.destination.open(self.job.raw)
            found = self._arrived(target, recogniser, intents)
        for intent in intents:
            if (one := found.get(intent.outgoing.key)) is not None:
                self._fact(self._copied(target, intent.outgoing, one, "found"))
        left = [intent for intent in intents if intent.outgoing.key not in found]
        blamed = [intent for intent in left if self.job.breaks[intent.outgoing.key] >= _BREAKS_AT_ONE_MESSAGE]
        for intent in blamed:
            self._fact(self._blamed(target, intent))
        unsent = tuple(intent.outgoing.key for intent in left if intent not in blamed)
        if unsent:
            self._fact(UnsentFact(target.number, unsent, self.context.now()))
        self._flush()
        return opened

    def _arrived(
        self, target: Target, recogniser: Recogniser, intents: Sequence[Intent]
    ) -> dict[MessageKey, Recognised]:
        since = min(intent.uidnext for intent in intents)
        claimed = self.context.copies.claimed(target.number)
        # NOTE: "n:*" names the last message even when its UID is below n (RFC 3501 section 6.4.8).
        uids = {uid for uid in self.destination.uids(f"UID {since}:*") if uid >= since and uid not in claimed}
        return recogniser.among([intent.outgoing for intent in intents], uids, headers_alone=True)

    def _age(self, intents: Sequence[Intent]) -> float:
        """Seconds since the newest intent; 0 where clocks disagree."""
        now = datetime.fromisoformat(self.context.now())
        return max(0.0, (now - max(datetime.fromisoformat(intent.at) for intent in intents)).total_seconds())

    def _blamed(self, target: Target, intent: Intent) -> RefusedFact:
        epoch, uid = intent.outgoing.key
        reason = f"the connection broke {_BREAKS_AT_ONE_MESSAGE} times at it"
        return RefusedFact(
            target.number, epoch, uid, "unknown", reason, self.job.said, None, None, False, self.context.now()
        )

    def _copied(self, target: Target, outgoing: Outgoing, one: Recognised, how: str) -> CopiedFact:
        """What is there already. The flags it shows stand for those that were replayed, so that the archive's own
        are followed from there: of what we appended both ways, of what somebody else did by adding alone."""
        shown = respelled(one.seen.flags or NO_FLAGS, outgoing.placement.flags)
        epoch, uid = outgoing.key
        return CopiedFact(
            target=target.number,
            target_uid=one.seen.uid,
            epoch=epoch,
            uid=uid,
            how=how,
            source_flags=NO_FLAGS if how == "adopted" else shown,
            flags=shown,
            lost=NO_FLAGS,
            size=one.seen.size,
            repaired=(),
            sent_digest=None,
            dated=same_moment(internaldate_seconds(one.seen.internaldate), outgoing.placement.arrived),
            likeness=one.how,
            at=self.context.now(),
        )

    # -- what is to be sent ----------------------------------------------------------------------------------

    def _present(self, opened: OpenedTarget, claimed: Collection[int]) -> set[int] | None:
        """The UIDs that are there; None where the folder stands as we left it, and nobody need ask."""
        if opened.messages == 0:
            return set()
        return self.destination.uids() if self._moved(opened) else None

    def _strangers(self, opened: OpenedTarget, claimed: set[int], present: set[int] | None) -> set[int]:
        """Mail that nobody claimed and that was not looked at before."""
        if present is None:
            return set()
        state = self.job.known.state if self.job.known else None
        seen_before = state.uidnext if state else 0
        return {uid for uid in present - claimed if uid >= seen_before}

    def _send(self, target: Target, sender: Sender, recogniser: Recogniser, unknown: set[int]) -> None:
        strangers: Strangers | None = None
        after: MessageKey = (0, 0)
        while pending := self.context.copies.pending(
            target.number,
            self.job.folders,
            after=after,
            limit=BATCH_MESSAGES,
            vanished=self.context.rules.include_vanished,
        ):
            self.context.check_stop()
            after = pending[-1].key
            left = self._again(target, [each for each in pending if self.context.is_due(each.key)])
            if left and unknown:
                strangers = strangers or Strangers(self.destination, unknown)
                left = self._adopt(target, left, sender, recogniser, strangers)
            self._flush()
            for batch in _batches(left):
                sender.send(batch)
        sender.flush()

    def _again(self, target: Target, pending: list[Outgoing]) -> list[Outgoing]:
        """Messages whose octets are in the folder already under a UID that the source no longer has: after a new
        UIDVALIDITY there, or when a message was moved away and back."""
        if not pending:
            return pending
        left_over: dict[str, list[Copy]] = {}
        for copy in self.context.copies.left_over(target.number, {each.placement.digest for each in pending}):
            left_over.setdefault(copy.digest, []).append(copy)
        still = []
        for outgoing in pending:
            copies = left_over.get(outgoing.placement.digest)
            if not copies or not outgoing.present:
                still.append(outgoing)
                continue
            self._fact(self._transferred(target, outgoing, copies.pop(0)))
        return still

    def _transferred(self, target: Target, outgoing: Outgoing, copy: Copy) -> CopiedFact:
        epoch, uid = outgoing.key
        return CopiedFact(
            target=target.number,
            target_uid=copy.uid,
            epoch=epoch,
            uid=uid,
            how="again",
            source_flags=copy.source_flags,
            flags=copy.flags,
            lost=copy.lost,
            size=copy.size,
            repaired=copy.repaired,
            sent_digest=copy.sent_digest,
            dated=copy.dated,
            likeness=copy.likeness,
            at=self.context.now(),
        )

    def _adopt(
        self,
        target: Target,
        pending: list[Outgoing],
        sender: Sender,
        recogniser: Recogniser,
        strangers: Strangers,
    ) -> list[Outgoing]:
        """Messages that somebody else brought there are taken for what they are."""
        candidates = {each.key: strangers.candidates(each) - sender.claimed for each in pending}
        wanted = [each for each in pending if candidates[each.key]]
        uids = set().union(*candidates.values()) if candidates else set()
        adopted = recogniser.among(wanted, uids, headers_alone=False)
        for outgoing in wanted:
            if (one := adopted.get(outgoing.key)) is not None:
                self._fact(self._copied(target, outgoing, one, "adopted"))
                sender.claimed.add(one.seen.uid)
        return [each for each in pending if each.key not in adopted]

    # -- flags -----------------------------------------------------------------------------------------------

    def follow_flags(self, target: Target) -> None:
        """Replay flags that changed in the archive since; onto adopted mail, the archive's for the first time."""
        copies = self.context.copies.reflagged(target.number)
        for start in range(0, len(copies), BATCH_MESSAGES):
            self.context.check_stop()
            self._follow(target, copies[start : start + BATCH_MESSAGES])
        self._flush()

    def _follow(self, target: Target, copies: Sequence[Copy]) -> None:
        spelling = {copy.uid: copy.message_flags | copy.source_flags for copy in copies}
        now = _respelled(self.destination.flags(spelling.keys()), spelling)
        there = [copy for copy in copies if copy.uid in now]
        changes = {copy.uid: change_of(copy, now[copy.uid], target.opened) for copy in there}
        groups = grouped(changes)
        shown = now | (_respelled(self.destination.store(groups), spelling) if groups else {})
        for copy in there:
            flags = shown[copy.uid]
            change = changes[copy.uid]
            lost = change.lost | (change.added - flags)
            self._fact(ReflaggedFact(target.number, copy.uid, copy.message_flags, flags, lost, self.context.now()))
        unmarked = tuple(copy.uid for copy in there if copy.marked)
        if unmarked:
            self._fact(MarkedFact(target.number, unmarked, False, self.context.now()))

    def _fact(self, fact: Fact) -> None:
        self._facts.append(fact)

    def _flush(self) -> None:
        facts, self._facts = self._facts, []
        self.context.recorder.write(facts)


def _respelled(shown: Mapping[int, Flags], spelling: Mapping[int, Flags]) -> dict[int, Flags]:
    return {uid: respelled(flags, spelling[uid]) for uid, flags in shown.items()}


def _batches(outgoing: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Messages that share an intent: after a lost connection, as many octets are looked at again."""
    batches: list[list[Outgoing]] = []
    octets = BATCH_OCTETS
    for each in outgoing:
        octets += each.placement.size
        if octets > BATCH_OCTETS:
            batches.append([])
            octets = each.placement.size
        batches[-1].append(each)
    return batches
