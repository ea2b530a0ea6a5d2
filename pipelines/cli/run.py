"""`run`, `archive`, `replay` and `retry`: do the steps, show the work, then the books."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from archiver.account.neighbours import sharing_of
from archiver.account.replay import destination_settings
from archiver.errors import ConfigError, worst
from archiver.events import Noted
from archiver.report.document import ACCEPTED
from pipelines.cli.sharing import tell_sharing
from pipelines.cli.terminal import Accounts, PlainConsole, Refused, Terminal, load_accounts
from pipelines.engine import Options, Outcome, run_accounts
from pipelines.events import forward_logs
from pipelines.reasons import reason_of
from pipelines.show.display import Display
from pipelines.show.tables import (
    accounts_table,
    destination_equation,
    destination_table,
    difference_lines,
    equation,
    failure_lines,
    folders_table,
    loss_lines,
    notice_lines,
    status_text,
)
from pipelines.stop import STOP

_SIDE_BY_SIDE = 4


def run_configs(
    configs: Sequence[Path],
    terminal: Terminal,
    options: Options,
    *,
    workers: int | None = None,
) -> int:
    """Do the steps of `options` for the accounts that `configs` name, `workers` side by side (None: as many as is
    good); returns the worst exit code.

    Raises:
        ConfigError: the only account is to be replayed and has no destination.
    """
    accounts = load_accounts(configs, terminal)
    if options.steps == "replay":
        accounts = _with_destination(accounts, terminal)
    sharing = sharing_of(accounts.settings)
    tell_sharing(sharing.values(), terminal, with_destination=options.steps != "archive")
    options = replace(options, workers=workers or min(_SIDE_BY_SIDE, max(1, len(accounts.settings))))
    STOP.install()
    display = Display(
        terminal.err,
        [each.account for each in accounts.settings],
        live=terminal.live,
        quiet=terminal.quiet,
        verbose=terminal.verbose,
        stopping=lambda: STOP.signal,
    )
    with display, forward_logs(lambda text: display("", Noted(text))):
        outcomes = run_accounts(accounts.settings, options, display)
    results = [*map(_result, outcomes), *map(_refused, accounts.refused)]
    exit_code = worst(each["exit_code"] for each in results)
    if exit_code > 128 and STOP.signal is not None:
        exit_code = 128 + STOP.signal  # workers may have been asked by another signal than we were
    terminal.document(
        {
            "format": "archiver-run/1",
            "accounts": [{key: value for key, value in each.items() if key != "document"} for each in results],
            "exit_code": exit_code,
        }
    )
    if not terminal.as_json:
        _show(results, terminal)
    return exit_code


def _with_destination(accounts: Accounts, terminal: Terminal) -> Accounts:
    """Those that can be replayed; the others are refused."""
    settings, refused = [], list(accounts.refused)
    for each in accounts.settings:
        try:
            destination_settings(each)
        except ConfigError as error:
            if not accounts.several:
                raise
            refused.append(Refused(each.account, error))
            terminal.problem(str(error))
        else:
            settings.append(each)
    return Accounts(settings, refused)


def _result(outcome: Outcome) -> dict[str, Any]:
    """How an account ended, with the numbers of its report. `document` is the whole report."""
    document: dict[str, Any] = {}
    try:
        if outcome.report is not None:
            document = json.loads(outcome.report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass  # somebody has moved it away meanwhile; the exit code was told before
    exit_code = 1 if outcome.exit_code is None else outcome.exit_code
    return {
        "account": outcome.settings.account,
        "run": outcome.run_id,
        "exit_code": exit_code,
        "again_at": document.get("again_at"),
        "status": document.get("status") or ("failed" if exit_code else "complete"),
        "report": str(outcome.report) if document else None,
        "message": outcome.message,
        "began_archive": document.get("began_archive", False),
        "totals": document.get("totals"),
        "document": document,
    }


def _refused(refused: Refused) -> dict[str, Any]:
    return {
        "account": refused.account,
        "run": None,
        "exit_code": refused.error.exit_code,
        "again_at": None,
        "status": "failed",
        "report": None,
        "message": str(refused.error),
        "began_archive": False,
        "totals": None,
        "document": {},
    }


def _show(results: Sequence[dict[str, Any]], terminal: Terminal) -> None:
    """The tables for people; with --quiet only what needs one of them."""
    several = len(results) > 1
    for each in results:
        if terminal.quiet:
            _show_trouble(each, terminal)
        elif each["document"] and (not several or terminal.verbose):
            _show_account(each, terminal, titled=several)
        elif each["document"].get("failures"):
            _show_failures(each, each["document"]["failures"], terminal.out)
    if several and terminal.tables:
        terminal.out.table(accounts_table(results))


def _show_account(result: dict[str, Any], terminal: Terminal, *, titled: bool) -> None:
    document, out = result["document"], terminal.out
    if titled:
        out.say(f"\n{result['account']}", "bold")
    if document["folders"]:
        out.table(folders_table(document["folders"], document["totals"], work=True, every=terminal.verbose))
        out.say(equation(document["totals"]))
    if document["destination"] is not None and document["folders"]:
        out.say(f"\nat {document['destination']['server']}, {document['destination']['user']}", "bold")
        out.table(destination_table(document["folders"], document["totals"], every=terminal.verbose))
        out.say(destination_equation(document["totals"]))
    for each in document.get("skipped", []) if terminal.verbose else []:
        out.say(f"left out: {each['name']}: {each['reason']}")
    line = status_text(document["status"])
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
    """With --quiet, on stderr: why an account's exit code is not 0. What ended it was said when it happened."""
    if result["exit_code"] == 0:
        return
    document, told = result["document"], result["message"]
    failures = [
        each
        for each in document.get("failures", ())
        if not each["next"].startswith(ACCEPTED) and not (told or "").startswith(each["reason"])
    ]
    if failures:
        _show_failures(result, failures, terminal.err)
    for text in difference_lines(document.get("differences") or ()):
        terminal.err.say(text)
    if not (failures or told or document.get("differences")):
        why = reason_of(document) or "`archiver report` tells more"
        terminal.err.say(
            f"{result['account']}: {result['status']}, exit code {result['exit_code']}: {why}", "yellow"
        )


def _show_failures(result: dict[str, Any], failures: Sequence[dict[str, Any]], console: PlainConsole) -> None:
    """What is not in the archive or not at the destination."""
    accepted = [each for each in failures if each["next"].startswith(ACCEPTED)]
    if left := len(failures) - len(accepted):
        console.say(f"{result['account']}: {left:,} not as it should be:", "yellow")
        for line in failure_lines([each for each in failures if each not in accepted]):
            console.say(line)
    if accepted:
        console.say(f"{result['account']}: {len(accepted):,} accepted by a person:")
        for line in failure_lines(accepted):
            console.say(line)
