"""Accounts in which nothing is new end without Luigi, as they would with it; those with news are Luigi's."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from archiver.account.account import Account
from archiver.config.load import load_account
from archiver.errors import ServerUnavailable
from archiver.source import backoff
from pipelines import steps
from pipelines.attempts import Options, Run
from pipelines.engine.run import run_accounts
from pipelines.events import AnyEvent, Began, Waiting
from pipelines.graph import build
from pipelines.outcome import AccountOutcome
from pipelines.steps import SourceSteps
from tests.accounts import PROJECT, account_file, archive_of
from tests.faults.replays import migration
from tests.patience import PATIENCE
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    Appending,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
)

Scripted = Callable[..., ScriptedServer]
Fleet = dict[str, tuple[Path, ScriptedServer]]


@pytest.fixture
def fleet(scripted: Scripted, tmp_path: Path) -> Fleet:
    """Three accounts that were archived, each at a server of its own."""
    made: Fleet = {}
    for name in ("a", "b", "c"):
        folder = ScriptedFolder()
        folder.add(message())
        server = scripted({b"INBOX": folder, b"Empty": ScriptedFolder()})
        archive = str(tmp_path / "archives" / name)
        config = account_file(tmp_path, server, "u1", name=name, archive__path=archive, source__attempts=1)
        made[name] = config, server
    outcomes, _ = run_all(made, run_id="first")
    assert codes(outcomes) == {"a": 0, "b": 0, "c": 0}
    for _, server in made.values():
        server.sessions.clear()
    return made


def message() -> ScriptedMessage:
    return ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n")


def run_all(fleet: Fleet, **options: Any) -> tuple[list[AccountOutcome[Run]], list[tuple[str, AnyEvent]]]:
    heard: list[tuple[str, AnyEvent]] = []
    accounts = [load_account(config) for config, _ in fleet.values()]
    outcomes = run_accounts(accounts, Options(**options), lambda name, event: heard.append((name, event)))
    return outcomes, heard


def codes(outcomes: list[AccountOutcome[Run]]) -> dict[str, int]:
    return {each.account: each.exit_code for each in outcomes}


def said(server: ScriptedServer, word: bytes) -> int:
    """How often the server heard this command."""
    return sum(command.upper().startswith(word) for command in server.commands)


def recorded(config: Path, run: str) -> tuple[list[Any], dict[str, Any]]:
    """What the ledger and the report say about a run, but not when and by which name."""
    archive = archive_of(config)
    with closing(sqlite3.connect(archive / "catalog.sqlite")) as catalog:
        rows = catalog.execute("SELECT status, exit_code FROM run WHERE run = ?", (run,)).fetchall()
        steps = catalog.execute("SELECT step, result FROM step WHERE run = ? ORDER BY rowid", (run,)).fetchall()
    rows += map(list, steps)
    for row in rows:
        if row[0] == "verify":  # what the destination showed is kept by those who looked at it
            row[1] = {key: value for key, value in json.loads(row[1]).items() if key != "shown"}
    document = json.loads((archive / "runs" / run / "report.json").read_text())
    document["timings"] = list(document["timings"])
    return rows, {key: value for key, value in document.items() if key not in ("run", "started", "finished")}


@pytest.fixture
def no_luigi(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on Luigi must not be given anything."""

    def build_nothing(wave: Any, *_: Any) -> None:
        raise AssertionError([each.settings.account for each in wave])

    monkeypatch.setattr(build, "build", build_nothing)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("no_luigi")
def test_they_end_without_luigi_in_one_connection_each(fleet: Fleet, workers: int) -> None:
    before = [server.connections for _, server in fleet.values()]

    outcomes, _ = run_all(fleet, workers=workers)

    assert codes(outcomes) == {"a": 0, "b": 0, "c": 0}
    assert [server.connections for _, server in fleet.values()] == [each + 1 for each in before]


def test_they_end_as_with_luigi(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same rows, the same report, the same journal and the same events."""
    segments = {name: sorted((archive_of(config) / "journal").iterdir()) for name, (config, _) in fleet.items()}
    _, without = run_all(fleet, run_id="without")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(tmp_path / "none.cfg"))  # somebody configured Luigi, so it decides
    _, by_luigi = run_all(fleet, run_id="by luigi")

    for name, (config, _) in fleet.items():
        assert recorded(config, "without") == recorded(config, "by luigi")
        assert sorted((archive_of(config) / "journal").iterdir()) == segments[name]
    kinds = [[(name, type(event)) for name, event in heard] for heard in (without, by_luigi)]
    assert sorted(kinds[0], key=str) == sorted(kinds[1], key=str)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_with_news_is_luigis_and_is_listed_once(fleet: Fleet, workers: int) -> None:
    config, server = fleet["b"]
    server.folders[b"INBOX"].add(message())

    outcomes, heard = run_all(fleet, workers=workers, run_id="tonight")

    assert codes(outcomes) == {"a": 0, "b": 0, "c": 0}
    assert [outcome.result and outcome.result.tries for outcome in outcomes] == [1, 1, 1]
    assert recorded(config, "tonight")[1]["totals"]["stored"] == 2
    assert said(server, b"LIST") == 1
    begun = [event for name, event in heard if name == "b" and isinstance(event, Began | Waiting)]
    assert begun == [Began("enumerate"), Waiting(), Began("archive")]


def test_a_list_that_others_overtook_is_not_used(fleet: Fleet) -> None:
    """While an account with news waits for its turn, another run may work on it. What was listed before would hide
    what that run found."""
    config, server = fleet["a"]
    account = Account(load_account(config))
    server.folders[b"INBOX"].add(message())
    with account.opened() as archive:
        assert SourceSteps(account, "tonight").look(archive)
    server.folders[b"Later"] = ScriptedFolder()
    run_all({"a": fleet["a"]}, run_id="another")

    with account.writing("tonight") as (archive, recorder):
        listing = SourceSteps(account, "tonight").enumerate(archive, recorder)

    assert "Later" in listing


def test_a_list_that_is_old_is_not_used(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    config, server = fleet["a"]
    account = Account(load_account(config))
    with account.opened() as archive:
        assert not SourceSteps(account, "tonight").look(archive)
    server.folders[b"Later"] = ScriptedFolder()
    monkeypatch.setattr(steps, "_FRESH_SECONDS", -1.0)

    with account.writing("tonight") as (archive, recorder):
        assert "Later" in SourceSteps(account, "tonight").enumerate(archive, recorder)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("no_luigi")
def test_one_that_fails_is_asked_once_and_the_others_end(fleet: Fleet, workers: int) -> None:
    config, server = fleet["b"]
    server.login_reply = b"NO wrong"
    connections = server.connections

    outcomes, _ = run_all(fleet, workers=workers, run_id="tonight")

    assert codes(outcomes) == {"a": 0, "b": 5, "c": 0}
    assert server.connections == connections + 1
    rows, document = recorded(config, "tonight")
    assert rows == [("failed", 5)]
    assert (document["status"], document["exit_code"]) == ("failed", 5)


@pytest.mark.usefixtures("no_luigi")
def test_one_that_is_throttled_is_put_back(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_LONGEST_THROTTLE_SECONDS", 0.05)
    config, server = fleet["a"]
    config.write_text(config.read_text().replace("attempts = 1", "attempts = 2"))
    server.on(b"LOGIN", b"NO [THROTTLED] Suggested Backoff Time: 300 milliseconds", times=1)

    outcomes, _ = run_all({name: fleet[name] for name in ("a", "b")}, run_id="tonight")

    assert codes(outcomes) == {"a": 0, "b": 0}
    assert outcomes[0].result is not None
    assert outcomes[0].result.tries == 2


def test_a_name_that_was_used_before_is_luigis(fleet: Fleet) -> None:
    """It resumes, or does nothing."""
    connections = [server.connections for _, server in fleet.values()]

    outcomes, _ = run_all(fleet, run_id="first")

    assert codes(outcomes) == {"a": 0, "b": 0, "c": 0}
    assert [server.connections for _, server in fleet.values()] == connections


@pytest.mark.usefixtures("no_luigi")
def test_one_that_is_locked_is_refused(fleet: Fleet) -> None:
    config, _ = fleet["b"]
    with (archive_of(config) / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        outcomes, _ = run_all(fleet, workers=2)

    assert codes(outcomes) == {"a": 0, "b": 7, "c": 0}


@pytest.mark.usefixtures("no_luigi")
def test_one_whose_catalog_is_damaged_fails_alone(fleet: Fleet) -> None:
    config, _ = fleet["b"]
    (archive_of(config) / "catalog.sqlite").write_bytes(b"no database" * 1000)

    outcomes, _ = run_all(fleet, workers=2)

    assert [each.exit_code != 0 for each in outcomes] == [False, True, False]
    assert "archiver rebuild" in (outcomes[1].message or "")


class TestWithADestination:
    """Nothing is new at the source, and there is nothing to send."""

    @pytest.fixture
    def there(self, scripted: Scripted) -> ScriptedServer:
        return scripted(
            {b"INBOX": ScriptedFolder(7)}, capabilities=DESTINATION, writable=True, appending=Appending()
        )

    @pytest.fixture
    def migrated(self, scripted: Scripted, there: ScriptedServer, tmp_path: Path) -> Fleet:
        """An account that was archived, replayed and compared."""
        folder = ScriptedFolder()
        folder.add(message())
        server = scripted({b"INBOX": folder, b"Empty": ScriptedFolder()})
        config = migration(tmp_path, server, "u1", there, "u1", source__attempts=1, destination__attempts=1)
        fleet = {"u1": (config, server)}
        assert codes(run_all(fleet)[0]) == {"u1": 0}
        server.sessions.clear()
        there.sessions.clear()
        return fleet

    @pytest.fixture
    def no_luigi(self, migrated: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on Luigi must not be given anything."""
        monkeypatch.setattr(build, "build", lambda *_: pytest.fail("Luigi was given something"))

    @pytest.mark.usefixtures("no_luigi")
    def test_it_ends_without_luigi_in_one_connection_to_each_side(
        self, migrated: Fleet, there: ScriptedServer
    ) -> None:
        config, server = migrated["u1"]
        connections = server.connections, there.connections

        outcomes, heard = run_all(migrated, run_id="tonight")

        assert codes(outcomes) == {"u1": 0}
        assert (server.connections, there.connections) == (connections[0] + 1, connections[1] + 1)
        assert [said(there, word) for word in (b"LIST", b"SELECT", b"EXAMINE", b"LOGOUT")] == [1, 0, 0, 1]
        assert recorded(config, "tonight")[1]["totals"]["destination"]["verified"] == 1
        begun = [event.step for _, event in heard if type(event).__name__ == "Began"]
        assert begun == ["enumerate", "archive", "replay", "verify"]

    def test_it_ends_as_with_luigi(self, migrated: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        config, _ = migrated["u1"]
        segments = sorted((archive_of(config) / "journal").iterdir())
        _, without = run_all(migrated, run_id="without")
        monkeypatch.setenv("LUIGI_CONFIG_PATH", str(tmp_path / "none.cfg"))
        _, by_luigi = run_all(migrated, run_id="by luigi")

        assert recorded(config, "without") == recorded(config, "by luigi")
        assert sorted((archive_of(config) / "journal").iterdir()) == segments
        assert [type(event) for _, event in without] == [type(event) for _, event in by_luigi]

    @pytest.mark.usefixtures("no_luigi")
    def test_flags_that_its_user_changed_there_are_no_news(self, migrated: Fleet, there: ScriptedServer) -> None:
        there.folders[b"INBOX"].mark(1, ["\\Seen"])

        assert codes(run_all(migrated)[0]) == {"u1": 0}
        assert [said(there, word) for word in (b"LIST", b"EXAMINE")] == [2, 1]

    @pytest.mark.parametrize("change", ["the source", "the destination", "both"])
    def test_news_on_either_side_are_luigis(self, migrated: Fleet, there: ScriptedServer, change: str) -> None:
        config, server = migrated["u1"]
        if change != "the source":
            there.folders[b"INBOX"].expunge([1])
        if change != "the destination":
            server.folders[b"INBOX"].add(ScriptedMessage(b"Subject: another\r\n\r\nnews\r\n"))

        assert codes(run_all(migrated, run_id="tonight")[0]) == {"u1": 0}

        counts = recorded(config, "tonight")[1]["totals"]["destination"]
        expected = {"the source": (1, 1, 0), "the destination": (0, 0, 1), "both": (1, 0, 1)}
        assert (counts["replayed"], counts["already_there"], counts["removed"]) == expected[change]
        assert said(server, b"LIST") == 1

    def test_a_password_that_the_destination_refuses_is_sent_once(
        self, migrated: Fleet, there: ScriptedServer
    ) -> None:
        there.login_reply = b"NO [AUTHENTICATIONFAILED] wrong"
        connections = there.connections

        outcomes, _ = run_all(migrated, run_id="tonight")

        assert codes(outcomes) == {"u1": 5}
        assert there.connections == connections + 1

    def test_a_destination_that_hangs_up_is_asked_again(self, migrated: Fleet, there: ScriptedServer) -> None:
        there.on(b"LIST", DROP, times=1)

        assert codes(run_all(migrated)[0]) == {"u1": 0}
        assert said(there, b"LIST") == 2

    @pytest.mark.usefixtures("no_luigi")
    def test_a_failure_after_both_were_listed_leaves_no_connection_open(
        self, migrated: Fleet, there: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> str:
            raise ServerUnavailable("it is gone")

        monkeypatch.setattr(SourceSteps, "archive", fail)

        assert codes(run_all(migrated)[0]) == {"u1": 5}
        for thread in there._threads:  # each serves a connection until it is closed
            thread.join(PATIENCE)
            assert not thread.is_alive()


_LOADED = """
import sys
from pipelines.cli.main import invoke
print(invoke(["run", "--quiet", sys.argv[1]]))
rarely_used = {"luigi", "rich", "boto3", "jinja2", "archiver.replay.run", "archiver.account.bucket"}
rarely_used |= {"archiver.destination.imap", "archiver.mail.parts", "zstandard", "encodings.idna"}
rarely_used |= {"importlib.metadata"}
print(*sorted(rarely_used & sys.modules.keys()))
"""


def test_only_what_is_used_is_loaded(fleet: Fleet) -> None:
    """Loading modules is most of what a run without news does."""
    command = [sys.executable, "-c", _LOADED, str(fleet["a"][0])]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.stdout, ended.stderr) == ("0\n\n", "")
