"""Messages that the server shows in several folders, as Gmail does with labels: fetched once, linked elsewhere.

Only servers that identify messages across folders (RFC 8474 EMAILID, Gmail's X-GM-MSGID) make this possible, and an
identity alone is not believed. A message counts as the one that the archive has if identity, RFC822.SIZE,
INTERNALDATE and the whole header are equal, and if the archive still has its octets. Otherwise it is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from archiver.archive.context import Context
from archiver.archive.plan.amounts import estimated_octets
from archiver.archive.plan.twins import Identity, full_identity, is_header_of, twins_by_identity
from archiver.archive.queue import Slice, WorkQueue
from archiver.archive.scanned import ScannedFolder
from archiver.errors import ConnectionLost, ServerUnavailable
from archiver.events import Linked
from archiver.facts.archive import StoredFact
from archiver.journal.recorder import Batch
from archiver.mail.model import Attributes
from archiver.mail.uidset import UidSet
from archiver.source.port import MailSource

#: What ends an attempt to recognise messages. They are fetched then, which finds out at which one the server fails.
_FETCH_INSTEAD = (ConnectionLost, ServerUnavailable)


class SameMail:
    """Links what the archive has, for one connection. Belongs to its thread."""

    def __init__(self, context: Context, source: MailSource, batch: Batch, queue: WorkQueue) -> None:
        self._context = context
        self._source = source
        self._batch = batch
        self._queue = queue

    @contextmanager
    def linked(self, job: Slice, uids: Sequence[int]) -> Iterator[list[int]]:
        """Link those of `uids`, in the open folder, that the archive has; the others are to be fetched within the
        block. What is being fetched from another folder becomes a slice that waits for it.
        """
        if not (self._context.identify and job.scanned.opened.identifies):
            yield list(uids)
            return
        left, fetching = self._link(job, uids)
        try:
            yield left
        except BaseException:
            self._queue.release(fetching)
            raise
        self._batch.then(lambda: self._queue.release(fetching))

    def _link(self, job: Slice, uids: Sequence[int]) -> tuple[list[int], frozenset[Identity]]:
        """Returns the UIDs to fetch, and which of their identities are claimed."""
        scanned = job.scanned
        seen = self._attributes(scanned, uids)
        identities = {uid: identity for uid in uids if uid in seen and (identity := full_identity(seen[uid]))}
        claimed = self._claimed(frozenset(identities.values()))
        try:
            waiting = () if job.waits_for or job.alone else self._not_first(identities, claimed)
            mine = {uid: identity for uid, identity in identities.items() if uid not in waiting}
            linked = self._linked(scanned, mine, seen)
        except BaseException:
            self._queue.release(claimed)
            raise
        if waiting:
            self._queue.add_waiting(scanned, UidSet(waiting), frozenset(identities[uid] for uid in waiting))
        left = [uid for uid in uids if uid not in linked and uid not in waiting]
        fetching = claimed.intersection(identities[uid] for uid in left if uid in identities)
        self._queue.release(claimed - fetching)
        if linked:
            octets = estimated_octets(len(linked), scanned.listed.status)
            self._context.control.progress(Linked(len(linked), octets))
        return left, fetching

    def _attributes(self, scanned: ScannedFolder, uids: Sequence[int]) -> dict[int, Attributes]:
        """What the server says of these messages. Those that it described when the folder was opened are not
        requested again."""
        missing = [uid for uid in uids if uid not in scanned.seen]
        seen = {uid: scanned.seen.pop(uid) for uid in uids if uid in scanned.seen}
        with suppress(*_FETCH_INSTEAD):
            for each in self._source.scan(missing) if missing else ():
                seen[each.uid] = seen[each.uid].updated(each) if each.uid in seen else each
        return seen

    def _claimed(self, identities: frozenset[Identity]) -> frozenset[Identity]:
        """Those of `identities` that no connection fetches now. From now on this one does."""
        claimed = self._queue.claim(identities)
        if claimed != identities:
            self._batch.flush()  # perhaps it was this connection that has just fetched them
            claimed |= self._queue.claim(identities - claimed)
        return claimed

    @staticmethod
    def _not_first(identities: Mapping[int, Identity], claimed: Iterable[Identity]) -> set[int]:
        """The UIDs of messages that are being fetched: by another connection, or under a lower UID here."""
        first = {identities[uid]: uid for uid in sorted(identities, reverse=True)}
        fetching = {first[identity] for identity in claimed}
        return identities.keys() - fetching

    def _linked(
        self, scanned: ScannedFolder, identities: Mapping[int, Identity], seen: Mapping[int, Attributes]
    ) -> set[int]:
        """Link the messages whose headers prove what their identities say; their UIDs."""
        wanted = set(identities.values())
        candidates = (
            self._context.catalog.messages.candidates(emailids={emailid for emailid, _, _ in wanted})
            if wanted
            else ()
        )
        twins = twins_by_identity(candidates)
        found = {uid: twins[identity] for uid, identity in identities.items() if identity in twins}
        if found and (prefetch := self._context.prefetch) is not None:
            missing = prefetch.missing(list(found.values()))
            found = {uid: twin for uid, twin in found.items() if twin.digest not in missing}
        linked: set[int] = set()
        with suppress(*_FETCH_INSTEAD):
            for row, header in self._source.headers(list(found)) if found else ():
                if row.uid not in found or row.uid in linked:
                    continue
                now, twin = seen[row.uid].updated(row), found[row.uid]
                if full_identity(now) != identities[row.uid] or not is_header_of(twin, header):
                    continue
                message, at = twin.message.seen_as(now), self._context.control.now()
                fact = StoredFact(scanned.epoch.number, message, "emailid", at)
                if self._batch.linked(fact, scanned.placement(fact), twin):
                    linked.add(row.uid)
        return linked
