"""A message's MIME parts (RFC 2045, RFC 2046) and how they are nested, for people.

The octets are streamed once, line by line, so a message of any size needs little memory. Broken messages are shown
as far as they can be understood; nothing is ever decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from typing import BinaryIO

from msgspec import Struct, field

from archiver.mail.headers import TEXT_LENGTH, readable

_LINE_OCTETS = 1 << 16
_HEADER_OCTETS = 1 << 18
_MAX_PARTS, _MAX_DEPTH = 1000, 100
_AS_THEY_ARE = ("", "7bit", "8bit", "binary")
#: A field that describes a part, with its folded lines.
_DESCRIPTION = re.compile(
    rb"\n(content-type|content-transfer-encoding|content-disposition)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE,
)
# NOTE: the standard library reads parameters in time that grows with the square of their number and length.
_DESCRIPTION_OCTETS = 8192
_PARAMETERS = 100


class Part(Struct, frozen=True):
    """A part of a message; the root is the message itself.

    `type` is as in `text/plain`, `encoding` the Content-Transfer-Encoding; values that are not given are None.
    `size` is the octets of its body, still encoded, with all its `parts`, and `start` is where that begins in the
    message.
    """

    type: str
    charset: str | None
    encoding: str | None
    filename: str | None
    size: int
    parts: tuple[Part, ...] = ()
    start: int = 0

    @property
    def is_as_it_is(self) -> bool:
        """Whether its body is not encoded."""
        return (self.encoding or "") in _AS_THEY_ARE


class Structure(Struct, frozen=True):
    """All parts. `complete` is False if there are more or deeper parts than the limits allow."""

    root: Part
    complete: bool = True


def structure_of(file: BinaryIO) -> Structure:
    """The parts of an open message, read to its end."""
    scan = _Scan()
    for line, at_start in _lines(file):
        scan.line(line, at_start=at_start)
    return scan.end()


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Lines with their ends, long ones in pieces; and whether each piece begins a line."""
    at_start = True
    while line := file.readline(_LINE_OCTETS):
        yield line, at_start
        at_start = line.endswith(b"\n")


class _Open(Struct):
    """A part that is being read."""

    default: str
    header: bytearray = field(default_factory=bytearray)
    message: Message = field(default_factory=Message)
    boundary: bytes | None = None
    start: int = 0
    size: int = 0
    parts: list[_Open] = field(default_factory=list)

    def closed(self) -> Part:
        header = self.message
        return Part(
            type=_tolerant(header.get_content_type) or self.default,
            charset=_tolerant(header.get_content_charset),
            encoding=_tolerant(lambda: str(header.get("Content-Transfer-Encoding", "")).strip().lower()),
            filename=_tolerant(header.get_filename),
            size=self.size,
            parts=tuple(part.closed() for part in self.parts),
            start=self.start,
        )


def _tolerant(get: Callable[[], object]) -> str | None:
    """A value of a header; None if it is empty or so broken that the standard library raises."""
    try:
        return readable(str(get() or ""))[:TEXT_LENGTH] or None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


class _Scan:
    """The position in a message: the open parts, from the outermost to the innermost."""

    def __init__(self) -> None:
        self._open = [_Open("text/plain")]
        self._root = self._open[0]
        self._in_header = True
        self._position = self._line_end = 0
        self._count = 1
        self._complete = True
        self._boundaries: frozenset[bytes] = frozenset()  # of the open parts

    def line(self, line: bytes, *, at_start: bool) -> None:
        """The next line, or a piece of a long one."""
        before, self._position = self._position, self._position + len(line)
        may_delimit = at_start and line.startswith(b"--")
        if may_delimit and self._in_header and b":" not in line:
            self._begin_body(before)  # the blank line is missing
        is_delimiter = may_delimit and self._is_delimiter(line, before)
        if self._in_header and not is_delimiter:
            self._header_line(line, is_blank=at_start and line in (b"\r\n", b"\n"))
        self._line_end = 2 if line.endswith(b"\r\n") else 1 if line.endswith(b"\n") else 0

    def end(self) -> Structure:
        """The message was read to its end."""
        if self._in_header:
            self._begin_body(self._position)
        self._close_to(0, self._position)
        return Structure(self._root.closed(), self._complete)

    def _header_line(self, line: bytes, *, is_blank: bool) -> None:
        header = self._open[-1].header
        if is_blank:
            self._begin_body(self._position)
        elif len(header) < _HEADER_OCTETS:
            header += line

    def _begin_body(self, position: int) -> None:
        part = self._open[-1]
        part.start = position
        part.message = BytesHeaderParser(policy=compat32).parsebytes(_description(part.header))
        part.message.set_default_type(part.default)
        part.header.clear()
        self._in_header = False
        type_ = _tolerant(part.message.get_content_type) or part.default
        if type_.startswith("multipart/"):
            boundary = _tolerant(part.message.get_boundary)
            part.boundary = boundary.rstrip().encode("utf-8", "replace") if boundary else None
            self._open_changed()
        elif type_ in ("message/rfc822", "message/global"):
            encoding = str(part.message.get("Content-Transfer-Encoding", "")).strip().lower()
            if encoding in _AS_THEY_ARE:
                self._begin_part("text/plain")

    def _begin_part(self, default: str) -> None:
        if self._count >= _MAX_PARTS or len(self._open) >= _MAX_DEPTH:
            self._complete = False
            return
        part = _Open(default)
        self._open[-1].parts.append(part)
        self._open.append(part)
        self._count += 1
        self._in_header = True

    def _is_delimiter(self, line: bytes, position: int) -> bool:
        """Whether the line begins or ends a part of any open multipart (RFC 2046 section 5.1.1)."""
        bare = line.rstrip()
        if not {bare[2:], bare[2:].removesuffix(b"--")} & self._boundaries:
            return False
        for depth in reversed(range(len(self._open))):
            boundary = self._open[depth].boundary
            if boundary is None or bare not in (b"--" + boundary, b"--" + boundary + b"--"):
                continue
            if self._in_header:
                self._begin_body(position)
            # The line end before a delimiter belongs to it.
            self._close_to(depth + 1, position - self._line_end)
            if bare == b"--" + boundary:
                digest = _tolerant(self._open[depth].message.get_content_type) == "multipart/digest"
                self._begin_part("message/rfc822" if digest else "text/plain")
            else:
                self._open[depth].boundary = None
                self._open_changed()
            return True
        return False

    def _close_to(self, depth: int, position: int) -> None:
        for part in self._open[depth:]:
            part.size = max(0, position - part.start)
        if self._open[depth:]:
            del self._open[depth:]
            self._open_changed()

    def _open_changed(self) -> None:
        self._boundaries = frozenset(part.boundary for part in self._open if part.boundary is not None)


def _description(header: bytes | bytearray) -> bytes:
    """The fields of a header that describe its part, the first of each, cut to what is read in a moment."""
    found: dict[bytes, bytes] = {}
    for field_ in _DESCRIPTION.finditer(b"\n" + header):
        found.setdefault(field_[1].lower(), field_[2][:_DESCRIPTION_OCTETS].strip())
    return b"".join(
        b"%b: %b\r\n" % (name, b";".join(value.split(b";", _PARAMETERS + 1)[: _PARAMETERS + 1]))
        for name, value in found.items()
    )
