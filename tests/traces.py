"""Where words are left in an archive: in its files, also compressed ones, and in a bucket with all its versions."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import zstandard

from tests.servers.s3_endpoint import Endpoint

_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b\x08"


def traces(directory: Path, *words: bytes) -> list[str]:
    """The files below the directory in whose octets one of these words is, as it is or compressed."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink())
    return [str(path.relative_to(directory)) for path in files if has_one(path.read_bytes(), words)]


def traces_there(endpoint: Endpoint, bucket: str, root: str, *words: bytes) -> list[str]:
    """The same for all versions of all objects of a bucket below `root`."""
    found = []
    for key, version in endpoint.versions(bucket, root):
        octets = endpoint.client.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
        if has_one(octets, words):
            found.append(f"{key.removeprefix(root)} {version}")
    return found


def has_one(octets: bytes, words: Iterable[bytes]) -> bool:
    """Whether one of these words is in the octets, or in what is compressed among them."""
    return any(word.lower() in text.lower() for text in (octets, *_unpacked(octets)) for word in words)


def _unpacked(octets: bytes) -> Iterator[bytes]:
    for magic, unpack in ((_ZSTD, _zstd), (_GZIP, _gzip)):
        at = octets.find(magic)
        while at >= 0:
            yield unpack(octets[at:])
            at = octets.find(magic, at + 1)


def _zstd(octets: bytes) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(octets)
    except zstandard.ZstdError:
        return b""


def _gzip(octets: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(octets)
    except zlib.error:
        return b""
