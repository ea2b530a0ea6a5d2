"""A list of UIDs is changed where something came or went, and is then the same as a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.mail.content import body_of
from archiver.mail.model import Placement, StoredMessage
from archiver.mail.uidset import UidSet
from archiver.storage.maildir.format import format_uidlist, updated_uidlist

UIDS = st.sets(st.integers(1, 120), max_size=40)


def place(uid: int) -> Placement:
    body = body_of(b"Subject: %d\r\n\r\n" % uid)
    return Placement(
        ".a", 7, 1, StoredMessage.bare(uid, body.digest, body.size, body.crlf_size, 1_600_000_000 + uid)
    )


def places(uids: Iterable[int]) -> list[Placement]:
    return [place(uid) for uid in sorted(uids)]


def written(uids: Iterable[int], uidnext: int = 1) -> bytes:
    return bytes(format_uidlist(".a", 7, uidnext, places(uids)))


def updated(before: bytes, uids: Iterable[int], of: Callable[[UidSet], list[Placement]] = places) -> bytes | None:
    return updated_uidlist(before, ".a", 7, 1, UidSet(uids), of)


@given(UIDS, UIDS)
def test_it_is_as_if_written_anew(before: set[int], after: set[int]) -> None:
    found = updated(written(before), after)
    if after - before and before and min(after - before) < max(before):
        assert found is None  # one came in the middle
    else:
        assert found == written(after)


@given(UIDS)
def test_only_what_came_is_looked_at(before: set[int]) -> None:
    def of(uids: UidSet) -> list[Placement]:
        assert set(uids) == {200, 201}
        return places(uids)

    assert updated(written(before), before | {200, 201}, of) == written(before | {200, 201})


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"3 V8 N10 G0\n",
        written([1, 2]).replace(b"V7", b"V8"),
        written([1, 2]).replace(b"\n2 :", b"\n2 W5 :"),
        written([1, 2])[:-1],
        written([1, 2]) + written([2])[40:],
        written([1, 2]).replace(b" G", b" G0"),
        written([]) + written([2])[len(written([])) :] + written([1])[len(written([])) :],
    ],
)
def test_a_list_that_is_not_as_it_was_left_is_written_anew(before: bytes) -> None:
    assert updated(before, [1, 2]) is None
