"""Which of the hosts that shared a run sends the notices about it.

Each of them knows at the end how all accounts ended, and would send the same. The first one to say so in the ledger
sends them; where they do not agree on how the accounts ended, each sends its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archiver.config.settings import Settings
from archiver.config.tables.fleet import is_postgresql
from archiver.errors import ArchiverError, ConfigError
from archiver.fleet.fingerprint import digest_of
from pipelines.fleet.ledgers import Ledgers, owner_of_claims

_SECONDS = 86_400.0  # longer than any host goes on after the first one has ended


def is_first_to_tell(accounts: Sequence[Settings], verb: str, results: Sequence[Mapping[str, Any]]) -> bool:
    """Whether nobody else has sent the notices about this end of these accounts. Without a ledger that several
    hosts use, and while it is away, we are: to be told twice is better than not at all."""
    places = [each.fleet for each in accounts if each.fleet is not None and is_postgresql(each.fleet.ledger)]
    if not places:
        return True
    try:
        with Ledgers() as ledgers:
            claims = ledgers.at(places[0]).claims
            return claims.first(f"tell {_end_of(verb, results)}", owner_of_claims(), _SECONDS)
    except ArchiverError:
        return True


def _end_of(verb: str, results: Sequence[Mapping[str, Any]]) -> str:
    """What is the same on all hosts that shared a run, and another for each run.

    NOTE: each host refuses by itself an account whose file is wrong, in a run of its own."""
    refused = ConfigError.exit_code
    ends = ((each["account"], each["exit_code"], each.get("run")) for each in results)
    return digest_of(verb, sorted((name, code, run if code != refused else None) for name, code, run in ends))
