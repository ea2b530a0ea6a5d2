"""What a catalog knows of destinations, and of the replicas there.

A *replica* is a message of the archive in a folder of a destination (`copied` in the journal). A *replica folder*
is such a folder under one UIDVALIDITY (`target` in the journal). Destinations, replica folders and folders of the
archive are named by their numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from archiver.facts.replica import (
    Address,
    Attempt,
    Intent,
    KnownDestination,
    LateTwin,
    Loss,
    MessageKey,
    Moved,
    Outgoing,
    Refused,
    Replica,
    ReplicaFolder,
    ReplicaTally,
    UnknownMessage,
)
from archiver.mail.model import Digest


class Replicas(Protocol):
    """What destinations hold of the archive, by subject."""

    @property
    def destinations(self) -> Destinations:
        """Which destinations are known, and what they are known by."""

    @property
    def folders(self) -> ReplicaFolders:
        """Their folders, and what these hold in all."""

    @property
    def messages(self) -> ReplicaMessages:
        """The replicas of a folder."""

    @property
    def changes(self) -> ReplicaChanges:
        """What has to be looked at or changed in a folder."""

    @property
    def pending(self) -> PendingMessages:
        """What a folder lacks."""


class Destinations(Protocol):
    """Which destinations the catalog knows, and what they are known by."""

    def at(self, address: Address) -> KnownDestination | None:
        """The destination that was met under this address last; one whose port is not recorded only where no port
        of that host and user is. None if it is new."""

    def with_history(self) -> Sequence[KnownDestination]:
        """The destinations whose folders were opened, each by its newest address, the one met last first."""

    def is_distinct(self, destination: int) -> bool:
        """Whether the user said that it is another mailbox than the present source."""

    def known_before(self, destination: int) -> Collection[int]:
        """The UIDVALIDITYs that the source showed before a folder of the destination did."""

    def count_known(self, strangers: Collection[UnknownMessage]) -> int:
        """How many of these messages are messages of the archive, by Message-ID; by size and INTERNALDATE where
        they have none."""


class ReplicaFolders(Protocol):
    """The folders of a destination, and what they hold in all."""

    def current(self, destination: int) -> Mapping[bytes, ReplicaFolder]:
        """The current folders by their raw names; ended ones are not among them."""

    def mapped(self, destination: int) -> Mapping[int, tuple[bytes, tuple[str, ...], str]]:
        """(raw, path, rules) of each folder's place at the destination, by the folder's number."""

    def moved(self, destination: int) -> Sequence[Moved]:
        """Folders there that are not where the folders that have their mail now go, by what was recorded."""

    def holding(self, destination: int) -> Mapping[bytes, tuple[int, int]]:
        """UIDVALIDITY and number of our replicas in each current folder, by its raw name."""

    def stranded(self, destination: int) -> Mapping[int, int]:
        """How many replicas that we appended are there of folders that the source no longer has, by their numbers;
        without those that the user restored."""

    def tallies(self, destination: int, run: str | None) -> Sequence[ReplicaTally]:
        """What became of every mapped folder's present messages, and what `run` brought back besides them."""

    def losses(self, destination: int) -> Sequence[Loss]:
        """What the destination altered or does not keep of present messages, and what it stored twice; by folder
        and kind."""


class ReplicaMessages(Protocol):
    """The replicas in a folder of a destination, as recorded."""

    def all(self, target: int, *, removed: bool = False) -> Iterator[Replica]:
        """All replicas of present messages, and of those that were brought back, that were not seen to be gone, in
        UID order; with `removed`, all that were seen to be gone. The state at the first item holds to the last."""

    def newest(self, target: int, limit: int) -> Sequence[Replica]:
        """The `limit` replicas with the highest UIDs that were not seen to be gone."""

    def claimed(self, target: int) -> dict[int, bool]:
        """The UIDs of all replicas, true for those that were not seen to be gone."""

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        """The UIDs of replicas that were seen to be gone, by folder, ended ones too."""

    def equal(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Replicas with one of these digests, also those that were seen to be gone."""

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Replicas with one of these digests whose message the source no longer has under that UID, or in that
        folder: it vanished, its epoch ended, or the folder is gone. The same octets under another UID are then
        known to be there."""

    def missing(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Those of these messages, present or not, that have no replica in the folder and that its user did not
        remove."""


class ReplicaChanges(Protocol):
    """What has to be looked at or changed in a folder of a destination."""

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Replica]:
        """The next `limit` replicas after the UID `after` whose message's flags are no longer those that were
        replayed, or that are marked although their message is there."""

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Replica, Outgoing]]:
        """The next `limit` replicas after the UID `after` that show another size than was sent and were not
        compared yet, with their messages, in UID order."""

    def deletable(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas that we appended and that may be deleted: two complete archive steps saw that their message
        vanished, or that its folder did, one of `gone`. Not those with the octets of a message that is at the
        source and that the destination lacks."""

    def attempts(self, target: int) -> Sequence[Attempt]:
        """Messages that have a replica and may be stored once more: an APPEND before that was never answered."""

    def twins(self, target: int) -> Sequence[LateTwin]:
        """Messages that were stored once more, and that were not seen to be gone, in UID order."""


class PendingMessages(Protocol):
    """What a folder of a destination lacks: of the archive's folders as they are, or as they stood at some moment
    of the past."""

    def count(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages `batch` would give in all, and their octets."""

    def batch(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next messages of `folders` after `after` that have no replica in the folder and that its user did not
        remove, at most `limit`, in the order of epoch and UID; none only if none is left. `vanished`: also those
        that are gone from the source, each as often as the folder held it."""

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome, in the order of epoch and UID."""

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Messages that were refused where their folder goes now; `vanished`: also those that are gone from the
        source."""

    def vanished(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas that we appended of messages that vanished, or were in one of the folders `gone` and these are
        no longer at the source: the user may want to keep them."""
