"""`archiver login`: a person logs in, or an app shows that it can, and the token is kept."""

from __future__ import annotations

import time

from archiver.errors import AuthenticationFailed
from archiver.login.oauth import browser, device
from archiver.login.oauth.access import AccessTokens
from archiver.login.oauth.device import Show
from archiver.login.oauth.grants import Client, renewed
from archiver.login.oauth.keeping import Pause
from archiver.login.oauth.persons import require_permission, require_right_person
from archiver.login.oauth.tokens import Token


def is_of_a_person(client: Client) -> bool:
    """Whether `archiver login` can ask somebody."""
    return client.settings.flow in ("device", "browser")


def needs_person(access: AccessTokens) -> bool:
    """Whether somebody has to log in, as far as it shows without asking the endpoint.

    Raises:
        ConfigError: what is kept cannot be read, or others can read it.
    """
    if not is_of_a_person(access.client):
        return False
    token = access.keeper.read()
    if token is None or token.refresh is None:
        return True
    try:
        require_right_person(access.client, token)
    except AuthenticationFailed:
        return True
    return False


def log_in(access: AccessTokens, show: Show, pause: Pause, *, again: bool = False) -> Token:
    """A token that works and is kept. Somebody is asked to log in, by `show`, only if the kept token does not work
    any more, or `again`.

    Raises:
        AuthenticationFailed: the person did not allow it, is not the right one, or may not read mail; or the app
            may not. A token that is kept stays.
        ConfigError, ArchiveNotWritable, ServerUnavailable, Throttled, ConnectionRefused: as `AccessTokens.current`.
    """
    client, token = access.client, None
    is_asking = is_of_a_person(client)
    if not is_asking or not (again or needs_person(access)):
        try:
            token = _renewed(access, pause)
        except AuthenticationFailed:
            if not is_asking:
                raise
    if token is None:
        with access.keeper.changing(pause):
            pass  # it can be kept, so that nobody logs in for nothing
        token = _asked(client, show, pause)
        _require_good(client, token)
        if token.refresh is None:
            raise AuthenticationFailed(
                f"{client.what} cannot be renewed: the endpoint gave no refresh token",
                where=client.where,
                hint='add to scopes what your provider wants for one, mostly "offline_access"',
            )
        with access.keeper.changing(pause) as keep:
            keep(token)
    return token


def _renewed(access: AccessTokens, pause: Pause) -> Token:
    """A new token without a person, which shows whether the kept one works."""
    with access.keeper.changing(pause) as keep:
        token = renewed(access.client, access.kept())
        keep(token)
    _require_good(access.client, token)
    return token


def _asked(client: Client, show: Show, pause: Pause) -> Token:
    flow = device.log_in if client.settings.flow == "device" else browser.log_in
    return flow(client, show, pause)


def _require_good(client: Client, token: Token) -> None:
    require_right_person(client, token)
    require_permission(client, token)


def lives_until(token: Token) -> str:
    """When the access token expires, in UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(token.expires))
