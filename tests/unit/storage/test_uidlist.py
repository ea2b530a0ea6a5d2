"""A list of UIDs is changed where something came or went, and is then the same as a new one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.mail.content import body_of
from archiver.mail.model import Placement, StoredMessage
from archiver.mail.uidset import UidSet
from archiver.storage.maildir import uidlist

UIDS = st.sets(st.integers(1, 120), max_size=40)


def place(uid: int) -> Placement:
    body = body_of(b"Subject: %d\r\n\r\n" % uid)
    return Placement(
        ".a", 7, 1, StoredMessage.bare(uid, body.digest, body.size, body.crlf_size, 1_600_000_000 + uid)
    )


def places(uids: Iterable[int]) -> list[Placement]:
    return [place(uid) for uid in sorted(uids)]


def written(uids: Iterable[int]) -> bytes:
    uids = UidSet(uids)
    return uidlist.header_of(".a", 7, uids.last + 1) + b"".join(uidlist.rows_of(uids, places))


def updated(before: bytes, uids: Iterable[int], of: Callable[[UidSet], list[Placement]] = places) -> bytes | None:
    uids = UidSet(uids)
    file = io.BytesIO(before)
    kept = uidlist.kept(file, ".a", 7, uids)
    if kept is None:
        return None
    pieces = [*uidlist.copied(file, kept.spans), *uidlist.rows_of(kept.came, of)]
    after = b"".join([uidlist.header_of(".a", 7, uids.last + 1), *pieces])
    assert kept.is_all == (before == kept.header + b"".join(pieces))
    return after


@pytest.fixture(autouse=True, params=[1 << 20, 100])
def _read_in_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a megabyte, and of hardly more than a row."""
    monkeypatch.setattr(uidlist, "_PIECE", request.param)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(UIDS, UIDS)
def test_it_is_as_if_written_anew(before: set[int], after: set[int]) -> None:
    found = updated(written(before), after)
    if after - before and before and min(after - before) < max(before):
        assert found is None  # one came in the middle
    else:
        assert found == written(after)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
