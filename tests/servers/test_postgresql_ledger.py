"""The fleet's ledger in a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from archiver.errors import ConfigError, LedgerUnavailable
from archiver.fleet.postgresql import PostgresqlLedger
from tests.contracts.fleet_ledger import ALICE, LedgerContract, begun, enrolled
from tests.servers.postgresql import OWNER_PASSWORD, Postgresql

__all__ = ["enrolled"]


@pytest.fixture
def address(postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PGPASSWORD", OWNER_PASSWORD)
    return postgresql.url(postgresql.fresh_database())


@pytest.fixture
def ledger(address: str) -> Iterator[PostgresqlLedger]:
    ledger = PostgresqlLedger(address, "fleet")
    yield ledger
    ledger.close()


class TestPostgresqlLedger(LedgerContract):
    @pytest.fixture
    def again(self, address: str) -> Iterator[Callable[[], PostgresqlLedger]]:
        opened: list[PostgresqlLedger] = []

        def open_again() -> PostgresqlLedger:
            opened.append(PostgresqlLedger(address, "fleet"))
            return opened[-1]

        yield open_again
        for each in opened:
            each.close()


def test_threads_that_begin_together_make_the_tables_once(
    postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", OWNER_PASSWORD)
    for _ in range(5):
        url = postgresql.url(postgresql.fresh_database())
        ledgers = [PostgresqlLedger(url, "fleet") for _ in range(6)]
        with ThreadPoolExecutor(len(ledgers)) as threads:
            assert list(threads.map(lambda each: each.accounts.known(), ledgers)) == [{}] * len(ledgers)
        for each in ledgers:
            each.close()


def test_processes_that_begin_together_make_the_tables_once_and_share_the_accounts(address: str) -> None:
    program = (
        "import sys; from msgspec.structs import replace;"
        "from archiver.fleet.postgresql import PostgresqlLedger; from tests.contracts.fleet_ledger import ALICE;"
        "ledger = PostgresqlLedger(sys.argv[1], 'fleet'); names = [f'a{n:03}' for n in range(200)];"
        "ledger.accounts.enrol([replace(ALICE, account=name) for name in names]);"
        "[print(name) for _ in names for name in ledger.claims.take_due(sys.argv[2], names, 3, 600)]"
    )
    racing = [
        subprocess.Popen([sys.executable, "-c", program, address, owner], stdout=subprocess.PIPE, text=True)
        for owner in ("one", "other", "third")
    ]
    taken = [each.communicate(timeout=60)[0].split() for each in racing]

    assert [each.returncode for each in racing] == [0, 0, 0]
    assert sorted(name for mine in taken for name in mine) == [f"a{n:03}" for n in range(200)]


def test_a_restart_in_between_is_not_noticed_and_a_longer_one_is_waited_for_and_said_once(
    own_postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = PostgresqlLedger(own_postgresql.socket_url(own_postgresql.fresh_database()), "fleet")
    ledger.accounts.enrol([ALICE])
    own_postgresql.restart()
    assert set(ledger.claims.take("one", ["alice"], 60)) == {"alice"}
    assert caplog.messages == []

    own_postgresql.kill()
    both = [threading.Thread(target=ledger.accounts.begun, args=([begun()],)) for _ in range(2)]
    for thread in both:
        thread.start()
    time.sleep(2.5)
    own_postgresql.start()
    for thread in both:
        thread.join()

    last = ledger.accounts.known()["alice"].last
    assert last is not None
    assert last.run == begun().run
    assert [message.rpartition("; ")[2][:30] for message in caplog.messages[:1]] == ["waiting for it"]
    assert len(caplog.messages) == 2
    assert "is back after" in caplog.messages[1]
    ledger.close()


def test_the_end_of_the_process_ends_waiting(own_postgresql: Postgresql) -> None:
    class Ended(Exception):
        pass

    def pause(_: float) -> None:
        raise Ended

    ledger = PostgresqlLedger(own_postgresql.socket_url(own_postgresql.fresh_database()), "fleet", pause)
    ledger.accounts.enrol([ALICE])
    own_postgresql.kill()

    with pytest.raises(Ended):
        ledger.accounts.known()
    ledger.close()


def test_one_that_was_never_there_is_named_at_once(postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with pytest.raises(
        LedgerUnavailable, match=r"postgresql://archiver@127\.0\.0\.1:9/fleet: .*refused"
    ) as refused:
        PostgresqlLedger("postgresql://archiver@127.0.0.1:9/fleet", "fleet").now()
    assert time.monotonic() - began < 5
    assert "start the database" in str(refused.value)

    address = postgresql.url(postgresql.fresh_database())
    for password, hint in (("", "pgpass"), ("a wrong one", "pgpass")):
        monkeypatch.setenv("PGPASSWORD", password)
        with pytest.raises(LedgerUnavailable) as refused:
            PostgresqlLedger(address, "fleet").now()
        assert hint in str(refused.value)
        assert "wrong one" not in str(refused.value)


def test_a_ledger_of_a_newer_version_and_one_without_rights_are_refused(
    postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", OWNER_PASSWORD)
    database = postgresql.fresh_database()
    known = PostgresqlLedger(postgresql.url(database), "fleet")
    known.now()
    known.close()
    postgresql.psql("UPDATE archiver.ledger SET version = 99", database)
    with pytest.raises(ConfigError, match="newer archiver"):
        PostgresqlLedger(postgresql.url(database), "fleet").now()

    with pytest.raises(LedgerUnavailable, match=r"permission denied.*CREATE SCHEMA archiver"):
        PostgresqlLedger(postgresql.url("postgres"), "fleet").now()
