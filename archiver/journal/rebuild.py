"""Rebuilds the catalog from the journal alone, and brings the store to the state that the catalog describes.

The journal is read from its first segment and applied by the same code as the first time, so a rebuilt catalog
equals the lost one. Only the list of runs is lost, so the next run checks the whole store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from archiver.catalog.port import Catalog
from archiver.errors import ArchiverError, FactsContradict, IntegrityError
from archiver.facts.archive import Segment
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.journal.port import Journal
from archiver.mail.model import INBOX, Digest, Placement
from archiver.mail.uidset import UidSet
from archiver.storage.port import FolderMetadata, MessageStore


def replay_journal(
    journal: Journal, catalog: Catalog, check_stop: Callable[[], None], until: int | None = None
) -> int:
    """Apply the journal, all of it or up to segment `until`, to a new, empty catalog; returns the number of
    segments.

    Raises:
        IntegrityError: a segment is missing or damaged, or there is none.
    """
    segments = 0
    for segment in journal.read((0, Digest(""))):
        check_stop()
        if until is not None and segment.number > until:
            continue  # which may say that an earlier one was blotted
        with forged_facts_as_damage(segment):
            catalog.apply(segment)
        segments += 1
    if not segments:
        raise IntegrityError(
            "the journal is empty: there is nothing to rebuild from", hint="restore it from a backup"
        )
    return segments


@contextmanager
def forged_facts_as_damage(segment: Segment) -> Iterator[None]:
    """While a segment that somebody may have edited is applied: what its facts break is damage of the journal.

    Raises:
        IntegrityError: it has a fact that cannot be true.
    """
    try:
        yield
    except FactsContradict as error:
        problem = f"segment {segment.number} of the journal contradicts the segments before it ({error.message})"
        hint = "`archiver rebuild` recreates the catalog; if that says the same, restore the journal from a backup"
        raise IntegrityError(problem, hint=hint) from error
    except (ArchiverError, OSError, MemoryError):
        raise
    # NOTE: each value is of its type, but it may be text that cannot be, or about a message that nobody has.
    except Exception as error:
        problem = f"segment {segment.number} of the journal has a fact that cannot be true: {error}"
        raise IntegrityError(problem, hint="restore the journal from a backup") from error


def require_no_loss(rebuilt: Catalog, known: int) -> None:
    """Check that the journal did not lose its end, which only the old catalog can show.

    Raises:
        IntegrityError: segment `known`, which the old catalog has, is not in the journal.
    """
    last, _ = rebuilt.last_segment()
    if known > last:
        raise IntegrityError(
            f"the journal ends at segment {last}, but the catalog has segment {known}",
            hint="restore the journal from a backup, or move the catalog away to continue without the missing part",
        )


def restore_store(store: MessageStore, metadata: FolderMetadata | None, catalog: Catalog) -> tuple[Placement, ...]:
    """Bring every message to its place and write each folder's metadata again, if the store has any.

    Returns the messages without a row that lie in the store intact; the next run adopts them. May be called again.
    """
    orphans = tuple(store.recover(catalog.messages))
    if metadata is not None:
        _write_metadata(metadata, catalog)
    return orphans


def write_lists(metadata: FolderMetadata, catalog: Catalog, directories: Collection[str]) -> None:
    """Write the metadata of folders again whose messages changed beside a run; `directories` are theirs."""
    epochs = catalog.account.epochs()
    for folder in catalog.account.folders().values():
        if folder.directory in directories and folder.number in epochs:
            _of_folder(metadata, catalog, folder, epochs[folder.number])


def _write_metadata(metadata: FolderMetadata, catalog: Catalog) -> None:
    folders = sorted(
        catalog.account.folders().values(), key=lambda each: (each.folder.raw != INBOX, each.folder.raw)
    )
    epochs = catalog.account.epochs()
    for folder in folders:
        if folder.number in epochs:  # otherwise it was never opened and has no directory
            _of_folder(metadata, catalog, folder, epochs[folder.number])
    metadata.write_subscriptions([each.directory for each in folders if each.listed and each.folder.subscribed])


def _of_folder(metadata: FolderMetadata, catalog: Catalog, folder: KnownFolder, epoch: KnownEpoch) -> None:
    metadata.write_folder_name(folder.directory, folder.folder.raw, folder.folder.path)
    uids = catalog.messages.uids(epoch.number)
    uidnext = (epoch.state.uidnext if epoch.state else None) or uids.last + 1

    def present(some: UidSet) -> Iterator[Placement]:
        return (each for each in catalog.messages.placements(epoch.number, uids=some) if each.present)

    metadata.write_uidlist(folder.directory, (epoch.uidvalidity, uidnext), uids, present)
