"""How far accounts are, after a verb that is no run: `check` and `verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from archiver.config.settings import Settings
from archiver.control.run import utc_now
from archiver.errors import ArchiverError
from archiver.fleet.states import happened, state_after
from pipelines.fleet.ledgers import Ledgers


def record_progress(verb: str, accounts: Iterable[Settings], warn: Callable[[str], None]) -> None:
    """Record in the ledgers of their fleets that a verb ended with 0 for these accounts. Never raises: a ledger
    that cannot be written costs a line."""
    what = happened(verb, 0)
    members = [each for each in accounts if each.fleet is not None]
    if what is None or not members:
        return
    try:
        with Ledgers() as ledgers:
            for ledger, its in ledgers.enrol(members).items():
                for name, known in ledger.accounts.known(its).items():
                    there = its[name].destination is not None
                    if (state := state_after(known.state, what, has_destination=there)) != known.state:
                        ledger.accounts.set_state([name], state, utc_now(), verb)
    except ArchiverError as error:
        warn(f"{error.message}; it is not recorded there how far the accounts are")
