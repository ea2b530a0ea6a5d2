"""`verify`, `repair`, `gc` and `rebuild`: what is done to archives that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archiver.config.load import load_account
from archiver.errors import ConfigError, worst
from archiver.mail.folder_names import printable
from pipelines.cli.terminal import Accounts, Terminal, load_accounts
from pipelines.show.display import Display
from pipelines.show.tables import Row, difference_lines
from pipelines.stop import STOP
from pipelines.work.gc import collect_accounts
from pipelines.work.repair import RepairOptions, repair_accounts
from pipelines.work.verify import VerifyOptions, rebuild_account, verify_accounts

_SHOWN = 50


def verify_archives(configs: Sequence[Path], options: VerifyOptions, terminal: Terminal) -> int:
    """Verify the archives that `configs` name; returns the worst exit code."""
    accounts = load_accounts(configs, terminal)
    with progress_display(terminal, [each.account for each in accounts.settings]) as display:
        outcomes = verify_accounts(accounts.settings, options, display)
    results = [each.to_json() for each in outcomes]
    results += _refused(accounts)
    exit_code = worst(each["exit_code"] for each in results)
    terminal.document({"format": "archiver-verify/1", "accounts": results, "exit_code": exit_code})
    if not terminal.as_json:
        for each in results:
            _show(each, terminal)
    return exit_code


def repair_archives(configs: Sequence[Path], options: RepairOptions, terminal: Terminal) -> int:
    """Repair the archives that `configs` name; returns the worst exit code."""
    accounts = load_accounts(configs, terminal)
    with progress_display(terminal, [each.account for each in accounts.settings]) as display:
        outcomes = repair_accounts(accounts.settings, options, display)
    results = [each.to_json() for each in outcomes]
    results += _refused(accounts)
    exit_code = worst(each["exit_code"] for each in results)
    document = {"format": "archiver-repair/1", "dry_run": options.dry_run, "accounts": results}
    terminal.document({**document, "exit_code": exit_code})
    if not terminal.as_json:
        for each in results:
            _show_repair(each, terminal)
    return exit_code


def _show_repair(result: Row, terminal: Terminal) -> None:
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


def collect_garbage(configs: Sequence[Path], terminal: Terminal, *, delete: bool, confirmed: bool) -> int:
    """List or remove what no run recorded in the buckets of `configs`; returns the worst exit code.

    Raises:
        ConfigError: what is not to be removed was confirmed.
    """
    if confirmed and not delete:
        raise ConfigError("archiver gc", ["--confirm-deletions goes with --delete"])
    accounts = load_accounts(configs, terminal)
    with progress_display(terminal, [each.account for each in accounts.settings]) as display:
        outcomes = collect_accounts(accounts.settings, display, delete=delete, confirmed=confirmed)
    results = [each.to_json() for each in outcomes]
    results += _refused(accounts)
    exit_code = worst(each["exit_code"] for each in results)
    document = {"format": "archiver-gc/1", "deleted": delete, "accounts": results, "exit_code": exit_code}
    terminal.document(document)
    if not terminal.as_json:
        for each in results:
            _show_garbage(each, terminal)
    return exit_code


def _show_garbage(result: Row, terminal: Terminal) -> None:
    good = result["exit_code"] == 0
    told = not good and "garbage" not in result  # why was logged when it happened
    if told or (good and terminal.quiet):
        return
    out = terminal.out if good or not terminal.quiet else terminal.err
    out.say(f"{result['account']}: {printable(result['message'])}", "green" if good else "red")
    garbage = result.get("garbage", ())
    for each in garbage[:_SHOWN]:
        kept = f": had to stay: {each['kept']}" if each["kept"] else ""
        out.say(f"  {each['path']}, {each['size']:,} octets, there since {each['since']}{kept}")
    if len(garbage) > _SHOWN:
        out.say(f"  and {len(garbage) - _SHOWN:,} more; --json lists them all")


def _refused(accounts: Accounts) -> list[dict[str, Any]]:
    return [
        {"account": each.account, "exit_code": each.error.exit_code, "message": str(each.error)}
        for each in accounts.refused
    ]


def rebuild_archive(config: Path, terminal: Terminal) -> int:
    """Make the catalog of one account again."""
    if config.is_dir():
        raise ConfigError(str(config), ["is a folder; rebuild takes one account file at a time"])
    settings = load_account(config)
    with progress_display(terminal, [settings.account]) as display:
        outcome = rebuild_account(settings, display)
    result = outcome.to_json()
    terminal.document({"format": "archiver-rebuild/1", **result})
    if not terminal.as_json:
        _show(result, terminal)
    return outcome.exit_code


def progress_display(terminal: Terminal, accounts: Sequence[str]) -> Display:
    """What shows the work on these accounts; signals end it cleanly from here on."""
    STOP.install()
    return Display(
        terminal.err,
        accounts,
        live=terminal.live,
        quiet=terminal.quiet,
        verbose=terminal.verbose,
        stopping=lambda: STOP.signal,
    )


def _show(result: Row, terminal: Terminal) -> None:
    """How one account ended and what was found."""
    good = result["exit_code"] == 0
    told = not good and "checked" not in result  # nothing was looked at: why was logged when it happened
    if told or (good and terminal.quiet):
        return
    out = terminal.out if good or not terminal.quiet else terminal.err
    for line in result["message"].splitlines():
        out.say(f"{result['account']}: {printable(line)}", "green" if good else "red")
    for kind in ("missing", "damaged", "strays"):
        findings = result.get(kind, [])
        for each in findings[:_SHOWN]:
            folder = f' (folder "{each["folder"]}", uid {each["uid"]})' if each.get("folder") else ""
            out.say(f"  {kind}: {each['path']}{folder}: {each['reason']}")
        if len(findings) > _SHOWN:
            out.say(f"  and {len(findings) - _SHOWN:,} more {kind}; --json lists them all")
    there = result.get("destination")
    for line in difference_lines(there["differences"]) if there else ():
        out.say(line)
    if result.get("aside"):
        out.say(f"  the catalog from before is kept: {result['aside']}")
