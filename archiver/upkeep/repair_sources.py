"""Where octets that an archive lost may still exist: in its other copies, at the source, at the destination.

An origin delivers what it has; only the digest decides whether that is what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from archiver.catalog.port import CatalogMessages
from archiver.catalog.replicas import Replicas
from archiver.destination.port import DestinationReader
from archiver.errors import (
    ArchiveNotWritable,
    AuthenticationFailed,
    ConnectionRefused,
    FolderNotFound,
    IntegrityError,
    PermanentError,
    ServerUnavailable,
)
from archiver.events import Noted, Progress, Working
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.facts.replica import ReplicaFolder
from archiver.mail.content import BodyBuilder, Spool, body_of
from archiver.mail.model import Body, Digest, Fetched, Folder, Placement
from archiver.mail.reader import MailReader
from archiver.source.port import MailSource
from archiver.storage.port import MessageStore

_IN_MEMORY_OCTETS = 1 << 20
_PIECE_OCTETS = 1 << 20
_WINDOW = 200

Wanted = Mapping[Digest, Sequence[Placement]]
"""The messages of each wanted digest. It shrinks while octets are delivered."""

Deliver = Callable[[Body], None]
"""Takes ownership of octets, whether they are wanted or not."""


class Origin(Protocol):
    """A place where octets may be."""

    @property
    def name(self) -> str:
        """Its name for people."""

    def search(self, wanted: Wanted, deliver: Deliver) -> None:
        """Deliver what it has of `wanted`. A folder that cannot be opened is skipped.

        Raises:
            BackendError, ConfigError: it cannot be used; what was delivered before counts.
        """


class FromArchive(Struct, frozen=True):
    """Other copies in the archive itself: a Maildir has the same octets in several files."""

    store: MessageStore
    messages: CatalogMessages
    name: str = "the archive itself"

    def search(self, wanted: Wanted, deliver: Deliver) -> None:
        """Deliver the octets of other messages that have a wanted digest."""
        others = [
            each for each in self.messages.by_digest() if each.digest in wanted and each not in wanted[each.digest]
        ]
        for each in others:
            if each.digest not in wanted:
                continue
            try:
                with self.store.open(each) as file:
                    body = read_body(file, each.size, self.store.spool)
            except (IntegrityError, OSError):
                continue
            deliver(body)


class FromSource(Struct, frozen=True):
    """The account's source, as long as it has the messages under the UIDs that were archived."""

    source: MailSource
    folders: Collection[KnownFolder]
    epochs: Mapping[int, KnownEpoch]
    progress: Progress
    name: str = "the source"

    def search(self, wanted: Wanted, deliver: Deliver) -> None:
        """Fetch the wanted messages of each folder's current epoch."""
        by_directory = {each.directory: each for each in self.folders}
        uids: dict[int, dict[int, Digest]] = {}
        for digest, places in wanted.items():
            for place in places:
                known = by_directory.get(place.directory)
                epoch = self.epochs.get(known.number) if known else None
                if known and epoch and not epoch.other_source and _is_of(place, epoch):
                    uids.setdefault(known.number, {})[place.uid] = digest
        for known in self.folders:
            if known.number in uids:
                try:
                    self._folder(known.folder, self.epochs[known.number], uids[known.number], wanted, deliver)
                except (PermanentError, ServerUnavailable) as error:
                    of_folder = error.where is not None and error.where.folder is not None
                    of_account = isinstance(error, ServerUnavailable) and not of_folder
                    if of_account or isinstance(error, AuthenticationFailed | ConnectionRefused):
                        raise
                    self.progress(Noted(str(error)))

    def _folder(
        self, folder: Folder, epoch: KnownEpoch, uids: Mapping[int, Digest], wanted: Wanted, deliver: Deliver
    ) -> None:
        ordered = iter(sorted(uids))
        if not any(digest in wanted for digest in uids.values()):
            return
        self.progress(Working(folder.name))
        if self.source.open(folder).status.uidvalidity != epoch.uidvalidity:
            self.progress(Noted(f'folder "{folder.name}": its UIDVALIDITY changed at the source; not searched'))
            return
        while window := list(islice(ordered, _WINDOW)):
            _fetch(self.source, {uid: uids[uid] for uid in window}, wanted, deliver)


def _is_of(place: Placement, epoch: KnownEpoch) -> bool:
    return (place.uidvalidity, place.generation) == (epoch.uidvalidity, epoch.generation)


class FromDestination(Struct, frozen=True):
    """A destination, with the copies that the catalog knows. `with_retries` connects, and again after a temporary
    failure."""

    replicas: Replicas
    number: int
    with_retries: Callable[[Callable[[DestinationReader], None]], None]
    progress: Progress
    name: str = "the destination"

    def search(self, wanted: Wanted, deliver: Deliver) -> None:
        """Fetch the copies of wanted messages."""
        for folder in self.replicas.folders.current(self.number).values():
            if uids := self._copies(folder, wanted):
                self.with_retries(partial(self._target, folder, uids, wanted, deliver))

    def _copies(self, folder: ReplicaFolder, wanted: Wanted) -> Mapping[int, Digest]:
        """Copies that were sent unaltered, including those of messages that vanished from the source."""
        known = chain(
            self.replicas.messages.all(folder.number), self.replicas.messages.left_over(folder.number, list(wanted))
        )
        return {
            replica.uid: replica.message.digest
            for replica in known
            if replica.message.digest in wanted and replica.sent_digest is None and not replica.removed
        }

    def _target(
        self,
        folder: ReplicaFolder,
        uids: Mapping[int, Digest],
        wanted: Wanted,
        deliver: Deliver,
        there: DestinationReader,
    ) -> None:
        try:
            opened = there.open(folder.raw, readonly=True)
        except FolderNotFound as error:
            self.progress(Noted(str(error)))
            return
        if opened.uidvalidity != folder.uidvalidity:
            return
        ordered: Iterator[int] = iter(sorted(uids))
        while window := list(islice(ordered, _WINDOW)):
            _fetch(there, {uid: uids[uid] for uid in window}, wanted, deliver)


def _fetch(reader: MailReader, uids: Mapping[int, Digest], wanted: Wanted, deliver: Deliver) -> None:
    """Fetch one UID for each digest that is still wanted."""
    once = {digest: uid for uid, digest in uids.items() if digest in wanted}
    alone: list[int] = []
    for outcome in reader.fetch(sorted(once.values())) if once else ():
        if isinstance(outcome, Fetched):
            _deliver(outcome.body, wanted, deliver)
        elif outcome.breaks:
            alone.append(outcome.uid)
    for uid in alone:
        for outcome in reader.fetch([uid]):
            if isinstance(outcome, Fetched):
                _deliver(outcome.body, wanted, deliver)


def _deliver(body: Body, wanted: Wanted, deliver: Deliver) -> None:
    """Deliver a message; as it was shown before BINARY was used, if that is what is wanted."""
    if body.digest not in wanted and body.octets is not None and b"\0" in body.octets:
        body = body_of(body.octets.replace(b"\0", b"\x80"))
    deliver(body)


def read_body(file: BinaryIO, size: int, spool: Spool) -> Body:
    """A message as read from a store. `size` is its expected size; the octets may turn out to be others."""
    builder = BodyBuilder()
    if size <= _IN_MEMORY_OCTETS:
        octets = file.read(size + 1)
        builder.feed(octets)
        return builder.body(octets=octets)
    with spool() as replica:
        path = Path(replica.name)
        try:
            while octets := file.read(_PIECE_OCTETS):
                builder.feed(octets)
                replica.write(octets)
            replica.flush()
        except OSError as error:
            path.unlink()
            raise ArchiveNotWritable(
                f"{path.parent}: {error.strerror}", hint="free space and run again; nothing is lost"
            ) from error
        except BaseException:
            path.unlink()
            raise
    return builder.body(spool=path)
