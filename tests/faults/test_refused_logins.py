"""A refused login is not tried again and again, since servers lock users out; a change is tried at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.config.load import load_account
from archiver.control import run as control
from pipelines.engine.run import Options, run_accounts
from tests.accounts import account_file, archive_of, command, run
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]


def logins(server: ScriptedServer) -> int:
    return sum(each.upper().startswith((b"LOGIN", b"AUTHENTICATE")) for each in server.commands)


@pytest.fixture
def mail() -> dict[bytes, ScriptedFolder]:
    folder = ScriptedFolder()
    folder.add(ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n"))
    return {b"INBOX": folder}


def test_the_same_login_is_sent_once(scripted: Scripted, tmp_path: Path) -> None:
    server = scripted(users={"u1": "another"})
    config = account_file(tmp_path, server, "u1")
    first = run(config, expect=5)
    assert logins(server) == 1
    for _ in range(3):
        again = run(config, expect=5)
        assert "the same login is not tried again before 2" in again.output
        assert first.report["failures"][0]["reason"] in again.report["failures"][0]["reason"]
        assert f"`archiver check {config}` always tries" in again.output
    assert (logins(server), server.connections) == (1, 1)
    reason = command("status", "--json", config, expect=5).report["accounts"][0]["runs"][0]["reason"]
    assert "not tried again before" in reason
    kept = archive_of(config) / "refused-at-source"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "pw" not in {*json.loads(kept.read_text()).values()}


@pytest.mark.parametrize(
    ("reply", "logins_of_two_runs"),
    [
        (b"NO [AUTHENTICATIONFAILED] no", 1),
        (b"NO Login failed.", 1),
        (b"NO Bad username or password", 1),
        (b"NO no", 2),
        (b"NO Internal error, call us", 2),
        (b"NO [UNAVAILABLE] Temporary authentication failure", 2),
    ],
)
def test_only_words_about_the_login_count(
    scripted: Scripted, tmp_path: Path, reply: bytes, logins_of_two_runs: int
) -> None:
    server = scripted(login_reply=reply)
    config = account_file(tmp_path, server, "u1", source__attempts=1)
    for _ in range(2):
        run(config, expect=5)
    assert logins(server) == logins_of_two_runs


@pytest.mark.parametrize("change", ["password", "user", "server"])
def test_what_a_person_changed_is_tried_at_once(
    scripted: Scripted, tmp_path: Path, mail: dict[bytes, ScriptedFolder], change: str
) -> None:
    server, users = scripted(mail, users={"u1": "new"}), {"password": "u1", "user": "u2", "server": "u1"}
    config = account_file(tmp_path, server, "u1")
    run(config, expect=5)
    server.users = {users[change]: "new" if change == "password" else "pw"}
    if change == "password":
        (tmp_path / "u1.password").write_text("new\n")
    elif change == "user":
        config.write_text(config.read_text().replace('"u1"', '"u2"'))
    else:  # nothing here shows that
        run(config, expect=5)
        assert command("check", config).exit_code == 0
    assert run(config).total("stored") == (1,)
    assert not (archive_of(config) / "refused-at-source").exists()


def test_it_is_tried_again_by_the_next_night(
    scripted: Scripted, tmp_path: Path, mail: dict[bytes, ScriptedFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = scripted(mail, users={"u1": "another"})
    config = account_file(tmp_path, server, "u1")
    run(config, expect=5)
    for hours, tried in ((21, 1), (23, 2), (40, 2), (46, 3)):
        then = (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        monkeypatch.setattr(control, "_utc", lambda _, then=then: then)
        run(config, expect=5)
        assert logins(server) == tried, hours


def test_check_tries_and_remembers(scripted: Scripted, tmp_path: Path, mail: dict[bytes, ScriptedFolder]) -> None:
    server = scripted(mail, users={"u1": "another"})
    config = account_file(tmp_path, server, "u1")
    for _ in range(2):
        command("check", config, expect=5)
        run(config, expect=5)
    assert logins(server) == 3  # the first one of `check` had no place to remember it


def test_a_destination(scripted: Scripted, tmp_path: Path, mail: dict[bytes, ScriptedFolder]) -> None:
    server, there = scripted(mail), scripted(writable=True, capabilities=DESTINATION, users={"u1": "another"})
    keys = {"host": there.host, "port": there.port, "tls": "off", "user": "u1"}
    keys["password"] = {"file": str(tmp_path / "u1.password")}
    config = account_file(tmp_path, server, "u1", **{f"destination__{name}": keys[name] for name in keys})
    for _ in range(3):
        ended = run(config, expect=5)
        assert ended.total("stored") == (1,)  # the archive is brought up to date all the same
    assert logins(there) == 1
    there.users = {"u1": "pw"}
    assert command("check", config).exit_code == 0
    run(config)
    assert len(there.folders[b"INBOX"].messages) == 1


def test_too_many_sessions_are_no_wrong_password(scripted: Scripted, tmp_path: Path) -> None:
    """Where one connection works, a refusal of another one says nothing about the password."""
    folder = ScriptedFolder()
    folder.add(*(ScriptedMessage(b"Subject: %d\r\n\r\nhello\r\n" % number) for number in range(500)))
    server = scripted({b"INBOX": folder})
    refused = []

    def answer(line: bytes, tag: bytes, session: object) -> bytes | None:
        if len(server.sessions) == 1:
            return None
        refused.append(line)
        return tag + b" NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"

    server.on(b"LOGIN", answer)
    server.on(b"AUTHENTICATE", answer)
    config = account_file(tmp_path, server, "u1", source__connections=3)
    assert run(config).total("stored") == (500,)
    assert refused
    assert not (archive_of(config) / "refused-at-source").exists()


def test_a_real_server_sees_one_attempt(dovecot: Dovecot, tmp_path: Path) -> None:
    config = account_file(tmp_path, dovecot, user := dovecot.fresh_user())
    password = tmp_path / f"{user}.password"
    right = password.read_text()
    password.write_text("wrong\n")
    for _ in range(3):
        run(config, expect=5)
    assert dovecot.log().count(f"user=<{user}>") == 1
    password.write_text(right)
    run(config)


class TestAServerThatIsDown:
    def fleet(self, directory: Path, server: ScriptedServer, count: int) -> list[Path]:
        keys = {"source__connect_timeout": 0.3, "source__attempts": 5}
        return [account_file(directory / f"a{n}", server, "u1", name=f"a{n}", **keys) for n in range(count)]

    @pytest.mark.parametrize("workers", [1, 4])
    def test_is_tried_by_a_few_accounts_alone(self, scripted: Scripted, tmp_path: Path, workers: int) -> None:
        server = scripted(silent=True)
        for number in range(12):
            server.users[f"u{number}"] = "pw"
        configs = self.fleet(tmp_path, server, 12)
        for number, config in enumerate(configs):
            config.write_text(config.read_text().replace('"u1"', f'"u{number}"'))
        outcomes = run_accounts([load_account(each) for each in configs], Options(workers=workers), lambda *_: None)
        assert {each.exit_code for each in outcomes} == {5}
        told = [each.message or "" for each in outcomes]
        assert sum("accounts in a row could not reach this server" in each for each in told) >= 12 - 3 - workers
        assert server.connections <= 3 + workers + 1
