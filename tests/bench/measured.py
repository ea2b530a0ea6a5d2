"""One command, measured from outside: wall time, and the processor time and memory of it and of what it started."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.memory import Peak

_FIRST_LOOKS = 10
_SOON, _EVERY = 0.005, 0.05  # seconds between two looks: the first ones, and all later ones


@dataclass(frozen=True)
class Measured:
    """Seconds of the clock, seconds of processors (user and system), and the most memory that the whole tree held
    at a time, in MB (PSS); None if that was not looked at."""

    wall: float
    cpu: float
    memory: float | None = None


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
        peak, ended = Peak(process.pid), threading.Event()
        watcher = threading.Thread(target=_watch, args=(peak, ended))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    ended.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accept:
        end = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{end}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, peak.megabytes)


def _watch(peak: Peak, ended: threading.Event) -> None:
    looks = 0
    while not ended.wait(_SOON if looks < _FIRST_LOOKS else _EVERY):
        peak.look()
        looks += 1
