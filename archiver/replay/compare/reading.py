"""Reads what a destination shows of our copies, and compares it. Read-only.

Several small folders take one round trip; a large one is read by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct, field

from archiver.catalog.places import places_of
from archiver.catalog.port import Catalog
from archiver.control.run import RunControl
from archiver.destination.port import DestinationReader
from archiver.errors import FolderNotFound
from archiver.events import Planned, Verified, Working
from archiver.facts.known import KnownFolder
from archiver.facts.mailbox import FolderStat
from archiver.facts.replica import Replica, ReplicaCount, ReplicaFolder
from archiver.mail.fingerprint import Likeness, compare, fingerprint_of, is_beginning
from archiver.mail.folder_names import printable
from archiver.mail.model import Attributes, Fetched
from archiver.mail.rewrite import repair
from archiver.replay.compare.differences import (
    advice,
    by_uid,
    changed_there,
    differences,
    octets_differ,
    was_rewritten,
)
from archiver.replay.compare.result import DestinationCheck, Difference
from archiver.replay.compare.unchanged import all_are_there
from archiver.replay.send.match import fingerprint_of_fetched, octets_of
from archiver.storage.port import MessageStore

_WINDOW = 2000
_DEEP_WINDOW = 200
_FOLDERS = 20
_MOST_CHANGES = 50_000  # messages in a folder whose changes are read at once


class ComparedFolder(Struct, frozen=True):
    """A folder of the destination, and the archive's folders that are mapped to it. `since` is the HIGHESTMODSEQ
    from which on its changes are enough; None: all of its copies are read."""

    folder: ReplicaFolder
    mapped: Sequence[KnownFolder]
    since: int | None = None

    @property
    def names(self) -> dict[int, str]:
        """The names of the archive's folders by number."""
        return {each.number: printable(each.folder.name) for each in self.mapped}


def count_as_compared(
    result: DestinationCheck, counts: Mapping[int, ReplicaCount], names: Mapping[int, str]
) -> None:
    """Add the copies in a folder that are as they were when they were compared."""
    for number, count in counts.items():
        if (name := names.get(number)) is not None:
            check = result.folders[name]
            check.verified += count.there - count.accepted
            check.accepted += count.accepted
            check.rewritten += count.rewritten


class CopyReader(Struct):
    """Compares the copies of an account over one connection; `labels`: Gmail's were replayed, too; `follows`: so
    were changes of flags and labels. What is found is added to `result`. `proven` are the UIDs of copies that are
    as recorded, by the number of their folder; `doubtful` are the numbers of folders with a copy that is not, or is
    gone."""

    connection: DestinationReader
    store: MessageStore
    catalog: Catalog
    control: RunControl
    result: DestinationCheck
    counts: Mapping[int, Mapping[int, ReplicaCount]]
    deep: bool = False
    labels: bool = False
    follows: bool = True
    proven: dict[int, set[int]] = field(default_factory=dict)
    doubtful: set[int] = field(default_factory=set)

    def read(self, folders: Sequence[ComparedFolder]) -> None:
        """Compare all copies in these folders; a difference does not stop it."""
        for group in self._groups(folders):
            self._group(group)

    def _groups(self, folders: Sequence[ComparedFolder]) -> Iterator[list[ComparedFolder]]:
        """Folders with few copies are compared in groups."""
        group: list[ComparedFolder] = []
        left = 0
        for each in folders:
            held = self._most_rows(each)
            if group and (self.deep or held > left or len(group) == _FOLDERS):
                yield group
                group = []
            left = (left if group else _WINDOW) - held
            group.append(each)
        if group:
            yield group

    def _most_rows(self, each: ComparedFolder) -> int:
        """How many rows a folder's answer may have. Where only changes are read, any message may have changed, also
        those that are not ours; so many of these count as a whole window."""
        here = self.counts.get(each.folder.number, {}).values()
        if each.folder.compared is None or not self._reads_changes(each):
            return sum(count.there for count in here)
        return sum(count.uncompared for count in here) + each.folder.compared.messages * _WINDOW // _MOST_CHANGES

    def _group(self, group: Sequence[ComparedFolder]) -> None:
        """Compare several folders in one round trip. A folder that does not match is opened and compared by itself,
        so a difference is never based on the pipelined answer alone."""
        if len(group) == 1 and not self._reads_changes(group[0]):
            self._folder(group[0])
            return
        self.control.check_stop()
        held = [(each, self._expected(each)) for each in group]
        since = {
            each.folder.raw: each.since for each in group if each.since is not None and self._reads_changes(each)
        }
        told = self.connection.stat(
            [(each.folder.raw, self._asked(each, replicas)) for each, replicas in held], since=since
        )
        for (each, replicas), looked in zip(held, told, strict=True):
            if looked is None or not self._matches(each, replicas, looked):
                self._folder(each)
                continue
            self.control.progress(Working(printable(each.mapped[0].folder.name)))
            octets = sum(replica.message.size for replica in replicas)
            self.control.progress(Planned(len(replicas), octets))
            self._count(each, replicas, by_uid(looked.seen))
            self.control.progress(Verified(len(replicas), octets))

    def _count(self, each: ComparedFolder, replicas: Sequence[Replica], seen: Mapping[int, Attributes]) -> None:
        """Add a folder that shows all copies as expected."""
        number, names = each.folder.number, each.names
        if not self._reads_changes(each):
            self._compare(number, replicas, names, seen, {})
            return
        count_as_compared(self.result, self.counts.get(number, {}), names)
        for replica in self._changed(each, seen):
            if (name := names.get(replica.folder)) is not None:
                self.result.folders[name].changed += changed_there(replica, seen[replica.uid])
        self.proven[number] = {replica.uid for replica in replicas}

    def _reads_changes(self, each: ComparedFolder) -> bool:
        """Whether a folder is read as far as it changed."""
        known = each.folder.compared
        if each.since is None or known is None or known.messages > _MOST_CHANGES:
            return False
        return sum(count.uncompared for count in self.counts.get(each.folder.number, {}).values()) <= _WINDOW

    def _expected(self, each: ComparedFolder) -> list[Replica]:
        """The copies that the destination has to show in a group's answer."""
        if self._reads_changes(each):
            return list(self.catalog.replicas.changes.uncompared(each.folder.number, limit=_WINDOW))
        return list(self.catalog.replicas.messages.all(each.folder.number))

    def _asked(self, each: ComparedFolder, replicas: Sequence[Replica]) -> list[int]:
        """The UIDs that have to be requested, since they are not among what came later."""
        known = each.folder.compared if self._reads_changes(each) else None
        return [replica.uid for replica in replicas if known is None or replica.uid < (known.uidnext or 0)]

    def _matches(self, each: ComparedFolder, replicas: Sequence[Replica], looked: FolderStat) -> bool:
        """Whether a folder shows all copies as expected."""
        seen = by_uid(looked.seen)
        if looked.uidvalidity not in (each.folder.uidvalidity, 0):
            return False
        if self._reads_changes(each):
            assert each.folder.compared is not None
            if not all_are_there(each.folder.compared, looked):
                return False
            if any(any(self._differences(replica, seen[replica.uid])) for replica in self._changed(each, seen)):
                return False
        return all(
            replica.uid in seen and not any(self._differences(replica, seen[replica.uid])) for replica in replicas
        )

    def _differences(self, replica: Replica, seen: Attributes) -> Iterable[tuple[str, str, str]]:
        return differences(replica, seen, labels=self.labels, follows=self.follows)

    def _changed(self, each: ComparedFolder, seen: Mapping[int, Attributes]) -> Iterable[Replica]:
        """The copies among these messages."""
        return self.catalog.replicas.messages.all(each.folder.number, uids=seen.keys())

    def _folder(self, each: ComparedFolder) -> None:
        self.control.check_stop()
        folder, names = each.folder, each.names
        first = printable(each.mapped[0].folder.name)
        self.control.progress(Working(first))
        replicas = self.catalog.replicas.messages.all(folder.number)
        try:
            opened = self.connection.open(folder.raw, readonly=True)
        except FolderNotFound as error:
            self._whole(folder, first, list(replicas), "the folder", f"nothing ({error.reason})")
            return
        if opened.uidvalidity not in (folder.uidvalidity, 0):
            now = f"UIDVALIDITY {opened.uidvalidity}"
            self._whole(folder, first, list(replicas), f"UIDVALIDITY {folder.uidvalidity}", now)
            return
        while window := list(islice(replicas, _DEEP_WINDOW if self.deep else _WINDOW)):
            self.control.check_stop()
            self.control.progress(Planned(len(window), sum(replica.message.size for replica in window)))
            self._window(folder.number, window, names)
            self.control.progress(Verified(len(window), sum(replica.message.size for replica in window)))

    def _whole(
        self, folder: ReplicaFolder, name: str, replicas: Sequence[Replica], expected: str, found: str
    ) -> None:
        self.doubtful.add(folder.number)
        if replicas:
            self.result.folders[name].differences += len(replicas)
            self.result.differences.append(Difference(name, None, None, "folder", expected, found))

    def _window(self, folder: int, window: Sequence[Replica], names: Mapping[int, str]) -> None:
        uids = {replica.uid for replica in window}
        seen = by_uid(each for each in self.connection.scan(uids) if each.uid in uids)
        octets = self._octets([replica for replica in window if replica.uid in seen]) if self.deep else {}
        self._compare(folder, window, names, seen, octets)

    def _compare(
        self,
        folder: int,
        window: Sequence[Replica],
        names: Mapping[int, str],
        seen: Mapping[int, Attributes],
        octets: Mapping[int, str],
    ) -> None:
        proven = self.proven.setdefault(folder, set())
        for replica in window:
            if (name := names.get(replica.folder)) is None:
                # Nobody asks for it in this run, but a later one may rely on what is recorded.
                if replica.uid not in seen or any(self._differences(replica, seen[replica.uid])):
                    self.doubtful.add(folder)
                else:
                    proven.add(replica.uid)
                continue
            check = self.result.folders[name]
            if replica.uid not in seen:
                check.removed += 1
                self.doubtful.add(folder)
                continue
            found = list(self._differences(replica, seen[replica.uid]))
            how = octets.get(replica.uid)
            if how is not None and not replica.accepted and not any(what == "octets" for what, *_ in found):
                found += octets_differ(replica, seen[replica.uid], how)
            if was_rewritten(replica, how):
                check.rewritten += 1
            if changed_there(replica, seen[replica.uid]):
                check.changed += 1
            check.differences += bool(found)
            check.verified += not found and not replica.accepted
            check.accepted += not found and replica.accepted
            if found:
                self.doubtful.add(folder)
            else:
                proven.add(replica.uid)
            self.result.differences += [
                Difference(name, replica.key[1], replica.uid, what, expected, shown, advice(replica, what))
                for what, expected, shown in found
            ]

    def _octets(self, replicas: Sequence[Replica]) -> dict[int, str]:
        """How closely the octets that the destination returns match those that were sent, by UID."""
        wanted = {replica.uid: replica for replica in replicas}
        places = places_of(self.catalog.messages, (replica.key for replica in replicas))
        results: dict[int, str] = {}
        for outcome in self.connection.fetch(sorted(wanted)):
            self.control.check_stop()
            if not isinstance(outcome, Fetched):
                if not outcome.gone:
                    results[outcome.uid] = f"not delivered: {printable(outcome.reason)}"
                continue
            replica = wanted[outcome.attributes.uid]
            found = fingerprint_of_fetched(outcome)
            if found.digest == (replica.sent_digest or replica.message.digest):
                results[replica.uid] = "exact"
                continue
            place = places[replica.key]
            sent = fingerprint_of(repair(octets_of(self.store, place), replica.repaired))
            how: Likeness = compare(sent, found)
            if how == "other" and is_beginning(repair(octets_of(self.store, place), replica.repaired), found):
                how = "cut"
            results[replica.uid] = how
        return results
