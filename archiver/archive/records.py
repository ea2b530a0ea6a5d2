"""What one connection records of its folders: each message's outcome, and how each folder's pass ended."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from archiver.archive.context import Context
from archiver.archive.queue import Job, Slice, WorkQueue
from archiver.archive.scanned import ScannedFolder
from archiver.catalog.port import CatalogMessages
from archiver.errors import BackendError
from archiver.events import Noted
from archiver.facts.archive import PassFact, QuarantinedFact, ReleasedFact, StoredFact
from archiver.facts.keeping import ForgottenFact
from archiver.journal.recorder import Batch
from archiver.mail.content import PLACEHOLDER_GIVEN, is_placeholder
from archiver.mail.folder_names import printable
from archiver.mail.model import Fetched, Placement, Undelivered
from archiver.mail.uidset import UidSet
from archiver.storage.port import FolderMetadata


class FolderRecords:
    """What is recorded over one connection, by way of its batch."""

    def __init__(self, context: Context, queue: WorkQueue, batch: Batch) -> None:
        self._context = context
        self._queue = queue
        self._batch = batch

    def fetched(self, scanned: ScannedFolder, message: Fetched) -> None:
        """Put a message into the batch."""
        if self._nobody_accepted(scanned, message):
            self.undelivered(scanned, Undelivered(message.attributes.uid, PLACEHOLDER_GIVEN))
            return
        fact = scanned.stored_fact(message, self._context.control.now())
        if scanned.continues(fact):
            equal = self._context.catalog.messages.candidates(digests={fact.message.digest})
            fact = scanned.as_before(fact, equal)
        if fact.message.digest in self._context.forgotten:
            self._forgotten(scanned, fact, message)
        else:
            self._batch.stored(fact, scanned.placement(fact), message.body)

    def _forgotten(self, scanned: ScannedFolder, fact: StoredFact, fetched: Fetched) -> None:
        """Record where the source shows a message that was forgotten; its octets are dropped."""
        fetched.body.discard()
        its, at = fact.message, self._context.control.now()
        place = (fact.epoch, its.uid, its.digest, its.size, its.crlf_size, its.arrived, 1)
        number = self._context.forgotten[its.digest]
        self._batch.fact(ForgottenFact(number, (place,), (), "", "", at))

    def _accepts(self, scanned: ScannedFolder, uid: int) -> bool:
        """The user accepts what waits in quarantine, not what this run finds for the first time."""
        return self._context.accept and uid in scanned.quarantined

    def _nobody_accepted(self, scanned: ScannedFolder, fetched: Fetched) -> bool:
        """Whether this is a placeholder that arrived only because other messages of this run are accepted."""
        if not self._context.accept or self._accepts(scanned, fetched.attributes.uid):
            return False
        if not is_placeholder(fetched.body.header):
            return False
        fetched.body.discard()
        return True

    def undelivered(self, scanned: ScannedFolder, outcome: Undelivered) -> None:
        """Put a message that did not come into quarantine, unless it is gone."""
        number = scanned.epoch.number
        if outcome.gone:
            scanned.gone += 1
            if outcome.uid in scanned.quarantined:
                self._batch.fact(ReleasedFact(number, (outcome.uid,), self._context.control.now()))
            return
        self._context.control.progress(
            Noted(f'folder "{scanned.known.folder.name}", uid {outcome.uid}: {outcome.reason}')
        )
        self._batch.fact(
            QuarantinedFact(
                number,
                outcome.uid,
                "fetch",
                outcome.reason,
                outcome.server_reply,
                self._accepts(scanned, outcome.uid),
                self._context.control.now(),
            )
        )

    def slice_done(self, scanned: ScannedFolder) -> None:
        """A slice has all its outcomes. When they are durable, so is the folder if this was its last slice."""
        self._batch.then(lambda: self._end_slice(scanned))

    def folder_done(self, scanned: ScannedFolder) -> None:
        """There is nothing to fetch from the folder."""
        self._batch.then(lambda: self._complete(scanned))

    def _end_slice(self, scanned: ScannedFolder) -> None:
        if self._queue.slice_done(scanned):
            self._complete(scanned)

    def _complete(self, scanned: ScannedFolder) -> None:
        """All of the folder is durable: write its totals, its control files, and last its state."""
        now = self._context.control.now()
        errors = [each for each in (scanned.disagreement, scanned.error) if each is not None]
        self._batch.fact(
            PassFact(
                scanned.epoch.number,
                scanned.on_server - scanned.gone,
                scanned.excluded,
                "; ".join(errors) or None,
                now,
                None if scanned.shown is None else scanned.shown - scanned.gone,
            )
        )
        if scanned.error is not None:
            return
        if (metadata := self._context.metadata) is not None:
            _list_uids(metadata, self._context.catalog.messages, scanned, settled=self._context.settled)
        if scanned.disagreement is not None:
            return
        # NOTE: counts as if the messages that are gone had never been there. If they are there after all, the count
        # differs and the next run opens the folder again.
        self._batch.fact(replace(scanned.state, messages=scanned.state.messages - scanned.gone))
        if self._context.follower is not None:
            self._context.follower.completed(scanned.known.number)

    def failed(self, job: Job, error: BackendError) -> None:
        """Record what is known of a folder that could not be finished."""
        self._context.control.progress(Noted(str(error)))
        if isinstance(job, Slice):
            job.scanned.error = error.within(printable(job.scanned.known.folder.name))
            self.slice_done(job.scanned)
            return
        reason = error.within(printable(job.folder.name))
        known = self._context.folders[job.folder.raw]
        epoch = self._context.catalog.account.epochs().get(known.number)
        if epoch is None:
            self._context.refused[job.folder.raw] = reason
        else:
            messages, now = job.status.messages if job.status else 0, self._context.control.now()
            self._batch.fact(PassFact(epoch.number, messages, 0, reason, now))


def _list_uids(
    metadata: FolderMetadata, messages: CatalogMessages, scanned: ScannedFolder, *, settled: bool
) -> None:
    """Write the list of a folder whose messages are all recorded. If no pass was cut short since it was last
    written (the archive is `settled`), only what changed is looked at."""
    epoch, directory = scanned.epoch, scanned.known.directory

    def present(some: UidSet) -> Iterator[Placement]:
        return (each for each in messages.placements(epoch.number, uids=some) if each.present)

    uids = messages.uids(epoch.number)
    status = (epoch.uidvalidity, scanned.opened.status.uidnext or uids.last + 1)
    is_left = settled and epoch.state is not None and not scanned.fetches_again
    metadata.write_uidlist(directory, status, uids, present, settled=is_left)
