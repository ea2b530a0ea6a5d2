"""A new token without a person: by a refresh token, by an app's secret, or by the key of a service account.

What sends a request is imported when one is sent, which most runs do not need.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from archiver.config.secrecy import keep_secret
from archiver.config.secrets import Secret, resolve
from archiver.config.tables.oauth2 import OF_A_PERSON, OAuth2Settings
from archiver.config.tables.server import ServerSettings
from archiver.errors import AuthenticationFailed, BackendError, ConfigError, ConnectionRefused, Where
from archiver.login.oauth import tokens
from archiver.login.oauth.keeping import register
from archiver.login.oauth.provider import Endpoints, endpoints_of, host_of
from archiver.login.oauth.tokens import Token
from archiver.mail.folder_names import printable

if TYPE_CHECKING:
    from archiver.login.oauth.endpoint import Answer

log = logging.getLogger(__name__)

_ASSERTION_SECONDS = 3600  # the longest that Google accepts
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523


class Client(Struct, frozen=True):
    """The app that asks for tokens of one user, as an account file describes it. `side` is its table there, and
    `user` who logs in to the mail server."""

    settings: OAuth2Settings
    endpoints: Endpoints
    user: str
    side: str

    @property
    def where(self) -> Where:
        return Where(server=self.endpoints.name)

    @property
    def what(self) -> str:
        """What the endpoint gives or refuses."""
        return f'the token of "{printable(self.user)}" ({self.side})'

    @property
    def app(self) -> str:
        """Who may use a kept token: a person's, the app that it was given to; an app's, the same app at the same
        endpoint. That of a service account is a user's own."""
        client_id = self.settings.client_id or ""
        if not self.is_app:
            return client_id
        subject = self.user if self.settings.flow == "service_account" else ""
        return " ".join((client_id, self.endpoints.token_url, *self.endpoints.mail, subject)).strip()

    @property
    def is_app(self) -> bool:
        """Whether no person has to log in."""
        return self.settings.flow not in OF_A_PERSON

    def ask(self, url: str, form: Mapping[str, str]) -> Answer:
        """Send a form with the client's ID and secret; the answer may be a refusal."""
        from archiver.login.oauth.endpoint import ask

        settings, secret = self.settings, self._secret()
        sent = dict(form)
        if settings.client_id is not None:
            sent["client_id"] = settings.client_id
        if secret is None or settings.client_id is None:
            return ask(url, sent, Where(server=host_of(url)))
        # NOTE: every provider has to take the secret as a password (RFC 6749 section 2.3.1), but Microsoft and
        # Google describe only the form.
        if settings.provider is not None:
            return ask(url, sent | {"client_secret": secret.reveal()}, Where(server=host_of(url)))
        return ask(url, sent, Where(server=host_of(url)), (settings.client_id, secret.reveal()))

    def _secret(self) -> Secret | None:
        reference = self.settings.client_secret
        if reference is None:
            return None
        return resolve(
            reference.kind, reference.value, user=self.settings.client_id or self.user, what="client_secret"
        )

    def require_secrets(self) -> None:
        """Check that what the account file refers to is there; nothing is sent.

        Raises:
            ConfigError: it is not.
        """
        self._secret()
        if self.settings.service_account is not None:
            _key(self.settings.service_account.path)

    def token(self, form: Mapping[str, str], before: Token | None = None) -> Token:
        """Ask the token endpoint. From then on no text shows the token.

        Raises:
            AuthenticationFailed: the endpoint refuses; its code is in words.
            ServerUnavailable, Throttled: another attempt may succeed.
            ConfigError, ConnectionRefused: nothing was given.
        """
        now = time.time()
        answer = self.ask(self.endpoints.token_url, form)
        if answer.error is not None:
            raise self.refusal(answer)
        return self.given(answer, now, before)

    def given(self, answer: Answer, now: float, before: Token | None = None) -> Token:
        """The token of an answer."""
        token = tokens.answered(answer.fields, now, before)
        if token is None:
            raise ConnectionRefused(
                "the token endpoint answers without a token",
                where=self.where,
                hint="check token_url in the table oauth2 of the account file",
            )
        register(token)
        return replace(token, app=self.app)

    def refusal(self, answer: Answer) -> BackendError:
        """The error for a refusal."""
        from archiver.login.oauth.refusals import refused

        return refused(answer, self.what, self.settings.provider, self.where)


def client_of(server: ServerSettings) -> Client:
    """The client that an account file describes for this server."""
    assert server.oauth2 is not None  # the account file was checked
    endpoints = endpoints_of(server.oauth2, server.protocol)
    return Client(server.oauth2, endpoints, server.login_user or server.user, server.side)


def renewed(client: Client, before: Token | None) -> Token:
    """A new token; `before` is the one that is kept. Raises as `Client.token` does."""
    match client.settings.flow:
        case "client_credentials":
            return client.token({"grant_type": "client_credentials", **_scope(client.endpoints.mail)})
        case "service_account":
            return client.token({"grant_type": _JWT_BEARER, "assertion": _assertion(client)})
    if before is None or before.refresh is None:
        raise missing(client)
    form = {"grant_type": "refresh_token", "refresh_token": before.refresh}
    if client.settings.provider == "microsoft":  # it has no default for a token that several services take
        form["scope"] = client.endpoints.scope
    return client.token(form, before)


def missing(client: Client) -> AuthenticationFailed:
    """There is no token yet."""
    place = client.settings.token
    kept = f" in {place.value}" if place is not None and place.kind == "file" else ""
    hint = "log in first: `archiver login`"
    if client.settings.flow == "refresh_token":
        hint = "put a refresh token there, and nothing else, into a file that only you can read"
    return AuthenticationFailed(f"{client.what} is missing{kept}", hint=hint)


def _scope(scopes: tuple[str, ...]) -> dict[str, str]:
    return {"scope": " ".join(scopes)} if scopes else {}


def _assertion(client: Client) -> str:
    """What the service account says with its signature: it wants mail of this user (RFC 7523 section 3)."""
    assert client.settings.service_account is not None  # the account file was checked
    path = client.settings.service_account.path
    try:
        from google.auth import jwt
        from google.auth.crypt import RSASigner
    except ImportError:
        problem = "the google-auth library is not installed"
        hint = "pip install 'mail-archiver[oauth]'"
        raise ConfigError("service_account", [problem], hint=hint) from None
    key = _key(path)
    try:
        signer = RSASigner.from_service_account_info(key)
    except (ValueError, TypeError, KeyError):
        signer = None
    if signer is None:
        raise _no_key(path)
    now = int(time.time())
    claims = {"iss": key["client_email"], "sub": client.user, "aud": client.endpoints.token_url, "iat": now}
    claims |= {"exp": now + _ASSERTION_SECONDS, **_scope(client.endpoints.mail)}
    assertion: bytes = jwt.encode(signer, claims)
    keep_secret(assertion)
    return assertion.decode()


def _key(path: Path) -> dict[str, Any]:
    problem = ""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                log.warning("service_account: other users can read %s; `chmod 600` keeps it private", path)
            key = json.loads(file.read(1 << 16))
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        key = None
    if problem:
        raise ConfigError("service_account", [problem], hint="name an existing file that this user can read")
    named = ("client_email", "private_key", "private_key_id")
    if not isinstance(key, dict) or not all(isinstance(key.get(name), str) for name in named):
        raise _no_key(path)
    keep_secret(key["private_key"])
    return key


def _no_key(path: Path) -> ConfigError:
    hint = "download a JSON key of the service account from the Google Cloud console"
    return ConfigError("service_account", [f"{path} is not the key of a service account"], hint=hint)
