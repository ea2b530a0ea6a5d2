"""`mark`: say how far the migration of accounts is, where only people know."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from archiver.control.run import utc_now
from archiver.errors import ConfigError, LedgerUnavailable
from archiver.facts.keeping import StateMarkedFact
from archiver.fleet.model import STATES, State
from archiver.fleet.states import skipped
from archiver.mail.folder_names import printable
from pipelines.cli.accounts import finish, load_accounts
from pipelines.cli.keeping import user
from pipelines.cli.options import configs_argument, output_options, terminal_of
from pipelines.fleet.ledgers import Ledgers
from pipelines.outcome import AccountOutcome, Emit, run_each

if TYPE_CHECKING:
    from archiver.config.fleet.files import Chosen
    from archiver.config.settings import Settings

_MARK = "mark"
_ANYWAY = "to mark it all the same, give --yes"


class Mark(Struct, frozen=True):
    """What was marked: the state before, the state since, and what people should know about it."""

    before: State
    state: State
    warnings: tuple[str, ...] = ()


@click.command
@configs_argument
@click.argument("state", metavar="STATE", type=click.Choice(STATES), help="One of: " + ", ".join(STATES) + ".")
@click.option("--by", metavar="NAME", help="Who says so; otherwise the user who gives the command.")
@click.option("--reason", metavar="TEXT", default="", help="Why, for those who ask later.")
@click.option("--yes", is_flag=True, help="Mark as cutover although it was not verified.")
@output_options
def mark(
    configs: Chosen,
    state: State,
    by: str | None,
    reason: str,
    yes: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Say how far the migration of accounts is: new, checked, presynced, delta, frozen, final, verified, cutover.

    Most of it follows from what happens: a check that ends well, the first complete run (presynced), a later one
    (delta), the first complete run after frozen (final), and `archiver verify` after that (verified). Only people
    know that a source accepts no more mail (frozen), and that people read their mail at the destination (cutover).
    They may also take an account back to any state.

    After cutover a run archives and sends what is new, and changes nothing else at the destination: no flag, no
    deletion, no access right, no folder's name, until --after-cutover or another mark.

    The journal of the account's archive records the mark, with who and when. An account that was not verified is
    marked as cutover only with --yes.

    \b
      archiver mark configs/alice.toml frozen --by "the mail team"
      archiver mark configs/ cutover --only "wave1/*" --reason "change 4711"
    """
    terminal = terminal_of(as_json, quiet, verbose)
    accounts = load_accounts(configs, terminal)
    whose = " ".join((by or "").split()) or user()
    fact = StateMarkedFact(state, " ".join(reason.split()), whose, utc_now())

    def work(settings: Settings, emit: Emit) -> AccountOutcome[Mark]:
        return _marked(settings, fact, state, ledgers, yes=yes)

    with Ledgers() as ledgers, terminal.progress(accounts.names) as display:
        outcomes = run_each(accounts.settings, _MARK, display, work)
    _, exit_code = finish(terminal, "archiver-mark/1", accounts, outcomes, _to_json)
    for each in outcomes:
        if each.result is None or terminal.as_json:
            continue
        for warning in each.result.warnings:
            terminal.warn(f"{each.account}: {warning}", each.account)
        if not quiet:
            terminal.out.say(f"{each.account}: {each.message}", "green")
    return exit_code


def _to_json(outcome: AccountOutcome[Mark]) -> dict[str, Any]:
    done = outcome.result
    fields = {
        "before": done and done.before,
        "state": done and done.state,
        "warnings": list(done.warnings) if done else [],
    }
    return outcome.to_json(fields)


def _marked(
    settings: Settings, fact: StateMarkedFact, to: State, ledgers: Ledgers, *, yes: bool
) -> AccountOutcome[Mark]:
    from archiver.account.account import Account
    from pipelines.fleet.history import known_state

    account = Account(settings)
    if to == "new":
        _forget(settings, ledgers)
    if not account.medium.is_remote and not account.has_archive():
        problem = f"has no archive yet, in whose journal a mark is kept ({settings.archive.path})"
        raise ConfigError(str(settings.file), [problem], hint="`archiver run` begins one; mark it then")
    account.fetch_catalog(_MARK, lambda: None)
    warnings: list[str] = []
    with account.writing(_MARK) as (archive, recorder):
        if (stranger := archive.stranger) is not None:
            raise stranger
        before = _in_ledger(settings, ledgers) or known_state(archive).state
        lacking = skipped(before, to)
        if to == "cutover" and lacking and not yes:
            problem = f"is {before}, not verified: {'; '.join(lacking)}"
            raise ConfigError(str(settings.file), [problem], hint=_ANYWAY)
        if lacking:
            warnings.append(f"was {before}: {'; '.join(lacking)}")
        if before == "cutover" and to != "cutover":
            warnings.append("from the next run on, flags and deletions are followed at the destination again")
        recorder.write([fact])
        archive.note_segment()
    _to_ledger(settings, fact, to, ledgers, warnings)
    words = f"{to} since {fact.at[:16]}Z, says {printable(fact.by)}; it was {before}"
    return AccountOutcome(settings.account, 0, words, Mark(before, to, tuple(warnings)))


def _in_ledger(settings: Settings, ledgers: Ledgers) -> State | None:
    """The state by the fleet's ledger; None if it is in none, or the ledger cannot be read."""
    if (place := settings.fleet) is None:
        return None
    try:
        known = ledgers.at(place).accounts.known([place.account])
    except LedgerUnavailable:
        return None  # to write into it fails, too, and is said
    return known[place.account].state if place.account in known else None


def _forget(settings: Settings, ledgers: Ledgers) -> None:
    """The ledger may know the account as another one, which is refused until a person says that it is a new one."""
    if settings.fleet is not None:
        with suppress(LedgerUnavailable):
            ledgers.at(settings.fleet).accounts.forget([settings.fleet.account])


def _to_ledger(settings: Settings, fact: StateMarkedFact, to: State, ledgers: Ledgers, warnings: list[str]) -> None:
    if (place := settings.fleet) is None:
        return
    try:
        ledgers.enrol([settings])
        ledgers.at(place).accounts.set_state([place.account], to, fact.at, fact.by)
    except LedgerUnavailable as error:
        warnings.append(f"it is in the archive's journal, but not in the ledger: {error}")
