"""Writing only new objects if the endpoint does not ensure it.

NOTE: radosgw 16 honours If-None-Match in a plain bucket, but accepts and ignores it in one with versions, and so
with Object Lock. There the versions decide: the oldest version of a key counts, and a writer that finds an older
version than its own deletes its own; if that is locked, it uploads the older one again as the latest.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from msgspec import Struct

from archiver.storage.s3.endpoint import Endpoint
from archiver.storage.s3.failures import ErrorResponse
from archiver.storage.s3.versions import Version, versions_of


class Overtaken(Struct, frozen=True):
    """The version that counts; `covered`: our version is on top of it, has other octets, and is locked."""

    version: Version
    covered: bool


class Conditions:
    """Whether `endpoint` honours conditions in a bucket with versions, tested once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._finding = threading.Lock()
        self._kept: bool | None = None

    def proven(self) -> None:
        """The endpoint has refused to write over an object."""
        self._kept = True

    def kept(self, where: str, probe: Mapping[str, object]) -> bool:
        """Whether the second of two conditional writes is refused; `probe` has the parameters of put_object for a
        key that nobody has."""
        with self._finding:
            if self._kept is None:
                self._kept = self._refuses_a_second(where, probe)
            return self._kept

    def _refuses_a_second(self, where: str, probe: Mapping[str, object]) -> bool:
        answers = [
            self._endpoint.ask("put_object", where, lambda refusal: refusal.status == 412, **probe, IfNoneMatch="*")
            for _ in range(2)
        ]
        written = {"Bucket": probe["Bucket"], "Key": probe["Key"]}
        for answer in answers:
            if not isinstance(answer, ErrorResponse):
                version = answer["VersionId"]
                self._endpoint.ask("delete_object", where, lambda _: True, **written, VersionId=version)
        return isinstance(answers[1], ErrorResponse)

    def before(self, key: str, version: str, where: str) -> Overtaken | None:
        """The version that counts instead of the one that was just written, which is deleted; None if ours is the
        oldest one."""
        found = versions_of(self._endpoint, key, where)
        hidden = max((one.modified for one in found if one.is_marker and one.modified), default=None)
        alive = [
            one
            for one in found
            if not one.is_marker and (hidden is None or (one.modified is not None and one.modified > hidden))
        ]
        ours = next((one for one in alive if one.id == version), None)
        if ours is None or alive[-1] == ours:
            return None
        return Overtaken(alive[-1], covered=not self._withdrawn(ours, where) and ours.etag != alive[-1].etag)

    def _withdrawn(self, ours: Version, where: str) -> bool:
        answer = self._endpoint.ask(
            "delete_object",
            where,
            lambda refusal: refusal.status in (400, 403),
            Bucket=self._endpoint.settings.bucket,
            **ours.parameters(),
        )
        return not isinstance(answer, ErrorResponse)
