"""`check`, and `run --dry-run`: look at the servers and say what a run would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from archiver.errors import worst
from archiver.mail.counts import counted
from archiver.report.units import size
from pipelines.cli.accounts import load_accounts, warn_of_sharing
from pipelines.cli.options import Integer, configs_argument, output_options, terminal_of
from pipelines.cli.others import Receivers, receivers_of
from pipelines.fleet.progress import record_progress
from pipelines.show.lines import notice_lines
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.replay.identify import IdentityAnswer
    from archiver.report.units import Row
    from pipelines.cli.terminal import Terminal
    from pipelines.show.preview.destination import DestinationPreview
    from pipelines.show.preview.result import Preview
    from pipelines.show.preview.token import TokenPreview


@click.command
@configs_argument
@click.option("--notify", "try_notices", is_flag=True, help="Send a test notice to everybody who would get one.")
@click.option(
    "--workers", type=Integer(min=1), metavar="N", help="How many accounts at the same time; by default 16."
)
@click.option(
    "--timeout",
    type=Integer(min=1),
    metavar="SECONDS",
    help="Give an account up if it takes longer than this; by default 120.",
)
@output_options
def check(
    configs: Chosen,
    try_notices: bool,
    workers: int | None,
    timeout: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Log in to each account once and show what is there: the server and its capabilities, how the connection is
    secured, the folders with their sizes and their place in the archive, what is left out and why, and what a run
    would fetch.

    Nothing is changed on the server or in the archive. The ledger of a fleet records that an account was checked;
    an empty directory, which is removed at once, shows whether the disk takes the file names of an archive. A
    refused password is not tried again.

    Many accounts are checked at the same time, and one that hangs delays no other. The table begins with those that
    have an error, then those that need a look: no room for their mail on the disk or at the destination, messages
    larger than the destination takes, a mailbox that others fill. "takes" is how long the next run may take, by
    what earlier runs took; "not ours" is mail at the destination that is not from this archive.

    It also says where notices about runs would go, and sends none, unless you ask for a test with --notify.

    The exit code is 0 if a run could begin, and otherwise the one with which it would end.

    \b
      archiver check configs/alice.toml
      archiver check configs/ --notify             try mail, webhook, command and ping, too
      archiver check configs/ --quiet              show only problems
      archiver check configs/ --only 'wave1/*'     the accounts of a subfolder
      archiver check configs/ --verbose            each account in full
    """
    terminal = terminal_of(as_json, quiet, verbose)
    given = {"at_once": workers, "seconds": timeout}
    limits = {name: value for name, value in given.items() if value is not None}
    kinds: dict[str, Any] = {"details": True, "with_destination": True, "try_notices": try_notices}
    return _look(configs, terminal, "archiver-check/1", limits=limits, **kinds)


def plan_accounts(
    configs: Chosen,
    terminal: Terminal,
    *,
    new_source: bool,
    new_archive: bool,
    answer: IdentityAnswer,
    with_destination: bool,
) -> int:
    """Print the plan of a run and do nothing else; returns the worst exit code."""
    kinds: dict[str, Any] = {
        "new_source": new_source,
        "new_archive": new_archive,
        "with_destination": with_destination,
    }
    return _look(configs, terminal, "archiver-plan/1", details=False, answer=answer, **kinds)


def _look(
    configs: Chosen,
    terminal: Terminal,
    name: str,
    *,
    details: bool,
    with_destination: bool,
    new_source: bool = False,
    new_archive: bool = False,
    answer: IdentityAnswer = "ask",
    try_notices: bool = False,
    limits: Mapping[str, Any] | None = None,
) -> int:
    from pipelines.show.preview.look import preview_accounts
    from pipelines.show.preview.table import check_table, estimates, lines_of_all, rooms, together

    accounts = load_accounts(configs, terminal)
    STOP.install()
    with _counting(terminal, len(accounts.settings)) as progress:
        previews = preview_accounts(
            accounts.settings,
            new_source=new_source,
            new_archive=new_archive,
            answer=answer,
            with_destination=with_destination,
            progress=progress,
            **(limits or {}),
        )
    took = estimates(previews)
    found = [{**preview.to_json(), "estimate": seconds} for preview, seconds in zip(previews, took, strict=True)]
    results: list[Row] = [*found, *(each.to_json() for each in accounts.refused)]
    if details:
        well = [preview.settings for preview, each in zip(previews, found, strict=True) if each["exit_code"] == 0]
        record_progress("check", well, terminal.warn)
    receivers = receivers_of(accounts, try_out=try_notices) if details else Receivers()
    exit_code = worst([*(each["exit_code"] for each in results), receivers.exit_code])
    totals, no_room = together(took), rooms(previews)
    of_all = {"estimate": totals, "no_room": no_room, **receivers.fields, "exit_code": exit_code}
    terminal.document({"format": name, "accounts": results, **of_all})
    if terminal.tables:
        for preview, result in zip(previews, results, strict=False):
            if terminal.verbose or not accounts.several:
                _show(preview, result, terminal, details=details)
        if accounts.several:
            terminal.out.table(check_table(results))
        for line in lines_of_all(totals, no_room, results) if accounts.several else ():
            terminal.out.say(line, "yellow" if line.startswith("no room") else None)
        for line in receivers.lines:
            terminal.out.say(line)
    for line in receivers.problems:
        terminal.problem(line)
    sharing = [preview.sharing for preview in previews if preview.sharing]
    warn_of_sharing(sharing, terminal, with_destination=with_destination)
    for preview in previews:
        for notice in preview.notices if accounts.several and not terminal.verbose else ():
            terminal.warn(f"{preview.settings.account}: {notice.text}")
        if preview.message:
            terminal.problem(f"{preview.settings.account}: {preview.message}")
    return exit_code


@contextmanager
def _counting(terminal: Terminal, accounts: int) -> Iterator[Callable[[int], None]]:
    """Shows on a terminal how many accounts are done."""
    if terminal.live is None or accounts < 2:
        yield lambda _: None
        return
    with terminal.live.status(f"0 of {accounts:,} accounts") as status:
        yield lambda done: status.update(f"{done:,} of {accounts:,} accounts")


def _show(preview: Preview, result: Row, terminal: Terminal, *, details: bool) -> None:
    from pipelines.show.preview.words import facts_of, to_send_words, work_words
    from pipelines.show.tables import plain_table, plan_table

    out, settings, server = terminal.out, preview.settings, preview.server
    out.say(f"\n{settings.account}: {settings.source.mailbox_at_port}", "bold")
    if server is None:
        _show_token(preview.token, terminal)
        return
    if details:
        facts = plain_table("", "", left=2)
        facts.show_header = False
        for name, text in facts_of(preview):
            facts.add_row(name, text)
        out.table(facts)
        out.print()
    shown = result["folders"] if details or terminal.verbose else [f for f in result["folders"] if f["reason"]]
    if shown:
        out.table(plan_table(shown, directories=details and preview.medium.has_directories))
    if len(shown) < len(result["folders"]):
        out.say(f"{counted(len(result['folders']) - len(shown), 'folder')} unchanged: a run does not open them")
    for each in result["skipped"]:
        out.say(f"left out: {each['name']}: {each['reason']}")
    if preview.beginning is not None and preview.beginning.problem is None:
        out.say(f"no archive at {preview.beginning.place} yet; the first run begins one")
    if preview.error is None:
        out.say(work_words(preview))
    for line in notice_lines(result["notices"]):
        out.say(line, "yellow")
    if preview.destination is not None:
        _show_destination(preview.destination, terminal, details=details)
        if preview.sharing is not None and preview.sharing.note is not None:
            out.say(preview.sharing.note)
        if (to_send := to_send_words(preview)) is not None:
            out.say(to_send)


def _show_token(token: TokenPreview | None, terminal: Terminal) -> None:
    """The token, which explains most about a login that the mail server refused."""
    if token is not None:
        terminal.out.say(f"token {token.line}")


def _show_destination(preview: DestinationPreview, terminal: Terminal, *, details: bool) -> None:
    from pipelines.show.preview.words import not_ours_words, server_facts
    from pipelines.show.tables import map_table, plain_table

    out, there = terminal.out, preview.to_json()
    out.say(f"\nto {there['user']} at {there['address']}", "bold")
    if preview.server is None:
        _show_token(preview.token, terminal)
        return
    if details:
        facts = plain_table("", "", left=2)
        facts.show_header = False
        assert preview.settings.destination is not None
        for name, text in server_facts(preview.server, preview.settings.destination, preview.token):
            facts.add_row(name, text)
        free = "unknown" if preview.free_octets is None else size(preview.free_octets)
        limit = preview.append_limit
        if preview.met:
            facts.add_row("mailbox", preview.met)
        facts.add_row("free", free + (f", messages up to {size(limit)}" if limit is not None else ""))
        out.table(facts)
        out.print()
    shown = [
        each for each in there["folders"] if details or terminal.verbose or each["why"] or each["state"] == "create"
    ]
    if shown:
        out.table(map_table(shown))
    if len(shown) < len(there["folders"]):
        others = counted(len(there["folders"]) - len(shown), "folder exists", "folders exist")
        out.say(f"{others} there under the same name")
    for warning in preview.warnings:
        out.say(f"note: {warning}", "yellow")
    if preview.not_ours is not None:
        out.say(not_ours_words(preview.not_ours, preview.settings, compared=preview.compared))
