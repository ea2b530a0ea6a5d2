"""What an audit of a store tells: whether each message is whole, and what lies there that no message accounts for.

A store looks in the order that costs it least: a disk file by file, a bucket by one listing. The words are one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO, Literal

from archiver.mail.model import Placement

_READ_OCTETS = 1 << 20


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a message: its octets are not there at all, or are not those that were stored. An
    "endangered" one is whole, in something that is damaged, which is told by itself."""

    kind: Literal["missing", "damaged", "endangered"]
    reason: str


@dataclass(frozen=True, slots=True)
class Looked:
    """A message was looked at: that it is there with its size, and, if `read`, its octets. Without a fault it is
    whole."""

    placement: Placement
    read: bool
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Stray:
    """Something lies at `path`, relative to the store or as a URL, where nothing of the archive should."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Damage:
    """Something of the store's own that is in use and not as it was written, apart from what that does to messages:
    a pack cut short."""

    path: str
    reason: str


Audited = Looked | Stray | Damage


def fault_in(file: BinaryIO, placement: Placement) -> Fault | None:
    """What is wrong with these octets, read to their end; None if they are the message's."""
    sha256 = hashlib.sha256()
    size = 0
    while size <= placement.size and (octets := file.read(_READ_OCTETS)):
        size += len(octets)
        sha256.update(octets)
    if size != placement.size:
        return wrong_size(str(size) if size < placement.size else f"at least {size}", placement)
    if sha256.hexdigest() != placement.digest:
        return Fault("damaged", f"its octets have the digest {sha256.hexdigest()}")
    return None


def wrong_size(found: int | str, placement: Placement) -> Fault:
    """The fault of a message that is longer or shorter than it was stored."""
    return Fault("damaged", f"has {found} octets, was stored with {placement.size}")


NOT_THERE = Fault("missing", "its octets are not in the store")
NOBODYS = "no message of the archive belongs here"
