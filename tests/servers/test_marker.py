"""What an endpoint does is found out before anything is written, and what it ignores is refused by name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from archiver.config.tables.s3 import ObjectLock, S3Settings
from archiver.errors import ArchiveNotWritable, ArchiveThrottled, ConfigError, IntegrityError
from archiver.storage.bucket import probe
from archiver.storage.bucket.object_settings import ObjectAttributes, unsupported
from archiver.storage.bucket.probe import MARKER, compares, is_atomic, prepared, read_marker
from archiver.storage.s3.bucket import BotoBucket
from tests.memory_bucket import MemoryBucket
from tests.servers.s3_endpoint import Endpoint


@pytest.fixture(autouse=True)
def _every_process_probes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_found_out", {})


@pytest.fixture
def endpoint(s3: Endpoint, aws: Callable[[Endpoint], None]) -> Endpoint:
    aws(s3)
    return s3


def settings_of(endpoint: Endpoint, bucket: str, **keys: Any) -> S3Settings:
    return S3Settings(
        bucket=bucket, endpoint_url=endpoint.url, region=endpoint.region, addressing_style="path", attempts=3,
        ca_file=endpoint.ca_file, **keys,
    )  # fmt: skip


def prepare(settings: S3Settings, key: bytes | None = None) -> probe.Marker:
    return prepared(BotoBucket(settings, "alice", None if key is None else lambda: key), settings, "alice")


class TestABucket:
    def test_is_found_out_once(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = settings_of(endpoint, endpoint.fresh_bucket())
        bucket = BotoBucket(settings, "alice", None)
        assert read_marker(bucket) is None

        first = prepared(bucket, settings, "alice")
        monkeypatch.setattr(probe, "_found_out", {})
        again = prepared(bucket, settings, "alice")

        assert first == again == read_marker(bucket)
        assert first.atomic or not endpoint.atomic
        assert [key for key in endpoint.keys(settings.bucket) if "/probe/" in key] == []

    def test_is_not_made_unless_it_is_asked_for(self, endpoint: Endpoint) -> None:
        settings = settings_of(endpoint, f"{endpoint.fresh_bucket()}-not")
        with pytest.raises(ArchiveNotWritable, match="there is no bucket"):
            prepare(settings)
        assert prepare(replace(settings, create_bucket=True)).account == "alice"

    def test_does_all_that_was_asked_for(self, gateway: Endpoint) -> None:
        lock = ObjectLock(mode="GOVERNANCE", days=3, legal_hold=True)
        settings = settings_of(gateway, gateway.fresh_bucket(lock=True), tags={"team": "mail"}, object_lock=lock)

        prepare(settings)

        (kept,) = (key for key in gateway.keys(settings.bucket) if "/kept/" in key)
        head = gateway.head(settings.bucket, kept)
        assert (head["ObjectLockMode"], head["ObjectLockLegalHoldStatus"]) == ("GOVERNANCE", "ON")
        assert head["ObjectLockRetainUntilDate"].timestamp() > time.time() + 2 * 86_400

    def test_is_probed_again_for_other_settings(self, gateway: Endpoint) -> None:
        settings = settings_of(gateway, gateway.fresh_bucket())
        first = prepare(settings)
        assert prepare(replace(settings, tags={"team": "mail"})).asked != first.asked

    def test_encrypts_with_a_key_of_ours(self, gateway: Endpoint) -> None:
        settings = settings_of(gateway, gateway.fresh_bucket(), sse="customer", customer_key={"env": "KEY"})
        assert prepare(settings, os.urandom(32)).atomic


class TestWhatIsIgnored:
    """radosgw takes SSE-S3 and does nothing of it."""

    @pytest.mark.parametrize(
        ("keys", "named"),
        [
            ({"sse": "AES256"}, "sse"),
            ({"object_lock": ObjectLock(mode="COMPLIANCE", days=1)}, "object_lock"),
            ({"storage_class": "STANDARD_IA"}, "storage_class"),
        ],
    )
    def test_is_refused_by_name_and_nothing_is_left(
        self, gateway: Endpoint, keys: dict[str, Any], named: str
    ) -> None:
        settings = settings_of(gateway, gateway.fresh_bucket(), **keys)
        with pytest.raises(ConfigError, match=named):
            prepare(settings)
        assert gateway.keys(settings.bucket) == []

    def test_is_reported_for_every_key(self) -> None:
        settings = S3Settings(
            bucket="mail", storage_class="GLACIER_IR", sse="aws:kms", kms_key="k", tags={"a": "b"},
            object_lock=ObjectLock(mode="COMPLIANCE", days=10, legal_hold=True),
        )  # fmt: skip
        kept = ObjectAttributes()
        assert [problem.partition(":")[0] for problem in unsupported(settings, kept, 0.0)] == [
            "storage_class", "sse", "kms_key", "tags", "object_lock", "object_lock",
        ]  # fmt: skip
        whole = ObjectAttributes(
            "GLACIER_IR", "aws:kms", "arn/k", False, {"a": "b", "more": ""}, "COMPLIANCE", 9.5e5, True
        )
        assert list(unsupported(settings, whole, 0.0)) == []
        assert list(unsupported(settings, replace(whole, lock_mode="GOVERNANCE"), 0.0)) == [
            "object_lock: COMPLIANCE for 10 days was requested, but the object has another lock"
        ]


class TestProbes:
    def test_a_signature_holds_the_digest_which_radosgw_compares(self, gateway: Endpoint) -> None:
        bucket = BotoBucket(settings_of(gateway, gateway.fresh_bucket()), "alice", None)
        assert compares(bucket)

    def test_moto_compares_nothing(self, moto: Endpoint, aws: Callable[[Endpoint], None]) -> None:
        aws(moto)
        bucket = BotoBucket(settings_of(moto, moto.fresh_bucket()), "alice", None)
        assert not compares(bucket)

    def test_a_write_that_happens_for_all_who_race_is_not_atomic(self) -> None:
        class Careless(MemoryBucket):
            def create(self, *arguments: Any) -> bool:
                super().replace(*arguments)
                return True

        assert is_atomic(MemoryBucket())
        assert not is_atomic(Careless())

    def test_an_answer_that_was_lost_is_no_proof_against_an_endpoint(self) -> None:
        class Forgetful(MemoryBucket):
            lost = False

            def create(self, *arguments: Any) -> bool:
                reported = super().create(*arguments) and self.lost
                self.lost = True
                return reported

        assert is_atomic(Forgetful())

    def test_an_endpoint_that_takes_one_write_a_second_of_an_object_is_atomic_if_writers_lost(self) -> None:
        class OneASecond(MemoryBucket):
            """Of the writers of one object all but `taken` are asked to slow down until they give up."""

            def __init__(self, taken: int) -> None:
                super().__init__()
                self.left: dict[str, int] = {}

                def slow_down(request: str, key: str) -> None:
                    if request == "create":
                        self.left[key] = self.left.get(key, taken) - 1
                        if self.left[key] < 0:
                            raise ArchiveThrottled(f"{self.place(key)}: the endpoint asks to slow down")

                self.before = slow_down

        assert is_atomic(OneASecond(taken=2))
        assert not is_atomic(OneASecond(taken=1))
        assert not is_atomic(OneASecond(taken=0))


def test_a_marker_that_is_none_is_not_overwritten(gateway: Endpoint) -> None:
    settings = settings_of(gateway, gateway.fresh_bucket())
    gateway.put(settings.bucket, f"alice/{MARKER}", b'{"format": "archiver-bucket/1", "account": 1}')
    with pytest.raises(IntegrityError, match=r"archive.json"):
        prepare(settings)
    gateway.put(settings.bucket, f"alice/{MARKER}", b'{"format": "archiver-bucket/2"}')
    with pytest.raises(ConfigError, match="newer mail-archiver"):
        prepare(settings)
