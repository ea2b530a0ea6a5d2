"""Flags that changed in the archive since they were replayed: three-way, so that what a destination's user did
meanwhile is not undone. Pure decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archiver.facts.replica import Copy, OpenedTarget
from archiver.mail.flags import sendable
from archiver.mail.model import Flags

NO_FLAGS: Flags = frozenset()
DELETED: Flags = frozenset({"\\Deleted"})


@dataclass(frozen=True, slots=True)
class FlagChange:
    """What is to be added to and removed from a copy's flags; `lost` are those the folder does not keep."""

    added: Flags
    removed: Flags
    lost: Flags

    @property
    def needed(self) -> bool:
        return bool(self.added or self.removed)


def change_of(copy: Copy, now: Flags, opened: OpenedTarget) -> FlagChange:
    """The change that the archive's flags ask for. `now` is what the destination shows.

    A flag that appeared in the archive is added, unless the destination's user took it away since we last wrote
    there; one that disappeared is removed, unless its user set it himself. A mark of ours for a message that is
    back at the source is taken away. What cannot be written into a command is left alone.
    """
    appeared = copy.message.flags - copy.source_flags
    disappeared = copy.source_flags - copy.message.flags
    taken_away = copy.flags - now
    set_there = now - copy.flags
    keepable = opened.kept(sendable(copy.message.flags))
    added = (appeared & keepable) - now - taken_away
    removed = sendable(disappeared & now) - set_there
    if copy.marked:
        removed |= (DELETED & now) - copy.message.flags
    return FlagChange(added, removed, copy.message.flags - keepable)


def grouped(changes: Mapping[int, FlagChange]) -> dict[tuple[Flags, Flags], set[int]]:
    """UIDs by what is to be added and removed, so that few commands are needed."""
    groups: dict[tuple[Flags, Flags], set[int]] = {}
    for uid, change in changes.items():
        if change.needed:
            groups.setdefault((change.added, change.removed), set()).add(uid)
    return groups


def exceeds_deletion_limit(withdrawn: int, held: int) -> bool:
    """Whether so many deletions out of so many copies need a person's word: more than 50, or than 10 %."""
    return withdrawn > 50 or withdrawn > held / 10
