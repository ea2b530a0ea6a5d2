"""Three-way merge of flags that changed in the archive since they were replayed, so that changes by the
destination's user are not undone. Pure decisions.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from archiver.facts.replica import Replica, SelectedFolder
from archiver.mail.flags import sendable
from archiver.mail.model import Flags

NO_FLAGS: Flags = frozenset()
DELETED: Flags = frozenset({"\\Deleted"})


class FlagChange(Struct, frozen=True):
    """The flags to add to a copy and to remove from it; `lost` are those that the folder does not keep."""

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
