"""Sockets to servers.

Each is registered before it connects, so that a run can be stopped while a server says nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl

from archiver.control.waiting import addresses_of, mail_lines


def _watch(sock: socket.socket) -> None:
    mail_lines.add(sock)
    _check()


def _check() -> None:
    if mail_lines.were_shut_down:
        raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))


def dial(host: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection to the first address of `host` that answers; `timeout` in seconds for each address. If
    several are silent, the others are not tried.

    Raises:
        OSError: none answers; the error of the last address.
    """
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, address in addresses_of(host, port, timeout):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout)
            _watch(sock)
            sock.connect(address)
            _check()
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def secure(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Start TLS on a connection. `sock` must not be used afterwards, even if this fails."""
    secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        _watch(secured)
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured
