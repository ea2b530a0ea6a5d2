"""`python -m tests.fuzz [READER...]`: every reader under the fuzzer, each in a process of its own.

What was found is kept in `--dir`: inputs that reach something new, to begin with the next time, and faults.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.readers import READERS

_INTERRUPTED = (72, -15, -2)  # libFuzzer's own, and the signals themselves
_DONE = re.compile(r"DONE\s+cov: (\d+).*?rss: (\d+)Mb", re.DOTALL)


def main() -> int:
    """Fuzz the readers that are named; 1 if one has a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", choices=[*READERS, []], help=", ".join(READERS))
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs for each (%(default)s)")
    parser.add_argument("--dir", type=Path, default=Path(".fuzz"), help="where to keep inputs (%(default)s)")
    options = parser.parse_args()
    faults = 0
    for name in options.readers or READERS:
        faults += _fuzz(name, options.runs, options.dir / name)
    return min(faults, 1)


def _fuzz(name: str, runs: int, directory: Path) -> bool:
    directory.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.guided", name, f"-runs={runs}", f"-artifact_prefix={directory}-"]
    ended = subprocess.run(
        [*command, str(directory)], capture_output=True, text=True, errors="replace", check=False
    )
    seconds = time.monotonic() - began
    if ended.returncode in _INTERRUPTED:
        raise KeyboardInterrupt
    if ended.returncode:
        print(f"{name}: A FAULT after {seconds:.0f} s\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}", flush=True)
        return True
    done = _DONE.search(ended.stderr)
    reached, memory = done.groups() if done else ("?", "?")
    print(f"{name}: {runs:,} inputs, {seconds:.0f} s, {reached} branches reached, {memory} MB", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
