"""What the connections of one account share in the archive step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from archiver.archive.scanned import Retry
from archiver.archive.unrecorded import Orphans
from archiver.catalog.port import Catalog
from archiver.control import RunControl
from archiver.journal.recorder import Recorder
from archiver.mail.model import KnownEpoch, KnownFolder
from archiver.source.port import MailSource
from archiver.storage.port import MessageStore


@dataclass(frozen=True, slots=True)
class Context:
    """What the connections of one account share.

    `connect(extra, leave)` makes a source that connects when it is first used, an `extra` one at once or not at
    all; `leave` is that of the connection's `Member`; `check_stop` raises when the run is to end; `now` is UTC in
    ISO 8601; `retry` says which quarantined messages are tried, `accept` that a person takes what the server gives;
    `whole` are globs of the folders that a person calls whole, whatever number of messages they show; `shown` are
    the epochs the server still shows; `orphans` are octets that a crashed run left without facts; `refused` gathers
    why folders could not be opened.
    """

    connect: Callable[[bool, Callable[[], bool]], MailSource]
    store: MessageStore
    catalog: Catalog
    recorder: Recorder
    search: str | None
    whole: Sequence[str]
    retry: Retry
    accept: bool
    control: RunControl
    folders: Mapping[bytes, KnownFolder]
    epochs: Mapping[int, KnownEpoch]
    shown: frozenset[tuple[str, int]]
    orphans: Orphans
    refused: dict[bytes, str]
