"""When a fingerprint may be believed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from archiver.fleet.fingerprint import MOST_DAYS, Fingerprint

AT = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)


def fingerprint(until: date | None = None) -> Fingerprint:
    return Fingerprint.of("first", f"{AT:%Y-%m-%dT%H:%M:%SZ}", "here", "source", None, until, (812, 7))


@pytest.mark.parametrize(
    ("until", "after", "expected"),
    [
        (None, timedelta(0), True),
        (None, timedelta(seconds=-1), False),
        (None, timedelta(days=6, hours=23), True),
        (date(2026, 12, 2), timedelta(days=1), True),
        (date(2026, 12, 2), timedelta(days=1, minutes=29), True),
        (date(2026, 12, 2), timedelta(days=1, minutes=30), False),
        (date(2026, 11, 30), timedelta(0), False),
    ],
)
def test_it_is_believed_until_its_day(until: date | None, after: timedelta, expected: bool) -> None:
    assert fingerprint(until).is_valid(AT + after, 0) is expected


def test_not_all_are_out_of_date_in_one_night() -> None:
    ages = [
        next(days for days in range(1, 30) if not fingerprint().is_valid(AT + timedelta(days), salt))
        for salt in range(14)
    ]
    assert (min(ages), max(ages)) == (7, MOST_DAYS)
    assert len(set(ages)) == 7


def test_it_is_read_as_it_was_written() -> None:
    found = fingerprint(date(2026, 12, 2))
    assert Fingerprint.read(found.text()) == found
    for text in (None, "", "[1]", '[1,"first","2026-11-30T23:30:00Z","here","source",null]', "{}"):
        assert Fingerprint.read(text) is None
