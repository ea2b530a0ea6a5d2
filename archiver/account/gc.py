"""Garbage collection in an account's bucket."""

from __future__ import annotations

from archiver.account.archive import Archive
from archiver.control import RunControl
from archiver.journal.bucket import journal_key
from archiver.journal.recorder import Recorder
from archiver.storage.bucket.keys import MESSAGES, digest_of_key
from archiver.storage.bucket.pack_format import PACKS, pack_of_key
from archiver.storage.bucket.port import Bucket
from archiver.storage.named_digests import named_digests
from archiver.upkeep.gc import GarbageKind, GarbageResult, GarbageStep

KINDS = (GarbageKind("messages", MESSAGES, digest_of_key, few=50), GarbageKind("packs", PACKS, pack_of_key, few=5))


def collect_garbage(
    archive: Archive,
    recorder: Recorder,
    bucket: Bucket,
    *,
    delete: bool,
    confirm_deletions: bool,
    control: RunControl,
) -> GarbageResult:
    """The gc step over this archive, whose catalog has caught up with the journal and whose lock is held.
    `confirm_deletions`: the user confirmed that many may be deleted.

    Raises:
        IntegrityError: the journal is damaged or not complete; nothing was removed.
    """
    # NOTE: a segment may be there that no listing shows yet, or arrive while we look, and name what would be
    # removed. An empty journal stays empty, because everything would be garbage next to it.
    if delete and archive.catalog.last_segment()[0]:
        archive.take_number(recorder, "gc")
    first = bucket.head(journal_key(1))
    with named_digests(archive.temporary("gc.scratch")) as named:
        step = GarbageStep(
            bucket=bucket,
            journal=archive.journal,
            last=archive.catalog.last_segment(),
            began=first.modified if first else 0.0,  # without it the journal is refused when it is read
            named=named,
            kinds=KINDS,
            delete=delete,
            confirm_deletions=confirm_deletions,
            control=archive.guarded(control),
        )
        return step.run()
