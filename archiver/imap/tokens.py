"""Parses and quotes IMAP on octets, tolerant of what real servers send.

Pure functions. Folder names stay octets: those are a folder's identity on the wire and go back unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from msgspec import Struct

from archiver.mail.model import Body, FolderStatus
from archiver.mail.uidset import UidSet, format_uid_set, parse_uid_ranges, parse_uid_set

_LIST = re.compile(
    rb'\A\* (?:LIST|LSUB|XLIST) +(?:\(([^)]*)\)|NIL) +(NIL|"(?:[^"\\]|\\.)*"|\x00\d+\x00) (.*)\Z',
    re.IGNORECASE | re.DOTALL,
)
_EXTENDED = re.compile(rb'\A(\S+) \(+"?(?:CHILDINFO|OLDNAME)', re.IGNORECASE)
_STATUS = re.compile(
    rb"\A\* STATUS (.*)(?: |(?<=[\"\x00]))\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*\Z", re.IGNORECASE | re.DOTALL
)
_STATUS_ITEM = re.compile(rb"\b(MESSAGES|UIDNEXT|UIDVALIDITY|HIGHESTMODSEQ|SIZE)\s+(\d+)", re.IGNORECASE)
_NAMESPACE = re.compile(
    rb'\A\* NAMESPACE +\( *\( *("(?:[^"\\]|\\.)*"|\x00\d+\x00) +(NIL|"(?:[^"\\]|\\.)*"|\x00\d+\x00)', re.IGNORECASE
)
_APPENDUID = re.compile(rb"\A\[APPENDUID (\d+) ([\d:,]+)\]", re.IGNORECASE)
_ALL = re.compile(rb"\sALL ([\d:,]+)", re.IGNORECASE)
_SOME_WORDS = re.compile(rb"(?:\S+\s*){1,1000}")
_STATUS_REPLY = re.compile(rb"\s*([A-Z]*)\s*", re.IGNORECASE)
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n\Z")
_UNSAFE = re.compile(rb"[\x00\r\n\x80-\xff]")

_UNSAFE_IN_UTF8 = re.compile(rb"[\x00\r\n]")

_LINE_OCTETS = 900  # UW and Yahoo accept about 1,000 octets a line
HIGHEST_UID = 2**32 - 1  # RFC 3501 section 2.3.1.1
HIGHEST = 2**63 - 1  # RFC 7162 section 7; also the largest integer of a database
_MOST_APPENDED = 10_000


#: Stands in a response's text for the literal that is the message.
BODY_MARK = b"\0\0"


class Response(Struct, frozen=True):
    """One response: its text without the line end, and its literals.

    In `text` each literal is replaced by `\\0<index>\\0`, and the message, if it was read into a body, by
    `BODY_MARK`. The session lets no NUL from a server into the text, so a mark cannot be mistaken for text. The
    caller who takes a response owns its body, and either hands it on or discards it.
    """

    text: bytes
    literals: tuple[bytes, ...] = ()
    body: Body | None = None

    def string(self, token: bytes) -> bytes | None:
        """The octets of a quoted string, of the literal that a mark stands for, or of an atom; None for NIL."""
        if token[:1] == b'"':
            return re.sub(rb"\\(.)", rb"\1", token[1:-1], flags=re.DOTALL)
        if token[:1] == b"\0":
            return self.literals[int(token[1:-1])]
        return None if token.upper() == b"NIL" else token


def tagged(text: bytes) -> tuple[bytes, bytes]:
    """A response's first word (a tag, `*` or `+`) and what is behind it. A server may leave out the blank behind
    `+`, or write several."""
    if text[:1] == b"+":
        return b"+", text[1:].lstrip()
    tag, _, rest = text.partition(b" ")
    return tag, rest.lstrip()


def status_of(text: bytes) -> tuple[bytes, bytes]:
    """The status word of a tagged reply, upper-case, and the text behind it, if there is any."""
    found = _STATUS_REPLY.match(text)
    return (found[1].upper(), text[found.end() :]) if found else (b"", text)


def is_ok(text: bytes) -> bool:
    """Whether a tagged reply is OK; there may be no text behind it."""
    return status_of(text)[0] == b"OK"


class ListRow(Struct, frozen=True):
    """A row of LIST or LSUB: attributes in lower case, delimiter (None if there is no hierarchy), the name's
    octets."""

    attributes: frozenset[str]
    delimiter: bytes | None
    raw: bytes


def quote(raw: bytes) -> bytes | None:
    """A name or string in quotes; None if it cannot be quoted and needs a literal (RFC 3501 section 4.3)."""
    if _UNSAFE.search(raw):
        return None
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def quote_utf8(raw: bytes) -> bytes | None:
    """The same on a connection that speaks UTF-8, which may stand in quotes (RFC 6855 section 3)."""
    if _UNSAFE_IN_UTF8.search(raw):
        return None
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def uid_sets(uids: Iterable[int]) -> Iterator[bytes]:
    """The UIDs as sets (`1:3,7`), each short enough for the line of one command."""
    return (each.encode() for each in format_uid_set(uids, _LINE_OCTETS))


def name_of(response: Response, token: bytes) -> bytes:
    """A folder's name. An unquoted one is taken as it is, including "NIL" (a legal atom), blanks and tabs."""
    if token[:1] in (b'"', b"\0") and (token[:1] == b"\0" or (len(token) > 1 and token.endswith(b'"'))):
        return response.string(token) or b""
    extended = _EXTENDED.match(token)
    return extended[1] if extended else token


def parse_list(response: Response) -> ListRow | None:
    """A LIST, LSUB or XLIST row; None if it is another response, or has an empty name (the row of the root)."""
    found = _LIST.match(response.text)
    if not found:
        return None
    rest = found[3].lstrip(b" ") if found[3].lstrip(b" ")[:1] in (b'"', b"\0") else found[3]
    if rest[:1] == b'"':  # extended data may follow a quoted name
        quoted = re.match(rb'"(?:[^"\\]|\\.)*"', rest, re.DOTALL)
        rest = quoted[0] if quoted else rest
    elif rest[:1] == b"\0":
        rest = rest[: rest.index(b"\0", 1) + 1]
    raw = name_of(response, rest)
    delimiter = response.string(found[2]) or None
    words = (found[1] or b"").decode("ascii", "replace").lower().split()
    attributes = frozenset(word for word in words if word != "\\")
    return ListRow(attributes, delimiter, raw) if raw else None


def parse_status(response: Response) -> tuple[bytes, FolderStatus] | None:
    """A STATUS row as (name, status); None if it is another response, or lacks UIDVALIDITY or MESSAGES."""
    found = _STATUS.match(response.text)
    if not found:
        return None
    items = {name.upper(): number(value) for name, value in _STATUS_ITEM.findall(found[2])}
    uidvalidity, messages = items.get(b"UIDVALIDITY"), items.get(b"MESSAGES")
    if uidvalidity is None or messages is None:
        return None
    status = FolderStatus(
        uidvalidity=uidvalidity,
        uidnext=items.get(b"UIDNEXT"),
        messages=messages,
        highestmodseq=items.get(b"HIGHESTMODSEQ") or None,
        size=items.get(b"SIZE"),
    )
    return name_of(response, found[1]), status


def parse_namespace(response: Response) -> tuple[bytes, bytes | None] | None:
    """The first personal namespace as (prefix, delimiter); None if there is none (RFC 2342)."""
    found = _NAMESPACE.match(response.text)
    return (response.string(found[1]) or b"", response.string(found[2])) if found else None


def number(text: bytes, highest: int = HIGHEST) -> int | None:
    """A server's number from its digits; None above `highest`, where it cannot be a valid value."""
    # NOTE: int() raises ValueError for more than 4300 digits.
    value = int(text) if len(text) <= 20 else highest + 1
    return value if value <= highest else None


def literal_size(line: bytes) -> int | None:
    """The size of the literal that the end of a line announces; None if there is none."""
    found = _LITERAL.search(line)
    return number(found[1]) if found else None


def parse_search(response: Response) -> UidSet:
    """The UIDs of a SEARCH or ESEARCH response; none if it is another response.

    NOTE: a server may name four billion of them in one short line. The caller has to count them before going
    through them.
    """
    text = response.text
    upper = text[:12].upper()
    if upper.startswith(b"* SEARCH"):
        return UidSet(filter(None, map(_uid, _words(text[8:]))))
    found = _ALL.search(text) if upper.startswith(b"* ESEARCH") else None
    return _uid_set(found[1]) if found else UidSet()


def parse_vanished(response: Response) -> tuple[bool, UidSet] | None:
    """A VANISHED response as (earlier, UIDs), RFC 7162 section 3.2.10; None if it is another response. UIDs that
    never were may be among them."""
    found = re.match(rb"\A\* VANISHED (\(EARLIER\) )?([\d:,]+)", response.text, re.IGNORECASE)
    uids = _uid_set(found[2]) if found else None
    return (bool(found[1]), uids) if found and uids else None


def parse_appenduid(reply: bytes) -> tuple[int, tuple[int, ...]] | None:
    """UIDVALIDITY and UIDs from APPENDUID (RFC 4315 section 3) in the reply to an APPEND. None if there is none, or
    if it cannot be true."""
    found = _APPENDUID.match(status_of(reply)[1])
    uidvalidity = number(found[1], HIGHEST_UID) if found else None
    ranges = _uid_ranges(found[2]) if found else []
    if uidvalidity is None or not ranges or sum(map(len, ranges)) > _MOST_APPENDED:
        return None
    return uidvalidity, tuple(uid for each in ranges for uid in each)


def _words(text: bytes) -> Iterator[bytes]:
    """The words of a text of megabytes, without having all of them at once."""
    return chain.from_iterable(some[0].split() for some in _SOME_WORDS.finditer(text))


def _uid(word: bytes) -> int | None:
    return number(word, HIGHEST_UID) if word.isdigit() else None


def _uid_set(text: bytes) -> UidSet:
    """A UID set; empty if it is not one, or has a number that cannot be a UID."""
    try:
        uids = parse_uid_set(text)
    except ValueError:
        return UidSet()
    return uids if uids and uids.first >= 1 and uids.last <= HIGHEST_UID else UidSet()


def _uid_ranges(text: bytes) -> list[range]:
    """The ranges of a UID set; none if it is not one, or has a number that cannot be a UID."""
    try:
        ranges = list(parse_uid_ranges(text))
    except ValueError:
        return []
    return ranges if all(each[0] >= 1 and each[-1] <= HIGHEST_UID for each in ranges) else []
