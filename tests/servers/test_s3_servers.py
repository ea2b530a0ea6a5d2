"""The S3 servers of the tests do what the tests rely on; checked with plain boto3."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from tests.servers import radosgw as ceph
from tests.servers.mail_server import living, wait
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import CLOCK_OFF, SLOW_DOWN, Answer, During, Fault, Flip, Reset, Stall, parse
from tests.servers.s3_proxy import S3Proxy

BIG = bytes(range(256)) * 4096  # 1 MiB
Proxy = Callable[..., S3Proxy]


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def md5(octets: bytes) -> str:
    return base64.b64encode(hashlib.md5(octets).digest()).decode()


class TestEachServer:
    def test_objects_are_kept_flipped_and_deleted(self, s3: Endpoint) -> None:
        bucket = s3.fresh_bucket()
        s3.put(bucket, "a/one", b"octets\0\r\n")
        s3.put(bucket, "b/two", b"")
        s3.flip(bucket, "a/one", at=1)
        assert s3.contents(bucket) == {"a/one": b"obtets\0\r\n", "b/two": b""}
        s3.delete(bucket, "a/one")
        assert s3.keys(bucket) == ["b/two"]
        assert s3.keys(bucket, "a/") == []

    def test_what_is_there_is_not_created_again(self, s3: Endpoint) -> None:
        bucket = s3.fresh_bucket()
        s3.put(bucket, "key", b"first")
        with pytest.raises(ClientError) as refused:
            s3.client.put_object(Bucket=bucket, Key="key", Body=b"second", IfNoneMatch="*")
        assert code(refused) == "PreconditionFailed"

    def test_versions_stay_under_a_delete_marker(self, s3: Endpoint) -> None:
        bucket = s3.fresh_bucket(versioned=True)
        s3.put(bucket, "key", b"first")
        s3.put(bucket, "key", b"second")
        s3.delete(bucket, "key")
        assert s3.keys(bucket) == []
        second, first = s3.versions(bucket)
        assert (second[0], first[0]) == ("key", "key")
        old = s3.client.get_object(Bucket=bucket, Key="key", VersionId=first[1])["Body"].read()
        assert old == b"first"

    def test_a_locked_version_cannot_be_removed(self, s3: Endpoint) -> None:
        bucket = s3.fresh_bucket(lock=True)
        until = datetime.now(UTC) + timedelta(minutes=5)
        s3.client.put_object(Bucket=bucket, Key="key", Body=b"x", ObjectLockMode="GOVERNANCE",
                             ObjectLockRetainUntilDate=until, ContentMD5=md5(b"x"))  # fmt: skip
        assert s3.head(bucket, "key")["ObjectLockMode"] == "GOVERNANCE"
        [(_, version)] = s3.versions(bucket)
        with pytest.raises(ClientError) as refused:
            s3.client.delete_object(Bucket=bucket, Key="key", VersionId=version)
        assert code(refused) == "AccessDenied"

    def test_unfinished_uploads_are_reported(self, s3: Endpoint) -> None:
        bucket = s3.fresh_bucket()
        s3.client.create_multipart_upload(Bucket=bucket, Key="big")
        assert s3.uploads(bucket) == ["big"]
        assert s3.keys(bucket) == []


class TestCredentials:
    def test_no_client_finds_any(self, radosgw: RadosGateway) -> None:
        client = boto3.session.Session().client("s3", endpoint_url=radosgw.http.url, region_name="us-east-1")
        with pytest.raises(NoCredentialsError):
            client.list_buckets()

    def test_by_environment_and_by_profile(
        self, radosgw: RadosGateway, aws: Callable[[Endpoint], None], aws_profile: Callable[..., Path]
    ) -> None:
        aws_profile(stranger=radosgw.stranger)
        given = {}
        for name in ("stranger", None):
            aws(radosgw.http)
            credentials = boto3.session.Session(profile_name=name).get_credentials()
            given[name] = (credentials.access_key, credentials.secret_key)
        assert given == {
            "stranger": (radosgw.stranger.access_key, radosgw.stranger.secret_key),
            None: (radosgw.http.access_key, radosgw.http.secret_key),
        }


class TestRadosGateway:
    def test_a_wrong_secret_is_refused(self, radosgw: RadosGateway) -> None:
        wrong = Endpoint(radosgw.http.url, radosgw.http.access_key, "wrong")
        with pytest.raises(ClientError) as refused:
            wrong.client.list_buckets()
        assert code(refused) == "SignatureDoesNotMatch"

    def test_its_certificate_is_not_trusted_by_chance(self, radosgw: RadosGateway) -> None:
        distrustful = Endpoint(radosgw.https.url, radosgw.https.access_key, radosgw.https.secret_key)
        with pytest.raises(SSLError):
            distrustful.client.list_buckets()

    def test_a_stranger_may_do_nothing(self, radosgw: RadosGateway) -> None:
        bucket = radosgw.http.fresh_bucket()
        radosgw.http.put(bucket, "key", b"x")
        for call in (lambda: radosgw.stranger.get(bucket, "key"), lambda: radosgw.stranger.keys(bucket),
                     lambda: radosgw.stranger.put(bucket, "key", b"y")):  # fmt: skip
            with pytest.raises(ClientError) as refused:
                call()
            assert code(refused) == "AccessDenied"

    @pytest.mark.parametrize("denied", ["s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject"])
    def test_a_guest_may_do_all_but_what_is_denied(self, radosgw: RadosGateway, denied: str) -> None:
        bucket = radosgw.http.fresh_bucket()
        radosgw.http.put(bucket, "key", b"x")
        guest = radosgw.admit(bucket, denied)
        calls: dict[str, Callable[[], object]] = {
            "s3:PutObject": lambda: guest.put(bucket, "key", b"y"),
            "s3:GetObject": lambda: guest.get(bucket, "key"),
            "s3:ListBucket": lambda: guest.keys(bucket),
            "s3:DeleteObject": lambda: guest.delete(bucket, "key"),
        }
        refused = []
        for action, call in calls.items():
            try:
                call()
            except ClientError as error:
                refused.append((action, error.response["Error"]["Code"]))
        assert refused == [(denied, "AccessDenied")]

    def test_a_guest_may_be_denied_some_keys_alone(self, radosgw: RadosGateway) -> None:
        bucket = radosgw.http.fresh_bucket()
        guest = radosgw.admit(bucket, "s3:PutObject", under="journal/")
        guest.put(bucket, "message/1", b"x")
        with pytest.raises(ClientError):
            guest.put(bucket, "journal/1", b"x")

    def test_all_of_it_ends_when_its_last_user_was_killed(self, radosgw: RadosGateway, tmp_path: Path) -> None:
        use = (
            "import sys; from pathlib import Path; from tests.servers import radosgw\n"
            "with radosgw.shared(Path(sys.argv[1])) as gateway: print(gateway.http.url, flush=True); input()"
        )
        users = [
            subprocess.Popen(
                [sys.executable, "-c", use, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        urls = {user.stdout.readline().decode().strip() for user in users if user.stdout}
        assert len(urls) == 1
        keeper = json.loads((tmp_path / "radosgw.json").read_text())["keeper"]
        assert len(living(keeper)) == 4  # the keeper and the three of Ceph
        alone = Endpoint(urls.pop(), "owner", ceph.secret("owner"))
        for user in users:
            os.kill(user.pid, signal.SIGKILL)
            user.communicate()
            if user is users[0]:
                assert alone.client.list_buckets()["Buckets"] == []
        wait(lambda: not living(keeper), "the end of all processes")
        with pytest.raises(EndpointConnectionError):
            alone.client.list_buckets()
        with ceph.shared(tmp_path) as another:
            assert another.http.client.list_buckets()["Buckets"] == []


@pytest.fixture(params=["radosgw", "moto"])
def behind(request: pytest.FixtureRequest) -> Endpoint:
    """What the proxies stand before, in turn."""
    found = request.getfixturevalue(request.param)
    endpoint: Endpoint = found if request.param == "moto" else found.http
    return endpoint


def attempts(endpoint: Endpoint, **options: object) -> Any:
    """A client that tries again, and does not wait for long."""
    return boto3.session.Session().client(
        "s3", endpoint_url=endpoint.url, region_name=endpoint.region, aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key, config=Config(s3={"addressing_style": "path"}, **options),
    )  # fmt: skip


class TestS3Proxy:
    def test_all_passes_and_is_counted(self, behind: Endpoint, s3_proxy: Proxy) -> None:
        proxy = s3_proxy(behind)
        through = proxy.endpoint
        bucket = through.fresh_bucket()
        through.put(bucket, "a/ä b+c%", BIG)
        through.put(bucket, "empty", b"")
        assert through.contents(bucket) == {"a/ä b+c%": BIG, "empty": b""}
        assert behind.contents(bucket) == through.contents(bucket)
        through.head(bucket, "empty")
        through.client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "empty"}]})
        assert proxy.counts == {
            "CreateBucket": 1, "PutObject": 2, "ListObjectsV2": 2, "GetObject": 4, "HeadObject": 1,
            "DeleteObjects": 1,
        }  # fmt: skip
        assert [each.key for each in proxy.requests if each.kind == "PutObject"] == ["a/ä b+c%", "empty"]
        assert proxy.octets["up"] > len(BIG)
        assert proxy.octets["down"] > 2 * len(BIG)

    def test_multipart_uploads_pass(self, behind: Endpoint, s3_proxy: Proxy, tmp_path: Path) -> None:
        proxy = s3_proxy(behind)
        bucket = proxy.endpoint.fresh_bucket()
        (tmp_path / "big").write_bytes(BIG * 17)
        proxy.endpoint.client.upload_file(str(tmp_path / "big"), bucket, "big")
        assert behind.get(bucket, "big") == BIG * 17
        assert proxy.counts["UploadPart"] == 3
        assert proxy.counts["CreateMultipartUpload"] == proxy.counts["CompleteMultipartUpload"] == 1

    def test_connections_are_kept(self, radosgw: RadosGateway, s3_proxy: Proxy) -> None:
        proxy = s3_proxy(radosgw.http)
        bucket = proxy.endpoint.fresh_bucket()
        for number in range(20):
            proxy.endpoint.put(bucket, str(number), b"x")
        assert proxy.connections == 1

    @pytest.mark.parametrize(
        ("fault", "reported"),
        [
            (SLOW_DOWN, (503, "SlowDown", None)),
            (Answer(503, "SlowDown", retry_after=7), (503, "SlowDown", "7")),
            (CLOCK_OFF, (403, "RequestTimeTooSkewed", None)),
        ],
    )
    def test_it_answers_itself(
        self, radosgw: RadosGateway, s3_proxy: Proxy, fault: Answer, reported: tuple[int, str, str | None]
    ) -> None:
        proxy = s3_proxy(radosgw.http)
        bucket = proxy.endpoint.fresh_bucket()
        proxy.on("PutObject", fault, skip=1)
        proxy.endpoint.put(bucket, "first", b"x")
        with pytest.raises(ClientError) as refused:
            proxy.endpoint.put(bucket, "second", b"x")
        said = refused.value.response["ResponseMetadata"]
        assert (said["HTTPStatusCode"], code(refused), said["HTTPHeaders"].get("retry-after")) == reported
        proxy.endpoint.put(bucket, "third", b"x")
        assert radosgw.http.keys(bucket) == ["first", "third"]

    @pytest.mark.parametrize(
        ("fault", "written"),
        [(Reset("request"), []), (Reset("upload"), []), (Reset("upload", 500_000), []), (Reset("answer"), ["key"])],
    )
    def test_a_put_is_reset_and_was_done_or_not(
        self, behind: Endpoint, s3_proxy: Proxy, fault: Fault, written: list[str]
    ) -> None:
        proxy = s3_proxy(behind)
        bucket = behind.fresh_bucket()
        proxy.on("PutObject", fault)
        with pytest.raises(ConnectionClosedError):
            proxy.endpoint.put(bucket, "key", BIG)
        assert (behind.keys(bucket), proxy.faults) == (written, 1)

    def test_after_a_lost_answer_the_next_attempt_finds_it_there(
        self, radosgw: RadosGateway, s3_proxy: Proxy
    ) -> None:
        proxy = s3_proxy(radosgw.http)
        bucket = radosgw.http.fresh_bucket()
        proxy.on("PutObject", Reset("answer"))
        client = attempts(proxy.endpoint, retries={"total_max_attempts": 2})
        with pytest.raises(ClientError) as refused:
            client.put_object(Bucket=bucket, Key="key", Body=b"x", IfNoneMatch="*")
        assert (code(refused), proxy.counts["PutObject"]) == ("PreconditionFailed", 2)

    def test_a_download_is_reset(self, behind: Endpoint, s3_proxy: Proxy) -> None:
        proxy = s3_proxy(behind)
        bucket = behind.fresh_bucket()
        behind.put(bucket, "key", BIG)
        proxy.on(lambda request: request.key == "key", Reset("download", 500_000))
        body = proxy.endpoint.client.get_object(Bucket=bucket, Key="key")["Body"]
        with pytest.raises((BotoCoreError, OSError)):
            body.read()
        body.close()

    @pytest.mark.parametrize("fault", [Stall("request"), Stall("upload", 500_000), Stall("answer")])
    def test_it_stalls(self, radosgw: RadosGateway, s3_proxy: Proxy, fault: Fault) -> None:
        proxy = s3_proxy(radosgw.http)
        bucket = radosgw.http.fresh_bucket()
        proxy.on("PutObject", fault)
        with pytest.raises(ReadTimeoutError):
            attempts(proxy.endpoint, read_timeout=0.3, retries={"total_max_attempts": 1}).put_object(
                Bucket=bucket, Key="key", Body=BIG
            )
        assert radosgw.http.keys(bucket) == (["key"] if fault == Stall("answer") else [])

    def test_an_octet_is_altered(self, radosgw: RadosGateway, s3_proxy: Proxy) -> None:
        proxy = s3_proxy(radosgw.http)
        bucket = radosgw.http.fresh_bucket()
        proxy.on("PutObject", Flip("upload", 70_000))
        with pytest.raises(ClientError) as refused:
            proxy.endpoint.put(bucket, "key", BIG)
        assert code(refused) == "XAmzContentSHA256Mismatch"
        radosgw.http.put(bucket, "key", BIG)
        proxy.on("GetObject", Flip("download", 70_000))
        altered = proxy.endpoint.get(bucket, "key")
        assert [at for at, octet in enumerate(altered) if octet != BIG[at]] == [70_000]

    def test_something_happens_between_two_requests(self, radosgw: RadosGateway, s3_proxy: Proxy) -> None:
        proxy = s3_proxy(radosgw.http)
        bucket = radosgw.http.fresh_bucket()
        proxy.on("PutObject", During(lambda: radosgw.http.put(bucket, "key", b"another's")))
        with pytest.raises(ClientError) as refused:
            proxy.endpoint.client.put_object(Bucket=bucket, Key="key", Body=b"x", IfNoneMatch="*")
        assert code(refused) == "PreconditionFailed"

    def test_chance_is_the_same_each_time(self, moto: Endpoint, s3_proxy: Proxy) -> None:
        def failed() -> list[int]:
            proxy = s3_proxy(moto)
            proxy.at_random(7, 0.5, SLOW_DOWN, Reset("request"))
            numbers = []
            for number in range(20):
                try:
                    proxy.endpoint.client.list_buckets()
                except (ClientError, BotoCoreError):
                    numbers.append(number)
            return numbers

        first = failed()
        assert 0 < len(first) < 20
        assert failed() == first

    def test_latency_is_paid_by_each_request(self, radosgw: RadosGateway, s3_proxy: Proxy) -> None:
        proxy = s3_proxy(radosgw.http)
        bucket = proxy.endpoint.fresh_bucket()
        proxy.latency = 0.1
        began = time.monotonic()
        proxy.endpoint.keys(bucket)
        proxy.endpoint.keys(bucket)
        assert 0.2 <= time.monotonic() - began < 1

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            ("GET / HTTP/1.1", "ListBuckets"),
            ("GET /bucket?list-type=2&prefix=a%2Fb HTTP/1.1", "ListObjectsV2"),
            ("POST /bucket?delete HTTP/1.1", "DeleteObjects"),
            ("PUT /bucket/a/b?partNumber=1&uploadId=x HTTP/1.1", "UploadPart"),
            ("DELETE /bucket/a/b?uploadId=x HTTP/1.1", "AbortMultipartUpload"),
            ("PATCH /bucket/a HTTP/1.1", "PATCH object"),
        ],
    )
    def test_kinds_of_requests(self, line: str, kind: str) -> None:
        assert parse(1, line, {}).kind == kind
