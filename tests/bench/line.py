"""`python -m tests.bench.line PORT SECONDS`: a long line to a server, in a process of its own.

Prints the port on which it listens and serves until it is ended. What its clients wait for is delayed each way;
a new connection costs the handshake too.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.memory import PROJECT
from tests.servers.faultproxy import FaultProxy


class _Line(FaultProxy):
    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # NOTE: the client is connected at once; a server far away would have heard of it after three ways.
        await asyncio.sleep(3 * self.latency)
        await super()._connection(reader, writer)


@contextmanager
def long_line(port: int, round_trip: float) -> Iterator[int]:
    """The port of a line to the server at `port` that takes so many seconds there and back; 0 is no line at all."""
    if not round_trip:
        yield port
        return
    command = [sys.executable, "-m", "tests.bench.line", str(port), str(round_trip / 2)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def main(port: str, latency: str) -> None:
    """Serve until standard input ends, which it does with the process that began this one."""
    with _Line(("127.0.0.1", int(port)), latency=float(latency)) as line:
        print(line.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
