"""Access rights of folders: ACL (RFC 4314, and RFC 2086 before it).

GETACL needs the right `a`; without it MYRIGHTS says what this user may do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from archiver.facts.access import Rights
from archiver.imap.listing import Abilities
from archiver.imap.replies import Reply
from archiver.imap.tokens import Response, quote

_ACL = re.compile(rb"\A\* ACL +", re.IGNORECASE)
_MINE = re.compile(rb"\A\* MYRIGHTS +", re.IGNORECASE)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|\x00\d+\x00|[^\s()"]+', re.DOTALL)
_BETWEEN = re.compile(rb"[\s()]*")


def has_rights(abilities: Abilities) -> bool:
    """Whether the server has access rights."""
    return "ACL" in abilities


def rights_of(reply: Reply) -> Rights | None:
    """What the answer to GETACL says; None if it was refused."""
    if not reply.ok:
        return None
    for words in _rows(reply, _ACL):
        pairs = zip(words[1::2], words[2::2], strict=False)
        return Rights(tuple(sorted((text_of(name), text_of(rights)) for name, rights in pairs)))
    return None


def mine_of(reply: Reply) -> Rights | None:
    """What the answer to MYRIGHTS says; None if it was refused."""
    for words in _rows(reply, _MINE) if reply.ok else ():
        return Rights(None, "".join(sorted(text_of(words[-1])))) if len(words) > 1 else None
    return None


def _rows(reply: Reply, kind: re.Pattern[bytes]) -> Iterator[list[bytes | None]]:
    for response in reply.untagged:
        if found := kind.match(response.text):
            yield strings(response, found.end())


def strings(response: Response, start: int) -> list[bytes | None]:
    """The octets of the strings and atoms from there on, up to one that does not end; None for NIL."""
    found: list[bytes | None] = []
    position = _behind(_BETWEEN, response.text, start)
    while (token := _TOKEN.match(response.text, position)) is not None:
        found.append(response.string(token[0]))
        position = _behind(_BETWEEN, response.text, token.end())
    return found


def _behind(pattern: re.Pattern[bytes], text: bytes, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


def text_of(octets: bytes | None) -> str:
    """A server's word as text, also if it is the atom NIL; octets that are no UTF-8 are lone surrogates."""
    return (b"NIL" if octets is None else octets).decode("utf-8", "surrogateescape")


def has_new_rights(abilities: Abilities) -> bool:
    """Whether it knows the rights of RFC 4314, and not only those of RFC 2086."""
    return any(each.startswith("RIGHTS=") for each in abilities.capabilities)


def change_command(
    abilities: Abilities, raw: bytes, identifier: str, sign: str, rights: str
) -> tuple[bytes, bytes, bytes] | None:
    """SETACL that adds ("+") or takes away ("-") rights, as what is before the folder's name, the name, and what is
    behind it; None if the identifier cannot be written in a line."""
    octets = identifier.encode("utf-8", "surrogateescape")
    quoted = quote(octets)
    if quoted is None:
        if "LITERAL+" not in abilities or b"\0" in octets:
            return None
        quoted = b"{%d+}\r\n%b" % (len(octets), octets)
    return b"SETACL", raw, b" %b %b%b" % (quoted, sign.encode("ascii"), rights.encode("ascii", "ignore"))
