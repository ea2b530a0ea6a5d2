"""SASL mechanisms of one message, and CRAM-MD5."""

from __future__ import annotations

import hmac
import json
from typing import Any

from archiver.login.exchange import Exchange, words_of


class _OneMessage(Exchange):
    """A mechanism whose client sends one message."""

    def __init__(self, message: bytes) -> None:
        super().__init__()
        self._message = message

    def first(self) -> bytes:
        return self._message


class Plain(_OneMessage):
    """PLAIN (RFC 4616): the password of `user`; the mailbox of `authorize`, "" for their own."""

    mechanism = "PLAIN"

    def __init__(self, user: str, password: str, authorize: str = "") -> None:
        super().__init__("\0".join((authorize, user, password)).encode())

    def _asks_again(self, text: bytes) -> bool:
        return True  # whatever it says: there is nothing else that it may want


class External(_OneMessage):
    """EXTERNAL (RFC 4422 appendix A): who we are follows from the client certificate."""

    mechanism = "EXTERNAL"

    def __init__(self, authorize: str = "") -> None:
        super().__init__(authorize.encode())


class CramMd5(Exchange):
    """CRAM-MD5 (RFC 2195). The password is not sent, but somebody who reads along can try passwords against it."""

    mechanism = "CRAM-MD5"

    def __init__(self, user: str, password: str) -> None:
        super().__init__()
        self._user, self._password = user.encode(), password.encode()
        self._answered = False

    def first(self) -> None:
        return None

    def answer(self, challenge: bytes) -> bytes:
        if self._answered:
            return super().answer(challenge)
        self._answered = True
        digest = hmac.new(self._password, challenge, "md5").hexdigest()
        return self._user + b" " + digest.encode()


class _Token(_OneMessage):
    """A mechanism with an access token. The server says in JSON why it refuses one, and then waits for `_received`
    before it says NO."""

    _received: bytes

    def answer(self, challenge: bytes) -> bytes:
        if self.complaint:
            return super().answer(challenge)
        self.complaint = _in_words(challenge)
        return self._received


class XOAuth2(_Token):
    """XOAUTH2, as Google and Microsoft specify it."""

    mechanism = "XOAUTH2"
    _received = b""

    def __init__(self, user: str, token: str) -> None:
        super().__init__(f"user={user}\1auth=Bearer {token}\1\1".encode())


class OAuthBearer(_Token):
    """OAUTHBEARER (RFC 7628)."""

    mechanism = "OAUTHBEARER"
    _received = b"\1"

    def __init__(self, user: str, token: str, host: str, port: int) -> None:
        name = user.replace("=", "=3D").replace(",", "=2C")
        super().__init__(f"n,a={name},\1host={host}\1port={port}\1auth=Bearer {token}\1\1".encode())


def _in_words(challenge: bytes) -> str:
    """Why a token is refused (RFC 7628 section 3.2.2). Google's `status` is a number of HTTP."""
    try:
        said: Any = json.loads(challenge)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return "the token is refused"
    words = ["the token is refused"]
    if isinstance(status := said.get("status"), str | int):
        words.append(f"status {status}")
    if isinstance(scope := said.get("scope"), str) and scope:
        words.append(f"a token for {scope} is needed")
    return words_of(", ".join(words))
