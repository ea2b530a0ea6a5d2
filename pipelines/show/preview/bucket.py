"""A preview of an account's bucket; it only reads.

What an endpoint really does shows only when something is written, so this is reported as an earlier run found it.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, to_builtins

from archiver.account.account import Account
from archiver.config.tables.s3 import S3Settings
from archiver.errors import ArchiverError
from archiver.storage.bucket.object_settings import words_of
from archiver.storage.bucket.probe import Marker, read_marker
from archiver.storage.s3.open import client_of
from pipelines.failures import logged


class BucketPreview(Struct, frozen=True):
    """The preview of a bucket. `place` is the account's URL in it; `exists`: the bucket does. `marker` is None if
    nothing was ever written; `client` says how objects are sent. `is_begun`: there is an archive. `error` is what
    ended it early."""

    settings: S3Settings
    place: str
    client: str
    exists: bool = True
    marker: Marker | None = None
    is_begun: bool = False
    error: ArchiverError | None = None

    def to_json(self) -> dict[str, Any]:
        """The bucket of one account in the document of `check`."""
        return {
            "place": self.place,
            "exists": self.exists,
            "layout": self.settings.layout,
            "client": self.client,
            "found": None if self.marker is None else to_builtins(self.marker),
        }

    def facts(self) -> list[tuple[str, str]]:
        """The same for people, as lines of label and text."""
        state = "exists" if self.marker else "empty" if self.exists else "will be created"
        kept = [f"layout {self.settings.layout}", *words_of(self.settings)]
        return [
            ("bucket", f"{self.place} ({state})"),
            ("keeps", ", ".join(kept)),
            ("holds", _holds(self.marker, single_writer=self.settings.single_writer)),
            ("client", self.client),
        ]


def preview_bucket(account: Account) -> BucketPreview | None:
    """Preview an account's bucket; None if it has none. Never raises for a bucket's failure."""
    there = account.medium.bucket
    if there is None:
        return None
    s3 = there.s3
    try:
        bucket = there.connect()
        preview = BucketPreview(s3, bucket.place(), client_of(s3))
    except Exception as error:  # whatever it is, it ends only this account
        return BucketPreview(s3, f"s3://{s3.bucket}", "", error=logged(error))
    try:
        if not bucket.has_bucket() and s3.create_bucket:
            return BucketPreview(s3, preview.place, preview.client, exists=False)
        marker = read_marker(bucket)
        is_begun = any(bucket.list("journal/"))  # a run has to list it, too
        return BucketPreview(s3, preview.place, preview.client, marker=marker, is_begun=is_begun)
    except Exception as error:
        return BucketPreview(s3, preview.place, preview.client, error=logged(error))
    finally:
        bucket.close()


def _holds(marker: Marker | None, *, single_writer: bool) -> str:
    if marker is None:
        return "unknown until the first run tests the endpoint"
    compared = "the endpoint checks uploads against their digests"
    if not marker.compares:
        compared = "the endpoint does not check uploads against their digests (`verify --deep` does)"
    if single_writer:
        return f"{compared}; no lock between machines, because of single_writer"
    once = "conditional writes are atomic" if marker.atomic else "conditional writes are not atomic"
    return f"{compared}; {once}"
