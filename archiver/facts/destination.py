"""The facts about a destination: its folders, what was about to be sent, what arrived, what was refused.

They are lines of the same journal as the facts of `archiver.facts.archive`, which has the list of all facts. A
*target* is a folder of a destination under one UIDVALIDITY; a *copy* is a message of the archive in it.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from archiver.mail.model import Digest, Flags, Labels


class DestinationFact(Struct, frozen=True):
    """A new destination, first reached under this address. `number` is assigned once, to a mailbox and not to an
    address. `port` is None in journals from before 0.4.0."""

    kind: ClassVar[str] = "destination"
    number: int
    host: str
    user: str
    at: str
    port: int | None = None


class ReachedFact(Struct, frozen=True):
    """A known destination was also reached under this address: it shows our copies, or the user confirmed it."""

    kind: ClassVar[str] = "reached"
    destination: int
    host: str
    user: str
    port: int
    at: str


class DistinctFact(Struct, frozen=True):
    """The user confirmed that a destination is another mailbox than the archive's present source, although they
    look like the same one."""

    kind: ClassVar[str] = "distinct"
    destination: int
    at: str


class RestorePlaceFact(Struct, frozen=True):
    """A place to which messages are restored, reached under this address. It has a number of its own among those of
    destinations, also where the account is replayed to the same mailbox: what is restored there is no copy of the
    replay. `port` is None for the account's own source, which is the same mailbox at any port. `into`: below which
    folder they go, with "/" between levels; None: to the folders that they were in."""

    kind: ClassVar[str] = "restore_place"
    number: int
    host: str
    user: str
    port: int | None
    into: str | None
    at: str


class RestoreFact(Struct, frozen=True):
    """Somebody asked for these messages, as (epoch, uid), at `place`: the number of a place to restore to, or of a
    destination whose own copies are brought back. It is written before anything is sent; a copy there that is not
    older, or a refusal, is the outcome. `by` is the user who asked."""

    kind: ClassVar[str] = "restore"
    place: int
    messages: tuple[tuple[int, int], ...]
    by: str
    at: str


class MappedFact(Struct, frozen=True):
    """A folder of the archive is mapped to this folder of a destination. `raw` is its name there on the wire,
    `path` for people; `rules` are the rules of the account file that led to it, as text. `subscribed` is the
    source's subscription that was followed there; None was written before that was recorded."""

    kind: ClassVar[str] = "mapped"
    destination: int
    folder: int
    raw: bytes
    path: tuple[str, ...]
    rules: str
    at: str
    subscribed: bool | None = None


class TargetFact(Struct, frozen=True):
    """A new epoch of a folder of a destination. The previous one ended, and what was known about its UIDs is void.
    `reason`: "first", "uidvalidity", "rewound" or "renumbered"."""

    kind: ClassVar[str] = "target"
    number: int
    destination: int
    raw: bytes
    uidvalidity: int
    reason: str
    at: str


class IntentFact(Struct, frozen=True):
    """These messages, as (epoch, uid), are about to be appended. If one is stored, its UID is at least `uidnext`. A
    copy, a refusal or an UnsentFact ends the intent of a message."""

    kind: ClassVar[str] = "intent"
    target: int
    uidnext: int
    messages: tuple[tuple[int, int], ...]
    at: str


class CopiedFact(Struct, frozen=True):
    """A message has a copy at the destination. For a copy that is already known this replaces what was known,
    except which run brought it if it stays the copy of the same message.

    `how`: "appended" (APPEND was answered with OK), "found" (after an unknown outcome), "adopted" (something else
    stored it there, or another account of ours counts on it, too), "again" (the copy of the same message under
    another UID), "restored" (appended, or kept, after it vanished at the source, because the user asked for it).
    `source_flags` are the archive's flags that were replayed, `flags` those that the destination showed afterwards,
    `lost` those that it does not keep. `size` is its RFC822.SIZE. `repaired` names what was altered before sending,
    and `sent_digest` is then the digest of what was sent. `dated` is false if it does not keep the INTERNALDATE.
    `likeness` is how closely the octets that were read back match: "exact", "line-ends", "headers", "cut" (only the
    beginning is shown) or "other"; None: not compared.
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


class UnsentFact(Struct, frozen=True):
    """Intents whose messages did not arrive, as (epoch, uid).

    `attempted` are those that may nevertheless have reached the server, as (epoch, uid, uidnext): if one is stored
    after all, its UID is at least uidnext. `silent`: the server was silent while they were on the wire; false if
    the connection was lost for another reason, or if this is unknown. Lines from before version 0.4 have neither.
    """

    kind: ClassVar[str] = "unsent"
    target: int
    messages: tuple[tuple[int, int], ...]
    at: str
    attempted: tuple[tuple[int, int, int], ...] = ()
    silent: bool = False


class SettledFact(Struct, frozen=True):
    """Attempts, as (epoch, uid), that are over: a message that appears later is not a twin of ours."""

    kind: ClassVar[str] = "settled"
    target: int
    messages: tuple[tuple[int, int], ...]
    at: str


class TwinFact(Struct, frozen=True):
    """A message of ours that came late: it was taken for unsent, sent again, and now exists next to its copy.

    `flags` are those that it shows. `certain`: its octets, date and flags are exactly what we sent, and the run in
    which the server fell silent saw it within the hour; later it may be a copy that the user made there.
    """

    kind: ClassVar[str] = "twin"
    target: int
    target_uid: int
    epoch: int
    uid: int
    flags: Flags
    certain: bool
    at: str


class RefusedFact(Struct, frozen=True):
    """A destination refused a message: one more try failed, or the user accepted the loss. A copy ends it.

    `refusal` is a keyword for the reason ("too-big"), `reason` its text for people; `date` and `subject` are from
    the message's header.
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


class ReflaggedFact(Struct, frozen=True):
    """The archive's flags that were replayed onto a copy, and those that the destination showed afterwards."""

    kind: ClassVar[str] = "reflagged"
    target: int
    target_uid: int
    source_flags: Flags
    flags: Flags
    lost: Flags
    at: str


class LabelledFact(Struct, frozen=True):
    """The archive's labels that were replayed onto a copy at Gmail, those that it showed afterwards, and those that
    it does not keep."""

    kind: ClassVar[str] = "labelled"
    target: int
    target_uid: int
    source_labels: Labels
    labels: Labels
    lost: Labels
    at: str


class RemovedFact(Struct, frozen=True):
    """Copies or twins are gone from the destination, removed `by` its "user" or by us, by "policy"."""

    kind: ClassVar[str] = "removed"
    target: int
    uids: tuple[int, ...]
    by: str
    at: str


class MarkedFact(Struct, frozen=True):
    """Copies got \\Deleted because their messages vanished at the source, or lost it again."""

    kind: ClassVar[str] = "marked"
    target: int
    uids: tuple[int, ...]
    marked: bool
    at: str


class AcceptedFact(Struct, frozen=True):
    """The user accepted copies as the destination shows them, although it altered them or shows them cut off."""

    kind: ClassVar[str] = "accepted"
    target: int
    uids: tuple[int, ...]
    at: str


class TargetStateFact(Struct, frozen=True):
    """A pass over a folder of a destination is complete: its state, unless something else changes it."""

    kind: ClassVar[str] = "target_state"
    target: int
    uidnext: int
    messages: int
    at: str


class ComparedFact(Struct, frozen=True):
    """Copies were compared with what the destination shows, and are as recorded, all that were compared before
    included. The other numbers are the status of their folder before they were read: as long as it stays the same,
    nothing has changed there. `uids` are those of copies that were compared for the first time, as (first, last);
    a later `copied` ends that. A `highestmodseq` of 0: the status that was recorded before proves nothing."""

    kind: ClassVar[str] = "compared"
    target: int
    uids: tuple[tuple[int, int], ...]
    uidnext: int
    messages: int
    highestmodseq: int
    size: int | None
    at: str


class RenamingFact(Struct, frozen=True):
    """A folder of a destination is about to be renamed to `raw`, because its folder was renamed at the source.
    `renamed` ends that."""

    kind: ClassVar[str] = "renaming"
    target: int
    raw: bytes
    at: str


class RenamedFact(Struct, frozen=True):
    """A folder of a destination is now called `raw`; if that is the old name, it was not renamed."""

    kind: ClassVar[str] = "renamed"
    target: int
    raw: bytes
    at: str
