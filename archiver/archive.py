"""The archive step: from a list of folders to an archive that holds them, over several connections.

Each connection is a thread with a batch of its own. It surveys a folder, deals what is wanted into slices,
and takes the next slice or folder when it is done. A folder's state is recorded last, when every slice of it
ended well.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from archiver.errors import (
    ArchiverError,
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    ConnectionRefused,
    Throttled,
)
from archiver.facts import (
    FolderFact,
    PassFact,
    QuarantinedFact,
    ReleasedFact,
    StoredFact,
    VanishedFact,
)
from archiver.message import arrived_of, header_digest, message_id
from archiver.model import (
    Attributes,
    Fetched,
    Folder,
    KnownEpoch,
    KnownFolder,
    Listed,
    Placement,
    Plan,
    Undelivered,
)
from archiver.names import directory_of
from archiver.plan import RETRY_RUNS, estimated_octets, plan_run, slices
from archiver.ports import Catalog, MailSource, MessageStore
from archiver.progress import Noted, Planned, Progress, Working
from archiver.record import Batch, Recorder
from archiver.survey import Retry, Surveyed, Surveyor, same_folder

#: Another connection is opened when this much waits, in messages.
_WORTH_A_CONNECTION = 200

Orphans = Mapping[tuple[str, int, int], Placement]


@dataclass(frozen=True, slots=True)
class ArchiveStep:
    """What the step needs. `connect` makes a source that connects when it is first used; `check_stop` raises
    when the run is to end; `now` is UTC in ISO 8601; `retry` says which quarantined messages are tried."""

    connect: Callable[[], MailSource]
    store: MessageStore
    catalog: Catalog
    recorder: Recorder
    include: Sequence[str]
    exclude: Sequence[str]
    search: str | None
    connections: int
    retry: Retry
    accept: bool
    progress: Progress
    check_stop: Callable[[], None]
    now: Callable[[], str]

    def plan(self, listed: Sequence[Listed]) -> Plan:
        """What `run` would do."""
        due = {
            each.epoch
            for each in self.catalog.quarantined()
            if self.retry == "all" or (not each.accepted and each.tries <= RETRY_RUNS)
        }
        return plan_run(
            listed,
            self.catalog.folders(),
            self.catalog.epochs(),
            include=self.include,
            exclude=self.exclude,
            search=self.search,
            waiting=due,
        )

    def run(self, listed: Sequence[Listed], orphans: Orphans) -> None:
        """Archive what is new. `orphans` are octets that a crashed run left without facts.

        Raises:
            ArchiverError: the account could not be finished; what was done so far is recorded.
        """
        folders = record_folders(listed, self.catalog, self.recorder, self.now())
        plan = self.plan(listed)
        self.store.subscribe([folders[f.folder.raw].directory for f in listed if f.folder.subscribed])
        work = _Work(self, plan, folders, self.catalog.epochs(), dict(orphans))
        work.run()
        if orphans:
            work.adopt_the_vanished()


def record_folders(
    listed: Sequence[Listed], catalog: Catalog, recorder: Recorder, at: str
) -> dict[bytes, KnownFolder]:
    """Record folders that are new, that changed their attributes, and that are no longer listed. A folder's
    directory is given once, in the order of raw names, and never changes."""
    known = dict(catalog.folders())
    taken = {each.directory for each in known.values()}
    facts: list[FolderFact] = []
    for folder in sorted((each.folder for each in listed), key=lambda folder: folder.raw):
        before = known.get(folder.raw)
        if before is not None and before.listed and before.folder == folder:
            continue
        directory = before.directory if before else directory_of(folder.path, folder.raw, taken)
        taken.add(directory)
        fact = _folder_fact(before.number if before else 0, folder, directory, listed=True, at=at)
        if before is None:
            fact = recorder.number_folder(fact)
        known[folder.raw] = KnownFolder(fact.number, folder, directory, True)
        facts.append(fact)
    here = {each.folder.raw for each in listed}
    for raw, before in known.items():
        if before.listed and raw not in here:
            facts.append(_folder_fact(before.number, before.folder, before.directory, listed=False, at=at))
    recorder.write(facts)
    return {raw: folder for raw, folder in known.items() if raw in here}


def _folder_fact(number: int, folder: Folder, directory: str, *, listed: bool, at: str) -> FolderFact:
    return FolderFact(
        number=number,
        raw=folder.raw,
        path=folder.path,
        delimiter=folder.delimiter,
        directory=directory,
        attributes=folder.attributes,
        subscribed=folder.subscribed,
        listed=listed,
        at=at,
    )


@dataclass(slots=True)
class _Slice:
    surveyed: Surveyed
    uids: list[int]


@dataclass(slots=True)
class _Work:
    """What is left to do, shared by the connections."""

    step: ArchiveStep
    plan: Plan
    folders: Mapping[bytes, KnownFolder]
    epochs: Mapping[int, KnownEpoch]
    orphans: dict[tuple[str, int, int], Placement]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _surveys: deque[Listed] = field(default_factory=deque)
    _slices: deque[_Slice] = field(default_factory=deque)
    _busy: int = 0
    _failure: BaseException | None = None
    _threads: list[threading.Thread] = field(default_factory=list)
    rematch: bool = False

    def run(self) -> None:
        """Work until nothing is left; the first failure of the account is raised after all parts ended."""
        self.rematch = any(epoch.state is not None for epoch in self.epochs.values())
        by_size = sorted(self.plan.visit, key=lambda each: -_messages(each[0]))
        self._surveys.extend(listed for listed, _ in by_size)
        if not self._surveys:
            return
        self._part()  # the calling thread is the first connection
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def next_job(self, current: Folder | None, *, wait: bool) -> Listed | _Slice | None:
        """The next thing to do, slices of the folder that is open first; None when there is nothing. With
        `wait`, not before all jobs of other parts are done, which may leave more, or one has failed."""
        with self._changed:
            while self._failure is None:
                job = self._take(current)
                if job is not None:
                    self._busy += 1
                    return job
                if not (self._busy and wait):
                    break
                self._changed.wait()
            return None

    def _take(self, current: Folder | None) -> Listed | _Slice | None:
        for job in self._slices:
            if job.surveyed.listed.folder == current:
                self._slices.remove(job)
                return job
        if self._slices:
            return self._slices.popleft()
        return self._surveys.popleft() if self._surveys else None

    def done(self) -> None:
        """The job that was taken is finished."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def add_slices(self, surveyed: Surveyed) -> None:
        """Deal a folder's wanted messages into slices, and open another connection if it is worth one."""
        dealt = slices(surveyed.wanted, surveyed.listed.status)
        surveyed.slices_left = len(dealt)
        octets = estimated_octets(len(surveyed.wanted), surveyed.listed.status)
        self.step.progress(Planned(len(surveyed.wanted), octets))
        surveyed.wanted = set()
        with self._changed:
            self._slices.extend(_Slice(surveyed, uids) for uids in dealt)
            waiting = sum(len(each.uids) for each in self._slices) + sum(map(_messages, self._surveys))
            if waiting > _WORTH_A_CONNECTION and len(self._threads) + 1 < self.step.connections:
                thread = threading.Thread(target=self._part, name=f"connection-{len(self._threads) + 2}")
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()

    def slice_lasting(self, surveyed: Surveyed) -> bool:
        """One slice of the folder is lasting; True if it was the last one."""
        with self._lock:
            surveyed.slices_left -= 1
            return surveyed.slices_left == 0

    def failed(self, error: BaseException) -> None:
        """The account cannot go on; the others stop after their current batch."""
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._changed.notify_all()

    @property
    def stopping(self) -> bool:
        """Whether another part failed."""
        return self._failure is not None

    def adopt_the_vanished(self) -> None:
        """Octets of a crashed run whose message is gone from the server by now: they are kept as vanished."""
        numbers = {(folder.directory): folder.number for folder in self.folders.values()}
        epochs = self.step.catalog.epochs()
        facts: list[StoredFact | VanishedFact] = []
        moves: list[tuple[Placement, Placement]] = []
        for placement in self.orphans.values():
            epoch = epochs.get(numbers.get(placement.directory, 0))
            if epoch is None or epoch.uidvalidity != placement.uidvalidity:
                continue
            if self.step.catalog.attributes(epoch.number, [placement.uid]):
                continue
            attributes = Attributes(placement.uid, placement.flags)
            facts.append(_adopted(self.step, epoch, attributes, placement))
            facts.append(VanishedFact(epoch.number, (placement.uid,), self.step.now()))
            moves.append((placement, replace(placement, generation=epoch.generation, present=False)))
        self.step.store.move(moves)
        self.step.recorder.write(facts)

    def _part(self) -> None:
        part = _Part(self, self.step)
        try:
            part.work_off()
        except BaseException as error:  # NOTE: raised again by `run`, in the calling thread
            self.failed(error)
        finally:
            part.close()


class _Part:
    """One connection's work."""

    def __init__(self, work: _Work, step: ArchiveStep) -> None:
        self._work = work
        self._step = step
        self._source = step.connect()
        self._batch = Batch(step.recorder, step.store, step.catalog, step.progress)
        self._folder: Folder | None = None
        self._surveyor = Surveyor(
            source=self._source,
            store=step.store,
            catalog=step.catalog,
            recorder=step.recorder,
            batch=self._batch,
            progress=step.progress,
            now=step.now,
            search=step.search,
            retry=step.retry,
            listed_directories=frozenset(folder.directory for folder in work.folders.values()),
            rematch=work.rematch,
        )

    def work_off(self) -> None:
        """Jobs until none is left. Every folder's failure is its own; the account's failure goes up after
        what was gathered is lasting."""
        try:
            while (job := self._next_job()) is not None:
                try:
                    self._step.check_stop()
                    self._do(job)
                finally:
                    self._work.done()
        except BackendError:
            self._batch.flush()
            raise
        except ArchiverError as error:
            if error.exit_code > 128:  # a signal: the current batch is finished first
                self._batch.flush()
            raise
        self._batch.flush()
        self._batch.flush()  # what became due when the first one was lasting: the folders' states

    def _next_job(self) -> Listed | _Slice | None:
        """The next job; what was gathered is made lasting before waiting for one."""
        job = self._work.next_job(self._folder, wait=False)
        if job is None:
            self._batch.flush()
            job = self._work.next_job(self._folder, wait=True)
        return job

    def _do(self, job: Listed | _Slice) -> None:
        folder = job.folder if isinstance(job, Listed) else job.surveyed.listed.folder
        self._step.progress(Working(folder.name))
        try:
            if isinstance(job, Listed):
                self._survey(job)
            else:
                self._fetch(job)
        except BackendError as error:
            if _stops_account(error):
                self._end_folder(job, error)
                raise
            self._end_folder(job, error)

    def _survey(self, listed: Listed) -> None:
        known = self._work.folders[listed.folder.raw]
        self._folder = None
        surveyed = self._surveyor.survey(listed, known, self._work.epochs.get(known.number))
        self._folder = listed.folder
        self._step.store.describe(known.directory, known.folder.raw, known.folder.path)
        if surveyed.wanted:
            self._work.add_slices(surveyed)
        else:
            self._batch.then(lambda: self._complete(surveyed))

    def _fetch(self, job: _Slice) -> None:
        surveyed = job.surveyed
        if self._folder != surveyed.listed.folder:
            self._folder = None
            same_folder(surveyed, self._source.open(surveyed.listed.folder))
            self._folder = surveyed.listed.folder
        uids = self._adopt(surveyed, job.uids)
        for outcome in self._source.fetch(uids):
            if isinstance(outcome, Fetched):
                self._store(surveyed, outcome)
            else:
                self._undelivered(surveyed, outcome)
            self._step.check_stop()
            if self._work.stopping:
                return
        self._batch.then(lambda: self._slice_lasting(surveyed))

    def _store(self, surveyed: Surveyed, fetched: Fetched) -> None:
        attributes, body = fetched.attributes, fetched.body
        fact = StoredFact(
            epoch=surveyed.epoch.number,
            uid=attributes.uid,
            digest=body.digest,
            size=body.size,
            crlf_size=body.crlf_size,
            server_size=attributes.size,
            internaldate=attributes.internaldate,
            arrived=arrived_of(attributes.internaldate, body.header),
            flags=attributes.flags or frozenset(),
            message_id=message_id(body.header),
            header_digest=header_digest(body.header),
            emailid=attributes.emailid,
            matched=None,
            at=self._step.now(),
        )
        self._batch.stored(fact, surveyed.placement(fact), body)

    def _undelivered(self, surveyed: Surveyed, outcome: Undelivered) -> None:
        number = surveyed.epoch.number
        if outcome.gone:
            surveyed.gone += 1
            if outcome.uid in surveyed.quarantined:
                self._batch.fact(ReleasedFact(number, (outcome.uid,), self._step.now()))
            return
        self._step.progress(Noted(f'folder "{surveyed.known.folder.name}", uid {outcome.uid}: {outcome.reason}'))
        self._batch.fact(
            QuarantinedFact(
                number,
                outcome.uid,
                "fetch",
                outcome.reason,
                outcome.server_reply,
                self._step.accept,
                self._step.now(),
            )
        )

    def _adopt(self, surveyed: Surveyed, uids: Sequence[int]) -> list[int]:
        """Octets that a crashed run made durable are not fetched again, only what it could not record."""
        directory, uidvalidity = surveyed.known.directory, surveyed.epoch.uidvalidity
        orphans = self._work.orphans
        here = {uid: orphans[key] for uid in uids if (key := (directory, uidvalidity, uid)) in orphans}
        adopted: set[int] = set()
        for attributes in self._source.scan(list(here)) if here else ():
            placement = here.get(attributes.uid)
            if placement is None or attributes.uid in adopted:
                continue
            fact = _adopted(self._step, surveyed.epoch, attributes, placement)
            if fact.arrived == placement.arrived:
                self._batch.moved(fact, [(placement, surveyed.placement(fact))])
                adopted.add(attributes.uid)
                orphans.pop((directory, uidvalidity, attributes.uid), None)
        return [uid for uid in uids if uid not in adopted]

    def _slice_lasting(self, surveyed: Surveyed) -> None:
        if self._work.slice_lasting(surveyed):
            self._complete(surveyed)

    def _complete(self, surveyed: Surveyed) -> None:
        """All of the folder is lasting: its books, its control files, and last its state."""
        now = self._step.now()
        known = surveyed.known
        self._batch.fact(
            PassFact(
                surveyed.epoch.number, surveyed.on_server - surveyed.gone, surveyed.excluded, 0, surveyed.error, now
            )
        )
        if surveyed.error is not None:
            return
        uidnext = surveyed.opened.status.uidnext
        if uidnext is None:
            uidnext = max((each.uid for each in self._present(surveyed)), default=0) + 1
        self._step.store.publish(known.directory, (surveyed.epoch.uidvalidity, uidnext), self._present(surveyed))
        self._batch.fact(surveyed.state)

    def _present(self, surveyed: Surveyed) -> Iterator[Placement]:
        return (each for each in self._step.catalog.placements(surveyed.epoch.number) if each.present)

    def _end_folder(self, job: Listed | _Slice, error: BackendError) -> None:
        """A folder that could not be finished: what is known of it goes into the books."""
        self._folder = None
        self._step.progress(Noted(str(error)))
        if isinstance(job, _Slice):
            with_error = job.surveyed
            with_error.error = str(error)
            self._batch.then(lambda: self._slice_lasting(with_error))
            return
        known = self._work.folders[job.folder.raw]
        epoch = self._step.catalog.epochs().get(known.number)
        if epoch is not None:
            self._batch.fact(
                PassFact(epoch.number, _messages(job), 0, _messages(job), str(error), self._step.now())
            )

    def close(self) -> None:
        """Give up what is not lasting, and the connection."""
        self._batch.abandon()
        self._source.close()


def _adopted(step: ArchiveStep, epoch: KnownEpoch, attributes: Attributes, placement: Placement) -> StoredFact:
    with step.store.open(placement) as file:
        header = file.read(1 << 20)
    return StoredFact(
        epoch=epoch.number,
        uid=placement.uid,
        digest=placement.digest,
        size=placement.size,
        crlf_size=placement.crlf_size,
        server_size=attributes.size,
        internaldate=attributes.internaldate,
        arrived=arrived_of(attributes.internaldate, header) if attributes.internaldate else placement.arrived,
        flags=attributes.flags or frozenset(),
        message_id=message_id(header),
        header_digest=header_digest(header),
        emailid=attributes.emailid,
        matched=None,
        at=step.now(),
    )


def _stops_account(error: BackendError) -> bool:
    """Whether it is the connection or the login that failed, not one folder."""
    if isinstance(error, ConnectionLost | Throttled | AuthenticationFailed | ConnectionRefused):
        return True
    return error.where is None or error.where.folder is None


def _messages(listed: Listed) -> int:
    return listed.status.messages if listed.status else 0


def orphans_of(placements: Iterator[Placement]) -> dict[tuple[str, int, int], Placement]:
    """What `MessageStore.settle` found without facts, by what a survey knows of a message."""
    return {(each.directory, each.uidvalidity, each.uid): each for each in placements if each.present}
