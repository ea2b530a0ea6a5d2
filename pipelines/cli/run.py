"""`run`: archive, replay and compare; the steps of `archive`, `replay` and `retry` are done and shown here, too."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from sys import intern
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from archiver.control.run import utc_now
from archiver.errors import ArchiverError, ConfigError, stopped_code, worst
from archiver.events import Noted
from archiver.mail.counts import counted
from archiver.report.document import ACCEPTED, nothing_new
from pipelines.cli.accounts import Accounts, load_accounts, warn_of_sharing
from pipelines.cli.check import plan_accounts
from pipelines.cli.indexing import read_after_run
from pipelines.cli.options import (
    after_cutover_option,
    configs_argument,
    confirm_deletions_option,
    destination_answer,
    dry_run_option,
    max_duration_option,
    new_archive_option,
    new_destination_option,
    new_source_option,
    output_options,
    run_id_of,
    run_id_option,
    same_destination_option,
    scheduler_url_option,
    terminal_of,
    workers_option,
)
from pipelines.cli.others import Others, tell_refused
from pipelines.events import forward_logs
from pipelines.outcome import AccountOutcome
from pipelines.show.lines import (
    destination_equation,
    difference_lines,
    equation,
    failure_lines,
    loss_lines,
    notice_lines,
)
from pipelines.show.reasons import reason_of
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from pipelines.attempts import Options, Run
    from pipelines.cli.console import PlainConsole
    from pipelines.cli.terminal import Terminal
    from pipelines.events import Listener
    from pipelines.graph.board import Board

_SIDE_BY_SIDE = 4


@click.command
@configs_argument
@dry_run_option
@run_id_option
@workers_option
@scheduler_url_option
@max_duration_option
@new_source_option
@new_archive_option
@same_destination_option
@new_destination_option
@confirm_deletions_option
@after_cutover_option
@output_options
def run(
    configs: Chosen,
    dry_run: bool,
    run_id: str | None,
    workers: int | None,
    scheduler_url: str | None,
    max_seconds: float | None,
    new_source: bool,
    new_archive: bool,
    same_destination: bool,
    new_destination: bool,
    confirm_deletions: bool,
    after_cutover: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Archive the accounts: list the folders, fetch new messages by UID, update flags, mark messages that vanished,
    and write a report. Only new messages are fetched, so run it every night. A run that was stopped or killed is
    resumed by the next one. Several accounts run at the same time, and one that fails does not stop the others.

    An account with a [destination] is then replayed: folders, messages, flags and dates are copied there from the
    archive, each message once, and every copy is compared with the archive. Run it as often as you like while
    people still use the old server, and a last time on the night of the move.

    A destination is recognised by the copies in it, not by its address. If the mailbox is not the one of the last
    run, or was never filled by this archive and is already in use, or is the source's own mailbox, nothing is sent:
    the exit code is 2 until you give --same-destination or --new-destination, once.

    The source is never changed: folders are opened read-only and nothing is marked as read. Messages that are
    deleted on the server stay in the archive. Messages that cannot be fetched, or that the destination refuses, are
    listed and tried again by the next runs, and the exit code is 3.

    The first run begins an archive and says so. It also writes a file next to the account file (alice.archive) that
    records this. If a later run does not find the archive, for instance because a disk is not mounted, the exit
    code is 8; use --new-archive to begin another one.

    \b
      archiver run configs/alice.toml          one account
      archiver run configs/                    all accounts of a folder
      archiver run configs/ --dry-run          what would be fetched, and which folder goes where
      archiver run configs/ --quiet            for cron: show only problems
      archiver run configs/ --json >run.json   for programs
    """
    from pipelines.attempts import Options

    options = Options(
        steps="run",
        run_id=run_id_of(run_id),
        scheduler_url=scheduler_url,
        max_seconds=max_seconds,
        new_source=new_source,
        new_archive=new_archive,
        destination_is=destination_answer(same_destination, new_destination),
        confirm_deletions=confirm_deletions,
        after_cutover=after_cutover,
    )
    return run_or_plan(configs, options, workers, terminal_of(as_json, quiet, verbose), dry_run=dry_run)


def run_or_plan(
    configs: Chosen, options: Options, workers: int | None, terminal: Terminal, *, dry_run: bool
) -> int:
    """Do the steps of `options`, or with `dry_run` only print what they would do; returns the worst exit code."""
    if not dry_run:
        return run_accounts_of(configs, options, workers, terminal)
    return plan_accounts(
        configs,
        terminal,
        new_source=options.new_source,
        new_archive=options.new_archive,
        answer=options.destination_is,
        with_destination=options.steps == "run",
    )


def run_accounts_of(configs: Chosen, options: Options, workers: int | None, terminal: Terminal) -> int:
    """Do the steps of `options` for the accounts that `configs` name, `workers` at a time (None: up to four);
    returns the worst exit code.

    Raises:
        ConfigError: the only account is to be replayed and has no destination.
    """
    from archiver.account.others import sharing_of
    from pipelines.fleet.record import FleetRecord
    from pipelines.hosts.share import run_with_others
    from pipelines.hosts.teller import is_first_to_tell

    began = time.monotonic()
    verb = options.steps if options.retry == "due" else "retry"
    try:
        accounts = load_accounts(configs, terminal)
        if options.steps == "replay":
            accounts = _with_destination(accounts, terminal)
    except ArchiverError as error:
        tell_refused(verb, configs, error, terminal)
        raise
    sharing = sharing_of(accounts.settings)
    warn_of_sharing(sharing.values(), terminal, with_destination=options.steps != "archive")
    options = replace(options, workers=workers or min(_SIDE_BY_SIDE, max(1, len(accounts.settings))))
    others = Others(verb, accounts, terminal)
    try:
        board = board_of(options.scheduler_url, accounts.names, terminal)
        recorded_as = _recorded_as(verb, options)
        record = FleetRecord(recorded_as, accounts.settings, terminal.warn)
        with terminal.progress(accounts.names) as display, forward_logs(lambda text: display("", Noted(text))):
            if options.max_seconds is not None:
                STOP.after(options.max_seconds - (time.monotonic() - began))
            others.announce()
            # One account alone gets a report of its own, which is shown.
            remembered = record.remembered if accounts.several else {}
            with record.listening(others.listening(display)) as recording, shown_on(board, recording) as listener:
                outcomes = run_with_others(accounts.settings, options, recorded_as, listener, remembered)
        whole = terminal.verbose or not accounts.several
        results = [to_json(each, whole=whole) for each in (*outcomes, *accounts.refused)]
        exit_code = worst(each["exit_code"] for each in results)
        if exit_code > 128 and STOP.signal is not None:
            exit_code = stopped_code(STOP.signal)  # workers may have received another signal than we did
    except Exception as error:
        others.tell_error(error)
        raise
    others.write_metrics(results)
    if board is not None:
        board.finish(results)
    terminal.document(
        {
            "format": "archiver-run/1",
            "accounts": [{key: value for key, value in each.items() if key != "document"} for each in results],
            "exit_code": exit_code,
        }
    )
    if not terminal.as_json:
        show_results(results, terminal, time.monotonic() - began)
    others.tell(results, exit_code, partial(is_first_to_tell, accounts.settings, recorded_as, results))
    read_after_run(accounts.settings, terminal)
    return exit_code


def _recorded_as(verb: str, options: Options) -> str:
    """To bring back the folders of a past moment is no step of a migration."""
    return verb if options.as_of is None else f"{verb} --as-of"


def board_of(url: str | None, accounts: Sequence[str], terminal: Terminal) -> Board | None:
    """The page of the luigid that --scheduler-url names."""
    if url is None:
        return None
    from pipelines.graph.board import Board

    return Board(url, accounts, terminal.warn)


def shown_on(board: Board | None, listener: Listener) -> AbstractContextManager[Listener]:
    """The listener, with what it hears shown on the page."""
    return nullcontext(listener) if board is None else board.listening(listener)


def _with_destination(accounts: Accounts, terminal: Terminal) -> Accounts:
    """The accounts that have a destination; the others are refused."""
    from archiver.account.servers import destination_of

    settings, refused, wrong = [], list(accounts.refused), list(accounts.wrong)
    for each in accounts.settings:
        try:
            destination_of(each)
        except ConfigError as error:
            if not accounts.several:
                raise
            refused.append(AccountOutcome.of_error(each.account, error))
            wrong.append(each.file)
            terminal.problem(str(error))
        else:
            settings.append(each)
    return Accounts(settings, refused, wrong)


def to_json(outcome: AccountOutcome[Run], *, whole: bool = True) -> dict[str, Any]:
    """How an account ended, with the numbers of its report. `document` is the report; if that is not wanted as a
    `whole`, it is without details, because there may be thousands of reports."""
    run = outcome.result
    document: dict[str, Any] = {}
    try:
        if run is not None and run.report is not None:
            document = json.loads(run.report.read_bytes())
    except (OSError, ValueError):
        pass  # it was moved away in the meantime; the exit code is known without it
    if document and run is not None and run.since is not None:
        document = nothing_new(document, run.run_id, utc_now())
    if document and not whole:
        document = _without_details(document)
    return {
        "account": outcome.account,
        "run": run and run.run_id,
        "exit_code": outcome.exit_code,
        "again_at": document.get("again_at"),
        "status": document.get("status") or ("failed" if outcome.exit_code else "complete"),
        "report": str(run.report) if run is not None and document else None,
        "message": outcome.message,
        "began_archive": document.get("began_archive", False),
        "nothing_new_since": run and run.since,
        "totals": document.get("totals"),
        "document": document,
    }


def _without_details(document: Mapping[str, Any]) -> dict[str, Any]:
    """What notices, metrics and tables of many accounts need of a report."""
    numbers = {intern(key): value for key, value in document["totals"].items()}
    lists = {key: document[key] for key in ("failures", "differences") if document.get(key)}
    moments = {key: document.get(key) for key in ("status", "started", "finished", "again_at", "began_archive")}
    return {**moments, **lists, "totals": numbers, "folders": bool(document["folders"])}


def show_results(results: Sequence[dict[str, Any]], terminal: Terminal, seconds: float) -> None:
    """The tables for people; with --quiet only what needs attention."""
    several = len(results) > 1
    for each in results:
        if terminal.quiet:
            if not terminal.is_log_of_machine:  # which has it, line by line with its account
                _show_trouble(each, terminal)
        elif each["document"] and (not several or terminal.verbose):
            _show_account(each, terminal, titled=several)
        elif untold := _untold(each):
            _show_failures(each, untold, terminal.out)
    if several and terminal.tables:
        from pipelines.show.accounts import accounts_line, accounts_table

        terminal.out.table(accounts_table(results, seconds))
        terminal.out.say(accounts_line(results, seconds))


def _show_account(result: dict[str, Any], terminal: Terminal, *, titled: bool) -> None:
    from pipelines.show.tables import destination_table, folders_table, status_text

    document, out = result["document"], terminal.out
    if titled:
        out.say(f"\n{result['account']}", "bold")
    if document["folders"]:
        out.table(folders_table(document["folders"], document["totals"], every=terminal.verbose))
        out.say(equation(document["totals"]))
    if document["destination"] is not None and document["folders"]:
        out.say(f"\nat {document['destination']['server']}, {document['destination']['user']}", "bold")
        out.table(destination_table(document["folders"], document["totals"], every=terminal.verbose))
        out.say(destination_equation(document["totals"]))
    for each in document.get("skipped", []) if terminal.verbose else []:
        out.say(f"left out: {each['name']}: {each['reason']}")
    line = status_text(document["status"], document["exit_code"])
    line.append(f": run {document['run']}, report {result['report']}", style="default")
    out.print(line, soft_wrap=True)
    if document["failures"]:
        _show_failures(result, document["failures"], out)
    for text in (
        *notice_lines(document["notices"]),
        *loss_lines(document["losses"]),
        *difference_lines(document["differences"]),
    ):
        out.say(text)


def _show_trouble(result: dict[str, Any], terminal: Terminal) -> None:
    """With --quiet, on stderr: why an account's exit code is not 0. An error was shown when it happened."""
    if result["exit_code"] == 0:
        return
    document, message = result["document"], result["message"]
    failures = [each for each in _untold(result) if not each["next"].startswith(ACCEPTED)]
    if failures:
        _show_failures(result, failures, terminal.err)
    for text in difference_lines(document.get("differences") or ()):
        terminal.say(text)
    if not (failures or message or document.get("differences")):
        why = reason_of(document) or "see `archiver report`"
        terminal.say(f"{result['account']}: {result['status']}, exit code {result['exit_code']}: {why}", "yellow")


def _untold(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The failures of an account without the one that its message tells already."""
    told = result["message"] or ""
    return [each for each in result["document"].get("failures", ()) if not told.startswith(each["reason"])]


def _show_failures(result: dict[str, Any], failures: Sequence[dict[str, Any]], console: PlainConsole) -> None:
    """What is not in the archive or not at the destination."""
    accepted = [each for each in failures if each["next"].startswith(ACCEPTED)]
    if left := len(failures) - len(accepted):
        console.say(f"{result['account']}: {counted(left, 'problem')}:", "yellow")
        for line in failure_lines([each for each in failures if each not in accepted]):
            console.say(line)
    if accepted:
        console.say(f"{result['account']}: {len(accepted):,} accepted as lost:")
        for line in failure_lines(accepted):
            console.say(line)
