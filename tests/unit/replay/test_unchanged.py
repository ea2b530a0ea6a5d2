"""What need not be read again at a destination."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from archiver.facts.mailbox import FolderStat
from archiver.facts.replica import ReplicaFolder
from archiver.mail.model import Attributes, FolderStatus
from archiver.replay.compare.unchanged import all_are_there, changes_since, is_unchanged

STATUS = FolderStatus(uidvalidity=7, uidnext=100, messages=50, highestmodseq=900, size=123_456)
FOLDER = ReplicaFolder(1, b"INBOX", 7, compared=STATUS)


def test_the_same_status_means_that_nothing_changed() -> None:
    assert is_unchanged(FOLDER, STATUS)


@pytest.mark.parametrize(
    "status",
    [
        None,
        replace(STATUS, uidvalidity=8),
        replace(STATUS, uidnext=101),
        replace(STATUS, messages=49),
        replace(STATUS, highestmodseq=901),
        replace(STATUS, size=123_457),
        replace(STATUS, size=None),
    ],
    ids=["none", "UIDVALIDITY", "UIDNEXT", "MESSAGES", "HIGHESTMODSEQ", "SIZE", "no SIZE"],
)
def test_another_status_does_not(status: FolderStatus | None) -> None:
    assert not is_unchanged(FOLDER, status)


@pytest.mark.parametrize(
    "status",
    [
        replace(STATUS, highestmodseq=None),
        replace(STATUS, highestmodseq=0),
        replace(STATUS, uidnext=None),
        replace(STATUS, uidvalidity=0),
    ],
    ids=["no HIGHESTMODSEQ", "HIGHESTMODSEQ 0", "no UIDNEXT", "no UIDVALIDITY"],
)
def test_a_status_that_proves_nothing_does_not_even_if_it_is_the_recorded_one(status: FolderStatus) -> None:
    folder = replace(FOLDER, uidvalidity=status.uidvalidity, compared=status)

    assert not is_unchanged(folder, status)
    assert changes_since(folder, status) is None


def test_a_folder_that_was_never_compared_is_read() -> None:
    folder = replace(FOLDER, compared=None)

    assert not is_unchanged(folder, STATUS)
    assert changes_since(folder, STATUS) is None


def test_what_changed_since_is_enough_after_later_changes() -> None:
    assert changes_since(FOLDER, replace(STATUS, highestmodseq=901)) == 900
    assert changes_since(FOLDER, replace(STATUS, highestmodseq=950, uidnext=120, messages=60, size=2)) == 900
    assert changes_since(FOLDER, STATUS) == 900  # the archive got a copy that was there already


@pytest.mark.parametrize(
    "status",
    [
        None,
        replace(STATUS, uidvalidity=8, highestmodseq=901),
        replace(STATUS, highestmodseq=899),
        replace(STATUS, highestmodseq=901, uidnext=99),
        replace(STATUS, messages=49),
        replace(STATUS, highestmodseq=901, size=1),
    ],
    ids=["none", "UIDVALIDITY", "HIGHESTMODSEQ", "UIDNEXT", "MESSAGES", "SIZE"],
)
def test_a_server_that_is_not_where_it_was_is_read_as_a_whole(status: FolderStatus | None) -> None:
    assert changes_since(FOLDER, status) is None


@pytest.mark.parametrize(
    ("messages", "uids", "expected"),
    [
        (50, [], True),
        (50, [3, 4], True),
        (52, [3, 100, 105], True),
        (49, [], False),
        (50, [100], False),
        (51, [], False),
    ],
)
def test_no_message_is_gone_if_there_are_as_many_as_before_and_those_that_came(
    messages: int, uids: list[int], expected: bool
) -> None:
    looked = FolderStat(7, messages, [Attributes(uid) for uid in uids])

    assert all_are_there(STATUS, looked) == expected


def test_a_folder_with_other_uids_has_none_of_them() -> None:
    assert not all_are_there(STATUS, FolderStat(8, 50, []))
