"""The static graph of an account: EnumerateFolders, then ArchiveFolders, under ArchiveAccount.

Luigi decides when, never how: each task opens the archive inside `run`, calls one function of the library, and
completes its row. A message, a folder or a connection is never a task. Parameters never contain a secret.
"""

from __future__ import annotations

import html
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from archiver.account.account import Account
from archiver.account.archive import Archive
from archiver.account.note import Begin
from archiver.account.replay import ReplayOptions
from archiver.config.load import load_account
from archiver.config.settings import Settings
from archiver.config.tables.server import ServerSettings
from archiver.control.run import utc_now
from archiver.events import Event, Linked, Planned, Sent, Stored, Verified, Working
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import printable
from pipelines.attempts import RunScope, new_run_id
from pipelines.events import Began, Expected, Freed, emit, failed
from pipelines.graph.apart import luigi
from pipelines.graph.targets import StepTarget
from pipelines.reporting.ending import report_run
from pipelines.steps import DestinationSteps, SourceSteps, end_failed, retain_by_rule
from pipelines.stop import STOP, end_with_parent

_PARENT = os.getpid()
_SHOW_SECONDS = 2.0  # with luigid, every progress message is a request


class AccountTask(luigi.Task):  # type: ignore[misc]
    """One step of one account's run."""

    config = luigi.Parameter(description="the account file")
    run_id = luigi.Parameter(default=new_run_id(), description="names the run; the same one resumes")
    retry = luigi.ChoiceParameter(choices=["due", "all", "accept"], default="due", significant=False)
    new_source = luigi.BoolParameter(default=False, significant=False)
    new_archive = luigi.BoolParameter(
        default=False, significant=False, description="begin an archive even if another one should exist"
    )
    replay = luigi.ChoiceParameter(
        choices=["no", "yes", "only"],
        default="no",
        significant=False,
        description='whether the archive is replayed; "only" does not contact the source',
    )
    destination_is = luigi.ChoiceParameter(
        choices=["ask", "same", "new"],
        default="ask",
        significant=False,
        description="what an unknown destination is: the same mailbox as before, or a new one",
    )
    include_vanished = luigi.BoolParameter(default=False, significant=False)
    include_removed = luigi.BoolParameter(default=False, significant=False)
    confirm_deletions = luigi.BoolParameter(default=False, significant=False)
    after_cutover = luigi.BoolParameter(default=False, significant=False)
    as_of = luigi.OptionalStrParameter(
        default=None, significant=False, description="replay the folders as they were then (UTC, ISO 8601)"
    )
    beside = luigi.ListParameter(
        default=(), significant=False, description="other account files whose mail must not be deleted"
    )

    step = ""

    @cached_property
    def account(self) -> Account:
        """The account; its file is read once per task."""
        return Account(load_account(Path(self.config)))

    @property
    def settings(self) -> Settings:
        """The account file."""
        return self.account.settings

    def output(self) -> StepTarget:
        return StepTarget(self.account, self.run_id, self.step)

    @property
    def resources(self) -> dict[str, int]:
        """Connections to the server, if Luigi's [resources] sets a limit for it ("imap:HOST")."""
        source = self.settings.source
        return limited(source) if isinstance(source, ServerSettings) else {}

    @property
    def begin(self) -> Begin:
        """Whether an archive may be begun here. A replay by itself has nothing to begin one with."""
        if self.replay == "only":
            return "never"
        return "confirmed" if self.new_archive else "first"

    def before(self, task: type[AccountTask]) -> AccountTask:
        """The step of the same run that must be done first."""
        return task(**self.param_kwargs)

    @contextmanager
    def opened(self) -> Iterator[tuple[Archive, Recorder]]:
        """The archive, locked and caught up with its journal."""
        end_with_parent(_PARENT)
        STOP.check()
        self._began = time.monotonic()
        self.account.make_archive(self.begin)
        with self.account.writing(self.run_id, self.begin) as opened:
            yield opened

    def report_progress(self, event: Event | Expected) -> None:
        """Report progress to our own display and to Luigi's."""
        emit(self.settings.account, event)
        match event:
            case Working(folder):
                self._folder = folder
            case Expected():
                self._expected = event.messages
            case Planned(messages):
                self._planned += messages
            case Linked(messages):
                self._expected -= messages
                self._planned -= messages
            case Stored(messages) | Sent(messages) | Verified(messages):
                self._done += messages
        self._show()

    _began = 0.0
    _folder = ""
    _expected = 0
    _planned = 0
    _done = 0
    _shown = 0.0

    def _show(self) -> None:
        """Update Luigi's web page. Both setters are None if there is no remote scheduler."""
        now = time.monotonic()
        total = max(self._expected, self._planned)
        if now < self._shown + _SHOW_SECONDS and self._done < total:
            return
        self._shown = now
        if self.set_status_message is not None:
            # NOTE: luigid's page takes the message for HTML, and servers and senders choose names of folders.
            folder = html.escape(printable(self._folder))
            self.set_status_message(f"{self._done} of {total} messages; folder {folder}")
        if self.set_progress_percentage is not None and total:
            self.set_progress_percentage(min(100, 100 * self._done // total))

    @property
    def scope(self) -> RunScope:
        """What the run includes."""
        return RunScope(self.replay != "no", self.include_vanished, self.as_of)

    @property
    def at_source(self) -> SourceSteps:
        """What the run does at the source."""
        return SourceSteps(
            self.account,
            self.run_id,
            new_source=self.new_source,
            replays=self.replay != "no",
            destination_is=self.destination_is,
            retry=self.retry,
            ahead=self.replays_ahead,
        )

    @property
    def replays_ahead(self) -> bool:
        """Whether what is archived may be replayed at once: the command asks for nothing that decides about more
        than a folder, and no limit of Luigi's counts the connections to the destination."""
        asked = self.include_vanished or self.include_removed or self.as_of is not None
        if self.replay != "yes" or asked or self.destination_is != "ask" or self.retry != "due":
            return False
        return not limited(self.account.destination.settings)

    def complete_step(self, archive: Archive, result: str) -> None:
        """Mark the step as done; `result` is for later steps."""
        seconds = time.monotonic() - self._began
        archive.catalog.ledger.complete_step(self.run_id, self.step, result, utc_now(), seconds)

    def on_failure(self, exception: BaseException) -> Any:
        """Write the report of a failed run. Never raises: an exception here would end the run of all accounts."""
        try:
            account = self.account
        except Exception as another:  # the account file can no longer be read
            emit(self.name, failed(another))
            emit(self.name, Freed())
        else:
            end_failed(account, self.run_id, exception, self.scope, self.step)
        return super().on_failure(exception)

    @property
    def name(self) -> str:
        """The account's name, or that of the account file if it can no longer be read."""
        try:
            return self.settings.account
        except Exception:
            return Path(self.config).stem


@AccountTask.event_handler(luigi.Event.BROKEN_TASK)  # type: ignore[untyped-decorator]
def _broken(task: AccountTask, exception: BaseException) -> None:
    """It is unknown whether a step is done: the step is not begun, and its account has failed."""
    emit(task.name, failed(exception))


@AccountTask.event_handler(luigi.Event.PROCESS_FAILURE)  # type: ignore[untyped-decorator]
def _died(task: AccountTask, reason: str) -> None:
    """The worker was killed, and could not say that it does nothing more."""
    emit(task.name, Freed())


class EnumerateFolders(AccountTask):
    """List the source's folders, in one connection and as few round trips as it allows."""

    step = "enumerate"

    def run(self) -> None:
        if not self.at_source.is_listed:
            emit(self.settings.account, Began(self.step))
        with self.opened() as (archive, recorder):
            self.complete_step(archive, self.at_source.enumerate(archive, recorder))


class ArchiveFolders(AccountTask):
    """Fetch new messages, record changed flags and vanished messages, and the totals."""

    step = "archive"

    def requires(self) -> AccountTask:
        return self.before(EnumerateFolders)

    def run(self) -> None:
        emit(self.settings.account, Began(self.step))
        with self.opened() as (archive, recorder):
            listing = archive.catalog.ledger.step_result(self.run_id, EnumerateFolders.step)
            self.complete_step(archive, self.at_source.archive(archive, recorder, listing, self.report_progress))


class ArchiveAccount(AccountTask):
    """Write the report after an account's archive was brought up to date."""

    step = "account"

    def requires(self) -> AccountTask:
        return self.before(ArchiveFolders)

    def run(self) -> None:
        with self.opened() as (archive, recorder):
            retain_by_rule(archive, recorder, self.run_id, confirmed=self.confirm_deletions)
            report_run(archive, self.run_id, None, self.scope)
            archive.catalog.ledger.complete_step(self.run_id, self.step, "", utc_now())
        emit(self.settings.account, Freed())


class DestinationTask(AccountTask):
    """A step that uses the destination."""

    @property
    def resources(self) -> dict[str, int]:
        """Connections to the destination, if Luigi's [resources] sets a limit for it."""
        return limited(self.account.destination.settings)

    @property
    def at_destination(self) -> DestinationSteps:
        """What the run does at the destination."""
        options = ReplayOptions(
            retry=self.retry,
            include_vanished=self.include_vanished,
            include_removed=self.include_removed,
            confirm_deletions=self.confirm_deletions,
            after_cutover=self.after_cutover,
            moment=self.as_of,
            beside=tuple(map(Path, self.beside)),
            answer=self.destination_is,
        )
        return DestinationSteps(self.account, self.run_id, options)


class ReplayFolders(DestinationTask):
    """Bring the destination up to date with the archive. The source is not contacted."""

    step = "replay"

    def requires(self) -> Sequence[AccountTask]:
        return [] if self.replay == "only" else [self.before(ArchiveFolders)]

    def run(self) -> None:
        emit(self.settings.account, Began(self.step))
        with self.opened() as (archive, recorder):
            self.complete_step(archive, self.at_destination.replay(archive, recorder, self.report_progress))


class VerifyAccount(DestinationTask):
    """Compare the archive with what the destination shows."""

    step = "verify"

    def requires(self) -> AccountTask:
        return self.before(ReplayFolders)

    def run(self) -> None:
        emit(self.settings.account, Began(self.step))
        with self.opened() as (archive, recorder):
            replayed = archive.catalog.ledger.step_result(self.run_id, ReplayFolders.step)
            result = self.at_destination.verify(archive, recorder, replayed, self.report_progress)
            self.complete_step(archive, result)


class MigrateAccount(ArchiveAccount):
    """Write the report after an account was archived, replayed and compared with its destination."""

    step = "migration"
    replay = luigi.ChoiceParameter(choices=["yes", "only"], default="yes", significant=False)

    def requires(self) -> AccountTask:
        return self.before(VerifyAccount)


def limited(server: ServerSettings) -> dict[str, int]:
    """Connections to a server, if Luigi's [resources] sets a limit for it ("imap:HOST")."""
    name = f"imap:{server.host}"
    is_limited = luigi.configuration.get_config().has_option("resources", name)
    return {name: server.connections} if is_limited else {}
