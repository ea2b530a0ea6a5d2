"""An account's archive in a bucket: its store, its journal and its lease.

A process that writes keeps the lease between the steps of a run.

The kernel's lock comes first: it keeps everybody else on this machine away from the archive. A forked process takes
a lease of its own, because neither connections nor threads survive a fork.
"""

from __future__ import annotations

import base64
import binascii
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

from msgspec import Struct

from archiver.account.store import Ends, HeldLease, OpenStore
from archiver.config.secrets import resolve
from archiver.config.settings import Settings
from archiver.config.tables.s3 import S3Settings
from archiver.errors import ArchiverError, ConfigError
from archiver.journal.bucket import BucketJournal
from archiver.mail.folder_names import UNIX_NAMES, DirectoryNames
from archiver.storage.bucket import lease as leases
from archiver.storage.bucket.erase import BucketEraser
from archiver.storage.bucket.lease import Claimant
from archiver.storage.bucket.objects import SPOOL, ObjectStore
from archiver.storage.bucket.pack_batch import FramesOf
from archiver.storage.bucket.packs import PackStore
from archiver.storage.bucket.port import Bucket
from archiver.storage.bucket.prefetch import SMALL_OCTETS
from archiver.storage.bucket.probe import KeepingBucket, prepared
from archiver.storage.run_lock import lock_place
from archiver.storage.s3.open import look_into, open_bucket

_KEY_OCTETS = 32


class InBucket(Struct, frozen=True):
    """Implements `Medium`. Other machines may write to it, so a process that writes holds its lease, too. What is
    local, the catalog and what is spooled for the bucket, can be made again."""

    settings: Settings
    s3: S3Settings

    wanted = "bucket named, with the right prefix"
    is_remote = True
    has_directories = False
    leaves_garbage = True

    @property
    def name(self) -> str:
        return "/".join(filter(None, (f"s3://{self.s3.bucket}", self.s3.prefix, self.settings.account)))

    @property
    def own_directory(self) -> Path:
        return self._path / SPOOL

    @property
    def bucket(self) -> InBucket:
        return self

    @property
    def _path(self) -> Path:
        return self.settings.archive.path

    def shown(self, ends: Ends | None) -> object | None:
        """Two lists of a few keys. The last segment is still the same object, and none came after it: so nobody has
        recorded anything, and no older state of the bucket was restored. No lease was taken since: so nobody works
        on it."""
        if ends is None:
            return None
        bucket = look_into(self.s3, self.settings.account)
        last = BucketJournal(bucket).last(ends.segment)
        if last is None or leases.is_taken_since(bucket, ends.lease):
            return None
        return (bucket.place(), ends, last.size, last.modified, last.etag)

    def is_emptied(self, directory: str) -> bool:
        return False  # where octets lie says nothing of folders

    def directory_names(self) -> DirectoryNames:
        return UNIX_NAMES

    def require_fit(self) -> None:
        pass

    def connect(self) -> KeepingBucket:
        """The account's place in its bucket; it connects when it is first used."""
        return open_bucket(self.s3, self.settings.account, customer_key_of(self.s3))

    @contextmanager
    def opened(self, frames: FramesOf, held: HeldLease | None = None) -> Iterator[OpenStore]:
        """NOTE: it is always the store that can read packs. The layout decides about new messages alone."""
        bucket, lease = (held.bucket, held.lease) if held else (self.connect(), None)
        objects = ObjectStore(bucket, self._path, self.s3.connections)
        packs = PackStore(bucket, objects, frames, SMALL_OCTETS if self.s3.layout == "packs" else 0)
        try:
            yield OpenStore(
                messages=packs,
                journal=BucketJournal(bucket, lease),
                make_eraser=lambda rows: BucketEraser(bucket, objects.threads, self._path, rows),
                prefetch=packs,
                collectable=bucket,
                lease=lease,
                other_writers=lambda: _other_writers(bucket, self._path),
            )
        finally:
            objects.threads.close()
            if held is None:
                bucket.close()

    def hold(self, run: str, since: str, why_not_begin: Callable[[], ArchiverError | None]) -> HeldLease:
        path = self._path.resolve()
        if (kept := _kept.get(path)) is not None and kept.process == os.getpid():
            return kept.held
        with ExitStack() as stack:
            bucket = self.connect()
            stack.callback(bucket.close)
            require_begun = partial(_require_begun, bucket, why_not_begin)
            marker = prepared(bucket, self.s3, self.settings.account, require_begun)
            held = HeldLease(bucket, None)
            if not self.s3.single_writer:
                _require_atomic(self.settings, atomic=marker.atomic)
                claimant = Claimant(run, socket.gethostname(), os.getpid(), lock_place(path), since)
                lease = leases.take(bucket, claimant, BucketJournal(bucket).last_fence, ttl=leases.TTL)
                held = HeldLease(bucket, stack.enter_context(leases.kept(lease)))
            _kept[path] = _Kept(os.getpid(), held, stack.pop_all())
        return held

    def give_back(self) -> None:
        kept = _kept.pop(self._path.resolve(), None)
        if kept is not None and kept.process == os.getpid():
            kept.open.close()


class _Kept(Struct, frozen=True):
    process: int
    held: HeldLease
    open: ExitStack


_kept: dict[Path, _Kept] = {}


def _other_writers(bucket: Bucket, path: Path) -> object:
    number, is_held = leases.observed(bucket, lock_place(path.resolve()))
    return object() if is_held else number


def _require_begun(bucket: KeepingBucket, why_not_begin: Callable[[], ArchiverError | None]) -> None:
    reason = why_not_begin()
    if reason is not None and not (bucket.has_bucket() and any(bucket.list("journal/"))):
        raise reason


def _require_atomic(settings: Settings, *, atomic: bool) -> None:
    if not atomic:
        raise ConfigError(
            str(settings.file),
            ["the endpoint lets two machines write the same object at once, so no lock holds between machines"],
            hint="if one machine alone works on this archive, say so: [archive.s3] single_writer = true",
        )


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
