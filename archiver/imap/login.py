"""From a server's settings to a logged-in session.

Nothing is downgraded silently: either the TLS that the settings ask for is in place before a password is sent, or
the connection is refused with the reason.
"""

from __future__ import annotations

import base64
from collections.abc import Collection

from archiver.config.secrets import Secret
from archiver.config.settings import ServerSettings
from archiver.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionLost,
    Where,
)
from archiver.imap.auth import Authenticate, Authenticator, Login
from archiver.imap.connecting import Imap, open_session
from archiver.imap.replies import CHECK_LOGIN
from archiver.imap.session import Reply, Session
from archiver.mail import folder_names


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
    session = open_session(server, where, Imap())
    try:
        if session.line.state == "AUTH":  # PREAUTH, over TLS or with tls = "off"
            return session, _capabilities(session, None)
        offered = frozenset(session.line.capabilities)
        if server.tls == "starttls":  # what was offered before TLS does not count (RFC 3501 section 6.2.1)
            offered = _capabilities(session, None)
        capabilities = _log_in(session, server, authenticator.answer(secret, offered, where), offered)
    except BaseException:
        session.hang_up()
        raise
    return session, capabilities


def _log_in(
    session: Session, server: ServerSettings, answer: Authenticate | Login, offered: Collection[str]
) -> frozenset[str]:
    match answer:
        case Authenticate(mechanism, message):
            reply = _authenticate(session, mechanism, message, initial="SASL-IR" in offered)
        case Login(user, password):
            reply = session.command_with_strings(b"LOGIN", [user, password])
    try:
        session.required(reply, AuthenticationFailed)
    except AuthenticationFailed as error:
        raise _of_login(error, server) from error
    session.line.state = "AUTH"
    return _capabilities(session, reply)


def _of_login(error: AuthenticationFailed, server: ServerSettings) -> AuthenticationFailed:
    """The refusal with what was refused: an account has two servers, and a fleet has many users."""
    hint = error.hint
    if hint == CHECK_LOGIN:
        hint = f"check `user` and the password reference in [{server.side}] of the account file"
    return AuthenticationFailed(
        f'the login of "{folder_names.printable(server.user)}" ({server.side}) is refused: {error.reason}',
        where=error.where,
        server_reply=error.server_reply,
        hint=hint,
    )


def _authenticate(session: Session, mechanism: bytes, message: bytes, *, initial: bool) -> Reply:
    """Send the message as the initial response (RFC 4959) where that is offered. Some servers ask for it all the
    same, so it is sent again then. A server that asks for still more gets `*`, which cancels (RFC 3501 section
    6.2.2)."""
    answer = base64.b64encode(message)
    command = b"AUTHENTICATE " + mechanism
    (tag,) = session.send(command + (b" " + answer if initial else b""))
    return session.collect([tag], command, answers=[answer, b"*"])[0]


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
