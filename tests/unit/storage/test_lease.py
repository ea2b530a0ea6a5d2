"""The lease, on a bucket and clocks that the test moves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from archiver.errors import ArchiveNotWritable, ArchiveUnreachable, IntegrityError, Locked
from archiver.storage.bucket.lease import TTL, Claimant, Lease, Moment, kept, take
from archiver.storage.run_lock import lock_place
from tests.memory_bucket import MemoryBucket, lost
from tests.patience import PATIENCE

SINCE = "2026-11-24T07:00:00Z"


@dataclass
class Machine:
    """A host whose clocks show something else than the endpoint's."""

    bucket: MemoryBucket
    name: str
    clock: list[float] = field(default_factory=lambda: [17.0, 2e9])

    def now(self) -> Moment:
        return tuple(self.clock)

    def take(self, least: Callable[[], int] = lambda: 0, run: str = "run") -> Lease:
        claimant = Claimant(run, self.name, 4711, f"place of {self.name}", SINCE)
        return take(self.bucket, claimant, least, clock=self.now)


class World:
    """A bucket and machines; time passes for all of them, or for those that are awake."""

    def __init__(self) -> None:
        self.bucket = MemoryBucket()
        self.here, self.there = Machine(self.bucket, "here"), Machine(self.bucket, "there")

    def passes(self, seconds: float) -> None:
        self.bucket.now += seconds
        for machine in (self.here, self.there):
            machine.clock = [each + seconds for each in machine.clock]

    def said(self, fence: int) -> dict[str, object]:
        record: dict[str, object] = json.loads(self.bucket.objects[f"lease/{fence:08d}.json"][0])
        return record


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_lease_says_who_holds_it(world: World) -> None:
    lease = world.here.take()

    lease.check()
    assert (lease.fence, lease.fence_pending) == (1, False)
    assert world.said(1) == {
        "format": "archiver-lease/1",
        "fence": 1,
        "run": "run",
        "host": "here",
        "pid": 4711,
        "place": "place of here",
        "since": SINCE,
        "ttl": TTL,
        "released": False,
    }


def test_another_machine_learns_who_and_until_when(world: World) -> None:
    world.here.take()
    world.passes(20)

    with pytest.raises(
        Locked, match=r"host here, run run, pid 4711, since 2026-.* expires in 100 s unless renewed; wait"
    ) as caught:
        world.there.take()

    assert caught.value.exit_code == 7


def test_a_released_lease_is_taken_immediately(world: World) -> None:
    world.here.take().release()

    lease = world.there.take()

    assert (lease.fence, lease.fence_pending) == (2, False)


def test_what_ran_out_is_taken_and_has_to_be_claimed(world: World) -> None:
    world.here.take()
    world.passes(TTL + 1)

    lease = world.there.take()

    assert (lease.fence, lease.fence_pending) == (2, True)


def test_the_same_place_resumes_immediately(world: World) -> None:
    world.here.take()

    lease = world.here.take()

    assert (lease.fence, lease.fence_pending) == (2, True)


def test_a_claim_that_was_never_written_stays_due(world: World) -> None:
    world.here.take()
    world.passes(TTL + 1)
    world.there.take().release()

    lease = world.there.take()
    assert lease.fence_pending
    lease.claimed()
    lease.release()

    assert not world.here.take().fence_pending


def test_a_lease_in_doubt_is_not_given_back_so_that_the_next_one_claims(world: World) -> None:
    """A request of a machine that has ended may be done when another one holds the archive."""
    lease = world.here.take()
    lease.doubt()
    lease.release()

    with pytest.raises(Locked):
        world.there.take()
    world.passes(TTL + 1)
    assert world.there.take().fence_pending


def test_only_the_endpoints_clock_decides_whether_it_expired(world: World) -> None:
    world.here.take()
    world.there.clock = [each + 1e6 for each in world.there.clock]

    with pytest.raises(Locked):
        world.there.take()


def test_a_renewal_holds_it_for_another_while(world: World) -> None:
    lease = world.here.take()
    for _ in range(10):
        world.passes(TTL / 4)
        lease.renew()
        lease.check()

    with pytest.raises(Locked):
        world.there.take()


def test_a_check_sends_no_request(world: World) -> None:
    lease = world.here.take()
    world.bucket.requests.clear()

    lease.check()

    assert not world.bucket.requests


def test_a_machine_that_slept_stops_even_if_no_other_took_over(world: World) -> None:
    lease = world.here.take()
    world.passes(TTL - 19)

    with pytest.raises(Locked, match=r"not renewed for 101 s.*run again"):
        lease.check()
    lease.renew()
    with pytest.raises(Locked):
        lease.check()


@pytest.mark.parametrize("clock", [0, 1], ids=["counts while asleep", "on the wall"])
def test_each_clock_of_the_machine_can_show_that_it_slept(world: World, clock: int) -> None:
    lease = world.here.take()
    world.here.clock[clock] += TTL

    with pytest.raises(Locked):
        lease.check()


def test_a_wall_clock_that_was_put_back_prolongs_nothing(world: World) -> None:
    lease = world.here.take()
    world.passes(TTL)
    world.here.clock[1] -= 1e6

    with pytest.raises(Locked):
        lease.check()


def test_who_was_taken_over_learns_it_at_the_next_renewal(world: World) -> None:
    lease = world.here.take()
    world.bucket.now += TTL + 1  # an endpoint whose clock was set
    world.there.take()

    lease.check()
    lease.renew()

    with pytest.raises(Locked, match=r"took it over with s3://memory/lease/00000002\.json"):
        lease.check()


def test_a_renewal_that_fails_is_tried_again_as_long_as_it_holds(world: World) -> None:
    lease = world.here.take()
    world.bucket.before = lost("replace", "lease/", times=2)
    for _ in range(2):
        world.passes(30)
        with pytest.raises(ArchiveUnreachable):
            lease.renew()
        lease.check()

    world.passes(30)
    lease.renew()
    world.passes(90)

    lease.check()


def test_a_renewal_whose_answer_comes_too_late_renews_nothing(world: World) -> None:
    lease = world.here.take()
    world.passes(90)
    world.bucket.after = lambda request, key: world.passes(11) if request == "replace" else None

    lease.renew()

    with pytest.raises(Locked):
        lease.check()


def test_a_renewal_counts_from_its_beginning(world: World) -> None:
    lease = world.here.take()
    world.passes(60)
    world.bucket.after = lambda request, key: world.passes(30) if request == "replace" else None
    lease.renew()
    world.passes(69)
    lease.check()
    world.passes(2)

    with pytest.raises(Locked):
        lease.check()


def test_a_lease_counts_from_the_look_before_it_was_taken(world: World) -> None:
    world.bucket.before = lambda request, key: world.passes(TTL) if request == "create" else None

    lease = world.here.take()

    with pytest.raises(Locked):
        lease.check()


def test_of_many_who_want_it_one_gets_it(world: World) -> None:
    for _ in range(20):
        outcomes = race(world.bucket, 8)
        (winner,) = [each for each in outcomes if isinstance(each, Lease)]
        assert sum(isinstance(each, Locked) for each in outcomes) == 7
        winner.release()


def race(bucket: MemoryBucket, machines: int) -> list[object]:
    barrier, outcomes = threading.Barrier(machines), list[object]()

    def work(machine: Machine) -> None:
        barrier.wait()
        try:
            outcomes.append(machine.take())
        except Locked as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work, args=(Machine(bucket, f"m{each}"),)) for each in range(machines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_lease_whose_answer_was_lost_is_known_again(world: World) -> None:
    """The client tries again by itself, and learns that the object is there."""
    create = world.bucket.create
    world.bucket.create = lambda *given: create(*given) and False  # type: ignore[method-assign]

    lease = world.here.take()

    assert lease.fence == 1
    with pytest.raises(Locked):
        world.there.take()


def test_a_lease_whose_answer_was_lost_is_continued_by_the_same_place(world: World) -> None:
    world.bucket.after = lost("create", "lease/")
    with pytest.raises(ArchiveUnreachable):
        world.here.take()

    assert world.here.take().fence == 2


def test_numbers_go_on_from_the_journal_where_the_leases_are_lost(world: World) -> None:
    assert world.here.take(least=lambda: 41).fence == 42


def test_an_unreadable_lease_has_to_expire(world: World) -> None:
    world.bucket.objects["lease/00000007.json"] = b"\x00{", world.bucket.now
    with pytest.raises(Locked):
        world.here.take()

    world.passes(TTL + 1)
    lease = world.here.take()

    assert (lease.fence, lease.fence_pending) == (8, True)


def test_what_is_no_lease_is_left_alone(world: World) -> None:
    world.bucket.objects["lease/README"] = b"by a person", world.bucket.now
    lease = world.here.take()
    lease.renew()

    lease.check()
    assert lease.fence == 1


def test_old_leases_are_removed_the_last_two_stay(world: World) -> None:
    for _ in range(4):
        world.here.take().release()
    assert sorted(world.bucket.objects) == [f"lease/{number:08d}.json" for number in (1, 2, 3, 4)]
    world.passes(3601)

    world.here.take()

    assert sorted(world.bucket.objects) == [f"lease/{number:08d}.json" for number in (4, 5)]


def test_who_may_not_delete_can_take_it_all_the_same(world: World) -> None:
    for _ in range(3):
        world.here.take().release()
    world.passes(3601)

    def refuse(request: str, key: str) -> None:
        if request == "delete":
            raise ArchiveNotWritable("no permission")

    world.bucket.before = refuse

    assert world.here.take().fence == 4


def test_one_that_was_removed_while_it_was_read_is_no_reason_to_fail(world: World) -> None:
    world.here.take()
    world.passes(4000)

    def remove(request: str, key: str) -> None:
        if request == "read":
            raise IntegrityError(f"{key}: there is no such object")

    world.bucket.before = remove

    assert world.there.take().fence == 2


def test_a_lease_that_cannot_be_given_back_is_left_to_run_out(world: World) -> None:
    lease = world.here.take()
    world.bucket.before = lost("replace", "lease/")

    lease.release()

    with pytest.raises(Locked):
        world.there.take()


def test_taking_and_giving_back_costs_four_requests(world: World) -> None:
    world.here.take().release()
    world.bucket.requests.clear()

    with kept(world.here.take()):
        pass

    assert world.bucket.requests == {"list": 1, "read": 1, "create": 1, "replace": 1}


def test_a_thread_renews_it_and_ends_with_it() -> None:
    bucket, renewed, threads = MemoryBucket(), threading.Semaphore(0), threading.active_count()
    bucket.after = lambda request, key: renewed.release() if request == "replace" else None
    claimant = Claimant("run", "here", 1, "place", SINCE)

    with kept(take(bucket, claimant, lambda: 0, ttl=2.0)) as lease:
        for _ in range(3):
            assert renewed.acquire(timeout=PATIENCE)
        lease.check()

    assert threading.active_count() == threads
    assert json.loads(bucket.objects["lease/00000001.json"][0])["released"] is True


def test_a_thread_that_cannot_renew_says_why_in_the_end() -> None:
    bucket, tries = MemoryBucket(), threading.Semaphore(0)
    claimant = Claimant("run", "here", 1, "place", SINCE)

    def fail(request: str, key: str) -> None:
        tries.release()
        raise ArchiveUnreachable("the endpoint is down")

    clock = [0.0]
    lease = take(bucket, claimant, lambda: 0, ttl=0.5, clock=lambda: tuple(clock))
    bucket.before = fail
    with kept(lease):
        for _ in range(2):
            assert tries.acquire(timeout=PATIENCE)
        clock[0] = 1.0

        with pytest.raises(Locked, match=r"not renewed for 1 s.*the endpoint is down"):
            lease.check()


def test_an_endpoint_that_does_not_answer_delays_nothing_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, stalled, over = MemoryBucket(), threading.Event(), threading.Event()
    claimant = Claimant("run", "here", 1, "place", SINCE)
    monkeypatch.setattr("archiver.storage.bucket.lease._LAST_REQUEST", 0.1)

    def stall(request: str, key: str) -> None:
        stalled.set()
        over.wait(30)

    with kept(take(bucket, claimant, lambda: 0)):
        bucket.before = stall

    assert stalled.wait(30)
    assert not over.is_set()
    over.set()


def test_a_place_is_one_lock_file_on_one_machine(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.mkdir()
        (path / "lock").touch()
    place = lock_place(one)

    assert lock_place(one) == place
    assert lock_place(two) != place
    (one / "lock").rename(tmp_path / "held by somebody")
    (one / "lock").touch()
    assert lock_place(one) != place
