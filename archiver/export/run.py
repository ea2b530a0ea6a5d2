"""The export step: every message is read, verified against its digest, and passed to a writer.

Damaged messages are listed and left out; everything else is exported. The state to export and the present archive
are two catalogs: one says what a folder held, the other where the octets are now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import BinaryIO

from msgspec import Struct, field

from archiver.catalog.port import Catalog
from archiver.control.run import RunControl
from archiver.errors import ArchiveNotWritable, ConfigError, IntegrityError
from archiver.events import Exported, Planned, Working
from archiver.export.writer import ExportedFolder, ExportWriter
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.facts.outgoing import Outgoing
from archiver.journal.as_of import places_now
from archiver.mail.folder_names import matches, printable
from archiver.mail.model import INBOX, Placement
from archiver.storage.port import MessageStore, Prefetch

_BATCH = 500
_PIECE = 256 << 10
_ATTEMPTS = 3

#: An export is like a destination that holds nothing: the catalog has no target of this number.
_NOWHERE = 0


class DamagedMessage(Struct, frozen=True):
    """A message that could not be exported because the archive lost its octets."""

    folder: str
    uid: int
    digest: str
    reason: str


class FolderCount(Struct):
    """What was exported of a folder, and to which path; `vanished` of the messages were gone from the source."""

    name: str
    place: str
    messages: int = 0
    octets: int = 0
    vanished: int = 0
    damaged: int = 0


class ExportResult(Struct):
    """What was exported. `left_out` is the number of folders that were left out because they are gone from the
    source."""

    folders: list[FolderCount] = field(default_factory=list)
    damaged: list[DamagedMessage] = field(default_factory=list)
    left_out: int = 0

    @property
    def exit_code(self) -> int:
        """6 if the archive lost a message, otherwise 0."""
        return 6 if self.damaged else 0


class ExportStep(Struct):
    """Exports `state`, a catalog; `catalog` and `store` are the present archive. `include` are globs of folders.
    `vanished` includes messages and folders that were gone from the source, each message as often as the folder
    held it."""

    state: Catalog
    catalog: Catalog
    store: MessageStore
    prefetch: Prefetch | None
    writer: ExportWriter
    include: Collection[str]
    vanished: bool
    control: RunControl
    result: ExportResult = field(default_factory=ExportResult)

    def run(self) -> ExportResult:
        """Export all folders that match.

        Raises:
            ConfigError: no folder matches.
            ArchiveNotWritable: the export cannot be written; what was written so far stays.
        """
        folders = self._folders()
        for known, _ in folders:
            self.control.progress(Planned(*self._pending_work(known)))
        try:
            for known, epoch in folders:
                self._folder(known, epoch)
            self.writer.finish()
        except OSError as error:
            where = error.filename if isinstance(error.filename, str) else "the export"
            raise ArchiveNotWritable(f"{printable(where)}: {error.strerror}", hint=_AGAIN) from error
        finally:
            self.writer.close()
        return self.result

    def _folders(self) -> list[tuple[KnownFolder, KnownEpoch]]:
        """The folders in the order of their names, INBOX first; without those that were never opened."""
        epochs = self.state.account.epochs()
        held = [each for each in self.state.account.folders().values() if each.number in epochs]
        asked = [each for each in held if matches(each.folder.path, self.include)]
        if not asked:
            problem = f"none of {len(held)} folders matches {', '.join(map(printable, self.include))}"
            raise ConfigError("--folder", [problem], hint="`archiver status` lists them")
        chosen = [each for each in asked if each.listed or self.vanished]
        self.result.left_out = len(asked) - len(chosen)
        chosen.sort(key=lambda each: (each.folder.raw != INBOX, each.folder.path, each.folder.raw))
        return [(each, epochs[each.number]) for each in chosen]

    def _pending_work(self, known: KnownFolder) -> tuple[int, int]:
        return self.state.replicas.pending.count(_NOWHERE, [known.number], vanished=self.vanished)

    def _folder(self, known: KnownFolder, epoch: KnownEpoch) -> None:
        self.control.progress(Working(printable(known.folder.name)))
        folder = ExportedFolder(
            known,
            epoch,
            self._uidnext(epoch),
            lambda uids: self.state.messages.placements(epoch.number, uids=uids),
        )
        count = FolderCount(printable(known.folder.name), self.writer.begin(folder))
        self.result.folders.append(count)
        for batch in self._batches(known):
            places = places_now(self.catalog.messages, batch)
            if self.prefetch is not None:
                self.prefetch.prefetch([places[each.key] for each in batch])
            for message in batch:
                self.control.check_stop()
                self._message(count, message, places[message.key])
            self.control.progress(Exported(len(batch), sum(each.placement.size for each in batch)))
        self.writer.end()

    def _uidnext(self, epoch: KnownEpoch) -> int:
        """A UIDNEXT above all UIDs that the source has assigned since, so that a server of the export does not
        reuse them for other mail."""
        now = self.catalog.account.epochs().get(epoch.folder)
        states = [epoch.state, now.state if now and now.number == epoch.number else None]
        known = self.state.messages.uids(epoch.number).last + 1
        return max([known, *(state.uidnext or 0 for state in states if state is not None)])

    def _batches(self, known: KnownFolder) -> Iterator[Sequence[Outgoing]]:
        pending, after = self.state.replicas.pending, (0, 0)
        while batch := pending.batch(_NOWHERE, [known.number], after=after, limit=_BATCH, vanished=self.vanished):
            after = batch[-1].key
            yield batch

    def _message(self, count: FolderCount, message: Outgoing, place: Placement) -> None:
        try:
            self.writer.write(message, self._proved(message, place))
        except IntegrityError as error:
            count.damaged += 1
            self.result.damaged.append(
                DamagedMessage(
                    count.name, message.placement.uid, message.placement.digest, printable(error.message)
                )
            )
            return
        count.messages += 1
        count.octets += message.placement.size
        count.vanished += not message.present

    def _proved(self, message: Outgoing, place: Placement) -> Iterator[bytes]:
        """The octets in pieces; raises IntegrityError at their end if they are not those that were stored."""
        wanted, digest = message.placement, hashlib.sha256()
        with self._opened(message, place) as file:
            while piece := _read(file):
                digest.update(piece)
                yield piece
        if digest.hexdigest() != wanted.digest:
            raise IntegrityError(f"its bytes have the digest {digest.hexdigest()}")

    def _opened(self, message: Outgoing, place: Placement) -> BinaryIO:
        """Open the message; look its place up again if a run has moved it in the meantime."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self.store.open(place)
            except (IntegrityError, FileNotFoundError) as error:
                if attempt == _ATTEMPTS:
                    raise IntegrityError("its bytes are not in the store") from error
                place = places_now(self.catalog.messages, [message])[message.key]
            except OSError as error:
                raise IntegrityError(f"cannot be read: {error.strerror or error}") from error
        raise AssertionError("the last attempt returns or raises")


def _read(file: BinaryIO) -> bytes:
    try:
        return file.read(_PIECE)
    except OSError as error:
        raise IntegrityError(f"cannot be read: {error.strerror or error}") from error


_AGAIN = "free space or choose another directory, remove the incomplete export, and export again"
