"""How far the migration of an account is, as its archive alone knows it: from what people said, which is in the
journal, and from the runs that its catalog lists. With that a ledger that was lost is filled again.

What only a ledger knew is lost with it: that an account was checked, or verified. Then it counts as what it was
before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from archiver.fleet.model import STATES, State
from archiver.fleet.states import Completed, Happened, Marked, state_after

if TYPE_CHECKING:
    from archiver.account.archive import Archive

_REPLAY = "replay"


class MigrationState(Struct, frozen=True):
    """A state, since when, and who or what said so: a person, or the run of that name. None if nothing did."""

    state: State = "new"
    since: str | None = None
    by: str | None = None


def known_state(archive: Archive) -> MigrationState:
    """The state of an account by its archive. It reads a row for each run."""
    has_destination, known = archive.settings.destination is not None, MigrationState()
    for at, by, what in _history(archive):
        state = state_after(known.state, what, has_destination=has_destination)
        if state != known.state or isinstance(what, Marked):
            known = MigrationState(state, at, by)
    if known.state == "new" and not archive.catalog.ledger.runs() and _has_all(archive):
        known = MigrationState("presynced")  # its catalog was made from the journal, which has no runs
    return known


def _history(archive: Archive) -> list[tuple[str, str, Happened]]:
    """What happened, with when and by whom or which run, in its order."""
    ledger, marks = archive.catalog.ledger, archive.catalog.keeping.marks()
    known: list[tuple[str, str, Happened]] = []
    for run, _, finished, status, exit_code in ledger.runs():
        if status == "complete" and exit_code == 0 and finished is not None:
            there = ledger.step_result(run, _REPLAY) is not None
            known.append((finished, run, Completed("destination" if there else "archive")))
    for mark in marks:
        if mark.state in STATES:
            known.append((mark.at, mark.by, Marked(mark.state)))
    return sorted(known, key=lambda each: each[0])  # in one second a person has the last word


def _has_all(archive: Archive) -> bool:
    """Whether every folder was read to its end, and nothing waits for the destination."""
    if archive.catalog.account.identity() is None or not archive.chosen_folders() or archive.unfinished_folders():
        return False
    if archive.settings.destination is None:
        return True
    number = archive.destination_number
    if number is None:
        return False
    folders = archive.catalog.replicas.folders
    mapped = folders.mapped(number)
    if any(each.number not in mapped for each in archive.replayed_folders()):
        return False
    return not (any(each.pending for each in folders.tallies(number, None)) or archive.unsent_pruned())
