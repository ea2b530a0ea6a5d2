"""Which of a command's accounts are shared with other hosts, and which are done by this one alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archiver.config.settings import Settings
from archiver.config.tables.fleet import is_postgresql
from pipelines.attempts import Options, Remembered, Run
from pipelines.engine.run import run_accounts
from pipelines.events import Listener
from pipelines.fleet.ledgers import Ledgers
from pipelines.hosts.command import Sharing, run_shared
from pipelines.outcome import AccountOutcome


def run_with_others(
    accounts: Sequence[Settings],
    options: Options,
    verb: str,
    listener: Listener,
    remembered: Mapping[str, Remembered],
) -> list[AccountOutcome[Run]]:
    """Run accounts as `run_accounts` does; those whose ledger several hosts use are shared with these."""
    shared = [each for each in accounts if each.fleet is not None and is_postgresql(each.fleet.ledger)]
    if not shared:
        return run_accounts(accounts, options, listener, remembered)
    outcomes: dict[str, AccountOutcome[Run]] = {}
    with Ledgers() as ledgers:
        for ledger, its in ledgers.members(shared).items():
            ended = run_shared(
                list(its.values()), options, listener, Sharing(ledger, verb, remembered), of=accounts
            )
            outcomes |= {each.account: each for each in ended}
    alone = [each for each in accounts if each.account not in outcomes]
    if alone:
        outcomes |= {each.account: each for each in run_accounts(alone, options, listener, remembered, accounts)}
    return [outcomes[each.account] for each in accounts]


def run_due(
    accounts: Sequence[Settings],
    options: Options,
    listener: Listener,
    remembered: Mapping[str, Remembered],
    every: float | None,
) -> list[AccountOutcome[Run]]:
    """Run those accounts of fleets that are due and that no other host works on; returns how each ended. `every`:
    in so many seconds each is due again; None: when somebody asks for it."""
    outcomes: list[AccountOutcome[Run]] = []
    with Ledgers() as ledgers:
        for ledger, its in ledgers.members(accounts).items():
            sharing = Sharing(ledger, "run", remembered, only_due=True, every=every)
            outcomes += run_shared(list(its.values()), options, listener, sharing, of=accounts)
    return outcomes
