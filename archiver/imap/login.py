"""From a server's settings to a logged-in session: TCP, TLS, certificates, authentication.

Nothing is downgraded silently: either the TLS that the settings ask for is in place before a password is sent, or
the connection is refused with the reason.
"""

from __future__ import annotations

import base64
import hashlib
import imaplib
import socket
import ssl
from collections.abc import Collection

from imapclient import SocketTimeout
from imapclient.exceptions import IMAPClientError

from archiver.config.secrets import Secret
from archiver.config.settings import ServerSettings
from archiver.errors import (
    AuthenticationFailed,
    BackendError,
    ConfigError,
    ConnectionLost,
    ConnectionRefused,
    ServerUnavailable,
    Where,
)
from archiver.imap.auth import Authenticate, Authenticator, Login
from archiver.imap.line import secure
from archiver.imap.replies import error_of, printable
from archiver.imap.session import Reply, Session


def connect(server: ServerSettings, authenticator: Authenticator) -> tuple[Session, frozenset[str]]:
    """Connect, secure, log in. Returns the session and the capabilities after login, upper-case.

    A refused login is tried once more, on a new connection, if the secret has changed since it was looked up: a
    password may be changed, or a token expire, during a run. The same secret is not sent twice.

    Raises:
        ConfigError: there is no secret where the account file says.
        ConnectionRefused: TLS or the certificate is not as configured, or this is not an IMAP server.
        AuthenticationFailed: the server refused the login; trying again may lock the user out.
        ServerUnavailable, ConnectionLost, Throttled: another attempt may succeed.
    """
    secret = authenticator.secret()
    try:
        return _connect(server, authenticator, secret)
    except AuthenticationFailed as refusal:
        if (changed := _changed(authenticator, secret, refusal)) is None:
            raise
    return _connect(server, authenticator, changed)


def _changed(authenticator: Authenticator, refused: Secret, refusal: AuthenticationFailed) -> Secret | None:
    """The secret that there is now, if it is another one than the server refused.

    NOTE: servers lock out users after a few attempts with a wrong password, so the same one is not sent again.
    """
    if refusal.server_reply is None:
        return None  # it was not sent
    try:
        secret = authenticator.secret(refused)
    except ConfigError:
        return None  # the refusal says more
    return secret if secret.reveal() != refused.reveal() else None


def _connect(
    server: ServerSettings, authenticator: Authenticator, secret: Secret
) -> tuple[Session, frozenset[str]]:
    where = Where(server=server.address)
    session = _open(server, where)
    try:
        if server.tls == "starttls":
            _start_tls(session, server, where)
        _check_fingerprint(session, server, where)
        if session.line.state == "AUTH":  # PREAUTH, over TLS or with tls = "off"
            return session, _capabilities(session, None)
        offered = frozenset(session.line.capabilities)
        if server.tls == "starttls":  # what was offered before TLS does not count (RFC 3501 section 6.2.1)
            offered = _capabilities(session, None)
        capabilities = _log_in(session, authenticator.answer(secret, offered, where), offered)
    except BaseException:
        session.hang_up()
        raise
    return session, capabilities


def _tls_context(server: ServerSettings) -> ssl.SSLContext:
    where = Where(server=server.address)
    try:
        context = ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)
        if server.client_cert:
            context.load_cert_chain(str(server.client_cert))
    except (OSError, ssl.SSLError) as error:
        file = server.client_cert if server.ca_file is None else server.ca_file
        raise ConnectionRefused(
            f"cannot read certificates: {error}",
            where=where,
            hint=f"check {file}: it must contain PEM certificates",
        ) from error
    if server.fingerprint:  # the pinned certificate needs neither a CA nor the right host name
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _open(server: ServerSettings, where: Where) -> Session:
    context = _tls_context(server) if server.tls == "implicit" else None
    timeout = SocketTimeout(server.connect_timeout, server.read_timeout)
    try:
        session = Session(server.host, server.port, context, timeout, where)
    except ssl.SSLError as error:
        raise _tls_error(error, where) from error
    except ConnectionRefusedError as error:
        raise ServerUnavailable(
            "connection refused", where=where, hint="check `host` and `port`, and that the server is up"
        ) from error
    except TimeoutError as error:
        raise ServerUnavailable(
            f"no greeting within {server.connect_timeout:g} seconds",
            where=where,
            hint="check `host`, `port` and `tls` (a TLS port is silent to a client that does not speak TLS)",
        ) from error
    except socket.gaierror as error:
        raise ServerUnavailable(f"no such host ({error.strerror})", where=where, hint="check `host`") from error
    except (imaplib.IMAP4.error, IMAPClientError, ValueError) as error:  # ValueError: the greeting is not text
        raise _greeting_error(error, where) from error
    except OSError as error:
        raise ServerUnavailable(f"cannot connect: {error.strerror or error}", where=where) from error
    session.line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
        return ConnectionLost(
            "the connection ended during the TLS handshake", where=where, hint="check `port` and `tls`"
        )
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


def _start_tls(session: Session, server: ServerSettings, where: Where) -> None:
    """RFC 3501 section 6.2.1. PREAUTH and octets sent before the TLS handshake are refused: they may come from an
    attacker in between."""
    if session.line.state != "NONAUTH":
        raise ConnectionRefused("the server logs in before TLS (PREAUTH)", where=where, hint='try tls = "implicit"')
    if "STARTTLS" not in session.line.capabilities:
        raise ConnectionRefused(
            "STARTTLS is not offered", where=where, hint='try tls = "implicit" with port 993; no password was sent'
        )
    session.required(session.flight(b"STARTTLS")[0], ConnectionRefused)
    line = session.line
    if line.unread():
        raise ConnectionRefused("the server sent data before the TLS handshake", where=where)
    try:
        secured = secure(line.sock, _tls_context(server), server.host)
    except ssl.SSLError as error:
        raise _tls_error(error, where) from error
    except OSError as error:
        raise ConnectionLost(f"connection lost during the TLS handshake: {error}", where=where) from error
    line.speak_over(secured)


def _check_fingerprint(session: Session, server: ServerSettings, where: Where) -> None:
    if not server.fingerprint:
        return
    actual = hashlib.sha256(session.line.certificate).hexdigest()
    if actual != server.fingerprint:
        raise ConnectionRefused(
            f"the certificate's fingerprint is {actual}, not the pinned one",
            where=where,
            hint="if the server has a new certificate, put its fingerprint into the account file",
        )


def _log_in(session: Session, answer: Authenticate | Login, offered: Collection[str]) -> frozenset[str]:
    match answer:
        case Authenticate(mechanism, message):
            reply = _authenticate(session, mechanism, message, initial="SASL-IR" in offered)
        case Login(user, password):
            reply = session.command_with_strings(b"LOGIN", [user, password])
    session.required(reply, AuthenticationFailed)
    session.line.state = "AUTH"
    return _capabilities(session, reply)


def _authenticate(session: Session, mechanism: bytes, message: bytes, *, initial: bool) -> Reply:
    """Send the message as the initial response (RFC 4959) where that is offered. Some servers ask for it all the
    same, so it is sent again then. A server that asks for still more gets `*`, which cancels (RFC 3501 section
    6.2.2)."""
    answer = base64.b64encode(message)
    (tag,) = session.send(b"AUTHENTICATE " + mechanism + (b" " + answer if initial else b""))
    return session.collect([tag], answers=[answer, b"*"])[0]


def _capabilities(session: Session, reply: Reply | None) -> frozenset[str]:
    """The server's capabilities now: from its answer to the login if they are there, else from CAPABILITY."""
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
