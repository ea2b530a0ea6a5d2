"""Dovecot's list of a folder's UIDs, version 3, made and changed without ever being in memory.

A folder may have a million messages, and one of them may be new. Then the list is copied, with a row more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from msgspec import Struct

from archiver.mail.model import Placement
from archiver.mail.uidset import UidSet
from archiver.storage.maildir.format import base_name

_HEADER = re.compile(rb"3 V\d{1,20} N(\d{1,20}) G[0-9a-f]{32}\n")
_UID = re.compile(rb"^(\d{1,20}) :", re.MULTILINE)
_OURS = re.compile(rb"(?>\d{1,20} :[^ \n]+\n)+")
_HEADER_OCTETS = 200
_PIECE = 1 << 20
_ROWS = 10_000
_MOST_LEFT_OUT = 10_000  # rows; for more the whole list is made again


class Kept(Struct, frozen=True):
    """What of a list can stay: its header, octets from where to where, and the UIDs that are to be appended.
    `is_all`: nothing comes or goes."""

    header: bytes
    spans: tuple[tuple[int, int], ...]
    came: UidSet
    is_all: bool


def header_of(directory: str, uidvalidity: int, uidnext: int) -> bytes:
    """The first line. The folder's GUID is derived from its identity, so that the same folder gives the same."""
    guid = hashlib.sha256(f"{directory}\n{uidvalidity}".encode()).hexdigest()[:32]
    return f"3 V{uidvalidity} N{uidnext} G{guid}\n".encode()


def rows_of(uids: UidSet, of: Callable[[UidSet], Iterable[Placement]]) -> Iterator[bytes]:
    """The rows of these messages, whose placements `of` returns, some at a time."""
    for some in uids.pieces(_ROWS):
        rows = sorted((each.uid, base_name(each)) for each in of(some))
        yield "".join(f"{uid} :{name}\n" for uid, name in rows).encode()


def kept(file: BinaryIO, directory: str, uidvalidity: int, uids: UidSet) -> Kept | None:
    """What of this list can stay for the messages `uids`. None if all of it has to be made: it is another folder's,
    or a program changed it, or too much of it changes."""
    header = file.readline(_HEADER_OCTETS)
    known = _HEADER.fullmatch(header)
    if known is None or header != header_of(directory, uidvalidity, int(known[1])):
        return None
    at = start = len(header)
    spans: list[tuple[int, int]] = []
    listed = UidSet()
    for rows in _pieces(file):
        here = _uids(rows)
        if here is None or here.first <= listed.last:
            return None
        for gone in _places(rows, here - uids):
            spans.append((start, at + gone.start()))
            start = at + rows.index(b"\n", gone.start()) + 1
        at += len(rows)
        listed |= here
        if len(spans) > _MOST_LEFT_OUT:
            return None
    came = uids - listed
    if came and came.first < listed.last:
        return None
    spans.append((start, at))
    is_all = len(spans) == 1 and not came
    return Kept(header, tuple(span for span in spans if span[0] < span[1]), came, is_all)


def _uids(rows: bytes) -> UidSet | None:
    """The UIDs of these rows; None if they are not rows as we write them, in order and each once."""
    if not _OURS.fullmatch(rows):
        return None
    count = rows.count(b"\n")
    first, last = (int(rows[at : rows.index(b" ", at)]) for at in (0, rows.rfind(b"\n", 0, -1) + 1))
    if last - first + 1 == count:
        return UidSet.of_ranges([range(first, last + 1)])  # to read them all would take ten times as long
    numbers = list(map(int, _UID.findall(rows)))
    uids = UidSet(numbers)
    return uids if numbers == list(uids) else None


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, about a megabyte at a time; without a line end at the end of the file it is an empty piece."""
    rest = b""
    while piece := file.read(_PIECE):
        lines, end, piece = piece.rpartition(b"\n")
        if end:
            yield rest + lines + end
            rest = b""
        rest += piece
        if len(rest) > _PIECE:
            break
    if rest:
        yield b" "


def _places(rows: bytes, uids: UidSet) -> Iterator[re.Match[bytes]]:
    return (match for match in _UID.finditer(rows) if int(match[1]) in uids) if uids else iter(())


def copied(file: BinaryIO, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """The octets of these spans, about a megabyte at a time."""
    for start, end in spans:
        file.seek(start)
        left = end - start
        while left and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece
