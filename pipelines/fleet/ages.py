"""Ages and moments as people say them: "2 h", "3 days", "2026-11-29 02:00 CET"."""

from __future__ import annotations

from datetime import datetime

from archiver.mail.counts import counted

_DAY = 86400


def age_words(seconds: float) -> str:
    """About how long that is: two days are more telling than 49 hours, and 26 hours than one day."""
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        return f"{minutes:.0f} min"
    if seconds < 2 * _DAY:
        return f"{minutes / 60:.0f} h"
    return counted(int(seconds // _DAY), "day")


def at_words(moment: str | None) -> str:
    """A moment in local time, with its zone; "never" for None, and what is no moment as it is."""
    if moment is None:
        return "never"
    try:
        return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M %Z}"
    except (ValueError, OverflowError):
        return moment
