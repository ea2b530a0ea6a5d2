"""What is found on a disk: folders, messages in them, and where the octets of a message lie. Values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal, NamedTuple

from msgspec import Struct

from archiver.mail.model import Flags

Kind = Literal["maildir", "mbox", "eml", "zip", "tar"]
"""What a file is: a message of a Maildir, messages in an mbox, a single message, files in a .zip or .tar(.gz)."""

Quoting = Literal["", "From ", "From"]
"""How a line begins that has a ">" too many: after any number of ">"."""

Doubt = Literal["", "quoting", "separator", "length", "line ends"]
"""What about a message could be read in another way: in an mbox a ">" before a "From " that was taken off, a line
"From " that begins it and is not a usual one, a Content-Length that goes over such a line; and line ends of both
kinds."""


class Stamp(NamedTuple):
    """A file as it was when it was read: as long as all of these are the same, so is its content."""

    device: int
    inode: int
    size: int
    mtime: int
    ctime: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Place(Struct, frozen=True):
    """Where the octets of a message lie: `length` of them from `offset` in a file, or in a member of a packed one.
    `quoting`: of which lines a ">" is taken off. `exact`: so many of them are taken as they lie, whatever their
    line ends are."""

    path: str
    offset: int = 0
    length: int = 0
    kind: Kind = "eml"
    member: str = ""
    quoting: Quoting = ""
    exact: int | None = None


class FoundMessage(Struct, frozen=True):
    """A message that was read once. `identity` is the digest of its octets without what programs change in place,
    `size` the number of these octets; `internaldate` as in IMAP. `labels` are Gmail's, None if it has none;
    `uid` is the one that it had elsewhere, 0 if that is not known."""

    place: Place
    identity: str
    size: int
    flags: Flags
    internaldate: str | None
    doubt: Doubt = ""
    labels: tuple[str, ...] | None = None
    uid: int = 0


class FoundFile(Struct, frozen=True):
    """A file of a folder. `base` is what stays of its name if a program renames it for other flags; `flags` are
    those that its name says, None if they are in it."""

    path: str
    base: str
    kind: Kind
    stamp: Stamp
    flags: Flags | None = None


class Unreadable(Struct, frozen=True):
    """A file of a folder that cannot be read, and why. `lasting`: it is none that could be read some day, so that
    it says nothing of messages that were seen before."""

    path: str
    reason: str
    lasting: bool = False


class FolderOnDisk(Struct, frozen=True):
    """A folder: its levels, the directory or file in which its messages lie, and what these are. `use` is its
    special use (RFC 6154). `part`: only messages of this folder in the file are meant: one of Gmail's labels, or a
    directory in a packed file."""

    levels: tuple[str, ...]
    path: str
    kind: Kind
    use: str | None = None
    part: tuple[str, ...] | None = None


Found = Iterator[FoundFile | Unreadable]
