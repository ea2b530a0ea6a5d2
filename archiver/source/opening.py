"""How an IMAP server is asked to open a folder, and what its answer says.

All that is known to be wanted goes in one flight: EXAMINE, the search, the attributes of some messages, and the new
messages themselves if they are few. Each answer is tied to its command, and counts only if EXAMINE was OK: after a
refusal no folder is open (RFC 3501 section 6.3.2), or on some servers the previous one still is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from msgspec import Struct

from archiver.imap.coming import Coming
from archiver.imap.fetch_row import is_fetch, parse_fetch
from archiver.imap.folder import FolderReader
from archiver.imap.listing import Abilities
from archiver.imap.tokens import Response, number, parse_vanished, uid_sets
from archiver.mail.model import Attributes, Changes, FolderStatus, Opened
from archiver.mail.uidset import UidSet
from archiver.source.port import Opening

_ITEM = re.compile(rb"\[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)\]", re.IGNORECASE)
_FLAGS = re.compile(rb"\A\* FLAGS \(([^)]*)\)", re.IGNORECASE)
_CLOSED = re.compile(rb"\A\* OK \[CLOSED\]", re.IGNORECASE)


class Flight(Struct):
    """The commands that open a folder, in the order of the fields: ENABLE, EXAMINE, the search, the FETCH of
    attributes, and that of all messages from the UID `first` on. `examine` is None if the name cannot be quoted, so
    that it has to wait for the server; `how` is what stands behind the name. `resynchronises`: it asks what has
    changed. `is_whole`: nothing else will be requested of the folder, as far as can be known. `tags` are set when
    it is sent."""

    opening: Opening
    how: bytes
    resynchronises: bool
    enable: bytes | None
    examine: bytes | None = None
    search: bytes | None = None
    attributes: bytes | None = None
    first: int | None = None
    messages: bytes | None = None
    is_whole: bool = False
    tags: Sequence[bytes] = ()

    @property
    def commands(self) -> list[bytes]:
        every = (self.enable, self.examine, self.search, self.attributes, self.messages)
        return [each for each in every if each is not None]

    @property
    def coming(self) -> Coming | None:
        """The messages that were sent along."""
        if self.first is None:
            return None
        return Coming(self.tags[-1], self.tags[1 if self.enable else 0], self.first)


def flight_for(
    opening: Opening, reader: FolderReader, abilities: Abilities, *, enable: bytes | None, may_resynchronise: bool
) -> Flight:
    """What to send. Where the name needs a literal, EXAMINE goes without the others."""
    since, how, criteria = opening.since, b"", None if opening.ask is None else "ALL"
    resynchronises = False
    if since and since.highestmodseq and may_resynchronise:
        how, resynchronises = b" (QRESYNC (%d %d))" % (since.uidvalidity, since.highestmodseq), True
        if opening.ask == "new" and since.uidnext is not None:
            criteria = came_since(since.uidnext)
    elif abilities.condstore:
        how = b" (CONDSTORE)"
    name = reader.quoted(opening.folder.wire)
    flight = Flight(opening, how, resynchronises, enable)
    if name is None:
        return flight
    flight.examine = b"EXAMINE %b%b" % (name, how)
    if criteria is None:
        return flight
    flight.search = reader.search_command(criteria)
    wanted = [
        *itertools.islice(uid_sets(opening.known), 1)
    ]  # what does not fit into one command is asked for later
    uidnext = (since.uidnext if since else None) or 1
    if opening.identify and reader.identifies:
        wanted.append(b"%d:*" % uidnext)
    if wanted:
        flight.attributes = reader.attributes_command(b",".join(wanted))
    is_same_folder = since is None or (resynchronises and opening.ask == "new")
    if opening.fetch == "none":
        flight.is_whole = is_same_folder
    elif opening.fetch == "few" and is_same_folder and not (opening.identify and reader.identifies):
        flight.first, flight.messages, flight.is_whole = uidnext, reader.messages_command(uidnext), True
    return flight


def came_since(uidnext: int) -> str:
    """The SEARCH criteria for what came after a folder had this UIDNEXT."""
    return f"UID {uidnext}:*"


def opened_by(responses: Sequence[Response], exists: int, *, condstore: bool, resynchronises: bool) -> Opened:
    """What the responses to EXAMINE say of a folder with so many messages. Those before CLOSED are about the
    previous folder (RFC 7162 section 3.2.11). Without CONDSTORE a HIGHESTMODSEQ means nothing: Yahoo's stays as it
    is when flags change."""
    closed = max((i for i, each in enumerate(responses) if _CLOSED.match(each.text)), default=-1)
    items: dict[bytes, int] = {}
    keywords: tuple[str, ...] = ()
    vanished = UidSet()
    changed: list[Attributes] = []
    for response in responses[closed + 1 :]:
        for name, digits in _ITEM.findall(response.text[:200]):
            if (value := number(digits)) is not None:
                items[name.upper()] = value
        if flags := _FLAGS.match(response.text):
            words = flags[1].decode("utf-8", "backslashreplace").split()
            keywords = tuple(word for word in words if not word.startswith("\\"))
        elif gone := parse_vanished(response):
            vanished |= gone[1]
        elif is_fetch(response.text) and (row := parse_fetch(response)).attributes:
            changed.append(row.attributes)
    uidvalidity = items.get(b"UIDVALIDITY", 0)
    status = FolderStatus(
        # NOTE: a server without UIDVALIDITY does not keep UIDs (RFC 3501 section 2.3.1.1), nor what is said of
        # them; but some keep them and forget to say so.
        uidvalidity=uidvalidity,
        uidnext=items.get(b"UIDNEXT"),
        messages=exists,
        highestmodseq=items.get(b"HIGHESTMODSEQ") or None if uidvalidity and condstore else None,
    )
    tells = resynchronises and status.highestmodseq is not None
    return Opened(status, keywords, Changes(vanished, tuple(changed)) if tells else None)
