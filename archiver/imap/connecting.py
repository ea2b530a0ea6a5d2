"""From a server's settings to a session that is secured as they say, before anybody logs in, in any protocol.

If a certificate is not trusted, the server is asked for it once more, so that the user sees its fingerprint or the
names that it is valid for. Nothing is said on that connection.
"""

from __future__ import annotations

import errno
import hashlib
import imaplib
import os
import socket
import ssl
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from imapclient import SocketTimeout
from imapclient.exceptions import IMAPClientError

from archiver.config.secrets import warn_of_others
from archiver.config.tables.server import ServerSettings
from archiver.errors import (
    BackendError,
    ConfigError,
    ConnectionLost,
    ConnectionRefused,
    ServerUnavailable,
    Unreachable,
    Where,
)
from archiver.imap.capabilities import capabilities_of
from archiver.imap.replies import error_of, printable
from archiver.imap.session import Session
from archiver.imap.wire.line import SocketLine
from archiver.imap.wire.sockets import secure
from archiver.login.reach import Reach, given_up, note, reach_of
from archiver.mail.folder_names import printable as printable_name

_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH
_NAMES_SHOWN = 5

_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)

#: How often to try a server that cannot be reached, by what is known of it: it may be restarting if it answered.
_ATTEMPTS: dict[Reach, int | None] = {"answers": None, "unknown": 2, "unreachable": 1}
_SECONDS_IF_DOWN = 5.0  # for the greeting, once nobody got one within `connect_timeout`


class _NotTrusted(ConnectionRefused):
    """The certificate is not trusted. `of_another_name`: it is valid, but not for this host."""

    of_another_name = False


class Greeted(Protocol):
    """A session of any protocol, after the greeting."""

    @property
    def line(self) -> SocketLine:
        """The connection below."""

    def hang_up(self) -> None:
        """Close at once. Never raises; may be called twice."""


S = TypeVar("S", bound=Greeted)


class Speaks(Protocol[S]):
    """How a session of a protocol begins. `name` is that of the protocol."""

    name: ClassVar[str]

    def greet(self, server: ServerSettings, where: Where, tls: ssl.SSLContext | None, seconds: float) -> S:
        """Connect, with `tls` encrypted from the first octet, and read the greeting within that many seconds.

        Raises:
            OSError: as the socket does.
            BackendError: the greeting is not one of this protocol, or a refusal.
        """

    def begin_tls(self, session: S) -> None:
        """Ask for TLS on this connection; the handshake follows.

        Raises:
            ConnectionRefused: it is not offered. No password was sent.
        """


class Imap:
    """IMAP (RFC 3501)."""

    name: ClassVar[str] = "IMAP"

    def greet(self, server: ServerSettings, where: Where, tls: ssl.SSLContext | None, seconds: float) -> Session:
        timeouts = SocketTimeout(seconds, server.read_timeout)
        try:
            return Session(server.host, server.port, tls, timeouts, where)
        except ssl.SSLError:  # NOTE: one for a certificate is a ValueError, too
            raise
        except (imaplib.IMAP4.error, IMAPClientError, ValueError) as error:  # ValueError: the greeting is not text
            raise _greeting_error(error, where) from error

    def begin_tls(self, session: Session) -> None:
        """RFC 3501 section 6.2.1."""
        where = session.where
        if session.line.state != "NONAUTH":
            raise ConnectionRefused(
                "the server logs in before TLS (PREAUTH)", where=where, hint='try tls = "implicit"'
            )
        if "STARTTLS" not in (session.line.capabilities or capabilities_of(session)):
            raise ConnectionRefused(
                "STARTTLS is not offered",
                where=where,
                hint='try tls = "implicit" with port 993; no password was sent',
            )
        session.required(session.flight(b"STARTTLS")[0], ConnectionRefused)


def open_session(server: ServerSettings, where: Where, speaks: Speaks[S]) -> S:
    """Connect, secure, and check the certificate, as the settings say.

    Raises:
        ConfigError: a file of certificates cannot be used.
        ConnectionRefused: TLS or the certificate is not as configured, or the server speaks another protocol.
        ServerUnavailable, ConnectionLost: another attempt may succeed.
    """
    files = server.ca_file, server.client_cert, server.client_key
    context = None if server.tls == "off" else _tls_context(*files, is_pinned=bool(server.fingerprint))
    try:
        session = _secured(server, where, context, speaks)
    except _NotTrusted as refusal:
        raise _explained(refusal, server, where, speaks) from refusal
    try:
        _check_fingerprint(session, server, where)
    except BaseException:
        session.hang_up()
        raise
    return session


def _new_context(
    ca_file: Path | None, client_cert: Path | None, client_key: Path | None, *, is_pinned: bool
) -> ssl.SSLContext:
    """What a connection trusts and shows. `is_pinned`: a single certificate is trusted, so it needs neither an
    authority nor the right host name; the caller compares its fingerprint."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:  # ssl.SSLError is one
        raise _unreadable(ca_file, error, "name a file of PEM certificates") from error
    if client_cert is not None:
        _show(context, client_cert, client_key)
    if is_pinned:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """NOTE: OpenSSL asks the terminal for the password of an encrypted key, which would hang."""
    is_encrypted = False

    def no_password() -> str:
        nonlocal is_encrypted
        is_encrypted = True
        return ""

    file = key or certificate
    try:
        context.load_cert_chain(str(certificate), None if key is None else str(key), no_password)
        warn_of_others(str(file), file.stat(), "key of the client certificate")
    except OSError as error:
        file = certificate
        if key is not None and (is_encrypted or not os.access(key, os.R_OK)):
            file = key
        if is_encrypted:
            hint = "decrypt it with `openssl pkey`, into a file that only this user can read"
            raise ConfigError(str(file), ["the key has a password"], hint=hint) from error
        hint = "name a PEM file with the certificate and its key, or the key in `client_key`"
        raise _unreadable(file, error, hint) from error


def _unreadable(file: Path | None, error: OSError, hint: str) -> ConfigError:
    problem = f"cannot be read as certificates: {error.strerror or error}"
    return ConfigError(str(file), [problem], hint=hint)


#: A run connects often, and reading all authorities of the system takes tens of milliseconds.
_tls_context = lru_cache(maxsize=16)(_new_context)


def _secured(server: ServerSettings, where: Where, context: ssl.SSLContext | None, speaks: Speaks[S]) -> S:
    if server.tls != "starttls":
        return _open(server, where, context, speaks)
    assert context is not None
    session = _open(server, where, None, speaks)
    try:
        speaks.begin_tls(session)
        _start_tls(session.line, where, context, speaks.name)
    except BaseException:
        session.hang_up()
        raise
    return session


def _open(server: ServerSettings, where: Where, tls: ssl.SSLContext | None, speaks: Speaks[S]) -> S:
    if users := given_up(server.address):
        error = Unreachable(
            f"{users} accounts in a row could not reach this server, so it was not tried for this one",
            where=where,
            hint="check `host` and `port`, and that the server is up; the next run tries it again",
        )
        error.most_attempts = 1
        raise error
    known = reach_of(server.address)
    try:
        session = _reached(
            server, where, tls, speaks, most_seconds=_SECONDS_IF_DOWN if known == "unreachable" else None
        )
    except Unreachable as error:
        error.most_attempts = _ATTEMPTS[known]
        note(server.address, server.user, answers=False)
        raise
    note(server.address, server.user, answers=True)
    session.line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return session


def _reached(
    server: ServerSettings,
    where: Where,
    tls: ssl.SSLContext | None,
    speaks: Speaks[S],
    *,
    most_seconds: float | None,
) -> S:
    """The session after the greeting. It has to come within `connect_timeout`, and within `most_seconds`."""
    seconds = min(server.connect_timeout, most_seconds or server.connect_timeout)
    try:
        return speaks.greet(server, where, tls, seconds)
    except BackendError:
        raise
    except ssl.SSLError as error:
        raise _tls_error(error, where, speaks.name) from error
    except ConnectionRefusedError as error:
        raise Unreachable(
            "connection refused", where=where, hint="check `host` and `port`, and that the server is up"
        ) from error
    except TimeoutError as error:
        raise Unreachable(
            f"no greeting within {seconds:g} seconds",
            where=where,
            hint="check `host`, `port` and `tls` (a TLS port is silent to a client that does not speak TLS)",
        ) from error
    except socket.gaierror as error:
        raise Unreachable(f"no such host ({error.strerror})", where=where, hint="check `host`") from error
    except OSError as error:
        kind = Unreachable if error.errno in _NO_ROUTE else ServerUnavailable
        raise kind(
            f"cannot connect: {error.strerror or error}",
            where=where,
            hint="check `host` and this machine's network",
        ) from error


def _greeting_error(error: Exception, where: Where) -> Exception:
    said = error.args[0] if error.args and isinstance(error.args[0], bytes) else str(error).encode()
    if said.upper().startswith(b"* BYE"):
        return error_of(said[2:], where, ConnectionLost)
    if b"socket error" in said or b"EOF" in said:
        return ConnectionLost("the server closed the connection instead of a greeting", where=where)
    hint = "this is a POP3 server: check `port`" if said.startswith(b"+OK") else "check `port` and `tls`"
    return ConnectionRefused(f"this is not an IMAP server: {printable(said)}", where=where, hint=hint)


def _tls_error(error: ssl.SSLError, where: Where, protocol: str) -> BackendError:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConnectionLost(
            "the connection ended during the TLS handshake", where=where, hint="check `port` and `tls`"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        refusal = _NotTrusted(
            f"the certificate is not trusted: {error.verify_message}",
            where=where,
            hint="set `ca_file` to the CA's certificate, or `fingerprint` to the SHA-256 of the server's",
        )
        refusal.of_another_name = error.verify_code in _MISMATCH
        return refusal
    return ConnectionRefused(
        f"TLS failed: {error.reason or error}",
        where=where,
        hint=f'if this port speaks plain {protocol} first, set tls = "starttls"',
    )


def _start_tls(line: SocketLine, where: Where, context: ssl.SSLContext, protocol: str) -> None:
    """Octets sent before the TLS handshake are refused: they may come from an attacker in between."""
    if line.unread():
        raise ConnectionRefused("the server sent data before the TLS handshake", where=where)
    try:
        secured = secure(line.sock, context, line.host)
    except ssl.SSLError as error:
        raise _tls_error(error, where, protocol) from error
    except OSError as error:
        raise ConnectionLost(f"connection lost during the TLS handshake: {error}", where=where) from error
    line.speak_over(secured)


def _check_fingerprint(session: Greeted, server: ServerSettings, where: Where) -> None:
    if not server.fingerprint:
        return
    actual = hashlib.sha256(session.line.certificate).hexdigest()
    if actual != server.fingerprint:
        raise ConnectionRefused(
            f"the certificate's fingerprint is {actual}, not the pinned one",
            where=where,
            hint="if the server has a new certificate, put its fingerprint into the account file",
        )


def _explained(refusal: _NotTrusted, server: ServerSettings, where: Where, speaks: Speaks[S]) -> ConnectionRefused:
    """The refusal of a certificate, with what the user needs to decide: the names that it is valid for, or its
    fingerprint. It stays as it is if the server does not show its certificate again.

    NOTE: nothing is sent on this connection but STARTTLS, and it is closed immediately.
    """
    context = _new_context(server.ca_file, server.client_cert, server.client_key, is_pinned=False)
    context.check_hostname = False
    if not refusal.of_another_name:
        context.verify_mode = ssl.CERT_NONE
    try:
        session = _secured(server, where, context, speaks)
    except BackendError:
        return refusal
    line = session.line
    octets, names = line.certificate, line.names_of_certificate
    session.hang_up()
    if not refusal.of_another_name:
        fingerprint = hashlib.sha256(octets).hexdigest()
        return ConnectionRefused(
            f"{refusal.reason}; its SHA-256 fingerprint is {fingerprint}",
            where=where,
            hint="set `ca_file` to the CA's certificate; or compare the fingerprint with what the server's admin "
            "says, and set `fingerprint`",
        )
    if not names:
        return refusal
    shown = ", ".join(map(printable_name, names[:_NAMES_SHOWN])) + (", ..." if len(names) > _NAMES_SHOWN else "")
    return ConnectionRefused(
        f"the certificate is not trusted: it is valid for {shown}, not for {server.host}",
        where=where,
        hint="set `host` to a name that the certificate is valid for, if that is the server you mean",
    )
