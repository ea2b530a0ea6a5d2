"""A message's octets and what can be derived from them: digest, sizes, header block, when it arrived.

The octets are hashed and counted while they stream and never parsed on their way to the store. Functions that read
a header run afterwards, use what they find, and never raise: a broken header cannot make a message fail.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from archiver.mail.dates import date_seconds, internaldate_seconds
from archiver.mail.model import Body, Digest, StoredMessage

#: A header block is kept up to here.
HEADER_OCTETS = 1 << 20

_PIECE = 1 << 16
_PLACEHOLDERS = tuple(f"Retrieval using the {name} protocol failed for the following" for name in ("IMAP4", "POP3"))
#: Reasons why a message is quarantined; catalogs and journals contain them.
REFUSED = "the server refuses to give the message"
PLACEHOLDER_GIVEN = "the server gave a placeholder instead of the message"
#: The beginning of the reason if the connection broke at a message; catalogs and journals contain it.
BROKE = "the connection broke "
_MESSAGE_ID_LENGTH = 998  # a line of RFC 5322; database indexes allow little more
#: A field's value with its folded lines (RFC 5322 section 2.2.3), blanks before the colon allowed (section 4.5).
_VALUE = re.compile(rb"[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)")
_CONTROL = re.compile("[\x00-\x1f\x7f]")


Spool = Callable[[], BinaryIO]
"""Opens a new, private, empty spool file (with a `name`) on the archive's own file system."""


class BodyBuilder:
    """Hashes and counts a message's octets, chunk by chunk, and keeps the header block."""

    __slots__ = ("_bare", "_complete", "_cr", "_hash", "_header", "_size")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._bare = 0
        self._cr = False
        self._header = b""
        self._complete = False

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add the next octets; the caller may reuse its buffer afterwards."""
        octets = chunk if isinstance(chunk, bytes) else bytes(chunk)
        if not octets:
            return
        self._hash.update(octets)
        self._size += len(octets)
        self._bare += _bare_line_feeds(octets)
        if self._cr and octets[0] == 0x0A:
            self._bare -= 1  # its CR was at the end of the previous chunk
        self._cr = octets[-1] == 0x0D
        if not self._complete:
            self._keep(octets)

    def _keep(self, octets: bytes) -> None:
        octets = self._header + octets[: HEADER_OCTETS - len(self._header)] if self._header else octets
        end = _header_end(octets)
        self._complete = end > 0 or len(octets) >= HEADER_OCTETS
        self._header = octets[: end or HEADER_OCTETS]

    def body(self, octets: bytes | None = None, spool: Path | None = None) -> Body:
        """Everything that was fed, as a value that refers to the octets."""
        return Body(
            digest=Digest(self._hash.hexdigest()),
            size=self._size,
            crlf_size=self._size + self._bare,
            header=self._header,
            octets=octets,
            spool=spool,
        )


def body_of(octets: bytes, *, bare: int | None = None) -> Body:
    """A message that is in memory. `bare`: how many LFs have no CR before them, if that is known."""
    size = len(octets)
    bare = _bare_line_feeds(octets) if bare is None else bare
    digest = Digest(hashlib.sha256(octets).hexdigest())
    end = _header_end(octets, may_be_bare=bare > 0)
    return Body(digest, size, size + bare, octets[: end or HEADER_OCTETS], octets)


def _bare_line_feeds(octets: bytes) -> int:
    """How many LFs have no CR before them."""
    # It finds out which line ends there are in a third of the time in which two of them are counted; and nearly all
    # messages come with CRLF alone.
    kinds = io.IncrementalNewlineDecoder(None, translate=False)
    kinds.decode(octets.decode("latin-1"), final=True)
    return 0 if kinds.newlines in (None, "\r\n") else octets.count(b"\n") - octets.count(b"\r\n")


def header_block(octets: bytes) -> bytes:
    """The octets up to and including the first blank line, at most `HEADER_OCTETS`; all if there is none."""
    return octets[: _header_end(octets) or HEADER_OCTETS]


def read_header(file: BinaryIO) -> bytes:
    """The header block of an open message; reads little more than that."""
    octets = b""
    while len(octets) < HEADER_OCTETS and not _header_end(octets) and (piece := file.read(_PIECE)):
        octets += piece
    return header_block(octets)


def _header_end(octets: bytes, *, may_be_bare: bool = True) -> int:
    """Where the body begins; 0 if no blank line comes early enough. `may_be_bare`: there may be LFs without CR."""
    if octets.startswith(b"\r\n"):
        return 2
    if octets.startswith(b"\n"):
        return 1
    crlf = octets.find(b"\n\r\n", 0, HEADER_OCTETS)
    if not may_be_bare:
        return crlf + 3 if crlf >= 0 else 0
    bare = octets.find(b"\n\n", 0, HEADER_OCTETS if crlf < 0 else crlf + 1)
    if bare >= 0:
        return bare + 2
    return crlf + 3 if crlf >= 0 else 0


def header_digest(header: bytes) -> Digest:
    """The digest of a header block; it does not depend on CRLF or LF, nor on the final blank line, nor on whether
    NUL is shown as 0x80, since servers differ in these."""
    return _digest_of_block(header_block(header))


def _digest_of_block(block: bytes) -> Digest:
    lines = block.replace(b"\r\n", b"\n").rstrip(b"\r\n").replace(b"\0", b"\x80")
    return Digest(hashlib.sha256(lines).hexdigest())


def header_value(header: bytes, name: str) -> str | None:
    """The first field of that name, unfolded but otherwise unchanged (RFC 2047 is not decoded); None if absent.

    Octets that are not UTF-8 and control characters are escaped with a backslash.
    """
    value = _field(header, name)
    return None if value is None else _escaped(value.decode("utf-8", "backslashreplace"))


def message_id(header: bytes) -> str | None:
    """The Message-ID with its angle brackets, if it has them; None if absent or empty."""
    value = _field(header, "Message-ID")
    if value is None:
        return None
    start = value.find(b"<")
    end = value.find(b">", start) + 1
    value = value[start:end] if 0 <= start < end else value
    text = _escaped(value.decode("ascii", "backslashreplace"))[:_MESSAGE_ID_LENGTH]
    return None if text in ("", "<>") else text


def with_header(message: StoredMessage, block: bytes) -> StoredMessage:
    """The message with the Message-ID and the digest of its header block."""
    return replace(message, message_id=message_id(block), header_digest=_digest_of_block(block))


def _field(header: bytes, name: str) -> bytes | None:
    beginning = b"\n" + name.lower().encode("ascii")
    lines = b"\n" + header.lower()  # found much faster than by a regular expression that ignores case
    start = lines.find(beginning)
    while start >= 0:
        if match := _VALUE.match(header, start + len(beginning) - 1):
            return match[1].replace(b"\r\n", b"").replace(b"\n", b"").strip()
        start = lines.find(beginning, start + 1)
    return None


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def arrived_of(internaldate: str | None, header: bytes) -> int:
    """When a message arrived, in seconds since 1970: the first valid one of INTERNALDATE, the topmost Received, and
    Date; otherwise 0."""
    seconds = internaldate_seconds(internaldate)
    if seconds is None:
        seconds = date_seconds((header_value(header, "Received") or "").rpartition(";")[2])
    if seconds is None:
        seconds = date_seconds(header_value(header, "Date") or "")
    return seconds or 0


def is_placeholder(header: bytes) -> bool:
    """Whether this is the substitute that Exchange sends for a message that it cannot deliver."""
    if _PLACEHOLDERS[0][:19].encode("ascii") not in header:
        return False
    return (header_value(header, "Subject") or "").startswith(_PLACEHOLDERS)


def broke(times: int) -> str:
    """The reason to quarantine a message at which the connection broke `times` times."""
    return f"{BROKE}{'once' if times == 1 else f'{times} times'} at it"
