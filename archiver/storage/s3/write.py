"""Writing an object: one PutObject, with the strongest checks that the endpoint supports.

Which checks an endpoint supports shows only when it accepts the first object: an unknown checksum may be refused as
a wrong argument, a missing length or even a missing permission.
"""

from __future__ import annotations

import base64
import io
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO, Literal

from msgspec import Struct
from msgspec.structs import replace

from archiver.config.tables.s3 import S3Settings
from archiver.errors import ArchiveNotWritable, IntegrityError
from archiver.mail.model import Digest
from archiver.storage.bucket.object_settings import CustomerKey, customer_key_parameters, put_parameters
from archiver.storage.bucket.port import Octets, Purpose
from archiver.storage.s3.clients import DIGEST, md5_of, sha256_of
from archiver.storage.s3.conditions import Conditions
from archiver.storage.s3.endpoint import Endpoint, Response, never, pause
from archiver.storage.s3.failures import ErrorResponse, not_s3, refused
from archiver.storage.s3.read import ObjectReader
from archiver.storage.s3.versions import Version

Integrity = Literal["sha256", "md5", "none"]
"""What is sent with an object, besides its signature (which includes its digest), so that the endpoint can compare
what arrives: our digest as the object's checksum, the MD5 of what is sent, or nothing."""

_INTEGRITIES: dict[str, tuple[Integrity, ...]] = {
    "auto": ("sha256", "md5", "none"),
    "when_supported": ("sha256",),
    "when_required": ("md5", "none"),
}
_IN_MEMORY = 1 << 20


class WriteMode(Struct, frozen=True):
    """How objects are written: with which checksum, and whether with a condition not to overwrite."""

    integrity: Integrity
    conditional: bool = True


def fallback_of(mode: WriteMode, refusal: ErrorResponse, settings: S3Settings, *, proven: bool) -> WriteMode | None:
    """The mode to try after this refusal; `proven`: the endpoint has accepted an object with that checksum. The
    condition is dropped only if the endpoint answers that it does not know something, and is used again with the
    next weaker checksum if that was not the cause."""
    if mode.conditional and refusal.unknown_here:
        return WriteMode(mode.integrity, conditional=False)
    rest = _INTEGRITIES[settings.checksums]
    rest = rest[rest.index(mode.integrity) + 1 :]
    return WriteMode(rest[0]) if rest and not proven else None


def may_be_unsupported(refusal: ErrorResponse) -> bool:
    """Whether a refusal may be caused by the checksum or the condition, whatever its code. A signature also
    mismatches if a proxy removed a header."""
    unclear = not refusal.clear or refusal.code == "SignatureDoesNotMatch"
    return refusal.status in (400, 403, 405, 411, 501) and unclear


class Object(Struct, frozen=True):
    """What to write, and where: its full key, and its URL for people."""

    key: str
    where: str
    octets: Octets
    digest: Digest
    purpose: Purpose


class Writer:
    """Writes objects below `root` in the bucket of `endpoint`. Threads may share it. `is_there` checks whether an
    object exists."""

    def __init__(
        self, endpoint: Endpoint, root: str, customer_key: CustomerKey | None, is_there: Callable[[Object], bool]
    ) -> None:
        self._endpoint, self._settings = endpoint, endpoint.settings
        self._customer_key, self._is_there = customer_key, is_there
        self._conditions = Conditions(endpoint)
        self._root = root
        self._negotiating = threading.Lock()
        self._proven: set[Literal["integrity", "condition"]] = set()
        self.mode = WriteMode(_INTEGRITIES[self._settings.checksums][0])

    @property
    def is_negotiated(self) -> bool:
        """Whether the endpoint has accepted an object that must be written once, so that the mode is final."""
        return self._proven == {"integrity", "condition"}

    def write(self, thing: Object, *, once: bool) -> bool:
        """Write it; False if it exists and must be written once.

        Raises:
            IntegrityError: the octets do not match the digest, as the endpoint noticed.
        """
        mode, first, attempt = self.mode, None, 1
        while True:
            answer = self._put(thing, mode, once)
            if not isinstance(answer, ErrorResponse):
                self._learn(mode, once, answer)
                return answer
            first = first or answer
            if answer.damaged:
                _require_digest(thing)
            if answer.damaged and attempt < self._settings.attempts:
                pause(attempt)
                attempt += 1
            elif other := self._other(mode, answer, once):
                mode = other
            else:
                raise refused(first, thing.where, self._settings, time.time())

    def _other(self, mode: WriteMode, refusal: ErrorResponse, once: bool) -> WriteMode | None:
        if not may_be_unsupported(refusal) or (once and "condition" in self._proven):
            return None
        return fallback_of(mode, refusal, self._settings, proven="integrity" in self._proven)

    def _put(self, thing: Object, mode: WriteMode, once: bool) -> bool | ErrorResponse:
        if once and not mode.conditional and self._is_there(thing):
            return False
        condition = {"IfNoneMatch": "*"} if once and mode.conditional else {}
        with _body(thing) as body:
            answer = self._endpoint.ask(
                "put_object",
                thing.where,
                lambda refusal: may_be_unsupported(refusal) or refusal.status == 412,
                **self._parameters(thing, body, mode.integrity),
                **condition,
            )
        if isinstance(answer, ErrorResponse):
            if answer.status != 412 or not condition:
                return answer
            self._conditions.proven()
            return False
        if not answer.get("ETag"):
            raise not_s3(thing.where, self._settings)
        version = answer.get("VersionId", "null")
        return not once or version == "null" or self._was_first(thing, version, mode)

    def _parameters(self, thing: Object, body: bytes | BinaryIO, integrity: Integrity) -> dict[str, object]:
        return {
            "Bucket": self._settings.bucket,
            "Key": thing.key,
            "Body": body,
            DIGEST: thing.digest,
            **put_parameters(self._settings, thing.purpose, datetime.now(UTC)),
            **customer_key_parameters(self._customer_key, thing.where),
            **_checksum(body, thing.digest, integrity),
        }

    def _was_first(self, thing: Object, version: str, mode: WriteMode) -> bool:
        """In a bucket with versions a condition may have been ignored."""
        if mode.conditional and self._conditions.kept(thing.where, self._probe(thing.where, mode.integrity)):
            return True
        with self._negotiating:
            self.mode = WriteMode(mode.integrity, conditional=False)
            self._proven |= {"integrity", "condition"}
        overtaken = self._conditions.before(thing.key, version, thing.where)
        # NOTE: the latest version of a message is the right one, even if a repair has overwritten an older one.
        if overtaken is not None and overtaken.covered and thing.purpose != "message":
            self._bring_up(thing, overtaken.version)
        return overtaken is None

    def _probe(self, where: str, integrity: Integrity) -> dict[str, object]:
        """The parameters of a control object: an endpoint may refuse one without encryption or without a
        checksum."""
        key = f"{self._root}probe/condition-{secrets.token_hex(8)}"
        probe = Object(key, where, b"", Digest(sha256_of(b"")), "control")
        return self._parameters(probe, b"", integrity)

    def _bring_up(self, thing: Object, first: Version) -> None:
        """Upload the version that was written first again as the latest."""

        def opened(at: int, _: int | None) -> Response:
            asked = first.parameters() | ({"Range": f"bytes={at}-"} if at else {})
            key = customer_key_parameters(self._customer_key, thing.where)
            answer = self._endpoint.ask(
                "get_object", thing.where, never, Bucket=self._settings.bucket, **asked, **key
            )
            assert not isinstance(answer, ErrorResponse)
            return answer

        with io.BufferedReader(ObjectReader(self._endpoint, thing.where, opened, 0, None)) as file:
            octets = file.read()
        self.write(replace(thing, octets=octets, digest=Digest(sha256_of(octets))), once=False)

    def _learn(self, mode: WriteMode, once: bool, written: bool) -> None:
        """The first object that the endpoint accepts decides the mode; concurrent writers adopt it."""
        with self._negotiating:
            if not written:
                return
            if "integrity" not in self._proven:
                self.mode = WriteMode(mode.integrity, self.mode.conditional)
            if once and "condition" not in self._proven:
                self.mode = WriteMode(self.mode.integrity, mode.conditional)
            self._proven |= {"integrity", "condition"} if once else {"integrity"}


@contextmanager
def _body(thing: Object) -> Iterator[bytes | BinaryIO]:
    """The body to send: small files as octets, in one piece with the request's head."""
    if isinstance(thing.octets, bytes):
        yield thing.octets
        return
    try:
        with open(thing.octets, "rb") as file:
            yield file.read() if os.fstat(file.fileno()).st_size <= _IN_MEMORY else file
    except OSError as error:
        raise ArchiveNotWritable(
            f"{thing.octets}: {error.strerror or error}", hint="fix the disk or its permissions, and run again"
        ) from error


def _checksum(body: bytes | BinaryIO, digest: Digest, integrity: Integrity) -> dict[str, object]:
    if integrity == "sha256":
        # The algorithm's name is what lets an object with a lock pass.
        checksum = base64.b64encode(bytes.fromhex(digest)).decode("ascii")
        return {"ChecksumSHA256": checksum, "ChecksumAlgorithm": "SHA256"}
    if integrity == "md5":
        return {"ContentMD5": md5_of(body)}
    return {}


def _require_digest(thing: Object) -> None:
    """Check whether the octets were already wrong before the transfer that the endpoint reported as damaged."""
    with _body(thing) as body:
        found = sha256_of(body)
    if found != thing.digest:
        raise IntegrityError(
            f"{thing.where}: the octets to write do not match the digest",
            hint="check this machine's disk and memory for damage, and run again",
        )
