"""Buckets on real endpoints: the contract, what is sent over the wire, and what is said when something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from archiver.errors import IntegrityError
from archiver.s3.boto import BotoBucket
from archiver.settings import S3Settings
from tests.contracts.bucket import HELLO, BucketContract, OpenBucket, create, digest_of
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint


def settings_of(endpoint: Endpoint, bucket: str, **others: Any) -> S3Settings:
    """The settings of an archive there."""
    return S3Settings(bucket=bucket, endpoint_url=endpoint.url, ca_file=endpoint.ca_file, **others)


@pytest.fixture
def open_boto(s3: Endpoint, aws: Callable[[Endpoint], None]) -> Iterator[OpenBucket]:
    """Opens a BotoBucket in one fresh bucket: `open_boto(account="alice", prefix="mail")`."""
    aws(s3)
    name = s3.fresh_bucket()
    with ExitStack() as stack:

        def open_bucket(account: str = "alice", **others: Any) -> BotoBucket:
            bucket = BotoBucket(settings_of(s3, name, **({"prefix": "mail/archive"} | others)), account, None)
            stack.callback(bucket.close)
            return bucket

        yield open_bucket


class TestBotoBucket(BucketContract):
    @pytest.fixture
    def open_bucket(self, open_boto: OpenBucket) -> OpenBucket:
        return open_boto


class TestNets:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_radosgw_compares_what_arrives_with_our_digest(
        self, scheme: str, radosgw: RadosGateway, aws: Callable[[Endpoint], None]
    ) -> None:
        endpoint: Endpoint = getattr(radosgw, scheme)
        aws(endpoint)
        bucket = BotoBucket(settings_of(endpoint, endpoint.fresh_bucket()), "alice", None)
        assert create(bucket, "key") is True
        with pytest.raises(IntegrityError):
            bucket.create("other", HELLO, digest_of(b"other octets"), "message")
        assert [facts.key for facts in bucket.list()] == ["key"]
        assert (bucket.integrity, bucket.conditional) == ("sha256", True)
        bucket.close()
