"""An account's store and journal, open; and what every medium offers that can keep them.

Whatever differs between a disk and a bucket, and is not a store's own business, is a fact or a method of its
`Medium`. So nobody else asks which of them it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from archiver.errors import ArchiverError
from archiver.journal.port import Journal
from archiver.mail.folder_names import DirectoryNames
from archiver.storage.port import Eraser, FolderMetadata, MessageStore, Prefetch, Rows

if TYPE_CHECKING:
    from archiver.config.tables.s3 import S3Settings
    from archiver.storage.bucket.lease import Lease
    from archiver.storage.bucket.pack_batch import FramesOf
    from archiver.storage.bucket.probe import KeepingBucket


def _none_elsewhere() -> object:
    """The kernel's lock keeps everybody away who could write to a disk."""
    return None


class OpenStore(Struct, frozen=True):
    """Where an account's messages and facts lie, open. `metadata` is None where no other program reads the store,
    `prefetch` where it is not read from far away. `collectable` is the bucket where killed runs may leave objects
    that no fact names, None if there is none; `make_eraser` is for `eraser`; `lease` is the one under which it is
    written.

    `other_writers` returns a value that stays equal while no other machine writes to the store, and is never equal
    to another one while one does."""

    messages: MessageStore
    journal: Journal
    make_eraser: Callable[[Rows], Eraser]
    metadata: FolderMetadata | None = None
    prefetch: Prefetch | None = None
    collectable: KeepingBucket | None = None
    lease: Lease | None = None
    other_writers: Callable[[], object] = _none_elsewhere

    def eraser(self, rows: Rows) -> Eraser:
        """What erases messages; `rows` are those that the archive goes on to hold."""
        return self.make_eraser(rows)


class HeldLease(Struct, frozen=True):
    """What a process that writes to a bucket has open. `lease` is None if the account file says that only this
    machine writes."""

    bucket: KeepingBucket
    lease: Lease | None


class Ends(Struct, frozen=True, array_like=True):
    """Where an archive on another machine ends: the numbers of the journal's last segment, and of the last lease, 0
    if none is taken there."""

    segment: int
    lease: int


class BucketPlace(Protocol):
    """An account's place in a bucket, for a look at it."""

    @property
    def s3(self) -> S3Settings:
        """The bucket as the account file says."""

    def connect(self) -> KeepingBucket:
        """The place; it connects when it is first used."""


class Medium(Protocol):
    """Where an account's archive lies. Its facts follow from the account file alone: nothing is opened or looked
    at."""

    @property
    def name(self) -> str:
        """Where the archive lies, for people: a path or a URL."""

    @property
    def wanted(self) -> str:
        """What has to be in order so that the archive is found, like "disk mounted"."""

    @property
    def is_remote(self) -> bool:
        """Whether messages and journal lie on another machine. Then reading them costs requests, they need no room
        here, and everything that is local can be made again from them."""

    @property
    def has_directories(self) -> bool:
        """Whether each folder has a directory of its own."""

    @property
    def leaves_garbage(self) -> bool:
        """Whether `archiver gc`, not the next run, removes what killed runs leave there."""

    @property
    def own_directory(self) -> Path:
        """A local directory that exists as soon as an archive was begun."""

    def shown(self, ends: Ends | None) -> object | None:
        """What a glance at the store and its journal shows, a value for JSON: another one as soon as anybody has
        recorded anything, or has put another archive there. `ends`: where it ended when it was read, if it is
        remote; None: it may be anywhere. None: it has gone on since, or somebody works on it.

        Raises:
            OSError, ArchiverError: nobody can look at it.
        """

    def is_emptied(self, directory: str) -> bool:
        """Whether no message is where those of a folder with this directory lie, as far as a glance shows it."""

    def directory_names(self) -> DirectoryNames:
        """Which names folders' directories can have where the archive lies, which is looked up there."""

    def require_fit(self) -> None:
        """Check that messages can be stored there under their names; nothing is left behind.

        Raises:
            ArchiveNotWritable: they cannot.
        """

    @property
    def bucket(self) -> BucketPlace | None:
        """The bucket, for a look at it; None if there is none."""

    def hold(self, run: str, since: str, why_not_begin: Callable[[], ArchiverError | None]) -> HeldLease | None:
        """Keep writers on all other machines away, until `give_back`; None where no other machine can write.
        `why_not_begin` returns why there may be no archive yet, or None.

        NOTE: the account's kernel lock has to be held.

        Raises:
            Locked: another machine holds the archive.
            ConfigError: the endpoint does not do what the account file asks for, or no lock can hold there.
            ArchiverError: what `why_not_begin` returned, and there is no archive; nothing was written.
        """

    def give_back(self) -> None:
        """Give back what this process holds; fine if it holds nothing."""

    def opened(self, frames: FramesOf, held: HeldLease | None = None) -> AbstractContextManager[OpenStore]:
        """The store and the journal, opened without a look at them, so that a process that forks takes no
        connection along. `frames` is what the catalog says about where packed messages lie. What is `held` is used,
        and stays open."""
