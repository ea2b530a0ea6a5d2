"""`status`: what archives hold, from their catalogs alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archiver.account.note import why_not_begin
from archiver.account.opening import Archive
from archiver.account.reading import existing_archive
from archiver.account.replay import chosen_folders, destination_number, stranded_copies
from archiver.config.load import Settings
from archiver.errors import ArchiveMissing, ArchiverError, worst
from archiver.mail.folder_names import printable
from archiver.mail.model import Quarantined, Tally
from archiver.report.document import gone_notices, refusal_failures, window_notices
from pipelines.cli.terminal import Terminal, load_accounts
from pipelines.failures import logged
from pipelines.reasons import reason_of
from pipelines.show.tables import equation, failure_lines, fleet_table, folders_table, notice_lines, runs_table

_SUMMED = ("on_server", "stored", "excluded", "quarantined")
_SUMMED_THERE = ("copied", "refused", "removed", "pending")


def show_status(configs: Sequence[Path], terminal: Terminal, *, runs: bool) -> int:
    """Tell what the archives of `configs` hold; returns the worst exit code."""
    accounts = load_accounts(configs, terminal)
    results = [_status(settings) for settings in accounts.settings]
    results += [_failed(each.account, each.error) for each in accounts.refused]
    exit_code = worst(each["exit_code"] for each in results)
    terminal.document({"format": "archiver-status/1", "accounts": results, "exit_code": exit_code})
    for each in results[: len(accounts.settings)]:
        if each["message"]:
            terminal.problem(f"{each['account']}: {each['message']}")
        elif terminal.quiet and each["exit_code"]:
            terminal.problem(f"{each['account']}: {_trouble(each)}")
        elif terminal.tables and (runs or terminal.verbose or not accounts.several):
            _show(each, terminal, runs=runs)
    if terminal.tables and accounts.several:
        terminal.out.table(fleet_table(results))
    return exit_code


def _status(settings: Settings) -> dict[str, Any]:
    try:
        with existing_archive(settings) as archive:
            reason = why_not_begin(settings, "never") if archive.catalog.identity() is None else None
            # A first run that was not let in left no mail here, but its reason.
            if isinstance(reason, ArchiveMissing) or (reason and not archive.catalog.ledger().runs()):
                raise reason
            return _held(archive)
    except Exception as error:
        return _failed(settings.account, logged(error))


def _failed(account: str, error: ArchiverError) -> dict[str, Any]:
    return {"account": account, "exit_code": error.exit_code, "message": str(error)}


def _held(archive: Archive) -> dict[str, Any]:
    """What one archive holds. Folders of which the newest pass failed or does not balance count as incomplete."""
    catalog, settings = archive.catalog, archive.settings
    tallies = sorted(catalog.tallies(), key=lambda each: (each.name != "INBOX", each.name))
    quarantined = catalog.quarantined()
    unfinished = [each for each in tallies if each.error is not None or not each.balanced]
    there = _there(archive)
    waiting = sum(not each.accepted for each in quarantined)
    waiting += sum(not each["accepted"] for each in there["refused"]) + there["totals"]["pending"] if there else 0
    identity, runs = catalog.identity(), catalog.ledger().runs()
    ended_well = not runs or runs[-1][3] == "complete"  # a rebuilt catalog knows no runs
    return {
        "account": settings.account,
        "exit_code": 0 if ended_well and not unfinished and not waiting else 3,
        "message": None,
        "archive": str(settings.archive.path),
        "source": identity and {name: getattr(identity, name) for name in ("protocol", "host", "user")},
        "folders": [_folder(each) for each in tallies],
        "totals": {name: sum(getattr(each, name) for each in tallies) for name in _SUMMED},
        "quarantined": [_quarantined(each) for each in quarantined],
        "notices": [asdict(each) for each in (*window_notices(tallies), *gone_notices(stranded_copies(archive)))],
        "destination": there,
        "runs": [
            dict(zip(("run", "started", "finished", "status", "exit_code"), row, strict=True))
            | {"reason": _reason(archive, row[0]) if row is runs[-1] and row[3] != "complete" else None}
            for row in reversed(runs)
        ],
    }


def _reason(archive: Archive, run_id: str) -> str | None:
    """Why a run's exit code is not 0, as its report says; None where there is none."""
    try:
        return reason_of(json.loads((archive.reports / run_id / "report.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _last_run(last: dict[str, Any]) -> str:
    ended = f"{last['status']}, exit code {last['exit_code']}" if last["status"] else "did not end"
    why = f": {last['reason']}" if last["reason"] else ""
    return f"{last['run']}: {ended}, {last['finished'] or last['started']}{why}"


def _trouble(result: dict[str, Any]) -> str:
    """Why the exit code is not 0, in one line, for --quiet."""
    words = [f"{len(result['quarantined']):,} in quarantine"] if result["quarantined"] else []
    if (there := result["destination"]) is not None:
        totals = there["totals"]
        words += [
            f"{totals[name]:,} {name} at {there['server']}" for name in ("refused", "pending") if totals[name]
        ]
    unfinished = [each["name"] for each in result["folders"] if each["error"]]
    words += [f'{len(unfinished):,} folders failed (the first is "{unfinished[0]}")'] if unfinished else []
    if result["runs"] and result["runs"][0]["status"] != "complete":
        words.append(f"last run {_last_run(result['runs'][0])}")
    return "; ".join(words) or "some folders are not complete"


def _there(archive: Archive) -> dict[str, Any] | None:
    """What the account's destination holds of it; None if it has none, or nothing was replayed yet."""
    settings, number = archive.settings.destination, destination_number(archive)
    if settings is None or number is None:
        return None
    copies, chosen = archive.catalog.at_destinations(), {each.folder.name for each in chosen_folders(archive)}
    tallies = [each for each in copies.tallies(number, None) if each.folder in chosen]
    refused = [each for each in copies.refused(number) if each.folder in chosen]
    folders = [
        {"name": printable(each.folder), "there": printable(each.name)}
        | {"copied": each.replayed + each.already_there}
        | {name: getattr(each, name) for name in ("refused", "removed", "pending")}
        for each in tallies
    ]
    return {
        "server": settings.host,
        "user": settings.user,
        "folders": folders,
        "totals": {name: sum(each[name] for each in folders) for name in _SUMMED_THERE},
        "refused": [
            asdict(failure) | {"accepted": each.accepted}
            for failure, each in zip(refusal_failures(refused), refused, strict=True)
        ],
    }


def _folder(tally: Tally) -> dict[str, Any]:
    counts = {name: getattr(tally, name) for name in _SUMMED}
    error = None if tally.error is None else printable(tally.error)
    named = {"name": printable(tally.name), "uidvalidity": tally.uidvalidity, "shown": tally.shown}
    return {**named, **counts, "error": error}


def _quarantined(each: Quarantined) -> dict[str, Any]:
    return asdict(each) | {"folder": printable(each.folder)}


def _show(result: dict[str, Any], terminal: Terminal, *, runs: bool) -> None:
    out, source = terminal.out, result["source"]
    of = f" of {source['user']} at {source['host']}" if source else ""
    out.say(f"\n{result['account']}: {result['archive']}{of}", "bold")
    if runs:
        out.table(runs_table(result["runs"]))
    if result["folders"]:
        out.table(folders_table(result["folders"], result["totals"], work=False, every=True))
        out.say(equation(result["totals"]))
    if (there := result["destination"]) is not None:
        words = ", ".join(f"{there['totals'][name]:,} {name}" for name in _SUMMED_THERE if there["totals"][name])
        out.say(f"at {there['server']}, {there['user']}: {words or 'nothing yet'}")
    if result["runs"]:
        last = result["runs"][0]
        out.say(f"last run {_last_run(last)}")
    for each in result["folders"]:
        if each["error"]:
            out.say(f'folder "{each["name"]}": {printable(each["error"])}', "yellow")
    for line in notice_lines(result["notices"]):
        out.say(line, "yellow")
    _show_quarantine(result, terminal)
    if there is not None and there["refused"]:
        out.say(f"{len(there['refused'])} refused by {there['server']}:", "yellow")
        for line in failure_lines(there["refused"]):
            out.say(line)


def _show_quarantine(result: dict[str, Any], terminal: Terminal) -> None:
    waiting = result["quarantined"]
    if not waiting:
        return
    terminal.out.say(f"{len(waiting)} in quarantine:", "yellow")
    lines = [each | {"next": _next(each)} for each in waiting]
    for line in failure_lines(lines):
        terminal.out.say(line)


def _next(quarantined: dict[str, Any]) -> str:
    if quarantined["accepted"]:
        return "a person accepted that these are not in the archive"
    return "`archiver retry` tries again; `archiver retry --accept` takes what the server gives, or the loss"
