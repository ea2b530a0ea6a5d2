"""`demo`: the whole job on servers of its own."""

from __future__ import annotations

from pathlib import Path

from archiver.errors import Interrupted
from pipelines.cli.terminal import Terminal
from pipelines.demo.run import run_demo
from pipelines.stop import STOP


def show_demo(directory: Path, terminal: Terminal) -> int:
    """Run the demo; with `--json` its story goes to stderr.

    Raises:
        ConfigError: the directory is not the demo's, or its server is not installed.
    """
    STOP.install()
    try:
        exit_code = run_demo(directory.absolute(), terminal.err if terminal.as_json else terminal.out)
    except Interrupted as stopped:
        terminal.warn("the demo was stopped; the next one begins anew")
        exit_code = stopped.exit_code
    terminal.document({"format": "archiver-demo/1", "directory": str(directory.absolute()), "exit_code": exit_code})
    return exit_code
