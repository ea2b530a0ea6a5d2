"""`demo`: the whole job on a server of its own."""

from __future__ import annotations

from pathlib import Path

from pipelines.commands.terminal import Terminal
from pipelines.demo import run_demo


def show_demo(directory: Path, terminal: Terminal) -> int:
    """Run the demo; with `--json` its story goes to stderr."""
    exit_code = run_demo(directory.absolute(), terminal.err if terminal.as_json else terminal.out)
    terminal.document({"format": "archiver-demo/1", "directory": str(directory.absolute()), "exit_code": exit_code})
    return exit_code
