"""The settings and the login of a user at a test server on this machine."""

from __future__ import annotations

from typing import Literal

from archiver.config.references import SecretReference
from archiver.config.secrets import Secret
from archiver.config.settings import Protocol, ServerSettings
from archiver.login.password import PasswordAuthenticator
from archiver.login.port import Authenticator


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
