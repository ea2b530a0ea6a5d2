"""A date as a person gives it: a day means its end in local time."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from archiver.config.moment import moment_of
from archiver.errors import ConfigError

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20", "2026-11-20T22:59:59Z"),
        ("2026-07-20", "2026-07-20T21:59:59Z"),
        ("2026-03-29", "2026-03-29T21:59:59Z"),  # the day has 23 hours
        ("2026-12-31", "2026-12-31T22:59:59Z"),
        ("2026-11-20T14:00", "2026-11-20T13:00:00Z"),
        ("2026-11-20 14:00:30", "2026-11-20T13:00:30Z"),
        ("2026-11-20T14:00Z", "2026-11-20T14:00:00Z"),
        ("2026-11-20T14:00+05:30", "2026-11-20T08:30:00Z"),
        ("2026-11-20T14:00:00-0800", "2026-11-20T22:00:00Z"),
    ],
)
def test_a_date_is_a_moment(text: str, moment: str) -> None:
    assert moment_of(text, "--as-of", BERLIN) == moment


def test_elsewhere_a_day_ends_elsewhen() -> None:
    assert moment_of("2026-11-20", "--as-of", UTC) == "2026-11-20T23:59:59Z"
    assert moment_of("2026-11-20", "--as-of", timezone(timedelta(hours=-11))) == "2026-11-21T10:59:59Z"


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "20.11.2026", "2026-11", "20261120", "2026-W47-5", "2026-02-30", "2026-11-20T25:00",
     "9999-12-31", "0001-01-01T00:00+10:00", "2026-11-20T14", "٢٠٢٦-11-20", "2026-11-20\n"],
)  # fmt: skip
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        moment_of(text, "--as-of", BERLIN)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("--as-of: ")
    assert "2026-11-20T14:00" in str(caught.value)
