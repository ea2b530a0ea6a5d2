"""What every protocol does around a login: what the server offers, and what a refusal says to people."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from archiver.config.secrets import Secret
from archiver.config.tables.server import ServerSettings
from archiver.errors import AuthenticationFailed, ConfigError, Where
from archiver.login.attempts import name_of
from archiver.login.exchange import Exchange
from archiver.login.port import Authenticator, Channel, Offer, Way
from archiver.mail import folder_names

T = TypeVar("T")

#: The advice after a refused login whose words give none.
CHECK_LOGIN = "check `user` and the password reference in the account file"


def with_secret(authenticator: Authenticator, log_in: Callable[[Secret], T]) -> T:
    """What `log_in` returns for the secret. It is called once more, for a new connection, if the server refused the
    secret and there is another one by now: a password may be changed, or a token expire, during a run.

    Raises:
        ConfigError: there is no secret where the account file says.
        BackendError: as `log_in` does.
    """
    secret = authenticator.secret()
    try:
        return log_in(secret)
    except AuthenticationFailed as refusal:
        if (changed := _changed(authenticator, secret, refusal)) is None:
            raise
    return log_in(changed)


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


def words_for(way: Way, failed: Sequence[str], server: ServerSettings, command: str) -> str:
    """How we logged in, for people; `command` is the name of the protocol's own way."""
    words = name_of(way) or command
    if server.login_user is not None:
        words += f" as {folder_names.printable(server.login_user)}"
    if failed:
        instead = "plain" if name_of(way) == "PLAIN" else "login"
        words += f"; {', '.join(failed)} is offered, but of no use for this user"
        words += f': login = "{instead}" spares the attempt' if server.login == "auto" else ""
    return words


def offer_of(sock: socket.socket, mechanisms: Iterable[str], *, takes_command: bool) -> Offer:
    """What a server offers on this connection."""

    def channel() -> Channel | None:
        from archiver.login.channel import channel_of

        return channel_of(sock) if isinstance(sock, ssl.SSLSocket) else None

    return Offer(
        mechanisms=frozenset(mechanisms),
        takes_command=takes_command,
        encrypted=isinstance(sock, ssl.SSLSocket),
        channel=channel,
    )


def of_login(error: AuthenticationFailed, server: ServerSettings, way: Way, where: Where) -> AuthenticationFailed:
    """The refusal with what was refused: an account has two servers, and a fleet has many users."""
    whose, hint = f'"{folder_names.printable(server.user)}"', error.hint
    if server.login_user is not None:
        whose = f'"{folder_names.printable(server.login_user)}" for {whose}'
    if hint == CHECK_LOGIN and server.auth == "oauth2":
        from archiver.login.oauth.authenticator import advice

        hint = advice(server)
    elif hint == CHECK_LOGIN:
        check = "`user` and the password reference"
        if server.login_user is not None:
            check = "`login_user`, the password reference and the right of that user to open other mailboxes,"
        elif server.password is None:
            check = "`user` and `client_cert`"
        hint = f"check {check} in [{server.side}] of the account file{_wanted(server)}"
    complaint = way.complaint if isinstance(way, Exchange) and way.complaint not in error.reason else ""
    return AuthenticationFailed(
        f"the login of {whose} ({server.side}) {'is refused' if error.server_reply else 'failed'}: {error.reason}"
        f"{f' ({complaint})' if complaint else ''}",
        where=error.where or where,
        server_reply=error.server_reply,
        hint=hint,
    )


def _wanted(server: ServerSettings) -> str:
    """What a known provider wants instead of a password, as the end of a hint; "" if nothing is known."""
    from archiver.config.providers.table import providers, recognised

    found = recognised(server.host, "", ())
    provider = providers()[server.provider] if server.provider is not None else found and found.provider
    if not provider or "OAuth2" not in provider.login:
        return ""
    return f"; {provider.name} wants {provider.login}: docs/providers.md#tokens-oauth2"
