"""A destination of its own process that keeps no mail: it hashes and counts, so that a message of 200 MB costs no
memory, and a hundred thousand small ones little.

It is a writable scripted server, and serves what it has kept: the first octets of every message.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.servers.scripted import DESTINATION, Appending, ScriptedServer

_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Taken:
    """A message as it was sent; `digest` is its SHA-256."""

    folder: str
    size: int
    digest: str
    flags: tuple[str, ...]
    internaldate: str | None


class SinkServer:
    """The server as a child process; a context manager. User "u1", password "pw"."""

    def __init__(self, *, capabilities: Sequence[str] = DESTINATION, keep: int = 4096) -> None:
        self.capabilities, self.keep = capabilities, keep
        self.host = "127.0.0.1"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.sink_server", str(self.keep), *self.capabilities],
            cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pid = self._process.pid
        self.port = int(self._line())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def taken(self) -> list[Taken]:
        """All messages so far, in the order in which they were stored."""
        assert self._process.stdin is not None
        self._process.stdin.write("taken\n")
        self._process.stdin.flush()
        return [Taken(**{**each, "flags": tuple(each["flags"])}) for each in json.loads(self._line())]

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _serve(keep: int, capabilities: Sequence[str]) -> None:
    """Until the other end of standard input is closed."""
    with ScriptedServer(capabilities=capabilities, writable=True, appending=Appending(keep=keep)) as server:
        print(server.port, flush=True)
        for _ in sys.stdin:
            reported = [
                {
                    "folder": each.folder.decode("latin-1"),
                    "size": each.size,
                    "digest": each.digest,
                    "flags": each.flags,
                    "internaldate": each.internaldate,
                }
                for each in list(server.appended)
            ]
            print(json.dumps(reported), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
