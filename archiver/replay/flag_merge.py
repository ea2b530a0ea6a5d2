"""Three-way merge of flags and labels that changed in the archive since they were replayed, so that changes by the
destination's user are not undone. Pure decisions.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from archiver.facts.mailbox import SelectedFolder
from archiver.facts.replica import Replica
from archiver.mail.flags import respelled, sendable
from archiver.mail.model import Flags, Labels

NO_FLAGS: Flags = frozenset()
DELETED: Flags = frozenset({"\\Deleted"})

#: Labels that move a message to another folder. In which folder it is, the folder says.
_PLACES = frozenset({"\\spam", "\\junk", "\\trash"})


class FlagChange(Struct, frozen=True):
    """The flags, or the labels, to add to a copy and to remove from it; `lost` are those that it does not keep."""

    added: Flags
    removed: Flags
    lost: Flags

    @property
    def needed(self) -> bool:
        return bool(self.added or self.removed)


def change_of(replica: Replica, now: Flags, opened: SelectedFolder) -> FlagChange:
    """The change that brings the archive's flags to a copy. `now` is what the destination shows.

    A flag that was added in the archive is added, unless the destination's user removed it since we last wrote
    there. A flag that was removed in the archive is removed, unless the destination's user set it. Our \\Deleted
    mark on a message that is back at the source is removed. Flags that cannot be written in a command are left as
    they are.
    """
    appeared = replica.message.flags - replica.source_flags
    disappeared = replica.source_flags - replica.message.flags
    taken_away = replica.flags - now
    set_there = now - replica.flags
    keepable = opened.kept(sendable(replica.message.flags))
    added = (appeared & keepable) - now - taken_away
    removed = sendable(disappeared & now) - set_there
    if replica.marked:
        removed |= (DELETED & now) - replica.message.flags
    return FlagChange(added, removed, replica.message.flags - keepable)


def all_respelled(shown: Mapping[int, Flags], spelling: Mapping[int, Flags]) -> dict[int, Flags]:
    """Flags or labels by UID, spelled as in `spelling` where they differ only in case."""
    return {uid: respelled(flags, spelling[uid]) for uid, flags in shown.items()}


def labels_to_replay(labels: Labels | None) -> Labels:
    """Those of a message's labels that a copy should have."""
    return frozenset(each for each in labels or () if each.lower() not in _PLACES)


def label_change_of(replica: Replica, now: Labels) -> FlagChange:
    """The same for Gmail's labels. `now` is what the destination shows, spelled like the archive's."""
    wanted = labels_to_replay(replica.message.labels)
    replayed, shown_then = replica.source_labels or frozenset(), replica.labels or frozenset()
    appeared, disappeared = wanted - replayed, replayed - wanted
    before = respelled(shown_then, wanted | replayed)
    return FlagChange(appeared - now - (before - now), (disappeared & now) - (now - before), frozenset())


def grouped(changes: Mapping[int, FlagChange]) -> dict[tuple[Flags, Flags], set[int]]:
    """UIDs by (added, removed), so that few commands are needed."""
    groups: dict[tuple[Flags, Flags], set[int]] = {}
    for uid, change in changes.items():
        if change.needed:
            groups.setdefault((change.added, change.removed), set()).add(uid)
    return groups


def exceeds_deletion_limit(withdrawn: int, held: int) -> bool:
    """Whether that many deletions out of `held` copies need a confirmation: more than 50, or more than 10 %."""
    return withdrawn > 50 or withdrawn > held / 10
