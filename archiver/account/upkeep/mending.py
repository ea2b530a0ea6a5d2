"""The upkeep of an account's archive, wired: repair, from wherever lost octets may still be, and garbage collection
in its bucket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing

from archiver.account.archive import Archive
from archiver.account.servers import destination_of, source_of
from archiver.control.run import RunControl
from archiver.journal.bucket import journal_key
from archiver.journal.numbering import RecordedNumbers
from archiver.journal.recorder import Recorder
from archiver.mail.model import Placement
from archiver.storage.bucket.keys import MESSAGES, digest_of_key
from archiver.storage.bucket.pack_format import PACKS, pack_of_key
from archiver.storage.bucket.port import Bucket
from archiver.storage.named_digests import named_digests
from archiver.upkeep.gc import GarbageKind, GarbageResult, GarbageStep
from archiver.upkeep.repair import RepairResult, RepairStep
from archiver.upkeep.repair_sources import FromArchive, FromDestination, FromSource, Origin

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


def repair_archive(
    archive: Archive,
    recorder: Recorder,
    reads: Callable[[Placement], bool],
    *,
    dry_run: bool,
    control: RunControl,
) -> RepairResult:
    """The repair step over this archive. Servers are contacted when they are first needed.

    Raises:
        ArchiverError: the catalog cannot be read, or the store not written; what was repaired before stays so.
    """
    was_settled = archive.is_settled
    with ExitStack() as stack:
        step = RepairStep(
            store=archive.store,
            catalog=archive.catalog,
            recorder=recorder,
            origins=_origins(archive, stack, control),
            reads=reads,
            begin=archive.begin_work,
            control=archive.guarded(control),
            dry_run=dry_run,
        )
        result = step.run()
    if was_settled:  # else the next run still has to look through the store
        archive.end_work()
    return result


def _origins(archive: Archive, stack: ExitStack, control: RunControl) -> list[Origin]:
    settings, catalog = archive.settings, archive.catalog
    source = source_of(settings).connect(
        archive.spool, numbering=RecordedNumbers(archive.catalog), control=control, patient=True
    )
    stack.enter_context(closing(source))
    origins: list[Origin] = [
        FromArchive(archive.store, catalog.messages),
        FromSource(source, catalog.account.folders().values(), catalog.account.epochs(), control.progress),
    ]
    if (number := archive.destination_number) is not None:
        connection = destination_of(settings).connect(archive.spool, control, patient=True)
        stack.enter_context(closing(connection))
        origins.append(FromDestination(catalog.replicas, number, connection.with_retries, control.progress))
    return origins
