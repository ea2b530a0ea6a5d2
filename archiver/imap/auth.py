"""Ways to log in: from what a server offers to what we answer.

An authenticator knows whose login it is and where its secret is found. It belongs to one user at one server, and
all connections of a run share it, so that a password from a command or a keyring is looked up once. Another way to
log in (OAUTHBEARER, for instance) is another `Authenticator` and a line in `authenticator_of`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Literal, Protocol

from msgspec import Struct

from archiver.config.secrecy import keep_secret
from archiver.config.secrets import Secret, resolve
from archiver.config.settings import ServerSettings
from archiver.errors import AuthenticationFailed, Where


class Authenticate(Struct, frozen=True):
    """AUTHENTICATE with a SASL mechanism (RFC 4422) whose client sends one message, given here before base64."""

    mechanism: bytes
    message: bytes

    def __repr__(self) -> str:
        return f"Authenticate({self.mechanism!r})"  # the message is a secret


class Login(Struct, frozen=True):
    """The command LOGIN (RFC 3501 section 6.2.3)."""

    user: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Login({self.user!r})"


class Authenticator(Protocol):
    """How one user logs in. Several threads may use it at once."""

    def secret(self, refused: Secret | None = None) -> Secret:
        """The secret of this login, looked up once. With one that the server `refused`, the secret that is there
        now, which may be the same.

        From then on it is removed from all texts: call this for each connection, before the server says its first
        word, which may repeat the secret of an earlier connection.

        Raises:
            ConfigError: there is no secret where the account file says.
        """

    def answer(self, secret: Secret, offered: Collection[str], where: Where) -> Authenticate | Login:
        """What to send to a server that offers these capabilities (upper-case).

        Raises:
            AuthenticationFailed: the server offers no way that we can use; nothing was sent.
        """


class PasswordAuthenticator:
    """AUTHENTICATE PLAIN (RFC 4616) where it is offered, else LOGIN; `login` forces one of them."""

    def __init__(
        self, user: str, look_up: Callable[[], Secret], login: Literal["auto", "login", "plain"] = "auto"
    ) -> None:
        self._user = user
        self._look_up = look_up
        self._login = login
        self._secret: Secret | None = None
        self._looking_up = threading.Lock()

    def secret(self, refused: Secret | None = None) -> Secret:
        with self._looking_up:
            # After a refusal another connection may have looked it up again already.
            if self._secret is None or self._secret is refused:
                self._secret = self._look_up()
            secret = self._secret
        keep_secret(secret.reveal(), self._user)
        return secret

    def answer(self, secret: Secret, offered: Collection[str], where: Where) -> Authenticate | Login:
        user, password = self._user.encode(), secret.reveal().encode()
        if self._login == "plain" or (self._login == "auto" and "AUTH=PLAIN" in offered):
            return Authenticate(b"PLAIN", b"\0%b\0%b" % (user, password))
        if "LOGINDISABLED" in offered:
            raise AuthenticationFailed(
                "the server does not accept passwords on this connection (LOGINDISABLED)",
                where=where,
                hint='set tls = "implicit" or "starttls"',
            )
        return Login(user, password)


def authenticator_of(server: ServerSettings) -> Authenticator:
    """The way to log in that an account file chooses. Nothing is looked up yet."""
    reference = server.password
    look_up = partial(resolve, reference.kind, reference.value, user=server.user)
    return PasswordAuthenticator(server.user, look_up, server.login)
