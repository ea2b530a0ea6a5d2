"""Looks at many accounts at once, by their ledgers alone where that is enough.

An account file that was not changed since the account's last run began is not even read. Whatever the ledger does
not know, or knows of another file, is looked up in the archive."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from archiver.config.layers import KnownDefaults
from archiver.config.load import load_account
from archiver.config.settings import Settings
from archiver.config.tables.fleet import FleetPlace, is_postgresql
from archiver.errors import ArchiverError, LedgerUnavailable
from archiver.fleet.model import Account, State
from pipelines.fleet.at_work import Locks
from pipelines.fleet.ledgers import Ledgers
from pipelines.fleet.refill import past_of
from pipelines.fleet.standing import Standing, by_ledger

Rows = Mapping[str, Account]


class _Folder(Struct, frozen=True):
    """What the account files of one folder have in common: what their names in the fleet begin with, its accounts
    by the ledger, and when the defaults were changed last."""

    below: str
    rows: Rows
    changed: float


class Looked(Struct, frozen=True):
    """`known` are those that a ledger knows enough about, `unknown` the files of the others, in their order."""

    known: Sequence[Standing]
    unknown: Sequence[Path]


class FleetLook:
    """A look at account files through the ledgers of their fleets; `problems` is why one cannot be used."""

    def __init__(self, ledgers: Ledgers) -> None:
        self._ledgers = ledgers
        self._defaults = KnownDefaults()
        self._folders: dict[Path, _Folder | None] = {}
        self._rows: dict[tuple[str, str], Rows] = {}
        self.problems: list[str] = []

    def look(self, files: Sequence[Path]) -> Looked:
        """How these accounts stand, as far as the ledgers say."""
        locks, now = Locks(), time.time()
        known, unknown = [], []
        for file in files:
            found = self._standing(file, locks, now)
            if found is None:
                unknown.append(file)
            else:
                known.append(found)
        return Looked(known, unknown)

    def row_of(self, settings: Settings) -> Account | None:
        """An account's row, whatever its file says now; None if its ledger has none, or there is none."""
        if settings.fleet is None:
            return None
        return self._rows_at(settings.fleet).get(settings.fleet.account)

    def _standing(self, file: Path, locks: Locks, now: float) -> Standing | None:
        folder = self._folder(file)
        if folder is None or not folder.rows:
            return None
        row = folder.rows.get(folder.below + file.name.removesuffix(".toml"))
        if row is None or row.last is None:
            return None
        settings: Settings | None = None
        try:
            if max(file.stat().st_mtime, folder.changed) >= datetime.fromisoformat(row.last.began).timestamp():
                settings = load_account(file, self._defaults)
                if settings.fleet is None or settings.fleet.written != row.enrolled.written:
                    return None
            at_work = row.claim is not None
            if row.last.ended is None and not at_work:
                at_work = locks.is_held((settings or load_account(file, self._defaults)).archive.path)
        except (ArchiverError, OSError, ValueError):
            return None  # it is loaded again, and what is wrong is said
        return by_ledger(file.stem, str(file), row, now, at_work=at_work)

    def _folder(self, file: Path) -> _Folder | None:
        """The fleet of a folder, by the first of its files that can be loaded."""
        if file.parent not in self._folders:
            try:
                settings = load_account(file, self._defaults)
            except ArchiverError:
                return None
            place = settings.fleet
            if place is None:
                self._folders[file.parent] = None
            else:
                layers = self._defaults(file.parent).layers
                changed = max((_changed(each.file) for each in layers), default=0.0)
                below = place.account[: place.account.rfind("/") + 1]
                self._folders[file.parent] = _Folder(below, self._rows_at(place), changed)
        return self._folders[file.parent]

    def _rows_at(self, place: FleetPlace) -> Rows:
        """All rows of a ledger. One that is a file is not created by a look."""
        key = (place.ledger, place.name)
        if key not in self._rows:
            self._rows[key] = {}
            if is_postgresql(place.ledger) or Path(place.ledger).exists():
                try:
                    self._rows[key] = self._ledgers.at(place).accounts.known()
                except (ArchiverError, LedgerUnavailable) as error:
                    self.problems.append(f"{error.message}; what follows is by the archives alone")
        return self._rows[key]


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return float("inf")


def states_of(accounts: Iterable[Settings]) -> Mapping[Path, State]:
    """How far accounts are, by their files: by their ledger, or else by their archive."""
    with Ledgers() as ledgers:
        look = FleetLook(ledgers)
        return {each.file: _state(each, look) for each in accounts}


def _state(settings: Settings, look: FleetLook) -> State:
    if (row := look.row_of(settings)) is not None:
        return row.state
    past = past_of(settings.account, settings)
    return "new" if past is None else past.state.state
