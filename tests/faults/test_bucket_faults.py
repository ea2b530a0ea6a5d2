"""Every fault of a connection to a bucket, in every operation: it is as if nothing had been, or the right error."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from archiver.config.tables.s3 import S3Settings
from archiver.errors import ArchiverError, ArchiveThrottled, ArchiveUnreachable, IntegrityError
from archiver.storage.s3.bucket import BotoBucket
from tests.contracts.bucket import create, digest_of, keys, read
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import INTERNAL_ERROR, SLOW_DOWN, Answer, During, Fault, Flip, Reset, Stall
from tests.servers.s3_proxy import S3Proxy

OCTETS = bytes(range(256)) * 1200
HALF = len(OCTETS) // 2

FAULTS: dict[str, Fault] = {
    "500": INTERNAL_ERROR,
    "503 SlowDown": SLOW_DOWN,
    "503": Answer(503, "ServiceUnavailable"),
    "409 conflict": Answer(409, "ConditionalRequestConflict"),
    "409 aborted": Answer(409, "OperationAborted"),
    "reset before": Reset("request"),
    "reset while sending": Reset("upload", 10),
    "reset after it was done": Reset("answer"),
    "reset in the answer": Reset("download", 100),
    "stall before": Stall("request"),
    "stall while sending": Stall("upload", 10),
    "stall after it was done": Stall("answer"),
    "stall in the answer": Stall("download", 100),
    "a flipped bit": Flip("upload", 10),
}
LOST_ANSWERS = ("reset after it was done", "stall after it was done")


class Proxied:
    """An account's bucket behind a proxy, and the object "there" in it."""

    def __init__(self, proxy: S3Proxy, bucket: BotoBucket, plain: Endpoint, name: str) -> None:
        self.proxy, self.bucket, self._plain, self._name = proxy, bucket, plain, name

    def contents(self) -> dict[str, bytes]:
        return self._plain.contents(self._name)


@pytest.fixture
def proxied(
    radosgw: RadosGateway, s3_proxy: Callable[..., S3Proxy], aws: Callable[[Endpoint], None]
) -> Iterator[Callable[..., Proxied]]:
    with ExitStack() as stack:

        def begin(**settings: Any) -> Proxied:
            proxy, name = s3_proxy(radosgw.http), radosgw.http.fresh_bucket()
            aws(radosgw.http)
            common = {"bucket": name, "endpoint_url": proxy.endpoint.url, "read_timeout": 1.0, "attempts": 4}
            bucket = BotoBucket(S3Settings(**(common | settings)), "alice", None)
            stack.callback(bucket.close)
            assert create(bucket, "there", OCTETS) is True
            proxy.clear()
            return Proxied(proxy, bucket, radosgw.http, name)

        yield begin


def replaced(bucket: BotoBucket) -> None:
    bucket.replace("there", OCTETS[:HALF], digest_of(OCTETS[:HALF]), "control")


def looked(bucket: BotoBucket) -> int | None:
    facts = bucket.head("there")
    return None if facts is None else facts.size


OPERATIONS: dict[str, tuple[Callable[[BotoBucket], object], object, dict[str, bytes]]] = {
    "create": (lambda bucket: create(bucket, "new", OCTETS), True, {"there": OCTETS, "new": OCTETS}),
    "create what is there": (lambda bucket: create(bucket, "there", b"other"), False, {"there": OCTETS}),
    "replace": (replaced, None, {"there": OCTETS[:HALF]}),
    "head": (looked, len(OCTETS), {"there": OCTETS}),
    "head of nothing": (lambda bucket: bucket.head("nothing"), None, {"there": OCTETS}),
    "read": (lambda bucket: read(bucket, "there"), OCTETS, {"there": OCTETS}),
    "read a part": (lambda bucket: read(bucket, "there", 1000, HALF), OCTETS[1000:][:HALF], {"there": OCTETS}),
    "list": (keys, ["there"], {"there": OCTETS}),
    "delete": (lambda bucket: list(bucket.delete(["there", "nothing"])), [], {}),
}


STRUCK = {
    "500": ("create", "list", "delete"),
    "503 SlowDown": ("head", "read"),
    "503": ("create what is there", "read a part"),
    "409 conflict": ("create", "replace"),
    "409 aborted": ("create what is there", "delete"),
    "reset before": ("head of nothing", "list"),
    "reset while sending": ("create", "replace", "delete"),
    "reset after it was done": ("create", "create what is there", "replace", "delete", "read"),
    "reset in the answer": ("read", "read a part", "list"),
    "stall before": ("head", "read"),
    "stall while sending": ("create", "replace"),
    "stall after it was done": ("create", "create what is there", "delete", "head of nothing"),
    "stall in the answer": ("read", "read a part", "list"),
    "a flipped bit": ("create", "create what is there", "replace", "delete"),
}
"""The operations to which a fault makes the most difference. All of them ask in the same way."""


def pairs(struck: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(operation, fault) for fault, operations in struck.items() for operation in operations]


def test_every_fault_strikes_and_every_operation_is_struck_twice() -> None:
    assert (STRUCK.keys(), ALWAYS_STRUCK.keys()) == (FAULTS.keys(), ALWAYS.keys())
    for struck in (STRUCK, ALWAYS_STRUCK):
        times = Counter(operation for operation, _ in pairs(struck))
        assert (times.keys(), min(times.values()) >= 2) == (OPERATIONS.keys(), True)


@pytest.mark.parametrize(("operation", "fault"), pairs(STRUCK))
def test_one_fault_is_as_if_it_had_not_been(proxied: Callable[..., Proxied], operation: str, fault: str) -> None:
    begun = proxied()
    ask, expected, contents = OPERATIONS[operation]
    begun.proxy.on(None, FAULTS[fault])
    found = ask(begun.bucket)
    assert found == expected or ((operation, found) == ("create", False) and fault in LOST_ANSWERS)
    assert begun.contents() == {f"alice/{key}": octets for key, octets in contents.items()}
    assert (begun.bucket.integrity, begun.bucket.conditional) == ("sha256", True)


ALWAYS: dict[str, tuple[Fault, type[ArchiverError]]] = {
    "500": (INTERNAL_ERROR, ArchiveUnreachable),
    "503 SlowDown": (SLOW_DOWN, ArchiveThrottled),
    "reset before": (Reset("request"), ArchiveUnreachable),
    "reset after it was done": (Reset("answer"), ArchiveUnreachable),
    "stall before": (Stall("request"), ArchiveUnreachable),
}


ALWAYS_STRUCK = {
    "500": ("create", "head", "read", "list", "delete"),
    "503 SlowDown": ("create what is there", "replace", "read a part", "list", "head of nothing"),
    "reset before": ("create", "head", "read", "delete"),
    "reset after it was done": ("create what is there", "replace", "delete"),
    "stall before": ("head of nothing", "read a part", "list"),
}


@pytest.mark.parametrize(("operation", "fault"), pairs(ALWAYS_STRUCK))
def test_a_fault_that_stays_is_the_right_error(proxied: Callable[..., Proxied], operation: str, fault: str) -> None:
    begun = proxied(attempts=2, read_timeout=0.3)
    reported, error = ALWAYS[fault]
    begun.proxy.on(None, reported, times=None)
    with pytest.raises(error) as failed:
        OPERATIONS[operation][0](begun.bucket)
    assert type(failed.value) is error
    assert str(failed.value).startswith("s3://")


def test_a_flip_that_stays_is_reported_and_nothing_is_written(proxied: Callable[..., Proxied]) -> None:
    begun = proxied(attempts=2)
    begun.proxy.on("PutObject", Flip("upload", 10), times=None)
    with pytest.raises(IntegrityError, match="what arrived there"):
        create(begun.bucket, "new", OCTETS)
    assert begun.contents() == {"alice/there": OCTETS}


@pytest.mark.parametrize("fault", [Reset("download", 10_000), Stall("download", 10_000)])
def test_a_read_that_breaks_again_and_again_comes_to_its_end(proxied: Callable[..., Proxied], fault: Fault) -> None:
    begun = proxied(attempts=2, read_timeout=0.3)
    begun.proxy.on("GetObject", fault, times=12)
    assert read(begun.bucket, "there", 5) == OCTETS[5:]
    ranges = [int(each.headers["range"][6:].split("-")[0]) for each in begun.proxy.requests]
    assert len(ranges) == 13
    assert ranges == sorted(set(ranges))


def test_a_read_is_of_one_object_from_its_beginning_to_its_end(proxied: Callable[..., Proxied]) -> None:
    begun = proxied()
    begun.proxy.on("GetObject", Reset("download", 10_000))
    other = OCTETS[::-1]
    begun.proxy.on("GetObject", During(lambda: begun.bucket.replace("there", other, digest_of(other), "control")))
    with pytest.raises(IntegrityError, match="was replaced while it was read"):
        read(begun.bucket, "there")
    begun.bucket.close()
    gc.collect()  # would warn of a connection that nobody closed


def test_a_large_file_is_sent_again_from_its_beginning(proxied: Callable[..., Proxied], tmp_path: Path) -> None:
    begun = proxied()
    file, octets = tmp_path / "large", OCTETS * 20
    file.write_bytes(octets)
    for fault in (Reset("upload", 1_000_000), Answer(409, "ConditionalRequestConflict"), Flip("upload", 5_000_000)):
        begun.proxy.on("PutObject", fault)
    assert begun.bucket.create("large", file, digest_of(octets), "message") is True
    assert read(begun.bucket, "large") == octets


def test_one_of_many_in_a_storm_of_faults(proxied: Callable[..., Proxied]) -> None:
    begun = proxied(attempts=10, read_timeout=0.5)
    faults = [INTERNAL_ERROR, Reset("request"), Reset("upload", 10), Answer(409, "ConditionalRequestConflict")]
    begun.proxy.at_random("storm", 0.2, *faults)
    gate = threading.Barrier(16)

    def race(number: int) -> list[bool]:
        gate.wait(30)
        return [create(begun.bucket, f"{key}", b"%d" % number + OCTETS) for key in range(4)]

    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(race, range(16)))
    contents = begun.contents()
    for key in range(4):
        (winner,) = [number for number in range(16) if made[number][key]]
        assert contents[f"alice/{key}"] == b"%d" % winner + OCTETS
