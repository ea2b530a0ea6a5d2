"""Stored reports: completed with every key, their equations checked, and numbers as text.

Reports are kept for years. One of an earlier version is read as if it had the keys that were added later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

Row = Mapping[str, Any]

#: The counts of every folder, by their keys in the report.
COUNTS = (
    "on_server",
    "stored",
    "stored_bytes",
    "excluded",
    "quarantined",
    "forgotten",
    "fetched",
    "fetched_bytes",
    "flags_changed",
    "vanished",
)
_DELIVERY = (
    "replayed",
    "already_there",
    "refused",
    "removed",
    "pending",
    "left_out",
    "restored",
    "verified",
    "differences",
    "accepted",
)
_LISTS = ("folders", "skipped", "failures", "notices", "losses", "differences")


def completed(document: Row) -> dict[str, Any]:
    """The document with every key of this version; keys that an older one lacks are null, empty or 0. For a folder
    that is not mapped to one of the destination, all messages are pending."""
    empty: dict[str, Any] = {
        "source": None,
        "destination": None,
        "as_of": None,
        "again_at": None,
        "began_archive": False,
        "timings": {},
        "totals": {},
    }
    found = empty | {name: [] for name in _LISTS} | dict(document)
    later: dict[str, Any] = {"uidvalidity": None, "shown": None, "error": None}
    found["folders"] = [_counted(later | dict(each)) for each in found["folders"]]
    found["totals"] = _counted(found["totals"])
    there = found["totals"]["destination"]
    for each in found["folders"] if there is not None else []:
        if each["destination"] is None:
            each["destination"] = dict.fromkeys(_DELIVERY, 0) | {"name": "", "pending": each["stored"]}
            there["pending"] += each["stored"]
    found["differences"] = [{"next": "", **each} for each in found["differences"]]
    found["failures"] = [{"date": None, "subject": None, **each} for each in found["failures"]]
    return found


def _counted(row: Row) -> dict[str, Any]:
    there = row.get("destination")
    delivery = None if there is None else dict.fromkeys(_DELIVERY, 0) | dict(there)
    return dict.fromkeys(COUNTS, 0) | dict(row) | {"destination": delivery}


def missing(row: Row) -> int:
    """How many messages are missing in the archive's equation: on server = stored + excluded + quarantined +
    forgotten."""
    return int(row["on_server"] - row["stored"] - row["excluded"] - row["quarantined"] - row.get("forgotten", 0))


def undelivered(row: Row) -> int:
    """How many messages are missing in the destination's equation: stored = replayed + already there + refused +
    removed + pending + left out. 0 if there is no destination."""
    there = row["destination"]
    if there is None:
        return 0
    terms = ("replayed", "already_there", "refused", "removed", "pending", "left_out")
    return int(row["stored"] - sum(there[name] for name in terms))


def is_good(row: Row) -> bool:
    """Whether nothing is wrong with a folder."""
    there = row["destination"] or dict.fromkeys(_DELIVERY, 0)
    wrong = row["quarantined"], there["refused"], there["pending"], there["differences"]
    return not (missing(row) or undelivered(row) or any(wrong))


class Group(Struct, frozen=True):
    """Failures with the same reason. `reply` is the server's answer if it is the same for all, otherwise None."""

    step: str
    reason: str
    next: str
    reply: str | None
    failures: Sequence[Row]


def groups(failures: Iterable[Row]) -> list[Group]:
    """Failures by reason, the largest group first."""
    by_reason: dict[tuple[str, str, str], list[Row]] = {}
    for each in failures:
        by_reason.setdefault((each["step"], each["reason"], each["next"]), []).append(each)
    found = [
        Group(*key, rows[0]["server_reply"] if len({each["server_reply"] for each in rows}) == 1 else None, rows)
        for key, rows in by_reason.items()
    ]
    return sorted(found, key=lambda each: -len(each.failures))


def size(octets: float) -> str:
    """Octets for people, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 999.5:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 99.95 else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} TB"


def span(seconds: float) -> str:
    """A duration as text: "0.4 s", "12 s", "3 min 5 s", "1 h 2 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minute} min"
    return f"{minute} min {second} s" if minute else f"{second} s"
