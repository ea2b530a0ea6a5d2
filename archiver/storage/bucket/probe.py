"""What an endpoint really supports, tested once and recorded next to the messages.

An endpoint may accept a storage class, encryption, tags or a lock and ignore it: that is an error. It may also
accept a condition or a checksum without checking it: that is reported, and matters if a lock between machines
depends on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec import Struct, to_builtins

from archiver.config.tables.s3 import S3Settings
from archiver.errors import ArchiverError, ArchiveThrottled, ConfigError, IntegrityError
from archiver.facts.records import from_record
from archiver.mail.model import Digest
from archiver.storage.bucket.object_settings import PROPERTIES, LockOfBucket, ObjectAttributes, unsupported
from archiver.storage.bucket.port import Bucket

FORMAT = "archiver-bucket/1"
MARKER = "archive.json"
KEPT = "kept/"
PROBES = "probe/"

_RACERS, _ROUNDS = 8, 5


class KeepingBucket(Bucket, Protocol):
    """A bucket that reports how it stores objects."""

    def has_bucket(self) -> bool:
        """Whether the bucket exists."""

    def make_bucket(self) -> None:
        """Create it; does nothing if it exists and is ours."""

    def lock_of_bucket(self) -> LockOfBucket:
        """Whether the bucket has Object Lock."""

    def attributes(self, key: str) -> ObjectAttributes:
        """How an object is stored according to the endpoint."""


class Marker(Struct, frozen=True):
    """The results: `atomic`: of many concurrent conditional writes of one key, exactly one succeeds; `compares`:
    octets that do not match their digest are refused. `asked` identifies the settings that were tested; others are
    tested again."""

    account: str
    asked: str
    atomic: bool
    compares: bool
    at: str


def read_marker(bucket: Bucket) -> Marker | None:
    """The account's marker; None if nothing was ever written.

    Raises:
        IntegrityError: it is not valid.
        ConfigError: a newer archiver wrote it.
    """
    if bucket.head(MARKER) is None:
        return None
    with bucket.read(MARKER) as file:
        octets = file.read()
    where = bucket.place(MARKER)
    try:
        record: dict[str, Any] = json.loads(octets)
        form = record.pop("format")
        if form != FORMAT:
            raise ConfigError(
                where,
                [f"has the format {form}, this archiver knows {FORMAT}"],
                hint="install a newer mail-archiver",
            )
        return from_record(Marker, record)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise IntegrityError(
            f"{where}: is not the marker of an account", hint="remove it; the next run writes a new one"
        ) from error


def prepared(
    bucket: KeepingBucket, settings: S3Settings, account: str, before_first: Callable[[], None] = lambda: None
) -> Marker:
    """Check that the bucket can be written to according to the settings; does nothing if this was tested before. If
    the bucket seems never to have been written to, `before_first` is called first and may raise.

    Raises:
        ArchiveNotWritable: there is no such bucket.
        ConfigError: the endpoint does not support a setting, which is named; nothing is left behind.
    """
    asked = _asked(settings)
    if (marker := _found_out.get((bucket.place(), asked))) is not None:
        return marker
    marker = _found_out[bucket.place(), asked] = _find_out(bucket, settings, account, asked, before_first)
    return marker


_found_out: dict[tuple[str, str], Marker] = {}  # a run has several steps in one process


def _find_out(
    bucket: KeepingBucket, settings: S3Settings, account: str, asked: str, before_first: Callable[[], None]
) -> Marker:
    if settings.create_bucket and not bucket.has_bucket():
        before_first()
        bucket.make_bucket()
    marker = read_marker(bucket)
    if marker is None:
        before_first()
    elif marker.asked == asked:
        return marker
    _require_lock(bucket, settings)
    _require_kept(bucket, settings, asked)
    marker = Marker(account, asked, is_atomic(bucket), compares(bucket), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    octets = json.dumps({"format": FORMAT, **to_builtins(marker)}).encode("ascii")
    bucket.replace(MARKER, octets, _digest(octets), "control")
    return marker


def is_atomic(bucket: Bucket) -> bool:
    """Whether exactly one of many concurrent conditional writes succeeds.

    NOTE: a race without a winner proves nothing: the winner's answer was lost, and when it tried again the object
    existed. Nor does a writer that the endpoint slows down: Google's takes one write a second of an object. The
    first race in which that happens is the last one, and somebody must have lost in it.
    """
    keys = [f"{PROBES}{secrets.token_hex(8)}" for _ in range(_ROUNDS)]
    won, lost = [0], 0

    def race(key: str, number: int) -> bool | None:
        octets = f"{number}\n".encode("ascii")
        try:
            return bucket.create(key, octets, _digest(octets), "control")
        except ArchiveThrottled:
            return None

    try:
        with ThreadPoolExecutor(_RACERS) as pool:
            for key in keys:
                outcomes = list(pool.map(race, [key] * _RACERS, range(_RACERS)))
                won.append(outcomes.count(True))
                lost += outcomes.count(False)
                if None in outcomes:
                    break
        return max(won) == 1 and lost > 0
    finally:
        _remove(bucket, *keys)


def compares(bucket: Bucket) -> bool:
    """Whether octets that do not match the digest sent with them are refused."""
    key = f"{PROBES}{secrets.token_hex(8)}"
    try:
        bucket.replace(key, b"these are not its octets\n", _digest(b"these are its octets\n"), "control")
    except IntegrityError:
        return True
    finally:
        _remove(bucket, key)
    return False


def _require_lock(bucket: KeepingBucket, settings: S3Settings) -> None:
    """Checked before anything is written, since objects that are written without a lock cannot be locked later."""
    if settings.object_lock is not None and not bucket.lock_of_bucket().enabled:
        raise ConfigError(
            bucket.place(),
            ["object_lock: the bucket has no Object Lock"],
            hint="it is enabled when a bucket is created: create another bucket with it, or remove object_lock",
        )


def _require_kept(bucket: KeepingBucket, settings: S3Settings, asked: str) -> None:
    """Write one object in the same way as every message, and check how it is stored."""
    key = f"{KEPT}{asked}.txt"
    octets = b"An object like every message, to see how the endpoint keeps them.\n"
    try:
        bucket.create(key, octets, _digest(octets), "message")
    except ConfigError as error:
        names = [each.key for each in PROPERTIES if getattr(settings, each.key)]
        if not names:
            raise
        raise ConfigError(
            error.where, [f"{', '.join(names)}: {each}" for each in error.problems], hint=error.hint
        ) from error
    try:
        problems = list(unsupported(settings, bucket.attributes(key), time.time()))
    except ArchiverError:
        _remove(bucket, key)
        raise
    if problems:
        _remove(bucket, key)
        raise ConfigError(
            bucket.place(),
            problems,
            hint="remove it from [archive.s3], or use a bucket and an endpoint that support it",
        )


def _asked(settings: S3Settings) -> str:
    """A digest of all settings that decide where and how objects are stored."""
    keys = {each.key for each in PROPERTIES} - {"customer_key"}  # which is a reference, and not the key
    asked = {name: to_builtins(getattr(settings, name)) for name in ("endpoint_url", "checksums", *keys)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("ascii")).hexdigest()[:16]


def _remove(bucket: Bucket, *keys: str) -> None:
    """Remove test objects; those that cannot be removed are a few octets below our prefix."""
    with contextlib.suppress(ArchiverError):
        for _ in bucket.delete(keys):
            pass


def _digest(octets: bytes) -> Digest:
    return Digest(hashlib.sha256(octets).hexdigest())
