"""What can be wrong with a bucket, its endpoint and its credentials, by the command line: one line that says
where, what and what next, the right exit code, no traceback and no secret; nothing half-done, neither here nor
there; and a run that comes to its end once it is put right.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import CATALOG, archive_of, mail, run
from tests.buckets import assert_bucket_whole, bucket_account, objects_of, s3_of
from tests.faults.attempts import to_the_end
from tests.servers import small_disk
from tests.servers.canned import canned
from tests.servers.mail_server import free_port
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import CLOCK_OFF, EXPIRED_TOKEN, Answer, Request
from tests.servers.s3_proxy import S3Proxy
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

Aws = Callable[[Endpoint], None]


@pytest.fixture
def source() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.folders = {b"INBOX": ScriptedFolder(7, {n: ScriptedMessage(mail(n)) for n in range(1, 11)})}
        yield server


@pytest.fixture
def s3(radosgw: RadosGateway, aws: Aws) -> Endpoint:
    aws(radosgw.http)
    return radosgw.http


def account(directory: Path, source: ScriptedServer, endpoint: Endpoint, bucket: str, /, **keys: Any) -> Path:
    s3 = {"attempts": 1, "connect_timeout": 3.0, "read_timeout": 3.0, **keys}
    return bucket_account(directory, source, "u1", endpoint, bucket, s3=s3)


def fails(config: Path, exit_code: int, *words: str, verb: str = "run") -> str:
    """Run it; it must fail with that code and these words, and nothing may be half done."""
    ended = to_the_end(config, verb=verb)
    assert ended.exit_code == exit_code, ended.output
    lines = [line for line in ended.stderr.splitlines() if all(word in line for word in words)]
    assert len(lines) == 1, ended.stderr
    assert "; " in lines[0], lines[0]  # what next
    for never in ("Traceback", "secret of", "Signature=", base64.b64encode(b"k" * 32).decode(), "boto"):
        assert never not in ended.output
    return lines[0]


def nothing_was_begun(config: Path, source: ScriptedServer) -> None:
    """No message was fetched and nothing is recorded."""
    assert not any(b"BODY.PEEK[]" in command for command in source.commands)
    assert rows(config, "SELECT * FROM message") == rows(config, "SELECT * FROM folder") == []


def rows(config: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{archive_of(config) / CATALOG}?mode=ro", uri=True)) as catalog:
        return catalog.execute(query).fetchall()


def completes(config: Path, s3: Endpoint, fetched: int = 10) -> None:
    """A run comes to its end and holds everything."""
    assert run(config).total("fetched", "stored") == (fetched, 10)
    assert len(assert_bucket_whole(config, s3).uids()) == 10


class TestTheBucket:
    def test_is_not_there(self, source: ScriptedServer, s3: Endpoint, tmp_path: Path) -> None:
        config = account(tmp_path, source, s3, "not-there")
        fails(
            config, 8, 'there is no bucket "not-there" (', "; create it, or set [archive.s3] create_bucket = true"
        )
        nothing_was_begun(config, source)
        config = account(tmp_path, source, s3, f"n{tmp_path.stat().st_ino}-{id(self)}", create_bucket=True)
        completes(config, s3)

    def test_is_gone_since(self, source: ScriptedServer, s3: Endpoint, tmp_path: Path) -> None:
        bucket = s3.fresh_bucket()
        config = account(tmp_path, source, s3, bucket)
        completes(config, s3)
        before, held = rows(config, "SELECT * FROM message"), s3.contents(bucket)
        s3.delete(bucket, *held)
        s3.client.delete_bucket(Bucket=bucket)
        for verb in ("run", "verify"):
            fails(config, 8, f'there is no bucket "{bucket}" (NoSuchBucket, HTTP 404', verb=verb)
        s3.client.create_bucket(Bucket=bucket)
        fails(config, 8, f"s3://{bucket}/u1: no archive here; ", "is the bucket named, with the right prefix?")
        assert rows(config, "SELECT * FROM message") == before
        assert not any("/messages/" in key or "/journal/" in key for key in s3.keys(bucket))
        for key, octets in held.items():
            s3.put(bucket, key, octets)
        completes(config, s3, fetched=0)

    def test_has_not_the_lock_that_was_asked_for(
        self, source: ScriptedServer, s3: Endpoint, tmp_path: Path
    ) -> None:
        lock, bucket = {"mode": "GOVERNANCE", "days": 1}, s3.fresh_bucket()
        config = account(tmp_path, source, s3, bucket, object_lock=lock)
        fails(config, 2, "object_lock: the bucket has no Object Lock; it is enabled when a bucket is created")
        nothing_was_begun(config, source)
        assert s3.keys(bucket) == []
        completes(account(tmp_path, source, s3, s3.fresh_bucket(lock=True), object_lock=lock), s3)

    @pytest.mark.parametrize("asked", [{"sse": "AES256"}, {"storage_class": "GLACIER"}], ids=str)
    def test_does_not_do_what_was_asked_for(
        self, source: ScriptedServer, s3: Endpoint, tmp_path: Path, asked: dict[str, str]
    ) -> None:
        bucket = s3.fresh_bucket()
        config = account(tmp_path, source, s3, bucket, **asked)
        fails(config, 2, next(iter(asked)), "from [archive.s3]")
        nothing_was_begun(config, source)
        assert s3.keys(bucket) == []
        completes(account(tmp_path, source, s3, bucket), s3)

    @pytest.mark.parametrize(
        ("action", "what"), [("PutObject", "write"), ("GetObject", "read"), ("ListBucket", "read")]
    )
    def test_may_not_be_used(
        self, source: ScriptedServer, radosgw: RadosGateway, aws: Aws, tmp_path: Path, action: str, what: str
    ) -> None:
        """Without permission to list, S3 does not even say that an object is not there."""
        bucket = radosgw.http.fresh_bucket()
        aws(guest := radosgw.admit(bucket, f"s3:{action}"))
        config = account(tmp_path, source, guest, bucket)
        fails(config, 8, f"not allowed to {what} (AccessDenied, HTTP 403); give these credentials that permission")
        nothing_was_begun(config, source)
        assert radosgw.http.keys(bucket) == []
        radosgw.admit(bucket)
        completes(config, guest)

    def test_may_not_be_read_any_more(
        self, source: ScriptedServer, radosgw: RadosGateway, aws: Aws, tmp_path: Path
    ) -> None:
        """That is no damage."""
        bucket = radosgw.http.fresh_bucket()
        aws(guest := radosgw.admit(bucket))
        config = account(tmp_path, source, guest, bucket)
        completes(config, guest)
        radosgw.admit(bucket, "s3:GetObject")
        for verb in ("run", "verify", "rebuild"):
            fails(config, 8, "not allowed to read (AccessDenied, HTTP 403); ", verb=verb)
        radosgw.admit(bucket)
        completes(config, guest, fetched=0)

    def test_may_be_used_without_permission_to_delete(
        self, source: ScriptedServer, radosgw: RadosGateway, aws: Aws, tmp_path: Path
    ) -> None:
        bucket = radosgw.http.fresh_bucket()
        aws(guest := radosgw.admit(bucket, "s3:DeleteObject"))
        config = account(tmp_path, source, guest, bucket)
        completes(config, guest)
        completes(config, guest, fetched=0)
        assert to_the_end(config, verb="verify").exit_code == 0


class TestTheEndpoint:
    @pytest.mark.parametrize(
        ("where", "exit_code", "words"),
        [
            (
                "http://127.0.0.1:{free}",
                5,
                "cannot be reached; correct [archive.s3] endpoint_url, or run again later",
            ),
            ("https://127.0.0.1:{plain}", 5, "is it https at that port? correct [archive.s3] endpoint_url"),
            ("http://localhost:{tls}", 5, ""),
            ("http://no.such.host.invalid:{plain}", 5, "cannot be reached; correct [archive.s3] endpoint_url"),
        ],
    )
    def test_is_another_one(
        self, source: ScriptedServer, radosgw: RadosGateway, aws: Aws, tmp_path: Path, where: str, exit_code: int,
        words: str,
    ) -> None:  # fmt: skip
        aws(s3 := radosgw.http)
        ports = {
            "free": free_port(),
            "plain": s3.url.rpartition(":")[2],
            "tls": radosgw.https.url.rpartition(":")[2],
        }
        bucket = s3.fresh_bucket()
        config = account(tmp_path, source, s3, bucket, endpoint_url=where.format(**ports))
        fails(config, exit_code, f"s3://{bucket}/u1/", words)
        nothing_was_begun(config, source)
        completes(account(tmp_path, source, s3, bucket), s3)

    def test_is_a_web_server(self, source: ScriptedServer, s3: Endpoint, tmp_path: Path) -> None:
        with canned(200, b"<html>It works!</html>", {"Content-Type": "text/html"}) as web:
            config = account(tmp_path, source, web, "bucket")
            fails(config, 2, f"{web.url} answers, but not as S3 does; correct [archive.s3] endpoint_url")
        nothing_was_begun(config, source)

    def test_is_in_another_region(
        self, source: ScriptedServer, s3: Endpoint, s3_proxy: Callable[..., S3Proxy], tmp_path: Path
    ) -> None:
        proxy = s3_proxy(s3)
        proxy.on(None, Answer(400, "AuthorizationHeaderMalformed"), times=None)
        config = account(tmp_path, source, proxy.endpoint, s3.fresh_bucket())
        fails(config, 2, "the bucket is in another region", "; correct [archive.s3] region")
        nothing_was_begun(config, source)
        proxy.clear()
        completes(config, s3)


class TestCredentials:
    @pytest.mark.parametrize(
        ("names", "words"),
        [
            ({"AWS_SECRET_ACCESS_KEY": "secret of nobody"}, "the secret key is not that of the access key ("),
            ({"AWS_ACCESS_KEY_ID": "nobody"}, "the endpoint does not know that access key ("),
            ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no credentials; name credentials"),
            ({"AWS_SECRET_ACCESS_KEY": ""}, "only half of the credentials is set; name credentials"),
        ],
        ids=["a wrong secret", "an unknown user", "none", "half of them"],
    )
    def test_are_wrong(
        self, source: ScriptedServer, s3: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        names: dict[str, str], words: str,
    ) -> None:  # fmt: skip
        bucket = s3.fresh_bucket()
        config = account(tmp_path, source, s3, bucket)
        with monkeypatch.context() as patch:
            for name, value in names.items():
                patch.setenv(name, value) if value else patch.delenv(name)
            fails(config, 5, f"s3://{bucket}/u1/", words)
        nothing_was_begun(config, source)
        assert s3.keys(bucket) == []
        completes(config, s3)

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (EXPIRED_TOKEN, "); renew them, and run again"),
            (CLOCK_OFF, "); set this machine's clock, and run again"),
        ],
        ids=["expired", "the clock is off"],
    )
    @pytest.mark.parametrize("kind", ["anything", "message", "segment"])
    def test_are_refused_from_one_moment_on(
        self, source: ScriptedServer, s3: Endpoint, s3_proxy: Callable[..., S3Proxy], tmp_path: Path,
        answer: Answer, words: str, kind: str,
    ) -> None:  # fmt: skip
        """What is recorded by then is in the bucket."""
        proxy, bucket = s3_proxy(s3), s3.fresh_bucket()
        config = account(tmp_path, source, proxy.endpoint, bucket)
        proxy.on(FROM[kind], answer, skip=3, times=None)
        fails(config, 5, f"s3://{bucket}/u1/", words)
        proxy.clear()
        recorded = {digest for (digest,) in rows(config, "SELECT digest FROM message")}
        assert recorded <= digests_in(config, s3)
        completes(config, s3, fetched=10 - len(recorded))


FROM: dict[str, Callable[[Request], bool]] = {
    "anything": lambda request: True,
    "message": lambda request: request.method == "PUT" and "/messages/" in request.key,
    "segment": lambda request: request.method == "PUT" and "/journal/" in request.key,
}


def digests_in(config: Path, s3: Endpoint) -> set[str]:
    return {key[-68:-4] for key in objects_of(config, s3) if key.startswith("messages/")}


class TestTheCustomersKey:
    """Of SSE-C: nothing is read without it."""

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            (b"l" * 32, "; [archive.s3] sse and customer_key must be those with which it was written"),
            (b"k" * 31, "customer_key: is not 32 bytes in base64; "),
            (None, "the.key cannot be read: No such file or directory"),
        ],
        ids=["another one", "too short", "missing"],
    )
    def test_is_wrong(
        self, source: ScriptedServer, s3: Endpoint, tmp_path: Path, key: bytes | None, words: str
    ) -> None:
        config, held = self.encrypted(source, s3, tmp_path)
        self.write(tmp_path, key)
        for verb in ("run", "verify"):
            fails(config, 2, words, verb=verb)
        self.write(tmp_path, b"k" * 32)
        assert run(config).total("fetched", "stored") == (0, 10)
        assert to_the_end(config, verb="verify", options=["--deep"]).exit_code == 0
        assert held <= set(s3.keys(s3_of(config).bucket))

    def test_is_taken_out_of_the_file(self, source: ScriptedServer, s3: Endpoint, tmp_path: Path) -> None:
        config, held = self.encrypted(source, s3, tmp_path)
        account(tmp_path, source, s3, s3_of(config).bucket)
        for verb in ("run", "verify"):
            fails(
                config, 2, "; [archive.s3] sse and customer_key must be those with which it was written", verb=verb
            )
        assert held == set(s3.keys(s3_of(config).bucket))

    def encrypted(self, source: ScriptedServer, s3: Endpoint, directory: Path) -> tuple[Path, set[str]]:
        self.write(directory, b"k" * 32)
        key = {"file": str(directory / "the.key")}
        config = account(directory, source, s3, s3.fresh_bucket(), sse="customer", customer_key=key)
        assert run(config).total("fetched", "stored") == (10, 10)
        return config, set(s3.keys(s3_of(config).bucket))

    @staticmethod
    def write(directory: Path, key: bytes | None) -> None:
        file = directory / "the.key"
        file.unlink(missing_ok=True)
        if key is not None:
            file.write_bytes(base64.b64encode(key))
            file.chmod(0o600)


class TestTheDiskHere:
    @pytest.mark.parametrize("layout", ["objects", "packs"])
    @pytest.mark.parametrize("size", ["220k", "1000k", "5m"])
    def test_is_full(self, source: ScriptedServer, s3: Endpoint, tmp_path: Path, layout: str, size: str) -> None:
        """For the catalog, and for the spool of a large message."""
        large = {n: ScriptedMessage(mail(n, body=f"{n:70}\r\n" * 90_000)) for n in (4, 8)}
        source.folders[b"INBOX"].messages |= large
        with small_disk.mounted(tmp_path / "disk", size) as disk:
            config = bucket_account(
                tmp_path, source, "u1", s3, s3={"layout": layout}, archive__path=str(disk / "archive")
            )
            fails(config, 8, f"{disk}/archive/", "; ")
            small_disk.make_larger(disk, "40m")
            assert run(config).total("stored") == (10,)
            assert len(assert_bucket_whole(config, s3).uids()) == 10
            assert list((disk / "archive" / "spool").iterdir()) == []
