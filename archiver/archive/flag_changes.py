"""Which flags and labels changed since the last pass, in folders of any size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from archiver.catalog.port import CatalogMessages
from archiver.journal.recorder import BATCH_MESSAGES
from archiver.mail.model import Marks
from archiver.mail.uidset import UidSet


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
        before = _recorded(messages, epoch, waiting)
        for uid, marks in waiting.items():
            if uid not in before or is_as_recorded(marks, before[uid]):
                changed.pop(uid, None)
            elif uid in held:
                changed[uid] = marks
        waiting.clear()
    return changed


def is_as_recorded(marks: Marks, before: Marks) -> bool:
    """Whether nothing changed of what the server says."""
    return (
        marks.flags == before.flags
        and marks.labels in (None, before.labels)
        and (marks.labels is None or marks.thrid in (None, before.thrid))
    )


def _recorded(messages: CatalogMessages, epoch: int, seen: Mapping[int, Marks]) -> dict[int, Marks]:
    """What is recorded of these messages. The rows of messages are read only where there are labels."""
    uids = UidSet(seen)
    if all(each.labels is None for each in seen.values()):
        return {uid: Marks(uid, flags) for uid, flags in messages.known(epoch, uids).items()}
    known = (each.message for each in messages.placements(epoch, uids=uids) if each.present)
    return {each.uid: Marks(each.uid, each.flags, each.labels, each.thrid) for each in known}
