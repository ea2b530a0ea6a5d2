"""What STAT, LIST and UIDL say of a maildrop, and whether they agree: pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from archiver.errors import ServerUnavailable, Where
from archiver.imap.replies import printable

_NUMBER = re.compile(rb"\+?\s*(\d{1,10})(?:[ \t]+(.*?))?\s*", re.DOTALL)
_SIZE = re.compile(rb"\d{1,18}")
_MOST = 10_000_000  # messages; a larger maildrop is not believed
_PLAIN = re.compile(rb"[\x21-\x7e]{1,70}")  # RFC 1939 section 7


class Maildrop(Struct, frozen=True):
    """The messages of a session, which have the same numbers until it ends: `sizes` by number (None: not given),
    and the UIDLs that belong to one message each. `exists` and `octets` are those of STAT."""

    exists: int
    octets: int | None
    sizes: Mapping[int, int | None]
    uidls: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether LIST names as many messages as STAT counts."""
        return len(self.sizes) == self.exists

    @property
    def unnamed(self) -> list[int]:
        """The numbers of the messages without a UIDL of their own."""
        return [number for number in self.sizes if number not in self.uidls]


def maildrop_of(stat: bytes, listed: Sequence[bytes], uidls: Sequence[bytes], where: Where) -> Maildrop:
    """From the status line of STAT and the lines of LIST and UIDL, which may be none.

    Raises:
        ServerUnavailable: an answer cannot be read, so that nothing is known.
    """
    words = stat.split()[1:3]
    exists = int(words[0]) if words and re.fullmatch(rb"\d{1,10}", words[0]) else None
    if exists is None or exists > _MOST:
        raise ServerUnavailable(f"STAT cannot be read: {printable(stat, 80)}", where=where)
    octets = int(words[1]) if len(words) > 1 and _SIZE.fullmatch(words[1]) else None
    sizes = {
        number: int(rest) if _SIZE.fullmatch(rest) else None
        for number, rest in (_numbered("LIST", line, where) for line in listed)
    }
    given = {number: rest for number, rest in (_numbered("UIDL", line, where) for line in uidls) if number in sizes}
    times = Counter(given.values())
    return Maildrop(
        exists,
        octets,
        sizes,
        {number: uidl for number, uidl in given.items() if uidl and times[uidl] == 1},
    )


def _numbered(command: str, line: bytes, where: Where) -> tuple[int, bytes]:
    """NOTE: a server that fails in the middle of a list writes `-ERR` there, and what it listed is not all."""
    found = _NUMBER.fullmatch(line)
    if found is None or not 0 < int(found[1]) <= _MOST:
        raise ServerUnavailable(f"a line of {command} cannot be read: {printable(line, 80)}", where=where)
    return int(found[1]), found[2] or b""


def name_of_uidl(uidl: bytes) -> str:
    """The name of a message with this UIDL. One that RFC 1939 does not allow, since it is too long or has a blank
    in it, is shortened to its digest."""
    if _PLAIN.fullmatch(uidl):
        return f"u:{uidl.decode('ascii')}"
    return f"U:{hashlib.sha256(uidl).hexdigest()}"


def names_of_digests(digests: Mapping[int, str]) -> dict[int, str]:
    """The names of messages that are known by their octets only, by number. Equal ones are told apart by how many
    of them came before."""
    times: Counter[str] = Counter()
    names = {}
    for number, digest in sorted(digests.items()):
        times[digest] += 1
        names[number] = f"d:{digest}" + (f"-{times[digest]}" if times[digest] > 1 else "")
    return names
