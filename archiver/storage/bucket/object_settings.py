"""How objects are stored: each key of [archive.s3] that decides that is one `Property` in `PROPERTIES`.

A property says what is requested when an object is written, how the endpoint's report shows that it was applied,
what it is called for people, and how the faster client does it. An endpoint may accept any of these headers and
ignore it, so the result is read back on one object of the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct, field

from archiver.config.tables.s3 import S3Settings
from archiver.errors import ConfigError
from archiver.storage.bucket.port import Purpose

CustomerKey = Callable[[], bytes]
"""Gives the 32 octets of an SSE-C key."""

_DAY = 86_400


class ObjectAttributes(Struct, frozen=True):
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


class LockOfBucket(Struct, frozen=True):
    """Whether a bucket has Object Lock, and its default retention."""

    enabled: bool
    mode: str | None = None
    days: int | None = None


class FastPut(Struct, frozen=True):
    """How obstore does it: attributes and tags of each put, and options of its client."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


class Property(Struct, frozen=True):
    """One key that decides how objects are stored.

    `parameters` are those of put_object, at a moment that is aware of its zone; for objects of these `purposes`.
    `unsupported` is what the endpoint did not do, by what it says of an object at a moment (seconds since 1970).
    `words` are for people, None if nothing is asked for. `fast` is how the faster client does it, or why it cannot.
    """

    key: str
    purposes: frozenset[Purpose]
    parameters: Callable[[S3Settings, datetime], Mapping[str, object]]
    unsupported: Callable[[S3Settings, ObjectAttributes, float], Iterator[str]]
    words: Callable[[S3Settings], str | None]
    fast: Callable[[S3Settings], FastPut | str]


_ALL: frozenset[Purpose] = frozenset({"message", "journal", "control"})
_MESSAGES: frozenset[Purpose] = frozenset({"message"})
_LASTING: frozenset[Purpose] = frozenset({"message", "journal"})

# -- storage_class -------------------------------------------------------------------------------------------


def _class_parameters(settings: S3Settings, _: datetime) -> Mapping[str, object]:
    return {} if settings.storage_class is None else {"StorageClass": settings.storage_class}


def _other_class(settings: S3Settings, kept: ObjectAttributes, _: float) -> Iterator[str]:
    wanted, found = settings.storage_class, kept.storage_class or "STANDARD"
    if wanted is not None and found != wanted:
        yield f'"{wanted}" was requested, but the endpoint uses "{found}"'


def _class_words(settings: S3Settings) -> str | None:
    return None if settings.storage_class is None else f"storage class {settings.storage_class}"


def _class_fast(settings: S3Settings) -> FastPut:
    return FastPut({"Storage-Class": settings.storage_class}) if settings.storage_class else FastPut()


# -- sse, kms_key, customer_key ------------------------------------------------------------------------------


def _sse_parameters(settings: S3Settings, _: datetime) -> Mapping[str, object]:
    return {"ServerSideEncryption": settings.sse} if settings.sse in ("AES256", "aws:kms") else {}


def _other_sse(settings: S3Settings, kept: ObjectAttributes, _: float) -> Iterator[str]:
    if settings.sse in ("AES256", "aws:kms") and kept.sse != settings.sse:
        yield f'"{settings.sse}" was requested, but the endpoint uses {kept.sse or "none"}'


def _sse_words(settings: S3Settings) -> str | None:
    return f"encryption {settings.sse}" if settings.sse in ("AES256", "aws:kms") else None


def _sse_fast(settings: S3Settings) -> FastPut:
    return FastPut(options={"server_side_encryption": settings.sse}) if settings.sse else FastPut()


def _kms_parameters(settings: S3Settings, _: datetime) -> Mapping[str, object]:
    return {} if settings.kms_key is None else {"SSEKMSKeyId": settings.kms_key}


def _no_kms_key(settings: S3Settings, kept: ObjectAttributes, _: float) -> Iterator[str]:
    # NOTE: a key may be requested by an alias, which the answer does not repeat.
    if settings.kms_key is not None and not kept.kms_key:
        yield "the endpoint does not report that it used one"


def _kms_fast(settings: S3Settings) -> FastPut:
    return FastPut(options={"sse_kms_key_id": settings.kms_key}) if settings.kms_key else FastPut()


def _no_customer_key(settings: S3Settings, kept: ObjectAttributes, _: float) -> Iterator[str]:
    if settings.sse == "customer" and not kept.customer_key:
        yield "the endpoint does not encrypt with it"


def _customer_key_words(settings: S3Settings) -> str | None:
    return "encryption with your key" if settings.sse == "customer" else None


def _customer_key_fast(settings: S3Settings) -> FastPut | str:
    return "the faster client does not support customer_key" if settings.sse == "customer" else FastPut()


# -- tags ----------------------------------------------------------------------------------------------------


def _tag_parameters(settings: S3Settings, _: datetime) -> Mapping[str, object]:
    # NOTE: radosgw takes a plus for a plus, so a space is sent as %20.
    return {"Tagging": urlencode(settings.tags, quote_via=quote)} if settings.tags else {}


def _other_tags(settings: S3Settings, kept: ObjectAttributes, _: float) -> Iterator[str]:
    if dict(settings.tags) != {name: value for name, value in kept.tags.items() if name in settings.tags}:
        yield "not kept"


def _tag_words(settings: S3Settings) -> str | None:
    return f"tags {', '.join(sorted(settings.tags))}" if settings.tags else None


def _tags_fast(settings: S3Settings) -> FastPut | str:
    if any(" " in tag for pair in settings.tags.items() for tag in pair):
        return "the faster client does not support spaces in tags"  # which sends a plus
    return FastPut(tags=settings.tags)


# -- object_lock ---------------------------------------------------------------------------------------------


def _lock_parameters(settings: S3Settings, now: datetime) -> Mapping[str, object]:
    if (lock := settings.object_lock) is None:
        return {}
    asked = {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": now + timedelta(days=lock.days)}
    return {**asked, "ObjectLockLegalHoldStatus": "ON"} if lock.legal_hold else asked


def _not_locked(settings: S3Settings, kept: ObjectAttributes, now: float) -> Iterator[str]:
    if (lock := settings.object_lock) is None:
        return
    if kept.lock_mode != lock.mode or (kept.retain_until or 0) < now + (lock.days - 1) * _DAY:
        yield f"{lock.mode} for {lock.days} days was requested, but the object has another lock"
    if lock.legal_hold and not kept.legal_hold:
        yield "a legal hold was requested, but the object has none"


def _lock_words(settings: S3Settings) -> str | None:
    if (lock := settings.object_lock) is None:
        return None
    return f"locked ({lock.mode}) for {lock.days} days{' and under legal hold' if lock.legal_hold else ''}"


def _lock_fast(settings: S3Settings) -> FastPut | str:
    return FastPut() if settings.object_lock is None else "the faster client does not support object_lock"


def _nothing(_: S3Settings, __: datetime) -> Mapping[str, object]:
    return {}


def _wordless(_: S3Settings) -> None:
    return None


PROPERTIES = (
    Property("storage_class", _MESSAGES, _class_parameters, _other_class, _class_words, _class_fast),
    Property("sse", _ALL, _sse_parameters, _other_sse, _sse_words, _sse_fast),
    Property("kms_key", _ALL, _kms_parameters, _no_kms_key, _wordless, _kms_fast),
    # The key itself goes with every put, get and head: `customer_key_parameters`.
    Property("customer_key", _ALL, _nothing, _no_customer_key, _customer_key_words, _customer_key_fast),
    Property("tags", _MESSAGES, _tag_parameters, _other_tags, _tag_words, _tags_fast),
    Property("object_lock", _LASTING, _lock_parameters, _not_locked, _lock_words, _lock_fast),
)


def put_parameters(settings: S3Settings, purpose: Purpose, now: datetime) -> dict[str, object]:
    """The parameters of put_object beside the object itself, without an SSE-C key. `now` is aware of its zone."""
    asked: dict[str, object] = {}
    for each in PROPERTIES:
        if purpose in each.purposes:
            asked |= each.parameters(settings, now)
    return asked


def unsupported(settings: S3Settings, kept: ObjectAttributes, now: float) -> Iterator[str]:
    """The settings that the endpoint did not apply, by their keys in the account file."""
    for each in PROPERTIES:
        yield from (f"{each.key}: {problem}" for problem in each.unsupported(settings, kept, now))


def words_of(settings: S3Settings) -> list[str]:
    """How the account file wants objects to be stored, for people."""
    return [words for each in PROPERTIES if (words := each.words(settings)) is not None]


def fast_put(settings: S3Settings) -> FastPut | str:
    """How the faster client applies all of it to messages, or why it cannot."""
    attributes: dict[str, str] = {}
    tags: dict[str, str] = {}
    options: dict[str, str] = {}
    for each in PROPERTIES:
        done = each.fast(settings)
        if isinstance(done, str):
            return done
        attributes |= done.attributes
        tags |= done.tags
        options |= done.options
    return FastPut(attributes, tags, options)


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


def attributes_of(head: Mapping[str, Any], tags: Mapping[str, Any] | None) -> ObjectAttributes:
    """How an object is stored, from the answers to head_object and get_object_tagging (None: it has no tags)."""
    until = head.get("ObjectLockRetainUntilDate")
    return ObjectAttributes(
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
