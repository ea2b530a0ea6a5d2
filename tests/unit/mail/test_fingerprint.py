"""Messages that a destination wrote in its own way, and which of them is which."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from archiver.mail.fingerprint import (
    FingerprintBuilder,
    MessageFingerprint,
    compare,
    fingerprint_of,
    is_beginning,
    match,
)
from archiver.mail.model import Digest
from tests.servers.corpora import CorpusMessage

OCTETS = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\0", b"a", b"A: b", b"\t", b" ", b"Status: RO", b"\xff"]
    )
).map(b"".join)

HEADER = b"From: a@example.com\r\nSubject: one\r\n"
BODY = b"\r\nbody\r\n"


def dovecot(octets: bytes) -> bytes:
    """As Dovecot gives it back."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets.replace(b"\0", b"\x80"))


def courier(octets: bytes) -> bytes:
    """As Courier gives it back."""
    lines = re.sub(rb"\r(?!\n)", b"", octets).replace(b"\r\n", b"\n")
    return (lines if lines.endswith(b"\n") else lines + b"\n").replace(b"\n", b"\r\n")


def like(octets: bytes) -> MessageFingerprint:
    return fingerprint_of([octets])


@given(OCTETS, OCTETS, st.sampled_from([bytes, dovecot, courier]))
def test_what_a_server_shows_cut_off_is_a_beginning(
    shown: bytes, rest: bytes, server: Callable[[bytes], bytes]
) -> None:
    sent = [shown[:3], shown[3:], rest]
    assert is_beginning(sent, like(server(shown)))


@pytest.mark.parametrize(
    "found", [HEADER + BODY + b"more", BODY, HEADER + b"\r\nother", HEADER + b"\r\nbodies\r\n"]
)
def test_nothing_else_is_a_beginning(found: bytes) -> None:
    assert not is_beginning([HEADER + BODY], like(found))


def same_headers(sent: MessageFingerprint, found: MessageFingerprint) -> bool:
    """Whether the fields alone make a match, whatever the bodies are."""
    other = Digest("other")
    rewritten = replace(found, digest=other, canonical=other, body=other)
    return bool(match([("one", sent, 1)], [(7, rewritten, 1)], headers_alone=True))


@given(st.lists(OCTETS), st.sampled_from([bytes, bytearray, memoryview]))
def test_chunks_add_up_to_the_message(chunks: list[bytes], kind: type) -> None:
    builder = FingerprintBuilder()
    for chunk in chunks:
        builder.feed(kind(chunk))
    octets = b"".join(chunks)
    canonical = octets.replace(b"\r", b"").replace(b"\0", b"\x80")
    body = canonical[1:] if canonical[:1] == b"\n" else canonical.partition(b"\n\n")[2]
    fingerprint = builder.fingerprint()
    assert fingerprint == like(octets)
    assert fingerprint.digest == hashlib.sha256(octets).hexdigest()
    assert fingerprint.canonical == hashlib.sha256(canonical.rstrip(b"\n")).hexdigest()
    assert fingerprint.body == hashlib.sha256(body.rstrip(b"\n")).hexdigest()


@given(OCTETS)
def test_what_dovecot_and_courier_alter_does_not_count(octets: bytes) -> None:
    for altered in (dovecot(octets), courier(octets), courier(dovecot(octets))):
        assert compare(like(octets), like(altered)) == ("exact" if altered == octets else "line-ends")
        assert like(octets).headers == like(altered).headers


def test_another_letter_counts() -> None:
    assert compare(like(HEADER + BODY), like(HEADER + BODY.upper())) == "other"
    assert compare(like(HEADER + BODY), like(HEADER.upper() + BODY)) == "other"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (b"Received: from a\r\n\tby b;\r\n\tdate\r\n", b"Received: from a\r\n by b;\r\n date\r\n"),
        (b"Received: from a\r\n\tby b\r\n", b"Received: from a by b\r\n"),
        (b"Subject: one \r\n", b"Subject: one\r\n"),
        (b"Subject:   one\r\n", b"Subject: one\r\n"),
        (b"Subject:one\r\n", b"SUBJECT: one\r\n"),
        (b"Subject: a  \t b\r\n", b"Subject: a b\r\n"),
        (b"A: b\r\n", b"X-UID: 7\r\nA: b\r\nStatus: RO\r\nX-Mozilla-Status2: 00000000\r\nX-Mozilla-Keys: \r\n"),
        (b"A: b\r\nContent-Length: 7\r\nX-Keywords:\r\n", b"X-Pm-Gluon-Id: 1\r\nA: b\r\nX-Status: A\r\n"),
        (b"A: b\r\n", b"A: b\r\nX-MS-Exchange-Organization-AuthAs: Internal\r\n"),
    ],
)
def test_blanks_and_fields_of_servers_do_not_count(sent: bytes, found: bytes) -> None:
    assert compare(like(sent + BODY), like(found + BODY)) == "headers"
    assert same_headers(like(sent + BODY), like(found + b"\r\nother body"))
    assert compare(like(sent + BODY), like(found + b"\r\nother body")) == "other"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (b"A: b\r\nC: d\r\n", b"C: d\r\nA: b\r\n"),
        (b"A: b\r\n", b"A: b\r\nReceived: from a\r\n"),
        (b"A: b\r\n", b"A: B\r\n"),
        (b"A: b c\r\n", b"A: bc\r\n"),
        (b"A: b\r\n", b"A: b\r\nA: b\r\n"),
        (b"Status: RO\r\n", b""),
        (b"", b""),
    ],
)
def test_other_headers_are_other(sent: bytes, found: bytes) -> None:
    assert not same_headers(like(sent + BODY), like(found + BODY))


def test_a_header_without_end_is_cut_off() -> None:
    builder = FingerprintBuilder()
    for _ in range(500):
        builder.feed(b"x" * 3000)
    assert builder.fingerprint() == like(b"x" * 1_500_000)
    assert same_headers(builder.fingerprint(), like(b"x" * (1 << 20)))
    assert builder.fingerprint().body == hashlib.sha256(b"x" * (1_500_000 - (1 << 20))).hexdigest()


def test_many_empty_lines_need_no_memory() -> None:
    builder = FingerprintBuilder()
    for _ in range(100):
        builder.feed(b"\n" * 10_000)
    builder.feed(b"end")
    assert builder.fingerprint() == like(b"\n" * 1_000_000 + b"end")


def test_two_equal_messages_stay_two() -> None:
    one = like(HEADER + BODY)
    assert match([("a", one, 1), ("b", one, 1)], [(4, one, 1)], headers_alone=True) == {"a": (4, "exact")}
    pairs = match([("a", one, 1), ("b", one, 1)], [(5, one, 1), (4, one, 1), (6, one, 1)], headers_alone=True)
    assert pairs == {"a": (4, "exact"), "b": (5, "exact")}


def test_the_same_instant_is_preferred_among_equals() -> None:
    one = like(HEADER + BODY)
    sent = [("a", one, 1), ("b", one, 2), ("c", one, None)]
    found = [(4, one, 2), (5, one, 9), (6, one, 1)]
    assert match(sent, found, headers_alone=False) == {"a": (6, "exact"), "b": (4, "exact"), "c": (5, "exact")}


def test_one_message_id_with_two_bodies_is_not_confused() -> None:
    one, two = HEADER + b"\r\none", HEADER + b"\r\ntwo"
    sent = [("one", like(one), 1), ("two", like(two), 1)]
    found = [(4, like(HEADER.lower() + b"\r\ntwo"), 1), (5, like(courier(two)), 1), (6, like(courier(one)), 1)]
    pairs = match(sent, found, headers_alone=True)
    assert pairs == {"one": (6, "line-ends"), "two": (5, "line-ends")}
    with_status = [(uid, like(b"X-UID: 4\r\n" + octets), 1) for uid, octets in ((4, two), (5, one))]
    assert match(sent, with_status, headers_alone=True) == {"one": (5, "headers"), "two": (4, "headers")}


def test_the_surest_pairs_are_made_first() -> None:
    message = HEADER + BODY
    found = [
        (4, like(b"Status: O\r\n" + message), 1),
        (5, like(dovecot(message + b"\n")), 1),
        (6, like(message), 9),
    ]
    for uid, how in ((6, "exact"), (5, "line-ends"), (4, "headers")):
        assert match([("a", like(message), 1)], found, headers_alone=False) == {"a": (uid, how)}
        found = [each for each in found if each[0] != uid]


def test_headers_alone_need_leave_and_an_instant() -> None:
    sent, found = like(HEADER + BODY), like(HEADER + b"\r\nwritten anew\r\n")
    assert match([("a", sent, 1)], [(4, found, 1)], headers_alone=True) == {"a": (4, "headers")}
    assert match([("a", sent, 1)], [(4, found, 1)], headers_alone=False) == {}
    assert match([("a", sent, 1)], [(4, found, 2)], headers_alone=True) == {}
    assert match([("a", sent, None)], [(4, found, None)], headers_alone=True) == {}
    assert match([("a", like(b"\r\none"), 1)], [(4, like(b"\r\ntwo"), 1)], headers_alone=True) == {}


MESSAGES = [
    like(octets)
    for header in (b"", b"A: b\r\n", b"A:  b\r\n", b"Status: R\r\nA: b\r\n", b"A: c\r\n")
    for octets in (header + b"\r\none", header + b"\r\none\r\n", header + b"\r\ntwo\r\n")
]
SIDE = st.lists(st.tuples(st.sampled_from(MESSAGES), st.sampled_from([None, 1, 2])), max_size=12)


@given(SIDE, SIDE, st.booleans())
def test_a_match_is_a_matching(
    sent: list[tuple[MessageFingerprint, int | None]],
    found: list[tuple[MessageFingerprint, int | None]],
    alone: bool,
) -> None:
    there = dict(enumerate(found, 10))
    pairs = match(
        [(key, *each) for key, each in enumerate(sent)],
        [(uid, *each) for uid, each in reversed(there.items())],
        headers_alone=alone,
    )
    assert len({uid for uid, _ in pairs.values()}) == len(pairs)
    for key, (uid, how) in pairs.items():
        fingerprint, instant = sent[key]
        other, other_instant = there[uid]
        alike = compare(fingerprint, other)
        assert how == alike or (alone and alike == "other" and instant == other_instant is not None)
    exact = Counter(sent[key][0].digest for key, (_, how) in pairs.items() if how == "exact")
    assert exact == Counter(each.digest for each, _ in sent) & Counter(each.digest for each, _ in found)
    free = [each for uid, each in there.items() if uid not in {uid for uid, _ in pairs.values()}]
    left = [each for key, each in enumerate(sent) if key not in pairs]
    assert all(compare(one, other) == "other" for one, _ in left for other, _ in free)


def test_odd_messages_of_the_world_are_known_again(corpora: list[CorpusMessage]) -> None:
    sent = [(message.name, like(message.octets), None) for message in corpora]
    for altered in (dovecot, courier):
        found = [(uid, like(altered(message.octets)), None) for uid, message in enumerate(corpora, 1)]
        pairs = match(sent, found, headers_alone=False)
        assert len(pairs) == len({name for name, _, _ in sent})
        assert {how for _, how in pairs.values()} == {"exact", "line-ends"}
        there = {uid: fingerprint.canonical for uid, fingerprint, _ in found}
        assert all(there[pairs[name][0]] == fingerprint.canonical for name, fingerprint, _ in sent)
