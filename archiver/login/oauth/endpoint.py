"""One request to an OAuth endpoint: a form is sent, a JSON object comes back.

The standard library's HTTP is used directly, for what a client library does not promise: no redirect is followed
(it would take the secrets along), a signal ends the wait, an answer that never ends is noticed, and no library
logs or caches what is sent. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY).
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from msgspec import Struct

from archiver.config.oauth2 import is_loopback
from archiver.config.secrecy import keep_secret, redacted
from archiver.errors import BackendError, ConnectionRefused, ServerUnavailable, Throttled, Where
from archiver.mail.folder_names import printable
from archiver.waiting import addresses_of, token_requests

_SECONDS = 20.0  # without an octet
_SECONDS_IN_ALL = 60.0
_MOST_OCTETS = 1 << 20
_SHOWN = 300

#: What may have been lost on the way, so that nobody knows what became of the request.
_BROKEN = (OSError, http.client.HTTPException)


class Answer(Struct, frozen=True):
    """What an endpoint answered: `ahead` is by how many seconds its clock is ahead of ours, if it told."""

    status: int
    fields: Mapping[str, Any]
    ahead: float | None = None

    @property
    def error(self) -> str | None:
        """The error code (RFC 6749 section 5.2), for people and for comparison; None if it is no refusal."""
        if self.status < 400 and "error" not in self.fields:
            return None
        return text_of(self.fields.get("error")) or f"HTTP status {self.status}"

    @property
    def description(self) -> str:
        """What the endpoint says about the error."""
        return text_of(self.fields.get("error_description"))


def text_of(value: object) -> str:
    """An endpoint's text for people: one line, without our secrets; "" if it is no text."""
    words = value if isinstance(value, str) else ""
    return printable(" ".join(redacted(words[:4096]).split()))[:_SHOWN]


def ask(url: str, form: Mapping[str, str], where: Where, login: tuple[str, str] | None = None) -> Answer:
    """Send a form, with a user and a password if given, and return the answer, which may be a refusal.

    Raises:
        ServerUnavailable, Throttled: another attempt may succeed; the endpoint may have heard this one.
        ConnectionRefused: the certificate is not trusted, or this is no such endpoint.
    """
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    headers |= {"User-Agent": "mail-archiver", "Connection": "close"}
    if login is not None:
        headers["Authorization"] = _basic(*login)
    try:
        status, read, octets = _request(url, headers, urlencode(form).encode())
    except ssl.SSLCertVerificationError as error:
        hint = "check the address; SSL_CERT_FILE names the authority to trust, if the system does not know it"
        problem = f"the certificate is not trusted: {text_of(error.verify_message)}"
    except _BROKEN as error:
        # NOTE: not `from error`, whose context may show what was sent.
        reason = text_of(getattr(error, "strerror", None)) or type(error).__name__
        raise ServerUnavailable(f"the token endpoint cannot be asked: {reason}", where=where) from None
    else:
        return _understood(status, read, octets, where)
    raise ConnectionRefused(problem, where=where, hint=hint)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _understood(status: int, headers: Mapping[str, str], octets: bytes, where: Where) -> Answer:
    if status == 429:
        throttled = Throttled("the token endpoint asks to slow down (HTTP status 429)", where=where)
        delay = headers.get("retry-after", "")
        throttled.delay_seconds = float(delay) if re.fullmatch(r"\d{1,6}", delay) else None
        raise throttled
    if status >= 500:
        raise ServerUnavailable(f"the token endpoint answers HTTP status {status}", where=where)
    fields = _object(octets)
    if fields is None or 300 <= status < 400 or status < 200:
        raise _no_endpoint(status, headers, where)
    return Answer(status, fields, _ahead(headers.get("date", "")))


def _object(octets: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_endpoint(status: int, headers: Mapping[str, str], where: Where) -> BackendError:
    what = f"HTTP status {status}"
    if there := urlsplit(headers.get("location", "")).netloc:
        what += f" and points to {text_of(there)}"
    problem = f"this is no OAuth endpoint: it answers {what} and no JSON"
    return ConnectionRefused(problem, where=where, hint="check the address in the table oauth2 of the account file")


def _ahead(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None


def _request(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
    """The status, the headers (lower-case) and the octets of the answer."""
    parts = urlsplit(url)
    host, is_https = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_https else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with _connected(host, port, is_https=is_https) as sock:
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        connection.request("POST", path, body, {"Host": parts.netloc, **headers})
        with connection.getresponse() as response:
            octets = response.read(_MOST_OCTETS + 1)
            is_cut_off = response.length or (response.status == 200 and not octets)
            if len(octets) > _MOST_OCTETS or is_cut_off:
                raise http.client.IncompleteRead(b"")
            return response.status, {name.lower(): value for name, value in response.getheaders()}, octets


@contextmanager
def _connected(host: str, port: int, *, is_https: bool) -> Iterator[socket.socket]:
    """A connection to the endpoint, with TLS for https. It is cut by a signal, and if it takes too long in all."""
    from urllib.request import getproxies, proxy_bypass

    proxy = None if is_loopback(host) or proxy_bypass(host) else getproxies().get("https")
    sock = _open(host, port) if proxy is None else _through(proxy, host, port)
    latest = [sock]
    timer = threading.Timer(_SECONDS_IN_ALL, lambda: _shut_down(latest[-1]))
    timer.daemon = True
    timer.start()
    try:
        if is_https:
            latest.append(_tls().wrap_socket(sock, server_hostname=host))
            token_requests.add(latest[-1])
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


def _open(host: str, port: int) -> socket.socket:
    error: OSError | None = None
    for family, kind, protocol, address in addresses_of(host, port, _SECONDS):
        sock = socket.socket(family, kind, protocol)
        token_requests.add(sock)
        try:
            sock.settimeout(_SECONDS)
            sock.connect(address)
        except OSError as failed:
            sock.close()
            error = failed
        else:
            return sock
    raise error or OSError("no address")


def _through(proxy: str, host: str, port: int) -> socket.socket:
    """A tunnel through the proxy (RFC 9110 section 9.3.6)."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    sock = _open(parts.hostname or "", parts.port or 80)
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
    if parts.username is not None:
        password = unquote(parts.password or "")
        keep_secret(password, unquote(parts.username))
        lines.append(f"Proxy-Authorization: {_basic(unquote(parts.username), password)}")
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
