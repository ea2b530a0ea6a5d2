"""The size of groups for servers of any pace, and the pauses between two looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from archiver.destination.pace import FIRST_MESSAGES, Pace, pauses

LIMIT = 120.0
MOST = 100  # of any group


def sizes(seconds_for: Callable[[int, int], float], groups: int = 30, octets_of_each: int = 10_000) -> list[int]:
    """How many messages each group has, one in flight, on a server that needs so long for a group."""
    pace, found = Pace(LIMIT), []
    for _ in range(groups):
        count = max(1, min(MOST, pace.messages, pace.octets // octets_of_each))
        found.append(count)
        pace.answered(count, count * octets_of_each, seconds_for(count, count * octets_of_each))
    return found


def test_a_fast_server_gets_full_groups_immediately() -> None:
    assert sizes(lambda count, _: 0.002 * count)[:4] == [FIRST_MESSAGES, MOST, MOST, MOST]


@pytest.mark.parametrize("each", [0.5, 1.0, 2.0, 5.0, 11.0, 29.0])
def test_a_server_that_looks_at_each_message_answers_in_good_time(each: float) -> None:
    counts = sizes(lambda count, _: each * count)
    assert all(each * count <= LIMIT / 2 for count in counts[1:])
    assert counts[-1] >= min(MOST, LIMIT / 4 / each // 2)


def test_a_server_that_reads_slowly_gets_few_octets() -> None:
    counts = sizes(lambda _, octets: octets / 2_000)
    assert all(count * 10_000 / 2_000 <= LIMIT / 2 for count in counts[1:])


def test_a_command_that_takes_its_time_whatever_is_in_it_has_no_smaller_groups() -> None:
    assert sizes(lambda _, __: 40.0) == 30 * [FIRST_MESSAGES]


def test_one_slow_answer_is_soon_forgotten() -> None:
    answers = iter([0.1, 0.1, 90.0, *27 * [0.1]])
    assert sizes(lambda _, __: next(answers))[2:6] == [MOST, 33, MOST, MOST]


def test_after_a_silence_groups_are_smaller() -> None:
    pace = Pace(LIMIT)
    pace.answered(100, 1000, 0.1)
    pace.silent(100)
    assert pace.messages == 25


def test_a_second_group_is_sent_ahead_where_all_were_answered_in_time() -> None:
    pace = Pace(LIMIT)
    assert not pace.steady
    pace.answered(10, 1000, 0.1)
    assert pace.steady
    pace.silent(10)
    pace.answered(10, 1000, 0.1)
    assert not pace.steady


def test_the_longest_answer_is_remembered() -> None:
    pace = Pace(LIMIT)
    for seconds in (150.0, 130.0):
        pace.late(seconds)
    assert pace.slowest == 150.0


@pytest.mark.parametrize(
    ("seconds", "looks"), [(-1.0, 0), (0.0, 0), (0.5, 1), (5.0, 1), (8.0, 4), (65.0, 7), (125.0, 13), (485.0, 49)]
)
def test_pauses_last_as_long_as_they_are_to(seconds: float, looks: int) -> None:
    found = pauses(seconds)
    assert len(found) == looks
    assert sum(found) == pytest.approx(max(0.0, seconds))
