"""Which messages may have NULs that a server shows as 0x80, and what counts as their true octets."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.imap.extensions.binary import (
    SecondLook,
    has_nul,
    items_for,
    may_lack_nul,
    plain_parts,
    with_parts,
)
from archiver.imap.extensions.rights import strings
from archiver.imap.tokens import BODY_MARK, Response
from archiver.mail.content import body_of
from archiver.mail.model import Attributes, Body, Fetched
from tests.servers.logins import spool_in


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"plain", False),
        (b"a\0b", True),
        (b"\0", True),
        ("– À “ja” 日本".encode(), False),
        ("– \0 À".encode(), True),
        ("“€” \x80".encode("cp1252", "replace"), False),
        (b"5 \x80", True),  # cp1252: only the server knows
        ("表示 ミ".encode("shift_jis"), False),
        ("Grüße".encode("utf-16-le"), True),
        (b"\xe9\0", False),  # as if it were one character of two octets
    ],
)
def test_the_sign(octets: bytes, found: bool) -> None:
    assert may_lack_nul(body_of(octets.replace(b"\0", b"\x80"))) is found
    assert has_nul(body_of(octets)) is (b"\0" in octets)


@given(st.text(alphabet="a \n\x80\x81À—€日😀", max_size=12), st.sampled_from([b"", b"\xe9", b"\xe2\x80", b"\xff"]))
def test_a_character_is_never_the_sign_whatever_stands_around_it(text: str, stray: bytes) -> None:
    assert not may_lack_nul(body_of(text.encode() + stray))
    assert may_lack_nul(body_of(text.encode() + b" \x80" + stray))


def look(spool: Path, shown: bytes, binary: bytes) -> bytes:
    held = SecondLook(spool_in(spool))
    held.hold(Fetched(Attributes(7), body_of(shown)))
    row = Response(b"* 1 FETCH (UID 7 BINARY[] " + BODY_MARK + b")", (), body_of(binary))
    (fetched,) = [*held.answered(row), *held.decoded()]
    assert not list(held.rest())
    return octets_of(fetched.body)


def octets_of(body: Body) -> bytes:
    return body.octets if body.octets is not None else body.spool.read_bytes() if body.spool else b""


@given(st.binary(max_size=30))
def test_true_octets_count(tmp_path_factory: pytest.TempPathFactory, octets: bytes) -> None:
    assert look(tmp_path_factory.getbasetemp(), octets.replace(b"\0", b"\x80"), octets) == octets


@pytest.mark.parametrize("binary", [b"", b"a\0c", b"a\0", b"a\0b\0", b"A\0b"])
def test_others_do_not(tmp_path: Path, binary: bytes) -> None:
    assert look(tmp_path, b"a\x80b", binary) == b"a\x80b"


def test_what_waits_needs_little_memory(tmp_path: Path) -> None:
    held = SecondLook(spool_in(tmp_path))
    messages = {uid: b"%d \x80" % uid + b"x" * (1 << 20) for uid in range(1, 13)}
    for uid, octets in messages.items():
        held.hold(Fetched(Attributes(uid), body_of(octets)))
    assert len(list(tmp_path.iterdir())) == 5  # beyond 8 MB
    assert {each.attributes.uid: octets_of(each.body) for each in held.rest()} == messages
    for path in tmp_path.iterdir():
        path.unlink()
    held.hold(Fetched(Attributes(1), body_of(messages[1])))
    held.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_string_that_does_not_end_is_read_once() -> None:
    begun = time.process_time()
    assert strings(Response(b"a " + b'"\\' * 30_000), 0) == [b"a"]
    assert time.process_time() - begun < 1


def multipart(*parts: bytes) -> bytes:
    return (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + b"\r\n--b\r\n".join(parts) + b"\r\n--b--\r\n"
    )


@pytest.mark.parametrize(
    ("octets", "sections"),
    [
        (b"A: b\r\n\r\nx \x80", [b"1"]),
        (b"A: \x80\r\n\r\nx", []),
        (b"Content-Transfer-Encoding: base64\r\n\r\n\x80", []),
        (multipart(b"\r\n\x80", b"\r\nx", b"\r\n\x80"), [b"1", b"3"]),
        (multipart(b"A: b\r\n\r\n\x80", multipart(b"\r\nx", b"\r\n\x80")), [b"1", b"2.2"]),
        (multipart(b"Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n\x80"), [b"1"]),
        (b"", []),
    ],
)
def test_parts_that_may_have_nuls(octets: bytes, sections: list[bytes]) -> None:
    parts = plain_parts(octets)
    assert [each.section for each in parts] == sections
    assert all(b"\x80" in octets[each.start : each.end] for each in parts)


def test_a_part_counts_if_it_is_what_was_shown() -> None:
    shown = multipart(b"\r\na\x80", b"\r\nb\x80", b"\r\nc\x80")
    parts = plain_parts(shown)
    assert items_for(parts) == b"(UID BINARY.PEEK[1] BINARY.PEEK[2] BINARY.PEEK[3])"
    row = b"* 1 FETCH (UID 7 BINARY[1] \0000\0 BINARY[2] \0001\0 BINARY[3] NIL BINARY[4] \0001\0)"
    fetched = Fetched(Attributes(7), body_of(shown))
    result = with_parts(fetched, parts, [Response(row, (b"a\0", b"other"))])
    assert result.body == body_of(multipart(b"\r\na\0", b"\r\nb\x80", b"\r\nc\x80"))
    assert with_parts(fetched, parts, []) is fetched
