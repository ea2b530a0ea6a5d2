"""What a catalog has to be: the facts of the journal, queryable, and which runs there were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from archiver.catalog.replicas import Replicas
from archiver.facts.archive import ArchiveFact, Segment
from archiver.facts.query import Found, Query, Unindexed
from archiver.facts.replica import Claim, MessageKey, ReplicaFolder
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

    def replicas(self, uids: Mapping[ReplicaFolder, Collection[int]]) -> Sequence[Claim]:
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
    def replicas(self) -> Replicas:
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
