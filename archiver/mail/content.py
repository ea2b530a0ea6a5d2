"""A message's octets and what can be derived from them: digest, sizes, header block, dates.

The octets are hashed and counted while they stream and never parsed on their way to the store. Functions that read
a header run afterwards, use what they find, and never raise: a broken header cannot make a message fail.
"""

from __future__ import annotations

import hashlib
import io
import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from archiver.mail.model import Body, Digest, StoredMessage

#: A header block is kept up to here.
HEADER_OCTETS = 1 << 20

_PIECE = 1 << 16
_REMEMBERED = 100  # characters; longer dates are read each time, so that a server cannot fill the memory with them
_PLACEHOLDERS = tuple(f"Retrieval using the {name} protocol failed for the following" for name in ("IMAP4", "POP3"))
#: Reasons why a message is quarantined; catalogs and journals contain them.
REFUSED = "the server refuses to give the message"
PLACEHOLDER_GIVEN = "the server gave a placeholder instead of the message"
#: The beginning of the reason if the connection broke at a message; catalogs and journals contain it.
BROKE = "the connection broke "
_MESSAGE_ID_LENGTH = 998  # a line of RFC 5322; database indexes allow little more
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, 1)}
_FIRST_DAY = date(1970, 1, 1).toordinal()
_INTERNALDATE = re.compile(
    r"\s*(\d{1,2})-([A-Za-z]{3})-(\d{4})\s+(\d{1,2}):(\d{2}):(\d{2})(?:\s+([+-])(\d{2})(\d{2}))?\s*", re.ASCII
)
_USUAL_INTERNALDATE = re.compile(r"([ \d]\d)-([A-Za-z]{3}-\d{4}) (\d\d):(\d\d):(\d\d) ([+-]\d{4})", re.ASCII)
#: What nearly all messages have; the library takes ten times as long.
_USUAL_DATE = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?(\d{1,2}) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([12]\d{3})"
    r" (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)(?: \([A-Za-z]{1,9}\))?",
    re.ASCII,
)
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


def internaldate_seconds(text: str | None) -> int | None:
    """Seconds since 1970 of an INTERNALDATE (RFC 3501 section 9, date-time); None if it is not valid.

    A one-digit day with or without its blank and a missing zone are accepted; a leap second counts as the second
    before.
    """
    if text is None:
        return None
    return _seconds_of(text) if len(text) <= _REMEMBERED else _parsed_internaldate(text)


def _parsed_internaldate(text: str) -> int | None:
    usual = _USUAL_INTERNALDATE.fullmatch(text)
    if usual is None:
        return _read_internaldate(text)
    day, name, hour, minute, second, zone = usual.groups()
    month, behind = _month(name), _behind(zone)
    if month is None or behind is None or hour > "23" or minute > "59" or second > "60":
        return None
    midnight, days = month
    if not 1 <= int(day) <= days:
        return None
    return midnight + behind + ((int(day) * 24 + int(hour)) * 60 + int(minute)) * 60 + min(int(second), 59)


@lru_cache(maxsize=512)  # a mailbox has fewer months than messages
def _month(text: str) -> tuple[int, int] | None:
    """Seconds since 1970 of the day before a month ("Jan-2024"), and how many days it has."""
    name, _, year = text.partition("-")
    try:
        days = _day_before(name, year)
        return days * 86400, monthrange(int(year), _MONTH_NUMBERS[name.lower()])[1]
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=512)
def _day_before(name: str, year: str) -> int:
    """The day before a month, in days since 1970."""
    return date(int(year), _MONTH_NUMBERS[name.lower()], 1).toordinal() - _FIRST_DAY - 1


@lru_cache(maxsize=256)
def _behind(zone: str) -> int | None:
    """How many seconds a zone is behind UTC."""
    return _read_internaldate(f"01-Jan-1970 00:00:00 {zone}")


def _read_internaldate(text: str) -> int | None:
    match = _INTERNALDATE.fullmatch(text)
    if match is None:
        return None
    day, name, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    try:
        days = date(int(year), _MONTH_NUMBERS[name.lower()], int(day)).toordinal() - _FIRST_DAY
    except (KeyError, ValueError):
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    seconds = ((days * 24 + int(hour)) * 60 + int(minute)) * 60 + min(int(second), 59)
    if sign is None:
        return seconds
    if int(zone_hours) > 23 or int(zone_minutes) > 59:
        return None
    offset = (int(zone_hours) * 60 + int(zone_minutes)) * 60
    return seconds + offset if sign == "-" else seconds - offset


# A replay compares the same date several times.
_seconds_of = lru_cache(maxsize=4096)(_parsed_internaldate)


def same_moment(one: int | None, other: int) -> bool:
    """Whether two moments are the same as far as servers keep them: Dovecot shows one before 1970 unchanged or,
    from its cache, as an unsigned 32-bit number, which is in the next century. None: unknown, which counts as the
    same."""
    return one is None or one == other or (other < 0 and one == other + (1 << 32))


_DATE_TIME = re.compile(
    r"(?: \d|\d\d)-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-\d{4} \d\d:\d\d:\d\d [+-]\d{4}", re.ASCII
)


def internaldate_to_send(internaldate: str | None, arrived: int) -> str:
    """The date-time of an APPEND (RFC 3501 section 9): the source's text if it is valid, otherwise `arrived`.

    NOTE: two columns for the day, as Yandex requires.
    """
    if internaldate is None or internaldate_seconds(internaldate) is None or not _DATE_TIME.fullmatch(internaldate):
        return date_time(arrived)
    return internaldate


def date_time(seconds: int) -> str:
    """Seconds since 1970 as a date-time in UTC, limited to the years 1 to 9999."""
    moment = min(max(seconds, _FIRST_SECOND), _LAST_SECOND)
    days, second = divmod(moment, 86400)
    day = date.fromordinal(date(1970, 1, 1).toordinal() + days)
    month = _MONTHS[day.month - 1].capitalize()
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{day.day:2}-{month}-{day.year:04} {clock} +0000"


_FIRST_SECOND = (date(1, 1, 1).toordinal() - date(1970, 1, 1).toordinal()) * 86400
_LAST_SECOND = (date(9999, 12, 31).toordinal() - date(1970, 1, 1).toordinal()) * 86400 + 86399


def arrived_of(internaldate: str | None, header: bytes) -> int:
    """When a message arrived, in seconds since 1970: the first valid one of INTERNALDATE, the topmost Received, and
    Date; otherwise 0."""
    seconds = internaldate_seconds(internaldate)
    if seconds is None:
        seconds = date_seconds((header_value(header, "Received") or "").rpartition(";")[2])
    if seconds is None:
        seconds = date_seconds(header_value(header, "Date") or "")
    return seconds or 0


def date_seconds(text: str) -> int | None:
    """An RFC 5322 date in seconds since 1970, as the standard library reads it; None if it is not valid."""
    if (usual := _USUAL_DATE.fullmatch(text)) is not None:
        day, name, year, hour, minute, second, sign, zone_hours, zone_minutes = usual.groups()
        # NOTE: as the library counts, in which the 31st of June is the 1st of July.
        days = _day_before(name, year) + int(day)
        seconds = ((days * 24 + int(hour)) * 60 + int(minute)) * 60 + int(second)
        offset = (int(zone_hours) * 60 + int(zone_minutes)) * 60
        return seconds + offset if sign == "-" else seconds - offset
    try:  # the library raises for some invalid dates
        parsed = parsedate_tz(text[:200])
        return int(mktime_tz(parsed)) if parsed and parsed[0] >= 1 else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def is_placeholder(header: bytes) -> bool:
    """Whether this is the substitute that Exchange sends for a message that it cannot deliver."""
    if _PLACEHOLDERS[0][:19].encode("ascii") not in header:
        return False
    return (header_value(header, "Subject") or "").startswith(_PLACEHOLDERS)


def broke(times: int) -> str:
    """The reason to quarantine a message at which the connection broke `times` times."""
    return f"{BROKE}{'once' if times == 1 else f'{times} times'} at it"
