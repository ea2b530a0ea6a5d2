"""The facts about what must be kept: holds, which forbid that messages are forgotten; and how far a migration is,
since after the cutover the destination is left alone."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class HoldFact(Struct, frozen=True):
    """From here on these messages must be kept. `folders` are globs, `addresses` parts of what the headers say of
    senders and recipients; a message is held if one of each matches. None of either: whatever it is. `number` is
    assigned once, from 1."""

    kind: ClassVar[str] = "hold"
    number: int
    folders: tuple[str, ...]
    addresses: tuple[str, ...]
    reason: str
    by: str
    at: str


class HoldEndedFact(Struct, frozen=True):
    """The hold of that number ended."""

    kind: ClassVar[str] = "hold_ended"
    number: int
    reason: str
    by: str
    at: str


class StateMarkedFact(Struct, frozen=True):
    """A person said how far the account's migration is. The last one counts."""

    kind: ClassVar[str] = "state_marked"
    state: str
    reason: str
    by: str
    at: str
