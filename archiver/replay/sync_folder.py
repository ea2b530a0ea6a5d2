"""One folder of a destination brought up to date: opened, known messages matched, missing ones sent, flags updated.

Everything the plan assumed is checked again. A pass that was interrupted is simply repeated: the outcome of the
interrupted one is found out before anything else is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.destination.port import MailDestination
from archiver.errors import ConnectionLost, FolderChanged, TemporaryError
from archiver.events import Noted, Working
from archiver.facts.archive import Fact
from archiver.facts.destination import AcceptedFact, CopiedFact, MarkedFact, RemovedFact, TargetStateFact
from archiver.facts.mailbox import SelectedFolder
from archiver.facts.outgoing import Outgoing
from archiver.facts.replica import MessageKey, Replica
from archiver.mail.counts import counted
from archiver.mail.uidset import UidSet
from archiver.replay.context import ARRIVAL_SECONDS, JobFolder, ReplayContext, ReplayJob
from archiver.replay.flag_merge import DELETED, NO_FLAGS
from archiver.replay.folders.epoch import number_of
from archiver.replay.send.append import Sender
from archiver.replay.send.copies import Copies
from archiver.replay.send.flags import follow_flags
from archiver.replay.send.labels import follow_labels
from archiver.replay.send.match import MessageMatcher, UnclaimedMessages
from archiver.replay.send.outcomes import open_or_create
from archiver.replay.send.prepare import batches
from archiver.replay.send.resolve import IntentResolver, copied, note_lost_connection
from archiver.replay.send.twins import end_attempts, note_twins

BATCH_MESSAGES = 500


class FolderSync(Struct):
    """One pass over one folder, on one connection. `upcoming` is asked which folder this connection opens next."""

    context: ReplayContext
    destination: MailDestination
    job: ReplayJob
    upcoming: Callable[[], bytes | None] = lambda: None
    _facts: list[Fact] = field(default_factory=list)

    def run(self) -> None:
        """Bring the folder up to date.

        Raises:
            TemporaryError: run again on another connection.
            OverQuota: nothing more fits into the account.
            BackendError: this folder only; FolderChanged if its UIDVALIDITY changed twice during the pass.
        """
        try:
            try:
                self._run()
            except FolderChanged:
                self.job.watch_until = max(self.job.watch_until, time.monotonic() + ARRIVAL_SECONDS)
                self._run()
        except TemporaryError as error:
            note_lost_connection(self.context, self.job, error)
            raise

    def _run(self) -> None:
        self.context.control.check_stop()
        began = self.context.control.now()
        self.context.control.progress(Working(self.job.name))
        try:
            opened = open_or_create(self.context, self.destination, self.job)
        except ConnectionLost as error:
            error.at_opening = True
            raise
        self._flush()  # what a pass found that the folder's change ended
        folder = JobFolder(self.job, number_of(self.context, self.destination, self.job, opened), opened)
        replicas = self.context.replicas.messages
        matcher = MessageMatcher(self.destination, self.context, self.job)
        opened = IntentResolver(self.context, self.destination, self.job).resolve(folder, matcher)
        claimed = replicas.claimed(folder.number)
        present = self._present(opened, claimed)
        if present is not None:
            self._follow_removals(folder, claimed, present)
            claimed = replicas.claimed(folder.number)
        copies = Copies(self.context, self.destination, folder, matcher, set(claimed), opened.uidnext)
        sender = Sender(self.context, self.destination, folder, copies, partial(self._next_folder, folder))
        sender.send(self._batches(folder, sender, matcher, (present or UidSet()) - claimed.keys()))
        if self.context.rules.include_vanished:
            self._keep_vanished(folder)
        if copies.restored:
            gone = "gone from the source and brought back"
            gone = gone if self.context.rules.include_vanished else "that `prune` removed from the source, sent"
            words = f"{counted(copies.restored, 'message')} {gone}"
            self.context.control.progress(Noted(f'destination folder "{self.job.name}": {words}'))
        follow_flags(self.context, self.destination, folder)
        follow_labels(self.context, self.destination, folder)
        if copies.appended or self.job.moved(opened):
            self._look_closer(folder, matcher)
            state = TargetStateFact(
                folder.number, copies.since, opened.messages + copies.appended, self.context.control.now()
            )
            self._fact(state)
        self._flush()
        note_twins(self.context, self.destination, folder, matcher)
        end_attempts(self.context, folder, began)

    def note_twins(self) -> None:
        """After the folder's pass: look once more for messages that a slow server stored twice."""
        opened = self.destination.open(self.job.raw)
        if self.job.known is not None and opened.uidvalidity == self.job.known.uidvalidity:
            matcher = MessageMatcher(self.destination, self.context, self.job)
            folder = JobFolder(self.job, self.job.known.number, opened)
            note_twins(self.context, self.destination, folder, matcher)

    def _next_folder(self, folder: JobFolder) -> bytes | None:
        """The folder to open next, if all that is left to do in this one is to look at what was sent."""
        changes = self.context.replicas.changes
        rules = self.context.rules
        if rules.labels or rules.include_vanished or changes.reflagged(folder.number, limit=1):
            return None
        if changes.attempts(folder.number) or changes.twins(folder.number):
            return None
        return self.upcoming()

    def _present(self, opened: SelectedFolder, claimed: Mapping[int, bool]) -> UidSet | None:
        """The UIDs that exist; None if the folder is as we left it, so that they need not be requested.

        NOTE: unclaimed mail of an earlier pass is checked again: the archive may have got the same message since,
        out of quarantine or by other rules.
        """
        if opened.messages == 0:
            return UidSet()
        has_strangers = self.job.messages > 0 and opened.messages != sum(claimed.values())
        return self.destination.uids() if has_strangers or self.job.moved(opened) else None

    def _follow_removals(self, folder: JobFolder, claimed: Mapping[int, bool], present: UidSet) -> None:
        """Record copies that the user removed. One that was recorded as removed and is there again counts as
        before: its folder was only temporarily missing."""
        replicas, now = self.context.replicas.messages, self.context.control.now()
        gone = UidSet(uid for uid, live in claimed.items() if live) - present
        back = UidSet(uid for uid, live in claimed.items() if not live) & present
        if gone:
            by = "policy" if self.context.rules.include_removed else "user"
            self._fact(RemovedFact(folder.number, tuple(gone), by, now))
        if back:
            self._fact(RemovedFact(folder.number, tuple(back), "policy", now))
            for replica in replicas.all(folder.number, removed=True):
                if replica.uid in back:
                    how = "restored" if replica.how == "restored" else "again"
                    self._fact(self._transferred(folder, replica.key, replica, how))
        self._flush()

    def _batches(
        self, folder: JobFolder, sender: Sender, matcher: MessageMatcher, unknown: UidSet
    ) -> Iterator[list[Outgoing]]:
        """The messages to send, in batches that share an intent, without those that turn out to be there."""
        unclaimed: UnclaimedMessages | None = None
        for pending in self._pending(folder):
            left = self._again(folder, pending)
            if left and unknown:
                sender.finish()
                unclaimed = unclaimed or UnclaimedMessages(self.destination, unknown)
                left = self._adopt(folder, left, sender.copies, matcher, unclaimed)
            self._flush()
            yield from batches(left)

    def _pending(self, folder: JobFolder) -> Iterator[list[Outgoing]]:
        """Messages to send; those that were refused in an earlier run come last, so that they delay nothing
        else."""
        retried = any(each.target == folder.number for each in self.context.refused.values())
        for again in (False, True) if retried else (False,):
            after: MessageKey = (0, 0)
            while pending := self.context.pending.batch(
                folder.number,
                self.job.folders,
                after=after,
                limit=BATCH_MESSAGES,
                vanished=self.context.rules.include_vanished,
            ):
                self.context.control.check_stop()
                after = pending[-1].key
                yield [
                    each
                    for each in pending
                    if (each.key in self.context.refused) == again
                    and each.key not in self.job.refused
                    and self.context.is_due(each.key)
                ]

    def _again(self, folder: JobFolder, pending: list[Outgoing]) -> list[Outgoing]:
        """Use copies whose source UID no longer exists for messages with the same octets: after a new UIDVALIDITY
        at the source, or when a message was moved away and back. Returns the messages that are left."""
        if not pending or not self.context.rules.of_now:
            return pending  # for a past moment, `PastPending` decides that for the folder as a whole
        left_over: dict[str, list[Replica]] = {}
        replicas = self.context.replicas.messages.left_over(
            folder.number, {each.placement.digest for each in pending}
        )
        for replica in sorted(replicas, key=lambda replica: replica.removed):  # those that are there first
            left_over.setdefault(replica.message.digest, []).append(replica)
        still = []
        for outgoing in pending:
            equal = left_over.get(outgoing.placement.digest)
            if not equal or not outgoing.present:
                still.append(outgoing)
                continue
            replica = equal.pop(0)
            fact = self._transferred(folder, outgoing.key, replica, "again")
            # It has the date that the source gave before: POP3 has none, and IMAP another one.
            same = replica.message.arrived == outgoing.placement.arrived
            self._fact(replace(fact, dated=fact.dated and same))
        return still

    def _transferred(self, folder: JobFolder, key: MessageKey, replica: Replica, how: str) -> CopiedFact:
        """The fact that a copy is now that of `key`. An adopted copy stays adopted."""
        kind = "adopted" if replica.how == "adopted" else how
        return replica.copied_fact(folder.number, key, kind, self.context.control.now())

    def _adopt(
        self,
        folder: JobFolder,
        pending: list[Outgoing],
        copies: Copies,
        matcher: MessageMatcher,
        unclaimed: UnclaimedMessages,
    ) -> list[Outgoing]:
        """Record as adopted any messages that something else stored there; returns those that are left to send."""
        messages = self.context.replicas.messages
        before = messages.shown_before(folder.number, {each.placement.digest for each in pending})
        candidates = {
            each.key: unclaimed.candidates(each, before.get(each.placement.digest)) - copies.claimed
            for each in pending
        }
        wanted = [each for each in pending if candidates[each.key]]
        uids = set().union(*candidates.values()) if candidates else set()
        adopted = matcher.match_unclaimed(wanted, uids)
        rest = [each for each in wanted if each.key not in adopted and each.placement.digest in before]
        adopted |= matcher.match_altered(rest, uids - {one.seen.uid for one in adopted.values()}, before)
        for outgoing in wanted:
            if (one := adopted.get(outgoing.key)) is not None:
                self.job.send_alone.discard(outgoing.key)
                self._fact(copied(folder, outgoing, one, "adopted", self.context.control.now()))
                copies.claimed.add(one.seen.uid)
                replica = before.get(outgoing.placement.digest)
                if replica is not None and replica.accepted and one.how in ("cut", "other"):
                    self._fact(AcceptedFact(folder.number, (one.seen.uid,), self.context.control.now()))
        return [each for each in pending if each.key not in adopted]

    def _keep_vanished(self, folder: JobFolder) -> None:
        """Keep copies whose messages are gone from the source (--include-vanished): remove our \\Deleted mark, and
        record them as restored so that no later run deletes them."""
        replicas = self.context.pending.vanished(folder.number, gone=self.context.gone)
        marked = tuple(replica.uid for replica in replicas if replica.marked)
        if marked:
            self.destination.store({(NO_FLAGS, DELETED): marked})
            self._fact(MarkedFact(folder.number, marked, False, self.context.control.now()))
        for replica in replicas:
            self._fact(self._transferred(folder, replica.key, replica, "restored"))
        self._flush()

    def _look_closer(self, folder: JobFolder, matcher: MessageMatcher) -> None:
        """Read back copies whose size differs from what was sent."""
        after = 0
        while maybe_twice := self.context.replicas.changes.doubtful(
            folder.number, after=after, limit=BATCH_MESSAGES
        ):
            self.context.control.check_stop()
            after = maybe_twice[-1][0].uid
            likeness = matcher.match_levels({replica.uid: outgoing for replica, outgoing in maybe_twice})
            for replica, _ in maybe_twice:
                if replica.uid in likeness:
                    fact = self._transferred(folder, replica.key, replica, replica.how)
                    self._fact(replace(fact, likeness=likeness[replica.uid]))
            self._flush()

    def _fact(self, fact: Fact) -> None:
        self._facts.append(fact)

    def _flush(self) -> None:
        facts, self._facts = self._facts, []
        self.context.recorder.write(facts)
