"""`release`: end holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from archiver.control.run import utc_now
from archiver.errors import ConfigError
from archiver.facts.keeping import HoldEndedFact, HoldFact
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import finish_document, load_accounts
from pipelines.cli.keeping import hold_to_record, hold_words, reason_of, user
from pipelines.cli.options import configs_and, output_options, terminal_of
from pipelines.outcome import AccountOutcome, Emit, run_each

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings

_RELEASE = "release"


@click.command
@configs_and("[NUMBER]...", "As `status` shows it.", str.isdecimal)
@click.option("--all", "every", is_flag=True, help="End all holds of the accounts.")
@click.option("--held-for", metavar="TEXT", help="End the holds that were made with this reason.")
@click.option("--reason", metavar="TEXT", help="Why, for those who ask later; it has to be given.")
@output_options
def release(
    configs: Chosen,
    names: Sequence[str],
    every: bool,
    held_for: str | None,
    reason: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """End holds that `archiver hold` began: by number, in one account; by their reason, in all the accounts that
    are named; or all of them. This forgets nothing by itself, but the next run does what `[retention]` asks for.

    The journal records who ended it, when and why, as it does for the hold. A message under two holds stays held
    until both have ended.

    \b
      archiver release configs/alice.toml 1 --reason "settled on 2026-11-20"
      archiver release configs/ --held-for "lawsuit 12 O 34/26" --reason "settled on 2026-11-20"
    """
    if bool(names) + every + (held_for is not None) != 1:
        hint = "give its NUMBER, which `archiver status` shows, or --held-for with its reason, or --all"
        raise ConfigError("archiver release", ["no hold was named"], hint=hint)
    numbers = [_number(each) for each in names]
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    if numbers and accounts.several:
        problem = "is the number of a hold of one account, and several are named"
        raise ConfigError(names[0], [problem], hint="name that account alone; or give --held-for TEXT, or --all")
    why = reason_of(reason, _RELEASE)
    wanted = None if held_for is None else " ".join(held_for.split())

    def work(settings: Settings, emit: Emit) -> AccountOutcome[Sequence[HoldFact]]:
        from archiver.account.account import Account
        from archiver.upkeep.holds import active_holds

        account = Account(settings)
        account.fetch_catalog(_RELEASE, lambda: None)
        with account.writing(_RELEASE) as (archive, recorder):
            if (stranger := archive.stranger) is not None:
                raise stranger
            active = {each.number: each for each in active_holds(archive.catalog.keeping)}
            asked = list(active) if every else list(dict.fromkeys(numbers))
            if wanted is not None:
                asked = [number for number, each in active.items() if each.reason == wanted]
            if wanted is not None and not (asked or accounts.several):
                raise _no_such_hold(wanted)
            if unknown := [number for number in asked if number not in active]:
                known = f"open holds: {', '.join(map(str, active))}" if active else "no hold is open"
                problem = f"there is no open hold {unknown[0]}; {known}"
                raise ConfigError("archiver release", [problem], hint="`archiver status` shows them")
            recorder.write([HoldEndedFact(number, why, user(), utc_now()) for number in asked])
        ended = [active[number] for number in asked]
        words = "; ".join(f"hold {each.number} ended: {hold_words(hold_to_record(each))}" for each in ended)
        return AccountOutcome(settings.account, 0, words or "there is no hold", ended)

    with terminal.progress(accounts.names) as display:
        outcomes = run_each(accounts.settings, _RELEASE, display, work)
    if wanted is not None and not any(each.result or each.exit_code for each in outcomes) and accounts.several:
        raise _no_such_hold(wanted)
    _, exit_code = finish_document(terminal, "archiver-release/1", accounts, outcomes, _to_json)
    if terminal.tables:
        done = [each for each in outcomes if each.result is not None]
        for each in done:
            if each.result or not accounts.several:
                terminal.out.say(f"{each.account}: {printable(each.message or '')}", "green")
        if accounts.several:
            ended, total = sum(len(each.result or ()) for each in done), len(outcomes) + len(accounts.refused)
            terminal.out.say(f"in all: {counted(ended, 'hold')} of {counted(total, 'account')} ended")
    return exit_code


def _number(word: str) -> int:
    """
    Raises:
        ConfigError: it is neither an account nor the number of a hold.
    """
    if not (word.isascii() and word.isdecimal() and 0 < int(word) < 1 << 31):
        problem = "is neither an account file, nor a folder of them, nor the number of a hold"
        raise ConfigError(word, [problem], hint="`archiver status` shows the numbers")
    return int(word)


def _no_such_hold(reason: str) -> ConfigError:
    problem = f'there is no open hold with the reason "{printable(reason)}"'
    return ConfigError("archiver release", [problem], hint="`archiver status` shows them")


def _to_json(outcome: AccountOutcome[Sequence[HoldFact]]) -> dict[str, Any]:
    return outcome.to_json({"ended": [hold_to_record(each) for each in outcome.result or ()]})
