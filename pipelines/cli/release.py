"""`release`: end holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.control.run import utc_now
from archiver.errors import ConfigError
from archiver.facts.keeping import HoldEndedFact, HoldFact
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import load_one
from pipelines.cli.keeping import hold_to_record, hold_words, reason_of, user
from pipelines.cli.options import Integer, config_argument, output_options, terminal_of
from pipelines.outcome import AccountOutcome, Emit, run_each

if TYPE_CHECKING:
    from archiver.config.settings import Settings

_RELEASE = "release"


@click.command
@config_argument
@click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=Integer(min=1), help="As `status` shows it.")
@click.option("--all", "every", is_flag=True, help="End all holds of the account.")
@click.option("--reason", metavar="TEXT", help="Why, for those who ask later; it has to be given.")
@output_options
def release(
    config: Path,
    numbers: Sequence[int],
    every: bool,
    reason: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """End holds that `archiver hold` began, by their numbers. Nothing is forgotten by that; but what `[retention]`
    asks for is done at the end of the next run.

    It is a fact in the journal, as the hold is: who, when and why. A message that two holds keep stays held until
    both have ended.

    \b
      archiver release configs/alice.toml 1 --reason "settled on 2026-11-20"
    """
    if bool(numbers) == every:
        hint = "`archiver status` shows the numbers of holds; --all ends all of them"
        raise ConfigError("archiver release", ["which hold? Give its NUMBER, or --all"], hint=hint)
    terminal = terminal_of(as_json, quiet, verbose)
    settings = load_one(config, _RELEASE)
    why = reason_of(reason, _RELEASE)

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
            if unknown := [number for number in asked if number not in active]:
                known = ", ".join(map(str, active)) or "none"
                problem = f"there is no hold {unknown[0]} that lasts; those that do: {known}"
                raise ConfigError("archiver release", [problem], hint="`archiver status` shows them")
            recorder.write([HoldEndedFact(number, why, user(), utc_now()) for number in asked])
        ended = [active[number] for number in asked]
        words = "; ".join(f"hold {each.number} ended: {hold_words(hold_to_record(each))}" for each in ended)
        return AccountOutcome(settings.account, 0, words or "there is no hold", ended)

    with terminal.progress([settings.account]) as display:
        (outcome,) = run_each([settings], _RELEASE, display, work)
    fields = {"ended": [hold_to_record(each) for each in outcome.result or ()]}
    terminal.document({"format": "archiver-release/1", **outcome.to_json(fields)})
    if outcome.result is not None and not terminal.as_json and not quiet:
        terminal.out.say(f"{outcome.account}: {printable(outcome.message or '')}", "green")
    return outcome.exit_code
