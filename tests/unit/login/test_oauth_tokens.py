"""Tokens as endpoints give them and as files keep them, whatever is in there."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.login.oauth import tokens
from archiver.login.oauth.tokens import Token, answered

_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
_KEYS = ("access_token", "refresh_token", "expires_in", "scope", "id_token")


def jwt(claims: object) -> str:
    return "h." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".s"


class TestAnAnswer:
    def test_gives_a_token_and_who_logged_in(self) -> None:
        answer = {
            "access_token": "at", "refresh_token": "rt", "expires_in": 3600, "scope": "a b",
            "id_token": jwt({"upn": "alice@x.org", "email": "Alice@y.org", "verified_primary_email": ["a@z.org"]}),
        }  # fmt: skip
        assert answered(answer, 100.0) == Token(
            "at", "rt", 100.0, 3700.0, ("a", "b"), ("Alice@y.org", "alice@x.org", "a@z.org")
        )

    def test_keeps_of_the_token_before_what_it_does_not_repeat(self) -> None:
        before = Token("old", "rt", 0.0, 1.0, ("mail",), ("alice",))
        assert answered({"access_token": "new", "expires_in": "60"}, 9.0, before) == Token(
            "new", "rt", 9.0, 69.0, ("mail",), ("alice",)
        )

    @pytest.mark.parametrize(
        ("claims", "roles"), [({"roles": ["IMAP.AccessAsApp"]}, ("IMAP.AccessAsApp",)), ({"aud": "x"}, ())]
    )
    def test_names_the_permissions_of_an_app(self, claims: dict[str, Any], roles: tuple[str, ...]) -> None:
        token = answered({"access_token": jwt(claims)}, 0.0)
        assert token is not None
        assert token.roles == roles

    @pytest.mark.parametrize("access", [None, "", 7, "two\nlines", "tok\u00e9n"])
    def test_without_a_token_that_can_be_sent_gives_none(self, access: object) -> None:
        assert answered({"access_token": access}, 0.0) is None

    @settings(max_examples=50)
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(_KEYS, _ANYTHING)))
    def test_may_be_anything(self, answer: dict[str, Any]) -> None:
        token = answered(answer, 5.0)
        assert token is None or (token.expires > token.obtained and tokens.read(tokens.kept(token)) == token)


class TestWhatIsKept:
    @given(st.binary(max_size=200) | _ANYTHING.map(lambda each: json.dumps(each).encode()))
    def test_may_be_anything(self, octets: bytes) -> None:
        try:
            token = tokens.read(octets)
        except ValueError as error:
            said = str(error)
        else:
            said = f"token {token.refresh is not None or token.access != ''}"
        assert said in ("token True", "is neither a token that `archiver login` kept nor a refresh token alone")

    @pytest.mark.parametrize("octets", [b"refresh-token", b"refresh-token\r\n", b"\xef\xbb\xbfrefresh-token\n"])
    def test_a_refresh_token_alone(self, octets: bytes) -> None:
        token = tokens.read(octets)
        assert (token.refresh, token.is_valid(0.0)) == ("refresh-token", False)


def test_a_short_life_is_renewed_when_a_fifth_is_left() -> None:
    token = Token("at", None, 100.0, 120.0)
    assert [token.is_fresh(now) for now in (99.0, 100.0, 115.9, 116.0, 120.0)] == [True, True, True, False, False]
    assert [token.is_valid(now) for now in (30.0, 116.0, 119.9, 120.0)] == [False, True, True, False]


def test_shows_itself_without_its_secrets() -> None:
    assert repr(Token("at-secret", "rt-secret", 0.0, 1.0)) == "Token(users=(), expires=1.0)"
