"""The S3 servers of the tests do what the tests rely on; checked with plain boto3."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, SSLError

from tests.servers import radosgw as ceph
from tests.servers.mail_server import living, wait
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint


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

    def test_unfinished_uploads_are_told(self, s3: Endpoint) -> None:
        bucket = s3.fresh_bucket()
        s3.client.create_multipart_upload(Bucket=bucket, Key="big")
        assert s3.uploads(bucket) == ["big"]
        assert s3.keys(bucket) == []


class TestCredentials:
    def test_nobody_finds_any(self, radosgw: RadosGateway) -> None:
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
