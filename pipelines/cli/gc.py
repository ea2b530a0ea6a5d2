"""`gc`: list or delete what killed runs left in buckets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from archiver.control.run import moment
from archiver.errors import ConfigError, Incomplete
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import size
from archiver.upkeep.gc import Garbage, GarbageResult
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.options import configs_argument, output_options, terminal_of
from pipelines.events import Important, Listener
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from archiver.report.units import Row
    from pipelines.cli.terminal import Terminal

_GC = "gc"
_SHOWN = 50


@click.command
@configs_argument
@click.option("--delete", is_flag=True, help="Delete what is listed; without it nothing is changed.")
@click.option("--confirm-deletions", is_flag=True, help="Delete it even beyond the deletion limit.")
@output_options
def gc(
    configs: Chosen,
    delete: bool,
    confirm_deletions: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """List objects in the archives' buckets that no run has recorded: messages and packs that a killed run had
    uploaded. With --delete, delete them.

    An object is listed only if it is a message or a pack, no segment of the whole journal refers to it, and it is
    at least seven days old by the endpoint's clock. Younger ones are only counted: they are used when their
    messages are stored again. The journal, the marker and the lease are never touched, nor are objects with other
    names, which `archiver verify` reports. Objects that an Object Lock or a legal hold protects are listed with the
    reason.

    A deletion limit protects against a journal that was lost and restarted, which does not know the archive's own
    messages: if an object is older than the journal, or if more than 50 messages (or 5 packs) and more than a
    quarter of all would be deleted, nothing is deleted, and the exit code is 3. Confirm with --confirm-deletions.

    The account is locked meanwhile. If the journal is damaged or incomplete, nothing is deleted, and the exit code
    is 6. A Maildir has no garbage.

    \b
      archiver gc configs/alice.toml
      archiver gc configs/ --delete
    """
    if confirm_deletions and not delete:
        raise ConfigError("archiver gc", ["--confirm-deletions goes with --delete"])
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    with terminal.progress(accounts.names) as display:
        outcomes = collect_accounts(accounts.settings, display, delete=delete, confirm_deletions=confirm_deletions)
    results, exit_code = finish(terminal, "archiver-gc/1", accounts, outcomes, to_json, deleted=delete)
    if not terminal.as_json:
        for each in results:
            _show(each, terminal)
    return exit_code


def collect_accounts(
    accounts: Sequence[Settings], listener: Listener, *, delete: bool, confirm_deletions: bool = False
) -> list[AccountOutcome[GarbageResult]]:
    """List the garbage of each account's bucket, or delete it; more than the deletion limit only if
    `confirm_deletions`. Never raises for an account's failure. The result of a Maildir is None."""
    return run_each(
        accounts,
        _GC,
        listener,
        lambda settings, emit: _collect(settings, emit, delete=delete, confirm_deletions=confirm_deletions),
    )


def _collect(
    settings: Settings, emit: Emit, *, delete: bool, confirm_deletions: bool
) -> AccountOutcome[GarbageResult]:
    from archiver.account.account import Account

    account = Account(settings)
    look = account.looking(_GC, lambda text: emit(Important(text)))
    with account.writing(_GC) if delete else look as (archive, recorder):
        if archive.storage.collectable is None:
            return AccountOutcome(settings.account, 0, "its archive is a Maildir: there is nothing to collect")
        from archiver.account.upkeep.mending import collect_garbage

        result = collect_garbage(
            archive,
            recorder,
            archive.storage.collectable,
            delete=delete,
            confirm_deletions=confirm_deletions,
            control=archive.guarded(STOP.control(emit)),
        )
    exit_code = Incomplete.exit_code if result.blocked_reason else 0
    return AccountOutcome(settings.account, exit_code, _summary(result), result)


def _summary(result: GarbageResult) -> str:
    segments = (
        f"{counted(result.segments, 'segment')} of the journal {'refers' if result.segments == 1 else 'refer'}"
    )
    words = [f"{segments} to all but {counted(len(result.garbage), 'old object')}"]
    if not result.garbage:
        words = [f"{segments} to all old objects: nothing to remove"]
    elif result.blocked_reason:
        words.append(
            f"nothing is removed: {result.blocked_reason}; a journal that was lost and restarted looks like this"
        )
        look = "read docs/damage-runbook.md first"
        words.append(f"{look}; --delete --confirm-deletions removes them ({size(result.octets)})")
    elif result.deleted:
        removed = len(result.garbage) - len(result.kept)
        words.append(f"{removed} removed, {size(result.octets)}")
    else:
        words.append(f"{size(result.octets)}; --delete removes them")
    if result.kept:
        words.append(f"{len(result.kept)} could not be deleted")
    if result.young:
        words.append(f"{result.young} more are less than a week old ({size(result.young_octets)})")
    return "; ".join(words)


def to_json(outcome: AccountOutcome[GarbageResult]) -> dict[str, Any]:
    if (result := outcome.result) is None:
        return outcome.to_json()
    return outcome.to_json(
        {
            "segments": result.segments,
            "deleted": result.deleted,
            "held_back": result.blocked_reason,
            "garbage": [_record(each) for each in result.garbage],
            "octets": result.octets,
            "young": {"objects": result.young, "octets": result.young_octets},
        }
    )


def _record(garbage: Garbage) -> dict[str, Any]:
    return {
        "path": printable(garbage.place),
        "size": garbage.size,
        "since": moment(garbage.since),
        "kept": None if garbage.kept is None else printable(garbage.kept),
    }


def _show(result: Row, terminal: Terminal) -> None:
    good = result["exit_code"] == 0
    is_logged = not good and "garbage" not in result  # the error was logged when it happened
    if is_logged or (good and terminal.quiet):
        return
    out = terminal.out if good or not terminal.quiet else terminal.err
    out.say(f"{result['account']}: {printable(result['message'])}", "green" if good else "red")
    garbage = result.get("garbage", ())
    for each in garbage[:_SHOWN]:
        kept = f": not deleted: {each['kept']}" if each["kept"] else ""
        out.say(f"  {each['path']}, {each['size']:,} bytes, since {each['since']}{kept}")
    if len(garbage) > _SHOWN:
        out.say(f"  and {len(garbage) - _SHOWN:,} more; --json lists them all")
