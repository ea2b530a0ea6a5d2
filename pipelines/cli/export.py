"""`export`: write folders of an archive as files that other programs read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.errors import Interrupted, Locked
from archiver.export.run import ExportResult
from archiver.journal.recorder import Recorder
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import size
from pipelines.cli.accounts import load_one
from pipelines.cli.options import PATH, as_of_option, config_argument, output_options, terminal_of
from pipelines.events import Listener
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.account import Account
    from archiver.account.archive import Archive
    from archiver.account.export import ExportOptions, Form
    from archiver.config.settings import Settings
    from archiver.report.units import Row
    from pipelines.cli.terminal import Terminal

_EXPORT = "export"
_SHOWN = 50
_FORMS: tuple[Form, ...] = ("maildir", "mbox", "eml")


@click.command
@config_argument
@click.argument("path", type=PATH, metavar="PATH", help="A new or an empty directory.")
@click.option("--to", type=click.Choice(_FORMS), required=True, help="The form of the files.")
@click.option(
    "--folder", "folders", multiple=True, metavar="GLOB", help="Only these folders, like 'Archive/*'; repeatable."
)
@as_of_option
@click.option("--include-vanished", is_flag=True, help="Also messages and folders that are gone from the source.")
@output_options
def export(
    config: Path,
    path: Path,
    to: Form,
    folders: Sequence[str],
    as_of: str | None,
    include_vanished: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Export an account's folders for other programs, byte for byte. No server is contacted. The archive is only
    read, even while a run is working on it.

    \b
      maildir  PATH/Maildir, a Maildir++ that Dovecot, mutt and mbsync read, with flags, dates, UIDs, subscriptions
      mbox     PATH/Parent/Child.mbox for each folder ("mboxrd"), and next to it an index with flags and dates
      eml      PATH/Parent/Child/DATE-UID-SUBJECT.eml for each message, and an index.jsonl in each folder

    With --as-of the folders are exported as the archive knew them then: a day means its end in local time, and a
    change counts from the run that saw it. --include-vanished also exports messages and folders that were gone from
    the source by then.

    Each message's SHA-256 is checked while it is written. A damaged message is left out and listed, and the exit
    code is 6. PATH/export.json is written last: an export without it is incomplete. Nothing at PATH is ever
    overwritten, so remove an interrupted export and start it again.

    \b
      archiver export configs/alice.toml /tmp/alice --to maildir
      archiver export configs/alice.toml /tmp/then --to mbox --as-of 2026-11-20 --folder 'Work*'
    """
    from archiver.account.export import FORMAT, ExportOptions
    from archiver.config.moment import moment_of

    moment = None if as_of is None else moment_of(as_of, "--as-of")
    options = ExportOptions(to, path, folders or ("*",), moment, include_vanished)
    terminal = terminal_of(as_json, quiet, verbose)
    settings = load_one(config, "export")
    with terminal.progress([settings.account]) as display:
        outcome = run_export(settings, options, display)
    document = {"format": FORMAT, **to_json(outcome, options)}
    terminal.document(document)
    if not terminal.as_json and outcome.result is not None:
        _show(document, terminal)
    return outcome.exit_code


def run_export(settings: Settings, options: ExportOptions, listener: Listener) -> AccountOutcome[ExportResult]:
    """Export an account's archive. Never raises for the account's failure.

    The account's lock is not held: an export only reads, and a run that works at the same time moves messages but
    removes none.
    """
    (outcome,) = run_each([settings], _EXPORT, listener, lambda each, emit: _export(each, options, emit))
    return outcome


def _export(settings: Settings, options: ExportOptions, emit: Emit) -> AccountOutcome[ExportResult]:
    from archiver.account.account import Account
    from archiver.account.export import export_account

    try:
        account = Account(settings)
        with account.reading() as archive:
            _catch_up(account, archive)
            result = export_account(archive, options, control=STOP.control(emit))
    except Interrupted as error:
        error.hint = "remove the incomplete export, and export again"
        raise
    return AccountOutcome(settings.account, result.exit_code, _summary(options, result), result)


def _catch_up(account: Account, archive: Archive) -> None:
    """Apply the segments that a killed run left. A run that is at work does so itself, and what it has not recorded
    yet is not exported. A copy of the catalog needs no lock."""
    if archive.is_copy:
        Recorder(archive.journal, archive.catalog, _EXPORT).catch_up(archive.begin_work)
        return
    try:
        with account.locked(_EXPORT):
            Recorder(archive.journal, archive.catalog, _EXPORT).catch_up(archive.begin_work)
    except Locked:
        pass


def _summary(options: ExportOptions, result: ExportResult) -> str:
    messages, octets = (sum(getattr(each, name) for each in result.folders) for name in ("messages", "octets"))
    then = f", as they stood at {options.moment}" if options.moment else ""
    folders = counted(len(result.folders), "folder")
    done = f"{counted(messages, 'message')} exported from {folders}, {size(octets)}{then}"
    if result.left_out:
        gone = counted(result.left_out, "folder")
        done += f"; {gone} gone from the source left out (--include-vanished exports them)"
    if not result.damaged:
        return done
    return f"{done}; {len(result.damaged)} damaged messages left out, see `archiver verify`"


def to_json(outcome: AccountOutcome[ExportResult], options: ExportOptions) -> dict[str, Any]:
    from archiver.account.export import export_to_record

    document = outcome.to_json({"path": str(options.path)})
    return document if outcome.result is None else document | export_to_record(options, outcome.result)


def _show(document: Row, terminal: Terminal) -> None:
    """What was exported, and which messages are damaged."""
    damaged = document["damaged"]
    if terminal.tables:
        from pipelines.show.tables import exported_table

        terminal.out.table(exported_table(document["folders"], document["totals"]))
    if terminal.quiet and not damaged:
        return
    out = terminal.err if terminal.quiet else terminal.out
    out.say(f"{document['account']}: {printable(document['message'])}", "red" if damaged else "green")
    for each in damaged[:_SHOWN]:
        out.say(f'  damaged: folder "{each["folder"]}", uid {each["uid"]}: {each["reason"]}')
    if len(damaged) > _SHOWN:
        out.say(f"  and {len(damaged) - _SHOWN:,} more; --json lists them all")
