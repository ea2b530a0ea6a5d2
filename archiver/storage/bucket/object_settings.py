"""How objects are stored: what is requested when one is written, and what the endpoint reports afterwards.

An endpoint may accept any of these headers and ignore it, so the result is read back on one object of the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from archiver.config.settings import S3Settings
from archiver.errors import ConfigError
from archiver.storage.bucket.port import Purpose

CustomerKey = Callable[[], bytes]
"""Gives the 32 octets of an SSE-C key."""


@dataclass(frozen=True, slots=True)
class KeptAs:
    """How an object is stored according to the endpoint. Properties that it does not report, and so does not apply,
    are None; an object of the storage class STANDARD may have none."""

    storage_class: str | None = None
    sse: str | None = None
    kms_key: str | None = None
    customer_key: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    lock_mode: str | None = None
    retain_until: float | None = None
    legal_hold: bool = False


@dataclass(frozen=True, slots=True)
class LockOfBucket:
    """Whether a bucket has Object Lock, and its default retention."""

    enabled: bool
    mode: str | None = None
    days: int | None = None


def asked_for(settings: S3Settings, purpose: Purpose, now: datetime) -> dict[str, object]:
    """The parameters of put_object beside the object itself, without an SSE-C key. `now` is aware of its zone."""
    asked: dict[str, object] = {}
    if settings.sse in ("AES256", "aws:kms"):
        asked["ServerSideEncryption"] = settings.sse
    if settings.kms_key is not None:
        asked["SSEKMSKeyId"] = settings.kms_key
    if purpose == "message":
        if settings.storage_class is not None:
            asked["StorageClass"] = settings.storage_class
        if settings.tags:
            asked["Tagging"] = urlencode(settings.tags, quote_via=quote)  # radosgw takes a plus for a plus
    if settings.object_lock is not None and purpose != "control":
        asked["ObjectLockMode"] = settings.object_lock.mode
        asked["ObjectLockRetainUntilDate"] = now + timedelta(days=settings.object_lock.days)
        if settings.object_lock.legal_hold:
            asked["ObjectLockLegalHoldStatus"] = "ON"
    return asked


def customer_key_parameters(customer_key: CustomerKey | None, where: str) -> dict[str, object]:
    """The SSE-C parameters of put, get and head; none without a key.

    Raises:
        ConfigError: the key does not have the 32 octets of AES-256.
    """
    if customer_key is None:
        return {}
    octets = customer_key()
    if len(octets) != 32:
        raise ConfigError(where, [f"[archive.s3] customer_key has {len(octets)} bytes, but must have 32"])
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": octets}


def kept_as(head: Mapping[str, Any], tags: Mapping[str, Any] | None) -> KeptAs:
    """How an object is stored, from the answers to head_object and get_object_tagging (None: it has no tags)."""
    until = head.get("ObjectLockRetainUntilDate")
    return KeptAs(
        storage_class=head.get("StorageClass"),
        sse=head.get("ServerSideEncryption"),
        kms_key=head.get("SSEKMSKeyId"),
        customer_key=head.get("SSECustomerAlgorithm") is not None,
        tags={tag["Key"]: tag["Value"] for tag in (tags or {}).get("TagSet", ())},
        lock_mode=head.get("ObjectLockMode"),
        retain_until=until.timestamp() if isinstance(until, datetime) else None,
        legal_hold=head.get("ObjectLockLegalHoldStatus") == "ON",
    )


def lock_of_bucket(answer: Mapping[str, Any]) -> LockOfBucket:
    """The answer to get_object_lock_configuration; an empty one means that there is no Object Lock."""
    lock = answer.get("ObjectLockConfiguration", {})
    default = lock.get("Rule", {}).get("DefaultRetention", {})
    days = default.get("Days") or (365 * default["Years"] if default.get("Years") else None)
    return LockOfBucket(lock.get("ObjectLockEnabled") == "Enabled", default.get("Mode"), days)
