"""Runs accounts: Luigi builds in waves, our own exit codes, one failure stopping only its account.

Luigi's scheduling is quadratic in the tasks of a graph, so a fleet of hundreds of accounts is built in waves.
How an account ended is read from the events and the ledger, not from Luigi, which exits 0 on failure.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from archiver.account.account import Account
from archiver.account.sharing import sharing_among
from archiver.config.load import Settings
from archiver.errors import ArchiverError, Interrupted, Locked
from archiver.events import Noted
from archiver.imap.reach import learning
from archiver.replay.identify import IdentityAnswer
from pipelines.apart import luigi
from pipelines.events import AnyEvent, Channel, Ended, Failed, Freed, Listener, emit, failed
from pipelines.locks import AccountLocks, Workers
from pipelines.luigid import require_luigid, unreachable
from pipelines.outcome import AccountOutcome
from pipelines.stop import STOP
from pipelines.tasks import AccountTask, ArchiveAccount, MigrateAccount, new_run_id

_WAVE = 100

_WORKED_ON = Locked("another worker of this luigid has this account", hint="its report is on that worker's machine")
_LONGEST_WAIT_SECONDS = 300.0  # for a postponed account, when nothing else is left to do

_LUIGI = {
    "core": {
        "no_configure_logging": "true",
        "autoload_range": "false",
        "parallel_scheduling": "false",
    },
    "worker": {
        "check_complete_on_run": "true",
        "wait_interval": "0.1",
        "wait_jitter": "0",
        "no_install_shutdown_handler": "true",
        # NOTE: a luigi.cfg must not change these: the run would hang, or not end.
        "cache_task_completion": "false",
        "keep_alive": "false",
        "count_uniques": "false",
        "force_multiprocessing": "false",
        "timeout": "0",
        "max_reschedules": "1",
    },
    "scheduler": {"retry_count": "1"},
}


class Options(Struct, frozen=True):
    """How to run. `steps`: "run" (replay too, where there is a destination), "archive" or "replay"; `retry`: "due",
    "all" or "accept"; `destination_is`: what the user says about an unknown destination; `workers`: accounts at the
    same time; `as_of`: replay the folders as they were then (UTC, ISO 8601)."""

    run_id: str | None = None
    workers: int = 1
    scheduler_url: str | None = None
    retry: str = "due"
    new_source: bool = False
    new_archive: bool = False
    destination_is: IdentityAnswer = "ask"
    steps: Literal["run", "archive", "replay"] = "run"
    include_vanished: bool = False
    include_removed: bool = False
    confirm_deletions: bool = False
    as_of: str | None = None


class Run(Struct, frozen=True):
    """An account's run: its name, its report, None if it wrote none, and how often the account was tried."""

    run_id: str
    report: Path | None
    tries: int


class _Attempt(Struct):
    """What is known about an account's run so far. `exit_code` is None until it ends; `again`: in so many seconds
    another of its `tries` may succeed."""

    account: Account
    run_id: str
    exit_code: int | None = None
    report: Path | None = None
    message: str | None = None
    again: float | None = None
    tries: int = 0

    @property
    def settings(self) -> Settings:
        """The account file."""
        return self.account.settings

    def begin(self) -> None:
        """Forget how the last try ended."""
        self.tries += 1
        self.exit_code = self.report = self.message = self.again = None

    def outcome(self, exit_code: int) -> AccountOutcome[Run]:
        run = Run(self.run_id, self.report, self.tries)
        return AccountOutcome(self.settings.account, exit_code, self.message, run)


def run_accounts(accounts: Sequence[Settings], options: Options, listener: Listener) -> list[AccountOutcome[Run]]:
    """Run accounts, `options.workers` at the same time, and return how each ended. Never raises for an account's
    failure; after a signal, accounts that have not begun end with its exit code."""
    configure_luigi()
    _tune_collector()
    attempts = {}
    for each in accounts:
        account = Account(each)
        attempts[each.account] = _Attempt(account, _run_id(account, options))
    locks = AccountLocks((each.account, each.run_id) for each in attempts.values())
    put_back: dict[str, tuple[float, Settings]] = {}

    def listen(account: str, event: AnyEvent) -> None:
        match event:
            case Ended(exit_code, report):
                attempts[account].exit_code, attempts[account].report = exit_code, Path(report)
            case Failed(message, exit_code, _, again):
                attempts[account].exit_code, attempts[account].message = exit_code, message
                attempts[account].again = again
            case Freed():
                locks.give_back(account)  # other processes may use this account before the wave ends
                return
        listener(account, event)

    def before(task: AccountTask) -> None:
        channel.drain()  # that an earlier try freed the account must not be heard later
        locks.take(task.config)

    if options.scheduler_url:
        require_luigid(options.scheduler_url)
    with learning(), Channel(listen) as channel:
        waves = deque(_waves(_kept_apart(accounts, options)))
        while wave := _next(waves, put_back):
            begun = [attempts[each.account] for each in wave]
            for attempt in begun:
                attempt.begin()
            _build(begun, options, Workers(before), accounts)
            channel.drain()
            for attempt in begun:
                locks.give_back(attempt.settings.account)
                if attempt.again is not None and attempt.tries < attempt.settings.source.attempts:
                    put_back[attempt.settings.account] = (time.monotonic() + attempt.again, attempt.settings)
    return [_ended(each, listener) for each in attempts.values()]


def _ended(attempt: _Attempt, listener: Listener) -> AccountOutcome[Run]:
    """How an account's run ended. If nothing is known, it was killed together with its worker."""
    if attempt.exit_code is not None:
        return attempt.outcome(attempt.exit_code)
    attempt.message = "the worker process died unexpectedly; run again to resume"
    listener(attempt.settings.account, Failed(attempt.message, 1))
    return attempt.outcome(1)


@cache  # garbage that is frozen is never collected, so freeze only once, while there is little
def _tune_collector() -> None:
    """A batch holds thousands of small values: collecting all modules each time would cost a tenth of a run."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def configure_luigi() -> None:
    """Set Luigi's few settings in code: users never need a luigi.cfg. A luigi.cfg that the user chose deliberately
    ([resources]) cannot change what a task does."""
    config = luigi.configuration.get_config()
    for task in _tasks(AccountTask):
        config.remove_section(task.get_task_family())
    for section, values in _LUIGI.items():
        for name, value in values.items():
            config.set(section, name, value)
    # Luigi logs failures as tracebacks; ours are one line, and the engine prints unexpected ones.
    logging.getLogger("luigi").setLevel(logging.CRITICAL)
    logging.getLogger("luigi-interface").setLevel(logging.CRITICAL)


def _tasks(task: Any) -> Iterator[Any]:
    for each in task.__subclasses__():
        yield each
        yield from _tasks(each)


def _kept_apart(accounts: Sequence[Settings], options: Options) -> Sequence[Settings]:
    """The accounts without those that would fill the same mailbox without the user's consent. Those fail here,
    before anything is changed."""
    if options.steps == "archive":
        return accounts
    sharing = sharing_among(accounts)
    for each in accounts:
        if (refusal := sharing[each.file].refusal) is not None:
            emit(each.account, failed(refusal, each.file))
    return [each for each in accounts if sharing[each.file].refusal is None]


def _next(
    waves: deque[Sequence[Settings]], put_back: dict[str, tuple[float, Settings]]
) -> Sequence[Settings] | None:
    """The next wave, with the postponed accounts that are due; None if none is worth waiting for."""
    while waves or put_back:
        now = time.monotonic()
        due = [settings for when, settings in put_back.values() if when <= now]
        for each in due:
            del put_back[each.account]
        if waves or due:
            return [*(waves.popleft() if waves else ()), *due]
        waited_for = _waited_for(put_back, now)
        if not waited_for:
            return None
        for account, when in waited_for:
            emit(account, Noted(f"postponed: next attempt in {when - now:.0f} seconds"))
        try:
            STOP.pause(waited_for[0][1] - now)
        except Interrupted as error:
            for account, _ in waited_for:
                emit(account, failed(error))
            return None
    return None


def _waited_for(put_back: Mapping[str, tuple[float, Settings]], now: float) -> list[tuple[str, float]]:
    """The postponed accounts that are worth waiting for when nothing else is left to do, in order of time."""
    found: list[tuple[str, float]] = []
    before = now
    for account, (when, _) in sorted(put_back.items(), key=lambda each: each[1][0]):
        if when - before > _LONGEST_WAIT_SECONDS:
            break
        found.append((account, when))
        before = when
    return found


def _waves(accounts: Sequence[Settings]) -> Iterator[Sequence[Settings]]:
    for start in range(0, len(accounts), _WAVE):
        yield accounts[start : start + _WAVE]


def _build(wave: Sequence[_Attempt], options: Options, workers: Workers, accounts: Sequence[Settings]) -> None:
    """One wave. With one worker everything runs in this process; forked workers share the locks."""
    tasks = {
        attempt.settings.account: top
        for attempt in wave
        if _can_begin(attempt, top := _task(attempt, options, accounts))
    }
    if not tasks:
        return
    where = {"scheduler_url": options.scheduler_url} if options.scheduler_url else {"local_scheduler": True}
    before = set(multiprocessing.active_children())
    elsewhere: set[str] = set()
    try:
        result = luigi.build(
            list(tasks.values()),
            workers,
            workers=max(1, min(options.workers, len(tasks))),
            detailed_summary=True,
            **where,
        )
        elsewhere = {
            str(task.config)
            for task in luigi.execution_summary._partition_tasks(result.worker)["run_by_other_worker"]
        }
    except luigi.rpc.RPCError as error:
        for attempt in wave:
            if attempt.exit_code is None:
                emit(attempt.settings.account, failed(unreachable(options.scheduler_url or "", error)))
    for worker in set(multiprocessing.active_children()) - before:
        worker.join()  # its work is done, but it holds the lock until it ends
    for attempt in wave:
        if attempt.exit_code is None and (task := tasks.get(attempt.settings.account)) is not None:
            _already_done(attempt, task.step)
            if attempt.exit_code is None and str(attempt.settings.file) in elsewhere:
                emit(attempt.settings.account, failed(_WORKED_ON))


def _task(attempt: _Attempt, options: Options, accounts: Sequence[Settings]) -> AccountTask:
    """The top of the account's graph. A step finds the account files in the same directory itself; of `accounts`,
    those of the command, it gets the others."""
    given = {
        "config": str(attempt.settings.file),
        "run_id": attempt.run_id,
        "retry": options.retry,
        "new_source": options.new_source,
        "new_archive": options.new_archive,
        "destination_is": options.destination_is,
    }
    if options.steps == "archive" or (options.steps == "run" and attempt.settings.destination is None):
        return ArchiveAccount(**given)
    return MigrateAccount(
        **given,
        replay="only" if options.steps == "replay" else "yes",
        include_vanished=options.include_vanished,
        include_removed=options.include_removed,
        confirm_deletions=options.confirm_deletions,
        as_of=options.as_of,
        beside=_elsewhere(attempt.settings, accounts),
    )


def _elsewhere(settings: Settings, accounts: Sequence[Settings]) -> tuple[str, ...]:
    """Account files of the command in other directories, which must be checked before mail is deleted."""
    if settings.replay.vanished == "keep":
        return ()
    return tuple(str(each.file) for each in accounts if each.file.parent != settings.file.parent)


def _can_begin(attempt: _Attempt, task: AccountTask) -> bool:
    """Whether the account can be begun, as far as a look at it shows before it is its turn."""
    try:
        STOP.check()
        attempt.account.make_archive(task.begin)
        attempt.account.require_lockable()
        if attempt.account.catalog.exists():
            with attempt.account.opened() as archive:
                archive.catalog.ledger.runs()  # an unreadable catalog fails here, not while Luigi checks targets
    except Exception as error:  # whatever it is, it ends only this account
        emit(attempt.settings.account, failed(error, attempt.settings.file))
        return False
    return True


def _already_done(attempt: _Attempt, step: str) -> None:
    """A run id that was used before: nothing is done again, so the report of that run says how it ended."""
    try:
        if not attempt.account.catalog.exists():
            return
        with attempt.account.opened() as archive:
            ledger = archive.catalog.ledger
            rows = [row for row in ledger.runs() if row[0] == attempt.run_id]
            if rows and rows[0][4] is not None and ledger.step_result(attempt.run_id, step) is not None:
                report = archive.reports / attempt.run_id / "report.json"
                emit(attempt.settings.account, Ended(rows[0][4], str(report)))
    except ArchiverError as error:
        emit(attempt.settings.account, failed(error, attempt.settings.file))


def _run_id(account: Account, options: Options) -> str:
    """The run's name: the given one, or a new one that is unused in this archive."""
    if options.run_id:
        return options.run_id
    name = new_run_id()
    try:
        if not account.catalog.exists():
            return name
        with account.opened() as archive:
            taken = {row[0] for row in archive.catalog.ledger.runs()}
    except Exception:
        return name  # the same error is reported when the account begins
    number = 1
    fresh = name
    while fresh in taken:
        number += 1
        fresh = f"{name}-{number}"
    return fresh
