"""How much there is to fetch, from what the server says of a folder, and in which slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.mail.model import FolderStatus, KnownState, Listed
from archiver.mail.uidset import UidSet

_SLICE_OCTETS = 32 << 20
_SLICE_UIDS = (100, 2000)

#: A folder with more new messages is not identified when it is opened, but slice by slice.
_FEW = 1000

#: So few messages, with so few octets, are sent along when a folder is opened.
_FEW_TO_FETCH = 20
_FEW_OCTETS = 1 << 20


def few_arrived(status: FolderStatus | None, since: KnownState | None) -> bool:
    """Whether the attributes of all new messages of a folder fit into one answer."""
    if status is None:
        return False
    new = status.messages
    if since is not None and since.uidnext is not None and status.uidnext is not None:
        new = min(new, status.uidnext - since.uidnext)
    return 0 < new <= _FEW


def few_to_fetch(status: FolderStatus | None, epoch: KnownEpoch | None) -> Literal["none", "few"] | None:
    """How many messages a pass will fetch, by what the server says of a folder without opening it: of one that is
    new, all; otherwise what came since the last complete pass. None: many, or that is not known."""
    if status is None or not status.uidvalidity:
        return None
    new, octets = status.messages, status.size
    if epoch is not None:
        before = epoch.state
        if epoch.other_source or epoch.uidvalidity != status.uidvalidity or before is None:
            return None
        if before.uidnext is None or status.uidnext is None:
            return None
        new = status.uidnext - before.uidnext
        octets = None if before.size is None or octets is None else octets - before.size
    if new == 0:
        return "none"
    return "few" if 0 < new <= _FEW_TO_FETCH and (octets or 0) <= _FEW_OCTETS else None


def slices(uids: UidSet, status: FolderStatus | None) -> list[UidSet]:
    """Split a folder's wanted UIDs into slices of about 32 MiB, by the mean size if the server reports it."""
    mean = status.size / status.messages if status and status.size and status.messages else 16 << 10
    least, most = _SLICE_UIDS
    length = int(max(least, min(most, _SLICE_OCTETS / max(mean, 1))))
    return list(uids.pieces(length))


def estimated_octets(messages: int, status: FolderStatus | None) -> int:
    """An estimate of the octets of that many of the folder's messages; 0 if the server does not report its size."""
    if status is None or not status.size or not status.messages:
        return 0
    return int(status.size / status.messages * messages)


def expected_fetch(
    listed: Listed, known: Mapping[bytes, KnownFolder], epochs: Mapping[int, KnownEpoch], held: Mapping[str, int]
) -> tuple[int, int]:
    """An estimate of the messages and octets that a visit of the folder will fetch, before it is opened. `held` is
    how many present messages the archive has, by folder name; used if the last pass was not complete."""
    status = listed.status
    folder = known.get(listed.folder.raw)
    epoch = epochs.get(folder.number) if folder else None
    if status is None:
        return 0, 0
    messages = status.messages
    if epoch is not None and not epoch.other_source and epoch.uidvalidity == status.uidvalidity:
        before = epoch.state.uidnext if epoch.state else None
        new = messages - held.get(listed.folder.name, 0) if epoch.state is None else messages
        if before is not None and status.uidnext is not None:
            new = min(messages, status.uidnext - before)
        messages = max(0, new)
    return messages, estimated_octets(messages, status)


def expected_rows(listed: Listed, known: Mapping[bytes, KnownFolder], epochs: Mapping[int, KnownEpoch]) -> int:
    """An estimate of the messages of which a visit reads something: those that it will fetch, or all if the server
    does not count changes of flags."""
    folder = known.get(listed.folder.raw)
    epoch = epochs.get(folder.number) if folder else None
    if epoch is not None and listed.status is not None and listed.status.highestmodseq is None:
        return listed.status.messages
    return expected_fetch(listed, known, epochs, {})[0]
