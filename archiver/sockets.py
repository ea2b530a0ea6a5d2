"""Open sockets that can all be shut down from anywhere, so that nothing waits for a server that says nothing.

A thread that waits for a server cannot be asked to stop. If its socket is shut down, it reads the end of the
connection.
"""

from __future__ import annotations

import socket
import weakref


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
