"""What a request to S3 is, and what may become of it on the way: the values that a proxy is scripted with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

_KINDS = {
    ("PUT", "object", "uploadId"): "UploadPart",
    ("PUT", "object", "x-amz-copy-source"): "CopyObject",
    ("PUT", "object", "retention"): "PutObjectRetention",
    ("PUT", "object", "legal-hold"): "PutObjectLegalHold",
    ("PUT", "object", "tagging"): "PutObjectTagging",
    ("PUT", "object", ""): "PutObject",
    ("GET", "object", "uploadId"): "ListParts",
    ("GET", "object", "retention"): "GetObjectRetention",
    ("GET", "object", "legal-hold"): "GetObjectLegalHold",
    ("GET", "object", "tagging"): "GetObjectTagging",
    ("GET", "object", "attributes"): "GetObjectAttributes",
    ("GET", "object", ""): "GetObject",
    ("HEAD", "object", ""): "HeadObject",
    ("POST", "object", "uploads"): "CreateMultipartUpload",
    ("POST", "object", "uploadId"): "CompleteMultipartUpload",
    ("POST", "object", "restore"): "RestoreObject",
    ("DELETE", "object", "uploadId"): "AbortMultipartUpload",
    ("DELETE", "object", "tagging"): "DeleteObjectTagging",
    ("DELETE", "object", ""): "DeleteObject",
    ("GET", "bucket", "list-type"): "ListObjectsV2",
    ("GET", "bucket", "versions"): "ListObjectVersions",
    ("GET", "bucket", "uploads"): "ListMultipartUploads",
    ("GET", "bucket", "versioning"): "GetBucketVersioning",
    ("GET", "bucket", "object-lock"): "GetObjectLockConfiguration",
    ("GET", "bucket", "location"): "GetBucketLocation",
    ("GET", "bucket", "encryption"): "GetBucketEncryption",
    ("GET", "bucket", "lifecycle"): "GetBucketLifecycleConfiguration",
    ("GET", "bucket", "policy"): "GetBucketPolicy",
    ("GET", "bucket", ""): "ListObjects",
    ("HEAD", "bucket", ""): "HeadBucket",
    ("POST", "bucket", "delete"): "DeleteObjects",
    ("PUT", "bucket", "versioning"): "PutBucketVersioning",
    ("PUT", "bucket", "policy"): "PutBucketPolicy",
    ("PUT", "bucket", ""): "CreateBucket",
    ("DELETE", "bucket", ""): "DeleteBucket",
    ("GET", "service", ""): "ListBuckets",
}


@dataclass(frozen=True)
class Request:
    """A request, the `number`th since the proxy began, from 1; `headers` in lower case, `kind` as S3 names it."""

    number: int
    kind: str
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


Place = Literal["request", "upload", "answer", "download"]
"""Where: "request" before anything is passed on; "upload" after so many octets of its body; "answer" when the
server has done what was asked and has said so, before any of that is passed on; "download" after so many octets of
the answer's body. A body that is not longer than that is passed on whole."""


@dataclass(frozen=True)
class Answer:
    """The proxy answers itself; the server never hears of the request. `retry_after` in seconds."""

    status: int
    code: str
    retry_after: int | None = None


@dataclass(frozen=True)
class Reset:
    """Both connections are reset."""

    at: Place
    octets: int = 0


@dataclass(frozen=True)
class Stall:
    """Nothing is passed on any more, and neither side hangs up."""

    at: Place
    octets: int = 0


@dataclass(frozen=True)
class Flip:
    """One bit of one octet of a body changes on its way, that `octets` others are before."""

    at: Literal["upload", "download"]
    octets: int = 0


@dataclass(frozen=True)
class During:
    """Something else happens first, then it goes on: another writes the same key, or the client is killed."""

    action: Callable[[], object]
    at: Literal["request", "answer"] = "request"


Fault = Answer | Reset | Stall | Flip | During

INTERNAL_ERROR = Answer(500, "InternalError")
SLOW_DOWN = Answer(503, "SlowDown")
CLOCK_OFF = Answer(403, "RequestTimeTooSkewed")
EXPIRED_TOKEN = Answer(400, "ExpiredToken")  # as AWS does; others say 403


def strikes(fault: Fault | None, place: Place) -> bool:
    """Whether something happens there."""
    return fault is not None and not isinstance(fault, Answer) and fault.at == place


def parse(number: int, line: str, headers: Mapping[str, str]) -> Request:
    """What a request in path style asks for."""
    method, target, _ = line.split(" ", 2)
    parts = urlsplit(target)
    bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Request(number, _kind(method, bucket, key, {*query, *headers}), method, bucket, key, query, headers)


def _kind(method: str, bucket: str, key: str, names: set[str]) -> str:
    level = "object" if key else "bucket" if bucket else "service"
    for (verb, of, name), kind in _KINDS.items():
        if (verb, of) == (method, level) and (not name or name in names):
            return kind
    return f"{method} {level}"
