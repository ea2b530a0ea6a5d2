"""`import`: add mail that lies in files to an account's archive."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from msgspec import Struct, to_builtins

from archiver.errors import ConfigError
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import size
from pipelines.cli.accounts import load_one
from pipelines.cli.options import PATH, config_argument, output_options, terminal_of
from pipelines.events import Important, Listener
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.account.archive import Archive
    from archiver.account.archiving import ImportResult
    from archiver.archive.unrecorded import UnrecordedFiles
    from archiver.config.settings import Settings
    from archiver.report.units import Row
    from pipelines.cli.terminal import Terminal

_IMPORT = "import"
_SHOWN = 50
Form = Literal["auto", "maildir", "mbox", "eml"]
Labels = Literal["folders", "keywords"]


@click.command("import")
@config_argument
@click.argument("path", type=PATH, metavar="PATH", help="A Maildir, mboxes, single files, or what has them in it.")
@click.option("--into", metavar="FOLDER", default="Imported", help="The folder that everything goes below.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("auto", "maildir", "mbox", "eml")),
    default="auto",
    help="Take only mail of this form.",
)
@click.option(
    "--labels",
    type=click.Choice(("folders", "keywords")),
    default="folders",
    help="What Gmail's labels in a Takeout become.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be added; write nothing.")
@output_options
def import_(
    config: Path,
    path: Path,
    into: str,
    form: Form,
    labels: Labels,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Add mail that lies in files to an account's archive: below the folder Imported, or below the one that --into
    names, with the files' own folders. A message that the archive holds already, in whatever folder, is left out,
    and the same message comes only once. The next `archiver run` or `archiver replay` sends what was added to the
    destination.

    The files are only read. No server is contacted, and no run takes the new folders for gone because the source
    does not list them. Run it again, and it adds only what is new. A file that cannot be read is listed, the exit
    code is 3, and the next import tries it again.

    \b
      archiver import configs/alice.toml ~/.thunderbird/x1y2z3.default/Mail --dry-run
      archiver import configs/alice.toml /srv/old/alice.mbox --into Archive/2009
    """
    levels = tuple(level for level in into.split("/") if level)
    if not levels or levels[0].upper() == "INBOX":
        raise ConfigError("--into", ['must be a folder\'s name with "/" between levels, and not below INBOX'])
    options = ImportOptions(path, levels, form, labels, dry_run)
    terminal = terminal_of(as_json, quiet, verbose)
    settings = load_one(config, _IMPORT)
    with terminal.progress([settings.account]) as display:
        outcome = run_import(settings, options, display)
    document = {"format": "archiver-import/1", "path": str(path), "dry_run": dry_run, **to_json(outcome)}
    terminal.document(document)
    if not terminal.as_json:
        _show(document, terminal)
    return outcome.exit_code


class ImportOptions(Struct, frozen=True):
    """Which files are added, and below which folder."""

    path: Path
    below: tuple[str, ...]
    form: Form = "auto"
    labels: Labels = "folders"
    dry_run: bool = False


def run_import(settings: Settings, options: ImportOptions, listener: Listener) -> AccountOutcome[ImportResult]:
    """Add files to an account's archive. Never raises for the account's failure."""
    (outcome,) = run_each([settings], _IMPORT, listener, lambda each, emit: _import(each, options, emit))
    return outcome


def _import(settings: Settings, options: ImportOptions, emit: Emit) -> AccountOutcome[ImportResult]:
    from archiver.account.account import Account
    from archiver.account.archiving import import_files, look_at_files, recover_store
    from archiver.config.tables.server import FilesSettings

    files = FilesSettings(path=options.path.absolute(), format=options.form, labels=options.labels)
    account, run = Account(settings), f"import-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"

    def recover(archive: Archive) -> UnrecordedFiles:
        return recover_store(archive, emit)

    control = STOP.control(emit)
    if options.dry_run:
        with account.looking(_IMPORT, lambda text: emit(Important(text))) as (archive, _):
            result = look_at_files(archive, files, options.below, control)
    else:
        with account.writing(run) as (archive, recorder):
            result = import_files(archive, recorder, run, files, options.below, recover, archive.guarded(control))
    return AccountOutcome(settings.account, result.exit_code, _summary(result, options), result)


def _summary(result: ImportResult, options: ImportOptions) -> str:
    added, octets, already, unreadable = (
        sum(getattr(each, name) for each in result.folders)
        for name in ("added", "octets", "already_there", "unreadable")
    )
    text = f"{counted(added, 'message')} " + ("to import" if options.dry_run else "imported")
    text += f" below {printable('/'.join(options.below))}" if added else ""
    text += f", {size(octets)}" if octets and added else ""
    if already:
        text += f"; {counted(already, 'message')} that the archive holds already"
    if unreadable:
        text += f"; {counted(unreadable, 'file')} could not be read (listed below)"
    return text


def to_json(outcome: AccountOutcome[ImportResult]) -> dict[str, Any]:
    if (result := outcome.result) is None:
        return outcome.to_json()
    return outcome.to_json(
        {
            "folders": [to_builtins(each) for each in result.folders],
            "unreadable": [
                {"folder": printable(each.folder), "uid": each.uid, "reason": printable(each.reason)}
                for each in result.unreadable
            ],
        }
    )


def _show(document: Row, terminal: Terminal) -> None:
    """What was added, and what could not be read."""
    good = document["exit_code"] == 0
    if "folders" not in document or (good and terminal.quiet):
        return
    out = terminal.out if not terminal.quiet else terminal.err
    for each in document["folders"] if not terminal.quiet else ():
        already = f", {each['already_there']:,} held already" if each["already_there"] else ""
        out.say(f"  {each['name']}: {counted(each['added'], 'message')}{already}")
    out.say(f"{document['account']}: {document['message']}", "green" if good else "red")
    for each in document["unreadable"][:_SHOWN]:
        out.say(f'  folder "{each["folder"]}", uid {each["uid"]}: {each["reason"]}')
    if (more := len(document["unreadable"]) - _SHOWN) > 0:
        out.say(f"  and {more:,} more; --json lists them all")
