"""One connection's work: survey folders, fetch slices, keep the batch, close a folder's books.

Every folder's failure is its own. A failure of the connection or the login is the account's, if no other connection
is at work that can go on, and goes up after what was gathered is lasting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from archiver.archive.context import Context
from archiver.archive.folder_scan import Surveyor
from archiver.archive.others import Others
from archiver.archive.plan import doubt_left
from archiver.archive.queue import Job, Member, Slice
from archiver.archive.scanned import Surveyed, same_folder
from archiver.archive.unrecorded import adopted
from archiver.errors import (
    AllRefused,
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    ConnectionRefused,
    FolderChanged,
    Interrupted,
    NothingDelivered,
    Throttled,
)
from archiver.events import Noted, Working
from archiver.facts.archive import PassFact, QuarantinedFact, ReleasedFact
from archiver.journal.recorder import Batch
from archiver.mail.content import PLACEHOLDER_GIVEN, REFUSED, broke, is_placeholder
from archiver.mail.model import Fetched, Folder, Listed, Placement, Undelivered
from archiver.source.port import MailSource

_ROUNDS_REFUSED = 1  # more of one slice in one run: each blames a few messages
_ALL_REFUSED_SECONDS = 3600.0  # of a server that gives nothing at all


class Part:
    """One connection. Belongs to one thread."""

    def __init__(self, context: Context, member: Member, source: MailSource) -> None:
        self._context = context
        self._member = member
        self._dealing = member.dealing
        self._source = source
        self._batch = Batch(context.recorder, context.store, context.catalog, context.control.progress)
        self._folder: Folder | None = None
        self._gave = False  # since all of a slice was refused
        self._others = Others(context, source)
        self._surveyor = Surveyor(
            source=source,
            store=context.store,
            catalog=context.catalog,
            recorder=context.recorder,
            batch=self._batch,
            progress=context.control.progress,
            now=context.control.now,
            search=context.search,
            whole=context.whole,
            retry=context.retry,
            accept=context.accept,
            shown=context.shown,
            orphans=context.orphans,
            rematch=any(epoch.state is not None for epoch in context.epochs.values()),
        )

    def work_off(self) -> None:
        """Jobs until none is left; then, or when the connection or a signal ends it, what was gathered is made
        lasting. Other failures (a full disk) leave it to the next run."""
        try:
            while not self._member.left and (job := self._next_job()) is not None:
                try:
                    self._context.control.check_stop()
                    self._do(job)
                finally:
                    self._dealing.done()
        except (BackendError, Interrupted):
            self._finish()
            raise
        self._finish()

    def _finish(self) -> None:
        self._batch.flush()
        self._batch.flush()  # what became due when the first one was lasting: the folders' books and states
        self._dealing.damage = self._dealing.damage or self._batch.damage

    def _next_job(self) -> Job | None:
        """The next job; what was gathered is made lasting before waiting for one."""
        job = self._dealing.next_job(self._folder, self._member, wait=False)
        if job is None:
            self._batch.flush()
            job = self._dealing.next_job(self._folder, self._member, wait=True)
        return job

    def _do(self, job: Job) -> None:
        folder = job.folder if isinstance(job, Listed) else job.surveyed.listed.folder
        self._context.control.progress(Working(folder.name))
        left = [] if isinstance(job, Listed) else list(job.uids)
        try:
            if isinstance(job, Listed):
                self._survey(job)
            elif job.alone:
                self._fetch_alone(job)
            else:
                self._fetch(job, left)
        except AllRefused as error:
            self._all_refused(replace(job, uids=left) if isinstance(job, Slice) else job, error)
        except NothingDelivered as error:
            self._nothing_came(replace(job, uids=left) if isinstance(job, Slice) else job, error)
        except BackendError as error:
            self._failed(job if isinstance(job, Listed) else replace(job, uids=left), error)

    def _failed(self, job: Job, error: BackendError) -> None:
        """The folder's failure, or the account's if no other connection can go on."""
        # NOTE: the source may have left on its own, because of an error that names a folder.
        of_folder = not (self._member.left or _stops_account(error))
        if not (of_folder or self._member.left) and isinstance(error, Throttled) and not error.certain:
            of_folder = self._others.give(job) is True  # the server's words were about this folder alone
            self._folder = None
        if not of_folder and self._member.leave():
            self._give_back(job, error)
            return
        self._end_folder(job, error)
        if not of_folder:
            raise error

    def _all_refused(self, job: Job, error: AllRefused) -> None:
        """Blame the messages that were refused alone, where another folder gives some or a person accepts their
        loss; else it is a limit of the account."""
        if not isinstance(job, Slice):
            self._failed(job, error)
            return
        self._batch.flush()  # NOTE: as in `_give_back`: somebody else may finish it
        gave, self._gave = self._gave, False
        if not job.put_off:
            self._dealing.put_off(job, self._member)
            return
        self._folder = None
        # NOTE: what other connections are given shows nothing: servers limit single ones.
        if not (gave or self._others.give(job) or self._context.accept):
            limit = Throttled(error.reason, where=error.where, server_reply=error.server_reply)
            limit.delay_seconds = _ALL_REFUSED_SECONDS
            self._failed(job, limit)
            return
        for uid in error.refused:
            self._undelivered(job.surveyed, Undelivered(uid, REFUSED, error.server_reply))
        rest = replace(job, uids=[uid for uid in job.uids if uid not in error.refused])
        if not rest.uids:
            self._batch.then(lambda: self._slice_lasting(job.surveyed))
        elif self._context.accept or job.put_off <= _ROUNDS_REFUSED:
            self._dealing.put_off(rest, self._member)
        else:
            self._end_folder(rest, error)

    def _nothing_came(self, job: Job, error: NothingDelivered) -> None:
        """The connection broke at the first messages: those are to blame if another one is given."""
        given = self._others.give(job, here=True)
        self._folder = None
        if given is False or not isinstance(job, Slice):
            self._failed(job, error)
        elif given:
            self._dealing.again(job)
        else:  # there is no other message
            for uid in job.uids:
                self._dealing.add_alone(job.surveyed, uid, 1)
            self._batch.then(lambda: self._slice_lasting(job.surveyed))

    def _give_back(self, job: Job, error: BackendError) -> None:
        """The others go on with it. NOTE: what was done of it is made lasting first, since the one that finishes it
        closes the folder's books."""
        self._finish()
        self._dealing.give_back(job, error)
        self._context.control.progress(Noted(f"{error.message}: going on with one connection less"))

    def _survey(self, listed: Listed) -> None:
        known = self._context.folders[listed.folder.raw]
        self._folder = None
        again = self._dealing.is_surveyed_again(listed)  # it may have begun an epoch
        epochs = self._context.catalog.epochs() if again else self._context.epochs
        surveyed = self._surveyor.survey(listed, known, epochs.get(known.number))
        self._folder = listed.folder
        self._context.store.describe(known.directory, known.folder.raw, known.folder.path)
        if surveyed.wanted:
            self._dealing.add_slices(surveyed)
        else:
            self._batch.then(lambda: self._complete(surveyed))

    def _fetch(self, job: Slice, left: list[int]) -> None:
        """A slice; what has no outcome yet stays in `left`."""
        surveyed = job.surveyed
        self._open(surveyed)
        left[:] = self._adopt(surveyed, job.uids)
        waiting = dict.fromkeys(left)
        try:
            for outcome in self._source.fetch(list(waiting)):
                if isinstance(outcome, Undelivered) and outcome.breaks:
                    self._dealing.add_alone(surveyed, outcome.uid, outcome.breaks)
                    del waiting[outcome.uid]
                else:
                    del waiting[self._outcome(surveyed, outcome)]
                self._context.control.check_stop()
                if self._dealing.failure is not None:
                    return
        finally:
            left[:] = waiting
        self._batch.then(lambda: self._slice_lasting(surveyed))

    def _fetch_alone(self, job: Slice) -> None:
        """A message at which the connection broke, in this run or an earlier one."""
        surveyed, (uid,) = job.surveyed, job.uids
        if not self._adopt(surveyed, [uid]):
            pass  # a crashed run has its octets
        elif self._dealing.alone_is_in_vain:
            if job.breaks:
                self._undelivered(surveyed, Undelivered(uid, broke(job.breaks)))
        else:
            self._open(surveyed)
            for outcome in list(self._asked_alone(uid)):
                if isinstance(outcome, Undelivered) and outcome.breaks:
                    self._require_another(job, outcome)
                    self._dealing.came_alone(came=False)
                    breaks = job.breaks + outcome.breaks
                    self._undelivered(surveyed, Undelivered(uid, broke(breaks), outcome.server_reply))
                else:
                    self._dealing.came_alone(came=True)
                    self._outcome(surveyed, outcome)
        self._batch.then(lambda: self._slice_lasting(surveyed))

    def _require_another(self, job: Slice, outcome: Undelivered) -> None:
        """Blame a message for a break only if the server gives another one now.

        Raises:
            ConnectionLost: it does not.
        """
        given = self._others.give(job, here=True)
        self._folder = None
        if given is False:
            raise ConnectionLost(f"{outcome.server_reply or outcome.reason}, and no other message comes")

    def _asked_alone(self, uid: int) -> Iterator[Fetched | Undelivered]:
        try:
            yield from self._source.fetch([uid])
        except NothingDelivered as error:
            yield Undelivered(uid, error.reason, error.reason, breaks=1)

    def _open(self, surveyed: Surveyed) -> None:
        if self._folder != surveyed.listed.folder:
            self._folder = None
            same_folder(surveyed, self._source.open(surveyed.listed.folder))
            self._folder = surveyed.listed.folder

    def _outcome(self, surveyed: Surveyed, outcome: Fetched | Undelivered) -> int:
        """Into the batch; the UID."""
        if not isinstance(outcome, Fetched):
            self._undelivered(surveyed, outcome)
            return outcome.uid
        uid = outcome.attributes.uid
        self._gave = True
        if self._nobody_accepted(surveyed, outcome):
            self._undelivered(surveyed, Undelivered(uid, PLACEHOLDER_GIVEN))
        else:
            self._store(surveyed, outcome)
        return uid

    def _accepts(self, surveyed: Surveyed, uid: int) -> bool:
        """A person accepts what waits in quarantine, not what this run is the first to meet."""
        return self._context.accept and uid in surveyed.quarantined

    def _nobody_accepted(self, surveyed: Surveyed, fetched: Fetched) -> bool:
        """Whether this is a placeholder that came through only because others of the run are accepted."""
        if not self._context.accept or self._accepts(surveyed, fetched.attributes.uid):
            return False
        if not is_placeholder(fetched.body.header):
            return False
        if fetched.body.spool is not None:
            fetched.body.spool.unlink()
        return True

    def _store(self, surveyed: Surveyed, fetched: Fetched) -> None:
        fact = surveyed.stored_fact(fetched, self._context.control.now())
        self._batch.stored(fact, surveyed.placement(fact), fetched.body)

    def _undelivered(self, surveyed: Surveyed, outcome: Undelivered) -> None:
        number = surveyed.epoch.number
        if outcome.gone:
            surveyed.gone += 1
            if outcome.uid in surveyed.quarantined:
                self._batch.fact(ReleasedFact(number, (outcome.uid,), self._context.control.now()))
            return
        self._context.control.progress(
            Noted(f'folder "{surveyed.known.folder.name}", uid {outcome.uid}: {outcome.reason}')
        )
        self._batch.fact(
            QuarantinedFact(
                number,
                outcome.uid,
                "fetch",
                outcome.reason,
                outcome.server_reply,
                self._accepts(surveyed, outcome.uid),
                self._context.control.now(),
            )
        )

    def _adopt(self, surveyed: Surveyed, uids: Sequence[int]) -> list[int]:
        """Octets that a crashed run made durable are not fetched again, only what it could not record."""
        left = self._context.orphans.of(surveyed.known.directory, surveyed.epoch)
        here = {uid: left[uid] for uid in uids if uid in left}
        if here:
            self._open(surveyed)
        done: set[int] = set()
        for attributes in self._source.scan(list(here)) if here else ():
            placement = here.get(attributes.uid)
            if placement is None or attributes.uid in done:
                continue
            if doubt_left(placement, attributes) == "other":
                continue  # the server went back in time meanwhile: this UID is other mail now
            fact = adopted(self._context.store, surveyed.epoch, placement, attributes, self._context.control.now)
            self._batch.moved(fact, [(placement, surveyed.placement(fact))])
            done.add(attributes.uid)
            self._context.orphans.adopt(placement)
        return [uid for uid in uids if uid not in done]

    def _slice_lasting(self, surveyed: Surveyed) -> None:
        if self._dealing.slice_lasting(surveyed):
            self._complete(surveyed)

    def _complete(self, surveyed: Surveyed) -> None:
        """All of the folder is lasting: its books, its control files, and last its state."""
        now = self._context.control.now()
        known = surveyed.known
        errors = [each for each in (surveyed.disagreement, surveyed.error) if each is not None]
        self._batch.fact(
            PassFact(
                surveyed.epoch.number,
                surveyed.on_server - surveyed.gone,
                surveyed.excluded,
                "; ".join(errors) or None,
                now,
                None if surveyed.shown is None else surveyed.shown - surveyed.gone,
            )
        )
        if surveyed.error is not None:
            return
        uidnext = surveyed.opened.status.uidnext
        if uidnext is None:
            uidnext = max((each.uid for each in self._present(surveyed)), default=0) + 1
        self._context.store.publish(known.directory, (surveyed.epoch.uidvalidity, uidnext), self._present(surveyed))
        if surveyed.disagreement is not None:
            return
        # NOTE: as if those that are gone had not been there: if they are all the same, the folder does not stand
        # where this says, and is looked at again.
        self._batch.fact(replace(surveyed.state, messages=surveyed.state.messages - surveyed.gone))

    def _present(self, surveyed: Surveyed) -> Iterator[Placement]:
        return (each for each in self._context.catalog.placements(surveyed.epoch.number) if each.present)

    def _end_folder(self, job: Listed | Slice, error: BackendError) -> None:
        """A folder that could not be finished: what is known of it goes into the books."""
        self._folder = None
        self._context.control.progress(Noted(str(error)))
        if isinstance(job, Slice):
            with_error = job.surveyed
            with_error.error = str(error)
            self._batch.then(lambda: self._slice_lasting(with_error))
            return
        known = self._context.folders[job.folder.raw]
        epoch = self._context.catalog.epochs().get(known.number)
        if epoch is None:
            self._context.refused[job.folder.raw] = str(error)
        else:
            self._batch.fact(
                PassFact(
                    epoch.number,
                    (job.status.messages if job.status else 0),
                    0,
                    str(error),
                    self._context.control.now(),
                )
            )

    def close(self) -> None:
        """Give up what is not lasting, and the connection."""
        self._batch.abandon()
        self._source.close()


def _stops_account(error: BackendError) -> bool:
    """Whether it is the connection or the login that failed, not one folder."""
    if isinstance(error, ConnectionLost | Throttled | AuthenticationFailed | ConnectionRefused):
        return True
    if isinstance(error, FolderChanged):
        return False
    return error.where is None or error.where.folder is None
