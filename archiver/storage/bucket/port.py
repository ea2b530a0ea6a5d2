"""What an archive asks of a bucket, and the words for the answers.

Stores, the journal and the lease are written against `Bucket` alone, so that each of them works over boto3, over
the faster client, and is tried against both. Keys are relative to the account's place in the bucket
(`PREFIX/ACCOUNT/`); nothing of an archive is ever outside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from archiver.mail.model import Digest

Octets = bytes | Path
"""An object's content: in memory, or a file that is read while it is sent and left where it is."""

Purpose = Literal["message", "journal", "control"]
"""What an object is for, which decides how it is kept: a "message" (or a pack of them) has everything that was
asked for, storage class, tags, encryption and lock; the "journal" is as locked and encrypted, but always at hand; a
"control" object (marker, lease, probe) is encrypted alone, for it is replaced."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the endpoint says of an object. `modified`, and `asked`, the moment of this answer, are seconds since
    1970 by the endpoint's own clock, so that their difference needs no clock of ours."""

    key: str
    size: int
    modified: float
    asked: float
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that could not be removed, and why: a lock, a legal hold, no permission."""

    key: str
    reason: str


class Bucket(Protocol):
    """One account's place in one bucket. Threads may share it; processes may not: open it after a fork.

    Raises (all):
        ArchiveNotWritable: no such bucket, or no permission for what was asked.
        ArchiveUnreachable: no connection, credentials that are refused, a clock that is too far off; what is worth
            trying again was tried again with backoff before.
        ArchiveThrottled: the endpoint still asks to slow down after that.
        ConfigError: the settings cannot be right: another region, another endpoint, an option it does not know.
    """

    def create(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> bool:
        """Write an object that is not there yet; False if it is there, which then stays as it is.

        Durable on return. `digest` is the hex SHA-256 of the octets; the endpoint is given it to compare, or, where
        it cannot, the MD5 of what is sent. Interrupted, or called again after an answer that was lost, it is there
        whole or not at all.

        NOTE: after a lost answer it may say False of what it wrote itself.
        """

    def replace(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> None:
        """Write an object, whether it is there or not: control objects, and what a person has asked to repair."""

    def look(self, key: str) -> ObjectFacts | None:
        """What is said of an object; None if it is not there."""

    def read(self, key: str, first: int = 0, octets: int | None = None) -> BinaryIO:
        """The object's octets from `first` on, `octets` of them (None: to its end), as they arrive; not seekable.
        A connection that breaks on the way is taken up where it broke, as long as the object is the same one.

        Raises:
            IntegrityError: there is no such object.
        """

    def list(self, under: str = "", after: str = "") -> Iterator[ObjectFacts]:
        """All objects whose key begins with `under` and is greater than `after`, by key, a page at a time."""

    def delete(self, keys: Iterable[str]) -> Iterator[Kept]:
        """Remove objects; yields those that could not be, goes on with the others. What is not there is fine.
        Nothing happens unless the answer is used up."""

    def place(self, key: str = "") -> str:
        """Where that is, for people: `s3://bucket/prefix/account/key`."""

    def close(self) -> None:
        """Let go of the connections; may be called twice."""
