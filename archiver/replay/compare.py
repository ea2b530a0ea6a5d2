"""Proof of a migration: every copy is compared with what the destination shows now.

Read-only. Size, INTERNALDATE and flags are compared for all; with `deep`, so are the octets that the destination
returns. What the destination's user changed since is counted, but is not a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct, field

from archiver.catalog.places import places_of
from archiver.catalog.port import Catalog
from archiver.control import RunControl
from archiver.destination.port import DestinationReader
from archiver.errors import FolderNotFound
from archiver.events import Planned, Verified, Working
from archiver.facts.replica import FolderStat, Replica, ReplicaFolder
from archiver.mail.content import internaldate_seconds, same_moment
from archiver.mail.counts import counted
from archiver.mail.fingerprint import Likeness, compare, fingerprint_of, is_beginning
from archiver.mail.flags import respelled
from archiver.mail.folder_names import printable
from archiver.mail.model import Attributes, Fetched, KnownFolder
from archiver.mail.rewrite import repair
from archiver.replay.send.match import fingerprint_of_fetched, octets_of
from archiver.storage.port import MessageStore

_WINDOW = 2000
_DEEP_WINDOW = 200
_FOLDERS = 20
_REWRITTEN = ("line-ends", "headers")
_ALTERED = ("cut", "other")
_ACCEPT = (
    "`archiver retry --accept` accepts messages as the server shows them; they stay listed and are not sent again"
)

#: The difference of messages and folders that the destination does not have.
NOT_REPLAYED = "not replayed"


_Folder = tuple[ReplicaFolder, Sequence[KnownFolder]]
"""A folder of the destination, and the archive's folders that are mapped to it."""


class Difference(Struct, frozen=True):
    """A difference between the destination and the archive. `destination_uid` is None if there is no copy. `next`
    says what to do, if a command can do anything."""

    folder: str
    uid: int | None
    destination_uid: int | None
    what: str
    expected: str
    found: str
    next: str = ""


class FolderCheck(Struct):
    """One folder: `verified` copies are as expected, `removed` are gone from the destination, and the flags of
    `changed` were changed by its user. `accepted` copies are altered or cut off as the user accepted them.
    `rewritten` were compared without the parts that the server rewrites;
    `refused` are messages that the destination did not take and whose loss was not accepted."""

    verified: int = 0
    differences: int = 0
    removed: int = 0
    changed: int = 0
    rewritten: int = 0
    refused: int = 0
    accepted: int = 0


class DestinationCheck(Struct):
    """The result, by folder name."""

    deep: bool
    folders: dict[str, FolderCheck] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        if self.differences:
            return 4
        return 3 if any(each.refused for each in self.folders.values()) else 0


class DestinationVerifier(Struct):
    """Compares one destination. `destination` is its number in the catalog. `all_sent`: a message without a copy is
    also a difference."""

    connection: DestinationReader
    store: MessageStore
    catalog: Catalog
    destination: int
    control: RunControl
    deep: bool = False
    all_sent: bool = True

    def run(self, folders: Sequence[KnownFolder]) -> DestinationCheck:
        """Compare all copies of `folders`; a difference does not stop it."""
        result = DestinationCheck(self.deep)
        replica_folders = self.catalog.replicas.folders.current(self.destination)
        mapped = self.catalog.replicas.folders.mapped(self.destination)
        by_raw: dict[bytes, list[KnownFolder]] = {}
        for folder in folders:
            result.folders[printable(folder.folder.name)] = FolderCheck()
            if folder.number in mapped:
                by_raw.setdefault(mapped[folder.number][0], []).append(folder)
        self._count_refused(result)
        if self.all_sent:
            self._without_copies(result, [folder for folder in folders if folder.number not in mapped])
        there = [(replica_folders[raw], here) for raw, here in by_raw.items() if raw in replica_folders]
        for group in self._groups(there):
            self._group(result, group)
        return result

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

    def _groups(self, folders: Sequence[_Folder]) -> Iterator[list[_Folder]]:
        """Folders with few copies are compared in groups."""
        group: list[_Folder] = []
        left = 0
        for each in folders:
            held = sum(self.catalog.replicas.messages.claimed(each[0].number).values())
            if group and (self.deep or held > left or len(group) == _FOLDERS):
                yield group
                group = []
            left = (left if group else _WINDOW) - held
            group.append(each)
        if group:
            yield group

    def _group(self, result: DestinationCheck, group: Sequence[_Folder]) -> None:
        """Compare several folders in one round trip. A folder that does not match is opened and compared by itself,
        so a difference is never based on the pipelined answer alone."""
        if len(group) == 1:
            self._folder(result, *group[0])
            return
        self.control.check_stop()
        held = [
            (folder, folders, list(self.catalog.replicas.messages.all(folder.number))) for folder, folders in group
        ]
        told = self.connection.stat(
            [(folder.raw, [replica.uid for replica in replicas]) for folder, _, replicas in held]
        )
        for (folder, folders, replicas), looked in zip(held, told, strict=True):
            if looked is None or not _all_match(folder, replicas, looked):
                self._folder(result, folder, folders)
                continue
            self.control.progress(Working(printable(folders[0].folder.name)))
            octets = sum(replica.message.size for replica in replicas)
            self.control.progress(Planned(len(replicas), octets))
            self._compare(result, replicas, _names(folders), _by_uid(looked.seen), {})
            self.control.progress(Verified(len(replicas), octets))

    def _folder(self, result: DestinationCheck, folder: ReplicaFolder, folders: Sequence[KnownFolder]) -> None:
        self.control.check_stop()
        names = _names(folders)
        first = printable(folders[0].folder.name)
        self.control.progress(Working(first))
        replicas = self.catalog.replicas.messages.all(folder.number)
        try:
            opened = self.connection.open(folder.raw, readonly=True)
        except FolderNotFound as error:
            self._whole(result, first, list(replicas), "folder", "the folder", f"nothing ({error.reason})")
            return
        if opened.uidvalidity not in (folder.uidvalidity, 0):
            now = f"UIDVALIDITY {opened.uidvalidity}"
            self._whole(result, first, list(replicas), "folder", f"UIDVALIDITY {folder.uidvalidity}", now)
            return
        while window := list(islice(replicas, _DEEP_WINDOW if self.deep else _WINDOW)):
            self.control.check_stop()
            self.control.progress(Planned(len(window), sum(replica.message.size for replica in window)))
            self._window(result, window, names)
            self.control.progress(Verified(len(window), sum(replica.message.size for replica in window)))

    def _whole(
        self, result: DestinationCheck, name: str, replicas: Sequence[Replica], what: str, expected: str, found: str
    ) -> None:
        if replicas:
            result.folders[name].differences += len(replicas)
            result.differences.append(Difference(name, None, None, what, expected, found))

    def _window(self, result: DestinationCheck, window: Sequence[Replica], names: dict[int, str]) -> None:
        uids = {replica.uid for replica in window}
        seen = _by_uid(each for each in self.connection.scan(uids) if each.uid in uids)
        octets = self._octets([replica for replica in window if replica.uid in seen]) if self.deep else {}
        self._compare(result, window, names, seen, octets)

    def _compare(
        self,
        result: DestinationCheck,
        window: Sequence[Replica],
        names: Mapping[int, str],
        seen: Mapping[int, Attributes],
        octets: Mapping[int, str],
    ) -> None:
        for replica in window:
            if (name := names.get(replica.folder)) is None:
                continue
            check = result.folders[name]
            if replica.uid not in seen:
                check.removed += 1
                continue
            found = list(_differences(replica, seen[replica.uid]))
            how = octets.get(replica.uid)
            if how is not None and not replica.accepted and not any(what == "octets" for what, *_ in found):
                found += _octets_differ(replica, seen[replica.uid], how)
            if _was_rewritten(replica, how):
                check.rewritten += 1
            if _changed_there(replica, seen[replica.uid]):
                check.changed += 1
            check.differences += bool(found)
            check.verified += not found and not replica.accepted
            check.accepted += not found and replica.accepted
            result.differences += [
                Difference(name, replica.key[1], replica.uid, what, expected, shown, _next(replica, what))
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


def _names(folders: Sequence[KnownFolder]) -> dict[int, str]:
    return {each.number: printable(each.folder.name) for each in folders}


def _by_uid(rows: Iterable[Attributes]) -> dict[int, Attributes]:
    """Merge several rows about one message."""
    seen: dict[int, Attributes] = {}
    for each in rows:
        seen[each.uid] = seen[each.uid].updated(each) if each.uid in seen else each
    return seen


def _all_match(folder: ReplicaFolder, replicas: Sequence[Replica], looked: FolderStat) -> bool:
    """Whether a folder shows all copies as expected."""
    seen = _by_uid(looked.seen)
    return looked.uidvalidity in (folder.uidvalidity, 0) and all(
        replica.uid in seen and not any(_differences(replica, seen[replica.uid])) for replica in replicas
    )


def _differences(replica: Replica, seen: Attributes) -> Iterator[tuple[str, str, str]]:
    """(what, expected, found) for all that can be compared without the octets."""
    sizes: set[int | None] = {replica.message.size, replica.message.crlf_size}
    is_cut = replica.likeness == "cut" and seen.size not in sizes  # it may be shown whole by now
    if replica.repaired or replica.likeness in _REWRITTEN:
        sizes = {replica.size}
    elif replica.likeness == "exact" or replica.accepted:
        sizes.add(replica.size)  # if exact, its octets are right, however the server counts them
    if (is_cut or replica.likeness == "other") and not replica.accepted:
        yield from _octets_differ(replica, seen, replica.likeness or "")
    elif seen.size is not None and seen.size not in sizes:
        yield "size", " or ".join(map(str, sorted(size for size in sizes if size is not None))), str(seen.size)
    if replica.dated and not same_moment(internaldate_seconds(seen.internaldate), replica.message.arrived):
        yield "INTERNALDATE", f"{replica.message.arrived} seconds since 1970", str(seen.internaldate)
    if seen.flags is not None and replica.message.flags != replica.source_flags:
        wanted = replica.message.flags - replica.lost
        shown = respelled(seen.flags, wanted)
        if shown != wanted:
            yield "flags", " ".join(sorted(wanted)), " ".join(sorted(shown))


def _octets_differ(replica: Replica, seen: Attributes, how: str) -> Iterator[tuple[str, str, str]]:
    """The difference if the octets that the destination returns match only this closely."""
    sent = f"{replica.message.size:,} bytes, and these were sent"
    shown = "other bytes" if seen.size is None else f"{seen.size:,} bytes"
    if how == "cut" and not seen.size:
        yield "octets", sent, "0 bytes: the server shows the message empty"
    elif how == "cut":
        yield "octets", sent, f"{shown}: the server shows only the beginning of the message"
    elif how == "other":
        yield "octets", sent, f"{shown}: the server shows the message altered"
    elif how.startswith("not delivered"):
        yield "octets", sent, how


def _next(replica: Replica, what: str) -> str:
    """How to end a difference that remains, because it began with the APPEND."""
    sizes = (None, replica.message.size, replica.message.crlf_size)
    lasts = replica.likeness in _ALTERED or (replica.likeness is None and replica.size not in sizes)
    return _ACCEPT if what in ("octets", "size") and lasts else ""


def _changed_there(replica: Replica, seen: Attributes) -> bool:
    return seen.flags is not None and respelled(seen.flags, replica.flags) != replica.flags


def _was_rewritten(replica: Replica, how: str | None) -> bool:
    return replica.likeness in _REWRITTEN or how in _REWRITTEN
