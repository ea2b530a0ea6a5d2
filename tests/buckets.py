"""The tests' own words for an account whose archive is in a bucket: its file, and what the bucket holds.

What a bucket holds is read by a client that shares nothing with the archiver.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
import struct
from collections import defaultdict
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import zstandard

from archiver.config.load import load_account
from archiver.config.tables.s3 import S3Settings
from tests.accounts import CATALOG, ArchiveState, Server, account_file, archive_of, archive_state
from tests.faults.attempts import wait_for
from tests.servers.s3_endpoint import Endpoint


def bucket_account(
    directory: Path, server: Server, user: str, endpoint: Endpoint, bucket: str | None = None, /, *,
    s3: dict[str, Any] | None = None, **keys: Any,
) -> Path:  # fmt: skip
    """Write `directory`/USER.toml, whose archive is in `bucket` (a new one); `s3` are keys of [archive.s3]."""
    table = {
        "bucket": bucket or endpoint.fresh_bucket(),
        "endpoint_url": endpoint.url,
        "region": endpoint.region,
        "addressing_style": "path",
        "ca_file": str(endpoint.ca_file) if endpoint.ca_file else None,
        "attempts": 3,
        "single_writer": None if endpoint.atomic else True,
        **(s3 or {}),
    }
    table = {name: value for name, value in table.items() if value is not None}
    return account_file(directory, server, user, archive__store="s3", archive__s3=table, **keys)


def s3_of(config: Path) -> S3Settings:
    """The bucket that the account file names."""
    s3 = load_account(config).archive.s3
    assert s3 is not None
    return s3


def root_of(config: Path) -> str:
    """What all keys of the account begin with."""
    prefix, account = s3_of(config).prefix, load_account(config).account
    return f"{prefix}/{account}/" if prefix else f"{account}/"


def objects_of(config: Path, endpoint: Endpoint) -> dict[str, bytes]:
    """All objects of the account by their keys below its place."""
    root = root_of(config)
    found = endpoint.contents(s3_of(config).bucket, root)
    return {key.removeprefix(root): octets for key, octets in found.items()}


def forget_locally(config: Path) -> None:
    """Every local file of the archive is lost."""
    archive = archive_of(config)
    for path in sorted(archive.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    archive.rmdir()


def lease_has_run_out(config: Path, endpoint: Endpoint) -> None:
    """As if the machine that held the archive had not renewed its lease for long: it may be taken over."""
    if leases := endpoint.keys(s3_of(config).bucket, f"{root_of(config)}lease/"):
        key = max(leases)
        lease = json.loads(endpoint.get(s3_of(config).bucket, key))
        octets = json.dumps(lease | {"ttl": 1e-6}).encode()
        endpoint.put(s3_of(config).bucket, key, octets)
        wait_for(lambda: _is_of_an_earlier_second(endpoint, s3_of(config).bucket, key), "the next second there")


def _is_of_an_earlier_second(endpoint: Endpoint, bucket: str, key: str) -> bool:
    """By the endpoint's clock, which has whole seconds."""
    head = endpoint.head(bucket, key)
    reported = head["ResponseMetadata"]["HTTPHeaders"]
    return parsedate_to_datetime(reported["date"]) > parsedate_to_datetime(reported["last-modified"])


def facts_of(config: Path, endpoint: Endpoint) -> list[dict[str, Any]]:
    """The facts of the journal in the bucket, in their order."""
    segments = endpoint.contents(s3_of(config).bucket, f"{root_of(config)}journal/")
    return [json.loads(line) for octets in segments.values() for line in gzip.decompress(octets).splitlines()[1:]]


def packed(pack: bytes) -> list[bytes]:
    """The messages of a pack, as docs/formats.md says where they are."""
    offset, length, _ = struct.unpack("<QQQ", pack[-72:-48])
    index = zstandard.decompress(pack[offset : offset + length])
    places = [entry[1:3] for entry in struct.iter_unpack("<32sQQQ", index)]
    return [zstandard.decompress(pack[offset : offset + length]) for offset, length in places]


def assert_bucket_whole(config: Path, endpoint: Endpoint) -> ArchiveState:
    """Nothing lost, nothing altered, nothing that no row names: objects, and what is in packs. Of the objects
    there is one for each digest; two connections may put the same octets into packs at the same moment. Returns the
    state of the catalog."""
    objects = objects_of(config, endpoint)
    messages = {key: octets for key, octets in objects.items() if key.startswith("messages/")}
    held = {hashlib.sha256(octets).hexdigest() for octets in messages.values()}
    assert set(messages) == {f"messages/{digest[:2]}/{digest}.eml" for digest in held}
    for key, octets in objects.items():
        if key.startswith("packs/"):
            digest = hashlib.sha256(octets).hexdigest()
            assert key == f"packs/{digest[:2]}/{digest}.pack"
            held |= {hashlib.sha256(message).hexdigest() for message in packed(octets)}
    with closing(sqlite3.connect(f"file:{archive_of(config) / CATALOG}?mode=ro", uri=True)) as catalog:
        named = {row[0] for row in catalog.execute("SELECT digest FROM message")}
    assert held == named
    return archive_state(archive_of(config))


def assert_nothing_altered(config: Path, endpoint: Endpoint) -> None:
    """In a bucket with versions: what is kept for ever was never removed, and never overwritten by anything else.

    NOTE: radosgw ignores If-None-Match there. A writer that finds itself the second takes its version away again;
    one that is killed before leaves it, with the same octets.
    """
    root, bucket = root_of(config), s3_of(config).bucket
    kept = tuple(f"{root}{place}/" for place in ("messages", "packs", "journal"))
    versions = defaultdict[str, list[str]](list)
    for key, version in endpoint.versions(bucket, root):
        if key.startswith(kept):
            versions[key].append(version)
    for key, ids in versions.items():
        read = [endpoint.client.get_object(Bucket=bucket, Key=key, VersionId=each)["Body"].read() for each in ids]
        assert len(set(read)) == 1
    assert set(versions) == {key for key in endpoint.keys(bucket, root) if key.startswith(kept)}
