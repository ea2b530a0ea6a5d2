"""`python -m tests.fuzz.guided READER [OPTION of libFuzzer...]`: one reader under a fuzzer that sees its branches.

Ends with 0 after `-runs=N` inputs, and with a traceback and the input at the first one that is a fault, takes more
than `-timeout=` seconds, or more memory than `-rss_limit_mb=`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["archiver"]):
    from tests.fuzz.readers import READERS

_LIMITS = ("-max_len=8192", "-timeout=10", "-rss_limit_mb=1024")


def main(name: str, *options: str) -> None:
    """Fuzz until the options say that it is enough."""
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as seeds:
        for number, octets in enumerate(reader.seeds):
            Path(seeds, str(number)).write_bytes(octets)
        atheris.Setup(
            [sys.argv[0], "-max_len=8192", "-timeout=10", "-rss_limit_mb=1024", *options, seeds], reader.read
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
