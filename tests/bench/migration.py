"""`python -m tests.bench migration`: an account moved between two Dovecot users, compared with mbsync and dsync.

The archiver's way is the longer one: it archives, replays and compares, and is measured over all of that. Every
tool takes its turn from the same source to a new user, through a line as long as asked for, and what arrived is
compared with the source each time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.bench import movers
from tests.bench.arrived import difference, mail_of
from tests.bench.drain import drain
from tests.bench.increment import change
from tests.bench.line import long_line
from tests.bench.movers import Mover
from tests.faults.memory import watched
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.mailbox_generator import SMALL, TINY, GeneratedAccount, generate

TARGETS = {0: 1.5, 40: 1.0}
"""What a migration may take, as a multiple of mbsync's time, by the milliseconds of a round trip."""

_PHASES = ("initial", "re-run", "increment")
Results = dict[tuple[int, str, str], list[float]]
"""Seconds of each round by (milliseconds of a round trip, phase, tool)."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 when a target was missed."""
    options = _options(arguments)
    if missing := Dovecot.missing():
        print(f"The benchmark needs a Dovecot. {missing}", file=sys.stderr)
        return 2
    if not movers.has_mbsync():
        print("mbsync: not installed (.ci/install-servers installs it); no target can be judged")
    scratch = Path(tempfile.mkdtemp(prefix="archiver-bench-", dir=options.dir))
    scratch.chmod(0o755)
    try:
        account = generate(scratch, TINY if options.quick else SMALL)
        size = sum(message.size for message in account.messages)
        print(
            f"{len(account.messages)} messages, {size / 1e6:.0f} MB, {len(account.folders)} folders; "
            f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"
        )
        with Dovecot(extra=f"mail_fsync = {options.fsync}") as server:
            bench = _Bench(server, account, scratch, options.tools)
            for number in range(options.runs):
                for latency in options.latency:
                    bench.round(number, latency)
            print_table(bench.results, bench.steps, size / 1e6)
            print(f"\nthe archiver's processes held {bench.memory():.0f} MB together at most (PSS)")
        return 0 if options.quick else verdict(bench.results)
    finally:
        if options.keep:
            print(f"all trees are kept in {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench migration", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="rounds; medians are printed (5)")
    parser.add_argument("--latency", type=int, nargs="+", default=[0, 40], metavar="MS",
                        help="milliseconds of a round trip (0 40)")  # fmt: skip
    parser.add_argument("--tools", nargs="+", default=["archiver", "mbsync", "dsync"],
                        choices=["archiver", "mbsync", "dsync"], help="who takes part (all)")  # fmt: skip
    parser.add_argument("--fsync", choices=["optimized", "never"], default="optimized",
                        help="Dovecot's mail_fsync (optimized, as it is by itself)")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="120 messages instead of 2,000")
    parser.add_argument("--dir", type=Path, help="where to measure; a real disk, not a memory file system")
    parser.add_argument("--keep", action="store_true", help="do not remove what was made")
    return parser.parse_args(arguments)


class _Bench:
    """Rounds on one server, which has a user for the source and one for every tool in each round."""

    def __init__(self, server: Dovecot, account: GeneratedAccount, scratch: Path, tools: Sequence[str]) -> None:
        self._server, self._account, self._scratch, self._tools = server, account, scratch, tools
        self.results: Results = defaultdict(list)
        self.steps: Results = defaultdict(list)

    def round(self, number: int, latency: int) -> None:
        """Every tool once, through all phases. The tools take turns in being first."""
        source = self._source()
        directory = self._scratch / f"round-{number + 1}-{latency}"
        directory.mkdir()
        with long_line(self._server.port, latency / 1000) as port:
            tools = self._movers(directory, port, source)
            first = number % len(tools)
            before = mail_of(self._server, source)
            for phase in _PHASES:
                if phase == "increment":
                    change(self._server, source, self._account)
                expected = mail_of(self._server, source)
                for tool in tools[first:] + tools[:first]:
                    self._server.wait_idle(source)
                    subprocess.run(["sync"], check=True)  # no tool pays for another's delayed writes
                    took = tool.run()
                    if wrong := difference(mail_of(self._server, tool.user), expected, before):
                        raise RuntimeError(f"{tool.name}, {phase}: {wrong}")
                    self.results[latency, phase, tool.name].append(took.wall)
                    print(f"round {number + 1}, {latency} ms: {tool.name}, {phase}: {took.wall:.2f} s, "
                          f"cpu {took.cpu:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
                    if tool.name == "archiver":
                        for step, seconds in _timings(directory / tool.user).items():
                            self.steps[latency, phase, step].append(seconds)

    def memory(self) -> float:
        """The peak of a migration by the archiver, in MB."""
        source, user = self._source(), self._server.fresh_user()
        tool = movers.archiver(self._scratch, self._server.port, source, user)
        ended = watched("run", tool.command[-1], environment={"BENCH_PASSWORD": PASSWORD})
        if ended.exit_code:
            raise RuntimeError(f"archiver ended with {ended.exit_code}:\n{ended.output[-2000:]}")
        return ended.peak

    def _source(self) -> str:
        user = self._server.fresh_user()
        self._server.install(user, self._account.home)
        drain(self._server.port, user, self._account.folders)  # makes Dovecot's indexes
        return user

    def _movers(self, directory: Path, port: int, source: str) -> list[Mover]:
        found = []
        for name in self._tools:
            user = self._server.fresh_user()
            if name == "archiver":
                found.append(movers.archiver(directory, port, source, user))
            elif name == "dsync":
                found.append(movers.dsync(directory, self._server, port, source, user))
            elif movers.has_mbsync():
                found.append(movers.mbsync(directory, port, source, user))
        return found


def _timings(archive: Path) -> dict[str, float]:
    """Seconds of each step of the archive's newest run."""
    newest = max((archive / "runs").glob("*/report.json"), key=lambda path: path.stat().st_mtime_ns)
    timings: dict[str, float] = json.loads(newest.read_text())["timings"]
    return timings


def print_table(results: Results, steps: Results, megabytes: float) -> None:
    """Medians, and how they compare with mbsync's; then where the archiver's time went."""
    print(f"\n{'line':<8}{'phase':<11}{'tool':<10}{'median':>8}{'best':>8}{'worst':>8}{'MB/s':>7}{'× mbsync':>10}")
    rows = sorted(results, key=lambda row: (row[0], _PHASES.index(row[1])))
    for latency, phase, tool in rows:
        walls = results[latency, phase, tool]
        median = statistics.median(walls)
        rate = f"{megabytes / median:.0f}" if phase == "initial" else ""
        peer = results.get((latency, phase, "mbsync"))
        ratio = f"{median / statistics.median(peer):.2f}" if peer else ""
        numbers = f"{median:8.2f}{min(walls):8.2f}{max(walls):8.2f}{rate:>7}{ratio:>10}"
        print(f"{f'{latency} ms':<8}{phase:<11}{tool:<10}{numbers}")
    for latency, phase in dict.fromkeys(row[:2] for row in rows):
        reported = {
            step: statistics.median(steps[row]) for row in steps for step in row[2:] if row[:2] == (latency, phase)
        }
        if reported:
            print(
                f"archiver, {latency} ms, {phase}: "
                + ", ".join(f"{step} {reported[step]:.2f} s" for step in reported)
            )


def verdict(results: Results) -> int:
    """Whether the targets were met."""
    exit_code = 0
    for latency, target in TARGETS.items():
        ours, peer = (results.get((latency, "initial", tool)) for tool in ("archiver", "mbsync"))
        if not ours or not peer:
            continue
        ratio = statistics.median(ours) / statistics.median(peer)
        met = ratio <= target
        word = "met" if met else "missed"
        print(f"migration, {latency} ms: {ratio:.2f} × mbsync; the target is at most {target}: {word}")
        exit_code |= not met
    return exit_code
