"""How long the next run may take, by what earlier runs took. It is read from their reports, which are files: no
catalog is opened for it.

A run costs something by itself, and something for each message that it fetches and sends. An account that has
hardly fetched anything yet is judged by other accounts at the same servers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from archiver.config.settings import Settings

_FIRST, _LAST = 2, 3  # runs of an account: the first ones fetch most, the last ones show what a quiet one costs
_ENOUGH = 50  # messages
_LARGEST = 8 << 20  # octets of a report


class Sample(Struct, frozen=True):
    """A run: the messages that it fetched and sent, and the seconds that this and everything else took."""

    fetched: int
    fetching: float
    sent: int
    sending: float
    else_seconds: float


class Work(Struct, frozen=True):
    """What a run has to do."""

    to_fetch: int
    to_send: int


def samples_of(settings: Settings) -> list[Sample]:
    """Some runs of an account. Never raises: what cannot be read says nothing."""
    try:
        runs = sorted(path for path in (settings.archive.path / "runs").iterdir() if not path.name.startswith("."))
    except OSError:
        return []
    chosen = dict.fromkeys([*runs[:_FIRST], *runs[-_LAST:]])
    return [sample for run in chosen if (sample := _sample(run / "report.json")) is not None]


def _sample(report: Path) -> Sample | None:
    try:
        if report.stat().st_size > _LARGEST:
            return None
        document: dict[str, Any] = json.loads(report.read_bytes())
        timings, totals = document["timings"], document["totals"]
        there = totals.get("destination") or {}
        took = {step: float(timings.get(step, 0)) for step in ("enumerate", "archive", "replay", "verify")}
        return Sample(
            fetched=int(totals["fetched"]),
            fetching=took["archive"],
            sent=int(there.get("replayed", 0)),
            sending=took["replay"],
            else_seconds=took["enumerate"] + took["verify"],
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def estimate(
    work: Work, own: Sequence[Sample], of_source: Iterable[Sample], there: Iterable[Sample]
) -> float | None:
    """About how many seconds a run with this work takes; None if earlier runs do not say. `of_source` are runs of
    all accounts at the same source, `there` those at the same destination."""
    seconds = 0.0
    fetching = _each([(each.fetched, each.fetching) for each in own], [(e.fetched, e.fetching) for e in of_source])
    sending = _each([(each.sent, each.sending) for each in own], [(each.sent, each.sending) for each in there])
    for count, each in ((work.to_fetch, fetching), (work.to_send, sending)):
        if count and each is None:
            return None
        seconds += count * (each or 0.0)
    if not own and not (work.to_fetch or work.to_send):
        return None
    return seconds + (median(each.else_seconds for each in own) if own else 0.0)


def _each(*pairs: Sequence[tuple[int, float]]) -> float | None:
    """Seconds for each message, by the first of these runs that had enough of them."""
    for some in pairs:
        if (messages := sum(count for count, _ in some)) >= _ENOUGH:
            return sum(seconds for count, seconds in some if count) / messages
    return None
