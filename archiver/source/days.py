"""Messages by the days on which they arrived, as BEFORE and SINCE of a search name them (RFC 3501 section 6.4.4).

Files have no server that searches, and some servers (Domino, IceWarp, QQ, Yandex, SmarterMail) find nothing by
dates. A server disregards time and zone: what counts is the day as it is written in INTERNALDATE.
"""

from __future__ import annotations

import re

from msgspec import Struct

from archiver.mail.dates import internaldate_seconds

_KEY = re.compile(r"(BEFORE|SINCE) (\d{1,2}-[A-Za-z]{3}-\d{4})(?: |\Z)")
_DAY = re.compile(r"\s*(\d{1,2}-[A-Za-z]{3}-\d{4})")

#: Finds nearly every message of a server that searches by dates.
EVERY_DAY = "SINCE 1-Jan-1970"


class Days(Struct, frozen=True):
    """What a search names: days, in seconds since 1970, and the `rest` of it."""

    limits: tuple[tuple[str, int], ...]
    rest: str | None

    def include(self, internaldate: str | None) -> bool:
        """Whether a message arrived then. One without a date counts as if it did."""
        day = _seconds(found[1]) if (found := _DAY.match(internaldate or "")) else None
        return day is None or all(day < limit if key == "BEFORE" else day >= limit for key, limit in self.limits)


def days_of(search: str) -> Days | None:
    """The days at the beginning of a search; None if it does not begin with any."""
    limits, at = [], 0
    while (found := _KEY.match(search, at)) and (day := _seconds(found[2])) is not None:
        limits.append((found[1], day))
        at = found.end()
    return Days(tuple(limits), search[at:] or None) if limits else None


def _seconds(day: str) -> int | None:
    return internaldate_seconds(f"{day} 00:00:00 +0000")
