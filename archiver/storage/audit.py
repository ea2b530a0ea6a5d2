"""The findings of an audit of a store: whether each message is intact, and what belongs to no message.

Each store walks in the order that costs it least: a disk file by file, a bucket by one listing. The findings are
the same for all.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Literal

from msgspec import Struct

from archiver.mail.model import Placement

_READ_OCTETS = 1 << 20


class Fault(Struct, frozen=True):
    """What is wrong with a message: its octets are missing, or are not those that were stored. An "endangered" one
    is intact but in a damaged pack, which is reported separately."""

    kind: Literal["missing", "damaged", "endangered"]
    reason: str


class Looked(Struct, frozen=True):
    """A message was checked: that it exists with its size and, if `read`, its octets. Without a fault it is
    intact."""

    placement: Placement
    read: bool
    fault: Fault | None = None


class Stray(Struct, frozen=True):
    """An unexpected file or object at `path`, relative to the store or as a URL."""

    path: str
    reason: str


class Damage(Struct, frozen=True):
    """A part of the store that is in use and damaged, such as a truncated pack; its messages are reported
    separately."""

    path: str
    reason: str


Audited = Looked | Stray | Damage


def fault_in(file: BinaryIO, placement: Placement) -> Fault | None:
    """What is wrong with these octets, which are read to their end; None if they are the message's."""
    sha256 = hashlib.sha256()
    size = 0
    while size <= placement.size and (octets := file.read(_READ_OCTETS)):
        size += len(octets)
        sha256.update(octets)
    if size != placement.size:
        return wrong_size(str(size) if size < placement.size else f"at least {size}", placement)
    if sha256.hexdigest() != placement.digest:
        return Fault("damaged", f"its bytes have the digest {sha256.hexdigest()}")
    return None


def wrong_size(found: int | str, placement: Placement) -> Fault:
    """The fault of a message whose size is not the recorded one."""
    return Fault("damaged", f"has {found} bytes, was stored with {placement.size}")


NOT_THERE = Fault("missing", "its bytes are not in the store")
NOBODYS = "no message of the archive belongs here"
