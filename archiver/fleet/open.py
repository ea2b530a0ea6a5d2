"""Opens the ledger that a fleet's defaults name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from archiver.config.tables.fleet import FleetPlace, is_postgresql
from archiver.fleet.port import FleetLedger


def open_ledger(place: FleetPlace, pause: Callable[[float], None] = time.sleep) -> FleetLedger:
    """The ledger of a fleet; it is reached, and made if it is missing, by the first call. `pause` waits so many
    seconds for a database that is away, and raises if the process is to end.

    Raises:
        ConfigError: it is in a PostgreSQL database, and the extra `postgres` is not installed.
    """
    if is_postgresql(place.ledger):
        from archiver.fleet.postgresql import PostgresqlLedger

        return PostgresqlLedger(place.ledger, place.name, pause)
    from archiver.fleet.sqlite import SqliteLedger

    return SqliteLedger(Path(place.ledger), place.name)
