"""Messages prepared for the wire: read from the store, verified against their digest, put into groups.

A message whose octets differ from its recorded digest is never sent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from archiver.control.limits.limiter import Limiter
from archiver.destination.pace import Pace
from archiver.errors import IntegrityError
from archiver.facts.mailbox import AppendMessage, SelectedFolder
from archiver.facts.outgoing import Outgoing
from archiver.facts.replica import MessageKey
from archiver.mail.content import header_block
from archiver.mail.dates import date_time, internaldate_seconds, internaldate_to_send, same_moment
from archiver.mail.flags import sendable
from archiver.mail.model import Digest, Flags, Placement
from archiver.mail.refusal import Refusal
from archiver.mail.rewrite import repair
from archiver.replay.send.match import octets_of
from archiver.storage.port import MessageStore

BATCH_OCTETS = 32 << 20
GROUP_MESSAGES = 100
GROUP_OCTETS = 4 << 20

#: A message above this size is a group by itself and never completely in memory.
LARGE_OCTETS = 1 << 20

_BINARY_PART = re.compile(rb"content-transfer-encoding:\s*\"?binary", re.IGNORECASE)
_FIELD_OCTETS = 100

#: 2 January 1970: Cyrus and Courier replace the very first moment with the current time.
EARLIEST = 86_400


class PreparedMessage(Struct, frozen=True):
    """A message of the archive, ready to be sent. `repaired` names what was altered, `sent_digest` is the digest of
    the altered octets. `dated` is false if another date than the message's own is sent. `tried` are the variants
    that were already refused."""

    outgoing: Outgoing
    to_append: AppendMessage
    crlf_size: int
    repaired: tuple[str, ...] = ()
    sent_digest: Digest | None = None
    dated: bool = True
    tried: frozenset[str] = frozenset()

    @property
    def key(self) -> MessageKey:
        return self.outgoing.key

    def fits(self, size: int | None) -> bool:
        """Whether a destination that shows this RFC822.SIZE may hold exactly the octets that were sent."""
        return size is None or size in (self.to_append.size, self.crlf_size)

    def shows_its_date(self, internaldate: str | None) -> bool:
        """Whether a destination's INTERNALDATE is the moment that was sent."""
        if internaldate == self.to_append.internaldate:
            return True
        sent = internaldate_seconds(self.to_append.internaldate)
        return sent is None or same_moment(internaldate_seconds(internaldate), sent)


def prepare(store: MessageStore, outgoing: Outgoing, opened: SelectedFolder) -> PreparedMessage:
    """Prepare a message.

    Raises:
        IntegrityError: its octets are missing or altered.
    """
    place = outgoing.placement
    date = internaldate_to_send(outgoing.message.internaldate, place.arrived)
    digest = hashlib.sha256()
    held: list[bytes] = []
    has_nul, first = False, b""
    for piece in octets_of(store, place):
        digest.update(piece)
        first = first or piece
        has_nul = has_nul or b"\0" in piece
        if place.size <= LARGE_OCTETS:
            held.append(piece)
    if digest.hexdigest() != place.digest:
        raise IntegrityError(f"{store.display_path(place)}: its bytes are not those that were stored")
    flags = flags_to_send(opened, place.flags)
    octets = (lambda: held) if place.size <= LARGE_OCTETS else (lambda: _proved(store, place))
    is_binary = has_nul and not _declares_binary(octets())
    is_8bit = not header_block(first).isascii()
    return PreparedMessage(
        outgoing, AppendMessage(flags, date, place.size, octets, is_binary, is_8bit), place.crlf_size
    )


def _declares_binary(pieces: Iterable[bytes]) -> bool:
    """Whether a part says that it is binary. Of a literal8 servers encode such parts, as they may (RFC 3516 section
    4.4); Dovecot and Cyrus do."""
    last = b""
    for piece in pieces:
        if _BINARY_PART.search(last + piece):
            return True
        last = piece[-_FIELD_OCTETS:]
    return False


def _proved(store: MessageStore, place: Placement) -> Iterator[bytes]:
    """The octets in pieces, the last one only after the digest of all is verified. They are read again each time
    they are sent, perhaps over a network, and a server does not store an incomplete literal.

    Raises:
        IntegrityError: they are altered.
    """
    digest, last = hashlib.sha256(), b""
    for piece in octets_of(store, place):
        digest.update(piece)
        if last:
            yield last
        last = piece
    if digest.hexdigest() != place.digest:
        raise IntegrityError(f"{store.display_path(place)}: its bytes are not those that were stored")
    yield last


@lru_cache(maxsize=1024)  # few sets of flags, many messages
def flags_to_send(opened: SelectedFolder, flags: Flags) -> Flags:
    """Those of `flags` that can be written in a command and that the folder keeps."""
    return opened.kept(sendable(flags))


def keywords_of(flags: Flags) -> Flags:
    """Those of `flags` that are not system flags."""
    return frozenset(flag for flag in flags if not flag.startswith("\\"))


def as_variant(message: PreparedMessage, opened: SelectedFolder, variant: str) -> PreparedMessage:
    """The same message as another variant, which is tried once: "no keywords", "no flags", "1970" (the earliest
    date that every server takes), one of the first two with this date ("no keywords, 1970"), or "as it is"."""
    place = message.outgoing.placement
    flags = flags_to_send(opened, place.flags)
    date = internaldate_to_send(message.outgoing.message.internaldate, place.arrived)
    if "no flags" in variant:
        flags = frozenset()
    elif "no keywords" in variant:
        flags -= keywords_of(flags)
    dated = "1970" not in variant
    to_append = replace(message.to_append, flags=flags, internaldate=date if dated else date_time(EARLIEST))
    return replace(message, to_append=to_append, dated=dated, tried=message.tried | {variant})


def with_repairs(store: MessageStore, message: PreparedMessage, kinds: Sequence[str]) -> PreparedMessage:
    """The same message with its octets repaired, always starting from the original ones."""
    place = message.outgoing.placement
    names = tuple(kinds)

    def octets() -> Iterator[bytes]:
        return repair(_proved(store, place), names)

    digest, size, bare, last = hashlib.sha256(), 0, 0, b""
    for piece in octets():
        digest.update(piece)
        size += len(piece)
        bare += piece.count(b"\n") - (last + piece).count(b"\r\n")
        last = piece[-1:] if piece[-1:] == b"\r" else b""
    is_binary = message.to_append.is_binary and "nul" not in names
    to_append = replace(message.to_append, size=size, octets=octets, is_binary=is_binary)
    return replace(
        message, to_append=to_append, crlf_size=size + bare, repaired=names, sent_digest=Digest(digest.hexdigest())
    )


def batches(outgoing: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Batches of messages that share an intent; after a lost connection, at most two are fetched again."""
    found: list[list[Outgoing]] = []
    octets = 0
    for each in outgoing:
        octets += each.placement.size
        if not found or octets > BATCH_OCTETS:  # the first one may be empty
            found.append([])
            octets = each.placement.size
        found[-1].append(each)
    return found


def groups(outgoing: Iterable[Outgoing], alone: Collection[MessageKey]) -> Iterator[list[Outgoing]]:
    """Split messages into groups of a bounded size, in their order. Large ones, and those of `alone`, are groups by
    themselves."""
    group: list[Outgoing] = []
    octets = 0
    for each in outgoing:
        size = each.placement.size
        single = size > LARGE_OCTETS or each.key in alone
        if group and (single or len(group) >= GROUP_MESSAGES or octets + size > GROUP_OCTETS):
            yield group
            group, octets = [], 0
        if single:
            yield [each]
            continue
        group.append(each)
        octets += size
    if group:
        yield group


def size_of(each: Outgoing | PreparedMessage) -> int:
    """How many octets a message has on the wire."""
    return each.to_append.size if isinstance(each, PreparedMessage) else each.placement.size


def fitting(group: Sequence[Outgoing | PreparedMessage], pace: Pace, limits: Limiter) -> int:
    """How many messages of a group to send together at this pace, and within what is left of the day; at least
    one."""
    sizes: list[int] = []
    octets = 0
    for count, each in enumerate(group):
        sizes.append(size_of(each))
        octets += sizes[-1]
        is_full = count >= pace.messages or octets > pace.octets
        if count and (is_full or not limits.fits(sizes)):
            return count
    return len(group)


def fit_together(messages: int, octets: int, pace: Pace) -> bool:
    """Whether groups of that many messages may be on their way together: no more than two full ones, so that none
    is answered later than the second of these."""
    return messages <= 2 * min(GROUP_MESSAGES, pace.messages) and octets <= 2 * min(GROUP_OCTETS, pace.octets)


def worth_a_look(messages: int, octets: int) -> bool:
    """Whether so many messages were accepted that they are looked at while others are on their way. Small ones are
    in memory until then.

    NOTE: the answer has to fit into the sockets' buffers, because it may come while we write and do not read. So
    these are a few hundred messages.
    """
    return 2 * messages >= 5 * GROUP_MESSAGES or octets >= 2 * GROUP_OCTETS


def variants_of(message: PreparedMessage, refusal: Refusal) -> Sequence[str]:
    """The variants in which to try a message that was refused, in this order. Many servers answer a date or keyword
    that they reject with a syntax error (Courier, iCloud). A server that names a cause names one at a time, so what
    was left out before stays left out."""
    wanted, sent = message.outgoing.placement.flags, message.to_append.flags
    keywords = bool(keywords_of(wanted))
    old = message.outgoing.placement.arrived < 0
    match refusal:
        case "flags":
            date = "" if message.dated else ", 1970"
            return (f"no keywords{date}", f"no flags{date}")
        case "date" if wanted and not sent:
            return ("no flags, 1970",)
        case "date" if keywords and not keywords_of(sent):
            return ("no keywords, 1970",)
        case "date":
            return ("1970",)
        case "unknown":
            return (*["1970"] * old, *["no keywords"] * keywords, *["no keywords, 1970"] * (old and keywords))
        case _:
            return ()
