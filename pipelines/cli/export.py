"""`export`: folders of an archive as files that other programs read."""

from __future__ import annotations

from pathlib import Path

from archiver.account.export import FORMAT, ExportOptions
from archiver.config.load import load_account
from archiver.errors import ConfigError
from archiver.mail.folder_names import printable
from pipelines.cli.terminal import Terminal
from pipelines.show.display import Display
from pipelines.show.tables import Row, exported_table
from pipelines.stop import STOP
from pipelines.work.export import run_export

_SHOWN = 50


def export_archive(config: Path, options: ExportOptions, terminal: Terminal) -> int:
    """Export the archive of one account; returns the exit code."""
    if config.is_dir():
        raise ConfigError(str(config), ["is a folder; export takes one account file at a time"])
    settings = load_account(config)
    STOP.install()
    display = Display(
        terminal.err,
        [settings.account],
        live=terminal.live,
        quiet=terminal.quiet,
        verbose=terminal.verbose,
        stopping=lambda: STOP.signal,
    )
    with display:
        outcome = run_export(settings, options, display)
    document = {"format": FORMAT, **outcome.to_json()}
    terminal.document(document)
    if not terminal.as_json and outcome.result is not None:
        _show(document, terminal)
    return outcome.exit_code


def _show(document: Row, terminal: Terminal) -> None:
    """What was exported, and what was damaged."""
    damaged = document["damaged"]
    if terminal.tables:
        terminal.out.table(exported_table(document["folders"], document["totals"]))
    if terminal.quiet and not damaged:
        return
    out = terminal.err if terminal.quiet else terminal.out
    out.say(f"{document['account']}: {printable(document['message'])}", "red" if damaged else "green")
    for each in damaged[:_SHOWN]:
        out.say(f'  damaged: folder "{each["folder"]}", uid {each["uid"]}: {each["reason"]}')
    if len(damaged) > _SHOWN:
        out.say(f"  and {len(damaged) - _SHOWN:,} more; --json lists them all")
