"""One connection's work: scan folders, fetch slices, keep the batch, finish folders.

A folder's failure affects only that folder. A failure of the connection or the login is the account's unless
another connection can go on; it is raised after the batch is durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from archiver.archive.context import Context
from archiver.archive.delivery import DeliveryProbe
from archiver.archive.folder_scan import FolderScanner
from archiver.archive.openings import Openings
from archiver.archive.plan.same import compare_unrecorded
from archiver.archive.queue import Job, Member, Slice
from archiver.archive.records import FolderRecords
from archiver.archive.same_mail import SameMail
from archiver.archive.scanned import ScannedFolder
from archiver.archive.unrecorded import unrecorded_fact
from archiver.control.waiting import meanwhile
from archiver.errors import (
    AllRefused,
    BackendError,
    ConnectionLost,
    Interrupted,
    NothingDelivered,
    Throttled,
    stops_account,
)
from archiver.events import Noted, Working
from archiver.journal.recorder import Batch
from archiver.mail.content import REFUSED, broke
from archiver.mail.model import Fetched, Folder, Listed, Undelivered
from archiver.mail.uidset import UidSet
from archiver.mail.unnumbered import require_same_uids
from archiver.source.port import MailSource

_ROUNDS_REFUSED = 1  # more of one slice in one run: each blames a few messages
_ALL_REFUSED_SECONDS = 3600.0  # of a server that gives nothing at all


class FetchWorker:
    """One connection. Belongs to one thread."""

    def __init__(self, context: Context, member: Member, source: MailSource) -> None:
        self._context = context
        self._member = member
        self._queue = member.queue
        self._source = source
        self._batch = Batch(context.recorder, context.store, context.catalog.messages, context.control.progress)
        self._folder: Folder | None = None
        self._records = FolderRecords(context, self._queue, self._batch)
        self._same_mail = SameMail(context, source, self._batch, self._queue)
        self._gave = False  # since all of a slice was refused
        self._openings = Openings(context, member, source)
        self._probe = DeliveryProbe(context, source)
        self._scanner = FolderScanner(
            source=source,
            store=context.store,
            metadata=context.metadata,
            prefetch=context.prefetch,
            catalog=context.catalog,
            recorder=context.recorder,
            batch=self._batch,
            progress=context.control.progress,
            now=context.control.now,
            search=context.search,
            whole=context.whole,
            retry=context.retry,
            accept=context.accept,
            live=context.live,
            unrecorded=context.unrecorded,
            rematch=context.rematch,
            forgotten=context.forgotten,
        )

    def work_off(self) -> None:
        """Run jobs until none are left, then flush the batch. It is also flushed if the connection fails or a
        signal arrives; after other errors (a full disk) it is left to the next run."""
        try:
            while not self._member.left and (job := self._next_job()) is not None:
                try:
                    self._context.control.check_stop()
                    self._do(job)
                finally:
                    self._queue.done()
                if self._context.follower is not None and self._context.follower.waits:
                    self._batch.hasten()
                self._member.leave_if_in_the_way()
        except (BackendError, Interrupted):
            self._finish()
            raise
        with meanwhile(self._source.close, "leaving"):
            self._finish()

    def _finish(self) -> None:
        self._batch.flush()
        self._batch.flush()  # what the first flush made due: the totals and states of finished folders
        self._queue.damage = self._queue.damage or self._batch.damage

    def _next_job(self) -> Job | None:
        """The next job; the batch is flushed before waiting for one, and after the server is left if there can be
        none."""
        job = self._queue.next_job(self._folder, self._member, wait=False)
        if job is None and not self._queue.is_over:
            self._batch.flush()
            job = self._queue.next_job(self._folder, self._member, wait=True)
        return job

    def _do(self, job: Job) -> None:
        folder = job.folder if isinstance(job, Listed) else job.scanned.listed.folder
        self._context.control.progress(Working(folder.name))
        left = [] if isinstance(job, Listed) else list(job.uids)
        try:
            if isinstance(job, Listed):
                self._scan(job)
            elif job.alone:
                self._fetch_alone(job)
            else:
                self._fetch(job, left)
        except AllRefused as error:
            self._all_refused(replace(job, uids=UidSet(left)) if isinstance(job, Slice) else job, error)
        except NothingDelivered as error:
            self._nothing_came(replace(job, uids=UidSet(left)) if isinstance(job, Slice) else job, error)
        except BackendError as error:
            self._failed(job if isinstance(job, Listed) else replace(job, uids=UidSet(left)), error)

    def _failed(self, job: Job, error: BackendError) -> None:
        """Record the folder's failure, or raise the account's if no other connection can go on."""
        # NOTE: the source may have left on its own, because of an error that names a folder.
        of_folder = not (self._member.left or stops_account(error))
        if not (of_folder or self._member.left) and isinstance(error, Throttled) and not error.certain:
            of_folder = self._probe.delivers(job) is True  # then the answer was about this folder alone
            self._folder = None
        if not of_folder and self._member.leave():
            self._give_back(job, error)
            return
        if not (of_folder or self._member.left) and isinstance(error, ConnectionLost) and error.at_opening:
            # Exchange 2007 hangs up when a folder is opened whose name ends with a blank.
            of_folder = self._probe.opens_another(job)
        self._end_folder(job, error)
        if not of_folder:
            raise error

    def _all_refused(self, job: Job, error: AllRefused) -> None:
        """Blame only the messages that were refused if another folder delivers some, or if the user accepts their
        loss; otherwise it is a limit of the account."""
        if not isinstance(job, Slice):
            self._failed(job, error)
            return
        self._batch.flush()  # NOTE: as in `_give_back`: another connection may finish it
        gave, self._gave = self._gave, False
        if not job.put_off:
            self._queue.put_off(job, self._member)
            return
        self._folder = None
        # NOTE: what other connections receive proves nothing: servers limit single connections.
        if not (gave or self._probe.delivers(job) or self._context.accept):
            limit = Throttled(error.reason, where=error.where, server_reply=error.server_reply)
            limit.delay_seconds = _ALL_REFUSED_SECONDS
            self._failed(job, limit)
            return
        for uid in error.refused:
            self._records.undelivered(job.scanned, Undelivered(uid, REFUSED, error.server_reply))
        rest = replace(job, uids=job.uids - error.refused)
        if not rest.uids:
            self._records.slice_done(job.scanned)
        elif self._context.accept or job.put_off <= _ROUNDS_REFUSED:
            self._queue.put_off(rest, self._member)
        else:
            self._end_folder(rest, error)

    def _nothing_came(self, job: Job, error: NothingDelivered) -> None:
        """The connection broke at the first messages: they are to blame if another one is delivered."""
        given = self._probe.delivers(job, here=True)
        self._folder = None
        if given is False or not isinstance(job, Slice):
            self._failed(job, error)
        elif given:
            self._queue.again(job)
        else:  # there is no other message
            for uid in job.uids:
                self._queue.add_alone(job.scanned, uid, 1)
            self._records.slice_done(job.scanned)

    def _give_back(self, job: Job, error: BackendError) -> None:
        """Leave the job to the other connections. NOTE: the batch is flushed first, since the connection that
        finishes the job records the folder's totals."""
        self._finish()
        self._queue.give_back(job, error)
        self._context.control.progress(Noted(f"{error.message}: going on with one connection less"))

    def _scan(self, listed: Listed) -> None:
        self._folder = None
        prepared = self._openings.take(listed)
        scanned = self._scanner.scan(listed, prepared)
        known = prepared.known
        self._folder = listed.folder
        if (metadata := self._context.metadata) is not None:
            metadata.write_folder_name(known.directory, known.folder.raw, known.folder.path)
        if scanned.wanted:
            self._queue.add_slices(scanned)
        else:
            self._records.folder_done(scanned)

    def _fetch(self, job: Slice, left: list[int]) -> None:
        """Fetch a slice; UIDs without an outcome stay in `left`."""
        scanned = job.scanned
        self._open(scanned)
        left[:] = self._not_stored(scanned, job.uids)
        self._openings.announce()
        with self._same_mail.linked(job, left) as to_fetch:
            waiting = dict.fromkeys(to_fetch)
            try:
                for outcome in self._source.fetch(to_fetch) if to_fetch else ():
                    if isinstance(outcome, Undelivered) and outcome.breaks:
                        self._queue.add_alone(scanned, outcome.uid, outcome.breaks)
                        del waiting[outcome.uid]
                    else:
                        del waiting[self._outcome(scanned, outcome)]
                    self._context.control.check_stop()
                    if self._queue.failure is not None:
                        return
            finally:
                left[:] = waiting
        self._records.slice_done(scanned)

    def _fetch_alone(self, job: Slice) -> None:
        """Fetch a message at which the connection broke, in this run or an earlier one."""
        scanned, (uid,) = job.scanned, job.uids
        if not self._not_stored(scanned, [uid]):
            pass  # a crashed run stored it
        elif self._queue.alone_given_up:
            if job.breaks:
                self._records.undelivered(scanned, Undelivered(uid, broke(job.breaks)))
        else:
            self._open(scanned)
            with self._same_mail.linked(job, [uid]) as to_fetch:
                for outcome in list(self._fetched_alone(uid)) if to_fetch else ():
                    if isinstance(outcome, Undelivered) and outcome.breaks:
                        self._require_another(job, outcome)
                        self._queue.note_alone(came=False)
                        breaks = job.breaks + outcome.breaks
                        self._records.undelivered(scanned, Undelivered(uid, broke(breaks), outcome.server_reply))
                    else:
                        self._queue.note_alone(came=True)
                        self._outcome(scanned, outcome)
        self._records.slice_done(scanned)

    def _require_another(self, job: Slice, outcome: Undelivered) -> None:
        """Blame a message for a break only if the server delivers another one now.

        Raises:
            ConnectionLost: it does not.
        """
        given = self._probe.delivers(job, here=True)
        self._folder = None
        if given is False:
            raise ConnectionLost(
                f"{outcome.server_reply or outcome.reason}, and no other message is delivered either"
            )

    def _fetched_alone(self, uid: int) -> Iterator[Fetched | Undelivered]:
        try:
            yield from self._source.fetch([uid])
        except NothingDelivered as error:
            yield Undelivered(uid, error.reason, error.reason, breaks=1)

    def _open(self, scanned: ScannedFolder) -> None:
        if self._folder != scanned.listed.folder:
            self._folder = None
            require_same_uids(scanned.listed.folder, scanned.opened, self._source.open(scanned.listed.folder))
            self._folder = scanned.listed.folder

    def _outcome(self, scanned: ScannedFolder, outcome: Fetched | Undelivered) -> int:
        """Record the outcome of a message; returns its UID."""
        if not isinstance(outcome, Fetched):
            self._records.undelivered(scanned, outcome)
            return outcome.uid
        self._gave = True
        self._records.fetched(scanned, outcome)
        return outcome.attributes.uid

    def _end_folder(self, job: Job, error: BackendError) -> None:
        """Record what is known of a folder that could not be finished."""
        self._folder = None
        self._records.failed(job, error)

    def _not_stored(self, scanned: ScannedFolder, uids: Iterable[int]) -> list[int]:
        """Record those of `uids` that a crashed run stored: only their attributes are fetched. Returns the
        others."""
        left = self._context.unrecorded.of(scanned.known.directory, scanned.epoch)
        here = {uid: left[uid] for uid in uids if uid in left}
        if here:
            self._open(scanned)
        done: set[int] = set()
        for attributes in self._source.scan(list(here)) if here else ():
            placement = here.get(attributes.uid)
            if placement is None or attributes.uid in done:
                continue
            if compare_unrecorded(placement, attributes) == "other":
                continue  # the server went back to an earlier state: this UID is other mail now
            fact = unrecorded_fact(
                self._context.store, scanned.epoch, placement, attributes, self._context.control.now
            )
            self._batch.moved(fact, [(placement, scanned.placement(fact))])
            done.add(attributes.uid)
            self._context.unrecorded.mark_recorded(placement)
        return [uid for uid in uids if uid not in done]

    def close(self) -> None:
        """Drop what is not durable, and close the connection."""
        self._batch.abandon()
        self._source.close()
