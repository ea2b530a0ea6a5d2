"""Sending messages to one open folder: in groups, exactly once, down to the single message that is refused.

An intent is recorded before anything is sent, and its outcome when it is answered. In between nothing is assumed:
after a lost connection `sync_folder` finds out what arrived.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence

from msgspec import Struct, field

from archiver.destination.port import Appender
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
from archiver.replay.context import ARRIVAL_SECONDS, MOST_BLAMED, InFlight, JobFolder, ReplayContext
from archiver.replay.send.arrivals import certain_uids, rewritten
from archiver.replay.send.match import MessageMatcher, RecognisedMessage, octets_of
from archiver.replay.send.outcomes import refusal_of, reopened
from archiver.replay.send.prepare import (
    PreparedMessage,
    as_variant,
    fitting,
    groups,
    prepare,
    variants_of,
    with_repairs,
)


class Sender(Struct):
    """Sends to the folder that is open at `destination`. Belongs to one connection's thread.

    `claimed` are the UIDs that are known as copies; it grows. `restored` of the `appended` messages are gone from
    the source.
    """

    context: ReplayContext
    destination: Appender
    folder: JobFolder
    matcher: MessageMatcher
    claimed: set[int]
    since: int
    appended: int = 0
    restored: int = 0
    _facts: list[Fact] = field(default_factory=list)
    _waiting: deque[list[Outgoing] | list[PreparedMessage]] = field(default_factory=deque)
    _in_flight: deque[list[PreparedMessage]] = field(default_factory=deque)
    _begun: deque[float] = field(default_factory=deque)
    _heard: float = 0.0
    _taken: list[tuple[list[PreparedMessage], Appended]] = field(default_factory=list)
    _refused: list[tuple[list[PreparedMessage], Appended]] = field(default_factory=list)
    _not_there: list[MessageKey] = field(default_factory=list)
    _reported: list[int] = field(default_factory=lambda: [0, 0])

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Send these, in their order; recorded on return.

        Raises:
            TemporaryError, FolderChanged: the outcome of some is unknown; their intents stay.
            OverQuota, FolderNotFound, PermissionDenied: nothing more can be sent here.
        """
        sendable = [each for each in outgoing if not self._known_too_big(each)]
        if sendable:
            keys = tuple(each.key for each in sendable)
            self._fact(IntentFact(self.folder.number, self.since, keys, self.context.control.now()))
        self.flush()
        self._waiting.extend(groups(sendable, self.folder.job.send_alone))
        if self.context.prefetch is not None:
            self.context.prefetch.prefetch([each.placement for each in sendable])
        try:
            self._work_off()
            self.since = max([self.since, *(uid + 1 for uid in self.claimed)])
        except TemporaryError as error:
            self._note_suspects(error)
            raise
        except PermanentError:
            self._end_intents()
            raise
        finally:
            self.flush()

    def flush(self) -> None:
        """Write the facts that are waiting."""
        facts, self._facts = self._facts, []
        self.context.recorder.write(facts)

    def _work_off(self) -> None:
        """Send everything that waits, including what has to be tried again as a variant or by itself."""
        while self._waiting:
            while self._waiting or self._in_flight:
                self.context.control.check_stop()
                while self._waiting and len(self._in_flight) < self._most_in_flight():
                    self._begin(self._next_group())
                if self._in_flight:
                    commands = self.destination.end_append()
                    self._measure(self._in_flight[0], self._begun.popleft())
                    self._answered(self._in_flight.popleft(), commands)
            self._assign_uids()

    def _next_group(self) -> list[Outgoing] | list[PreparedMessage]:
        """The group that waits longest, cut to what the destination answers in time."""
        group = self._waiting.popleft()
        count = fitting(group, self.context.pace)
        if count < len(group):
            self._waiting.appendleft(group[count:])
        return group[:count]

    def _measure(self, group: Sequence[PreparedMessage], begun: float) -> None:
        now, before = time.monotonic(), max(begun, self._heard)
        self._heard = now
        self.context.pace.answered(len(group), sum(message.to_append.size for message in group), now - before)

    def _emit_sent(self) -> None:
        messages, octets = self._reported
        if messages:
            self._reported = [0, 0]
            self.context.control.progress(Sent(messages, octets))

    def _most_in_flight(self) -> int:
        """One while a message is sought that breaks connections, or while the pace is unknown."""
        careful = self.folder.job.send_alone or not self.context.pace.steady
        return 1 if careful else self.destination.most_in_flight

    def _begin(self, group: list[Outgoing] | list[PreparedMessage]) -> None:
        made = (each if isinstance(each, PreparedMessage) else self._prepare(each) for each in group)
        messages = [message for message in made if message is not None]
        if messages:
            self.context.control.check_stop()  # as late as possible: reading the messages may have taken long
            self._in_flight.append(messages)
            self._begun.append(time.monotonic())  # before sending, which waits for some servers
            self.destination.begin_append([message.to_append for message in messages])

    def _prepare(self, outgoing: Outgoing) -> PreparedMessage | None:
        try:
            message = prepare(self.context.store, outgoing, self.folder.opened)
            repairs = self.folder.job.repairs.get(outgoing.key)
            return message if repairs is None else with_repairs(self.context.store, message, sorted(repairs))
        except IntegrityError as error:
            self.context.damaged(error)
            self._refuse(outgoing, "damaged", "the archive's own copy is missing or altered", None)
            return None

    def _answered(self, messages: Sequence[PreparedMessage], commands: Sequence[Appended]) -> None:
        left, job = iter(messages), self.folder.job
        for command in commands:
            some = [next(left) for _ in range(command.count)]
            (self._taken if command.ok else self._refused).append((some, command))
            job.accepted += len(some) if command.ok else 0
            for message in () if command.ok else some:
                job.deferred_at.setdefault(message.key, job.accepted)

    def _assign_uids(self) -> None:
        """With nothing in flight: find the UID of every accepted message in what the folder shows now. Refused ones
        are examined after it is certain that none of them arrived."""
        taken, self._taken = self._taken, []
        refused, self._refused = self._refused, []
        # NOTE: requested after the answers, not together with the messages: Dovecot answers a pipelined command
        # from the state before the APPEND.
        sent = [message for some, _ in taken for message in some]
        new = self._shown(taken=0 if refused else len(sent))
        reported = self._reported_uids(taken)
        certain = certain_uids(sent, reported, new, complete=not refused)
        unsure = [message for message in sent if message.key not in certain]
        others = [message for some, _ in refused for message in some]
        found = self._recognise([*unsure, *others], new.keys() - certain.values())
        for message in sent:
            if message.key in certain:
                self._copied(message, new[certain[message.key]])
        missing = []
        for message in unsure:
            if message.key not in found:
                uid = reported.get(message.key)
                if uid in new and uid not in self.claimed:  # rewritten beyond recognition
                    self._copied(message, new[uid])
                else:
                    missing.append(message)
        self._look_for_missing(missing)
        self._emit_sent()
        rest = [([each for each in some if each.key not in found], command) for some, command in refused]
        self._not_there = [message.key for some, _ in rest for message in some]
        for some, command in rest:
            if len(some) > 1:
                middle = len(some) // 2
                self._waiting += (some[:middle], some[middle:])
            elif some:
                self._refused_one(some[0], command)
        self._not_there = []

    def _shown(self, *, taken: int = 0) -> dict[int, Attributes]:
        shown = self.destination.list_since(self.since, taken=taken)
        return {uid: seen for uid, seen in shown.items() if uid not in self.claimed}

    def _recognise(self, messages: Sequence[PreparedMessage], uids: Collection[int]) -> set[MessageKey]:
        """Which of these arrived as one of the new, unclaimed messages; their octets decide."""
        found = self.matcher.sent([each.outgoing for each in messages], uids)
        for message in messages:
            if (one := found.get(message.key)) is not None:
                self._copied(message, one.seen, one)
        return set(found)

    def _look_for_missing(self, messages: Sequence[PreparedMessage]) -> None:
        """Accepted with OK but not shown: reopen the folder, and once more after a while."""
        for wait in (0.0, ARRIVAL_SECONDS):
            if messages:
                self.context.control.pause(wait)
                reopened(self.context, self.destination, self.folder)
                new = self._shown()
                found = self._recognise(messages, new.keys())
                messages = [each for each in messages if each.key not in found]
                left = [uid for uid in sorted(new) if uid not in self.claimed]
                if rewritten(messages, [new[uid] for uid in left]):
                    for message, uid in zip(messages, left, strict=True):
                        self._copied(message, new[uid])
                    messages = []
        for message in messages:
            self._refuse(message.outgoing, "unknown", "the destination answered OK but does not show it", None)
        if messages:
            # NOTE: a refusal ends an intent, so record it again: if they appear later, they are not sent twice.
            keys = tuple(message.key for message in messages)
            self._fact(IntentFact(self.folder.number, self.since, keys, self.context.control.now()))

    def _reported_uids(self, taken: Sequence[tuple[list[PreparedMessage], Appended]]) -> dict[MessageKey, int]:
        """The UIDs of APPENDUID, if they are plausible. DavMail swaps UIDVALIDITY and UID; Proton sends none."""
        reported: dict[MessageKey, int] = {}
        for some, command in taken:
            uidvalidity, uids = command.uids or (0, ())
            if uidvalidity == self.folder.opened.uidvalidity and len(uids) == len(some):
                reported.update(zip((message.key for message in some), uids, strict=True))
        return reported

    def _copied(self, message: PreparedMessage, seen: Attributes, one: RecognisedMessage | None = None) -> None:
        wanted = message.outgoing.placement.flags
        shown = message.to_append.flags if seen.flags is None else respelled(seen.flags, wanted)
        # Exchange takes \\Flagged only from a STORE: flags that were sent and are not shown are left to
        # follow_flags.
        replayed = wanted - (message.to_append.flags - shown)
        lost = replayed - shown
        if message.outgoing.followed is not None:  # flags of a past moment, which are not followed
            replayed, lost = message.outgoing.followed, wanted - shown
        fact = CopiedFact(
            target=self.folder.number,
            target_uid=seen.uid,
            epoch=message.key[0],
            uid=message.key[1],
            how="appended" if message.outgoing.present else "restored",
            source_flags=replayed,
            flags=shown,
            lost=lost,
            size=seen.size,
            repaired=message.repaired if one is None else one.repaired,
            sent_digest=message.sent_digest if one is None else one.sent_digest,
            dated=message.dated and message.shows_its_date(seen.internaldate),
            likeness=None if one is None else one.how,
            at=self.context.control.now(),
        )
        self._fact(fact)
        self.claimed.add(seen.uid)
        self.appended += 1
        self.restored += not message.outgoing.present
        self.folder.job.steps += 1
        self.folder.job.blamed_in_row = self.folder.job.unanswered_in_row = self.folder.job.watch_factor = 0
        self.folder.job.send_alone.discard(message.key)
        self._reported[0] += 1
        self._reported[1] += message.to_append.size

    def _refused_one(self, message: PreparedMessage, command: Appended) -> None:
        """A single refused message: try another variant if that may help, otherwise record the refusal."""
        error = command.error
        assert error is not None
        refusal = classify(command.reply)
        if isinstance(error, Throttled) and not self.folder.job.is_only_connection():
            raise error  # may be a limit on connections; the last connection finds out what it means
        if refusal == "throttled" and not self._is_its_own(message, error):
            raise error if isinstance(error, TemporaryError) else Throttled(error.reason, where=error.where)
        if refusal == "over-quota":
            raise OverQuota(error.reason, where=error.where, server_reply=error.server_reply)
        if refusal == "folder":
            reopened(self.context, self.destination, self.folder)  # is it there?
            if not self._others_were_taken(message):
                raise error if isinstance(error, FolderNotFound | PermissionDenied) else _of_folder(error)
            refusal = "unknown"
        if (again := self._next_variant(message, refusal)) is not None:
            self._waiting.append([again])
            return
        if refusal != "unknown":
            self._refuse(message.outgoing, refusal, describe(refusal), error.server_reply)
            return
        suspected = suspect(self._features(message))
        reason = describe(suspected) if suspected == "unknown" else f"probably: {describe(suspected)}"
        self._refuse(message.outgoing, suspected, reason, error.server_reply)

    def _is_its_own(self, message: PreparedMessage, error: BackendError) -> bool:
        """Whether a server that answers "not now" means this message: others were accepted, and a pause did not
        help."""
        waited_for = self.folder.job.paused_for
        waited = message.key in waited_for or message.key in self.context.refused
        waited_for.add(message.key)
        return waited and not isinstance(error, Throttled) and self._others_were_taken(message)

    def _others_were_taken(self, message: PreparedMessage) -> bool:
        """Whether others were accepted since this one was refused first, or in an earlier run that recorded it."""
        job = self.folder.job
        return message.key in self.context.refused or job.accepted > job.deferred_at[message.key]

    def _next_variant(self, message: PreparedMessage, refusal: Refusal) -> PreparedMessage | None:
        """A variant that may be accepted in place of what was refused; None if nothing is left to try."""
        opened = self.folder.opened
        variant = next((variant for variant in variants_of(message, refusal) if variant not in message.tried), None)
        if variant is not None:
            return as_variant(message, opened, variant)
        features = self._features(message)
        cause = suspect(features) if refusal == "unknown" else refusal
        kinds = {*message.repaired, *repairs_for(cause, features, self.context.repairs)}
        if refusal == "unknown":
            kinds.update(repairs_for(refusal, features, self.context.repairs))
            message = as_variant(message, opened, "as it is")  # flags and date were not to blame
        if kinds == {*message.repaired}:
            return None
        return with_repairs(self.context.store, message, sorted(kinds))

    def _features(self, message: PreparedMessage) -> Features:
        return features_of(octets_of(self.context.store, message.outgoing.placement))

    def _known_too_big(self, outgoing: Outgoing) -> bool:
        """RFC 7889: a message above APPENDLIMIT is not even sent."""
        limit = self.context.append_limit
        if limit is None or outgoing.placement.size <= limit:
            return False
        self._refuse(outgoing, "too-big", describe("too-big", limit), None)
        return True

    def _refuse(self, outgoing: Outgoing, refusal: str, reason: str, reply: str | None) -> None:
        self._fact(refusal_of(self.context, self.folder, outgoing, refusal, reason, reply))

    def _fact(self, fact: Fact) -> None:
        self._facts.append(fact)

    def _note_suspects(self, error: TemporaryError) -> None:
        """The connection broke while messages were under way. One of them may be to blame: next time each is sent
        by itself, and one at which it keeps breaking is refused. Narrowing it down counts as progress."""
        job = self.folder.job
        keys = {message.key for group in self._in_flight for message in group}
        silent = isinstance(error, ConnectionLost) and error.silence > 0
        self._note_under_way(silent)
        if keys and silent:
            self.context.pace.silent(len(keys))
        if not (self.appended or job.is_only_connection()):
            job.send_alone |= keys
            return  # may be a limit of this connection: nothing was accepted over it
        if keys - job.send_alone:
            job.send_alone |= keys
            job.steps += 1
        if len(keys) == 1:
            (job.silence_counts if silent else job.break_counts).update(keys)
            job.server_reply = error.server_reply
            job.steps += job.blamed_in_row < MOST_BLAMED

    def _note_under_way(self, silent: bool) -> None:
        """Note what was on the wire when the connection was lost, and end the intents of what was not."""
        unanswered = {id(to_append) for to_append in self.destination.unanswered}
        for group, begun in zip(self._in_flight, self._begun, strict=True):
            for message in group:
                if id(message.to_append) in unanswered:
                    self.folder.job.in_flight[message.key] = InFlight(begun, silent)
        self._end_intents()

    def _end_intents(self) -> None:
        """End the intents of messages that were not sent, or were refused and did not arrive: otherwise the next
        run would wait for them to arrive late."""
        keys = dict.fromkeys([*self._not_there, *(each.key for group in self._waiting for each in group)])
        unsent = tuple(key for key in keys if key not in self.folder.job.refused)
        if unsent:
            self._fact(UnsentFact(self.folder.number, unsent, self.context.control.now()))


def _of_folder(error: BackendError) -> FolderNotFound:
    return FolderNotFound(error.reason, where=error.where, server_reply=error.server_reply)
