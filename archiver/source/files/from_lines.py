"""The line "From SENDER DATE" before each message of an mbox (RFC 4155). Pure.

Programs write many forms of it: with a time zone before or after the year, without seconds, with a date as in a
header (Takeout), with "-" as the sender or with nothing at all (Thunderbird).
"""

from __future__ import annotations

import re
from typing import Literal

from archiver.mail.dates import date_seconds

#: Nothing but the word, as Thunderbird writes it now; or a month, a time and a year somewhere behind it.
_BARE = re.compile(rb"From ?-?[ \t]*\r?")
_MONTH = rb"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b"
_DATED = re.compile(rb"From (?=.*" + _MONTH + rb").*\b\d{1,2}:\d\d\b.*", re.DOTALL)
_YEAR = re.compile(rb"\b(?:19|20)\d\d\b")
_SENDER = re.compile(rb"From (?:\S+@|MAILER-DAEMON)")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) +"
    r"(?P<clock>\d{1,2}:\d\d(?::\d\d)?)(?: +(?P<zone>[A-Z]{2,6}|[+-]\d{4}))?(?: +[A-Z]{2,6})? +"
    r"(?P<year>(?:19|20)\d\d)(?: +(?P<after>[A-Z]{2,6}|[+-]\d{4}))?"
)
#: The longest line that can be one.
LONGEST = 2000

Kind = Literal["separator", "doubtful", "text"]


def kind_of(line: bytes, after: bytes, *, empty_before: bool) -> Kind:
    """Whether a line that begins with "From " begins a message. `after` is the beginning of the next line, empty at
    the end of the file. "doubtful": it does, but something of a separator is missing."""
    dated = _BARE.fullmatch(line) or (_DATED.fullmatch(line) and _YEAR.search(line))
    header_follows = _FIELD.match(after) is not None or after[:1] in (b"", b"\n") or after[:2] == b"\r\n"
    # The second line of some messages is one of those again, or one that was quoted.
    header_follows = header_follows or after.startswith((b"From ", b">From "))
    if empty_before and dated:
        return "separator" if header_follows else "doubtful"
    if dated:
        return "doubtful" if _FIELD.match(after) and not _BARE.fullmatch(line) else "text"
    return "doubtful" if empty_before and _SENDER.match(line) and _FIELD.match(after) else "text"


def date_of(line: bytes) -> tuple[int, bool] | None:
    """The date in such a line, in seconds since 1970, and whether it says its time zone; without one it is taken
    for UTC. None if there is no date."""
    text = line.decode("ascii", "replace")
    if (match := _DATE.search(text)) is None:
        return None
    zone = next((each for each in (match["zone"], match["after"]) if each and each[0] in "+-"), None)
    zone = zone or next((each for each in (match["zone"], match["after"]) if each in ("UTC", "GMT")), None)
    clock = match["clock"] if match["clock"].count(":") == 2 else f"{match['clock']}:00"
    seconds = date_seconds(f"{match['day']} {match['month']} {match['year']} {clock} {zone or '+0000'}")
    return None if seconds is None else (seconds, zone is not None)
