"""Repair, wired: where an account's lost octets may still be, and the step over its archive."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing

from archiver.account.archive import Archive
from archiver.account.servers import destination_of, source_of
from archiver.control import RunControl
from archiver.journal.numbering import RecordedNumbers
from archiver.journal.recorder import Recorder
from archiver.mail.model import Placement
from archiver.upkeep.repair import RepairResult, RepairStep
from archiver.upkeep.repair_sources import FromArchive, FromDestination, FromSource, Origin


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
