"""From a server's settings to a logged-in session: STLS, then AUTH (RFC 5034), or USER and PASS."""

from __future__ import annotations

import ssl
from typing import ClassVar

from archiver.config.secrets import Secret
from archiver.config.tables.server import ServerSettings
from archiver.errors import AuthenticationFailed, ConnectionRefused, Where
from archiver.imap.connecting import open_session
from archiver.login.around import of_login, offer_of, with_secret, words_for
from archiver.login.attempts import log_in
from archiver.login.exchange import Exchange
from archiver.login.port import Authenticator, Command, Way
from archiver.source.pop3.replies import is_ok
from archiver.source.pop3.session import Session

_MOST_ROUNDS = 10
_INITIAL_LINE = 255  # octets of an AUTH command with its first message (RFC 5034 section 4)


class Pop3:
    """How a session begins (RFC 1939, RFC 2595)."""

    name: ClassVar[str] = "POP3"

    def greet(self, server: ServerSettings, where: Where, tls: ssl.SSLContext | None, seconds: float) -> Session:
        return Session(server, where, tls, seconds)

    def begin_tls(self, session: Session) -> None:
        """NOTE: some servers know STLS and not CAPA, so that it is asked for whatever they say."""
        session.require(b"STLS", ConnectionRefused)


def connect(server: ServerSettings, authenticator: Authenticator) -> Session:
    """Connect, secure, log in, and ask for the capabilities. A refused login is tried once more if the secret has
    changed since it was looked up.

    Raises:
        ConfigError: there is no secret where the account file says.
        ConnectionRefused: TLS or the certificate is not as configured, or this is not a POP3 server.
        AuthenticationFailed: the server refused the login; trying again may lock the user out.
        ServerUnavailable, ConnectionLost, Throttled: another attempt may succeed.
    """
    return with_secret(authenticator, lambda secret: _connect(server, authenticator, secret))


def _connect(server: ServerSettings, authenticator: Authenticator, secret: Secret) -> Session:
    session = open_session(server, Where(server=server.address), Pop3())
    try:
        session.ask_capabilities()  # after TLS: what was offered before does not count (RFC 2595 section 4)
        before = session.capabilities
        _log_in(session, server, authenticator, secret)
        session.ask_capabilities()
        # NOTE: some servers answer CAPA only before the login.
        session.capabilities = session.capabilities or before
    except BaseException:
        session.hang_up()
        raise
    return session


def _log_in(session: Session, server: ServerSettings, authenticator: Authenticator, secret: Secret) -> None:
    def attempt(way: Way) -> None:
        try:
            if isinstance(way, Command):
                _user_and_pass(session, way)
            else:
                _exchange(session, way)
                way.finish()
        except AuthenticationFailed as error:
            raise of_login(error, server, way, session.where) from error

    mechanisms = (session.parameter("SASL") or "").split()
    # NOTE: USER need not be listed: servers without CAPA have it, too.
    takes_command = session.parameter("USER") is not None or not mechanisms
    offer = offer_of(session.line.sock, mechanisms, takes_command=takes_command)
    ways = authenticator.ways(secret, offer, session.where)
    session.way = words_for(*log_in(ways, attempt, server.address), server, "USER and PASS")


def _user_and_pass(session: Session, way: Command) -> None:
    if any(octet in way.user + way.password for octet in b"\r\n\0"):
        raise AuthenticationFailed("POP3 has no way to send a password with a line end in it", where=session.where)
    session.require(b"USER " + way.user, AuthenticationFailed)
    session.require(b"PASS " + way.password, AuthenticationFailed)


def _exchange(session: Session, exchange: Exchange) -> None:
    """Run a SASL exchange. The first message goes with the command if the line is not too long.

    Raises:
        AuthenticationFailed: the server refused it, or its part cannot be answered; then the exchange is cancelled.
    """
    command = b"AUTH " + exchange.mechanism.encode()
    message = exchange.initial()
    if message is not None and len(command) + len(message) + 3 <= _INITIAL_LINE:
        command, message = command + b" " + message, None
    session.send(command)
    failure: AuthenticationFailed | None = None
    line = session.continuation()
    for _ in range(_MOST_ROUNDS):
        if is_ok(line) or line.startswith(b"-"):
            break
        if message is not None:
            answer, message = message, None
        else:
            try:
                answer = exchange.reply(line[1:])
            except AuthenticationFailed as error:
                answer, failure = b"*", failure or error
        session.answer(answer)
        line = session.continuation()
    if failure is not None:
        raise failure
    session.required(line, AuthenticationFailed)
