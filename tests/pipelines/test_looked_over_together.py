"""Accounts that hosts share by a ledger in PostgreSQL are looked at many at a time, under claims that hold."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.fleet.model import RunBegun, RunEnded
from archiver.fleet.postgresql import PostgresqlLedger
from tests.accounts import PROJECT, command
from tests.patience import PATIENCE
from tests.pipelines.test_looked_over import Fleet, Scripted, member, night, opened
from tests.servers.postgresql import Postgresql
from tests.servers.scripted import ScriptedFolder, ScriptedMessage

NAMES = [f"a{number:02}" for number in range(12)]

#: The command with claims that last for seconds.
QUICK = """
from pipelines.hosts import claims
from pipelines.cli.main import main
claims.TTL = 3
main()
"""


@pytest.fixture
def ledger(postgresql: Postgresql, tmp_path: Path) -> Iterator[PostgresqlLedger]:
    address = postgresql.socket_url(postgresql.fresh_database())
    (tmp_path / "defaults.toml").write_text(f'[fleet]\nledger = "{address}"\n')
    ledger = PostgresqlLedger(address, "fleet")
    yield ledger
    ledger.close()


@pytest.fixture
def fleet(ledger: PostgresqlLedger, scripted: Scripted, tmp_path: Path) -> Fleet:
    """Accounts that were archived, each at a server of its own."""
    made: Fleet = {}
    for name in NAMES:
        folder = ScriptedFolder()
        folder.add(ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n"))
        server = scripted({b"INBOX": folder})
        made[name] = member(tmp_path, server, "u1", name=name, source__attempts=1), server
    night(tmp_path, "--run", "first")
    return made


def is_free(ledger: PostgresqlLedger) -> bool:
    """Whether nobody has claimed an account."""
    return all(each.claim is None for each in ledger.accounts.known().values())


def all_meet(fleet: Fleet) -> None:
    """Let no server answer before all were asked."""
    meeting = threading.Barrier(len(fleet), timeout=60)

    def wait(*_: object) -> None:
        meeting.wait()

    for _, server in fleet.values():
        server.on(b"LIST", wait, times=1)


@pytest.mark.parametrize("verb", [("run",), ("worker", "--once")], ids=["run", "worker"])
def test_all_are_looked_at_side_by_side_whatever_the_workers(
    fleet: Fleet, ledger: PostgresqlLedger, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    time.sleep(1.1)  # what was done in the second in which a worker begins is not due for it
    all_meet(fleet)
    connections = [server.connections for _, server in fleet.values()]

    document = command(*verb, tmp_path, "--workers", "1", "--json").report

    assert [each["nothing_new_since"] for each in document["accounts"]] == ["first"] * len(fleet)
    assert [server.connections for _, server in fleet.values()] == [each + 1 for each in connections]
    known = ledger.accounts.known()
    assert {each.last.exit_code for each in known.values() if each.last is not None} == {0}
    assert {each.last.run for each in known.values() if each.last is not None} != {"first"}
    assert is_free(ledger)


def test_what_is_new_is_found_and_one_that_cannot_be_looked_at_stops_only_itself(
    fleet: Fleet, ledger: PostgresqlLedger, tmp_path: Path
) -> None:
    fleet["a03"][1].folders[b"INBOX"].add(ScriptedMessage(b"Subject: new\r\n\r\nnew\r\n"))
    refused = fleet["a05"][1]
    refused.login_reply, connections = b"NO wrong", refused.connections
    archive = tmp_path / "archives" / "a07"
    archive.rename(tmp_path / "unmounted")

    ended = night(tmp_path, "--workers", "2", expect=8)

    assert {name: each["exit_code"] for name, each in ended.items() if each["exit_code"]} == {"a05": 5, "a07": 8}
    assert opened(ended) == {"a03", "a05", "a07"}
    assert ended["a03"]["totals"]["stored"] == 2
    assert refused.connections == connections + 1
    assert is_free(ledger)


def test_what_has_to_be_opened_is_free_for_any_host_while_a_slow_server_is_waited_for(
    fleet: Fleet, ledger: PostgresqlLedger, tmp_path: Path
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        asked.set()
        go_on.wait(PATIENCE)

    fleet["a00"][1].on(b"LIST", hang, times=1)
    inbox, listed = fleet["a05"][1].folders[b"INBOX"], fleet["a05"][1]
    inbox.add(ScriptedMessage(b"Subject: new\r\n\r\nnew\r\n"))
    connections = listed.connections
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines", "run", str(tmp_path), "--quiet"], cwd=PROJECT
    ) as process:
        assert asked.wait(PATIENCE)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            claims = {name: each.claim for name, each in ledger.accounts.known(["a00", "a05"]).items()}
            if listed.connections > connections and claims["a05"] is None:
                break
            time.sleep(0.05)
        go_on.set()
        assert process.wait(PATIENCE) == 0
    assert claims["a00"] is not None
    assert claims["a05"] is None
    assert is_free(ledger)


def test_what_a_worker_looked_at_is_due_again_in_its_time(
    fleet: Fleet, ledger: PostgresqlLedger, tmp_path: Path
) -> None:
    all_meet(fleet)
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines", "worker", str(tmp_path), "--every", "1h"],
        cwd=PROJECT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and any(each.due is None for each in ledger.accounts.known().values()):
            time.sleep(0.05)
        process.terminate()
    left = [(each.due or 0) - ledger.now() for each in ledger.accounts.known().values()]
    assert all(3000 < each <= 3600 for each in left), left
    assert is_free(ledger)


def test_accounts_that_a_killed_host_was_looking_at_are_done_by_another(
    fleet: Fleet, ledger: PostgresqlLedger, tmp_path: Path
) -> None:
    asked, killed = threading.Semaphore(0), threading.Event()

    def hang(*_: object) -> None:
        asked.release()
        killed.wait(PATIENCE)

    for _, server in fleet.values():
        server.on(b"LIST", hang, times=1)
    with subprocess.Popen(
        [sys.executable, "-c", QUICK, "run", str(tmp_path)], cwd=PROJECT, stderr=subprocess.DEVNULL
    ) as process:
        for _ in fleet:
            assert asked.acquire(timeout=PATIENCE)
        assert {each.claim is not None for each in ledger.accounts.known().values()} == {True}
        process.kill()
    killed.set()

    document = command("run", tmp_path, "--json", program=("-c", QUICK)).report

    assert [each["exit_code"] for each in document["accounts"]] == [0] * len(fleet)
    assert is_free(ledger)


def test_who_lost_an_account_while_looking_at_it_leaves_it_to_the_other(
    fleet: Fleet, ledger: PostgresqlLedger, tmp_path: Path
) -> None:
    """Nothing was new when it looked, and meanwhile another host has found more."""

    def come(name: str) -> Callable[..., None]:
        def do(*_: object) -> None:
            ledger.claims.give_back(ledger.accounts.known()[name].claim.owner, [name])  # type: ignore[union-attr]
            assert ledger.claims.take("other:1", [name], 60)
            ledger.accounts.begun([RunBegun(name, "theirs", "run", "2026-11-30T02:00:00Z", "other:1")])
            time.sleep(2)
            at = "2026-11-30T02:10:00Z"
            ledger.accounts.ended(
                [RunEnded(name, "theirs", "incomplete", 3, at, 1.0, "a message is broken", "look")]
            )
            ledger.claims.give_back("other:1", [name])

        return do

    fleet["a01"][1].on(b"LIST", come("a01"), times=1)

    ended = command("run", tmp_path, "--json", expect=3, program=("-c", QUICK))

    mine = {each["account"]: each for each in ended.report["accounts"]}
    assert (mine["a01"]["exit_code"], mine["a01"]["run"]) == (3, "theirs")
    assert "done by other: incomplete, exit code 3: a message is broken; look" in ended.output
    assert ledger.accounts.known()["a01"].last.run == "theirs"  # type: ignore[union-attr]
    assert {each["exit_code"] for name, each in mine.items() if name != "a01"} == {0}


def test_what_was_done_under_a_name_is_one_line_and_is_not_done_again(
    fleet: Fleet, ledger: PostgresqlLedger, tmp_path: Path
) -> None:
    fleet["a02"][1].login_reply = b"NO wrong"
    night(tmp_path, "--run", "night", expect=5)
    fleet["a02"][1].login_reply = None
    (tmp_path / "a02.password").touch()  # somebody looked into it
    connections = {name: server.connections for name, (_, server) in fleet.items()}

    again = command("run", tmp_path, "--run", "night", "--json")

    host = socket.gethostname()
    lines = [line for line in again.output.splitlines() if "done b" in line]
    assert len(lines) == 1, again.output
    assert lines[0].endswith(f"run night: 11 accounts were done before, by {host}")
    assert {each["exit_code"] for each in again.report["accounts"]} == {0}
    asked = {name for name, (_, server) in fleet.items() if server.connections > connections[name]}
    assert asked == {"a02"}
