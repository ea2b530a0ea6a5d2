"""Messages with NULs, as they are: BINARY (RFC 3516).

No literal of RFC 3501 may contain NUL. Dovecot keeps one, counts it in RFC822.SIZE, and sends 0x80 in its place;
BINARY.PEEK[] brings the message as it is. So a message with an 0x80 that no character explains is asked for again.

NOTE: BINARY[] of a whole message should decode nothing, but Dovecot decodes base64 and quoted-printable in it and
changes the header to say so. Then those parts of the message are asked for that are not encoded. What comes counts
only if it is what BODY[] gave once each NUL is 0x80.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.errors import ArchiveNotWritable
from archiver.imap.tokens import Response, number
from archiver.mail.content import Spool, body_of
from archiver.mail.model import Body, Fetched
from archiver.mail.uidset import UidSet

if TYPE_CHECKING:
    from archiver.mail.parts.mime import Part

ITEMS = b"(UID BINARY.PEEK[])"

_IN_PLACE_OF_NUL = 0x80
_AS_SHOWN = bytes([_IN_PLACE_OF_NUL, *range(1, 256)])
_PIECE = 256 << 10
_IN_MEMORY = 8 << 20  # octets of messages that wait for a second look; those of the others go to spool files

_UID = re.compile(rb"[( ]UID (\d+)", re.IGNORECASE)
_MOST_PARTS = 50
_PART = re.compile(rb"BINARY\[([\d.]+)\] +\x00(\d+)\x00", re.IGNORECASE)
_WHOLE = re.compile(rb"BINARY\[\] +\x00\x00", re.IGNORECASE)
_SIGN = re.compile(rb"(?<![\x81-\xfe])\x80")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def may_lack_nul(body: Body) -> bool:
    """Whether a message has 0x80 where it is no part of a character, in UTF-8 or in two octets (Shift JIS, GBK), as
    one has in which NUL is shown as 0x80. It is not noticed if each of its NULs seems to complete a character."""
    return _is_odd(body.octets) if body.octets is not None else any(map(_is_odd, _pieces(body)))


def has_nul(body: Body) -> bool:
    """Whether a message has NULs."""
    if body.octets is not None:
        return b"\0" in body.octets
    return any(b"\0" in piece for piece in _pieces(body))


def _is_odd(octets: bytes) -> bool:
    if b"\x80" not in octets:
        return False
    try:
        octets.decode("utf-8")  # a hundred times as fast; then each octet is a part of a character
    except UnicodeDecodeError:
        return _SIGN.search(_UTF8.sub(b" ", octets)) is not None
    return False


def _pieces(body: Body) -> Iterator[bytes]:
    if body.octets is not None:
        yield body.octets
    elif body.spool is not None:
        with body.spool.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece


class SecondLook(Struct):
    """Messages that wait to be asked for by BINARY, in memory or in spool files. They belong to this value until
    they are handed on or discarded."""

    spool: Spool
    _held: dict[int, Fetched] = field(default_factory=dict)
    _octets: int = 0
    _decoded: list[Fetched] = field(default_factory=list)

    @property
    def uids(self) -> UidSet:
        """Of what waits."""
        return UidSet(self._held)

    def hold(self, fetched: Fetched) -> None:
        """Keep a message as BODY[] gave it."""
        body = fetched.body
        if body.octets is not None:
            self._octets += body.size
            if self._octets > _IN_MEMORY:
                self._octets -= body.size
                fetched = replace(fetched, body=replace(body, octets=None, spool=self._spooled(body.octets)))
        self._held[fetched.attributes.uid] = fetched

    def _spooled(self, octets: bytes) -> Path:
        with self.spool() as file:
            path = Path(file.name)
            try:
                file.write(octets)
                file.flush()
            except OSError as error:
                path.unlink()
                what = f"{path.parent}: {error.strerror}"
                raise ArchiveNotWritable(what, hint="free some space and run again; nothing is lost") from error
        return path

    def answered(self, response: Response) -> Iterator[Fetched]:
        """The message that a row is about, with its octets as they are, as far as they can be known."""
        found = _UID.search(response.text)
        uid = number(found[1]) if found else None
        body = response.body
        if uid not in self._held or body is None or not _WHOLE.search(response.text):
            if body is not None:
                body.discard()
            return
        fetched = self._taken(uid)
        if _shows(body, fetched.body):
            fetched.body.discard()
            yield replace(fetched, body=body)
            return
        body.discard()
        if fetched.body.octets is None:
            yield fetched
        else:
            self._decoded.append(fetched)

    def refused(self, uid: int) -> None:
        """The server refuses BINARY[] of this message; its parts may do."""
        if uid in self._held and self._held[uid].body.octets is not None:
            self._decoded.append(self._taken(uid))

    def decoded(self) -> Iterator[Fetched]:
        """What came decoded, and is in memory, as BODY[] gave it."""
        while self._decoded:
            yield self._decoded.pop()

    def rest(self) -> Iterator[Fetched]:
        """What was not answered, as BODY[] gave it."""
        while self._held:
            yield self._taken(next(iter(self._held)))

    def _taken(self, uid: int) -> Fetched:
        fetched = self._held.pop(uid)
        self._octets -= fetched.body.size if fetched.body.octets is not None else 0
        return fetched

    def discard(self) -> None:
        """Nobody wants what waits. May be called twice."""
        for each in self._held.values():
            each.body.discard()
        self._held.clear()


class PlainPart(Struct, frozen=True):
    """A part that is not encoded and may have NULs: its number (RFC 3501 section 6.4.5), and where it is in the
    message."""

    section: bytes
    start: int
    end: int


def plain_parts(octets: bytes) -> list[PlainPart]:
    """Those of a message."""
    from archiver.mail.parts.mime import structure_of  # few runs need it

    root = structure_of(BytesIO(octets)).root
    found = _plain(octets, root, b"") if root.parts else _plain(octets, root, b"1")
    return list(found)[:_MOST_PARTS]


def _plain(octets: bytes, part: Part, section: bytes) -> Iterator[PlainPart]:
    if (part.type or "").startswith("multipart/"):
        for number, each in enumerate(part.parts, 1):
            yield from _plain(octets, each, b"%b.%d" % (section, number) if section else b"%d" % number)
    elif part.is_as_it_is and section and _is_odd(octets[part.start : part.start + part.size]):
        yield PlainPart(section, part.start, part.start + part.size)


def items_for(parts: Sequence[PlainPart]) -> bytes:
    """The items that ask for these parts."""
    return b"(UID %b)" % b" ".join(b"BINARY.PEEK[%b]" % each.section for each in parts)


def with_parts(fetched: Fetched, parts: Sequence[PlainPart], responses: Sequence[Response]) -> Fetched:
    """The message with the octets that these responses have for its parts, where they are what was shown."""
    octets = fetched.body.octets or b""
    whole = bytearray(octets)
    given = {found[1]: each.literals[int(found[2])] for each in responses for found in _PART.finditer(each.text)}
    for part in parts:
        true = given.get(part.section)
        if true is not None and true.translate(_AS_SHOWN) == octets[part.start : part.end]:
            whole[part.start : part.end] = true
    return replace(fetched, body=body_of(bytes(whole))) if whole != octets else fetched


def _shows(as_is: Body, shown: Body) -> bool:
    """Whether a server that has 0x80 in place of each NUL shows these octets as those."""
    if as_is.size != shown.size:
        return False
    digest = hashlib.sha256()
    for piece in _pieces(as_is):
        digest.update(piece.translate(_AS_SHOWN))
    return digest.hexdigest() == shown.digest
