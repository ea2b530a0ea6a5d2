"""`python -m tests.bench [SHEET...]`: how fast and how large, compared with others, as tables in Markdown."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import archiving, buckets, fleet, migration, searching, simulated, start
from tests.bench.sheet import Sheet
from tests.bench.sitting import SHAPES, Sitting, kept
from tests.servers.dovecot import Dovecot

SHEETS: dict[str, Callable[[Sitting], Sheet]] = {
    "start": start.measure,
    "archive": archiving.measure,
    "migration": migration.measure,
    "fleet": fleet.measure,
    "simulated": simulated.measure,
    "search": searching.measure,
    "s3": buckets.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for, everything if nothing is named, and print it."""
    options = _options(arguments)
    if missing := Dovecot.missing():
        print(f"The benchmark needs a Dovecot. {missing}", file=sys.stderr)
        return 2
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; CPU and ratios count where others work, too")
    with kept(Path(tempfile.mkdtemp(prefix="archiver-bench-", dir=options.dir)), options.keep) as scratch:
        scratch.chmod(0o755)  # for tools that work as another user
        sitting = Sitting(
            scratch, options.runs, tuple(options.mailboxes), tuple(options.lines),
            quick=options.quick, thorough=options.thorough, imapsync=options.imapsync,
        )  # fmt: skip
        for name in options.sheets or SHEETS:
            print(SHEETS[name](sitting).text(), flush=True)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("sheets", nargs="*", metavar="SHEET", help=f"{', '.join(SHEETS)} (all)")
    parser.add_argument("--runs", type=int, help="rounds; medians are printed (5)")
    parser.add_argument("--mailboxes", nargs="+", choices=SHAPES, help="120, 2,000 or 20,000 messages (S M)")
    parser.add_argument("--lines", nargs="+", type=int, metavar="MS", help="milliseconds of a round trip (0 40)")
    parser.add_argument("--quick", action="store_true", help="one round of the smallest, to see that all works")
    parser.add_argument("--thorough", action="store_true", help="slow peers and large mailboxes everywhere")
    parser.add_argument("--imapsync", type=Path, metavar="SCRIPT", help="measure this imapsync, too")
    parser.add_argument("--dir", type=Path, help="where to measure; a real disk, not a memory file system")
    parser.add_argument("--keep", action="store_true", help="do not remove what was made")
    options = parser.parse_args(arguments)
    if unknown := set(options.sheets) - SHEETS.keys():
        parser.error(f"no such sheet: {', '.join(sorted(unknown))}")
    options.runs = options.runs or (1 if options.quick else 5)
    options.mailboxes = options.mailboxes or (["XS"] if options.quick else ["S", "M"])
    options.lines = options.lines or ([0] if options.quick else [0, 40])
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
