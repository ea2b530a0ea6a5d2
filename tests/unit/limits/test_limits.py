"""All threads keep a rate together, and a day's octets are counted once, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from archiver.control.limits import limiter
from archiver.control.limits.bucket import TokenBucket
from archiver.control.limits.limiter import Limiter, Limits
from archiver.control.limits.used import UsedOctets
from archiver.control.run import RunControl
from archiver.errors import BudgetUsedUp

DAY = date(2026, 11, 30)


class Clock:
    """A clock that moves only while somebody waits. Safe for threads."""

    def __init__(self) -> None:
        self.now, self.lock = 1000.0, threading.Lock()

    def pause(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds

    @property
    def control(self) -> RunControl:
        return RunControl(lambda: None, self.pause)


class TestARate:
    @pytest.mark.parametrize("rate", [0.1, 3.0, 1000.0])
    @pytest.mark.parametrize("piece", [1, 7, 100_000])
    def test_holds_over_any_time_but_for_the_first_second(self, rate: float, piece: int) -> None:
        bucket, now, taken = TokenBucket(rate), 50.0, 0
        for _ in range(40):
            now += bucket.delay(now)
            assert taken <= rate * (now - 50.0) + max(1.0, rate) + 1e-6
            bucket.take(piece, now)
            taken += piece
        assert taken - piece >= rate * (now - 50.0) * 0.999  # and no less is given

    def test_saves_up_one_second_alone(self) -> None:
        bucket = TokenBucket(10.0)
        bucket.take(10, 0.0)
        assert bucket.delay(3600.0, 10) == 0
        bucket.take(10, 3600.0)
        assert bucket.delay(3600.0, 5) == pytest.approx(0.5)

    def test_is_shared_by_threads(self) -> None:
        clock = Clock()
        limits = Limiter(Limits(messages_per_second=5.0), clock=lambda: clock.now)
        work = [
            threading.Thread(target=lambda: [limits.pass_messages(1, clock.control) for _ in range(25)])
            for _ in range(2)
        ]
        for each in work:
            each.start()
        for each in work:
            each.join()
        assert clock.now - 1000.0 >= (50 - 5) / 5.0 - 1e-6

    def test_of_octets_waits_for_what_passed(self) -> None:
        clock = Clock()
        meter = Limiter(Limits(octets_per_second=1000), clock=lambda: clock.now).meter(clock.control)
        assert meter is not None
        for _ in range(10):
            meter.wait()
            meter.passed(5000)
        meter.wait()
        assert clock.now - 1000.0 == pytest.approx(49.0)

    def test_a_wait_ends_when_the_run_does(self) -> None:
        class Stopped(Exception):
            pass

        def pause(_: float) -> None:
            raise Stopped

        limits = Limiter(Limits(messages_per_second=0.01))
        control = RunControl(lambda: None, pause)
        limits.pass_messages(1, control)
        with pytest.raises(Stopped):
            limits.pass_messages(1, control)


class TestADay:
    @pytest.fixture
    def today(self) -> list[date]:
        return [DAY]

    @pytest.fixture
    def used(self, tmp_path: Path, today: list[date]) -> Callable[[], UsedOctets]:
        return lambda: UsedOctets(tmp_path / "used", lambda: today[0])

    def test_is_counted_by_all_processes_and_threads(self, used: Callable[[], UsedOctets]) -> None:
        count = used()
        children = []
        for _ in range(3):
            if (pid := os.fork()) == 0:
                for _ in range(200):
                    count.add(7)
                os.kill(os.getpid(), signal.SIGKILL)
            children.append(pid)
        threads = [threading.Thread(target=lambda: [count.add(5) for _ in range(200)]) for _ in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for pid in children:
            os.waitpid(pid, 0)
        assert used().add(0) == 3 * 200 * (7 + 5)

    def test_begins_again_at_midnight(self, used: Callable[[], UsedOctets], today: list[date]) -> None:
        assert (used().add(10), used().ends()) == (10, DAY + timedelta(days=1))
        today[0] += timedelta(days=1)
        assert used().add(1) == 1

    @pytest.mark.parametrize(("back", "left"), [(1, 10), (2, 0), (400, 0)])
    def test_is_not_given_twice_by_a_clock_that_is_set_back(
        self, used: Callable[[], UsedOctets], today: list[date], back: int, left: int
    ) -> None:
        used().add(10)
        today[0] -= timedelta(days=back)
        assert used().add(0) == left
        assert used().ends() == today[0] + timedelta(days=1 + (left > 0))

    @pytest.mark.parametrize("octets", [b"", b"nonsense\n", b"2026-99-99 00000000000000000007\n", b"\0" * 99])
    def test_a_file_that_is_not_ours_is_a_new_day(
        self, tmp_path: Path, used: Callable[[], UsedOctets], octets: bytes
    ) -> None:
        (tmp_path / "used").write_bytes(octets)
        assert (used().add(5), used().add(5)) == (5, 10)

    def test_is_counted_here_where_no_file_can_be_written(self, tmp_path: Path) -> None:
        count = UsedOctets(tmp_path / "nowhere" / "used", lambda: DAY)
        assert (count.add(5), count.add(6)) == (5, 11)

    def test_room_is_given_to_one_of_two(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limiter, "utc_now", lambda: "2026-11-30T20:00:00Z")
        limits = Limiter(Limits(octets_per_day=10_000), "[source.limits]", used=tmp_path / "used")
        assert (limits.reserve([4000, 1000]), limits.reserve([4000]), limits.reserve([3000])) == (True, False, True)
        limits.release([4000, 1000])
        limits.passed(6400)
        assert not limits.reserve([1])
        limits.release([3000])
        assert limits.fits([3000])
        limits.passed(3600)
        with pytest.raises(BudgetUsedUp) as raised:
            limits.require()
        assert (raised.value.again_at, raised.value.delay_seconds) == ("2026-12-01T00:00:00Z", 4 * 3600)
