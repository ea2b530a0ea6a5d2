"""Whose token it is, whether that is the right person, and whether it gives access to mail."""

from __future__ import annotations

from archiver.errors import AuthenticationFailed
from archiver.login.oauth.grants import Client
from archiver.login.oauth.tokens import Token
from archiver.mail.folder_names import printable


def shown(users: tuple[str, ...]) -> str:
    """The names of a person, as far as the provider tells them."""
    return " or ".join(printable(each) for each in users) or "somebody whom the provider does not name"


def require_right_person(client: Client, token: Token) -> None:
    """Check that a person's token is that of the user, and was given to this app. One that names nobody passes: the
    mail server decides.

    Raises:
        AuthenticationFailed: it is somebody else's.
    """
    if not client.is_app and token.app not in ("", client.app):
        raise AuthenticationFailed(
            f"{client.what} was given to another app, not to this client_id", hint="log in again: `archiver login`"
        )
    if client.is_app or not token.users or any(_is_same(client.user, each) for each in token.users):
        return
    raise AuthenticationFailed(
        f'{client.what} is that of {shown(token.users)}, not of "{printable(client.user)}"',
        hint=f"log in as {printable(client.user)}: `archiver login`; or write the name that the provider uses",
    )


def _is_same(user: str, name: str) -> bool:
    """Whether both name one person; one without a domain is of any domain."""
    one, other = user.casefold(), name.casefold()
    if "@" in one and "@" in other:
        return one == other
    return one.partition("@")[0] == other.partition("@")[0]


def require_permission(client: Client, token: Token) -> None:
    """Check that the token gives access to mail, as far as it says so.

    Raises:
        AuthenticationFailed: the permission that is missing, and who can give it.
    """
    role = client.endpoints.role
    if client.is_app and role is not None:
        if token.roles is not None and role not in token.roles:
            raise AuthenticationFailed(
                f"{client.what} has no permission {role}",
                where=client.where,
                hint=f"add the application permission {role} (Office 365 Exchange Online) to the app, and let an "
                "administrator of the tenant consent: Entra admin center, the app, API permissions, Grant admin "
                "consent",
            )
        return
    if client.is_app or client.settings.provider is None or not token.scopes:
        return
    granted = {each.casefold().rsplit("/", 1)[-1] or each.casefold() for each in token.scopes}
    for scope in client.endpoints.mail:
        wanted = scope.casefold()
        if (wanted.rsplit("/", 1)[-1] or wanted) not in granted:
            raise AuthenticationFailed(
                f"{client.what} does not give access to mail: {scope} was not allowed",
                where=client.where,
                hint="log in again and allow it: `archiver login`; some providers show a box to tick for it",
            )
