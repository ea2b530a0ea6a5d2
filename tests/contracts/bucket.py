"""The contract of a Bucket, as a suite that every adapter passes.

An adapter joins by subclassing `BucketContract` with the fixture `open_bucket`: each call opens the same bucket
anew, for another account if it is named.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.errors import IntegrityError
from archiver.mail.model import Digest
from archiver.storage.bucket.port import Bucket

OpenBucket = Callable[..., Bucket]

HELLO = b"Subject: hello\r\n\r\nworld\r\n"
ODD_OCTETS = [b"", b"\0", b"\r\n", b"\r", bytes(range(256)) * 40, b"a\rb\nc\0" + b"\xff" * 5000]
ODD_ACCOUNTS = ["Ünï çødé", "a b+c%2Fd&e=f", "日本語", "..x", "x'(1)*!~", 'quo"ted<&>', "a@example.org"]
ODD_KEYS = ["plain", "a b", "100%", "a+b", "é", "e\u0301", "日本", "a/b/c", "q?x=1#f", "<&>'\"", "a\\b", "~!*()"]


def digest_of(octets: bytes) -> Digest:
    return Digest(hashlib.sha256(octets).hexdigest())


def create(bucket: Bucket, key: str, octets: bytes = HELLO) -> bool:
    return bucket.create(key, octets, digest_of(octets), "message")


def read(bucket: Bucket, key: str, first: int = 0, octets: int | None = None) -> bytes:
    with bucket.read(key, first, octets) as file:
        return file.read()


def keys(bucket: Bucket, under: str = "", after: str = "") -> list[str]:
    return [facts.key for facts in bucket.list(under, after)]


class BucketContract:
    """What stores, the journal and the lease rely on."""

    more_than_a_page = 1003

    @pytest.fixture
    def open_bucket(self) -> OpenBucket:
        raise NotImplementedError

    @pytest.fixture
    def bucket(self, open_bucket: OpenBucket) -> Bucket:
        return open_bucket()

    # -- writing ---------------------------------------------------------------------------------------------

    def test_an_object_is_created_once(self, bucket: Bucket) -> None:
        assert create(bucket, "a/key") is True
        assert create(bucket, "a/key") is False
        assert read(bucket, "a/key") == HELLO

    def test_what_is_there_is_not_overwritten(self, bucket: Bucket) -> None:
        create(bucket, "key", b"first")
        assert create(bucket, "key", b"second") is False
        assert read(bucket, "key") == b"first"

    def test_replace_writes_over_it_and_where_nothing_was(self, bucket: Bucket) -> None:
        for octets in (b"first", b"second", b""):
            bucket.replace("key", octets, digest_of(octets), "control")
            assert read(bucket, "key") == octets

    @pytest.mark.parametrize("octets", ODD_OCTETS, ids=range(len(ODD_OCTETS)))
    def test_octets_come_back_as_they_went(self, bucket: Bucket, octets: bytes) -> None:
        assert create(bucket, "key", octets) is True
        assert read(bucket, "key") == octets

    # Several classes run this one suite on purpose.
    @settings(
        max_examples=20,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(octets=st.binary(max_size=3000))
    def test_any_octets_come_back(self, bucket: Bucket, octets: bytes) -> None:
        key = digest_of(octets)
        create(bucket, key, octets)
        assert read(bucket, key) == octets

    @pytest.mark.parametrize("size", [0, 10, 3_000_000])
    def test_a_file_is_sent_and_stays_where_it_is(self, bucket: Bucket, tmp_path: Path, size: int) -> None:
        octets = bytes(range(250)) * (size // 250)
        file = tmp_path / "spool"
        file.write_bytes(octets)
        assert bucket.create("key", file, digest_of(octets), "message") is True
        assert bucket.create("key", file, digest_of(octets), "message") is False
        assert read(bucket, "key") == octets
        assert file.read_bytes() == octets

    def test_sixteen_threads_create_one_object_once(self, bucket: Bucket) -> None:
        create(bucket, "warm")
        for number in range(5):
            with ThreadPoolExecutor(16) as threads:
                made = list(threads.map(lambda n, k=number: create(bucket, f"race/{k}", b"%d" % n), range(16)))
            assert made.count(True) == 1
            assert read(bucket, f"race/{number}") == b"%d" % made.index(True)

    # -- looking ---------------------------------------------------------------------------------------------

    def test_what_is_not_there_is_none(self, bucket: Bucket) -> None:
        assert bucket.head("key") is None

    def test_head_of_an_object(self, bucket: Bucket) -> None:
        create(bucket, "a/key")
        facts = bucket.head("a/key")
        assert facts is not None
        assert (facts.key, facts.size) == ("a/key", len(HELLO))
        assert abs(facts.asked - time.time()) < 60
        assert -2 <= facts.asked - facts.modified < 60
        assert facts.etag

    def test_its_etag_changes_with_its_octets(self, bucket: Bucket) -> None:
        etags = []
        for octets in (b"first", b"second", b"second"):
            bucket.replace("key", octets, digest_of(octets), "control")
            facts = bucket.head("key")
            assert facts is not None
            etags.append(facts.etag)
        assert etags[0] != etags[1]
        assert etags[1] == next(bucket.list()).etag

    # -- reading ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("first", "octets", "expected"),
        [(0, None, b"0123456789"), (3, None, b"3456789"), (3, 4, b"3456"), (0, 1, b"0"), (9, 1, b"9"),
         (8, 100, b"89"), (10, None, b""), (20, 5, b""), (4, 0, b"")],
    )  # fmt: skip
    def test_a_part_is_read(self, bucket: Bucket, first: int, octets: int | None, expected: bytes) -> None:
        create(bucket, "key", b"0123456789")
        assert read(bucket, "key", first, octets) == expected

    def test_nothing_is_read_of_an_empty_object(self, bucket: Bucket) -> None:
        create(bucket, "key", b"")
        assert [read(bucket, "key"), read(bucket, "key", 0, 10), read(bucket, "key", 5)] == [b"", b"", b""]

    def test_an_object_is_read_in_pieces(self, bucket: Bucket) -> None:
        octets = bytes(range(256)) * 2000
        create(bucket, "key", octets)
        with bucket.read("key", 1, 500_000) as file:
            assert not file.seekable()
            pieces = list(iter(lambda: file.read(70_001), b""))
        assert b"".join(pieces) == octets[1:500_001]
        assert {len(piece) for piece in pieces[:-1]} == {70_001}

    @pytest.mark.parametrize("part", [(0, None), (3, 4), (0, 0)])
    def test_what_is_not_there_cannot_be_read(self, bucket: Bucket, part: tuple[int, int | None]) -> None:
        with pytest.raises(IntegrityError) as failed:
            read(bucket, "key", *part)
        assert str(failed.value).startswith(bucket.place("key") + ": ")

    # -- listing ---------------------------------------------------------------------------------------------

    def test_a_list_is_by_key_and_of_what_begins_so(self, bucket: Bucket) -> None:
        for key in ("b/2", "a/1", "b/10", "b", "c/1", "bb"):
            create(bucket, key)
        assert keys(bucket) == ["a/1", "b", "b/10", "b/2", "bb", "c/1"]
        assert keys(bucket, "b/") == ["b/10", "b/2"]
        assert keys(bucket, "b/", after="b/10") == ["b/2"]
        assert keys(bucket, "b/", after="a") == ["b/10", "b/2"]
        assert keys(bucket, after="b") == ["b/10", "b/2", "bb", "c/1"]
        assert keys(bucket, "d") == []

    def test_a_list_reports_what_head_reports(self, bucket: Bucket) -> None:
        create(bucket, "key")
        (listed,), looked = bucket.list(), bucket.head("key")
        assert looked is not None
        assert (listed.key, listed.size, listed.etag) == (looked.key, looked.size, looked.etag)
        assert abs(listed.modified - looked.modified) < 1
        assert abs(listed.asked - looked.asked) < 60

    def test_more_than_a_page_is_listed_and_deleted(self, bucket: Bucket) -> None:
        names = [f"n/{number:04}" for number in range(self.more_than_a_page)]
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(lambda name: create(bucket, name, b"x"), names))
        assert keys(bucket, "n/") == names
        assert keys(bucket, "n/", after="n/0089") == names[90:]
        create(bucket, "stays", b"x")
        assert list(bucket.delete(iter(names))) == []
        assert keys(bucket) == ["stays"]

    # -- deleting --------------------------------------------------------------------------------------------

    def test_what_is_deleted_is_gone_and_may_be_created_again(self, bucket: Bucket) -> None:
        create(bucket, "one")
        create(bucket, "two")
        assert list(bucket.delete(["one", "not there"])) == []
        assert keys(bucket) == ["two"]
        assert bucket.head("one") is None
        assert create(bucket, "one") is True

    def test_nothing_is_deleted_until_the_answer_is_used(self, bucket: Bucket) -> None:
        create(bucket, "key")
        bucket.delete(["key"])
        assert keys(bucket) == ["key"]
        assert list(bucket.delete([])) == []

    # -- names -----------------------------------------------------------------------------------------------

    def test_odd_keys(self, bucket: Bucket) -> None:
        for key in ODD_KEYS:
            assert create(bucket, key, key.encode()) is True
        assert set(keys(bucket)) == set(ODD_KEYS)
        assert [read(bucket, key).decode() for key in ODD_KEYS] == ODD_KEYS
        assert list(bucket.delete(ODD_KEYS)) == []
        assert keys(bucket) == []

    def test_odd_accounts_do_not_meet(self, open_bucket: OpenBucket) -> None:
        accounts = [*ODD_ACCOUNTS, "a", "a b", "A"]
        for account in accounts:
            assert create(open_bucket(account=account), "key", account.encode()) is True
        for account in accounts:
            bucket = open_bucket(account=account)
            assert keys(bucket) == ["key"]
            assert read(bucket, "key") == account.encode()

    def test_a_place_is_one_printable_line(self, open_bucket: OpenBucket) -> None:
        place = open_bucket(account="a\n\x1b[31m日").place("key\r")
        assert place.startswith("s3://")
        assert place.isprintable()

    # -- the whole -------------------------------------------------------------------------------------------

    def test_another_opening_sees_it(self, open_bucket: OpenBucket) -> None:
        create(open_bucket(), "key")
        assert keys(open_bucket()) == ["key"]

    def test_it_closes_twice(self, bucket: Bucket) -> None:
        create(bucket, "key")
        bucket.close()
        bucket.close()
