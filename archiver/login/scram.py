"""SCRAM (RFC 5802, RFC 7677): each side proves that it knows the password, and neither sends it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable

from archiver.errors import AuthenticationFailed
from archiver.login.exchange import Exchange, words_of
from archiver.login.port import Channel
from archiver.login.saslprep import saslprep

#: RFC 7677 section 4. A server that asks for less may be one in between that wants to try passwords.
_LEAST_ITERATIONS = 4096
_MOST_ITERATIONS = 5_000_000  # some seconds of work, which a server could ask of us at every login

_FIRST = re.compile(r"r=([^,]+),s=([^,]+),i=(\d{1,9})(?:,.*)?", re.DOTALL)
_REFUSED = re.compile(r"e=([^,]*)")
_PROOF = re.compile(r"v=([^,]+)(?:,.*)?", re.DOTALL)


def new_nonce() -> str:
    """Octets that nobody foresees, as text without commas."""
    return secrets.token_urlsafe(24)


class Scram(Exchange):
    """One login. `hash_name` is "sha256" or "sha1". With a `channel` it is bound to the TLS connection (-PLUS).
    `binds` tells the server that we could have done that and were not offered it, so that it notices if somebody in
    between removed the offer."""

    untested = True

    def __init__(
        self,
        hash_name: str,
        user: str,
        password: str,
        authorize: str = "",
        *,
        channel: Channel | None = None,
        binds: bool = False,
        nonce: Callable[[], str] = new_nonce,
    ) -> None:
        super().__init__()
        name = {"sha256": "SCRAM-SHA-256", "sha1": "SCRAM-SHA-1"}[hash_name]
        self.mechanism = name if channel is None else f"{name}-PLUS"
        self.user_name = user
        self._hash = hash_name
        self._password = saslprep(password, "the password").encode()
        flag = f"p={channel.kind}" if channel else "y" if binds else "n"
        self._header = f"{flag},{f'a={_name(authorize)}' if authorize else ''},".encode()
        self._bound = channel.data if channel else b""
        self._nonce = nonce()
        self._bare = f"n={_name(saslprep(user, 'the user'))},r={self._nonce}".encode()
        self._expected: bytes | None = None
        self._proved = False

    def first(self) -> bytes:
        return self._header + self._bare

    def answer(self, challenge: bytes) -> bytes:
        text = challenge.decode("utf-8", "replace")
        if refused := _REFUSED.match(text):
            self.complaint = words_of(refused[1])
            raise AuthenticationFailed(f"the server says: {self.complaint}", server_reply=self.complaint or "e=")
        if self._expected is None:
            return self._prove(challenge, text)
        self._check(text)
        return b""

    def finish(self) -> None:
        if not self._proved:
            raise AuthenticationFailed(
                "the server accepts the login without proving that it knows the password",
                hint='it may not be your server; if you are sure that it is, set login = "plain"',
            )

    def _prove(self, challenge: bytes, text: str) -> bytes:
        found = _FIRST.fullmatch(text)
        if found is None:
            raise AuthenticationFailed("the server's answer is not one of SCRAM")
        nonce, iterations = found[1], int(found[3])
        if not (nonce.startswith(self._nonce) and len(nonce) > len(self._nonce)):
            raise AuthenticationFailed("the server's answer is not one to our login: another nonce")
        if not _LEAST_ITERATIONS <= iterations <= _MOST_ITERATIONS:
            raise AuthenticationFailed(
                f"the server wants the password hashed {iterations} times, which is not between "
                f"{_LEAST_ITERATIONS} and {_MOST_ITERATIONS}",
                hint='ask its admin to raise or lower that, or set login = "plain"',
            )
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, _octets(found[2]), iterations)
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self._hash, client_key).digest()
        final = b"c=" + base64.b64encode(self._header + self._bound) + b",r=" + nonce.encode()
        message = b",".join((self._bare, challenge, final))
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._expected = self._hmac(self._hmac(salted, b"Server Key"), message)
        self.untested = False
        return final + b",p=" + base64.b64encode(proof)

    def _check(self, text: str) -> None:
        found = _PROOF.fullmatch(text)
        if found is None or self._proved or not hmac.compare_digest(_octets(found[1]), self._expected or b""):
            raise AuthenticationFailed(
                "the server does not prove that it knows the password",
                hint="it may not be your server: check `host` and its certificate before you log in again",
            )
        self._proved = True

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self._hash)


def _name(text: str) -> str:
    return text.replace("=", "=3D").replace(",", "=2C")


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise AuthenticationFailed("the server's answer is not one of SCRAM: not base64")
