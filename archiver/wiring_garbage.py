"""Garbage collection, wired: the step over an archive in a bucket."""

from __future__ import annotations

from collections.abc import Callable

from archiver.garbage import GarbageResult, GarbageStep, Kind
from archiver.progress import Progress
from archiver.s3.bucket import Bucket
from archiver.stores.keys import MESSAGES, digest_of_key
from archiver.stores.named import named_digests
from archiver.stores.pack_format import PACKS, pack_of_key
from archiver.wiring import Archive


def collect_garbage(
    archive: Archive, bucket: Bucket, *, delete: bool, check_stop: Callable[[], None], progress: Progress
) -> GarbageResult:
    """The gc step over this archive, whose catalog has caught up with the journal and whose lock is held.

    Raises:
        IntegrityError: the journal is damaged or not complete; nothing was removed.
    """
    with named_digests(archive.settings.archive.path / "gc.scratch") as named:
        step = GarbageStep(
            bucket=bucket,
            journal=archive.journal,
            last=archive.catalog.last_segment(),
            named=named,
            kinds=(Kind(MESSAGES, digest_of_key), Kind(PACKS, pack_of_key)),
            delete=delete,
            progress=progress,
            check_stop=archive.guarded(check_stop),
        )
        return step.run()
