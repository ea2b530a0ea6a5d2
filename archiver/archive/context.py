"""What the connections of one account share while they archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from archiver.archive.scanned import QuarantineRetry
from archiver.archive.unrecorded import UnrecordedFiles
from archiver.catalog.port import Catalog
from archiver.control.run import RunControl
from archiver.facts.known import KnownEpoch, KnownFolder
from archiver.journal.recorder import Recorder
from archiver.mail.model import Digest
from archiver.source.port import MailSource
from archiver.storage.port import FolderMetadata, MessageStore, Prefetch


class Follower(Protocol):
    """Somebody who goes on with the folders that are complete, while the others are still being fetched."""

    @property
    def waits(self) -> bool:
        """Whether the next folder that is complete would be used at once."""

    def completed(self, folder: int) -> None:
        """All that this pass found in the folder of this number is durable, and recorded. Never waits."""


class Context(Struct, frozen=True):
    """What the connections of one account share.

    `connect(extra, leave)` makes a source that connects when it is first used; an `extra` one connects immediately,
    or fails. `leave` is that of the connection's `Member`. `retry` says which quarantined messages are tried;
    `accept`: the user accepts whatever the server delivers for them. `whole` are globs of the folders that count as
    complete, whatever number of messages they show. `live` are the epochs that the server still shows. `unrecorded`
    are messages that a crashed run stored but did not record. `refused` collects the reasons why folders could not
    be opened, by raw name. `identify`: more than one folder is archived, so the same message may be in several.
    `forgotten` are digests of messages that must not come back, each with the number under which it was forgotten.
    `settled`: the last run ended well. `follower` is waiting for folders that are complete.
    """

    connect: Callable[[bool, Callable[[], bool]], MailSource]
    store: MessageStore
    metadata: FolderMetadata | None
    prefetch: Prefetch | None
    catalog: Catalog
    recorder: Recorder
    search: str | None
    whole: Sequence[str]
    retry: QuarantineRetry
    accept: bool
    control: RunControl
    folders: Mapping[bytes, KnownFolder]
    epochs: Mapping[int, KnownEpoch]
    live: frozenset[tuple[str, int]]
    unrecorded: UnrecordedFiles
    refused: dict[bytes, str]
    forgotten: Mapping[Digest, int]
    identify: bool = False
    settled: bool = False
    follower: Follower | None = None

    @property
    def rematch(self) -> bool:
        """Whether any folder of the archive was ever complete, so that its mail may turn up elsewhere."""
        return any(epoch.state is not None for epoch in self.epochs.values())
