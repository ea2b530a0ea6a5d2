"""One request over HTTP, for tokens, and for those who get to know how a run ended.

The standard library's HTTP is used directly, for what a client library does not promise: no redirect is followed
(it would take the secrets along), a signal ends the wait, an answer that never ends is noticed, and no library
logs or caches what is sent. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY).
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from urllib.parse import unquote, urlsplit

from archiver.config.secrecy import keep_secret
from archiver.config.tables.oauth2 import is_loopback
from archiver.control.waiting import OpenSockets, addresses_of

_MOST_OCTETS = 1 << 20

#: What may have been lost on the way, so that nobody knows what became of the request.
BROKEN = (OSError, http.client.HTTPException)


def basic(user: str, password: str) -> str:
    """The value of Authorization for a user and a password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def request(
    url: str, headers: Mapping[str, str], body: bytes, sockets: OpenSockets, *, silent: float, in_all: float
) -> tuple[int, Mapping[str, str], bytes]:
    """POST `body` and return the status, the headers (lower-case) and the octets of the answer. `silent` is for how
    many seconds nothing may come, `in_all` how many the request may take from when it is connected. The wait
    ends if `sockets` are shut down.

    Raises:
        ssl.SSLCertVerificationError: the certificate is not trusted.
        `BROKEN`: there is no complete answer; the request may have been heard.
    """
    parts = urlsplit(url)
    host, is_https = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_https else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with _connected(host, port, sockets, is_https=is_https, silent=silent, in_all=in_all) as sock:
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        connection.request("POST", path, body, {"Host": parts.netloc, **headers})
        with connection.getresponse() as response:
            octets = response.read(_MOST_OCTETS + 1)
            if len(octets) > _MOST_OCTETS or response.length:
                raise http.client.IncompleteRead(b"")
            return response.status, {name.lower(): value for name, value in response.getheaders()}, octets


@contextmanager
def _connected(
    host: str, port: int, sockets: OpenSockets, *, is_https: bool, silent: float, in_all: float
) -> Iterator[socket.socket]:
    """A connection to the host, with TLS for https. It is cut if it takes too long in all."""
    from urllib.request import getproxies, proxy_bypass

    proxy = None if is_loopback(host) or proxy_bypass(host) else getproxies().get("https")
    sock = _open(host, port, sockets, silent) if proxy is None else _through(proxy, host, port, sockets, silent)
    latest = [sock]
    timer = threading.Timer(in_all, lambda: _shut_down(latest[-1]))
    timer.daemon = True
    timer.start()
    try:
        if is_https:
            latest.append(_tls().wrap_socket(sock, server_hostname=host))
            sockets.add(latest[-1])
        yield latest[-1]
    finally:
        timer.cancel()
        timer.join()
        latest[-1].close()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _shut_down(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already


def _open(host: str, port: int, sockets: OpenSockets, silent: float) -> socket.socket:
    error: OSError | None = None
    for family, kind, protocol, address in addresses_of(host, port, silent):
        sock = socket.socket(family, kind, protocol)
        sockets.add(sock)
        try:
            sock.settimeout(silent)
            sock.connect(address)
        except OSError as failed:
            sock.close()
            error = failed
        else:
            return sock
    raise error or OSError("no address")


def _through(proxy: str, host: str, port: int, sockets: OpenSockets, silent: float) -> socket.socket:
    """A tunnel through the proxy (RFC 9110 section 9.3.6)."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    sock = _open(parts.hostname or "", parts.port or 80, sockets, silent)
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
    if parts.username is not None:
        password = unquote(parts.password or "")
        keep_secret(password, unquote(parts.username))
        lines.append(f"Proxy-Authorization: {basic(unquote(parts.username), password)}")
    try:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        with http.client.HTTPResponse(sock, method="CONNECT") as response:
            response.begin()
            if response.status != 200:
                raise OSError(0, f"the proxy {parts.hostname} answers HTTP status {response.status}")
    except BaseException:
        sock.close()
        raise
    return sock
