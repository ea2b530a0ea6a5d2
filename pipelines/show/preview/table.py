"""What `check` found in many accounts: one table, what is wrong first, and what only all of them together show."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from archiver.errors import SEVERITY
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import Row, size, span
from pipelines.show.accounts import Line, Worded
from pipelines.show.preview.pace import Sample, estimate
from pipelines.show.preview.result import Preview

WORKERS = 4  # of a run, by itself

_COLUMNS = (
    *("folders", "messages", "size", "to fetch", "bytes"),
    *("already there", "not ours", "free there", "takes"),
)
_ALWAYS = ("folders", "messages", "to fetch")


def estimates(previews: Sequence[Preview]) -> list[float | None]:
    """About how many seconds the next run of each account takes, in their order."""
    of_source: defaultdict[str, list[Sample]] = defaultdict(list)
    there: defaultdict[str, list[Sample]] = defaultdict(list)
    for each in previews:
        of_source[each.settings.source.address] += each.samples
        there[_destination(each)] += each.samples
    return [
        estimate(work, each.samples, of_source[each.settings.source.address], there[_destination(each)])
        if (work := each.work) is not None
        else None
        for each in previews
    ]


def _destination(preview: Preview) -> str:
    there = preview.settings.destination
    return "" if there is None else there.address


def together(seconds: Sequence[float | None]) -> dict[str, Any]:
    """How long a run of all accounts takes, in the document of `check`; `accounts` are those it is known of."""
    known = [each for each in seconds if each is not None]
    took = max(max(known), sum(known) / WORKERS) if known else None
    return {"seconds": took, "accounts": len(known), "workers": WORKERS}


def rooms(previews: Sequence[Preview]) -> list[dict[str, Any]]:
    """The disks that have no room for all that will be fetched to them, although there may be room for each
    account."""
    needed: defaultdict[int, int] = defaultdict(int)
    free: dict[int, tuple[str, int]] = {}
    for each in previews:
        if each.medium.is_remote or each.error is not None or (device := _device(str(each.place.path))) is None:
            continue
        needed[device] += each.totals["octets"]
        free.setdefault(device, (str(each.place.path), each.place.free_octets))
    return [
        {"path": free[device][0], "needed": octets, "free": free[device][1]}
        for device, octets in needed.items()
        if octets > free[device][1]
    ]


def _device(path: str) -> int | None:
    """Where files below a path will be that may not exist yet."""
    while path != os.path.dirname(path):
        try:
            return os.stat(path).st_dev
        except OSError:
            path = os.path.dirname(path)
    return None


def check_table(results: Sequence[Row]) -> Worded:
    """One row for each account: those with an error first, by its weight, then those with something to look at,
    then the others; and all of them together. Columns with nothing in them are left out."""
    rows = [(each, _cells(each)) for each in sorted(results, key=_weight)]
    titles = [
        name for name in _COLUMNS if name in _ALWAYS or any(cells[name] not in ("", "0") for _, cells in rows)
    ]
    lines = [
        Line(
            (Text(printable(each["account"])), _state(each), *(cells[name] for name in titles)),
            _words(each),
            once=bool(each["exit_code"]),  # said once more when all is shown
        )
        for each, cells in rows
    ]
    return Worded(("account", "", *titles), lines)


def _cells(result: Row) -> dict[str, str]:
    """The cells of an account by their columns; empty where nothing is known."""
    cells = dict.fromkeys(_COLUMNS, "")
    if result.get("server"):
        found = result["totals"]
        cells |= {"folders": f"{found['folders']:,}", "messages": f"{found['messages']:,}"}
        cells |= {"to fetch": f"{found['to_fetch']:,}", "bytes": size(found["octets"])}
        cells["size"] = size(found["size"]) if found["size"] else ""
    there = result.get("destination")
    if there is not None and there["server"] is not None:
        cells["already there"] = f"{there['held']:,}"
        cells["not ours"] = "" if there["not_ours"] is None else f"{there['not_ours']['messages']:,}"
        cells["free there"] = "" if there["free"] is None else size(there["free"])
    if (took := result.get("estimate")) is not None:
        cells["takes"] = span(took)
    return cells


def _weight(result: Row) -> tuple[int, str]:
    code = result["exit_code"]
    if code in SEVERITY:
        return SEVERITY.index(code), result["account"]
    return len(SEVERITY) + (0 if result.get("attention") else 1), result["account"]


def _state(result: Row) -> Text:
    if result["exit_code"]:
        return Text(f"exit code {result['exit_code']}", style="red")
    return Text("look", style="yellow") if result.get("attention") else Text("ok")


def _words(result: Row) -> str:
    lines = [(result["message"] or "").partition("\n")[0].partition("; ")[0]] if result["exit_code"] else []
    return printable("; ".join([*lines, *result.get("attention", ())]))


def lines_of_all(
    totals: Mapping[str, Any], rooms: Sequence[Mapping[str, Any]], results: Sequence[Row]
) -> list[str]:
    """What to say below the table: how many are OK, what all of them hold and what a run fetches, and what is to
    look at."""
    accounts = len(results)
    good = sum(each["exit_code"] == 0 for each in results)
    found = [each["totals"] for each in results if each.get("server")]
    line = f"{good:,} of {accounts:,} accounts OK"
    if found:
        messages, to_fetch, octets = (
            sum(each[name] for each in found) for name in ("messages", "to_fetch", "octets")
        )
        line += f"; {counted(messages, 'message')}, of which a run fetches {to_fetch:,} ({size(octets)})"
    lines = [line]
    lines += [
        f"no room: all accounts together fetch {size(each['needed'])}, and only {size(each['free'])} is free at "
        f"{each['path']}"
        for each in rooms
    ]
    if totals["seconds"] is not None:
        took = f"about {span(totals['seconds'])} with {totals['workers']} workers"
        line = f"a run takes {took}, by what earlier runs took"
        if unknown := accounts - totals["accounts"]:
            line += f", without {counted(unknown, 'account')} of which that is not known"
        lines.append(line)
    return lines
