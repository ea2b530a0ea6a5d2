"""Folders without UIDVALIDITY: whether UIDs still name the messages that they named before.

RFC 3501 section 2.3.1.1 requires a UIDVALIDITY above 0. A server that gives none does not promise that a UID names
the same message in the next session, so the messages themselves are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from msgspec import Struct

from archiver.errors import FolderChanged, Where
from archiver.mail.content import header_digest, message_id
from archiver.mail.dates import internaldate_seconds
from archiver.mail.folder_names import printable
from archiver.mail.model import Attributes, Digest, Folder, Opened
from archiver.mail.reader import MailReader
from archiver.mail.uidset import UidSet

_WINDOW = 1000


class NamedMessage(Struct, frozen=True):
    """What a UID named before. `size` is RFC822.SIZE, `arrived` the INTERNALDATE in seconds since 1970; None: not
    known. The header tells more only where `has_header`: `message_id`, None if it had none, and then its
    `header_digest`."""

    uid: int
    size: int | None
    arrived: int | None
    message_id: str | None
    header_digest: Digest | None = None
    has_header: bool = True


def names_other_mail(reader: MailReader, known: Iterable[NamedMessage], present: UidSet) -> bool:
    """Whether the open folder, which shows `present`, has other messages under the UIDs of `known` ones, or shows
    known ones under new UIDs. Only if not may a UID that is no longer there count as a message that is gone."""
    gone: set[tuple[int | None, int | None]] = set()
    new, known = present, iter(known)
    while window := {each.uid: each for each in islice(known, _WINDOW)}:
        new -= window.keys()
        here = {uid: each for uid, each in window.items() if uid in present}
        gone |= {(each.size, each.arrived) for uid, each in window.items() if uid not in here}
        if not all(_is_same(here[seen.uid], seen, header) for seen, header in _headers(reader, here)):
            return True
        nameless = {uid: each for uid, each in here.items() if each.has_header and each.message_id is None}
        if any(
            header_digest(header) != nameless[seen.uid].header_digest
            for seen, header in (reader.headers(nameless.keys()) if nameless else ())
            if seen.uid in nameless and nameless[seen.uid].header_digest is not None
        ):
            return True
    if not gone:
        return False
    return any(
        (seen.size, internaldate_seconds(seen.internaldate)) in gone for seen in (reader.scan(new) if new else ())
    )


def require_same_uids(folder: Folder, before: Opened, now: Opened) -> None:
    """Check that the UIDs of a folder that was opened again name the same messages; without UIDVALIDITY, as far as
    sizes and dates tell.

    Raises:
        FolderChanged: they do not.
    """
    one, other = before.status.uidvalidity, now.status.uidvalidity
    common = before.shown.keys() & now.shown.keys()
    gone = {shown for uid, shown in before.shown.items() if uid not in common}
    new = {shown for uid, shown in now.shown.items() if uid not in common}
    if one != other:
        why = f"UIDVALIDITY changed from {one} to {other} during the run"
    elif gone & new or any(before.shown[uid] != now.shown[uid] for uid in common):
        why = "the server gives no UIDVALIDITY, and its UIDs changed during the run"
    else:
        return
    raise FolderChanged(why, where=Where(folder=printable(folder.name)), hint="the next run begins a new epoch")


def _headers(reader: MailReader, here: dict[int, NamedMessage]) -> Iterator[tuple[Attributes, bytes]]:
    rows = reader.headers(here.keys(), "MESSAGE-ID") if here else ()
    return (row for row in rows if row[0].uid in here)


def _is_same(before: NamedMessage, seen: Attributes, header: bytes) -> bool:
    """NOTE: some servers count sizes differently from one day to the next, and dates get lost when files are
    copied, so with an equal Message-ID one of the two is enough."""
    moment = internaldate_seconds(seen.internaldate)
    sized = None in (before.size, seen.size) or before.size == seen.size
    dated = None in (before.arrived, moment) or before.arrived == moment
    if not before.has_header:
        return sized and dated
    if before.message_id != message_id(header):
        return False
    return (sized or dated) if before.message_id is not None else (sized and dated)
