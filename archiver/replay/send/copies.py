"""Accepted messages found in what the folder shows, and recorded as copies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct, field

from archiver.destination.port import Appender
from archiver.events import Sent
from archiver.facts.archive import Fact
from archiver.facts.destination import CopiedFact, IntentFact
from archiver.facts.mailbox import Appended
from archiver.facts.replica import MessageKey
from archiver.mail.flags import respelled
from archiver.mail.model import Attributes
from archiver.replay.context import ARRIVAL_SECONDS, JobFolder, ReplayContext
from archiver.replay.send.arrivals import certain_uids, rewritten
from archiver.replay.send.match import MessageMatcher, RecognisedMessage
from archiver.replay.send.outcomes import refusal_of, reopened
from archiver.replay.send.prepare import PreparedMessage

Answered = Sequence[tuple[list[PreparedMessage], Appended]]
"""Messages with the answer to their command."""


class Copies(Struct):
    """The copies in the folder that is open at `destination`. Belongs to one connection's thread.

    `claimed` are the UIDs that are known as copies; it grows. Messages that are sent get a UID of at least `since`.
    `restored` of the `appended` messages are gone from the source. `facts` are not written yet.
    """

    context: ReplayContext
    destination: Appender
    folder: JobFolder
    matcher: MessageMatcher
    claimed: set[int]
    since: int
    appended: int = 0
    restored: int = 0
    facts: list[Fact] = field(default_factory=list)
    _reported: list[int] = field(default_factory=lambda: [0, 0])

    def write(self) -> None:
        """Write the facts that are waiting."""
        facts, self.facts = self.facts, []
        self.context.recorder.write(facts)

    def all_found(self) -> None:
        """Nothing is under way: what is sent from now on gets a UID above all copies."""
        self.since = max([self.since, *(uid + 1 for uid in self.claimed)])

    def confirm(self, taken: Answered, rows: Mapping[int, Attributes]) -> bool:
        """Record accepted messages, if all of them are shown under the UIDs that were reported, as they were sent.
        Others may be under way."""
        new = {uid: seen for uid, seen in rows.items() if uid >= self.since and uid not in self.claimed}
        sent = [message for some, _ in taken for message in some]
        certain = certain_uids(sent, self.reported_uids(taken), new, complete=False)
        if len(certain) < len(sent):
            return False
        for message in sent:
            self._copied(message, new[certain[message.key]])
        self.since = max(self.since, *(uid + 1 for uid in certain.values()))
        self._emit_sent()
        return True

    def find(self, taken: Answered, refused: Answered, then: bytes | None = None) -> set[MessageKey]:
        """With nothing in flight: find the UID of every accepted message in what the folder shows now, and record
        it. Returns those of the refused ones that have arrived nevertheless. `then` is the folder to be opened
        next."""
        # NOTE: requested after the answers, not together with the messages: Dovecot answers a pipelined command
        # from the state before the APPEND.
        sent = [message for some, _ in taken for message in some]
        new = self._shown(taken=0 if refused else len(sent), then=then)
        reported = self.reported_uids(taken)
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
        return found

    def _shown(self, *, taken: int = 0, then: bytes | None = None) -> dict[int, Attributes]:
        shown = self.destination.list_since(self.since, taken=taken, then=then)
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
            reason = "the destination answered OK but does not show it"
            self.facts.append(refusal_of(self.context, self.folder, message.outgoing, "unknown", reason, None))
        if messages:
            # NOTE: a refusal ends an intent, so record it again: if they appear later, they are not sent twice.
            keys = tuple(message.key for message in messages)
            self.facts.append(IntentFact(self.folder.number, self.since, keys, self.context.control.now()))

    def reported_uids(self, taken: Answered) -> dict[MessageKey, int]:
        """The UIDs of APPENDUID, if they are plausible. DavMail swaps UIDVALIDITY and UID; Proton sends none."""
        reported: dict[MessageKey, int] = {}
        for some, command in taken:
            if command.uids is not None and self.has_uids(some, command):
                reported.update(zip((message.key for message in some), command.uids[1], strict=True))
        return reported

    def has_uids(self, some: Sequence[PreparedMessage], command: Appended) -> bool:
        """Whether the answer to a command has plausible UIDs of its messages."""
        uidvalidity, uids = command.uids or (0, ())
        return uidvalidity == self.folder.opened.uidvalidity and len(uids) == len(some)

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
            how="restored" if message.outgoing.comes_back else "appended",
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
        self.facts.append(fact)
        self.claimed.add(seen.uid)
        self.appended += 1
        self.restored += not (message.outgoing.present or message.outgoing.restored)
        self.folder.job.steps += 1
        self.folder.job.blamed_in_row = self.folder.job.unanswered_in_row = self.folder.job.watch_factor = 0
        self.folder.job.send_alone.discard(message.key)
        self._reported[0] += 1
        self._reported[1] += message.to_append.size

    def _emit_sent(self) -> None:
        messages, octets = self._reported
        if messages:
            self._reported = [0, 0]
            self.context.control.progress(Sent(messages, octets))
