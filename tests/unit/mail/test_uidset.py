"""Sets of UIDs: compressed, ascending, cut into pieces; and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.uidset import format_uid_set, parse_uid_ranges


@pytest.mark.parametrize(
    ("uids", "text"),
    [([1, 2, 3, 4, 5, 7], "1:5,7"), ([7, 5, 6, 6], "5:7"), ([4294967295], "4294967295"), ([1, 3, 4], "1,3:4")],
)
def test_ranges_are_compressed_and_ascending(uids: list[int], text: str) -> None:
    assert list(format_uid_set(uids)) == [text]


def test_no_uids_give_no_piece() -> None:
    assert list(format_uid_set(())) == []
    assert parse_uid_ranges(b" ") == []


def test_pieces_keep_the_limit() -> None:
    assert list(format_uid_set([1, 3, 5, 7, 9], limit_octets=5)) == ["1,3,5", "7,9"]
    assert list(format_uid_set([100, 102], limit_octets=1)) == ["100", "102"]


def test_descending_ranges_are_read() -> None:
    assert parse_uid_ranges(b"10:8,3") == [range(8, 11), range(3, 4)]


def test_huge_ranges_are_not_counted_through() -> None:
    assert parse_uid_ranges(b"1:4294967295") == [range(1, 4294967296)]


@pytest.mark.parametrize(
    "text", [b"1:", b":1", b"1,,2", b"*", b"1:*", b"a", b"-1", b"1_0", b"1 2", b"9" * 11, b"1:" + b"9" * 5000]
)
def test_what_is_no_set_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a set of UIDs"):
        parse_uid_ranges(text)


@given(st.sets(st.integers(1, 2**32 - 1) | st.integers(1, 50)), st.integers(1, 60))
def test_round_trip(uids: set[int], limit: int) -> None:
    pieces = list(format_uid_set(uids, limit_octets=limit))
    assert [uid for piece in pieces for each in parse_uid_ranges(piece.encode()) for uid in each] == sorted(uids)
    assert all(len(piece) <= limit or "," not in piece for piece in pieces)


def test_a_million_uids_are_no_matter() -> None:
    pieces = list(format_uid_set(range(1, 2_000_000, 2)))
    assert sum(len(parse_uid_ranges(piece.encode())) for piece in pieces) == 1_000_000
