"""`search`: messages found by what their headers say, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from archiver.errors import worst
from archiver.facts.query import Found
from archiver.mail.folder_names import printable
from archiver.report.units import size
from pipelines.cli.search_options import Asked, wanted
from pipelines.cli.terminal import Terminal, load_accounts
from pipelines.cli.upkeep import progress_display
from pipelines.work.search import SearchOutcome, arrived_text, reference_of, search_account

_SENDER_WIDTH, _FLAGS_WIDTH, _REFERENCE_WIDTH = 28, 24, 40
_LEAST_REST = 24


def search_archives(configs: Sequence[Path], asked: Asked, terminal: Terminal) -> int:
    """Tell what is found in the archives of `configs`; returns the worst exit code, 0 where nothing is found."""
    query = wanted(asked)
    accounts = load_accounts(configs, terminal)
    with progress_display(terminal, [each.account for each in accounts.settings]) as display:
        outcomes = [search_account(settings, query, display) for settings in accounts.settings]
    results = [each.to_json() for each in outcomes]
    results += [
        {"account": each.account, "exit_code": each.error.exit_code, "message": str(each.error)}
        for each in accounts.refused
    ]
    exit_code = worst(each["exit_code"] for each in results)
    terminal.document({"format": "archiver-search/1", "accounts": results, "exit_code": exit_code})
    for outcome in outcomes:
        if outcome.message:
            terminal.problem(f"{outcome.settings.account}: {outcome.message}")
        if outcome.unindexed:
            left = f"{outcome.unindexed:,} messages were not looked at by their headers"
            terminal.warn(f"{outcome.settings.account}: {left}: {outcome.note}")
    if terminal.tables:
        _show(outcomes, terminal, several=accounts.several)
    return exit_code


def _show(outcomes: Sequence[SearchOutcome], terminal: Terminal, *, several: bool) -> None:
    out = terminal.out
    for outcome in outcomes:
        if not outcome.found:
            continue
        if several:
            out.say(f"\n{outcome.settings.account}", "bold")
        out.table(_table(outcome.found, out.width))
        if outcome.more:
            out.say(f"these are the newest {len(outcome.found):,}, there are more; --limit shows them")
    found = sum(len(each.found) for each in outcomes)
    if all(each.message is None for each in outcomes) or found:
        word = "shown" if any(each.more for each in outcomes) else "found"
        out.say(f"{found:,} {word}" if found else "nothing found")


def _table(found: Sequence[Found], width: int) -> Table:
    """The reference is never cut, since `show` takes it; what is for reading alone shares the rest of `width`."""
    rows = [_cells(each) for each in found]
    arrived, sender, subject, octets, flags, reference = (
        max(map(len, column)) for column in zip(*rows, strict=True)
    )
    reference = max(min(reference, _REFERENCE_WIDTH), len("message"))
    rest = max(_LEAST_REST, width - arrived - max(octets, len("size")) - reference - 2 * len(rows[0]))
    flags = max(min(flags, _FLAGS_WIDTH, rest // 4), len("flags"))
    sender = max(min(sender, _SENDER_WIDTH, max(rest // 3, rest - flags - subject)), len("from"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("arrived", no_wrap=True, min_width=arrived)
    table.add_column("from", no_wrap=True, overflow="ellipsis", width=sender)
    table.add_column("subject", no_wrap=True, overflow="ellipsis", max_width=rest - sender - flags)
    table.add_column("size", no_wrap=True, justify="right", min_width=octets)
    table.add_column("flags", no_wrap=True, overflow="ellipsis", width=flags)
    table.add_column("message", overflow="fold", width=reference)
    for *cells, last in rows:
        table.add_row(*map(Text, cells), Text(last, style="cyan"))
    return table


def _cells(found: Found) -> tuple[str, ...]:
    headers, place = found.headers, found.placement
    return (
        _local_time(place.arrived),
        printable(headers.sender) if headers else "",
        printable(headers.subject) if headers else "",
        size(place.size),
        _flags(found),
        reference_of(found),
    )


def _local_time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # beyond the years of a calendar
        return arrived_text(seconds)


def _flags(found: Found) -> str:
    gone = [] if found.gone_at is None else [f"gone {found.gone_at[:10]}"]
    return ", ".join(gone + [printable(flag.removeprefix("\\")) for flag in sorted(found.placement.flags)])
