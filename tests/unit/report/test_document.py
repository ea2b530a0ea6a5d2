"""The report as a value: its numbers, its lists, and the exit code that follows from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from archiver.facts.replica import Loss, Refused, ReplicaTally
from archiver.mail.model import Folder, Quarantined, Tally
from archiver.mail.refusal import REFUSALS, Refusal, advice
from archiver.report.document import (
    AtDestination,
    Failure,
    Party,
    RunReport,
    Status,
    folder_failures,
    gap_failures,
    judge,
    pending_failures,
    quarantine_failures,
    refusal_failures,
    unreached_failures,
)
from archiver.report.units import completed, undelivered

HOSTILE = "a\x1b[31m\r\nb\u202e"
PRINTED = "a\\x1b[31m\\r\\nb\\u202e"

INBOX = Tally("INBOX", 7, 10, 8, 1, 1, fetched=3, fetched_bytes=300, flags_changed=2, vanished=1, stored_bytes=800)
WORK = Tally("Work/ÿ", 7, 5, 5, 0, 0, stored_bytes=50)
INBOX_THERE = ReplicaTally("INBOX", "INBOX", replayed=2, already_there=3, refused=1, removed=1, pending=1)
WORK_THERE = ReplicaTally("Work/ÿ", "Old/Work/ÿ", replayed=5, already_there=0, refused=0, removed=0, pending=0)
PARTY = Party("mail.example.net", "alice@example.net")


def at(*tallies: ReplicaTally, **others: Any) -> AtDestination:
    return AtDestination(PARTY, {each.folder: each for each in tallies}, **others)


def report(destination: AtDestination | None, folders: Sequence[Tally] = (INBOX, WORK), **others: Any) -> RunReport:
    found = RunReport("alice", "R1", "complete", "then", "now", 0, folders, (), (), destination=destination)
    return replace(found, **others)


def refused(refusal: str = "too-big", **others: Any) -> Refused:
    found = Refused("INBOX", 1, (1, 17), refusal, "it is too big", "NO [TOOBIG]", "a date", "hello", 1, False)
    return replace(found, **others)


# At a destination


def test_a_report_without_a_destination() -> None:
    document = report(None).to_json()

    assert (document["source"], document["destination"]) == (None, None)
    assert [each["destination"] for each in document["folders"]] == [None, None]
    assert document["totals"]["destination"] is None
    assert (document["losses"], document["differences"]) == ([], [])
    assert document["totals"]["stored"] == 13


def test_the_terms_of_the_equation_at_the_destination() -> None:
    verified = {"INBOX": (4, 1), "Work/ÿ": (5, 0)}

    document = report(
        at(INBOX_THERE, WORK_THERE, verified=verified), source=Party("imap.example.org", "al")
    ).to_json()

    assert [each["destination"] for each in document["folders"]] == [
        {
            "name": "INBOX",
            "replayed": 2,
            "already_there": 3,
            "refused": 1,
            "removed": 1,
            "pending": 1,
            "restored": 0,
            "accepted": 0,
            "left_out": 0,
            "verified": 4,
            "differences": 1,
        },
        {
            "name": "Old/Work/ÿ",
            "replayed": 5,
            "already_there": 0,
            "refused": 0,
            "removed": 0,
            "pending": 0,
            "restored": 0,
            "accepted": 0,
            "left_out": 0,
            "verified": 5,
            "differences": 0,
        },
    ]
    assert document["totals"]["destination"] == {
        "replayed": 7,
        "already_there": 3,
        "refused": 1,
        "removed": 1,
        "pending": 1,
        "restored": 0,
        "accepted": 0,
        "left_out": 0,
        "verified": 9,
        "differences": 1,
    }
    assert document["source"] == {"server": "imap.example.org", "user": "al"}
    assert document["destination"] == {"server": "mail.example.net", "user": "alice@example.net"}
    assert [undelivered(row) for row in completed(document)["folders"]] == [0, 0]


def test_a_folder_without_a_place_there_waits_as_a_whole() -> None:
    document = report(at(INBOX_THERE)).to_json()

    there = document["folders"][1]["destination"]
    assert (there["name"], there["pending"], there["replayed"], there["verified"]) == ("", 5, 0, 0)
    assert document["totals"]["destination"]["pending"] == 6
    assert [undelivered(row) for row in completed(document)["folders"]] == [0, 0]


def test_an_equation_that_does_not_balance_is_seen() -> None:
    document = report(at(replace(INBOX_THERE, pending=0), WORK_THERE)).to_json()

    assert [undelivered(row) for row in completed(document)["folders"]] == [1, 0]


def test_only_the_folders_of_the_run_are_counted() -> None:
    other = ReplicaTally("Gone", "Gone", 9, 9, 9, 9, 9)

    document = report(at(INBOX_THERE, WORK_THERE, other)).to_json()

    assert document["totals"]["destination"]["replayed"] == 7
    assert len(document["folders"]) == 2


def test_names_of_folders_are_printable() -> None:
    folders = [replace(WORK, name=HOSTILE)]
    there = ReplicaTally(HOSTILE, HOSTILE, 5, 0, 0, 0, 0)
    skipped = [(Folder(b"", (HOSTILE,)), "it holds no messages")]

    document = report(at(there, verified={PRINTED: (5, 0)}), folders, skipped=skipped).to_json()

    (folder,) = document["folders"]
    assert (folder["name"], folder["destination"]["name"]) == (PRINTED, PRINTED)
    assert (folder["destination"]["replayed"], folder["destination"]["verified"]) == (5, 5)
    assert document["skipped"] == [{"name": PRINTED, "reason": "it holds no messages"}]


def test_losses_are_sets_of_uids() -> None:
    losses = [
        Loss("INBOX", "flags", "$a b", (9, 1, 2, 3, 7)),
        Loss(HOSTILE, "rewritten", HOSTILE, tuple(range(1, 200_001, 2))),
    ]

    document = report(at(losses=losses)).to_json()

    assert document["losses"][0] == {
        "folder": "INBOX",
        "kind": "flags",
        "detail": "$a b",
        "count": 5,
        "uids": "1:3,7,9",
    }
    assert (document["losses"][1]["folder"], document["losses"][1]["detail"]) == (PRINTED, PRINTED)
    assert document["losses"][1]["count"] == len(document["losses"][1]["uids"].split(",")) == 100_000


def test_differences_and_timings_are_reported() -> None:
    difference = {"folder": "INBOX", "uid": 1, "what": "size", "expected": "5", "found": "6"}

    document = report(at(differences=[difference]), timings={"archive": 1.23456, "verify": 0.0004}).to_json()

    assert document["differences"] == [difference]
    assert document["timings"] == {"archive": 1.235, "verify": 0.0}


def test_a_report_is_json_and_is_read_again() -> None:
    failures = refusal_failures([refused(reason="ü", subject=HOSTILE)])

    document = report(at(INBOX_THERE, losses=[Loss("INBOX", "flags", "a", (1,))]), failures=failures).to_json()

    assert json.loads(json.dumps(document)) == document
    read = completed(document)
    assert {name: read[name] for name in document} == document


# Failures


def test_a_refused_message_is_a_failure() -> None:
    assert refusal_failures([refused()]) == [
        Failure("INBOX", 17, "replay", "it is too big", "NO [TOOBIG]", advice("too-big"), "a date", "hello")
    ]
    assert refusal_failures([]) == []


@pytest.mark.parametrize("refusal", REFUSALS)
def test_each_refusal_comes_with_its_own_advice(refusal: Refusal) -> None:
    assert [each.next for each in refusal_failures([refused(refusal)])] == [advice(refusal)]


def test_a_refusal_of_a_later_version_comes_with_some_advice() -> None:
    assert [each.next for each in refusal_failures([refused("unheard-of")])] == [advice("unknown")]


def test_a_damaged_message_is_to_be_restored() -> None:
    (failure,) = refusal_failures([refused("damaged")])

    assert "`archiver repair`" in failure.next


def test_an_accepted_loss_is_still_reported() -> None:
    (failure,) = refusal_failures([refused(accepted=True)])

    assert failure.next == "a person accepted that this message is not at the destination"


def test_what_strangers_wrote_is_printable() -> None:
    hostile = refused(folder=HOSTILE, server_reply=HOSTILE, date=HOSTILE, subject=HOSTILE)
    bare = refused(server_reply=None, date=None, subject=None)

    one, other = refusal_failures([hostile, bare])

    assert (one.folder, one.server_reply, one.date, one.subject) == (PRINTED,) * 4
    assert (other.server_reply, other.date, other.subject) == (None, None, None)


def test_what_was_not_sent_is_a_failure() -> None:
    many = replace(INBOX_THERE, pending=12_345)

    assert pending_failures([many, WORK_THERE], {}) == [
        Failure(
            "INBOX",
            None,
            "replay",
            "12,345 messages are not at the destination yet",
            None,
            "run again; messages that are there are not sent again",
        )
    ]


def test_a_folder_that_failed_says_why() -> None:
    """Also one of which everything was sent, and one that has no place there."""
    errors = {"INBOX": f"no such folder {HOSTILE}", "Work/ÿ": "not writable", "Nowhere": "no name for it"}

    found = pending_failures([INBOX_THERE, WORK_THERE], errors)

    assert [(each.folder, each.reason) for each in found] == [
        ("INBOX", f"no such folder {PRINTED}"),
        ("Work/ÿ", "not writable"),
        ("Nowhere", "no name for it"),
    ]
    assert {(each.step, each.uid, each.server_reply) for each in found} == {("replay", None, None)}


def test_nothing_pending_is_no_failure() -> None:
    assert pending_failures([WORK_THERE], {}) == pending_failures([], {}) == []


def test_quarantined_messages_are_failures() -> None:
    waiting = Quarantined("INBOX", 1, 5, "fetch", "no body", "NO", 1, False, "then")

    found = quarantine_failures([waiting, replace(waiting, uid=6, accepted=True, folder=HOSTILE)])

    assert [(each.folder, each.uid, each.step, each.reason) for each in found] == [
        ("INBOX", 5, "fetch", "no body"),
        (PRINTED, 6, "fetch", "no body"),
    ]
    assert "archiver retry" in found[0].next
    assert "accepted" in found[1].next


def test_a_folder_that_does_not_balance_is_a_failure() -> None:
    tallies = [
        INBOX,
        replace(INBOX, stored=7),
        replace(INBOX, error=HOSTILE),
        replace(INBOX, stored=7, visited=False),
    ]

    assert [(each.folder, each.reason) for each in folder_failures(tallies)] == [
        ("INBOX", "1 messages are not accounted for"),
        ("INBOX", PRINTED),
    ]


def test_folders_that_were_not_reached_are_failures() -> None:
    assert [(each.folder, each.reason, each.next) for each in unreached_failures(["a", HOSTILE], "why")] == [
        ("a", "why", "run again"),
        (PRINTED, "why", "run again"),
    ]


# The net under `complete`


ALL_THERE = replace(INBOX_THERE, already_there=4, pending=0)


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


# The verdict


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
    some = unreached_failures(["INBOX"] * failures, "why")

    assert judge(some, accepted, error_code, differences) == expected
