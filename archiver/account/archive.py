"""An account's archive, open: what it holds, whose it is, and whether its store is as its catalog says."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from archiver.account.note import NoteFile
from archiver.account.sharing import address_in
from archiver.account.store import Medium, OpenStore
from archiver.archive.plan.folders import gone_folders
from archiver.catalog.port import Catalog, CatalogPlace
from archiver.catalog.pruning import Unsent
from archiver.config.settings import Settings
from archiver.control.run import RunControl, utc_now
from archiver.destination.folder_map.replayed import is_in_all_mail, is_replayed
from archiver.errors import ConfigError
from archiver.facts.archive import ArchiveFact, FenceFact
from archiver.facts.known import KnownFolder
from archiver.facts.replica import ReplicaTally
from archiver.journal.as_of import replay_past
from archiver.journal.port import Journal
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import matches
from archiver.storage.files import Writing, create_file, private_file, sync_paths
from archiver.storage.port import MessageStore


def known_number(settings: Settings, catalog: Catalog | None) -> int | None:
    """Under which number the catalog knows the account's destination by its address; None if it does not, or there
    is none."""
    if settings.destination is None or catalog is None:
        return None
    known = catalog.replicas.destinations.at(address_in(settings.destination))
    return known.number if known else None


class Archive(Struct, frozen=True):
    """An account's archive, open. `place` is its catalog's, whether it is there or not. Where the archive cannot be
    written to, the catalog is a copy in the directory `copy_in`."""

    settings: Settings
    medium: Medium
    storage: OpenStore
    catalog: Catalog
    place: CatalogPlace
    copy_in: Path | None = None

    @property
    def store(self) -> MessageStore:
        """Where its messages lie."""
        return self.storage.messages

    @property
    def journal(self) -> Journal:
        """Where its facts lie."""
        return self.storage.journal

    def guarded(self, control: RunControl) -> RunControl:
        """`control` whose `check_stop` also raises Locked when the archive may be another machine's by now."""
        lease = self.storage.lease
        return control if lease is None else control.also_checking(lease.check)

    def spool(self) -> BinaryIO:
        """A new, private, empty file for a message too large for memory."""
        if self.is_copy:
            return private_file(str(self.temporary(f"{uuid.uuid4().hex}.spool")))
        return self.store.spool()

    @property
    def is_copy(self) -> bool:
        """Whether its catalog is a copy, and nothing in the archive is changed."""
        return self.copy_in is not None

    def temporary(self, name: str) -> Path:
        """Where a temporary file of this name may be made."""
        return (self.copy_in or self.settings.archive.path) / name

    @property
    def reports(self) -> Path:
        """Where reports of runs lie."""
        return self.settings.archive.path / "runs"

    @property
    def _unsettled(self) -> Path:
        return self.settings.archive.path / "unsettled"

    @property
    def is_settled(self) -> bool:
        """Whether the store is as the catalog says: whatever worked on it came to its good end."""
        return not os.path.lexists(self._unsettled)

    def begin_work(self) -> None:
        """From here on the store may not be as the catalog says; durable on return, fine if it was said before.

        NOTE: this is recorded next to the store. A catalog may be replaced by last week's, and clocks go back.
        """
        if self.is_copy:
            return  # what is done to a copy of the catalog is gone with it
        with Writing(str(self._unsettled)):
            if self.is_settled:
                os.close(create_file(str(self._unsettled)))
            if self.settings.archive.durability != "none":
                sync_paths([str(self.settings.archive.path)])

    def end_work(self) -> None:
        """All that was begun is recorded; the store is as the catalog says."""
        if self.is_copy:
            return
        with Writing(str(self._unsettled)):
            self._unsettled.unlink(missing_ok=True)

    def take_number(self, recorder: Recorder, run: str) -> None:
        """Write a segment that says nothing, so that none which is still on its way can come next.

        Raises:
            IntegrityError: one came already.
        """
        fence = self.storage.lease.fence if self.storage.lease else 0
        recorder.write([FenceFact(fence, socket.gethostname(), run, utc_now())])

    @property
    def stranger(self) -> ConfigError | None:
        """Why the account file and the archive do not belong together; None if they do, or the archive is new."""
        settings, identity = self.settings, self.catalog.account.identity()
        if identity is None:
            return None
        source = settings.source
        here = (settings.account, source.protocol, source.host, source.user)
        there = (identity.account, identity.protocol, identity.host, identity.user)
        if there == here:
            return None
        problem = f"the archive at {settings.archive.path} belongs to account {there[0]} ({_whose(identity)}), "
        problem += f"this file names account {here[0]} ({source.mailbox})"
        hint = "change [archive] path, or give --new-source if it is the same mail on a new server"
        return ConfigError(str(settings.file), [problem], hint=hint)

    @property
    def is_forgetting(self) -> bool:
        """Whether something was to be forgotten and is not erased yet."""
        return any(each.erased_at is None for each in self.catalog.keeping.forgets())

    @property
    def is_older(self) -> bool:
        """Whether its journal ends before, or went another way than, what is noted next to the account file: a
        backup was restored that does not know what was pruned, or how far the migration is."""
        note, identity = NoteFile(self.settings, self.medium).read(), self.catalog.account.identity()
        if note is None or identity is None or not note.segment or note.archive_id != identity.archive_id:
            return False
        return not self.catalog.has_segment(note.segment, note.digest)

    def note_segment(self) -> None:
        """Note next to the account file, if that can be written, what the journal has now and may never lack."""
        if (identity := self.catalog.account.identity()) is not None:
            NoteFile(self.settings, self.medium).leave(identity, self.catalog.last_segment())

    def confirm_identity(self, recorder: Recorder, *, new_source: bool) -> None:
        """The archive belongs to one account and one source; another one is refused until the user confirms it.

        Raises:
            ConfigError: the archive holds another account's mail.
        """
        identity, stranger = self.catalog.account.identity(), self.stranger
        if stranger is None and identity is not None:
            return
        if stranger is not None and not new_source:
            raise stranger
        source = self.settings.source
        here = (self.settings.account, source.protocol, source.host, source.user)
        archive_id = identity.archive_id if identity else uuid.uuid4().hex
        recorder.write([ArchiveFact(archive_id, *here, at=utc_now())])

    def chosen_folders(self, *, unlisted: bool = False, catalog: Catalog | None = None) -> list[KnownFolder]:
        """The folders that the account's rules choose; `unlisted`: also those that the source no longer has.
        `catalog`: a past catalog instead of the present one."""
        rules = self.settings.folders
        return [
            each
            for each in (catalog or self.catalog).account.folders().values()
            if (each.listed or unlisted)
            and each.folder.selectable
            and matches(each.folder.path, rules.include)
            and not matches(each.folder.path, rules.exclude)
        ]

    def unfinished_folders(self) -> list[KnownFolder]:
        """Those of the chosen folders that were never read to their end, or not by the newest pass over them."""
        epochs = self.catalog.account.epochs()
        known = ((each, epochs.get(each.number)) for each in self.chosen_folders())
        return [each for each, epoch in known if epoch is None or epoch.state is None or epoch.failed]

    def replayed_folders(self, *, unlisted: bool = False, catalog: Catalog | None = None) -> list[KnownFolder]:
        """Those of the chosen folders that are replayed by themselves, by `[replay] labels`."""
        chosen = self.chosen_folders(unlisted=unlisted, catalog=catalog)
        return [each for each in chosen if is_replayed(each.folder, self.settings.replay.labels)]

    def pruned_folders(self) -> list[KnownFolder]:
        """The folders that the account's rules choose, that the source no longer has, and from which we had removed
        messages before: nobody deleted these."""
        pruned = self.catalog.prunes.folders()
        if not pruned:
            return []
        rules, labels = self.settings.folders, self.settings.replay.labels
        replayed = {each.number for each in self.replayed_folders()}
        return [
            each
            for each in self.catalog.account.folders().values()
            if each.number in pruned
            and each.number not in replayed
            and matches(each.folder.path, rules.include)
            and not matches(each.folder.path, rules.exclude)
            and is_replayed(each.folder, labels)
        ]

    def unsent_pruned(self) -> list[tuple[KnownFolder, int]]:
        """How many messages that we removed from the source have never been at the account's destination, of each
        folder that is replayed and has some; without those that it refused."""
        return [(each, its.waiting) for each, its in self._never_there() if its.waiting]

    def _never_there(self) -> list[tuple[KnownFolder, Unsent]]:
        unsent = self.catalog.prunes.unsent(self.destination_number)
        if not unsent:
            return []
        sent = (*self.replayed_folders(), *self.pruned_folders())
        return [(each, unsent[each.number]) for each in sent if each.number in unsent]

    def folders_to_send(self, *, unlisted: bool = False) -> list[KnownFolder]:
        """The folders that a replay brings up to date: those that are replayed by themselves, and those that are
        gone from the source with mail that the destination never had because we removed it there before."""
        replayed = self.replayed_folders(unlisted=unlisted)
        known = {each.number for each in replayed}
        return [*replayed, *(each for each, _ in self._never_there() if each.number not in known)]

    def left_out(self) -> list[ReplicaTally]:
        """The chosen folders that are not replayed by themselves. Those of their messages that should be in another
        one, and are not, are pending."""
        replayed = {each.number for each in self.replayed_folders()}
        left = [each for each in self.chosen_folders() if each.number not in replayed]
        if not left:
            return []
        in_others = [each.number for each in left if is_in_all_mail(each.folder)]
        missing = self.catalog.replicas.pending.without_equal(in_others, replayed)
        stored = {each.name: each.stored for each in self.catalog.account.tallies()}
        counts = [(each.folder.name, missing.get(each.number, 0)) for each in left]
        return [
            ReplicaTally(name, "", 0, 0, 0, 0, pending, left_out=stored.get(name, 0) - pending)
            for name, pending in counts
        ]

    def left_out_alone(self) -> dict[str, int]:
        """How many messages are not replayed although no other folder has them, by the names of their folders."""
        replayed = {each.number for each in self.replayed_folders()}
        names = {
            each.folder.name
            for each in self.chosen_folders()
            if each.number not in replayed and not is_in_all_mail(each.folder)
        }
        return (
            {each.name: each.stored for each in self.catalog.account.tallies() if each.name in names}
            if names
            else {}
        )

    def gone_folders(self) -> dict[int, KnownFolder]:
        """The folders that the account's rules choose and that the source no longer has, by their numbers."""
        rules = self.settings.folders
        gone = gone_folders(self.catalog.account.folders().values(), include=rules.include, exclude=rules.exclude)
        return {each.number: each for each in gone}

    @property
    def destination_number(self) -> int | None:
        """Under which number the catalog knows the account's destination by its address; None if it does not, or
        there is none."""
        return known_number(self.settings, self.catalog)

    @property
    def numbers_there(self) -> frozenset[int]:
        """All numbers of the account's destination: its own, and those of places there to which messages were
        restored."""
        settings, number = self.settings.destination, self.destination_number
        if settings is None:
            return frozenset()
        places = self.catalog.replicas.restores.places(address_in(settings))
        return frozenset([each.number for each in places] + ([] if number is None else [number]))

    def stranded_copies(self) -> dict[str, int]:
        """How many copies of ours are at the account's destination of folders that the source no longer has, by
        their names."""
        number = self.destination_number
        if number is None:
            return {}
        counts, gone = self.catalog.replicas.folders.stranded(number), self.gone_folders()
        return {gone[folder].folder.name: count for folder, count in counts.items() if folder in gone}

    @contextmanager
    def as_it_was(self, moment: str | None, word: str, check_stop: Callable[[], None]) -> Iterator[Catalog]:
        """What the folders held at `moment` (None: now): a catalog of its own next to the present one, for as long
        as it is needed; `word` is its name.

        It needs no lock: the journal only grows, and what a run adds in the meantime is not in it. It ends where
        the archive's own catalog does, which knows where octets lie.

        Raises:
            ConfigError: the archive began later.
            IntegrityError: the journal is damaged.
        """
        with self.place.scratch(word) as past:
            last, _ = self.catalog.last_segment()
            replay_past(self.journal, last, past, moment, check_stop)
            yield past


def _whose(identity: ArchiveFact) -> str:
    """The archive's source, for messages."""
    if identity.protocol == "files":
        return f"the files at {identity.user}"
    return f"{identity.user} at {identity.host}"
