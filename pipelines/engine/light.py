"""Accounts that show what they showed after their last run, found many at a time before any of them is opened.

The ledger of a fleet has a fingerprint of each account in which nothing was left to do. Here each of them is locked
and logged in to, and its folders are listed; if that and everything on this side is as it was, its run is over: no
catalog is opened, and nothing is written into the archive. All others, and those that cannot be looked at, are left
as they were, for a run that opens them. That also looks once a week at what is not compared here.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from archiver.account.account import Account
from archiver.account.meeting import record_refusal
from archiver.account.servers import no_spool
from archiver.control.run import RunControl, utc_moment
from archiver.errors import AuthenticationFailed, BackendError, Throttled
from archiver.fleet.fingerprint import Fingerprint, digest_of_destination
from archiver.source.backoff import Backoff
from archiver.source.numbering import UnrecordedNumbers
from pipelines.attempts import Attempt, Remembered, RunScope
from pipelines.engine.names import RunNames
from pipelines.events import Unchanged, emit, progress_of
from pipelines.fleet.fingerprints import shown_by_source, state_here
from pipelines.steps import end_failed
from pipelines.stop import STOP

_SIDE_BY_SIDE = 16
_LISTED = "enumerate"


def look_over(
    attempts: Sequence[Attempt],
    remembered: Mapping[str, Remembered],
    replays: Callable[[Attempt], bool],
    names: RunNames,
) -> None:
    """End the runs of accounts in which nothing is new, and of those whose login is refused. What is left of
    `attempts` has no exit code, and nothing was recorded of it. `replays`: whether the run is about an account's
    destination, too. Never raises."""
    looks = iter([each for each in attempts if each.settings.account in remembered])
    taking = threading.Lock()

    def work() -> None:
        while (attempt := _next(looks, taking)) is not None:
            _Look(attempt, remembered[attempt.settings.account], replays(attempt), names).take()

    threads = [
        threading.Thread(target=work, name=f"look-{number}")
        for number in range(min(_SIDE_BY_SIDE, sum(each.settings.account in remembered for each in attempts)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _next(looks: Iterator[Attempt], taking: threading.Lock) -> Attempt | None:
    with taking:
        return next(looks, None)


class _Look(Struct):
    """A look at one account. What it opens is its own, so that nothing of it is left afterwards."""

    attempt: Attempt
    remembered: Remembered
    replays: bool
    names: RunNames

    def take(self) -> None:
        """Look, and end the run if that is all there is to do."""
        settings = self.attempt.settings
        fingerprint = Fingerprint.read(self.remembered.fingerprint)
        if (
            fingerprint is None
            or (self.replays and fingerprint.there is None)
            or not fingerprint.is_valid(utc_moment(), zlib.crc32(str(settings.file).encode()))
        ):
            return
        runs, began = settings.archive.path / "runs", time.monotonic()
        report = runs / fingerprint.run / "report.json"
        account = Account(settings)
        try:
            if not report.is_file() or self._was_used(runs, fingerprint):
                return
            if not self._is_done or state_here(settings, account.medium, fingerprint.ends) != fingerprint.here:
                STOP.check()
                with account.locked(self.attempt.run_id):
                    if not self._is_unchanged(account, fingerprint):
                        return
        except AuthenticationFailed as error:
            self._end_failed(account, error)
        except Throttled as error:
            if _is_worth_a_pause(error):
                return
            self._end_failed(account, error)
        except Exception:  # whatever it is, the run that follows meets it, too, and reports it
            return
        else:
            seconds = time.monotonic() - began
            text = self.remembered.fingerprint
            emit(settings.account, Unchanged(fingerprint.run, str(report), text, seconds))

    @property
    def _is_done(self) -> bool:
        """Whether the user named the run, and the account was looked at under this name."""
        given = self.names.given
        return given is not None and given == self.remembered.run and self.remembered.ended_well

    def _was_used(self, runs: Path, fingerprint: Fingerprint) -> bool:
        """Whether the archive knows a run of this name: what is done of it is not done again."""
        return (runs / self.attempt.run_id).exists() or fingerprint.run == self.attempt.run_id

    def _is_unchanged(self, account: Account, fingerprint: Fingerprint) -> bool:
        settings = account.settings
        if state_here(settings, account.medium, fingerprint.ends) != fingerprint.here:
            return False
        source = account.source.connect_once(UnrecordedNumbers(), control=self._control)
        try:
            listed = source.list_folders()
        except BaseException:
            source.hang_up()
            raise
        source.close()
        if shown_by_source(settings, listed) != fingerprint.source:
            return False
        return not self.replays or self._is_unchanged_there(account, fingerprint)

    @property
    def _control(self) -> RunControl:
        return STOP.control(progress_of(self.attempt.settings.account))

    def _is_unchanged_there(self, account: Account, fingerprint: Fingerprint) -> bool:
        try:
            destination = account.destination.connect_or_take(no_spool, self._control)
            try:
                there = destination.list_folders()
            except BaseException:
                destination.hang_up()
                raise
            destination.close()
        except BackendError as error:
            self._remember_refusal(account, error)
            return False
        return digest_of_destination(there) == fingerprint.there

    def _remember_refusal(self, account: Account, error: BackendError) -> None:
        """The run that follows archives what is new, and does not send the destination a refused secret again."""
        self.names.rename(self.attempt)
        with account.writing(self.attempt.run_id) as (archive, _):
            record_refusal(archive, self.attempt.run_id, error)

    def _end_failed(self, account: Account, error: BackendError) -> None:
        """NOTE: a refused secret must not be sent again, nor somebody who said "later" be asked again at once."""
        self.names.rename(self.attempt)
        self.attempt.begin()
        end_failed(account, self.attempt.run_id, error, RunScope(self.replays), _LISTED)


def _is_worth_a_pause(error: Throttled) -> bool:
    """Whether a run waits so long for a server, and tries again by itself."""
    try:
        Backoff(attempts=2).delay_after(error)
    except Throttled:
        return False
    return True
