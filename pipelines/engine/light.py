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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from archiver.account.account import Account
from archiver.account.meeting import record_refusal
from archiver.account.servers import no_spool
from archiver.control.run import RunControl, utc_moment
from archiver.errors import AuthenticationFailed, BackendError, Locked, Throttled
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


def _anyway(_: Attempt) -> None:
    pass


def _unheard(_: Attempt, *, is_over: bool) -> None:
    pass


class Looking(Struct, frozen=True):
    """How accounts are looked at. `remembered` is what their ledgers have of them; `replays`: whether the run is
    about an account's destination, too. `may_go_on` is called as late as possible before something is written, and
    raises if somebody else may have the account; `looked` after each look, with whether the run is over. Both are
    called in any thread."""

    remembered: Mapping[str, Remembered]
    replays: Callable[[Attempt], bool]
    names: RunNames
    may_go_on: Callable[[Attempt], None] = _anyway
    looked: Callable[..., None] = _unheard

    def is_worth(self, attempt: Attempt) -> bool:
        """Whether a look at the account may end its run, as far as is known here. Never raises."""
        return attempt.settings.account in self.remembered and _Look(attempt, self).is_worth


def look_over(attempts: Iterable[Attempt], looking: Looking, most: int) -> None:
    """End the runs of those of these accounts, `most` of them, in which nothing is new, and of those whose login is
    refused. What is left of `attempts` has no exit code, and nothing was recorded of it. Never raises, unless the
    iterable does."""
    looks, taking = iter(attempts), threading.Lock()

    def work() -> None:
        while (attempt := _next(looks, taking)) is not None:
            looking.looked(attempt, is_over=_Look(attempt, looking).take())

    threads = [threading.Thread(target=work, name=f"look-{number}") for number in range(min(_SIDE_BY_SIDE, most))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _next(looks: Iterator[Attempt], taking: threading.Lock) -> Attempt | None:
    with taking:
        return next(looks, None)


class _Look:
    """A look at one account. What it opens is its own, so that nothing of it is left afterwards."""

    def __init__(self, attempt: Attempt, looking: Looking) -> None:
        self.attempt, self.looking = attempt, looking
        self.remembered = looking.remembered[attempt.settings.account]
        self.fingerprint = Fingerprint.read(self.remembered.fingerprint)
        self.replays = looking.replays(attempt)

    @property
    def is_worth(self) -> bool:
        """Whether the fingerprint may still be that of the account. Nothing is asked."""
        shown, settings = self.fingerprint, self.attempt.settings
        if shown is None or (self.replays and shown.there is None):
            return False
        if not shown.is_valid(utc_moment(), zlib.crc32(str(settings.file).encode())):
            return False
        try:
            return self._report(shown).is_file() and not self._was_used(shown)
        except OSError:
            return False

    def take(self) -> bool:
        """Look, and end the run if that is all there is to do; whether that is so."""
        shown, settings = self.fingerprint, self.attempt.settings
        if shown is None or not self.is_worth:
            return False
        account, began = Account(settings), time.monotonic()
        try:
            if not self._is_done or state_here(settings, account.medium, shown.ends) != shown.here:
                STOP.check()
                with account.locked(self.attempt.run_id):
                    if not self._is_unchanged(account, shown):
                        return False
            self.looking.may_go_on(self.attempt)
        except AuthenticationFailed as error:
            return self._end_failed(account, error)
        except Throttled as error:
            return not _is_worth_a_pause(error) and self._end_failed(account, error)
        except Exception:  # whatever it is, the run that follows meets it, too, and reports it
            return False
        seconds = time.monotonic() - began
        event = Unchanged(shown.run, str(self._report(shown)), self.remembered.fingerprint, seconds)
        emit(settings.account, event)
        return True

    @property
    def _runs(self) -> Path:
        return self.attempt.settings.archive.path / "runs"

    def _report(self, shown: Fingerprint) -> Path:
        return self._runs / shown.run / "report.json"

    @property
    def _is_done(self) -> bool:
        """Whether the user named the run, and the account was looked at under this name, by the same verb."""
        given = self.looking.names.given
        return given is not None and given == self.remembered.run and self.remembered.was_done

    def _was_used(self, shown: Fingerprint) -> bool:
        """Whether the archive knows a run of this name: what is done of it is not done again."""
        return (self._runs / self.attempt.run_id).exists() or shown.run == self.attempt.run_id

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
        self.looking.may_go_on(self.attempt)
        self.looking.names.rename(self.attempt)
        with account.writing(self.attempt.run_id) as (archive, _):
            record_refusal(archive, self.attempt.run_id, error)

    def _end_failed(self, account: Account, error: BackendError) -> bool:
        """NOTE: a refused secret must not be sent again, nor somebody who said "later" be asked again at once."""
        try:
            self.looking.may_go_on(self.attempt)
        except Locked:
            return False
        self.looking.names.rename(self.attempt)
        self.attempt.begin()
        end_failed(account, self.attempt.run_id, error, RunScope(self.replays), _LISTED)
        return True


def _is_worth_a_pause(error: Throttled) -> bool:
    """Whether a run waits so long for a server, and tries again by itself."""
    try:
        Backoff(attempts=2).delay_after(error)
    except Throttled:
        return False
    return True
