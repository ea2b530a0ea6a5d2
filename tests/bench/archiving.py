"""`python -m tests.bench archive`: an initial archive, a re-run and an increment, compared with mbsync.

Every round begins with the same account on the server. The tools take turns in being first, old trees are moved
away and removed at the very end: ext4 creates files slowly for minutes where many were just deleted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.bench import contenders
from tests.bench.contenders import Contender
from tests.bench.drain import drain
from tests.bench.increment import change
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import LARGE, SMALL, GeneratedAccount, generate

TARGET = 0.7
"""What an initial archive may take, as a share of mbsync's time."""

_USER = "u1"
Results = dict[tuple[str, str], list[float]]
"""Seconds of each round by (tool, phase)."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 when the target was missed."""
    options = _options(arguments)
    if missing := Dovecot.missing():
        print(f"The benchmark needs a Dovecot. {missing}", file=sys.stderr)
        return 2
    scratch = Path(tempfile.mkdtemp(prefix="archiver-bench-", dir=options.dir))
    scratch.chmod(0o755)
    try:
        began = time.monotonic()
        account = generate(scratch, SMALL if options.quick else LARGE)
        size = sum(message.size for message in account.messages) / 1e6
        print(
            f"{len(account.messages)} messages, {size:.0f} MB, {len(account.folders)} folders "
            f"(made in {time.monotonic() - began:.0f} s); load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"
        )
        subprocess.run(["sync"], check=True)
        with Dovecot() as server:
            results = measure(server, account, scratch, runs=options.runs, phases=options.phases)
        print_table(results, size)
        return verdict(results)
    finally:
        if options.keep:
            print(f"all trees are kept in {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench archive", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="rounds; medians are printed (5)")
    parser.add_argument("--quick", action="store_true", help="2,000 messages instead of 20,000")
    parser.add_argument("--initial", dest="phases", action="store_const", const=("initial",),
                        default=("initial", "re-run", "increment"), help="the initial archive alone")  # fmt: skip
    parser.add_argument("--dir", type=Path, help="where to measure; a real disk, not a memory file system")
    parser.add_argument("--keep", action="store_true", help="do not remove what was made")
    return parser.parse_args(arguments)


def measure(
    server: Dovecot, account: GeneratedAccount, scratch: Path, *, runs: int, phases: tuple[str, ...]
) -> Results:
    """All rounds of all tools."""
    results: Results = defaultdict(list)
    for number in range(runs):
        directory = scratch / f"round-{number + 1}"
        directory.mkdir()
        server.install(_USER, account.home)
        drain(server.port, _USER, account.folders)  # the first one makes Dovecot's indexes
        results["reading alone", "initial"].append(drain(server.port, _USER, account.folders))
        tools = _contenders(directory, server.port)
        if number % 2:
            tools.reverse()
        for phase in phases:
            if phase == "increment":
                change(server, _USER, account)
            server.wait_idle(_USER)
            time.sleep(1.1)  # mbsync waits for the second to end when a Maildir changed within it
            for tool in tools:
                took = tool.run()
                results[tool.name, phase].append(took.wall)
                print(f"round {number + 1}: {tool.name}, {phase}: {took.wall:.2f} s, cpu {took.cpu:.2f} s",
                      flush=True)  # fmt: skip
                subprocess.run(["sync"], check=True)  # no tool pays for another's delayed writes
    return results


def _contenders(directory: Path, port: int) -> list[Contender]:
    tools = [contenders.archiver(directory, port, _USER), contenders.archiver(directory, port, _USER, "none")]
    if contenders.has_mbsync():
        tools.insert(0, contenders.mbsync(directory, port, _USER))
    else:
        print("mbsync: not installed (.ci/install-servers installs it); nothing to compare with")
    return tools


def print_table(results: Results, megabytes: float) -> None:
    """Medians, and how they compare with mbsync's."""
    print(f"\n{'tool':<26}{'phase':<11}{'median':>8}{'best':>8}{'worst':>8}{'MB/s':>7}{'× mbsync':>10}")
    order = {"initial": 0, "re-run": 1, "increment": 2}
    for (tool, phase), walls in sorted(results.items(), key=lambda row: (order[row[0][1]], row[0][0])):
        median = statistics.median(walls)
        rate = f"{megabytes / median:.0f}" if phase == "initial" else ""
        peer = results.get(("mbsync", phase))
        ratio = f"{median / statistics.median(peer):.2f}" if peer else ""
        print(f"{tool:<26}{phase:<11}{median:8.2f}{min(walls):8.2f}{max(walls):8.2f}{rate:>7}{ratio:>10}")


def verdict(results: Results) -> int:
    """Whether the target was met."""
    peer = results.get(("mbsync", "initial"))
    if not peer:
        return 0
    ratio = statistics.median(results["archiver", "initial"]) / statistics.median(peer)
    met = ratio <= TARGET
    print(f"\ninitial archive: {ratio:.2f} × mbsync; the target is at most {TARGET}: {'met' if met else 'missed'}")
    return 0 if met else 1
