"""What is known about the token that an account logs in with; never the token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from archiver.config.tables.server import ServerSettings, SourceSettings
from archiver.errors import ArchiverError
from archiver.mail.folder_names import printable

if TYPE_CHECKING:
    from archiver.login.oauth.tokens import Token


class TokenPreview(Struct, frozen=True):
    """Whose token it is, as far as the provider tells, and what it is for. `app` is true if no person logged in;
    `expires` is when it is renewed at the latest. It is kept in `kept`."""

    users: tuple[str, ...]
    scopes: tuple[str, ...]
    expires: str
    kept: str
    app: bool

    @property
    def line(self) -> str:
        """For people."""
        whose = " or ".join(map(printable, self.users)) or "somebody whom the provider does not name"
        what = printable(" ".join(self.scopes)) or "what the provider does not tell"
        return f"of {'an app' if self.app else whose}; for {what}; until {self.expires}, and renewed before"


def preview_token(server: SourceSettings) -> TokenPreview | None:
    """The token that a login with these settings uses; None if there is none. No endpoint is asked."""
    if not isinstance(server, ServerSettings) or server.auth != "oauth2":
        return None
    from archiver.login.oauth.access import AccessTokens
    from archiver.login.oauth.grants import client_of
    from archiver.login.oauth.logging_in import lives_until

    access = AccessTokens(client_of(server))
    try:
        token: Token | None = access.kept()
    except ArchiverError:
        return None  # the login has reported it
    if token is None or not token.access:
        return None
    app = access.client.is_app
    scopes = token.scopes or token.roles or ()
    return TokenPreview(token.users, scopes, lives_until(token), access.keeper.name, app)
