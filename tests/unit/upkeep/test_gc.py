"""What may be removed from a bucket: what no segment of the journal ever named, and only after a week."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.account.upkeep.mending import KINDS
from archiver.errors import ConfigError, IntegrityError, Interrupted
from archiver.facts.archive import EpochFact, FolderFact
from archiver.journal.files import FileJournal
from archiver.mail.content import body_of
from archiver.storage.bucket.keys import message_key
from archiver.storage.bucket.pack_format import PACKS, pack_key
from archiver.storage.bucket.port import Kept, ObjectFacts
from archiver.storage.named_digests import named_digests
from archiver.upkeep.gc import (
    MIN_AGE_SECONDS,
    GarbageKind,
    GarbageResult,
    GarbageStep,
    KindFound,
    exceeds_deletion_limit,
)
from tests.accounts import UNSTOPPED
from tests.contracts.store import placement_of
from tests.memory_bucket import MemoryBucket
from tests.recorded_packs import RecordedPacks
from tests.stored_messages import altered
from tests.unit.upkeep.test_repair import AT, OCTETS, stored

WEEK = 7 * 86400.0


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def archive(bucket: MemoryBucket, tmp_path: Path) -> Iterator[RecordedPacks]:
    """Two messages in a pack and two as objects, all recorded; a pack and an object that a killed run left."""
    archive = RecordedPacks(bucket, tmp_path / "archive")
    archive.recorder.write(
        [
            FolderFact(1, b"INBOX", ("INBOX",), "/", "", frozenset(), True, True, AT),
            EpochFact(1, 1, 7, 1, "first", AT),
            *map(stored, range(1, 5)),
        ]
    )
    for below, uids in ((1 << 20, (1, 2)), (0, (3, 4))):
        batch = archive.open(below).batch()
        for uid in uids:
            batch.put(placement_of(OCTETS[uid], uid), body_of(OCTETS[uid]))
        batch.commit()
    for below, uid in ((1 << 20, 5), (0, 6)):
        left = archive.open(below).batch().unrecorded
        left.put(placement_of(OCTETS[uid], uid), body_of(OCTETS[uid]))
        left.commit()
    yield archive
    archive.catalog.close()


def collect(
    archive: RecordedPacks,
    *,
    delete: bool = False,
    confirm_deletions: bool = False,
    began: float = 0.0,
    check_stop: Callable[[], None] = lambda: None,
) -> GarbageResult:
    with named_digests(archive.path / "scratch") as named:
        step = GarbageStep(
            bucket=archive.bucket,
            journal=FileJournal(archive.path, "none"),
            last=archive.catalog.last_segment(),
            began=began,
            named=named,
            kinds=KINDS,
            delete=delete,
            confirm_deletions=confirm_deletions,
            control=replace(UNSTOPPED, check_stop=check_stop),
        )
        return step.run()


def key_of(uid: int) -> str:
    return message_key(body_of(OCTETS[uid]).digest)


def unrecorded_pack(archive: RecordedPacks, bucket: MemoryBucket) -> str:
    known = {pack_key(pack) for pack, _ in archive.catalog.messages.packs()}
    (key,) = {key for key in bucket.objects if key.startswith(PACKS)} - known
    return key


def places(result: GarbageResult) -> list[str]:
    return [each.place.removeprefix("s3://memory/") for each in result.garbage]


def test_a_dry_run_lists_what_no_segment_names(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    bucket.now += WEEK
    before = dict(bucket.objects)
    result = collect(archive)
    assert places(result) == [key_of(6), unrecorded_pack(archive, bucket)]
    assert result.octets == sum(len(before[key][0]) for key in places(result))
    assert (bucket.objects, result.deleted, result.young) == (before, False, 0)
    assert not (archive.path / "scratch").exists()


def test_deleting_removes_that_and_nothing_else(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    bucket.now += WEEK
    left = (key_of(6), unrecorded_pack(archive, bucket))
    for key in ("archive.json", "journal/00000001.jsonl.gz", "lease/00000001.json", "note", "messages/ab/note.txt",
                "messages/zz", "packs/ab/note.pack"):  # fmt: skip
        bucket.objects[key] = (b"x", 0.0)
    expected = dict(bucket.objects)
    for key in left:
        del expected[key]
    assert len(collect(archive, delete=True).garbage) == 2
    assert bucket.objects == expected
    assert collect(archive, delete=True).garbage == ()


def test_what_is_younger_than_a_week_stays(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    assert MIN_AGE_SECONDS == WEEK
    octets, modified = bucket.objects[key_of(6)]
    bucket.now += WEEK
    bucket.objects[key_of(6)] = (octets, modified + 1)
    result = collect(archive, delete=True)
    assert (len(result.garbage), result.young, result.young_octets) == (1, 1, len(octets))
    assert key_of(6) in bucket.objects
    bucket.objects[key_of(6)] = (octets, bucket.now + 3600)  # of an endpoint whose nodes do not agree
    assert collect(archive, delete=True).young == 1


def test_what_any_segment_named_stays_although_no_row_is_left(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    """A row was overwritten, a message packed again: as of a past date both are still asked for."""
    other = body_of(b"Subject: other\r\n\r\n")
    archive.recorder.write([altered(stored(3), digest=other.digest, size=other.size)])
    (pack,) = [pack for pack, _ in archive.catalog.messages.packs()]
    batch = archive.open().rewrite_batch([placement_of(OCTETS[1], 1)])
    batch.put(placement_of(OCTETS[1], 1), body_of(OCTETS[1]))
    batch.commit()
    bucket.now += WEEK
    collect(archive, delete=True)
    assert key_of(3) in bucket.objects
    assert pack_key(pack) in bucket.objects
    assert len(list(archive.catalog.messages.packs())) == 2


def test_what_an_object_lock_keeps_is_listed_and_the_rest_goes(
    archive: RecordedPacks, bucket: MemoryBucket
) -> None:
    bucket.now += WEEK
    remove = bucket.delete

    def keep(keys: Iterator[str]) -> Iterator[Kept]:
        for key in keys:
            if key == key_of(6):
                yield Kept(key, "locked until 2036-11-24")
            else:
                yield from remove([key])

    bucket.delete = keep  # type: ignore[method-assign,assignment]
    result = collect(archive, delete=True)
    assert [(each.place, each.kept) for each in result.kept] == [
        (f"s3://memory/{key_of(6)}", "locked until 2036-11-24")
    ]
    assert result.octets == sum(each.size for each in result.garbage if each.kept is None) > 0
    assert [key for key in bucket.objects if key.startswith(PACKS)] == [
        pack_key(pack) for pack, _ in archive.catalog.messages.packs()
    ]


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_journal_that_lost_a_segment_is_refused(archive: RecordedPacks, bucket: MemoryBucket, which: int) -> None:
    sorted((archive.path / "journal").iterdir())[which].unlink()
    bucket.now += WEEK
    before = dict(bucket.objects)
    with pytest.raises(IntegrityError):
        collect(archive, delete=True)
    assert bucket.objects == before


def test_a_damaged_segment_is_refused(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    first = sorted((archive.path / "journal").iterdir())[0]
    first.write_bytes(first.read_bytes()[:-1])
    bucket.now += WEEK
    before = dict(bucket.objects)
    with pytest.raises(IntegrityError):
        collect(archive, delete=True)
    assert bucket.objects == before


def test_an_empty_journal_is_refused(bucket: MemoryBucket, tmp_path: Path) -> None:
    archive = RecordedPacks(bucket, tmp_path / "archive")
    bucket.objects[key_of(1)] = (OCTETS[1], 0.0)
    with pytest.raises(IntegrityError, match="nothing was removed"):
        collect(archive, delete=True)
    archive.catalog.close()
    assert key_of(1) in bucket.objects


def test_what_is_older_than_the_journal_waits_for_a_person(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    """The journal was lost and restarted, so one mail that has gone from the source since is one too many."""
    began = bucket.now
    octets, modified = bucket.objects[key_of(6)]
    bucket.objects[key_of(6)] = (octets, modified - 1)
    bucket.now += WEEK
    before = dict(bucket.objects)
    for delete in (False, True):
        result = collect(archive, delete=delete, began=began)
        assert result.blocked_reason == "1 of 5 objects are not named and older than the journal"
        assert (len(result.garbage), result.deleted, bucket.objects) == (2, False, before)
    result = collect(archive, delete=True, confirm_deletions=True, began=began)
    assert (result.blocked_reason, result.deleted, key_of(6) in bucket.objects) == (None, True, False)


def test_much_of_all_waits_for_a_person_although_it_is_younger_than_the_journal(
    archive: RecordedPacks, bucket: MemoryBucket
) -> None:
    """Copied to another bucket all objects are as young as the copy."""
    for number in range(50):
        bucket.objects[message_key(body_of(b"%d" % number).digest)] = (b"x", bucket.now)
    bucket.now += WEEK
    before = dict(bucket.objects)
    result = collect(archive, delete=True)
    assert result.blocked_reason == "51 of 53 messages are not named: more than 50 and more than a quarter"
    assert bucket.objects == before
    collect(archive, delete=True, confirm_deletions=True)
    assert [key for key in bucket.objects if key in (key_of(3), key_of(4))] == [key_of(3), key_of(4)]
    assert len(bucket.objects) == 3


def found(kind: GarbageKind, unnamed: int, listed: int) -> KindFound:
    return KindFound(kind, listed, [ObjectFacts(f"{number}", 1, 100.0, 100.0 + WEEK) for number in range(unnamed)])


@pytest.mark.parametrize(
    ("kind", "unnamed", "listed", "held"),
    [
        ("messages", 300, 2300, False),  # a first run was killed, and much of its mail was deleted at the source
        ("messages", 300, 1200, False),
        ("messages", 300, 1199, True),
        ("messages", 50, 50, False),  # of a mailbox that was emptied
        ("messages", 51, 51, True),
        ("messages", 2000, 2000, True),
        ("packs", 5, 5, False),
        ("packs", 6, 24, False),
        ("packs", 6, 23, True),
        ("packs", 40, 40, True),
        ("packs", 0, 0, False),
    ],
)
def test_how_much_is_much(kind: str, unnamed: int, listed: int, held: bool) -> None:
    (of,) = [each for each in KINDS if each.name == kind]
    others = [found(each, 0, 100_000) for each in KINDS if each is not of]
    assert (exceeds_deletion_limit([found(of, unnamed, listed), *others], began=100.0) is not None) == held
    early = exceeds_deletion_limit([found(of, unnamed, listed), *others], began=101.0)
    assert (early is not None) == (unnamed > 0)


def test_a_listing_in_no_order_is_refused(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    """Walked next to the digests in their order, it would make garbage of what is named."""
    bucket.now += WEEK
    before, listed = dict(bucket.objects), bucket.list
    bucket.list = lambda under="", after="": iter(list(listed(under, after))[::-1])  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="in no order"):
        collect(archive, delete=True)
    assert bucket.objects == before


def test_a_stopped_one_is_resumed(archive: RecordedPacks, bucket: MemoryBucket) -> None:
    bucket.now += WEEK

    def stop() -> None:
        if not stopping:
            return
        stopping.pop()
        if not stopping:
            raise Interrupted(15)

    stopping = [1] * 9
    with pytest.raises(Interrupted):
        collect(archive, delete=True, check_stop=stop)
    collect(archive, delete=True)
    assert key_of(6) not in bucket.objects


def test_named_digests_come_once_and_in_their_order(tmp_path: Path) -> None:
    digests = [body_of(b"%d" % number).digest for number in range(3000)]
    with named_digests(tmp_path / "scratch") as named:
        named.add(digests)
        named.add(digests[:10])
        assert list(named) == sorted(digests)
