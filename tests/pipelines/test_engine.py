"""A run of several accounts: begun again by its name, put back where a server throttles."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver.config.load import load_account
from archiver.events import Noted, Working
from archiver.source import backoff
from pipelines import steps
from pipelines.engine import run as engine
from pipelines.engine.run import Options, Run, run_accounts
from pipelines.events import AnyEvent, Began, Ended, Failed
from pipelines.graph import tasks
from pipelines.outcome import AccountOutcome
from tests.accounts import PROJECT, account_file
from tests.patience import PATIENCE
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]


def mail() -> dict[bytes, ScriptedFolder]:
    folder = ScriptedFolder()
    folder.add(ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n"))
    return {b"INBOX": folder}


def account(directory: Path, name: str, server: ScriptedServer, **keys: Any) -> Path:
    return account_file(
        directory, server, "u1", name=name, archive__path=str(directory / "archives" / name), **keys
    )


def run_all(configs: list[Path], **options: Any) -> tuple[list[AccountOutcome[Run]], list[tuple[str, AnyEvent]]]:
    reported: list[tuple[str, AnyEvent]] = []
    accounts = [load_account(each) for each in configs]
    outcomes = run_accounts(accounts, Options(**options), lambda name, event: reported.append((name, event)))
    return outcomes, reported


def test_a_folders_name_is_text_on_the_schedulers_page(tmp_path: Path, scripted: Scripted) -> None:
    config = account(tmp_path, "alice", scripted(mail()))
    shown: list[str] = []
    task = tasks.ArchiveFolders(config=str(config), run_id="tonight")
    task.set_status_message = shown.append

    task.report_progress(Working('<img src=x onerror="alert(1)">\u202e & more'))

    assert shown == ["0 of 0 messages; folder &lt;img src=x onerror=&quot;alert(1)&quot;&gt;\\u202e &amp; more"]


@pytest.mark.parametrize("with_destination", [False, True])
def test_everything_that_a_run_makes_is_private_whatever_the_umask(
    tmp_path: Path, scripted: Scripted, with_destination: bool
) -> None:
    keys: dict[str, Any] = {}
    if with_destination:
        there = scripted(writable=True, capabilities=DESTINATION)
        keys = {"host": there.host, "port": there.port, "tls": "off", "user": "u1"}
        keys |= {"password": {"file": str(tmp_path / "a.password")}}
        keys = {f"destination__{name}": value for name, value in keys.items()}
    place = tmp_path / "new" / "deep" / "archive"
    config = account(tmp_path, "a", scripted(mail()), **keys)
    config.write_text(config.read_text().replace(str(tmp_path / "archives" / "a"), str(place)))
    arguments = [sys.executable, "-m", "pipelines", "run", "--quiet", str(config)]

    subprocess.run(arguments, cwd=PROJECT, umask=0, check=True, timeout=PATIENCE)

    made = [tmp_path / "new", *sorted((tmp_path / "new").rglob("*")), tmp_path / "a.archive"]
    assert len(made) > 10
    assert {str(each): oct(each.stat().st_mode & 0o077) for each in made if each.stat().st_mode & 0o077} == {}


class TestTheSameNameAgain:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_what_was_done_is_reported_as_it_was_and_what_failed_is_tried_again(
        self, scripted: Scripted, tmp_path: Path, workers: int
    ) -> None:
        good, odd, bad = scripted(mail()), scripted(mail()), scripted(mail(), login_reply=b"NO [UNAVAILABLE] no")
        odd.folders[b"INBOX"].messages[1].fetch = "nil"
        servers = {"good": good, "bad": bad, "odd": odd}
        configs = [account(tmp_path, name, server, source__attempts=1) for name, server in servers.items()]

        first, _ = run_all(configs, run_id="tonight", workers=workers)
        connections = [server.connections for server in servers.values()]
        second, _ = run_all(configs, run_id="tonight", workers=workers)
        bad.login_reply = None
        third, _ = run_all(configs, run_id="tonight", workers=workers)

        assert [each.exit_code for each in first] == [0, 5, 3]
        assert [each.exit_code for each in second] == [0, 5, 3]
        assert [each.exit_code for each in third] == [0, 0, 3]
        assert [each.result for each in second] == [each.result for each in first]
        assert [each.message for each in (*second, *third) if each.exit_code in (0, 3)] == [None] * 5
        assert (good.connections, odd.connections) == (connections[0], connections[2])

    def test_another_step_of_that_name_is_not_what_was_asked_for(self, scripted: Scripted, tmp_path: Path) -> None:
        there = scripted(writable=True, capabilities=DESTINATION)
        keys = {"host": there.host, "port": there.port, "tls": "off", "user": "u1"}
        keys |= {"password": {"file": str(tmp_path / "a.password")}}
        config = account(tmp_path, "a", scripted(mail()), **{f"destination__{name}": keys[name] for name in keys})

        run_all([config], run_id="tonight", steps="archive")
        ((outcome,), _) = run_all([config], run_id="tonight")

        assert outcome.exit_code == 0
        assert len(there.folders[b"INBOX"].messages) == 1


class TestThrottled:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backoff, "_LONGEST_THROTTLE_SECONDS", 0.05)

    def order(self, reported: list[tuple[str, AnyEvent]]) -> list[str]:
        words = {Began: "begins", Failed: "fails", Ended: "ends"}
        return [f"{name} {words[type(event)]}" for name, event in reported if type(event) in words]

    @pytest.mark.parametrize("command", [b"LOGIN", b"EXAMINE", b"UID FETCH"])
    def test_others_go_first_and_then_it_is_tried_again(
        self, scripted: Scripted, tmp_path: Path, command: bytes
    ) -> None:
        slow = scripted(mail())
        slow.on(command, b"NO [THROTTLED] Suggested Backoff Time: 300 milliseconds", times=1)
        configs = [account(tmp_path, name, server) for name, server in (("a", slow), ("b", scripted(mail())))]

        outcomes, reported = run_all(configs)

        assert [each.exit_code for each in outcomes] == [0, 0]
        order = self.order(reported)
        assert order.index("a fails") < order.index("b ends") < len(order) - 1 - order[::-1].index("a ends")
        assert outcomes[0].result.tries == 2

    def test_one_that_is_put_off_too_long_ends_with_the_time_to_come_back(
        self, scripted: Scripted, tmp_path: Path
    ) -> None:
        slow = scripted(mail())
        slow.on(b"LIST", b"NO [THROTTLED] Suggested Backoff Time: 3600000 milliseconds")
        configs = [account(tmp_path, name, server) for name, server in (("a", slow), ("b", scripted(mail())))]

        began = time.monotonic()
        outcomes, _ = run_all(configs)

        assert [each.exit_code for each in outcomes] == [75, 0]
        assert re.search(r"try again after \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, ", outcomes[0].message or "")
        assert time.monotonic() - began < 60

    def test_a_signal_ends_the_wait_for_those_that_would_be_tried_again(
        self, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = {"soon": 60_000, "tomorrow": 86_400_000}
        replies = {name: b"NO [THROTTLED] Backoff Time: %d milliseconds" % wait for name, wait in limits.items()}
        configs = [account(tmp_path, name, scripted(mail(), login_reply=replies[name])) for name in limits]
        reported: list[str] = []

        def listen(name: str, event: AnyEvent) -> None:
            if isinstance(event, Noted) and event.text.startswith("postponed"):
                reported.append(name)
                monkeypatch.setattr(engine.STOP, "signal", signal.SIGTERM)

        outcomes = run_accounts([load_account(each) for each in configs], Options(), listen)

        assert [each.exit_code for each in outcomes] == [143, 75]
        assert reported == ["soon"]

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_time_beyond_all_calendars_ends_that_account_alone(
        self, scripted: Scripted, tmp_path: Path, workers: int
    ) -> None:
        slow = scripted(mail(), login_reply=b"NO [LIMIT] Try again in 999999999 hours")
        configs = [account(tmp_path, name, server) for name, server in (("a", slow), ("b", scripted(mail())))]

        outcomes, _ = run_all(configs, workers=workers)

        assert [each.exit_code for each in outcomes] == [75, 0]
        assert outcomes[0].result.report is not None

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_failure_that_cannot_be_reported_ends_that_account_alone(
        self, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
    ) -> None:
        bad = scripted(mail(), login_reply=b"NO [THROTTLED] later")
        configs = [account(tmp_path, name, server) for name, server in (("a", bad), ("b", scripted(mail())))]
        monkeypatch.setattr(steps, "with_time", lambda error: 1 / 0)

        outcomes, _ = run_all(configs, workers=workers)

        assert [each.exit_code for each in outcomes] == [1, 0]
        assert "division by zero" in (outcomes[0].message or "")

    def test_one_that_goes_on_being_throttled_ends_after_its_attempts(
        self, scripted: Scripted, tmp_path: Path
    ) -> None:
        slow = scripted(mail())
        slow.on(b"LIST", b"NO [THROTTLED] Suggested Backoff Time: 100 milliseconds")

        ((outcome,), _) = run_all([account(tmp_path, "a", slow, source__attempts=3)])

        assert (outcome.exit_code, outcome.result.tries) == (75, 3)


@pytest.mark.parametrize(
    "text",
    [
        "[worker]\ncache_task_completion=true\nkeep_alive=true\n[ArchiveAccount]\nreplay=only\n",
        "no settings at all",
    ],
)
def test_a_file_of_luigi_in_the_current_folder_is_not_obeyed(scripted: Scripted, tmp_path: Path, text: str) -> None:
    config = account(tmp_path, "a", scripted(mail()))
    (tmp_path / "luigi.cfg").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}

    ended = subprocess.run(
        [sys.executable, "-m", "pipelines", "run", str(config)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 on server = 1 stored" in ended.stdout
