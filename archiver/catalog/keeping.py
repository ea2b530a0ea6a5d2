"""What a catalog knows about what must be kept, and about what was forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from archiver.facts.keeping import BY_RULE, ForgottenCopy, HoldEndedFact, HoldFact, StateMarkedFact
from archiver.facts.replica import MessageKey
from archiver.mail.model import Digest, Placement
from archiver.mail.uidset import UidSet


class KnownHold(Struct, frozen=True):
    """A hold, and how it ended; None: it holds."""

    hold: HoldFact
    ended: HoldEndedFact | None


class Holdable(Struct, frozen=True):
    """What decides whether a message is held: its folder's path, and what its headers say of senders and
    recipients; None if they are not recorded, or perhaps not completely."""

    key: MessageKey
    digest: Digest
    path: tuple[str, ...]
    people: str | None


class Forget(Struct, frozen=True):
    """What one command or one rule forgot: why, by whom, and when. `erased_at`: its octets are gone, but what was
    `kept`, each with the reason; None: that was cut off. `listed` is the digest of the list that was written.
    `messages` counts digests, `places` the places where they were, `copies_left` the copies that destinations still
    have, as far as known."""

    number: int
    reason: str
    by: str
    at: str
    erased_at: str | None
    listed: Digest | None
    kept: tuple[tuple[str, str], ...]
    messages: int
    places: int
    copies_left: int

    @property
    def by_rule(self) -> bool:
        """Whether the rule of the account file forgot it, and no person. What destinations have of that follows
        another rule."""
        return self.by == BY_RULE


class HeldPlace(Struct, frozen=True):
    """A place of a message: its epoch and UID, the name of its folder, when it was seen to be gone from the source,
    or its epoch ended; None: it is there. `shown`: the source had it when its epoch was last looked at. `pruned`:
    we removed it from there."""

    key: MessageKey
    folder: str
    placement: Placement
    gone_at: str | None
    shown: bool
    pruned: bool = False


class HeldCopy(Struct, frozen=True):
    """A copy of a message, as far as known: the number of the destination, the folder there, by its number and its
    raw name, and the UID there. `sent_digest`, `likeness` and `size` are as it was recorded; None: not known.
    `restored`: somebody put it back there, and the number is that of a place to restore to."""

    destination: int
    target: int
    raw: bytes
    uid: int
    key: MessageKey
    sent_digest: Digest | None
    likeness: str | None
    size: int | None
    restored: bool


class LeftCopy(Struct, frozen=True):
    """A copy of a message that was forgotten under the number `forget`, at a destination that has it as far as
    known: in the folder `raw` under that UIDVALIDITY."""

    forget: int
    destination: int
    raw: bytes
    uidvalidity: int
    copy: ForgottenCopy


class Holds(Protocol):
    """What must be kept."""

    def holds(self) -> Sequence[KnownHold]:
        """All holds, those that ended included, by number."""

    def marks(self) -> Sequence[StateMarkedFact]:
        """What people said about how far the migration is, in their order. After "cutover" the destination is left
        alone."""

    def holdable(self, keys: Collection[MessageKey]) -> Iterator[Holdable]:
        """What decides whether these messages are held; those that the catalog does not know are left out."""


class Forgettable(Protocol):
    """What has to be known of messages before they are forgotten."""

    def places(self, digests: Collection[Digest]) -> Sequence[HeldPlace]:
        """All places of the messages with these digests, those of a digest together."""

    def gone_before(self, moment: str) -> Sequence[Digest]:
        """The messages of which every place was gone from the source before that moment (UTC), and none of them
        because we removed it."""

    def next_gone(self, moment: str) -> str | None:
        """The first moment, not before that one, since which every place of a message has been gone, and none
        because we removed it; None if there is none."""

    def count(self) -> int:
        """How many messages there are, each digest once."""

    def copies(self, keys: Collection[MessageKey]) -> Sequence[HeldCopy]:
        """The copies of these messages that exist as far as known, also those that were stored twice."""

    def being_sent(self, keys: Collection[MessageKey]) -> int:
        """How many times these messages were being sent to a destination when that was cut off, so that it is not
        known whether there is a copy."""


class Keeping(Holds, Forgettable, Protocol):
    """What must be kept, and what must not come back."""

    def forgets(self) -> Sequence[Forget]:
        """All that was forgotten, by number."""

    def forgotten(self) -> Mapping[Digest, int]:
        """The number under which each digest was forgotten."""

    def left_copies(self) -> Sequence[LeftCopy]:
        """The copies of forgotten messages that destinations still have, as far as known, by folder and UID."""

    def forgotten_uids(self, epoch: int) -> UidSet:
        """The UIDs of forgotten messages that the source still had when an epoch was last looked at."""

    def forgotten_places(self, number: int) -> Sequence[HeldPlace]:
        """Where the messages of that number were, and whether the source still shows them there."""
