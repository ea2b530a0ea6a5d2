"""Which messages that a server does not show are gone, and which may only be hidden."""

from __future__ import annotations

import pytest

from archiver.mail.uidset import UidSet
from archiver.mail.window import WINDOWS, hidden_among, is_window, may_be_part, window_words


@pytest.mark.parametrize("window", WINDOWS)
def test_the_numbers_at_which_providers_cut_are_windows_and_their_neighbours_are_not(window: int) -> None:
    assert is_window([window])
    assert is_window([None, 3, window])
    assert not is_window([window - 1, window + 1, None])


def test_nothing_is_gone_from_a_window() -> None:
    assert hidden_among(UidSet({1, 2, 700}), UidSet(range(3, 1000)), at_window=True, hidden_before=0) == {1, 2, 700}


def test_whatever_is_missing_elsewhere_is_gone() -> None:
    assert hidden_among(UidSet({1, 2, 700}), UidSet(range(3, 1002)), at_window=False, hidden_before=0) == set()
    assert hidden_among(UidSet({1, 2}), UidSet(range(3, 1100)), at_window=False, hidden_before=2) == set()
    assert hidden_among(UidSet({1, 2}), UidSet(range(3, 850)), at_window=False, hidden_before=2) == set()
    assert hidden_among(UidSet({1, 2}), UidSet(()), at_window=False, hidden_before=2) == set()


def test_a_window_with_a_few_deletions_hides_what_is_older_than_it() -> None:
    shown = set(range(6, 1006)) - {600, 601}
    assert hidden_among(UidSet({1, 2, 3, 4, 5, 600, 601}), UidSet(shown), at_window=False, hidden_before=5) == {
        1,
        2,
        3,
        4,
        5,
    }


def test_a_folder_that_hid_something_may_be_a_part_up_to_the_number() -> None:
    assert [may_be_part(shown, 5) for shown in (899, 900, 1000, 1001)] == [False, True, True, False]
    assert [may_be_part(shown, 0) for shown in (900, 999, 1000)] == [False, False, True]


def test_the_words_name_the_ways_out() -> None:
    text = window_words("INBOX", 10_000, 5)
    assert text.startswith(
        'folder "INBOX" shows exactly 10,000 messages: the server probably shows only a part of it'
    )
    for part in (
        "5 that it no longer shows stay in the archive",
        "export.imap.mail.yahoo.com",
        "Do not limit",
        "[folders] whole",
    ):
        assert part in text
    assert "no longer" not in window_words("INBOX", 10_000, 0)
    assert "was cut off before" in window_words("INBOX", 9_998, 5)
