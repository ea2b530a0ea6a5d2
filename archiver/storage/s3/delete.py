"""Removing objects: a thousand with one request if the endpoint can do that, with the reason why an object stays.

NOTE: in a bucket with versions, as every bucket with Object Lock is, removing a key only hides it behind a marker.
There all versions of a key are removed, the newest first, so that a lock shows before anything is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC
from itertools import islice

from archiver.storage.bucket.port import Kept
from archiver.storage.s3.endpoint import Endpoint, Response
from archiver.storage.s3.failures import ErrorResponse, said
from archiver.storage.s3.versions import Version, versions_of

_AT_ONCE = 1000  # as many as DeleteObjects takes


class Remover:
    """Removes keys, given with their prefix, from the bucket of `endpoint`; `where` returns a key's URL for
    people."""

    def __init__(self, endpoint: Endpoint, where: Callable[[str], str]) -> None:
        self._endpoint, self._where = endpoint, where
        self._bucket = endpoint.settings.bucket
        self._one_by_one = False
        self._refused: ErrorResponse | None = None  # the answer to the question for versions

    def remove(self, keys: Iterable[str]) -> Iterator[Kept]:
        """Remove keys; yields those that could not be removed. Keys that do not exist are ignored."""
        todo = iter(keys)
        versioned: bool | None = None
        while batch := list(dict.fromkeys(islice(todo, _AT_ONCE))):
            if versioned is None:
                versioned = self._has_versions()
            if versioned:
                yield from self._remove_versions(batch)
            else:
                yield from self._remove([Version(key) for key in batch])

    def remove_older(self, key: str) -> Kept | None:
        """Remove what a key held before its newest version, the oldest last; returns why something had to stay."""
        if not self._has_versions():
            if self._refused is not None and not self._refused.unknown_here:
                asked = "whether the bucket has versions is not known, since s3:GetBucketVersioning is not allowed"
                return Kept(key, f"{asked}; an older one may be there")
            return None
        older = versions_of(self._endpoint, key, self._where(key))[1:]
        return next(self._remove([one for one in older if not one.is_marker]), None)

    def _has_versions(self) -> bool:
        answer = self._endpoint.ask(
            "get_bucket_versioning",
            self._where(""),
            lambda refusal: refusal.unknown_here or (refusal.status in (400, 403) and not refusal.clear),
            Bucket=self._bucket,
        )
        if isinstance(answer, ErrorResponse):
            self._refused = answer
            return self._endpoint.settings.object_lock is not None
        return answer.get("Status") in ("Enabled", "Suspended")

    def _remove_versions(self, keys: Sequence[str]) -> Iterator[Kept]:
        left = {key: _in_order(versions_of(self._endpoint, key, self._where(key))) for key in keys}
        while round_ := [versions.pop(0) for versions in left.values() if versions]:
            for start in range(0, len(round_), _AT_ONCE):
                for kept in self._remove(round_[start : start + _AT_ONCE]):
                    left[kept.key].clear()
                    yield kept

    def _remove(self, versions: Sequence[Version]) -> Iterator[Kept]:
        left = set(self._refused_together(versions))
        for one in versions:
            if one in left and (reason := self._refused_alone(one)) is not None:
                yield Kept(one.key, reason)

    def _refused_together(self, versions: Sequence[Version]) -> Iterator[Version]:
        """Those that still exist; a single request for each then shows why."""
        together = [one for one in versions if one.key.isprintable()]  # XML has no words for the other ones
        yield from (one for one in versions if one not in together)
        if self._one_by_one or len(together) < 2:
            yield from together
            return
        answer = self._endpoint.ask(
            "delete_objects",
            self._where(""),
            lambda refusal: refusal.unknown_here or (refusal.status in (400, 403, 411) and not refusal.clear),
            Bucket=self._bucket,
            Delete={"Objects": [one.parameters() for one in together], "Quiet": True},
        )
        if isinstance(answer, ErrorResponse):
            self._one_by_one = True
            yield from together
        else:
            refused = {(error.get("Key"), error.get("VersionId") or None) for error in answer.get("Errors", ())}
            yield from (one for one in together if {(one.key, one.id), (one.key, None)} & refused)

    def _refused_alone(self, one: Version) -> str | None:
        answer = self._endpoint.ask(
            "delete_object",
            self._where(one.key),
            lambda refusal: refusal.status in (400, 403, 404) and not refusal.clear,
            Bucket=self._bucket,
            **one.parameters(),
        )
        if not isinstance(answer, ErrorResponse) or answer.not_there:
            return None
        return self._lock(one) or f"not allowed to delete it ({said(answer)})"

    def _lock(self, one: Version) -> str | None:
        reasons = []
        retention = self._told("get_object_retention", one).get("Retention", {})
        if until := retention.get("RetainUntilDate"):
            reasons.append(f"locked ({retention.get('Mode')}) until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
        if self._told("get_object_legal_hold", one).get("LegalHold", {}).get("Status") == "ON":
            reasons.append("under a legal hold")
        return " and ".join(reasons) or None

    def _told(self, operation: str, one: Version) -> Response:
        where = self._where(one.key)
        answer = self._endpoint.ask(operation, where, lambda _: True, Bucket=self._bucket, **one.parameters())
        return {} if isinstance(answer, ErrorResponse) else answer


def _in_order(versions: Sequence[Version]) -> list[Version]:
    """The newest first, and the markers last, so that a lock shows before the marker that hides its object is
    removed."""
    return sorted(versions, key=lambda one: one.is_marker)
