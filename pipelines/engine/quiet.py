"""Accounts in which nothing is new, found side by side in threads before Luigi makes a task of any.

A quiet account needs a connection and a few rows; a task of Luigi's costs more than that, and its workers are
processes. So the folders of each account of a wave are listed here first, and those of its destination if there is
nothing to fetch. If there is nothing to send either, the run ends here, with the same rows and the same report;
otherwise Luigi goes on where this stopped, as with a run that is resumed.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from archiver.account.account import Account
from archiver.account.archive import Archive
from archiver.control.run import utc_now
from archiver.errors import Interrupted
from pipelines.attempts import RunScope
from pipelines.events import Began, Waiting, emit, failed
from pipelines.reporting.ending import report_run
from pipelines.steps import DestinationSteps, SourceSteps, end_failed, retain_by_rule
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.destination.port import Closing

_LISTED, _ARCHIVED, _REPORTED, _MIGRATED = "enumerate", "archive", "account", "migration"


def has_catalog_here(account: Account) -> bool:
    """Whether the account's run can be tried here: its archive was begun, and on a disk."""
    try:
        return not account.medium.is_remote and account.catalog.exists()
    except Exception:  # whatever it is, the run meets it, too, and reports it
        return False


def is_done(account: Account, run: str, *, replays: bool) -> bool:
    """Run an account until it has ended, well or not; False if there is something to do for Luigi, and then nothing
    was recorded. `replays`: also at its destination. Never raises. Several threads may call it, each for an
    account.

    A run id that was used before is left to Luigi."""
    try:
        STOP.check()
    except Interrupted:
        return False  # it is reported with those that have not begun
    try:
        account.make_archive("first")
        account.require_lockable()
    except Exception as error:  # whatever it is, it ends only this account
        emit(account.settings.account, failed(error, account.settings.file))
        return True
    quiet = _QuietRun(account, run, replays)
    try:
        with account.locked(run):
            return quiet.is_done()
    except Exception as error:
        end_failed(account, run, error, quiet.scope, quiet.step)
        return True


class _QuietRun(Struct):
    """A run of an account in which nothing is new. `step` is the one that it is at."""

    account: Account
    run: str
    replays: bool
    step: str = _LISTED
    began: float = field(default_factory=time.monotonic)

    @property
    def scope(self) -> RunScope:
        return RunScope(self.replays)

    def is_done(self) -> bool:
        """Do all its steps; False if there is something to do."""
        at_source = SourceSteps(self.account, self.run, replays=self.replays)
        at_destination = DestinationSteps(self.account, self.run)
        report, seen = partial(emit, self.account.settings.account), None
        with self.account.writing(self.run, "first") as (archive, recorder), _Leaving() as leaving:
            ledger = archive.catalog.ledger
            if ledger.step_result(self.run, _LISTED) is not None:
                return False
            report(Began(_LISTED))
            has_news = at_source.look(archive, leaving.close)
            if self.replays and not has_news:
                seen = at_destination.look(archive, recorder, leaving.close)
                has_news = seen is None
            if has_news:
                report(Waiting())
                return False
            if seen is not None:
                leaving.hold(seen.connection)
            listing = at_source.enumerate(archive, recorder)
            self._next(archive, listing, _ARCHIVED)
            refused = at_source.archive(archive, recorder, listing, report)
            if seen is not None:
                self._next(archive, refused, "replay")
                replayed = at_destination.replay(archive, recorder, report, seen)
                self._next(archive, replayed, "verify")
                refused = at_destination.verify(archive, recorder, replayed, report, seen)
            self._next(archive, refused, _MIGRATED if self.replays else _REPORTED)
            retain_by_rule(archive, recorder, self.run, confirmed=False)
            report_run(archive, self.run, None, self.scope)
            ledger.complete_step(self.run, self.step, "", utc_now())
        return True

    def _next(self, archive: Archive, result: str, step: str) -> None:
        """Mark the present step as done, and begin the next one."""
        now = time.monotonic()
        archive.catalog.ledger.complete_step(self.run, self.step, result, utc_now(), now - self.began)
        self.step, self.began = step, now
        if step not in (_REPORTED, _MIGRATED):
            emit(self.account.settings.account, Began(step))


class _Leaving:
    """Connections that log out while the run goes on. All are closed when this ends, and their threads have ended,
    so that nothing is forked in the meantime."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._held: list[Closing] = []

    def __enter__(self) -> _Leaving:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()
        for connection in self._held:
            connection.hang_up()

    def hold(self, connection: Closing) -> None:
        """Hang up at the end, if nobody logs out before."""
        self._held.append(connection)

    def close(self, connection: _Closable) -> None:
        """Log out; the answer is waited for elsewhere."""
        thread = threading.Thread(target=connection.close, name="leaving")
        self._threads.append(thread)
        thread.start()


class _Closable(Protocol):
    def close(self) -> None: ...
