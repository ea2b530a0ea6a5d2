"""The interfaces of a catalog: the facts of the journal in queryable form, and the list of runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from archiver.catalog.keeping import Keeping
from archiver.catalog.pruning import Prunes
from archiver.catalog.replicas import Replicas
from archiver.facts.archive import ArchiveFact, Segment
from archiver.facts.known import FolderNumbering, KnownEpoch, KnownFolder, Numbers, Quarantined, Tally
from archiver.facts.query import Found, Query, Unindexed
from archiver.facts.replica import Claim, MessageKey, ReplicaFolder
from archiver.mail.model import Digest, Flags, Frame, Headers, Placement
from archiver.mail.uidset import UidSet

if TYPE_CHECKING:
    from archiver.mail.parts.contents import Contents


class CatalogPlace(Protocol):
    """Where the catalog of one archive is, or will be. `str()` names it for people. Two values for the same place
    are equal."""

    def exists(self) -> bool:
        """Whether there is a catalog.

        Raises:
            ArchiveNotWritable: this user has no access to that place.
        """

    def is_writable(self) -> bool:
        """Whether this user can write to the catalog, and its disk has space. Other problems show when it is
        used."""

    def open(self) -> Catalog:
        """The catalog. It is opened when it is first used, and created if there is none."""

    def scratch(self, word: str, *, to_install: bool = False) -> AbstractContextManager[Catalog]:
        """A new, empty scratch catalog of this name, removed at the end of the block. Those that killed processes
        left are removed first, whatever their names; those of living processes stay. One that is not `to_install`
        is not synced.

        Raises:
            Locked: a living process has one of this name.
        """

    def install(self, word: str) -> str | None:
        """Replace the archive's own catalog with the scratch catalog `word`. Both must be closed. The old one is
        kept; returns its new name, or None if there was none.

        If interrupted, the old one is in place, or the new one, or none (then the next run rebuilds it from the
        journal).

        Raises:
            ArchiveNotWritable: it cannot be moved there.
        """

    def copied(self, directory: Path) -> CatalogPlace:
        """A private copy of the catalog in `directory`, consistent even while a run writes to the catalog. If there
        is no catalog, there is no copy. Nothing changes where the catalog is.

        Raises:
            ArchiveNotWritable: this user cannot read it, or there is no space for the copy.
            IntegrityError: it is damaged.
            Locked: another process kept writing to it.
        """

    def discard_replaced(self) -> Sequence[str]:
        """Remove the catalogs that were replaced by `install`, and scratch catalogs that killed processes left;
        returns the names of the former.

        Raises:
            ArchiveNotWritable: one cannot be removed.
        """

    def claims(self) -> Claims:
        """What the account of this catalog claims at destinations, read on behalf of another account."""


class Claims(Protocol):
    """What another account's catalog records about destinations. It is only read: neither created nor upgraded.

    Every method raises ArchiverError if the catalog cannot be read or was written by a newer version.
    """

    def last_segment(self) -> int:
        """The number of the newest segment of the journal that the catalog has applied."""

    def replicas(self, uids: Mapping[ReplicaFolder, Collection[int]]) -> Sequence[Claim]:
        """Which of these UIDs the account claims, in folders with those names and UIDVALIDITYs at any
        destination."""

    def fillers(self, raw: bytes) -> Sequence[tuple[str, str]]:
        """The destinations (host, user) where the account fills a folder of that name, or did so before."""


class AppliedSegments(Protocol):
    """How facts get into a catalog: by segments of the journal, in their order."""

    def last_segment(self) -> tuple[int, Digest]:
        """Number and digest of the newest applied segment; (0, "") if there is none."""

    def has_segment(self, number: int, digest: str) -> bool:
        """Whether the segment of this number that was applied had this digest when it was written."""

    def apply(self, segment: Segment) -> None:
        """Apply a segment's facts and record its number, in one transaction. A segment that was already applied is
        refused.

        Raises:
            IntegrityError: it is not the next one.
        """

    def close(self) -> None:
        """Close it; may be called twice."""

    def purge(self) -> None:
        """Leave nothing of what was forgotten in files of the catalog: neither in unused parts of them, nor in what
        was derived from it. Does nothing if that was done since the last segment that forgot something. If
        interrupted, it is done by the next call.

        Raises:
            Locked: another process keeps reading it.
        """


class Catalog(AppliedSegments, Protocol):
    """The facts in queryable form; only `apply` adds facts. The catalog is opened by the first call, in whichever
    thread or forked child makes it, and again after `close`."""

    @property
    def account(self) -> CatalogAccount:
        """Whose archive it is, and its folders."""

    @property
    def messages(self) -> CatalogMessages:
        """The messages of all folders."""

    @property
    def index(self) -> MessageIndex:
        """What searches use."""

    @property
    def ledger(self) -> RunLedger:
        """The runs and their steps."""

    @property
    def replicas(self) -> Replicas:
        """What destinations hold from the archive."""

    @property
    def keeping(self) -> Keeping:
        """What must be kept, and what must not come back."""

    @property
    def prunes(self) -> Prunes:
        """What we removed from the source."""


class CatalogAccount(Protocol):
    """The account's identity, its folders and their epochs, and the counts for its reports."""

    def identity(self) -> ArchiveFact | None:
        """The archive's identity; None if it is new."""

    def folders(self) -> Mapping[bytes, KnownFolder]:
        """All folders that were ever seen, by raw name."""

    def epochs(self) -> Mapping[int, KnownEpoch]:
        """The current epoch of each folder, by folder number, without ended ones."""

    def next_numbers(self) -> Numbers:
        """The numbers that come next."""

    def quarantined(self, epoch: int | None = None) -> Sequence[Quarantined]:
        """The messages in quarantine, of one current epoch or of those of all listed folders."""

    def numbering(self, folder: int) -> FolderNumbering:
        """What is known of the UIDs that a folder's messages were given here."""

    def uids_of(self, folder: int, uidvalidity: int, names: Collection[str]) -> Mapping[str, int]:
        """The UIDs of those of `names` that have one under this UIDVALIDITY."""

    def tallies(self, run: str | None = None) -> Sequence[Tally]:
        """The equation of every listed folder, with the work of `run`."""


class CatalogMessages(Protocol):
    """The messages of all folders, present and vanished. Stores use it as `archiver.storage.port.Rows`."""

    def uids(self, epoch: int) -> UidSet:
        """The UIDs of an epoch's present messages."""

    def known(self, epoch: int, uids: UidSet | None = None) -> dict[int, Flags]:
        """The present messages of an epoch: UID → flags; those among `uids`, or all. Equal sets of flags are one
        object."""

    def placements(self, epoch: int | None = None, *, uids: Collection[int] | None = None) -> Iterator[Placement]:
        """Where messages are: of one epoch (present and vanished) or of all, in UID order within an epoch. `uids`
        limits the result to those UIDs. The result is a snapshot at the first item, whatever is applied in the
        meantime."""

    def by_digest(self) -> Iterator[Placement]:
        """All messages of all epochs, present and vanished, by digest, for stores that name objects by digest. The
        result is a snapshot at the first item."""

    def twins(self, digests: Collection[Digest]) -> dict[tuple[Digest, int], Placement]:
        """Committed places of the same octets that arrived in the same second, by (digest, arrived). Present ones
        are preferred."""

    def candidates(
        self, sizes: Collection[int] = (), *, emailids: Collection[str] = (), digests: Collection[Digest] = ()
    ) -> Sequence[Placement]:
        """Messages of the whole account, present and vanished, that may be the same as others: those with one of
        these RFC822.SIZEs, those that the present source shows with one of these EMAILIDs, or those with these
        octets, newest epochs first and in UID order. An EMAILID that was seen with different octets or sizes
        identifies nothing and is left out."""

    def frames(self, digests: Collection[Digest]) -> Mapping[Digest, Frame]:
        """Where these messages are in packs; those that are not in a pack are left out."""

    def packs(self) -> Iterator[tuple[Digest, int]]:
        """Digest and size of every pack, by digest. The result is a snapshot at the first item."""


class MessageIndex(Protocol):
    """The index that searches use."""

    def headers(self, digests: Collection[Digest]) -> Mapping[Digest, Headers]:
        """The recorded headers of the messages with these digests."""

    def find(self, query: Query) -> Sequence[Found]:
        """The messages that match `query`, newest arrival first. A message that got a new UID in a new epoch of its
        folder is not found under the old one."""

    def unindexed(self, after: MessageKey, limit: int) -> Sequence[Unindexed]:
        """The next messages after `after`, by epoch and UID, whose headers are not recorded."""

    def count_unindexed(self) -> int:
        """How many digests have no recorded headers."""

    def count_uncovered(self) -> int:
        """About how many headers each search has to read, since the index of texts does not cover them; 0 if they
        are too few to matter, or it may not be changed."""

    def cover(self) -> Iterator[int]:
        """Extend the index of texts to all headers; yields how many were added at a time. What was added is kept,
        wherever it stops. It ends at once if this user cannot, or another process is just doing it. What a search
        finds does not depend on it."""

    @property
    def contents(self) -> ContentIndex:
        """What messages say, of which `find` finds only what is in it."""


class ContentIndex(Protocol):
    """What messages say and what is attached to them, by digest, for `MessageIndex.find`. It only has what was put
    into it, can be made again from the messages, and is no part of the archive."""

    @property
    def may_change(self) -> bool:
        """Whether it may be extended here."""

    def count_missing(self, *, documents: bool | None = None) -> int:
        """How many messages, by digest, are not in it: all of them if it is to be with or without the text of
        attached `documents`, and is not."""

    def extending(self, *, documents: bool | None = None) -> AbstractContextManager[ContentExtension | None]:
        """The index, to be extended; None: this user cannot, or another process is just doing it. A search may be
        made meanwhile, and finds what was added until then. It is made again if it is to be with or without the
        text of attached `documents`, and is not.

        Raises (in the block): ArchiveNotWritable if it cannot be written; what was added before is in it.
        """


class ContentExtension(Protocol):
    """The index of contents while it is extended. Killed at any point, it has what was added."""

    def next(self, limit: int) -> Sequence[Placement]:
        """The next messages that are not in it, each once, in the order in which they were archived; none if all
        are. They have to be added before others are asked for. Messages that the catalog does not know are removed
        if the catalog is another one than last time."""

    def add(self, contents: Mapping[Digest, Contents | None]) -> None:
        """Add the messages that `next` returned; None: it could not be read, and is tried again the next time.
        Durable on return."""

    def discard(self, digests: Collection[Digest]) -> None:
        """Remove what these messages say; durable on return, fine if they are not there."""


class ReportLedger(Protocol):
    """Which runs have reports that may go."""

    def old_reports(self, before: str) -> Sequence[str]:
        """The runs that ended well before that moment and whose reports are not known to be gone, without the last
        run that ended well."""

    def forget_reports(self, runs: Sequence[str], at: str) -> None:
        """Record that the reports of these runs are gone."""


class RunLedger(ReportLedger, Protocol):
    """The list of runs and their completed steps. It is part of the catalog, but not of the archive's facts."""

    def begun_by(self) -> str | None:
        """The run that began the archive; None if it is new."""

    def begin(self, run: str, at: str) -> None:
        """Record that a run begins. May be called again."""

    def finish(self, run: str, status: str, exit_code: int, at: str) -> None:
        """Record that a run ended."""

    def runs(self) -> Sequence[tuple[str, str, str | None, str | None, int | None]]:
        """(run, started, finished, status, exit_code) of all runs, the last one that was recorded last, whatever
        its clock said."""

    def complete_step(self, run: str, step: str, result: str, at: str, seconds: float | None = None) -> None:
        """Record that a step is done and how many seconds it took; `result` is JSON for later steps."""

    def timings(self, run: str) -> Mapping[str, float]:
        """How many seconds each step of a run took."""

    def step_result(self, run: str, step: str) -> str | None:
        """The result of a step; None if it is not done."""
