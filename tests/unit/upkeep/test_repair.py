"""The repair step over packs and objects in a bucket in memory; what else it does is in tests/pipelines."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.errors import Interrupted
from archiver.facts.archive import EpochFact, FolderFact, StoredFact
from archiver.mail.content import body_of
from archiver.mail.model import StoredMessage
from archiver.storage.audit import Damage, Looked
from archiver.storage.bucket.keys import message_key
from archiver.storage.bucket.pack_format import TAIL_OCTETS, pack_key
from archiver.upkeep.repair import RepairResult, RepairStep
from archiver.upkeep.repair_sources import Deliver, Wanted
from archiver.upkeep.verify import every
from tests.accounts import UNSTOPPED
from tests.memory_bucket import MemoryBucket
from tests.recorded_packs import RecordedPacks
from tests.stored_messages import altered

AT = "2026-11-24T07:00:00Z"
COUNT = 40
OCTETS = {uid: b"Subject: %d\r\n\r\n" % uid + random.Random(uid).randbytes(300) for uid in range(1, COUNT + 1)}


@dataclass
class Elsewhere:
    """An origin that has everything but `lacks`, and also gives what was not asked for."""

    lacks: tuple[int, ...] = ()
    name: str = "elsewhere"

    def search(self, wanted: Wanted, deliver: Deliver) -> None:
        for uid, octets in OCTETS.items():
            if uid not in self.lacks:
                deliver(body_of(octets))


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def archive(bucket: MemoryBucket, tmp_path: Path) -> Iterator[RecordedPacks]:
    """Messages 1 to 30 are in three packs, 31 to 40 are objects."""
    archive = RecordedPacks(bucket, tmp_path / "archive")
    archive.recorder.write(
        [
            FolderFact(1, b"INBOX", ("INBOX",), "/", "", frozenset(), True, True, AT),
            EpochFact(1, 1, 7, 1, "first", AT),
            *map(stored, OCTETS),
        ]
    )
    places = list(archive.catalog.messages.placements())
    for first in (0, 10, 20, 30):
        batch = archive.open(below=0 if first == 30 else 1 << 20).batch()
        for place in places[first : first + 10]:
            batch.put(place, body_of(OCTETS[place.uid]))
        batch.commit()
    yield archive
    archive.catalog.close()


def stored(uid: int) -> StoredFact:
    body = body_of(OCTETS[uid])
    message = StoredMessage.bare(uid, body.digest, body.size, body.crlf_size, 0)
    return StoredFact(1, replace(message, server_size=body.size), None, AT)


def repair(
    archive: RecordedPacks, lacks: tuple[int, ...] = (), *, dry_run: bool = False,
    check_stop: Callable[[], None] = lambda: None,
) -> RepairResult:  # fmt: skip
    step = RepairStep(
        store=archive.open(),
        catalog=archive.catalog,
        recorder=archive.recorder,
        origins=[Elsewhere(lacks)],
        reads=every,
        begin=lambda: None,
        control=replace(UNSTOPPED, check_stop=check_stop),
        dry_run=dry_run,
    )
    return step.run()


def faults(archive: RecordedPacks) -> list[int]:
    audited = archive.open().audit(archive.catalog.messages, every)
    return [each.placement.uid if isinstance(each, Looked) else 0 for each in audited if faulty(each)]


def faulty(each: object) -> bool:
    return isinstance(each, Damage) or (isinstance(each, Looked) and each.fault is not None)


def pack_of(archive: RecordedPacks, uid: int) -> tuple[str, int]:
    """The key of the message's pack, and the offset of its frame there."""
    digest = body_of(OCTETS[uid]).digest
    frame = archive.catalog.messages.frames([digest])[digest]
    return pack_key(frame.pack), frame.offset


def flip(bucket: MemoryBucket, key: str, at: int) -> None:
    octets, modified = bucket.objects[key]
    changed = bytearray(octets)
    changed[at] ^= 1
    bucket.objects[key] = (bytes(changed), modified)


def key_of(uid: int) -> str:
    return message_key(body_of(OCTETS[uid]).digest)


def uids(result: RepairResult) -> list[int]:
    return sorted(each.uid for each in result.repaired)


def test_what_is_whole_is_not_written(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    before = dict(bucket.objects)
    result = repair(archive)
    assert (result.messages, result.repaired, result.exit_code) == (COUNT, (), 0)
    assert bucket.objects == before


def test_damaged_and_missing_objects(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    flip(bucket, key_of(31), at=9)
    bucket.objects[key_of(32)] = (b"", bucket.now)
    del bucket.objects[key_of(33)]
    before = dict(bucket.objects)
    assert uids(repair(archive)) == [31, 32, 33]
    assert faults(archive) == []
    assert bucket.objects[key_of(31)][0] == OCTETS[31]
    changed = {key for key in bucket.objects if bucket.objects[key] != before.get(key)}
    assert changed == {key_of(31), key_of(32), key_of(33)}


def test_a_missing_pack_comes_back_under_its_own_name(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    key, _ = pack_of(archive, 1)
    octets, _ = bucket.objects.pop(key)
    assert uids(repair(archive)) == list(range(1, 11))
    assert faults(archive) == []
    assert sorted(bucket.objects[key][0]) == sorted(octets)


def test_a_pack_damaged_in_all_its_messages_is_overwritten(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    key, offset = pack_of(archive, 1)
    octets, _ = bucket.objects[key]
    bucket.objects[key] = (octets[:offset] + bytes(len(octets) - offset), bucket.now)
    assert uids(repair(archive)) == list(range(1, 11))
    assert faults(archive) == []


def test_one_damaged_message_of_a_pack_is_repacked_and_the_others_stay(
    archive: RecordedPacks, bucket: MemoryBucket
) -> None:
    key, offset = pack_of(archive, 5)
    flip(bucket, key, at=offset + 40)
    assert uids(repair(archive)) == [5]
    assert faults(archive) == []
    assert pack_of(archive, 5)[0] != key
    assert pack_of(archive, 4)[0] == key


def test_whole_messages_of_a_truncated_pack_are_taken_out_of_it(
    archive: RecordedPacks, bucket: MemoryBucket
) -> None:
    key, offset = pack_of(archive, 6)
    octets, _ = bucket.objects[key]
    bucket.objects[key] = (octets[: offset + TAIL_OCTETS], bucket.now)
    result = repair(archive, lacks=tuple(range(1, 6)))
    assert uids(result) == list(range(1, 11))
    assert {each.uid: each.origin for each in result.repaired}[5] == "the archive itself"
    assert [each.path for each in result.damage] == [f"s3://memory/{key}"]
    assert (result.exit_code, faults(archive)) == (0, [])


def test_what_no_place_has_is_lost_and_the_rest_repaired(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    key, _ = pack_of(archive, 11)
    del bucket.objects[key]
    result = repair(archive, lacks=(11, 12))
    assert uids(result) == list(range(13, 21))
    assert [each.uid for each in result.lost] == [11, 12]
    assert result.exit_code == 6
    assert [uid for uid in faults(archive) if uid] == [11, 12]
    assert uids(repair(archive)) == [11, 12]
    assert faults(archive) == []


def test_a_dry_run_writes_nothing(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    del bucket.objects[pack_of(archive, 1)[0]], bucket.objects[key_of(31)]
    before, segment = dict(bucket.objects), archive.catalog.last_segment()
    result = repair(archive, lacks=(2,), dry_run=True)
    assert uids(result) == [1, *range(3, 11), 31]
    assert [each.uid for each in result.lost] == [2]
    assert (bucket.objects, archive.catalog.last_segment()) == (before, segment)


def test_an_interrupted_repair_is_resumed(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    for uid in range(31, 41):
        del bucket.objects[key_of(uid)]
    left = [COUNT + 4]

    def stop() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted(15)

    with pytest.raises(Interrupted):
        repair(archive, check_stop=stop)
    assert uids(repair(archive)) == list(range(31, 41))
    assert faults(archive) == []


def test_octets_that_are_not_there_after_all_are_reported(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    del bucket.objects[key_of(31)]

    def forget(request: str, key: str) -> None:
        if request == "replace":
            bucket.objects[key] = (b"something else", bucket.now)

    bucket.after = forget
    (lost,) = repair(archive).lost
    assert lost.uid == 31
    assert lost.reason.startswith("was written again from elsewhere, but has 14 bytes, was stored with ")


def test_equal_octets_in_several_folders_are_repaired_together(
    archive: RecordedPacks, bucket: MemoryBucket
) -> None:
    archive.recorder.write(
        [
            FolderFact(2, b"Sent", ("Sent",), "/", ".Sent", frozenset(), True, True, AT),
            EpochFact(2, 2, 8, 1, "first", AT),
            *(altered(stored(31), epoch=2, uid=uid) for uid in (1, 2)),
        ]
    )
    del bucket.objects[key_of(31)]
    result = repair(archive)
    assert sorted((each.folder, each.uid) for each in result.repaired) == [("INBOX", 31), ("Sent", 1), ("Sent", 2)]
    assert faults(archive) == []
