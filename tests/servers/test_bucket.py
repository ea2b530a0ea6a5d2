"""Buckets on real endpoints: the contract, what goes over the wire, and how objects are kept."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.config.tables.s3 import ObjectLock, S3Settings
from archiver.errors import ArchiverError, ConfigError, IntegrityError
from archiver.mail.model import Digest
from archiver.storage.bucket.object_settings import LockOfBucket, ObjectAttributes
from archiver.storage.s3.bucket import BotoBucket
from tests.contracts.bucket import HELLO, BucketContract, OpenBucket, create, digest_of, keys, read
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import Answer, During
from tests.servers.s3_proxy import S3Proxy

Aws = Callable[[Endpoint], None]
Proxy = Callable[..., S3Proxy]
OpenBoto = Callable[..., BotoBucket]

KEY = bytes(range(32))
LOCK = ObjectLock(mode="GOVERNANCE", days=30)


def settings_of(endpoint: Endpoint, bucket: str, **others: Any) -> S3Settings:
    """The settings of an archive there."""
    return S3Settings(bucket=bucket, endpoint_url=endpoint.url, ca_file=endpoint.ca_file, **others)


@pytest.fixture
def boto(aws: Aws) -> Iterator[OpenBoto]:
    """Opens a BotoBucket: `boto(radosgw.http, bucket, account="alice", key=..., **settings)`."""
    with ExitStack() as stack:

        def opened(endpoint: Endpoint, bucket: str, account: str = "alice",
                   key: Callable[[], bytes] | None = None, **settings: Any) -> BotoBucket:  # fmt: skip
            aws(endpoint)
            opening = BotoBucket(settings_of(endpoint, bucket, **settings), account, key)
            stack.callback(opening.close)
            return opening

        yield opened


class TestBotoBucket(BucketContract):
    @pytest.fixture
    def open_bucket(self, s3: Endpoint, boto: OpenBoto) -> OpenBucket:
        name = s3.fresh_bucket()
        return lambda account="alice": boto(s3, name, account, prefix="mail/archive")


class TestBotoBucketInAnOddPlace(BucketContract):
    """The same in a bucket with versions, without a prefix, encrypted with a key of the customer's."""

    more_than_a_page = 103  # the versions of each are asked for when it is made and when it is deleted

    @pytest.fixture
    def open_bucket(self, radosgw: RadosGateway, boto: OpenBoto) -> OpenBucket:
        name = radosgw.https.fresh_bucket(versioned=True)
        secret = {"sse": "customer", "customer_key": {"env": "KEY"}}
        return lambda account="alice": boto(radosgw.https, name, account, lambda: KEY, **secret)


class TestPlaces:
    def test_nothing_is_outside_of_the_accounts_place(self, s3: Endpoint, boto: OpenBoto) -> None:
        name = s3.fresh_bucket()
        s3.put(name, "mail/alicex/other", b"")
        s3.put(name, "alice/other", b"")
        bucket = boto(s3, name, prefix="mail")
        create(bucket, "key")
        assert keys(bucket) == ["key"]
        assert bucket.place("key") == f"s3://{name}/mail/alice/key"
        assert sorted(s3.keys(name)) == ["alice/other", "mail/alice/key", "mail/alicex/other"]
        assert keys(boto(s3, name)) == ["other"]

    def test_another_process_makes_its_own_client(self, radosgw: RadosGateway, boto: OpenBoto) -> None:
        bucket = boto(radosgw.https, radosgw.https.fresh_bucket())
        create(bucket, "parent")
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if all(create(bucket, f"child/{number}") for number in range(50)) else 1)
            finally:
                os._exit(2)
        made = [create(bucket, f"parent/{number}") for number in range(50)]
        assert os.waitpid(child, 0)[1] == 0
        assert all(made)
        assert len(keys(bucket)) == 101


class TestOnTheWire:
    def test_one_request_for_each_object(
        self, radosgw: RadosGateway, boto: OpenBoto, s3_proxy: Proxy, tmp_path: Path
    ) -> None:
        name, proxy = radosgw.http.fresh_bucket(), s3_proxy(radosgw.http)
        bucket = boto(proxy.endpoint, name)
        (tmp_path / "large").write_bytes(large := bytes(12_000_000))
        create(bucket, "small")
        bucket.create("large", tmp_path / "large", digest_of(large), "message")
        assert proxy.counts == {"PutObject": 2}
        for request, octets in zip(proxy.requests, (HELLO, large), strict=True):
            reported = request.headers
            assert "expect" not in reported
            assert "transfer-encoding" not in reported
            assert (reported["if-none-match"], reported["content-length"]) == ("*", str(len(octets)))
            assert reported["x-amz-content-sha256"] == digest_of(octets)
            assert reported["x-amz-checksum-sha256"]
        bucket.replace("small", b"", digest_of(b""), "control")
        assert "if-none-match" not in proxy.requests[-1].headers

    def test_connections_are_kept(self, radosgw: RadosGateway, boto: OpenBoto, s3_proxy: Proxy) -> None:
        name, proxy = radosgw.http.fresh_bucket(), s3_proxy(radosgw.http)
        bucket = boto(proxy.endpoint, name)
        for number in range(20):
            create(bucket, f"{number}")
            assert read(bucket, f"{number}") == HELLO
        assert proxy.connections == 1

    def test_a_large_file_takes_no_memory(self, radosgw: RadosGateway, boto: OpenBoto, tmp_path: Path) -> None:
        bucket, size = boto(radosgw.https, radosgw.https.fresh_bucket()), 200_000_000
        with open(tmp_path / "large", "wb") as file:
            file.truncate(size)
        digest = hashlib.sha256()
        for _ in range(size // 1_000_000):
            digest.update(bytes(1_000_000))
        create(bucket, "warm")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert bucket.create("large", tmp_path / "large", Digest(digest.hexdigest()), "message") is True
        back = hashlib.sha256()
        with bucket.read("large") as stream:
            while piece := stream.read(1 << 20):
                back.update(piece)
        assert back.hexdigest() == digest.hexdigest()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
        assert radosgw.https.uploads(bucket.place().split("/")[2]) == []


class TestNets:
    """What stands between the octets and the object, and how it gives way."""

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_radosgw_compares_what_arrives_with_our_digest(
        self, scheme: str, radosgw: RadosGateway, boto: OpenBoto
    ) -> None:
        endpoint: Endpoint = getattr(radosgw, scheme)
        bucket = boto(endpoint, endpoint.fresh_bucket())
        assert create(bucket, "key") is True
        with pytest.raises(IntegrityError):
            bucket.create("other", HELLO, digest_of(b"other bytes"), "message")
        assert keys(bucket) == ["key"]
        assert (bucket.integrity, bucket.conditional) == ("sha256", True)

    @pytest.fixture
    def proxied(self, radosgw: RadosGateway, s3_proxy: Proxy) -> tuple[S3Proxy, str]:
        return s3_proxy(radosgw.http), radosgw.http.fresh_bucket()

    @pytest.mark.parametrize(
        ("status", "code"),
        [(411, "MissingContentLength"), (400, "InvalidArgument"), (403, "AccessDenied"),
         (400, "XAmzContentSHA256Mismatch"), (501, "NotImplemented"), (403, "SignatureDoesNotMatch")],
    )  # fmt: skip
    def test_a_checksum_that_is_not_known_gives_way(
        self, proxied: tuple[S3Proxy, str], boto: OpenBoto, status: int, code: str
    ) -> None:
        proxy, name = proxied
        proxy.on(lambda request: "x-amz-checksum-sha256" in request.headers, Answer(status, code), times=None)
        bucket = boto(proxy.endpoint, name, attempts=2)
        assert create(bucket, "first") is True
        assert (bucket.integrity, bucket.conditional) == ("md5", True)
        proxy.clear()
        assert create(bucket, "second") is True
        assert create(bucket, "first") is False
        assert proxy.counts == {"PutObject": 2}
        assert proxy.requests[0].headers["content-md5"]
        assert keys(bucket) == ["first", "second"]

    def test_md5_gives_way_to_the_signature_alone(self, proxied: tuple[S3Proxy, str], boto: OpenBoto) -> None:
        proxy, name = proxied
        strict = ("x-amz-checksum-sha256", "content-md5")
        proxy.on(lambda request: any(one in request.headers for one in strict), Answer(400, "InvalidDigest"),
                 times=None)  # fmt: skip
        bucket = boto(proxy.endpoint, name)
        assert create(bucket, "key") is True
        assert (bucket.integrity, bucket.conditional) == ("none", True)
        assert proxy.requests[-1].headers["x-amz-content-sha256"] == digest_of(HELLO)

    def test_a_condition_that_is_not_known_gives_way_to_a_look(
        self, proxied: tuple[S3Proxy, str], boto: OpenBoto
    ) -> None:
        proxy, name = proxied
        proxy.on(lambda request: "if-none-match" in request.headers, Answer(501, "NotImplemented"), times=None)
        bucket = boto(proxy.endpoint, name)
        bucket.replace("control", HELLO, digest_of(HELLO), "control")
        assert create(bucket, "key", b"first") is True
        assert (bucket.integrity, bucket.conditional) == ("sha256", False)
        proxy.clear()
        proxy.on(lambda request: "if-none-match" in request.headers, Answer(501, "NotImplemented"), times=None)
        assert create(bucket, "key", b"second") is False
        assert read(bucket, "key") == b"first"
        assert proxy.counts == {"HeadObject": 1, "GetObject": 1}

    def test_what_the_endpoint_has_taken_once_never_gives_way(
        self, proxied: tuple[S3Proxy, str], boto: OpenBoto
    ) -> None:
        proxy, name = proxied
        bucket = boto(proxy.endpoint, name)
        create(bucket, "first")
        for status, code in ((403, "AccessDenied"), (501, "NotImplemented"), (400, "InvalidArgument")):
            proxy.on("PutObject", Answer(status, code))
            with pytest.raises(ArchiverError, match=code):
                create(bucket, "second")
        assert (bucket.integrity, bucket.conditional) == ("sha256", True)
        assert create(bucket, "second") is True

    def test_the_first_reason_is_reported_where_nothing_helps(
        self, proxied: tuple[S3Proxy, str], boto: OpenBoto
    ) -> None:
        proxy, name = proxied
        proxy.on("PutObject", Answer(400, "InvalidTag"))
        proxy.on("PutObject", Answer(400, "InvalidDigest"), times=None)
        bucket = boto(proxy.endpoint, name)
        with pytest.raises(ConfigError, match="InvalidTag"):
            create(bucket, "key")
        assert bucket.integrity == "sha256"

    @pytest.mark.parametrize(("asked", "held"), [("when_supported", "sha256"), ("when_required", "md5")])
    def test_checksums_may_be_chosen(
        self, proxied: tuple[S3Proxy, str], boto: OpenBoto, asked: str, held: str
    ) -> None:
        proxy, name = proxied
        bucket = boto(proxy.endpoint, name, checksums=asked)
        assert create(bucket, "key") is True
        assert bucket.integrity == held
        reported = proxy.requests[-1].headers
        assert ("x-amz-checksum-sha256" in reported, "content-md5" in reported) == (held == "sha256", held == "md5")

    def test_when_supported_does_not_give_way(self, proxied: tuple[S3Proxy, str], boto: OpenBoto) -> None:
        proxy, name = proxied
        proxy.on("PutObject", Answer(400, "InvalidArgument"), times=None)
        with pytest.raises(ConfigError, match="InvalidArgument"):
            create(boto(proxy.endpoint, name, checksums="when_supported"), "key")
        assert proxy.counts == {"PutObject": 1}


def locked(endpoint: Endpoint, boto: OpenBoto, **settings: Any) -> tuple[BotoBucket, str]:
    name = endpoint.fresh_bucket(lock=True)
    return boto(endpoint, name, object_lock=LOCK, **settings), name


class TestKeeping:
    @pytest.fixture(params=["radosgw", "moto"])
    def endpoint(self, request: pytest.FixtureRequest) -> Endpoint:
        server = request.getfixturevalue(request.param)
        return server if isinstance(server, Endpoint) else server.https

    def test_what_was_not_asked_for_is_not_reported(self, endpoint: Endpoint, boto: OpenBoto) -> None:
        bucket = boto(endpoint, endpoint.fresh_bucket())
        create(bucket, "key")
        kept = bucket.attributes("key")
        standard = ObjectAttributes(storage_class="STANDARD")
        assert kept in (ObjectAttributes(), ObjectAttributes(sse="AES256"), standard)
        assert bucket.lock_of_bucket() == LockOfBucket(False)

    def test_a_message_is_locked_until_then(self, endpoint: Endpoint, boto: OpenBoto) -> None:
        bucket, _ = locked(endpoint, boto)
        create(bucket, "key")
        kept, facts = bucket.attributes("key"), bucket.head("key")
        assert facts is not None
        assert (kept.lock_mode, kept.legal_hold) == ("GOVERNANCE", False)
        assert kept.retain_until is not None
        assert abs(kept.retain_until - facts.modified - 30 * 86400) < 60
        assert bucket.lock_of_bucket() == LockOfBucket(True)

    def test_what_an_object_is_for_decides(self, moto: Endpoint, boto: OpenBoto) -> None:
        bucket, _ = locked(moto, boto, storage_class="STANDARD_IA", sse="AES256")
        kept = []
        for purpose in ("message", "journal", "control"):
            bucket.create(purpose, HELLO, digest_of(HELLO), purpose)
            said = bucket.attributes(purpose)
            kept.append((said.storage_class or "STANDARD", said.sse, said.lock_mode))
        assert kept == [
            ("STANDARD_IA", "AES256", "GOVERNANCE"),
            ("STANDARD", "AES256", "GOVERNANCE"),
            ("STANDARD", "AES256", None),
        ]

    def test_messages_have_tags(self, radosgw: RadosGateway, boto: OpenBoto) -> None:
        bucket = boto(radosgw.https, radosgw.https.fresh_bucket(), tags={"kind": "mail & more", "b": "="})
        for purpose in ("message", "journal", "control"):
            bucket.create(purpose, HELLO, digest_of(HELLO), purpose)
        assert bucket.attributes("message").tags == {"kind": "mail & more", "b": "="}
        assert [bucket.attributes(key).tags for key in ("journal", "control")] == [{}, {}]

    def test_a_customers_key_is_needed_to_read(self, radosgw: RadosGateway, boto: OpenBoto) -> None:
        name = radosgw.https.fresh_bucket()
        secret = {"sse": "customer", "customer_key": {"env": "KEY"}}
        bucket = boto(radosgw.https, name, key=lambda: KEY, **secret)
        for purpose in ("message", "journal", "control"):
            bucket.create(purpose, HELLO, digest_of(HELLO), purpose)
            assert read(bucket, purpose) == HELLO
            assert bucket.attributes(purpose).customer_key
        wrong = boto(radosgw.https, name, key=lambda: KEY[::-1], **secret)
        for reader in (boto(radosgw.https, name), wrong):
            for asking in (read, lambda bucket, key: bucket.head(key)):
                with pytest.raises(ArchiverError):
                    asking(reader, "message")

    def test_a_customers_key_has_thirty_two_octets(self, moto: Endpoint, boto: OpenBoto) -> None:
        secret = {"sse": "customer", "customer_key": {"env": "KEY"}}
        bucket = boto(moto, moto.fresh_bucket(), key=lambda: b"topsecret", **secret)
        with pytest.raises(ConfigError, match="has 9 bytes") as failed:
            create(bucket, "key")
        assert "topsecret" not in str(failed.value)

    def test_what_is_not_there_is_kept_nowhere(self, endpoint: Endpoint, boto: OpenBoto) -> None:
        with pytest.raises(IntegrityError):
            boto(endpoint, endpoint.fresh_bucket()).attributes("key")

    @pytest.mark.parametrize("region", [None, "us-east-1", "eu-central-1"])
    def test_a_bucket_is_made_once(self, endpoint: Endpoint, boto: OpenBoto, region: str | None) -> None:
        name = "made-" + hashlib.sha256(os.urandom(8)).hexdigest()[:16]
        bucket = boto(endpoint, name, region=region, object_lock=LOCK)
        assert bucket.has_bucket() is False
        bucket.make_bucket()
        assert bucket.has_bucket() is True
        bucket.make_bucket()
        assert bucket.lock_of_bucket() == LockOfBucket(True)
        assert create(bucket, "key") is True

    def test_a_bucket_of_somebody_else_is_not_ours(self, radosgw: RadosGateway, boto: OpenBoto) -> None:
        name = radosgw.http.fresh_bucket()
        with pytest.raises(ArchiverError, match="belongs to another account"):
            boto(radosgw.stranger, name).make_bucket()


class TestVersions:
    """radosgw ignores the condition of a write in a bucket with versions, and so under every lock."""

    @pytest.mark.parametrize("server", ["radosgw", "moto"])
    def test_the_oldest_version_counts(self, server: str, request: pytest.FixtureRequest, boto: OpenBoto) -> None:
        found = request.getfixturevalue(server)
        endpoint: Endpoint = found if isinstance(found, Endpoint) else found.http
        bucket, name = locked(endpoint, boto)
        for number in range(5):
            with ThreadPoolExecutor(16) as threads:
                made = list(threads.map(lambda _, k=number: create(bucket, f"{k}"), range(16)))
            assert made.count(True) == 1
        assert bucket.conditional == (server == "moto")
        assert {key for key, _ in endpoint.versions(name)} == {f"alice/{number}" for number in range(5)}

    def test_what_a_marker_hides_may_be_created_again(self, radosgw: RadosGateway, boto: OpenBoto) -> None:
        name = radosgw.http.fresh_bucket(versioned=True)
        bucket = boto(radosgw.http, name)
        create(bucket, "key", b"first")
        radosgw.http.delete(name, "alice/key")
        assert bucket.head("key") is None
        assert create(bucket, "key", b"second") is True
        assert create(bucket, "key", b"third") is False
        assert read(bucket, "key") == b"second"

    def test_what_came_first_is_on_top_also_where_the_second_one_is_locked(
        self, radosgw: RadosGateway, boto: OpenBoto, s3_proxy: Proxy
    ) -> None:
        """A segment of a machine that was cut off arrives when another one has taken its number."""
        proxy = s3_proxy(radosgw.http)
        bucket, name = locked(radosgw.http, boto)
        other = boto(proxy.endpoint, name, object_lock=LOCK)

        def append(by: BotoBucket, octets: bytes) -> bool:
            return by.create("journal/1", octets, digest_of(octets), "journal")

        assert create(other, "warm") is True
        proxy.on("PutObject", During(lambda: append(bucket, b"first")))
        assert append(other, b"second") is False
        assert read(bucket, "journal/1") == b"first"
        assert append(bucket, b"third") is False

    def test_a_message_that_was_repaired_under_a_lock_stays_so(self, radosgw: RadosGateway, boto: OpenBoto) -> None:
        """The oldest version is the damaged one, and the first write of a run may be of this very message."""
        bucket, name = locked(radosgw.http, boto)
        radosgw.http.put(name, "alice/key", b"damaged")
        bucket.replace("key", HELLO, digest_of(HELLO), "message")
        assert create(boto(radosgw.http, name, object_lock=LOCK), "key") is False
        assert read(bucket, "key") == HELLO

    def test_the_trial_of_the_condition_is_made_as_objects_are_written(
        self, moto: Endpoint, boto: OpenBoto, s3_proxy: Proxy
    ) -> None:
        """Buckets may refuse what is not encrypted, and those with a default lock what has no checksum."""
        proxy = s3_proxy(moto)
        name = moto.fresh_bucket(versioned=True)
        assert create(boto(proxy.endpoint, name, sse="AES256"), "key") is True
        written = [each for each in proxy.requests if each.kind == "PutObject"]
        assert len(written) == 3
        for each in written:
            assert each.headers["x-amz-server-side-encryption"] == "AES256"
            assert "x-amz-checksum-sha256" in each.headers


class TestRemoving:
    @pytest.fixture(params=["radosgw", "moto"])
    def endpoint(self, request: pytest.FixtureRequest) -> Endpoint:
        server = request.getfixturevalue(request.param)
        return server if isinstance(server, Endpoint) else server.http

    def test_what_is_locked_is_kept_and_the_others_go(self, endpoint: Endpoint, boto: OpenBoto) -> None:
        bucket, name = locked(endpoint, boto)
        create(bucket, "locked/1")
        create(bucket, "locked/2")
        for key in ("free/1", "free/2"):
            bucket.create(key, HELLO, digest_of(HELLO), "control")
        kept = list(bucket.delete(["free/1", "locked/1", "not there", "locked/2", "free/2"]))
        assert [one.key for one in kept] == ["locked/1", "locked/2"]
        assert keys(bucket) == ["locked/1", "locked/2"]
        assert [read(bucket, key) for key in keys(bucket)] == [HELLO, HELLO]
        assert len(endpoint.versions(name)) == 2

    def test_a_legal_hold_is_named(self, endpoint: Endpoint, boto: OpenBoto) -> None:
        held = ObjectLock(mode="GOVERNANCE", days=1, legal_hold=True)
        bucket = boto(endpoint, endpoint.fresh_bucket(lock=True), object_lock=held)
        create(bucket, "key")
        assert bucket.attributes("key").legal_hold
        (kept,) = bucket.delete(["key"])
        assert kept.reason.endswith("under a legal hold")

    def test_a_lock_is_named_with_its_end(self, radosgw: RadosGateway, boto: OpenBoto) -> None:
        bucket, _ = locked(radosgw.http, boto)
        create(bucket, "key")
        (kept,) = bucket.delete(["key"])
        end = datetime.now(UTC) + timedelta(days=30)
        assert kept.reason.startswith(f"locked (GOVERNANCE) until {end:%Y-%m-%d} ")

    def test_all_versions_go_and_no_marker_stays(self, endpoint: Endpoint, boto: OpenBoto) -> None:
        name = endpoint.fresh_bucket(versioned=True)
        bucket = boto(endpoint, name)
        for octets in (b"one", b"two", b"three"):
            bucket.replace("key", octets, digest_of(octets), "control")
        create(bucket, "key2")
        endpoint.delete(name, "alice/key")
        assert list(bucket.delete(["key", "key2"])) == []
        assert endpoint.versions(name) == []
        assert "DeleteMarkers" not in endpoint.client.list_object_versions(Bucket=name)

    def test_an_older_version_that_is_locked_keeps_the_newer_one_gone(
        self, endpoint: Endpoint, boto: OpenBoto
    ) -> None:
        bucket, _ = locked(endpoint, boto)
        bucket.replace("key", b"old", digest_of(b"old"), "message")
        bucket.replace("key", b"new", digest_of(b"new"), "control")
        (kept,) = bucket.delete(["key"])
        assert kept.key == "key"
        assert read(bucket, "key") == b"old"

    def test_one_by_one_where_there_is_no_other_way(
        self, endpoint: Endpoint, boto: OpenBoto, s3_proxy: Proxy
    ) -> None:
        proxy = s3_proxy(endpoint)
        proxy.on("DeleteObjects", Answer(501, "NotImplemented"), times=None)
        bucket = boto(proxy.endpoint, endpoint.fresh_bucket())
        for number in range(5):
            create(bucket, f"{number}")
        assert list(bucket.delete(["0", "1", "not there", "3"])) == []
        assert keys(bucket) == ["2", "4"]

    def test_many_go_with_one_request(self, endpoint: Endpoint, boto: OpenBoto, s3_proxy: Proxy) -> None:
        proxy = s3_proxy(endpoint)
        bucket = boto(proxy.endpoint, endpoint.fresh_bucket())
        for number in range(20):
            create(bucket, f"{number}")
        proxy.clear()
        assert list(bucket.delete([f"{number}" for number in range(20)])) == []
        assert proxy.counts == {"GetBucketVersioning": 1, "DeleteObjects": 1}
        assert proxy.requests[-1].headers["content-md5"]

    def test_missing_permission_to_delete_is_reported_for_each(self, radosgw: RadosGateway, boto: OpenBoto) -> None:
        name = radosgw.http.fresh_bucket()
        for key in ("alice/1", "alice/2"):
            radosgw.http.put(name, key, b"")
        bucket = boto(radosgw.admit(name, "s3:DeleteObject"), name)
        kept = list(bucket.delete(["1", "2"]))
        assert [one.key for one in kept] == ["1", "2"]
        assert {one.reason for one in kept} == {"not allowed to delete it (AccessDenied, HTTP 403)"}
        assert keys(bucket) == ["1", "2"]
