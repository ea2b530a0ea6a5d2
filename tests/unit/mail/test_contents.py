"""What of a message can be searched: its text, in any charset and form, and the names of its attachments."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.parts.contents import OCTETS, TEXT_LENGTH, Contents, contents_of
from archiver.mail.parts.markup import text_of_html
from archiver.mail.parts.parameters import field_of
from tests.servers.corpora import CorpusMessage


def contents(octets: bytes) -> Contents:
    return contents_of(io.BytesIO(octets))


def part(type_: bytes, body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"Content-Type: " + type_, *fields, b"", body])


def multipart(*parts: bytes, subtype: bytes = b"mixed", boundary: bytes = b"b") -> bytes:
    head = b'Content-Type: multipart/%s; boundary="%s"\r\n\r\npreamble\r\n' % (subtype, boundary)
    return (
        head + b"".join(b"--%s\r\n%s\r\n" % (boundary, each) for each in parts) + b"--%s--\r\nepilogue" % boundary
    )


QP = b"Content-Transfer-Encoding: quoted-printable"
BASE64 = b"Content-Transfer-Encoding: base64"
ATTACHED = b"Content-Disposition: attachment"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", ""),
        (b"no header at all", "no header at all"),
        (b"Subject: x\r\n\r\nlong  lines\r\nare one\tline\0!", "long lines are one line !"),
        (part(b"text/plain; charset=utf-8", b"soft=\r\n ly broken, Gr=C3=BC=C3=9Fe", QP), "soft ly broken, Grüße"),
        (part(b"text/plain; charset=KOI8-R", "Привет".encode("koi8-r")), "Привет"),
        (part(b"text/plain; charset=gb2312", "会議\r\n室".encode("gb18030")), "会議室"),
        (part(b"text/plain; charset=nonsense", "schön".encode()), "schön"),
        (part(b"text/plain", "schön".encode("latin-1")), "schön"),
        (part(b"text/plain; charset=utf-7", b"+2AA-lone"), "\ufffdlone"),
        (part(b"text/plain; charset=utf-8", b"R3LDvMOfZQ", BASE64), "Grüße"),
        (part(b"text/plain", b"SGVs bG8h***\r\n", BASE64), "Hello!"),
        (part(b"text/html", b"<p>in<b>voi</b>ce<br>&amp; Gr&uuml;&szlig;e<script>x()</script>"), "invoice & Grüße"),
        (part(b"application/pdf", b"%PDF text"), ""),
        (part(b"multipart/mixed", b"no boundary"), "no boundary"),
        (multipart(b"\r\none", part(b"text/html", b"<p>two</p>")), "one two"),
        (multipart(b"\r\nsame", part(b"text/html", b"<p>same</p>"), subtype=b"alternative"), "same"),
        (multipart(b"\r\none")[:-17], "one"),
        (multipart(multipart(b"\r\nin", boundary=b"bb"), b"\r\nout").replace(b"--bb--", b""), "in epilogue out"),
        (multipart(b"\r\n--bx\r\n---b is text"), "--bx ---b is text"),
        (multipart(part(b"message/rfc822", b"Subject: i\r\n\r\nforwarded")), "forwarded"),
        (multipart(b"Subject: i\r\n\r\nof a digest", subtype=b"digest"), "of a digest"),
        (multipart(b"\r\none").replace(b"\r\n", b"\n"), "one"),
    ],
)
def test_the_text_of_a_message(octets: bytes, text: str) -> None:
    assert contents(octets).text == text
    assert not contents(octets).cut


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b"; filename=a.pdf", "a.pdf"),
        (b'; filename="a; \\"b\\".pdf"', 'a; "b".pdf'),
        (b"; filename*=utf-8''Gr%C3%BC%C3%9Fe.png; filename=Gruesse.png", "Grüße.png"),
        (b"; filename*0*=iso-8859-1'de'%FCber; filename*1=.pdf", "über.pdf"),
        (b"; filename*1=b; filename*0=a; filename*3=d", "ab"),
        (b'; filename="=?utf-8?B?5Lya6K2wLnhsc3g=?="', "会議.xlsx"),
        (b"; filename==?koi8-r?Q?=F0=D2?=.txt", "Пр.txt"),
        (b'; filename="' + "отчёт.doc".encode() + b'"', "отчёт.doc"),
        (b'; filename="unended.doc', "unended.doc"),
        (b'; filename="over\r\n two lines.doc"', "over two lines.doc"),
        (b";; ;filename = blanks.doc ;", "blanks.doc"),
        (b'; filename="..\\\\..\\\\x\x01.exe"', "..\\..\\x\\x01.exe"),
    ],
)
def test_the_name_of_an_attachment(parameters: bytes, name: str) -> None:
    found = contents(multipart(b"\r\nhi", part(b"application/x", b"", ATTACHED + parameters)))

    assert (found.names, found.attached, found.text) == ((name,), True, "hi")


def test_what_counts_as_attached() -> None:
    picture = part(b"image/png; name=logo.png", b"AAAA", b"Content-ID: <1>", b"Content-Disposition: inline")
    signature = part(b"application/pgp-signature; name=signature.asc", b"x")
    plain = part(b"text/plain; name=log.txt", b"lines", ATTACHED)

    assert contents(multipart(b"\r\nx", picture, subtype=b"related")) == Contents(
        "x", ("logo.png",), attached=False
    )
    assert contents(multipart(b"\r\nx", signature, subtype=b"signed")).attached is False
    assert contents(multipart(b"\r\nx", picture)).attached
    assert contents(multipart(b"\r\nx", plain)) == Contents("x lines", ("log.txt",), attached=True)
    assert contents(multipart(b"\r\nx", part(b"message/rfc822", b"\r\nfw"))).attached
    assert not contents(part(b"text/plain; name=all.txt", b"x")).attached


DEEP = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(100))
MIXED = b"Content-Type: multipart/mixed; boundary=b\n\n"
HTML = b"Content-Type: text/html\n\n"
HOSTILE = {
    "10,000 parts": MIXED + b"--b\nContent-Type: text/plain\n\nhello\n" * 10_000,
    "70 MB": MIXED + b"--b\n\nhi\n--b\nContent-Type: a/b; name=x\n\n" + (b"QUFB" * 19 + b"\n") * 900_000,
    "boundaries all over": b"Content-Type: multipart/mixed; boundary=-\n\n" + b"---x\n" * 2_000_000,
    "a line of dashes": b"Content-Type: multipart/mixed; boundary=-\n\n" + b"-" * 10_000_000,
    "a hundred deep": DEEP + b"\nx" * 1_000_000,
    "messages in messages": b"Content-Type: message/rfc822\n\n" * 100_000,
    "nested HTML": HTML + b"<div>" * 250_000 + b"end",
    "tags that never end": HTML + b'<a "' * 300_000,
    "comments that never end": HTML + b"<!--a" * 300_000,
    "entities": HTML + b"&#" + b"9" * 500_000 + b"&amp;" * 200_000,
    "parameters": b"Content-Type: text/plain" + b'; a*1*="' * 100_000 + b"\n\nhello",
    "a long text": b"\n" + "会議\n".encode() * 500_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_any_message_costs_a_bounded_time(name: str) -> None:
    began = time.process_time()

    found = contents(HOSTILE[name])

    assert time.process_time() - began < 5
    assert len(found.text) <= TEXT_LENGTH
    if len(HOSTILE[name]) > OCTETS or name in ("10,000 parts", "a hundred deep", "a long text"):
        assert found.cut


BEGINNINGS = [b"", MIXED + b"--b\n", HTML, b"Content-Type: text/plain;", QP + b"\n\n"]


@given(st.binary(max_size=300), st.sampled_from(BEGINNINGS))
def test_octets_never_raise(octets: bytes, before: bytes) -> None:
    found = contents(before + octets + b"\n--b\n" + octets)

    "".join((found.text, *found.names)).encode()
    assert "\n" not in found.text


@given(st.text(alphabet="<>!-/ &#;\"'aposcrit", max_size=60))
def test_markup_never_raises(markup: str) -> None:
    text_of_html(markup)
    field_of(markup.encode())


def test_the_contents_of_real_messages(corpora: list[CorpusMessage]) -> None:
    """Each is read; those that are one plain text have all of its words."""
    named = {name for each in corpora for name in contents(each.octets).names}
    plain = [each for each in corpora if b"ontent-" not in each.octets and b"\n\n" in each.octets[1:]][:200]

    assert len(named) > 50
    assert plain
    for each in plain:
        body = each.octets.split(b"\n\n", 1)[1]
        if body.isascii() and not each.octets.startswith(b"\n") and b"\0" not in body and len(body) < 50_000:
            assert contents(each.octets).text == " ".join(
                "".join(char if char.isprintable() else " " for char in body.decode()).split()
            ), each.name
