"""What one archive holds, as JSON for programs, and how its account stands by that."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins
from msgspec.structs import replace

from archiver.control.run import moment
from archiver.errors import Incomplete
from archiver.facts.known import Quarantined, Tally
from archiver.facts.restored import RestoreTally
from archiver.fleet.model import Account
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.document import not_mapped
from archiver.report.failures import refusal_failures
from archiver.report.notices import gone_notices, unnumbered_notices, window_notices
from archiver.upkeep.holds import active_holds
from pipelines.cli.keeping import hold_to_record
from pipelines.failures import with_file
from pipelines.fleet.at_work import Locks
from pipelines.fleet.history import MigrationState, known_state
from pipelines.fleet.refill import report_of
from pipelines.fleet.standing import Standing, by_ledger, judged
from pipelines.show.reasons import next_step_of, reason_of

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.catalog.keeping import Forget
    from archiver.facts.access import Entries

Fields = dict[str, Any]

RUN_AGAIN = "run again; stored messages are not fetched again"
UNFINISHED = ("not opened", "failed")
WORDS_THERE = {"altered": "shown altered or cut off", "accepted": "accepted although shown altered or cut off"}
SUMMED_THERE = ("copied", "refused", "removed", "pending", "altered", "accepted")

_SUMMED = ("on_server", "stored", "excluded", "quarantined", "forgotten", "stored_bytes")
_RESTORED = ("asked", "restored", "removed", "refused", "waiting")


def standing_of(archive: Archive, fields: Fields, exit_code: int, row: Account | None) -> Standing:
    """How the account stands by its archive; what only the ledger knows is taken from its `row`: the state, and
    when somebody looked last and found nothing new."""
    settings, totals, there = archive.settings, fields["totals"], fields["destination"]
    last = fields["runs"][0] if fields["runs"] else dict.fromkeys(("run", "started", "finished", "exit_code"))
    if settings.destination is None:
        gone = sum(totals[name] for name in ("stored", "excluded", "quarantined", "forgotten"))
        waiting = max(0, totals["on_server"] - gone)
    else:
        waiting = totals["stored"] if there is None else there["totals"]["pending"]
        waiting += fields["pruned"]["unsent"]
    state, now = known_state(archive), time.time()
    if row is not None:
        state = MigrationState(row.state, row.state_since, row.state_by)
    good = [each["finished"] for each in fields["runs"] if each["status"] == "complete" and each["exit_code"] == 0]
    success = max([*good[:1], *([row.success] if row is not None and row.success else [])], default=None)
    due = None if row is None or row.due is None or row.due <= now else row.due
    report = report_of(archive.reports / str(last["run"])) if last["exit_code"] else {}
    at_work = (row is not None and row.claim is not None) or Locks().is_held(settings.archive.path)
    standing = judged(
        Standing(
            account=settings.account,
            file=str(settings.file),
            condition="done",
            exit_code=last["exit_code"] or 0,
            state=state.state,
            state_since=state.since,
            state_by=state.by,
            messages=totals["stored"],
            octets=totals["stored_bytes"],
            messages_to_go=waiting,
            octets_to_go=waiting and totals["stored_bytes"] * waiting // max(1, totals["stored"]),
            run=last["run"],
            began=last["started"],
            ended=last["finished"],
            success=success,
            cause=reason_of(report),
            next_step=next_step_of(report),
            again_at=report.get("again_at") or (None if due is None else moment(due)),
        ),
        now,
        at_work=at_work,
    )
    if (stranger := archive.stranger) is not None:
        return replace(
            standing,
            condition="failed",
            exit_code=stranger.exit_code,
            cause=stranger.message,
            next_step=stranger.hint,
        )
    run = None if row is None else row.last
    if row is not None and run is not None and run.run != last["run"] and run.began >= (last["started"] or ""):
        # A run that was killed at once, or refused, is in the ledger alone.
        newest = by_ledger(settings.account, str(settings.file), row, now, at_work=at_work)
        if newest.exit_code:
            told = {name: getattr(newest, name) for name in ("run", "began", "ended", "cause", "next_step")}
            return replace(standing, condition=newest.condition, exit_code=newest.exit_code, **told)
    if (exit_code and not standing.exit_code) or (standing.condition == "incomplete" and not last["exit_code"]):
        told = {"cause": trouble(fields), "next_step": standing.next_step or RUN_AGAIN}
        return replace(standing, condition="incomplete", exit_code=exit_code or standing.exit_code, **told)
    if standing.condition == "never" and totals["stored"]:
        return replace(standing, condition="done")  # a rebuilt catalog knows no runs
    return standing


def held(archive: Archive) -> tuple[Fields, int]:
    """What one archive holds, and the exit code that follows from that. A folder that was not opened to its end,
    or whose last pass failed, counts as incomplete."""
    catalog, settings = archive.catalog, archive.settings
    chosen = {each.folder.name for each in archive.chosen_folders()}
    tallies = list(catalog.account.tallies())
    never = chosen - {each.name for each in tallies}
    tallies += [Tally(name, None, 0, 0, 0, 0, visited=False) for name in never]
    tallies.sort(key=lambda each: (each.name != "INBOX", each.name))
    folders = [_folder(each, left_out=each.name not in chosen) for each in tallies]
    quarantined = catalog.account.quarantined()
    unfinished = [each for each in folders if each["state"] in UNFINISHED]
    there = _there(archive, tallies)
    waiting = sum(not each.accepted for each in quarantined)
    waiting += sum(not each["accepted"] for each in there["refused"]) + there["totals"]["pending"] if there else 0
    restored = catalog.replicas.restores.tallies()
    waiting += sum(each.waiting for each in restored)
    unsent = 0 if settings.destination is None else sum(count for _, count in archive.unsent_pruned())
    waiting += unsent
    identity, runs = catalog.account.identity(), catalog.ledger.runs()
    ended_well = not runs or runs[-1][3] == "complete"  # a rebuilt catalog knows no runs
    fields: Fields = {
        "file": str(settings.file),
        "archive": str(settings.archive.path),
        "source": identity and {name: getattr(identity, name) for name in ("protocol", "host", "user")},
        "folders": folders,
        "totals": {name: sum(getattr(each, name) for each in tallies) for name in _SUMMED},
        "quarantined": [_quarantined(each) for each in quarantined],
        "notices": [
            to_builtins(each)
            for each in (
                *unnumbered_notices([each.name for each in tallies if each.uidvalidity == 0], "source"),
                *window_notices(tallies),
                *gone_notices(archive.stranded_copies()),
            )
        ],
        "sharing": _sharing(archive),
        "destination": there,
        "restored": [_restored(each) for each in restored],
        "forgotten": [_forgotten(each) for each in catalog.keeping.forgets()],
        "holds": [hold_to_record(each) for each in active_holds(catalog.keeping)],
        "pruned": {**to_builtins(catalog.prunes.tally()), "unsent": unsent},
        "runs": [
            dict(zip(("run", "started", "finished", "status", "exit_code"), row, strict=True))
            | (_why(archive, row[0]) if row is runs[-1] and row[3] != "complete" else _NOTHING_WRONG)
            for row in reversed(runs)
        ],
    }
    fields["again_at"] = fields["runs"][0]["again_at"] if fields["runs"] else None
    exit_code = 0 if ended_well and not unfinished and not waiting else Incomplete.exit_code
    if runs and 0 < (runs[-1][4] or 0) < 128:  # a signal stopped that run, not this command
        exit_code = runs[-1][4] or exit_code
    return fields, exit_code


_NOTHING_WRONG: Fields = {"reason": None, "again_at": None}


def _why(archive: Archive, run_id: str) -> Fields:
    """Why a run's exit code is not 0, and when a server or a limit lets the account go on, from its report; None if
    there is no report."""
    try:
        document = json.loads((archive.reports / run_id / "report.json").read_text(encoding="utf-8"))
        return {"reason": reason_of(document), "again_at": document.get("again_at")}
    except (OSError, ValueError, KeyError, TypeError):
        return _NOTHING_WRONG


def _sharing(archive: Archive) -> list[Fields]:
    """Access rights and annotations, by folder; "" is the server. Without what nobody set."""
    sharing, account = archive.catalog.replicas.sharing, archive.catalog.account
    rights, notes = sharing.rights(), sharing.annotations()
    names = {each.number: printable(each.folder.name) for each in account.folders().values()} | {0: ""}
    return [
        {
            "folder": names[number],
            "rights": None if held is None or held.entries is None else _printable(held.entries),
            "mine": held and held.mine,
            "annotations": _printable(noted.entries) if (noted := notes.get(number)) else {},
            "left_out": noted and noted.left_out,
        }
        for number in sorted(rights.keys() | notes.keys(), key=lambda each: names.get(each, ""))
        for held in [rights.get(number)]
        if number in names
    ]


def _printable(entries: Entries) -> dict[str, str]:
    """For people: a value that is text in UTF-8 is shown as such."""
    shown = {}
    for one, two in entries:
        octets = two.encode("latin-1", "backslashreplace")
        shown[printable(one)] = printable(octets.decode("utf-8", "backslashreplace"))
    return shown


def trouble(result: Fields) -> str:
    """Why the exit code is not 0, in one line, for --quiet."""
    words = [f"{len(result['quarantined']):,} in quarantine"] if result["quarantined"] else []
    if (there := result["destination"]) is not None:
        totals = there["totals"]
        words += [
            f"{totals[name]:,} {WORDS_THERE.get(name, name)} at {there['server']}"
            for name in ("refused", "pending", "altered")
            if totals[name]
        ]
    if unsent := result["pruned"]["unsent"]:
        words.append(f"{counted(unsent, 'pruned message')} not at the destination yet")
    if waiting := sum(each["waiting"] for each in result["restored"]):
        words.append(f"{counted(waiting, 'message')} not restored yet")
    unfinished = [each["name"] for each in result["folders"] if each["error"]]
    if unfinished:
        words.append(f'{counted(len(unfinished), "folder")} failed (the first is "{unfinished[0]}")')
    unopened = [each["name"] for each in result["folders"] if each["state"] == "not opened"]
    if unopened:
        words.append(f'{counted(len(unopened), "folder")} not opened to the end yet (the first is "{unopened[0]}")')
    if result["runs"] and result["runs"][0]["status"] != "complete":
        words.append(f"last run {last_run_words(result['runs'][0])}")
    return "; ".join(words) or "some folders are incomplete"


def last_run_words(last: Fields) -> str:
    status = "stopped" if (last["exit_code"] or 0) > 128 else last["status"]
    ended = f"{status}, exit code {last['exit_code']}" if status else "did not end"
    why = f": {last['reason']}" if last["reason"] else ""
    if last["again_at"] and last["again_at"] not in why:
        why += f"; may be run again at {last['again_at']}"
    return f"{last['run']}: {ended}, {last['finished'] or last['started']}{why}"


def _there(archive: Archive, held: Sequence[Tally]) -> Fields | None:
    """What the account's destination holds and what waits for it; None if it has no destination, or if there is no
    mail for it yet."""
    settings, number = archive.settings.destination, archive.destination_number
    if settings is None:
        return None
    replicas, chosen = archive.catalog.replicas, {each.folder.name for each in archive.replayed_folders()}
    gone = {each.folder.name for each in archive.pruned_folders()}
    mapped = () if number is None else replicas.folders.tallies(number, None)
    left_out = [each for each in archive.left_out() if each.pending]
    refused = [] if number is None else replicas.pending.refused(number)
    refused = [each for each in refused if each.folder in chosen | gone]
    known = {each.folder for each in mapped}
    waiting = [not_mapped(each) for each in held if each.name in chosen - known and each.stored]
    tallies = [*(each for each in mapped if each.folder in chosen), *waiting, *left_out]
    if number is None and not tallies:
        return None
    folders = [
        {"name": printable(each.folder), "there": printable(each.name)}
        | {"copied": each.replayed + each.already_there}
        | {name: getattr(each, name) for name in ("refused", "removed", "pending", "altered", "accepted")}
        for each in tallies
    ]
    return {
        "server": settings.host,
        "user": settings.user,
        "folders": folders,
        "totals": {name: sum(each[name] for each in folders) for name in SUMMED_THERE},
        "refused": [
            to_builtins(failure)
            | {"next": with_file(failure.next, archive.settings.file), "accepted": each.accepted}
            for failure, each in zip(refusal_failures(refused), refused, strict=True)
        ],
    }


def _folder(tally: Tally, *, left_out: bool) -> Fields:
    """`state`: "complete"; "failed"; "not opened" if no run has opened it to its end, so that nobody knows what is
    on the server; "left out" if the account's rules, or the server, leave it out now."""
    state = "complete" if tally.visited and tally.balanced else "not opened"
    error = None if tally.error is None or left_out else printable(tally.error)
    state = "left out" if left_out else "failed" if error else state
    named = {"name": printable(tally.name), "uidvalidity": tally.uidvalidity, "shown": tally.shown}
    return {**named, **{name: getattr(tally, name) for name in _SUMMED}, "error": error, "state": state}


def _restored(tally: RestoreTally) -> Fields:
    """What was restored to one place. `into` is None for messages that went back to their own folders."""
    counts = {name: getattr(tally, name) for name in _RESTORED}
    address, into = tally.place.address, tally.place.into
    where = {"host": address.host, "user": address.user, "port": address.port, "into": into and printable(into)}
    return {**where, **counts, "at": tally.at, "by": printable(tally.by)}


def _forgotten(each: Forget) -> Fields:
    kept = [{"what": printable(what), "why": printable(why)} for what, why in each.kept]
    return {
        "number": each.number,
        "at": each.at,
        "by": printable(each.by),
        "reason": printable(each.reason),
        "messages": each.messages,
        "places": each.places,
        "done": each.erased_at is not None,
        "copies_left": each.copies_left,
        "by_rule": each.by_rule,
        "kept": kept,
    }


def _quarantined(each: Quarantined) -> Fields:
    return {**to_builtins(each), "folder": printable(each.folder)}
