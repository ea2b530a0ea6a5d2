"""What a catalog knows about what must be kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from archiver.facts.keeping import HoldEndedFact, HoldFact, StateMarkedFact
from archiver.facts.replica import MessageKey
from archiver.mail.model import Digest


class KnownHold(Struct, frozen=True):
    """A hold, and how it ended; None: it holds."""

    hold: HoldFact
    ended: HoldEndedFact | None


class Holdable(Struct, frozen=True):
    """What decides whether a message is held: its folder's path, and what its headers say of senders and
    recipients; None if they are not recorded."""

    key: MessageKey
    digest: Digest
    path: tuple[str, ...]
    people: str | None


class Keeping(Protocol):
    """What must be kept."""

    def holds(self) -> Sequence[KnownHold]:
        """All holds, those that ended included, by number."""

    def marks(self) -> Sequence[StateMarkedFact]:
        """What people said about how far the migration is, in their order. After "cutover" the destination is left
        alone."""

    def holdable(self, keys: Collection[MessageKey]) -> Iterator[Holdable]:
        """What decides whether these messages are held; those that the catalog does not know are left out."""
