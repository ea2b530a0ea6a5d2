"""What the ledger of a fleet knows after a command: how each account's run ended, why, and what to do next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from archiver.config.load import load_account
from archiver.fleet.model import Account
from archiver.fleet.sqlite import SqliteLedger
from tests.accounts import account_file, command, mails
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]


def known(directory: Path) -> Mapping[str, Account]:
    ledger = SqliteLedger(directory / "fleet.sqlite", "fleet")
    try:
        return ledger.accounts.known()
    finally:
        ledger.close()


def member(directory: Path, server: Dovecot | ScriptedServer, user: str, **keys: object) -> Path:
    """An account file of a fleet."""
    name = str(keys.get("name", user))
    (directory / "defaults.toml").parent.mkdir(parents=True, exist_ok=True)
    (directory / "defaults.toml").touch()
    return account_file(directory, server, user, archive__path=str(directory / "archives" / name), **keys)


def test_each_account_is_known_with_how_its_run_ended_and_what_to_do(
    dovecot: Dovecot, mail_user: str, scripted: Scripted, tmp_path: Path
) -> None:
    dovecot.append_many(mail_user, "INBOX", mails(range(3)))
    broken = ScriptedMessage(b"Subject: x\r\n\r\nx\r\n", fetch="nil")
    good = member(tmp_path, dovecot, mail_user, name="good")
    member(tmp_path / "sales", dovecot, mail_user, name="locked-out")
    (tmp_path / "sales" / "locked-out.password").write_text("wrong\n")
    member(tmp_path, scripted({b"INBOX": ScriptedFolder(7, {1: broken})}), "u1", name="incomplete")
    (tmp_path / "sales" / "defaults.toml").unlink()

    command("run", tmp_path, "--run", "night-1", expect=5)

    accounts = known(tmp_path)
    assert list(accounts) == ["good", "incomplete", "sales/locked-out"]
    ends = {
        name: each.last and (each.last.run, each.last.status, each.last.exit_code)
        for name, each in accounts.items()
    }
    assert ends == {
        "good": ("night-1", "complete", 0),
        "incomplete": ("night-1", "incomplete", 3),
        "sales/locked-out": ("night-1", "failed", 5),
    }
    causes = {name: each.last and each.last.cause for name, each in accounts.items()}
    assert causes["good"] is None
    assert "1 message incomplete" in (causes["incomplete"] or "")
    assert "refused" in (causes["sales/locked-out"] or "")
    steps = {name: each.last and each.last.next_step for name, each in accounts.items()}
    assert steps["good"] is None
    assert steps["incomplete"]
    assert steps["sales/locked-out"]
    assert (steps["sales/locked-out"] or "") not in (causes["sales/locked-out"] or "")
    assert accounts["good"].success is not None
    assert accounts["incomplete"].success is None
    held = accounts["good"].amounts
    assert held is not None
    assert (held.messages, held.messages_to_go, held.octets > 0) == (3, 0, True)
    assert accounts["good"].enrolled.source == f"{mail_user} at {dovecot.host}"
    assert load_account(good).fleet is not None


def test_what_waits_for_the_destination_is_known(
    dovecot: Dovecot, mail_user: str, scripted: Scripted, tmp_path: Path
) -> None:
    dovecot.append_many(mail_user, "INBOX", mails(range(4)))
    there = scripted({b"INBOX": ScriptedFolder()})
    there.on(b"APPEND", b"NO [OVERQUOTA] full")
    config = member(
        tmp_path, dovecot, mail_user, destination__host=there.host, destination__port=there.port,
        destination__tls="off", destination__user="u1",
        destination__password={"file": f"{tmp_path}/{mail_user}.password"},
    )  # fmt: skip
    command("run", config, expect=3)
    command("archive", config)

    amounts = known(tmp_path)[mail_user].amounts
    assert amounts is not None
    assert (amounts.messages, amounts.messages_to_go) == (4, 4)
    assert amounts.octets == amounts.octets_to_go > 0


def test_an_account_that_was_throttled_is_due_when_the_server_says(scripted: Scripted, tmp_path: Path) -> None:
    server = scripted({b"INBOX": ScriptedFolder()})
    server.on(b"LOGIN", b"NO [LIMIT] Throttled. Suggested Backoff Time: 7200000 milliseconds")
    before = time.time()
    command("run", member(tmp_path, server, "u1"), expect=75)

    due = known(tmp_path)["u1"].due
    assert due is not None
    assert before + 7199 <= due <= time.time() + 7202


def test_a_run_that_was_killed_has_begun_and_not_ended(scripted: Scripted, tmp_path: Path) -> None:
    folder = ScriptedFolder()
    folder.add(ScriptedMessage(b"Subject: x\r\n\r\nx\r\n"))
    server = scripted({b"INBOX": folder})
    processes: list[int] = []
    server.on(b"EXAMINE", lambda *_: os.kill(processes[0], signal.SIGKILL))
    config = member(tmp_path, server, "u1")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "run", str(config), "--run", "night-1", "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    processes.append(process.pid)
    assert process.wait() == -signal.SIGKILL

    last = known(tmp_path)["u1"].last
    assert last is not None
    assert (last.run, last.ended, last.exit_code) == ("night-1", None, None)
    assert last.owner is not None
    assert last.owner.endswith(f":{process.pid}")


def test_a_ledger_that_cannot_be_written_costs_a_line_and_not_the_run(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    config = member(tmp_path, dovecot, mail_user)
    (tmp_path / "defaults.toml").write_text('[fleet]\nledger = "gone/fleet.sqlite"\n')

    result = command("run", config)

    assert "gone/fleet.sqlite: the fleet's ledger cannot be written: No such file" in result.output
    assert "this run is not recorded there" in result.output


def test_a_ledger_of_another_fleet_is_refused_before_anything_is_done(
    dovecot: Dovecot, mail_user: str, scripted: Scripted, tmp_path: Path
) -> None:
    command("run", member(tmp_path / "one", dovecot, mail_user, name="alice"))
    other = scripted({b"INBOX": ScriptedFolder()})
    stranger = member(tmp_path / "two", other, "bob", name="alice", source__host="localhost")
    (tmp_path / "two" / "defaults.toml").write_text(f'[fleet]\nledger = "{tmp_path}/one/fleet.sqlite"\n')

    result = command("run", stranger, expect=2)

    assert 'has "alice" as' in result.output
    assert "is it the ledger of another fleet?" in result.output
    assert other.connections == 0
