"""A secret is removed in whatever form a server repeats it, and other texts stay as they are."""

from __future__ import annotations

import base64
import random

import pytest
from botocore.exceptions import ClientError

from archiver.config import secrecy
from archiver.config.secrecy import keep_secret, redacted, without_secrets
from archiver.config.tables.s3 import S3Settings
from archiver.storage.s3.clients import make_client
from archiver.storage.s3.failures import refusal_of, said


@pytest.fixture(autouse=True)
def no_other_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_index", secrecy._Index())
    monkeypatch.setattr(secrecy, "_kept", type(secrecy._kept)())


ODD = 'hunter2 "x\\y'


def sasl(*words: str) -> str:
    return base64.b64encode("\0".join(words).encode()).decode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('LOGIN alice "hunter2 \\"x\\\\y"', 'LOGIN alice "***"'),
        ('LOGIN ALICE "HUNTER2 \\"X\\\\Y"', 'LOGIN ALICE "***"'),  # a server that reads it in upper case
        ('{12}\r\nhunter2 "x\\y', "{12}\r\n***"),
        ('hunter2\r\n "x\\y', "***"),
        (f"+ {sasl('', 'alice', ODD)}", "+ ***"),
        (f"+ {sasl('alice', 'alice', ODD)}", "+ ***"),
        (f"+ {sasl('admin', 'alice', ODD, 'more')}!", "+ ***!"),
        (f"+ {sasl(ODD)} is no user", "+ *** is no user"),
        (f"user: {sasl('user=alice', 'auth=Bearer ' + ODD)}", "user: ***"),
    ],
)
def test_whole(text: str, shown: str) -> None:
    keep_secret(ODD, "alice")

    assert redacted(text) == shown


@pytest.mark.parametrize("mailbox", ["bob", "bobby", "robert"])
def test_of_an_admin_who_opens_another_mailbox(mailbox: str) -> None:
    keep_secret("pw", "admin", mailbox)

    said = redacted(f"what is PLAIN {sasl(mailbox, 'admin', 'pw')}?")
    known = base64.b64encode(mailbox.encode()).decode()
    assert said in ("what is PLAIN ***?", f"what is PLAIN {known}***?")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("too long: LOGIN alice correct-hor", "too long: LOGIN alice ***"),
        ("too long: LOGIN alice c", "too long: LOGIN alice ***"),
        ('too long: LOGIN "alice" "correct-hor', 'too long: LOGIN "alice" "***'),
        ("too long: PASS correct-hor", "too long: PASS ***"),
        ("rect-horse is the rest", "*** is the rest"),
        (f"PLAIN {sasl('', 'alice', 'correct-horse')[:14]}", "PLAIN ***"),
        (f"{sasl('', 'alice', 'correct-horse')[-14:]} is the rest", "*** is the rest"),
        (" ".join(sasl("", "alice", "correct-horse")[at : at + 6] for at in range(0, 30, 6)), "***"),
        (sasl("", "alice", "correct-horse")[:16] + "\r\n " + sasl("", "alice", "correct-horse")[16:], "***"),
    ],
)
def test_cut_off_or_in_pieces(text: str, shown: str) -> None:
    keep_secret("correct-horse", "alice")

    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("password", "text", "shown"),
    [
        ("a", "a folder of alice has a message", "a folder of alice has a message"),
        ("a", "BAD LOGIN alice a", "BAD LOGIN alice ***"),
        ("a", f"BAD {sasl('', 'alice', 'a')}", "BAD ***"),
        ("mail", "mailbox of email is full", "mailbox of email is full"),
        ("mail", "BAD LOGIN alice mail", "BAD LOGIN alice ***"),
        ("mail", '"mail" is no password', '"***" is no password'),
        ("mail", f"BAD {sasl('', 'alice', 'mail')}", "BAD ***"),
    ],
)
def test_a_short_one_leaves_sentences_whole(password: str, text: str, shown: str) -> None:
    keep_secret(password, "alice")

    assert redacted(text) == shown


def test_the_longer_one_goes_first_where_one_is_part_of_another() -> None:
    keep_secret("correct-horse")
    keep_secret("correct-horse-battery")

    assert without_secrets(b"PASS correct-horse-battery") == b"PASS ***"


def test_a_token_of_thousands_of_octets() -> None:
    token = base64.b64encode(bytes(range(256)) * 9).decode()
    keep_secret(token, "alice")

    assert redacted(f"BAD {token}") == "BAD ***"
    assert redacted(f"BAD {sasl('user=alice', f'auth=Bearer {token}')}") == "BAD ***"


def test_thousands_of_accounts_do_not_make_it_slow() -> None:
    for number in range(3 * secrecy._MOST_SECRETS):
        keep_secret(f"correct-horse-{number:06}")

    assert len(secrecy._kept) == secrecy._MOST_SECRETS
    assert redacted(f"correct-horse-{3 * secrecy._MOST_SECRETS - 1:06}") == "***"
    assert redacted("correct-horse-000000") == "correct-horse-000000"
    assert sum(len(its) for grams in secrecy._index._grams.values() for its in grams.values()) == sum(
        len(each.pieces) for each in secrecy._kept.values()
    )


def test_the_keys_of_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "minio secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a session token")
    client = make_client(S3Settings(bucket="mail", region="us-east-1"))
    client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})

    error = {"Code": "Odd", "Message": "neither minio secret nor a session token", "Region": "minio secret"}
    refusal = refusal_of(ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": 418}}, "GetObject"))

    assert said(refusal) == "Odd, HTTP 418: neither *** nor ***"
    assert refusal.details == {"Region": "***"}


class TestManySecrets:
    """A text is looked through once for all of them, and nothing is missed by that."""

    SECRETS = (
        "correct-horse",
        ODD,
        "pa ss  wd",
        "short12",
        "abc",
        "x",
        "   ",
        "ÿüöä12345",
        "A" * 500,
        "s3cr3t\r\n.",
    )

    def test_only_those_are_tried_that_a_text_may_hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(20):
            keep_secret(f"{number:03}correct-horse-{number}", f"user-{number:03}@example.org")
        tried: list[int] = []
        rules = secrecy._Secret.without
        monkeypatch.setattr(
            secrecy._Secret, "without", lambda self, text: tried.append(self.length) or rules(self, text)
        )

        assert redacted('folder "INBOX", uid 12: the server says: NO not now' * 80)
        assert tried == []
        assert redacted("LOGIN user-007@example.org 007corr") == "LOGIN user-007@example.org ***"
        assert len(tried) == 1

    def test_whatever_the_rules_find_is_found(self) -> None:
        chance = random.Random(3)
        for secret in self.SECRETS:
            for user in ("", "alice", "a b"):
                keep_secret(secret, user)
        octets = [each.encode() for each in self.SECRETS]
        coded = [base64.b64encode(b"\0" * at + each + b"more") for each in octets for at in range(3)]
        coded += [base64.b64encode(before + b"\0alice\0" + each) for each in octets for before in (b"", b"alice")]
        parts = [*octets, *coded, b"alice ", b"A B: ", b"LOGIN ", b'"', b"\r\n ", b" ", b"=", b".", b"words"]
        changed = 0
        for _ in range(200):
            text = b"".join(chance.choices(parts, k=chance.randrange(1, 4)))
            if chance.random() < 0.5:
                text = text[chance.randrange(len(text)) :]
            if chance.random() < 0.5:
                text = text[: chance.randrange(len(text) + 1)]
            if text and chance.random() < 0.3:
                fold = chance.randrange(len(text))
                text = text[:fold] + b"\r\n " + text[fold:]
            text = text.upper() if chance.random() < 0.2 else text
            expected = text
            for secret in sorted(secrecy._kept.values(), key=lambda each: (-each.length, each.number)):
                expected = secret.without(expected)
            assert without_secrets(text) == expected
            changed += expected != text
        assert changed > 50
