"""An S3 endpoint of the tests, and a plain client to look behind the archiver's back.

The client is boto3 with nothing added, so what a test expects cannot suffer from the fault it looks for.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

_AWS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip


_CONNECTIONS = 16


@dataclass(frozen=True)
class Endpoint:
    """Where S3 is spoken and as whom. `ca_file` is what a client has to trust for an https `url`; `atomic`: of
    simultaneous writers of a new object one wins."""

    url: str
    access_key: str
    secret_key: str
    ca_file: Path | None = None
    region: str = "us-east-1"
    atomic: bool = True

    def at(self, url: str) -> Endpoint:
        """The same user at another address: the url of a proxy."""
        return replace(self, url=url)

    @property
    def client(self) -> Any:
        """A boto3 client of S3: path style, no checksums of its own, no second attempts."""
        return _client(self)

    def environment(self) -> Mapping[str, str]:
        """The credentials as AWS_* variables; they say nothing of url, region and CA."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def profile(self, name: str) -> str:
        """The credentials as a section of a credentials file."""
        return f"[{name}]\naws_access_key_id = {self.access_key}\naws_secret_access_key = {self.secret_key}\n"

    # -- buckets ---------------------------------------------------------------------------------------------

    def fresh_bucket(self, *, lock: bool = False, versioned: bool = False) -> str:
        """A bucket that no test has used, with Object Lock (which is versioned too) or with versions."""
        bucket = f"t{uuid.uuid4().hex[:16]}"
        self.client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=lock)
        if versioned and not lock:
            status = {"Status": "Enabled"}
            self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=status)
        return bucket

    # -- objects ---------------------------------------------------------------------------------------------

    def put(self, bucket: str, key: str, octets: bytes) -> None:
        """Write an object, whether it is there or not."""
        self.client.put_object(Bucket=bucket, Key=key, Body=octets)

    def get(self, bucket: str, key: str) -> bytes:
        """An object's octets."""
        octets: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return octets

    def head(self, bucket: str, key: str) -> dict[str, Any]:
        """All that HEAD says of an object: metadata, storage class, lock, encryption."""
        facts: dict[str, Any] = self.client.head_object(Bucket=bucket, Key=key)
        return facts

    def flip(self, bucket: str, key: str, at: int = 0) -> None:
        """Flip one bit of the octet `at`; its size stays, its metadata do not."""
        octets = bytearray(self.get(bucket, key))
        octets[at] ^= 1
        self.put(bucket, key, bytes(octets))

    def delete(self, bucket: str, *keys: str) -> None:
        """Remove objects, or put a delete marker over them where there are versions."""
        for key in keys:
            self.client.delete_object(Bucket=bucket, Key=key)

    def keys(self, bucket: str, under: str = "") -> list[str]:
        """All keys that begin with `under`, by key."""
        return [entry["Key"] for page in self._pages("list_objects_v2", bucket, under) for entry in _of(page)]

    def contents(self, bucket: str, under: str = "") -> dict[str, bytes]:
        """All objects with their octets; equal contents = same state."""
        keys = self.keys(bucket, under)
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            return dict(zip(keys, pool.map(lambda key: self.get(bucket, key), keys), strict=True))

    def versions(self, bucket: str, under: str = "") -> list[tuple[str, str]]:
        """All versions as (key, version id), the newest of a key first; a delete marker is none."""
        pages = self._pages("list_object_versions", bucket, under)
        return [(each["Key"], each["VersionId"]) for page in pages for each in page.get("Versions", ())]

    def uploads(self, bucket: str) -> list[str]:
        """The keys of the multipart uploads that were begun and neither completed nor aborted."""
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]

    def _pages(self, call: str, bucket: str, under: str) -> Iterator[dict[str, Any]]:
        pages: Iterator[dict[str, Any]] = iter(
            self.client.get_paginator(call).paginate(Bucket=bucket, Prefix=under)
        )
        return pages


@contextmanager
def no_credentials(directory: Path) -> Iterator[None]:
    """Inside the block boto3 finds no credentials and no settings: neither the user's nor those of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _AWS:
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", str(directory / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(directory / "credentials"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


def _of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(page.get("Contents", ()))


@functools.cache
def _client(endpoint: Endpoint) -> Any:
    import boto3  # here, as all tests load this module
    from botocore.config import Config

    # NOTE: over https boto3 sends its own checksums as a trailer, which radosgw 16 refuses with 411.
    config = Config(
        s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, max_pool_connections=_CONNECTIONS,
        request_checksum_calculation="when_required", response_checksum_validation="when_required",
    )  # fmt: skip
    return boto3.session.Session().client(
        "s3", endpoint_url=endpoint.url, region_name=endpoint.region, config=config,
        aws_access_key_id=endpoint.access_key, aws_secret_access_key=endpoint.secret_key,
        verify=str(endpoint.ca_file) if endpoint.ca_file else True,
    )  # fmt: skip
