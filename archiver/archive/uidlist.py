"""The list of a folder's UIDs that is written beside its messages, for Dovecot."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.archive.scanned import ScannedFolder
from archiver.catalog.port import CatalogMessages
from archiver.mail.model import Placement
from archiver.mail.uidset import UidSet
from archiver.storage.port import FolderMetadata


def list_uids(
    metadata: FolderMetadata, messages: CatalogMessages, scanned: ScannedFolder, *, settled: bool
) -> None:
    """Write the list of a folder whose messages are all recorded. If no pass was cut short since it was last
    written (the archive is `settled`), only what changed is looked at."""
    epoch, directory = scanned.epoch, scanned.known.directory

    def present(some: UidSet) -> Iterator[Placement]:
        return (each for each in messages.placements(epoch.number, uids=some) if each.present)

    uids = messages.uids(epoch.number)
    status = (epoch.uidvalidity, scanned.opened.status.uidnext or uids.last + 1)
    is_left = settled and epoch.state is not None and not scanned.fetches_again
    metadata.write_uidlist(directory, status, uids, present, settled=is_left)
