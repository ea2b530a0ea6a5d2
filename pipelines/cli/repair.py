"""`repair`: what archives lost is fetched again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archiver.mail.folder_names import printable
from archiver.upkeep.repair import RepairResult
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.options import Configs, Json, Quiet, Verbose, terminal_of
from pipelines.cli.references import arrived_text
from pipelines.cli.verify import octets_to_read
from pipelines.events import Important, Listener
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.load import Settings
    from archiver.report.units import Row
    from pipelines.cli.terminal import Terminal

_REPAIR = "repair"
_SHOWN = 50


def repair(
    configs: Configs,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all octets to find what is damaged, also of a bucket.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what could be mended, and from where; write nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Find the messages that are missing or damaged in the archives, as `archiver verify` does, and mend them: each
    is taken from another copy in the archive, from the source, if it still has it under the same UID, or from the
    destination, where a copy of it is. Octets are accepted only if their SHA-256 is the recorded one, and are read
    back after they were written. The servers are contacted only when something is to be mended, and not changed.

    What is whole is not touched, nor are files and objects that no message accounts for. On a disk all octets are
    read to find damage; in a bucket sizes are compared, and octets are read with --deep. With --dry-run the octets
    are fetched as well, so that it says what could be mended, but nothing is written.

    What no place has any more is listed by folder, UID, date and subject, and ends the command with exit code 6;
    only a backup has it. A message in quarantine never was in the archive: see `archiver retry`.

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


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """`deep`: all octets are read to find damage, of a bucket, too; `dry_run`: nothing is written."""

    deep: bool = False
    dry_run: bool = False


def repair_accounts(
    accounts: Sequence[Settings], options: RepairOptions, listener: Listener
) -> list[AccountOutcome[RepairResult]]:
    """Repair each account's archive. Never raises for an account's failure."""
    return run_each(accounts, _REPAIR, listener, lambda settings, emit: _repair(settings, options, emit))


def _repair(settings: Settings, options: RepairOptions, emit: Emit) -> AccountOutcome[RepairResult]:
    from archiver.account.opening import writing
    from archiver.account.reading import looking
    from archiver.account.repair import repair_archive

    look = looking(settings, _REPAIR, lambda text: emit(Important(text)))
    with look if options.dry_run else writing(settings, _REPAIR) as (archive, recorder):
        result = repair_archive(
            archive,
            recorder,
            octets_to_read(settings, None, deep=options.deep),
            dry_run=options.dry_run,
            control=archive.guarded(STOP.control(emit)),
        )
    return AccountOutcome(settings.account, result.exit_code, _summary(result, options), result)


def _summary(result: RepairResult, options: RepairOptions) -> str:
    looked = f"{result.messages} messages looked at"
    if not result.mended and not result.lost and not result.damage:
        return f"{looked}: nothing is missing or damaged"
    words = [looked]
    if result.mended:
        words.append(f"{len(result.mended)} " + ("could be mended" if options.dry_run else "mended"))
    if result.lost:
        words.append(f"{len(result.lost)} could not be, all listed")
    if result.damage:
        words.append(f"{len(result.damage)} damaged beside them")
    message = ", ".join(words)
    if result.unasked:
        return f"{message}; not asked: {'; '.join(result.unasked)}"
    return f"{message}; restore these from a backup" if result.lost else message


def to_json(outcome: AccountOutcome[RepairResult]) -> dict[str, Any]:
    if (result := outcome.result) is None:
        return outcome.to_json()
    return outcome.to_json(
        {
            "messages": result.messages,
            "mended": [_safe(asdict(each)) for each in result.mended],
            "lost": [_safe(asdict(each) | {"arrived": arrived_text(each.arrived)}) for each in result.lost],
            "damage": [_safe(asdict(each)) for each in result.damage],
            "unasked": [printable(each) for each in result.unasked],
        }
    )


def _safe(record: dict[str, Any]) -> dict[str, Any]:
    return {name: printable(value) if isinstance(value, str) else value for name, value in record.items()}


def _show(result: Row, terminal: Terminal) -> None:
    """What was mended in one account, and what is lost for good."""
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
    for each in result["lost"]:  # all of them: nobody looks for what he was not told
        what = [each["arrived"], f"{each['size']:,} octets", each["subject"] and f'"{each["subject"]}"']
        out.say(f"  lost: {_name(each)}, {', '.join(filter(None, what))}: {each['reason']}")
    for each in result["damage"]:
        out.say(f"  damaged: {each['path']}: {each['reason']}")


def _name(message: Row) -> str:
    return f'folder "{message["folder"]}", uid {message["uid"]}'
