"""A run's report as a value, from what the ledger and the catalog have."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from archiver.account.archive import Archive
from archiver.control.run import utc_now
from archiver.errors import ArchiverError, Throttled
from archiver.facts.known import Tally
from archiver.mail.folder_names import printable
from archiver.replay.compare.result import NOT_REPLAYED
from archiver.report.balance import gap_failures, judge
from archiver.report.document import Failure, Party, RunReport, Status
from archiver.report.failures import retention_failures
from archiver.report.notices import retention_notices
from pipelines.attempts import RunScope
from pipelines.failures import with_file
from pipelines.reporting.destination import (
    DestinationSide,
    destination_failures,
    destination_notices,
    destination_side,
)
from pipelines.reporting.source import SourceSide, source_notices, source_side
from pipelines.results import retained_from_json

_STEPS = ("enumerate", "archive", "replay", "verify", "retention")


def report_of(
    archive: Archive, run_id: str, error: ArchiverError | None, scope: RunScope, *, step: str = ""
) -> RunReport:
    """The report of the run, from the present state of the ledger."""
    settings, ledger = archive.settings, archive.catalog.ledger
    here, there = source_side(archive, run_id, error), None
    all_sent = scope.as_of is None
    if scope.with_destination:
        there = destination_side(archive, run_id, include_vanished=scope.include_vanished or not all_sent)
    retention = ledger.step_result(run_id, "retention")
    retained = None if retention is None else retained_from_json(retention)
    tallies, failures = list(here.tallies), list(here.failures)
    if there is not None:
        tallies += [Tally(name, None, 0, 0, 0, 0) for name in there.gone]
        failures += destination_failures(archive, there, all_sent=all_sent)
    if retained is not None:
        failures += retention_failures(retained.blocked, retained.kept)
    if error is None:
        explained = {each.folder for each in failures if each.uid is None}
        found = None if there is None else there.found
        failures += gap_failures(tallies, found, here.asked, explained, all_sent=all_sent)
    elif not failures or (there is not None and step in ("replay", "verify")):
        failures.append(Failure(None, None, step, printable(error.message), None, error.hint or "run again"))
    failures = [replace(each, next=with_file(each.next, settings.file)) for each in failures]
    status, exit_code = _judge(failures, here, there, error)
    timings = ledger.timings(run_id)
    return RunReport(
        account=settings.account,
        run=run_id,
        status=status,
        started=next((row[1] for row in ledger.runs() if row[0] == run_id), utc_now()),
        finished=utc_now(),
        exit_code=exit_code,
        folders=tallies,
        skipped=here.plan.skip,
        failures=failures,
        source=Party(settings.source.host, settings.source.user),
        destination=None if there is None else there.found,
        timings={step: timings[step] for step in _STEPS if step in timings},
        as_of=scope.as_of,
        notices=[
            *source_notices(archive, here, tallies),
            *(() if retained is None else retention_notices(retained.forgotten, retained.held)),
            *(() if there is None else destination_notices(archive, there)),
        ],
        began_archive=ledger.begun_by() == run_id,
        again_at=error.again_at if isinstance(error, Throttled) else None,
    )


def _judge(
    failures: Sequence[Failure], here: SourceSide, there: DestinationSide | None, error: ArchiverError | None
) -> tuple[Status, int]:
    """The run's status and exit code."""
    accepted = sum(each.accepted for each in here.quarantined)
    differing = 0
    if there is not None:
        accepted += sum(each.accepted for each in there.refused)
        # Messages that are not at the destination yet are among the failures.
        differing = sum(each["what"] != NOT_REPLAYED for each in there.found.differences)
    return judge(failures, accepted, None if error is None else error.exit_code, differing)
