"""What a catalog knows about destinations and the replicas there.

A *replica* is a message of the archive in a folder of a destination (`copied` in the journal). A *replica folder*
is such a folder under one UIDVALIDITY (`target` in the journal). Destinations, replica folders and folders of the
archive are named by their numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from archiver.facts.access import Annotations, Granted, Rights
from archiver.facts.outgoing import Attempt, Intent, LateTwin, Outgoing, Refused, Watch
from archiver.facts.replica import (
    Address,
    KnownDestination,
    Loss,
    MappedPlace,
    MessageKey,
    Moved,
    Replica,
    ReplicaCount,
    ReplicaFolder,
    ReplicaTally,
    UnknownMessage,
)
from archiver.facts.restored import Restored, RestorePlace, RestoreTally
from archiver.mail.model import Digest


class Replicas(Protocol):
    """What destinations hold from the archive, by subject."""

    @property
    def destinations(self) -> Destinations:
        """The known destinations, and how they are recognised."""

    @property
    def folders(self) -> ReplicaFolders:
        """Their folders, with totals."""

    @property
    def messages(self) -> ReplicaMessages:
        """The replicas in a folder."""

    @property
    def changes(self) -> ReplicaChanges:
        """What has to be checked or changed in a folder."""

    @property
    def pending(self) -> PendingMessages:
        """What is missing in a folder."""

    @property
    def sharing(self) -> Sharing:
        """Who may do what in the folders, at the source and there."""

    @property
    def restores(self) -> Restores:
        """What was given back to a mailbox because somebody asked for it."""


class Sharing(Protocol):
    """Access rights and annotations of the folders at the source, and what of that was given at destinations."""

    def rights(self) -> Mapping[int, Rights]:
        """The rights of each folder whose rights were seen, by its number."""

    def annotations(self) -> Mapping[int, Annotations]:
        """The annotations of each folder that has or had some, by its number; 0 is the server."""

    def granted(self, destination: int) -> Mapping[int, Granted]:
        """What was given at a destination, by the folder's number."""


class Destinations(Protocol):
    """The destinations that the catalog knows, and how they are recognised."""

    def at(self, address: Address) -> KnownDestination | None:
        """The destination that was last reached at this address; None if it is new. An address without a recorded
        port counts only if no port is recorded for that host and user."""

    def with_history(self) -> Sequence[KnownDestination]:
        """The destinations whose folders were opened, each with its newest address, the most recently used
        first."""

    def is_distinct(self, destination: int) -> bool:
        """Whether the user confirmed that it is another mailbox than the present source."""

    def known_before(self, destination: int) -> Collection[int]:
        """UIDVALIDITYs that the source had before a folder of the destination had the same one."""

    def count_known(self, strangers: Collection[UnknownMessage]) -> int:
        """How many of these messages are in the archive, by Message-ID, or by size and INTERNALDATE if they have
        none."""


class ReplicaFolders(Protocol):
    """The folders of a destination, with totals."""

    def current(self, destination: int) -> Mapping[bytes, ReplicaFolder]:
        """The current folders by raw name, without ended ones."""

    def mapped(self, destination: int) -> Mapping[int, MappedPlace]:
        """The destination folder that each folder is mapped to, by the folder's number."""

    def moved(self, destination: int) -> Sequence[Moved]:
        """Destination folders whose mail now belongs to a source folder that is mapped elsewhere, as after a rename
        at the source; from the records alone."""

    def holding(self, destination: int) -> Mapping[bytes, tuple[int, int]]:
        """UIDVALIDITY and number of our replicas in each current folder, by raw name."""

    def counts(self, destination: int) -> Mapping[int, Mapping[int, ReplicaCount]]:
        """What each current folder holds of each folder of the archive, by their numbers."""

    def stranded(self, destination: int) -> Mapping[int, int]:
        """How many replicas that we appended belong to folders that the source no longer has, by folder number;
        without those that the user restored."""

    def tallies(self, destination: int, run: str | None) -> Sequence[ReplicaTally]:
        """The outcome for every mapped folder's present messages, and what `run` restored besides them."""

    def losses(self, destination: int) -> Sequence[Loss]:
        """What the destination altered or does not keep, and what it stored twice, by folder and kind."""


class ReplicaMessages(Protocol):
    """The replicas in a folder of a destination, as recorded."""

    def all(self, target: int, *, removed: bool = False, uids: Collection[int] | None = None) -> Iterator[Replica]:
        """The replicas of present and of restored messages that still exist as far as known, in UID order; with
        `removed`, all that are gone; with `uids`, only these. The result is a snapshot at the first item."""

    def newest(self, target: int, limit: int, *, removed: bool = False) -> Sequence[Replica]:
        """The `limit` existing replicas with the highest UIDs; with `removed`, also of those that are gone."""

    def claimed(self, target: int, *, since: int = 0) -> dict[int, bool]:
        """The UIDs of all replicas from `since` on; true for those that still exist as far as known."""

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        """The UIDs of replicas that are gone, by folder, including ended folders."""

    def equal(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Replicas with one of these digests, including those that are gone."""

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Replica]:
        """Replicas with one of these digests whose message the source no longer has under that UID, or in that
        folder: it vanished, its epoch ended, or the folder is gone. The same octets under another UID are then
        known to be there."""

    def shown_before(self, target: int, digests: Collection[Digest]) -> Mapping[Digest, Replica]:
        """Replicas of messages with one of these digests that were in the folder before it got other UIDs: the
        newest of each."""

    def missing(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Which of these messages, present or not, have no replica in the folder and were not removed by its
        user."""


class ReplicaChanges(Protocol):
    """What has to be checked or changed in a folder of a destination."""

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Replica]:
        """The next `limit` replicas after the UID `after` whose message has other flags than were replayed, or that
        are marked as deleted although their message exists at the source."""

    def relabelled(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Replica]:
        """The next `limit` replicas of present messages after the UID `after` whose message has other labels than
        were replayed."""

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Replica, Outgoing]]:
        """The next `limit` replicas after the UID `after` whose size differs from what was sent and whose octets
        were not compared yet, with their messages, in UID order."""

    def uncompared(self, target: int, *, limit: int) -> Sequence[Replica]:
        """At most `limit` existing replicas of present and of restored messages that were not compared since they
        were recorded, or whose flags were not replayed, in UID order."""

    def altered(self, target: int) -> Sequence[int]:
        """The UIDs of replicas that the destination altered or shows cut off, and that the user did not accept."""

    def deletable(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas that we appended and that may be deleted: two complete archive steps saw that their message
        vanished, or that its folder, one of `gone`, did. A replica is kept if the same octets are still at the
        source and the destination has no other replica of them."""

    def attempts(self, target: int) -> Sequence[Attempt]:
        """Messages that have a replica and may be stored a second time, because an earlier APPEND was never
        answered."""

    def twins(self, target: int) -> Sequence[LateTwin]:
        """Messages that were stored a second time and still exist as far as known, in UID order."""


class PendingMessages(Protocol):
    """The messages that are missing in a destination folder, compared with the archive's folders as they are or as
    they were at a past moment."""

    def count(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages `batch` would return in all, and their octets."""

    def batch(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next messages of `folders` after `after` that have no replica in the folder and were not removed by
        its user, at most `limit`, by epoch and UID; an empty result means that none is left. Those that we removed
        from the source are among them if no folder of the destination ever had them. `vanished` includes all that
        are gone from the source, each as often as the folder held it."""

    def without_equal(self, folders: Collection[int], among: Collection[int]) -> Mapping[int, int]:
        """How many messages of each of `folders` have octets that no message of the folders `among` has; folders
        without such a message are left out."""

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome, by epoch and UID."""

    def watched(self, target: int, watch: Watch) -> Watch:
        """Since when the folder is watched for messages whose APPEND has an unknown outcome: since `watch`, which
        is recorded, or since an earlier one by the same clock, unless a message was about to be sent after it."""

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Messages that were refused by the folder that theirs is mapped to now. `vanished` includes all that are
        gone from the source, not only those that we removed there."""

    def vanished(self, target: int, *, gone: Collection[int] = ()) -> Sequence[Replica]:
        """Replicas that we appended whose messages vanished, or were in one of the folders `gone`. The user may
        want to keep them."""


class Restores(Protocol):
    """What was given back to a mailbox because somebody asked for it. A place to restore to has a number among
    those of destinations, and its folders and replicas are those of that number."""

    def places(self, address: Address) -> Sequence[RestorePlace]:
        """The places at this address to which messages were restored."""

    def outcomes(self, places: Collection[int], keys: Collection[MessageKey]) -> Mapping[MessageKey, Restored]:
        """What became of these messages at these places: those that are there as far as known, and those that were
        there after they were asked for. A place may be a destination: what the replay brought there counts."""

    def live(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Which of these messages have a replica in the folder that exists as far as known."""

    def unresolved(self, places: Collection[int]) -> Sequence[tuple[int, ReplicaFolder]]:
        """Places and their folders where the outcome of an APPEND is unknown."""

    def at_source(self, digests: Collection[Digest]) -> Mapping[Digest, Collection[int]]:
        """The folders, by number, in which the source still has messages with these digests."""

    def at_destination(self, destination: int, digests: Collection[Digest]) -> Mapping[Digest, Collection[bytes]]:
        """The folders, by raw name, in which a destination has messages with these digests as far as known."""

    def tallies(self) -> Sequence[RestoreTally]:
        """What was restored to each place, the most recent one first."""
