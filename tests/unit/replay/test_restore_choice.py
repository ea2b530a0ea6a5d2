"""Which messages are restored, and why others are not."""

from __future__ import annotations

import pytest

from archiver.facts.known import KnownFolder
from archiver.facts.query import Found
from archiver.facts.restored import Restored
from archiver.mail.model import Folder
from archiver.replay.restore.choice import Candidate, Standing, Wishes, choose, distinct
from tests.contracts.catalog import AT, placement

NONE: frozenset[str] = frozenset()
BACK = Restored(2, b"Restored", 5, False, NONE, True, AT)
AWAY = Restored(2, b"Restored", 5, True, NONE, True, AT)


def folder(number: int, raw: bytes) -> KnownFolder:
    return KnownFolder(number, Folder(raw, (raw.decode(),), "/", NONE, True), raw.decode(), True)


INBOX, WORK, MADE = folder(1, b"INBOX"), folder(2, b"Work"), folder(3, b"Restored/INBOX")


def candidate(
    uid: int = 1, where: KnownFolder = INBOX, *, epoch: int = 1, gone: bool = True, flags: frozenset[str] = NONE
) -> Candidate:
    """A message; those of one UID have equal octets."""
    found = Found(where.folder.name, placement(uid, where.directory), AT if gone else None, True, None, epoch)
    return Candidate(found, where, flags)


@pytest.mark.parametrize(
    ("wishes", "there", "before", "standing"),
    [
        (Wishes(), {}, None, "wanted"),
        (Wishes(), {"Work": False}, None, "there"),
        (Wishes(also_present=True), {"Work": False}, None, "wanted"),
        (Wishes(also_present=True), {"INBOX": True}, None, "wanted"),
        (Wishes(also_present=True, in_place=True), {"INBOX": True}, None, "there"),
        (Wishes(also_present=True, in_place=True), {"Work": False}, None, "wanted"),
        (Wishes(), {}, BACK, "restored"),
        (Wishes(), {"Restored": False}, BACK, "restored"),
        (Wishes(also_present=True), {}, BACK, "restored"),
        (Wishes(), {}, AWAY, "removed"),
        (Wishes(), {"Work": False}, AWAY, "there"),
        (Wishes(again=True), {}, AWAY, "wanted"),
        (Wishes(again=True), {}, BACK, "wanted"),
        (Wishes(again=True, checked=True), {}, BACK, "restored"),
        (Wishes(again=True, checked=True), {}, AWAY, "wanted"),
    ],
)
def test_a_message_is_sent_if_it_is_gone_and_was_not_brought_back(
    wishes: Wishes, there: dict[str, bool], before: Restored | None, standing: Standing
) -> None:
    one = candidate()
    (chosen,) = choose([one], wishes, lambda _: there, {} if before is None else {one.key: before})
    assert chosen.standing == standing
    assert chosen.there == (tuple(there) if standing == "there" else ())


def test_of_equal_messages_in_a_folder_the_newest_counts() -> None:
    old, new, elsewhere = candidate(), candidate(epoch=2), candidate(where=WORK)
    assert distinct([old, new, elsewhere]) == [new, elsewhere]
    still_there = candidate(gone=False)
    assert distinct([new, still_there]) == [still_there]


def test_what_a_restore_made_counts_only_by_itself() -> None:
    first, again, alone = candidate(), candidate(where=MADE), candidate(2, MADE)
    assert distinct([first, again, alone], {MADE.folder.raw}) == [first, alone]


def test_a_message_is_sent_without_what_would_remove_it() -> None:
    flags = frozenset({"\\Seen", "\\DELETED", "$a"})
    outgoing = candidate(flags=flags).outgoing
    assert outgoing.placement.flags == {"\\Seen", "$a"}
    assert outgoing.key == (1, 1)
    assert outgoing.comes_back
