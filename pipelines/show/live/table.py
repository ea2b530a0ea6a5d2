"""The live lines on a terminal: one for each account at work, and one for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from archiver.mail.folder_names import printable
from archiver.report.units import size
from pipelines.show.live.work import Work, duration, seconds_left, share_done

_BAR_FROM_WIDTH = 100
_NUMBER_WIDTHS = (11, 7, 9, 9)


def live_on(console: Console) -> Live:
    """What shows the live lines. NOTE: only our ticker refreshes it: rich's own thread would hold its lock while a
    worker is forked."""
    return Live(console=console, auto_refresh=False, transient=True)


def live_lines(works: Sequence[Work], console: Console, now: float, elapsed: float) -> Table:
    """A line for each account at work, as many as there is room for, and a last one for all of several accounts,
    whose run began `elapsed` seconds ago."""
    busy = [work for work in works if work.is_busy]
    width = console.width
    table = _works_table(busy[: max(1, console.height - 3)], width, now)
    if len(works) > 1:
        done, pace = share_done(works), sum(work.pace(now)[1] for work in busy)
        left = seconds_left(done, elapsed)
        table.add_row(
            Text(f"{sum(work.ended for work in works)} of {len(works)} accounts done", style="dim"),
            Text(""),
            *([ProgressBar(1.0, done, width=20)] if width >= _BAR_FROM_WIDTH else []),
            Text(f"{done:.0%}"),
            Text(""),
            Text(f"{size(pace)}/s" if pace else ""),
            Text(f"{duration(left)} left" if left is not None else ""),
        )
    return table


def _works_table(works: Sequence[Work], width: int, now: float) -> Table:
    """Account, activity, messages, bytes, rate, time left."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1, style="cyan")
    if width >= _BAR_FROM_WIDTH:
        table.add_column(width=20)
    for least in _NUMBER_WIDTHS:  # fixed, so that columns do not jump while numbers grow
        table.add_column(no_wrap=True, justify="right", min_width=least)
    for work in works:
        (done, octets), (total, all_octets) = work.done, work.total
        bar = [ProgressBar(all_octets or total or 1, octets if all_octets else done, width=20)]
        pace, left = work.pace(now)[1], work.seconds_left(now)
        table.add_row(
            Text(work.account, style="bold"),
            Text(printable(work.doing)),
            *(bar if width >= _BAR_FROM_WIDTH else []),
            Text(f"{done:,}/{total:,}" if total else ""),
            Text(size(octets) if total else ""),
            Text(f"{size(pace)}/s" if pace else ""),
            Text(f"{duration(left)} left" if left is not None else ""),
        )
    return table
