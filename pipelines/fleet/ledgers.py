"""The ledgers of the fleets that a command's accounts belong to: mostly one, each opened once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from functools import cache
from types import TracebackType

from archiver.config.settings import Settings
from archiver.config.tables.fleet import FleetPlace
from archiver.errors import Interrupted, LedgerUnavailable
from archiver.fleet.model import Enrolled
from archiver.fleet.open import open_ledger
from archiver.fleet.port import FleetLedger
from pipelines.fleet.refill import refill
from pipelines.stop import STOP

Members = Mapping[FleetLedger, Mapping[str, Settings]]
"""Accounts by their names in the fleet, of each ledger."""


@cache
def owner_of_claims() -> str:
    """What this process is called in a ledger: its host and its number."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Ledgers:
    """Ledgers by the places that settings name. Closing it closes them. A signal ends waiting for a database."""

    def __init__(self) -> None:
        self._opened: dict[tuple[str, str], FleetLedger] = {}

    def __enter__(self) -> Ledgers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def at(self, place: FleetPlace) -> FleetLedger:
        """The ledger of a fleet.

        Raises:
            ConfigError: what it needs is not installed.
        """
        key = (place.ledger, place.name)
        if key not in self._opened:
            self._opened[key] = open_ledger(place, _pause)
        return self._opened[key]

    def members(self, accounts: Iterable[Settings]) -> Members:
        """Those of the accounts that belong to a fleet, by ledger."""
        found: dict[FleetLedger, dict[str, Settings]] = {}
        for each in accounts:
            if each.fleet is not None:
                found.setdefault(self.at(each.fleet), {})[each.fleet.account] = each
        return found

    def enrol(self, accounts: Iterable[Settings]) -> Members:
        """Make accounts known in their fleets; returns them by ledger. One that was not known is recorded as its
        archive knows it.

        Raises:
            LedgerUnavailable: a ledger cannot be reached or written.
            ConfigError: an account of this name in the ledger is another one.
        """
        members = self.members(accounts)
        for ledger, its in members.items():
            known = ledger.accounts.known(its)
            ledger.accounts.enrol([enrolled(name, settings) for name, settings in its.items()])
            refill(ledger, {name: settings for name, settings in its.items() if name not in known})
        return members

    def close(self) -> None:
        """Close them; may be called twice."""
        for each in self._opened.values():
            try:
                each.close()
            except LedgerUnavailable:
                pass  # it is closed all the same


def enrolled(name: str, settings: Settings) -> Enrolled:
    """An account as its ledger knows it."""
    there = settings.destination
    return Enrolled(
        account=name,
        written=settings.fleet.written if settings.fleet is not None else "",
        source=settings.source.mailbox,
        server=settings.source.address,
        destination=None if there is None else there.mailbox,
    )


def _pause(seconds: float) -> None:
    """NOTE: it may be a thread that must not end by the signal, but give up what it waits for."""
    try:
        STOP.pause(seconds)
    except Interrupted as error:
        raise LedgerUnavailable(
            f"the fleet's ledger was away, and waiting for it ended: {error.message}"
        ) from error
