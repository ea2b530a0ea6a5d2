"""The facts of what a destination holds: its folders, what was about to be sent, what arrived, what was refused.

They are lines of the same journal as the facts of `archiver.facts.archive`, which gathers them all. A *target* is a
folder of a destination under one UIDVALIDITY; a *copy* is a message of the archive in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from archiver.mail.model import Digest, Flags


@dataclass(frozen=True, slots=True)
class DestinationFact:
    """A destination was met for the first time, under this address. `number` is given once, to a mailbox and not
    to an address. `port` is None in journals from before 0.4.0."""

    kind: ClassVar[str] = "destination"
    number: int
    host: str
    user: str
    at: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class ReachedFact:
    """A known destination is reached under this address, too: it shows our copies, or a person said so."""

    kind: ClassVar[str] = "reached"
    destination: int
    host: str
    user: str
    port: int
    at: str


@dataclass(frozen=True, slots=True)
class DistinctFact:
    """A person said that a destination is another mailbox than the archive's present source, although the two look
    like one."""

    kind: ClassVar[str] = "distinct"
    destination: int
    at: str


@dataclass(frozen=True, slots=True)
class MappedFact:
    """A folder of the archive goes into this folder of a destination. `raw` is its name there on the wire, `path`
    for people; `rules` is the fingerprint of the account file's rules that led to it."""

    kind: ClassVar[str] = "mapped"
    destination: int
    folder: int
    raw: bytes
    path: tuple[str, ...]
    rules: str
    at: str


@dataclass(frozen=True, slots=True)
class TargetFact:
    """A folder of a destination began an epoch of its own; the one before it ended, and what was known of its
    messages means nothing any more. `reason`: "first", "uidvalidity" or "rewound"."""

    kind: ClassVar[str] = "target"
    number: int
    destination: int
    raw: bytes
    uidvalidity: int
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class IntentFact:
    """These messages are about to be appended, as (epoch, uid). Whatever comes of it has a UID from `uidnext` on.
    A copy, a refusal or `unsent` ends the intent of a message."""

    kind: ClassVar[str] = "intent"
    target: int
    uidnext: int
    messages: tuple[tuple[int, int], ...]
    at: str


@dataclass(frozen=True, slots=True)
class CopiedFact:
    """A message has a copy at the destination; for a copy known already this replaces what was known,
    but not which run brought it, if it stays the same message's.

    `how`: "appended" (APPEND was answered with OK), "found" (after an unknown outcome), "adopted" (somebody else
    put it there, or another account of ours counts on it, too), "again" (the copy of a message that is the same
    one under another UID), "restored" (appended, or left there, after it vanished at the source, because a person
    asked).
    `source_flags` are the archive's flags that were replayed, `flags` what the destination said afterwards, `lost`
    those it does not keep. `size` is its RFC822.SIZE. `repaired` names what was altered before sending, and
    `sent_digest` is then the digest of what was sent. `dated` is false if it does not keep the INTERNALDATE.
    `likeness` is how found and adopted octets are the same: "exact", "line-ends" or "headers"; None: not compared.
    """

    kind: ClassVar[str] = "copied"
    target: int
    target_uid: int
    epoch: int
    uid: int
    how: str
    source_flags: Flags
    flags: Flags
    lost: Flags
    size: int | None
    repaired: tuple[str, ...]
    sent_digest: Digest | None
    dated: bool
    likeness: str | None
    at: str


@dataclass(frozen=True, slots=True)
class UnsentFact:
    """Intents of which nothing arrived, as (epoch, uid).

    `attempted` are those that may have reached the server all the same, as (epoch, uid, uidnext): if one of them is
    stored after all, it has a UID from there on. `silent`: the server said nothing when they were on the wire;
    it is false where the connection was lost for another reason, or where that is not known. Lines of before
    version 0.4 say neither.
    """

    kind: ClassVar[str] = "unsent"
    target: int
    messages: tuple[tuple[int, int], ...]
    at: str
    attempted: tuple[tuple[int, int, int], ...] = ()
    silent: bool = False


@dataclass(frozen=True, slots=True)
class SettledFact:
    """Attempts that were looked after for long enough, as (epoch, uid): another such message is no twin."""

    kind: ClassVar[str] = "settled"
    target: int
    messages: tuple[tuple[int, int], ...]
    at: str


@dataclass(frozen=True, slots=True)
class TwinFact:
    """A message of ours that came late: it was taken for unsent, sent again, and now it is there beside its copy.

    `flags` are those it shows; `certain` if its octets, its date and its flags are just what we sent, and the run
    in which the server fell silent saw it within the hour: later it may be a copy that somebody made there.
    """

    kind: ClassVar[str] = "twin"
    target: int
    target_uid: int
    epoch: int
    uid: int
    flags: Flags
    certain: bool
    at: str


@dataclass(frozen=True, slots=True)
class RefusedFact:
    """A destination refused a message: one more try failed, or a person accepted the loss. A copy ends it.

    `refusal` is one word for the reason ("too-big"), `reason` says it for people, `date` and `subject` are of the
    message's header.
    """

    kind: ClassVar[str] = "refused"
    target: int
    epoch: int
    uid: int
    refusal: str
    reason: str
    server_reply: str | None
    date: str | None
    subject: str | None
    accepted: bool
    at: str


@dataclass(frozen=True, slots=True)
class ReflaggedFact:
    """The archive's flags that were replayed onto a copy, and what the destination said afterwards."""

    kind: ClassVar[str] = "reflagged"
    target: int
    target_uid: int
    source_flags: Flags
    flags: Flags
    lost: Flags
    at: str


@dataclass(frozen=True, slots=True)
class RemovedFact:
    """Copies or twins were seen to be gone from the destination: `by` its "user", or by us, by "policy"."""

    kind: ClassVar[str] = "removed"
    target: int
    uids: tuple[int, ...]
    by: str
    at: str


@dataclass(frozen=True, slots=True)
class MarkedFact:
    """Copies got \\Deleted because their messages vanished at the source, or lost it again."""

    kind: ClassVar[str] = "marked"
    target: int
    uids: tuple[int, ...]
    marked: bool
    at: str


@dataclass(frozen=True, slots=True)
class TargetStateFact:
    """A pass over a folder of a destination is complete: where it stands if nobody else changed it since."""

    kind: ClassVar[str] = "target_state"
    target: int
    uidnext: int
    messages: int
    at: str


@dataclass(frozen=True, slots=True)
class RenamingFact:
    """A folder of a destination is about to be renamed to `raw`, because its folder was renamed at the source.
    `renamed` ends that."""

    kind: ClassVar[str] = "renaming"
    target: int
    raw: bytes
    at: str


@dataclass(frozen=True, slots=True)
class RenamedFact:
    """A folder of a destination is called `raw` now, or still: where that is the old name, it was not renamed."""

    kind: ClassVar[str] = "renamed"
    target: int
    raw: bytes
    at: str
