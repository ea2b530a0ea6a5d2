"""The books of a run: whether they balance, and the exit code that follows from what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from archiver.facts.known import Tally
from archiver.facts.replica import ReplicaTally
from archiver.report.balance import folder_failures, gap_failures, judge
from archiver.report.document import AtDestination, Failure, Party, Status

INBOX = Tally("INBOX", 7, on_server=10, stored=8, excluded=1, quarantined=1)
WORK = Tally("Work/ÿ", 7, on_server=5, stored=5, excluded=0, quarantined=0)
PARTY = Party("mail.example.net", "alice")
WORK_THERE = ReplicaTally("Work/ÿ", "Old/Work/ÿ", replayed=5, already_there=0, refused=0, removed=0, pending=0)
ALL_THERE = ReplicaTally("INBOX", "INBOX", replayed=2, already_there=4, refused=1, removed=1, pending=0)


def test_a_folder_that_does_not_balance_is_a_failure() -> None:
    tallies = [
        INBOX,
        replace(INBOX, stored=7),
        replace(INBOX, error="no such\nfolder"),
        replace(INBOX, stored=7, visited=False),
    ]

    assert [(each.folder, each.reason) for each in folder_failures(tallies)] == [
        ("INBOX", "1 messages are not accounted for"),
        ("INBOX", "no such\\nfolder"),
    ]


def gaps(*tallies: Tally, asked: Sequence[str] = (), there: Sequence[ReplicaTally] | None = None) -> list[Failure]:
    found = None if there is None else AtDestination(PARTY, {each.folder: each for each in there})
    return gap_failures(tallies, found, asked, (), all_sent=True)


def test_books_that_balance_have_no_gap() -> None:
    assert gaps(INBOX, WORK, asked=["INBOX", WORK.name], there=[ALL_THERE, WORK_THERE]) == []


def test_a_chosen_folder_that_no_book_knows_is_a_gap() -> None:
    (gap,) = gaps(INBOX, asked=["INBOX", "Never opened"])

    assert (gap.folder, gap.step, gap.reason) == ("Never opened", "fetch", "the run did not open this folder")


def test_a_folder_left_alone_that_did_not_balance_before_is_a_gap() -> None:
    """It stands where its last pass left it, so it is not opened again and nothing else would report it."""
    unvisited = replace(INBOX, stored=INBOX.stored - 1, visited=False)

    assert folder_failures([unvisited]) == []
    (gap,) = gaps(unvisited, asked=["INBOX"])
    assert gap.reason == "1 messages are not accounted for"


def test_a_run_that_did_not_ask_the_source_does_not_judge_it() -> None:
    assert gaps(replace(INBOX, stored=INBOX.stored - 1), there=None) == []


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ([], "the folder is not mapped to one of the destination"),
        ([replace(ALL_THERE, already_there=2, pending=2)], "2 messages are not at the destination yet"),
        ([replace(ALL_THERE, already_there=1)], "3 messages are not accounted for there"),
        ([replace(ALL_THERE, already_there=5)], "-1 messages are not accounted for there"),
    ],
)
def test_what_the_destination_lacks_without_a_reason_is_a_gap(there: Sequence[ReplicaTally], reason: str) -> None:
    (gap,) = gaps(INBOX, there=there)

    assert (gap.folder, gap.step) == ("INBOX", "replay")
    assert gap.reason == reason


def test_a_gap_that_another_failure_explains_is_reported_once() -> None:
    unbalanced = replace(INBOX, stored=INBOX.stored - 1)

    assert gap_failures([unbalanced], None, ["INBOX"], {"INBOX"}, all_sent=True) == []


@pytest.mark.parametrize(
    ("failures", "accepted", "error_code", "differences", "expected"),
    [
        (0, 0, None, 0, ("complete", 0)),
        (2, 2, None, 0, ("complete", 0)),
        (2, 1, None, 0, ("incomplete", 3)),
        (1, 0, None, 0, ("incomplete", 3)),
        (0, 0, None, 1, ("incomplete", 4)),
        (2, 2, None, 1, ("incomplete", 4)),
        (2, 0, None, 1, ("incomplete", 4)),
        (0, 0, 3, 0, ("incomplete", 3)),  # no room left at the destination
        (0, 0, 5, 0, ("failed", 5)),
        (2, 0, 5, 1, ("failed", 5)),
        (2, 0, 3, 1, ("incomplete", 3)),
        (0, 0, 143, 0, ("failed", 143)),
        (0, 0, 1, 0, ("failed", 1)),
    ],
)
def test_the_exit_code_follows_from_what_is_missing(
    failures: int, accepted: int, error_code: int | None, differences: int, expected: tuple[Status, int]
) -> None:
    some = [Failure("INBOX", None, "fetch", "why", None, "run again")] * failures

    assert judge(some, accepted, error_code, differences) == expected
