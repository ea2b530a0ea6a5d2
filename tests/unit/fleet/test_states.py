"""How far a migration is, as a table."""

from __future__ import annotations

import pytest

from archiver.fleet.model import STATES, State
from archiver.fleet.states import (
    Checked,
    Completed,
    Happened,
    Marked,
    Verified,
    happened,
    skipped,
    state_after,
    state_of,
)

RUN, CHECK, VERIFY = Completed("destination"), Checked(), Verified()
_MOVES: dict[tuple[State, Happened], State] = {
    ("new", CHECK): "checked",
    ("new", RUN): "presynced",
    ("checked", RUN): "presynced",
    ("presynced", RUN): "delta",
    ("frozen", RUN): "final",
    ("final", VERIFY): "verified",
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("what", [CHECK, RUN, VERIFY], ids=["check", "run", "verify"])
def test_what_happens_moves_an_account_on_and_never_back(state: State, what: Happened) -> None:
    assert state_after(state, what, has_destination=True) == _MOVES.get((state, what), state)


@pytest.mark.parametrize("state", STATES)
def test_a_person_may_say_anything(state: State) -> None:
    assert [state_after(state, Marked(to), has_destination=True) for to in STATES] == list(STATES)


def test_what_was_only_archived_was_not_delivered() -> None:
    history = [CHECK, Completed("archive"), Completed("archive")]
    assert state_of(history, has_destination=True) == "checked"
    assert state_of(history, has_destination=False) == "delta"


def test_the_whole_way() -> None:
    history = [
        CHECK,
        RUN,
        RUN,
        RUN,
        Marked("frozen"),
        VERIFY,
        RUN,
        RUN,
        VERIFY,
        RUN,
        Marked("cutover"),
        RUN,
        VERIFY,
    ]
    states = [state_of(history[: number + 1], has_destination=True) for number in range(len(history))]
    assert states == [
        *("checked", "presynced", "delta", "delta", "frozen", "frozen", "final", "final", "verified", "verified"),
        *("cutover", "cutover", "cutover"),
    ]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, 8, 75, 130])
@pytest.mark.parametrize("verb", ["check", "run", "archive", "replay", "retry", "verify"])
def test_a_failure_is_nothing_that_happened(verb: str, code: int) -> None:
    assert happened(verb, code) is None
    assert happened(verb, 0) is not None
    assert happened("status", 0) is None


def test_what_a_mark_leaves_out() -> None:
    assert skipped("verified", "cutover") == skipped("cutover", "frozen") == skipped("presynced", "frozen") == []
    assert skipped("delta", "cutover") == [
        "nobody marked its source as frozen",
        "no run was complete since its source was frozen",
        "`archiver verify` did not end with 0 since its last run",
    ]
    assert skipped("new", "frozen") == ["it was not checked", "no run of it was complete"]
