"""A row of FETCH: its items in any order, before and after the message, whatever else a server adds.

It is read in one pass from left to right. If items were searched for, a hostile row of 64 KB would take seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from archiver.imap.tokens import BODY_MARK, HIGHEST, HIGHEST_UID, Response, number
from archiver.mail.flags import parse_flags
from archiver.mail.folder_names import decode_name
from archiver.mail.model import Attributes, Body, Flags, Labels, Marks

_ROW = re.compile(rb"\A\* (\d+) +FETCH *\(", re.IGNORECASE)

#: What may stand between items: blanks, and brackets where a server writes too many (Domino).
_BETWEEN = re.compile(rb"[\s()]*")

_ITEM = re.compile(
    rb"UID\s+(?P<uid>\d+)"
    rb"|FLAGS\s+\((?P<flags>[^)]*)\)"
    rb'|INTERNALDATE\s+(?:"(?P<date>[^"]*)"|NIL)'
    rb"|RFC822\.SIZE\s+(?P<size>[^\s)]+)"
    rb"|MODSEQ\s+\((?:(?P<modseq>\d+)|-\d+)\)"  # Zoho sends 0 and -1
    rb"|EMAILID\s+(?:\((?P<emailid>[^)]*)\)|NIL)"
    rb"|X-GM-MSGID\s+(?P<gm>\d+)"
    rb"|X-GM-THRID\s+(?P<thrid>\d+)"
    rb'|X-GM-LABELS\s+(?P<labels>NIL|\((?:"(?:[^"\\]|\\.)*"|[^()"])*\))'
    rb'|BODY\[(?P<section>[^\[\]]*)\](?P<origin><\d+>)?\s+(?P<body>NIL|"(?:[^"\\]|\\.)*"|\x00\d*\x00)',
    re.IGNORECASE,
)

#: A whole row as most servers write it. What does not look like it is read item by item.
_USUAL = re.compile(
    rb"\* \d+ FETCH \("
    rb"(?:(?:UID (\d{1,10})|FLAGS \(([^()]*)\)|INTERNALDATE \"([^\"]*)\"|RFC822\.SIZE (\d{1,18})"
    rb"|MODSEQ \((\d{1,18})\)) ?)+"
    rb"(BODY\[\] \x00\x00)?\)"
)

_FLAG_ROW = re.compile(
    rb"\* (\d{1,9}) FETCH \((?:UID (\d{1,9}) FLAGS \(([^()\r\n\x00]*)\)|FLAGS \(([^()\r\n\x00]*)\) UID (\d{1,9}))"
    rb"(?: MODSEQ \(\d{1,18}\))?\)\r\n"
)
_FLAG_ROWS = re.compile(rb"(?:%s)*" % _FLAG_ROW.pattern.replace(b"(\\d", b"(?:\\d").replace(b"([^", b"(?:[^"))

_ATTRIBUTE_ROW = re.compile(
    rb"\* (\d{1,9}) FETCH \(UID ([1-9]\d{0,8}) FLAGS \(([^()\r\n\x00]*)\)"
    rb" INTERNALDATE \"([^\"\\\r\n\x00]*)\" RFC822\.SIZE (\d{1,18})(?: MODSEQ \((\d{1,18})\))?\)\r\n"
)

#: An item that nobody asked for. NOTE: behind the message only names that exist. Words that stand there may be the
#: rest of a message whose length was announced too short.
_OTHER = re.compile(rb"[A-Z][A-Z0-9.-]*\s+", re.IGNORECASE)
_OTHER_BEHIND = re.compile(
    rb"(?:X-[A-Z0-9.-]+|FLAGS|INTERNALDATE|RFC822\.SIZE|ENVELOPE|BODY|BODYSTRUCTURE|MODSEQ|EMAILID|THREADID|SAVEDATE"
    rb"|PREVIEW|SNIPPET|ANNOTATION)\s+",
    re.IGNORECASE,
)
_LABEL = re.compile(rb'"(?:[^"\\]|\\.)*"|\x00\d+\x00|[^\s()"\x00]+', re.DOTALL)
_TOKEN = re.compile(rb'[()]|"(?:[^"\\]|\\.)*"|[^\s()"]+', re.DOTALL)
_REMEMBERED = 500  # octets of flags; longer sets are read each time, so that a server cannot fill the memory
_GARBAGE = 4  # words that belong to no item, until the rest of the row is not read
_BLANKS = re.compile(rb"\s*")


class FetchRow(Struct, frozen=True):
    """A row of FETCH. `body` is the response's body, the octets of a string or of another literal, or None where
    the item is NIL or absent. `section` says which part of the message it is, upper-case: b"" for all of it, with
    "<0>" appended for a piece."""

    attributes: Attributes | None
    body: Body | bytes | None
    has_body: bool
    clean: bool
    section: bytes = b""


class FlagRows(NamedTuple):
    """Rows that have the flags of a message and nothing else: the messages' numbers in the folder, their flags,
    both in the order of the rows, and how many octets the rows are."""

    numbers: Sequence[int]
    marks: Sequence[Marks]
    octets: int


def leading_flag_rows(octets: bytes) -> FlagRows:
    """The rows with which a piece of an answer begins, as long as they have flags and nothing else. They are read
    together, in a tenth of the time."""
    end = _FLAG_ROWS.match(octets).end()  # type: ignore[union-attr]  # it matches nothing, too
    rows = _FLAG_ROW.findall(octets, 0, end)
    numbers = [int(row[0]) for row in rows]
    marks = [
        Marks(int(uid), _flags(behind)) if uid else Marks(int(uid_behind), _flags(before))
        for _, uid, behind, before, uid_behind in rows
    ]
    return FlagRows(numbers, marks, end)


class AttributeRow(NamedTuple):
    """A row that has UID, FLAGS, INTERNALDATE and RFC822.SIZE of a message, and at most its MODSEQ."""

    number: int
    attributes: Attributes


def leading_attribute_rows(octets: bytes) -> tuple[list[AttributeRow], int]:
    """The rows with which a piece of an answer begins, as long as they have these items in this order, and how many
    octets they are."""
    rows: list[AttributeRow] = []
    end = 0
    while (found := _ATTRIBUTE_ROW.match(octets, end)) is not None:
        number, uid, flags, date, size, modseq = found.groups()
        shown = date.decode("ascii", "backslashreplace")
        attributes = Attributes(int(uid), _flags(flags), shown, int(size), int(modseq or 0) or None)
        rows.append(AttributeRow(int(number), attributes))
        end = found.end()
    return rows, end


def is_fetch(text: bytes) -> bool:
    """Whether a response is a FETCH row."""
    return _ROW.match(text) is not None


def parse_fetch(response: Response) -> FetchRow:
    """A FETCH row. Items that nobody asked for are passed over.

    `attributes` is None if the row has no UID (unsolicited). `clean` is False if the row has text that belongs to
    no item: after a literal of the wrong length, that is the rest of the message.
    """
    text = response.text
    if (usual := _USUAL.fullmatch(text)) is not None and usual[1] is not None:
        return _usual_row(usual, response.body)
    start = _ROW.match(text)
    items: dict[str, bytes] = {}
    section = b""
    clean = start is not None
    garbage = 0
    end = start.end() if start else len(text)
    position = _between(text, end)
    while position < len(text):
        found = _ITEM.match(text, position)
        if found is not None:
            if kind := found.lastgroup:
                clean = clean and (kind != "body" or kind not in items)
                items[kind] = found[kind]
                if kind == "body":
                    section = found["section"].upper() + (found["origin"] or b"")
            end = found.end()
        elif (behind := _behind_other(text, position, "body" in items)) is not None:
            end = behind
        else:
            clean = False
            garbage += 1
            token_there = _TOKEN.match(text, position)
            if token_there is None or garbage > _GARBAGE:
                break
            end = token_there.end()
        position = _between(text, end)
    clean = clean and b")" in text[end:]
    token = items.get("body")
    body: Body | bytes | None = None
    if token is not None:
        body = response.body if token == BODY_MARK else response.string(token)
    return FetchRow(_attributes(items, response), body, token is not None, clean, section)


def _usual_row(row: re.Match[bytes], body: Body | None) -> FetchRow:
    uid, flags, date, size, modseq, mark = row.groups()
    attributes = Attributes(
        int(uid),
        None if flags is None else _flags(flags),
        None if date is None else date.decode("ascii", "backslashreplace"),
        None if size is None else int(size),
        int(modseq or 0) or None,
    )
    known = attributes if 0 < attributes.uid <= HIGHEST_UID else None
    return FetchRow(known, body if mark else None, mark is not None, True)


def _flags(octets: bytes) -> Flags:
    return _few_flags(octets) if len(octets) <= _REMEMBERED else _parsed_flags(octets)


def _parsed_flags(octets: bytes) -> Flags:
    return parse_flags(octets.decode("utf-8", "backslashreplace").split())


_few_flags = lru_cache(maxsize=1024)(_parsed_flags)


def _between(text: bytes, position: int) -> int:
    found = _BETWEEN.match(text, position)
    return found.end() if found else position


def _behind_other(text: bytes, position: int, after_body: bool) -> int | None:
    """Where an item ends that nobody asked for; None if none begins at `position`."""
    name = (_OTHER_BEHIND if after_body else _OTHER).match(text, position)
    if name is None:
        return None
    depth, position = 0, name.end()
    while (token := _TOKEN.match(text, position)) is not None:
        depth += {b"(": 1, b")": -1}.get(token[0], 0)
        if depth < 0:
            return None  # the row ends where the value should be
        if depth == 0:
            return token.end()
        position = token.end()
        blanks = _BLANKS.match(text, position)
        position = blanks.end() if blanks else position
    return None


def _size(text: bytes | None) -> int | None:
    """RFC822.SIZE; mail.ru writes large ones as 9.3736e+06, others write NIL."""
    if text is None:
        return None
    if text.isdigit():
        return number(text)
    try:
        size = int(float(text))
    except (ValueError, OverflowError):
        return None
    return size if 0 <= size <= HIGHEST else None


def _attributes(items: Mapping[str, bytes], response: Response) -> Attributes | None:
    uid = number(items["uid"], HIGHEST_UID) if "uid" in items else None
    if not uid:
        return None
    flags = items.get("flags")
    date = items.get("date")
    return Attributes(
        uid=uid,
        flags=None if flags is None else _flags(flags),
        internaldate=None if date is None else date.decode("ascii", "backslashreplace"),
        size=_size(items.get("size")),
        modseq=number(items.get("modseq", b"0")) or None,
        emailid=_identity(items),
        thrid=items.get("thrid", b"").lstrip(b"0").decode("ascii") or None,
        labels=None if "labels" not in items else _labels(items["labels"], response),
    )


def _identity(items: Mapping[str, bytes]) -> str | None:
    """The server's identity of the message. Nothing, NIL and 0 identify none."""
    emailid, gm = items.get("emailid", b"").strip(), items.get("gm", b"").lstrip(b"0")
    if emailid and emailid.upper() != b"NIL" and emailid.strip(b"0"):
        return emailid.decode("ascii", "backslashreplace")
    return f"gm:{gm.decode('ascii')}" if gm else None


def _labels(octets: bytes, response: Response) -> Labels:
    """Labels are names of folders: atoms, quoted strings or literals in modified UTF-7. Gmail quotes its own, so
    that the backslash is doubled: `"\\\\Inbox"`; its documentation has them as atoms, `\\Inbox`."""
    found = (response.string(each) for each in _LABEL.findall(octets))
    return _interned(frozenset(decode_name(each) for each in found if each))


@lru_cache(maxsize=4096)
def _interned(labels: Labels) -> Labels:
    return labels
