"""Copies of forgotten messages are removed from a destination: those that are recorded, and no others.

A copy is removed under its UID and UIDVALIDITY, and only if the octets that the destination returns have the
recorded digest; where it is known to show the message altered, the size is compared. In a folder that was made
again, which has another UIDVALIDITY, messages of the same size are read, and those with that digest are the copies.

A folder that has the UIDVALIDITY under another name may be this one, renamed, or another one that was made in the
same second. So a size is not enough there. A message that the archive counts on as a copy of another one is never
removed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from archiver.control.run import RunControl
from archiver.destination.port import MailDestination
from archiver.errors import FolderNotFound, MessageRefused, PermissionDenied
from archiver.facts.keeping import ForgottenCopy
from archiver.facts.mailbox import SelectedFolder
from archiver.mail.counts import counted
from archiver.mail.fingerprint import MessageFingerprint
from archiver.mail.folder_names import decode_name, printable
from archiver.mail.model import Digest, Fetched
from archiver.mail.uidset import format_uid_set
from archiver.replay.connection import DestinationConnection
from archiver.replay.flag_merge import DELETED, NO_FLAGS
from archiver.replay.send.match import fingerprint_of_fetched

_COPIES = ("copy", "copies")
_AGAIN = "the folder was made again (it has another UIDVALIDITY)"
_OTHER_SIZE = "has another size than the copy had: look at it there"
_OTHER_OCTETS = "has other octets than the message that was forgotten: look at it there"
_AT_ONCE = 200
_LINE = 1000
_MOST_READ, _MOST_OCTETS = 5_000, 512 << 20  # messages of a folder that was made again


CountedOn = Callable[[bytes, int], Collection[int]]
"""The UIDs in the folder of that raw name, under that UIDVALIDITY, that copies of messages have."""


class CopiesOf(Struct, frozen=True):
    """The copies of a folder of a destination, as recorded: its raw name and its UIDVALIDITY."""

    raw: bytes
    uidvalidity: int
    copies: list[ForgottenCopy]

    def without(self, uids: Collection[int]) -> CopiesOf:
        """The others of them."""
        return replace(self, copies=[each for each in self.copies if each[1] not in uids])

    @property
    def name(self) -> str:
        """For people."""
        return _quoted(self.raw)


class Erased(Struct, frozen=True):
    """What became of the copies of a folder: the recorded UIDs of those that are `gone`, how many of them we
    `removed`, and what people have to look at, each with the reason. What is not where it was is named once, and
    counts as gone."""

    gone: Sequence[int] = ()
    removed: int = 0
    kept: Sequence[tuple[str, str]] = ()


def erase_copies(
    connection: DestinationConnection,
    folder: CopiesOf,
    forgotten: Collection[Digest],
    counted_on: CountedOn,
    control: RunControl,
    *,
    anywhere: bool,
) -> Erased:
    """Remove the copies of a folder; `forgotten` are the digests of all that was forgotten. What is gone already is
    fine; it may be called again, wherever it was cut off. `anywhere`: in a folder that was made again messages with
    these octets are ours.

    Raises:
        BackendError: of the connection or the login.
    """
    try:
        return connection.with_retries(partial(_erase, folder, forgotten, counted_on, control, anywhere))
    except (PermissionDenied, MessageRefused) as error:
        return Erased(kept=[(_words(folder, (each[1] for each in folder.copies)), printable(error.reason))])


def _erase(
    folder: CopiesOf,
    forgotten: Collection[Digest],
    counted_on: CountedOn,
    control: RunControl,
    anywhere: bool,
    destination: MailDestination,
) -> Erased:
    def expunged(found: _Found) -> Erased:
        control.check_stop()
        return _expunged(folder, found, destination)

    def look(copies: CopiesOf, raw: bytes, selected: SelectedFolder) -> _Look:
        return _Look(copies, forgotten, frozenset(counted_on(raw, selected.uidvalidity)), control, destination)

    def staying(uids: Collection[int], why: str) -> Erased:
        return Erased(kept=[*doubtful, (_words(folder, uids), why)])

    opened = _opened(folder.raw, destination)
    if opened is not None and opened.uidvalidity and opened.uidvalidity == folder.uidvalidity:
        return expunged(look(folder, folder.raw, opened).under_their_uids())
    left, unseen = folder, ""
    doubtful: list[tuple[str, str]] = []
    is_listed, others = _may_be(folder, destination)
    for raw in others:
        name = _quoted(raw)
        selected = _opened(raw, destination)
        if selected is None:
            unseen = name  # the server has just listed it
        elif selected.uidvalidity == folder.uidvalidity:
            found = look(left, raw, selected).under_their_uids(renamed=name)
            if found.ours:  # another folder may have been made in the same second
                return replace(done := expunged(found), kept=[*doubtful, *done.kept])
            for why, uids in found.kept.items():
                if why not in (_OTHER_SIZE, _OTHER_OCTETS):
                    doubtful.append((_words(folder, uids), why))
                    left = left.without(uids)
    uids = [each[1] for each in left.copies]
    if not uids:
        return Erased(kept=doubtful)
    if opened is None and is_listed:
        return staying(uids, "the server lists the folder, and does not open it")
    if unseen:
        return staying(uids, f"they may be in {unseen}, which the server does not open")
    if opened is None:
        return replace(
            staying(uids, "the folder is not there any more: if it has another name now, look for them there"),
            gone=uids,
        )
    if not anywhere:
        return staying(uids, f"{_AGAIN}, and other accounts fill it, too: look for them there")
    if (selected := _opened(folder.raw, destination)) is None:
        return staying(uids, "the folder was just removed: try again")
    done = expunged(look(left, folder.raw, selected).by_octets())
    return replace(done, kept=[*doubtful, *done.kept])


def _expunged(folder: CopiesOf, found: _Found, destination: MailDestination) -> Erased:
    """Remove those that are ours in the folder that is open."""
    kept = [(_words(folder, uids), why) for why, uids in found.kept.items()]
    uids = tuple(sorted(found.ours.values()))
    if uids and not destination.can_expunge:
        why = "the server cannot remove single messages (UIDPLUS): delete them there"
        return Erased(found.gone, kept=[*kept, (_words(folder, uids), why)])
    if uids:
        destination.store({(DELETED, NO_FLAGS): uids})
        destination.expunge(uids)
    left = destination.flags(uids) if uids else {}
    if left:
        kept.append((_words(folder, left), "the server still shows them"))
    removed = [uid for uid, there in found.ours.items() if there not in left]
    return Erased([*found.gone, *removed], len(removed), kept)


def _opened(raw: bytes, destination: MailDestination) -> SelectedFolder | None:
    """The folder, opened; None if it is not there."""
    try:
        return destination.open(raw)
    except FolderNotFound:
        return None


def _may_be(folder: CopiesOf, destination: MailDestination) -> tuple[bool, Sequence[bytes]]:
    """Whether the folder is listed; and the folders, by raw name, that may be this one under another name: they
    have its UIDVALIDITY, or the list does not say it."""
    listed = [each for each in destination.list_folders().listed if each.folder.selectable]
    others = [each for each in listed if each.folder.raw != folder.raw] if folder.uidvalidity else []
    is_it = [each for each in others if each.status is None or each.status.uidvalidity == folder.uidvalidity]
    return any(each.folder.raw == folder.raw for each in listed), [each.folder.raw for each in is_it]


class _Found(Struct):
    """What is known of copies, by their recorded UIDs: the UIDs of `ours` now, those that are `gone`, and those
    that are kept, by the reason."""

    ours: dict[int, int]
    gone: list[int]
    kept: dict[str, list[int]]


class _Look(Struct, frozen=True):
    """Looks for copies in the folder that is open."""

    folder: CopiesOf
    forgotten: Collection[Digest]
    counted_on: Collection[int]
    control: RunControl
    destination: MailDestination

    def under_their_uids(self, renamed: str = "") -> _Found:
        """The copies under the UIDs that they had; `renamed`: in the folder of this name, which may be another
        one."""
        copies = {each[1]: each for each in self.folder.copies if each[1] not in self.counted_on}
        sizes = {each.uid: each.size for each in self.destination.scan(copies) if each.uid in copies}
        found = _Found({}, [uid for uid in copies if uid not in sizes], defaultdict(list))
        if counted := [each[1] for each in self.folder.copies if each[1] not in copies and not renamed]:
            found.kept["counts as the copy of another message: look at it there"] += counted
        for uid, size in sizes.items():
            if copies[uid][2] == "size":
                if size is None or size != copies[uid][4]:
                    found.kept[_OTHER_SIZE].append(uid)
                elif renamed:
                    found.kept[f"no digest says whether it is the one in {renamed}: look at that"].append(uid)
                else:
                    found.ours[uid] = uid
        for uid, outcome in self._read([uid for uid in sizes if copies[uid][2] != "size"]):
            if outcome is None:
                found.gone.append(uid)
            elif isinstance(outcome, str):
                found.kept[f"the server does not return it: {printable(outcome)}"].append(uid)
            elif self._is_it(copies[uid], outcome):
                found.ours[uid] = uid
            else:
                found.kept[_OTHER_OCTETS].append(uid)
        return found

    def by_octets(self) -> _Found:
        """The copies in a folder that was made again, by their octets."""
        found, wanted = _Found({}, [], defaultdict(list)), defaultdict[tuple[str, str], list[int]](list)
        for _, uid, form, digest, _ in self.folder.copies:
            if form in ("octets", "canonical"):
                wanted[form, digest].append(uid)
            else:
                found.kept[f"{_AGAIN}, and no digest says which messages they are: look for them there"].append(uid)
        likely = {each[4] for each in self.folder.copies}
        shown = self.destination.scan(None) if wanted else ()
        free = [each for each in shown if each.uid not in self.counted_on]
        rows = [each for each in free if each.size is None or each.size in likely]
        if len(rows) > _MOST_READ or sum(each.size or 0 for each in rows) > _MOST_OCTETS:
            why = f"{_AGAIN}, and {len(rows):,} messages there have such sizes, too many to be read: look there"
            found.kept[why] += [uid for uids in wanted.values() for uid in uids]
            return found
        there: dict[tuple[str, str], set[int]] = {each: set() for each in wanted}
        for uid, outcome in self._read([each.uid for each in rows]):
            if isinstance(outcome, MessageFingerprint):
                for each in (("octets", str(outcome.digest)), ("canonical", str(outcome.canonical))):
                    if each in there:
                        there[each].add(uid)
            elif outcome is not None:
                why = f"{_AGAIN}, and the server does not return a message that may be one: {printable(outcome)}"
                found.kept[why] += [uid for uids in wanted.values() for uid in uids]
                return found
        for each, uids in wanted.items():
            if len(there[each]) > len(uids):
                why = f"{_AGAIN}, and has more messages with these octets than were sent there: look for them there"
                found.kept[why] += uids
                continue
            found.ours |= dict(zip(sorted(uids), sorted(there[each]), strict=False))
            if missing := sorted(uids)[len(there[each]) :]:
                found.gone += missing
                found.kept[f"{_AGAIN}, and does not have them: they count as gone"] += missing
        return found

    def _is_it(self, copy: ForgottenCopy, seen: MessageFingerprint) -> bool:
        _, _, form, digest, _ = copy
        if form == "any":
            return seen.digest in self.forgotten
        return digest == (seen.canonical if form == "canonical" else seen.digest)

    def _read(self, uids: Sequence[int]) -> Iterator[tuple[int, MessageFingerprint | str | None]]:
        """The fingerprint of each of these; or why it is not returned; None if it is gone."""
        some = sorted(uids)
        for start in range(0, len(some), _AT_ONCE):
            for outcome in self.destination.fetch(some[start : start + _AT_ONCE]):
                self.control.check_stop()
                if isinstance(outcome, Fetched):
                    yield outcome.attributes.uid, fingerprint_of_fetched(outcome)
                else:
                    yield outcome.uid, None if outcome.gone else outcome.reason


def _quoted(raw: bytes) -> str:
    """A folder's name, for people."""
    return f'"{printable(decode_name(raw))}"'


def _words(folder: CopiesOf, uids: Iterable[int]) -> str:
    some = sorted(uids)
    (listed, *more) = format_uid_set(some, _LINE)
    dots = ",..." if more else ""
    return f"{counted(len(some), *_COPIES)} in {folder.name}, {'UID' if len(some) == 1 else 'UIDs'} {listed}{dots}"
