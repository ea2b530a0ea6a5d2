"""The report for people: one self-contained page, made from the document that programs get.

Folder names, subjects and servers' replies are untrusted. The template escapes every value; before that, control
characters and bidirectional overrides are made visible, and long text is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from msgspec import Struct

from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import Group, Row, completed, groups, is_good, missing, size, span, undelivered
from archiver.report.verdict import verdict

LISTED = 1_000
"""At most this many rows of one kind are on the page, and failures for one reason; report.json has them all."""

_GROUPS = 50
_FAILURES = 5_000
_BARS = 12
_LONGEST = 300
_STEPS = {"fetch": "Not archived", "replay": "Not delivered", "verify": "Found by comparing"}
_LOSSES = {
    "flags": "Flags or keywords were not kept",
    "internaldate": "The date of arrival was not kept",
    "labels": "The destination does not keep these labels",
    "repaired": "Sent in a repaired form that the destination accepts",
    "rewritten": "The destination rewrote the header",
    "cut": "The destination shows only the beginning of the message, although all of it was sent",
    "twin": "Stored twice: the first copy came late, after the message was sent again (its UIDs there)",
}

T = TypeVar("T")


def render_html(document: Mapping[str, Any]) -> str:
    """The page of a report, including those that an earlier version wrote."""
    report = completed(document)
    reasons = groups(report["failures"])
    return _template().render(
        report=report,
        verdict=verdict(report),
        took=_took(report["started"], report["finished"]),
        cards=_cards(report),
        folders=_cut(report["folders"], first=lambda each: not is_good(each)),
        reasons=_reasons(reasons),
        more_reasons=len(reasons[_GROUPS:]),
        of_more_reasons=sum(len(group.failures) for group in reasons[_GROUPS:]),
        losses=_cut(report["losses"]),
        differences=_cut(report["differences"]),
        notices=_cut(report["notices"]),
        skipped=_cut(report["skipped"]),
        bars=_bars(report["folders"]),
    )


class Cut(Struct, Generic[T], frozen=True):
    """The part of a list that is on the page, and the number of rows in all."""

    rows: Sequence[T]
    total: int

    @property
    def more(self) -> int:
        return self.total - len(self.rows)


def _cut(rows: Sequence[T], most: int = LISTED, first: Callable[[T], bool] | None = None) -> Cut[T]:
    """The first rows of a list; if it is too long, rows for which `first` is true come before the others."""
    if first is not None and len(rows) > most:
        rows = sorted(rows, key=lambda each: not first(each))
    return Cut(rows[:most], len(rows))


def _reasons(reasons: Sequence[Group]) -> list[tuple[Group, Cut[Row]]]:
    """The groups that are shown, each with its rows; later ones get the space that the first ones left."""
    shown, room = [], _FAILURES
    for group in reasons[:_GROUPS]:
        cut = _cut(group.failures, max(1, min(LISTED, room)))
        room -= len(cut.rows)
        shown.append((group, cut))
    return shown


class Card(Struct, frozen=True):
    """One number of the summary. `bad`: it should be 0."""

    title: str
    number: int
    note: str = ""
    bad: bool = False


def _cards(report: Row) -> list[Card]:
    """The summary: first the path of the messages, then what this run did, then what is wrong."""
    totals, there = report["totals"], report["totals"]["destination"]
    octets = size(totals["stored_bytes"]) if totals["stored_bytes"] else ""
    cards = [Card("on the server", totals["on_server"], counted(len(report["folders"]), "folder"))]
    cards.append(Card("in the archive", totals["stored"], octets))
    if there is not None:
        note = f"{there['replayed']:,} delivered in this run"
        cards.append(Card("at the destination", there["replayed"] + there["already_there"], note))
    new = size(totals["fetched_bytes"]) if totals["fetched_bytes"] else ""
    cards.append(Card("new in this run", totals["fetched"], new))
    counts: dict[str, tuple[int, str, bool]] = {
        "flags changed": (totals["flags_changed"], "", False),
        "gone from the server": (totals["vanished"], "the archive keeps them", False),
        "left out": (totals["excluded"], "by the account's settings", False),
        "forgotten": (totals.get("forgotten", 0), "they must not come back", False),
        "not archived": (totals["quarantined"], "", True),
    }
    if there is not None:
        counts |= {
            "compared": (there["verified"], "and equal at the destination", False),
            "removed there since": (there["removed"], "", False),
            "refused": (there["refused"], "by the destination", True),
            "waiting": (there["pending"], "to be delivered", True),
            "differences": (max(there["differences"], len(report["differences"])), "", True),
        }
    return cards + [Card(title, number, note, bad) for title, (number, note, bad) in counts.items() if number]


class Bar(Struct, frozen=True):
    """A folder in the chart; `folder` is None for the bar of all that are too small for their own. The shares are
    percentages of the longest bar."""

    folder: str | None
    folders: int
    messages: int
    octets: int
    messages_share: float
    octets_share: float


def _bars(folders: Sequence[Row]) -> list[Bar]:
    """The largest folders and the others; empty for a single folder, which needs no comparison."""
    sized = sorted(
        ((each["stored_bytes"], each["stored"], each["name"]) for each in folders if each["stored"]),
        key=lambda each: (-each[0], -each[1]),
    )
    if len(sized) < 2:
        return []
    own = sized if len(sized) <= _BARS + 1 else sized[:_BARS]
    others = sized[len(own) :]
    rows: list[tuple[str | None, int, int, int]] = [(name, 1, messages, octets) for octets, messages, name in own]
    if others:
        rows.append((None, len(others), sum(each[1] for each in others), sum(each[0] for each in others)))
    most, largest = max(row[2] for row in rows), max(row[3] for row in rows)
    return [Bar(*row, 100 * row[2] / most, 100 * row[3] / largest if largest else 0.0) for row in rows]


def _took(started: str, finished: str) -> str | None:
    try:
        seconds = (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()
    except (ValueError, TypeError):
        return None
    return span(max(0, seconds))


def _untrusted(value: object) -> str:
    """Text from a server or message, made printable and cut; empty for None. The template escapes it."""
    text = "" if value is None else str(value)
    if len(text) <= _LONGEST:
        return printable(text)
    return f"{printable(text[:_LONGEST])}… ({len(text) - _LONGEST:,} more characters)"


def _time(text: str) -> str:
    """2026-11-23T15:33:10Z as 2026-11-23 15:33:10 UTC, with the time where the page is made if that is another;
    anything else unchanged."""
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        here = moment.astimezone()
    except (ValueError, OverflowError):
        return _untrusted(text)
    there = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if not here.utcoffset():
        return there
    day = "" if here.date() == moment.date() else f"{here:%Y-%m-%d} "
    return f"{there} ({day}{here:%H:%M:%S %Z})"


def _parts(text: str) -> list[str]:
    """Text split at its backticks: every second part is a command."""
    parts = _untrusted(text).split("`")
    return parts if len(parts) % 2 else [_untrusted(text)]


@cache
def _template() -> Template:
    return environment().get_template("report.html.j2")


@cache
def environment() -> Environment:
    """Templates whose values are all escaped."""
    made = Environment(
        loader=PackageLoader("archiver.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "untrusted": _untrusted, "time": _time, "parts": _parts, "number": "{:,}".format, "size": size,
        "span": span, "counted": counted,
    }  # fmt: skip
    made.globals |= {
        "missing": missing, "undelivered": undelivered, "is_good": is_good, "steps": _STEPS, "kinds": _LOSSES,
    }  # fmt: skip
    return made
