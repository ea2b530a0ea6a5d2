"""The lease of an account whose archive is in a bucket, kept by this process between the steps of a run.

The kernel's lock comes first: it keeps everybody else on this machine away from the archive. A forked process takes
a lease of its own, because neither connections nor threads survive a fork.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from archiver.account.note import Begin, why_not_begin
from archiver.account.store import bucket_of
from archiver.config.load import Settings
from archiver.errors import ConfigError
from archiver.journal.bucket import BucketJournal
from archiver.storage.bucket import lease as leases
from archiver.storage.bucket.lease import Claimant, Lease
from archiver.storage.bucket.port import Bucket
from archiver.storage.bucket.probe import KeepingBucket, prepared
from archiver.storage.run_lock import lock_place


@dataclass(frozen=True, slots=True)
class HeldLease:
    """What a process that writes to a bucket has open. `lease` is None if the account file says that only this
    machine writes."""

    bucket: KeepingBucket
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class _Kept:
    process: int
    held: HeldLease
    open: ExitStack


_kept: dict[Path, _Kept] = {}


def hold(settings: Settings, run: str, since: str, begin: Begin) -> HeldLease | None:
    """The bucket, ready to be written to, and its lease, until `give_back`; None for an archive on a disk. `begin`
    says whether there may be no archive in it yet.

    NOTE: the account's kernel lock has to be held.

    Raises:
        Locked: another machine holds the archive.
        ConfigError: the endpoint does not do what the account file asks for, or no lock can hold there.
        ArchiveMissing: nothing is in the bucket, and nothing is to be begun there; nothing was written.
    """
    s3, path = settings.archive.s3, settings.archive.path.resolve()
    if s3 is None:
        return None
    if (kept := _kept.get(path)) is not None and kept.process == os.getpid():
        return kept.held
    with ExitStack() as stack:
        bucket = bucket_of(settings, s3)
        stack.callback(bucket.close)
        marker = prepared(bucket, s3, settings.account, lambda: _require_begun(settings, bucket, begin))
        held = HeldLease(bucket, None)
        if not s3.single_writer:
            _require_atomic(settings, atomic=marker.atomic)
            claimant = Claimant(run, socket.gethostname(), os.getpid(), lock_place(path), since)
            lease = leases.take(bucket, claimant, BucketJournal(bucket).last_fence, ttl=leases.TTL)
            held = HeldLease(bucket, stack.enter_context(leases.kept(lease)))
        _kept[path] = _Kept(os.getpid(), held, stack.pop_all())
    return held


def give_back(path: Path) -> None:
    """Give back what this process holds of the archive at `path`; fine if it holds nothing."""
    kept = _kept.pop(path.resolve(), None)
    if kept is not None and kept.process == os.getpid():
        kept.open.close()


def observed(bucket: Bucket, path: Path) -> tuple[int, bool]:
    """The number of the newest lease of the archive at `path`, and whether another machine holds it."""
    return leases.observed(bucket, lock_place(path.resolve()))


def _require_begun(settings: Settings, bucket: KeepingBucket, begin: Begin) -> None:
    reason = why_not_begin(settings, begin)
    if reason is not None and not (bucket.has_bucket() and any(bucket.list("journal/"))):
        raise reason


def _require_atomic(settings: Settings, *, atomic: bool) -> None:
    if not atomic:
        raise ConfigError(
            str(settings.file),
            ["the endpoint lets two machines write the same object at once, so no lock holds between machines"],
            hint="if one machine alone works on this archive, say so: [archive.s3] single_writer = true",
        )
