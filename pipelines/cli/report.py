"""`report`: what a run did, for people: as text, or as a page."""

from __future__ import annotations

import json
import os
import tempfile
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.errors import ArchiveMissing, ConfigError
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.document import FORMAT
from archiver.report.units import Row, completed, span
from archiver.report.verdict import verdict
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.options import configs_argument, json_option, run_id_of, terminal_of
from pipelines.outcome import AccountOutcome, look_up_each
from pipelines.show.lines import (
    destination_equation,
    difference_lines,
    equation,
    failure_lines,
    loss_lines,
    notice_lines,
)

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from pipelines.cli.terminal import Terminal

_SHOWN = 50


@click.command
@configs_argument
@click.option("--page", "page_alone", is_flag=True, help="Make report.html, and print only its path.")
@click.option("--open", "open_page", is_flag=True, help="Make report.html, and open it in the browser.")
@click.option("--run", "run_id", metavar="ID", help="Show the report of this run; by default of the last one.")
@json_option
@click.option("--verbose", "-v", is_flag=True, help="List all folders, however many.")
def report(
    configs: Chosen,
    page_alone: bool,
    open_page: bool,
    run_id: str | None,
    as_json: bool,
    verbose: bool,
) -> int:
    """Show the report of the last run: each folder's balance, what was fetched and delivered, each missing message
    with the reason and what to do, what differs at the destination, and what it could not keep.

    Each run writes report.json. --page and --open make report.html of it, next to it: a single page to open in any
    browser, to print, or to send to the owner of the mail. It contains subjects and folder names, but no messages.
    Where the archive cannot be written, the page is made in the temporary directory.

    A run that found nothing new may leave no report: that of the run before is shown, with the moment of the last
    look.

    No server is contacted. The exit code is 0 if there is a report, whatever it says, and 2 if there is none. For
    the current state of the archives see `archiver status`.

    \b
      archiver report configs/alice.toml
      archiver report configs/alice.toml --open
      archiver report configs/ --page
      archiver report configs/alice.toml --run 20261123T153258Z --json
    """
    run_id = run_id_of(run_id)
    terminal = terminal_of(as_json, False, verbose)
    accounts = load_accounts(configs, terminal)
    want_page = page_alone or open_page
    outcomes = look_up_each(accounts.settings, lambda each: _found(each, run_id, terminal, want_page))
    results, exit_code = finish(
        terminal, "archiver-reports/1", accounts, outcomes, lambda each: each.to_json(each.result)
    )
    for each in results[: len(outcomes)]:
        if each["message"]:
            terminal.problem(f"{each['account']}: {each['message']}")
            continue
        if page_alone and not as_json:
            terminal.out.say(each["page"])
        elif terminal.tables:
            _show(each, completed(each["document"]), terminal)
        if open_page:
            _open(Path(each["page"]), terminal, say=terminal.tables and not page_alone)
    return exit_code


def _found(
    settings: Settings, run_id: str | None, terminal: Terminal, want_page: bool
) -> AccountOutcome[dict[str, Any]]:
    from pipelines.fleet.looks import look_of

    is_recorded = run_id is not None and (settings.archive.path / "runs" / run_id / "report.json").is_file()
    look = None if is_recorded else look_of(settings, run_id)
    path = _path(settings, run_id if look is None else look.since)
    document, written = _read(path)
    fields = {
        "run": path.parent.name,
        "report": str(path),
        "page": _page(path, written, document, terminal) if want_page else _page_there(path, written),
        "looked_at": None if look is None else {"run": look.run, "at": look.at},
        "document": document,
    }
    return AccountOutcome(settings.account, 0, None, fields)


def _path(settings: Settings, run_id: str | None) -> Path:
    """The report of a run, or the newest one. Needs neither a server nor the catalog."""
    from archiver.account.account import Account

    runs = settings.archive.path / "runs"
    if run_id is not None:
        path = runs / run_id / "report.json"
        if not path.is_file():
            hint = f"`archiver status {settings.file} --runs` lists all runs"
            if (keep := settings.reports.keep) is not None:
                hint += f'; reports of those that ended well are kept for a time ([reports] keep = "{keep}")'
            raise ConfigError(str(runs), [f"there is no report of the run {run_id}"], hint=hint)
        return path
    try:
        os.scandir(runs).close()  # NOTE: glob is silent about a folder that it may not read
    except FileNotFoundError:
        pass  # there is no run yet
    newest = max(runs.glob("*/report.json"), key=_written, default=None)
    if newest is None:
        account = Account(settings)
        if not account.has_archive():
            reason = account.note.why_not_begin("never")
            if isinstance(reason, ArchiveMissing):
                raise reason
        hint = f"`archiver run {settings.file}` writes one"
        raise ConfigError(str(runs), ["there is no report yet"], hint=hint)
    return newest


def _written(report: Path) -> tuple[bool, int]:
    """The order in which reports were written. One from the future was written while the clock was wrong: it is
    older than all others."""
    written = report.stat().st_mtime_ns
    return written <= time.time_ns(), written


#: What every version wrote.
_ALWAYS = {"account", "run", "status", "started", "finished", "exit_code", "folders", "totals"}


def _read(path: Path) -> tuple[dict[str, Any], int]:
    """A report, and the time at which it was written, in nanoseconds."""
    hint = "the next run writes another one"
    try:
        with path.open(encoding="utf-8") as file:
            document, written = json.load(file), os.fstat(file.fileno()).st_mtime_ns
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"], hint=hint) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ConfigError(str(path), [f"is not of the format {FORMAT}, the only one that this version reads"])
    try:
        if not document.keys() >= _ALWAYS:
            raise ValueError
        completed(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(str(path), ["is damaged: it has not the form of a report"], hint=hint) from error
    return document, written


def _page_there(report: Path, written: int) -> str | None:
    """The page next to a report that was `written` at this time; None if there is none, or it is of an earlier
    report of the same run."""
    page = report.with_suffix(".html")
    try:
        return str(page) if page.stat().st_mtime_ns >= written else None
    except OSError:
        return None


def _page(report: Path, written: int, document: Row, terminal: Terminal) -> str:
    """The page of a report, which is made unless it is there."""
    from pipelines.reporting.files import write_page

    if there := _page_there(report, written):
        return there
    page = report.with_suffix(".html")
    try:
        write_page(page, document, written)
    except OSError as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="archiver-report-")) / page.name
        write_page(elsewhere, document, written)
        terminal.warn(f"{page}: cannot be written: {error.strerror}; the page is {elsewhere}")
        page = elsewhere
    return str(page)


def _show(result: Row, report: Row, terminal: Terminal) -> None:
    from pipelines.show.tables import destination_table, folders_table, status_text

    out, totals = terminal.out, report["totals"]
    out.say(f"\n{result['account']}: run {printable(report['run'])}, {_when(report)}", "bold")
    for word in ("source", "destination"):
        if report[word] is not None:
            out.say(printable(f"{word}: {report[word]['user']} at {report[word]['server']}"))
    if report["folders"]:
        out.table(folders_table(report["folders"], totals, every=terminal.verbose))
        out.say(equation(totals))
    if totals["destination"] is not None:
        out.table(destination_table(report["folders"], totals, every=terminal.verbose))
        out.say(destination_equation(totals))
    found = verdict(report)
    line = status_text(printable(report["status"]), report["exit_code"])
    line.append(f", exit code {report['exit_code']}: {printable(found.headline)}", style="default")
    out.print(line, soft_wrap=True)
    for sentence in found.sentences:
        out.say(printable(sentence))
    _show_lists(report, terminal)
    if report["timings"]:
        steps = ", ".join(f"{step} {span(seconds)}" for step, seconds in report["timings"].items())
        out.say(printable(f"duration: {steps}"))
    if (look := result["looked_at"]) is not None:
        out.say(printable(f"nothing new since: looked at {look['at']}, run {look['run']}"))
    out.say(f"report {result['report']}")
    if result["page"]:
        out.say(f"page {result['page']}")


def _when(report: Row) -> str:
    return printable(f"{report['started']} to {report['finished']}")


def _show_lists(report: Row, terminal: Terminal) -> None:
    out, failures = terminal.out, report["failures"]
    if failures:
        out.say(f"{counted(len(failures), 'failure')}:", "yellow")
        for line in failure_lines(failures):
            out.say(line)
    texts = (*difference_lines(report["differences"]), *loss_lines(report["losses"]))
    for line in (*notice_lines(report["notices"]), *texts):
        out.say(line)
    skipped = report["skipped"] if terminal.verbose else report["skipped"][:_SHOWN]
    for each in skipped:
        out.say(printable(f"left out: {each['name']}: {each['reason']}"))
    if len(skipped) < len(report["skipped"]):
        out.say(f"left out: {len(report['skipped']) - len(skipped):,} more; --verbose lists them")


def _open(page: Path, terminal: Terminal, *, say: bool) -> None:
    if say:
        terminal.out.say(f"opening {page}")
    if not webbrowser.open(page.absolute().as_uri()):
        terminal.warn(f"no browser was found; open {page} yourself")
