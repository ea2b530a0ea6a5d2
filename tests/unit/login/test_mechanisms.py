"""The other mechanisms, and which of them is tried."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.config import secrecy
from archiver.config.secrecy import keep_secret
from archiver.config.secrets import Secret
from archiver.errors import AuthenticationFailed, Where
from archiver.login.attempts import learn_in, log_in, name_of
from archiver.login.certificate import CertificateAuthenticator
from archiver.login.exchange import Exchange
from archiver.login.mechanisms import CramMd5, External, OAuthBearer, Plain, XOAuth2
from archiver.login.password import Choice, PasswordAuthenticator
from archiver.login.port import Channel, Command, Offer, Way
from archiver.login.scram import Scram

WHERE = Where(server="imap.example.org:993")


@pytest.fixture(autouse=True)
def _no_other_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_index", secrecy._Index())
    monkeypatch.setattr(secrecy, "_kept", type(secrecy._kept)())


def encoded(message: bytes) -> bytes:
    return base64.b64encode(message)


def test_plain_as_published() -> None:  # RFC 4616 section 4
    assert Plain("tim", "tanstaaftanstaaf").initial() == encoded(b"\0tim\0tanstaaftanstaaf")
    assert Plain("Kurt", "xipj3plmq", "Ursel").initial() == encoded(b"Ursel\0Kurt\0xipj3plmq")


def test_cram_md5_as_published() -> None:  # RFC 2195 section 2
    exchange = CramMd5("tim", "tanstaaftanstaaf")
    assert exchange.initial() is None
    challenge = encoded(b"<1896.697170952@postoffice.reston.mci.net>")
    assert exchange.reply(challenge) == encoded(b"tim b913a602c7eda7a495b4e6e7334d3890")


def test_oauthbearer_as_published() -> None:  # RFC 7628 section 4.1
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    assert OAuthBearer("user@example.com", token, "server.example.com", 143).initial() == (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRj"
        b"Mk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )


def test_xoauth2_as_published() -> None:  # developers.google.com/workspace/gmail/imap/xoauth2-protocol
    token = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    assert XOAuth2("someuser@example.com", token).initial() == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZ"
        b"Mjl0Q2cBAQ=="
    )


@pytest.mark.parametrize(
    ("exchange", "said", "answer", "complaint"),
    [
        (
            XOAuth2("u", "t"),
            {"status": "401", "schemes": "bearer mac", "scope": "https://mail.google.com/"},
            b"",
            "the token is refused, status 401, a token for https://mail.google.com/ is needed",
        ),
        (OAuthBearer("u", "t", "h", 1), {"status": "invalid_token"}, b"AQ==",
         "the token is refused, status invalid_token"),
        (OAuthBearer("u", "t", "h", 1), [], b"AQ==", "the token is refused"),
    ],
)  # fmt: skip
def test_the_reason_why_a_token_is_refused(exchange: Exchange, said: object, answer: bytes, complaint: str) -> None:
    exchange.initial()
    assert exchange.reply(encoded(json.dumps(said).encode())) == answer
    assert exchange.complaint == complaint
    with pytest.raises(AuthenticationFailed):
        exchange.reply(encoded(b"{}"))


def test_a_reason_shows_no_secret_and_is_short() -> None:
    keep_secret("a token of some length", "u")
    exchange = XOAuth2("u", "a token of some length")
    exchange.initial()
    exchange.reply(encoded(json.dumps({"status": "a token of some length\n" + "x" * 1000}).encode()))
    assert exchange.complaint.startswith("the token is refused, status ***")
    assert "\n" not in exchange.complaint
    assert len(exchange.complaint) <= 200


EXCHANGES: Sequence[Callable[[], Exchange]] = (
    lambda: Plain("u", "pw"),
    lambda: External("u"),
    lambda: CramMd5("u", "pw"),
    lambda: XOAuth2("u", "t"),
    lambda: OAuthBearer("u", "t", "h", 1),
    lambda: Scram("sha256", "u", "pw", nonce=lambda: "n"),
)
SAID = st.one_of(
    st.binary(max_size=50),
    st.binary(max_size=50).map(encoded),
    st.text(alphabet='nrsiev=,0123456789{}[]":ä\x00', max_size=50).map(lambda text: encoded(text.encode())),
    st.just(encoded(b"[" * 20_000)),
    st.sampled_from([b"r=nx,s=QUJD,i=4096", b"r=nx,s=QUJD,i=4096,x", b"v=QUJD", b"e=other"]).map(encoded),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(EXCHANGES), st.booleans(), st.lists(SAID, max_size=4))
def test_whatever_a_server_says_is_answered_or_refused(
    make: Callable[[], Exchange], initial: bool, said: Sequence[bytes]
) -> None:
    exchange = make()
    if initial:
        exchange.initial()
    with suppress(AuthenticationFailed):
        for each in said:
            base64.b64decode(exchange.reply(each), validate=True)
        exchange.finish()


class TestAServerThatAsksForTheFirstMessage:
    @pytest.mark.parametrize("words", [b"", b"go ahead", b"R28gYWhlYWQ="])
    def test_gets_it_once(self, words: bytes) -> None:
        exchange = Plain("u", "pw")
        assert exchange.reply(words) == encoded(b"\0u\0pw")
        with pytest.raises(AuthenticationFailed):
            exchange.reply(words)

    def test_gets_it_although_it_has_it(self) -> None:
        exchange = Plain("u", "pw")
        exchange.initial()
        assert exchange.reply(b"") == encoded(b"\0u\0pw")

    def test_gets_an_empty_one_as_such(self) -> None:
        assert External().initial() == b"="
        assert External("alice").initial() == encoded(b"alice")


def offer(*mechanisms: str, takes_command: bool = True, encrypted: bool = True) -> Offer:
    channel = Channel("tls-unique", b"x")
    return Offer(frozenset(mechanisms), takes_command, encrypted, lambda: channel)


def names(choice: Choice, offered: Offer, login_user: str | None = None) -> list[str]:
    ways = PasswordAuthenticator("u", lambda: Secret("pw"), choice, login_user).ways(Secret("pw"), offered, WHERE)
    return [name_of(way) or "the command" for way in ways]


SCRAMS = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"]
EVERYTHING = ("LOGIN", "CRAM-MD5", "PLAIN", *reversed(SCRAMS))


@pytest.mark.parametrize(
    ("choice", "offered", "expected"),
    [
        ("auto", offer(*EVERYTHING), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"]),
        ("auto", offer(*EVERYTHING, encrypted=False), ["SCRAM-SHA-256", "PLAIN"]),
        ("auto", offer("SCRAM-SHA-1", "PLAIN"), ["SCRAM-SHA-1", "PLAIN"]),
        ("auto", offer(*SCRAMS, "CRAM-MD5", takes_command=False), [*SCRAMS, "CRAM-MD5"]),
        ("auto", offer("PLAIN", "CRAM-MD5"), ["PLAIN"]),
        ("auto", offer("CRAM-MD5"), ["the command"]),
        ("auto", offer("CRAM-MD5", takes_command=False), ["CRAM-MD5"]),
        ("auto", offer(), ["the command"]),
        ("scram", offer(*EVERYTHING), SCRAMS),
        ("plain", offer(*EVERYTHING), ["PLAIN"]),
        ("plain", offer(), ["PLAIN"]),
        ("login", offer(*EVERYTHING), ["the command"]),
        ("cram-md5", offer(*EVERYTHING), ["CRAM-MD5"]),
    ],
)
def test_the_strongest_comes_first_and_none_is_weaker_than_asked_for(
    choice: Choice, offered: Offer, expected: list[str]
) -> None:
    assert names(choice, offered) == expected


DISABLED = "the server does not accept passwords on this connection (LOGINDISABLED)"


@pytest.mark.parametrize(
    ("choice", "offered", "reason"),
    [
        ("scram", offer("PLAIN"), 'the server takes no login = "scram" here: it offers PLAIN'),
        ("cram-md5", offer("PLAIN"), 'the server takes no login = "cram-md5" here: it offers PLAIN'),
        ("login", offer("PLAIN", takes_command=False), 'the server takes no login = "login" here: it offers PLAIN'),
        ("plain", offer(takes_command=False, encrypted=False), DISABLED),
        ("login", offer(takes_command=False, encrypted=False), DISABLED),
        ("auto", offer(takes_command=False, encrypted=False), DISABLED),
        ("auto", offer("XOAUTH2", takes_command=False), "the server takes no password here: it offers XOAUTH2"),
        ("auto", offer(takes_command=False), "the server takes no password here: it offers no mechanism"),
    ],
)
def test_a_server_that_offers_no_such_way(choice: Choice, offered: Offer, reason: str) -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        names(choice, offered)
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("mechanism", "hint"),
    [
        ("XOAUTH2", 'it takes tokens: set auth = "oauth2", which docs/providers.md shows'),
        ("NTLM", "see docs/providers.md for what it wants"),
    ],
)
def test_a_server_that_wants_something_else(mechanism: str, hint: str) -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        names("auto", offer(mechanism, takes_command=False))
    assert raised.value.hint == hint


def test_an_admin_opens_the_mailbox_of_a_user() -> None:
    def way(*offered: str, **how: bool) -> Way:
        authenticator = PasswordAuthenticator("alice", lambda: Secret("pw"), "auto", "admin", "#")
        return authenticator.ways(Secret("pw"), offer(*offered, **how), WHERE)[0]

    plain = way("PLAIN", "SCRAM-SHA-256")
    scram = way("SCRAM-SHA-256", takes_command=False)
    cram = way("CRAM-MD5", takes_command=False)
    assert isinstance(plain, Plain)
    assert plain.first() == b"alice\0admin\0pw"
    assert isinstance(scram, Exchange)
    assert (scram.first() or b"").startswith(b"y,a=alice,n=admin,")
    assert isinstance(cram, CramMd5)
    assert base64.b64decode(cram.reply(b"")).startswith(b"alice#admin ")
    assert way() == Command(b"alice#admin", b"pw")


def test_a_certificate_opens_the_mailbox_of_its_user_alone() -> None:
    authenticator = CertificateAuthenticator("alice")
    (way,) = authenticator.ways(authenticator.secret(), offer("EXTERNAL"), WHERE)
    assert isinstance(way, External)
    assert way.first() == b"alice"
    with pytest.raises(AuthenticationFailed, match="offers no EXTERNAL"):
        authenticator.ways(authenticator.secret(), offer("PLAIN"), WHERE)


class TestARefusal:
    """Of SCRAM, by a server that has PLAIN, too."""

    @pytest.fixture(autouse=True, params=["one process", "several processes"])
    def _learns(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
        learn_in(tmp_path if request.param == "several processes" else None)
        yield
        learn_in(None)

    def tried(self, refuse: AuthenticationFailed | None, user: str = "u", *, tested: bool = False) -> list[str]:
        """The ways that are tried if each but PLAIN is refused."""
        tried: list[str] = []

        def attempt(way: Way) -> None:
            tried.append(name_of(way))
            if isinstance(way, Exchange) and way.mechanism != "PLAIN" and refuse is not None:
                way.untested = not tested
                raise refuse

        authenticator = PasswordAuthenticator(user, lambda: Secret("pw"))
        ways = authenticator.ways(Secret("pw"), offer("SCRAM-SHA-256", "PLAIN"), WHERE)
        try:
            log_in(ways, attempt, "imap.example.org:993")
        except AuthenticationFailed:
            tried.append("refused")
        return tried

    NO = AuthenticationFailed("no", server_reply="NO")

    def test_of_which_the_password_is_not_the_reason_goes_on(self) -> None:
        assert self.tried(self.NO) == ["SCRAM-SHA-256", "PLAIN"]

    def test_is_not_repeated_for_that_user(self) -> None:
        self.tried(self.NO)
        assert self.tried(self.NO) == ["PLAIN"]
        assert self.tried(self.NO, "another") == ["SCRAM-SHA-256", "PLAIN"]

    def test_of_several_users_is_not_repeated_for_anybody(self) -> None:
        assert [self.tried(self.NO, user)[0] for user in "abcd"] == [*["SCRAM-SHA-256"] * 3, "PLAIN"]

    def test_of_the_password_is_the_end(self) -> None:
        assert self.tried(self.NO, tested=True) == ["SCRAM-SHA-256", "refused"]

    def test_that_is_ours_is_the_end(self) -> None:
        assert self.tried(AuthenticationFailed("it proves nothing")) == ["SCRAM-SHA-256", "refused"]


def test_what_works_for_somebody_is_tried_for_all(tmp_path: Path) -> None:
    learn_in(tmp_path)
    refusals = TestARefusal()
    assert refusals.tried(None, "a") == ["SCRAM-SHA-256"]
    assert [refusals.tried(TestARefusal.NO, user)[0] for user in "bcdef"] == ["SCRAM-SHA-256"] * 5
    learn_in(None)
