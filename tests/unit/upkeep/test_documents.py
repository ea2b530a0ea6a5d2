"""The text of attached documents, and the process that reads them, whatever they do to it."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Iterator
from io import BytesIO

import pytest

from archiver.errors import Interrupted
from archiver.mail.parts.contents import Contents, DocumentKind, contents_of
from archiver.mail.parts.office import NotADocument, text_of_office
from archiver.mail.parts.pdf import text_of_pdf
from archiver.upkeep.documents import child
from archiver.upkeep.documents.reader import DocumentReader
from tests.documents import docx, odt, pdf, pptx, xlsx, zipped

MOST = 10_000


@pytest.fixture
def reader() -> Iterator[DocumentReader]:
    with DocumentReader(lambda: None, seconds=20) as opened:
        yield opened


def words(read: tuple[str, bool]) -> list[str]:
    return read[0].split()


def message(octets: bytes, type_: str, name: str) -> bytes:
    return (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nsee attached\r\n--b\r\n'
        + f'Content-Type: {type_}\r\nContent-Disposition: attachment; filename="{name}"\r\n'.encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(octets)
        + b"\r\n--b--\r\n"
    )


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (docx("invoice", "noch ein Grüße"), ["invoice", "noch", "ein", "Grüße"]),
        (xlsx("Umsatz", "合計"), ["Umsatz", "合計", "inline"]),
        (pptx(*(f"slide-{number}" for number in range(1, 12))), [f"slide-{number}" for number in range(1, 12)]),
        (odt("Angebot", "Mahnung"), ["Angebot", ".", "Mahnung", "."]),
    ],
    ids=["docx", "xlsx", "pptx", "odt"],
)
def test_the_text_of_an_office_document_is_read_in_its_order(octets: bytes, expected: list[str]) -> None:
    assert words(text_of_office(octets, MOST)) == expected


def test_the_text_of_a_pdf_is_read_page_by_page() -> None:
    assert text_of_pdf(pdf("first page", "second page"), MOST) == ("first page second page", False)
    assert text_of_pdf(pdf("first page", "second page"), 8) == ("first pa", True)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><x>&a;</x>'


@pytest.mark.parametrize(
    "octets",
    [b"", b"no zip", docx("x")[:-30], zipped({"word/document.xml": "<a><b></a>"}), zipped({"content.xml": BOMB})],
    ids=["empty", "not a ZIP", "cut off", "no XML", "entities"],
)
def test_what_is_no_office_document_is_refused(octets: bytes) -> None:
    with pytest.raises(NotADocument):
        text_of_office(octets, MOST)


def test_a_document_that_unpacks_to_gigabytes_is_read_to_a_limit() -> None:
    huge = zipped({"content.xml": "<a><p>begin</p>" + "<p> </p>" * 8_000_000 + "<p>end</p></a>"})

    text, _ = text_of_office(huge, MOST)

    assert "begin" in text
    assert "end" not in text


@pytest.mark.parametrize("octets", [b"", b"%PDF-1.4\n%%EOF", pdf("x")[:80], b"\0" * 5000])
def test_what_is_no_pdf_is_refused(octets: bytes) -> None:
    with pytest.raises(NotADocument):
        text_of_pdf(octets, MOST)


@pytest.mark.parametrize(
    ("type_", "name", "octets"),
    [
        ("application/pdf", "offer.pdf", pdf("the secret word")),
        ("application/octet-stream", "OFFER.PDF", pdf("the secret word")),
        ("application/vnd.oasis.opendocument.text", "offer", odt("the secret word")),
        ("application/octet-stream", "offer.docx", docx("the secret word")),
    ],
)
def test_a_message_is_found_by_what_its_document_says(
    reader: DocumentReader, type_: str, name: str, octets: bytes
) -> None:
    read = contents_of(BytesIO(message(octets, type_, name)), reader)

    assert read.text.startswith("see attached the secret word")
    assert (read.names, read.attached, read.cut) == ((name,), True, False)
    assert contents_of(BytesIO(message(octets, type_, name))).text == "see attached"


def test_a_process_is_used_again_and_replaced_when_it_dies(reader: DocumentReader) -> None:
    assert reader("office", docx("one"), MOST) is not None
    process = reader._process
    assert process is not None
    assert reader("office", docx("two"), MOST) is not None
    assert reader._process is process

    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert reader("pdf", pdf("lost"), MOST) is None
    assert reader("pdf", pdf("three"), MOST) == ("three", False)


def test_a_document_that_takes_too_long_ends_the_process_and_not_the_work() -> None:
    with DocumentReader(lambda: None, seconds=0.0) as reader:
        os.kill(reader._started().pid, signal.SIGSTOP)
        assert reader("office", docx("x"), MOST) is None
        assert reader._process is None


def test_a_stop_does_not_wait_for_a_document() -> None:
    def stop() -> None:
        raise Interrupted(15)

    with DocumentReader(stop, seconds=600) as reader:
        process = reader._started()
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(Interrupted):
            reader("pdf", pdf("x"), MOST)
    assert process.returncode == -signal.SIGKILL


def test_the_process_has_little_memory_and_no_secret(
    reader: DocumentReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALICE_PASSWORD", "secret")
    process = reader._started()
    assert reader("office", docx("x"), MOST) is not None

    with open(f"/proc/{process.pid}/environ", "rb") as file:
        assert b"ALICE" not in file.read()
    with open(f"/proc/{process.pid}/limits") as file:
        limits = file.read()
    assert str(child.MEMORY) in limits.split("Max address space", 1)[1].splitlines()[0]


def test_a_message_of_documents_that_cannot_be_read_costs_a_few_tries() -> None:
    asked: list[DocumentKind] = []

    def slow(kind: DocumentKind, octets: bytes, most: int) -> tuple[str, bool] | None:
        asked.append(kind)
        return None

    part = b"--b\r\nContent-Type: application/pdf\r\n\r\n%d\r\n"
    octets = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"".join(part % each for each in range(500))

    read: Contents = contents_of(BytesIO(octets), slow)

    assert len(asked) == 3
    assert read.cut
