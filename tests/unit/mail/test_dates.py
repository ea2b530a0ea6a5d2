"""Dates of messages, as servers and programs write them."""

from __future__ import annotations

import calendar
from email.utils import mktime_tz, parsedate_tz

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.dates import date_seconds, internaldate_seconds

NOON = calendar.timegm((2020, 1, 2, 12, 0, 0))

DATES = st.tuples(
    st.sampled_from(["", "Mon, ", "mon, ", "Tue "]),
    st.sampled_from(["1", "01", "31", "0", "39", " 7"]),
    st.sampled_from(["Jan", "Feb", "dec", "June", "Foo"]),
    st.sampled_from(["2021", "1969", "0001", "99", "2999", "9999"]),
    st.sampled_from(["10:15:00", "23:59:60", "99:99:99", "1:2:3", "10:15"]),
    st.sampled_from(["+0000", "-0000", "+0530", "-9999", "CET", "", "+053"]),
    st.sampled_from(["", " (CET)", " (MESZ)", " ((x))", " x"]),
).map(lambda parts: f"{parts[0]}{parts[1]} {' '.join(parts[2:6])}{parts[6]}")


@given(DATES)
def test_a_date_is_read_as_the_library_reads_it(text: str) -> None:
    parsed = parsedate_tz(text)
    expected = int(mktime_tz(parsed)) if parsed and parsed[0] >= 1 else None
    assert date_seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("02-Jan-2020 12:00:00 +0000", NOON),
        (" 2-Jan-2020 13:00:00 +0100", NOON),
        ("2-jan-2020 06:30:00 -0530", NOON),
        ("02-JAN-2020 12:00:00", NOON),
        ("31-Dec-2016 23:59:60 +0000", calendar.timegm((2016, 12, 31, 23, 59, 59))),
        ("29-Feb-2020 00:00:00 +0000", calendar.timegm((2020, 2, 29, 0, 0, 0))),
        ("30-Dec-1899 00:00:00 +0530", -2209181400),
        ("31-Dec-9999 23:59:59 +0000", 253402300799),
        ("00-Jan-0000 00:00:00 +0000", None),
        ("01-Jan-0000 00:00:00 +0000", None),
        ("29-Feb-2019 00:00:00 +0000", None),
        ("27-JAG-2018 00:00:00 +0000", None),
        ("01-Jan-2020 25:00:00 +0000", None),
        ("01-Jan-2020 00:00:00 +9900", None),
        ("٠٢-Jan-2020 12:00:00 +0000", None),
        ("garbage", None),
        ("", None),
        (None, None),
    ],
)
def test_internaldates(text: str | None, expected: int | None) -> None:
    assert internaldate_seconds(text) == expected


@given(
    st.sampled_from([" 0", " 1", "00", "01", "28", "29", "30", "31", "32"]),
    st.sampled_from(["Jan", "FEB", "apr", "Xyz"]),
    st.sampled_from(["0000", "0001", "1900", "1969", "2000", "2023", "2024", "9999"]),
    st.tuples(*[st.sampled_from(["00", "09", "23", "24", "59", "60", "61"])] * 3).map(":".join),
    st.sampled_from(["+0000", "-0000", "+0530", "-1159", "+2359", "+2400", "-0060"]),
)
def test_a_date_as_servers_write_it_is_the_same_as_with_more_blanks(
    day: str, month: str, year: str, clock: str, zone: str
) -> None:
    """Dates in the usual form are read in a shorter way."""
    text = f"{day}-{month}-{year} {clock} {zone}"
    assert internaldate_seconds(text) == internaldate_seconds(f" {text} ")
