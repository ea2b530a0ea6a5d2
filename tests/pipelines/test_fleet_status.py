"""`status` of many accounts: by the ledger alone, or by the archives; and whether a night happened."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from archiver.account.account import Account
from archiver.config.load import load_account
from archiver.fleet import model as fleet_model
from archiver.fleet.model import Enrolled, Run, RunBegun, RunEnded
from archiver.fleet.sqlite import SqliteLedger
from pipelines.fleet.ages import age_words
from pipelines.fleet.standing import Standing, aged, by_ledger, judged, seconds_of
from tests.accounts import CATALOG, account_file, archive_of, command, mails
from tests.pipelines.test_fleet_record import member
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import ScriptedServer

Scripted = Callable[..., ScriptedServer]
LONG_AGO = "2026-01-02T03:04:05Z"


@pytest.fixture
def fleet(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Path:
    """Three accounts of a fleet after a night: one is done, one has a wrong password, one is new."""
    dovecot.append_many(mail_user, "INBOX", mails(range(3)))
    for name in ("done", "sales/locked"):
        member((tmp_path / name).parent, dovecot, mail_user, name=Path(name).name)
    (tmp_path / "sales" / "defaults.toml").unlink()
    (tmp_path / "sales" / "locked.password").write_text("wrong\n")
    for file in tmp_path.rglob("*.toml"):
        os.utime(file, (1, 1))
    command("run", tmp_path, expect=5)
    return tmp_path


def ledger_of(fleet: Path) -> SqliteLedger:
    return SqliteLedger(fleet / "fleet.sqlite", "fleet")


def row(account: str, output: str) -> str:
    """The account's line in the table."""
    return next(line for line in output.splitlines() if line.startswith(f"{account} "))


def forget_catalogs(fleet: Path) -> None:
    for file in fleet.rglob(f"{CATALOG}*"):
        file.unlink()


def test_the_ledger_alone_says_how_accounts_stand_and_why(fleet: Path) -> None:
    forget_catalogs(fleet)
    shown = command("status", fleet, expect=5).output
    assert re.search(r"^locked +new +0 +0 B +never +failed \(5\)$", shown, re.MULTILINE), shown
    assert re.search(r"^done +presynced +100 % +3 +[\d.]+ k?B +just now +done$", shown, re.MULTILINE), shown
    assert shown.index("\nlocked ") < shown.index("\ndone ")
    assert "locked: 127.0.0.1" in shown
    assert "is refused: the server says" in shown
    assert "; check `user` and the password reference in [source]" in shown
    assert "1 of 2 accounts done; 1 failed; 3 messages" in shown
    assert "\ndone " not in command("status", fleet, "--failed", expect=5).output
    assert command("status", fleet, "--state", "presynced").output.count("\n") == 3
    quiet = command("status", fleet, "--quiet", expect=5).output
    assert quiet.startswith("archiver: locked: ")
    assert quiet.count("\n") == 1
    (fleet / "third.toml").write_text("nonsense")
    assert command("status", fleet, expect=2).output.count("third.toml: is not TOML") == 1


def test_an_account_that_was_only_checked_has_not_failed(fleet: Path, dovecot: Dovecot) -> None:
    account_file(fleet, dovecot, dovecot.fresh_user(), archive__path=str(fleet / "new")).rename(
        fleet / "later.toml"
    )
    command("check", fleet / "later.toml")
    shown = command("status", fleet, "--only", "later", "--only", "done", expect=2).output
    assert re.search(r"^later +checked .*never +never \(2\)$", shown, re.MULTILINE), shown
    assert "later.toml` makes one" in shown
    assert "1 of 2 accounts done; 1 never run; " in shown


def test_what_the_ledger_does_not_know_is_looked_up(fleet: Path) -> None:
    ledger = ledger_of(fleet)
    ledger.accounts.forget(["done"])
    shown = command("status", fleet, expect=5).output
    assert re.search(r"^done +presynced +100 % +3 ", shown, re.MULTILINE), shown
    assert ledger.accounts.known(["done"]) == {}  # nothing is changed
    ledger.close()
    (fleet / "fleet.sqlite").write_bytes(b"no database at all" * 100)
    shown = command("status", fleet, expect=5).output
    assert (
        "fleet.sqlite: the fleet's ledger: file is not a database; what follows is by the archives alone" in shown
    )
    assert re.search(r"^done +presynced +100 % +3 ", shown, re.MULTILINE), shown
    assert "locked: 127.0.0.1" in shown


def test_an_account_file_that_was_changed_is_looked_at_again(fleet: Path) -> None:
    forget_catalogs(fleet)
    file = fleet / "done.toml"
    file.write_text(file.read_text())
    assert "\ndone " in command("status", fleet, "--state", "presynced").output  # it says the same as before
    file.write_text(file.read_text() + '\n[reports]\nkeep = "9d"\n')
    shown = command("status", fleet, expect=2).output
    assert "done: " in shown
    assert "the archive's catalog is not there" in shown
    accounts = {each["account"]: each for each in command("status", fleet, "--json", expect=2).report["accounts"]}
    assert (accounts["done"]["exit_code"], accounts["done"]["state"]) == (2, "presynced")
    assert (accounts["locked"]["exit_code"], accounts["locked"]["condition"]) == (5, "failed")
    assert accounts["locked"]["next"].startswith("check `user`")


def test_running_is_told_from_crashed_and_throttled(fleet: Path) -> None:
    ledger = ledger_of(fleet)
    ledger.accounts.begun([RunBegun("done", "night", "run", LONG_AGO, "host:1")])
    crashed = command("status", fleet, expect=5).output
    assert re.search(r"^done .*crashed \(3\)$", crashed, re.MULTILINE), crashed
    assert re.search(r"done: run night began 2026-01-02 .*; nobody works on it now; run again", crashed)
    with Account(load_account(fleet / "done.toml")).locked("night"):
        running = command("status", fleet, expect=5).output
        assert re.search(r"^done .*running \(3\)$", running, re.MULTILINE), running
    ledger.claims.take("elsewhere:7", ["done"], 60)
    assert re.search(r"^done .*running \(3\)$", command("status", fleet, expect=5).output, re.MULTILINE)
    until = time.time() + 3600
    ended = RunEnded("done", "night", "failed", 75, LONG_AGO, 1.0, "OVERQUOTA", "run again later", due=until)
    ledger.accounts.ended([ended])
    ledger.close()
    throttled = command("status", fleet, expect=5).output
    assert re.search(r"^done .*throttled \(75\)$", throttled, re.MULTILINE), throttled
    assert re.search(r"done: OVERQUOTA; not before 20\d\d-\d\d-\d\d \d\d:\d\d \w+; run again later", throttled)


def test_what_only_the_ledger_knows_is_told_of_a_single_account(fleet: Path) -> None:
    ledger = ledger_of(fleet)
    config = fleet / "done.toml"
    assert command("status", config).exit_code == 0
    ledger.accounts.begun([RunBegun("done", "killed", "run", "2030-01-01T00:00:00Z", "host:1")])
    (account,) = command("status", config, "--json", expect=3).report["accounts"]
    assert (account["condition"], account["messages"]) == ("crashed", 3)
    ledger.accounts.ended([RunEnded("done", "killed", "failed", 2, "2030-01-01T00:00:01Z", 1.0, "strange", "ask")])
    ledger.close()
    shown = command("status", config, expect=2).output
    assert "strange\n→ ask" in shown


def test_another_run_that_was_refused_meanwhile_is_no_failure_of_the_account() -> None:
    """It met the lock of the one that ended well."""
    run = Run("second", "run", LONG_AGO, LONG_AGO, "failed", 7, "another run holds the lock", "wait for it to end")
    row = fleet_model.Account(Enrolled("a", "", "u at h", "h"), last=run)
    assert by_ledger("a", "a.toml", row, NOW, at_work=False).exit_code == 7
    row = replace(row, success="2026-01-02T03:04:09Z")
    found = by_ledger("a", "a.toml", row, NOW, at_work=False)
    assert (found.exit_code, found.condition, found.cause) == (0, "done", None)


def test_a_night_that_did_not_happen_is_exit_code_3(fleet: Path) -> None:
    command("status", fleet, "--only", "done", "--max-age", "26h")
    with closing(sqlite3.connect(fleet / "fleet.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE account SET success = ?", (LONG_AGO,))
    shown = command("status", fleet, "--max-age", "26h", expect=5).output
    assert re.search(r"^done .*overdue \(3\)$", shown, re.MULTILINE), shown
    assert re.search(
        r"done: the last success was \d+ days ago; it should be less than 26 h ago; look why nothing ran: "
        r"`archiver status --runs \S+/done\.toml` lists",
        shown,
    )
    assert (
        '--max-age: "soon" is no age; write it like 26h'
        in command("status", fleet, "--max-age", "soon", expect=2).output
    )


def test_one_account_without_a_ledger(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
    config = account_file(tmp_path, dovecot, mail_user)
    command("run", config)
    (account,) = command("status", config, "--json", "--max-age", "26h").report["accounts"]
    assert (account["condition"], account["state"], account["percent"]) == ("done", "presynced", 100.0)
    assert account["last_success"] == account["runs"][0]["finished"]
    assert account["totals"]["stored"] == account["messages"]
    time.sleep(1.01)
    (account,) = command("status", config, "--json", "--max-age", "1s", expect=3).report["accounts"]
    assert account["condition"] == "overdue"
    assert "state: presynced since 20" in command("status", config).output
    assert not (tmp_path / "fleet.sqlite").exists()


def test_a_wrong_password_and_a_strange_source_say_what_to_do(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    config = account_file(tmp_path, dovecot, mail_user)
    command("run", config)
    password = tmp_path / f"{mail_user}.password"
    right = password.read_text()
    password.write_text("wrong\n")
    command("run", config, expect=5)
    shown = command("status", config, expect=5).output
    assert "is refused: the server says" in shown
    assert "→ check `user` and the password reference in [source] of the account file" in shown
    password.write_text(right)
    command("run", config)
    config = account_file(tmp_path, dovecot, mail_user, source__host="localhost")
    shown = command("status", config, expect=2).output
    assert f"the archive at {archive_of(config)} belongs to account" in shown
    assert "→ change [archive] path, or give --new-source" in shown
    assert command("status", config, "--json", expect=2).report["accounts"][0]["condition"] == "failed"


def test_a_run_takes_the_accounts_that_are_that_far(fleet: Path) -> None:
    command("mark", fleet / "done.toml", "frozen")
    result = command("run", fleet, "--state", "frozen", "--json")
    assert [each["account"] for each in result.report["accounts"]] == ["done"]
    refused = command("run", fleet, "--state", "cutover", expect=2).output
    assert "--state cutover: no account is that far; `archiver status` shows how far they are" in refused


NOW = 1_800_000_000.0


def standing(**fields: Any) -> Standing:
    values: dict[str, Any] = {"account": "a", "file": "a.toml", "condition": "done", "exit_code": 0, "run": "r"}
    return Standing(**{**values, "began": LONG_AGO, "ended": LONG_AGO, "success": LONG_AGO, **fields})


@pytest.mark.parametrize(
    ("fields", "condition", "code", "percent"),
    [
        ({"messages": 10, "messages_to_go": 0}, "done", 0, 100.0),
        ({"messages": 10_000_000, "messages_to_go": 1}, "incomplete", 3, 99.9),
        ({"messages": 0, "messages_to_go": 0}, "done", 0, 100.0),
        ({"messages": 0, "messages_to_go": 0, "success": None, "exit_code": 5}, "failed", 5, None),
        ({"messages": 0, "messages_to_go": 5}, "incomplete", 3, 0.0),
        ({"messages": 4, "messages_to_go": None}, "done", 0, None),
        ({"exit_code": 137}, "stopped", 3, None),
        ({"exit_code": 6}, "failed", 6, None),
        ({"ended": None}, "crashed", 3, None),
        ({"began": None, "ended": None}, "never", 0, None),
    ],
)
def test_how_an_account_stands(fields: dict[str, Any], condition: str, code: int, percent: float | None) -> None:
    found = judged(standing(**fields), NOW, at_work=False)
    assert (found.condition, found.exit_code, found.percent) == (condition, code, percent)


def test_ages() -> None:
    assert aged(standing(age=3600.0), 3600.0).exit_code == 0
    assert aged(standing(age=3601.0), 3600.0).exit_code == 3
    assert aged(standing(age=None), 3600.0).cause == "there was no success yet; it should be less than 60 min ago"
    assert aged(standing(age=9e9, exit_code=5), 3600.0).exit_code == 5
    assert [age_words(each) for each in (3, 300, 7200, 93600, 200_000)] == [
        *("less than a minute", "5 min", "2 h", "26 h", "2 days")
    ]
    assert [seconds_of(each, "--max-age") for each in ("26h", "90m", "3d")] == [93600, 5400, 259200]
