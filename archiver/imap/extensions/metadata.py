"""Annotations of folders and of the server: METADATA (RFC 5464)."""

from __future__ import annotations

import re

from archiver.facts.access import Annotations
from archiver.imap.extensions.rights import strings, text_of
from archiver.imap.listing import Abilities
from archiver.imap.replies import Reply
from archiver.imap.tokens import HIGHEST, number

LONGEST = 64 << 10
"""Octets of a value; longer ones are left out."""

BEFORE = b"GETMETADATA (MAXSIZE %d DEPTH infinity)" % LONGEST
BEHIND = b" (/private /shared)"
"""All entries below these; the command needs the folder's name in between, `""` for the server."""

_ROW = re.compile(rb"\A\* METADATA +", re.IGNORECASE)
_LONG = re.compile(rb"\[METADATA LONGENTRIES (\d+)\]", re.IGNORECASE)

#: What Cyrus computes: sizes, times and counters, which are others in each run.
_COMPUTED = re.compile(
    r"/(?:private|shared)/vendor/cmu/cyrus-imapd/(?:annotsize|foldermodseq|freespace\b.*|hasalarms|lastpop|lastupdate"
    r"|partition|server|size|synccrcs|uniqueid|usercounters|usermodseq|usertombstones|userrawquota)",
    re.IGNORECASE,
)


def of_folders(abilities: Abilities) -> bool:
    """Whether folders have annotations."""
    return "METADATA" in abilities


def of_server(abilities: Abilities) -> bool:
    """Whether the server has annotations."""
    return "METADATA" in abilities or "METADATA-SERVER" in abilities


def annotations_of(reply: Reply) -> Annotations | None:
    """What the answer to GETMETADATA says; None if it was refused."""
    if not reply.ok:
        return None
    found: dict[str, str] = {}
    for response in reply.untagged:
        if row := _ROW.match(response.text):
            words = strings(response, row.end())
            for entry, value in zip(words[1::2], words[2::2], strict=False):
                if entry and value is not None and not _COMPUTED.fullmatch(text_of(entry)):
                    found[text_of(entry)] = value.decode("latin-1")
    long = _LONG.search(reply.text)
    return Annotations(tuple(sorted(found.items())), number(long[1], HIGHEST) if long else None)
