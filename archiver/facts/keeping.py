"""The facts about what must be kept: holds, which forbid that messages are forgotten; about what was forgotten and
must not come back; and how far a migration is, since after the cutover the destination is left alone."""

from __future__ import annotations

from typing import ClassVar, Literal

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


ForgottenCopy = tuple[int, int, str, str, int]
"""A copy at a destination: its target and its UID there; what it is known by (`CopyForm`), the digest of that or
"", and the size that the destination showed, 0 if it is not known."""

CopyForm = Literal["octets", "canonical", "size", "any"]
"""What a copy of a forgotten message has to be like: its octets, or what is left of them without CRs and the line
ends at the end (`canonical` in `archiver.mail.fingerprint`), have that digest; or it has that size, since the
destination shows it altered. "any", of copies in older journals: it has the digest of a forgotten message."""

#: In whose name the rule of the account file forgets.
BY_RULE = "the rule of the account file"


class ForgottenFact(Struct, frozen=True):
    """These messages are forgotten: nothing of them is kept but this, and none comes back, whatever the source
    shows. `number` is assigned once, from 1, to all that one command or one rule forgets; what the source shows
    later under another UID gets the same one. `copies` are those at destinations, as (target, UID there), that are
    to go, too; `there` are all that are known, so that they can be removed later."""

    kind: ClassVar[str] = "forgotten"
    number: int
    places: tuple[ForgottenPlace, ...]
    copies: tuple[tuple[int, int], ...]
    reason: str
    by: str
    at: str
    there: tuple[ForgottenCopy, ...] = ()


class CopiesErasedFact(Struct, frozen=True):
    """These copies of forgotten messages are gone from the destination: we removed them, or they were not there any
    more."""

    kind: ClassVar[str] = "copies_erased"
    target: int
    uids: tuple[int, ...]
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
