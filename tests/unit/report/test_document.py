"""The report as a value: its numbers, its lists, and the exit code that follows from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from archiver.facts.known import Tally
from archiver.facts.replica import Loss, ReplicaTally
from archiver.mail.model import Folder
from archiver.report.document import AtDestination, Failure, Party, RunReport
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
    failures = [Failure("INBOX", 17, "replay", "ü", None, "run again", subject="ÿ")]

    document = report(at(INBOX_THERE, losses=[Loss("INBOX", "flags", "a", (1,))]), failures=failures).to_json()

    assert json.loads(json.dumps(document)) == document
    read = completed(document)
    assert {name: read[name] for name in document} == document
