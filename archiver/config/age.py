"""Ages in an account file, such as "30d" and "2y", and the day that they mean."""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta

_AGE = re.compile(r"([1-9]\d{0,4})([dwmy])", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def checked_age(text: str) -> str:
    """An age that `day_of` understands.

    Raises:
        ValueError: it is none; with what to write.
    """
    if not _AGE.fullmatch(text):
        raise ValueError('must be a number of days, weeks, months or years, as in "30d", "6w", "18m" or "2y"')
    return text


def day_of(age: str, today: date) -> date:
    """The day that was so long ago. A month before 31 March is the last of February."""
    match = _AGE.fullmatch(age)
    assert match is not None
    number, unit = int(match[1]), match[2]
    if unit in "dw":
        days = number * (7 if unit == "w" else 1)
        return today - timedelta(days) if days < today.toordinal() else date.min
    months = today.year * 12 + today.month - 1 - number * (12 if unit == "y" else 1)
    year, month = months // 12, months % 12 + 1
    if year < date.min.year:
        return date.min
    return date(year, month, min(today.day, calendar.monthrange(year, month)[1]))


def imap_day(day: date) -> str:
    """A day in a SEARCH (RFC 3501 section 9, date)."""
    return f"{day.day}-{_MONTHS[day.month - 1]}-{day.year:04}"
