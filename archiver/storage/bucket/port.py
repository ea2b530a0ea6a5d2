"""The port of a bucket, and the values that it returns.

Stores, the journal and the lease use only `Bucket`, so each of them works with boto3 and with the faster client,
and is tested with both. Keys are relative to the account's prefix in the bucket (`PREFIX/ACCOUNT/`); an archive has
nothing outside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from msgspec import Struct

from archiver.mail.model import Digest

Octets = bytes | Path
"""An object's content: in memory, or a file that is read while it is sent and not removed."""

Purpose = Literal["message", "journal", "control"]
"""What an object is for, which decides how it is stored: a "message" (or a pack of them) has everything that is
configured: storage class, tags, encryption and lock; the "journal" has the same lock and encryption, but is always
readable immediately; a "control" object (marker, lease, probe) is only encrypted, since it is replaced."""


class ObjectFacts(Struct, frozen=True):
    """An object according to the endpoint. `modified`, and `asked`, the time of this answer, are seconds since 1970
    by the endpoint's clock, so that their difference does not depend on our clock."""

    key: str
    size: int
    modified: float
    asked: float
    etag: str | None = None


class Kept(Struct, frozen=True):
    """An object that could not be removed, and why: a lock, a legal hold, no permission."""

    key: str
    reason: str


class Versions(Protocol):
    """What a bucket with versions keeps of what was replaced."""

    def forget_versions(self, key: str) -> Kept | None:
        """Remove the versions of an object but the newest; returns why one of them had to stay. Does nothing in a
        bucket without versions."""


class Bucket(Versions, Protocol):
    """One account's prefix in one bucket. Threads may share it; processes may not: open it after a fork.

    Raises (all):
        ArchiveNotWritable: no such bucket, or no permission for the request.
        ArchiveUnreachable: no connection, refused credentials, or a clock that is too far off; temporary failures
            were retried with backoff before.
        ArchiveThrottled: the endpoint still asks to slow down after that.
        ConfigError: the settings cannot be right: another region, another endpoint, an unknown option.
    """

    def create(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> bool:
        """Write an object that does not exist yet; False if it exists, which then stays unchanged.

        Durable on return. `digest` is the hex SHA-256 of the octets; the endpoint gets it to compare, or the MD5 of
        what is sent if it cannot compare that. If interrupted, or called again after a lost answer, the object
        exists completely or not at all.

        NOTE: after a lost answer it may return False for an object that it wrote itself.
        """

    def replace(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> None:
        """Write an object, whether it exists or not: control objects, and repairs."""

    def head(self, key: str) -> ObjectFacts | None:
        """An object's facts; None if it does not exist."""

    def read(self, key: str, first: int = 0, octets: int | None = None) -> BinaryIO:
        """The object's octets from `first`, `octets` of them (None: to its end), as they arrive; not seekable.
        After a broken connection it continues at the same place, as long as the object is the same one.

        Raises:
            IntegrityError: there is no such object.
        """

    def list(self, under: str = "", after: str = "") -> Iterator[ObjectFacts]:
        """All objects whose key begins with `under` and is greater than `after`, by key, a page at a time."""

    def delete(self, keys: Iterable[str]) -> Iterator[Kept]:
        """Remove objects; yields those that could not be removed and continues with the others. Objects that do not
        exist are ignored. Lazy: exhaust the iterator to delete."""

    def place(self, key: str = "") -> str:
        """The URL of a key for people: `s3://bucket/prefix/account/key`."""

    def close(self) -> None:
        """Close the connections; may be called twice."""
