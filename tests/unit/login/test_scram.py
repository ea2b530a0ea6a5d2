"""SCRAM: the published exchanges, and servers that do not keep to it."""

from __future__ import annotations

import base64

import pytest

from archiver.errors import AuthenticationFailed
from archiver.login.port import Channel
from archiver.login.saslprep import saslprep
from archiver.login.scram import Scram

SHA1 = (  # RFC 5802 section 5
    "fyko+d2lbbFgONRv9qkxdawL",
    "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
SHA256 = (  # RFC 7677 section 3
    "rOprNGfwEbeRWgbNEkqO",
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)


def scram(hash_name: str = "sha256", nonce: str = SHA256[0], authorize: str = "", **how: object) -> Scram:
    return Scram(hash_name, "user", "pencil", authorize, nonce=lambda: nonce, **how)  # type: ignore[arg-type]


def hears(exchange: Scram, said: str) -> str:
    return base64.b64decode(exchange.reply(base64.b64encode(said.encode()))).decode()


@pytest.mark.parametrize(
    ("hash_name", "vector"), [("sha1", SHA1), ("sha256", SHA256)], ids=["RFC 5802", "RFC 7677"]
)
def test_the_published_exchange(hash_name: str, vector: tuple[str, str, str, str]) -> None:
    nonce, first, final, proof = vector
    exchange = scram(hash_name, nonce)

    assert base64.b64decode(exchange.initial() or b"") == f"n,,n=user,r={nonce}".encode()
    assert exchange.untested
    assert hears(exchange, first) == final
    assert not exchange.untested
    assert hears(exchange, proof) == ""
    exchange.finish()


def test_an_admin_says_whose_mailbox_it_is() -> None:
    assert scram(authorize="a,b=c").first() == b"n,a=a=2Cb=3Dc,n=user,r=%b" % SHA256[0].encode()


def test_a_bound_login_sends_what_it_is_bound_to() -> None:
    exchange = scram(channel=Channel("tls-unique", b"\1\2"))
    assert exchange.mechanism == "SCRAM-SHA-256-PLUS"
    assert base64.b64decode(exchange.initial() or b"").startswith(b"p=tls-unique,,n=user,")
    bound = base64.b64encode(b"p=tls-unique,,\1\2").decode()
    assert hears(exchange, SHA256[1]).startswith(f"c={bound},")


def test_a_server_that_should_have_offered_it_is_told() -> None:
    assert scram(binds=True).first().startswith(b"y,,")


def failure(exchange: Scram, *said: str) -> AuthenticationFailed:
    exchange.initial()
    *first, last = said
    for each in first:
        hears(exchange, each)
    with pytest.raises(AuthenticationFailed) as raised:
        hears(exchange, last)
    return raised.value


OF_ANOTHER = "the server's answer is not one to our login: another nonce"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["r=another,s=QSXCR+Q6sek8bf92,i=4096"], OF_ANOTHER),
        (
            [f"r={SHA256[0]},s=QSXCR+Q6sek8bf92,i=4096"],
            OF_ANOTHER,
        ),
        ([SHA256[1].replace("r=", "m=x,r=", 1)], "the server's answer is not one of SCRAM"),
        (["hello"], "the server's answer is not one of SCRAM"),
        ([SHA256[1].replace("W22Z", "****")], "the server's answer is not one of SCRAM: not base64"),
        (
            [SHA256[1].replace("4096", "100")],
            "the server wants the password hashed 100 times, which is not between 4096 and 5000000",
        ),
        (
            [SHA256[1].replace("4096", "999999999")],
            "the server wants the password hashed 999999999 times, which is not between 4096 and 5000000",
        ),
        ([SHA256[1], "v=AAAA"], "the server does not prove that it knows the password"),
        ([SHA256[1], SHA256[3], SHA256[3]], "the server does not prove that it knows the password"),
    ],
)
def test_a_server_that_does_not_keep_to_it(said: list[str], reason: str) -> None:
    refusal = failure(scram(), *said)
    assert (refusal.reason, refusal.server_reply) == (reason, None)


def test_a_server_says_why_it_refuses() -> None:
    exchange = scram()
    refusal = failure(exchange, "e=unsupported-channel-binding-type")
    assert (refusal.server_reply, exchange.untested) == ("unsupported-channel-binding-type", True)


@pytest.mark.parametrize("said", [[], [SHA256[1]]])
def test_a_server_that_proves_nothing_is_refused(said: list[str]) -> None:
    exchange = scram()
    exchange.initial()
    for each in said:
        hears(exchange, each)
    with pytest.raises(AuthenticationFailed, match="without proving that it knows the password"):
        exchange.finish()


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("p\u00a0w", "p w"),
    ],
)
def test_saslprep_as_published(text: str, prepared: str) -> None:
    assert saslprep(text, "the password") == prepared  # RFC 4013 section 3


@pytest.mark.parametrize("text", ["\u0007", "\u06271"])
def test_saslprep_refuses_as_published(text: str) -> None:
    with pytest.raises(AuthenticationFailed, match="the password has characters that SCRAM does not allow"):
        saslprep(text, "the password")
