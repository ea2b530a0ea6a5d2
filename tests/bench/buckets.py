"""`python -m tests.bench s3`: messages into a radosgw here, compared with boto3's put_object in a bare loop.

Every way has a process and a bucket of its own in every round; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.bucket_writer import WAYS
from tests.faults.memory import PROJECT
from tests.servers import radosgw
from tests.servers.s3_endpoint import Endpoint

BARE = "put_object"
TARGETS = {"packs": 10.0, "objects": 0.7}
"""How many times the messages of the bare loop a way has to put in the same time."""
MEMORY = 200_000_000

Results = dict[str, list[dict[str, float]]]
"""Of each way: seconds, requests and memory of each round."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 when a target was missed."""
    options = _options(arguments)
    if missing := radosgw.missing():
        print(f"The benchmark needs a radosgw. {missing}", file=sys.stderr)
        return 2
    print(f"messages of {options.octets:,} octets; load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    prefix = "archiver-bench-"
    with tempfile.TemporaryDirectory(prefix=prefix) as directory, radosgw.shared(Path(directory)) as gateway:
        results = measure(gateway.http, options)
    print_table(results, options.messages)
    return verdict(results, options.messages)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench s3", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="rounds (3)")
    parser.add_argument("--octets", type=int, default=8192, help="size of a message (8192)")
    parser.add_argument("--messages", type=int, default=20_000, help="how many go into packs (20000)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="which ways (all)")
    return parser.parse_args(arguments)


def count_of(way: str, messages: int) -> int:
    """How many messages a way puts: the slow ones a tenth."""
    return messages if way == "packs" else messages // 10


def measure(endpoint: Endpoint, options: argparse.Namespace) -> Results:
    """All rounds of all ways, which take turns in being first."""
    results: Results = defaultdict(list)
    for number in range(options.runs):
        for way in options.ways if number % 2 else options.ways[::-1]:
            environment = {"BENCH_URL": endpoint.url, "BENCH_BUCKET": endpoint.fresh_bucket()}
            count = count_of(way, options.messages)
            command = [sys.executable, "-m", "tests.bench.bucket_writer", way, str(count), str(options.octets)]
            measured = subprocess.run(
                command, cwd=PROJECT, env={**os.environ, **endpoint.environment(), **environment},
                stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
            results[way].append(json.loads(measured.stdout))
    return results


def rates(results: Results, messages: int) -> Mapping[str, float]:
    """Messages in a second, by way."""
    return {
        way: count_of(way, messages) / statistics.median(each["seconds"] for each in rounds)
        for way, rounds in results.items()
    }


def print_table(results: Results, messages: int) -> None:
    """A line for each way."""
    print(f"{'way':<24}{'messages/s':>12}{'requests per 1,000':>20}{'MB of memory':>14}")
    for way, rate in rates(results, messages).items():
        requests = statistics.median(each["requests"] for each in results[way])
        memory = max(each["memory"] for each in results[way])
        per_thousand = requests * 1000 / count_of(way, messages)
        print(f"{way:<24}{rate:>12,.0f}{per_thousand:>20,.1f}{memory / 1e6:>14.0f}")


def verdict(results: Results, messages: int) -> int:
    """0 when every target was met."""
    measured = rates(results, messages)
    missed = [
        f"{way} {measured[way] / measured[BARE]:.1f} of {factor} times {BARE}"
        for way, factor in TARGETS.items()
        if way in measured and BARE in measured and measured[way] < factor * measured[BARE]
    ]
    missed += [f"{way} takes over 200 MB" for way in results if max(r["memory"] for r in results[way]) > MEMORY]
    print("; ".join(missed) or "all targets met")
    return 1 if missed else 0
