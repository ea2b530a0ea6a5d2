"""Digests, sizes, header blocks and arrivals, from good and from broken messages."""

from __future__ import annotations

import calendar
import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.content import (
    HEADER_OCTETS,
    BodyBuilder,
    arrived_of,
    body_of,
    header_block,
    header_digest,
    header_value,
    is_placeholder,
    message_id,
)

OCTETS = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"a", b"A: b", b"\x00", b"\xff"])
).map(b"".join)
NOON = calendar.timegm((2020, 1, 2, 12, 0, 0))


@given(st.lists(OCTETS), st.sampled_from([bytes, bytearray, memoryview]))
def test_chunks_add_up_to_the_message(chunks: list[bytes], kind: type) -> None:
    builder = BodyBuilder()
    for chunk in chunks:
        builder.feed(kind(chunk))
    octets = b"".join(chunks)
    body = builder.body(octets=octets)
    assert body == body_of(octets)
    assert body.digest == hashlib.sha256(octets).hexdigest()
    assert body.size == len(octets)
    assert body.crlf_size == len(re.sub(rb"(?<!\r)\n", b"\r\n", octets))
    assert body.header == header_block(octets)
    assert octets.startswith(body.header)


@pytest.mark.parametrize(
    ("octets", "header"),
    [
        (b"A: b\r\n\r\nbody\r\n\r\n", b"A: b\r\n\r\n"),
        (b"A: b\n\nbody\r\n\r\n", b"A: b\n\n"),
        (b"A: b\n\r\n\n", b"A: b\n\r\n"),
        (b"A: b\r\n\nbody", b"A: b\r\n\n"),
        (b"\r\nbody\r\n\r\n", b"\r\n"),
        (b"\n\nbody", b"\n"),
        (b"A: b", b"A: b"),
        (b"", b""),
    ],
)
def test_the_header_ends_with_the_first_blank_line(octets: bytes, header: bytes) -> None:
    assert header_block(octets) == header


def test_a_header_without_end_is_cut_off() -> None:
    builder = BodyBuilder()
    for _ in range(5):
        builder.feed(b"x" * 300_000)
    assert len(builder.body().header) == HEADER_OCTETS
    assert len(header_block(b"x" * 1_500_000)) == HEADER_OCTETS


def test_header_digests_do_not_depend_on_line_ends() -> None:
    forms = [b"A: b\r\nC: d\r\n\r\n", b"A: b\nC: d\n\n", b"A: b\r\nC: d\r\n", b"A: b\nC: d"]
    assert len({header_digest(form) for form in forms}) == 1
    assert header_digest(b"A: c\r\n\r\n") != header_digest(b"A: b\r\n\r\n")
    assert header_digest(b"A: \0\r\n\r\n") == header_digest(b"A: \x80\r\n\r\n")  # as Dovecot shows it


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Message-ID: <a@b>\r\n\r\n", "<a@b>"),
        (b"X: y\nmessage-id:<a@b>\n\n", "<a@b>"),
        (b"Message-Id :\r\n <a@b>\r\nX: y\r\n\r\n", "<a@b>"),
        (b"Message-ID: <a\r\n b@c> (comment)\r\n\r\n", "<a b@c>"),
        (b"Message-ID: plain\r\n\r\n", "plain"),
        (b"Message-ID: <\xfc@b>\r\n\r\n", "<\\xfc@b>"),
        (b"Message-ID: <a\x00@b>\r\n\r\n", "<a\\x00@b>"),
        (b"Message-ID: <>\r\n\r\n", None),
        (b"Message-ID:\r\nX: y\r\n\r\n", None),
        (b"X-Message-ID: <a@b>\r\n\r\n", None),
        (b"Message-ID-X: <a@b>\r\nMessage-ID: <c@d>\r\n\r\n", "<c@d>"),
        (b"", None),
    ],
)
def test_message_ids(header: bytes, expected: str | None) -> None:
    assert message_id(header) == expected


def test_a_message_id_of_any_length_is_kept_short() -> None:
    assert len(message_id(b"Message-ID: <" + b"x" * 200_000 + b">\r\n") or "") == 998


def test_header_values_are_unfolded_and_the_first_counts() -> None:
    header = "Subject: one\r\n\ttwo ü\r\nSubject: other\r\n\r\n".encode()
    assert header_value(header, "subject") == "one\\x09two ü"
    assert header_value(b"Subject: \xfc\r\n", "Subject") == "\\xfc"
    assert header_value(header, "From") is None


def test_arrival_is_the_internaldate_else_received_else_date_else_zero() -> None:
    date = b"Date: Thu, 2 Jan 2020 13:00:00 +0100\r\n"
    received = b"Received: from a; by b;\r\n Thu, 2 Jan 2020 12:00:01 +0000\r\n"
    older = b"Received: from x; Thu, 2 Jan 2020 11:00:00 +0000\r\n"
    header = date + received + older + b"\r\n"
    assert arrived_of("02-Jan-2020 12:00:02 +0000", header) == NOON + 2
    assert arrived_of("00-Jan-0000 00:00:00 +0000", header) == NOON + 1
    assert arrived_of(None, b"Received: from nowhere\r\n" + date) == NOON
    assert arrived_of(None, b"Date: soon\r\n") == 0
    assert arrived_of(None, b"") == 0


@given(st.binary(max_size=60), st.text(max_size=40))
def test_no_date_raises(value: bytes, text: str) -> None:
    assert isinstance(arrived_of(text, b"Received: x;" + value + b"\r\nDate: " + value + b"\r\n"), int)


@pytest.mark.parametrize(
    "date",
    ["Thu, 99999999999999999999 Jan 2020 0:0:0", "1 Jan 0 0:0:0", "0 0 0 0 0", "Thu, 2 Jan 99999 1:1:1 +9" * 9],
)
def test_impossible_dates_do_not_raise(date: str) -> None:
    assert isinstance(arrived_of(None, f"Date: {date}\r\n".encode()), int)


def test_placeholders_of_exchange_are_recognised() -> None:
    made_up = (
        b"From: Microsoft Exchange Server 2010\r\n"
        b"Subject: Retrieval using the IMAP4 protocol failed for the following\r\n message: 20004\r\n\r\n"
    )
    assert is_placeholder(made_up)
    assert not is_placeholder(made_up.replace(b"Subject: ", b"Subject: Re: "))
    assert not is_placeholder(b"Subject: Hello\r\n\r\n")


CORPORA = Path(os.environ.get("MAIL_CORPORA", Path(__file__).parents[3].parent / "shared" / "corpora"))


@pytest.mark.skipif(not CORPORA.is_dir(), reason="no directory of odd messages (MAIL_CORPORA)")
def test_odd_messages_of_the_world_can_be_looked_into() -> None:
    messages = [path.read_bytes() for path in sorted(CORPORA.rglob("*")) if path.is_file()]
    for octets in messages:
        body = body_of(octets)
        assert body.crlf_size == len(re.sub(rb"(?<!\r)\n", b"\r\n", octets))
        assert isinstance(arrived_of(None, body.header), int)
        assert len(message_id(body.header) or "") <= 998
        assert not is_placeholder(body.header)
