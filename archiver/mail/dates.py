"""Dates of messages in seconds since 1970: INTERNALDATE (RFC 3501), and dates in headers (RFC 5322).

Nearly all are written in one way, for which there is a fast reading. What is not valid never raises.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache

_REMEMBERED = 100  # characters; longer dates are read each time, so that a server cannot fill the memory with them
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, 1)}
_FIRST_DAY = date(1970, 1, 1).toordinal()
_FIRST_SECOND = (date(1, 1, 1).toordinal() - _FIRST_DAY) * 86400
_LAST_SECOND = (date(9999, 12, 31).toordinal() - _FIRST_DAY) * 86400 + 86399
_INTERNALDATE = re.compile(
    r"\s*(\d{1,2})-([A-Za-z]{3})-(\d{4})\s+(\d{1,2}):(\d{2}):(\d{2})(?:\s+([+-])(\d{2})(\d{2}))?\s*", re.ASCII
)
_USUAL_INTERNALDATE = re.compile(r"([ \d]\d)-([A-Za-z]{3}-\d{4}) (\d\d):(\d\d):(\d\d) ([+-]\d{4})", re.ASCII)
#: What nearly all messages have; the library takes ten times as long.
_USUAL_DATE = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?(\d{1,2}) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([12]\d{3})"
    r" (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)(?: \([A-Za-z]{1,9}\))?",
    re.ASCII,
)
_DATE_TIME = re.compile(
    r"(?: \d|\d\d)-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-\d{4} \d\d:\d\d:\d\d [+-]\d{4}", re.ASCII
)


def internaldate_seconds(text: str | None) -> int | None:
    """Seconds since 1970 of an INTERNALDATE (RFC 3501 section 9, date-time); None if it is not valid.

    A one-digit day with or without its blank and a missing zone are accepted; a leap second counts as the second
    before.
    """
    if text is None:
        return None
    return _seconds_of(text) if len(text) <= _REMEMBERED else _parsed_internaldate(text)


def _parsed_internaldate(text: str) -> int | None:
    usual = _USUAL_INTERNALDATE.fullmatch(text)
    if usual is None:
        return _read_internaldate(text)
    day, name, hour, minute, second, zone = usual.groups()
    month, behind = _month(name), _behind(zone)
    if month is None or behind is None or hour > "23" or minute > "59" or second > "60":
        return None
    midnight, days = month
    if not 1 <= int(day) <= days:
        return None
    return midnight + behind + ((int(day) * 24 + int(hour)) * 60 + int(minute)) * 60 + min(int(second), 59)


# A replay compares the same date several times.
_seconds_of = lru_cache(maxsize=4096)(_parsed_internaldate)


@lru_cache(maxsize=512)  # a mailbox has fewer months than messages
def _month(text: str) -> tuple[int, int] | None:
    """Seconds since 1970 of the day before a month ("Jan-2024"), and how many days it has."""
    name, _, year = text.partition("-")
    try:
        days = _day_before(name, year)
        return days * 86400, monthrange(int(year), _MONTH_NUMBERS[name.lower()])[1]
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=512)
def _day_before(name: str, year: str) -> int:
    """The day before a month, in days since 1970."""
    return date(int(year), _MONTH_NUMBERS[name.lower()], 1).toordinal() - _FIRST_DAY - 1


@lru_cache(maxsize=256)
def _behind(zone: str) -> int | None:
    """How many seconds a zone is behind UTC."""
    return _read_internaldate(f"01-Jan-1970 00:00:00 {zone}")


def _read_internaldate(text: str) -> int | None:
    match = _INTERNALDATE.fullmatch(text)
    if match is None:
        return None
    day, name, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    try:
        days = date(int(year), _MONTH_NUMBERS[name.lower()], int(day)).toordinal() - _FIRST_DAY
    except (KeyError, ValueError):
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    seconds = ((days * 24 + int(hour)) * 60 + int(minute)) * 60 + min(int(second), 59)
    if sign is None:
        return seconds
    if int(zone_hours) > 23 or int(zone_minutes) > 59:
        return None
    offset = (int(zone_hours) * 60 + int(zone_minutes)) * 60
    return seconds + offset if sign == "-" else seconds - offset


def same_moment(one: int | None, other: int) -> bool:
    """Whether two moments are the same as far as servers keep them: Dovecot shows one before 1970 unchanged or,
    from its cache, as an unsigned 32-bit number, which is in the next century. None: unknown, which counts as the
    same."""
    return one is None or one == other or (other < 0 and one == other + (1 << 32))


def internaldate_to_send(internaldate: str | None, arrived: int) -> str:
    """The date-time of an APPEND (RFC 3501 section 9): the source's text if it is valid, otherwise `arrived`.

    NOTE: two columns for the day, as Yandex requires.
    """
    if internaldate is None or internaldate_seconds(internaldate) is None or not _DATE_TIME.fullmatch(internaldate):
        return date_time(arrived)
    return internaldate


def date_time(seconds: int) -> str:
    """Seconds since 1970 as a date-time in UTC, limited to the years 1 to 9999."""
    moment = min(max(seconds, _FIRST_SECOND), _LAST_SECOND)
    days, second = divmod(moment, 86400)
    day = date.fromordinal(_FIRST_DAY + days)
    month = _MONTHS[day.month - 1].capitalize()
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{day.day:2}-{month}-{day.year:04} {clock} +0000"


def date_seconds(text: str) -> int | None:
    """An RFC 5322 date in seconds since 1970, as the standard library reads it; None if it is not valid."""
    if (usual := _USUAL_DATE.fullmatch(text)) is not None:
        day, name, year, hour, minute, second, sign, zone_hours, zone_minutes = usual.groups()
        # NOTE: as the library counts, in which the 31st of June is the 1st of July.
        days = _day_before(name, year) + int(day)
        seconds = ((days * 24 + int(hour)) * 60 + int(minute)) * 60 + int(second)
        offset = (int(zone_hours) * 60 + int(zone_minutes)) * 60
        return seconds + offset if sign == "-" else seconds - offset
    try:  # the library raises for some invalid dates
        parsed = parsedate_tz(text[:200])
        return int(mktime_tz(parsed)) if parsed and parsed[0] >= 1 else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
