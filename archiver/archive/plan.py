"""What a run has to do: pure decisions over what the server has and what the catalog knows.

Nothing here looks at a server, so a dry run prints the same plan that a real run follows.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from archiver.imap.limits import limits_reading
from archiver.mail.content import internaldate_seconds
from archiver.mail.folder_names import matches
from archiver.mail.model import (
    INBOX,
    RETRY_RUNS,
    Attributes,
    Digest,
    Folder,
    FolderStatus,
    KnownEpoch,
    KnownFolder,
    Listed,
    Placement,
    Plan,
    Quarantined,
)
from archiver.mail.window import is_window

#: How many of the newest known messages are looked at to notice a server that went back in time.
PROBED = 20

_SLICE_OCTETS = 32 << 20
_SLICE_UIDS = (100, 2000)


def is_due(quarantined: Quarantined) -> bool:
    """Whether a plain run tries the message again. A limit was never its fault, so then the tries do not count."""
    if quarantined.accepted:
        return False
    reply = (quarantined.server_reply or "").encode()
    return quarantined.tries <= RETRY_RUNS or (b"[UNAVAILABLE]" not in reply and limits_reading(reply))


def plan_run(
    listed: Sequence[Listed],
    known: Mapping[bytes, KnownFolder],
    epochs: Mapping[int, KnownEpoch],
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    whole: Sequence[str] = (),
    search: str | None,
    waiting: Collection[int],
) -> Plan:
    """Deal the listed folders into those to visit, those unchanged, and those left out, each with its reason.

    `include` and `exclude` are globs over decoded paths with "/" between levels; what is excluded wins. `whole` are
    those of folders that a person calls whole, whatever number of messages they show.
    `waiting` are the epochs with quarantined messages due for another try.
    """
    visit: list[tuple[Listed, str]] = []
    unchanged: list[Listed] = []
    skip: list[tuple[Folder, str]] = []
    for each in listed:
        left_out = _left_out(each.folder, include, exclude)
        if left_out:
            skip.append((each.folder, left_out))
            continue
        folder = known.get(each.folder.raw)
        epoch = epochs.get(folder.number) if folder else None
        reason = visit_reason(each.status, epoch, search=search, waiting=waiting)
        if reason is None and epoch is not None:
            reason = _window_reason(each, epoch, matches(each.folder.path, whole))
        if reason:
            visit.append((each, reason))
        else:
            unchanged.append(each)
    return Plan(visit, unchanged, skip)


def _left_out(folder: Folder, include: Sequence[str], exclude: Sequence[str]) -> str | None:
    if not folder.selectable:
        return "it holds no messages itself (\\Noselect)"
    if not matches(folder.path, include):
        return "not in [folders] include"
    if matches(folder.path, exclude):
        return "in [folders] exclude"
    return None


def visit_reason(
    status: FolderStatus | None, epoch: KnownEpoch | None, *, search: str | None, waiting: Collection[int]
) -> str | None:
    """Why a folder has to be opened; None when it stands where its last complete pass left it."""
    if epoch is None:
        return "new"
    if epoch.foreign:
        return "the source is another one now"
    if status is None:
        return "the server does not tell its status"
    if status.uidvalidity != epoch.uidvalidity:
        return "UIDVALIDITY changed"
    state = epoch.state
    if state is None:
        return "its last pass was not complete"
    if epoch.failed:
        return "its last pass failed"
    if search is not None or state.filter is not None:
        return "a search filter may find other messages now" if search == state.filter else "the filter changed"
    if epoch.number in waiting:
        return "quarantined messages are due for another try"
    if status.highestmodseq is None or state.highestmodseq is None:
        return "flags may have changed (no HIGHESTMODSEQ)"
    here = (status.uidnext, status.messages, status.highestmodseq)
    if here != (state.uidnext, state.messages, state.highestmodseq):
        return "changed"
    # NOTE: a server put back to a snapshot and given as many other messages since can show all three unchanged.
    if status.size is not None and status.size != state.size:
        return "its size changed, or was not known"
    return None


def _window_reason(listed: Listed, epoch: KnownEpoch, is_whole: bool) -> str | None:
    """Why a folder that did not change has to be opened: whether it shows all of its messages is judged again."""
    if epoch.hidden is not None and is_whole:
        return "[folders] whole says that it shows all of its messages"
    if epoch.hidden is None and not is_whole and listed.status and is_window([listed.status.messages]):
        return f"it shows exactly {listed.status.messages:,} messages: probably a part of it"
    return None


def shown_epochs(
    listed: Sequence[Listed], known: Mapping[bytes, KnownFolder], epochs: Mapping[int, KnownEpoch]
) -> frozenset[tuple[str, int]]:
    """The known epochs whose mail the server still shows under its UIDs, as (directory, uidvalidity). Mail of all
    others may be met again somewhere else: its folder was renamed, deleted or made anew."""
    shown = set()
    for each in listed:
        folder = known.get(each.folder.raw)
        epoch = epochs.get(folder.number) if folder else None
        if folder is None or not each.folder.selectable or (epoch and epoch.foreign):
            continue
        if each.status is not None:  # also of a folder whose first epoch begins in this run
            shown.add((folder.directory, each.status.uidvalidity))
        elif epoch is not None:
            shown.add((folder.directory, epoch.uidvalidity))
    return frozenset(shown)


def gone_folders(
    known: Iterable[KnownFolder], *, include: Sequence[str], exclude: Sequence[str]
) -> list[KnownFolder]:
    """The folders that the source had and no longer has, of those that the rules choose.

    A listing that cannot be believed tells of none: one without INBOX. Nor does one that names folders in another
    way, as after a move to a server with another namespace: what has another delimiter, or is listed under other
    octets with the same text, is the same folder.
    """
    known = list(known)
    here = [each for each in known if each.holds_mail]
    if not here or any(each.folder.raw == INBOX and not each.holds_mail for each in known):
        return []
    delimiters = {each.folder.delimiter for each in here if each.folder.raw != INBOX}
    paths = {each.folder.path for each in here}
    return [
        each
        for each in known
        if not each.holds_mail
        and (not delimiters or each.folder.delimiter in delimiters)
        and each.folder.path not in paths
        and matches(each.folder.path, include)
        and not matches(each.folder.path, exclude)
    ]


Doubt = Literal["same", "doubtful", "other"]
Verdict = Literal["same", "first", "uidvalidity", "rewound", "source"]


def judge_epoch(epoch: KnownEpoch | None, status: FolderStatus) -> Verdict:
    """Whether UIDs still mean what they meant. A UIDNEXT or HIGHESTMODSEQ below the recorded one is a server
    that was restored from a backup: it will give known UIDs to other mail."""
    if epoch is None:
        return "first"
    if epoch.foreign:
        return "source"
    if epoch.uidvalidity != status.uidvalidity:
        return "uidvalidity"
    state = epoch.state
    if state is not None:
        if status.uidnext is not None and state.uidnext is not None and status.uidnext < state.uidnext:
            return "rewound"
        if (
            status.highestmodseq is not None
            and state.highestmodseq is not None
            and status.highestmodseq < state.highestmodseq
        ):
            return "rewound"
    return "same"


def doubt_same(recorded: Attributes, seen: Attributes) -> Doubt:
    """Whether a known UID still shows the same message: another size or INTERNALDATE is a doubt, both together are
    another message. Dates are compared as instants: a server may tell the same one in another zone."""
    sized = recorded.size is None or seen.size is None or recorded.size == seen.size
    dated = recorded.internaldate is None or seen.internaldate is None
    dated = dated or internaldate_seconds(recorded.internaldate) == internaldate_seconds(seen.internaldate)
    return _doubt(sized, dated)


def doubt_left(left: Placement, seen: Attributes) -> Doubt:
    """The same of octets that a crashed run left, of which no more is known than the name says. NOTE: a server's
    sizes may always be wrong (RFC822.SIZE is a hint)."""
    sized = seen.size in (None, left.size, left.crlf_size)
    return _doubt(sized, internaldate_seconds(seen.internaldate) in (None, left.arrived))


def _doubt(sized: bool, dated: bool) -> Doubt:
    if sized and dated:
        return "same"
    return "doubtful" if sized or dated else "other"


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """What must be equal, present and unique on both sides to know a message again without its body."""

    message_id: str
    size: int
    instant: int
    header_digest: Digest


def header_key(attributes: Attributes, message_id: str | None, header_digest: Digest | None) -> HeaderKey | None:
    """The key of a message, None if a part of it is missing."""
    instant = internaldate_seconds(attributes.internaldate)
    if message_id is None or header_digest is None or attributes.size is None or instant is None:
        return None
    return HeaderKey(message_id, attributes.size, instant, header_digest)


def identity_key(attributes: Attributes) -> tuple[str, int | None, int | None] | None:
    """The server's own identity of a message (RFC 8474, Gmail's), None if it has none. Size and date belong to
    it, so that another server's identity cannot be mistaken for it."""
    if attributes.emailid is None:
        return None
    return (attributes.emailid, attributes.size, internaldate_seconds(attributes.internaldate))


K = TypeVar("K", bound=Hashable)


def unique_twins(candidates: Iterable[tuple[K, Placement]], usable: Iterable[bool]) -> dict[K, Placement]:
    """The candidates whose key names one digest only in the whole account, and of which one is usable."""
    digests: dict[K, set[Digest]] = {}
    chosen: dict[K, Placement] = {}
    for (key, twin), is_usable in zip(candidates, usable, strict=True):
        digests.setdefault(key, set()).add(twin.digest)
        if is_usable:
            chosen.setdefault(key, twin)
    return {key: twin for key, twin in chosen.items() if len(digests[key]) == 1}


def groups_of(counts: Mapping[K, int], most: int) -> Iterator[set[K]]:
    """The keys in groups whose counts together are at most `most`; a greater one is a group by itself."""
    group: set[K] = set()
    left = most
    for key, count in counts.items():
        if group and count > left:
            yield group
            group, left = set(), most
        group.add(key)
        left -= count
    if group:
        yield group


def slices(uids: Collection[int], status: FolderStatus | None) -> list[list[int]]:
    """Deal a folder's wanted UIDs into slices of about 32 MiB, by its mean size where the server tells."""
    mean = status.size / status.messages if status and status.size and status.messages else 16 << 10
    least, most = _SLICE_UIDS
    length = int(max(least, min(most, _SLICE_OCTETS / max(mean, 1))))
    ordered = sorted(uids)
    return [ordered[start : start + length] for start in range(0, len(ordered), length)]


def estimated_octets(messages: int, status: FolderStatus | None) -> int:
    """About how many octets so many of the folder's messages have; 0 where the server does not tell."""
    if status is None or not status.size or not status.messages:
        return 0
    return int(status.size / status.messages * messages)


def expected_fetch(
    listed: Listed, known: Mapping[bytes, KnownFolder], epochs: Mapping[int, KnownEpoch], held: Mapping[str, int]
) -> tuple[int, int]:
    """About how many messages and octets a visit of the folder will fetch, from what is known before it is opened.
    `held` is how many present messages the archive has, by the folder's name; asked where a pass was not complete.
    """
    status = listed.status
    folder = known.get(listed.folder.raw)
    epoch = epochs.get(folder.number) if folder else None
    if status is None:
        return 0, 0
    messages = status.messages
    if epoch is not None and not epoch.foreign and epoch.uidvalidity == status.uidvalidity:
        before = epoch.state.uidnext if epoch.state else None
        new = messages - held.get(listed.folder.name, 0) if epoch.state is None else messages
        if before is not None and status.uidnext is not None:
            new = min(messages, status.uidnext - before)
        messages = max(0, new)
    return messages, estimated_octets(messages, status)
