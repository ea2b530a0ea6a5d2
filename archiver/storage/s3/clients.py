"""The boto3 client of a bucket: how it connects, how often it tries, how it signs requests.

A PutObject is signed over the digest by which the archive knows the octets, not over a hash that is computed while
they are sent. So an endpoint that checks signatures compares what arrives with that digest, even if it ignores
checksums (as Ceph's radosgw does), and nothing is hashed twice.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from functools import cache
from typing import Any, BinaryIO

import boto3
import botocore.auth
import botocore.handlers
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import HTTPClientError, SSLError

from archiver.config.secrecy import keep_secret
from archiver.config.tables.s3 import S3Settings
from archiver.control.waiting import lock_free_after_fork
from archiver.errors import ConfigError
from archiver.storage.s3.lines import AnswerTooLong, make_cuttable

DIGEST = "_digest"
"""A parameter of put_object that is ours alone: the hex SHA-256 that the signature is to hold."""

_SIGNATURE = "s3v4-known-digest"

_making = lock_free_after_fork()


class _KnownDigest(botocore.auth.S3SigV4Auth):  # type: ignore[misc]
    """Signature version 4 over a payload whose SHA-256 is known, over https too."""

    def payload(self, request: Any) -> str:
        known: str | None = request.context.get(DIGEST)
        return known or str(super().payload(request))


botocore.auth.AUTH_TYPE_MAPS[_SIGNATURE] = _KnownDigest


def make_client(settings: S3Settings) -> Any:
    """A client for these settings; nothing is sent yet. Threads may share it, processes may not.

    Raises:
        ConfigError: `ca_file` has no certificate.
        botocore's exceptions for an unknown profile or an invalid region.
    """
    config = Config(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_pool_connections=settings.connections,
        retries={"mode": "adaptive", "total_max_attempts": settings.attempts},
        request_checksum_calculation="when_required",  # what we send of our own is said with each request
        response_checksum_validation="when_required",  # what is read is compared with its digest
        s3={"addressing_style": settings.addressing_style},
        user_agent_extra="mail-archiver",
    )
    # NOTE: making sessions is not thread-safe.
    with _making:
        session = _session(settings)
        client = session.client(
            "s3", endpoint_url=settings.endpoint_url, verify=_trusted(settings) or None, config=config
        )
    make_cuttable(client)
    events = client.meta.events
    # It costs a round trip for each object, and answers of old proxies that nobody expects.
    events.unregister("before-call.s3", botocore.handlers.add_expect_header)
    events.register("before-sign.s3", _keep_keys)
    events.register("before-parameter-build.s3.PutObject", _remember_digest)
    events.register_first("choose-signer.s3.PutObject", _sign_over_digest)
    events.register("before-call.s3.DeleteObjects", _with_md5)
    events.register("response-received.s3", _no_second_try)
    return client


def credentials_of(client: Any) -> Any:
    """A client's credentials, renewed when necessary; `get_frozen_credentials` returns the present ones."""
    return client._request_signer._credentials


def _session(settings: S3Settings) -> boto3.session.Session:
    """A session that shares the description of the services, 8 MB that are read from files, with all others."""
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    return boto3.session.Session(
        botocore_session=session, profile_name=settings.profile, region_name=settings.region
    )


@cache
def _loader() -> botocore.loaders.Loader:
    return botocore.loaders.create_loader()


def _trusted(settings: S3Settings) -> str | None:
    if settings.ca_file is None:
        return None
    try:
        ssl.create_default_context(cafile=str(settings.ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            str(settings.ca_file),
            [f"[archive.s3] ca_file cannot be used ({error.strerror or error})"],
            hint="name a file of PEM certificates",
        ) from error
    return str(settings.ca_file)


def _keep_keys(request_signer: Any, **_: object) -> None:
    """Keep the keys secret, since an endpoint or a library may repeat them. The signature needs them anyway."""
    if (credentials := request_signer._credentials) is not None:
        now = credentials.get_frozen_credentials()
        for secret in filter(None, (now.secret_key, now.token)):
            keep_secret(secret)


def _remember_digest(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    if known := params.pop(DIGEST, None):
        context[DIGEST] = known


def _sign_over_digest(context: dict[str, Any], **_: object) -> str | None:
    """Sign over the known digest. Other ways to sign (none, S3 Express, SigV4a) are not changed."""
    return _SIGNATURE if DIGEST in context and context.get("auth_type") in ("v4", "s3v4") else None


def _with_md5(params: dict[str, Any], **_: object) -> None:
    """Every endpoint accepts Content-MD5 for a list of keys to delete, but not boto3's newer checksums."""
    params["headers"]["Content-MD5"] = md5_of(params["body"])
    params["context"].get("checksum", {}).pop("request_algorithm", None)


def md5_of(octets: bytes | BinaryIO) -> str:
    """As the header Content-MD5 has it (RFC 1864). A file is read from its beginning and left there."""
    return base64.b64encode(_hashed(hashlib.md5(usedforsecurity=False), octets).digest()).decode("ascii")


def sha256_of(octets: bytes | BinaryIO) -> str:
    """In hex. A file is read from its beginning and left there."""
    return str(_hashed(hashlib.sha256(), octets).hexdigest())


def _hashed(hasher: Any, octets: bytes | BinaryIO) -> Any:
    if isinstance(octets, (bytes, bytearray)):
        hasher.update(octets)
        return hasher
    octets.seek(0)
    while piece := octets.read(1 << 20):
        hasher.update(piece)
    octets.seek(0)
    return hasher


def _no_second_try(exception: Exception | None, **_: object) -> None:
    """Do not retry an untrusted certificate, or an answer that is too long."""
    if isinstance(exception, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(exception):
        raise exception
    cause = exception.kwargs.get("error") if isinstance(exception, HTTPClientError) else None
    if isinstance(cause, AnswerTooLong):
        raise cause
