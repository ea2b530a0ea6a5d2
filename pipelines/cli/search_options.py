"""What a person asks `search` for, as a query: dates, sizes, flags as they are written on a command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from archiver.errors import ConfigError
from archiver.facts.query import Query
from pipelines.work.search import Wanted

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKmMgG]?)[bB]?")
_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `search` as they were given."""

    folders: tuple[str, ...] = ()
    sender: str | None = None
    recipients: str | None = None
    subject: str | None = None
    text: str | None = None
    since: str | None = None
    before: str | None = None
    larger: str | None = None
    smaller: str | None = None
    flagged: tuple[str, ...] = ()
    unflagged: tuple[str, ...] = ()
    message_id: str | None = None
    vanished: bool = False
    limit: int = 100


def wanted(asked: Asked) -> Wanted:
    """
    Raises:
        ConfigError: a date or a size is none.
    """
    query = Query(
        sender=asked.sender,
        recipients=asked.recipients,
        subject=asked.subject,
        text=asked.text,
        since=_moment("--since", asked.since),
        before=_moment("--before", asked.before),
        larger=_octets("--larger", asked.larger),
        smaller=_octets("--smaller", asked.smaller),
        flagged=asked.flagged,
        unflagged=asked.unflagged,
        message_id=asked.message_id,
        vanished=asked.vanished,
        limit=asked.limit,
    )
    return Wanted(query, asked.folders)


def _moment(option: str, text: str | None) -> int | None:
    """Seconds since 1970 of when a year, a month, a day or a minute begins; local time unless it says its zone."""
    if text is None:
        return None
    whole = {4: f"{text}-01-01", 7: f"{text}-01"}.get(len(text), text)
    try:
        return int(datetime.fromisoformat(whole).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        hint = 'write it as in "2026-01-05", "2026-01" or "2026-01-05T13:30"'
        raise ConfigError(option, [f'"{text}" is not a date'], hint=hint) from error


def _octets(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(option, [f'"{text}" is not a size'], hint='write it as in "300k", "5M" or "1.5G"')
    return int(float(match[1]) * _FACTORS[match[2].lower()])
