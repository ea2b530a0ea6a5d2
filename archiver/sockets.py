"""Sockets that do not keep a run waiting: open ones can all be shut down from anywhere, and a host with many silent
addresses is given up after a few.

A thread that waits for a server cannot be asked to stop. If its socket is shut down, it reads the end of the
connection.
"""

from __future__ import annotations

import socket
import time
import weakref
from collections.abc import Iterator
from typing import Any

_SILENT = 4  # addresses that may be silent, until the others are not tried

Address = tuple[socket.AddressFamily, socket.SocketKind, int, Any]
"""What `socket.socket` takes (a family, a kind and a protocol), and what `connect` takes."""


def addresses_of(host: str, port: int, timeout: float | None) -> Iterator[Address]:
    """The addresses of a host, to be tried one after the other, each for `timeout` seconds at most.

    They end when trying them has taken as long as a few silent ones take: a name may have hundreds of addresses.

    Raises:
        OSError: the host has none.
    """
    began = time.monotonic()
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if timeout and time.monotonic() - began >= _SILENT * timeout:
            break
        yield family, kind, protocol, address


class OpenSockets:
    """The sockets of one kind of connection that are open in this process. They are not kept alive by it.

    NOTE: a signal handler calls `shut_down` and may have interrupted anything here. So no lock may be taken, and
    each step on `_open` is atomic.
    """

    def __init__(self) -> None:
        self._open: dict[int, weakref.ref[socket.socket]] = {}

    def add(self, sock: socket.socket) -> None:
        """Let this socket be shut down; call it before the socket connects."""
        key = id(sock)
        self._open[key] = weakref.ref(sock, lambda _: self._open.pop(key, None))

    def shut_down(self) -> None:
        """Shut down all of them. May be called twice."""
        for reference in tuple(self._open.values()):
            sock = reference()
            if sock is None:
                continue
            try:
                # NOTE: not SSLSocket.shutdown, which also drops the TLS state: the reader would take the rest of
                # the cipher text for plain text.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # not connected yet, or closed already
