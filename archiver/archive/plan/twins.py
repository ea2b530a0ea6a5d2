"""Messages of the server that the archive has already, by the server's identity of them or by their headers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

from msgspec import Struct

from archiver.mail.content import header_block, header_digest
from archiver.mail.dates import internaldate_seconds
from archiver.mail.model import Attributes, Digest, Placement

K = TypeVar("K", bound=Hashable)
Identity = tuple[str, int, int]
"""A message's EMAILID, RFC822.SIZE and INTERNALDATE in seconds since 1970."""


class HeaderKey(Struct, frozen=True):
    """What must be equal, present and unique on both sides to match a message without its body."""

    message_id: str
    size: int
    instant: int
    header_digest: Digest


def header_key(attributes: Attributes, message_id: str | None, header_digest: Digest | None) -> HeaderKey | None:
    """The key of a message, None if a part of it is missing."""
    instant = internaldate_seconds(attributes.internaldate)
    if message_id is None or header_digest is None or attributes.size is None or instant is None:
        return None
    return HeaderKey(message_id, attributes.size, instant, header_digest)


def full_identity(attributes: Attributes) -> Identity | None:
    """The server's own identity of a message (RFC 8474 or Gmail's), with size and date; None if the server left
    anything out."""
    instant = internaldate_seconds(attributes.internaldate)
    if attributes.emailid is None or attributes.size is None or instant is None or attributes.flags is None:
        return None
    return attributes.emailid, attributes.size, instant


def is_header_of(twin: Placement, header: bytes) -> bool:
    """Whether this is the header of a message of the archive. An empty one proves nothing."""
    return header_block(header).strip() != b"" and header_digest(header) == twin.message.header_digest


def twins_by_identity(candidates: Iterable[Placement]) -> dict[Identity, Placement]:
    """One message of the archive for each identity, present ones preferred, whose octets are as many as the server
    says."""
    chosen: dict[Identity, Placement] = {}
    for each in candidates:
        identity = full_identity(each.message.attributes)
        if identity is None or identity[1] not in (each.size, each.crlf_size):
            continue
        if identity not in chosen or (each.present and not chosen[identity].present):
            chosen[identity] = each
    return chosen


def unique_twins(candidates: Iterable[tuple[K, Placement]], usable: Iterable[bool]) -> dict[K, Placement]:
    """One usable candidate for each key that belongs to a single digest in the whole account."""
    digests: dict[K, set[Digest]] = {}
    chosen: dict[K, Placement] = {}
    for (key, twin), is_usable in zip(candidates, usable, strict=True):
        digests.setdefault(key, set()).add(twin.digest)
        if is_usable:
            chosen.setdefault(key, twin)
    return {key: twin for key, twin in chosen.items() if len(digests[key]) == 1}


def groups_of(counts: Mapping[K, int], most: int) -> Iterator[set[K]]:
    """The keys in groups whose counts add up to at most `most`; a key with a greater count is a group by itself."""
    group: set[K] = set()
    left = most
    for key, count in counts.items():
        if group and count > left:
            yield group
            group, left = set(), most
        group.add(key)
        left -= count
    if group:
        yield group
