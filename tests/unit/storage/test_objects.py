"""Messages as objects: the contract of a store, and how a bucket is audited, over a bucket in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.errors import ArchiveNotWritable, IntegrityError
from archiver.mail.content import body_of
from archiver.mail.model import Digest, Placement
from archiver.storage.audit import Fault, Looked, Stray
from archiver.storage.bucket.keys import digest_of_key, message_key
from archiver.storage.bucket.objects import ObjectStore
from tests.contracts.store import (
    HELLO,
    Names,
    OpenStore,
    PrefetchContract,
    RowsOf,
    StoreContract,
    octets_of,
    placement_of,
    places_of,
)
from tests.memory_bucket import MemoryBucket


class TestObjectStore(StoreContract, PrefetchContract):
    @pytest.fixture
    def open_store(self, bucket: MemoryBucket, tmp_path: Path) -> OpenStore:
        return lambda: ObjectStore(bucket, tmp_path, 4)

    @pytest.fixture
    def names(self, bucket: MemoryBucket) -> Names:
        return lambda: sorted(bucket.objects)


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def store(bucket: MemoryBucket, tmp_path: Path) -> ObjectStore:
    return ObjectStore(bucket, tmp_path, 4)


@pytest.fixture
def places(store: ObjectStore) -> list[Placement]:
    """Forty messages, committed."""
    places = places_of(40)
    batch = store.batch()
    for place in places:
        batch.put(place, body_of(octets_of(place.uid)))
    batch.commit()
    return places


def read_none(_: Placement) -> bool:
    return False


def read_all(_: Placement) -> bool:
    return True


def faults(audited: Iterable[object]) -> dict[int, Fault]:
    return {each.placement.uid: each.fault for each in audited if isinstance(each, Looked) and each.fault}


def strays(audited: Iterable[object]) -> dict[str, str]:
    return {each.path: each.reason for each in audited if isinstance(each, Stray)}


def test_sizes_are_compared_by_one_listing_and_nothing_is_downloaded(
    store: ObjectStore, bucket: MemoryBucket, places: list[Placement]
) -> None:
    bucket.objects[message_key(places[0].digest)] = (b"", bucket.now)
    bucket.requests.clear()
    found = faults(store.audit(RowsOf(places), read_none))
    assert found == {1: Fault("damaged", f"has 0 bytes, was stored with {places[0].size}")}
    assert set(bucket.requests) == {"list"}


def test_a_flipped_octet_is_found_where_octets_are_read(
    store: ObjectStore, bucket: MemoryBucket, places: list[Placement]
) -> None:
    key = message_key(places[16].digest)
    octets = bytearray(bucket.objects[key][0])
    octets[7] ^= 1
    bucket.objects[key] = (bytes(octets), bucket.now)
    assert faults(store.audit(RowsOf(places), read_none)) == {}
    assert list(faults(store.audit(RowsOf(places), read_all))) == [17]
    assert faults(store.audit(RowsOf(places), lambda place: place.uid != 17)) == {}


def test_an_object_is_read_once_however_many_messages_it_is(
    store: ObjectStore, bucket: MemoryBucket, places: list[Placement]
) -> None:
    again = [placement_of(octets_of(1), uid, ".Again") for uid in range(100, 110)]
    bucket.requests.clear()
    looked = [each for each in store.audit(RowsOf(places + again), read_all) if isinstance(each, Looked)]
    assert len(looked) == 50
    assert bucket.requests["read"] == 40
    del bucket.objects[message_key(places[0].digest)]
    assert sorted(faults(store.audit(RowsOf(places + again), read_all))) == [1, *range(100, 110)]


def test_an_object_that_is_kept_from_us_stops_no_other(
    store: ObjectStore, bucket: MemoryBucket, places: list[Placement]
) -> None:
    def refuse(request: str, key: str) -> None:
        if request == "read" and key == message_key(places[4].digest):
            raise ArchiveNotWritable("s3://memory: no permission to read it")

    bucket.before = refuse
    assert faults(store.audit(RowsOf(places), read_all)) == {
        5: Fault("damaged", "cannot be read: s3://memory: no permission to read it")
    }


def test_an_object_that_no_row_names_is_a_stray_with_its_age(
    store: ObjectStore, bucket: MemoryBucket, places: list[Placement]
) -> None:
    extra = message_key(placement_of(HELLO, 1).digest)
    for key in (extra, "messages/00/notes.txt", "messages/zz"):
        bucket.objects[key] = (HELLO, 1_700_000_000.0)
    why = "no message of the archive belongs here; written 2023-11-14T22:13:20Z"
    assert strays(store.audit(RowsOf(places), read_all)) == {
        f"s3://memory/{key}": why for key in (extra, "messages/00/notes.txt", "messages/zz")
    }


def test_an_archives_own_other_objects_are_expected_and_all_else_is_not(
    store: ObjectStore, bucket: MemoryBucket, places: list[Placement]
) -> None:
    own = ["archive.json", "journal/00000001.jsonl.gz", "kept/1.txt", "lease/1", "packs/ab/cd.pack", "probe/x"]
    others = ["0", "archive.json2", "journal/1", "leases", "messages", "messages0", "zz/1"]
    for key in own + others:
        bucket.objects[key] = (b"x", bucket.now)
    assert list(strays(store.audit(RowsOf(places), read_none))) == [f"s3://memory/{key}" for key in others]


def test_an_audit_may_be_left_at_any_time(store: ObjectStore, places: list[Placement]) -> None:
    audit = store.audit(RowsOf(places), read_all)
    assert isinstance(next(audit), Looked)
    audit.close()
    assert list(audit) == []


def test_messages_are_read_side_by_side_in_bounded_number(
    store: ObjectStore, bucket: MemoryBucket, places: list[Placement]
) -> None:
    given: list[int] = []
    looked: list[int] = []

    class Counting(RowsOf):
        def by_digest(self) -> Iterator[Placement]:
            for each in super().by_digest():
                given.append(each.uid)
                assert len(given) - len(looked) <= 2 * 4 + 2
                yield each

    for each in store.audit(Counting(places), read_all):
        assert isinstance(each, Looked)
        looked.append(each.placement.uid)
    assert looked == given


def test_a_key_gives_its_digest_and_others_give_none() -> None:
    digest = placement_of(HELLO, 1).digest
    assert digest_of_key(message_key(digest)) == digest
    assert digest_of_key(message_key(Digest("AB" * 32))) is None
    for key in (f"messages/00/{digest}.eml", f"messages/{digest}.eml", "messages/ab/notes.txt", "journal/1"):
        assert digest_of_key(key) is None


def test_what_the_disk_gave_back_otherwise_is_not_sent(
    store: ObjectStore, bucket: MemoryBucket, tmp_path: Path
) -> None:
    """Not every endpoint compares what arrives."""
    spool, place = tmp_path / "spooled", placement_of(HELLO, 3, ".Sent")
    body = replace(body_of(HELLO), octets=None, spool=spool)
    spool.write_bytes(HELLO[:-1] + b"?")
    batch = store.batch()
    batch.put(place, body)
    with pytest.raises(IntegrityError, match=r'folder "\.Sent", uid 3.*disk and memory for damage'):
        batch.commit()
    assert bucket.objects == {}

    spool.write_bytes(HELLO)
    batch.put(place, body)
    batch.commit()
    assert (bucket.objects[message_key(place.digest)][0], spool.exists()) == (HELLO, False)
