"""Sets of UIDs: compressed, ascending, cut into pieces; and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.uidset import UidSet, format_uid_set, parse_uid_ranges, parse_uid_set


@pytest.mark.parametrize(
    ("uids", "text"),
    [([1, 2, 3, 4, 5, 7], "1:5,7"), ([7, 5, 6, 6], "5:7"), ([4294967295], "4294967295"), ([1, 3, 4], "1,3:4")],
)
def test_ranges_are_compressed_and_ascending(uids: list[int], text: str) -> None:
    assert list(format_uid_set(uids)) == [text]


def test_no_uids_give_no_piece() -> None:
    assert list(format_uid_set(())) == []
    assert list(parse_uid_ranges(b" ")) == []


def test_pieces_keep_the_limit() -> None:
    assert list(format_uid_set([1, 3, 5, 7, 9], limit_octets=5)) == ["1,3,5", "7,9"]
    assert list(format_uid_set([100, 102], limit_octets=1)) == ["100", "102"]


def test_descending_ranges_are_read() -> None:
    assert list(parse_uid_ranges(b"10:8,3")) == [range(8, 11), range(3, 4)]


def test_huge_ranges_are_not_counted_through() -> None:
    assert list(parse_uid_ranges(b"1:4294967295")) == [range(1, 4294967296)]
    assert len(parse_uid_set(b"1:4294967295,7,4294967295")) == 2**32 - 1


@pytest.mark.parametrize(
    "text", [b"1:", b":1", b"1,,2", b"*", b"1:*", b"a", b"-1", b"1_0", b"1 2", b"9" * 11, b"1:" + b"9" * 5000]
)
def test_what_is_no_set_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a set of UIDs"):
        list(parse_uid_ranges(text))


@given(st.sets(st.integers(1, 2**32 - 1) | st.integers(1, 50)), st.integers(1, 60))
def test_round_trip(uids: set[int], limit: int) -> None:
    pieces = list(format_uid_set(uids, limit_octets=limit))
    assert [uid for piece in pieces for each in parse_uid_ranges(piece.encode()) for uid in each] == sorted(uids)
    assert all(len(piece) <= limit or "," not in piece for piece in pieces)


def test_a_million_uids_are_no_matter() -> None:
    pieces = list(format_uid_set(range(1, 2_000_000, 2)))
    assert sum(len(list(parse_uid_ranges(piece.encode()))) for piece in pieces) == 1_000_000


SETS = st.sets(st.integers(1, 12) | st.integers(1, 2**32 - 1))


@given(SETS, SETS)
def test_it_is_the_set_of_its_members(one: set[int], other: set[int]) -> None:
    here, there = UidSet(one), UidSet(other)

    assert (list(here), len(here)) == (sorted(one), len(one))
    for theirs in (other, there, sorted(other), dict.fromkeys(other).keys()):
        assert here & theirs == one & other
        assert here | theirs == one | other
        assert here - theirs == one - other
    assert (other - here, other & here, other | here) == (other - one, other & one, other | one)
    assert (here <= there, here < there, here == there, here.isdisjoint(there)) == (
        one <= other,
        one < other,
        one == other,
        one.isdisjoint(other),
    )
    assert all((uid in here) == (uid in one) for uid in one | other | {0, 13})


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9))))
def test_ranges_in_any_order_are_one_set(ranges: list[tuple[int, int]]) -> None:
    each = [range(start, start + length) for start, length in ranges]

    assert UidSet.of_ranges(each) == {uid for one in each for uid in one}


@given(SETS, st.integers(1, 5))
def test_it_comes_in_pieces_and_by_its_ends(uids: set[int], most: int) -> None:
    whole = UidSet(uids)
    pieces = list(whole.pieces(most))

    assert [uid for piece in pieces for uid in piece] == sorted(uids)
    assert all(len(piece) == most for piece in pieces[:-1])
    assert whole.newest(most) == sorted(uids)[-most:]
    assert (whole.first, whole.last) == (min(uids, default=0), max(uids, default=0))


def test_what_there_could_be_at_most_costs_no_more_than_one() -> None:
    every = UidSet.of_ranges([range(1, 2**32)])

    assert (len(every - [5]), 5 in every - [5], (every & range(3)).last) == (2**32 - 2, False, 2)
    assert next(every.pieces(1000)) == set(range(1, 1001))
    assert list(format_uid_set(every)) == ["1:4294967295"]


def test_equal_sets_are_one_key() -> None:
    assert hash(UidSet([3, 1])) == hash(UidSet([1, 3])) == hash(frozenset({1, 3}))
    assert repr(UidSet([1, 2, 5])) == "UidSet('1:2,5')"
