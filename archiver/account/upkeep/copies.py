"""Copies of forgotten messages at the account's destination, wired: they are removed there, at once or later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

from msgspec import Struct, field

from archiver.account.archive import Archive
from archiver.account.others import AccountsBeside
from archiver.account.servers import destination_of
from archiver.catalog.keeping import Holdable, LeftCopy
from archiver.control.run import RunControl
from archiver.errors import ArchiverError
from archiver.facts.keeping import CopiesErasedFact, ForgottenCopy, HoldFact
from archiver.facts.replica import ReplicaFolder
from archiver.journal.recorder import Recorder
from archiver.mail.counts import counted
from archiver.mail.folder_names import printable
from archiver.mail.model import Digest
from archiver.replay.forgotten import CopiesOf, erase_copies
from archiver.upkeep.forget import Kept
from archiver.upkeep.holds import active_holds, hold_of

_COPIES = ("copy", "copies")
_AT_ONCE = 500


class CopyEraser(Struct):
    """Removes copies of forgotten messages from the account's destination, whose archive's lock is held. What is
    gone is recorded, folder after folder; `removed` counts what we removed. What was tried once is not tried
    again."""

    archive: Archive
    recorder: Recorder
    control: RunControl
    removed: int = 0
    _tried: dict[tuple[int, int], Sequence[Kept]] = field(default_factory=dict)

    def erase(self, copies: Sequence[ForgottenCopy]) -> Sequence[Kept]:
        """Remove these; returns what stays, and why."""
        new = [each for each in copies if each[:2] not in self._tried]
        kept = self._erase(new) if new else []
        self._tried |= dict.fromkeys((each[:2] for each in new), kept)
        return list(dict.fromkeys(line for each in copies for line in self._tried[each[:2]]))

    def _erase(self, copies: Sequence[ForgottenCopy]) -> list[Kept]:
        archive, numbers = self.archive, self.archive.numbers_there
        left = {each.copy[:2]: each for each in archive.catalog.keeping.left_copies()}
        holds = _held_since(archive, {each.forget for each in left.values()})
        current = _current(archive)
        staying = Counter[int]()
        here: dict[int, CopiesOf] = {}
        elsewhere = Counter[int]()
        for each in copies:
            known = left.get(each[:2]) or current.get(each[0])
            if known is None:
                continue  # its folder ended before such copies were known
            if known.forget in holds:
                staying[known.forget] += 1
                continue
            if known.destination not in numbers:
                elsewhere[known.destination] += 1
                continue
            here.setdefault(each[0], CopiesOf(known.raw, known.uidvalidity, [])).copies.append(each)
        kept = [_elsewhere(archive, number, count) for number, count in elsewhere.items()]
        kept += [_held(number, count, holds[number]) for number, count in staying.items()]
        return kept + (self._at(here) if here else [])

    def _at(self, folders: Mapping[int, CopiesOf]) -> list[Kept]:
        """Remove those in these folders of the destination."""
        archive, server = self.archive, destination_of(self.archive.settings)
        kept: list[Kept] = []
        forgotten = archive.catalog.keeping.forgotten().keys()
        try:
            theirs = _of_others(archive, folders)
            with closing(server.connect(archive.spool, self.control, patient=True)) as connection:
                for target, folder in folders.items():
                    others = theirs.get(target, {})
                    kept += [(f"1 copy in {folder.name}, UID {uid}", why) for uid, why in others.items()]
                    ours = [each for each in folder.copies if each[1] not in others]
                    for some in _batches(ours):
                        done = erase_copies(
                            connection,
                            CopiesOf(folder.raw, folder.uidvalidity, some),
                            forgotten,
                            partial(_counted_on, archive),
                            self.control,
                            anywhere=not server.settings.shared,
                        )
                        if done.gone:
                            gone = tuple(sorted(done.gone))
                            self.recorder.write([CopiesErasedFact(target, gone, self.control.now())])
                        self.removed += done.removed
                        kept += done.kept
        except ArchiverError as error:
            kept.append(("the copies", printable(error.message)))
        return [(f"{server.settings.host}: {where}", why) for where, why in kept]


def _batches(copies: Sequence[ForgottenCopy]) -> Iterator[list[ForgottenCopy]]:
    """In batches, so that little is done again after something cut it off. Copies of one message stay together."""
    batch: list[ForgottenCopy] = []
    for each in sorted(copies, key=lambda copy: (copy[3], copy[1])):
        if len(batch) >= _AT_ONCE and each[3] != batch[-1][3]:
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def _current(archive: Archive) -> Mapping[int, LeftCopy]:
    """The folders of the destination by their numbers, for copies of which older journals say no more."""
    number = archive.destination_number
    if number is None:
        return {}
    folders = archive.catalog.replicas.folders.current(number).values()
    return {
        each.number: LeftCopy(0, number, each.raw, each.uidvalidity, (each.number, 0, "any", "", 0))
        for each in folders
    }


def _counted_on(archive: Archive, raw: bytes, uidvalidity: int) -> Collection[int]:
    """The UIDs in a folder of the account's destination that copies of messages have which are not forgotten."""
    number, replicas = archive.destination_number, archive.catalog.replicas
    folder = None if number is None else replicas.folders.current(number).get(raw)
    if folder is None or folder.uidvalidity != uidvalidity:
        return ()
    return [uid for uid, is_there in replicas.messages.claimed(folder.number).items() if is_there]


def _of_others(archive: Archive, folders: Mapping[int, CopiesOf]) -> Mapping[int, Mapping[int, str]]:
    """The copies that another account of ours counts on, too, by folder and UID, and why they stay."""
    if not destination_of(archive.settings).settings.shared:
        return {}
    asked = {
        ReplicaFolder(target, each.raw, each.uidvalidity): {copy[1]: Digest(copy[3]) for copy in each.copies}
        for target, each in folders.items()
    }
    claimed = AccountsBeside(archive.settings).counted_on(asked)
    return {
        folder.number: {uid: f"{account} counts on it, too: forget it there, too" for uid, account in its.items()}
        for folder, its in claimed.items()
    }


def _held_since(archive: Archive, numbers: Collection[int]) -> Mapping[int, HoldFact]:
    """The hold that forbids to remove what destinations have of each of these forgets. What the messages said is
    forgotten, so a hold of somebody's mail is one of all mail; one that was there before allowed to forget them."""
    keeping = archive.catalog.keeping
    holds, found = active_holds(keeping), dict[int, HoldFact]()
    for forget in keeping.forgets() if holds else ():
        since = [each for each in holds if each.at >= forget.at]
        if forget.number not in numbers or not since:
            continue
        for each in keeping.forgotten_places(forget.number):
            unknown = Holdable(each.key, each.placement.digest, (each.folder,), None)
            if (hold := hold_of(since, unknown)) is not None:
                found[forget.number] = hold
                break
    return found


def _held(number: int, copies: int, hold: HoldFact) -> Kept:
    what = f"{counted(copies, *_COPIES)} of what was forgotten under the number {number}"
    return what, f'hold {hold.number} came after it ("{printable(hold.reason)}"): release that first'


def _elsewhere(archive: Archive, destination: int, count: int) -> Kept:
    where = place_of(archive, destination)
    what = counted(count, *_COPIES)
    return f"{where}: {what}", "the account file names no such destination: name it again, or delete them there"


def place_of(archive: Archive, destination: int) -> str:
    """A destination that the catalog knows, for people."""
    known = {each.number: each.address for each in archive.catalog.replicas.destinations.with_history()}
    address = known.get(destination)
    return "another destination" if address is None else printable(f"{address.user} at {address.host}")


def erase_left(eraser: CopyEraser, numbers: Collection[int]) -> tuple[Collection[int], Sequence[Kept]]:
    """Remove what destinations have of the forgets of these numbers; without any: of all but those by rule, whose
    copies follow `[replay] vanished`. Returns the numbers of which some were left, and what stays, with the
    reason."""
    keeping = eraser.archive.catalog.keeping
    chosen = {
        each.number for each in keeping.forgets() if (each.number in numbers if numbers else not each.by_rule)
    }
    left = [each for each in keeping.left_copies() if each.forget in chosen]
    return {each.forget for each in left}, eraser.erase([each.copy for each in left]) if left else ()
