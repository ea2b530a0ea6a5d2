"""The folders that a connection has reserved are its own, as long as it is there to scan them."""

from __future__ import annotations

import pytest

from archiver.archive.queue import Job, Member, WorkQueue
from archiver.mail.model import Folder, FolderStatus, Listed


def listed(name: str, messages: int) -> Listed:
    return Listed(Folder(name.encode(), (name,), "/"), FolderStatus(1, 1, messages))


FOUR = [listed(name, messages) for name, messages in (("a", 4), ("b", 3), ("c", 2), ("d", 1))]


def at_work(script: list[str]) -> list[Job | None]:
    """What the steps of two connections, `one` and `two`, return: to `take` a job, `reserve` a folder, `finish`
    the job, or to `leave`."""
    found: list[Job | None] = []

    def work_off(one: Member, _: bool) -> None:
        queue = one.queue
        queue._at_work = 2
        members = {"one": one, "two": Member(queue)}
        for step in script:
            who, what = step.split()
            if what == "take":
                found.append(queue.next_job(None, members[who], wait=False))
            elif what == "reserve":
                found.append(queue.reserve(members[who]))
            elif what == "finish":
                queue.done()
            else:
                assert members[who].leave()

    WorkQueue(2, lambda _: None, work_off, lambda _: 0).run(FOUR)
    return found


def test_a_reserved_folder_is_the_next_one_and_nobody_elses() -> None:
    a, b, c, d = FOUR
    assert at_work(["one take", "one reserve", "two take", "one take", "two take", "two take"]) == [
        a, b, c, b, d, None,
    ]  # fmt: skip


def test_who_leaves_gives_back_what_it_has_reserved_in_the_same_order() -> None:
    a, b, c, d = FOUR
    script = ["one take", "one reserve", "one reserve", "two take", "one leave", "two take", "two take", "two take"]
    assert at_work(script) == [a, b, c, d, b, c, None]


def test_nothing_is_reserved_that_is_not_there() -> None:
    a, b, c, d = FOUR
    script = ["two take", "two leave", "one take", "one reserve", "one reserve", "one reserve"]
    assert at_work(script)[:-1] == [a, b, c, d]
    assert at_work(script)[-1] is None


def test_the_last_folder_is_left_to_a_connection_without_work() -> None:
    a, b, c, d = FOUR
    assert at_work(["one take", "one reserve", "one reserve", "one reserve", "two take"]) == [a, b, c, None, d]


def test_the_work_is_not_over_while_a_folder_is_reserved() -> None:
    seen: list[bool] = []

    def work_off(member: Member, _: bool) -> None:
        queue = member.queue
        while queue.next_job(None, member, wait=True) is not None:
            queue.reserve(member)
            queue.done()
            seen.append(queue.is_over)

    WorkQueue(1, lambda _: None, work_off, lambda _: 0).run(FOUR)

    assert seen == [False, False, False, True]


@pytest.mark.parametrize(
    ("extra", "seconds", "busy", "leaves"),
    [
        (True, 2.0, 1.9, True),
        (True, 2.0, 1.0, False),  # it waits for the server
        (True, 0.2, 0.2, False),  # too early to tell
        (False, 2.0, 2.0, False),  # the first one
    ],
)
def test_a_connection_that_only_takes_turns_leaves(
    extra: bool, seconds: float, busy: float, leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[bool] = []

    def work_off(one: Member, _: bool) -> None:
        one.queue._at_work = 2
        clock = [(0.0, 0.0)]
        monkeypatch.setattr("archiver.archive.queue._clocks", lambda: clock[0])
        member = Member(one.queue, extra, _began=clock[0])
        clock[0] = seconds, busy
        member.leave_if_in_the_way()
        left.append(member.left)

    WorkQueue(2, lambda _: None, work_off, lambda _: 0).run(FOUR[:1])
    assert left == [leaves]
