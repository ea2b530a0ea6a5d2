"""An mbox, read as a stream: where each message begins and ends, and what its lines say about it.

The dialects differ in how a line "From " of a message is kept from looking like a separator:

| dialect | such a line | read here |
|---|---|---|
| mboxrd | ">From ", and ">From " becomes ">>From " | one ">" is taken off |
| mboxo | ">From "; ">From " stays | the same, so that an original ">From " loses its ">" |
| mboxcl | as mboxo, and Content-Length | the same |
| mboxcl2 | as it is; Content-Length says where the message ends | as it is |

A Content-Length counts if it ends at a separator or at the end of the file. A message that it delimits and that
has a line "From " shows that nothing is quoted (mboxcl2), from there on in that file. Whatever could be read in
another way is read by this rule, and the message is listed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from archiver.mail.content import HEADER_OCTETS, header_block, header_value
from archiver.mail.dates import date_seconds, date_time
from archiver.source.files import from_lines
from archiver.source.files.found import Doubt, FoundMessage, Place
from archiver.source.files.indexes import FolderIndex, Indexed
from archiver.source.files.marks import flags_of, labels_of, marks_of, unmarked
from archiver.source.files.octets import LineEnds, archived, archived_whole, pieces_of, unquoted

_PIECE = 1 << 20
_FROM = b"\nFrom "
_LENGTH_NAME = b"content-length"
_LENGTH = re.compile(rb"(?im)^Content-Length[ \t]*:[ \t]*(\d{1,12})[ \t]*\r?$")
_QUOTED_FROM = re.compile(rb"\n>+From ")
_TAB = "\\x09"  # as values of headers show the one of a folded line
_ZONE = re.compile(rb" (?:[+-]\d{4}|UTC|GMT)\b")
_OVERLAP = 80  # octets: the longest line of ">" and "From " that is noticed at the edge of a piece


class NotAnMbox(Exception):
    """A file that does not begin as an mbox does."""


class IndexDisagrees(Exception):
    """An index that is not about the mbox next to it."""


class _Span(Struct):
    """A message in the file: its line "From ", where its octets begin and end, what could be read in another way,
    and whether its Content-Length says where it ends."""

    line: bytes
    begins: int
    ends: int
    doubt: Doubt
    delimited: bool


def is_mbox(beginning: bytes) -> bool:
    """Whether a file that begins like this is an mbox. Some programs leave an empty line before the first
    message."""
    line, _, rest = beginning.lstrip(b"\r\n").partition(b"\n")
    if not line.startswith(b"From ") and line.rstrip(b"\r") != b"From":
        return False
    return from_lines.kind_of(line, rest, empty_before=True) != "text"


def messages_of(fd: int, path: str, *, end: int, modified: int) -> Iterator[FoundMessage]:
    """The messages of an open mbox up to the offset `end`, in their order, in bounded memory. `modified` (seconds
    since 1970) is the date of what has no other.

    Raises:
        NotAnMbox: it does not begin with a line "From ".
        OSError: it cannot be read.
    """
    verbatim = False
    spans = _Spans(fd, end)
    for span in spans:
        length = span.ends - span.begins
        octets = spans.octets(span.begins, length) if length <= _PIECE else None
        pieces = pieces_of(fd, span.begins, length) if octets is None else (octets,)
        has_raw, has_quoted = _lines_from(pieces)
        verbatim = verbatim or (span.delimited and has_raw)
        is_quoted = has_quoted and not (verbatim and span.delimited)
        place = Place(path, span.begins, length, "mbox", quoting="From " if is_quoted else "")
        doubt = span.doubt or ("quoting" if is_quoted else "")
        if octets is not None:
            seen = LineEnds()
            named = _identity_of_whole(archived_whole(octets, place, seen))
            yield _message(*named, place, span.line, modified, doubt or seen.doubt)
        else:
            yield _found(pieces_of(fd, span.begins, length), place, span.line, modified, doubt)


def indexed_messages(fd: int, path: str, index: FolderIndex, *, end: int, modified: int) -> Iterator[FoundMessage]:
    """The messages of an open mbox that has an index.

    Raises:
        IndexDisagrees: it is the index of another file, or of an earlier state of this one.
    """
    rows = list(index.messages)
    ends = [each.offset or 0 for each in rows[1:]] + [end]
    for row, until in zip(rows, ends, strict=True):
        offset = row.offset or 0
        if row.length is not None and offset + row.length != until:
            raise IndexDisagrees
        line = b"".join(pieces_of(fd, offset, min(until - offset, from_lines.LONGEST))).partition(b"\n")[0] + b"\n"
        if not line.startswith(b"From ") or (offset and os.pread(fd, 1, offset - 1) != b"\n"):
            raise IndexDisagrees
        begins = offset + len(line)
        if index.quotes_all:
            ends_at = _Spans(fd, end).without_empty_line(begins, until)
            place = Place(path, begins, ends_at - begins, "mbox", quoting="From")
        else:
            place = Place(path, begins, until - begins, "mbox", quoting="From ", exact=row.size)
        found = _found(pieces_of(fd, place.offset, place.length), place, line, modified, "")
        if row.digest is not None and not _is_whole(fd, place, row):
            raise IndexDisagrees
        flags = row.flags | found.flags if index.quotes_all else row.flags
        yield replace(found, flags=flags, internaldate=row.internaldate or found.internaldate, uid=row.uid)


def _is_whole(fd: int, place: Place, row: Indexed) -> bool:
    """Whether these are the octets that the index names, and nothing but the end of a message is behind them."""
    digest, left, behind = hashlib.sha256(), row.size or 0, b""
    for piece in unquoted(pieces_of(fd, place.offset, place.length), place.quoting):
        digest.update(piece[:left])
        behind = (behind + piece[left:])[:3]
        left = max(0, left - len(piece))
    return left == 0 and digest.hexdigest() == row.digest and behind in (b"\n", b"\n\n")


def _found(pieces: Iterable[bytes], place: Place, line: bytes, modified: int, doubt: Doubt) -> FoundMessage:
    seen = LineEnds()
    named = identity_of(archived(pieces, place, seen))
    return _message(*named, place, line, modified, doubt or seen.doubt)


def _message(
    header: bytes, identity: str, size: int, place: Place, line: bytes, modified: int, doubt: Doubt
) -> FoundMessage:
    marks = marks_of(header)
    date = date_time(arrived_in(header, line, modified))
    return FoundMessage(place, identity, size, flags_of(marks), date, doubt, labels_of(marks))


def _lines_from(pieces: Iterable[bytes]) -> tuple[bool, bool]:
    """Whether a line begins with "From ", and whether one does after some ">"."""
    raw = quoted = False
    before = b"\n"
    for piece in pieces:
        text = before + piece if len(before) > 1 or b"From " in piece else b""
        if b"From " in text:
            raw = raw or _FROM in text
            quoted = quoted or _QUOTED_FROM.search(text) is not None
        before = piece[-_OVERLAP:] if len(piece) >= _OVERLAP else (before + piece)[-_OVERLAP:]
    return raw, quoted


def octets_at(fd: int, place: Place, seen: LineEnds | None = None) -> Iterator[bytes]:
    """The octets of a message at its place in an open file, as they are archived."""
    return archived(pieces_of(fd, place.offset, place.length), place, seen)


def identity_of(pieces: Iterator[bytes]) -> tuple[bytes, str, int]:
    """The header block, and digest and size of a message's octets without what programs change in place."""
    beginning = next(pieces, b"")
    header = header_block(beginning)
    while len(header) == len(beginning) < HEADER_OCTETS and (piece := next(pieces, b"")):
        beginning += piece
        header = header_block(beginning)
    kept, rest = unmarked(header), beginning[len(header) :]
    digest = hashlib.sha256(kept)
    digest.update(rest)
    size = len(kept) + len(rest)
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return header, digest.hexdigest(), size


def _identity_of_whole(octets: bytes) -> tuple[bytes, str, int]:
    """The same of octets in memory."""
    header = header_block(octets)
    kept = unmarked(header)
    if kept is header:
        return header, hashlib.sha256(octets).hexdigest(), len(octets)
    digest = hashlib.sha256(kept)
    digest.update(memoryview(octets)[len(header) :])
    return header, digest.hexdigest(), len(octets) - len(header) + len(kept)


def arrived_in(header: bytes, line: bytes, modified: int) -> int:
    """When a message arrived, in seconds since 1970: by its line "From " if that says its time zone, else by the
    topmost Received, else by that line, else by Date; else when the file was `modified`."""
    if _ZONE.search(line) and (dated := from_lines.date_of(line)) is not None and dated[1]:
        return dated[0]
    received = (header_value(header, "Received") or "").rpartition(";")[2]
    seconds = date_seconds(received.replace(_TAB, " ").strip())
    if seconds is None and (dated := from_lines.date_of(line)) is not None:
        return dated[0]
    if seconds is None:
        seconds = date_seconds(header_value(header, "Date") or "")
    return modified if seconds is None else seconds


class _Spans:
    """Splits a file into messages, with a window of it in memory."""

    def __init__(self, fd: int, end: int) -> None:
        self._fd, self._end = fd, end
        self._window, self._at = b"", 0

    def __iter__(self) -> Iterator[_Span]:
        at = 0
        while self._peek(at, 1) in (b"\n", b"\r"):
            at += 1
        if at >= self._end:
            return
        if not is_mbox(self._peek(at, from_lines.LONGEST)):
            raise NotAnMbox
        doubt: Doubt = ""
        while True:
            line = self._line(at)
            begins = at + len(line)
            found, next_doubt = self._separator_from(begins)
            by_length = self._by_content_length(begins)
            if by_length is None:
                ends = self._end if found is None else found
                yield _Span(line.rstrip(b"\r\n"), begins, self.without_empty_line(begins, ends), doubt, False)
            else:
                ends, after = by_length
                if found is not None and (after is None or found < after):
                    doubt = "length"
                if after != found:
                    next_doubt = ""
                found = after
                yield _Span(line.rstrip(b"\r\n"), begins, ends, doubt, True)
            if found is None:
                return
            at, doubt = found, next_doubt

    def _by_content_length(self, begins: int) -> tuple[int, int | None] | None:
        """Where the message ends by its Content-Length, and where the line "From " of the next one begins (None:
        the file ends); None if there is no such field, or nothing begins or ends there."""
        # NOTE: most headers are short, and a line end that is not there takes long to be found.
        beginning = self._peek(begins, 1 << 11)
        header = header_block(beginning)
        if len(header) == len(beginning):
            beginning = self._peek(begins, 1 << 16)
            header = header_block(beginning)
        if _LENGTH_NAME not in header.lower():
            return None
        if (match := _LENGTH.search(header)) is None or len(header) == len(beginning) < self._end - begins:
            return None
        ends = begins + len(header) + int(match[1])
        if ends > self._end:
            return None
        behind = self._peek(ends, from_lines.LONGEST)
        rest = behind.lstrip(b"\r\n")
        skipped = len(behind) - len(rest)
        if skipped > 6 or not (skipped or self._peek(ends - 1, 1) == b"\n"):
            return None
        whole_line = self._peek(ends - 1, 1) == b"\n"
        if not rest:
            if ends + skipped != self._end:
                return None
            return (self.without_empty_line(begins, self._end) if whole_line and skipped else ends), None
        line, _, after = rest.partition(b"\n")
        if not rest.startswith(b"From ") or from_lines.kind_of(line, after, empty_before=True) == "text":
            return None
        found = ends + skipped
        # NOTE: of several empty lines only one is the mbox's; some programs count the others wrongly.
        return (self.without_empty_line(begins, found) if whole_line and skipped else ends), found

    def _separator_from(self, begins: int) -> tuple[int | None, Doubt]:
        """Where the next line begins that begins a message. The first line of a message is none."""
        at = begins
        while (at := self._find(_FROM, at)) >= 0:
            line = self._line(at + 1)
            after = self._peek(at + 1 + len(line), 200)
            before = self._peek(at - 2, 2)
            empty = at == begins or before.endswith(b"\n") or before == b"\n\r"
            kind = from_lines.kind_of(line.rstrip(b"\n"), after, empty_before=empty) if line else "text"
            if kind != "text":
                return at + 1, "separator" if kind == "doubtful" else ""
            at += 1
        return None, ""

    def without_empty_line(self, begins: int, ends: int) -> int:
        """The end of a message without the empty line that belongs to the mbox."""
        last = self._peek(max(begins - 1, ends - 3), min(3, ends - begins + 1))
        if last.endswith(b"\n\r\n"):
            return ends - 2
        return ends - 1 if last.endswith(b"\n\n") else ends

    def _line(self, at: int) -> bytes:
        """The line with its end, as far as a line "From " is long; else empty."""
        beginning = self._peek(at, from_lines.LONGEST)
        end = beginning.find(b"\n") + 1
        return beginning[:end] if end else beginning if at + len(beginning) >= self._end else b""

    def octets(self, at: int, length: int) -> bytes:
        """Octets of a message."""
        return self._peek(at, length)

    def _peek(self, at: int, length: int) -> bytes:
        """These octets, fewer at the end of the file."""
        length = min(length, self._end - at)
        begins = at - self._at
        if begins >= 0 and begins + length <= len(self._window):
            return self._window[begins : begins + length]
        return os.pread(self._fd, length, at) if length > 0 else b""

    def _find(self, pattern: bytes, at: int) -> int:
        """Where the pattern is found next; -1 if nowhere."""
        while True:
            if not 0 <= at - self._at <= len(self._window):
                self._window, self._at = b"", at
            if (found := self._window.find(pattern, at - self._at)) >= 0:
                return self._at + found
            behind = self._at + len(self._window)
            keep = self._window[max(at - self._at, len(self._window) - len(pattern) - 4) :]
            piece = os.pread(self._fd, min(_PIECE, self._end - behind), behind) if behind < self._end else b""
            if not piece:
                return -1
            self._window, self._at = keep + piece, behind - len(keep)
            at = max(at, self._at)
