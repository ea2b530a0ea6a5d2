"""`prune`: remove messages that the archive has from the source, so that mailboxes become smaller."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from archiver.config.age import checked_age, day_of
from archiver.control.run import utc_today
from archiver.errors import ConfigError, Incomplete, IntegrityError
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import size
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.keeping import user
from pipelines.cli.options import configs_argument, output_options, terminal_of
from pipelines.events import Important
from pipelines.outcome import AccountOutcome, Emit, run_each
from pipelines.stop import STOP

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings
    from archiver.report.units import Row
    from archiver.upkeep.prune import FolderOutcome, PruneResult
    from archiver.upkeep.prune_plan import FolderPlan, PruneRules
    from pipelines.cli.terminal import Terminal

_PRUNE = "prune"
_SHOWN = 50

#: What keeps an old message at the source, by its key in the JSON, in words for one and for several.
_KEPT = {
    "held": ("is held", "are held"),
    "not_at_destination": ("is not at the destination yet", "are not at the destination yet"),
    "kept_flagged": ("is flagged", "are flagged"),
    "placeholders": ("is only a placeholder in the archive", "are only placeholders in the archive"),
}


@click.command
@configs_argument
@click.option("--older-than", metavar="AGE", required=True, help="What arrived before: 365d, 18m, 2y.")
@click.option("--folder", multiple=True, metavar="GLOB", help='Only in these folders, like "Lists/*"; repeatable.')
@click.option("--except-folder", multiple=True, metavar="GLOB", help="Not in these folders; repeatable.")
@click.option("--keep-flagged", is_flag=True, help="Leave what is \\Flagged, also called starred.")
@click.option("--confirm", is_flag=True, help="Remove it; without it nothing is changed.")
@click.option("--confirm-deletions", is_flag=True, help="Remove it even beyond the deletion limit.")
@output_options
def prune(
    configs: Chosen,
    older_than: str,
    folder: tuple[str, ...],
    except_folder: tuple[str, ...],
    keep_flagged: bool,
    confirm: bool,
    confirm_deletions: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Remove old messages from the source that the archive has, so that mailboxes become smaller. With `restore`,
    this is the only command that changes a source. Without --confirm it only shows what it would remove.

    A message is removed only if its bytes were read from the archive just now and have their SHA-256, and if the
    source shows it under its UIDVALIDITY and UID with the recorded size and date. Exactly these messages get
    \\Deleted and are removed by UID EXPUNGE; a server without it (UIDPLUS) is refused, and so are Gmail, POP3 and
    files. Messages under a hold stay, and with a [destination] those that have no copy there yet. What is removed
    stays in the archive, and at the destination whatever [replay] vanished says.

    More than 50 messages or 10 % of a folder, or of the account, need --confirm-deletions, too; otherwise they
    stay, and the exit code is 3.

    If it is killed or cut off, the next call finds out what was done. The list of what was removed is in the
    journal, and in pruned/RUN.jsonl in the archive's directory.

    \b
      archiver prune configs/alice.toml --older-than 365d
      archiver prune configs/alice.toml --older-than 365d --confirm --confirm-deletions
      archiver prune configs/ --older-than 2y --except-folder "Contracts*" --keep-flagged --confirm
    """
    from archiver.upkeep.prune_plan import PruneRules
    from pipelines.attempts import new_run_id

    if confirm_deletions and not confirm:
        raise ConfigError("archiver prune", ["--confirm-deletions goes with --confirm"])
    rules = PruneRules(_moment(older_than), folder or ("*",), except_folder, keep_flagged, confirm_deletions)
    order = _Order(rules, confirm, older_than, f"prune-{new_run_id()}")
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    with terminal.progress(accounts.names) as display:
        outcomes = run_each(
            accounts.settings, _PRUNE, display, lambda settings, emit: _prune(settings, order, emit)
        )
    results, exit_code = finish(terminal, "archiver-prune/1", accounts, outcomes, to_json, confirmed=confirm)
    if not terminal.as_json:
        for each in results:
            _show(each, terminal, confirmed=confirm)
    return exit_code


class _Order(Struct, frozen=True):
    """What the command line asks for; `age` as it was given."""

    rules: PruneRules
    confirmed: bool
    age: str
    run: str


def _moment(age: str) -> int:
    """The beginning of the day that was so long ago, in seconds since 1970.

    Raises:
        ConfigError: it is no age.
    """
    try:
        day = day_of(checked_age(age), utc_today())
    except ValueError as error:
        raise ConfigError("--older-than", [str(error)]) from error
    return int(datetime.combine(day, time(), UTC).timestamp())


class Done(Struct, frozen=True):
    """What was planned for an account, and what was done; None if it is a dry run. `listed` is the list of what was
    removed, if anything was."""

    plans: list[FolderPlan]
    result: PruneResult | None
    listed: Path | None

    @property
    def exit_code(self) -> int:
        """The worst of what happened."""
        result = self.result
        if result is None:
            return 0
        if result.damaged:
            return IntegrityError.exit_code
        if result.error is not None:
            return result.error.exit_code
        is_part = any(each.beyond_limit for each in self.plans)
        is_part = is_part or any(each.error or each.refused or each.other for each in result.folders)
        return Incomplete.exit_code if is_part else 0


def _prune(settings: Settings, order: _Order, emit: Emit) -> AccountOutcome[Done]:
    from archiver.account.account import Account
    from archiver.account.upkeep.pruning import (
        PruneRequest,
        look_at_source,
        plan_of,
        prune_source,
        require_prunable,
    )
    from archiver.upkeep.pruned_list import list_path

    require_prunable(settings)
    account = Account(settings)
    if not order.confirmed:
        with account.looking(_PRUNE, lambda text: emit(Important(text))) as (archive, _):
            plans = plan_of(archive, order.rules)
        if any(each.uids for each in plans):
            look_at_source(settings)
        done = Done(plans, None, None)
        return AccountOutcome(settings.account, 0, _planned(done, order), done)
    with account.writing(order.run) as (archive, recorder):
        plans = plan_of(archive, order.rules)
        if any(each.uids and not each.beyond_limit for each in plans):
            emit(Important(f"prune removes messages from {settings.source.mailbox}, the account's source"))
        request = PruneRequest(order.rules, user(), order.run)
        was_older = archive.is_older
        try:
            result = prune_source(archive, recorder, plans, request, STOP.control(emit))
        finally:
            if not was_older:
                archive.note_segment()
    listed = list_path(settings.archive.path, order.run)
    done = Done(plans, result, listed if any(each.pruned for each in result.folders) else None)
    return AccountOutcome(settings.account, done.exit_code, _removed(done), done)


def _planned(done: Done, order: _Order) -> str:
    messages, octets = sum(len(each.uids) for each in done.plans), sum(each.octets for each in done.plans)
    if not messages:
        return f"nothing is older than {order.age} that may be removed"
    words = f"{counted(messages, 'message')} older than {order.age} can be removed ({size(octets)})"
    flagged = sum(each.flagged for each in done.plans)
    if flagged:
        words += f", {flagged:,} of them flagged: --keep-flagged leaves {'it' if flagged == 1 else 'them'}"
    beyond = any(each.beyond_limit for each in done.plans)
    more = " --confirm-deletions" if beyond else ""
    why = f", since that is {_LIMIT}" if beyond else ""
    return f"{words}; nothing was changed: --confirm{more} removes them{why}"


_LIMIT = "more than 50 or 10 % of a folder or of the account"


def _removed(done: Done) -> str:
    assert done.result is not None
    result = done.result
    pruned = sum(len(each.pruned) for each in result.folders)
    words = [
        f"{counted(pruned, 'message')} removed from the source ({size(sum(e.octets for e in result.folders))})"
        if pruned
        else "nothing was removed from the source"
    ]
    if done.listed is not None:
        words.append(f"listed in {done.listed}")
    if stayed := sum(len(each.uids) for each in done.plans if each.beyond_limit):
        stay = "stays" if stayed == 1 else "stay"
        words.append(f"{counted(stayed, 'message')} {stay}: that is {_LIMIT}; --confirm-deletions removes them")
    if other := sum(len(each.other) for each in result.folders):
        words.append(f"{counted(other, 'message')} {_stays(other)}: the source shows another size or date")
    if refused := sum(len(each.refused - each.pruned) for each in result.folders):
        words.append(f"{counted(refused, 'message')} {_stays(refused)}: the server did not remove them")
    if damaged := len(result.damaged):
        hint = "`archiver repair` fetches them again"
        words.append(f"{counted(damaged, 'message')} {_stays(damaged)}: damaged in the archive; {hint}")
    if result.error is not None:
        words.append(f"it ended early: {result.error}")
    return "; ".join(words)


def _stays(number: int) -> str:
    return "stays" if number == 1 else "stay"


def to_json(outcome: AccountOutcome[Done]) -> dict[str, Any]:
    """An account in the JSON document; without the numbers if it failed before anything was planned."""
    if (done := outcome.result) is None:
        return outcome.to_json()
    outcomes = {} if done.result is None else {each.plan.known.number: each for each in done.result.folders}
    damaged = [] if done.result is None else done.result.damaged
    return outcome.to_json(
        {
            "list": None if done.listed is None else str(done.listed),
            "folders": [_folder(each, outcomes.get(each.known.number)) for each in done.plans],
            "damaged": [
                {"folder": printable(each.folder), "uid": each.uid, "reason": printable(each.reason)}
                for each in damaged
            ],
        }
    )


def _folder(plan: FolderPlan, outcome: FolderOutcome | None) -> dict[str, Any]:
    return {
        "name": printable(plan.known.folder.name),
        "present": plan.present,
        "messages": len(plan.uids),
        "octets": plan.octets,
        "flagged": plan.flagged,
        "kept_flagged": plan.kept_flagged + (len(outcome.flagged) if outcome else 0),
        "held": plan.held,
        "not_at_destination": plan.unsent,
        "placeholders": len(outcome.placeholders) if outcome else 0,
        "beyond_limit": plan.beyond_limit,
        "pruned": len(outcome.pruned) if outcome else 0,
        "gone_before": len(outcome.gone) if outcome else 0,
        "differing": sorted(outcome.other) if outcome else [],
        "refused": sorted(outcome.refused - outcome.pruned) if outcome else [],
        "error": printable(outcome.error) if outcome and outcome.error else None,
    }


def _show(result: Row, terminal: Terminal, *, confirmed: bool) -> None:
    good = result["exit_code"] == 0
    is_logged = not good and "folders" not in result  # the error was logged when it happened
    if is_logged or (good and terminal.quiet):
        return
    out = terminal.out if good or not terminal.quiet else terminal.err
    out.say(f"{result['account']}: {printable(result['message'])}", "green" if good else "red")
    for each in result["folders"] if not terminal.quiet else ():
        out.say(f"  {_folder_words(each, confirmed=confirmed)}")
    for each in result["folders"]:
        if each["error"]:
            out.say(f'  folder "{each["name"]}": {each["error"]}')
        for what, why in (("differing", "shows another size or date"), ("refused", "did not remove it")):
            for uid in each[what][:_SHOWN]:
                out.say(f'  folder "{each["name"]}", uid {uid}: stays: the source {why}')
            if len(each[what]) > _SHOWN:
                out.say(f"  and {len(each[what]) - _SHOWN:,} more; --json lists them all")
    for each in result["damaged"]:
        out.say(f'  folder "{each["folder"]}", uid {each["uid"]}: stays: {each["reason"]}')


def _folder_words(folder: Row, *, confirmed: bool) -> str:
    old, present = folder["messages"], counted(folder["present"], "message")
    done = f"{folder['pruned']:,} of {old:,} removed, {present} before" if confirmed else f"{old:,} of {present}"
    words = [f"{folder['name']}: {done}"]
    words += [f"{folder[key]:,} {some[folder[key] > 1]}" for key, some in _KEPT.items() if folder[key]]
    if folder["beyond_limit"]:
        words.append("beyond the deletion limit")
    return ", ".join(words)
