"""Many looks side by side, and those that never end; and how long a run may take."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from archiver.config.load import load_account
from pipelines.show.preview.in_time import Looks
from pipelines.show.preview.pace import Sample, Work, estimate, samples_of


def test_results_come_in_the_order_of_the_items() -> None:
    def work(number: int) -> int:
        time.sleep(0.05 if number % 2 else 0)
        return number * 2

    looks = Looks[int, int](work, lambda _: -1, at_once=3, seconds=60)
    told: list[int] = []
    assert looks.results(range(20), told.append) == [number * 2 for number in range(20)]
    assert (told, told[-1]) == (sorted(told), 20)
    assert Looks[int, int](work, lambda _: -1, at_once=3, seconds=60).results([]) == []


def test_no_more_than_asked_for_are_done_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    Looks[int, None](work, lambda _: None, at_once=4, seconds=60).results(range(40))
    assert most == 4


def test_those_that_never_end_are_given_up_and_hold_no_other() -> None:
    never = threading.Event()
    done: list[int] = []

    def work(number: int) -> str:
        if number < 4:
            never.wait()
        done.append(number)
        return "done"

    began = time.monotonic()
    looks = Looks[int, str](work, lambda number: f"gave up {number}", at_once=2, seconds=1)
    assert looks.results(range(10)) == [*(f"gave up {number}" for number in range(4)), *["done"] * 6]
    assert (sorted(done), time.monotonic() - began < 20) == ([4, 5, 6, 7, 8, 9], True)
    never.set()


@pytest.mark.parametrize(
    ("work", "own", "source", "there", "seconds"),
    [
        (Work(100, 0), [Sample(50, 5.0, 0, 0.0, 1.0)], [], [], 11.0),
        (Work(100, 0), [Sample(49, 5.0, 0, 0.0, 1.0)], [], [], None),
        (Work(100, 0), [Sample(49, 5.0, 0, 0.0, 1.0)], [Sample(100, 1.0, 0, 0.0, 9.0)], [], 2.0),
        (Work(100, 100), [], [Sample(100, 1.0, 0, 0.0, 9.0)], [Sample(0, 0.0, 50, 10.0, 9.0)], 21.0),
        (Work(100, 100), [], [Sample(100, 1.0, 0, 0.0, 9.0)], [], None),
        (Work(0, 0), [Sample(50, 5.0, 0, 0.0, 1.0), Sample(0, 0.1, 0, 0.0, 3.0)], [], [], 2.0),
        (Work(0, 0), [], [Sample(100, 1.0, 0, 0.0, 9.0)], [], None),
    ],
)
def test_a_run_is_estimated_by_messages(
    work: Work, own: list[Sample], source: list[Sample], there: list[Sample], seconds: float | None
) -> None:
    found = estimate(work, own, source, there)
    assert found == seconds if seconds is None else found == pytest.approx(seconds)


def test_reports_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[source]\nhost = "h"\nuser = "u"\npassword = { env = "P" }\n[archive]\npath = "a"\n')
    settings = load_account(file)
    assert samples_of(settings) == []
    good = {"timings": {"enumerate": 1, "archive": 2.5}, "totals": {"fetched": 7, "destination": None}}
    for name, text in {"1": json.dumps(good), "2": "[]", "3": "{", "4": json.dumps({"timings": None})}.items():
        report = tmp_path / "a" / "runs" / name / "report.json"
        report.parent.mkdir(parents=True)
        report.write_text(text)
    (tmp_path / "a" / "runs" / "5").mkdir()
    assert samples_of(settings) == [Sample(7, 2.5, 0, 0.0, 1.0)]
