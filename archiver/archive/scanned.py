"""The result of a folder scan, shared by the connections that fetch its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from archiver.facts.archive import StateFact, StoredFact
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.mail.content import arrived_of, with_header
from archiver.mail.headers import headers_of
from archiver.mail.model import Attributes, Fetched, Listed, Opened, Placement, StoredMessage
from archiver.mail.uidset import UidSet

#: Which messages in quarantine are tried: those that a normal run tries, or all.
QuarantineRetry = Literal["due", "all"]

_NONE = UidSet()


class ScannedFolder(Struct):
    """A folder scan: what is on the server, what is wanted, where the pass began.

    `on_server` and `gone` count messages; `wanted` are UIDs to fetch, and with `fetches_again` some of them are
    lower than known ones. `quarantined` are the UIDs on the server that wait in quarantine, `breaking` those of
    them at which a connection broke. `newest_known` is the highest UID that the archive has or that waits in
    quarantine. `seen` are the attributes of wanted messages, as far as the server sent them when the folder was
    opened. `shown` is set if the server probably shows only a part of the folder: the number that it shows;
    `on_server` also counts those that it showed before. `has_past`: the folder had other epochs, and `continued`
    are their messages that were found again in this one. `disagreement`: the server's counts do not agree, so the
    folder cannot be complete.
    """

    listed: Listed
    known: KnownFolder
    epoch: KnownEpoch
    opened: Opened
    on_server: int
    excluded: int
    wanted: UidSet
    state: StateFact
    quarantined: UidSet = _NONE
    breaking: UidSet = _NONE
    newest_known: int = 0
    seen: dict[int, Attributes] = field(default_factory=dict)
    gone: int = 0
    fetches_again: bool = False
    shown: int | None = None
    disagreement: str | None = None
    has_past: bool = False
    continued: set[tuple[int, int, int]] = field(default_factory=set)
    slices_left: int = 0
    error: str | None = None

    def stored_fact(self, fetched: Fetched, at: str) -> StoredFact:
        """The fact of a message that was fetched."""
        seen, body = fetched.attributes, fetched.body
        arrived = arrived_of(seen.internaldate, body.header)
        bare = StoredMessage.bare(seen.uid, body.digest, body.size, body.crlf_size, arrived)
        message = with_header(bare, body.header).seen_as(seen)
        return StoredFact(self.epoch.number, message, None, at, headers_of(body.header))

    def placement(self, fact: StoredFact) -> Placement:
        """Where a message of this folder belongs."""
        return Placement(self.known.directory, self.epoch.uidvalidity, self.epoch.generation, fact.message)

    def continues(self, fact: StoredFact) -> bool:
        """Whether a message that was fetched may be one of an earlier epoch, which knows more: its protocol gave no
        date."""
        return self.has_past and fact.message.internaldate is None

    def as_before(self, fact: StoredFact, equal: Sequence[Placement]) -> StoredFact:
        """The fact with the date and the flags that its octets had in an earlier epoch of the folder, if they are
        among the `equal` ones: it is one message there and here. Each of them is used once."""
        here = self.placement(fact)
        for before in equal:
            key = (before.uidvalidity, before.generation, before.uid)
            is_of_folder = before.directory == here.directory and key[:2] != (here.uidvalidity, here.generation)
            if is_of_folder and key not in self.continued:
                self.continued.add(key)
                its = before.message
                message = replace(fact.message, internaldate=its.internaldate, arrived=its.arrived, flags=its.flags)
                return replace(fact, message=message)
        return fact
