"""Twins: messages of ours that a destination stored after all, after they had been sent again.

They are distinguished from other mail by what an attempt recorded in the journal: the octets, the INTERNALDATE, and
the lowest UID that it could get. A copy that the user makes in the same folder looks the same; only the time tells
them apart, since a server stores what it received soon. So an attempt ends after some hours, and only a message
that appeared in the same run in which the server fell silent, soon after, is certain enough to be deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from archiver.destination.port import Appender, FlagStore
from archiver.errors import ArchiverError
from archiver.events import Noted
from archiver.facts.archive import Fact
from archiver.facts.destination import RemovedFact, SettledFact, TwinFact
from archiver.facts.outgoing import Attempt, LateTwin
from archiver.facts.replica import MessageKey
from archiver.mail.dates import internaldate_seconds, same_moment
from archiver.mail.model import Attributes
from archiver.replay.context import JobFolder, ReplayContext, ReplayJob
from archiver.replay.flag_merge import DELETED, NO_FLAGS
from archiver.replay.send.match import MessageMatcher, RecognisedMessage

#: A message that is stored later than this after an attempt does not count as our twin.
_WINDOW_SECONDS = 6 * 3600

#: A message that appears within this time after a silence is certainly ours.
_CERTAIN_SECONDS = 3600

_RECENT = frozenset({"\\Recent"})


def note_twins(context: ReplayContext, destination: Appender, folder: JobFolder, matcher: MessageMatcher) -> None:
    """Find twins in the open folder and record them. A message without a copy cannot have a twin."""
    attempts, known = (
        context.replicas.changes.attempts(folder.number),
        context.replicas.changes.twins(folder.number),
    )
    if not (attempts or known):
        return
    since = min([*(each.uidnext for each in attempts), *(twin.uid for twin in known)])
    shown = destination.list_since(since)
    claimed = context.replicas.messages.claimed(folder.number, since=since)
    new = shown.keys() - claimed.keys() - {twin.uid for twin in known}
    left = Counter({each.outgoing.key: each.times for each in attempts})
    left.subtract(twin.key for twin in known)
    gone = tuple(twin.uid for twin in known if twin.uid not in shown)
    facts: list[Fact] = [RemovedFact(folder.number, gone, "user", context.control.now())] if gone else []
    while (candidates := _candidates(attempts, left, {uid: shown[uid] for uid in new})) and (
        found := matcher.match_unclaimed([each.outgoing for each in candidates], set().union(*candidates.values()))
    ):
        by_key = {each.outgoing.key: each for each in candidates}
        for key, one in found.items():
            new.discard(one.seen.uid)
            if one.seen.uid >= by_key[key].uidnext:
                left[key] -= 1
                facts.append(_twin(context, folder, by_key[key], one))
    context.recorder.write(facts)
    if late := sum(isinstance(each, TwinFact) for each in facts):
        words = "a message was" if late == 1 else f"{late:,} messages were"
        words += " stored twice: the first one came after it had been sent again"
        context.control.progress(Noted(f'destination folder "{folder.job.name}": {words}'))


def end_attempts(context: ReplayContext, folder: JobFolder, began: str) -> None:
    """End attempts hours before the pass that `began` then: those messages have appeared by now, if ever."""
    over = [
        each.outgoing.key
        for each in context.replicas.changes.attempts(folder.number)
        if _seconds(each.at, began) >= _WINDOW_SECONDS
    ]
    if over:
        context.recorder.write([SettledFact(folder.number, tuple(over), context.control.now())])


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


def _candidates(
    attempts: Sequence[Attempt], left: Mapping[MessageKey, int], shown: Mapping[int, Attributes]
) -> dict[Attempt, set[int]]:
    """The UIDs that may be a twin of an attempt's message, judged without octets; attempts without any are left
    out."""
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


def _twin(context: ReplayContext, folder: JobFolder, attempt: Attempt, one: RecognisedMessage) -> TwinFact:
    at = context.control.now()
    flags = (one.seen.flags or NO_FLAGS) - _RECENT
    epoch, uid = attempt.outgoing.key
    as_sent = one.how == "exact" and attempt.dated and flags == attempt.flags - _RECENT
    soon = attempt.at >= context.started and _seconds(attempt.at, at) <= _CERTAIN_SECONDS
    certain = as_sent and attempt.silent and soon
    return TwinFact(folder.number, one.seen.uid, epoch, uid, flags, certain, at)


def certain_twins(context: ReplayContext, job: ReplayJob) -> Sequence[LateTwin]:
    """Twins that may be deleted: certainly ours, next to the copy of their message, and not needed by another
    account. If this is unknown, they stay and are listed."""
    if job.known is None or context.rules.vanished != "expunge":
        return ()
    number = job.known.number
    twins = [twin for twin in context.replicas.changes.twins(number) if twin.certain and twin.copy is not None]
    if not twins:
        return ()
    # NOTE: their messages may be gone from the source in the meantime.
    vanished = context.pending.vanished(number, gone=context.gone)
    replicas = {
        replica.uid: replica for some in (context.replicas.messages.all(number), vanished) for replica in some
    }
    like_copies = [replace(replicas[twin.copy], uid=twin.uid) for twin in twins if twin.copy in replicas]
    try:
        if context.others.deletion_block([job.raw]) is not None:
            return ()
        theirs = context.others.claimed({job.known: like_copies}).get(job.known, {})
    except ArchiverError:
        return ()
    ours = {each.uid for each in like_copies} - theirs.keys()
    return [twin for twin in twins if twin.uid in ours]


def expunge_twins(
    context: ReplayContext, job: ReplayJob, twins: Collection[LateTwin], destination: FlagStore
) -> None:
    """Expunge twins that are unchanged since they were found, as long as their copies exist."""
    assert job.known is not None
    number = job.known.number
    opened = destination.open(job.raw)
    if opened.uidvalidity != job.known.uidvalidity or not (opened.uidvalidity and destination.can_expunge):
        return
    uids = {twin.uid: twin for twin in twins}
    there = destination.flags({*uids, *(twin.copy for twin in twins if twin.copy is not None)})
    gone = tuple(sorted(uids.keys() - there.keys()))
    facts: list[Fact] = [RemovedFact(number, gone, "user", context.control.now())] if gone else []
    # NOTE: our mark may be left over from a run that was killed here.
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
