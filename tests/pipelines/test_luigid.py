"""A luigid's page about a run: it shows the accounts, and no run depends on it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.errors import ConfigError
from archiver.events import Working
from pipelines.cli.main import invoke
from pipelines.events import Began, Ended, Expected, Failed
from pipelines.graph import board
from pipelines.graph.board import Board
from pipelines.graph.luigid import Luigid, SchedulerUnreachable
from tests.accounts import account_file
from tests.faults.attempts import wait_for
from tests.pipelines.luigid import Central
from tests.servers.mail_server import free_port
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]
MAIL = {b"INBOX": ScriptedFolder(messages={1: ScriptedMessage(b"Subject: one\r\n\r\nbody\r\n")})}


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    central = Central(tmp_path_factory.mktemp("luigid"))
    central.start()
    yield central
    central.kill()


def account(directory: Path, name: str, server: ScriptedServer) -> Path:
    return account_file(directory, server, "u1", name=name, archive__path=str(directory / "archives" / name))


def test_its_page_shows_a_task_for_each_account_and_how_it_ended(
    central: Central, scripted: Scripted, tmp_path: Path
) -> None:
    good, bad = scripted(dict(MAIL)), scripted(dict(MAIL), login_reply=b"NO [AUTHENTICATIONFAILED] <b>no</b>")
    configs = [str(account(tmp_path, "good", good)), str(account(tmp_path, "bad", bad))]

    assert invoke(["run", *configs, "--scheduler-url", central.url]) == 5

    assert "Account_good" in central.tasks("DONE")
    failed = central.tasks("FAILED")["Account_bad"]
    assert failed["params"] == {"account": "bad"}
    shown = Luigid(central.url).ask("fetch_error", task_id="Account_bad")
    assert "&lt;b&gt;no" in shown["error"]
    assert "<b>" not in shown["error"]


def test_a_run_goes_on_without_it_and_says_so_in_one_line(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://someone:opensesame@127.0.0.1:{free_port()}"

    assert invoke(["run", str(account(tmp_path, "a", scripted(dict(MAIL)))), "--scheduler-url", url]) == 0

    about = [line for line in capsys.readouterr().err.splitlines() if "luigid" in line]
    assert len(about) == 1
    assert "luigid does not answer (Connection refused); the work goes on" in about[0]
    assert "opensesame" not in about[0]


def test_one_that_is_killed_and_comes_back_shows_all_accounts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "_PING_SECONDS", 0.1)
    monkeypatch.setattr(board, "_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(board, "_AGAIN_SECONDS", 0.2)
    central, said = Central(tmp_path), list[str]()
    central.start()
    page = Board(central.url, ["alice", "bob"], said.append)
    try:
        with page.listening(lambda account, event: None) as hear:
            hear("alice", Began("archive"))
            wait_for(lambda: "Account_alice" in central.tasks("RUNNING"), "alice on the page")
            central.kill()
            wait_for(lambda: len(said) == 1, "the line")
            hear("bob", Failed("wrong password", 5))
            central.start()
            wait_for(lambda: "Account_bob" in central.tasks("FAILED"), "bob on the page")
            hear("alice", Expected(8, 0))
            hear("alice", Working("<i>Sent"))
            message = "archive: 0 of 8 messages; folder &lt;i&gt;Sent"
            wait_for(
                lambda: central.tasks("RUNNING").get("Account_alice", {}).get("status_message") == message,
                "the folder",
            )
        page.finish([{"account": "alice", "exit_code": 0}, {"account": "bob", "exit_code": 5, "message": "no"}])
        assert set(central.tasks("DONE")) == {"Account_alice"}
    finally:
        central.kill()
    assert ["does not answer" in said[0], "answers again" in said[1], len(said)] == [True, True, 2]


def test_what_is_no_luigid_is_named() -> None:
    for wrong in ("luigi", "ftp://luigi.example.org", "http://", "http://[::1"):
        with pytest.raises(ConfigError, match="is not the address of a luigid"):
            Luigid(wrong)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.graph.luigid._PATIENCE_SECONDS", 0.2)
        began = time.monotonic()
        with pytest.raises(SchedulerUnreachable, match=r"luigid does not answer \(timed out\)"):
            Luigid(f"http://127.0.0.1:{silent.getsockname()[1]}").ask("ping", worker="w")
        assert time.monotonic() - began < 5


def test_the_rounds_of_a_worker_are_shown_one_after_the_other(central: Central) -> None:
    page = Board(central.url, ["early", "late"], lambda text: None)
    for account in ("early", "late"):
        with page.listening(lambda name, event: None) as hear:
            hear(account, Ended(0, "report.json"))
        assert f"Account_{account}" in central.tasks("DONE")
