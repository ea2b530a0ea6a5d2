"""Forgetting messages, wired: the store, the journal, the catalog and what is derived from it, the reports, and the
destination.

What was forgotten is listed in `forgotten/` of the archive, with nothing that the messages say. The journal has the
digest of each list, so its chain vouches for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from archiver.account.archive import Archive
from archiver.account.servers import destination_of
from archiver.catalog.keeping import HeldCopy, HeldPlace
from archiver.control.run import RunControl
from archiver.errors import ArchiverError
from archiver.facts.keeping import HoldFact
from archiver.facts.query import Found
from archiver.facts.replica import ReplicaFolder
from archiver.journal.rebuild import write_lists
from archiver.journal.recorder import Recorder
from archiver.mail.folder_names import printable
from archiver.mail.model import Digest
from archiver.replay.forgotten import expunge_forgotten
from archiver.report.forgetting import forget_in_reports
from archiver.storage.files import Writing, make_directory, replace_file
from archiver.upkeep.forget import Copy, ForgetStep, Kept, Order
from archiver.upkeep.holds import held

LISTS = "forgotten"
LIST_FORMAT = "archiver-forgotten/1"
_AT_ONCE = 1000


class Doom(Struct, frozen=True):
    """What may become of messages: those to be forgotten, with all places of each; those that are `held`, with the
    hold; and those that stay because other folders have them, which were not meant, with one such place. `copies`
    are those of the first ones."""

    messages: Mapping[Digest, Sequence[HeldPlace]]
    held: Mapping[Digest, HoldFact]
    elsewhere: Mapping[Digest, HeldPlace]
    copies: Sequence[HeldCopy] = ()

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
        digest: other
        for digest, its in places.items()
        if meant is not None and (other := next((each for each in its if not meant(each)), None)) is not None
    }
    of = {place.key: digest for digest, its in places.items() if digest not in elsewhere for place in its}
    kept = {of[key]: hold for key, hold in held(keeping, of).items()}
    messages = {digest: its for digest, its in places.items() if digest not in elsewhere and digest not in kept}
    keys = [place.key for its in messages.values() for place in its]
    return Doom(messages, kept, elsewhere, keeping.copies(keys))


def forget(
    archive: Archive, recorder: Recorder, doomed: Doom, reason: str, by: str, control: RunControl, *, there: bool
) -> tuple[int, Sequence[Kept]]:
    """Forget messages; returns the number, and what could not be removed. `there`: also at the destination.

    Raises:
        ArchiverError: it was cut off, `finish` goes on; or nothing was changed.
    """
    number = archive.destination_number
    copies = [(each.target, each.uid) for each in doomed.copies if there and each.destination == number]
    step = _step(archive, recorder, control, there=there)
    forgot = step.forget(Order(doomed.places, copies, reason, by))
    return forgot, step.finish(forgot)


def finish(
    archive: Archive, recorder: Recorder, control: RunControl, *, there: bool, again: bool = False
) -> Mapping[int, Sequence[Kept]]:
    """End what was cut off; `again`: also try what something kept. Returns what could not be removed, by the number
    under which it was forgotten. `there`: the destination may be contacted."""
    due = [
        each.number for each in archive.catalog.keeping.forgets() if each.erased_at is None or (again and each.kept)
    ]
    step = _step(archive, recorder, control, there=there)
    return {number: step.finish(number) for number in due}


def _step(archive: Archive, recorder: Recorder, control: RunControl, *, there: bool) -> ForgetStep:
    guarded = archive.guarded(control)

    def clean(number: int) -> None:
        _clean(archive, number)

    def list_of(number: int, kept: Sequence[Kept]) -> Digest:
        return _write_list(archive, number, kept)

    def remove_copies(copies: Sequence[Copy]) -> Sequence[Kept]:
        return _remove_copies(archive, copies, guarded)

    return ForgetStep(
        journal=archive.journal,
        catalog=archive.catalog,
        recorder=recorder,
        eraser=archive.storage.eraser(archive.catalog.messages),
        control=guarded,
        clean=clean,
        remove_copies=remove_copies if there else None,
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


def _remove_copies(archive: Archive, copies: Sequence[Copy], control: RunControl) -> Sequence[Kept]:
    number = archive.destination_number
    if archive.settings.destination is None or number is None:
        return [("the copies", "the account file has no destination any more, or another one")]
    known = {each.number: each for each in archive.catalog.replicas.folders.current(number).values()}
    wanted: dict[ReplicaFolder, list[int]] = {}
    kept: list[Kept] = []
    for target, uid in copies:
        if target in known:
            wanted.setdefault(known[target], []).append(uid)
    host = archive.settings.destination.host
    try:
        with closing(destination_of(archive.settings).connect(archive.spool, control, patient=True)) as connection:
            kept += expunge_forgotten(connection, wanted)
    except ArchiverError as error:
        kept.append(("the copies", printable(error.message)))
    return [(f"{host}: {where}", why) for where, why in kept]


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
        arrived = datetime.fromtimestamp(place.arrived, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        where = {"folder": printable(each.folder), "uidvalidity": place.uidvalidity, "uid": place.uid}
        entry["places"].append(where | {"arrived": arrived, "at_source": each.shown})
    return {
        "format": LIST_FORMAT,
        "account": archive.settings.account,
        "archive_id": identity.archive_id if identity else None,
        "number": number,
        "at": its.at,
        "by": its.by,
        "reason": its.reason,
        "messages": list(messages.values()),
        "kept": [{"what": printable(what), "why": printable(why)} for what, why in kept],
    }


def digests_of(found: Sequence[Sequence[Found]]) -> set[Digest]:
    """The digests of messages that a command line named."""
    return {places[0].placement.digest for places in found}
