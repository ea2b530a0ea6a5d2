"""What is read off headers for a search, from good, odd and hostile ones."""

from __future__ import annotations

import json
import time
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.content import header_block
from archiver.mail.headers import RECIPIENTS_LENGTH, TEXT_LENGTH, folded, headers_of, readable
from archiver.mail.model import Headers
from tests.servers.corpora import CorpusMessage


def test_a_header_as_most_are() -> None:
    header = (
        b"Received: x\r\nFrom: Alice <alice@example.org>\r\nTo: Bob <bob@example.org>,\r\n\tcarol@example.org\r\n"
        b"Cc: dan@example.org\r\nSubject: Lunch on\r\n Friday?\r\nDate: Mon, 5 Jan 2026 02:30:00 +0100\r\n\r\n"
    )

    assert headers_of(header) == Headers(
        "Alice <alice@example.org>",
        "Bob <bob@example.org>, carol@example.org, dan@example.org",
        "Lunch on Friday?",
        "2026-01-05T01:30:00Z",
    )


@pytest.mark.parametrize("header", [b"", b"\r\n", b"\r\nFrom: in the body", b"no field", b"X-Subject: not this"])
def test_a_header_without_any(header: bytes) -> None:
    assert headers_of(header_block(header)) == Headers("", "", "", None)


def test_names_in_any_case_with_blanks_before_the_colon_and_bare_line_feeds() -> None:
    assert headers_of(b"FROM : a\nsubject\t:b\nTo:\n c\n\n") == Headers("a", "c", "b", None)


def test_the_first_of_several_counts_and_all_recipients() -> None:
    header = b"Subject: one\r\nSubject: two\r\nBcc: d\r\nTo: a\r\nTo: b\r\nFrom: x\r\nFrom: y\r\nCc: c\r\n\r\n"

    assert headers_of(header) == Headers("x", "a, b, c, d", "one", None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?Q?Zo=C3=AB_Doe?= <z@example.org>", "Zoë Doe <z@example.org>"),
        ("=?UTF-8?B?w4TDpA==?=", "Ää"),
        ("=?iso-8859-1?q?a=20b?= =?iso-8859-1?q?c?=", "a bc"),
        ("=?utf-8?b?5pel?= and =?utf-8?b?5pys?=", "日 and 本"),
        # A character cut in two, as many senders do.
        ("=?utf-8?b?5pel5g==?=   =?UTF-8?b?nKw=?=", "日本"),
        ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?gb2312?B?xOO6ww==?=", "你好"),
        ("=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?utf-8?Q?Wie geht es??=", "Wie geht es?"),
        # What cannot be decoded is shown as it is, or as well as it can be.
        ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ("=?unheard-of?q?Zo=C3=AB?=", "Zoë"),
        ("=?utf-8?q?=ff?=", "\ufffd"),
        ("=?zip?q?x?=", "x"),
        ("=?utf-8?q?", "=?utf-8?q?"),
        ("50 =? 51", "50 =? 51"),
        # A word hides a NUL, an escape sequence, a line end.
        ("=?utf-8?q?a=00b=1b[31m=0d=0ac?=", "a\\x00b\\x1b[31m c"),
        ("=?utf-7?q?+2AA-?=", "\\ud800"),
    ],
)
def test_encoded_words(value: str, text: str) -> None:
    assert readable(value) == text
    assert headers_of(f"Subject: {value}\r\n\r\n".encode()).subject == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Zoë 日本".encode(), "Zoë 日本"),
        (b"Gr\xfc\xdfe \x96 ja", "Grüße – ja"),
        (b"a\x00b\x1b[31mc\x7f", "a\\x00b\\x1b[31mc\\x7f"),
        (b"a\xed\xa0\x80b", "aí €b"),  # a lone surrogate is no UTF-8
    ],
)
def test_octets_that_are_not_ascii(value: bytes, text: str) -> None:
    assert headers_of(b"Subject: " + value + b"\n\n").subject == text


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 99:99:99", "1 Jan 99999 00:00 +0000"])
def test_a_date_that_is_none(date: str) -> None:
    assert headers_of(f"Date: {date}\r\n\r\n".encode()).sent is None


def test_lengths_are_bounded() -> None:
    header = b"Subject: %s\r\nFrom: %s\r\n" % (b"s" * 200_000, b"f" * 200_000)
    header += b"To: %s\r\n\r\n" % b",\r\n ".join(b"<%d@example.org>" % number for number in range(20_000))

    headers = headers_of(header)

    assert (len(headers.subject), len(headers.sender)) == (TEXT_LENGTH, TEXT_LENGTH)
    assert len(headers.recipients) == RECIPIENTS_LENGTH


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: " + b"=?x?q?" * 170_000,
        b"Subject: =?utf-8?q?" + b"?a" * 500_000,
        b"\nto" * 300_000,
        b"To:\n " * 200_000,
        (b"To: " + b"=?x?q?" * 1300 + b"\n") * 100,
    ],
    ids=["words without end", "question marks", "names without colon", "empty folds", "many fields"],
)
def test_a_hostile_header_of_a_mebibyte_takes_no_time(header: bytes) -> None:
    began = time.process_time()
    headers_of(header)
    assert time.process_time() - began < 1


def is_storable(headers: Headers) -> bool:
    texts = [headers.sender, headers.recipients, headers.subject]
    json.dumps(texts, ensure_ascii=False).encode("utf-8")
    return not any(character < " " for text in texts for character in text)


@given(st.lists(st.sampled_from([b"From", b"To", b"Subject", b"Date", b":", b"=?", b"?=", b"utf-8?q?", b"\n", b" "])
    | st.binary(max_size=6)).map(b"".join))  # fmt: skip
def test_nothing_makes_it_raise(header: bytes) -> None:
    assert is_storable(headers_of(header))


def test_the_headers_of_real_messages(corpora: list[CorpusMessage]) -> None:
    headers = [headers_of(header_block(message.octets)) for message in corpora]

    assert all(map(is_storable, headers))
    assert sum("=?utf-8?" in each.subject.lower() for each in headers) < 3  # broken base64
    # Another parser sees the same fields. It stops at a line that is no field, where we go on.
    for name, field in (("From", "sender"), ("Subject", "subject")):
        there = [bool(str(message_from_bytes(each.octets)[name] or "").strip()) for each in corpora]
        here = [bool(getattr(each, field)) for each in headers]
        assert sum(one != other for one, other in zip(there, here, strict=True)) < 0.02 * len(headers)


@pytest.mark.parametrize(
    ("sought", "text"),
    [
        ("STRASSE", "Hauptstraße 1"),
        ("zoë", "Zoe\u0308"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("привет", "ПРИВЕТ"),
        ("abc", "ＡＢＣ"),
        ("ﬁn", "FINAL"),
    ],
)
def test_case_does_not_count_in_any_script(sought: str, text: str) -> None:
    assert folded(sought) in folded(text)


@pytest.mark.parametrize(
    ("word", "codec", "text"),
    [
        ("gb2312", "gb18030", "镕"),
        ("GB2312", "gb18030", "㐀"),
        ("ks_c_5601-1987", "cp949", "똠방"),
        ("euc-kr", "cp949", "뷁"),
        ("shift_jis", "cp932", "①髙"),
        ("big5", "big5hkscs", "嘅"),
        ("windows-874", "cp874", "สวัสดี"),
        ("iso-8859-8-i", "iso8859-8", "שלום"),
        ("iso-8859-1", "cp1252", "„5 €“"),
        ("x-unknown", "cp1252", "café"),
        ("us-ascii", "utf-8", "naïve"),
    ],
)
def test_a_charset_is_the_one_that_is_meant(word: str, codec: str, text: str) -> None:
    octets = text.encode(codec)
    quoted = "".join(f"={octet:02X}" for octet in octets)
    raw = b"Subject: " + octets + b'\r\nContent-Type: text/plain;\r\n charset="' + word.encode() + b'"\r\n\r\n'

    assert readable(f"=?{word}?Q?{quoted}?=") == text
    assert headers_of(raw).subject == text


@pytest.mark.parametrize(
    ("octets", "declared", "text"),
    [
        ("Привет".encode("koi8-r"), b"koi8-r", "Привет"),
        ("Привет".encode(), b"koi8-r", "Привет"),
        ("Καλημέρα, κόσμε".encode() + b"\xa0", b"iso-8859-1", "Καλημέρα, κόσμε\ufffd"),
        ("Grüße".encode("cp1252"), b"nonsense", "Grüße"),
        ("Grüße".encode("cp1252"), b"punycode", "Grüße"),
        ("Zażółć".encode("cp1250"), b"'windows-1250'", "Zażółć"),
    ],
)
def test_raw_octets_are_in_the_charset_of_the_message(octets: bytes, declared: bytes, text: str) -> None:
    header = b"From: " + octets + b"\r\ncontent-type: text/html; format=flowed; charset=" + declared + b"\r\n\r\n"

    assert headers_of(header).sender == text


def test_a_recipient_is_found_in_the_ninth_field_and_in_any_later_one() -> None:
    header = b"".join(b"Cc: %d@x.example\r\n" % number for number in range(40)) + b"\r\n"

    assert headers_of(header).recipients == ", ".join(f"{number}@x.example" for number in range(40))
