"""One command, measured from outside: wall time, and the processor time of it and of what it started."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """Seconds."""

    wall: float
    cpu: float


def measured(
    command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, accept: Sequence[int] = (0,)
) -> Measured:
    """Run the command to its end; what it prints goes to `log`.

    Raises:
        RuntimeError: it ended with another exit code, with the end of what it printed.
    """
    # NOTE: without this setting of a developer's: a command in use finds its modules compiled.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**inherited, **(environment or {})},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accept:
        end = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{end}")
    return Measured(wall, usage.ru_utime + usage.ru_stime)
