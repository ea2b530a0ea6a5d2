"""The table of `status` for many accounts, and the sentences below it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import size
from pipelines.fleet.ages import age_words, at_words
from pipelines.fleet.standing import Condition, Standing

_COLOURS: dict[Condition, str] = {
    "failed": "31",
    "crashed": "31",
    "incomplete": "33",
    "overdue": "33",
    "throttled": "33",
    "stopped": "33",
    "never": "2",
    "running": "36",
    "done": "32",
}
_COLUMNS = ("account", "state", "done", "messages", "size", "to go", "last success", "outcome")
_SAID = {"never": "never run"}
_NOW = 60.0
_LEFT = frozenset({0, 1, 6, 7})


def lines(standings: Sequence[Standing], *, coloured: bool) -> Iterator[str]:
    """A line for each account below a line of titles. Columns in which nothing is said are left out."""
    from rich.cells import cell_len  # building the package imports this module, and needs no Rich

    rows = [_cells(each) for each in standings]
    kept = [number for number in range(len(_COLUMNS)) if number == 0 or any(row[number] for row in rows)]
    widths = {
        number: max(len(_COLUMNS[number]), *(cell_len(row[number]) for row in rows)) for number in kept if rows
    }

    def line(cells: Sequence[str]) -> str:
        parts = []
        for number in kept:
            blanks = " " * (widths.get(number, 0) - cell_len(cells[number]))
            parts.append(cells[number] + blanks if number in _LEFT else blanks + cells[number])
        return "  ".join(parts).rstrip()

    yield f"\033[1m{line(_COLUMNS)}\033[0m" if coloured else line(_COLUMNS)
    for each, row in zip(standings, rows, strict=True):
        yield f"\033[{_COLOURS[each.condition]}m{line(row)}\033[0m" if coloured else line(row)


def _cells(each: Standing) -> tuple[str, ...]:
    done = (
        "" if each.percent is None else f"{each.percent:.0f} %" if each.percent == 100 else f"{each.percent:.1f} %"
    )
    to_go = "" if each.messages_to_go is None else f"{each.messages_to_go:,}"
    success = "never" if each.age is None else "just now" if each.age < _NOW else f"{age_words(each.age)} ago"
    return (
        printable(each.account),
        each.state or "",
        done,
        "" if each.messages is None else f"{each.messages:,}",
        "" if each.octets is None else size(each.octets),
        "" if to_go == "0" else to_go,
        success,
        each.condition + (f" ({each.exit_code})" if each.exit_code else ""),
    )


def problems(standings: Sequence[Standing]) -> Iterator[str]:
    """Of each account whose exit code is not 0, why that is and what to do about it."""
    for each in standings:
        if not each.exit_code:
            continue
        words = each.cause or f"the last run ended with exit code {each.exit_code}; run it again to see why"
        if each.again_at is not None:
            words += f"; not before {at_words(each.again_at)}"
        if each.next_step and each.next_step not in words:
            words += f"; {each.next_step}"
        yield printable(f"{each.account}: {words}")


def summary(standings: Sequence[Standing]) -> str:
    """All accounts in one line."""
    counts = Counter(each.condition for each in standings)
    done = sum(not each.exit_code for each in standings)
    words = [f"{done:,} of {counted(len(standings), 'account')} done"]
    words += [
        f"{counts[each]:,} {_SAID.get(each, each)}"
        for each in get_args(Condition)
        if counts[each] and each != "done"
    ]
    if octets := sum(each.octets or 0 for each in standings):
        messages = sum(each.messages or 0 for each in standings)
        words.append(f"{counted(messages, 'message')}, {size(octets)} in the archives")
    states = Counter(each.state for each in standings if each.state)
    if states:
        words.append("; ".join([", ".join(f"{number:,} {state}" for state, number in states.items())]))
    return "; ".join(words)


def write(text: Iterator[str]) -> None:
    """To stdout at once: ten thousand lines one after the other would take a second."""
    sys.stdout.write("\n".join(text) + "\n")
    sys.stdout.flush()
