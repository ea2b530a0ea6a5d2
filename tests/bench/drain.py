"""How fast the server can give the mail to a client that does nothing with it: what no archiver can beat."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable

from tests.servers.dovecot import PASSWORD
from tests.servers.wire import quoted

_TAG = b"drain-finished"


def drain(port: int, user: str, folders: Iterable[str]) -> float:
    """Seconds to have everything sent over one connection, all commands in one flight."""
    began = time.perf_counter()
    names = [quoted(folder) for folder in folders]
    fetch = _TAG + b" UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n"
    commands = b"".join(b"b EXAMINE %s\r\n%s" % (name, fetch) for name in names)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"a LOGIN %s %s\r\n%s" % (user.encode(), PASSWORD.encode(), commands))
        piece, finished, end = bytearray(1 << 18), 0, b""
        while finished < len(names):
            count = connection.recv_into(piece)
            if not count:
                raise ConnectionError("the server hung up")
            octets = end + piece[:count]
            finished += octets.count(_TAG)
            end = octets[-(len(_TAG) - 1) :]
    return time.perf_counter() - began
