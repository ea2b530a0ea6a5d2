"""Looks at an account that found nothing new, which only the ledger of its fleet knows."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from archiver.config.settings import Settings
from archiver.config.tables.fleet import is_postgresql
from archiver.errors import ArchiverError
from archiver.fleet.fingerprint import Fingerprint
from archiver.fleet.open import open_ledger

_RUNS = 1000


class Look(Struct, frozen=True):
    """The run `run` ended at that moment, and found nothing new since the run `since`, whose report is that of the
    account."""

    run: str
    at: str
    since: str


def look_of(settings: Settings, run: str | None) -> Look | None:
    """The last look at an account, if no run was recorded in its archive since, or the look of the `run` of this
    name. None if there was none, or the ledger cannot be read: then nobody knows."""
    place = settings.fleet
    if place is None or not (is_postgresql(place.ledger) or Path(place.ledger).exists()):
        return None
    try:
        ledger = open_ledger(place)
        try:
            known = ledger.accounts.known([place.account]).get(place.account)
            if known is None or (fingerprint := Fingerprint.read(known.fingerprint)) is None:
                return None
            last = [known.last] if known.last is not None else []
            runs = last if run is None else ledger.accounts.runs(place.account, _RUNS)
        finally:
            ledger.close()
    except ArchiverError:
        return None
    for each in runs:
        is_look = each.exit_code == 0 and each.run != fingerprint.run and each.began >= fingerprint.at
        if is_look and each.ended is not None and run in (None, each.run):
            return Look(each.run, each.ended, fingerprint.run)
    return None
