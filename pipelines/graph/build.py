"""Luigi builds a wave of accounts.

How an account ended is read from the events and the ledger, not from Luigi, which exits 0 on failure.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from archiver.config.settings import Settings
from archiver.errors import ArchiverError
from pipelines.attempts import Attempt, Options
from pipelines.events import Ended, all_heard, emit, failed
from pipelines.graph.apart import luigi
from pipelines.graph.tasks import AccountTask, ArchiveAccount, MigrateAccount
from pipelines.stop import STOP

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


def build(
    wave: Sequence[Attempt], options: Options, before_task: Callable[[str], None], accounts: Sequence[Settings]
) -> None:
    """One wave. With one worker everything runs in this process; forked workers share the locks."""
    configure_luigi()
    # NOTE: Luigi keeps each task of a process for ever. A later run of one name would get the account of that time.
    luigi.Task.clear_instance_cache()
    tasks = {
        attempt.settings.account: top
        for attempt in wave
        if _can_begin(attempt, top := _task(attempt, options, accounts))
    }
    if not tasks:
        return
    running = set(multiprocessing.active_children())
    luigi.build(
        list(tasks.values()),
        _Workers(before_task),
        workers=max(1, min(options.workers, len(tasks))),
        local_scheduler=True,
    )
    for worker in set(multiprocessing.active_children()) - running:
        worker.join()  # its work is done, but it holds the lock until it ends
    all_heard()  # otherwise an account that has just ended would be taken for one that ended before
    for attempt in wave:
        if attempt.exit_code is None and (task := tasks.get(attempt.settings.account)) is not None:
            _already_done(attempt, task.step)


def _task(attempt: Attempt, options: Options, accounts: Sequence[Settings]) -> AccountTask:
    """The top of the account's graph. A step finds the account files in the same directory itself; of `accounts`,
    those of the command, it gets the others."""
    given = {
        "config": str(attempt.settings.file),
        "run_id": attempt.run_id,
        "retry": options.retry,
        "new_source": options.new_source,
        "new_archive": options.new_archive,
        "destination_is": options.destination_is,
        "confirm_deletions": options.confirm_deletions,
    }
    if options.steps == "archive" or (options.steps == "run" and attempt.settings.destination is None):
        return ArchiveAccount(**given)
    return MigrateAccount(
        **given,
        replay="only" if options.steps == "replay" else "yes",
        include_vanished=options.include_vanished,
        include_removed=options.include_removed,
        after_cutover=options.after_cutover,
        as_of=options.as_of,
        beside=_elsewhere(attempt.settings, accounts),
    )


def _elsewhere(settings: Settings, accounts: Sequence[Settings]) -> tuple[str, ...]:
    """Account files of the command in other directories, which must be checked before mail is deleted."""
    if settings.replay.vanished == "keep":
        return ()
    return tuple(str(each.file) for each in accounts if each.file.parent != settings.file.parent)


def _can_begin(attempt: Attempt, task: AccountTask) -> bool:
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


def _already_done(attempt: Attempt, step: str) -> None:
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


class _Workers(luigi.interface._WorkerSchedulerFactory):  # type: ignore[misc]
    """Makes Luigi's worker for `luigi.build`. It calls `before_task` in this process before a task is begun, be it
    here or in a process that is forked for it."""

    def __init__(self, before_task: Callable[[str], None]) -> None:
        self._before_task = before_task

    def create_worker(self, scheduler: Any, worker_processes: int, assistant: bool = False) -> _Worker:
        worker = _Worker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)
        worker.before_task = self._before_task
        return worker


class _Worker(luigi.worker.Worker):  # type: ignore[misc]
    before_task: Callable[[str], None]

    def _create_task_process(self, task: AccountTask) -> Any:
        self.before_task(task.config)
        return super()._create_task_process(task)
