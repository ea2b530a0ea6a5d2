"""The journal as objects: the contract of a journal, damage to objects, and two simultaneous writers."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from archiver.errors import ArchiveUnreachable, ConfigError, IntegrityError, Locked
from archiver.facts.codec import fact_to_json
from archiver.facts.segment import segment_of
from archiver.journal.bucket import BucketJournal, journal_key
from tests.contracts.journal import NOTHING, JournalContract, end_of, facts, filled
from tests.memory_bucket import MemoryBucket, lost


@dataclass
class Lease:
    """A lease that holds until a test says otherwise."""

    fence: int
    lost: bool = False
    fence_pending: bool = False

    def check(self) -> None:
        if self.lost:
            raise Locked("this machine was away too long")

    def doubt(self) -> None:
        self.fence_pending = True

    def claimed(self) -> None:
        self.fence_pending = False


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def journal(bucket: MemoryBucket) -> BucketJournal:
    return BucketJournal(bucket)


class TestBucketJournal(JournalContract):
    pass


class TestBucketJournalUnderALease(JournalContract):
    @pytest.fixture
    def journal(self, bucket: MemoryBucket) -> BucketJournal:
        return BucketJournal(bucket, Lease(7))


def octets_of(bucket: MemoryBucket, number: int) -> bytes:
    return bucket.objects[journal_key(number)][0]


def put(bucket: MemoryBucket, number: int, octets: bytes) -> None:
    bucket.objects[journal_key(number)] = octets, bucket.now


def test_a_segment_is_named_by_its_number_alone(bucket: MemoryBucket) -> None:
    first, second = filled(BucketJournal(bucket, Lease(7)), 2)

    assert sorted(bucket.objects) == ["journal/00000001.jsonl.gz", "journal/00000002.jsonl.gz"]
    octets = octets_of(bucket, 2)
    assert second.digest == hashlib.sha256(octets).hexdigest()
    header, *lines = gzip.decompress(octets).decode().splitlines()
    assert json.loads(header) == {
        "format": "archiver-journal/1",
        "number": 2,
        "run": "run-2",
        "previous": first.digest,
        "fence": 7,
    }
    assert lines == [fact_to_json(fact) for fact in facts(2)]


def test_a_run_id_is_what_a_file_of_the_journal_could_be_named_by(journal: BucketJournal) -> None:
    with pytest.raises(ConfigError):
        journal.append("../../evil", facts(1), NOTHING)


def test_what_is_not_a_segment_is_left_alone(journal: BucketJournal, bucket: MemoryBucket) -> None:
    segments = filled(journal)
    bucket.objects["journal/README"] = b"by a person", bucket.now

    assert list(journal.read(NOTHING)) == segments


# -- what befalls objects --------------------------------------------------------------------------------------


def cut(octets: bytes) -> bytes:
    return octets[:-9]


def emptied(octets: bytes) -> bytes:
    return b""


def flipped(octets: bytes) -> bytes:
    middle = len(octets) // 2
    return octets[:middle] + bytes([octets[middle] ^ 0x40]) + octets[middle + 1 :]


def extended(octets: bytes) -> bytes:
    return octets + b"more"


def with_an_edited_line(octets: bytes) -> bytes:
    return gzip.compress(gzip.decompress(octets).replace(b"Seen", b"Flagged"))


def with_another_number(octets: bytes) -> bytes:
    return gzip.compress(gzip.decompress(octets).replace(b'"number": 2', b'"number": 3'))


@pytest.mark.parametrize(
    "damage",
    [cut, emptied, flipped, extended, with_an_edited_line, with_another_number],
    ids=lambda each: each.__name__,
)
def test_damage_is_detected_and_named(
    journal: BucketJournal, bucket: MemoryBucket, damage: Callable[[bytes], bytes]
) -> None:
    segments = filled(journal)
    put(bucket, 2, damage(octets_of(bucket, 2)))

    with pytest.raises(IntegrityError, match=r"journal/0000000[23]\.jsonl\.gz") as caught:
        list(journal.read(NOTHING))
    assert caught.value.hint

    with pytest.raises(IntegrityError, match=r"journal/00000002\.jsonl\.gz"):
        list(journal.read(end_of(segments[1])))


def test_a_gap_is_named(journal: BucketJournal, bucket: MemoryBucket) -> None:
    segments = filled(journal, 4)
    del bucket.objects[journal_key(3)]

    reading = journal.read(NOTHING)

    assert [next(reading), next(reading)] == segments[:2]
    with pytest.raises(IntegrityError, match="segment 3 is missing"):
        next(reading)


def test_a_journal_that_lost_its_end_is_detected_by_one_that_knew_it(
    journal: BucketJournal, bucket: MemoryBucket
) -> None:
    segments = filled(journal)
    del bucket.objects[journal_key(3)]

    with pytest.raises(IntegrityError, match="segment 3 is missing"):
        list(journal.read(end_of(segments[2])))


def test_a_newer_format_is_not_damage(journal: BucketJournal, bucket: MemoryBucket) -> None:
    filled(journal)
    put(bucket, 2, gzip.compress(gzip.decompress(octets_of(bucket, 2)).replace(b"journal/1", b"journal/3")))

    with pytest.raises(ConfigError, match=r"archiver-journal/3.*; install a mail-archiver that knows"):
        list(journal.read(NOTHING))


# -- reading -----------------------------------------------------------------------------------------------------


def test_many_segments_are_fetched_side_by_side_in_bounded_memory(
    journal: BucketJournal, bucket: MemoryBucket
) -> None:
    segments = filled(journal, 200)
    together, fetched, counting = threading.Barrier(8), [0], threading.Lock()

    def enter(request: str, key: str) -> None:
        if request == "read":
            with counting:
                fetched[0] += 1
                is_early = fetched[0] <= 8
            if is_early:
                together.wait(30)  # breaks unless eight are on their way at the same time

    bucket.before = enter
    reading = journal.read(NOTHING)

    assert next(reading) == segments[0]
    assert fetched[0] <= 40
    assert list(reading) == segments[1:]


def test_a_reading_that_is_given_up_leaves_no_threads(journal: BucketJournal) -> None:
    filled(journal, 50)
    before = threading.active_count()

    reading = journal.read(NOTHING)
    next(reading)
    reading.close()  # type: ignore[attr-defined]

    assert threading.active_count() == before


def test_catching_up_with_nothing_costs_two_requests(journal: BucketJournal, bucket: MemoryBucket) -> None:
    last = filled(journal)[-1]
    bucket.requests.clear()

    assert list(journal.read(end_of(last))) == []
    assert bucket.requests == {"read": 1, "list": 1}


# -- two who write, and answers that are lost --------------------------------------------------------------------


def test_of_many_who_append_one_gets_the_number(bucket: MemoryBucket) -> None:
    journals = [BucketJournal(bucket) for _ in range(8)]
    outcomes: list[object] = []
    barrier = threading.Barrier(len(journals))

    def append(number: int, journal: BucketJournal) -> None:
        barrier.wait()
        try:
            outcomes.append(journal.append(f"run-{number}", facts(number), NOTHING))
        except IntegrityError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=append, args=each) for each in enumerate(journals)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    written = [each for each in outcomes if not isinstance(each, IntegrityError)]
    assert len(outcomes) == len(journals)
    assert list(journals[0].read(NOTHING)) == written


def test_a_segment_of_a_later_lease_says_that_another_machine_took_over(bucket: MemoryBucket) -> None:
    sleeping, awake = BucketJournal(bucket, Lease(1)), BucketJournal(bucket, Lease(2))
    awake.append("another-run", facts(1), NOTHING)

    with pytest.raises(Locked, match=r"run another-run .* under lease 2.*run again to catch up"):
        sleeping.append("run", facts(2), NOTHING)


def test_nothing_is_appended_under_a_lease_that_is_lost(bucket: MemoryBucket) -> None:
    journal = BucketJournal(bucket, Lease(1, lost=True))

    with pytest.raises(Locked):
        journal.append("run", facts(1), NOTHING)

    assert bucket.objects == {}
    assert bucket.requests == {}


def test_a_lease_older_than_the_journal_writes_nothing(bucket: MemoryBucket) -> None:
    last = filled(BucketJournal(bucket, Lease(9)))[-1]
    journal = BucketJournal(bucket, Lease(3))
    list(journal.read(NOTHING))

    with pytest.raises(IntegrityError, match=r"under lease 9.*holds lease 3"):
        journal.append("run", facts(9), end_of(last))

    assert len(bucket.objects) == 3


def test_a_segment_of_an_older_lease_behind_a_later_one_is_noticed(bucket: MemoryBucket) -> None:
    first = BucketJournal(bucket, Lease(9)).append("run", facts(1), NOTHING)
    put(bucket, 2, segment_of("run", facts(2), end_of(first), 3)[1])

    with pytest.raises(IntegrityError, match=r"00000002\.jsonl\.gz: it was written under lease 3"):
        list(BucketJournal(bucket).read(NOTHING))


def test_the_last_segment_names_the_last_lease(bucket: MemoryBucket) -> None:
    assert BucketJournal(bucket).last_fence() == 0

    filled(BucketJournal(bucket, Lease(9)))

    assert BucketJournal(bucket).last_fence() == 9


def test_a_segment_whose_answer_was_lost_is_known_again(bucket: MemoryBucket, journal: BucketJournal) -> None:
    bucket.after = lost("create", "journal/")
    with pytest.raises(ArchiveUnreachable):
        journal.append("run", facts(1), NOTHING)

    segment = journal.append("run", facts(1), NOTHING)

    assert list(journal.read(NOTHING)) == [segment]


def test_a_segment_whose_answer_was_lost_is_read_by_the_next_run(
    bucket: MemoryBucket, journal: BucketJournal
) -> None:
    bucket.after = lost("create", "journal/")
    with pytest.raises(ArchiveUnreachable):
        journal.append("run", facts(1), NOTHING)

    with pytest.raises(IntegrityError, match="run again to catch up"):
        journal.append("run", facts(2), NOTHING)

    assert [segment.facts for segment in BucketJournal(bucket).read(NOTHING)] == [facts(1)]


def test_a_segment_that_may_yet_arrive_leaves_its_lease_in_doubt_until_a_number_is_taken(
    bucket: MemoryBucket,
) -> None:
    lease = Lease(7)
    journal = BucketJournal(bucket, lease)
    bucket.before = lost("create", "journal/")

    with pytest.raises(ArchiveUnreachable):
        journal.append("run", facts(1), NOTHING)
    assert lease.fence_pending

    journal.append("run", facts(2), NOTHING)
    assert not lease.fence_pending


def test_a_number_that_is_taken_leaves_no_doubt(bucket: MemoryBucket, journal: BucketJournal) -> None:
    lease = Lease(7)
    journal.append("another", facts(1), NOTHING)

    with pytest.raises(IntegrityError, match="another has already written it"):
        BucketJournal(bucket, lease).append("run", facts(2), NOTHING)

    assert not lease.fence_pending
