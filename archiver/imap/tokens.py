"""Reading and writing IMAP's words on octets, tolerant of what real servers send.

Pure functions. Names stay octets: they are the folder's identity on the wire and go back as they came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archiver.flags import parse_flags
from archiver.model import Attributes, FolderStatus
from archiver.uidset import parse_uid_set

_LIST = re.compile(
    rb'\A\* (?:LIST|LSUB|XLIST) \(([^)]*)\) (NIL|"(?:[^"\\]|\\.)*"|\x00\d+\x00) (.*)\Z', re.IGNORECASE | re.DOTALL
)
_EXTENDED = re.compile(rb'\A(\S+) \(+"?(?:CHILDINFO|OLDNAME)', re.IGNORECASE)
_STATUS = re.compile(rb"\A\* STATUS (.*) \(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*\Z", re.IGNORECASE | re.DOTALL)
_STATUS_ITEM = re.compile(rb"(MESSAGES|UIDNEXT|UIDVALIDITY|HIGHESTMODSEQ|SIZE)\s+(\d+)", re.IGNORECASE)
_NAMESPACE = re.compile(rb'\A\* NAMESPACE \(\(("(?:[^"\\]|\\.)*") (NIL|"(?:[^"\\]|\\.)*")', re.IGNORECASE)
_UNSAFE = re.compile(rb"[\x00\r\n\x80-\xff]")

_ITEM = re.compile(
    rb"(?:\A|(?<=[\s(]))(?:"
    rb"UID\s+(?P<uid>\d+)"
    rb"|FLAGS\s+\((?P<flags>[^)]*)\)"
    rb'|INTERNALDATE\s+(?:"(?P<date>[^"]*)"|NIL)'
    rb"|RFC822\.SIZE\s+(?P<size>[^\s)]+)"
    rb"|MODSEQ\s+\((?P<modseq>-?\d+)\)"
    rb"|EMAILID\s+\((?P<emailid>[^)]*)\)"
    rb"|X-GM-MSGID\s+(?P<gm>\d+)"
    rb'|BODY\[[^\]]*\](?:<\d+>)?\s+(?P<body>NIL|"(?:[^"\\]|\\.)*"|\x00\d+\x00)'
    rb")",
    re.IGNORECASE,
)
_ROW = re.compile(rb"\A\* (\d+) FETCH \(", re.IGNORECASE)

#: A row's text after its items are taken out: only blanks and brackets, else we lost the thread.
_NOTHING_LEFT = re.compile(rb"\A[\s()]*\Z")


@dataclass(frozen=True, slots=True)
class Response:
    """One response: `text` without its line end, each literal replaced by `\\0<index>\\0`, and the literals.

    Servers may not send NUL outside literals, so the mark cannot be mistaken for text.
    """

    text: bytes
    literals: tuple[bytes, ...] = ()

    def string(self, token: bytes) -> bytes | None:
        """The octets of a quoted string, a literal's mark or an atom; None for NIL."""
        if token[:1] == b'"':
            return re.sub(rb"\\(.)", rb"\1", token[1:-1], flags=re.DOTALL)
        if token[:1] == b"\0":
            return self.literals[int(token[1:-1])]
        return None if token.upper() == b"NIL" else token


@dataclass(frozen=True, slots=True)
class ListRow:
    """A row of LIST or LSUB: lower-case attributes, delimiter (None: a flat name), the name's octets."""

    attributes: frozenset[str]
    delimiter: bytes | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class FetchRow:
    """A row of FETCH. `body` is a string's octets, a literal's index, or None where the item is NIL or absent."""

    attributes: Attributes | None
    body: bytes | int | None
    has_body: bool
    clean: bool


def quote(raw: bytes) -> bytes | None:
    """A name or string in quotes; None where it cannot be quoted and needs a literal (RFC 3501 section 4.3)."""
    if _UNSAFE.search(raw):
        return None
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def name_of(response: Response, token: bytes) -> bytes:
    """A folder's name: what is unquoted is taken as it stands, "NIL" (a legal atom), blanks and tabs included."""
    if token[:1] in (b'"', b"\0") and (token[:1] == b"\0" or (len(token) > 1 and token.endswith(b'"'))):
        return response.string(token) or b""
    extended = _EXTENDED.match(token)
    return extended[1] if extended else token


def parse_list(response: Response) -> ListRow | None:
    """A LIST, LSUB or XLIST row; None if it is none, or names nothing (the root's row)."""
    found = _LIST.match(response.text)
    if not found:
        return None
    rest = found[3]
    if rest[:1] == b'"':  # extended data may follow a quoted name
        quoted = re.match(rb'"(?:[^"\\]|\\.)*"', rest, re.DOTALL)
        rest = quoted[0] if quoted else rest
    elif rest[:1] == b"\0":
        rest = rest[: rest.index(b"\0", 1) + 1]
    raw = name_of(response, rest)
    delimiter = response.string(found[2]) or None
    words = found[1].decode("ascii", "replace").lower().split()
    attributes = frozenset(word for word in words if word != "\\")
    return ListRow(attributes, delimiter, raw) if raw else None


def parse_status(response: Response) -> tuple[bytes, FolderStatus] | None:
    """A STATUS row as (name, status); None if it is none, or lacks UIDVALIDITY or MESSAGES."""
    found = _STATUS.match(response.text)
    if not found:
        return None
    items = {name.upper(): int(value) for name, value in _STATUS_ITEM.findall(found[2])}
    if b"UIDVALIDITY" not in items or b"MESSAGES" not in items:
        return None
    status = FolderStatus(
        uidvalidity=items[b"UIDVALIDITY"],
        uidnext=items.get(b"UIDNEXT"),
        messages=items[b"MESSAGES"],
        highestmodseq=items.get(b"HIGHESTMODSEQ") or None,
        size=items.get(b"SIZE"),
    )
    return name_of(response, found[1]), status


def parse_namespace(response: Response) -> tuple[bytes, bytes | None] | None:
    """The first personal namespace as (prefix, delimiter); None if there is none (RFC 2342)."""
    found = _NAMESPACE.match(response.text)
    return (response.string(found[1]) or b"", response.string(found[2])) if found else None


def parse_search(response: Response) -> Iterator[int]:
    """The UIDs of a SEARCH or ESEARCH response; nothing if it is neither."""
    text = response.text
    upper = text[:12].upper()
    if upper.startswith(b"* SEARCH"):
        yield from (int(word) for word in text[8:].split() if word.isdigit())
    elif upper.startswith(b"* ESEARCH"):
        found = re.search(rb"\sALL ([\d:,]+)", text, re.IGNORECASE)
        if found:
            yield from parse_uid_set(found[1])


def parse_vanished(response: Response) -> tuple[bool, frozenset[int]] | None:
    """A VANISHED response as (earlier, UIDs), RFC 7162 section 3.2.10."""
    found = re.match(rb"\A\* VANISHED (\(EARLIER\) )?([\d:,]+)", response.text, re.IGNORECASE)
    return (bool(found[1]), frozenset(parse_uid_set(found[2]))) if found else None


def _size(text: bytes | None) -> int | None:
    """RFC822.SIZE; mail.ru writes large ones as 9.3736e+06, others write NIL."""
    if text is None:
        return None
    try:
        return int(text) if text.isdigit() else int(float(text))
    except (ValueError, OverflowError):
        return None


def _attributes(items: Mapping[str, bytes]) -> Attributes | None:
    if "uid" not in items:
        return None
    flags = items.get("flags")
    date = items.get("date")
    modseq = int(items["modseq"]) if "modseq" in items else 0
    emailid = items.get("emailid") or (b"gm:" + items["gm"] if "gm" in items else None)
    return Attributes(
        uid=int(items["uid"]),
        flags=None if flags is None else parse_flags(flags.decode("utf-8", "backslashreplace").split()),
        internaldate=None if date is None else date.decode("ascii", "backslashreplace"),
        size=_size(items.get("size")),
        modseq=modseq if modseq > 0 else None,  # Zoho sends 0 and -1
        emailid=emailid.decode("ascii", "backslashreplace") if emailid else None,
    )


def is_fetch(text: bytes) -> bool:
    """Whether a response is a FETCH row."""
    return _ROW.match(text) is not None


def parse_fetch(response: Response) -> FetchRow:
    """A FETCH row: items in any order, before and after the body, blanks as the server likes them.

    `attributes` is None where the row names no UID (unsolicited). `clean` is False where something remains
    that no item explains: after a literal of the wrong length, the rest of the message stands there.
    """
    text = response.text
    start = _ROW.match(text)
    items: dict[str, bytes] = {}
    position = start.end() if start else 0
    clean = start is not None and text.rstrip().endswith(b")")
    for found in _ITEM.finditer(text, position):
        clean = clean and _NOTHING_LEFT.match(text[position : found.start()]) is not None
        position = found.end()
        kind = found.lastgroup
        if kind:
            items[kind] = found[kind]
    clean = clean and _NOTHING_LEFT.match(text[position:]) is not None
    token = items.get("body")
    body: bytes | int | None = None
    if token is not None:
        body = int(token[1:-1]) if token[:1] == b"\0" else response.string(token)
    return FetchRow(_attributes(items), body, token is not None, clean)
