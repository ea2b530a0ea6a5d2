"""What an adapter needs to log in to a test server here: settings, a login, a place for large messages."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import BinaryIO, Literal

from archiver.config.references import SecretReference
from archiver.config.secrets import Secret
from archiver.config.tables.server import Protocol, ServerSettings
from archiver.login.password import PasswordAuthenticator
from archiver.login.port import Authenticator
from archiver.mail.content import Spool


def login_at(
    port: int,
    user: str,
    password: str,
    *,
    tls: Literal["off", "starttls"] = "off",
    patience: float = 20.0,
    protocol: Protocol = "imap",
) -> tuple[ServerSettings, Authenticator]:
    """What an adapter needs to log in; `patience` is its read_timeout in seconds."""
    server = ServerSettings(
        protocol=protocol,
        host="127.0.0.1",
        port=port,
        tls=tls,
        user=user,
        password=SecretReference("env", "NOT_LOOKED_UP"),
        connect_timeout=min(patience, 10.0),
        read_timeout=patience,
    )
    return server, PasswordAuthenticator(user, lambda: Secret(password))


def spool_in(directory: Path) -> Spool:
    """Files for messages that are too large for memory."""
    numbers = itertools.count()

    def spool() -> BinaryIO:
        return open(directory / f"spool-{next(numbers)}", "xb")

    return spool
