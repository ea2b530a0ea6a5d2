"""What a server serves, read by a connection that shares nothing with the archiver.

Equal values mean the same state: folders, UIDs, octets, flags with the count of \\Recent, and dates.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from tests.servers.wire import Wire, quoted


@dataclass(frozen=True)
class ServedMessage:
    """A message as the server gives it: digest and size of BODY.PEEK[], flags, INTERNALDATE verbatim."""

    digest: str
    size: int
    flags: frozenset[str]
    internaldate: str


@dataclass(frozen=True)
class ServedFolder:
    """A folder as the server gives it; `recent` is what EXAMINE counts as \\Recent."""

    uidvalidity: int
    uidnext: int | None
    recent: int | None
    highestmodseq: int | None
    messages: dict[int, ServedMessage]


def dump(wire: Wire) -> dict[bytes, ServedFolder]:
    """Everything a logged-in connection can see, by the raw names of the folders; logs out at the end."""
    condstore = any(b"CONDSTORE" in response.line for response in wire.command("CAPABILITY"))
    found = {}
    for response in wire.command('LIST "" "*"'):
        listed = re.fullmatch(rb'\* LIST \((.*?)\) (?:NIL|".{1,2}") (.*)', response.line)
        assert listed, response
        if b"\\noselect" in listed[1].lower():
            continue
        raw = response.literals[0] if response.literals else _unquoted(listed[2])
        found[raw] = _folder(wire, raw, b" (CONDSTORE)" if condstore else b"")
    wire.logout()
    return found


def _folder(wire: Wire, raw: bytes, parameter: bytes) -> ServedFolder:
    reported: dict[str, int] = {}
    for response in wire.command(b"EXAMINE " + quoted(raw) + parameter):
        for item in ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ"):
            if (number := response.number(item)) is not None:
                reported[item] = number
        if recent := re.fullmatch(rb"\* (\d+) RECENT", response.line):
            reported["RECENT"] = int(recent[1])
    messages = {}
    for response in wire.command("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])"):
        uid, octets = response.number("UID"), b"".join(response.literals)
        flags = re.search(rb"FLAGS \(([^)]*)\)", response.line)
        date = re.search(rb'INTERNALDATE "([^"]*)"', response.line)
        if uid is None or flags is None or date is None:
            continue
        digest, size = hashlib.sha256(octets).hexdigest(), len(octets)
        messages[uid] = ServedMessage(digest, size, frozenset(flags[1].decode().split()), date[1].decode())
    return ServedFolder(
        reported["UIDVALIDITY"],
        reported.get("UIDNEXT"),
        reported.get("RECENT"),
        reported.get("HIGHESTMODSEQ"),
        messages,
    )


def _unquoted(name: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", name[1:-1]) if name.startswith(b'"') else name
