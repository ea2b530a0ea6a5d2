"""What a server offers before the login, and how one user logs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from msgspec import Struct

from archiver.config.secrets import Secret
from archiver.errors import Where
from archiver.login.exchange import Exchange


class Channel(Struct, frozen=True):
    """What is the same at both ends of a TLS connection, and only there: `kind` is its name in RFC 5929."""

    kind: str
    data: bytes


def no_channel() -> Channel | None:
    """The connection is not encrypted, or nothing of it can be bound to."""
    return None


class Offer(Struct, frozen=True):
    """What a server offers on this connection: SASL mechanisms (upper-case), and whether it takes a user and a
    password in the protocol's own command. `channel` is asked only if a mechanism that needs it is offered."""

    mechanisms: frozenset[str]
    takes_command: bool = True
    encrypted: bool = False
    channel: Callable[[], Channel | None] = no_channel


class Command(Struct, frozen=True):
    """The protocol's own command for a user and a password: LOGIN (RFC 3501), USER and PASS (RFC 1939)."""

    user: bytes
    password: bytes
    untested: ClassVar[bool] = False

    @property
    def user_name(self) -> str:
        """As text."""
        return self.user.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"Command({self.user!r})"


Way = Exchange | Command


class Authenticator(Protocol):
    """How one user logs in. All connections of a run share it, so that a password from a command or a keyring is
    looked up once. Several threads may use it at once."""

    def secret(self, refused: Secret | None = None) -> Secret:
        """The secret of this login, looked up once. With one that the server `refused`, the secret that is there
        now, which may be the same.

        From then on it is removed from all texts: call this for each connection, before the server says its first
        word, which may repeat the secret of an earlier connection.

        Raises:
            ConfigError: there is no secret where the account file says.
        """

    def ways(self, secret: Secret, offer: Offer, where: Where) -> Sequence[Way]:
        """What to try at a server that offers this, strongest first; never empty. It depends on the settings and
        these arguments alone.

        Raises:
            AuthenticationFailed: the server offers no way that we can use or may use; nothing was sent.
        """
