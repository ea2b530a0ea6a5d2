"""Tables for people: a run's folders, accounts, a plan, a folder map.

They are made from the same JSON documents that programs get. Columns with nothing but zeros are left out, so that a
table fits into 80 columns as long as nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from archiver.mail.folder_names import printable
from archiver.report.units import Row, missing, size

_SHOWN_FOLDERS = 40
_TERMS = ("on_server", "stored", "excluded", "quarantined", "forgotten")
_WORK = ("fetched", "fetched_bytes", "flags_changed", "vanished")
_TITLES = {
    "on_server": "on server",
    "fetched_bytes": "bytes",
    "flags_changed": "flags",
    "octets": "bytes",
    "stored_bytes": "size",
}
_ALWAYS = frozenset({"on_server", "stored", "fetched"})
#: How much of a folder the archive holds, the worst first.
_STATES = {
    "failed": Text("✗ failed", style="red"),
    "not opened": Text("not opened to the end yet", style="yellow"),
    "left out": Text("left out now", style="dim"),
    "complete": Text("✓", style="green"),
}
_STATUS_STYLES = {"complete": "green", "incomplete": "yellow", "failed": "red"}


def plain_table(*columns: str, left: int = 1) -> Table:
    """A table without lines; the first `left` columns hold text, the others numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, title in enumerate(columns):
        if number < left:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, justify="right")
    return table


def folders_table(folders: Sequence[Row], totals: Row, *, every: bool) -> Table:
    """Folders with the terms of their equation, and what a run did. If there are many folders, only those with
    changes or problems are shown, unless `every`. The report of an older version has no messages that were
    forgotten."""
    shown = [each for each in folders if every or len(folders) <= _SHOWN_FOLDERS or _is_eventful(each)]
    names = [name for name in (*_TERMS, *_WORK) if name in _ALWAYS or totals.get(name)]
    table = plain_table("folder", *(_TITLES.get(name, name) for name in names))
    table.add_column("", justify="left")
    for each in shown:
        table.add_row(_text(each["name"]), *(count_text(name, each[name]) for name in names), _balance(each))
    if len(shown) < len(folders):
        table.add_row(Text(f"{len(folders) - len(shown)} more folders, unchanged", style="dim"))
    if len(folders) > 1:
        table.add_row(
            Text("total", style="bold"), *(count_text(name, totals[name]) for name in names), _balance(totals)
        )
    return table


def held_table(folders: Sequence[Row], totals: Row) -> Table:
    """What an archive holds of each folder, and whether that is all of it."""
    names = [name for name in _TERMS if name in _ALWAYS or totals[name]]
    table = plain_table("folder", *(_TITLES.get(name, name) for name in names))
    table.add_column("", justify="left")
    for each in folders:
        counts = [count_text(name, each[name]) for name in names]
        if each["state"] in ("not opened", "failed") and not each["on_server"]:
            counts[0] = Text("?", style="yellow")  # nobody has counted it
        table.add_row(_text(each["name"]), *counts, _STATES[each["state"]])
    if len(folders) > 1:
        worst = next((state for state in _STATES if any(each["state"] == state for each in folders)), "complete")
        counts = [count_text(name, totals[name]) for name in names]
        table.add_row(Text("total", style="bold"), *counts, _STATES["complete" if worst == "left out" else worst])
    return table


def _is_eventful(folder: Row) -> bool:
    return any(folder[name] for name in (*_WORK, "quarantined")) or not _balances(folder)


def _balances(row: Row) -> bool:
    return missing(row) == 0


def _balance(row: Row) -> Text:
    return _mark(_balances(row))


def forgotten_table(accounts: Sequence[Row]) -> Table:
    """What is forgotten of several accounts, and what stays; of one that failed its exit code."""
    names = ("messages", "octets", "copies", "copies_removed", "held", "elsewhere", "kept")
    titles = {
        "copies": "copies there",
        "copies_removed": "copies removed",
        "elsewhere": "also elsewhere",
        "kept": "not removed",
    }
    counts = [{name: _count(each.get(name, 0)) for name in names} for each in accounts]
    totals = {name: sum(each[name] for each in counts) for name in names}
    shown = [name for name in names if totals[name]]
    table = plain_table("account", *(titles.get(name, _TITLES.get(name, name)) for name in shown))
    table.add_column("", justify="left")
    for each, row in zip(accounts, counts, strict=True):
        state = Text(f"exit code {each['exit_code']}", style="yellow") if each["exit_code"] else Text("")
        table.add_row(_text(each["account"]), *(count_text(name, row[name]) for name in shown), state)
    if len(accounts) > 1:
        table.add_row(Text("total", style="bold"), *(count_text(name, totals[name]) for name in shown), "")
    return table


def _count(value: int | Sequence[object]) -> int:
    return value if isinstance(value, int) else len(value)


def exported_table(folders: Sequence[Row], totals: Row) -> Table:
    """An export's folders: what was written, and to which path."""
    names = [name for name in ("messages", "octets", "vanished", "damaged") if totals[name] or name == "messages"]
    table = plain_table("folder", *(_TITLES.get(name, name) for name in names))
    table.add_column("in", overflow="fold")
    for each in folders:
        table.add_row(_text(each["name"]), *(count_text(name, each[name]) for name in names), each["place"])
    if len(folders) > 1:
        table.add_row(Text("total", style="bold"), *(count_text(name, totals[name]) for name in names), "")
    return table


_EQUATION = ("replayed", "already_there", "refused", "removed", "pending", "left_out")
_THERE = (
    *_EQUATION,
    *("restored", "verified", "differences", "accepted"),
)
_THERE_TITLES = {"already_there": "already there", "restored": "brought back", "left_out": "left out"}
_ALWAYS_THERE = frozenset({"replayed", "already_there", "verified"})


def destination_table(folders: Sequence[Row], totals: Row, *, every: bool) -> Table:
    """Folders at the destination: where each went, and the outcome of its messages. If there are many folders, only
    those with changes or problems are shown, unless `every`."""
    placed = [each for each in folders if each["destination"]]
    shown = [each for each in placed if every or len(placed) <= _SHOWN_FOLDERS or _is_eventful_there(each)]
    summed = totals["destination"]
    names = [name for name in _THERE if name in _ALWAYS_THERE or summed[name]]
    renamed = any(each["destination"]["name"] != each["name"] for each in shown)
    left = ("folder", "there") if renamed else ("folder",)
    table = plain_table(*left, "stored", *(_THERE_TITLES.get(name, name) for name in names), left=len(left))
    table.add_column("", justify="left")
    for each in shown:
        there = each["destination"]
        words = [_text(each["name"])] + ([_text(there["name"])] if renamed else [])
        counts = [count_text("stored", each["stored"]), *(count_text(name, there[name]) for name in names)]
        table.add_row(*words, *counts, _mark_there(each))
    if len(shown) < len(placed):
        table.add_row(Text(f"{len(placed) - len(shown)} more folders, unchanged", style="dim"))
    if len(placed) > 1:
        words = [Text("total", style="bold")] + ([Text("")] if renamed else [])
        counts = [count_text("stored", totals["stored"]), *(count_text(name, summed[name]) for name in names)]
        table.add_row(*words, *counts, _mark_there(totals))
    return table


def is_delivered(row: Row) -> bool:
    """Whether the destination's equation accounts for every stored message, and none is pending or differs."""
    there = row["destination"]
    terms = sum(there[name] for name in _EQUATION)
    return bool(row["stored"] == terms and not there["pending"] and not there["differences"])


def _is_eventful_there(folder: Row) -> bool:
    there = folder["destination"]
    return bool(there["replayed"] or there["refused"] or there["restored"]) or not is_delivered(folder)


def _mark_there(row: Row) -> Text:
    """Whether the destination has what it should; "!" if the equation holds only because it refused something."""
    if is_delivered(row) and row["destination"]["refused"]:
        return Text("!", style="yellow")
    return _mark(is_delivered(row))


def _mark(good: bool) -> Text:
    return Text("✓", style="green") if good else Text("✗", style="red")


def count_text(name: str, number: int) -> Text:
    """A number in a column of this name: a dot for zero, and in yellow if it should be zero."""
    if number == 0:
        return Text("·", style="dim")
    bad = name in ("quarantined", "refused", "pending", "differences", "damaged")
    return Text(
        size(number) if name in ("fetched_bytes", "octets", "stored_bytes") else f"{number:,}",
        style="yellow" if bad else "",
    )


def status_text(status: str, exit_code: int | None = None) -> Text:
    """A run's status in its colour; one that a signal ended was stopped, and did not fail."""
    if exit_code is not None and exit_code > 128:
        return Text("stopped", style="yellow")
    return Text(status, style=_STATUS_STYLES.get(status, ""))


def plan_table(folders: Sequence[Row], *, directories: bool) -> Table:
    """What the server has and what a run would do with it."""
    sizes = any(each["size"] for each in folders)
    table = plain_table("folder")
    table.add_column("messages", justify="right")
    if sizes:
        table.add_column("size", justify="right")
    table.add_column("to fetch", justify="right")
    table.add_column("why", overflow="fold")
    if directories:
        table.add_column("in the archive", overflow="fold")
    for each in folders:
        table.add_row(
            _text(each["name"]),
            Text("?" if each["messages"] is None else f"{each['messages']:,}"),
            *([_cell(each["size"], size)] if sizes else []),
            _cell(each["to_fetch"], lambda count: f"{count:,}"),
            _text(each["reason"] or "unchanged"),
            *([_text(each["directory"])] if directories else []),
        )
    return table


def map_table(folders: Sequence[Row]) -> Table:
    """Which folder goes where at the destination."""
    table = plain_table("folder", "at the destination", "", left=3)
    table.add_column("why", overflow="fold")
    for each in folders:
        table.add_row(_text(each["name"]), _text(each["there"]), each["state"], _text(each["why"]))
    return table


def runs_table(runs: Sequence[Row]) -> Table:
    """Runs with their times and results."""
    table = plain_table("run", "started", "finished", "status", left=4)
    table.add_column("exit", justify="right")
    for each in runs:
        code = "" if each["exit_code"] is None else str(each["exit_code"])
        status = each["status"] or "did not end"
        shown = status_text(status, each["exit_code"])
        table.add_row(each["run"], each["started"], each["finished"] or "", shown, code)
    return table


def _cell(value: int | None, shown: Callable[[int], str]) -> Text:
    return Text(shown(value)) if value else Text("·", style="dim")


def _text(value: str) -> Text:
    return Text(printable(value))
