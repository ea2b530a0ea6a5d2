"""From an address to a logged-in session: TLS, certificates, and the ways to authenticate.

Nothing is downgraded in silence: TLS that was asked for is there before a password is sent, or the
connection is refused with the reason.
"""

from __future__ import annotations

import base64
import hashlib
import imaplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imapclient import SocketTimeout
from imapclient.exceptions import IMAPClientError

from archiver.config.secrecy import keep_secret
from archiver.errors import (
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    ConnectionRefused,
    ServerUnavailable,
    Where,
)
from archiver.imap.line import secure
from archiver.imap.replies import error_of, printable
from archiver.imap.session import Reply, Session


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server is and how to log in. `password` is called for each connection, and its result is kept
    out of all texts.

    Timeouts in seconds. `fingerprint` is the SHA-256 of the certificate in lower-case hex, in place of a CA.
    """

    host: str
    port: int
    user: str
    password: Callable[[], str]
    tls: Literal["implicit", "starttls", "off"] = "implicit"
    ca_file: Path | None = None
    fingerprint: str | None = None
    client_cert: Path | None = None
    login: Literal["auto", "login", "plain"] = "auto"
    connect_timeout: float = 30
    read_timeout: float = 120

    @property
    def server(self) -> str:
        """host:port, for messages."""
        return f"{self.host}:{self.port}"


def connect(address: ServerAddress) -> tuple[Session, frozenset[str]]:
    """Connect, secure, log in. Returns the session and the capabilities after login, upper-case.

    Raises:
        ConnectionRefused: TLS or the certificate is not what was asked for, or this is no IMAP server.
        AuthenticationFailed: the server refused the login; trying again may lock the user out.
        ServerUnavailable, ConnectionLost, Throttled: worth another attempt.
    """
    where = Where(server=address.server)
    # Before the server says its first word: it may know our password from the connection before.
    keep_secret(address.password(), address.user)
    session = _open(address, where)
    try:
        if address.tls == "starttls":
            _start_tls(session, address, where)
        _check_fingerprint(session, address, where)
        capabilities = _log_in(session, address, where)
    except BaseException:
        session.hang_up()
        raise
    return session, capabilities


def _tls_context(address: ServerAddress) -> ssl.SSLContext:
    where = Where(server=address.server)
    try:
        context = ssl.create_default_context(cafile=str(address.ca_file) if address.ca_file else None)
        if address.client_cert:
            context.load_cert_chain(str(address.client_cert))
    except (OSError, ssl.SSLError) as error:
        file = address.client_cert if address.ca_file is None else address.ca_file
        raise ConnectionRefused(
            f"cannot read certificates: {error}", where=where, hint=f"check {file}: it must hold PEM certificates"
        ) from error
    if address.fingerprint:  # the pinned certificate stands for itself
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _open(address: ServerAddress, where: Where) -> Session:
    context = _tls_context(address) if address.tls == "implicit" else None
    timeout = SocketTimeout(address.connect_timeout, address.read_timeout)
    try:
        session = Session(address.host, address.port, context, timeout, where)
    except ssl.SSLError as error:
        raise _tls_error(error, where) from error
    except ConnectionRefusedError as error:
        raise ServerUnavailable(
            "connection refused", where=where, hint="check `host` and `port`, and that the server is up"
        ) from error
    except TimeoutError as error:
        raise ServerUnavailable(
            f"no greeting within {address.connect_timeout:g} seconds",
            where=where,
            hint="check `host`, `port` and `tls` (a TLS port is silent to a client that does not speak TLS)",
        ) from error
    except socket.gaierror as error:
        raise ServerUnavailable(f"no such host ({error.strerror})", where=where, hint="check `host`") from error
    except (imaplib.IMAP4.error, IMAPClientError, ValueError) as error:  # ValueError: octets that are no text
        raise _greeting_error(error, where) from error
    except OSError as error:
        raise ServerUnavailable(f"cannot connect: {error.strerror or error}", where=where) from error
    session._imap.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return session


def _greeting_error(error: Exception, where: Where) -> Exception:
    said = error.args[0] if error.args and isinstance(error.args[0], bytes) else str(error).encode()
    if said.upper().startswith(b"* BYE"):
        return error_of(said[2:], where, ConnectionLost)
    if b"socket error" in said or b"EOF" in said:
        return ConnectionLost("the server closed the connection instead of a greeting", where=where)
    hint = "this is a POP3 server: check `port`" if said.startswith(b"+OK") else "check `port` and `tls`"
    return ConnectionRefused(f"this is not an IMAP server: {printable(said)}", where=where, hint=hint)


def _tls_error(error: ssl.SSLError, where: Where) -> BackendError:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConnectionLost("the connection ended while TLS began", where=where, hint="check `port` and `tls`")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionRefused(
            f"the certificate is not trusted: {error.verify_message}",
            where=where,
            hint="set `ca_file` to the CA's certificate, or `fingerprint` to the SHA-256 of the server's",
        )
    return ConnectionRefused(
        f"TLS failed: {error.reason or error}",
        where=where,
        hint='if this port speaks plain IMAP first, set tls = "starttls"',
    )


def _start_tls(session: Session, address: ServerAddress, where: Where) -> None:
    """RFC 3501 section 6.2.1. PREAUTH and octets sent before TLS began are refused: somebody in between may
    have put them there."""
    if session._imap.state != "NONAUTH":
        raise ConnectionRefused("the server logs in before TLS (PREAUTH)", where=where, hint='try tls = "implicit"')
    if "STARTTLS" not in session._imap.capabilities:
        raise ConnectionRefused(
            "STARTTLS is not offered", where=where, hint='try tls = "implicit" with port 993; nothing was sent'
        )
    session.required(session.flight(b"STARTTLS")[0], ConnectionRefused)
    wire = session._imap
    wire.sock.settimeout(0)
    early = wire.file.peek(1)
    wire.sock.settimeout(address.read_timeout)
    if early:
        raise ConnectionRefused("the server sent data before TLS began", where=where)
    try:
        secured = secure(wire.sock, _tls_context(address), address.host)
    except ssl.SSLError as error:
        raise _tls_error(error, where) from error
    except OSError as error:
        raise ConnectionLost(f"connection lost while TLS began: {error}", where=where) from error
    wire.speak_over(secured)
    session._starttls_done = True


def _check_fingerprint(session: Session, address: ServerAddress, where: Where) -> None:
    if not address.fingerprint:
        return
    certificate = session._imap.sock.getpeercert(binary_form=True) or b""
    actual = hashlib.sha256(certificate).hexdigest()
    if actual != address.fingerprint.replace(":", "").lower():
        raise ConnectionRefused(
            f"the certificate's fingerprint is {actual}, not the one that was pinned",
            where=where,
            hint="if the server has a new certificate, put its fingerprint into the account file",
        )


def _log_in(session: Session, address: ServerAddress, where: Where) -> frozenset[str]:
    if session._imap.state == "AUTH":  # PREAUTH, over TLS or with tls = "off"
        return _capabilities(session, None)
    offered = frozenset(session._imap.capabilities)
    if session._starttls_done:
        offered = _capabilities(session, None)
    plain = address.login == "plain" or (address.login == "auto" and "AUTH=PLAIN" in offered)
    if not plain and "LOGINDISABLED" in offered:
        raise AuthenticationFailed(
            "the server does not take passwords on this connection (LOGINDISABLED)",
            where=where,
            hint='set tls = "implicit" or "starttls"',
        )
    user, password = address.user.encode(), address.password().encode()
    message = base64.b64encode(b"\0%b\0%b" % (user, password))  # RFC 4616; any characters in a password
    if plain:
        reply = _authenticate_plain(session, message, initial="SASL-IR" in offered)
    else:
        reply = session.command_with_strings(b"LOGIN", [user, password])
    session.required(reply, AuthenticationFailed)
    session._imap.state = "AUTH"
    return _capabilities(session, reply)


def _authenticate_plain(session: Session, message: bytes, *, initial: bool) -> Reply:
    """With the initial response of RFC 4959 where it is offered, which some servers ask for all the same. One that
    asks for more is told that there is none (RFC 3501 section 6.2.2)."""
    (tag,) = session.send(b"AUTHENTICATE PLAIN" + (b" " + message if initial else b""))
    return session.collect([tag], answers=[message, b"*"])[0]


def _capabilities(session: Session, reply: Reply | None) -> frozenset[str]:
    """What the server can do now: from its answer to the login where it says so, else asked again."""
    if reply is not None:
        if reply.text.upper().startswith(b"[CAPABILITY "):
            return _words(reply.text[12:].partition(b"]")[0])
        for response in reply.untagged:
            if response.text.upper().startswith(b"* CAPABILITY "):
                return _words(response.text[13:])
    for response in session.command(b"CAPABILITY", ConnectionLost):
        if response.text.upper().startswith(b"* CAPABILITY "):
            return _words(response.text[13:])
    return frozenset()


def _words(text: bytes) -> frozenset[str]:
    return frozenset(text.decode("ascii", "replace").upper().split())
