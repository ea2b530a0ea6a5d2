"""The end of a run: its report is written, then its row in the ledger, and old reports are removed."""

from __future__ import annotations

from archiver.account.account import Account
from archiver.account.archive import Archive
from archiver.config.age import day_of
from archiver.control.run import utc_now, utc_today
from archiver.errors import ArchiveMissing, ArchiveNotWritable, ArchiverError, ConfigError, Interrupted, Locked
from archiver.events import Noted
from archiver.mail.folder_names import printable
from archiver.report.document import RunReport
from archiver.report.pruning import prune_reports
from pipelines.attempts import RunScope
from pipelines.events import Ended, emit
from pipelines.fleet.fingerprints import fingerprint_of
from pipelines.reporting.build import report_of
from pipelines.reporting.files import write_report
from pipelines.results import check_from_json, listing_from_json
from pipelines.stop import STOP


def end_run(account: Account, run_id: str, error: ArchiverError, scope: RunScope, *, step: str) -> None:
    """Write the report of a run that `error` stopped at `step`, then its row. If there is no archive, or it cannot
    be written, is another account's or locked by somebody else, there is no report: the error itself says why."""
    if isinstance(error, Locked):
        return
    try:
        with account.locked(run_id), account.opened() as archive:
            refused = isinstance(error, (ConfigError, ArchiveMissing))
            if refused and archive.catalog.ledger.step_result(run_id, "archive") is None:
                _end_row(archive, run_id, error)
                return  # the run did nothing
            report_run(archive, run_id, error, scope, step=step)
    except Exception:
        pass  # the error that ended the run is the one to report


def report_run(
    archive: Archive, run_id: str, error: ArchiverError | None, scope: RunScope, *, step: str = ""
) -> None:
    """Write the run's report, then its row, which says that it has ended; calling it again rewrites them. The
    archive is locked; `step` is the step that the error stopped, if any.

    Raises:
        ArchiveNotWritable: there is no room for the report.
    """
    report = report_of(archive, run_id, error, scope, step=step)
    path = archive.reports / run_id / "report.json"
    try:
        write_report(path, report.to_json())
    except ArchiveNotWritable:
        if error is not None:  # a run that failed has ended, even where there is no room to say more
            archive.catalog.ledger.finish(run_id, report.status, report.exit_code, report.finished)
        raise
    archive.catalog.ledger.finish(run_id, report.status, report.exit_code, report.finished)
    shown = None if error is not None else _fingerprint(archive, report, scope)
    emit(archive.settings.account, Ended(report.exit_code, str(path), shown))
    if error is None:
        _prune(archive)


def _fingerprint(archive: Archive, report: RunReport, scope: RunScope) -> str | None:
    """What the account showed in this run, if nothing is left to do for it."""
    is_past = scope.as_of is not None or scope.include_vanished
    if archive.settings.fleet is None or report.exit_code or report.status != "complete" or is_past:
        return None
    if (listing := archive.catalog.ledger.step_result(report.run, "enumerate")) is None:
        return None
    checked = archive.catalog.ledger.step_result(report.run, "verify")
    there = check_from_json(checked).shown if checked else None
    found = fingerprint_of(archive, report.run, listing_from_json(listing), there)
    return None if found is None else found.text()


def _prune(archive: Archive) -> None:
    """Remove old reports, if the account file says when; what goes wrong harms no run."""
    keep = archive.settings.reports.keep
    if keep is None:
        return
    before = day_of(keep, utc_today()).isoformat()
    try:
        prune_reports(archive.reports, archive.catalog.ledger, before=before, at=utc_now(), check_stop=STOP.check)
    except Interrupted:
        pass  # the next run goes on
    except (OSError, ArchiverError) as error:
        text = f"old reports in {archive.reports} are not removed: {printable(str(error))}"
        emit(archive.settings.account, Noted(text))


def _end_row(archive: Archive, run_id: str, error: ArchiverError) -> None:
    """Record the end of a run that did nothing, if its start was recorded."""
    ledger = archive.catalog.ledger
    if any(row[0] == run_id for row in ledger.runs()):
        ledger.finish(run_id, "failed", error.exit_code, utc_now())
