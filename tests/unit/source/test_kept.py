"""A connection that one step leaves open for the next: at most one to a side, for the same account, in the same
process."""

from __future__ import annotations

from typing import cast

import pytest

from archiver.source import kept
from archiver.source.kept import KeptConnection, keep, keeping, take
from archiver.source.port import SourceConnection


class Connection:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def connection() -> SourceConnection:
    return cast(SourceConnection, Connection())


def closed(one: SourceConnection) -> int:
    return cast(Connection, one).closed


def test_it_is_taken_once_and_by_its_account_alone() -> None:
    one = connection()
    with keeping(True):
        keep("alice", one)
        assert (take("bob"), take("alice"), take("alice")) == (None, one, None)
    assert closed(one) == 0


def test_what_nobody_takes_is_closed_at_the_end() -> None:
    one = connection()
    with keeping(True):
        keep("alice", one)
        assert closed(one) == 0
    assert (closed(one), take("alice")) == (1, None)


def test_another_one_takes_its_place() -> None:
    one, other = connection(), connection()
    with keeping(True):
        keep("alice", one)
        keep("bob", other)
        assert (closed(one), closed(other), take("alice"), take("bob")) == (1, 0, None, other)


def test_each_side_of_an_account_has_a_place() -> None:
    place, here, there = KeptConnection[SourceConnection](), connection(), connection()
    with keeping(True):
        keep("alice", here)
        place.keep("alice", there)
        assert (take("alice"), take("alice")) == (here, None)
    assert (closed(here), closed(there)) == (0, 1)


@pytest.mark.parametrize("allowed", [True, False])
def test_where_it_may_not_be_kept_it_is_closed(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked worker may not, and no process where workers are forked."""
    one = connection()
    with keeping(allowed):
        if allowed:
            monkeypatch.setattr(kept.os, "getpid", lambda: 0)
        keep("alice", one)
        assert (closed(one), take("alice")) == (1, None)


def test_one_that_was_kept_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    one = connection()
    with keeping(True):
        keep("alice", one)
        monkeypatch.setattr(kept, "_SECONDS", -1.0)
        assert take("alice") is None
        assert closed(one) == 1
    assert closed(one) == 1
