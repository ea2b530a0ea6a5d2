"""The facts about messages that `prune` removes from the source because the archive has them."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class PruningFact(Struct, frozen=True):
    """These messages are about to be removed from the source; what becomes of each is said by a later fact.
    `marked` are those of them that had \\Deleted before, which is not to be taken away from them."""

    kind: ClassVar[str] = "pruning"
    epoch: int
    uids: tuple[int, ...]
    marked: tuple[int, ...]
    by: str
    at: str


class PrunedFact(Struct, frozen=True):
    """These messages are gone from the source because we removed them, and are in a list of what was removed.
    Nobody deleted them: their copies stay."""

    kind: ClassVar[str] = "pruned"
    epoch: int
    uids: tuple[int, ...]
    at: str


class UnprunedFact(Struct, frozen=True):
    """These messages were not removed, and nothing is on its way any longer that would remove them."""

    kind: ClassVar[str] = "unpruned"
    epoch: int
    uids: tuple[int, ...]
    at: str
