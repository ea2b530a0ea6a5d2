"""From a server's settings to a logged-in session.

Nothing is downgraded silently: either the TLS that the settings ask for is in place before a password is sent, or
the connection is refused with the reason.
"""

from __future__ import annotations

from archiver.config.secrets import Secret
from archiver.config.tables.server import ServerSettings
from archiver.errors import AuthenticationFailed, ConnectionRefused, Where
from archiver.imap.capabilities import capabilities_of
from archiver.imap.connecting import Imap, open_session
from archiver.imap.replies import Reply
from archiver.imap.session import Session
from archiver.login.around import of_login, offer_of, with_secret, words_for
from archiver.login.attempts import log_in
from archiver.login.exchange import Exchange
from archiver.login.port import Authenticator, Command, Way


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
    return with_secret(authenticator, lambda secret: _connect(server, authenticator, secret))


def _connect(
    server: ServerSettings, authenticator: Authenticator, secret: Secret
) -> tuple[Session, frozenset[str]]:
    where = Where(server=server.address)
    session = open_session(server, where, Imap())
    try:
        if session.line.state == "AUTH":  # PREAUTH, over TLS or with tls = "off"
            return session, _speaking(session, capabilities_of(session))
        # What was offered before TLS does not count (RFC 3501 section 6.2.1).
        offered = frozenset(session.line.capabilities) if server.tls != "starttls" else frozenset()
        offered = offered or capabilities_of(session)
        capabilities = _log_in(session, server, authenticator, secret, offered)
        return session, _speaking(session, capabilities)
    except BaseException:
        session.hang_up()
        raise


#: What IMAP4rev2 has without saying so (RFC 9051 appendix E), as far as we use it.
_OF_REV2 = frozenset(
    {
        *("ENABLE", "ESEARCH", "LIST-EXTENDED", "LIST-STATUS", "LITERAL-", "NAMESPACE", "STATUS=SIZE"),
        *("UIDPLUS", "UNSELECT"),
    }
)


def _speaking(session: Session, capabilities: frozenset[str]) -> frozenset[str]:
    """Agree on how names are spelled; returns the capabilities, with those that go without saying.

    NOTE: UTF-8 is enabled only where nothing works without it (UTF8=ONLY). Where it is a choice, names stay in
    modified UTF-7, by which archives know them, and messages with 8-bit headers need no other form of APPEND.

    Raises:
        ConnectionRefused: the server demands UTF-8 and refuses to speak it.
    """
    if "UTF8=ONLY" in capabilities:
        session.required(session.flight(b"ENABLE UTF8=ACCEPT")[0], ConnectionRefused)
        session.speaks_utf8 = session.enabled_utf8 = True
    elif "IMAP4REV2" in capabilities and "IMAP4REV1" not in capabilities:
        session.speaks_utf8 = True
        return capabilities | _OF_REV2
    return capabilities


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
            raise of_login(error, server, way, session.where) from error
        accepted.append(reply)

    mechanisms = (each.removeprefix("AUTH=") for each in offered if each.startswith("AUTH="))
    offer = offer_of(session.line.sock, mechanisms, takes_command="LOGINDISABLED" not in offered)
    ways = authenticator.ways(secret, offer, session.where)
    session.way = words_for(*log_in(ways, attempt, server.address), server, "LOGIN")
    session.line.state = "AUTH"
    return capabilities_of(session, accepted[0])


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
