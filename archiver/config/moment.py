"""Moments as people write them, converted to UTC as facts have them: ISO 8601 with seconds.

A date means the end of that day in local time, since people want a mailbox as it was on that day, and not as it was
when the day began.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from archiver.errors import ConfigError

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:?\d\d)?")
_HINT = "write it as 2026-11-20 (the end of that day), 2026-11-20T14:00 (local time) or 2026-11-20T14:00+01:00"


def moment_of(text: str, option: str, zone: tzinfo | None = None) -> str:
    """The moment of `text`, the value of `option`. Without a time zone it is in `zone`; None: the system's.

    Raises:
        ConfigError: it is not a valid moment.
    """
    try:
        if _DAY.fullmatch(text):
            return _utc(_local(datetime.fromisoformat(text) + timedelta(days=1), zone) - timedelta(seconds=1))
        if _TIME.fullmatch(text):
            return _utc(_local(datetime.fromisoformat(text), zone))
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(option, [f"{text} does not exist: {error}"], hint=_HINT) from error
    raise ConfigError(option, [f'"{text}" is not a date'], hint=_HINT)


def _local(moment: datetime, zone: tzinfo | None) -> datetime:
    if moment.tzinfo is not None:
        return moment
    return moment.astimezone() if zone is None else moment.replace(tzinfo=zone)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
