"""Forgetting messages, wired: the store, the journal, the catalog and what is derived from it, the reports, and the
destination.

What was forgotten is listed in `forgotten/` of the archive, with nothing that the messages say. The journal has the
digest of each list, so its chain vouches for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from archiver.account.archive import Archive
from archiver.account.upkeep.copies import CopyEraser, erase_left, place_of
from archiver.catalog.keeping import HeldCopy, HeldPlace, LeftCopy
from archiver.control.run import RunControl, moment
from archiver.facts.keeping import HoldFact
from archiver.facts.query import Found
from archiver.journal.rebuild import write_lists
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import decode_name, printable
from archiver.mail.model import Digest
from archiver.report.forgetting import forget_in_reports
from archiver.storage.files import Writing, make_directory, replace_file
from archiver.upkeep.copies_there import known_by
from archiver.upkeep.forget import ForgetStep, Kept, Order
from archiver.upkeep.holds import held

LISTS = "forgotten"
LIST_FORMAT = "archiver-forgotten/1"
_AT_ONCE = 1000


class HeldMessage(Struct, frozen=True):
    """A message that stays: its places, and the hold."""

    places: Sequence[HeldPlace]
    hold: HoldFact


class SharedMessage(Struct, frozen=True):
    """A message that stays: the places that were meant, and another one, which was not."""

    places: Sequence[HeldPlace]
    other: HeldPlace


class Doom(Struct, frozen=True):
    """What may become of messages: those to be forgotten, with all places of each; those that are `held`; and those
    that stay because other folders have them, which were not meant. `copies` are those of the first ones; of
    `unsure` it is not known, since they were being sent when something cut that off."""

    messages: Mapping[Digest, Sequence[HeldPlace]] = {}
    held: Mapping[Digest, HeldMessage] = {}
    elsewhere: Mapping[Digest, SharedMessage] = {}
    copies: Sequence[HeldCopy] = ()
    unsure: int = 0

    @property
    def places(self) -> Sequence[HeldPlace]:
        """All places of the messages to be forgotten."""
        return [place for places in self.messages.values() for place in places]


def doom(archive: Archive, digests: Collection[Digest], meant: Callable[[HeldPlace], bool] | None = None) -> Doom:
    """What becomes of the messages with these digests if they are forgotten. `meant`: which of their places the
    user meant; a message that has another place stays. None: all of them."""
    keeping = archive.catalog.keeping
    places: dict[Digest, list[HeldPlace]] = {}
    every = sorted(set(digests))
    for start in range(0, len(every), _AT_ONCE):
        for place in keeping.places(every[start : start + _AT_ONCE]):
            places.setdefault(place.placement.digest, []).append(place)
    elsewhere = {
        digest: SharedMessage([each for each in its if meant(each)] or [other], other)
        for digest, its in places.items()
        if meant is not None and (other := next((each for each in its if not meant(each)), None)) is not None
    }
    of = {place.key: digest for digest, its in places.items() if digest not in elsewhere for place in its}
    kept = {of[key]: HeldMessage(places[of[key]], hold) for key, hold in held(keeping, of).items()}
    messages = {digest: its for digest, its in places.items() if digest not in elsewhere and digest not in kept}
    keys = [place.key for its in messages.values() for place in its]
    there = archive.numbers_there
    copies = [each for each in keeping.copies(keys) if not each.restored or each.destination in there]
    return Doom(messages, kept, elsewhere, copies, keeping.being_sent(keys))


def forget(
    archive: Archive, recorder: Recorder, doomed: Doom, reason: str, by: str, control: RunControl, *, there: bool
) -> tuple[int, Sequence[Kept]]:
    """Forget messages; returns the number, and what could not be removed. `there`: also at the destination.

    Raises:
        ArchiverError: it was cut off, `finish` goes on; or nothing was changed.
    """
    numbers = archive.numbers_there if there else ()
    copies = [(each.target, each.uid) for each in doomed.copies if each.destination in numbers]
    places = {each.key: each.placement for each in doomed.places}
    known = list(known_by(doomed.copies, places, archive.store))
    step = _step(archive, recorder, archive.guarded(control), there=there)
    forgot = step.forget(Order(doomed.places, copies, reason, by, known))
    return forgot, step.finish(forgot)


class Finished(Struct, frozen=True):
    """What became of what was left to be removed, by the number under which it was forgotten: what stays, each with
    the reason. `removed` copies were removed at the destination."""

    kept: Mapping[int, Sequence[Kept]]
    removed: int = 0

    @property
    def lines(self) -> Sequence[Kept]:
        """All that stays, each once."""
        return list(dict.fromkeys(line for each in self.kept.values() for line in each))


def finish(archive: Archive, recorder: Recorder, control: RunControl) -> Mapping[int, Sequence[Kept]]:
    """End what was cut off, without the destination. Returns what could not be removed, by the number under which
    it was forgotten."""
    due = [each.number for each in archive.catalog.keeping.forgets() if each.erased_at is None]
    step = _step(archive, recorder, archive.guarded(control), there=False)
    return {number: step.finish(number) for number in due}


def finish_again(
    archive: Archive, recorder: Recorder, control: RunControl, *, copies: bool, numbers: Collection[int] = ()
) -> Finished:
    """Try again to remove what was kept, at the destination, too; `copies`: also those that nobody asked for when
    their messages were forgotten. `numbers`: of these alone."""
    guarded = archive.guarded(control)
    eraser = CopyEraser(archive, recorder, guarded)
    step = _step(archive, recorder, guarded, there=True, eraser=eraser)
    due = {
        each.number
        for each in archive.catalog.keeping.forgets()
        if (each.erased_at is None or each.kept) and (not numbers or each.number in numbers)
    }
    kept: dict[int, Sequence[Kept]] = {}
    if copies:
        some, left = erase_left(eraser, numbers)
        for number in sorted({*some} - due):
            step.list_again(number)
            kept[number] = left
    return Finished(kept | {number: step.finish(number) for number in sorted(due)}, eraser.removed)


def _step(
    archive: Archive,
    recorder: Recorder,
    guarded: RunControl,
    *,
    there: bool,
    eraser: CopyEraser | None = None,
) -> ForgetStep:
    copies = eraser or CopyEraser(archive, recorder, guarded)

    def clean(number: int) -> None:
        _clean(archive, number)

    def list_of(number: int, kept: Sequence[Kept]) -> Digest:
        return _write_list(archive, number, kept)

    return ForgetStep(
        journal=archive.journal,
        catalog=archive.catalog,
        recorder=recorder,
        eraser=archive.storage.eraser(archive.catalog.messages),
        control=guarded,
        clean=clean,
        remove_copies=copies.erase if there else None,
        list_of=list_of,
    )


def _clean(archive: Archive, number: int) -> None:
    """Erase what is local besides the store, the journal and the catalog."""
    places = archive.catalog.keeping.forgotten_places(number)
    forget_in_reports(archive.reports, {(printable(each.folder), each.key[1]) for each in places})
    archive.place.discard_replaced()
    for leftover in (archive.settings.archive.path / "journal").glob(".*.tmp"):  # of a write that was killed
        with Writing(str(leftover)):
            leftover.unlink(missing_ok=True)
    if (metadata := archive.storage.metadata) is not None:
        write_lists(metadata, archive.catalog, {each.placement.directory for each in places})


def _write_list(archive: Archive, number: int, kept: Sequence[Kept]) -> Digest:
    octets = (json.dumps(list_of(archive, number, kept), indent=1, ensure_ascii=True) + "\n").encode("ascii")
    directory = archive.settings.archive.path / LISTS
    with Writing(str(directory)):
        make_directory(str(directory))
        replace_file(str(directory / f"{number}.json"), str(directory / ".list"), octets, sync=True)
    return Digest(hashlib.sha256(octets).hexdigest())


def list_of(archive: Archive, number: int, kept: Sequence[Kept]) -> dict[str, Any]:
    """What was forgotten under a number, for the list: nothing of what the messages said."""
    keeping, identity = archive.catalog.keeping, archive.catalog.account.identity()
    its = next(each for each in keeping.forgets() if each.number == number)
    messages: dict[Digest, dict[str, Any]] = {}
    for each in keeping.forgotten_places(number):
        place = each.placement
        entry = messages.setdefault(place.digest, {"digest": place.digest, "size": place.size, "places": []})
        where = {"folder": printable(each.folder), "uidvalidity": place.uidvalidity, "uid": place.uid}
        entry["places"].append(where | {"arrived": moment(place.arrived), "at_source": each.shown})
    return {
        "format": LIST_FORMAT,
        "account": archive.settings.account,
        "archive_id": identity.archive_id if identity else None,
        "number": number,
        "at": its.at,
        "by": its.by,
        "reason": its.reason,
        "messages": list(messages.values()),
        "copies": [_copy(archive, each) for each in keeping.left_copies() if each.forget == number],
        "kept": [{"what": printable(what), "why": printable(why)} for what, why in kept],
    }


def _copy(archive: Archive, each: LeftCopy) -> dict[str, Any]:
    where = {"destination": place_of(archive, each.destination), "folder": printable(decode_name(each.raw))}
    return where | {"uidvalidity": each.uidvalidity, "uid": each.copy[1]}


def digests_of(found: Sequence[Sequence[Found]]) -> set[Digest]:
    """The digests of messages that a command line named."""
    return {places[0].placement.digest for places in found}
