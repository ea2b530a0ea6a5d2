"""`repair`: fetch again what archives have lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct, to_builtins

from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.options import configs_argument, output_options, terminal_of
from pipelines.cli.references import arrived_text
from pipelines.cli.verify import octets_to_read
from pipelines.events import Important, Listener
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from archiver.report.units import Row
    from archiver.upkeep.repair import RepairResult
    from pipelines.cli.terminal import Terminal

_REPAIR = "repair"
_SHOWN = 50


@click.command
@configs_argument
@click.option("--deep", is_flag=True, help="Read everything to find damage, in a bucket, too.")
@click.option("--dry-run", is_flag=True, help="Show what can be repaired, and from where; write nothing.")
@output_options
def repair(
    configs: Chosen,
    deep: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Find missing and damaged messages, as `archiver verify` does, and repair them: from another copy in the
    archive, from the source, if it still has the message under the same UID, or from a copy at the destination.
    What is found is accepted only if its SHA-256 is the recorded one, and is read back after it was written. The
    servers are contacted only if there is something to repair, and are not changed.

    Intact messages are not touched, nor are files and objects that belong to no message. On a disk all files are
    read to find damage; in a bucket only sizes are compared, unless --deep is given. With --dry-run messages are
    fetched, too, so that it shows what can really be repaired, but nothing is written.

    Messages that cannot be found anywhere are listed by folder, UID, date and subject, and the exit code is 6; only
    a backup has them. A message in quarantine never was in the archive: see `archiver retry`.

    \b
      archiver repair configs/alice.toml --dry-run
      archiver repair configs/alice.toml
      archiver repair configs/ --deep --json >repair.json
    """
    options = RepairOptions(deep, dry_run)
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    with terminal.progress(accounts.names) as display:
        outcomes = repair_accounts(accounts.settings, options, display)
    results, exit_code = finish(terminal, "archiver-repair/1", accounts, outcomes, to_json, dry_run=options.dry_run)
    if not terminal.as_json:
        for each in results:
            _show(each, terminal)
    return exit_code


class RepairOptions(Struct, frozen=True):
    """`deep`: read all messages to find damage, even from a bucket; `dry_run`: write nothing."""

    deep: bool = False
    dry_run: bool = False


def repair_accounts(
    accounts: Sequence[Settings], options: RepairOptions, listener: Listener
) -> list[AccountOutcome[RepairResult]]:
    """Repair each account's archive. Never raises for an account's failure."""
    return run_each(accounts, _REPAIR, listener, lambda settings, emit: _repair(settings, options, emit))


def _repair(settings: Settings, options: RepairOptions, emit: Emit) -> AccountOutcome[RepairResult]:
    from archiver.account.account import Account
    from archiver.account.upkeep.mending import repair_archive

    account = Account(settings)
    look = account.looking(_REPAIR, lambda text: emit(Important(text)))
    with look if options.dry_run else account.writing(_REPAIR) as (archive, recorder):
        result = repair_archive(
            archive,
            recorder,
            octets_to_read(archive, None, deep=options.deep),
            dry_run=options.dry_run,
            control=archive.guarded(STOP.control(emit)),
        )
    return AccountOutcome(settings.account, result.exit_code, _summary(result, options), result)


def _summary(result: RepairResult, options: RepairOptions) -> str:
    looked = f"{counted(result.messages, 'message')} checked"
    if not result.repaired and not result.lost and not result.damage:
        return f"{looked}: nothing is missing or damaged"
    words = [looked]
    if result.repaired:
        words.append(f"{len(result.repaired)} " + ("can be repaired" if options.dry_run else "repaired"))
    if result.lost:
        words.append(f"{len(result.lost)} not repairable (listed below)")
    if result.damage:
        words.append(f"{len(result.damage)} other damaged objects")
    message = ", ".join(words)
    if result.unreachable:
        return f"{message}; not contacted: {'; '.join(result.unreachable)}"
    return f"{message}; restore these from a backup" if result.lost else message


def to_json(outcome: AccountOutcome[RepairResult]) -> dict[str, Any]:
    if (result := outcome.result) is None:
        return outcome.to_json()
    return outcome.to_json(
        {
            "messages": result.messages,
            "mended": [_safe(to_builtins(each)) for each in result.repaired],
            "lost": [_safe(to_builtins(each) | {"arrived": arrived_text(each.arrived)}) for each in result.lost],
            "damage": [_safe(to_builtins(each)) for each in result.damage],
            "unasked": [printable(each) for each in result.unreachable],
        }
    )


def _safe(record: dict[str, Any]) -> dict[str, Any]:
    return {name: printable(value) if isinstance(value, str) else value for name, value in record.items()}


def _show(result: Row, terminal: Terminal) -> None:
    """What was repaired in one account, and what is lost for good."""
    good = result["exit_code"] == 0
    if "messages" not in result or (good and terminal.quiet):
        return
    out = terminal.out if good or not terminal.quiet else terminal.err
    for line in result["message"].splitlines():
        out.say(f"{result['account']}: {printable(line)}", "green" if good else "red")
    for each in result["mended"][:_SHOWN] if not terminal.quiet else ():
        out.say(f"  {_name(each)}: from {each['origin']}")
    if len(result["mended"]) > _SHOWN:
        out.say(f"  and {len(result['mended']) - _SHOWN:,} more; --json lists them all")
    for each in result["lost"]:  # all of them, not only the first ones
        what = [each["arrived"], f"{each['size']:,} bytes", each["subject"] and f'"{each["subject"]}"']
        out.say(f"  lost: {_name(each)}, {', '.join(filter(None, what))}: {each['reason']}")
    for each in result["damage"]:
        out.say(f"  damaged: {each['path']}: {each['reason']}")


def _name(message: Row) -> str:
    return f'folder "{message["folder"]}", uid {message["uid"]}'
