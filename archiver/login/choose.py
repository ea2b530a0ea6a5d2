"""From the settings of a server to the way to log in that they choose."""

from __future__ import annotations

from functools import partial

from archiver.config.secrets import resolve
from archiver.config.tables.server import ServerSettings
from archiver.login.port import Authenticator


def authenticator_of(server: ServerSettings) -> Authenticator:
    """The way to log in that an account file chooses. Nothing is looked up yet."""
    if server.auth == "oauth2":
        from archiver.login.oauth.authenticator import TokenAuthenticator

        return TokenAuthenticator(server)
    reference = server.password
    if reference is None:
        from archiver.login.certificate import CertificateAuthenticator

        return CertificateAuthenticator(server.user)
    from archiver.login.password import PasswordAuthenticator

    whose = server.login_user or server.user
    look_up = partial(resolve, reference.kind, reference.value, user=whose)
    return PasswordAuthenticator(server.user, look_up, server.login, server.login_user, server.login_separator)
