"""Which flags changed since the last pass, in folders of any size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from archiver.catalog.port import CatalogMessages
from archiver.journal.recorder import BATCH_MESSAGES
from archiver.mail.model import Flags
from archiver.mail.uidset import UidSet


def changed_flags(
    messages: CatalogMessages, epoch: int, seen: Iterable[Sequence[tuple[int, Flags]]], held: UidSet
) -> dict[int, Flags]:
    """Those of the flags seen that differ from the recorded ones, by UID, of messages that are `held`. A message
    may be seen twice; the later flags count."""
    changed: dict[int, Flags] = {}
    waiting: dict[int, Flags] = {}
    for some in chain(seen, [()]):
        waiting.update(some)
        if some and len(waiting) < BATCH_MESSAGES:
            continue
        before = messages.known(epoch, UidSet(waiting))
        for uid, flags in waiting.items():
            if flags == before.get(uid, flags):
                changed.pop(uid, None)
            elif uid in held:
                changed[uid] = flags
        waiting.clear()
    return changed
