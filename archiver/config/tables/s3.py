"""The table of an account file that says in which bucket the archive is, and how objects are kept there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import field

from archiver.config.references import SecretReference
from archiver.config.shape import Seconds, Table, between


def _bucket(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise ValueError("must be only a bucket's name: 3 to 63 of a-z, 0-9, dot and hyphen")
    return name


def _key_prefix(prefix: str) -> str:
    if prefix and not re.fullmatch(r"[A-Za-z0-9!_.*'()=+@-]+(/[A-Za-z0-9!_.*'()=+@-]+)*", prefix):
        raise ValueError('must be letters, digits and !_.*\'()=+@- with "/" between levels, as in "mail/archive"')
    if any(level.strip(".") == "" for level in prefix.split("/")) and prefix:
        raise ValueError("must not have a level that consists only of dots")
    return prefix


def _endpoint(url: str) -> str:
    """NOTE: the message does not show the value, since a URL may contain a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError('must be only the address, as in "https://s3.example.org:9000"')
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user or a password; boto3 finds the credentials in its usual places")
    return url.rstrip("/")


def _word(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be one word of ASCII")
    return text


def _few(tags: Mapping[str, str]) -> Mapping[str, str]:
    if len(tags) > 10:
        raise ValueError("must not be more than 10, which is what S3 takes")
    return tags


class ObjectLock(Table, frozen=True, kw_only=True):
    """How the messages and the journal are locked in the bucket: they cannot be deleted for `days` days."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    days: Annotated[int, between(1, 36500)]
    legal_hold: bool = False


class S3Settings(Table, frozen=True, kw_only=True):
    """Which bucket, how to reach it, and how objects are kept there. boto3 finds the credentials in its usual
    places. `checksums` "auto" sends ours if the endpoint accepts them; `client` "auto" uses the faster one if it is
    installed and supports the settings. `single_writer`: the user states that only one machine works on this
    archive, for endpoints that cannot provide a lock between machines. `attempts` is of one request.
    """

    bucket: Annotated[str, _bucket]
    prefix: Annotated[str, _key_prefix] = ""
    layout: Literal["objects", "packs"] = "objects"
    endpoint_url: Annotated[str, _endpoint] | None = None
    region: Annotated[str, _word] | None = None
    profile: Annotated[str, _word] | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    ca_file: Path | None = None
    checksums: Literal["auto", "when_supported", "when_required"] = "auto"
    storage_class: Annotated[str, _word] | None = None
    sse: Literal["AES256", "aws:kms", "customer"] | None = None
    kms_key: Annotated[str, _word] | None = None
    customer_key: SecretReference | None = None
    tags: Annotated[Mapping[str, str], _few] = field(default_factory=dict)
    object_lock: ObjectLock | None = None
    create_bucket: bool = False
    single_writer: bool = False
    client: Literal["auto", "boto3"] = "auto"
    connections: Annotated[int, between(1, 256)] = 16
    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 60.0
    attempts: Annotated[int, between(1, 100)] = 8

    def __post_init__(self) -> None:
        if self.kms_key is not None and self.sse != "aws:kms":
            raise ValueError('kms_key goes with sse = "aws:kms" alone')
        if (self.customer_key is not None) != (self.sse == "customer"):
            raise ValueError('customer_key and sse = "customer" go together')
