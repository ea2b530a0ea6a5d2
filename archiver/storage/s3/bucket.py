"""The port `Bucket` over boto3: one streamed PutObject for every object, written once, with its digest."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

from msgspec import structs

from archiver.config.tables.s3 import S3Settings
from archiver.errors import ArchiveNotWritable, ArchiverError, ArchiveUnreachable
from archiver.mail.folder_names import printable
from archiver.mail.model import Digest
from archiver.storage.bucket.object_settings import (
    CustomerKey,
    LockOfBucket,
    ObjectAttributes,
    attributes_of,
    customer_key_parameters,
    lock_of_bucket,
)
from archiver.storage.bucket.port import Kept, ObjectFacts, Octets, Purpose
from archiver.storage.s3.delete import Remover
from archiver.storage.s3.endpoint import Endpoint, Response, asked_at, never
from archiver.storage.s3.failures import ErrorResponse, not_s3, refused
from archiver.storage.s3.read import ObjectReader
from archiver.storage.s3.write import Integrity, Object, Writer

_ELSEWHERE = ("IllegalLocationConstraintException", "InvalidLocationConstraint")


class BotoBucket:
    """A `Bucket` of one account (see the port for the contract).

    `integrity` and `conditional` are the present mode: if the first object shows that the endpoint does not support
    a checksum or the condition of a write, it is written without, and so are all later ones. A write without a
    condition first checks whether the object exists, which is not atomic. `endpoint`: one that is in use already.
    """

    def __init__(
        self,
        settings: S3Settings,
        account: str,
        customer_key: CustomerKey | None,
        endpoint: Endpoint | None = None,
    ) -> None:
        self._settings = settings
        self._endpoint = endpoint or Endpoint(settings)
        self._customer_key = customer_key
        self._root = f"{settings.prefix}/{account}/" if settings.prefix else f"{account}/"
        self._writer = Writer(self._endpoint, self._root, customer_key, self._is_there)
        self._bucket_seen = False

    @property
    def integrity(self) -> Integrity:
        return self._writer.mode.integrity

    @property
    def conditional(self) -> bool:
        return self._writer.mode.conditional

    def place(self, key: str = "") -> str:
        return printable(f"s3://{self._settings.bucket}/{self._root}{key}")

    def create(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> bool:
        thing = Object(self._root + key, self.place(key), octets, digest, purpose)
        return self._writer.write(thing, once=True)

    def replace(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> None:
        thing = Object(self._root + key, self.place(key), octets, digest, purpose)
        self._writer.write(thing, once=False)

    def head(self, key: str) -> ObjectFacts | None:
        head = self._head(key)
        return (
            None
            if isinstance(head, ErrorResponse)
            else self._facts(key, head, head.get("ContentLength"), asked_at(head))
        )

    def read(self, key: str, first: int = 0, octets: int | None = None) -> BinaryIO:
        if octets == 0:
            if answer := self._open(key, 0, 0):
                answer["Body"].close()
            return io.BytesIO()
        last = None if octets is None else first + octets - 1
        reader = ObjectReader(self._endpoint, self.place(key), partial(self._open, key), first, last)
        return io.BufferedReader(reader, 1 << 16)

    def list(self, under: str = "", after: str = "") -> Iterator[ObjectFacts]:
        parameters: dict[str, object] = {"Prefix": self._root + under}
        if after:
            parameters["StartAfter"] = self._root + after
        while True:
            page = self._ask("list_objects_v2", under, never, **parameters)
            if isinstance(page, ErrorResponse) or "IsTruncated" not in page:
                raise not_s3(self.place(under), self._settings)
            asked, found = asked_at(page), page.get("Contents", ())
            for entry in found:
                key = str(entry.get("Key", "")).removeprefix(self._root)
                yield self._facts(key, entry, entry.get("Size"), asked)
            if not page["IsTruncated"]:
                return
            if token := page.get("NextContinuationToken"):
                parameters["ContinuationToken"] = token
            elif found:
                parameters["StartAfter"] = found[-1]["Key"]
            else:
                raise ArchiveUnreachable(f"{self.place(under)}: the endpoint's list has no end")

    def _facts(self, key: str, said: Response, size: int | None, asked: float) -> ObjectFacts:
        modified = said.get("LastModified")
        if size is None or not isinstance(modified, datetime):
            raise not_s3(self.place(key), self._settings)
        return ObjectFacts(key, size, modified.timestamp(), asked, said.get("ETag"))

    def delete(self, keys: Iterable[str]) -> Iterator[Kept]:
        for kept in self._remover().remove(self._root + key for key in keys):
            yield Kept(kept.key.removeprefix(self._root), kept.reason)

    def forget_versions(self, key: str) -> Kept | None:
        kept = self._remover().remove_older(self._root + key)
        return kept and Kept(key, kept.reason)

    def _remover(self) -> Remover:
        return Remover(self._endpoint, lambda key: self.place(key.removeprefix(self._root)))

    def close(self) -> None:
        self._endpoint.close()

    def attributes(self, key: str) -> ObjectAttributes:
        """How an object is stored according to the endpoint; tags are requested only if some are configured.

        Raises:
            IntegrityError: there is no such object.
        """
        head = self._head(key)
        if isinstance(head, ErrorResponse):
            raise self._refused(head, key)
        tags: Response | ErrorResponse | None = None
        if self._settings.tags:
            tags = self._ask("get_object_tagging", key, _no_tags, Key=self._root + key)
        return attributes_of(head, None if isinstance(tags, ErrorResponse) else tags)

    def lock_of_bucket(self) -> LockOfBucket:
        """Whether the bucket has Object Lock; an endpoint that does not know the request has none."""
        answer = self._ask("get_object_lock_configuration", "", _no_lock)
        return lock_of_bucket({} if isinstance(answer, ErrorResponse) else answer)

    def has_bucket(self) -> bool:
        """Whether the bucket exists."""
        answer = self._ask("head_bucket", "", _says_nothing)
        if isinstance(answer, ErrorResponse) and answer.status != 404:
            self._ask_why()
        return not isinstance(answer, ErrorResponse) or answer.status != 404

    def make_bucket(self) -> None:
        """Create the bucket, with Object Lock if it is configured; does nothing if it exists and is ours.

        Raises:
            ArchiveNotWritable: no permission, or another account has a bucket of that name.
        """
        region = self._endpoint.client(self.place()).meta.region_name
        # us-east-1 must not be named, any other region has to be; some endpoints want it the other way round.
        named = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        ways: tuple[dict[str, Any], ...] = ({}, named) if region in ("us-east-1", "aws-global") else (named, {})
        if self._settings.object_lock is not None:
            ways = tuple(way | {"ObjectLockEnabledForBucket": True} for way in ways)
        answer = self._ask("create_bucket", "", _taken_or_elsewhere, **ways[0])
        if isinstance(answer, ErrorResponse) and answer.code in _ELSEWHERE:
            answer = self._ask("create_bucket", "", _taken, **ways[1])
        if isinstance(answer, ErrorResponse) and answer.code == "BucketAlreadyExists":
            raise ArchiveNotWritable(
                f'{self.place()}: the bucket "{self._settings.bucket}" belongs to another account',
                hint="choose another name for [archive.s3] bucket",
            )

    def _is_there(self, thing: Object) -> bool:
        return self.head(thing.key.removeprefix(self._root)) is not None

    def _head(self, key: str) -> Response | ErrorResponse:
        """The answer to head_object, or the refusal that it does not exist."""
        head = self._ask("head_object", key, _says_nothing, Key=self._root + key, **self._key_parameters())
        if not isinstance(head, ErrorResponse):
            self._bucket_seen = True
        elif head.status == 404:
            self._require_bucket(key)
        else:
            # An answer to HEAD has no body that would say why.
            asked = {"Key": self._root + key, "Range": "bytes=0-0", **self._key_parameters()}
            answer = self._ask("get_object", key, lambda refusal: refusal.status == 416, **asked)
            if not isinstance(answer, ErrorResponse):
                answer["Body"].close()
            raise self._refused(head, key)
        return head

    def _require_bucket(self, key: str) -> None:
        """Check that the bucket exists: an answer to HEAD does not say whether the object or the bucket is
        missing."""
        if self._bucket_seen:
            return
        answer = self._ask("head_bucket", "", _says_nothing)
        if isinstance(answer, ErrorResponse) and answer.status == 404:
            raise self._refused(structs.replace(answer, code="NoSuchBucket"), key)
        if isinstance(answer, ErrorResponse) and answer.status != 403:
            self._ask_why()
        self._bucket_seen = True

    def _ask_why(self) -> None:
        """Ask for the bucket in a way that the endpoint can answer in words, and raise what it says: an answer to
        HEAD has no body. Does nothing if the endpoint answers this one."""
        self._ask("list_objects_v2", "", never, Prefix=self._root, MaxKeys=1)

    def _open(self, key: str, first: int, last: int | None) -> Response | None:
        asked: dict[str, object] = {"Key": self._root + key, **self._key_parameters()}
        if first or last is not None:
            asked["Range"] = f"bytes={first}-{'' if last is None else last}"
        answer = self._ask("get_object", key, lambda refusal: refusal.status == 416, **asked)
        if isinstance(answer, ErrorResponse):
            return None
        if "ETag" not in answer:
            answer["Body"].close()
            raise not_s3(self.place(key), self._settings)
        return answer

    def _key_parameters(self) -> dict[str, object]:
        return customer_key_parameters(self._customer_key, self.place())

    def _refused(self, refusal: ErrorResponse, key: str) -> ArchiverError:
        return refused(refusal, self.place(key), self._settings, time.time())

    def _ask(
        self, operation: str, key: str, expected: Callable[[ErrorResponse], bool] = never, **parameters: object
    ) -> Response | ErrorResponse:
        return self._endpoint.ask(operation, self.place(key), expected, Bucket=self._settings.bucket, **parameters)


def _taken(refusal: ErrorResponse) -> bool:
    return refusal.code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def _taken_or_elsewhere(refusal: ErrorResponse) -> bool:
    return _taken(refusal) or refusal.code in _ELSEWHERE


def _says_nothing(refusal: ErrorResponse) -> bool:
    return refusal.status in (301, 307, 400, 403, 404)


def _no_tags(refusal: ErrorResponse) -> bool:
    return refusal.unknown_here or refusal.code == "NoSuchTagSet"


def _no_lock(refusal: ErrorResponse) -> bool:
    return refusal.unknown_here or refusal.code == "ObjectLockConfigurationNotFoundError"
