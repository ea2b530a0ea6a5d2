"""Mail that lies in files as a source: Maildirs, mboxes, single files, packed ones.

A message's name is the digest of its octets, so a UID stays with its message wherever the file goes and whatever
it is called. The same octets several times in a folder are several messages. Nothing is ever written where the
mail lies.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from archiver.config.tables.server import FilesSettings
from archiver.control.limits.port import Meter
from archiver.errors import ArchiveNotWritable, CountsDisagree, FolderNotFound, ServerUnavailable, Where
from archiver.facts.access import FolderAccess
from archiver.imap.capabilities import ServerFacts
from archiver.mail.content import Spool, header_block
from archiver.mail.counts import counted
from archiver.mail.flags import parse_flags
from archiver.mail.folder_names import printable
from archiver.mail.model import (
    Attributes,
    Fetched,
    Flags,
    Folder,
    FolderStatus,
    KnownState,
    Listed,
    Marks,
    Opened,
    Undelivered,
)
from archiver.mail.uidset import UidSet
from archiver.source.days import days_of
from archiver.source.files import listing
from archiver.source.files.contents import Contents
from archiver.source.files.folders import Folders
from archiver.source.files.found import FolderOnDisk, FoundFile, FoundMessage, Unreadable
from archiver.source.files.index import UNREADABLE, FileIndex, Named, Shown
from archiver.source.files.marks import label_keywords
from archiver.source.files.reading import identity_of_body
from archiver.source.imports import Import
from archiver.source.numbering import Numbering
from archiver.source.port import Expected, NextRequest, Opening

_DELIMITER = "/"
_BATCH = 4_000
_DIGEST = 64  # digits of a name without a number


class FilesSource:
    """Implements `SourceConnection`. `index` is where the cache lies; without `writable` it is only looked at.
    Belongs to one thread."""

    def __init__(
        self,
        settings: FilesSettings,
        spool: Spool,
        numbering: Numbering,
        index: Path | None,
        *,
        writable: bool,
        check_stop: Callable[[], None],
        imports: Import | None = None,
    ) -> None:
        self._settings = settings
        self._numbering = numbering
        self._index_path = index
        self._check_stop = check_stop
        self._imports = imports
        self.already_held: dict[bytes, int] = {}
        self._folders: dict[bytes, tuple[Folder, list[FolderOnDisk | Unreadable]]] | None = None
        self._folder: Folder | None = None
        self._contents = Contents(spool, check_stop)
        with self._kept():
            self._index = FileIndex(index, writable=writable)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """The cache is needed; without it nothing is known of files."""
        try:
            yield
        except sqlite3.Error as error:
            raise ArchiveNotWritable(f"{self._index_path}: {error}") from error

    @property
    def facts(self) -> ServerFacts:
        """There is no server."""
        return ServerFacts("", frozenset(), None, ())

    def meter(self, meter: Meter) -> None:
        pass  # files have no limits

    def use(self, spool: Spool, numbering: Numbering) -> None:
        self._contents.spool, self._numbering = spool, numbering

    def list_folders(self) -> Sequence[Listed]:
        """All folders with their status. Files that are new or changed are read.

        Raises:
            ConfigError: there is nothing that holds mail.
        """
        with self._kept():
            found = self._found(again=True)
            listed = [Listed(folder, self._look(folder), self._index.doubts()) for folder, _ in found.values()]
            self._index.forget_others()
        return listed

    def _found(self, *, again: bool = False) -> dict[bytes, tuple[Folder, list[FolderOnDisk | Unreadable]]]:
        if self._folders is None or again:
            finder = Folders(self._settings, self._index, self._imports, self._check_stop)
            self._folders = finder.all()
        return self._folders

    def _files(self, folder: Folder) -> Iterator[tuple[FoundFile | Unreadable, tuple[str, ...] | None]]:
        found = self._found()
        if folder.raw not in found:
            where = Where(folder=printable(folder.name))
            raise FolderNotFound("it is no longer there", where=where)
        for place in found[folder.raw][1]:
            if isinstance(place, Unreadable):
                yield place, None
            else:
                for each in listing.files_of(place, self._settings.format):
                    yield each, place.part

    def _list(self, folder: Folder) -> bytes:
        """List the folder's files, and read those that are not known; returns the fingerprint of what is there."""
        self._index.take(self._files(folder))
        self._index.read(self._check_stop)
        return self._index.fingerprint(self._settings.labels)

    def _look(self, folder: Folder) -> FolderStatus:
        """The folder's status; nothing is numbered."""
        fingerprint = self._list(folder)
        known = self._numbering.known(folder.raw)
        if (status := self._unchanged(folder, fingerprint)) is not None:
            return status
        if known.uidnext == 1 and self._imports is None:
            return known.status(UidSet(), self._index.count(), size=self._index.octets())
        shown, new, octets = self._kept_there(folder), 0, 0
        for batch in self._named(folder):
            uids = self._numbering.uids(folder.raw, [each.name for each in batch])
            shown |= UidSet(uids.values())
            new += len(batch) - len(uids)
            octets += sum(each.octets for each in batch if each.name not in uids)
        size = self._index.octets() if self._imports is None else octets
        return known.status(shown, new, size=size, flags_changed=True)

    def _kept_there(self, folder: Folder) -> UidSet:
        """What the archive holds in the folder besides these files: an import only adds."""
        return UidSet() if self._imports is None else self._numbering.known(folder.raw).held

    def _unchanged(self, folder: Folder, fingerprint: bytes) -> FolderStatus | None:
        """The folder's status if all is as at its last complete pass."""
        known, before = self._numbering.known(folder.raw), self._index.last_status(folder.raw)
        state = known.state
        if before is None or state is None or state.filter is not None:
            return None
        if before != (fingerprint, state.uidnext, state.messages, state.highestmodseq):
            return None
        return FolderStatus(
            known.uidvalidity, state.uidnext, state.messages, state.highestmodseq, self._index.octets()
        )

    def _named(self, folder: Folder) -> Iterator[list[Named]]:
        names = self._index.names()
        self.already_held[folder.raw] = 0
        while batch := list(islice(names, _BATCH)):
            yield batch if self._imports is None else self._admitted(folder, batch, self._imports)

    def _admitted(self, folder: Folder, batch: list[Named], imports: Import) -> list[Named]:
        """Those that were imported into this folder before, and those that are nowhere yet."""
        known = self._numbering.uids(folder.raw, [each.name for each in batch])
        new = [each for each in batch if each.name not in known]
        # A second one of the same octets has another name, and is left out as well.
        held = set(imports.is_held([each.name for each in new if len(each.name) == _DIGEST]))
        admitted = {each.name for each in new if not (each.name in held or len(each.name) > _DIGEST)}
        admitted = self._index.claim(folder.raw, admitted) | known.keys()
        admitted |= {each.name for each in new if each.name.startswith(UNREADABLE)}
        here = self._kept_there(folder)
        held = {name for name, uid in known.items() if uid in here and not name.startswith(UNREADABLE)}
        self.already_held[folder.raw] += sum(each.name in held or each.name not in admitted for each in batch)
        return [each for each in batch if each.name in admitted]

    def prepare(self, openings: Sequence[Opening]) -> None:
        pass  # nothing takes a round trip

    def open(
        self,
        folder: Folder,
        since: KnownState | None = None,
        ask: NextRequest | None = None,
        *,
        identify: bool = False,
        known: Collection[int] = (),
        fetch: Expected | None = None,
    ) -> Opened:
        """As in the port. Every message that the folder shows has a recorded UID when it returns."""
        self._folder = folder
        self._contents.close()
        with self._kept():
            fingerprint = self._list(folder)
            for batch in self._named(folder):
                self._check_stop()
                uids = self._numbering.number(folder.raw, [each.name for each in batch])
                self._index.show([(uids[each.name], each) for each in batch])
            shown = UidSet(self._index.uids()) | self._kept_there(folder)
            status = self._unchanged(folder, fingerprint)
            if status is None:
                numbers = self._numbering.known(folder.raw)
                size = self._index.octets()
                status = numbers.status(shown, 0, size=size, flags_changed=True)
                numbers_now = (status.uidnext or 1, status.messages, status.highestmodseq or 1)
                self._index.keep_status(folder.raw, fingerprint, *numbers_now)
        return Opened(
            status=FolderStatus(status.uidvalidity, status.uidnext, status.messages, status.highestmodseq)
        )

    def uids(self, search: str | None = None, *, since: KnownState | None = None) -> UidSet:
        """As in the port; of searches those that the ages in an account file make.

        Raises:
            CountsDisagree: a file cannot be read now, so that nothing is known of what was in it.
        """
        with self._kept():
            shown = UidSet(self._index.uids())
            if self._folder is not None:
                shown |= self._kept_there(self._folder)
            problem = self._index.not_read()
        if search is not None:
            return self._found_by(search)
        if problem is not None and self._folder is not None:
            number, first = problem
            held = self._numbering.known(self._folder.raw).held
            reason = f"{counted(number, 'file')} cannot be read, such as {printable(first)}"
            raise CountsDisagree(len(shown | held), shown, where=self._where, reason=reason)
        return shown if since is None or since.uidnext is None else shown - range(since.uidnext)

    def _found_by(self, search: str) -> UidSet:
        """The messages that arrived on the days that BEFORE and SINCE name."""
        days = days_of(search)
        return UidSet(
            each.uid
            for each in self._index.shown()
            if days is None or each.found is None or days.include(each.found.internaldate)
        )

    @property
    def _where(self) -> Where:
        return Where(folder=printable(self._folder.name) if self._folder else None)

    def scan(self, uids: Collection[int] | None) -> Iterator[Attributes]:
        for some in _some(uids):
            for each in self._index.shown(some):
                yield self._attributes(each)

    def flags(self, *, since: KnownState | None = None) -> Iterator[Sequence[Marks]]:
        every = self._index.shown()
        while batch := list(islice(every, 1000)):
            yield [Marks(each.uid, self._flags(each.found)) for each in batch if each.found is not None]

    def headers(self, uids: Collection[int], field: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        for some in _some(uids):
            for each in self._index.shown(some):
                if each.found is not None:
                    beginning = b""
                    with contextlib.suppress(OSError):
                        beginning = next(self._contents.pieces(each.file, each.found.place), b"")
                    yield self._attributes(each), header_block(beginning)

    def access(self, folders: Sequence[Folder]) -> Mapping[bytes, FolderAccess]:
        return {}

    def gives(self, uid: int) -> bool:
        for each in self._index.shown([uid]):
            if each.found is not None:
                with contextlib.suppress(OSError):
                    next(self._contents.pieces(each.file, each.found.place), b"")
                    return True
        return False

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        """As in the port.

        Raises:
            ServerUnavailable: a file changed since it was listed; the folder is to be opened again.
        """
        for some in _some(uids):
            left = set(some or ())
            for each in list(self._index.shown(some)):
                left.discard(each.uid)
                yield self._fetched(each)
            for uid in sorted(left):
                yield Undelivered(uid, "it is no longer there", gone=True)

    def _fetched(self, shown: Shown) -> Fetched | Undelivered:
        where = printable(shown.file.path)
        if shown.found is None:
            return Undelivered(shown.uid, f"{where}: {shown.problem}")
        try:
            body = self._contents.body(shown.file, shown.found.place)
        except FileNotFoundError:
            return Undelivered(shown.uid, f"{where} is no longer there", gone=True)
        except OSError as error:
            return Undelivered(shown.uid, f"{where}: {(error.strerror or str(error)).lower()}")
        name = shown.found.identity  # that of nearly all messages is their digest
        if body.digest != name and identity_of_body(body, shown.found.place.kind) != name:
            body.discard()
            raise ServerUnavailable(f"{where} changed while it was read", where=self._where)
        return Fetched(self._attributes(shown), body)

    def _attributes(self, shown: Shown) -> Attributes:
        found = shown.found
        if found is None:
            return Attributes(shown.uid, frozenset())
        return Attributes(shown.uid, self._flags(found), found.internaldate, size=found.size)

    def _flags(self, found: FoundMessage) -> Flags:
        if found.labels is None or self._settings.labels == "folders":
            return found.flags
        return parse_flags(sorted(found.flags | label_keywords(found.labels)))

    def close(self) -> None:
        self._contents.close()
        self._index.close()

    def hang_up(self) -> None:
        """The same."""
        self.close()


def _some(uids: Collection[int] | None) -> Iterator[list[int] | None]:
    if uids is None:
        yield None
        return
    each = iter(sorted(uids))
    while batch := list(islice(each, 1000)):
        yield batch
