"""Twins: messages of ours that a destination stored after all, when they had been sent again.

They are told from everybody else's mail by what an attempt left in the journal: the octets, the INTERNALDATE, and
the UID from which on it would be stored. A copy that its user makes in the same folder shows all of these, too.
Time alone tells: what the server had to store is there soon. So an attempt ends after some hours; and only what
showed in the very run in which the server fell silent, soon after, is certain enough to be taken away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from archiver.destination.port import MailDestination
from archiver.errors import ArchiverError
from archiver.events import Noted
from archiver.facts.archive import Fact
from archiver.facts.destination import RemovedFact, SettledFact, TwinFact
from archiver.facts.replica import Attempt, LateTwin, MessageKey
from archiver.mail.content import internaldate_seconds, same_moment
from archiver.mail.model import Attributes
from archiver.replay.context import ReplayContext, ReplayJob, Target
from archiver.replay.flag_merge import DELETED, NO_FLAGS
from archiver.replay.send.match import MessageMatcher, RecognisedMessage

#: What is stored later than this after an attempt is no twin of ours, for all that we can know.
_WINDOW_SECONDS = 6 * 3600

#: What shows up within this time after a silence is certain to be ours.
_CERTAIN_SECONDS = 3600

_RECENT = frozenset({"\\Recent"})


def note_twins(
    context: ReplayContext, destination: MailDestination, target: Target, matcher: MessageMatcher
) -> None:
    """Look for twins in the folder that is open, and record them. What a message without a copy is, is no twin."""
    attempts, known = context.copies.attempts(target.number), context.copies.twins(target.number)
    if not (attempts or known):
        return
    shown = destination.shown(min([*(each.uidnext for each in attempts), *(twin.uid for twin in known)]))
    new = shown.keys() - context.copies.claimed(target.number).keys() - {twin.uid for twin in known}
    left = Counter({each.outgoing.key: each.times for each in attempts})
    left.subtract(twin.key for twin in known)
    gone = tuple(twin.uid for twin in known if twin.uid not in shown)
    facts: list[Fact] = [RemovedFact(target.number, gone, "user", context.control.now())] if gone else []
    while (candidates := _candidates(attempts, left, {uid: shown[uid] for uid in new})) and (
        found := matcher.match_unclaimed([each.outgoing for each in candidates], set().union(*candidates.values()))
    ):
        by_key = {each.outgoing.key: each for each in candidates}
        for key, one in found.items():
            new.discard(one.seen.uid)
            if one.seen.uid >= by_key[key].uidnext:
                left[key] -= 1
                facts.append(_twin(context, target, by_key[key], one))
    context.recorder.write(facts)
    if late := sum(isinstance(each, TwinFact) for each in facts):
        words = "a message was" if late == 1 else f"{late:,} messages were"
        words += " stored twice: the first one came after it had been sent again"
        context.control.progress(Noted(f'destination folder "{target.job.name}": {words}'))


def end_attempts(context: ReplayContext, target: Target, began: str) -> None:
    """The pass that `began` then is complete: what was sent hours before has shown, if it ever does."""
    over = [
        each.outgoing.key
        for each in context.copies.attempts(target.number)
        if _seconds(each.at, began) >= _WINDOW_SECONDS
    ]
    if over:
        context.recorder.write([SettledFact(target.number, tuple(over), context.control.now())])


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


def _candidates(
    attempts: Sequence[Attempt], left: Mapping[MessageKey, int], shown: Mapping[int, Attributes]
) -> dict[Attempt, set[int]]:
    """The UIDs that may be a twin of an attempt's message, by what a listing tells; only where there are any."""
    found = {}
    for each in attempts:
        uids = {uid for uid, seen in shown.items() if uid >= each.uidnext and _may_be(each, seen)}
        if uids and left[each.outgoing.key] > 0:
            found[each] = uids
    return found


def _may_be(attempt: Attempt, seen: Attributes) -> bool:
    if seen.size is not None and seen.size not in attempt.sizes:
        return False
    sent = attempt.outgoing.placement.arrived
    return not attempt.dated or same_moment(internaldate_seconds(seen.internaldate), sent)


def _twin(context: ReplayContext, target: Target, attempt: Attempt, one: RecognisedMessage) -> TwinFact:
    at = context.control.now()
    flags = (one.seen.flags or NO_FLAGS) - _RECENT
    epoch, uid = attempt.outgoing.key
    as_sent = one.how == "exact" and attempt.dated and flags == attempt.flags - _RECENT
    soon = attempt.at >= context.started and _seconds(attempt.at, at) <= _CERTAIN_SECONDS
    certain = as_sent and attempt.silent and soon
    return TwinFact(target.number, one.seen.uid, epoch, uid, flags, certain, at)


def certain_twins(context: ReplayContext, job: ReplayJob) -> Sequence[LateTwin]:
    """Those that may be taken away: beyond doubt ours, beside the copy of their message, and of no use to another
    account. Where that cannot be told they stay, and are listed."""
    if job.known is None or context.rules.vanished != "expunge":
        return ()
    number = job.known.number
    twins = [twin for twin in context.copies.twins(number) if twin.certain and twin.copy is not None]
    if not twins:
        return ()
    # NOTE: their messages may be gone from the source by now.
    vanished = context.copies.vanished(number, twice=False, gone=context.gone)
    copies = {copy.uid: copy for some in (context.copies.copies(number), vanished) for copy in some}
    like_copies = [replace(copies[twin.copy], uid=twin.uid) for twin in twins if twin.copy in copies]
    try:
        if context.others.hold([job.raw]) is not None:
            return ()
        theirs = context.others.claimed({job.known: like_copies}).get(job.known, {})
    except ArchiverError:
        return ()
    ours = {each.uid for each in like_copies} - theirs.keys()
    return [twin for twin in twins if twin.uid in ours]


def expunge_twins(
    context: ReplayContext, job: ReplayJob, twins: Collection[LateTwin], destination: MailDestination
) -> None:
    """Remove twins that are still as they were when they were found, as long as their copies are there."""
    assert job.known is not None
    number = job.known.number
    opened = destination.open(job.raw)
    if opened.uidvalidity != job.known.uidvalidity or not destination.can_expunge:
        return
    uids = {twin.uid: twin for twin in twins}
    there = destination.flags({*uids, *(twin.copy for twin in twins if twin.copy is not None)})
    gone = tuple(sorted(uids.keys() - there.keys()))
    facts: list[Fact] = [RemovedFact(number, gone, "user", context.control.now())] if gone else []
    # NOTE: a mark of ours may be left of a run that was killed here.
    as_found = {uid: {twin.flags, twin.flags | DELETED} for uid, twin in uids.items()}
    untouched = {uid for uid in uids if uid in there and there[uid] - _RECENT in as_found[uid]}
    ours = {uid for uid in untouched if uids[uid].copy in there}
    if ours:
        context.control.check_stop()
        marked = destination.store({(DELETED, NO_FLAGS): ours})
        away = {uid for uid in ours if marked.get(uid, NO_FLAGS) >= DELETED}
        destination.expunge(away)
        left = destination.flags(away)
        facts.append(RemovedFact(number, tuple(sorted(away - left.keys())), "policy", context.control.now()))
        words = "a message" if len(away) == 1 else f"{len(away):,} messages"
        words += " that the slow destination had stored twice: one of the two was expunged"
        context.control.progress(Noted(f'destination folder "{job.name}": {words}'))
    context.recorder.write(facts)
