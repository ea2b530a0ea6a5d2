"""An account's store and journal, from its settings: files on a disk, or objects in a bucket.

Both are opened without a look at them, so that a process that forks takes no connection along.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from archiver.config.load import S3Settings, Settings
from archiver.config.secrets import resolve
from archiver.errors import ConfigError
from archiver.journal.bucket import BucketJournal
from archiver.journal.files import FileJournal
from archiver.journal.port import Journal
from archiver.storage.bucket.lease import Lease
from archiver.storage.bucket.objects import ObjectStore
from archiver.storage.bucket.pack_batch import FramesOf
from archiver.storage.bucket.packs import PackStore
from archiver.storage.bucket.prefetch import SMALL_OCTETS
from archiver.storage.bucket.probe import KeepingBucket
from archiver.storage.maildir.store import MaildirStore
from archiver.storage.port import FolderMetadata, MessageStore, Prefetch
from archiver.storage.s3.open import open_bucket
from archiver.storage.threads import Threads

_KEY_OCTETS = 32


@dataclass(frozen=True, slots=True)
class OpenStore:
    """Where an account's messages and facts lie, open. `metadata` is None where no other program reads the store,
    `prefetch` where it is not read from far away, and `bucket` where there is none."""

    messages: MessageStore
    journal: Journal
    metadata: FolderMetadata | None = None
    prefetch: Prefetch | None = None
    bucket: KeepingBucket | None = None
    threads: Threads | None = None

    def close(self, *, keep_bucket: bool = False) -> None:
        """End threads, and close connections unless the bucket stays open for others; may be called twice."""
        if self.threads is not None:
            self.threads.close()
        if self.bucket is not None and not keep_bucket:
            self.bucket.close()


def open_store(
    settings: Settings, frames: FramesOf, bucket: KeepingBucket | None = None, lease: Lease | None = None
) -> OpenStore:
    """The account's store and journal. `frames` is what the catalog says about where packed messages lie. `bucket`
    is used if it is open already; the journal is written under `lease`.

    NOTE: in a bucket it is always the store that can read packs. The layout decides about new messages alone.
    """
    archive = settings.archive
    if archive.s3 is None:
        files = MaildirStore(archive.path, archive.durability)
        return OpenStore(files, FileJournal(archive.path, archive.durability), metadata=files.metadata)
    bucket = bucket or bucket_of(settings, archive.s3)
    objects = ObjectStore(bucket, archive.path, archive.s3.connections)
    below = SMALL_OCTETS if archive.s3.layout == "packs" else 0
    packs = PackStore(bucket, objects, frames, below)
    journal = BucketJournal(bucket, lease)
    return OpenStore(packs, journal, prefetch=packs, bucket=bucket, threads=objects.threads)


def bucket_of(settings: Settings, s3: S3Settings) -> KeepingBucket:
    """The account's place in its bucket; it connects when it is first used."""
    return open_bucket(s3, settings.account, customer_key_of(s3))


def customer_key_of(s3: S3Settings) -> Callable[[], bytes] | None:
    """The key for SSE-C, looked up once, when it is first needed; None if none is used."""
    if (reference := s3.customer_key) is None:
        return None

    @cache
    def key() -> bytes:
        text = resolve(reference.kind, reference.value, user=f"bucket {s3.bucket}", what="customer_key").reveal()
        try:
            octets = base64.b64decode(text, validate=True)
        except binascii.Error:
            octets = b""
        if len(octets) != _KEY_OCTETS:
            raise ConfigError(
                "archive.s3.customer_key",
                ["is not 32 bytes in base64"],
                hint="`openssl rand -base64 32` makes one; keep it safe, nothing is read without it",
            )
        return octets

    return key
