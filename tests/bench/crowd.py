"""`python -m tests.bench.crowd`: an IMAP server, in a process of its own, that lets everybody in.

Each user has the same few folders, in which nothing ever happens. Prints its port and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.memory import PROJECT

_CAPABILITIES = b"CAPABILITY IMAP4rev1 ID NAMESPACE ENABLE CONDSTORE LIST-EXTENDED LIST-STATUS SPECIAL-USE LITERAL+"
_FOLDERS = (b"INBOX", b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash", b"Work")
_LIST = b"".join(
    b'* LIST (\\HasNoChildren \\Subscribed) "/" %s\r\n'
    b"* STATUS %s (MESSAGES %d UIDNEXT %d UIDVALIDITY 7 HIGHESTMODSEQ 9)\r\n" % (name, name, 10, 11)
    for name in _FOLDERS
)
_ANSWERS = {
    b"CAPABILITY": b"* " + _CAPABILITIES + b"\r\n",
    b"ID": b'* ID ("name" "crowd")\r\n',
    b"NAMESPACE": b'* NAMESPACE (("" "/")) NIL NIL\r\n',
    b"ENABLE": b"* ENABLED CONDSTORE\r\n",
    b"LIST": _LIST,
    b"LOGOUT": b"* BYE\r\n",
}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"* OK [" + _CAPABILITIES + b"] ready\r\n")
    while line := await reader.readline():
        tag, word, *_ = line.split(maxsplit=2)
        word = word.upper()
        done = b"OK [" + _CAPABILITIES + b"] in" if word == b"LOGIN" else b"OK done"
        writer.write(_ANSWERS.get(word, b"") + tag + b" " + done + b"\r\n")
        if word == b"LOGOUT":
            break
    writer.close()


async def _listen() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def crowd() -> Iterator[int]:
    """The port of such a server."""
    command = [sys.executable, "-m", "tests.bench.crowd"]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_listen())
