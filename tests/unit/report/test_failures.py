"""What a report lists as missing or wrong, and what to do about it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from archiver.facts.known import Quarantined
from archiver.facts.outgoing import Refused
from archiver.facts.replica import ReplicaTally
from archiver.mail.refusal import REFUSALS, Refusal, advice
from archiver.report.document import Failure
from archiver.report.failures import pending_failures, quarantine_failures, refusal_failures, unreached_failures

HOSTILE = "a\x1b[31m\r\nb\u202e"
PRINTED = "a\\x1b[31m\\r\\nb\\u202e"

INBOX_THERE = ReplicaTally("INBOX", "INBOX", replayed=2, already_there=3, refused=1, removed=1, pending=1)
WORK_THERE = ReplicaTally("Work/ÿ", "Old/Work/ÿ", replayed=5, already_there=0, refused=0, removed=0, pending=0)


def refused(refusal: str = "too-big", **others: Any) -> Refused:
    found = Refused("INBOX", 1, (1, 17), refusal, "it is too big", "NO [TOOBIG]", "a date", "hello", 1, False)
    return replace(found, **others)


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


def test_folders_that_were_not_reached_are_failures() -> None:
    assert [(each.folder, each.reason, each.next) for each in unreached_failures({"a": "why", HOSTILE: "why"})] == [
        ("a", "why", "run again"),
        (PRINTED, "why", "run again"),
    ]
