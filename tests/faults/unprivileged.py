"""Runs command lines as a user whom file permissions can refuse, unlike root.

    python -m tests.faults.unprivileged '[["status", "configs"], ...]'

Prints a list of [exit code, what was printed], one for each line.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import sys
import traceback
from pathlib import Path

from pipelines.cli.main import invoke
from tests.accounts import PROJECT, UNPRIVILEGED, command

_VERSION_3 = 0x20080522  # capset(2)


def refuse_me() -> None:
    """Give up all capabilities, CAP_DAC_OVERRIDE among them."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
        if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) != 0:
            raise OSError(ctypes.get_errno(), "capset")


def run_lines(*lines: list[str | Path]) -> list[tuple[int, str]]:
    """The exit code and the output of each command line, in a process of its own."""
    text = json.dumps([[str(word) for word in line] for line in lines])
    ended = command(text, program=UNPRIVILEGED)
    found: list[tuple[int, str]] = [(code, said) for code, said in json.loads(ended.output)]
    return found


def _main() -> None:
    refuse_me()
    os.chdir(PROJECT)
    ended = []
    for line in json.loads(sys.argv[1]):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = invoke(line)
            except Exception:
                code = 1
                traceback.print_exc()
        ended.append((code, said.getvalue()))
    print(json.dumps(ended))


if __name__ == "__main__":
    _main()
