"""Which rows of an answer bring something that was asked for, and how much of all answers is kept together."""

from __future__ import annotations

import gc

import pytest

from archiver.imap.answers import Budget, MessageRows, News, Share
from archiver.imap.tokens import Response

MIB = 1 << 20
LIST = b'* LIST () "/" Sent'
STATUS = b"* STATUS Sent (MESSAGES 1 UIDVALIDITY 1)"
FETCH = b"* 1 FETCH (UID 7 FLAGS ())"
EVERYTHING = b'LIST "" "*" RETURN (STATUS (MESSAGES)) LSUB "" "*" UID SEARCH ALL UID FETCH 1 (UID)'


@pytest.mark.parametrize(
    ("command", "row"),
    [
        (b'LIST "" "*"', LIST),
        (b'list "" "*"', b'* xlist () "/" Sent'),
        (b'LSUB "" "*"', b'* LSUB () "/" Sent'),
        (b'LSUB "" "*"', LIST),
        (b'LIST "" "*" RETURN (STATUS (MESSAGES))', STATUS),
        (b'STATUS "Sent" (MESSAGES)', STATUS),
        (b"UID SEARCH ALL", b"* SEARCH 1 2"),
        (b"UID SEARCH RETURN (ALL) ALL", b"* ESEARCH UID ALL 1:2"),
        (b'EXAMINE "Sent" (QRESYNC (1 2))', FETCH),
        (b'EXAMINE "Sent" (QRESYNC (1 2))', b"* VANISHED (EARLIER) 1:5"),
        (b"UID STORE 7 +FLAGS (a)", FETCH),
        (b"UID FETCH 7 (FLAGS)", FETCH),
    ],
)
def test_a_row_that_was_asked_for_is_news_once(command: bytes, row: bytes) -> None:
    news = News(command)
    assert [news.has(Response(row), 3) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("row", [LIST, STATUS, FETCH, b"* SEARCH 1", b"* VANISHED 1:5"])
def test_a_row_of_another_kind_is_none(row: bytes) -> None:
    assert not News(b"CREATE Sent").has(Response(row), 3)


@pytest.mark.parametrize(
    "row",
    [b"* OK still here", b"* 3 EXISTS", b"* 3 EXPUNGE", b"* CAPABILITY IMAP4rev1", b"* FLAGS ()", b"+ go on", b""],
)
def test_what_a_server_may_always_say_is_none(row: bytes) -> None:
    assert not News(EVERYTHING).has(Response(row), 3)


def test_rows_differ_by_their_literals() -> None:
    news = News(EVERYTHING)
    rows = [Response(b'* LIST () "/" \0000\0', (name,)) for name in (b"one", b"two", b"one")]
    assert [news.has(row, 3) for row in rows] == [True, True, False]


def test_only_messages_that_exist_bring_something() -> None:
    rows = MessageRows()
    numbers = (3, 1, 2, 4, 0, 2**64, 3, 1)
    assert [rows.is_news(b"* %d FETCH (UID 9)" % number, 3) for number in numbers] == [
        *(True, True, True),
        *(False, False, False),
        *(False, False),
    ]


@pytest.mark.parametrize("exists", [3, 4294967295])
def test_a_number_that_cannot_be_takes_no_memory(exists: int) -> None:
    rows = MessageRows()
    assert not rows.is_news(b"* 4294967295 FETCH (UID 9)", exists)
    assert not rows._seen


def test_of_all_answers_the_largest_is_given_up() -> None:
    budget = Budget(10 * MIB)
    large, small = Share(budget), Share(budget)
    assert large.grow(8 * MIB)
    assert small.grow(4 * MIB)
    assert large.grow(MIB // 2)  # not counted yet
    assert not large.grow(MIB)


def test_one_that_is_not_given_up_does_not_let_the_others_grow_for_ever() -> None:
    budget = Budget(8 * MIB)
    large, small = Share(budget), Share(budget)
    assert large.grow(8 * MIB)
    assert small.grow(2 * MIB)
    assert not small.grow(2 * MIB)


def test_small_answers_need_no_budget() -> None:
    budget = Budget(0)
    assert all(Share(budget).grow(MIB) for _ in range(100))


def test_what_is_no_longer_kept_is_free_for_others() -> None:
    budget = Budget(10 * MIB)
    first = Share(budget)
    assert first.grow(9 * MIB)
    del first
    gc.collect()
    assert Share(budget).grow(10 * MIB)
