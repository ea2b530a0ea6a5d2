"""The parts of messages, from well-formed and from broken ones."""

from __future__ import annotations

import email
import io
import time
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.parts.mime import Part, Structure, structure_of
from tests.servers.corpora import CorpusMessage


def structure(octets: bytes) -> Structure:
    return structure_of(io.BytesIO(octets))


def shape(part: Part) -> str:
    """The type, and the sizes of the innermost parts."""
    return f"{part.type} ({', '.join(map(shape, part.parts))})" if part.parts else f"{part.type} {part.size}"


def multipart(*parts: bytes, boundary: bytes = b"b", subtype: bytes = b"mixed") -> bytes:
    head = b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n' % (subtype, boundary)
    return head + b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary


TEXT = b"Content-Type: text/html; charset=UTF-8\r\nContent-Transfer-Encoding: BASE64\r\n\r\nAAAA"


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"", "text/plain 0"),
        (b"\r\n", "text/plain 0"),
        (b"Subject: x\r\n\r\nbody\r\n", "text/plain 6"),
        (b"Subject: x", "text/plain 0"),
        (multipart(TEXT, b"\r\nhello"), "multipart/mixed (text/html 4, text/plain 5)"),
        (multipart(TEXT).replace(b"\r\n", b"\n"), "multipart/mixed (text/html 4)"),
        (
            multipart(multipart(TEXT, boundary=b"bb"), b"\r\nx"),
            "multipart/mixed (multipart/mixed (text/html 4), text/plain 1)",
        ),
        # The end of the inner one is missing.
        (
            multipart(multipart(TEXT, boundary=b"i").replace(b"--i--\r\n", b""), b"\r\nx"),
            "multipart/mixed (multipart/mixed (text/html 6), text/plain 1)",
        ),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno part", "multipart/mixed 7"),
        (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx", "multipart/mixed 8"),
        (b"Content-Type: nonsense\r\n\r\nx", "text/plain 1"),
        (
            b"Content-Type: message/rfc822\r\n\r\n" + multipart(TEXT),
            "message/rfc822 (multipart/mixed (text/html 4))",
        ),
        (b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA", "message/rfc822 4"),
        (
            multipart(b"\r\nSubject: x\r\n\r\ny", subtype=b"digest"),
            "multipart/digest (message/rfc822 (text/plain 1))",
        ),
        # The blank line before the first part is missing.
        (
            b"Content-Type: multipart/mixed; boundary=b\r\n--b\r\n\r\nx\r\n--b--",
            "multipart/mixed (text/plain 1)",
        ),
    ],
)
def test_the_parts_of_a_message(octets: bytes, found: str) -> None:
    assert shape(structure(octets).root) == found


def test_the_size_of_a_part_is_that_of_its_body_with_all_parts() -> None:
    inner = multipart(TEXT, boundary=b"i")

    found = structure(multipart(inner)).root

    body_of_inner = inner.partition(b"\r\n\r\n")[2]
    assert found.size == len(multipart(inner).partition(b"\r\n\r\n")[2])
    assert [each.size for each in found.parts] == [len(body_of_inner)]
    assert [each.size for each in found.parts[0].parts] == [4]


def test_what_is_reported_of_a_part() -> None:
    octets = b"Content-Type: Image/PNG; name==?utf-8?q?Gr=C3=BC=C3=9Fe=2Epng?=\r\n\r\nx"
    assert structure(octets) == Structure(Part("image/png", None, None, "Grüße.png", 1, start=len(octets) - 1))
    assert structure(TEXT).root == Part("text/html", "utf-8", "base64", None, 4, start=len(TEXT) - 4)


def test_what_is_deeper_or_more_than_a_person_can_look_at_is_left_out() -> None:
    deep = structure(b"Content-Type: message/rfc822\n\n" * 100_000)
    wide = structure(multipart(*[b"\r\nx"] * 2000))

    assert not deep.complete
    assert not wide.complete
    assert len(wide.root.parts) == 999


@pytest.mark.parametrize(
    "piece",
    [
        b'\\";',
        b'";',
        b";",
        b"a=b;",
        b"\r\n ;a=b",
        b"filename*1*=%41;",
        b"\r\nContent-Type: a/b",
        b"=?x?b?",
        b"(",
        b" ",
    ],
)
@pytest.mark.parametrize("name", [b"Content-Type: text/plain", b"Content-Disposition: attachment"])
def test_a_hostile_description_takes_no_longer_than_its_length(name: bytes, piece: bytes) -> None:
    octets = name + b'; a="' + piece * (250_000 // len(piece)) + b"\r\n\r\nbody"
    parts = multipart(*[name + b'; a="' + piece * 500 + b"\r\n\r\nbody"] * 60)
    began = time.process_time()
    found = structure(octets), structure(parts)

    assert (found[0].complete, len(found[1].root.parts)) == (True, 60)
    assert time.process_time() - began < 2.0  # one of a quarter of a megabyte took a minute


def test_delimiters_that_are_none_take_no_longer_than_their_length() -> None:
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(99))
    began = time.process_time()

    assert structure(nested + b"\r\n" + b"--x\r\n" * 400_000).complete
    assert time.process_time() - began < 3.0  # nine


def test_a_large_message_streams_by() -> None:
    attachment = b"Content-Type: application/pdf\r\n\r\n" + (b"A" * 76 + b"\r\n") * 300_000
    octets = multipart(b"\r\nhello", attachment)

    began = time.process_time()
    found = structure(octets)

    assert [each.size for each in found.root.parts] == [5, 300_000 * 78]
    assert time.process_time() - began < 3


@given(
    st.lists(
        st.sampled_from([b"--b", b"--", b"\r\n", b"\n", b":", b"Content-Type", b": multipart/mixed; boundary=b"])
        | st.sampled_from([b"Content-Type: message/rfc822", b"; name=", b"*0*=", b"''%ff", b"\xff", b'"', b"x"])
    ).map(b"".join)
)
def test_nothing_makes_it_raise(octets: bytes) -> None:
    assert 0 <= structure(octets).root.size <= len(octets)


def of_library(message: Message) -> str:
    parts = message.get_payload() if message.get_content_maintype() == "multipart" else ()
    inner = ", ".join(of_library(part) for part in parts if isinstance(part, Message)) if parts else ""
    return message.get_content_type() + (f" ({inner})" if inner else "")


def of_ours(part: Part) -> str:
    inner = ", ".join(map(of_ours, part.parts)) if part.type.startswith("multipart/") else ""
    return part.type + (f" ({inner})" if inner else "")


def test_the_parts_of_real_messages_are_those_of_the_standard_library(corpora: list[CorpusMessage]) -> None:
    """But for some that are broken, where both guess."""
    differing = [
        message.name
        for message in corpora
        if of_ours(structure(message.octets).root) != of_library(email.message_from_bytes(message.octets))
    ]
    assert len(differing) < 0.02 * len(corpora)
