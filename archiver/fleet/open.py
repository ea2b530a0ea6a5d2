"""Opens the ledger that a fleet's defaults name."""

from __future__ import annotations

from pathlib import Path

from archiver.config.tables.fleet import FleetPlace
from archiver.fleet.port import FleetLedger


def open_ledger(place: FleetPlace) -> FleetLedger:
    """The ledger of a fleet; it is reached, and made if it is missing, by the first call.

    Raises:
        ConfigError: it is in a PostgreSQL database, and the extra `postgres` is not installed.
    """
    from archiver.fleet.sqlite import SqliteLedger

    return SqliteLedger(Path(place.ledger), place.name)
