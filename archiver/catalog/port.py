"""What a catalog has to be: the facts of the journal, queryable, and which runs there were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from archiver.facts.archive import ArchiveFact, Segment
from archiver.facts.query import Found, Query, Unindexed
from archiver.facts.replica import (
    Address,
    Attempt,
    Claim,
    Copy,
    CopyTally,
    Intent,
    KnownDestination,
    KnownTarget,
    LateTwin,
    Loss,
    MessageKey,
    Moved,
    Outgoing,
    Refused,
    UnknownMessage,
)
from archiver.mail.model import (
    Attributes,
    Digest,
    Flags,
    Frame,
    Headers,
    KnownEpoch,
    KnownFolder,
    Numbers,
    Placement,
    Quarantined,
    Tally,
)


class CatalogPlace(Protocol):
    """Where the catalog of one archive is, whether there is one yet or not. Its text names it for people; two that
    are the same place are equal."""

    def exists(self) -> bool:
        """Whether there is a catalog.

        Raises:
            ArchiveNotWritable: this user may not look.
        """

    def is_writable(self) -> bool:
        """Whether this user can work on the catalog, and there is room. Whatever else is wrong with it shows when
        it is used."""

    def open(self) -> Catalog:
        """The catalog; it is opened, and made if there is none, when it is first used."""

    def scratch(self, word: str) -> AbstractContextManager[Catalog]:
        """A new, empty catalog of this name, for as long as it is needed. One of that name that a killed process
        left is removed first."""

    def install(self, word: str) -> str | None:
        """Put the scratch catalog `word` in the place of the archive's own, which is kept; returns the name under
        which it is kept, None if there was none. Both have to be closed.

        Interrupted, there is the old one, none (which the next run makes from the journal), or the new one.

        Raises:
            ArchiveNotWritable: it cannot be put there.
        """

    def remove_scratches(self, is_abandoned: Callable[[str], bool]) -> None:
        """Remove the scratch catalogs, by their words, that killed processes left."""

    def copied(self, directory: Path) -> CatalogPlace:
        """A copy of the catalog for this user alone, as it was at one moment, also while a run writes to the
        catalog, for as long as `directory` is there. There is none if there is no catalog. Nothing is changed where
        the catalog is.

        Raises:
            ArchiveNotWritable: this user cannot read it, or there is no room for the copy.
            IntegrityError: it is damaged.
            Locked: somebody writes to it all the time.
        """

    def claims(self) -> Claims:
        """What the account of this catalog claims at destinations, for another account."""


class Claims(Protocol):
    """What another account's catalog says of destinations. It is only read: not made, not upgraded to this version.

    Every method raises ArchiverError if the catalog cannot be read or is of a newer version.
    """

    def last_segment(self) -> int:
        """The number of the newest segment of the journal that the catalog has applied."""

    def copies(self, uids: Mapping[KnownTarget, Collection[int]]) -> Sequence[Claim]:
        """What the account claims of these UIDs in folders of those names and UIDVALIDITYs, at whatever
        destination."""

    def fillers(self, raw: bytes) -> Sequence[tuple[str, str]]:
        """The hosts and users at which the account fills a folder of that name, or once did."""


class Catalog(Protocol):
    """The facts, queryable. `apply` is the only way facts get in. A catalog is opened at the first call, in the
    thread or forked child that makes it, and again after `close`."""

    def last_segment(self) -> tuple[int, Digest]:
        """Number and digest of the newest segment applied; (0, "") for none."""

    def apply(self, segment: Segment) -> None:
        """Apply a segment's facts and its number in one transaction. A segment applied before is refused.

        Raises:
            IntegrityError: it is not the next one.
        """

    def close(self) -> None:
        """Close it; may be called twice."""

    @property
    def account(self) -> CatalogAccount:
        """Whose archive it is, and its folders."""

    @property
    def messages(self) -> CatalogMessages:
        """The messages of all folders."""

    @property
    def index(self) -> MessageIndex:
        """What messages are found by."""

    @property
    def ledger(self) -> RunLedger:
        """The runs and their steps."""

    @property
    def destinations(self) -> Destinations:
        """Which destinations are known, and what they are known by."""

    @property
    def copies(self) -> Copies:
        """What destinations hold of the archive."""


class CatalogAccount(Protocol):
    """Whose account it is, its folders and their epochs, and what its reports count."""

    def identity(self) -> ArchiveFact | None:
        """Whose archive this is; None when new."""

    def folders(self) -> Mapping[bytes, KnownFolder]:
        """All folders ever seen, by their raw name."""

    def epochs(self) -> Mapping[int, KnownEpoch]:
        """The current epoch of each folder, by folder number; ended ones are not among them."""

    def next_numbers(self) -> Numbers:
        """The numbers that come next."""

    def quarantined(self, epoch: int | None = None) -> Sequence[Quarantined]:
        """What waits in quarantine, of one current epoch or of those of all listed folders."""

    def tallies(self, run: str | None = None) -> Sequence[Tally]:
        """The equation of every listed folder, with the work of `run`."""


class CatalogMessages(Protocol):
    """The messages of all folders, present and vanished. It is also what a store asks for
    (`archiver.storage.port.Rows`)."""

    def known(self, epoch: int) -> dict[int, Flags]:
        """The present messages of an epoch: uid → flags. Equal sets of flags are one object."""

    def placements(self, epoch: int | None = None, *, uids: Collection[int] | None = None) -> Iterator[Placement]:
        """Where messages are: of one epoch (present and vanished) or of all, in UID order within an epoch. `uids`
        keeps to those of them that are there. The state at the first item holds to the last, whatever is applied
        meanwhile."""

    def by_digest(self) -> Iterator[Placement]:
        """All messages of all epochs, present and vanished, ordered by their digests: for stores that name objects
        so. Messages of equal octets are next to each other. The state at the first item holds to the last."""

    def attributes(self, epoch: int, uids: Collection[int]) -> dict[int, Attributes]:
        """Recorded flags, INTERNALDATE and RFC822.SIZE of these messages, to compare with a server's."""

    def twins(self, digests: Collection[Digest]) -> dict[tuple[Digest, int], Placement]:
        """Committed places of equal octets that arrived at the same second, by (digest, arrived). Present ones are
        preferred."""

    def candidates(self, sizes: Collection[int]) -> Sequence[Placement]:
        """Messages with one of these RFC822.SIZEs in the whole account, for re-matching in a new epoch."""

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where those of these messages that lie in packs do so."""

    def packs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of every pack, by digest. The state at the first item holds to the last."""


class MessageIndex(Protocol):
    """What the messages of a catalog are found by."""

    def headers(self, digests: Collection[Digest]) -> Mapping[Digest, Headers]:
        """What is known of the headers of these octets."""

    def find(self, query: Query) -> Sequence[Found]:
        """The newest messages that are what `query` asks for, by when they arrived. One that is in its folder under
        a new UID, in a new epoch, is not found under the old one."""

    def unindexed(self, after: MessageKey, limit: int) -> Sequence[Unindexed]:
        """The next messages after `after`, by epoch and UID, whose headers are not known."""

    def count_unindexed(self) -> int:
        """How many digests there are whose headers are not known."""


class RunLedger(Protocol):
    """Which runs there were, which of their steps are done. Part of the catalog, not of the archive's facts."""

    def begun_by(self) -> str | None:
        """The run that began the archive; None when new."""

    def begin(self, run: str, at: str) -> None:
        """A run begins; fine if it did before."""

    def finish(self, run: str, status: str, exit_code: int, at: str) -> None:
        """A run ended."""

    def runs(self) -> Sequence[tuple[str, str, str | None, str | None, int | None]]:
        """(run, started, finished, status, exit_code) of all runs, oldest first."""

    def complete_step(self, run: str, step: str, result: str, at: str, seconds: float | None = None) -> None:
        """A step is done, in so many seconds; `result` is JSON for the steps after it."""

    def timings(self, run: str) -> Mapping[str, float]:
        """How many seconds the steps of a run took."""

    def step_result(self, run: str, step: str) -> str | None:
        """The result of a step that is done; None if it is not."""


class Destinations(Protocol):
    """Which destinations the catalog knows, and what they are known by."""

    def at(self, address: Address) -> KnownDestination | None:
        """The destination that was met under this address last; one whose port is not recorded only where no port
        of that host and user is. None if it is new."""

    def with_history(self) -> Sequence[KnownDestination]:
        """The destinations whose folders were opened, each by its newest address, the one met last first."""

    def is_distinct(self, destination: int) -> bool:
        """Whether a person said that it is another mailbox than the present source."""

    def known_before(self, destination: int) -> Collection[int]:
        """The UIDVALIDITYs that the source showed before a folder of the destination did."""

    def count_known(self, strangers: Collection[UnknownMessage]) -> int:
        """How many of these messages are messages of the archive, by Message-ID; by size and INTERNALDATE where
        they have none."""


class Copies(Protocol):
    """What the catalog knows of destinations. A destination, a target and a folder are named by their numbers."""

    def mapped(self, destination: int) -> Mapping[int, tuple[bytes, tuple[str, ...], str]]:
        """(raw, path, rules) of each folder's place at the destination, by the folder's number."""

    def targets(self, destination: int) -> Mapping[bytes, KnownTarget]:
        """The current targets by their raw names; ended ones are not among them."""

    def holding(self, destination: int) -> Mapping[bytes, tuple[int, int]]:
        """UIDVALIDITY and number of our copies in each current target, by its raw name."""

    def work(self, target: int, folders: Collection[int], *, vanished: bool = False) -> tuple[int, int]:
        """How many messages `pending` would give, and their octets."""

    def pending(
        self, target: int, folders: Collection[int], *, after: MessageKey, limit: int, vanished: bool = False
    ) -> Sequence[Outgoing]:
        """The next `limit` present messages of `folders` after `after` that have no copy in the target, in the
        order of epoch and UID. `vanished`: also those that are gone from the source, each as often as the folder
        held it."""

    def lacking(self, target: int, keys: Collection[MessageKey]) -> Collection[MessageKey]:
        """Those of these messages, present or not, that have no copy in the target and that its user did not
        remove."""

    def equal(self, target: int, digests: Collection[Digest]) -> Sequence[Copy]:
        """Copies with one of these digests, also those that were seen to be gone."""

    def removed(self, destination: int) -> Mapping[int, Collection[int]]:
        """The UIDs of copies that were seen to be gone, by target, ended ones too."""

    def claimed(self, target: int) -> dict[int, bool]:
        """The UIDs of all copies, true for those that were not seen to be gone."""

    def newest(self, target: int, limit: int) -> Sequence[Copy]:
        """The `limit` copies with the highest UIDs that were not seen to be gone."""

    def intents(self, target: int) -> Sequence[Intent]:
        """Messages whose APPEND has an unknown outcome, in the order of epoch and UID."""

    def attempts(self, target: int) -> Sequence[Attempt]:
        """Messages that have a copy and may be stored once more: an APPEND before that was never answered."""

    def twins(self, target: int) -> Sequence[LateTwin]:
        """Messages that were stored once more, and that were not seen to be gone, in UID order."""

    def left_over(self, target: int, digests: Collection[Digest]) -> Sequence[Copy]:
        """Copies with one of these digests whose message the source no longer has under that UID, or in that
        folder."""

    def reflagged(self, target: int, *, after: int = 0, limit: int | None = None) -> Sequence[Copy]:
        """The next `limit` copies after the UID `after` whose message's flags are no longer those that were
        replayed, or that are marked although their message is there."""

    def doubtful(self, target: int, *, after: int, limit: int) -> Sequence[tuple[Copy, Outgoing]]:
        """The next `limit` copies after the UID `after` that show another size than was sent and were not compared
        yet, with their messages, in UID order."""

    def vanished(self, target: int, *, twice: bool = True, gone: Collection[int] = ()) -> Sequence[Copy]:
        """Copies that we appended whose message vanished, or was in one of the folders `gone` and these are no
        longer at the source. `twice`: those that may be withdrawn, being seen so by two complete archive steps, and
        without those with the octets of a message that is at the source and that the destination lacks."""

    def moved(self, destination: int) -> Sequence[Moved]:
        """Targets that are not where the folders that have their mail now go, by what was recorded."""

    def stranded(self, destination: int) -> Mapping[int, int]:
        """How many copies that we appended are there of folders that the source no longer has, by their numbers;
        without those that a person had brought back."""

    def copies(self, target: int, *, removed: bool = False) -> Iterator[Copy]:
        """All copies of present messages, and of those that were brought back, that were not seen to be gone, in
        UID order; or all that were."""

    def refused(self, destination: int, *, vanished: bool = False) -> Sequence[Refused]:
        """Present messages that were refused; `vanished`: also those that are gone from the source."""

    def tallies(self, destination: int, run: str | None) -> Sequence[CopyTally]:
        """What became of every mapped folder's present messages, and beside them what `run` brought back."""

    def losses(self, destination: int) -> Sequence[Loss]:
        """What the destination altered or does not keep, and what it stored twice."""
