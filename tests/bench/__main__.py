"""`python -m tests.bench [archive | migration | s3]`: how fast, compared with others; all without an argument."""

from __future__ import annotations

import sys

from tests.bench import archiving, buckets, migration

_BENCHMARKS = {"archive": archiving.main, "migration": migration.main, "s3": buckets.main}


def main(arguments: list[str]) -> int:
    """Run the benchmarks that are asked for; the worst exit code."""
    if not arguments:
        return max(benchmark([]) for benchmark in _BENCHMARKS.values())
    name, *options = arguments
    if name not in _BENCHMARKS:
        print(f"usage: python -m tests.bench [{' | '.join(_BENCHMARKS)}] [OPTIONS]", file=sys.stderr)
        return 2
    return _BENCHMARKS[name](options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
