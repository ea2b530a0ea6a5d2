"""Writes a run's report from the ledger at its end, whether it succeeded or not."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from archiver.account.account import Account
from archiver.account.archive import Archive
from archiver.archive.plan import plan_run
from archiver.config.age import day_of
from archiver.config.secrecy import redacted
from archiver.config.settings import FilesSettings, Settings, admin_of
from archiver.control.run import utc_now, utc_today
from archiver.errors import (
    ArchiveMissing,
    ArchiveNotWritable,
    ArchiverError,
    BackendError,
    ConfigError,
    Interrupted,
    Locked,
    Throttled,
)
from archiver.events import Noted
from archiver.facts.replica import Refused, ReplicaTally
from archiver.mail.counts import counted
from archiver.mail.folder_names import decode_name, folder_path, printable
from archiver.mail.model import KnownFolder, Listed, Plan, Quarantined, Tally
from archiver.replay.compare.result import NOT_REPLAYED
from archiver.report.document import (
    AtDestination,
    Failure,
    Notice,
    Party,
    RunReport,
    Status,
    folder_failures,
    gap_failures,
    judge,
    missing_failures,
    pending_failures,
    quarantine_failures,
    refusal_failures,
    retention_failures,
    twin_failures,
    unreached_failures,
    with_unreached,
)
from archiver.report.notices import (
    admin_notices,
    doubtful_notices,
    gone_notices,
    left_out_notices,
    pop3_notices,
    renewed_notices,
    retention_notices,
    rights_notices,
    unnumbered_notices,
    window_notices,
)
from archiver.report.pruning import prune_reports
from archiver.storage.files import Writing, make_directories, sync_paths
from pipelines.events import Ended, emit
from pipelines.failures import with_file
from pipelines.fleet.fingerprints import fingerprint_of
from pipelines.results import (
    check_from_json,
    listing_from_json,
    refused_from_json,
    renewed_from_json,
    replay_from_json,
    retained_from_json,
)
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.replay.run import ReplayResult

_STEPS = ("enumerate", "archive", "replay", "verify", "retention")


class RunScope(Struct, frozen=True):
    """What a run includes. `with_destination`: a replay; `include_vanished`: also of messages that are gone from
    the source; `as_of`: of the folders as they were then."""

    with_destination: bool = False
    include_vanished: bool = False
    as_of: str | None = None


def end_run(account: Account, run_id: str, error: BaseException, scope: RunScope, *, step: str) -> None:
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
    archive: Archive,
    run_id: str,
    error: BaseException | None,
    scope: RunScope,
    *,
    step: str = "",
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


def _end_row(archive: Archive, run_id: str, error: BaseException | None) -> None:
    """Record the end of a run that did nothing, if its start was recorded."""
    ledger = archive.catalog.ledger
    if isinstance(error, ArchiverError) and any(row[0] == run_id for row in ledger.runs()):
        ledger.finish(run_id, "failed", error.exit_code, utc_now())


_OLDER = Failure(
    None,
    None,
    "replay",
    "the archive is older than the note next to the account file: it was restored from a backup that does not know "
    "what was pruned, or how far the migration is; so only what is new was sent to the destination",
    None,
    "restore a newer backup; or say how far the migration is by `archiver mark CONFIG cutover`, or another state: "
    "then flags and deletions are followed, also those by `prune`, if [replay] vanished says so",
)


def report_of(
    archive: Archive, run_id: str, error: BaseException | None, scope: RunScope, *, step: str = ""
) -> RunReport:
    """The report of the run, from the present state of the ledger."""
    settings, catalog = archive.settings, archive.catalog
    listing = catalog.ledger.step_result(run_id, "enumerate")
    listed = listing_from_json(listing) if listing else []
    plan = _plan(archive, listed)
    asked = {each.folder.name for each in [*(each for each, _ in plan.visit), *plan.unchanged]}
    held = archive.chosen_folders()
    chosen = {each.folder.name for each in held if each.folder.is_imported or not listed} | (
        asked if listed else set()
    )
    quarantined = [each for each in catalog.account.quarantined() if each.folder in chosen]
    tallies = [each for each in catalog.account.tallies(run_id) if each.name in chosen]
    failures = folder_failures(tallies) + quarantine_failures(quarantined)
    failures += _emptied(archive, held, tallies)
    unreached = _unreached(archive, run_id, plan, listed, tallies, error)
    for name, reason in unreached.items():
        failures += unreached_failures([name], reason)
    tallies = with_unreached(tallies, [each for each, _ in plan.visit], unreached)
    tallies.sort(key=lambda each: (each.name != "INBOX", each.name))
    at_destination = None
    all_sent = scope.as_of is None
    if scope.with_destination:
        at_destination = _at_destination(archive, run_id, scope.include_vanished or not all_sent)
    if at_destination is not None:
        tallies += [Tally(name, None, 0, 0, 0, 0) for name in at_destination.gone]
        failures += _replay_failures(archive, at_destination, all_sent=all_sent)
        if all_sent and archive.is_older:
            failures.append(_OLDER)
    retention = catalog.ledger.step_result(run_id, "retention")
    retained = None if retention is None else retained_from_json(retention)
    if retained is not None:
        failures += retention_failures(retained.blocked, retained.kept)
    if error is None:
        found = at_destination.found if at_destination else None
        explained = {each.folder for each in failures if each.uid is None}
        failures += gap_failures(tallies, found, asked, explained, all_sent=all_sent)
    at_work_there = at_destination is not None and step in ("replay", "verify")
    if error is not None and (at_work_there or not failures):
        advice = (error.hint if isinstance(error, ArchiverError) else None) or "run again"
        failures.append(Failure(None, None, step, printable(_reason(error)), None, advice))
    failures = [replace(each, next=with_file(each.next, settings.file)) for each in failures]
    status, exit_code = _judge(failures, quarantined, at_destination, error)
    timings = catalog.ledger.timings(run_id)
    started = next((row[1] for row in catalog.ledger.runs() if row[0] == run_id), utc_now())
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
        source=Party(settings.source.host, settings.source.user),
        destination=at_destination.found if at_destination else None,
        timings={step: timings[step] for step in _STEPS if step in timings},
        as_of=scope.as_of,
        notices=[
            *renewed_notices(renewed_from_json(listing) if listing else 0),
            *unnumbered_notices([each.name for each in tallies if each.uidvalidity == 0], "source"),
            *window_notices(tallies),
            *admin_notices(
                admin_of(settings.source), [each.name for each in tallies] + [each.name for each, _ in plan.skip]
            ),
            *(() if retained is None else retention_notices(retained.forgotten, retained.held)),
            *_doubtful(settings, {each.name for each in tallies}),
            *(_pop3_notices(archive, tallies) if settings.source.protocol == "pop3" else ()),
            *(_notices_there(archive, at_destination) if at_destination else ()),
        ],
        began_archive=catalog.ledger.begun_by() == run_id,
        again_at=error.again_at if isinstance(error, Throttled) else None,
    )


def _emptied(archive: Archive, held: Sequence[KnownFolder], tallies: Sequence[Tally]) -> list[Failure]:
    """The folders of which the archive should have messages, and has no file at all."""
    stored = {each.name: each.stored for each in tallies if each.stored}
    directories: dict[str, list[str]] = {}
    for each in held:  # several folders may be spelled alike
        directories.setdefault(each.folder.name, []).append(each.directory)
    lost = [
        name for name in stored if name in directories and all(map(archive.medium.is_emptied, directories[name]))
    ]
    why = "no file is where the archive has {} of this folder"
    advice = "restore the files from a backup, or `archiver repair` fetches them again"
    return [
        Failure(printable(name), None, "archive", why.format(counted(stored[name], "message")), None, advice)
        for name in lost
    ]


def _doubtful(settings: Settings, names: Collection[str]) -> list[Notice]:
    """Messages in files that could be read in another way."""
    if not isinstance(settings.source, FilesSettings):
        return []
    from archiver.account.servers import doubts_of

    doubts = doubts_of(settings)
    by_name = {"/".join(folder_path(raw, "/")): found for raw, found in doubts.items()}
    return doubtful_notices({name: found for name, found in by_name.items() if name in names})


def _pop3_notices(archive: Archive, tallies: Sequence[Tally]) -> Iterator[Notice]:
    folders = {each.folder.name: each.number for each in archive.catalog.account.folders().values()}
    for each in tallies:
        if each.name in folders:
            by_digest = archive.catalog.account.numbering(folders[each.name]).by_digest
            yield from pop3_notices(printable(each.name), each.fetched, by_digest)


def _plan(archive: Archive, listed: Sequence[Listed]) -> Plan:
    """What the run had to do, from its listing of the source."""
    folders = archive.settings.folders
    return plan_run(
        listed,
        archive.catalog.account.folders(),
        archive.catalog.account.epochs(),
        include=folders.include,
        exclude=folders.exclude,
        search=None,
        waiting=(),
    )


def _unreached(
    archive: Archive,
    run_id: str,
    plan: Plan,
    listed: Sequence[Listed],
    tallies: Sequence[Tally],
    error: BaseException | None,
) -> dict[str, str]:
    """The folders that were not archived, and why: the server refused them, or the run ended before."""
    refused = refused_from_json(archive.catalog.ledger.step_result(run_id, "archive") or "{}")
    unreached = {each.folder.name: refused[each.folder.raw] for each in listed if each.folder.raw in refused}
    if error is not None:
        visited = {each.name for each in tallies if each.visited} | unreached.keys()
        unfinished = [each.folder.name for each, _ in plan.visit if each.folder.name not in visited]
        unreached |= {name: _not_reached(error, name) for name in unfinished}
    return unreached


def _not_reached(error: BaseException, folder: str) -> str:
    if isinstance(error, Interrupted):
        return "the run was stopped before this folder"
    within = error.reason_within(printable(folder)) if isinstance(error, BackendError) else _reason(error)
    return f"not reached: {within}"


def _judge(
    failures: Sequence[Failure],
    quarantined: Sequence[Quarantined],
    there: _There | None,
    error: BaseException | None,
) -> tuple[Status, int]:
    """The run's status and exit code."""
    code = None
    if error is not None:
        code = error.exit_code if isinstance(error, ArchiverError) else 1
    accepted = sum(each.accepted for each in quarantined)
    accepted += sum(each.accepted for each in (there.refused if there else ()))
    # Messages that are not at the destination yet are among the failures.
    differing = sum(each["what"] != NOT_REPLAYED for each in (there.found.differences if there else ()))
    return judge(failures, accepted, code, differing)


class _There(Struct, frozen=True):
    found: AtDestination
    refused: Sequence[Refused]
    gone: Sequence[str]  # folders that the source no longer has, from which messages were restored
    left_out: Sequence[ReplicaTally] = ()
    result: ReplayResult | None = None  # the step's result; None if it was not completed

    @property
    def notices(self) -> list[Notice]:
        """Notices about copies that were kept for other accounts."""
        left = self.result.left if self.result else ()
        return [Notice(each.folder, "shared", each.count, printable(each.text)) for each in left]


def _at_destination(archive: Archive, run_id: str, include_vanished: bool) -> _There | None:
    """The state of the account's destination, from the ledger."""
    settings = archive.settings.destination
    if settings is None:
        return None
    party = Party(settings.host, settings.user)
    number = archive.destination_number
    if number is None:
        return _There(AtDestination(party, {}), (), ())
    replicas = archive.catalog.replicas
    chosen = {each.folder.name: each.listed for each in archive.replayed_folders(unlisted=include_vanished)}
    checked = archive.catalog.ledger.step_result(run_id, "verify")
    check = check_from_json(checked) if checked else None
    tallies = [each for each in replicas.folders.tallies(number, run_id) if each.folder in chosen]
    tallies = [each if chosen[each.folder] else _all_restored(each) for each in tallies]
    left_out = archive.left_out()
    found = AtDestination(
        party=party,
        tallies={each.folder: each for each in (*tallies, *left_out)},
        verified={name: (each.verified, each.differences) for name, each in check.folders.items()} if check else {},
        losses=[each for each in replicas.folders.losses(number) if each.folder in chosen],
        differences=[
            to_builtins(replace(each, next=with_file(each.next, archive.settings.file)))
            for each in (check.differences if check else ())
        ],
    )
    refused = replicas.pending.refused(number, vanished=include_vanished)
    gone = [each.folder for each in tallies if each.restored and not chosen[each.folder]]
    done = archive.catalog.ledger.step_result(run_id, "replay")
    result = replay_from_json(done) if done else None
    return _There(found, [each for each in refused if each.folder in chosen], gone, left_out, result)


def _notices_there(archive: Archive, there: _There) -> list[Notice]:
    number = archive.destination_number
    folders = archive.catalog.replicas.folders.current(number) if number is not None else {}
    unnumbered = [printable(decode_name(raw)) for raw, each in folders.items() if not each.uidvalidity]
    return [
        *unnumbered_notices(unnumbered, "destination"),
        *gone_notices(archive.stranded_copies()),
        *_rights_notices(archive, number),
        *left_out_notices(archive.left_out_alone()),
        *there.notices,
    ]


def _rights_notices(archive: Archive, destination: int | None) -> list[Notice]:
    """Access rights that the destination did not give, also in earlier runs."""
    if destination is None or not archive.settings.replay.acls:
        return []
    granted = archive.catalog.replicas.sharing.granted(destination)
    names = {each.number: each.folder.name for each in archive.chosen_folders()}
    return rights_notices(
        {names[number]: each.refused for number, each in granted.items() if each.refused and number in names}
    )


def _all_restored(tally: ReplicaTally) -> ReplicaTally:
    """The tally of a folder that the source no longer has: everything that was sent counts as restored."""
    restored = tally.replayed + tally.restored
    return ReplicaTally(tally.folder, tally.name, 0, 0, 0, 0, tally.pending, restored=restored)


def _replay_failures(archive: Archive, there: _There, *, all_sent: bool) -> list[Failure]:
    """What is missing or wrong at the destination; `all_sent`: everything in the archive should be there."""
    failures, result = refusal_failures(there.refused) + twin_failures(there.found.losses), there.result
    if result is not None:
        missing = {each.folder for each in there.left_out}
        tallies = [each for name, each in there.found.tallies.items() if name not in missing]
        if all_sent:
            failures += missing_failures(there.left_out, archive.settings.replay.labels)
        failures += pending_failures(
            [each if all_sent else replace(each, pending=0) for each in tallies], result.errors
        )
    if result is not None and result.blocked_reason is not None:
        confirming = f"`archiver replay --confirm-deletions` {archive.settings.replay.vanished}s them"
        advice = result.advice or confirming
        failures.append(Failure(None, None, "replay", printable(result.blocked_reason), None, advice))
    return failures


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, ArchiverError) else redacted(f"unexpected error: {error!r}")


def write_report(path: Path, document: dict[str, Any]) -> Path:
    """Write a report; durable on return. Its page for people is made when somebody asks for it: to make it takes
    longer than many a run.

    Raises:
        ArchiveNotWritable: there is no room for it.
    """
    encoder = json.JSONEncoder(indent=1, ensure_ascii=False)
    runs = path.parent.parent
    with Writing(os.fspath(runs)):
        make_directories(path.parent)
        _write(path, chain(encoder.iterencode(document), ["\n"]))
        sync_paths([os.fspath(each) for each in (path.parent, runs, runs.parent)])
    return path


def write_page(page: Path, document: Mapping[str, Any], written: int) -> None:
    """Write the page of a report. It gets the time at which the report was `written`, in nanoseconds: a page that
    is older than its report does not belong to it, also if a run has replaced the report in the meantime."""
    from archiver.report.page import render_html

    _write(page, [render_html(document)], written)


def _write(path: Path, text: Iterable[str], modified: int | None = None) -> None:
    """Write a private file, completely or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".report-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(text)
            file.flush()
            if modified is not None:
                os.utime(file.fileno(), ns=(modified, modified))
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
