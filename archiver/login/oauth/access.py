"""A valid token whenever a connection needs one.

A token is renewed before it expires. If the endpoint cannot be asked just then, the old one is used as long as it
lives. One that a server refused is renewed at once, and only once: the next refusal of the same connection counts.
"""

from __future__ import annotations

import threading
import time

from archiver.errors import TemporaryError
from archiver.login.oauth.grants import Client, missing, renewed
from archiver.login.oauth.keeping import Keeper, Pause, keeper_of
from archiver.login.oauth.persons import require_right_person
from archiver.login.oauth.tokens import Token


class AccessTokens:
    """The tokens of one user of one app. Several threads may use it at once."""

    def __init__(self, client: Client, keeper: Keeper | None = None, pause: Pause = time.sleep) -> None:
        self.client = client
        self.keeper = keeper or keeper_of(client.settings.token, client.user, client.app)
        self._pause = pause
        self._token: Token | None = None
        self._one_at_a_time = threading.Lock()

    def current(self, refused: str | None = None) -> Token:
        """A token for the next connection; another one than the access token that a server has `refused`.

        Raises:
            AuthenticationFailed: nobody has logged in yet, or the endpoint refuses.
            ConfigError: what the account file names cannot be read, or is somebody else's.
            ArchiveNotWritable: a new token could not be kept; the endpoint was not asked.
            ServerUnavailable, Throttled, ConnectionRefused: the endpoint cannot be asked.
        """
        with self._one_at_a_time:
            token = self._token
            if token is None or not _serves(token, refused):
                token = self._token = self._kept_or_new(refused)
            return token

    def _kept_or_new(self, refused: str | None) -> Token:
        kept = self.kept()
        if kept is not None and _serves(kept, refused):
            return kept
        if not self.client.is_app and (kept is None or kept.refresh is None):
            raise missing(self.client)
        with self.keeper.changing(self._pause) as keep:
            kept = self.kept()  # another process may have renewed it meanwhile
            if kept is not None and _serves(kept, refused):
                return kept
            try:
                token = renewed(self.client, kept)
            except TemporaryError:
                if kept is None or kept.access == refused or not kept.is_valid(time.time()):
                    raise
                return kept
            keep(token)
        require_right_person(self.client, token)
        return token

    def kept(self) -> Token | None:
        """The token that is kept, valid or not; None if there is none for this app. The endpoint is not asked.

        Raises:
            AuthenticationFailed, ConfigError: as `current`.
        """
        token = self.keeper.read()
        if token is None or (self.client.is_app and token.app != self.client.app):
            return None  # an app that shares a file with another one gets a token of its own
        require_right_person(self.client, token)
        return token


def _serves(token: Token, refused: str | None) -> bool:
    return token.is_fresh(time.time()) and token.access != refused
