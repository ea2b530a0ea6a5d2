"""What is known about a destination: its folders, our replicas in them, and their numbers for the report.

A *replica folder* is a folder of a destination under one UIDVALIDITY, as an epoch is one of the source; in the
journal it is a `target`. A *replica* is a message of the archive in such a folder, identified by its UID there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from archiver.facts.destination import CopiedFact
from archiver.mail.model import Digest, Flags, FolderStatus, Labels, StoredMessage

MessageKey = tuple[int, int]
"""A message of the archive: its epoch's number and its UID there."""


def by_epoch(keys: Iterable[MessageKey]) -> dict[int, set[int]]:
    """The UIDs of these messages, by the number of their epoch."""
    found: dict[int, set[int]] = {}
    for epoch, uid in keys:
        found.setdefault(epoch, set()).add(uid)
    return found


class ReplicaFolderState(Struct, frozen=True):
    """The state of a replica folder after its last complete pass."""

    uidnext: int
    messages: int


class ReplicaFolder(Struct, frozen=True):
    """A replica folder as the catalog knows it. `state` is None until a pass over it was complete. `renaming` is
    the new name if a rename was begun and its outcome is not recorded. `compared` is its status before its replicas
    were last compared and found as recorded; it has a HIGHESTMODSEQ. None if that is not known."""

    number: int
    raw: bytes
    uidvalidity: int
    state: ReplicaFolderState | None = None
    renaming: bytes | None = None
    compared: FolderStatus | None = None


class MappedPlace(NamedTuple):
    """The folder of a destination that a folder of the archive is mapped to, as in `MappedFact`."""

    raw: bytes
    path: tuple[str, ...]
    rules: str
    subscribed: bool | None


class Moved(Struct, frozen=True):
    """A replica folder whose mail has left its folder at the source, or whose folder is mapped elsewhere now,
    together with a folder of the archive that has `equal` of these `left` messages, octet for octet. That folder
    holds `held` messages; `complete`: the archive has seen all of it."""

    target: int
    folder: int
    equal: int
    left: int
    held: int
    complete: bool

    @property
    def is_same(self) -> bool:
        """Whether it is the same folder under another name."""
        return 2 * self.equal > self.left or (not self.complete and 2 * self.equal > self.held)


class Address(Struct, frozen=True):
    """The address of a destination, the host in lower case. `port` is None if it was not recorded."""

    host: str
    user: str
    port: int | None

    def __str__(self) -> str:
        return f"{self.user} at {self.host}" + (f":{self.port}" if self.port is not None else "")


class KnownDestination(Struct, frozen=True):
    """A destination that the catalog knows, by its number and one of its addresses."""

    number: int
    address: Address


class Claim(Struct, frozen=True):
    """A replica of another account in the folder that we know as `target`, existing as far as that account knows:
    of a message with this digest, at a destination that was reached at this host and user, as written at that time.
    A destination with several addresses results in one claim for each."""

    target: ReplicaFolder
    host: str
    user: str
    uid: int
    digest: Digest


class UnknownMessage(Struct, frozen=True):
    """A message at a destination about which nothing is recorded. `size` is RFC822.SIZE, `arrived` the INTERNALDATE
    in seconds since 1970."""

    message_id: str | None
    size: int | None
    arrived: int | None


class Replica(Struct, frozen=True):
    """A message in a replica folder, as recorded. `message` is its present state in the archive, in the epoch
    `epoch`. `source_flags` are its flags that were replayed, `flags` those that the destination showed afterwards,
    `lost` those that it does not keep. `size` is the destination's RFC822.SIZE then; `sent_digest` is None if its
    octets were sent unaltered. `folder` is the number of the archive's folder. `accepted`: the user accepted it as
    it is shown. `source_labels`, `labels` and `lost_labels` are the same for Gmail's labels; None if these were
    never replayed."""

    uid: int
    epoch: int
    message: StoredMessage
    how: str
    sent_digest: Digest | None
    size: int | None
    dated: bool
    source_flags: Flags
    flags: Flags
    lost: Flags
    likeness: str | None
    repaired: tuple[str, ...]
    removed: bool = False
    marked: bool = False
    folder: int = 0
    accepted: bool = False
    source_labels: Labels | None = None
    labels: Labels | None = None
    lost_labels: Labels = frozenset()

    @property
    def key(self) -> MessageKey:
        return self.epoch, self.message.uid

    def copied_fact(self, target: int, key: MessageKey, how: str, at: str) -> CopiedFact:
        """The fact that it is now the replica of the message `key`, in the replica folder with that number."""
        epoch, uid = key
        return CopiedFact(
            target=target,
            target_uid=self.uid,
            epoch=epoch,
            uid=uid,
            how=how,
            source_flags=self.source_flags,
            flags=self.flags,
            lost=self.lost,
            size=self.size,
            repaired=self.repaired,
            sent_digest=self.sent_digest,
            dated=self.dated,
            likeness=self.likeness,
            at=at,
        )


def gone_words(name: str, copies: int) -> str:
    """The notice about a folder that the source no longer has."""
    some = f"{copies:,} of our copies stay" if copies != 1 else "1 of our copies stays"
    return f"folder {name} is gone from the source; {some}"


class ReplicaTally(Struct, frozen=True):
    """A folder's present messages by their outcome in the destination folder `name`: `replayed` in this run,
    `already_there` before, `refused`, `removed` by the destination's user, `pending` not yet sent. `restored` are,
    in addition, messages gone from the source that this run sent. Of those that are there, the destination altered
    `altered` or shows them cut off, and the user `accepted` such replicas. `left_out` are the messages of a folder
    that is not replayed by itself (`[replay] labels`)."""

    folder: str
    name: str
    replayed: int
    already_there: int
    refused: int
    removed: int
    pending: int
    altered: int = 0
    accepted: int = 0
    restored: int = 0
    left_out: int = 0


class ReplicaCount(Struct, frozen=True):
    """How many existing replicas of present and of restored messages of one folder a replica folder has: `there` in
    all, of which the user `accepted` some as they are, and the destination has `rewritten` some. `uncompared` were
    not compared since they were recorded, or have flags that were not replayed."""

    there: int
    accepted: int
    rewritten: int
    uncompared: int


class Loss(Struct, frozen=True):
    """What a destination altered or does not keep of a folder's messages: `kind` is "flags", "internaldate",
    "repaired", "rewritten" or "cut", `detail` names it, `uids` are the archive's. The kind "twin" is for messages
    that it stored twice; `detail` has the UIDs of the second ones there."""

    folder: str
    kind: str
    detail: str
    uids: tuple[int, ...]
