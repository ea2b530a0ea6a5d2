"""The outcome of messages whose APPEND was not answered; found out before anything else is sent.

A silent server is not a broken connection: it may be scanning the message or waiting for a lock, and store it long
after we gave up. So after a silence the folder is watched for as long again, and longer each time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from msgspec import Struct, field

from archiver.control.run import monotonic_clock
from archiver.destination.pace import pauses
from archiver.destination.port import Appender
from archiver.errors import ConnectionLost, TemporaryError, Unanswered
from archiver.events import Noted
from archiver.facts.archive import Fact
from archiver.facts.destination import CopiedFact, IntentFact, RefusedFact, UnsentFact
from archiver.facts.mailbox import SelectedFolder
from archiver.facts.outgoing import Intent, Outgoing, Watch
from archiver.facts.replica import MessageKey
from archiver.mail.dates import internaldate_seconds, same_moment
from archiver.mail.flags import respelled
from archiver.mail.model import Flags
from archiver.mail.refusal import REFUSALS, classify, describe, features_of, suspect
from archiver.mail.rewrite import repairs_for
from archiver.replay.context import ARRIVAL_SECONDS, JobFolder, ReplayContext, ReplayJob
from archiver.replay.flag_merge import NO_FLAGS
from archiver.replay.send.match import MessageMatcher, RecognisedMessage, octets_of
from archiver.replay.send.outcomes import refusal_of, reopened

#: After a silence the folder is watched for this many times as long.
AGAIN = 1.0

_MOST_AGAIN = 4
_BREAKS_AT_ONE_MESSAGE = 3
_SILENCES_AT_ONE_MESSAGE = 2
_MOST_SILENT = 2  # messages in a row that a server did not answer, each sent by itself
_REPORTED_SECONDS = 10.0

#: Why a server may hang up on a message and take the next one.
_OF_A_MESSAGE = frozenset(REFUSALS) - {"over-quota", "throttled", "folder", "silent", "unknown"}


def note_lost_connection(context: ReplayContext, job: ReplayJob, error: TemporaryError) -> None:
    """The connection broke: note until when its messages may still arrive. A server that took longer before may do
    so again."""
    silence = error.silence if isinstance(error, ConnectionLost) else 0.0
    if silence:
        job.longest_silence = max(job.longest_silence, silence)
        job.watch_factor = min(2 * job.watch_factor, _MOST_AGAIN) if job.watch_factor else 1
    may_take = max(silence, context.pace.slowest) if silence else 0.0
    job.watch_until = max(job.watch_until, time.monotonic() + AGAIN * job.watch_factor * may_take + ARRIVAL_SECONDS)


class IntentResolver(Struct):
    """Resolves the intents of one folder, which is open at `destination`."""

    context: ReplayContext
    destination: Appender
    job: ReplayJob
    _looked_at: set[int] | None = None
    _delay: float = 0.0
    _facts: list[Fact] = field(default_factory=list)

    def resolve(self, folder: JobFolder, matcher: MessageMatcher) -> SelectedFolder:
        """Find out the outcome of messages whose APPEND was not answered. Returns the folder as it is afterwards.

        Raises:
            Unanswered: the server does not answer, whatever it is sent.
        """
        opened = folder.opened
        left = self._not_arrived(folder, matcher, self.context.pending.intents(folder.number))
        # NOTE: for connections of this run, the time of the loss is known. Those of an earlier run were lost before
        # this one began, perhaps in the middle of a silence.
        until = self.job.watch_until
        if not self.job.resolved:
            began = self._watched_since(folder) if left else self.context.began
            until = max(until, began + AGAIN * self.context.pace.limit + ARRIVAL_SECONDS)
        if self._delay:
            until = max(until, self._later())
        waits = pauses(until - time.monotonic())
        if (left or self.job.renumbered) and sum(waits) > _REPORTED_SECONDS:
            words = f"waiting up to {sum(waits):.0f} seconds for messages that may still arrive"
            self.context.control.progress(Noted(f'destination folder "{self.job.name}": {words}'))
        while waits and (left or self.job.renumbered):
            self.context.control.pause(waits.pop())
            opened = reopened(self.context, self.destination, folder)
            before, left = len(left), self._not_arrived(folder, matcher, left)
            if len(left) < before:  # it is still at work
                waits = max(waits, pauses(self._later() - time.monotonic()), key=sum)
        self._give_up_on(folder, left)
        self.job.resolved = True
        return opened

    def _watched_since(self, folder: JobFolder) -> float:
        """When the first run began after the one that sent something here. If that one was ended while it watched
        the folder, and nothing was sent since, its time counts for this one."""
        began, clock = self.context.began, monotonic_clock()
        if clock is None:
            return began
        return self.context.pending.watched(folder.number, Watch(clock, began)).began

    def _later(self) -> float:
        """Until when to look for the rest after something was found. If that came late, for as long again as it
        took since it was sent, even if this connection breaks: a server takes one group after the other."""
        until = time.monotonic() + AGAIN * self._delay + ARRIVAL_SECONDS
        if self._delay:
            self.job.watch_until = max(self.job.watch_until, until)
        return until

    def _give_up_on(self, folder: JobFolder, left: Sequence[Intent]) -> None:
        """Record what counts as not sent, and refuse messages that are to blame for lost connections."""
        unsent: list[Intent] = []
        for intent in left:
            key = intent.outgoing.key
            if key in self.job.refused:
                continue
            if (blamed := self._blamed(folder, intent.outgoing)) is not None:
                self._fact(blamed)
                self.job.blamed_in_row += 1
            elif self._was_unanswered(key):
                self._set_aside(folder, intent)
            else:
                unsent.append(intent)
        if unsent:
            # NOTE: it is unknown which of them an earlier run had under way, and whether there was a silence.
            in_flight = self.job.in_flight
            suspects = [each for each in unsent if not self.job.resolved or each.outgoing.key in in_flight]
            silent = {key for key, each in in_flight.items() if each.silent}
            for was_silent in (True, False):
                some = [each for each in suspects if (each.outgoing.key in silent) == was_silent]
                attempted = tuple((*each.outgoing.key, each.uidnext) for each in some)
                keys = tuple(each.outgoing.key for each in unsent if (each.outgoing.key in silent) == was_silent)
                if keys:
                    self._fact(UnsentFact(folder.number, keys, self.context.control.now(), attempted, was_silent))
            self.job.maybe_duplicated |= bool(suspects)
        self._flush()
        self.job.longest_silence = 0.0
        self.job.renumbered = False
        self.job.in_flight.clear()
        if self.job.unanswered_in_row >= _MOST_SILENT:
            reason = f'destination folder "{self.job.name}": no APPEND was answered within {self._limit} seconds'
            raise Unanswered(f"{reason}, and no message that was sent has appeared")

    @property
    def _limit(self) -> str:
        return f"{self.context.pace.limit:g}"

    def _was_unanswered(self, key: MessageKey) -> bool:
        """Whether a message was sent by itself often enough without an answer; once is enough after another one."""
        return self.job.silence_counts[key] >= (1 if self.job.unanswered_in_row else _SILENCES_AT_ONE_MESSAGE)

    def _set_aside(self, folder: JobFolder, intent: Intent) -> None:
        """Do not send an unanswered message again in this run. Its intent stays, so it is found if it appears
        later."""
        reason = f"no answer within {self._limit} seconds, and the message has not appeared"
        self._fact(refusal_of(self.context, folder, intent.outgoing, "silent", reason, None))
        self._fact(IntentFact(folder.number, intent.uidnext, (intent.outgoing.key,), self.context.control.now()))
        del self.job.silence_counts[intent.outgoing.key]
        self.job.unanswered_in_row += 1

    def _blamed(self, folder: JobFolder, outgoing: Outgoing) -> RefusedFact | None:
        """The refusal of a message at which the connection keeps breaking, if no repair may help."""
        job, key = self.job, outgoing.key
        if job.break_counts[key] < _BREAKS_AT_ONE_MESSAGE:
            return None
        features = features_of(octets_of(self.context.store, outgoing.placement))
        refusal = classify(job.server_reply or "")
        if refusal not in _OF_A_MESSAGE:
            refusal = suspect(features)
        kinds = repairs_for(refusal, features, self.context.repairs)
        if kinds and key not in job.repairs:
            job.repairs[key] = kinds
            del job.break_counts[key]
            return None
        reason = f"the connection broke {_BREAKS_AT_ONE_MESSAGE} times at it"
        if refusal != "unknown":
            reason += f"; probably: {describe(refusal)}"
        return refusal_of(self.context, folder, outgoing, refusal, reason, job.server_reply)

    def _not_arrived(
        self, folder: JobFolder, matcher: MessageMatcher, intents: Sequence[Intent]
    ) -> Sequence[Intent]:
        """Those of `intents` that have not appeared; the others are recorded."""
        if not intents:
            return intents
        since = min(intent.uidnext for intent in intents)
        shown = self.destination.list_since(since)
        new = shown.keys() - self.context.replicas.messages.claimed(folder.number, since=since).keys()
        if new == self._looked_at:
            return intents
        found = matcher.sent([intent.outgoing for intent in intents], new)
        self._note_late(found)
        self._looked_at = new - {one.seen.uid for one in found.values()}
        for intent in intents:
            if (one := found.get(intent.outgoing.key)) is not None:
                how = "restored" if intent.outgoing.comes_back else "found"
                self.job.send_alone.discard(intent.outgoing.key)
                self._fact(copied(folder, intent.outgoing, one, how, self.context.control.now()))
                self.job.steps += 1
                self.job.blamed_in_row = self.job.unanswered_in_row = self.job.watch_factor = 0
        self._flush()
        return [intent for intent in intents if intent.outgoing.key not in found]

    def _note_late(self, found: Collection[MessageKey]) -> None:
        """Note how long messages took that were under way in a silence; after a silence in an earlier run, assume
        the read timeout."""
        in_flight = [each for key in found if (each := self.job.in_flight.pop(key, None)) is not None]
        took = max((time.monotonic() - each.sent for each in in_flight if each.silent), default=0.0)
        if took:
            self.context.pace.late(took)
        elif found and self._looked_at is not None and not self.job.resolved:
            took = self.context.pace.limit
        self._delay = max(self._delay, took)

    def _fact(self, fact: Fact) -> None:
        self._facts.append(fact)

    def _flush(self) -> None:
        facts, self._facts = self._facts, []
        self.context.recorder.write(facts)


def copied(folder: JobFolder, outgoing: Outgoing, one: RecognisedMessage, how: str, at: str) -> CopiedFact:
    """The fact of a message that already exists. The flags that it shows count as replayed, so that changes in the
    archive are followed from there: for what we appended, additions and removals; for adopted mail, only additions.
    Flags of a past moment are not followed."""
    shown: Flags = respelled(one.seen.flags or NO_FLAGS, outgoing.placement.flags)
    replayed = NO_FLAGS if how == "adopted" else shown
    epoch, uid = outgoing.key
    return CopiedFact(
        target=folder.number,
        target_uid=one.seen.uid,
        epoch=epoch,
        uid=uid,
        how=how,
        source_flags=replayed if outgoing.followed is None else outgoing.followed,
        flags=shown,
        lost=NO_FLAGS,
        size=one.seen.size,
        repaired=one.repaired,
        sent_digest=one.sent_digest,
        dated=same_moment(internaldate_seconds(one.seen.internaldate), outgoing.placement.arrived),
        likeness=one.how,
        at=at,
    )
