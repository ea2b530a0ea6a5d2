"""All accounts of a fleet together keep to what a server may be asked for, over threads, workers and commands."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archiver.config.load import load_account
from archiver.errors import ConfigError
from archiver.fleet import shared
from pipelines.engine.run import Options, run_accounts
from pipelines.events import log_line
from tests.accounts import account_file, command
from tests.faults.attempts import Attempt
from tests.servers.postgresql import OWNER_PASSWORD, Postgresql
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]


_SHORT_SEATS = """
from archiver.fleet import shared
from pipelines.cli.main import main
assert shared.SEAT_SECONDS == 60
shared.SEAT_SECONDS, shared._KEEP_SECONDS = 4, 1
main()
"""
SHORT_SEATS = ("-c", _SHORT_SEATS)
"""The same program, whose connections count for a few seconds only after it was killed."""


def fleet(directory: Path, server: ScriptedServer, count: int, limits: str) -> list[Path]:
    directory.mkdir(exist_ok=True)
    (directory / "defaults.toml").write_text(f'[servers."{server.host}"]\n{limits}\n')
    server.users = {f"u{number}": "pw" for number in range(count)}
    for number in range(count):
        name = f"u{number}"
        account_file(directory, server, name, archive__path=str(directory / "archives" / name))
    return sorted(directory.glob("u*.toml"))


def mail(count: int, size: int = 10) -> dict[bytes, ScriptedFolder]:
    folder = ScriptedFolder()
    folder.add(*(ScriptedMessage(b"Subject: %d\r\n\r\n" % n + b"x" * size + b"\r\n") for n in range(count)))
    return {b"INBOX": folder}


@contextmanager
def most_at_once(server: ScriptedServer) -> Iterator[list[int]]:
    """How many sessions were logged in at the same time, at most, once this is over."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.003):
            most[0] = max(most[0], sum(each.user is not None and each.is_open for each in server.sessions))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


@pytest.fixture
def slow(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """A server that knows which of its sessions are open, and takes its time."""
    run = Session.run

    def noted(self: Session) -> None:
        self.is_open = True
        try:
            run(self)
        finally:
            self.is_open = False

    monkeypatch.setattr(Session, "is_open", False, raising=False)
    monkeypatch.setattr(Session, "run", noted)
    server = scripted(mail(30))
    server.on(b"UID FETCH", lambda *_: time.sleep(0.2))
    return server


@pytest.mark.parametrize("workers", [2, 4])
def test_connections(slow: ScriptedServer, tmp_path: Path, workers: int) -> None:
    configs = fleet(tmp_path, slow, 6, "connections = 1")
    told: list[str] = []
    for _ in range(2):  # the second time in threads
        with most_at_once(slow) as most:
            outcomes = run_accounts(
                [load_account(each) for each in configs],
                Options(workers=workers),
                lambda _, event: told.append(log_line(event) or ""),
            )
        assert [each.exit_code for each in outcomes] == [0] * 6, [each.message for each in outcomes]
        assert most[0] == 1
    assert f"waits for one of 1 connections to {slow.host}" in told
    assert not shared._seats


def test_hosts_that_share_a_database(
    slow: ScriptedServer, tmp_path: Path, postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders of accounts, as on two hosts, and one ledger."""
    monkeypatch.setenv("PGPASSWORD", OWNER_PASSWORD)
    limits = f'connections = 1\n[fleet]\nledger = "{postgresql.url(postgresql.fresh_database())}"'
    for name in ("one", "two"):
        fleet(tmp_path / name, slow, 3, limits)
    with most_at_once(slow) as most:
        hosts = [Attempt(tmp_path / name, options=["--workers", "2"]) for name in ("one", "two")]
        ended = [each.end() for each in hosts]
    assert [each.exit_code for each in ended] == [0, 0], [each.output for each in ended]
    assert most[0] == 1


def test_a_killed_process_gives_its_connections_back(slow: ScriptedServer, tmp_path: Path) -> None:
    configs = fleet(tmp_path, slow, 2, "connections = 1")
    slow.on(b"UID FETCH", lambda *_: time.sleep(3), times=1)
    attempt = Attempt(configs[0], program=SHORT_SEATS)
    while not any(b"FETCH" in each for each in slow.commands):
        time.sleep(0.02)
    attempt.kill(group=True)
    killed = time.monotonic()
    command("run", configs[1])
    assert 1 < time.monotonic() - killed < 30


def test_a_signal_ends_the_wait_for_a_connection(slow: ScriptedServer, tmp_path: Path) -> None:
    configs = fleet(tmp_path, slow, 2, "connections = 1")
    slow.on(b"UID FETCH", lambda *_: time.sleep(6), times=1)
    first = Attempt(configs[0])
    while not any(b"FETCH" in each for each in slow.commands):
        time.sleep(0.02)
    second = Attempt(configs[1]).begun()
    time.sleep(1.5)
    second.signal(signal.SIGTERM)
    began = time.monotonic()
    assert second.end().exit_code == 143
    assert time.monotonic() - began < 4
    assert first.end().exit_code == 0


def test_octets(scripted: Scripted, tmp_path: Path) -> None:
    server = scripted(mail(30, 10_000))
    configs = fleet(tmp_path, server, 3, "octets_per_second = 300_000")
    began = time.monotonic()
    outcomes = run_accounts([load_account(each) for each in configs], Options(workers=3), lambda *_: None)
    assert [each.exit_code for each in outcomes] == [0] * 3
    assert time.monotonic() - began >= (900_000 - 300_000) / 300_000 - 0.7


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ("connections = 0", "must be greater than or equal to 1"),
        ("octets_per_second = -5", "must be greater than 0"),
        ("conections = 4", 'is not a key; did you mean "connections"?'),
    ],
)
def test_bad_limits(scripted: Scripted, tmp_path: Path, limits: str, problem: str) -> None:
    (config,) = fleet(tmp_path, scripted(), 1, limits)
    with pytest.raises(ConfigError, match="servers") as raised:
        load_account(config)
    assert problem in str(raised.value)


def test_they_belong_into_the_defaults(scripted: Scripted, tmp_path: Path) -> None:
    (config,) = fleet(tmp_path, scripted(), 1, "connections = 2")
    config.write_text(config.read_text() + '\n[servers."x.example.org"]\nconnections = 1\n')
    with pytest.raises(ConfigError, match=r"write it into defaults\.toml"):
        load_account(config)
