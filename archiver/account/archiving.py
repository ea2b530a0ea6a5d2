"""The archive step, wired: what it needs of an account's settings, its open archive and its source.

An import is the same step over files of another time or program. Their folders are the archive's alone: no source
lists them, so that no run takes them for gone. Their messages are numbered, recorded and replayed as those of any
other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from msgspec import Struct

from archiver.account.archive import Archive
from archiver.account.servers import source_of
from archiver.archive.context import Context, Follower
from archiver.archive.plan.folders import live_epochs
from archiver.archive.run import Rules, archive_folders, record_folders
from archiver.archive.scanned import QuarantineRetry
from archiver.archive.unrecorded import UnrecordedFiles
from archiver.config.settings import Settings
from archiver.config.tables.server import FilesSettings
from archiver.control.run import RunControl, utc_now, utc_today
from archiver.events import Noted, Progress
from archiver.facts.known import Quarantined, Tally
from archiver.journal.numbering import RecordedNumbers
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import printable
from archiver.mail.model import Digest, Listed
from archiver.source.imports import Import, ImportSource
from archiver.source.open import open_import
from archiver.source.retry import RetryingSource
from archiver.storage.port import Doomed


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
    following: Callable[[], AbstractContextManager[Follower | None]] = nullcontext,
) -> Mapping[bytes, str]:
    """The archive step over this archive; why folders could not be opened that it never held, by raw name.
    `settled`: the last run ended well. `following` is entered when the folders are recorded.

    Raises:
        ArchiverError: the account could not be finished; what was done so far is recorded.
    """
    settings = archive.settings
    server = source_of(settings)
    numbering = RecordedNumbers(archive.catalog, recorder)

    def connect(extra: bool, leave: Callable[[], bool]) -> RetryingSource:
        source = server.connect(
            archive.store.spool, numbering=numbering, control=control, accept=accept, leave=leave, extra=extra
        )
        if extra:
            source.connect_now()
        return source

    names = archive.medium.directory_names()
    folders = record_folders(listed, archive.catalog, recorder, utc_now(), names)
    epochs = archive.catalog.account.epochs()
    forgotten = archive.catalog.keeping.forgotten()
    with following() as follower:
        context = Context(
            connect=connect,
            store=archive.store,
            metadata=archive.storage.metadata,
            prefetch=archive.storage.prefetch,
            catalog=archive.catalog,
            recorder=recorder,
            search=settings.messages.criteria(utc_today()),
            whole=rules_of(settings).whole,
            retry=retry,
            accept=accept,
            control=archive.guarded(control),
            folders=folders,
            epochs=epochs,
            live=live_epochs(listed, folders, epochs),
            unrecorded=unrecorded,
            refused={},
            forgotten=forgotten,
            settled=settled,
            follower=follower,
        )
        archive_folders(context, listed, rules_of(settings))
    return context.refused


def rules_of(settings: Settings) -> Rules:
    """Which folders an account archives."""
    # Files have no window: all of them are there to be seen.
    whole = ("*",) if isinstance(settings.source, FilesSettings) else settings.folders.whole
    return Rules(settings.folders.include, settings.folders.exclude, settings.source.connections, whole)


def recover_store(archive: Archive, progress: Progress) -> UnrecordedFiles:
    """After a run that did not end well, or `rebuild`: bring the store to what the catalog says, keep the rest."""
    progress(Noted("the last run did not finish, or the catalog was rebuilt: checking what is in the archive"))
    forgotten = archive.catalog.keeping.forgotten()
    found = list(archive.store.recover(archive.catalog.messages))
    if back := [each for each in found if each.digest in forgotten]:  # from a backup
        digests = frozenset(each.digest for each in back)
        archive.storage.eraser(archive.catalog.messages).erase(Doomed(back, digests))
    return UnrecordedFiles(each for each in found if each.digest not in forgotten)


class ImportedFolder(Struct, frozen=True):
    """A folder of an import: how many messages were added, of how many octets, how many the archive had already,
    and how many could not be read."""

    name: str
    added: int
    octets: int
    already_there: int
    unreadable: int


class ImportResult(Struct, frozen=True):
    """What was imported, and what could not be read."""

    folders: tuple[ImportedFolder, ...]
    unreadable: tuple[Quarantined, ...] = ()

    @property
    def exit_code(self) -> int:
        """3 if something could not be read, otherwise 0."""
        return 3 if any(each.unreadable for each in self.folders) else 0


def import_files(
    archive: Archive,
    recorder: Recorder,
    run: str,
    files: FilesSettings,
    below: tuple[str, ...],
    recover: Callable[[Archive], UnrecordedFiles],
    control: RunControl,
) -> ImportResult:
    """Add the messages of `files` that the archive does not hold yet, below the folder `below`. `recover` finds
    what a run that did not end well left. Done again, it adds what is new; after a kill, the rest.

    Raises:
        ConfigError: there is no mail.
        ArchiverError: it could not be finished; what was done so far is recorded.
    """
    catalog = archive.catalog
    numbering = RecordedNumbers(catalog, recorder)
    imports = _import(archive, below)
    source = open_import(files, archive.store.spool, numbering, control.check_stop, imports)
    try:
        listed = source.list_folders()
        settled = archive.is_settled
        archive.begin_work()
        unrecorded = UnrecordedFiles() if settled else recover(archive)
        names = archive.medium.directory_names()
        folders = record_folders(listed, catalog, recorder, utc_now(), names, imports=True)
        numbers = {each.number for each in folders.values()}
        epochs = catalog.account.epochs()
        forgotten = catalog.keeping.forgotten()
        all_folders = {each.number: each for each in catalog.account.folders().values()}
        context = Context(
            connect=_connect(files, archive, numbering, imports, control, source),
            store=archive.store,
            metadata=archive.storage.metadata,
            prefetch=archive.storage.prefetch,
            catalog=catalog,
            recorder=recorder,
            search=None,
            whole=("*",),
            retry="all",
            accept=False,
            control=archive.guarded(control),
            folders=folders,
            epochs={number: epoch for number, epoch in epochs.items() if number in numbers},
            live=frozenset((all_folders[n].directory, epoch.uidvalidity) for n, epoch in epochs.items()),
            unrecorded=unrecorded,
            refused={},
            forgotten=forgotten,
            settled=settled,
        )
        archive_folders(context, listed, Rules(("*",), (), 1, ("*",)))
        archive.end_work()
        return _result(archive, run, listed, source)
    finally:
        source.close()


def look_at_files(
    archive: Archive, files: FilesSettings, below: tuple[str, ...], control: RunControl
) -> ImportResult:
    """What `import_files` would add. Nothing is written.

    Raises:
        ConfigError: there is no mail.
    """
    numbering = RecordedNumbers(archive.catalog)
    source = open_import(files, archive.spool, numbering, control.check_stop, _import(archive, below))
    try:
        listed = source.list_folders()
        return ImportResult(tuple(_looked_at(archive, each, source) for each in listed))
    finally:
        source.close()


def _import(archive: Archive, below: tuple[str, ...]) -> Import:
    messages, folders = archive.catalog.messages, archive.catalog.account.folders()

    def is_held(names: Sequence[str]) -> Collection[str]:
        twins = messages.twins([Digest(name) for name in names]) if names else {}
        return {digest for (digest, _), place in twins.items() if place.present}

    delimiters = (each.folder.delimiter for each in folders.values() if each.folder.delimiter)
    return Import(below, is_held, next(delimiters, "/"))


def _connect(
    files: FilesSettings,
    archive: Archive,
    numbering: RecordedNumbers,
    imports: Import,
    control: RunControl,
    first: ImportSource,
) -> Callable[[bool, Callable[[], bool]], RetryingSource]:
    """The source that listed the folders, and others if it has to be opened again."""
    opened = [first]

    def again(*, fallback: bool) -> ImportSource:
        if opened:
            return opened.pop()
        return open_import(files, archive.store.spool, numbering, control.check_stop, imports)

    def connect(extra: bool, leave: Callable[[], bool]) -> RetryingSource:
        return RetryingSource(again, attempts=files.attempts, control=control, leave=leave)

    return connect


def _result(archive: Archive, run: str, listed: Sequence[Listed], source: ImportSource) -> ImportResult:
    names = {each.folder.name for each in listed}
    tallies: dict[str, Tally] = {each.name: each for each in archive.catalog.account.tallies(run)}
    folders = tuple(
        ImportedFolder(
            printable(each.folder.name),
            tally.fetched,
            tally.fetched_bytes,
            source.already_held.get(each.folder.raw, 0),
            tally.quarantined,
        )
        for each in listed
        if (tally := tallies.get(each.folder.name)) is not None
    )
    waiting = tuple(each for each in archive.catalog.account.quarantined() if each.folder in names)
    return ImportResult(folders, waiting)


def _looked_at(archive: Archive, listed: Listed, source: ImportSource) -> ImportedFolder:
    status, known = listed.status, archive.catalog.account.folders().get(listed.folder.raw)
    messages = status.messages if status else 0
    epoch = archive.catalog.account.epochs().get(known.number) if known else None
    held = len(archive.catalog.messages.uids(epoch.number)) if epoch else 0
    added = max(0, messages - held)
    octets = status.size or 0 if status and added else 0
    already = source.already_held.get(listed.folder.raw, 0)
    return ImportedFolder(printable(listed.folder.name), added, octets, already, 0)
