"""Which client is used for a bucket, and why."""

from __future__ import annotations

import importlib.util
import os

import msgspec

from archiver.config.tables.s3 import S3Settings
from archiver.control.waiting import lock_free_after_fork
from archiver.storage.bucket.object_settings import CustomerKey, fast_put
from archiver.storage.bucket.port import Bucket
from archiver.storage.s3.bucket import BotoBucket
from archiver.storage.s3.endpoint import Endpoint


def beyond_fast(settings: S3Settings) -> str | None:
    """Why the faster client cannot be used for these settings, for people; None if it can."""
    if settings.client != "auto":
        return f'client = "{settings.client}"'
    if isinstance(done := fast_put(settings), str):
        return done
    if settings.addressing_style == "virtual" and settings.endpoint_url is not None:
        return 'the faster client does not support addressing_style = "virtual" at a custom endpoint'
    if settings.ca_file is not None or os.environ.get("AWS_CA_BUNDLE"):
        return "the faster client trusts the CAs of the system beside a ca_file"  # and not in their place
    if settings.checksums == "when_required":
        return 'the faster client does not support checksums = "when_required"'  # which sends no MD5
    return None


def open_bucket(settings: S3Settings, account: str, customer_key: CustomerKey | None) -> BotoBucket:
    """An account's bucket, with the faster client if it is installed and supports the settings. Sends nothing."""
    if beyond_fast(settings) is not None or not is_installed():
        return BotoBucket(settings, account, customer_key)
    from archiver.storage.s3.fast import FastBucket  # an extra

    return FastBucket(settings, account, customer_key)


def look_into(settings: S3Settings, account: str) -> Bucket:
    """An account's bucket, for a glance. Accounts in one bucket share connections, because a client takes longer to
    be made than to be asked something; so nobody closes them."""
    key = msgspec.json.encode(settings, enc_hook=str)
    with _opening:
        endpoint = _looked_into.setdefault(key, Endpoint(settings))
    return BotoBucket(settings, account, None, endpoint)


_looked_into: dict[bytes, Endpoint] = {}
_opening = lock_free_after_fork()


def client_of(settings: S3Settings) -> str:
    """Which client is used, and why not the other one, for people."""
    if (reason := beyond_fast(settings)) is not None:
        return f"boto3 ({reason})"
    return "obstore and boto3" if is_installed() else "boto3 (for a faster one install the extra fast-s3)"


def is_installed() -> bool:
    """Whether the extra fast-s3 is installed."""
    return importlib.util.find_spec("obstore") is not None
