"""An object's octets as they arrive; a broken connection is resumed at the same place."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ReadTimeoutError

from archiver.errors import IntegrityError
from archiver.storage.s3.endpoint import BROKEN, Endpoint, Response, pause
from archiver.storage.s3.failures import unanswered

_PIECE = 1 << 20
_PROGRESS = 4 << 10  # octets without which a connection that was too slow or fell silent was not worth it

Opening = Callable[[int, int | None], Response | None]
"""Requests an object from one octet to another (None: its end); returns None if it has nothing there."""


class ObjectReader(io.RawIOBase):
    """Octets `first` to `last` (None: the end) of an object. One thread; not seekable.

    Raises (read):
        IntegrityError: the object is no longer the one that was opened. ArchiveUnreachable: the connection broke
        more often than [archive.s3] attempts allows, without an octet in between, or with a few if it was too slow.
    """

    def __init__(self, endpoint: Endpoint, where: str, open_at: Opening, first: int, last: int | None) -> None:
        self._endpoint, self._where, self._open_at = endpoint, where, open_at
        self._at, self._skip = first, 0
        self._etag: str | None = None
        self._body: Any = None
        self._failures = self._too_slow = 0
        self._last = self._open(last)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while view and self._body is not None and self._at <= self._last:
            wanted = self._skip or min(len(view), self._last - self._at + 1)
            try:
                octets: bytes = self._body.read(min(wanted, _PIECE))
            except (BotoCoreError, *BROKEN) as error:
                self._again(error)
                continue
            if not octets:
                self._again(EOFError())
            elif self._skip:
                self._skip -= len(octets)
            else:
                view[: len(octets)] = octets
                self._at += len(octets)
                self._failures = 0
                return len(octets)
        return 0

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
        super().close()

    def _again(self, error: Exception) -> None:
        self._body.close()
        self._failures += 1
        if isinstance(error, ReadTimeoutError) and self._at - self._opened_at < _PROGRESS:
            self._too_slow += 1
        else:
            self._too_slow = 0
        if max(self._failures, self._too_slow) >= self._endpoint.settings.attempts:
            raise unanswered(error, self._where, self._endpoint.settings) from None
        pause(self._failures)
        self._open(self._last)

    def _open(self, last: int | None) -> int:
        """Request what is left; returns the number of the last octet to read."""
        self._opened_at = self._at
        answer = self._open_at(self._at, last)
        if answer is None and self._etag is None:
            return self._at - 1
        if answer is None or self._etag not in (None, answer["ETag"]):
            if answer is not None:
                answer["Body"].close()
            raise IntegrityError(f"{self._where}: it was replaced while it was read", hint="read it again")
        self._etag, self._body = answer["ETag"], answer["Body"]
        # An endpoint that does not support ranges sends the whole object.
        self._skip = 0 if "ContentRange" in answer else self._at
        end = self._at - self._skip + int(answer["ContentLength"]) - 1
        return end if last is None else min(last, end)
