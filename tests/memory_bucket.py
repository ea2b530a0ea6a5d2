"""A bucket in memory whose clock, answers and failures a test decides: for what no real endpoint does on demand."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from archiver.errors import ArchiveUnreachable, IntegrityError
from archiver.mail.model import Digest
from archiver.storage.bucket.port import Kept, ObjectFacts, Octets, Purpose


class MemoryBucket:
    """`now` is the endpoint's clock. `before` and `after` are called with the request and the key, and may raise:
    before it is done, or after, which is an answer that was lost."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.requests: Counter[str] = Counter()
        self.before: Callable[[str, str], None] = lambda request, key: None
        self.after: Callable[[str, str], None] = lambda request, key: None
        self._lock = threading.Lock()

    def create(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> bool:
        self._begin("create", key)
        with self._lock:
            is_new = key not in self.objects
            if is_new:
                self.objects[key] = (_read(octets), self.now)
        self.after("create", key)
        return is_new

    def replace(self, key: str, octets: Octets, digest: Digest, purpose: Purpose) -> None:
        self._begin("replace", key)
        with self._lock:
            self.objects[key] = (_read(octets), self.now)
        self.after("replace", key)

    def head(self, key: str) -> ObjectFacts | None:
        self._begin("head", key)
        return self._facts(key) if key in self.objects else None

    def read(self, key: str, first: int = 0, octets: int | None = None) -> BinaryIO:
        self._begin("read", key)
        if key not in self.objects:
            raise IntegrityError(f"{self.place(key)}: there is no such object")
        content = self.objects[key][0]
        return io.BytesIO(content[first : None if octets is None else first + octets])

    def list(self, under: str = "", after: str = "") -> Iterator[ObjectFacts]:
        self._begin("list", under)
        return iter([self._facts(key) for key in sorted(self.objects) if key.startswith(under) and key > after])

    def delete(self, keys: Iterable[str]) -> Iterator[Kept]:
        self._begin("delete", "")
        for key in keys:
            self.objects.pop(key, None)
        return iter(())

    def forget_versions(self, key: str) -> Kept | None:
        self._begin("forget_versions", key)
        return None

    def place(self, key: str = "") -> str:
        return f"s3://memory/{key}"

    def close(self) -> None:
        pass

    def _begin(self, request: str, key: str) -> None:
        self.requests[request] += 1
        self.before(request, key)

    def _facts(self, key: str) -> ObjectFacts:
        content, modified = self.objects[key]
        return ObjectFacts(key, len(content), modified, self.now)


def _read(octets: Octets) -> bytes:
    return octets if isinstance(octets, bytes) else octets.read_bytes()


def lost(request: str, under: str, times: int = 1) -> Callable[[str, str], None]:
    """The answers to the first `times` such requests are lost."""
    left = [times]

    def lose(asked: str, key: str) -> None:
        if asked == request and key.startswith(under) and left[0]:
            left[0] -= 1
            raise ArchiveUnreachable(f"s3://memory/{key}: the answer was lost")

    return lose
