"""The journal in a bucket: one object for each segment, named only by its number.

A number can be written only once, because of the endpoint's conditional write: so the journal itself orders all
writers. Two machines that both believe they hold the archive cannot both write segment 812, whatever their clocks
and leases say; the second one finds the number taken and stops.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

from archiver.errors import ArchiverError, IntegrityError, Locked
from archiver.facts.archive import Fact, Segment
from archiver.facts.segment import Blots, digest_of, missing, parsed, require_known, require_next, segment_of
from archiver.mail.model import Digest
from archiver.storage import ending
from archiver.storage.bucket.port import Bucket, ObjectFacts

JOURNAL = "journal/"

_KEY = re.compile(r"journal/(\d{8,})\.jsonl\.gz")
_AHEAD_SEGMENTS = 32
_AHEAD_OCTETS = 32 << 20


class WriterLease(Protocol):
    """The lease under which segments are written."""

    @property
    def fence(self) -> int:
        """Its fencing token, greater than that of every earlier lease."""

    def check(self) -> None:
        """Check that the lease is valid.

        Raises:
            Locked: it may have passed to another machine.
        """

    def doubt(self) -> None:
        """The outcome of a write is unknown: the segment may still appear after everything else has ended."""

    def claimed(self) -> None:
        """A segment has been written under this lease, and its number is taken."""


class BucketJournal:
    """The journal of one account's prefix in a bucket, written under the lease `held`; None if the user has taken
    responsibility (the endpoint cannot hold a lease).

    Threads and machines may append concurrently: one of them gets the number, the others an IntegrityError. A
    segment exists completely or not at all.
    """

    def __init__(self, bucket: Bucket, held: WriterLease | None = None) -> None:
        self._bucket = bucket
        self._held = held
        self._last: Segment | None = None
        self._appending = threading.Lock()

    def append(self, run: str, facts: Sequence[Fact], after: tuple[int, Digest]) -> Segment:
        """Write the next segment, durable on return; `after` is number and digest of the last one.

        If the endpoint answers that the number is taken, the answer to an earlier try may have been lost: if its
        content is exactly ours, we wrote it.

        Raises:
            IntegrityError: that number already exists.
            Locked: it was written under a later lease, or the lease may have passed to another machine.
            ConfigError: the run id cannot be part of a file name.
            ArchiveNotWritable, ArchiveUnreachable, ArchiveThrottled: the outcome is unknown; the next run reads the
                segment if it was written after all. The lease stays in doubt until a number is taken under it.
        """
        fence = self._held.fence if self._held else None
        segment, octets = segment_of(run, facts, after, fence)
        key = journal_key(segment.number)
        with self._appending:
            self._refuse_old_lease(after, fence)
            if self._held:
                self._held.check()
            if not self._create(key, octets, segment.digest):
                there = self._octets(key)
                if digest_of(there) != segment.digest:
                    raise self._taken(segment, there)
            if self._held:
                self._held.claimed()
            self._last = segment
        return segment

    def _create(self, key: str, octets: bytes, digest: Digest) -> bool:
        ending.check_end()  # before anything is sent, so that the outcome is not in doubt
        try:
            return self._bucket.create(key, octets, digest, "journal")
        except BaseException:
            # NOTE: a request that we gave up may be delayed on its way and carried out minutes later. The next
            # writer has to take its number first.
            if self._held:
                self._held.doubt()
            raise

    def read(self, after: tuple[int, Digest]) -> Iterator[Segment]:
        """The segments after that one, in order, each checked against the chain; a few are fetched ahead.

        The object of `after` itself must exist with that digest.

        Raises:
            IntegrityError: a segment is missing, damaged, or does not follow from the one before.
            ConfigError: a newer archiver wrote it.
        """
        number, previous = after
        blots = Blots()
        before = self._known(number, previous) if number else None
        if before is not None:
            blots.saw(self._bucket.place(journal_key(number)), before)
        fence = before.fence if before else None
        for place, octets in self._following(number):
            number += 1
            segment = parsed(place, octets, number)
            require_next(place, segment, previous, fence)
            previous, fence = segment.digest, segment.fence
            blots.saw(place, segment)
            self._last = segment
            yield segment
        blots.check()

    def octets(self, number: int) -> tuple[str, bytes]:
        """A segment's URL, and its octets."""
        key = journal_key(number)
        return self._bucket.place(key), self._octets(key)

    def rewrite(self, number: int, octets: bytes) -> str | None:
        """Replace the octets of a segment in which facts were blotted out, durable on return, and remove its older
        versions; returns why not, if something keeps them.

        Raises:
            Locked: the lease may have passed to another machine.
        """
        key = journal_key(number)
        if self._held:
            self._held.check()
        self._bucket.replace(key, octets, digest_of(octets), "journal")
        kept = self._bucket.forget_versions(key)
        return None if kept is None else kept.reason

    def last_fence(self) -> int:
        """The lease under which the last segment was written; 0 if there is none."""
        last = 0
        for number, _ in self._listed(0):
            last = number
        if not last:
            return 0
        key = journal_key(last)
        return parsed(self._bucket.place(key), self._octets(key), last).fence or 0

    def last(self, number: int) -> ObjectFacts | None:
        """The object of the segment of that number, if it is the last one; None if it is not there, or others came
        after it. One request."""
        found = [facts for _, facts in islice(self._listed(number - 1), 2)]
        return found[0] if [each.key for each in found] == [journal_key(number)] else None

    def _known(self, number: int, digest: Digest) -> Segment:
        key = journal_key(number)
        try:
            octets = self._octets(key)
        except IntegrityError as error:
            raise missing(self._bucket.place(JOURNAL), number) from error
        place, found = self._bucket.place(key), digest_of(octets)
        segment = parsed(place, octets, number) if found != digest else None
        require_known(place, found if segment is None else segment.digest, digest)
        self._last = segment or parsed(place, octets, number)
        return self._last

    def _following(self, after: int) -> Iterator[tuple[str, bytes]]:
        """The place and the octets of each segment after that number.

        NOTE: fetched concurrently; one after the other, ten thousand at 50 ms would take eight minutes.
        """
        waiting: deque[tuple[str, int, Future[bytes]]] = deque()
        ahead = 0
        pool = ThreadPoolExecutor(_AHEAD_SEGMENTS // 2, "journal")
        try:
            for number, facts in self._listed(after):
                after += 1
                if number != after:
                    yield from ((place, fetch.result()) for place, _, fetch in waiting)
                    raise missing(self._bucket.place(JOURNAL), after)
                while waiting and (len(waiting) >= _AHEAD_SEGMENTS or ahead + facts.size > _AHEAD_OCTETS):
                    place, size, fetch = waiting.popleft()
                    yield place, fetch.result()
                    ahead -= size
                ahead += facts.size
                place = self._bucket.place(facts.key)
                waiting.append((place, facts.size, pool.submit(self._octets, facts.key)))
            yield from ((place, fetch.result()) for place, _, fetch in waiting)
        finally:
            pool.shutdown(cancel_futures=True)

    def _listed(self, after: int) -> Iterator[tuple[int, ObjectFacts]]:
        """The segments that exist, by number; other objects are ignored."""
        for facts in self._bucket.list(JOURNAL, after=journal_key(after) if after else ""):
            if match := _KEY.fullmatch(facts.key):
                yield int(match[1]), facts

    def _octets(self, key: str) -> bytes:
        with self._bucket.read(key) as file:
            return file.read()

    def _refuse_old_lease(self, after: tuple[int, Digest], fence: int | None) -> None:
        """Never write what `read` would refuse."""
        last = self._last
        if last is None or (last.number, last.digest) != after:
            return
        if last.fence is not None and fence is not None and last.fence > fence:
            raise IntegrityError(
                f"{self._bucket.place(JOURNAL)}: its last segment was written under lease {last.fence}, "
                f"this run holds lease {fence}",
                hint="the leases are older than the journal: remove all below lease/ while no run is active",
            )

    def _taken(self, ours: Segment, octets: bytes) -> ArchiverError:
        place = self._bucket.place(journal_key(ours.number))
        try:
            there = parsed(place, octets, ours.number)
        except ArchiverError as error:
            return error
        what, hint = f"{place}: run {there.run} has already written it", "run again to catch up"
        if ours.fence is not None and there.fence is not None and there.fence > ours.fence:
            return Locked(f"{what}, under lease {there.fence}; this run held lease {ours.fence}", hint=hint)
        return IntegrityError(what, hint=hint)


def journal_key(number: int) -> str:
    """The key of a segment, relative to the account's prefix in the bucket."""
    return f"{JOURNAL}{number:08d}.jsonl.gz"
