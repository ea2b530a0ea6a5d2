"""What must not keep a process waiting for ever: a server that says nothing, and a lock that nobody releases.

A thread that waits for a server cannot be asked to stop. If its socket is shut down, it reads the end of the
connection. And a fork copies a lock as it is: if another thread holds it at that moment, nobody releases the copy.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
    # NOTE: as octets, if it can be: text is encoded by a module with large tables, whose import takes long.
    name = host.encode("ascii") if host.isascii() else host
    for family, kind, protocol, _, address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
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
        self.were_shut_down = False

    def add(self, sock: socket.socket) -> None:
        """Let this socket be shut down; call it before the socket connects."""
        key = id(sock)
        self._open[key] = weakref.ref(sock, lambda _: self._open.pop(key, None))

    def shut_down(self) -> None:
        """Shut down all of them. May be called twice."""
        self.were_shut_down = True
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


#: Of requests for tokens, and of connections to mail servers. Once they were shut down, no new ones are made.
token_requests, mail_lines = OpenSockets(), OpenSockets()


@contextmanager
def meanwhile(work: Callable[[], None], name: str) -> Iterator[None]:
    """Do `work`, which never raises, in a thread while something else is done; both have ended at the end."""
    thread = threading.Thread(target=work, name=name)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def lock_free_after_fork() -> AbstractContextManager[object]:
    """A lock for the lifetime of the process: a fork waits until no other thread holds it, so hold it only briefly.
    Do not fork while you hold it. The thread that holds it may take it again: a garbage collection may end a
    generator that needs it at any moment."""
    lock = threading.RLock()
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
