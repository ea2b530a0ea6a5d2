"""The facts of an archive, each one line of the journal and one change of the catalog.

A fact is first written to the journal and then applied to the catalog, by the same code during a run, after a
crash, and in `rebuild`. So the two cannot diverge. docs/formats.md specifies the lines; folders and epochs are
identified by numbers that never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Union

from msgspec import Struct

from archiver.facts.access import AnnotationsFact, GrantedFact, RightsFact
from archiver.facts.destination import (
    AcceptedFact,
    ComparedFact,
    CopiedFact,
    DestinationFact,
    DistinctFact,
    IntentFact,
    LabelledFact,
    MappedFact,
    MarkedFact,
    ReachedFact,
    ReflaggedFact,
    RefusedFact,
    RemovedFact,
    RenamedFact,
    RenamingFact,
    RestoreFact,
    RestorePlaceFact,
    SettledFact,
    TargetFact,
    TargetStateFact,
    TwinFact,
    UnsentFact,
)
from archiver.facts.keeping import (
    BlotFact,
    BlottedFact,
    CopiesErasedFact,
    ErasedFact,
    ForgottenFact,
    HoldEndedFact,
    HoldFact,
    StateMarkedFact,
)
from archiver.facts.pruning import PrunedFact, PruningFact, UnprunedFact
from archiver.mail.folder_names import is_directory
from archiver.mail.model import Digest, Flags, Headers, Labels, Signed, StoredMessage


class ArchiveFact(Struct, frozen=True):
    """The archive's identity: written first, again when its source was confirmed to have changed."""

    kind: ClassVar[str] = "archive"
    archive_id: str
    account: str
    protocol: str
    host: str
    user: str
    at: str


class FolderFact(Struct, frozen=True):
    """A folder was seen for the first time, or with other attributes. `number` and `directory` never change."""

    kind: ClassVar[str] = "folder"
    number: int
    raw: bytes
    path: tuple[str, ...]
    delimiter: str | None
    directory: str
    attributes: frozenset[str]
    subscribed: bool
    listed: bool
    at: str

    def __post_init__(self) -> None:
        if not is_directory(self.directory):
            raise ValueError(f"not a folder's directory: {self.directory!r}")


class EpochFact(Struct, frozen=True):
    """A folder began an epoch; the one before it ended. `reason`: "first", "uidvalidity", "rewound", "source" or
    "renumbered"."""

    kind: ClassVar[str] = "epoch"
    number: int
    folder: int
    uidvalidity: int
    generation: int
    reason: str
    at: str


class NumberedFact(Struct, frozen=True):
    """In a folder whose messages have names at the source, and no UIDs, these names have the UIDs from `first` on.
    A name has the UID that it got last."""

    kind: ClassVar[str] = "numbered"
    folder: int
    uidvalidity: int
    first: int
    names: tuple[str, ...]
    at: str


class StoredFact(Struct, frozen=True):
    """A message's octets are durable in the store. It is then present, and no longer in quarantine.

    In JSON the fields of `message` stand among the others. `matched` is how it was recognised without a download:
    "emailid", "headers", "returned" (it had vanished under the same UID); None if fetched. `headers` may be None if
    those of its digest are already in the journal, and in journals from before 0.3.0.
    """

    kind: ClassVar[str] = "stored"
    epoch: int
    message: StoredMessage
    matched: str | None
    at: str
    headers: Headers | None = None


class HeadersFact(Struct, frozen=True):
    """The headers of all messages of a digest, read from octets that were stored before headers were kept."""

    kind: ClassVar[str] = "headers"
    digest: Digest
    headers: Headers


class PackedFact(Struct, frozen=True):
    """These messages are in the pack whose octets have that digest and size, each as a frame: the message's digest,
    and the frame's offset and length. If a message has several frames, the newest counts."""

    kind: ClassVar[str] = "packed"
    pack: Digest
    size: int
    frames: tuple[tuple[Digest, int, int], ...]


class FlagsFact(Struct, frozen=True):
    """A message has these flags now."""

    kind: ClassVar[str] = "flags"
    epoch: int
    uid: int
    flags: Flags
    at: str


class LabelsFact(Struct, frozen=True):
    """A message of Gmail has these labels now, and is in this thread."""

    kind: ClassVar[str] = "labels"
    epoch: int
    uid: int
    thrid: str | None
    labels: Labels
    at: str


class VanishedFact(Struct, frozen=True):
    """These messages were seen to be gone from the server; the archive keeps them."""

    kind: ClassVar[str] = "vanished"
    epoch: int
    uids: tuple[int, ...]
    at: str


class QuarantinedFact(Struct, frozen=True):
    """A message could not be fetched or stored: one more try failed, or the user accepted the loss."""

    kind: ClassVar[str] = "quarantined"
    epoch: int
    uid: int
    step: str
    reason: str
    server_reply: str | None
    accepted: bool
    at: str


class ReleasedFact(Struct, frozen=True):
    """These left quarantine because the server no longer has them."""

    kind: ClassVar[str] = "released"
    epoch: int
    uids: tuple[int, ...]
    at: str


class PassFact(Struct, frozen=True):
    """What this run saw in a folder: the terms of the equation that only the server knows. `error` is what kept
    it from being finished. `shown`: the server probably shows only a part of the folder, so many messages; the rest
    of `on_server` are messages that it showed before. None: it shows all of them."""

    kind: ClassVar[str] = "pass"
    epoch: int
    on_server: Signed
    excluded: Signed
    error: str | None
    at: str
    shown: Signed | None = None


class StateFact(Struct, frozen=True):
    """A pass over a folder is complete: where it stood when the pass began. `size` in octets, from STATUS."""

    kind: ClassVar[str] = "state"
    epoch: int
    uidnext: int | None
    highestmodseq: int | None
    messages: int
    filter: str | None
    at: str
    size: int | None = None


class FenceFact(Struct, frozen=True):
    """From here on the journal is written under the lease `fence` (0: there is none). Written if this machine
    continues after another one, perhaps only asleep, that did not release its lease; or before objects that no
    segment names are removed."""

    kind: ClassVar[str] = "fence"
    fence: int
    host: str
    run: str
    at: str


#: What came with archiver-journal/2. A program that does not know these must stop at a segment with one of them.
FactOfFormat2 = Union[  # noqa: UP007 - a runtime value, iterated by those who import it
    HoldFact,
    HoldEndedFact,
    StateMarkedFact,
    ForgottenFact,
    BlottedFact,
    BlotFact,
    ErasedFact,
    CopiesErasedFact,
    PruningFact,
    PrunedFact,
    UnprunedFact,
]

Fact = Union[  # noqa: UP007 - a runtime value, iterated by those who import it
    ArchiveFact,
    FolderFact,
    EpochFact,
    NumberedFact,
    StoredFact,
    HeadersFact,
    PackedFact,
    FlagsFact,
    LabelsFact,
    VanishedFact,
    QuarantinedFact,
    ReleasedFact,
    PassFact,
    StateFact,
    FenceFact,
    DestinationFact,
    ReachedFact,
    DistinctFact,
    RestorePlaceFact,
    RestoreFact,
    MappedFact,
    TargetFact,
    IntentFact,
    CopiedFact,
    UnsentFact,
    SettledFact,
    TwinFact,
    RefusedFact,
    ReflaggedFact,
    LabelledFact,
    RemovedFact,
    MarkedFact,
    AcceptedFact,
    TargetStateFact,
    ComparedFact,
    RenamingFact,
    RenamedFact,
    RightsFact,
    AnnotationsFact,
    GrantedFact,
    FactOfFormat2,
]


class Segment(Struct, frozen=True):
    """A complete, numbered file of facts of one run; `previous` is the digest of the file before it, `fence` the
    number of the lease under which it was written, 0 if there is none. `blotted` is the digest of its octets if
    facts in it were blotted out: then `digest` is that of the file as it was, which the next one names."""

    number: int
    run: str
    previous: Digest
    digest: Digest
    facts: Sequence[Fact]
    fence: int | None = None
    blotted: Digest | None = None

    @property
    def name(self) -> str:
        """The file's name in the journal."""
        return f"{self.number:08d}-{self.run}.jsonl.gz"
