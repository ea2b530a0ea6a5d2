"""The facts of an archive, each one line of the journal and one change of the catalog.

A fact is written to the journal first and applied to the catalog next, by the same code whether it happened
just now, is caught up after a crash, or is read again by `rebuild`. So the two cannot drift apart.
docs/formats.md specifies the lines; folders and epochs are named by numbers given once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Union, get_args

from archiver.facts.destination import (
    CopiedFact,
    DestinationFact,
    DistinctFact,
    IntentFact,
    MappedFact,
    MarkedFact,
    ReachedFact,
    ReflaggedFact,
    RefusedFact,
    RemovedFact,
    RenamedFact,
    RenamingFact,
    SettledFact,
    TargetFact,
    TargetStateFact,
    TwinFact,
    UnsentFact,
)
from archiver.mail.model import Digest, Flags, Headers


@dataclass(frozen=True, slots=True)
class ArchiveFact:
    """The archive's identity: written first, again when its source was confirmed to have changed."""

    kind: ClassVar[str] = "archive"
    archive_id: str
    account: str
    protocol: str
    host: str
    user: str
    at: str


@dataclass(frozen=True, slots=True)
class FolderFact:
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


@dataclass(frozen=True, slots=True)
class EpochFact:
    """A folder began an epoch; the one before it ended. `reason`: "first", "uidvalidity", "rewound" or "source"."""

    kind: ClassVar[str] = "epoch"
    number: int
    folder: int
    uidvalidity: int
    generation: int
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class StoredFact:
    """A message's octets are durable in the store. Ends its quarantine and its having vanished.

    `matched` is how it was known without a download: "emailid", "headers", "returned" (it had vanished under the
    same UID); None if fetched.
    `server_size` is RFC822.SIZE; `internaldate` the server's text or None. `headers` may be None where those of its
    digest are in the journal already, and in journals from before 0.3.0.
    """

    kind: ClassVar[str] = "stored"
    epoch: int
    uid: int
    digest: Digest
    size: int
    crlf_size: int
    server_size: int | None
    internaldate: str | None
    arrived: int
    flags: Flags
    message_id: str | None
    header_digest: Digest | None
    emailid: str | None
    matched: str | None
    at: str
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class HeadersFact:
    """The headers of all messages of a digest, read from octets that were stored before headers were kept."""

    kind: ClassVar[str] = "headers"
    digest: Digest
    headers: Headers


@dataclass(frozen=True, slots=True)
class PackedFact:
    """These messages lie in the pack whose octets have that digest and size, each as a frame: its digest, the
    frame's offset and length. Of several frames of a message the newest counts."""

    kind: ClassVar[str] = "packed"
    pack: Digest
    size: int
    frames: tuple[tuple[Digest, int, int], ...]


@dataclass(frozen=True, slots=True)
class FlagsFact:
    """A message's flags are now these."""

    kind: ClassVar[str] = "flags"
    epoch: int
    uid: int
    flags: Flags
    at: str


@dataclass(frozen=True, slots=True)
class VanishedFact:
    """These messages were seen to be gone from the server; the archive keeps them."""

    kind: ClassVar[str] = "vanished"
    epoch: int
    uids: tuple[int, ...]
    at: str


@dataclass(frozen=True, slots=True)
class QuarantinedFact:
    """A message could not be fetched or stored: one more try failed, or a person accepted the loss."""

    kind: ClassVar[str] = "quarantined"
    epoch: int
    uid: int
    step: str
    reason: str
    server_reply: str | None
    accepted: bool
    at: str


@dataclass(frozen=True, slots=True)
class ReleasedFact:
    """These left quarantine because the server no longer has them."""

    kind: ClassVar[str] = "released"
    epoch: int
    uids: tuple[int, ...]
    at: str


@dataclass(frozen=True, slots=True)
class PassFact:
    """What this run saw in a folder: the terms of the equation that only the server knows. `error` is what kept
    it from being finished. `shown`: the server probably shows only a part of the folder, so many messages; the rest
    of `on_server` are messages that it showed before. None: it shows all of them."""

    kind: ClassVar[str] = "pass"
    epoch: int
    on_server: int
    excluded: int
    error: str | None
    at: str
    shown: int | None = None


@dataclass(frozen=True, slots=True)
class StateFact:
    """A pass over a folder is complete: where it stood when the pass began. `size` in octets, as STATUS told."""

    kind: ClassVar[str] = "state"
    epoch: int
    uidnext: int | None
    highestmodseq: int | None
    messages: int
    filter: str | None
    at: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class FenceFact:
    """A machine went on where another one, which may only be asleep, did not give its lease back, or is about to
    remove what no segment names: from here on the journal is written under the lease `fence` (0: there is none)."""

    kind: ClassVar[str] = "fence"
    fence: int
    host: str
    run: str
    at: str


Fact = Union[  # noqa: UP007 - a runtime value, iterated below
    ArchiveFact,
    FolderFact,
    EpochFact,
    StoredFact,
    HeadersFact,
    PackedFact,
    FlagsFact,
    VanishedFact,
    QuarantinedFact,
    ReleasedFact,
    PassFact,
    StateFact,
    FenceFact,
    DestinationFact,
    ReachedFact,
    DistinctFact,
    MappedFact,
    TargetFact,
    IntentFact,
    CopiedFact,
    UnsentFact,
    SettledFact,
    TwinFact,
    RefusedFact,
    ReflaggedFact,
    RemovedFact,
    MarkedFact,
    TargetStateFact,
    RenamingFact,
    RenamedFact,
]

_KINDS: dict[str, type[Any]] = {cls.kind: cls for cls in get_args(Fact)}
_FIELDS = {cls: tuple(field.name for field in fields(cls)) for cls in _KINDS.values()}
_OF_HEADERS = tuple(field.name for field in fields(Headers))
_TUPLES = frozenset({"path", "uids", "repaired"})
_ROWS = frozenset({"messages", "frames", "attempted"})
_SETS = frozenset({"flags", "attributes", "source_flags", "lost"})
_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode


def fact_to_json(fact: Fact) -> str:
    """One JSON object on one line, keys in a fixed order. Octets of a name are written as Latin-1."""
    record: dict[str, object] = {"fact": fact.kind}
    for name in _FIELDS[type(fact)]:
        value = getattr(fact, name)
        if value.__class__ is bytes:
            value = value.decode("latin-1")
        elif value.__class__ is frozenset:
            value = sorted(value)
        elif value.__class__ is Headers:
            value = {each: getattr(value, each) for each in _OF_HEADERS}
        record[name] = value
    return _encode(record)


def fact_from_json(line: str) -> Fact:
    """The inverse of `fact_to_json`.

    Raises:
        ValueError: not a fact this version knows.
    """
    try:
        record = json.loads(line)
        cls = _KINDS[record.pop("fact")]
        for name in record.keys() & _TUPLES:
            record[name] = tuple(record[name])
        for name in record.keys() & _SETS:
            record[name] = frozenset(record[name])
        for name in record.keys() & _ROWS:
            if isinstance(record[name], list):  # a state's `messages` are a number
                record[name] = tuple(tuple(row) for row in record[name])
        if record.get("headers") is not None:
            record["headers"] = Headers(**record["headers"])
        if "raw" in record:
            record["raw"] = record["raw"].encode("latin-1")
        fact: Fact = cls(**record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"not a known fact: {line[:120]!r}") from error
    return fact


@dataclass(frozen=True, slots=True)
class Segment:
    """A complete, numbered file of facts of one run; `previous` is the digest of the file before it, `fence` the
    number of the lease it was written under, where an archive has one."""

    number: int
    run: str
    previous: Digest
    digest: Digest
    facts: Sequence[Fact]
    fence: int | None = None

    @property
    def name(self) -> str:
        """The file's name in the journal."""
        return f"{self.number:08d}-{self.run}.jsonl.gz"
