"""Accounts in which nothing is new, found side by side in threads before Luigi makes a task of any.

A quiet account needs a connection and a few rows; a task of Luigi's costs more than that, and its workers are
processes. So the folders of each account of a wave are listed here first. If there is nothing to fetch, the run
ends here, with the same rows and the same report; if there is, Luigi goes on where this stopped, as with a run that
is resumed.
"""

from __future__ import annotations

import time
from functools import partial

from archiver.account.account import Account
from archiver.account.archive import Archive
from archiver.control import utc_now
from archiver.errors import Interrupted
from pipelines.events import Began, Waiting, emit, failed
from pipelines.reporting import RunScope, report_run
from pipelines.steps import SourceSteps, end_failed
from pipelines.stop import STOP

_LISTED, _ARCHIVED, _REPORTED = "enumerate", "archive", "account"


def has_catalog_here(account: Account) -> bool:
    """Whether the account's run can be tried here: its archive was begun, and on a disk."""
    try:
        return not account.medium.is_remote and account.catalog.exists()
    except Exception:  # whatever it is, the run meets it, too, and reports it
        return False


def is_done(account: Account, run: str) -> bool:
    """Run an account until it has ended, well or not; False if there is something to do for Luigi, and then nothing
    was recorded. Never raises. Several threads may call it, each for an account.

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
    try:
        with account.locked(run):
            return _is_done(account, run)
    except Exception as error:
        end_failed(account, run, error, RunScope(), _LISTED)
        return True


def _is_done(account: Account, run: str) -> bool:
    steps, step, began = SourceSteps(account, run), _LISTED, time.monotonic()
    name = account.settings.account
    try:
        with account.writing(run, "first") as (archive, recorder):
            ledger = archive.catalog.ledger
            if ledger.step_result(run, _LISTED) is not None:
                return False
            emit(name, Began(_LISTED))
            if steps.look(archive):
                emit(name, Waiting())
                return False
            listing = steps.enumerate(archive, recorder)
            began = _completed(archive, run, _LISTED, listing, began)
            step = _ARCHIVED
            emit(name, Began(_ARCHIVED))
            refused = steps.archive(archive, recorder, listing, partial(emit, name))
            _completed(archive, run, _ARCHIVED, refused, began)
            step = _REPORTED
            report_run(archive, run, None, RunScope())
            ledger.complete_step(run, _REPORTED, "", utc_now())
    except Exception as error:  # whatever it is, it ends only this account
        end_failed(account, run, error, RunScope(), step)
    return True


def _completed(archive: Archive, run: str, step: str, result: str, began: float) -> float:
    """Mark the step as done; returns when the next one begins."""
    now = time.monotonic()
    archive.catalog.ledger.complete_step(run, step, result, utc_now(), now - began)
    return now
