"""Messages that somebody asked for: the places to which they go back, and what became of them there."""

from __future__ import annotations

from msgspec import Struct

from archiver.facts.replica import Address
from archiver.mail.model import Flags


class RestorePlace(Struct, frozen=True):
    """A place to which messages were restored, by its number: a mailbox, and a folder there (None: the folders that
    they were in)."""

    number: int
    address: Address
    into: str | None


class Restored(Struct, frozen=True):
    """What became of a message that was restored to a place: the folder `raw` there has it as `uid`, or had it
    until its user removed it. `lost` are flags that the folder does not keep; `dated`: it has its date. `repaired`
    names what was altered before it was sent, and `likeness` is as in `CopiedFact`."""

    place: int
    raw: bytes
    uid: int
    removed: bool
    lost: Flags
    dated: bool
    at: str
    repaired: tuple[str, ...] = ()
    likeness: str | None = None


class RestoreTally(Struct, frozen=True):
    """What was restored to a place, last `at` that time and by that user: how many messages were `asked` for, and
    how many of them are there as far as known, were removed there since, were refused, or are still `waiting`."""

    place: RestorePlace
    asked: int
    restored: int
    removed: int
    refused: int
    waiting: int
    at: str
    by: str
