"""Copies of forgotten messages are removed from a destination: those that are recorded, and no others.

A copy is removed under its UID and UIDVALIDITY, and only if the octets that the destination returns have the
recorded digest; where it is known to show the message altered, the size is compared. In a folder that was made
again, which has another UIDVALIDITY, messages of the same size are read, and those with that digest are the copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial

from msgspec import Struct

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
_AT_ONCE = 200
_LINE = 1000
_MOST_READ, _MOST_OCTETS = 5_000, 512 << 20  # messages of a folder that was made again


class CopiesOf(Struct, frozen=True):
    """The copies of a folder of a destination, as recorded: its raw name and its UIDVALIDITY."""

    raw: bytes
    uidvalidity: int
    copies: list[ForgottenCopy]

    @property
    def name(self) -> str:
        """For people."""
        return f'"{printable(decode_name(self.raw))}"'


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
        return connection.with_retries(partial(_erase, folder, forgotten, control, anywhere))
    except (PermissionDenied, MessageRefused) as error:
        return Erased(kept=[(_words(folder, (each[1] for each in folder.copies)), printable(error.reason))])


def _erase(
    folder: CopiesOf,
    forgotten: Collection[Digest],
    control: RunControl,
    anywhere: bool,
    destination: MailDestination,
) -> Erased:
    def expunged(found: _Found) -> Erased:
        control.check_stop()
        return _expunged(folder, found, destination)

    opened = _opened(folder.raw, destination)
    if opened is not None and opened.uidvalidity and opened.uidvalidity == folder.uidvalidity:
        return expunged(_Look(folder, forgotten, control, destination).under_their_uids())
    for raw in _renamed(folder, destination):
        if _opened(raw, destination) is not None:
            found = _Look(folder, forgotten, control, destination).under_their_uids()
            if found.ours:  # another folder may have been made in the same second
                return expunged(found)
    uids = [each[1] for each in folder.copies]
    if opened is None:
        why = "the folder is not there any more: if it has another name now, look for them there"
        return Erased(uids, kept=[(_words(folder, uids), why)])
    if not anywhere:
        why = f"{_AGAIN}, and other accounts fill it, too: look for them there"
        return Erased(kept=[(_words(folder, uids), why)])
    destination.open(folder.raw)
    return expunged(_Look(folder, forgotten, control, destination).by_octets())


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


def _renamed(folder: CopiesOf, destination: MailDestination) -> Sequence[bytes]:
    """The folders, by raw name, that may be this one under another name: they have its UIDVALIDITY."""
    listed = destination.list_folders().listed if folder.uidvalidity else ()
    return [
        each.folder.raw
        for each in listed
        if each.folder.selectable and each.status and each.status.uidvalidity == folder.uidvalidity
    ]


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
    control: RunControl
    destination: MailDestination

    def under_their_uids(self) -> _Found:
        """The copies under the UIDs that they had."""
        copies = {each[1]: each for each in self.folder.copies}
        sizes = {each.uid: each.size for each in self.destination.scan(copies) if each.uid in copies}
        found = _Found({}, [uid for uid in copies if uid not in sizes], defaultdict(list))
        for uid, size in sizes.items():
            if copies[uid][2] == "size":
                if size is not None and size == copies[uid][4]:
                    found.ours[uid] = uid
                else:
                    found.kept["has another size than the copy had: look at it there"].append(uid)
        for uid, outcome in self._read([uid for uid in sizes if copies[uid][2] != "size"]):
            if outcome is None:
                found.gone.append(uid)
            elif isinstance(outcome, str):
                found.kept[f"the server does not return it: {printable(outcome)}"].append(uid)
            elif self._is_it(copies[uid], outcome):
                found.ours[uid] = uid
            else:
                found.kept["has other octets than the message that was forgotten: look at it there"].append(uid)
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
        rows = [each for each in self.destination.scan(None) if each.size in likely] if wanted else []
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


def _words(folder: CopiesOf, uids: Iterable[int]) -> str:
    some = sorted(uids)
    (listed, *more) = format_uid_set(some, _LINE)
    dots = ",..." if more else ""
    return f"{counted(len(some), *_COPIES)} in {folder.name}, {'UID' if len(some) == 1 else 'UIDs'} {listed}{dots}"
