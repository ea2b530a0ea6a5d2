"""Messages in an mbox in the "mboxrd" format: quoted so that every octet can be restored.

A message is a line that begins with "From ", its octets, a line end if they end without one, and an empty line. In
its octets every line of any number of ">" and "From " gets one more ">". A line ends with LF; nothing else is
changed, neither CR nor NUL. Only whether the last line had a line end is lost, so the index has the size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date

from archiver.mail.content import header_value
from archiver.mail.dates import date_time

_QUOTE = re.compile(rb"(\n>*)(?=From )")
_MAY_GO_ON = re.compile(rb">*(F(?:r(?:o(?:m)?)?)?)?")
_ADDRESS = re.compile(r"[!#-'*+\--9=?A-Z^-~]{1,100}@[A-Za-z0-9.\-\[\]:]{1,150}")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_NOBODY = "MAILER-DAEMON"


def separator(header: bytes, arrived: int) -> bytes:
    """The line before a message: its sender as far as `header` names one, and when it arrived, in UTC."""
    return f"From {_sender(header)} {_asctime(arrived)}\n".encode("ascii")


def _sender(header: bytes) -> str:
    for name in ("Return-Path", "From"):
        value = header_value(header, name) or ""
        found = re.search(r"<([^<>]*)>\s*$", value)
        address = (found[1] if found else value).strip()
        if _ADDRESS.fullmatch(address):
            return address
    return _NOBODY


def _asctime(arrived: int) -> str:
    """As C's asctime: "Wed Jan 10 08:05:00 2024", whatever the locale."""
    text = date_time(arrived)  # "10-Jan-2024 08:05:00 +0000"
    day, month, year, clock = int(text[:2]), text[3:6], int(text[7:11]), text[12:20]
    weekday = _DAYS[date(year, _MONTHS.index(month) // 3 + 1, day).weekday()]
    return f"{weekday} {month} {day:2} {clock} {year:04}"


def quoted(octets: Iterable[bytes]) -> Iterator[bytes]:
    """The quoted octets of a message in pieces, and its end: a line end if it has none, and an empty line."""
    open_line, held, ended = True, b"", True
    for piece in octets:
        if not piece:
            continue
        ended = piece.endswith(b"\n")
        # An unfinished line may have begun in an earlier piece; it does not matter where among its leading ">" the
        # additional one is inserted.
        text = _QUOTE.sub(rb"\1>", (b"\n" if open_line else b"") + held + piece)[open_line:]
        begins = text.rfind(b"\n") + 1
        rest = _MAY_GO_ON.fullmatch(text, begins) if begins or open_line else None
        open_line, held = rest is not None, (rest[1] or b"") if rest else b""
        yield text[: len(text) - len(held)]
    yield held + (b"\n" if ended else b"\n\n")
