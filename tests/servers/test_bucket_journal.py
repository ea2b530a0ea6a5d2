"""The journal as objects on real endpoints: the contract, many simultaneous writers, and answers that are lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from archiver.config.tables.s3 import S3Settings
from archiver.errors import ArchiverError, IntegrityError
from archiver.facts.archive import Segment
from archiver.journal.bucket import BucketJournal
from archiver.storage.s3.bucket import BotoBucket
from tests.contracts.journal import NOTHING, JournalContract, end_of, facts, filled
from tests.patience import PATIENCE
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import INTERNAL_ERROR, During, Request, Reset
from tests.servers.s3_proxy import S3Proxy

Open = Callable[..., BotoBucket]


@pytest.fixture
def opened(aws: Callable[[Endpoint], None]) -> Iterator[Open]:
    """Opens a bucket of an endpoint: `opened(endpoint, name)`."""
    with ExitStack() as stack:

        def open_bucket(endpoint: Endpoint, name: str) -> BotoBucket:
            aws(endpoint)
            settings = S3Settings(bucket=name, endpoint_url=endpoint.url, ca_file=endpoint.ca_file)
            bucket = BotoBucket(settings, "alice", None)
            stack.callback(bucket.close)
            return bucket

        yield open_bucket


class TestBucketJournal(JournalContract):
    @pytest.fixture
    def journal(self, s3: Endpoint, opened: Open) -> BucketJournal:
        return BucketJournal(opened(s3, s3.fresh_bucket()))


@pytest.mark.parametrize("lock", [False, True], ids=["plain bucket", "bucket with Object Lock"])
def test_of_many_who_append_at_once_one_gets_each_number(s3: Endpoint, opened: Open, lock: bool) -> None:
    if not s3.atomic:
        pytest.skip("it lets two writers make the same key at the same moment")
    name = s3.fresh_bucket(lock=lock)
    writers = [BucketJournal(opened(s3, name)) for _ in range(4)]
    after, written = NOTHING, list[Segment]()
    for turn in range(10):
        outcomes = at_once(writers, f"turn-{turn}", after)
        (segment,) = [each for each in outcomes if isinstance(each, Segment)]
        assert sum(isinstance(each, IntegrityError) for each in outcomes) == len(writers) - 1
        written.append(segment)
        after = end_of(segment)

    assert list(BucketJournal(opened(s3, name)).read(NOTHING)) == written


def at_once(writers: list[BucketJournal], run: str, after: tuple[int, str]) -> list[Segment | ArchiverError]:
    barrier, outcomes = threading.Barrier(len(writers)), list[Segment | ArchiverError]()

    def append(number: int, journal: BucketJournal) -> None:
        barrier.wait(30)
        try:
            outcomes.append(journal.append(f"{run}-{number}", facts(number), after))  # type: ignore[arg-type]
        except ArchiverError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=append, args=each) for each in enumerate(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def is_segment(request: Request) -> bool:
    return request.kind == "PutObject" and "/journal/" in request.key


@pytest.mark.parametrize(
    "fault",
    [Reset("request"), Reset("upload", 100), Reset("answer"), INTERNAL_ERROR],
    ids=["never arrived", "half arrived", "answer lost", "refused for now"],
)
def test_a_segment_is_written_once_whatever_happens_on_the_way(
    fault: Reset, radosgw_proxy: S3Proxy, opened: Open
) -> None:
    name = radosgw_proxy.behind.fresh_bucket()
    journal = BucketJournal(opened(radosgw_proxy.endpoint, name))
    radosgw_proxy.on(is_segment, fault, skip=1, times=2)

    segments = filled(journal)

    assert radosgw_proxy.faults == 2
    assert list(journal.read(NOTHING)) == segments
    assert len(radosgw_proxy.behind.keys(name, "alice/journal/")) == 3


def test_a_rebuild_does_not_wait_for_each_segment(radosgw_proxy: S3Proxy, opened: Open) -> None:
    name = radosgw_proxy.behind.fresh_bucket()
    segments = filled(BucketJournal(opened(radosgw_proxy.behind, name)), 10)
    journal = BucketJournal(opened(radosgw_proxy.endpoint, name))
    together = threading.Barrier(4)
    of_segments = During(lambda: together.wait(PATIENCE), at="answer")
    radosgw_proxy.on(lambda request: request.key.endswith(".jsonl.gz"), of_segments, times=4)

    assert list(journal.read(NOTHING)) == segments

    assert not together.broken  # four were under way at the same time


@pytest.fixture
def radosgw_proxy(radosgw: RadosGateway, s3_proxy: Callable[..., S3Proxy]) -> S3Proxy:
    return s3_proxy(radosgw.http)
