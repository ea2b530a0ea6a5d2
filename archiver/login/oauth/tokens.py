"""A token: what an endpoint answered (RFC 6749 section 5.1), and how it is kept.

Pure. Times are seconds since 1970 by this machine's clock. An endpoint says how long a token lives, not until when,
so a clock that is wrong does no harm as long as it does not jump; a token from the future shows that it did.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from msgspec import Struct

FORMAT = "archiver-token/1"

_LIFE = 3600.0  # if the endpoint does not say (RFC 6749 section 5.1 only recommends that it does)
_LONGEST_LIFE = 10 * 365 * 86_400.0
_EARLY = 300.0  # a token is renewed so long before it expires, or when a fifth of its life is left
_JUMP = 60.0
_LARGEST = 64 * 1024  # octets; the largest tokens are a few KiB

#: How an ID token, or an access token that can be read, names a person (OpenID Connect Core section 5.1, and
#: Microsoft's and Google's own).
_NAMES = ("email", "preferred_username", "upn", "unique_name", "verified_primary_email", "verified_secondary_email")


class Token(Struct, frozen=True):
    """What an endpoint gave. `users` are the names of the person who logged in, as far as the provider tells;
    `roles` those of an app, None if the token cannot be read. `app` is which app it was given to, "" if that is not
    known. Shows itself without its secrets."""

    access: str
    refresh: str | None
    obtained: float
    expires: float
    scopes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] | None = None
    app: str = ""

    def __repr__(self) -> str:
        return f"Token(users={self.users}, expires={self.expires})"

    def is_valid(self, now: float) -> bool:
        """Whether a server should accept it now."""
        return bool(self.access) and self.obtained - _JUMP <= now < self.expires

    def is_fresh(self, now: float) -> bool:
        """Whether it is valid and need not be renewed yet."""
        early = min(_EARLY, (self.expires - self.obtained) / 5)
        return self.is_valid(now) and now < self.expires - early


def answered(answer: Mapping[str, Any], now: float, before: Token | None = None) -> Token | None:
    """The token of an endpoint's answer; None if there is none. What the answer does not repeat is as `before`."""
    access = answer.get("access_token")
    if not _is_text(access) or not access.isascii() or not access.isprintable():
        return None
    refresh, scope = answer.get("refresh_token"), answer.get("scope")
    claims = _claims(answer.get("id_token"))
    of_access = _claims(access)
    roles = of_access.get("roles")
    names = _names(claims) or (before.users if before is not None else ()) or _names(of_access)
    scopes = tuple(scope.split()) if _is_text(scope) else (before.scopes if before is not None else ())
    return Token(
        access=access,
        refresh=refresh if _is_text(refresh) else (before.refresh if before is not None else None),
        obtained=now,
        expires=now + _life(answer.get("expires_in")),
        scopes=scopes,
        users=names,
        roles=tuple(filter(_is_text, roles)) if isinstance(roles, list) else (() if of_access else None),
    )


def kept(token: Token) -> bytes:
    """The octets of the file that a token is kept in."""
    document: dict[str, Any] = {"format": FORMAT, "refresh_token": token.refresh, "access_token": token.access}
    document |= {"obtained": token.obtained, "expires": token.expires, "scopes": token.scopes, "users": token.users}
    document |= {"roles": token.roles, "app": token.app}
    return json.dumps(document, indent=1).encode() + b"\n"


def read(octets: bytes) -> Token:
    """The token of such a file, or of one that holds nothing but a refresh token.

    Raises:
        ValueError: it is neither; no octet of it is in the message or behind it.
    """
    problem = "is neither a token that `archiver login` kept nor a refresh token alone"
    try:
        text = octets[: _LARGEST + 1].decode("utf-8-sig").strip() if len(octets) <= _LARGEST else ""
    except UnicodeDecodeError:
        text = ""
    if not text.startswith("{"):
        if not text or any(character.isspace() or not character.isprintable() for character in text):
            raise ValueError(problem) from None
        return Token("", text, 0.0, 0.0)
    document = _object(text)
    access, refresh = document.get("access_token") or "", document.get("refresh_token")
    times = document.get("obtained"), document.get("expires")
    if document.get("format") != FORMAT or not isinstance(access, str) or not all(map(_is_number, times)):
        raise ValueError(problem)
    roles = document.get("roles")
    return Token(
        access=access,
        refresh=refresh if _is_text(refresh) else None,
        obtained=float(times[0] or 0),
        expires=float(times[1] or 0),
        scopes=_texts(document.get("scopes")),
        users=_texts(document.get("users")),
        roles=_texts(roles) if isinstance(roles, list) else None,
        app=app if isinstance(app := document.get("app"), str) else "",
    )


def _life(seconds: object) -> float:
    """NOTE: some endpoints write the number in quotes."""
    try:
        life = float(seconds)  # type: ignore[arg-type]  # whatever it is
    except (TypeError, ValueError, OverflowError):
        return _LIFE
    return min(life, _LONGEST_LIFE) if life > 0 else _LIFE


def _claims(token: object) -> Mapping[str, Any]:
    """What a JWT says (RFC 7519), without checking who signed it: it came straight from the endpoint over TLS
    (OpenID Connect Core section 3.1.3.7). Empty if it is none."""
    parts = token.split(".") if isinstance(token, str) and len(token) <= _LARGEST else []
    if len(parts) != 3:
        return {}
    try:
        return _object(base64.urlsafe_b64decode(parts[1] + "==").decode())
    except (binascii.Error, ValueError):
        return {}


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _names(claims: Mapping[str, Any]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in _NAMES:
        value = claims.get(name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and 0 < len(each) <= 320 and each.isprintable():
                found[each] = None
    return tuple(found)


def _texts(values: object) -> tuple[str, ...]:
    return tuple(filter(_is_text, values)) if isinstance(values, list) else ()


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
