"""The faster way to write small new messages: obstore, which writes several times as many per second as boto3.

It handles only the simple case. Whatever does not succeed, for any reason, is started again with boto3, which
retries, distinguishes "already exists" from "two writers", and makes the error messages. So the guarantees are
those of `BotoBucket`, which handles all other requests.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from archiver.config.tables.s3 import S3Settings
from archiver.control.waiting import lock_free_after_fork
from archiver.mail.model import Digest
from archiver.storage.bucket.object_settings import CustomerKey, fast_put
from archiver.storage.bucket.port import Octets, Purpose
from archiver.storage.s3.bucket import BotoBucket
from archiver.storage.s3.clients import credentials_of

_AT_MOST = 4 << 20  # larger objects are streamed, for which boto3 is as fast
_AS_IT_IS = re.compile(r"(?!\.\.?(/|$))[^/\x00-\x1f\x7f]+(/(?!\.\.?(/|$))[^/\x00-\x1f\x7f]+)*")
"""Keys that obstore sends unchanged: from others it would remove a slash, a dot or more."""
_FAILURES = 3

_runtime: int | None = None  # the process that has obstore's threads; a fork of it has none
_opening = lock_free_after_fork()


class FastBucket(BotoBucket):
    """A `BotoBucket` that writes small new messages with obstore. Not for settings that are `beyond_fast`.

    The first object is written by boto3, which finds out what the endpoint supports; if conditions are ignored, all
    are. The octets are compared with their digest here, and by the endpoint with the hash of what obstore read.
    """

    def __init__(self, settings: S3Settings, account: str, customer_key: CustomerKey | None) -> None:
        super().__init__(settings, account, customer_key)
        done = fast_put(settings)
        if isinstance(done, str):
            raise ValueError(done)
        self._how = done
        self._store: S3Store | None = None
        self._failed = 0

    def create(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> bool:
        # NOTE: a request of obstore's cannot be cancelled, so the main thread does not wait for one directly.
        if purpose == "message" and self._may_go_fast(key):
            small = _small(octets)
            if small is not None and hashlib.sha256(small).hexdigest() == digest and self._put(key, small):
                return True
        return super().create(key, octets, digest, purpose)

    def close(self) -> None:
        self._store = None
        super().close()

    def _may_go_fast(self, key: str) -> bool:
        """Whether obstore may be used: it sends our digest or nothing, and relies on the endpoint's condition."""
        negotiated = self._writer.is_negotiated and self.conditional and self.integrity != "md5"
        return negotiated and self._failed < _FAILURES and _AS_IT_IS.fullmatch(self._root + key) is not None

    def _put(self, key: str, octets: bytes) -> bool:
        """Whether it certainly succeeded."""
        store = self._opened()
        if store is None:
            return False
        try:
            store.put(
                self._root + key,
                octets,
                attributes=dict(self._how.attributes) or None,
                tags=dict(self._how.tags) or None,
                mode="create",
                use_multipart=False,
            )
        except AlreadyExistsError:
            return False  # NOTE: also the answer to concurrent writers; the object may not exist then
        except Exception:  # whatever it is, boto3 finds out
            with _opening:
                self._failed += 1
            return False
        with _opening:
            self._failed = 0
        return True

    def _opened(self) -> S3Store | None:
        """obstore's client; None in a process that was forked after obstore had begun to run."""
        global _runtime
        with _opening:
            if _runtime not in (None, os.getpid()):
                return None
            _runtime = os.getpid()
            if self._store is None:
                self._store = S3Store(self._settings.bucket, **self._configured())
            return self._store

    def _configured(self) -> dict[str, Any]:
        """The configuration that boto3 found in the settings, the environment and ~/.aws."""
        settings, client = self._settings, self._endpoint.client(self.place())
        provider = credentials_of(client)

        def credentials() -> dict[str, Any]:
            now = provider.get_frozen_credentials()
            soon = datetime.now(UTC) + timedelta(minutes=5) if now.token else None
            return {
                "access_key_id": now.access_key,
                "secret_access_key": now.secret_key,
                "token": now.token,
                "expires_at": soon,
            }

        options: dict[str, Any] = {
            "allow_http": True,
            "connect_timeout": timedelta(seconds=settings.connect_timeout),
            "timeout": timedelta(seconds=settings.read_timeout),
            "pool_max_idle_per_host": str(settings.connections),
        }
        configured: dict[str, Any] = {
            "endpoint": client.meta.endpoint_url,
            "region": client.meta.region_name,
            "virtual_hosted_style_request": False,
            "client_options": options,
            "retry_config": {"max_retries": 0},  # boto3 does the retries
            "credential_provider": credentials,
        }
        if self.integrity == "sha256":
            configured["checksum_algorithm"] = "SHA256"
        return {**configured, **self._how.options}


def _small(octets: Octets) -> bytes | None:
    """The octets, if there are few; boto3 reports a file that cannot be read."""
    try:
        size = len(octets) if isinstance(octets, bytes) else octets.stat().st_size
        if size > _AT_MOST:
            return None
        return octets if isinstance(octets, bytes) else octets.read_bytes()
    except OSError:
        return None
