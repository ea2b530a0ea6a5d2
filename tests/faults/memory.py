"""How much memory a process and all it started hold together, measured from outside while it runs.

PSS counts a page that several processes share once, divided among them, so the sum over a tree is what the tree
costs the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_EVERY = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Watched:
    """How a command ended, and the largest sum of its tree's PSS that was seen, in MB of a million octets."""

    exit_code: int
    peak: float
    output: str
    seconds: float


def watched(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Watched:
    """Run `archiver ARGUMENTS...` and look at its whole tree 20 times a second."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", *map(str, arguments)],
        cwd=PROJECT, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    peak = Peak(process.pid)
    while True:
        try:
            output, _ = process.communicate(timeout=_EVERY)
            break
        except subprocess.TimeoutExpired:
            peak.look()
    return Watched(process.returncode, peak.megabytes, output, time.monotonic() - began)


class Peak:
    """The largest sum of the PSS of a process's tree that was seen."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0

    def look(self) -> None:
        """Look at the tree as it is now."""
        tree = list(tree_of(self._pid))
        if sum(map(_rss, tree)) > self._peak:  # PSS is never more, and takes the kernel a hundred times as long
            self._peak = max(self._peak, sum(map(_pss, tree)))

    @property
    def megabytes(self) -> float:
        """In MB of a million octets; 0 if the tree was never seen."""
        return self._peak * 1024 / 1e6


def tree_of(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from tree_of(int(child))
    except OSError:
        pass  # it has ended by now


def _rss(pid: int) -> int:
    """In kB, every page counted as if it were the process's alone; 0 for a process that ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _pss(pid: int) -> int:
    """In kB; 0 for a process that ended."""
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0
