"""`status`: what archives hold, from their catalogs alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import to_builtins

from archiver.errors import ArchiveMissing, Incomplete
from archiver.facts.replica import RestoreTally
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.model import Quarantined, Tally
from archiver.report.document import (
    not_mapped,
    refusal_failures,
)
from archiver.report.notices import gone_notices, unnumbered_notices, window_notices
from archiver.report.units import size
from archiver.upkeep.holds import active_holds
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.keeping import hold_to_record, hold_words
from pipelines.cli.options import configs_argument, output_options, terminal_of
from pipelines.failures import with_file
from pipelines.outcome import AccountOutcome, look_up_each
from pipelines.show.lines import equation, failure_lines, notice_lines
from pipelines.show.reasons import reason_of

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.catalog.keeping import Forget
    from archiver.config.fleet.files import Chosen
    from archiver.config.load import Settings
    from archiver.facts.access import Entries
    from pipelines.cli.terminal import Terminal

Fields = dict[str, Any]

_RUN_AGAIN = "run again; stored messages are not fetched again"

_SUMMED = ("on_server", "stored", "excluded", "quarantined", "forgotten", "stored_bytes")
_UNFINISHED = ("not opened", "failed")
_WORDS_THERE = {"altered": "shown altered or cut off", "accepted": "accepted although shown altered or cut off"}
_RESTORED = ("asked", "restored", "removed", "refused", "waiting")
_SUMMED_THERE = ("copied", "refused", "removed", "pending", "altered", "accepted")


@click.command
@configs_argument
@click.option("--runs", is_flag=True, help="List all runs, newest first.")
@output_options
def status(
    configs: Chosen,
    runs: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Show what the archives hold: each folder's balance (on server = stored + excluded + quarantined + forgotten),
    the last run, and which messages are in quarantine: they could not be fetched, or the destination refused them,
    and why. No server is contacted and nothing is changed.

    The exit code is that of the last run; it is 3 if that did not end or was stopped, or if something is missing
    from an archive or its destination. For several accounts the reasons are listed below the table.

    \b
      archiver status configs/
      archiver status configs/alice.toml --runs
    """
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    outcomes = look_up_each(accounts.settings, _status)
    results, exit_code = finish(
        terminal, "archiver-status/1", accounts, outcomes, lambda each: each.to_json(each.result)
    )
    for each in results[: len(outcomes)]:
        if each["message"] and not (terminal.tables and accounts.several):
            terminal.problem(f"{each['account']}: {each['message']}")
        elif quiet and each["exit_code"]:
            terminal.problem(f"{each['account']}: {_trouble(each)}")
        elif terminal.tables and (runs or verbose or not accounts.several):
            _show(each, terminal, runs=runs)
    if terminal.tables and accounts.several:
        from pipelines.show.tables import fleet_table

        terminal.out.table(fleet_table(results))
        for each in results:
            if each["exit_code"]:
                terminal.out.say(f"{each['account']}: {each['message'] or _trouble(each)}", "yellow")
    return exit_code


def _status(settings: Settings) -> AccountOutcome[Fields]:
    from archiver.account.account import Account

    account = Account(settings)
    with account.reading(with_catalog=True) as archive:
        reason = account.note.why_not_begin("never") if archive.catalog.account.identity() is None else None
        # A first run that was refused left its reason here, but no mail.
        if isinstance(reason, ArchiveMissing) or (reason and not archive.catalog.ledger.runs()):
            raise reason
        return _held(archive)


def _held(archive: Archive) -> AccountOutcome[Fields]:
    """What one archive holds. A folder that was not opened to its end, or whose last pass failed, counts as
    incomplete."""
    catalog, settings = archive.catalog, archive.settings
    chosen = {each.folder.name for each in archive.chosen_folders()}
    tallies = list(catalog.account.tallies())
    never = chosen - {each.name for each in tallies}
    tallies += [Tally(name, None, 0, 0, 0, 0, visited=False) for name in never]
    tallies.sort(key=lambda each: (each.name != "INBOX", each.name))
    folders = [_folder(each, left_out=each.name not in chosen) for each in tallies]
    quarantined = catalog.account.quarantined()
    unfinished = [each for each in folders if each["state"] in _UNFINISHED]
    there = _there(archive, tallies)
    waiting = sum(not each.accepted for each in quarantined)
    waiting += sum(not each["accepted"] for each in there["refused"]) + there["totals"]["pending"] if there else 0
    restored = catalog.replicas.restores.tallies()
    waiting += sum(each.waiting for each in restored)
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
        "pruned": to_builtins(catalog.prunes.tally()),
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
    return AccountOutcome(settings.account, exit_code, None, fields)


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


def _shared_words(result: Fields) -> str:
    """Which access rights and annotations there are; "" if there are none beside the user's own rights."""
    own = {(result["source"] or {}).get("user"), "owner", "administrators"}
    shared = [each["folder"] for each in result["sharing"] if (each["rights"] or {}).keys() - own]
    noted = sum(len(each["annotations"]) for each in result["sharing"])
    words = []
    if shared:
        words.append(f'{counted(len(shared), "folder")} shared with others (the first is "{shared[0]}")')
    if noted:
        words.append(counted(noted, "annotation"))
    return ", ".join(words) and f"recorded besides: {', '.join(words)}; `--json` lists them"


def _printable(entries: Entries) -> dict[str, str]:
    """For people: a value that is text in UTF-8 is shown as such."""
    shown = {}
    for one, two in entries:
        octets = two.encode("latin-1", "backslashreplace")
        shown[printable(one)] = printable(octets.decode("utf-8", "backslashreplace"))
    return shown


def _last_run(last: Fields) -> str:
    status = "stopped" if (last["exit_code"] or 0) > 128 else last["status"]
    ended = f"{status}, exit code {last['exit_code']}" if status else "did not end"
    why = f": {last['reason']}" if last["reason"] else ""
    if last["again_at"] and last["again_at"] not in why:
        why += f"; may be run again at {last['again_at']}"
    return f"{last['run']}: {ended}, {last['finished'] or last['started']}{why}"


def _trouble(result: Fields) -> str:
    """Why the exit code is not 0, in one line, for --quiet."""
    words = [f"{len(result['quarantined']):,} in quarantine"] if result["quarantined"] else []
    if (there := result["destination"]) is not None:
        totals = there["totals"]
        words += [
            f"{totals[name]:,} {_WORDS_THERE.get(name, name)} at {there['server']}"
            for name in ("refused", "pending", "altered")
            if totals[name]
        ]
    if waiting := sum(each["waiting"] for each in result["restored"]):
        words.append(f"{counted(waiting, 'message')} not restored yet")
    unfinished = [each["name"] for each in result["folders"] if each["error"]]
    if unfinished:
        words.append(f'{counted(len(unfinished), "folder")} failed (the first is "{unfinished[0]}")')
    unopened = [each["name"] for each in result["folders"] if each["state"] == "not opened"]
    if unopened:
        words.append(f'{counted(len(unopened), "folder")} not opened to the end yet (the first is "{unopened[0]}")')
    if result["runs"] and result["runs"][0]["status"] != "complete":
        words.append(f"last run {_last_run(result['runs'][0])}")
    return "; ".join(words) or "some folders are incomplete"


def _there(archive: Archive, held: Sequence[Tally]) -> Fields | None:
    """What the account's destination holds and what waits for it; None if it has no destination, or if there is no
    mail for it yet."""
    settings, number = archive.settings.destination, archive.destination_number
    if settings is None:
        return None
    replicas, chosen = archive.catalog.replicas, {each.folder.name for each in archive.replayed_folders()}
    mapped = () if number is None else replicas.folders.tallies(number, None)
    left_out = [each for each in archive.left_out() if each.pending]
    refused = [] if number is None else [each for each in replicas.pending.refused(number) if each.folder in chosen]
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
        "totals": {name: sum(each[name] for each in folders) for name in _SUMMED_THERE},
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
        "kept": kept,
    }


def _forgotten_words(forgets: Sequence[Fields]) -> tuple[str, str | None]:
    """What was forgotten, in one line, and its colour."""
    messages = sum(each["messages"] for each in forgets)
    words = f"{counted(messages, 'message')} forgotten, the last on {forgets[-1]['at'][:10]}"
    if not all(each["done"] for each in forgets):
        return f"{words}; a forget was cut off: the next command that writes to the archive ends it", "yellow"
    if kept := sum(len(each["kept"]) for each in forgets):
        return f"{words}; {kept:,} could not be removed: `archiver forget --finish` tries again", "yellow"
    return words, None


def _quarantined(each: Quarantined) -> Fields:
    return {**to_builtins(each), "folder": printable(each.folder)}


def _whose(source: Fields) -> str:
    return (
        f"the files at {source['user']}"
        if source["protocol"] == "files"
        else f"{source['user']} at {source['host']}"
    )


def _show(result: Fields, terminal: Terminal, *, runs: bool) -> None:
    from pipelines.show.tables import held_table, runs_table

    out, source = terminal.out, result["source"]
    of = f" of {_whose(source)}" if source else ""
    out.say(f"\n{result['account']}: {result['archive']}{of}", "bold")
    if runs:
        out.table(runs_table(result["runs"]))
    if result["folders"]:
        out.table(held_table(result["folders"], result["totals"]))
        counted_all = not any(each["state"] in _UNFINISHED for each in result["folders"])
        held = equation(result["totals"], counted=counted_all)
        several = f", in {len(result['folders']):,} folders" if len(result["folders"]) > 1 else ""
        out.say(f"{held}{several}; {size(result['totals']['stored_bytes'])}")
    if (there := result["destination"]) is not None:
        words = ", ".join(
            f"{there['totals'][name]:,} {_WORDS_THERE.get(name, name)}"
            for name in _SUMMED_THERE
            if there["totals"][name]
        )
        out.say(f"at {there['server']}, {there['user']}: {words or 'nothing yet'}")
    if words := _shared_words(result):
        out.say(words)
    for each in result["restored"]:
        out.say(_restored_words(each), "yellow" if each["waiting"] or each["refused"] else None)
    if result["forgotten"]:
        out.say(*_forgotten_words(result["forgotten"]))
    for each in result["holds"]:
        out.say(f"hold {each['number']}: {hold_words(each)}", "yellow")
    if words := _pruned_words(result["pruned"]):
        out.say(words)
    if result["runs"]:
        last = result["runs"][0]
        out.say(f"last run {_last_run(last)}")
    failed = [
        {"folder": each["name"], "uid": None, "reason": each["error"], "server_reply": None, "next": _RUN_AGAIN}
        for each in result["folders"]
        if each["error"]
    ]
    if failed:
        out.say(f"{counted(len(failed), 'folder')} failed:", "yellow")
        for line in failure_lines(failed):
            out.say(line)
    for line in notice_lines(result["notices"]):
        out.say(line, "yellow")
    _show_quarantine(result, terminal)
    if there is not None and there["refused"]:
        out.say(f"{len(there['refused'])} refused by {there['server']}:", "yellow")
        for line in failure_lines(there["refused"]):
            out.say(line)


_WORDS_RESTORED = {
    "removed": "of them moved or deleted there since",
    "refused": "refused",
    "waiting": "not sent yet: give the same `archiver restore` again",
}


def _pruned_words(pruned: Fields) -> str:
    """What was removed from the source, in one line; "" if nothing was."""
    words = []
    if pruned["messages"]:
        many, last = counted(pruned["messages"], "message"), pruned["last"][:10]
        words.append(f"pruned from the source: {many}, last on {last}")
    if pruned["unknown"]:
        words.append(f"of {counted(pruned['unknown'], 'message')} it is not known: the next prune finds out")
    return "; ".join(words)


def _restored_words(each: Fields) -> str:
    """What was restored to one place, in one line."""
    where = "their own folders" if each["into"] is None else f'"{each["into"]}"'
    words = [f"restored to {where} of {each['user']} at {each['host']} on {each['at'][:10]} by {each['by']}"]
    words.append(counted(each["restored"] + each["removed"], "message"))
    words += [f"{each[name]:,} {text}" for name, text in _WORDS_RESTORED.items() if each[name]]
    return f"{words[0]}: {', '.join(words[1:])}"


def _show_quarantine(result: Fields, terminal: Terminal) -> None:
    waiting = result["quarantined"]
    if not waiting:
        return
    terminal.out.say(f"{len(waiting)} in quarantine:", "yellow")
    lines = [each | {"next": _next(each, result["file"])} for each in waiting]
    for line in failure_lines(lines):
        terminal.out.say(line)


def _next(quarantined: Fields, file: str) -> str:
    if quarantined["accepted"]:
        return "you accepted that these are not in the archive"
    advice = "`archiver retry` tries again; `archiver retry --accept` accepts what the server gives, or the loss"
    return with_file(advice, Path(file))
