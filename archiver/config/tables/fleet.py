"""The table [fleet] of a `defaults.toml`: where the ledger of its accounts is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from archiver.config.layers import Defaults
from archiver.config.shape import Table

LEDGER = "fleet.sqlite"


def is_postgresql(ledger: str) -> bool:
    """Whether it names a database, not a file."""
    return ledger.startswith(("postgresql://", "postgres://"))


def _ledger(text: str) -> str:
    """NOTE: no text of an error shows the address: there may be a password in it."""
    if not text:
        raise ValueError("must not be empty; leave the key out for a file beside defaults.toml")
    if "://" not in text:
        return text
    if not is_postgresql(text):
        raise ValueError('must be a file or a database, as in "postgresql://archiver@db.example.org/fleet"')
    try:
        parts = urlsplit(text)
        secrets = parts.password is not None or "password" in dict(parse_qsl(parts.query))
    except ValueError:
        raise ValueError('must be like "postgresql://archiver@db.example.org/fleet"') from None
    if secrets:
        raise ValueError("must not contain a password; put it into ~/.pgpass, PGPASSFILE or a service file")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text):
        raise ValueError("must be ASCII letters, digits and . _ - only, at most 63, not . _ or - first")
    return text


class FleetSettings(Table, frozen=True, kw_only=True):
    """Where the ledger of the fleet is, None for a file beside `defaults.toml`; and the fleet's `name` in it, for
    fleets that share a database."""

    ledger: Annotated[str, _ledger] | None = None
    name: Annotated[str, _name] = "fleet"


class FleetPlace(Struct, frozen=True):
    """The fleet of an account: the folder `home` that has all its account files, its `ledger`, an absolute path or
    a PostgreSQL address, and its `name` there. `account` is the account's name in the fleet: the path of its file
    below `home`, without ".toml". `written`: a digest of what the file and its defaults say."""

    home: Path
    ledger: str
    name: str
    account: str
    written: str


def place_of(file: Path, defaults: Defaults, fleet: FleetSettings, written: str) -> FleetPlace | None:
    """The fleet of an account file; None if no `defaults.toml` makes it a member of one."""
    if not defaults.layers:
        return None
    home = defaults.top
    ledger = fleet.ledger or str(home / LEDGER)
    if not is_postgresql(ledger):
        ledger = str(defaults.home / Path(ledger).expanduser())
    below = (defaults.home / file.name).relative_to(home)
    return FleetPlace(home, ledger, fleet.name, str(below.with_name(below.name.removesuffix(".toml"))), written)
