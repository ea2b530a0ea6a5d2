"""The store of packs: what is packed, how many requests that takes, what a crash leaves, what damage looks like."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.errors import ArchiveUnreachable, IntegrityError
from archiver.facts.archive import PackedFact
from archiver.mail.content import body_of
from archiver.mail.model import Digest, Placement
from archiver.storage.audit import Audited, Damage, Looked, Stray
from archiver.storage.bucket.keys import message_key
from archiver.storage.bucket.pack_batch import PACK_OCTETS
from archiver.storage.bucket.pack_format import TAIL_OCTETS, pack_key
from archiver.storage.bucket.prefetch import SMALL_OCTETS
from archiver.storage.port import MessageStore
from tests.contracts.store import (
    Names,
    OpenStore,
    PrefetchContract,
    RowsOf,
    StoreContract,
    octets_of,
    placement_of,
    places_of,
    put,
    read,
)
from tests.memory_bucket import MemoryBucket
from tests.recorded_packs import RecordedPacks
from tests.stored_messages import altered


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def archive(bucket: MemoryBucket, tmp_path: Path) -> Iterator[RecordedPacks]:
    archive = RecordedPacks(bucket, tmp_path / "archive")
    yield archive
    archive.catalog.close()


class TestPackStore(StoreContract, PrefetchContract):
    @pytest.fixture(params=[SMALL_OCTETS, 10, 0], ids=["packs", "both", "objects"])
    def open_store(self, archive: RecordedPacks, request: pytest.FixtureRequest) -> OpenStore:
        return lambda: archive.open(request.param)

    @pytest.fixture
    def names(self, bucket: MemoryBucket) -> Names:
        return lambda: sorted(bucket.objects)

    def test_an_audit_finds_what_no_row_names(self, open_store: OpenStore) -> None:
        """In a pack it may stay: packs are as they were written."""
        places = places_of(3)
        rows = self.rows(open_store(), *((place, octets_of(place.uid)) for place in places))
        rows.messages = [places[0], places[2]]
        audited = list(open_store().audit(rows, lambda _: True))
        assert [type(each) for each in audited if not isinstance(each, Looked)] == ([] if rows.packed else [Stray])
        assert [each.fault for each in audited if isinstance(each, Looked)] == [None, None]


def small(count: int, octets: int = 300, first: int = 1) -> list[tuple[Placement, bytes]]:
    """Different messages that do not compress to nothing."""
    return [
        (placement_of(message, uid), message)
        for uid in range(first, first + count)
        for message in [b"Subject: %d\r\n\r\n" % uid + random.Random(uid).randbytes(octets)]
    ]


def keys(bucket: MemoryBucket, under: str = "packs/") -> list[str]:
    return [key for key in sorted(bucket.objects) if key.startswith(under)]


class TestPacking:
    def test_a_thousand_messages_are_one_request(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        messages = small(1000)
        put(archive.open(), *messages)
        assert bucket.requests == {"create": 1}
        assert [read(archive.open(), place) for place, _ in messages] == [octets for _, octets in messages]

    def test_a_full_pack_is_sent_before_the_batch_ends(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        messages = small(50, 400_000)
        put(archive.open(), *messages)
        assert bucket.requests["create"] == len(keys(bucket)) == 3
        assert max(len(octets) for octets, _ in bucket.objects.values()) < PACK_OCTETS + 2 * SMALL_OCTETS
        assert [read(archive.open(), place) for place, _ in messages] == [octets for _, octets in messages]

    @pytest.mark.parametrize("size", [0, 1, SMALL_OCTETS - 1, SMALL_OCTETS, SMALL_OCTETS + 1, 5 << 20])
    def test_messages_of_any_size(self, archive: RecordedPacks, bucket: MemoryBucket, size: int) -> None:
        octets = random.Random(size).randbytes(size)
        place = placement_of(octets, 1)
        put(archive.open(), (place, octets), *small(3, first=2))
        assert read(archive.open(), place) == octets
        assert keys(bucket, "messages/") == ([message_key(place.digest)] if size >= SMALL_OCTETS else [])

    def test_what_the_archive_has_is_not_packed_again(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        messages = small(100)
        put(archive.open(), *messages)
        put(archive.open(), *((altered(place, directory=".b", arrived=5), octets) for place, octets in messages))
        assert len(bucket.objects) == 1
        assert bucket.requests == {"create": 1, "head": 1}

    def test_a_batch_of_what_is_there_records_nothing(self, archive: RecordedPacks) -> None:
        messages = small(3)
        put(archive.open(), *messages)
        batch = archive.open().batch()
        batch.put(messages[0][0], body_of(messages[0][1]))
        assert batch.commit() == ()

    def test_a_message_whose_pack_is_lost_is_packed_again(
        self, archive: RecordedPacks, bucket: MemoryBucket
    ) -> None:
        (place, octets), *others = small(3)
        put(archive.open(), (place, octets), *others)
        bucket.objects.clear()
        store = archive.open()
        batch = store.batch()
        batch.put(place, body_of(octets), twin=place)
        batch.commit()
        assert read(archive.open(), place) == octets
        with pytest.raises(IntegrityError):
            read(archive.open(), others[0][0])

    def test_a_link_to_a_lost_pack_is_an_integrity_error(
        self, archive: RecordedPacks, bucket: MemoryBucket
    ) -> None:
        ((place, octets),) = small(1)
        put(archive.open(), (place, octets))
        (pack,) = keys(bucket)
        bucket.objects.clear()
        batch = archive.open().batch()
        batch.link(replace(place, directory=".b"), place)
        with pytest.raises(IntegrityError, match=f"{pack}.*{place.digest}"):
            batch.commit()

    def test_a_pack_that_cannot_be_sent_fails_the_batch(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        def refuse(request: str, key: str) -> None:
            if request == "create":
                raise ArchiveUnreachable("no")

        bucket.before = refuse
        store, messages = archive.open(), small(3)
        batch = store.batch()
        for place, octets in messages:
            batch.put(place, body_of(octets))
        with pytest.raises(ArchiveUnreachable):
            batch.commit()
        batch.abandon()
        bucket.before = lambda request, key: None
        put(store, *messages)
        assert [read(archive.open(), place) for place, _ in messages] == [octets for _, octets in messages]

    def test_what_the_disk_gave_back_otherwise_is_not_packed(
        self, archive: RecordedPacks, bucket: MemoryBucket, tmp_path: Path
    ) -> None:
        spool = tmp_path / "spooled"
        (place, octets), other = small(2)
        spool.write_bytes(octets)
        batch = archive.open().batch()
        batch.put(place, replace(body_of(octets), octets=None, spool=spool))
        batch.commit()
        assert (read(archive.open(), place), spool.exists()) == (octets, False)

        place, octets = other
        spool.write_bytes(octets[:-1] + b"?")
        batch = archive.open().batch()
        batch.put(place, replace(body_of(octets), octets=None, spool=spool))
        with pytest.raises(IntegrityError, match=r'folder "INBOX", uid 2.*disk and memory for damage'):
            batch.commit()
        batch.abandon()
        assert len(keys(bucket)) == 1


class TestLayouts:
    """A message is a frame or an object, as it was when it came; only new ones go the new way."""

    def test_from_objects_to_packs_and_back(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        first, second, third = small(5), small(5, first=6), small(5, first=11)
        put(archive.open(below=0), *first)
        put(archive.open(), *second)
        put(archive.open(below=0), *third)
        assert (len(keys(bucket, "messages/")), len(keys(bucket))) == (10, 1)
        for below in (0, SMALL_OCTETS):
            store = archive.open(below)
            assert [read(store, place) for place, _ in first + second + third] == [
                octets for _, octets in first + second + third
            ]

    @pytest.mark.parametrize(("before", "after"), [(0, SMALL_OCTETS), (SMALL_OCTETS, 0)])
    def test_what_is_there_in_the_other_layout_stays_as_it_is(
        self, archive: RecordedPacks, bucket: MemoryBucket, before: int, after: int
    ) -> None:
        messages = small(5)
        put(archive.open(before), *messages)
        there = set(bucket.objects)
        store = archive.open(after)
        batch = store.batch()
        for place, octets in messages:
            batch.put(replace(place, directory=".b"), body_of(octets), twin=place)
        for place, _ in messages:
            batch.link(replace(place, directory=".c"), place)
        batch.commit()
        assert set(bucket.objects) == there
        assert [read(store, place) for place, _ in messages] == [octets for _, octets in messages]


class TestReading:
    def test_foreseen_neighbours_are_one_request(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        messages = small(1000)
        put(archive.open(), *messages)
        store = archive.open()
        bucket.requests.clear()
        store.prefetch([place for place, _ in messages])
        assert [read(store, place) for place, _ in messages] == [octets for _, octets in messages]
        assert bucket.requests["read"] <= 3

    def test_packs_and_objects_mixed_come_in_any_order(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        packed, objects = small(300, 20_000), small(30, 20_000, first=301)
        put(archive.open(), *packed[::2])
        put(archive.open(), *packed[1::2])
        put(archive.open(below=0), *objects)
        messages = packed + objects
        random.Random(1).shuffle(messages)
        store = archive.open()
        bucket.requests.clear()
        store.prefetch([place for place, _ in messages])
        assert [read(store, place) for place, _ in messages] == [octets for _, octets in messages]
        assert bucket.requests["read"] < 80

    def test_what_was_foreseen_need_not_be_opened_nor_only_once(self, archive: RecordedPacks) -> None:
        messages = small(200, 100_000)
        put(archive.open(), *messages)
        store = archive.open()
        store.prefetch([place for place, _ in messages])
        for place, octets in [messages[150], messages[3], messages[3], messages[199]]:
            assert read(store, place) == octets
        store.prefetch([messages[0][0]])
        assert read(store, messages[1][0]) == messages[1][1]

    def test_what_is_foreseen_no_more_is_not_fetched(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        messages = small(40)
        put(archive.open(below=0), *messages)
        store = archive.open(connections=1)
        bucket.requests.clear()
        first, others = threading.Event(), threading.Event()

        def wait(request: str, key: str) -> None:
            first.set()
            assert others.wait(10)

        bucket.before = wait
        store.prefetch([place for place, _ in messages])
        assert first.wait(10)
        store.prefetch([messages[30][0]])
        others.set()
        assert read(store, messages[30][0]) == messages[30][1]
        assert bucket.requests["read"] == 2

    def test_one_damaged_message_does_not_hurt_its_neighbours(
        self, archive: RecordedPacks, bucket: MemoryBucket
    ) -> None:
        messages = small(10)
        put(archive.open(), *messages)
        flip(bucket, keys(bucket)[0], at=500)
        for foreseen in (True, False):
            store = archive.open()
            if foreseen:
                store.prefetch([place for place, _ in messages])
            outcomes = [outcome(store, place) for place, _ in messages]
            assert outcomes.count("damaged") == 1
            assert [each for each in outcomes if each != "damaged"] == [
                octets for (_, octets), each in zip(messages, outcomes, strict=True) if each != "damaged"
            ]


def outcome(store: MessageStore, place: Placement) -> bytes | str:
    try:
        return read(store, place)
    except IntegrityError:
        return "damaged"


def flip(bucket: MemoryBucket, key: str, at: int) -> None:
    octets, modified = bucket.objects[key]
    altered = bytearray(octets)
    altered[at] ^= 1
    bucket.objects[key] = (bytes(altered), modified)


class TestDamage:
    """Each is an error that names the pack and the message."""

    @pytest.fixture
    def messages(self, archive: RecordedPacks) -> list[tuple[Placement, bytes]]:
        messages = small(3)
        put(archive.open(), *messages)
        return messages

    def fails(self, archive: RecordedPacks, bucket: MemoryBucket, place: Placement) -> None:
        (pack,) = keys(bucket)
        with pytest.raises(IntegrityError, match=f"{pack}.*{place.digest}"):
            archive.open().open(place)

    def test_a_flipped_octet(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        flip(bucket, keys(bucket)[0], at=200)
        self.fails(archive, bucket, messages[0][0])
        assert read(archive.open(), messages[1][0]) == messages[1][1]

    def test_a_truncated_pack(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        (pack,) = keys(bucket)
        octets, modified = bucket.objects[pack]
        bucket.objects[pack] = (octets[:500], modified)
        self.fails(archive, bucket, messages[1][0])
        self.fails(archive, bucket, messages[2][0])
        assert read(archive.open(), messages[0][0]) == messages[0][1]

    def test_a_record_that_points_to_another_message(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        one, two = (place.digest for place, _ in messages[:2])
        frames = archive.catalog.messages.frames([one, two])
        (pack,) = {frame.pack for frame in frames.values()}
        wrong = (one, frames[two].offset, frames[two].length)
        archive.recorder.write([PackedFact(pack, 5000, (wrong,))])
        self.fails(archive, bucket, messages[0][0])

    def test_a_place_names_the_pack_and_the_octets(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        (pack,) = keys(bucket)
        place = messages[0][0]
        frame = archive.catalog.messages.frames([place.digest])[place.digest]
        expected = f"s3://memory/{pack} bytes 24-{24 + frame.length - 1}"
        assert archive.open().display_path(place) == expected


class TestAudit:
    """One listing shows what is missing or cut short; reading shows every message that was altered."""

    @pytest.fixture
    def messages(self, archive: RecordedPacks, bucket: MemoryBucket) -> list[tuple[Placement, bytes]]:
        """In three packs, as objects, some of them both; the catalog has a row for each."""
        messages = small(90)
        for part in (messages[:30], messages[30:60], messages[60:]):
            put(archive.open(), *part)
        for place, octets in messages[:3]:
            key = message_key(place.digest)
            bucket.create(key, octets, place.digest, "message")
        others = small(10, first=91)
        put(archive.open(below=0), *others)
        return messages + others

    def audit(
        self, archive: RecordedPacks, messages: list[tuple[Placement, bytes]], *, reads: bool
    ) -> list[Audited]:
        frames = archive.catalog.messages.frames([place.digest for place, _ in messages])
        rows = RowsOf([place for place, _ in messages], dict(frames), dict(archive.catalog.messages.packs()))
        return list(archive.open().audit(rows, lambda _: reads))

    def faults(self, audited: list[Audited]) -> dict[int, str]:
        looked = [each for each in audited if isinstance(each, Looked)]
        assert sorted(each.placement.uid for each in looked) == list(range(1, 101))
        return {each.placement.uid: each.fault.kind for each in looked if each.fault}

    def others(self, audited: list[Audited]) -> list[tuple[type, str]]:
        return [(type(each), each.path) for each in audited if not isinstance(each, Looked)]

    def test_without_reading_one_listing_is_enough(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        bucket.requests.clear()
        audited = self.audit(archive, messages, reads=False)
        assert (self.faults(audited), self.others(audited)) == ({}, [])
        assert set(bucket.requests) == {"list"}

    def test_reading_takes_a_few_requests_for_a_pack(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        bucket.requests.clear()
        audited = self.audit(archive, messages, reads=True)
        assert (self.faults(audited), self.others(audited)) == ({}, [])
        assert bucket.requests["read"] == 3 * 3 + 10

    def test_a_missing_pack(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        frame = archive.catalog.messages.frames([messages[40][0].digest])[messages[40][0].digest]
        del bucket.objects[pack_key(frame.pack)]
        for reads in (True, False):
            audited = self.audit(archive, messages, reads=reads)
            assert self.faults(audited) == dict.fromkeys(range(31, 61), "missing")
            assert self.others(audited) == [(Damage, f"s3://memory/{pack_key(frame.pack)}")]

    def test_a_truncated_pack(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        frames = archive.catalog.messages.frames([place.digest for place, _ in messages])
        cut = frames[messages[45][0].digest]
        octets, modified = bucket.objects[pack_key(cut.pack)]
        bucket.objects[pack_key(cut.pack)] = (octets[: cut.offset + TAIL_OCTETS], modified)
        for reads in (True, False):
            audited = self.audit(archive, messages, reads=reads)
            endangered = dict.fromkeys(range(31, 46), "endangered")
            assert self.faults(audited) == endangered | dict.fromkeys(range(46, 61), "damaged")
            assert self.others(audited) == [(Damage, f"s3://memory/{pack_key(cut.pack)}")]

    def test_a_flipped_octet_of_a_message(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        frame = archive.catalog.messages.frames([messages[40][0].digest])[messages[40][0].digest]
        flip(bucket, pack_key(frame.pack), at=frame.offset + frame.length // 2)
        audited = self.audit(archive, messages, reads=True)
        assert (self.faults(audited), self.others(audited)) == ({41: "damaged"}, [])

    def test_a_flipped_octet_of_an_index(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        pack = keys(bucket)[1]
        flip(bucket, pack, at=len(bucket.objects[pack][0]) - TAIL_OCTETS - 3)
        audited = self.audit(archive, messages, reads=True)
        assert self.others(audited) == [(Damage, f"s3://memory/{pack}")]
        assert list(self.faults(audited).values()) == ["endangered"] * 30

    def test_packs_and_objects_that_no_row_names(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        batch = archive.open().batch()
        for place, octets in small(3, first=200):
            batch.put(place, body_of(octets))
        batch.unrecorded.commit()
        extra = {key: Digest("") for key in ("packs/notes.txt", message_key(body_of(b"extra").digest))}
        for key, digest in extra.items():
            bucket.create(key, b"extra", digest, "message")
        audited = self.audit(archive, messages, reads=False)
        known = {pack_key(pack) for pack, _ in archive.catalog.messages.packs()}
        (orphan,) = set(keys(bucket)) - known - set(extra)
        assert self.faults(audited) == {}
        assert {path for _, path in self.others(audited)} == {f"s3://memory/{key}" for key in (orphan, *extra)}


class TestAfterACrash:
    """A pack that was sent and not recorded is not sent again."""

    @pytest.fixture
    def messages(self, archive: RecordedPacks) -> list[tuple[Placement, bytes]]:
        """Recorded, so that there is more than an orphan."""
        messages = small(3, first=1001)
        put(archive.open(), *messages)
        return messages

    def crashed(self, archive: RecordedPacks, messages: list[tuple[Placement, bytes]]) -> None:
        batch = archive.open().batch()
        for place, octets in messages:
            batch.put(place, body_of(octets))
        batch.unrecorded.commit()

    def test_its_messages_are_used(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        lost = small(500)
        self.crashed(archive, lost)
        there = set(bucket.objects)
        store = archive.open()
        assert list(store.recover(archive.catalog.messages)) == []
        bucket.requests.clear()
        put(store, *lost[::-1])
        assert set(bucket.objects) == there
        assert bucket.requests["create"] == 0
        assert bucket.requests["read"] <= 8
        assert [read(archive.open(), place) for place, _ in lost] == [octets for _, octets in lost]

    def test_unclaimed_ones_are_not_recorded(
        self, archive: RecordedPacks, messages: list[tuple[Placement, bytes]]
    ) -> None:
        lost = small(10)
        self.crashed(archive, lost)
        store = archive.open()
        store.recover(archive.catalog.messages)
        put(store, *lost[:4], *small(2, first=11))
        assert set(archive.catalog.messages.frames([place.digest for place, _ in lost])) == {
            place.digest for place, _ in lost[:4]
        }
        assert [read(archive.open(), place) for place, _ in lost[:4]] == [octets for _, octets in lost[:4]]

    def test_a_damaged_frame_is_not_used(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]]
    ) -> None:
        lost = small(3)
        before = set(bucket.objects)
        self.crashed(archive, lost)
        (orphan,) = set(bucket.objects) - before
        flip(bucket, orphan, at=500)
        store = archive.open()
        store.recover(archive.catalog.messages)
        put(store, *lost)
        assert [read(archive.open(), place) for place, _ in lost] == [octets for _, octets in lost]
        assert len(bucket.objects) == 3

    @pytest.mark.parametrize("spoiled", ["truncated", "garbage", "index"])
    def test_what_is_no_whole_pack_is_left_alone(
        self, archive: RecordedPacks, bucket: MemoryBucket, messages: list[tuple[Placement, bytes]], spoiled: str
    ) -> None:
        lost = small(3)
        before = set(bucket.objects)
        self.crashed(archive, lost)
        (orphan,) = set(bucket.objects) - before
        octets, modified = bucket.objects.pop(orphan)
        if spoiled == "index":
            bucket.objects[orphan] = (octets, modified)
            flip(bucket, orphan, at=len(octets) - TAIL_OCTETS - 5)
        else:
            left = octets[:-1] if spoiled == "truncated" else b"x"
            bucket.objects[pack_key(Digest(hashlib.sha256(left).hexdigest()))] = (left, modified)
        bucket.objects["packs/notes.txt"] = (b"mine", modified)
        store = archive.open()
        store.recover(archive.catalog.messages)
        put(store, *small(1, first=77), *lost)
        assert [read(archive.open(), place) for place, _ in lost] == [octets for _, octets in lost]

    def test_an_abandoned_batch_leaves_packs_that_are_used(
        self, archive: RecordedPacks, bucket: MemoryBucket
    ) -> None:
        messages = small(30, 400_000)
        store = archive.open()
        batch = store.batch()
        for place, octets in messages:
            batch.put(place, body_of(octets))
        batch.abandon()
        sent = set(bucket.objects)
        assert len(sent) == 1
        put(store, *messages[::-1])
        assert sent < set(bucket.objects)
        assert len(bucket.objects) == 2
        assert [read(archive.open(), place) for place, _ in messages] == [octets for _, octets in messages]

    def test_a_lost_answer_is_no_loss(self, archive: RecordedPacks, bucket: MemoryBucket) -> None:
        messages = small(3)
        self.crashed(archive, messages)  # the same octets make the same pack
        put(archive.open(), *messages)
        assert len(bucket.objects) == 1
        assert [read(archive.open(), place) for place, _ in messages] == [octets for _, octets in messages]

    def test_a_truncated_pack_in_the_place_of_ones_own_is_noticed(
        self, archive: RecordedPacks, bucket: MemoryBucket
    ) -> None:
        messages = small(3)
        self.crashed(archive, messages)
        (pack,) = keys(bucket)
        octets, modified = bucket.objects[pack]
        bucket.objects[pack] = (octets[:-1], modified)
        with pytest.raises(IntegrityError, match=pack):
            put(archive.open(), *messages)


def test_it_holds_a_few_packs_in_memory_whatever_the_batch(
    archive: RecordedPacks, bucket: MemoryBucket, traced: Callable[[], int]
) -> None:
    class Nothing(dict[str, tuple[bytes, float]]):
        """Keeps keys alone."""

        def __setitem__(self, key: str, value: tuple[bytes, float]) -> None:
            super().__setitem__(key, (b"", value[1]))

    bucket.objects = Nothing()
    batch = archive.open().batch()
    for uid in range(200):
        octets = random.Random(uid).randbytes(700_000)
        batch.put(placement_of(octets, uid), body_of(octets))
    assert len(bucket.objects) >= 14
    assert traced() < 6 * PACK_OCTETS


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """The most memory in use at any time, in octets."""
    import tracemalloc

    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
