"""The steps of a run, at the source and at the destination, over an open archive.

Luigi's tasks do them, and so does `quiet`, without Luigi, for accounts in which nothing is new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from archiver.account.account import Account
from archiver.account.archive import Archive
from archiver.account.archiving import archive_listed, recover_store, rules_of
from archiver.account.meeting import check_source, require_login
from archiver.account.note import NoteFile
from archiver.archive.context import Follower
from archiver.archive.plan.amounts import expected_fetch
from archiver.archive.plan.folders import Plan
from archiver.archive.run import plan_archive
from archiver.archive.scanned import QuarantineRetry
from archiver.archive.unrecorded import UnrecordedFiles
from archiver.control.run import utc_now, utc_today
from archiver.errors import ArchiverError, Interrupted, Throttled
from archiver.events import Event, Progress, silent
from archiver.facts.destination import DistinctFact
from archiver.journal.numbering import RecordedNumbers
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import printable
from archiver.mail.model import Digest, Listed
from archiver.replay.identify import IdentityAnswer
from archiver.source.retry import RetryingSource
from archiver.source.spelling import recognised
from pipelines.attempts import RunScope
from pipelines.events import Expected, Freed, Important, emit, failed, progress_of
from pipelines.failures import foreseen, with_time
from pipelines.reporting.ending import end_run
from pipelines.results import (
    check_to_json,
    listing_from_json,
    listing_to_json,
    refused_to_json,
    replay_from_json,
    replay_to_json,
    retained_to_json,
)
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.replay import ReplayOptions
    from archiver.destination.port import MailDestination
    from archiver.replay.run import ListedDestination

_FRESH_SECONDS = 60.0


class _Listing(Struct, frozen=True):
    """What a source listed at a moment (of the monotonic clock), and the segment that the archive ended with."""

    listed: Sequence[Listed]
    after: tuple[int, Digest]
    at: float


#: What `look` found for accounts whose steps are to follow, by account file and run. Forked workers inherit it.
_listings: dict[tuple[Path, str], _Listing] = {}


def forget_listings() -> None:
    """Forget what `look` listed for steps that did not follow."""
    _listings.clear()


def _listed(archive: Archive, source: RetryingSource) -> Sequence[Listed]:
    """The source's folders, as the archive knows them."""
    return recognised(source.list_folders(), archive.catalog.account.folders())


class SourceSteps(Struct, frozen=True):
    """What an account's run does at its source. `replays`: its destination is next; `destination_is`: what the user
    says about an unknown one; `retry`: "due", "all" or "accept"; `ahead`: what is archived may be replayed at once.
    Each step returns its result for the ledger."""

    account: Account
    run: str
    new_source: bool = False
    replays: bool = False
    destination_is: IdentityAnswer = "ask"
    retry: str = "due"
    ahead: bool = False

    def enumerate(self, archive: Archive, recorder: Recorder) -> str:
        """List the source's folders, in one connection and as few round trips as it allows."""
        is_new = archive.catalog.account.identity() is None
        if (stranger := archive.stranger) is not None and not self.new_source:
            raise stranger
        archive.catalog.ledger.begin(self.run, utc_now())
        progress = progress_of(self.account.settings.account)
        source = self._connect(archive, progress)
        try:
            listed = self._just_listed(archive) or _listed(archive, source)
            check = check_source(
                archive,
                source,
                listed,
                answer=self.destination_is,
                replays=self.replays,
                run=self.run,
                progress=progress,
            )
        except BaseException:
            source.close()
            raise
        self.account.source.leave_open(source)
        archive.confirm_identity(recorder, new_source=self.new_source)
        report_beginning(archive, self.account.note, is_new=is_new)
        if check.distinct is not None:
            recorder.write([DistinctFact(check.distinct, utc_now())])
        return listing_to_json(listed, check.renewed)

    def archive(
        self,
        archive: Archive,
        recorder: Recorder,
        listing: str | None,
        report: Callable[[Event | Expected], None],
    ) -> str:
        """Fetch new messages, record changed flags and vanished messages, and the totals. `listing` is the result
        of `enumerate`."""
        # Checked again: a resumed run listed the folders when the account file may have named another account.
        archive.confirm_identity(recorder, new_source=False)
        listed = listing_from_json(listing or "[]")
        is_settled = archive.is_settled
        archive.begin_work()
        unrecorded = UnrecordedFiles() if is_settled else recover_store(archive, report)
        expected = expected_work(archive, listed, self._retry)
        report(expected)

        def following() -> AbstractContextManager[Follower | None]:
            if not self.ahead:
                return nullcontext()
            from archiver.account.replay import replay_ahead

            return replay_ahead(archive, recorder, self.run, listed, expected.messages, STOP.control(report))

        refused = archive_listed(
            archive,
            recorder,
            listed,
            unrecorded,
            settled=is_settled,
            control=STOP.control(report),
            retry=self._retry,
            accept=self.retry == "accept",
            following=following,
        )
        archive.end_work()
        return refused_to_json(refused)

    def look(self, archive: Archive, leave: Callable[[RetryingSource], None] = RetryingSource.close) -> bool:
        """List the folders now; `enumerate` uses that, if it is called soon in this process or a fork of it.
        Nothing is recorded, unless the source cannot be listed. Returns whether there is more to do than to record
        the folders. If there is, the connection is left to the next step; otherwise `leave` closes it."""
        if archive.stranger is not None:
            return True
        progress = progress_of(self.account.settings.account)
        source = self._connect(archive, progress)
        try:
            listed = _listed(archive, source)
            _listings[self._key] = _Listing(listed, archive.catalog.last_segment(), time.monotonic())
            if archive.is_settled and not _plan(archive, listed, self._retry).visit:
                return False
            self.account.source.leave_open(source)
            return True
        except Exception:
            archive.catalog.ledger.begin(self.run, utc_now())
            raise
        finally:
            leave(source)

    def _connect(self, archive: Archive, progress: Progress) -> RetryingSource:
        numbering = RecordedNumbers(archive.catalog)
        return self.account.source.connect(archive.store.spool, numbering=numbering, control=STOP.control(progress))

    @property
    def is_listed(self) -> bool:
        """Whether `look` was called for this run."""
        return self._key in _listings

    def _just_listed(self, archive: Archive) -> Sequence[Listed] | None:
        """What `look` listed, unless that was long ago, or the archive was changed since by somebody else."""
        seen = _listings.pop(self._key, None)
        if (
            seen is None
            or time.monotonic() > seen.at + _FRESH_SECONDS
            or archive.catalog.last_segment() != seen.after
        ):
            return None
        return seen.listed

    @property
    def _key(self) -> tuple[Path, str]:
        return self.account.settings.file, self.run

    @property
    def _retry(self) -> QuarantineRetry:
        return "due" if self.retry == "due" else "all"


class DestinationSteps(Struct, frozen=True):
    """What an account's run does at its destination; without `options`, no more than what is new. Each step returns
    its result for the ledger. NOTE: the replay is imported where there is one."""

    account: Account
    run: str
    options: ReplayOptions | None = None

    def look(
        self, archive: Archive, recorder: Recorder, leave: Callable[[MailDestination], None]
    ) -> ListedDestination | None:
        """List the destination's folders now, for `replay`; None if there is something to do. Nothing is recorded,
        but a refused login. `leave` closes the connection, if it is None or when the replay is done."""
        from archiver.account.replay import look_for_changes

        return look_for_changes(archive, recorder, self.run, STOP.control(silent), leave)

    def replay(
        self,
        archive: Archive,
        recorder: Recorder,
        report: Callable[[Event | Expected], None],
        seen: ListedDestination | None = None,
    ) -> str:
        """Bring the destination up to date with the archive. The source is not contacted. `seen` is what `look`
        found."""
        from archiver.account.replay import ReplayOptions, replay_account

        if (stranger := archive.stranger) is not None:
            raise stranger
        archive.catalog.ledger.begin(self.run, utc_now())
        require_login(archive, self.run)
        options = self.options or ReplayOptions()
        return replay_to_json(replay_account(archive, recorder, options, control=STOP.control(report), seen=seen))

    def verify(
        self,
        archive: Archive,
        recorder: Recorder,
        replayed: str | None,
        report: Callable[[Event | Expected], None],
        seen: ListedDestination | None = None,
    ) -> str:
        """Compare the archive with what the destination shows. `replayed` is the result of `replay`, `seen` what
        `look` found."""
        from archiver.account.replay import verify_at_destination

        is_past = self.options is not None and self.options.moment is not None
        check = verify_at_destination(
            archive,
            deep=False,
            control=STOP.control(report),
            unlisted=is_past or (self.options is not None and self.options.include_vanished),
            all_sent=not is_past,
            recorder=recorder,
            unchanged=replay_from_json(replayed).unchanged if replayed else (),
            seen=None if seen is None else seen.folders,
        )
        return check_to_json(check)


def retain_by_rule(archive: Archive, recorder: Recorder, run: str, *, confirmed: bool) -> None:
    """Forget what is due by `[retention]`, after a run that looked at the source; its result is in the ledger."""
    ledger = archive.catalog.ledger
    if archive.settings.retention.vanished is None or ledger.step_result(run, "archive") is None:
        return
    from archiver.account.upkeep.retention import Retained, retain

    began, account = time.monotonic(), archive.settings.account
    try:
        done = retain(archive, recorder, STOP.control(progress_of(account)), confirmed=confirmed)
    except Interrupted:
        raise
    except ArchiverError as error:
        done = Retained(blocked=f"not all was forgotten: {printable(error.message)}")
    if done is not None:
        ledger.complete_step(run, "retention", retained_to_json(done), utc_now(), time.monotonic() - began)


def end_failed(account: Account, run: str, exception: BaseException, scope: RunScope, step: str) -> None:
    """Report that this exception ended an account's run at `step`, and write the run's report. Never raises: an
    exception here would end the run of all accounts."""
    settings = account.settings
    try:
        error = foreseen(exception)
        if isinstance(error, Throttled):
            error = with_time(error)
        emit(settings.account, failed(error, settings.file))
        end_run(account, run, error, scope, step=step)
    except Exception as another:
        emit(settings.account, failed(another))
    emit(settings.account, Freed())  # no step follows one that failed


def report_beginning(archive: Archive, note: NoteFile, *, is_new: bool) -> None:
    """Report that an archive was begun, and write the note next to the account file that identifies it."""
    settings, identity = archive.settings, archive.catalog.account.identity()
    is_noted = identity is not None and note.leave(identity)
    if is_new:
        text = f"began a new archive at {archive.medium.name}"
        if not is_noted and not settings.archive.must_exist:
            text += f"; {note.path} cannot be written, so set [archive] must_exist = true now: otherwise a run"
            text += " begins another archive when this one is missing"
        emit(settings.account, Important(text))


def expected_work(archive: Archive, listed: Sequence[Listed], retry: QuarantineRetry) -> Expected:
    """An estimate of what the run will fetch."""
    plan, catalog = _plan(archive, listed, retry), archive.catalog
    if not plan.visit:
        return Expected(0, 0)
    known, epochs = catalog.account.folders(), catalog.account.epochs()
    held: dict[str, int] = {}
    if any(epoch.state is None for epoch in epochs.values()):
        held = {tally.name: tally.stored for tally in catalog.account.tallies()}
    work = [expected_fetch(each, known, epochs, held) for each, _ in plan.visit]
    return Expected(sum(messages for messages, _ in work), sum(octets for _, octets in work))


def _plan(archive: Archive, listed: Sequence[Listed], retry: QuarantineRetry) -> Plan:
    rules = rules_of(archive.settings)
    return plan_archive(
        archive.catalog, listed, rules, search=archive.settings.messages.criteria(utc_today()), retry=retry
    )
