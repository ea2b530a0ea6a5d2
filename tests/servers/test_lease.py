"""The lease on real endpoints, between machines that race, sleep and die."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from archiver.config.tables.s3 import S3Settings
from archiver.errors import Locked
from archiver.facts.archive import Segment
from archiver.journal.bucket import BucketJournal
from archiver.storage.bucket.lease import Claimant, kept, take
from archiver.storage.s3.bucket import BotoBucket
from tests.contracts.journal import NOTHING
from tests.patience import PATIENCE
from tests.servers.mail_server import wait
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import INTERNAL_ERROR, Reset
from tests.servers.s3_proxy import S3Proxy
from tests.warm import WarmProcess

SHORT = 3.0  # seconds; a real endpoint's clock has whole ones


class Machine:
    """A process that follows commands, on a machine of its own as far as the lease can see."""

    def __init__(self, endpoint: Endpoint, bucket: str, place: str, ttl: float) -> None:
        words = [endpoint.url, str(endpoint.ca_file or ""), bucket, place, str(ttl)]
        self.process = WarmProcess(["-m", "tests.servers.lease_holder", *words], spoken_to=True)

    def begin(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def do(self, word: str) -> str:
        self.begin(word)
        return self.answer()

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it said."""
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said.decode()


@pytest.fixture
def machine(aws: Callable[[Endpoint], None]) -> Iterator[Callable[..., Machine]]:
    """Starts machines: `machine(endpoint, bucket, "here")`."""
    machines = list[Machine]()

    def start(endpoint: Endpoint, bucket: str, place: str, ttl: float = SHORT) -> Machine:
        aws(endpoint)
        machines.append(Machine(endpoint, bucket, place, ttl))
        return machines[-1]

    yield start
    for each in machines:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def opened(aws: Callable[[Endpoint], None]) -> Iterator[Callable[[Endpoint, str], BotoBucket]]:
    """Opens a bucket of an endpoint: `opened(endpoint, name)`."""
    with ExitStack() as stack:

        def open_bucket(endpoint: Endpoint, name: str) -> BotoBucket:
            aws(endpoint)
            settings = S3Settings(bucket=name, endpoint_url=endpoint.url, ca_file=endpoint.ca_file)
            bucket = BotoBucket(settings, "alice", None)
            stack.callback(bucket.close)
            return bucket

        yield open_bucket


Opened = Callable[[Endpoint, str], BotoBucket]


def claimant(place: str) -> Claimant:
    return Claimant("run", place, 1, place, "2026-11-24T07:00:00Z")


def segments_of(bucket: BotoBucket) -> list[Segment]:
    """The whole journal, its chain checked."""
    return list(BucketJournal(bucket).read(NOTHING))


@pytest.mark.parametrize("lock", [False, True], ids=["plain bucket", "bucket with Object Lock"])
def test_two_processes_race_fifty_times_and_one_wins_each_time(
    radosgw: RadosGateway, machine: Callable[..., Machine], lock: bool
) -> None:
    """radosgw ignores the condition in a bucket with versions; there they decide who came first."""
    name = radosgw.http.fresh_bucket(lock=lock)
    both = [machine(radosgw.http, name, place, 120.0) for place in ("here", "there")]
    fences = list[int]()
    for _ in range(50):
        for each in both:
            each.begin("take")
        answers = [each.answer() for each in both]
        assert answers.count("locked") == 1, answers
        (winner,) = [number for number, answer in enumerate(answers) if answer != "locked"]
        fences.append(int(answers[winner]))
        assert both[winner].do("append") == str(len(fences))
        assert both[winner].do("release") == "released"

    assert fences == list(range(1, 51))


def test_a_machine_that_slept_stops_before_it_writes_anything(
    s3: Endpoint, machine: Callable[..., Machine], opened: Opened
) -> None:
    name = s3.fresh_bucket()
    sleeper, other = machine(s3, name, "here"), machine(s3, name, "there")
    assert sleeper.do("take") == "1"
    assert sleeper.do("write") == "1"
    sleeper.process.send_signal(signal.SIGSTOP)
    assert other.do("take") == "locked"

    wait(lambda: other.do("take") == "2", "the lease to run out", 60)
    last = int(other.do("append"))
    sleeper.process.send_signal(signal.SIGCONT)
    code, said = sleeper.end()

    assert (code, "run again to catch up" in said) == (7, True)
    segments = segments_of(opened(s3, name))
    assert [segment.number for segment in segments] == list(range(1, last + 1))
    assert [segment.fence for segment in segments] == [*[1] * (last - 2), 2, 2]


def test_a_machine_that_slept_stops_even_if_no_other_took_over(
    radosgw: RadosGateway, machine: Callable[..., Machine], opened: Opened
) -> None:
    name = radosgw.http.fresh_bucket()
    sleeper, other = machine(radosgw.http, name, "here", 1.5), machine(radosgw.http, name, "there", 1.5)
    assert sleeper.do("take") == "1"
    sleeper.process.send_signal(signal.SIGSTOP)
    bucket = opened(radosgw.http, name)
    facts = bucket.head("lease/00000001.json")
    assert facts is not None

    def is_over() -> bool:
        now = bucket.head("lease/00000001.json")
        return now is not None and now.asked - facts.modified > 4

    wait(is_over, "time to pass at the endpoint", 60)
    sleeper.process.send_signal(signal.SIGCONT)
    sleeper.begin("append")
    code, said = sleeper.end()

    assert (code, "away too long" in said) == (7, True)
    assert segments_of(bucket) == []
    assert other.do("take") == "2"


def test_a_machine_that_is_alive_keeps_it(
    radosgw: RadosGateway, machine: Callable[..., Machine], opened: Opened
) -> None:
    name = radosgw.http.fresh_bucket()
    holder, other = machine(radosgw.http, name, "here"), machine(radosgw.http, name, "there")
    assert holder.do("take") == "1"
    bucket = opened(radosgw.http, name)
    first = bucket.head("lease/00000001.json")
    assert first is not None

    def is_over() -> bool:
        now = bucket.head("lease/00000001.json")
        assert other.do("take") == "locked"
        return now is not None and now.modified - first.modified > 2 * SHORT

    wait(is_over, "two terms of the lease", 60)

    assert holder.do("append") == "1"


def test_after_a_kill_the_same_machine_resumes_immediately(
    radosgw: RadosGateway, machine: Callable[..., Machine], opened: Opened
) -> None:
    name = radosgw.http.fresh_bucket()
    killed, again = (machine(radosgw.http, name, "here", 120.0) for _ in range(2))
    assert killed.do("take") == "1"
    assert killed.do("append") == "1"
    killed.process.kill()
    killed.process.wait()

    assert again.do("take") == "2"

    segments = segments_of(opened(radosgw.http, name))
    assert [(segment.run, segment.fence) for segment in segments] == [("here", 1), ("here", 2)]


def test_after_a_kill_another_machine_waits_until_it_runs_out(
    radosgw: RadosGateway, machine: Callable[..., Machine], opened: Opened
) -> None:
    name = radosgw.http.fresh_bucket()
    killed, other = machine(radosgw.http, name, "here"), machine(radosgw.http, name, "there")
    assert killed.do("take") == "1"
    assert killed.do("append") == "1"
    killed.process.kill()
    killed.process.wait()

    with pytest.raises(Locked, match="host here"):
        take(opened(radosgw.http, name), claimant("third"), lambda: 0)
    wait(lambda: other.do("take") == "2", "the lease to run out", 60)

    assert other.do("append") == "3"
    assert [each.fence for each in segments_of(opened(radosgw.http, name))] == [1, 2, 2]


@pytest.mark.parametrize(
    "fault",
    [Reset("request"), Reset("upload", 100), Reset("answer"), INTERNAL_ERROR],
    ids=["never arrived", "half arrived", "answer lost", "refused for now"],
)
@pytest.mark.parametrize("skip", [0, 1], ids=["when it is taken", "when it is given back"])
def test_a_lease_is_taken_and_given_back_whatever_happens_on_the_way(
    radosgw: RadosGateway, s3_proxy: Callable[..., S3Proxy], opened: Opened, fault: Reset, skip: int
) -> None:
    name, proxy = radosgw.http.fresh_bucket(), s3_proxy(radosgw.http)
    bucket = opened(proxy.endpoint, name)
    proxy.on("PutObject", fault, skip=skip, times=2)

    with kept(take(bucket, claimant("here"), lambda: 0)) as lease:
        lease.check()

    assert (lease.fence, proxy.faults) == (1, 2)
    assert radosgw.http.keys(name) == ["alice/lease/00000001.json"]
    assert json.loads(radosgw.http.get(name, "alice/lease/00000001.json"))["released"] is True


def test_the_requests_of_a_lease(radosgw: RadosGateway, s3_proxy: Callable[..., S3Proxy], opened: Opened) -> None:
    name, proxy = radosgw.http.fresh_bucket(), s3_proxy(radosgw.http)
    bucket = opened(proxy.endpoint, name)
    take(bucket, claimant("here"), lambda: 0).release()
    proxy.clear()

    with kept(take(bucket, claimant("here"), lambda: 0)) as lease:
        lease.renew()

    assert proxy.counts == {"ListObjectsV2": 2, "GetObject": 1, "PutObject": 3}
