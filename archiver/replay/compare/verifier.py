"""Proof of a migration: every copy is compared with what the destination shows now.

Read-only. Size, INTERNALDATE and flags are compared for all; with `deep`, so are the octets that the destination
returns. What the destination's user changed since is counted, but is not a difference.

A run records what it compared, with the status that each folder had before. The next run does not read a folder
again that still has this status, and of another one, if it can, only what changed. `archiver verify` reads all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Protocol

from msgspec import Struct

from archiver.catalog.port import Catalog
from archiver.control.run import RunControl
from archiver.destination.port import MailDestination
from archiver.destination.rights import lacking, normal
from archiver.facts.access import Rights
from archiver.facts.archive import Fact
from archiver.facts.destination import ComparedFact
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import DestinationFolders
from archiver.facts.replica import ReplicaCount, ReplicaFolder
from archiver.journal.recorder import Recorder
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.model import FolderStatus
from archiver.replay.compare.reading import ComparedFolder, CopyReader, count_as_compared
from archiver.replay.compare.result import NOT_REPLAYED, DestinationCheck, Difference, FolderCheck
from archiver.replay.compare.unchanged import changes_since, is_recordable, is_unchanged
from archiver.storage.port import MessageStore

_GIVE_UP = "what was taken away there is not given again; take it away at the source, too"


class Connection(Protocol):
    """A connection to the destination that is opened when it is first used."""

    def with_retries(self, work: Callable[[MailDestination], DestinationCheck]) -> DestinationCheck:
        """Do `work`, and again on a new connection after a temporary failure."""


class DestinationVerifier(Struct):
    """Compares one destination. `destination` is its number in the catalog. `all_sent`: a message without a copy is
    also a difference.

    With a `recorder` it is recorded what was compared, and what has not changed since is not read again.
    `compares_rights`: without a recorder the access rights that were given are compared, too.
    `unchanged` are the numbers of folders that had the recorded status when the replay step listed them, and that
    it left alone. `labels`: Gmail's labels were replayed, too; `follows`: so were changes of flags and labels.
    `listed` is what the destination listed before its copies were read, if it did.
    """

    connection: Connection
    store: MessageStore
    catalog: Catalog
    destination: int
    control: RunControl
    deep: bool = False
    all_sent: bool = True
    recorder: Recorder | None = None
    unchanged: Collection[int] = ()
    compares_rights: bool = False
    labels: bool = False
    follows: bool = True
    listed: DestinationFolders | None = None

    def run(self, folders: Sequence[KnownFolder]) -> DestinationCheck:
        """Compare all copies of `folders`; a difference does not stop it. The destination is not contacted if
        nothing has to be read."""
        replica_folders = self.catalog.replicas.folders.current(self.destination)
        mapped = self.catalog.replicas.folders.mapped(self.destination)
        counts = self.catalog.replicas.folders.counts(self.destination)
        by_raw: dict[bytes, list[KnownFolder]] = {}
        for folder in folders:
            if folder.number in mapped:
                by_raw.setdefault(mapped[folder.number][0], []).append(folder)
        known = ((replica_folders.get(raw), here) for raw, here in by_raw.items())
        there = [ComparedFolder(folder, here) for folder, here in known if folder is not None]
        there = [each for each in there if each.names.keys() & counts.get(each.folder.number, {}).keys()]

        def begun() -> DestinationCheck:
            result = DestinationCheck(self.deep)
            for folder in folders:
                result.folders[printable(folder.folder.name)] = FolderCheck()
            self._count_refused(result)
            if self.all_sent:
                self._without_copies(result, [folder for folder in folders if folder.number not in mapped])
            return result

        def compared(destination: MailDestination) -> DestinationCheck:
            result = begun()
            self._compare(destination, result, there, counts)
            if self.compares_rights and self.recorder is None:
                self._compare_rights(destination, result, folders)
            return result

        if self.recorder is not None and all(
            each.folder.number in self.unchanged and _all_were_compared(each, counts) for each in there
        ):
            result = begun()
            for each in there:
                count_as_compared(result, counts.get(each.folder.number, {}), each.names)
            return result
        return self.connection.with_retries(compared)

    def _compare(
        self,
        destination: MailDestination,
        result: DestinationCheck,
        there: Sequence[ComparedFolder],
        counts: Mapping[int, Mapping[int, ReplicaCount]],
    ) -> None:
        statuses = self._statuses(destination)
        reader = CopyReader(
            destination,
            self.store,
            self.catalog,
            self.control,
            result,
            counts,
            self.deep,
            self.labels,
            self.follows,
        )
        read: list[ComparedFolder] = []
        for each in there:
            status = statuses.get(each.folder.raw)
            if is_unchanged(each.folder, status) and _all_were_compared(each, counts):
                count_as_compared(result, counts.get(each.folder.number, {}), each.names)
            else:
                since = changes_since(each.folder, status)
                read.append(ComparedFolder(each.folder, each.mapped, since))
        reader.read(read)
        if self.recorder is not None:
            now = self.control.now()
            facts = (_fact(each.folder, statuses.get(each.folder.raw), reader, now) for each in read)
            self.recorder.write([fact for fact in facts if fact is not None])

    def _compare_rights(
        self, destination: MailDestination, result: DestinationCheck, folders: Sequence[KnownFolder]
    ) -> None:
        """Add the rights that were given in these folders and are not shown."""
        granted = self.catalog.replicas.sharing.granted(self.destination)
        given = [(each, granted[each.number]) for each in folders if each.number in granted]
        given = [(folder, each) for folder, each in given if each.entries]
        shown = destination.rights([each.raw for _, each in given]) if given else {}
        for folder, each in given:
            name, wanted, there = printable(folder.folder.name), dict(each.entries), shown.get(each.raw, Rights(()))
            for who in lacking(wanted, there):
                held = (
                    "".join(sorted(normal(dict(there.entries or ()).get(who, "")), key=wanted[who].find)) or "none"
                )
                expected, found = (printable(f"{who}: {letters}") for letters in (wanted[who], held))
                difference = Difference(name, None, None, "access rights", expected, found, _GIVE_UP)
                result.differences.append(difference)
                result.folders[name].differences += 1

    def _statuses(self, destination: MailDestination) -> Mapping[bytes, FolderStatus | None]:
        """The status of each folder before its copies are read, if it can be recorded."""
        if self.recorder is None or not destination.facts.capabilities & {"CONDSTORE", "QRESYNC"}:
            return {}
        self.listed = destination.list_folders()
        return {each.folder.raw: each.status for each in self.listed.listed}

    def _without_copies(self, result: DestinationCheck, nowhere: Sequence[KnownFolder]) -> None:
        """Add what the destination cannot have: messages not sent yet, and folders that are not mapped."""
        pending = {
            tally.folder: tally.pending for tally in self.catalog.replicas.folders.tallies(self.destination, None)
        }
        stored = {tally.name: tally.stored for tally in self.catalog.account.tallies()}
        missing = {name: counted(count, "message") for name, count in pending.items() if count}
        for folder in nowhere:
            name = folder.folder.name
            pending[name] = stored.get(name, 0)
            missing[name] = f"the folder with {counted(pending[name], 'message')}"
        for name, what in missing.items():
            if (check := result.folders.get(printable(name))) is not None:
                result.differences.append(Difference(printable(name), None, None, NOT_REPLAYED, what, "none"))
                check.differences += max(pending[name], 1)

    def _count_refused(self, result: DestinationCheck) -> None:
        for refused in self.catalog.replicas.pending.refused(self.destination):
            if not refused.accepted and (check := result.folders.get(printable(refused.folder))) is not None:
                check.refused += 1


def _all_were_compared(each: ComparedFolder, counts: Mapping[int, Mapping[int, ReplicaCount]]) -> bool:
    """Whether every copy of these folders of the archive was compared since it was recorded."""
    here = counts.get(each.folder.number, {})
    return not any(here[number].uncompared for number in each.names if number in here)


def _fact(folder: ReplicaFolder, status: FolderStatus | None, reader: CopyReader, at: str) -> Fact | None:
    """What is to be recorded of a folder that was read; None if there is nothing new."""
    if folder.number in reader.doubtful or status is None or not is_recordable(folder, status):
        return None if folder.compared is None else ComparedFact(folder.number, (), 0, 0, 0, None, at)
    uids = _ranges(reader.proven.get(folder.number, ()))
    if status == folder.compared and not uids:
        return None
    uidnext, highestmodseq = status.uidnext or 0, status.highestmodseq or 0
    return ComparedFact(folder.number, uids, uidnext, status.messages, highestmodseq, status.size, at)


def _ranges(uids: Collection[int]) -> tuple[tuple[int, int], ...]:
    """UIDs as (first, last) of consecutive ones."""
    runs = ([uid for _, uid in run] for _, run in groupby(enumerate(sorted(uids)), lambda each: each[1] - each[0]))
    return tuple((run[0], run[-1]) for run in runs)
