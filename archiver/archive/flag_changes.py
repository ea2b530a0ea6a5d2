"""Which flags and labels changed since the last pass, in folders of any size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from msgspec.structs import replace

from archiver.catalog.port import CatalogMessages
from archiver.catalog.pruning import BegunPrune
from archiver.journal.recorder import BATCH_MESSAGES
from archiver.mail.model import Flags, Marks
from archiver.mail.uidset import UidSet

_DELETED: Flags = frozenset({"\\Deleted"})


def without_our_marks(
    seen: Iterable[Sequence[Marks]], begun: Mapping[int, BegunPrune]
) -> Iterable[Sequence[Marks]]:
    """The marks seen, without a \\Deleted that a prune has set and could not take away again: `begun` are messages
    that it was about to remove. It is no wish of the user's, who may find it replayed otherwise."""
    ours = {uid for uid, each in begun.items() if not each.marked}
    if not ours:
        return seen
    return (
        [replace(each, flags=each.flags - _DELETED) if each.uid in ours else each for each in some] for some in seen
    )


def changed_marks(
    messages: CatalogMessages, epoch: int, seen: Iterable[Sequence[Marks]], held: UidSet
) -> dict[int, Marks]:
    """Those of the marks seen that differ from the recorded ones, by UID, of messages that are `held`. A message
    may be seen twice; the later marks count."""
    changed: dict[int, Marks] = {}
    waiting: dict[int, Marks] = {}
    for some in chain(seen, [()]):
        waiting.update((each.uid, each) for each in some)
        if some and len(waiting) < BATCH_MESSAGES:
            continue
        differing = _differing(messages, epoch, waiting)
        for uid in changed.keys() & waiting.keys() - differing:
            del changed[uid]
        changed.update((uid, waiting[uid]) for uid in differing if uid in held)
        waiting.clear()
    return changed


def _is_as_recorded(marks: Marks, before: Marks) -> bool:
    """Whether nothing changed of what the server says."""
    return (
        marks.flags == before.flags
        and marks.labels in (None, before.labels)
        and (marks.labels is None or marks.thrid in (None, before.thrid))
    )


def _differing(messages: CatalogMessages, epoch: int, seen: Mapping[int, Marks]) -> set[int]:
    """The UIDs of those that are recorded otherwise. Without labels, which is the rule, only flags are read: a
    folder may have a million messages in which nothing changed."""
    uids = UidSet(seen)
    if {each.labels for each in seen.values()} <= {None}:
        flags = messages.known(epoch, uids)
        return {uid for uid, each in seen.items() if each.flags != flags.get(uid, each.flags)}
    known = (each.message for each in messages.placements(epoch, uids=uids) if each.present)
    before = {each.uid: Marks(each.uid, each.flags, each.labels, each.thrid) for each in known}
    return {uid for uid in before if not _is_as_recorded(seen[uid], before[uid])}
