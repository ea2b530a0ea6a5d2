"""The faster client: the same contract, what it is used for, and that it claims nothing it has not seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="obstore: not installed (the extra fast-s3)")

from archiver.config.tables.s3 import ObjectLock, S3Settings
from archiver.errors import IntegrityError
from archiver.storage.s3.bucket import BotoBucket
from archiver.storage.s3.fast import FastBucket
from archiver.storage.s3.open import beyond_fast, client_of, open_bucket
from tests.contracts.bucket import HELLO, BucketContract, OpenBucket, create, digest_of, keys, read
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import INTERNAL_ERROR, SLOW_DOWN, Answer, Fault, Flip, Reset, Stall
from tests.servers.s3_proxy import S3Proxy

Aws = Callable[[Endpoint], None]
Proxy = Callable[..., S3Proxy]
OpenFast = Callable[..., BotoBucket]


@pytest.fixture
def fast(aws: Aws) -> Iterator[OpenFast]:
    """Opens a bucket by whichever client is right: `fast(radosgw.http, bucket, account="alice", **settings)`."""
    with ExitStack() as stack:

        def opened(endpoint: Endpoint, bucket: str, account: str = "alice", **settings: Any) -> BotoBucket:
            aws(endpoint)
            common = {"endpoint_url": endpoint.url, "ca_file": endpoint.ca_file}
            opening = open_bucket(S3Settings(bucket=bucket, **(common | settings)), account, None)
            stack.callback(opening.close)
            return opening

        yield opened


class TestFastBucket(BucketContract):
    @pytest.fixture
    def open_bucket(self, radosgw: RadosGateway, fast: OpenFast) -> OpenBucket:
        name = radosgw.http.fresh_bucket()
        warm = fast(radosgw.http, name, "somebody else", prefix="mail")
        assert isinstance(warm, FastBucket)
        return lambda account="alice": fast(radosgw.http, name, account, prefix="mail")


def by(proxy: S3Proxy) -> list[str]:
    """Which client each request is from."""
    return ["obstore" if "object_store" in each.headers["user-agent"] else "boto3" for each in proxy.requests]


class TestWhatGoesFast:
    @pytest.fixture
    def behind(self, radosgw: RadosGateway, s3_proxy: Proxy) -> tuple[S3Proxy, str]:
        return s3_proxy(radosgw.http), radosgw.http.fresh_bucket()

    def test_small_new_objects_after_the_first(self, behind: tuple[S3Proxy, str], fast: OpenFast) -> None:
        proxy, name = behind
        bucket = fast(proxy.endpoint, name)
        assert [create(bucket, f"{number}") for number in range(4)] == [True] * 4
        bucket.replace("control", HELLO, digest_of(HELLO), "control")
        large = bytes(5_000_000)
        assert create(bucket, "large", large) is True
        assert by(proxy) == ["boto3", "obstore", "obstore", "obstore", "boto3", "boto3"]
        for request in proxy.requests[1:4]:
            assert request.headers["if-none-match"] == "*"
            assert request.headers["x-amz-content-sha256"] == digest_of(HELLO)
            assert request.headers["x-amz-checksum-sha256"]

    def test_what_is_there_is_answered_by_boto3(self, behind: tuple[S3Proxy, str], fast: OpenFast) -> None:
        proxy, name = behind
        bucket = fast(proxy.endpoint, name)
        for key in ("warm", "key"):
            create(bucket, key)
        proxy.clear()
        assert create(bucket, "key", b"other") is False
        assert by(proxy) == ["obstore", "boto3"]
        assert read(bucket, "key") == HELLO

    def test_two_at_once_are_not_taken_for_there_already(self, behind: tuple[S3Proxy, str], fast: OpenFast) -> None:
        proxy, name = behind
        bucket = fast(proxy.endpoint, name)
        create(bucket, "warm")
        proxy.on("PutObject", Answer(409, "ConditionalRequestConflict"))
        assert create(bucket, "key") is True
        assert read(bucket, "key") == HELLO

    def test_octets_are_those_of_their_digest(self, behind: tuple[S3Proxy, str], fast: OpenFast) -> None:
        proxy, name = behind
        bucket = fast(proxy.endpoint, name)
        create(bucket, "warm")
        with pytest.raises(IntegrityError):
            bucket.create("key", HELLO, digest_of(b"other"), "message")
        assert keys(bucket) == ["warm"]

    @pytest.mark.parametrize(
        "fault",
        [INTERNAL_ERROR, SLOW_DOWN, Reset("request"), Reset("upload", 5), Reset("answer"), Stall("request"),
         Stall("answer"), Flip("upload", 5), Answer(403, "AccessDenied")],
    )  # fmt: skip
    def test_boto3_goes_on_where_it_failed(self, behind: tuple[S3Proxy, str], fast: OpenFast, fault: Fault) -> None:
        proxy, name = behind
        bucket = fast(proxy.endpoint, name, read_timeout=1.0)
        create(bucket, "warm")
        proxy.on("PutObject", fault)
        assert create(bucket, "key") is (not isinstance(fault, Reset | Stall) or fault.at != "answer")
        assert read(bucket, "key") == HELLO
        assert create(bucket, "next") is True
        assert by(proxy)[-1] == "obstore"

    def test_it_is_left_alone_where_it_always_fails(self, behind: tuple[S3Proxy, str], fast: OpenFast) -> None:
        proxy, name = behind
        proxy.on(lambda request: "object_store" in request.headers["user-agent"], INTERNAL_ERROR, times=None)
        bucket = fast(proxy.endpoint, name)
        assert [create(bucket, f"{number}") for number in range(10)] == [True] * 10
        assert by(proxy).count("obstore") == 3

    def test_where_conditions_are_ignored_nothing_does(self, radosgw: RadosGateway, fast: OpenFast) -> None:
        bucket = fast(radosgw.http, radosgw.http.fresh_bucket(versioned=True))
        assert isinstance(bucket, FastBucket)
        assert [create(bucket, key) for key in ("a", "b", "b", "a")] == [True, True, False, False]

    def test_a_fork_goes_slowly(self, radosgw: RadosGateway, fast: OpenFast) -> None:
        bucket = fast(radosgw.http, radosgw.http.fresh_bucket())
        for key in ("warm", "fast"):
            create(bucket, key)
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if all(create(bucket, f"child/{number}") for number in range(5)) else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert create(bucket, "again") is True
        assert len(keys(bucket)) == 8

    def test_storage_classes_arrive(self, moto: Endpoint, fast: OpenFast) -> None:
        bucket = fast(moto, moto.fresh_bucket(), storage_class="STANDARD_IA")
        for purpose in ("control", "message", "journal"):
            bucket.create(purpose, HELLO, digest_of(HELLO), purpose)
        assert bucket.attributes("message").storage_class == "STANDARD_IA"
        assert bucket.attributes("journal").storage_class in (None, "STANDARD")

    def test_tags_arrive(self, behind: tuple[S3Proxy, str], fast: OpenFast) -> None:
        proxy, name = behind
        bucket = fast(proxy.endpoint, name, tags={"kind": "mail&more", "b": "="})
        for purpose in ("control", "message", "journal"):
            bucket.create(purpose, HELLO, digest_of(HELLO), purpose)
        assert by(proxy) == ["boto3", "obstore", "boto3"]
        assert bucket.attributes("message").tags == {"kind": "mail&more", "b": "="}
        assert bucket.attributes("journal").tags == {}


class TestWhichClient:
    @pytest.mark.parametrize(
        ("others", "word"),
        [({"client": "boto3"}, "boto3"), ({"object_lock": ObjectLock(mode="COMPLIANCE", days=1)}, "object_lock"),
         ({"tags": {"kind": "old mail"}}, "tags"), ({"checksums": "when_required"}, "checksums"),
         ({"sse": "customer", "customer_key": {"env": "KEY"}}, "customer_key"),
         ({"ca_file": Path("/ca.pem")}, "ca_file"),
         ({"addressing_style": "virtual", "endpoint_url": "https://s3.example.org"}, "addressing_style")],
    )  # fmt: skip
    def test_boto3_alone_where_the_other_cannot(self, others: dict[str, Any], word: str) -> None:
        settings = S3Settings(bucket="mail", **others)
        assert word in str(beyond_fast(settings))
        assert client_of(settings).startswith("boto3 (")
        assert type(open_bucket(settings, "alice", None)) is BotoBucket

    def test_boto3_alone_where_the_environment_names_the_cas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", "/ca.pem")
        assert type(open_bucket(S3Settings(bucket="mail"), "alice", None)) is BotoBucket

    def test_the_faster_one_otherwise(self) -> None:
        settings = S3Settings(bucket="mail", sse="AES256", storage_class="GLACIER_IR", tags={"a": "b"})
        assert beyond_fast(settings) is None
        assert client_of(settings) == "obstore and boto3"
        assert type(open_bucket(settings, "alice", None)) is FastBucket
