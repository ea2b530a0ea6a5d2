"""Messages with NULs, as they are: BINARY (RFC 3516).

No literal of RFC 3501 may contain NUL. Dovecot keeps one, counts it in RFC822.SIZE, and sends 0x80 in its place;
BINARY.PEEK[] brings the message as it is. So a message with an 0x80 that no character explains is asked for again.

NOTE: BINARY[] of a whole message should decode nothing, but Dovecot decodes base64 and quoted-printable in it and
changes the header to say so. What came counts only if it is what BODY[] gave once each NUL is 0x80.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.errors import ArchiveNotWritable
from archiver.imap.tokens import Response, number
from archiver.mail.content import Spool
from archiver.mail.model import Body, Fetched
from archiver.mail.uidset import UidSet

ITEMS = b"(UID BINARY.PEEK[])"

_IN_PLACE_OF_NUL = 0x80
_AS_SHOWN = bytes([_IN_PLACE_OF_NUL, *range(1, 256)])
_PIECE = 256 << 10
_IN_MEMORY = 8 << 20  # octets of messages that wait for a second look; those of the others go to spool files

_UID = re.compile(rb"[( ]UID (\d+)", re.IGNORECASE)
_WHOLE = re.compile(rb"BINARY\[\] +\x00\x00", re.IGNORECASE)
_SIGN = re.compile(rb"(?<![\x81-\xfe])\x80")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def may_lack_nul(body: Body) -> bool:
    """Whether a message has 0x80 where it is no part of a character, in UTF-8 or in two octets (Shift JIS, GBK), as
    one has in which NUL is shown as 0x80. It is not noticed if each of its NULs seems to complete a character."""
    return any(_is_odd(piece) for piece in _pieces(body))


def has_nul(body: Body) -> bool:
    """Whether a message has NULs."""
    return any(b"\0" in piece for piece in _pieces(body))


def _is_odd(octets: bytes) -> bool:
    return b"\x80" in octets and _SIGN.search(_UTF8.sub(b" ", octets)) is not None


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
        as_is, shown = (body, fetched.body) if _shows(body, fetched.body) else (fetched.body, body)
        shown.discard()
        yield replace(fetched, body=as_is)

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


def _shows(as_is: Body, shown: Body) -> bool:
    """Whether a server that has 0x80 in place of each NUL shows these octets as those."""
    if as_is.size != shown.size:
        return False
    digest = hashlib.sha256()
    for piece in _pieces(as_is):
        digest.update(piece.translate(_AS_SHOWN))
    return digest.hexdigest() == shown.digest
