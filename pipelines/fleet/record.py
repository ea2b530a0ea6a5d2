"""Records the runs of a command in the ledgers of its accounts' fleets, as they begin and end.

No mail depends on it: a ledger that cannot be written meanwhile costs one line, and what was not recorded is
recorded as soon as it can be.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from archiver.config.settings import Settings
from archiver.config.tables.fleet import is_postgresql
from archiver.control.run import moment, utc_now
from archiver.errors import LedgerUnavailable
from archiver.fleet.model import Account, RunBegun, RunEnded, State
from archiver.fleet.port import FleetLedger
from archiver.fleet.states import Happened, happened, state_after
from pipelines.attempts import Remembered
from pipelines.events import AnyEvent, Began, Ended, Failed, Freed, Named, Unchanged
from pipelines.fleet.ledgers import Ledgers, owner_of_claims
from pipelines.fleet.refill import amounts_of, report_of
from pipelines.show.reasons import next_step_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.events import Listener

_STOPPED = 128  # and more: by a signal
_AGAIN_SECONDS = 10.0  # between two tries to write what could not be written
_TOGETHER = 250  # runs that found nothing new, in one transaction


class FleetRecord:
    """The runs of the `verb` of these accounts; `warn` gets lines for people.

    Raises:
        LedgerUnavailable: a database that several hosts share cannot be reached. A file that cannot be written is
            a warning, and nothing is recorded.
        ConfigError: the ledger is one of another fleet.
    """

    def __init__(self, verb: str, accounts: Sequence[Settings], warn: Callable[[str], None]) -> None:
        self._verb, self._warn = verb, warn
        self._ledgers = Ledgers()
        self._members: dict[str, tuple[FleetLedger, str]] = {}
        self._runs: dict[str, _Run] = {}
        self._progress: dict[str, _Progress] = {}
        self._waiting: list[tuple[FleetLedger, RunBegun | RunEnded | _Reached]] = []
        self._quiet: list[tuple[FleetLedger, RunBegun, RunEnded]] = []
        self._remembered: dict[str, Remembered] = {}
        self._is_told = False
        self._not_before = 0.0
        self._is_shared = any(each.fleet is not None and is_postgresql(each.fleet.ledger) for each in accounts)
        try:
            for ledger, its in self._ledgers.enrol(accounts).items():
                self._members |= {each.account: (ledger, name) for name, each in its.items()}
                for name, known in ledger.accounts.known(its).items():
                    self._know(its[name], known)
        except LedgerUnavailable as error:
            self._ledgers.close()
            if self._is_shared:
                raise
            warn(f"{error}; this run is not recorded there")
        except BaseException:
            self._ledgers.close()
            raise

    def _know(self, settings: Settings, known: Account) -> None:
        last = known.last
        complete = last.run if last is not None and last.exit_code == 0 else None
        done = complete if last is not None and last.verb == self._verb else None
        self._progress[settings.account] = _Progress(complete, done, settings.destination is not None, known.state)
        if known.fingerprint is not None:
            self._remembered[settings.account] = Remembered(
                known.fingerprint, None if last is None else last.run, done is not None
            )

    @property
    def remembered(self) -> Mapping[str, Remembered]:
        """What the ledgers have of accounts in which nothing was left to do, by their names."""
        return self._remembered

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[Listener]:
        """The listener of the run, with what is recorded on the way. At the end everything is written, or it is
        said that it is not."""

        def listen(account: str, event: AnyEvent) -> None:
            listener(account, event)
            if account in self._members:
                self._hear(account, event)

        try:
            yield listen if self._members else listener
        finally:
            self._not_before = 0.0
            self._write_quiet()
            self._write()
            if self._waiting:
                self._warn("the fleet's ledger does not know how all accounts ended; the next run records it")
            self._ledgers.close()

    def _hear(self, account: str, event: AnyEvent) -> None:
        ledger, name = self._members[account]
        match event:
            case Named(run_id):
                self._runs[account] = _Run(run_id)
            case Began():
                run = self._runs[account]
                run.told = None, None
                if not run.is_begun:
                    run.is_begun, run.began = True, time.monotonic()
                    self._record(ledger, RunBegun(name, run.name, self._verb, utc_now(), owner_of_claims()))
            case Ended(exit_code, report, fingerprint):
                told = report_of(Path(report).parent)
                self._record(ledger, *self._ended(account, name, exit_code, told, fingerprint))
            case Unchanged():
                self._looked(ledger, account, name, event)
            case Failed(message, exit_code, _, again, hint):
                told = {"message": message, "hint": hint, "again": again}
                self._record(ledger, *self._ended(account, name, exit_code, told))
            case Freed():
                self._write_quiet()  # other hosts wait for it
            case _:
                pass

    def _ended(
        self, account: str, name: str, exit_code: int, told: Mapping[str, Any], fingerprint: str | None = None
    ) -> Sequence[RunBegun | RunEnded | _Reached]:
        """How a run ended, by its report or by the error that ended it."""
        run, at = self._runs[account], utc_now()
        begun = [] if run.is_begun else [RunBegun(name, run.name, self._verb, at, owner_of_claims())]
        run.is_begun = True
        if "message" in told:
            run.told = told["message"].removesuffix(f"; {told['hint']}"), told["hint"]
        cause, next_step = run.told if exit_code else (None, None)
        if cause is None and exit_code:
            cause, next_step = reason_of(told), next_step_of(told)
        status = told.get("status") or ("failed" if exit_code else "complete")
        ended = RunEnded(
            account=name,
            run=run.name,
            status="stopped" if exit_code > _STOPPED else status,
            exit_code=exit_code,
            at=told.get("finished") or at,  # one that is only asked for again ended before
            seconds=0.0 if run.began is None else time.monotonic() - run.began,
            cause=cause,
            next_step=next_step,
            due=_due(told),
            amounts=amounts_of(told.get("totals"), has_destination=self._progress[account].has_destination),
            fingerprint=fingerprint,
        )
        return [*begun, ended, *self._reached(account, name, run.name, exit_code, at)]

    def _looked(self, ledger: FleetLedger, account: str, name: str, event: Unchanged) -> None:
        """A run that found nothing new. Hundreds of them are written together: if they are lost, the next run looks
        again."""
        run, now = self._runs[account].name, time.time()
        known, what = self._progress[account], happened(self._verb, 0)
        if run == known.done:
            return  # it ended before, and nobody looked again
        began, at = moment(now - event.seconds), moment(now)
        begun = RunBegun(name, run, self._verb, began, owner_of_claims())
        ended = RunEnded(name, run, "complete", 0, at, event.seconds, fingerprint=event.fingerprint)
        self._quiet.append((ledger, begun, ended))
        if what is not None and known.state != state_after(
            known.state, what, has_destination=known.has_destination
        ):
            self._record(ledger, *self._reached(account, name, run, 0, at))
        if len(self._quiet) >= _TOGETHER:
            self._write_quiet()

    def _write_quiet(self) -> None:
        rows, self._quiet = self._quiet, []
        by_ledger: defaultdict[FleetLedger, list[tuple[RunBegun, RunEnded]]] = defaultdict(list)
        for ledger, begun, ended in rows:
            by_ledger[ledger].append((begun, ended))
        for ledger, its in by_ledger.items():
            try:
                ledger.accounts.begun([begun for begun, _ in its])
                ledger.accounts.ended([ended for _, ended in its])
            except LedgerUnavailable:
                for both in its:
                    self._record(ledger, *both)

    def _reached(self, account: str, name: str, run: str, exit_code: int, at: str) -> Sequence[_Reached]:
        """What that means for how far the account is. A run that is named again, after it had ended well, is no
        further one."""
        known, what = self._progress[account], happened(self._verb, exit_code)
        if what is None or run == known.complete:
            return []
        known.complete = run
        return [_Reached(name, what, at, run, known.has_destination)]

    def _record(self, ledger: FleetLedger, *rows: RunBegun | RunEnded | _Reached) -> None:
        self._waiting += [(ledger, row) for row in rows]
        if time.monotonic() >= self._not_before:
            self._write()

    def _write(self) -> None:
        while self._waiting:
            ledger, row = self._waiting[0]
            try:
                if isinstance(row, RunBegun):
                    ledger.accounts.begun([row])
                elif isinstance(row, RunEnded):
                    ledger.accounts.ended([row])
                else:
                    row.record(ledger)
            except LedgerUnavailable as error:
                self._not_before = time.monotonic() + _AGAIN_SECONDS
                if not self._is_told:
                    self._is_told = True
                    self._warn(f"{error.message}; the run goes on, and it is recorded when the ledger is back")
                return
            self._waiting.pop(0)
        if self._is_told:
            self._is_told = False
            self._warn("the fleet's ledger is back, and everything is recorded")


class _Reached(Struct, frozen=True):
    """This happened to an account by the run `by`."""

    account: str
    what: Happened
    at: str
    by: str
    has_destination: bool

    def record(self, ledger: FleetLedger) -> None:
        """Record the state that the account has by that. Meanwhile a person may have said another one."""
        for known in ledger.accounts.known([self.account]).values():
            state = state_after(known.state, self.what, has_destination=self.has_destination)
            if state != known.state:
                ledger.accounts.set_state([self.account], state, self.at, self.by)


class _Progress(Struct):
    """`complete` is the account's last run, if that ended with 0, and `done` the same if it was of this verb;
    `state` is how far the account was before this command."""

    complete: str | None
    done: str | None
    has_destination: bool
    state: State


class _Run:
    """An account's run so far. `told` are cause and next step of the error that ended its last try."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_begun = False
        self.began: float | None = None
        self.told: tuple[str | None, str | None] = (None, None)


def _due(told: Mapping[str, Any]) -> float | None:
    """When another try is worth while, by the error or by the report."""
    if (seconds := told.get("again")) is not None:
        return time.time() + float(seconds)
    if (moment := told.get("again_at")) is None:
        return None
    return datetime.fromisoformat(moment).timestamp()
