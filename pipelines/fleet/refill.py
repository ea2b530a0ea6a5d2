"""What a ledger learns about accounts that are new to it: how they are by their archives. So one that was lost, or
that comes to a fleet later, is filled by the next command, account by account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from archiver.config.settings import Settings
from archiver.errors import ArchiverError
from archiver.fleet.model import Amounts, RunBegun, RunEnded
from archiver.fleet.port import FleetLedger
from pipelines.fleet.history import MigrationState, known_state
from pipelines.show.reasons import next_step_of, reason_of

if TYPE_CHECKING:
    from archiver.account.archive import Archive

_VERB = "run"  # a catalog does not know which verb it was
_NOBODY = ""
_NOT_TO_GO = ("excluded", "quarantined", "forgotten")


class Past(Struct, frozen=True):
    """What an archive knows of its account: its last good run and its last run, and how far it is."""

    begun: tuple[RunBegun, ...]
    ended: tuple[RunEnded, ...]
    state: MigrationState


def refill(ledger: FleetLedger, accounts: Mapping[str, Settings]) -> None:
    """Record what the archives of these accounts know, by their names in the fleet. One that cannot be read, or is
    not there, is left out.

    Raises:
        LedgerUnavailable: the ledger cannot be written.
    """
    for name, settings in accounts.items():
        if (past := past_of(name, settings)) is None:
            continue
        ledger.accounts.begun(past.begun)
        ledger.accounts.ended(past.ended)
        if past.state.since is not None or past.state.state != "new":
            since = past.state.since or past.ended[-1].at if past.ended else past.state.since or ""
            ledger.accounts.set_state([name], past.state.state, since, past.state.by or "")


def past_of(name: str, settings: Settings) -> Past | None:
    """What an account's archive knows of it; None if there is none here that can be read."""
    from archiver.account.account import Account

    try:
        account = Account(settings)
        if not account.catalog.exists():
            return None
        with account.reading(with_catalog=True) as archive:
            return _past(name, archive)
    except (ArchiverError, OSError):
        return None  # a run of it says what is wrong


def _past(name: str, archive: Archive) -> Past:
    runs = list(archive.catalog.ledger.runs())
    good = [each for each in runs if each[3] == "complete" and each[4] == 0]
    chosen = [*good[-1:], *(runs[-1:] if runs[-1:] != good[-1:] else [])]
    begun = [RunBegun(name, run, _VERB, started, _NOBODY) for run, started, *_ in chosen]
    ended = []
    for run, started, finished, status, exit_code in chosen:
        if finished is None or status is None or exit_code is None:
            continue
        document = report_of(archive.reports / run)
        ended.append(
            RunEnded(
                account=name,
                run=run,
                status="stopped" if exit_code > 128 else status,
                exit_code=exit_code,
                at=finished,
                seconds=max(0.0, (_moment(finished) - _moment(started)).total_seconds()),
                cause=reason_of(document) if exit_code else None,
                next_step=next_step_of(document) if exit_code else None,
                amounts=amounts_of(
                    document.get("totals"), has_destination=archive.settings.destination is not None
                ),
            )
        )
    return Past(tuple(begun), tuple(ended), known_state(archive))


def report_of(directory: Path) -> Mapping[str, Any]:
    """The report of a run; empty if it cannot be read."""
    try:
        document = json.loads((directory / "report.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def amounts_of(totals: Mapping[str, Any] | None, *, has_destination: bool) -> Amounts | None:
    """What the totals of a report say: what waits for the destination, or, without one, for the archive."""
    if not totals:
        return None
    messages, octets = int(totals["stored"]), int(totals["stored_bytes"])
    if (there := totals.get("destination")) is not None:
        waiting = int(there["pending"])
    elif has_destination:
        return Amounts(messages, octets)  # this run did not count it
    else:
        waiting = max(0, totals["on_server"] - messages - sum(totals.get(name, 0) for name in _NOT_TO_GO))
    return Amounts(messages, octets, waiting, octets * waiting // messages if messages else 0)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
