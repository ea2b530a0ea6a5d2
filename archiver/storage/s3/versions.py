"""The versions of a key, in a bucket that has them; every bucket with Object Lock is one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from archiver.storage.s3.endpoint import Endpoint, Response, never
from archiver.storage.s3.failures import ErrorResponse, not_s3


class Version(Struct, frozen=True):
    """A version of a key; without an id if the bucket has no versions. A marker hides older ones."""

    key: str
    id: str | None = None
    is_marker: bool = False
    etag: str | None = None
    modified: datetime | None = None

    def parameters(self) -> dict[str, str]:
        return {"Key": self.key} | ({"VersionId": self.id} if self.id is not None else {})


def versions_of(endpoint: Endpoint, key: str, where: str) -> list[Version]:
    """All versions of a whole key: the newest first, then its markers, the newest first."""
    versions: list[Version] = []
    markers: list[Version] = []
    asked: dict[str, object] = {"Prefix": key}
    while True:
        page = endpoint.ask("list_object_versions", where, never, Bucket=endpoint.settings.bucket, **asked)
        if isinstance(page, ErrorResponse) or "IsTruncated" not in page:
            raise not_s3(where, endpoint.settings)
        versions += _of_key(page, "Versions", key)
        markers += _of_key(page, "DeleteMarkers", key)
        if not page["IsTruncated"] or page.get("NextKeyMarker") != key:  # those that follow begin with it
            return versions + markers
        asked |= {"KeyMarker": key, "VersionIdMarker": page["NextVersionIdMarker"]}


def _of_key(page: Response, kind: str, key: str) -> Iterator[Version]:
    for entry in page.get(kind, ()):
        if entry.get("Key") == key:
            marker = kind == "DeleteMarkers"
            yield Version(key, entry["VersionId"], marker, entry.get("ETag"), entry.get("LastModified"))
