"""What of a message can be searched: the text of its text/plain and text/html parts, and the names of its
attachments. It is read after the octets are safe, as far as it can be understood, and never raises.

Time and memory are bounded, whatever the message is: so many octets of it are looked at, so many parts, so many
lines that may be boundaries, and so much text is kept. What that left out is said (`Contents.cut`). Text that is
encrypted, or signed in an opaque form, is not text here; that of attached documents is only if somebody reads them.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

from msgspec import Struct

from archiver.mail.charsets import decoded
from archiver.mail.parts.markup import text_of_html
from archiver.mail.parts.parameters import Field, field_of

#: What is looked at of a message, and kept of its text.
OCTETS = 64 << 20
TEXT_LENGTH = 1 << 18

_PART_OCTETS = 2 << 20  # of a text, still encoded
_TEXTS_OCTETS = 4 << 20  # of all texts of a message
_HEADER_OCTETS = 1 << 18
_PARTS, _DEPTH, _LINES = 1000, 20, 10_000
_NAMES_LENGTH = 1 << 14

_DOCUMENT_OCTETS = 28 << 20  # of a document, still encoded
_DOCUMENTS, _UNREADABLE = 20, 3  # of a message

DocumentKind = Literal["pdf", "office"]
Documents = Callable[[DocumentKind, bytes, int], tuple[str, bool] | None]
"""Reads up to that many characters of a document's text, and whether there is more; None: it cannot be read."""

_PDF = re.compile(r"application/(x-)?pdf|.*\.pdf", re.IGNORECASE)
_OFFICE = re.compile(
    r"application/vnd\.(openxmlformats-officedocument|oasis\.opendocument)\..*"
    r"|.*\.(doc[xm]|dot[xm]|xls[xm]|xlt[xm]|ppt[xm]|pps[xm]|pot[xm]|od[tsp]|ot[tsp])",
    re.IGNORECASE,
)

_DESCRIPTION = re.compile(
    rb"\n(content-type|content-transfer-encoding|content-disposition|content-id)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE,
)
_END = re.compile(rb"\n\r?\n")
_NOTHING = Field("", {})
_SIGNATURES = frozenset(
    {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
)
_UNSHOWN = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ") | dict.fromkeys(
    (0xAD, 0x34F, 0x200B, 0x2060, 0xFEFF), None
)
_SURROGATE = re.compile("[\ud800-\udfff]")  # UTF-7 can have one alone
_BETWEEN_IDEOGRAPHS = re.compile(
    "(?<=[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef])[ \t]*\r?\n"
    "(?=[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef])"
)


class Contents(Struct, frozen=True):
    """`text` has single blanks for all white space. `names` are those of attachments, of pictures within the text
    and of signatures, too; `attached`: there is something else than these two. `cut`: the message has more than
    what was looked at or kept."""

    text: str
    names: tuple[str, ...] = ()
    attached: bool = False
    cut: bool = False


def contents_of(file: BinaryIO, documents: Documents | None = None) -> Contents:
    """The contents of an open message; also the text of attached documents, if `documents` reads them."""
    pieces, left = [], OCTETS
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    cut = not left and bool(file.read(1))
    octets = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return _Reading(octets, documents, cut=cut).contents()


def one_line(text: str) -> str:
    """A text as it is searched: one line with single blanks. Where a line ends between two ideographs, which no
    blank is between, there is none."""
    if not text.isascii():
        text = _BETWEEN_IDEOGRAPHS.sub("", text)
    text = " ".join(text.split())
    if text.isprintable():
        return text
    return " ".join(_SURROGATE.sub("\ufffd", text.translate(_UNSHOWN)).split())


class _Reading:
    """A message that is being read, and what is left of its limits."""

    def __init__(self, octets: bytes, documents: Documents | None, *, cut: bool) -> None:
        self._octets, self._read_document = octets, documents
        self._cut = cut
        self._documents, self._unreadable = _DOCUMENTS, _UNREADABLE
        self._parts, self._lines, self._texts = _PARTS, _LINES, _TEXTS_OCTETS
        self._found: list[str] = []
        self._length = 0
        self._names: list[str] = []
        self._names_length = 0
        self._attached = False

    def contents(self) -> Contents:
        self._part(0, len(self._octets), 0, related=False, digest=False)
        text = " ".join(self._found)
        if len(text) > TEXT_LENGTH:
            text, self._cut = text[:TEXT_LENGTH], True
        return Contents(text, tuple(self._names), self._attached, self._cut)

    def _part(self, start: int, end: int, depth: int, *, related: bool, digest: bool) -> None:
        """The part between two positions, with all parts in it."""
        if self._parts <= 0 or depth > _DEPTH:
            self._cut = True
            return
        self._parts -= 1
        header, body = self._header(start, end)
        fields = {name: value.strip() for name, value in reversed(_lowered(header))}
        type_ = field_of(fields[b"content-type"]) if b"content-type" in fields else _NOTHING
        where = field_of(fields[b"content-disposition"]) if b"content-disposition" in fields else _NOTHING
        kind = type_.value if "/" in type_.value else "message/rfc822" if digest else "text/plain"
        encoding = fields.get(b"content-transfer-encoding", b"").partition(b";")[0].strip().lower()
        name = where.parameters.get("filename") or type_.parameters.get("name") or ""
        if kind.startswith("multipart/") and (boundary := type_.parameters.get("boundary", "").rstrip()):
            between = boundary.encode("utf-8", "surrogateescape")
            for first, last in self._split(body, end, between):
                its = kind == "multipart/related", kind == "multipart/digest"
                self._part(first, last, depth + 1, related=its[0], digest=its[1])
            return
        is_message = kind in ("message/rfc822", "message/global")
        is_text = kind in ("text/plain", "text/html") or kind.startswith("multipart/")
        if depth and (name or is_message or where.value == "attachment"):
            in_text = related and kind.startswith("image/") and b"content-id" in fields
            in_text = in_text and where.value != "attachment"
            self._name(one_line(name))
            self._attached |= not (in_text or kind in _SIGNATURES)
        if is_message and encoding in (b"", b"7bit", b"8bit", b"binary"):
            self._part(body, end, depth + 1, related=False, digest=False)
        elif is_text:
            self._text(body, end, encoding, kind, type_.parameters.get("charset"))
        elif self._read_document is not None and (document := _document_kind(kind, name)) is not None:
            self._document(document, body, end, encoding)

    def _header(self, start: int, end: int) -> tuple[bytes, int]:
        """The header block of a part, and where its body begins."""
        for blank in (b"\r\n", b"\n"):
            if self._octets.startswith(blank, start, end):
                return b"", start + len(blank)
        last = min(end, start + _HEADER_OCTETS)
        match = _END.search(self._octets, start, last)
        header = self._octets[start : match.end() if match else last]
        if match is None and b":" not in header:
            return b"", start  # text, and nothing before it
        return header, match.end() if match else last

    def _split(self, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int]]:
        """Where the parts of a multipart begin and end (RFC 2046 section 5.1.1)."""
        octets, delimiter = self._octets, b"--" + boundary
        position, begun = start, -1
        while (at := octets.find(delimiter, position, end)) >= 0:
            if self._lines <= 0:
                self._cut = True
                break
            self._lines -= 1
            position = at + len(delimiter)
            if at > start and octets[at - 1] != 0x0A:
                # The next line that could begin with it; so a line of dashes costs one look.
                at = octets.find(b"\n" + delimiter, position - 1, end)
                if at < 0:
                    break
                position = at + 1
                continue
            line_end = octets.find(b"\n", position, end)
            line_end = end if line_end < 0 else line_end + 1
            rest = octets[position : min(line_end, position + 100)].rstrip()
            if rest not in (b"", b"--"):
                continue
            if begun >= 0:
                yield begun, max(begun, at - (2 if octets[at - 2 : at] == b"\r\n" else 1))
            begun, position = (line_end, line_end) if not rest else (-1, line_end)
            if rest:
                return
        if begun >= 0:
            yield begun, end

    def _text(self, start: int, end: int, encoding: bytes, kind: str, charset: str | None) -> None:
        most = min(_PART_OCTETS, self._texts)
        octets = self._octets[start : min(end, start + most)]
        self._cut |= end - start > most
        self._texts -= len(octets)
        if self._length >= TEXT_LENGTH:
            self._cut |= bool(octets.strip())
            return
        text = decoded(_undone(octets, encoding), charset)
        self._found_text(one_line(text_of_html(text) if kind == "text/html" else text))

    def _document(self, kind: DocumentKind, start: int, end: int, encoding: bytes) -> None:
        too_many = self._documents <= 0 or self._unreadable <= 0
        if too_many or end - start > _DOCUMENT_OCTETS or self._length >= TEXT_LENGTH:
            self._cut = True
            return
        assert self._read_document is not None
        self._documents -= 1
        octets = _undone(self._octets[start:end], encoding)
        read = self._read_document(kind, octets, TEXT_LENGTH - self._length)
        if read is None:
            self._unreadable -= 1
            return
        text, is_cut = read
        self._cut |= is_cut
        self._found_text(one_line(text))

    def _found_text(self, text: str) -> None:
        if text and text not in self._found:  # the other form of a multipart/alternative often is the same text
            self._found.append(text[: TEXT_LENGTH + 1])
            self._length += len(text)

    def _name(self, name: str) -> None:
        if not name or name in self._names:
            return
        if self._names_length + len(name) > _NAMES_LENGTH:
            self._cut = True
            return
        self._names.append(name)
        self._names_length += len(name)


def _document_kind(kind: str, name: str) -> DocumentKind | None:
    """By its type, or by its name: many programs send everything as application/octet-stream."""
    if _PDF.fullmatch(kind) or _PDF.fullmatch(name):
        return "pdf"
    return "office" if _OFFICE.fullmatch(kind) or _OFFICE.fullmatch(name) else None


def _lowered(header: bytes) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in _DESCRIPTION.findall(b"\n" + header)]


def _undone(octets: bytes, encoding: bytes) -> bytes:
    """The octets without their Content-Transfer-Encoding, as far as they can be read."""
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(octets)
    if encoding != b"base64":
        return octets
    try:
        return binascii.a2b_base64(octets)
    except binascii.Error:
        kept = re.sub(rb"[^A-Za-z0-9+/]", b"", octets)
        whole = kept[: len(kept) - (len(kept) % 4 == 1)]
        return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
