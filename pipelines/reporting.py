"""A run's end: its report is written from the ledger, whether it went well or not."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from archiver.config import Settings
from archiver.errors import ArchiverError, ConfigError, Locked
from archiver.plan import plan_run
from archiver.report import RunReport, folder_failures, judge, quarantine_failures, unreached_failures
from archiver.wiring import Archive, listing_from_json, open_archive, refused_from_json, utc_now
from pipelines.events import Ended, emit


def end_run(settings: Settings, run_id: str, error: BaseException | None) -> None:
    """Write the run's row and its report; called again, it writes them again. Where there is no archive, it
    cannot be written, or it is not ours, there is no report: the error itself says why."""
    if isinstance(error, Locked | ConfigError):
        return
    try:
        with open_archive(settings) as archive:
            report = report_of(archive, run_id, error)
            archive.catalog.ledger().finish(run_id, report.status, report.exit_code, report.finished)
            path = write_report(archive.reports / run_id / "report.json", report.to_json())
        emit(settings.account, Ended(report.exit_code, str(path)))
    except (ArchiverError, OSError):
        if error is None:
            raise


def report_of(archive: Archive, run_id: str, error: BaseException | None) -> RunReport:
    """The run as the ledger has it now."""
    settings, catalog = archive.settings, archive.catalog
    listing = catalog.ledger().step_result(run_id, "enumerate")
    listed = listing_from_json(listing) if listing else []
    plan = plan_run(
        listed,
        catalog.folders(),
        catalog.epochs(),
        include=settings.folders.include,
        exclude=settings.folders.exclude,
        search=None,
        waiting=(),
    )
    chosen = {each.folder.name for each in [*(each for each, _ in plan.visit), *plan.unchanged]}
    tallies = [each for each in catalog.tallies(run_id) if each.name in chosen or not listed]
    tallies.sort(key=lambda each: (each.name != "INBOX", each.name))
    if error is not None:  # what was not reached stands as the listing said, not as some run before left it
        there = {each.folder.name: each.status.messages for each, _ in plan.visit if each.status}
        tallies = [
            each if each.visited else replace(each, on_server=there.get(each.name, each.on_server))
            for each in tallies
        ]
    quarantined = [each for each in catalog.quarantined() if each.folder in chosen or not listed]
    failures = folder_failures(tallies) + quarantine_failures(quarantined)
    refused = refused_from_json(catalog.ledger().step_result(run_id, "archive") or "{}")
    for each in listed:
        if each.folder.raw in refused:
            failures += unreached_failures([each.folder.name], refused[each.folder.raw])
    if error is not None:
        reason = str(error) if isinstance(error, ArchiverError) else f"unexpected error: {error!r}"
        visited = {each.name for each in tallies if each.visited}
        unfinished = [each.folder.name for each, _ in plan.visit if each.folder.name not in visited]
        failures += unreached_failures(unfinished, f"not reached: {reason}")
    code = None
    if error is not None:
        code = error.exit_code if isinstance(error, ArchiverError) else 1
    status, exit_code = judge(failures, sum(each.accepted for each in quarantined), code)
    started = next((row[1] for row in catalog.ledger().runs() if row[0] == run_id), utc_now())
    return RunReport(
        account=settings.account,
        run=run_id,
        status=status,
        started=started,
        finished=utc_now(),
        exit_code=exit_code,
        folders=tallies,
        skipped=plan.skip,
        failures=failures,
    )


def write_report(path: Path, document: dict[str, Any]) -> Path:
    """Write a JSON document, private and whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".report-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.write("\n")
    os.replace(name, path)
    return path
