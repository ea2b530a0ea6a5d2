"""Ages in account files: what may be written, and which day is meant."""

from __future__ import annotations

from datetime import date

import pytest

from archiver.config.age import checked_age, day_of, imap_day
from archiver.config.tables.rules import MessageRules

TODAY = date(2026, 3, 31)


@pytest.mark.parametrize(
    ("age", "day"),
    [
        ("1d", "30-Mar-2026"), ("30d", "1-Mar-2026"), ("2w", "17-Mar-2026"), ("1m", "28-Feb-2026"),
        ("13m", "28-Feb-2025"), ("25m", "29-Feb-2024"), ("2y", "31-Mar-2024"), ("99999y", "1-Jan-0001"),
        ("99999w", "24-Sep-0109"),
    ],
)  # fmt: skip
def test_an_age_means_a_day(age: str, day: str) -> None:
    assert imap_day(day_of(checked_age(age), TODAY)) == day


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1.5y", "30 d", "30D", "1h", "٣d", "100000d", "1d\n"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='as in "30d"'):
        checked_age(text)


@pytest.mark.parametrize(
    ("rules", "criteria"),
    [
        (MessageRules(), None),
        (MessageRules(search="FLAGGED"), "FLAGGED"),
        (MessageRules(older_than="1m"), "BEFORE 28-Feb-2026"),
        (
            MessageRules(older_than="30d", newer_than="2y", search="OR SEEN FLAGGED"),
            "BEFORE 1-Mar-2026 SINCE 31-Mar-2024 OR SEEN FLAGGED",
        ),
    ],
)
def test_ages_are_searched_for_beside_the_search(rules: MessageRules, criteria: str | None) -> None:
    assert rules.criteria(TODAY) == criteria


@pytest.mark.parametrize(("older", "newer"), [("2y", "30d"), ("1y", "1y"), ("366d", "12m")])
def test_ages_that_leave_nothing_are_refused(older: str, newer: str) -> None:
    with pytest.raises(ValueError, match="leave no message"):
        MessageRules(older_than=older, newer_than=newer)
