"""Tokens as a way to log in to a mail server: XOAUTH2, OAUTHBEARER (RFC 7628)."""

from __future__ import annotations

from collections.abc import Sequence

from archiver.config.secrets import Secret
from archiver.config.tables.server import ServerSettings
from archiver.errors import AuthenticationFailed, Where
from archiver.login.mechanisms import OAuthBearer, XOAuth2
from archiver.login.oauth.access import AccessTokens
from archiver.login.oauth.grants import client_of
from archiver.login.oauth.tokens import Token
from archiver.login.port import Offer, Way


class TokenAuthenticator:
    """Logs in with an access token that is valid at that moment. It is renewed before it expires, whenever a
    connection is opened; and at once when the server refuses it."""

    def __init__(self, server: ServerSettings) -> None:
        self._server = server
        self._access = AccessTokens(client_of(server))

    def secret(self, refused: Secret | None = None) -> Secret:
        return Secret(self._access.current(None if refused is None else refused.reveal()).access)

    def ways(self, secret: Secret, offer: Offer, where: Where) -> Sequence[Way]:
        user, token = self._server.user, secret.reveal()
        if "OAUTHBEARER" in offer.mechanisms and self._access.client.settings.provider != "google":
            return [OAuthBearer(user, token, self._server.host, self._server.port)]
        # NOTE: a known provider has nothing else that takes a token, whether it says so now or not.
        if "XOAUTH2" in offer.mechanisms or self._access.client.settings.provider is not None:
            return [XOAuth2(user, token)]
        raise AuthenticationFailed(
            "the server takes no token: it offers neither OAUTHBEARER nor XOAUTH2",
            where=where,
            hint='set auth = "password", or another host',
        )

    def facts(self) -> Token:
        """The token that a connection would use now. Raises as `AccessTokens.current` does."""
        return self._access.current()


def advice(server: ServerSettings) -> str:
    """What to do if the mail server refuses a token that its provider gave."""
    assert server.oauth2 is not None  # the account file was checked
    match server.oauth2.provider, server.oauth2.flow:
        case "microsoft", "client_credentials":
            role = client_of(server).endpoints.role
            return (
                f"the app needs {role} with an administrator's consent, a service principal in Exchange "
                "(New-ServicePrincipal) and access to this mailbox (Add-MailboxPermission), which has to exist"
            )
        case "microsoft", _:
            return "check that the mailbox exists, that IMAP is enabled for it, and that `user` is its address"
        case "google", "service_account":
            return "check that `user` is an address of the domain, with Gmail and IMAP enabled"
        case "google", _:
            return "check that IMAP is enabled for the user, and that `user` is the address that logged in"
    return "check that `user` is the one who logged in, and that the server accepts tokens of this provider"
