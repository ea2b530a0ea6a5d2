"""How a run of many accounts ended: a table of them, and a sentence.

Some accounts have a sentence of their own: in a last column where there is room for it, and below the table where
there is not. In a column of ten characters it would be a tower of syllables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.report.units import Row, size, span
from pipelines.show.tables import count_text, plain_table, status_text

_ROOM = 40  # columns that a long sentence needs
_NAME = 16  # and a name, which may be folded
_NAMED = 10  # accounts that are not complete
_HERE = ("fetched", "stored", "quarantined")
_THERE = ("replayed", "refused", "pending", "differences")
_ALWAYS = frozenset({"fetched", "stored", "replayed"})


@dataclass(frozen=True)
class Line:
    """A row: its cells, the first of which is a name, and its sentence. One that is `once` is left out below the
    table, because the same is said elsewhere."""

    cells: Sequence[Text | str]
    words: str = ""
    once: bool = False


@dataclass(frozen=True)
class Worded:
    """A renderable: a table with these titles, whose first `left` columns hold text. Numbers are never broken;
    names may be."""

    titles: Sequence[str]
    lines: Sequence[Line]
    left: int = 2

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bare = self._table()
        needed = Measurement.get(console, options.update(max_width=10_000), bare).maximum
        longest = max((len(each.words) for each in self.lines), default=0)
        if options.max_width - needed >= min(_ROOM, longest + 2):
            yield self._table(worded=True)
            return
        name = max(len(str(each.cells[0])) for each in self.lines) if self.lines else 0
        width = max(options.max_width, needed - max(0, name - _NAME))
        yield from console.render(bare, options.update(width=width, max_width=width))
        for each in self.lines:
            if each.words and not each.once:
                yield Text(f"{each.cells[0]}: {each.words}")

    def _table(self, *, worded: bool = False) -> Table:
        table = plain_table(*self.titles, left=self.left)
        for column in table.columns[1:]:
            column.no_wrap = True
        if worded and any(each.words for each in self.lines):
            table.add_column("", overflow="fold", ratio=1)
        for each in self.lines:
            table.add_row(
                *each.cells, *([Text(each.words)] if worded and len(table.columns) > len(self.titles) else [])
            )
        return table


def accounts_table(accounts: Sequence[Row], seconds: float) -> Worded:
    """One row for each account: how it ended and what it did, those that are not complete last; and all of them
    together, with the time that the run took."""
    accounts = sorted(accounts, key=lambda each: (each["exit_code"] != 0, each["account"]))
    here = [each.get("totals") for each in accounts]
    there = [(totals or {}).get("destination") for totals in here]
    titles, titles_there = _worth_a_column(_HERE, here), _worth_a_column(_THERE, there)
    lines = []
    for each, delivered in zip(accounts, there, strict=True):
        totals = each.get("totals") or {}
        counts = [count_text(name, totals[name]) if totals else Text("") for name in titles]
        counts += [count_text(name, delivered[name]) if delivered else Text("") for name in titles_there]
        status, code = status_text(each["status"], each["exit_code"]), Text(str(each["exit_code"]))
        message = (each["message"] or "").partition("\n")[0]
        lines.append(Line((_text(each["account"]), status, *counts, code), printable(message)))
    summed = [count_text(name, _sum(here, name)) for name in titles]
    summed += [count_text(name, _sum(there, name)) for name in titles_there]
    lines.append(Line((Text("together", style="bold"), "", *summed, ""), span(seconds), once=True))
    return Worded(("account", "status", *titles, *titles_there, "exit"), lines)


def accounts_line(accounts: Sequence[Row], seconds: float) -> str:
    """How a run of several accounts ended, in one sentence: how many are complete, what was fetched, and which
    accounts are not complete."""
    left = [each["account"] for each in accounts if each["exit_code"]]
    here = [each.get("totals") for each in accounts]
    number = _sum(here, "fetched")
    fetched = (
        f"{counted(number, 'message')} ({size(_sum(here, 'fetched_bytes'))}) fetched"
        if number
        else "nothing fetched"
    )
    done = f"{len(accounts) - len(left):,} of {len(accounts):,} accounts complete, {fetched} in {span(seconds)}"
    more = f" and {len(left) - _NAMED:,} more" if len(left) > _NAMED else ""
    return printable(f"{done}; not complete: {', '.join(left[:_NAMED])}{more}" if left else done)


def _sum(rows: Sequence[Row | None], name: str) -> int:
    return sum(row[name] for row in rows if row)


def _worth_a_column(names: Sequence[str], rows: Sequence[Row | None]) -> list[str]:
    """The columns that are always shown or have a number other than zero; none if all rows are empty."""
    some = [row for row in rows if row]
    return [name for name in names if some and (name in _ALWAYS or any(row[name] for row in some))]


def _text(value: str) -> Text:
    return Text(printable(value))
