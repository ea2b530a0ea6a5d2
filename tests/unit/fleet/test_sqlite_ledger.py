"""The ledger of a fleet in a SQLite file."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.errors import ConfigError, LedgerUnavailable
from archiver.fleet.port import FleetLedger
from archiver.fleet.sqlite import SqliteLedger
from tests.contracts.fleet_ledger import ALICE, LedgerContract, enrolled

__all__ = ["enrolled"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[FleetLedger]:
    opened = SqliteLedger(tmp_path / "fleet.sqlite", "fleet")
    yield opened
    opened.close()


@pytest.fixture
def again(tmp_path: Path) -> Callable[[], FleetLedger]:
    return lambda: SqliteLedger(tmp_path / "fleet.sqlite", "fleet")


class TestSqliteLedger(LedgerContract):
    pass


def test_only_its_owner_can_read_it(ledger: FleetLedger, tmp_path: Path) -> None:
    ledger.accounts.enrol([ALICE])

    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}


def test_two_fleets_in_one_file_know_nothing_of_each_other(ledger: FleetLedger, tmp_path: Path) -> None:
    ledger.accounts.enrol([ALICE])
    other = SqliteLedger(tmp_path / "fleet.sqlite", "other")

    assert other.accounts.known() == {}
    assert list(other.claims.take("one", ["alice"], 60)) == []
    other.close()


def test_a_directory_that_is_not_there_has_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="No such file or directory; give this user the right"):
        SqliteLedger(tmp_path / "gone" / "fleet.sqlite", "fleet").accounts.known()


def test_a_damaged_file_is_said_to_be_replaceable(tmp_path: Path) -> None:
    (tmp_path / "fleet.sqlite").write_bytes(b"no database " * 1000)

    with pytest.raises(LedgerUnavailable, match="not a database; move it away; runs and marks in the archives"):
        SqliteLedger(tmp_path / "fleet.sqlite", "fleet").accounts.known()


def test_a_ledger_of_a_newer_archiver_is_refused(ledger: FleetLedger, tmp_path: Path) -> None:
    ledger.accounts.known()
    ledger.close()
    with sqlite3.connect(tmp_path / "fleet.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(ConfigError, match="newer archiver"):
        ledger.accounts.known()


def test_a_forked_child_opens_its_own(ledger: FleetLedger) -> None:
    ledger.accounts.enrol([ALICE])
    child = os.fork()
    if child == 0:
        try:
            taken = ledger.claims.take("child", ["alice"], 60)
            os._exit(0 if list(taken) == ["alice"] else 1)
        except BaseException:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    claim = ledger.accounts.known()["alice"].claim
    assert claim is not None
    assert claim.owner == "child"
