"""The archive step, wired: what it needs of an account's settings, its open archive and its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from archiver.account.archive import Archive
from archiver.account.servers import source_of
from archiver.archive.context import Context
from archiver.archive.plan import live_epochs
from archiver.archive.run import Rules, archive_folders, record_folders
from archiver.archive.scanned import QuarantineRetry
from archiver.archive.unrecorded import UnrecordedFiles
from archiver.config.settings import Settings
from archiver.control import RunControl, utc_now, utc_today
from archiver.events import Noted, Progress
from archiver.journal.numbering import RecordedNumbers
from archiver.journal.recorder import Recorder
from archiver.mail.model import Listed
from archiver.source.retry import RetryingSource


def archive_listed(
    archive: Archive,
    recorder: Recorder,
    listed: Sequence[Listed],
    unrecorded: UnrecordedFiles,
    *,
    settled: bool,
    control: RunControl,
    retry: QuarantineRetry = "due",
    accept: bool = False,
) -> Mapping[bytes, str]:
    """The archive step over this archive; why folders could not be opened that it never held, by raw name.
    `settled`: the last run ended well.

    Raises:
        ArchiverError: the account could not be finished; what was done so far is recorded.
    """
    settings = archive.settings
    server = source_of(settings)
    numbering = RecordedNumbers(archive.catalog, recorder)

    def connect(extra: bool, leave: Callable[[], bool]) -> RetryingSource:
        source = server.connect(
            archive.store.spool, numbering=numbering, control=control, accept=accept, leave=leave
        )
        if extra:
            source.connect_now()
        return source

    names = archive.medium.directory_names()
    folders = record_folders(listed, archive.catalog, recorder, utc_now(), names)
    epochs = archive.catalog.account.epochs()
    context = Context(
        connect=connect,
        store=archive.store,
        metadata=archive.storage.metadata,
        prefetch=archive.storage.prefetch,
        catalog=archive.catalog,
        recorder=recorder,
        search=settings.messages.criteria(utc_today()),
        whole=settings.folders.whole,
        retry=retry,
        accept=accept,
        control=archive.guarded(control),
        folders=folders,
        epochs=epochs,
        live=live_epochs(listed, folders, epochs),
        unrecorded=unrecorded,
        refused={},
        settled=settled,
    )
    archive_folders(context, listed, rules_of(settings))
    return context.refused


def rules_of(settings: Settings) -> Rules:
    """Which folders an account archives."""
    return Rules(
        settings.folders.include, settings.folders.exclude, settings.source.connections, settings.folders.whole
    )


def recover_store(archive: Archive, progress: Progress) -> UnrecordedFiles:
    """After a run that did not end well, or `rebuild`: bring the store to what the catalog says, keep the rest."""
    progress(Noted("the last run did not finish, or the catalog was rebuilt: checking what is in the archive"))
    return UnrecordedFiles(archive.store.recover(archive.catalog.messages))
