"""The facts about what must be kept: holds, which forbid that messages are forgotten; about what was forgotten and
must not come back; and how far a migration is, since after the cutover the destination is left alone."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from archiver.mail.model import Digest


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


ForgottenPlace = tuple[int, int, Digest, int, int, int, int]
"""A message's epoch and UID, its digest, its size, its size with bare LFs as CRLF, when it arrived, and 1 if its
folder still had it, else 0."""


class ForgottenFact(Struct, frozen=True):
    """These messages are forgotten: nothing of them is kept but this, and none comes back, whatever the source
    shows. `number` is assigned once, from 1, to all that one command or one rule forgets; what the source shows
    later under another UID gets the same one. `copies` are those at destinations, as (target, UID there), that are
    to go, too."""

    kind: ClassVar[str] = "forgotten"
    number: int
    places: tuple[ForgottenPlace, ...]
    copies: tuple[tuple[int, int], ...]
    reason: str
    by: str
    at: str


class BlottedFact(Struct, frozen=True):
    """These segments are written again without facts of forgotten messages: a segment's number, the digest by which
    the next segment names it, and that of its octets from now on. The newest one of a segment counts."""

    kind: ClassVar[str] = "blotted"
    number: int
    segments: tuple[tuple[int, Digest, Digest], ...]
    at: str


class BlotFact(Struct, frozen=True):
    """In place of a fact about a forgotten message: the digest of its line, and the number of its `forgotten`."""

    kind: ClassVar[str] = "blot"
    number: int
    line: Digest


class ErasedFact(Struct, frozen=True):
    """The octets of what was forgotten under that number are gone, and these packs. `kept` is what could not be
    removed, each with the reason; `listed` the digest of the list of what was forgotten."""

    kind: ClassVar[str] = "erased"
    number: int
    packs: tuple[Digest, ...]
    kept: tuple[tuple[str, str], ...]
    listed: Digest
    at: str
