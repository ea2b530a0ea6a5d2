"""What a run has to do: pure decisions from the server's listing and the catalog.

Nothing here contacts a server, so a dry run prints the same plan that a real run follows.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

from msgspec import Struct

from archiver.facts.known import RETRY_RUNS, KnownEpoch, KnownFolder, Quarantined
from archiver.imap.limits import limits_reading
from archiver.mail.content import header_block, header_digest, internaldate_seconds
from archiver.mail.folder_names import matches
from archiver.mail.model import INBOX, Attributes, Digest, Folder, FolderStatus, KnownState, Listed, Placement
from archiver.mail.uidset import UidSet
from archiver.mail.window import is_window

#: How many of the newest known messages are checked to notice a server that went back to an earlier state.
PROBED = 20

_SLICE_OCTETS = 32 << 20
_SLICE_UIDS = (100, 2000)


class Plan(Struct, frozen=True):
    """What a run would do; printed by a dry run. `visit` and `skip` have folders with the reason."""

    visit: Sequence[tuple[Listed, str]] = ()
    unchanged: Sequence[Listed] = ()
    skip: Sequence[tuple[Folder, str]] = ()


def is_due(quarantined: Quarantined) -> bool:
    """Whether a normal run tries the message again. Tries that ended at a limit do not count against it."""
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
    by_age: bool = False,
) -> Plan:
    """Sort the listed folders into those to visit, those unchanged, and those left out, each with its reason.

    `include`, `exclude` and `whole` are globs over decoded paths with "/" between levels; `exclude` wins. Folders
    that match `whole` count as complete, whatever number of messages they show. `waiting` are the epochs with
    quarantined messages that are due for another try. `by_age`: `search` is about dates alone.
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
        reason = visit_reason(each.status, epoch, search=search, waiting=waiting, by_age=by_age)
        if reason is None and epoch is not None:
            reason = _window_reason(each, epoch, matches(each.folder.path, whole))
        if reason:
            visit.append((each, reason))
        else:
            unchanged.append(each)
    return Plan(visit, unchanged, skip)


def chooses(folder: Folder, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a folder is one of those that the rules select."""
    return _left_out(folder, include, exclude) is None


def _left_out(folder: Folder, include: Sequence[str], exclude: Sequence[str]) -> str | None:
    if not folder.selectable:
        return "it holds no messages itself (\\Noselect)"
    if not matches(folder.path, include):
        return "not in [folders] include"
    if matches(folder.path, exclude):
        return "in [folders] exclude"
    return None


def visit_reason(
    status: FolderStatus | None,
    epoch: KnownEpoch | None,
    *,
    search: str | None,
    waiting: Collection[int],
    by_age: bool = False,
) -> str | None:
    """Why a folder has to be opened; None if nothing changed since its last complete pass. `by_age`: what `search`
    finds follows from the folder and the dates in it."""
    if epoch is None:
        return "new"
    if epoch.other_source:
        return "the source is another server now"
    if status is None:
        return "the server does not report its status"
    if not status.uidvalidity:
        return "the server gives no UIDVALIDITY"
    if status.uidvalidity != epoch.uidvalidity:
        return "UIDVALIDITY changed"
    state = epoch.state
    if state is None:
        return "its last pass was not complete"
    if epoch.failed:
        return "its last pass failed"
    if search != state.filter or (search is not None and not by_age):
        return "the search filter may match other messages now" if search == state.filter else "the filter changed"
    if epoch.number in waiting:
        return "quarantined messages are due for another try"
    if epoch.unlabelled:
        return "the labels of some messages are not recorded yet"
    if status.highestmodseq is None or state.highestmodseq is None:
        return "flags may have changed (no HIGHESTMODSEQ)"
    here = (status.uidnext, status.messages, status.highestmodseq)
    if here != (state.uidnext, state.messages, state.highestmodseq):
        return "changed"
    # NOTE: a server that was restored from a snapshot and got as many new messages since can show the same three.
    if status.size is not None and status.size != state.size:
        return "its size changed or was unknown"
    return None


def _window_reason(listed: Listed, epoch: KnownEpoch, is_whole: bool) -> str | None:
    """Why a folder that did not change has to be opened: to decide again whether it shows all of its messages."""
    if epoch.hidden is not None and is_whole:
        return "[folders] whole lists it as complete"
    if epoch.hidden is None and not is_whole and listed.status and is_window([listed.status.messages]):
        return f"it shows exactly {listed.status.messages:,} messages, probably only a part of it"
    return None


def live_epochs(
    listed: Sequence[Listed], known: Mapping[bytes, KnownFolder], epochs: Mapping[int, KnownEpoch]
) -> frozenset[tuple[str, int]]:
    """The known epochs whose mail the server still shows under its UIDs, as (directory, uidvalidity). Mail of all
    other epochs may turn up elsewhere: its folder was renamed, deleted or recreated."""
    shown = set()
    for each in listed:
        folder = known.get(each.folder.raw)
        epoch = epochs.get(folder.number) if folder else None
        if folder is None or not each.folder.selectable or (epoch and epoch.other_source):
            continue
        if each.status is not None and (
            each.status.uidvalidity or epoch is None
        ):  # also of a folder whose first epoch begins in this run
            shown.add((folder.directory, each.status.uidvalidity))
        elif epoch is not None:
            shown.add((folder.directory, epoch.uidvalidity))
    return frozenset(shown)


def gone_folders(
    known: Iterable[KnownFolder], *, include: Sequence[str], exclude: Sequence[str]
) -> list[KnownFolder]:
    """The folders that the source had and no longer has, of those that the rules select.

    None if the listing is not credible because it lacks INBOX. A folder that is only named differently is not gone,
    as after a move to a server with another namespace: one with another delimiter, or one that is listed under
    other octets with the same text.
    """
    known = list(known)
    here = [each for each in known if each.holds_mail and not each.folder.is_imported]
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


#: A folder with more new messages is not identified when it is opened, but slice by slice.
_FEW = 1000


def few_arrived(status: FolderStatus | None, since: KnownState | None) -> bool:
    """Whether the attributes of all new messages of a folder fit into one answer."""
    if status is None:
        return False
    new = status.messages
    if since is not None and since.uidnext is not None and status.uidnext is not None:
        new = min(new, status.uidnext - since.uidnext)
    return 0 < new <= _FEW


#: So few messages, with so few octets, are sent along when a folder is opened.
_FEW_TO_FETCH = 20
_FEW_OCTETS = 1 << 20


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


Doubt = Literal["same", "doubtful", "other"]
EpochVerdict = Literal["same", "first", "uidvalidity", "rewound", "source", "renumbered"]


def judge_epoch(epoch: KnownEpoch | None, status: FolderStatus) -> EpochVerdict:
    """Whether UIDs still name the same messages. A UIDNEXT or HIGHESTMODSEQ below the recorded one shows that the
    server was restored from a backup: it will assign known UIDs to other mail. Without UIDVALIDITY these numbers
    prove nothing, so "same" is only an assumption: the messages have to be compared."""
    if epoch is None:
        return "first"
    if epoch.other_source:
        return "source"
    if not status.uidvalidity:
        return "same"
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


def compare_known(recorded: Attributes, seen: Attributes) -> Doubt:
    """Whether a known UID still has the same message: another size or another INTERNALDATE is a doubt, both
    together mean another message. Dates are compared as instants, since a server may change the time zone."""
    sized = recorded.size is None or seen.size is None or recorded.size == seen.size
    dated = recorded.internaldate is None or seen.internaldate is None
    dated = dated or internaldate_seconds(recorded.internaldate) == internaldate_seconds(seen.internaldate)
    return _doubt(sized, dated)


def compare_unrecorded(left: Placement, seen: Attributes) -> Doubt:
    """The same for a message that a crashed run left unrecorded, of which only the file name is known. NOTE: a
    server's sizes may be wrong (RFC822.SIZE is a hint)."""
    sized = seen.size in (None, left.size, left.crlf_size)
    return _doubt(sized, internaldate_seconds(seen.internaldate) in (None, left.arrived))


def _doubt(sized: bool, dated: bool) -> Doubt:
    if sized and dated:
        return "same"
    return "doubtful" if sized or dated else "other"


class HeaderKey(Struct, frozen=True):
    """What must be equal, present and unique on both sides to match a message without its body."""

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


Identity = tuple[str, int, int]
"""A message's EMAILID, RFC822.SIZE and INTERNALDATE in seconds since 1970."""


def full_identity(attributes: Attributes) -> Identity | None:
    """The server's own identity of a message (RFC 8474 or Gmail's), with size and date; None if the server left
    anything out."""
    instant = internaldate_seconds(attributes.internaldate)
    if attributes.emailid is None or attributes.size is None or instant is None or attributes.flags is None:
        return None
    return attributes.emailid, attributes.size, instant


def is_header_of(twin: Placement, header: bytes) -> bool:
    """Whether this is the header of a message of the archive. An empty one proves nothing."""
    return header_block(header).strip() != b"" and header_digest(header) == twin.message.header_digest


def twins_by_identity(candidates: Iterable[Placement]) -> dict[Identity, Placement]:
    """One message of the archive for each identity, present ones preferred, whose octets are as many as the server
    says."""
    chosen: dict[Identity, Placement] = {}
    for each in candidates:
        identity = full_identity(each.message.attributes)
        if identity is None or identity[1] not in (each.size, each.crlf_size):
            continue
        if identity not in chosen or (each.present and not chosen[identity].present):
            chosen[identity] = each
    return chosen


K = TypeVar("K", bound=Hashable)


def unique_twins(candidates: Iterable[tuple[K, Placement]], usable: Iterable[bool]) -> dict[K, Placement]:
    """One usable candidate for each key that belongs to a single digest in the whole account."""
    digests: dict[K, set[Digest]] = {}
    chosen: dict[K, Placement] = {}
    for (key, twin), is_usable in zip(candidates, usable, strict=True):
        digests.setdefault(key, set()).add(twin.digest)
        if is_usable:
            chosen.setdefault(key, twin)
    return {key: twin for key, twin in chosen.items() if len(digests[key]) == 1}


def groups_of(counts: Mapping[K, int], most: int) -> Iterator[set[K]]:
    """The keys in groups whose counts add up to at most `most`; a key with a greater count is a group by itself."""
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
