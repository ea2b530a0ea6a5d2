"""What is said when something is wrong with a bucket: one line, where, what, and what to do next."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from archiver.config.tables.s3 import ObjectLock, S3Settings
from archiver.errors import (
    ArchiveNotWritable,
    ArchiverError,
    ArchiveThrottled,
    ArchiveUnreachable,
    ConfigError,
    IntegrityError,
)
from archiver.storage.s3 import lines
from archiver.storage.s3.bucket import BotoBucket
from tests.contracts.bucket import HELLO, create, digest_of, keys, read
from tests.servers.canned import canned, error
from tests.servers.certificates import Certificates
from tests.servers.mail_server import free_port
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint

Aws = Callable[[Endpoint], None]
Open = Callable[..., BotoBucket]
Canned = Callable[..., Endpoint]


@pytest.fixture
def opened(aws: Aws) -> Iterator[Open]:
    """Opens a bucket that tries twice: `opened(endpoint, "bucket", region="eu-west-1")`."""
    with ExitStack() as stack:

        def open_bucket(endpoint: Endpoint, name: str = "bucket", **settings: Any) -> BotoBucket:
            aws(endpoint)
            common = {"endpoint_url": endpoint.url, "ca_file": endpoint.ca_file, "attempts": 2, "read_timeout": 2.0}
            bucket = BotoBucket(S3Settings(bucket=name, **(common | settings)), "alice", None)
            stack.callback(bucket.close)
            return bucket

        yield open_bucket


@pytest.fixture
def answering() -> Iterator[Canned]:
    """Starts servers that always answer so: `answering(403, error("AccessDenied"))`."""
    with ExitStack() as stack:
        yield lambda *answer: stack.enter_context(canned(*answer))


OPERATIONS: dict[str, Callable[[BotoBucket], object]] = {
    "create": lambda bucket: create(bucket, "key"),
    "replace": lambda bucket: bucket.replace("key", HELLO, digest_of(HELLO), "control"),
    "head": lambda bucket: bucket.head("key"),
    "read": lambda bucket: read(bucket, "key"),
    "list": keys,
    "delete": lambda bucket: list(bucket.delete(["key", "other"])),
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS)


def answers(names: str, *cases: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Each answer to a HEAD, which brings no body, and to one more operation; each operation gets one of them."""
    others = [name for name in OPERATIONS if name != "head"]
    pairs = [("head", *case) for case in cases]
    pairs += [(others[n % len(others)], *cases[n % len(cases)]) for n in range(max(len(cases), len(others)))]
    return pytest.mark.parametrize(("operation", *names.split()), pairs)


def said(bucket: BotoBucket, operation: str, kind: type[ArchiverError]) -> str:
    """The line that this operation fails with."""
    with pytest.raises(kind) as failed:
        OPERATIONS[operation](bucket)
    assert type(failed.value) is kind
    line = str(failed.value)
    assert line.startswith("s3://")
    assert line.isprintable()
    assert failed.value.hint
    assert failed.value.__cause__ is None
    for secret in ("AKIAEXAMPLEEXAMPLE00", "secret of", "Signature=", "X-Amz"):
        assert secret not in line
    return line


class TestOnRadosgw:
    @each_operation
    def test_no_such_bucket(self, radosgw: RadosGateway, opened: Open, operation: str) -> None:
        line = said(opened(radosgw.http, "nobody-made-it"), operation, ArchiveNotWritable)
        assert 'there is no bucket "nobody-made-it"' in line
        assert "create_bucket = true" in line

    @each_operation
    def test_a_user_who_is_not_known(self, radosgw: RadosGateway, opened: Open, operation: str) -> None:
        nobody = Endpoint(radosgw.http.url, "AKIAEXAMPLEEXAMPLE00", "secret of nobody")
        line = said(opened(nobody, radosgw.http.fresh_bucket()), operation, ArchiveUnreachable)
        assert "does not know that access key" in line

    @each_operation
    def test_a_secret_key_that_is_wrong(self, radosgw: RadosGateway, opened: Open, operation: str) -> None:
        wrong = Endpoint(radosgw.http.url, radosgw.http.access_key, "secret of somebody else")
        line = said(opened(wrong, radosgw.http.fresh_bucket()), operation, ArchiveUnreachable)
        assert "the secret key is not that of the access key" in line

    @pytest.mark.parametrize(
        ("operation", "denied", "verb"),
        [("create", "s3:PutObject", "write"), ("replace", "s3:PutObject", "write"),
         ("read", "s3:GetObject", "read"), ("head", "s3:GetObject", "read"), ("list", "s3:ListBucket", "list")],
    )  # fmt: skip
    def test_what_may_not_be_done_is_named(
        self, radosgw: RadosGateway, opened: Open, operation: str, denied: str, verb: str
    ) -> None:
        name = radosgw.http.fresh_bucket()
        radosgw.http.put(name, "alice/key", HELLO)
        line = said(opened(radosgw.admit(name, denied), name), operation, ArchiveNotWritable)
        assert f"not allowed to {verb} (AccessDenied" in line

    def test_a_storage_class_that_is_not_there(self, radosgw: RadosGateway, opened: Open) -> None:
        bucket = opened(radosgw.http, radosgw.http.fresh_bucket(), storage_class="DEEP_ARCHIVE")
        assert "InvalidArgument" in said(bucket, "create", ConfigError)
        assert bucket.integrity == "sha256"

    def test_a_lock_that_the_bucket_does_not_have(self, radosgw: RadosGateway, opened: Open) -> None:
        lock = ObjectLock(mode="COMPLIANCE", days=1)
        line = said(opened(radosgw.http, radosgw.http.fresh_bucket(), object_lock=lock), "create", ConfigError)
        assert "PutObject" in line

    def test_no_room(self, radosgw: RadosGateway, opened: Open, answering: Canned) -> None:
        for endpoint in (answering(403, error("QuotaExceeded")), answering(507, error("XMinioStorageFull"))):
            assert "no space left" in said(opened(endpoint), "create", ArchiveNotWritable)


class TestConnecting:
    @each_operation
    def test_nothing_listens(self, opened: Open, operation: str) -> None:
        endpoint = Endpoint(f"http://127.0.0.1:{free_port()}", "nobody", "secret")
        line = said(opened(endpoint), operation, ArchiveUnreachable)
        assert f"{endpoint.url} cannot be reached" in line

    def test_nothing_answers(self, opened: Open) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            endpoint = Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}", "nobody", "secret")
            line = said(opened(endpoint, read_timeout=0.2), "list", ArchiveUnreachable)
        assert "stopped answering" in line

    def test_a_certificate_that_is_not_trusted(
        self, radosgw: RadosGateway, opened: Open, certificates: Certificates
    ) -> None:
        bucket = opened(radosgw.https, ca_file=certificates.untrusted.ca, attempts=8)
        began = time.monotonic()
        line = said(bucket, "list", ArchiveUnreachable)
        assert time.monotonic() - began < 10
        assert "is not trusted" in line
        assert str(certificates.untrusted.ca) in line
        assert "name the CA" in said(opened(radosgw.https, ca_file=None), "list", ArchiveUnreachable)

    def test_an_expired_certificate(self, opened: Open, certificates: Certificates) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            context = certificates.expired.server_context()

            def serve() -> None:
                while True:
                    try:
                        context.wrap_socket(listener.accept()[0], server_side=True).close()
                    except ssl.SSLError:
                        continue
                    except OSError:
                        return

            threading.Thread(target=serve, daemon=True).start()
            url = f"https://localhost:{listener.getsockname()[1]}"
            endpoint = Endpoint(url, "nobody", "secret", certificates.expired.ca)
            line = said(opened(endpoint), "list", ArchiveUnreachable)
            listener.shutdown(socket.SHUT_RDWR)
        assert "certificate has expired" in line

    def test_https_where_http_is_spoken(self, radosgw: RadosGateway, opened: Open) -> None:
        endpoint = radosgw.http.at(radosgw.http.url.replace("http:", "https:"))
        assert "no TLS with https://" in said(opened(endpoint), "list", ArchiveUnreachable)

    def test_a_ca_file_that_is_none(self, radosgw: RadosGateway, opened: Open, tmp_path: Path) -> None:
        (tmp_path / "empty.pem").write_text("not a certificate")
        for name in ("empty.pem", "absent.pem"):
            with pytest.raises(ConfigError, match=f"{name}: .*ca_file cannot be used"):
                keys(opened(radosgw.https, ca_file=tmp_path / name))


class TestCredentials:
    def test_there_are_none(self, radosgw: RadosGateway, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        bucket = opened(radosgw.http)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "there are no credentials" in said(bucket, "create", ArchiveUnreachable)

    def test_half_of_them(self, radosgw: RadosGateway, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        bucket = opened(radosgw.http)
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "only half of the credentials" in said(bucket, "create", ArchiveUnreachable)

    def test_a_profile(
        self, radosgw: RadosGateway, opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "credentials").write_text(radosgw.http.profile("mail"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        name = radosgw.http.fresh_bucket()
        bucket, other = opened(radosgw.http, name, profile="mail"), opened(radosgw.http, name, profile="other")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert create(bucket, "key") is True
        assert 'there is no profile "other"' in said(other, "create", ConfigError)

    @answers(
        "status code expected",
        (400, "ExpiredToken", "the credentials have expired"), (403, "InvalidToken", "session token is not valid"),
        (403, "InvalidAccessKeyId", "does not know that access key"),
        (403, "SignatureDoesNotMatch", "not that of the access key"),
    )  # fmt: skip
    def test_they_are_refused(
        self, opened: Open, answering: Canned, operation: str, status: int, code: str, expected: str
    ) -> None:
        endpoint = answering(status, error(code))
        assert expected in said(opened(endpoint), operation, ArchiveUnreachable)

    @answers("seconds expected", (3600, "behind"), (-7200, "ahead of"))
    def test_a_clock_that_is_off(
        self, opened: Open, answering: Canned, operation: str, seconds: int, expected: str
    ) -> None:
        date = {"Date": formatdate(time.time() + seconds, usegmt=True)}
        line = said(opened(answering(403, error("RequestTimeTooSkewed"), date)), operation, ArchiveUnreachable)
        reported = re.search(r"(\d+) seconds (behind|ahead)", line)
        assert reported is not None
        assert abs(int(reported[1]) - abs(seconds)) < 10
        assert reported[2] == expected.split()[0]


class TestWrongEndpoint:
    @pytest.mark.parametrize("operation", ["create", "replace", "read", "list"])
    @pytest.mark.parametrize("status", [200, 404])
    def test_a_web_server(self, opened: Open, answering: Canned, operation: str, status: int) -> None:
        endpoint = answering(status, b"<html><body>It works!</body></html>", {"Content-Type": "text/html"})
        bucket = opened(endpoint)
        with pytest.raises(ArchiverError) as failed:
            OPERATIONS[operation](bucket)
        assert "correct [archive.s3] endpoint_url" in str(failed.value)

    @pytest.mark.parametrize("operation", ["create", "replace", "head", "read", "list"])
    @pytest.mark.parametrize(("body", "kind"), [(b"{}", "application/json"), (b"", "text/plain")])
    def test_a_server_that_likes_everything_is_not_believed(
        self, opened: Open, answering: Canned, operation: str, body: bytes, kind: str
    ) -> None:
        bucket = opened(answering(200, body, {"Content-Type": kind}))
        with pytest.raises(ArchiverError) as failed:
            OPERATIONS[operation](bucket)
        assert "correct [archive.s3] endpoint_url" in str(failed.value)

    @answers(
        "status body headers",
        (301, error("PermanentRedirect"), {"x-amz-bucket-region": "eu-west-3"}),
        (400, error("AuthorizationHeaderMalformed", Region="eu-west-3"), {}),
        (400, error("IllegalLocationConstraintException"), {"x-amz-bucket-region": "eu-west-3"}),
    )  # fmt: skip
    def test_another_region(
        self, opened: Open, answering: Canned, operation: str, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        line = said(opened(answering(status, body, headers)), operation, ConfigError)
        assert 'region = "eu-west-3"' in line

    def test_a_region_that_the_endpoint_names_in_words_only(self, opened: Open, answering: Canned) -> None:
        reported = "unexpected scope: 20261128/us-east-1/s3/aws4_request, expected: 20261128/garage/s3/aws4_request"
        bucket = opened(answering(400, error("AuthorizationHeaderMalformed", reported)))
        for ask in (bucket.has_bucket, lambda: bucket.head("key"), lambda: keys(bucket)):
            with pytest.raises(ConfigError) as failed:
                ask()
            assert 'region = "garage"' in str(failed.value)
            assert reported in str(failed.value)

    def test_a_bucket_that_cannot_be_examined_is_reported_in_the_endpoints_words(
        self, opened: Open, answering: Canned
    ) -> None:
        bucket = opened(answering(400, error("ImaginaryFault", "not on Sundays")))
        with pytest.raises(ConfigError, match=r"not on Sundays"):
            bucket.has_bucket()


class TestTrouble:
    @answers("status code", (503, "SlowDown"), (503, "ServiceUnavailable"), (429, "TooMany"))
    def test_it_still_asks_to_slow_down(
        self, opened: Open, answering: Canned, operation: str, status: int, code: str
    ) -> None:
        line = said(opened(answering(status, error(code))), operation, ArchiveThrottled)
        assert "asks to slow down" in line

    @answers("status code", (500, "InternalError"), (502, "BadGateway"), (504, "Timeout"))
    def test_it_still_fails(self, opened: Open, answering: Canned, operation: str, status: int, code: str) -> None:
        assert "the endpoint failed" in said(opened(answering(status, error(code))), operation, ArchiveUnreachable)

    @pytest.mark.parametrize(
        ("words", "kind", "expected"),
        [
            ("Cannot upload files, storage cap exceeded. See the Caps page.", ArchiveNotWritable, "no space left"),
            ("Forbidden: Bucket size quota is reached, maximum: 1000", ArchiveNotWritable, "no space left"),
            (
                "Cannot download file, transaction cap exceeded.",
                ArchiveThrottled,
                "limit at the provider is used up",
            ),
            ("Access Denied", ArchiveNotWritable, "not allowed to write"),
        ],
    )
    def test_a_limit_that_is_reported_as_a_missing_permission(
        self, opened: Open, answering: Canned, words: str, kind: type[ArchiverError], expected: str
    ) -> None:
        line = said(opened(answering(403, error("AccessDenied", words))), "create", kind)
        assert expected in line
        assert words.rstrip(".") in line

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch"), (403, "AccessDenied"),
            (404, "NoSuchBucket"), (404, "NoSuchKey"), (403, "InvalidObjectState"), (403, "RequestTimeTooSkewed"),
            (400, "InvalidStorageClass"), (400, "InvalidBucketName"), (400, "KMS.Disabled"), (507, "StorageFull"),
            (500, "InternalError"), (503, "SlowDown"), (501, "NotImplemented"), (400, "ImaginaryFault"),
        ],
    )  # fmt: skip
    def test_the_endpoints_own_words_are_in_every_line(
        self, opened: Open, answering: Canned, status: int, code: str
    ) -> None:
        bucket = opened(answering(status, error(code, "not on Sundays")), attempts=1)
        with pytest.raises(ArchiverError) as failed:
            read(bucket, "key")
        assert f"{code}, HTTP {status}: not on Sundays" in str(failed.value)

    def test_an_object_that_has_to_be_restored_first(self, opened: Open, answering: Canned) -> None:
        line = said(opened(answering(403, error("InvalidObjectState"))), "read", ArchiveUnreachable)
        assert "must be restored" in line

    def test_a_key_of_kms_that_is_disabled(self, opened: Open, answering: Canned) -> None:
        endpoint = answering(400, error("KMS.DisabledException"))
        bucket = opened(endpoint, sse="aws:kms", kms_key="alias/mail")
        assert "the KMS key cannot be used" in said(bucket, "create", ConfigError)

    def test_nothing_of_an_answer_is_passed_on_that_may_be_a_secret(self, opened: Open, answering: Canned) -> None:
        reported = (
            "you sent AKIAEXAMPLEEXAMPLE00 and Signature=0123456789abcdef0123456789abcdef \x1b[31m" + "x" * 5000
        )
        line = said(
            opened(answering(400, error("InvalidRequest", reported.replace("\x1b", "&#x1b;")))), "list", ConfigError
        )
        assert len(line) < 400

    def test_a_file_that_is_gone(self, radosgw: RadosGateway, opened: Open, tmp_path: Path) -> None:
        bucket = opened(radosgw.http, radosgw.http.fresh_bucket())
        with pytest.raises(ArchiveNotWritable, match="absent"):
            bucket.create("key", tmp_path / "absent", digest_of(HELLO), "message")

    def test_a_missing_object_is_an_integrity_error(self, radosgw: RadosGateway, opened: Open) -> None:
        bucket = opened(radosgw.http, radosgw.http.fresh_bucket())
        assert "there is no such object" in said(bucket, "read", IntegrityError)


@pytest.mark.parametrize(
    ("operation", "status"), [("list", 200), ("list", 403), ("read", 403), ("create", 403), ("delete", 200)]
)
def test_an_answer_without_an_end_is_not_kept(
    answering: Canned, opened: Open, monkeypatch: pytest.MonkeyPatch, operation: str, status: int
) -> None:
    """It is asked for once only."""
    monkeypatch.setattr(lines, "_LARGEST_ANSWER", 1 << 20)
    endpoint = answering(status, b"<a>" * (1 << 20), {"Content-Length": str(1 << 40)})
    message = f"{endpoint.url} answers, but not as S3 does: without an end; correct "
    with pytest.raises(ConfigError, match=re.escape(message)):
        OPERATIONS[operation](opened(endpoint, attempts=8, read_timeout=0.2))


def test_an_object_is_as_large_as_it_is(answering: Canned, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_LARGEST_ANSWER", 1 << 20)
    large = b"x" * (2 << 20)
    endpoint = answering(200, large, {"ETag": '"e"', "Last-Modified": formatdate(usegmt=True)})
    assert read(opened(endpoint), "key") == large


@pytest.fixture
def trickling() -> Iterator[Callable[[bytes], Endpoint]]:
    """Starts endpoints that send this much of every answer at once, and then an octet now and then."""
    over = threading.Event()
    with ExitStack() as stack:

        def start(at_once: bytes) -> Endpoint:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=_trickle, args=(listener, at_once, over), daemon=True).start()
            return Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", "AKIAEXAMPLEEXAMPLE00", "secret")

        yield start
        over.set()


def _trickle(listener: socket.socket, at_once: bytes, over: threading.Event) -> None:
    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(at_once)
                while not over.wait(0.01):
                    connection.sendall(b"x")
            except OSError:
                pass  # the client hung up

    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


@pytest.mark.parametrize(
    ("operation", "at_once"),
    [
        pytest.param("list", b"HTTP/1.1 200 OK\r\nX-Long: ", id="a head"),
        pytest.param("list", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", id="a list"),
        pytest.param("read", b'HTTP/1.1 206 OK\r\nETag: "e"\r\nContent-Length: 1000000\r\n\r\n', id="an object"),
    ],
)
def test_an_octet_now_and_then_is_no_answer(
    trickling: Callable[[bytes], Endpoint], opened: Open, operation: str, at_once: bytes
) -> None:
    endpoint = trickling(at_once)
    with pytest.raises(ArchiveUnreachable, match=f"{endpoint.url} stopped answering, or answers too slowly"):
        OPERATIONS[operation](opened(endpoint, read_timeout=0.05))
