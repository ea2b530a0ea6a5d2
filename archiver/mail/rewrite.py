"""A repaired copy of a message, sent only after a destination refused the original octets.

The archive keeps the octets unchanged; what was altered for a destination is recorded. A repair alters as little as
possible, does not touch a message that does not need it, and changes nothing if it is repeated. The octets are
streamed: a long line passes in pieces of a few hundred octets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Literal, get_args

from archiver.mail.refusal import LINE_OCTETS, Features, Refusal

Repair = Literal["crlf", "last-line", "nul", "long-lines"]

REPAIRS: tuple[Repair, ...] = get_args(Repair)

_ONE_CAUSE: dict[Refusal, Repair] = {"bare-lf": "crlf", "nul": "nul", "long-line": "long-lines"}
_ANY_CAUSE: frozenset[Refusal] = frozenset({"unknown", "invalid-header"})

_DECIDES = LINE_OCTETS + 2  # octets of a line that determine where it is broken
_LAST_PART = 500  # a line is not broken at a blank before this octet
_UTF8_OCTETS = 4  # of the longest sequence


def repair(chunks: Iterable[bytes], kinds: Collection[str]) -> Iterator[bytes]:
    """The message with the repairs `kinds`, in pieces.

    "nul" removes NULs, "crlf" turns each bare LF into a CRLF, "last-line" ends the last line with one, "long-lines"
    breaks lines of more than 998 octets (RFC 5322 section 2.1.1).
    """
    # NOTE: NULs are removed first, since one may be between the CR and the LF of a pair.
    if "nul" in kinds:
        chunks = _without_nul(chunks)
    if "crlf" in kinds:
        chunks = _with_crlf(chunks)
    if "last-line" in kinds:
        chunks = _with_last_line(chunks)
    if "long-lines" in kinds:
        chunks = _with_short_lines(chunks)
    return (chunk for chunk in chunks if chunk)


def repairs_for(refusal: Refusal, features: Features, allowed: Collection[str]) -> tuple[Repair, ...]:
    """The allowed repairs that could help and would change something, in the order of `REPAIRS`.

    A refusal that names its cause gets only that repair. A server names one cause at a time, so the repaired copy
    may be refused for another: call again with the new refusal, and apply both repairs.
    """
    needed: dict[Repair, bool] = {
        "crlf": features.has_bare_lf,
        "last-line": not features.ends_line,
        "nul": features.has_nul,
        "long-lines": features.longest_line > LINE_OCTETS,
    }
    helps = REPAIRS if refusal in _ANY_CAUSE else (_ONE_CAUSE.get(refusal),)
    return tuple(kind for kind in REPAIRS if kind in helps and kind in allowed and needed[kind])


def _without_nul(chunks: Iterable[bytes]) -> Iterator[bytes]:
    return (chunk.replace(b"\0", b"") for chunk in chunks)


def _with_crlf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """NOTE: a bare CR is left unchanged. Cyrus, which refuses bare LFs, keeps it; Courier drops it; and turning it
    into a line end would break a line that its author did not break."""
    after_cr = False
    for chunk in chunks:
        fixed = chunk.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        yield fixed[1:] if after_cr and chunk.startswith(b"\n") else fixed  # its CR was in the previous chunk
        after_cr = chunk.endswith(b"\r") if chunk else after_cr


def _with_last_line(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """NOTE: a CR at the end gets its LF. A message of no octets has no line."""
    last = b"\n"
    for chunk in chunks:
        yield chunk
        last = chunk[-1:] or last
    yield {b"\n": b"", b"\r": b"\n"}.get(last, b"\r\n")


def _with_short_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    header = True
    line = b""  # the unfinished line, shorter than `_DECIDES`
    for chunk in chunks:
        *lines, line = (line + chunk).split(b"\n")
        pieces: list[bytes] = []
        for ended in lines:
            rest = _broken(ended, header, pieces, ended=True)
            pieces += (rest, b"\n")
            header = header and ended not in (b"", b"\r")
        line = _broken(line, header, pieces, ended=False)
        yield b"".join(pieces)
    pieces = []
    line = _broken(line, header, pieces, ended=True)
    yield b"".join(pieces) + line


def _broken(line: bytes, header: bool, pieces: list[bytes], *, ended: bool) -> bytes:
    """Break a line: its pieces with their CRLF are appended to `pieces`, the last one is returned.

    From an unfinished line only what is certain is broken off: its next octets may be its CRLF.
    """
    content = len(line) - (line.endswith(b"\r") if ended else 1)
    start, fold = 0, b""
    while content - start + len(fold) > LINE_OCTETS:
        window = fold + line[start : start + _DECIDES - len(fold)]
        cut, at_blank = _cut(window)
        pieces += (window[:cut], b"\r\n")
        start += cut - len(fold)
        fold = b" " if header and not at_blank else b""
    return fold + line[start:]


def _cut(window: bytes) -> tuple[int, bool]:
    """Where to break a line that begins with `window`, and whether a blank there begins the next line.

    The next line must not consist of blanks only, since that would look like the end of the header. Without a blank
    near enough, the break is between two characters, if they are UTF-8.
    """
    for cut in range(LINE_OCTETS, _LAST_PART, -1):
        if window[cut] in b" \t" and window[cut + 1 : cut + 2] not in (b"", b" ", b"\t", b"\r"):
            return cut, True
    last = len(window[: LINE_OCTETS + 1].rstrip(b" \t\r")) - 1
    last = last if last > _LAST_PART else LINE_OCTETS
    characters = (cut for cut in range(last, last - _UTF8_OCTETS, -1) if window[cut] & 0xC0 != 0x80)
    return next(characters, last), False
