"""From a server's settings to a logged-in session.

Nothing is downgraded silently: either the TLS that the settings ask for is in place before a password is sent, or
the connection is refused with the reason.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from archiver.config.secrets import Secret
from archiver.config.settings import ServerSettings
from archiver.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectionLost,
    Where,
)
from archiver.imap.connecting import Imap, open_session
from archiver.imap.replies import CHECK_LOGIN
from archiver.imap.session import Reply, Session
from archiver.login.attempts import log_in, name_of
from archiver.login.exchange import Exchange
from archiver.login.port import Authenticator, Channel, Command, Offer, Way
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
        capabilities = _log_in(session, server, authenticator, secret, offered)
    except BaseException:
        session.hang_up()
        raise
    return session, capabilities


def _log_in(
    session: Session, server: ServerSettings, authenticator: Authenticator, secret: Secret, offered: frozenset[str]
) -> frozenset[str]:
    """Log in by the strongest way that the server accepts. Returns its capabilities from then on."""
    accepted: list[Reply] = []

    def attempt(way: Way) -> None:
        try:
            if isinstance(way, Command):
                reply = session.command_with_strings(b"LOGIN", [way.user, way.password])
                session.required(reply, AuthenticationFailed)
            else:
                reply = _authenticate(session, way, initial="SASL-IR" in offered)
                session.required(reply, AuthenticationFailed)
                way.finish()
        except AuthenticationFailed as error:
            raise _of_login(error, server, way, session.where) from error
        accepted.append(reply)

    ways = authenticator.ways(secret, _offer(session, offered), session.where)
    session.way = _words_for(*log_in(ways, attempt, server.address), server)
    session.line.state = "AUTH"
    return _capabilities(session, accepted[0])


def _words_for(way: Way, in_vain: Sequence[str], server: ServerSettings) -> str:
    """How we logged in, for people."""
    words = name_of(way) or "LOGIN"
    if server.login_user is not None:
        words += f" as {folder_names.printable(server.login_user)}"
    if in_vain:
        instead = "plain" if name_of(way) == "PLAIN" else "login"
        words += f"; {', '.join(in_vain)} is offered, but of no use for this user"
        words += f': login = "{instead}" spares the attempt' if server.login == "auto" else ""
    return words


def _offer(session: Session, offered: frozenset[str]) -> Offer:
    sock = session.line.sock

    def channel() -> Channel | None:
        from archiver.login.channel import channel_of

        return channel_of(sock) if isinstance(sock, ssl.SSLSocket) else None

    return Offer(
        mechanisms=frozenset(each.removeprefix("AUTH=") for each in offered if each.startswith("AUTH=")),
        takes_command="LOGINDISABLED" not in offered,
        encrypted=isinstance(sock, ssl.SSLSocket),
        channel=channel,
    )


def _of_login(error: AuthenticationFailed, server: ServerSettings, way: Way, where: Where) -> AuthenticationFailed:
    """The refusal with what was refused: an account has two servers, and a fleet has many users."""
    whose, hint = f'"{folder_names.printable(server.user)}"', error.hint
    if server.login_user is not None:
        whose = f'"{folder_names.printable(server.login_user)}" for {whose}'
    if hint == CHECK_LOGIN:
        check = "`user` and the password reference"
        if server.login_user is not None:
            check = "`login_user`, the password reference and the right of that user to open other mailboxes,"
        elif server.password is None:
            check = "`user` and `client_cert`"
        hint = f"check {check} in [{server.side}] of the account file"
    complaint = way.complaint if isinstance(way, Exchange) and way.complaint not in error.reason else ""
    return AuthenticationFailed(
        f"the login of {whose} ({server.side}) {'is refused' if error.server_reply else 'failed'}: {error.reason}"
        f"{f' ({folder_names.printable(complaint)})' if complaint else ''}",
        where=error.where or where,
        server_reply=error.server_reply,
        hint=hint,
    )


def _authenticate(session: Session, exchange: Exchange, *, initial: bool) -> Reply:
    """Run a SASL exchange, with its first message in the command (RFC 4959) where that is offered.

    Raises:
        AuthenticationFailed: the server's part of it cannot be answered. The command is cancelled (RFC 3501 section
        6.2.2), and the connection is as before.
    """
    failures: list[AuthenticationFailed] = []

    def answer(text: bytes) -> bytes:
        try:
            return exchange.reply(text)
        except AuthenticationFailed as failure:
            failures.append(failure)
            return b"*"

    command = b"AUTHENTICATE " + exchange.mechanism.encode()
    message = exchange.initial() if initial else None
    (tag,) = session.send(command if message is None else command + b" " + message)
    reply = session.collect([tag], command, answer=answer)[0]
    if failures:
        raise failures[0]
    return reply


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
