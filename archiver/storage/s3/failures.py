"""Failures of a bucket as our errors: where, what, and what to do next.

Pure. No text of an endpoint or a library is passed on unchanged: it may contain a key, a signature or control
characters for a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConfigParseError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    EndpointProviderError,
    InvalidRegionError,
    LoginError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from msgspec import Struct, field

from archiver.config.secrecy import redacted
from archiver.config.tables.s3 import S3Settings
from archiver.errors import (
    ArchiveNotWritable,
    ArchiverError,
    ArchiveThrottled,
    ArchiveUnreachable,
    ConfigError,
    IntegrityError,
)
from archiver.mail.folder_names import printable
from archiver.storage.s3.lines import AnswerTooLong

_CREDENTIALS = "name credentials in the environment, in ~/.aws, or [archive.s3] profile"
_UNREACHED = "correct [archive.s3] endpoint_url, or run again later"
_ENDPOINT = "correct [archive.s3] endpoint_url, or omit it for Amazon S3"


class ErrorResponse(Struct, frozen=True):
    """An endpoint's answer that is not what was asked for; `code` is the status's digits where there was no
    more."""

    operation: str
    code: str
    status: int
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def not_there(self) -> bool:
        return self.status == 404 and self.code != "NoSuchBucket"

    @property
    def unknown_here(self) -> bool:
        """The endpoint does not know that operation or that header."""
        return self.status in (405, 501) or self.code in ("NotImplemented", "MethodNotAllowed")

    @property
    def damaged(self) -> bool:
        """What arrived at the endpoint is not what was announced."""
        return self.code in _DAMAGED

    @property
    def clear(self) -> bool:
        """Its meaning is certain: it concerns neither this object nor the form of the request."""
        codes_are_clear = self.code in _CLEAR or self.code in _CREDENTIALS_REFUSED or self.code in _OTHER_REGION
        return codes_are_clear or self.full or self.used_up

    @property
    def full(self) -> bool:
        """There is no room for more. Backblaze and Garage say so in words only, as AccessDenied."""
        in_words = self.status in (400, 403) and _FULL_IN_WORDS.search(self.message) is not None
        return self.code in _FULL or self.status == 507 or in_words

    @property
    def used_up(self) -> bool:
        """A limit for a day or a month is reached, as Backblaze's caps of transactions and downloads."""
        return self.status == 403 and _USED_UP_IN_WORDS.search(self.message) is not None


def refusal_of(error: ClientError) -> ErrorResponse:
    answer = error.response
    told: Mapping[str, Any] = answer.get("Error", {})
    meta: Mapping[str, Any] = answer.get("ResponseMetadata", {})
    details = {name: redacted(str(value)) for name, value in told.items() if name not in ("Code", "Message")}
    return ErrorResponse(
        error.operation_name,
        redacted(str(told.get("Code") or "")) or str(meta.get("HTTPStatusCode", "")),
        int(meta.get("HTTPStatusCode", 0)),
        redacted(str(told.get("Message") or "")),
        dict(meta.get("HTTPHeaders", {})),
        details,
    )


def clock_of(headers: Mapping[str, str]) -> float | None:
    """The endpoint's clock when it answered, seconds since 1970."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        return None


def refused(refusal: ErrorResponse, where: str, settings: S3Settings, now: float) -> ArchiverError:
    """The error for an unexpected answer. `now` is our clock at the time of the answer."""
    code, status = refusal.code, refusal.status
    if error := _about_credentials(refusal, where, now) or _about_settings(refusal, where, settings):
        return error
    if code in _THROTTLED or status in (429, 503):
        return ArchiveThrottled(f"{where}: the endpoint asks to slow down ({said(refusal)})")
    if refusal.full:
        return ArchiveNotWritable(
            f"{where}: no space left ({said(refusal)})", hint="free space or raise the quota, and run again"
        )
    if refusal.used_up:
        return ArchiveThrottled(
            f"{where}: a limit at the provider is used up ({said(refusal)})",
            hint="raise it there, or run again when a new day or month begins",
        )
    if refusal.damaged:
        return IntegrityError(
            f"{where}: what arrived there does not match the digest ({said(refusal)})",
            hint="run again; if it happens again, look for a damaged disk or a proxy that alters data",
        )
    if code == "InvalidObjectState":
        return ArchiveUnreachable(
            f"{where}: it must be restored from its storage class before it can be read ({said(refusal)})",
            hint="restore it, and run again",
        )
    if status == 404 and code.isdigit() and refusal.operation != "HeadObject":
        return not_s3(where, settings, refusal)
    if status == 404 and code in ("NoSuchKey", "NoSuchVersion", "404"):
        return IntegrityError(
            f"{where}: there is no such object ({said(refusal)})",
            hint="`archiver verify` lists what else is missing",
        )
    if status >= 500 and not refusal.unknown_here:
        # S3 names its errors. A web server's page with the status 200 is such a 500, too, as boto3 tells it.
        hint = (
            None
            if not code.isdigit()
            else "run again later; if it happens again, correct [archive.s3] endpoint_url"
        )
        return ArchiveUnreachable(f"{where}: the endpoint failed ({said(refusal)})", hint=hint)
    if status in (401, 403):
        return ArchiveNotWritable(
            f"{where}: not allowed to {_verb(refusal.operation)} ({said(refusal)})",
            hint="give these credentials that permission on the bucket, and run again",
        )
    if refusal.operation in ("GetObject", "HeadObject") and (
        settings.sse == "customer" or "Server Side Encryption" in refusal.message
    ):
        return ConfigError(
            where,
            [f"cannot be read ({said(refusal)})"],
            hint="[archive.s3] sse and customer_key must be those with which it was written",
        )
    return ConfigError(
        where,
        [f"the endpoint does not support {refusal.operation} ({said(refusal)})"],
        hint="remove from [archive.s3] what it does not support",
    )


def _about_credentials(refusal: ErrorResponse, where: str, now: float) -> ArchiverError | None:
    if refusal.code == "RequestTimeTooSkewed":
        return ArchiveUnreachable(
            f"{where}: {_skew(refusal, now)} ({said(refusal)})", hint="set this machine's clock, and run again"
        )
    if told := _CREDENTIALS_REFUSED.get(refusal.code):
        what, hint = told
        return ArchiveUnreachable(f"{where}: {what} ({said(refusal)})", hint=hint)
    return None


def _about_settings(refusal: ErrorResponse, where: str, settings: S3Settings) -> ArchiverError | None:
    code = refusal.code
    if code == "NoSuchBucket":
        return ArchiveNotWritable(
            f'{where}: there is no bucket "{settings.bucket}" ({said(refusal)})',
            hint="create it, or set [archive.s3] create_bucket = true",
        )
    if code in _OTHER_REGION or refusal.status in (301, 302, 307, 308):
        region = _expected_region(refusal)
        hint = f'set [archive.s3] region = "{printable(region)}"' if region else "correct [archive.s3] region"
        if refusal.details.get("Endpoint") and not region:
            hint = (
                f'set [archive.s3] endpoint_url to "{printable(refusal.details["Endpoint"])}", or the right region'
            )
        return ConfigError(where, [f"the bucket is in another region ({said(refusal)})"], hint=hint)
    if code == "InvalidStorageClass":
        return ConfigError(where, [f"the endpoint has no storage class {settings.storage_class} ({said(refusal)})"])
    if code.startswith("KMS."):
        return ConfigError(where, [f"the KMS key cannot be used ({said(refusal)})"], hint="correct kms_key")
    if code == "InvalidBucketName":
        return ConfigError(where, [f"the endpoint does not accept that bucket name ({said(refusal)})"])
    return None


def _expected_region(refusal: ErrorResponse) -> str | None:
    """The region that the endpoint wants requests to be signed for. Garage says it in words only, as a scope."""
    if told := refusal.headers.get("x-amz-bucket-region") or refusal.details.get("Region"):
        return told
    found = _REGION_IN_WORDS.search(refusal.message)
    return found[1] or found[2] if found else None


def unanswered(error: Exception, where: str, settings: S3Settings) -> ArchiverError:
    """The error for a request without an answer, or with one that is not S3's."""
    endpoint = settings.endpoint_url or "Amazon S3"
    for kind, make in _UNANSWERED:
        if isinstance(error, kind):
            what, hint = make
            message = what.format(endpoint=endpoint, profile=settings.profile)
            if kind in _SETTINGS_WRONG:
                return ConfigError(where, [message], hint=hint)
            return ArchiveUnreachable(f"{where}: {message}", hint=hint)
    if isinstance(error, SSLError):
        return _untrusted(error, where, endpoint, settings)
    return ArchiveUnreachable(f"{where}: the connection to {endpoint} broke ({type(error).__name__})")


def not_s3(where: str, settings: S3Settings, refusal: ErrorResponse | None = None) -> ConfigError:
    """The error for an answer that is not S3's: a successful one, or this refusal."""
    endpoint = settings.endpoint_url or "the endpoint"
    told = "" if refusal is None else f" ({said(refusal)})"
    return ConfigError(where, [f"{endpoint} answers, but not as S3 does{told}"], hint=_ENDPOINT)


def _untrusted(error: SSLError, where: str, endpoint: str, settings: S3Settings) -> ArchiverError:
    text = str(error)
    if found := re.search(r"CERTIFICATE_VERIFY_FAILED\] [^:]*: ([^()\"']{1,100})", text):
        what = f"the certificate of {endpoint} is not trusted ({found[1].strip()})"
        hint = (
            f"is {settings.ca_file} the CA that signed it?"
            if settings.ca_file
            else "name the CA that signed it: [archive.s3] ca_file"
        )
    else:
        what = f"no TLS with {endpoint}"
        hint = "is it https at that port? correct [archive.s3] endpoint_url"
    return ArchiveUnreachable(f"{where}: {what}", hint=hint)


def _skew(refusal: ErrorResponse, now: float) -> str:
    theirs = clock_of(refusal.headers)
    if theirs is None:
        return "this machine's clock is too far from the endpoint's"
    apart = round(now - theirs)
    return f"this machine's clock is {abs(apart)} seconds {'ahead of' if apart > 0 else 'behind'} the endpoint's"


def said(refusal: ErrorResponse) -> str:
    """The answer for people, without anything that may be a key, a token or a signature."""
    code = printable(refusal.code)[:60]
    told = f"HTTP {refusal.status}" if code == str(refusal.status) else f"{code}, HTTP {refusal.status}"
    message = _MAY_BE_SECRET.sub(_kept_scope, printable(refusal.message))[:160].strip().rstrip(".")
    return f"{told}: {message}" if message else told


def _kept_scope(found: re.Match[str]) -> str:
    """A scope (date, region, service) is no secret, and shows which region the endpoint expects."""
    return found[0] if found[1] else "…"


def _verb(operation: str) -> str:
    for beginning, verb in _VERBS:
        if operation.startswith(beginning):
            return verb
    return operation


_MAY_BE_SECRET = re.compile(r"(\d{8}/[a-z0-9-]{1,40}/s3/aws4_request)\b|[A-Za-z0-9+/=_%-]{20,}")
_REGION_IN_WORDS = re.compile(r"expected: \d{8}/([a-z0-9-]{1,40})/s3/|expecting '([a-z0-9-]{1,40})'", re.IGNORECASE)
_FULL_IN_WORDS = re.compile(
    r"storage (cap|limit|quota)|(cap|quota|limit)[^.]{0,40} storage|quota (is |was |has been )?(exceeded|reached)"
    r"|exceed[^.]{0,40} quota|no space left|insufficient storage|not enough (space|storage)|disk full",
    re.IGNORECASE,
)
_USED_UP_IN_WORDS = re.compile(r"\bcaps? (was |is |has been )?(exceeded|reached)", re.IGNORECASE)
_VERBS = (
    ("PutObject", "write"),
    ("ListObject", "list"),
    ("GetObject", "read"),
    ("HeadObject", "read"),
    ("Delete", "delete"),
    ("CreateBucket", "make the bucket"),
    ("HeadBucket", "look at the bucket"),
)
_THROTTLED = {"SlowDown", "SlowDownRead", "SlowDownWrite", "RequestLimitExceeded", "BandwidthLimitExceeded",
              "Throttling", "ThrottlingException", "TooManyRequests", "ServiceUnavailable", "Busy"}  # fmt: skip
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "StorageFull", "EntityTooLarge",
         "TooManyBuckets", "XMinioAdminBucketQuotaExceeded"}  # fmt: skip
_DAMAGED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_CLEAR = {"RequestTimeTooSkewed", "NoSuchBucket", "InvalidBucketName", "InvalidStorageClass", *_FULL}
_OTHER_REGION = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "InvalidRegion",
                 "IllegalLocationConstraintException"}  # fmt: skip
_CREDENTIALS_REFUSED = {
    "InvalidAccessKeyId": ("the endpoint does not know that access key", _CREDENTIALS),
    "InvalidClientTokenId": ("the endpoint does not know that access key", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret key is not that of the access key", _CREDENTIALS),
    "ExpiredToken": ("the credentials have expired", "renew them, and run again"),
    "ExpiredTokenException": ("the credentials have expired", "renew them, and run again"),
    "TokenRefreshRequired": ("the credentials have expired", "renew them, and run again"),
    "InvalidToken": ("the session token is not valid", "renew the credentials, and run again"),
    "AccountProblem": ("the account of these credentials is closed", _CREDENTIALS),
}
_SETTINGS_WRONG = (ProfileNotFound, ConfigParseError, NoRegionError, InvalidRegionError, EndpointProviderError,
                   ParamValidationError, ResponseParserError, AnswerTooLong, ValueError)  # fmt: skip
_UNANSWERED: tuple[tuple[type[Exception], tuple[str, str | None]], ...] = (
    (NoCredentialsError, ("there are no credentials", _CREDENTIALS)),
    (PartialCredentialsError, ("only half of the credentials is set", _CREDENTIALS)),
    (CredentialRetrievalError, ("the credentials cannot be fetched", _CREDENTIALS)),
    (TokenRetrievalError, ("the session's token cannot be fetched", "log in again, and run again")),
    (SSOError, ("the single sign-on has expired or failed", "log in again, and run again")),
    (LoginError, ("the login has expired or failed", "log in again, and run again")),
    (ProfileNotFound, ('there is no profile "{profile}"', "correct [archive.s3] profile, or ~/.aws/config")),
    (ConfigParseError, ("~/.aws/config cannot be read", "correct that file")),
    (NoRegionError, ("no region is set", "set [archive.s3] region")),
    (InvalidRegionError, ("the region is not valid", "correct [archive.s3] region")),
    (EndpointProviderError, ("these settings do not lead to an endpoint", "correct [archive.s3] region")),
    (ParamValidationError, ("these settings do not make a valid S3 request", "correct [archive.s3]")),
    (ResponseParserError, ("{endpoint} answers, but not as S3 does", _ENDPOINT)),
    (AnswerTooLong, ("{endpoint} answers, but not as S3 does: without an end", _ENDPOINT)),
    (ValueError, ("{endpoint} is not an endpoint", "correct [archive.s3] endpoint_url")),
    (ProxyConnectionError, ("the proxy for {endpoint} cannot be reached", "correct the proxy, or run again later")),
    (ConnectTimeoutError, ("{endpoint} does not answer", _UNREACHED)),
    (EndpointConnectionError, ("{endpoint} cannot be reached", _UNREACHED)),
    (ReadTimeoutError, ("{endpoint} stopped answering, or answers too slowly", None)),
)  # fmt: skip
