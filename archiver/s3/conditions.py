"""Writing only what is not there, where the endpoint does not see to it.

NOTE: radosgw 16 keeps If-None-Match in a plain bucket, and takes it and ignores it in one with versions, and so
under every Object Lock. There the versions decide: of all that were written for a key, the oldest counts, and
whoever finds an older one than his own takes his away again.
"""

from __future__ import annotations

import secrets
import threading

from archiver.errors import IntegrityError
from archiver.s3.endpoint import Endpoint
from archiver.s3.failures import Refusal
from archiver.s3.versions import Version, versions_of


class Conditions:
    """Whether `endpoint` keeps conditions in a bucket with versions, found out once, with a key below `root`."""

    def __init__(self, endpoint: Endpoint, root: str) -> None:
        self._endpoint, self._root = endpoint, root
        self._finding = threading.Lock()
        self._kept: bool | None = None

    def proven(self) -> None:
        """The endpoint has refused to write over an object."""
        self._kept = True

    def kept(self, where: str) -> bool:
        """Whether the second of two conditional writes is refused."""
        with self._finding:
            if self._kept is None:
                self._kept = self._refuses_a_second(where)
            return self._kept

    def _refuses_a_second(self, where: str) -> bool:
        key = f"{self._root}probe/condition-{secrets.token_hex(8)}"
        asked = {"Bucket": self._endpoint.settings.bucket, "Key": key}
        answers = [
            self._endpoint.ask("put_object", where, lambda refusal: refusal.status == 412, **asked, IfNoneMatch="*")
            for _ in range(2)
        ]
        for answer in answers:
            if not isinstance(answer, Refusal):
                self._endpoint.ask(
                    "delete_object", where, lambda refusal: True, **asked, VersionId=answer["VersionId"]
                )
        return isinstance(answers[1], Refusal)

    def came_first(self, key: str, version: str, where: str) -> bool:
        """Whether what was just written is the oldest version there is; if not, it is taken away again.

        Raises:
            IntegrityError: another one was written at the same time, is different, and lies under ours, which is
                locked.
        """
        found = versions_of(self._endpoint, key, where)
        hidden = max((one.modified for one in found if one.is_marker and one.modified), default=None)
        alive = [
            one
            for one in found
            if not one.is_marker and (hidden is None or (one.modified is not None and one.modified > hidden))
        ]
        ours = next((one for one in alive if one.id == version), None)
        if ours is None or alive[-1] == ours:
            return True
        self._withdraw(ours, alive[-1], where)
        return False

    def _withdraw(self, ours: Version, first: Version, where: str) -> None:
        answer = self._endpoint.ask(
            "delete_object",
            where,
            lambda refusal: refusal.status in (400, 403),
            Bucket=self._endpoint.settings.bucket,
            **ours.parameters(),
        )
        if isinstance(answer, Refusal) and ours.etag != first.etag:
            raise IntegrityError(
                f"{where}: it was written twice at the same time, and the second one is locked (version {ours.id})",
                hint="one machine at a time may write; remove that version when its lock has ended",
            )
