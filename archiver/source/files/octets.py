"""The octets of a message that lies in a file: its line ends, and mbox quoting undone. Pure, in pieces.

In the archive each line ends with CRLF, as on the wire: an LF without a CR before it gets one. So do IMAP servers
with such files, and so the same message has the same digest, whether a server or a disk gave it. Nothing else is
changed. Only where a digest says which octets are meant (our own archives and exports) they are taken as they lie.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from archiver.source.files.found import Doubt, Place, Quoting

_PIECE = 1 << 20

#: A line that begins so, after any number of ">".
_QUOTED = {"From ": re.compile(rb"(?m)^>(>*From )"), "From": re.compile(rb"(?m)^>(>*From)")}
_MAY_GO_ON = re.compile(rb">*(?:F(?:r(?:o(?:m)?)?)?)?")


class LineEnds(Struct):
    """Which line ends a message has in its file."""

    crlf: bool = False
    bare: bool = False

    @property
    def doubt(self) -> Doubt:
        """Both kinds: then it is not certain that each LF is the end of a line."""
        return "line ends" if self.crlf and self.bare else ""


def pieces_of(fd: int, offset: int, length: int) -> Iterator[bytes]:
    """So many octets of an open file from there on, fewer at its end."""
    while length > 0 and (piece := os.pread(fd, min(length, _PIECE), offset)):
        length -= len(piece)
        offset += len(piece)
        yield piece


def archived(pieces: Iterable[bytes], place: Place, seen: LineEnds | None = None) -> Iterator[bytes]:
    """The octets of a message as they are archived, from those that lie at its place."""
    plain = unquoted(pieces, place.quoting)
    return on_the_wire(plain, seen) if place.exact is None else _cut(plain, place.exact)


def archived_whole(octets: bytes, place: Place, seen: LineEnds | None = None) -> bytes:
    """The same for a message that is in memory, in less than half the time."""
    if place.quoting and b">From" in octets:
        octets = _QUOTED[place.quoting].sub(rb"\1", octets)
    if place.exact is not None:
        return octets[: place.exact]
    lines = _with_crlf(octets, False)
    if seen is not None:
        seen.bare = seen.bare or len(lines) > len(octets)
        seen.crlf = seen.crlf or b"\r\n" in octets
    return lines


def _cut(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        if size <= 0:
            return
        yield piece[:size]
        size -= len(piece)


def on_the_wire(pieces: Iterable[bytes], seen: LineEnds | None = None) -> Iterator[bytes]:
    """The octets with the line ends of the wire; which ones there were is noted in `seen`."""
    after_cr = False
    for piece in pieces:
        if not piece:
            continue
        lines = _with_crlf(piece, after_cr)
        if seen is not None:
            seen.bare = seen.bare or len(lines) > len(piece)
            seen.crlf = seen.crlf or b"\r\n" in piece or (after_cr and piece[:1] == b"\n")
        yield lines
        after_cr = piece.endswith(b"\r")


def _with_crlf(piece: bytes, after_cr: bool) -> bytes:
    if after_cr and piece.startswith(b"\n"):
        return b"\n" + _with_crlf(piece[1:], False)
    if b"\r" in piece:
        if piece.count(b"\r\n") == piece.count(b"\n"):
            return piece
        piece = piece.replace(b"\r\n", b"\n")
    return piece.replace(b"\n", b"\r\n")


def unquoted(pieces: Iterable[bytes], quoting: Quoting) -> Iterator[bytes]:
    """The octets of a message of an mbox, without the ">" that its lines ">From " have too many ("mboxrd")."""
    if not quoting:
        yield from pieces
        return
    pattern = _QUOTED[quoting]
    held, line_begins = b"", True
    for piece in pieces:
        text = held + piece
        begins = text.rfind(b"\n") + 1
        # What may be the beginning of such a line waits for its rest.
        waits = (begins > 0 or line_begins) and _MAY_GO_ON.fullmatch(text, begins) is not None
        held, text = (text[begins:], text[:begins]) if waits else (b"", text)
        if text:
            yield _unquoted(text, pattern, line_begins)
            line_begins = text.endswith(b"\n")
    if held:
        yield _unquoted(held, pattern, line_begins)


def _unquoted(text: bytes, pattern: re.Pattern[bytes], line_begins: bool) -> bytes:
    if b">From" not in text:
        return text
    return pattern.sub(rb"\1", text) if line_begins else pattern.sub(rb"\1", b"x" + text)[1:]
