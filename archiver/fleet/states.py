"""How far the migration of an account is, as a function of what happened. Pure.

    new → checked → presynced → delta → frozen → final → verified → cutover

People alone say `frozen` and `cutover`, and people alone take a state back. What fails changes nothing. An account
without a destination goes the same way: presynced means that it was archived once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from archiver.fleet.model import STATES, State

Delivered = Literal["archive", "destination"]


class Checked(Struct, frozen=True, tag=True):
    """A check found nothing wrong."""


class Completed(Struct, frozen=True, tag=True):
    """A run ended with 0. `where` it had brought the account's mail to: into the archive, or to the destination,
    too."""

    where: Delivered


class Verified(Struct, frozen=True, tag=True):
    """`verify` ended with 0, at the destination, too, if there is one."""


class Marked(Struct, frozen=True, tag=True):
    """A person said so."""

    state: State


Happened = Checked | Completed | Verified | Marked

_AFTER_RUN: dict[State, State] = {
    "new": "presynced",
    "checked": "presynced",
    "presynced": "delta",
    "frozen": "final",
}


def state_after(state: State, what: Happened, *, has_destination: bool) -> State:
    """The state of an account in which this happened."""
    match what:
        case Marked(to):
            return to
        case Checked():
            return "checked" if state == "new" else state
        case Verified():
            return "verified" if state == "final" else state
        case Completed(where):
            is_whole = where == "destination" or not has_destination
            return _AFTER_RUN.get(state, state) if is_whole else state


def state_of(history: Iterable[Happened], *, has_destination: bool) -> State:
    """The state of an account in which all this happened, in this order."""
    state: State = "new"
    for what in history:
        state = state_after(state, what, has_destination=has_destination)
    return state


def happened(verb: str, exit_code: int) -> Happened | None:
    """What a verb that ended so means for an account; None if nothing."""
    if exit_code != 0:
        return None
    match verb:
        case "check":
            return Checked()
        case "archive":
            return Completed("archive")
        case "run" | "replay" | "retry":
            return Completed("destination")
        case "verify":
            return Verified()
        case _:
            return None


_LACKING = {
    "checked": "it was not checked",
    "presynced": "no run of it was complete",
    "frozen": "nobody marked its source as frozen",
    "final": "no run was complete since its source was frozen",
    "verified": "`archiver verify` did not end with 0 since its last run",
}


def skipped(before: State, to: State) -> list[str]:
    """What did not happen to an account that is marked with `to`, in words. Delta need not have been."""
    between = STATES[STATES.index(before) + 1 : STATES.index(to)]
    return [_LACKING[each] for each in between if each in _LACKING]
