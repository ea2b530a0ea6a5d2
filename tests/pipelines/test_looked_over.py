"""Accounts that show what they showed before end unopened; whatever is new anywhere is found as without that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from archiver.fleet.fingerprint import Fingerprint
from archiver.fleet.sqlite import SqliteLedger
from tests.accounts import account_file, archive_of, archive_state, command, mails
from tests.faults.replays import destination
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]
Fleet = dict[str, tuple[Path, ScriptedServer]]

#: What may happen to an account between two runs.
CHANGES: dict[str, Callable[[Dovecot, str], object]] = {
    "mail": lambda server, user: server.append_many(user, "INBOX", mails([7])),
    "mail-in-a-folder": lambda server, user: server.append_many(user, "Work/Old", mails([7])),
    "flag": lambda server, user: server.store_flags(user, "Work", [2], ["\\Flagged"]),
    "expunge": lambda server, user: server.expunge(user, "Work", [1]),
    "exchange": lambda server, user: (
        server.expunge(user, "Work", [2]),
        server.append_many(user, "Work", mails([8])),
    ),
    "new-folder": lambda server, user: server.create(user, "New"),
    "renamed": lambda server, user: server.rename(user, "Work/Old", "Old"),
    "deleted": lambda server, user: server.delete(user, "Empty"),
    "uidvalidity": lambda server, user: server.bump_uidvalidity(user, "Work"),
    "subscribed": lambda server, user: server.subscribe(user, "Work"),
    "nothing": lambda server, user: None,
}


def member(directory: Path, server: Dovecot | ScriptedServer, user: str, **keys: Any) -> Path:
    """An account file of the fleet in `directory`."""
    directory.mkdir(exist_ok=True)
    (directory / "defaults.toml").touch()
    name = str(keys.get("name", user))
    return account_file(directory, server, user, archive__path=str(directory / "archives" / name), **keys)


def night(directory: Path, *options: str, expect: int = 0) -> dict[str, dict[str, Any]]:
    """Run a fleet; how each account ended."""
    document = command("run", directory, "--json", *options, expect=expect).report
    return {each["account"]: each for each in document["accounts"]}


def opened(ended: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The accounts that were not just looked at."""
    return {name for name, each in ended.items() if each["nothing_new_since"] is None}


def ledger_of(directory: Path) -> dict[str, Any]:
    ledger = SqliteLedger(directory / "fleet.sqlite", "fleet")
    try:
        return dict(ledger.accounts.known())
    finally:
        ledger.close()


def test_whatever_is_new_is_archived_as_if_nobody_had_looked(dovecot: Dovecot, tmp_path: Path) -> None:
    users = {}
    for name in CHANGES:
        users[name] = user = dovecot.fresh_user()
        dovecot.create(user, "Work", "Work/Old", "Empty")
        for folder in ("INBOX", "Work", "Work/Old"):
            dovecot.append_many(user, folder, mails(range(3)))
        member(tmp_path / "fleet", dovecot, user, name=name)
    assert opened(night(tmp_path / "fleet", "--run", "first")) == set(users)
    second = night(tmp_path / "fleet")
    assert opened(second) == set()
    assert {each["nothing_new_since"] for each in second.values()} == {"first"}

    for name, change in CHANGES.items():
        change(dovecot, users[name])
    third = night(tmp_path / "fleet")

    assert opened(third) == set(users) - {"nothing"}
    for name, user in users.items():
        member(tmp_path / "again", dovecot, user, name=name)
    night(tmp_path / "again")
    for name in users:
        grown, fresh = (archive_state(tmp_path / each / "archives" / name).present for each in ("fleet", "again"))
        assert fresh.messages.items() <= grown.messages.items(), name
        if name not in ("renamed", "deleted"):  # whose files stay where they were
            assert grown.messages == fresh.messages, name
            assert grown.files == fresh.files, name
    assert opened(night(tmp_path / "fleet")) == set()


def test_a_change_at_the_destination_is_found(dovecot: Dovecot, tmp_path: Path) -> None:
    def flag(user: str) -> None:
        dovecot.store_flags(user, "INBOX", [1], ["\\Flagged"])

    def delete(user: str) -> None:
        dovecot.expunge(user, "INBOX", [1])

    changes: dict[str, Callable[[str], object]] = {
        "deleted": delete,
        "flagged": flag,
        "moved": lambda user: dovecot.rename(user, "Work", "Work2"),
        "strange-mail": lambda user: dovecot.append_many(user, "Theirs", mails([9])),
        "nothing": lambda user: None,
    }
    there = {}
    for name in changes:
        user, there[name] = dovecot.fresh_user(), dovecot.fresh_user()
        dovecot.create(user, "Work")
        dovecot.create(there[name], "Theirs")
        for folder in ("INBOX", "Work"):
            dovecot.append_many(user, folder, mails(range(3)))
        keys = {**destination(tmp_path, dovecot, there[name]), "destination__attempts": 1}
        member(tmp_path / "fleet", dovecot, user, name=name, **keys)
    sent = night(tmp_path / "fleet")["nothing"]["totals"]["destination"]
    assert (sent["replayed"], sent["already_there"]) == (6, 0)
    second = night(tmp_path / "fleet")
    assert opened(second) == set()
    there_already = second["nothing"]["totals"]["destination"]
    assert (there_already["replayed"], there_already["already_there"]) == (0, 6)
    assert opened(night(tmp_path / "fleet", "--confirm-deletions")) == set(changes)
    night(tmp_path / "fleet")
    assert opened(night(tmp_path / "fleet")) == set()

    for name, change in changes.items():
        change(there[name])
    ended = night(tmp_path / "fleet")

    assert opened(ended) == set(changes) - {"nothing"}
    removed = {name: each["totals"]["destination"]["removed"] for name, each in ended.items()}
    assert removed == {name: 1 if name == "deleted" else 0 for name in changes} | {"moved": removed["moved"]}


def test_a_worker_that_ends_when_nothing_is_due_leaves_nothing_that_is(dovecot: Dovecot, tmp_path: Path) -> None:
    names = [f"a{number}" for number in range(5)]
    for name in names:
        user = dovecot.fresh_user()
        dovecot.append_many(user, "INBOX", mails(range(2)))
        member(tmp_path / "fleet", dovecot, user, name=name)

    document = command("worker", tmp_path / "fleet", "--once", "--workers", "1", "--json").report

    assert sorted(each["account"] for each in document["accounts"]) == names
    assert {each["status"] for each in document["accounts"]} == {"complete"}


@pytest.fixture
def fleet(scripted: Scripted, tmp_path: Path) -> Fleet:
    """Three accounts that were archived, each at a server of its own."""
    made: Fleet = {}
    for name in ("a", "b", "c"):
        folder = ScriptedFolder()
        folder.add(ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n"))
        server = scripted({b"INBOX": folder, b"Empty": ScriptedFolder()})
        made[name] = member(tmp_path, server, "u1", name=name, source__attempts=1), server
    night(tmp_path, "--run", "first")
    for _, server in made.values():
        server.sessions.clear()
    return made


def test_a_look_is_a_login_and_a_list_and_leaves_the_archive_as_it_is(fleet: Fleet, tmp_path: Path) -> None:
    catalog = archive_of(fleet["a"][0]) / "catalog.sqlite"
    before = catalog.stat().st_mtime_ns
    connections = [server.connections for _, server in fleet.values()]

    ended = night(tmp_path, "--run", "second")

    assert opened(ended) == set()
    assert [server.connections for _, server in fleet.values()] == [each + 1 for each in connections]
    words = [each.split()[0].upper() for each in fleet["a"][1].commands]
    assert set(words) <= {b"CAPABILITY", b"LOGIN", b"ID", b"NAMESPACE", b"ENABLE", b"LIST", b"LSUB", b"LOGOUT"}
    assert catalog.stat().st_mtime_ns == before
    assert not (archive_of(fleet["a"][0]) / "runs" / "second").exists()
    a = ended["a"]
    assert (a["run"], a["status"], a["exit_code"], a["nothing_new_since"]) == ("second", "complete", 0, "first")
    assert (a["totals"]["stored"], a["totals"]["fetched"]) == (1, 0)
    assert Path(a["report"]).parent.name == "first"
    known = ledger_of(tmp_path)["a"]
    assert (known.last.run, known.last.status, known.last.exit_code) == ("second", "complete", 0)
    assert known.success == known.last.ended
    assert known.amounts.messages == 1


def test_its_report_is_that_of_the_last_run_that_opened_it(fleet: Fleet, tmp_path: Path) -> None:
    night(tmp_path, "--run", "second")

    shown = command("report", fleet["a"][0]).output
    document = command("report", fleet["a"][0], "--json").report["accounts"][0]
    asked = command("report", fleet["a"][0], "--run", "second").output

    assert "run first," in shown
    assert "nothing new since: looked at " in shown
    assert ", run second" in shown
    assert document["looked_at"]["run"] == "second"
    assert "nothing new since: looked at " in asked
    command("report", fleet["a"][0], "--run", "third", expect=2)


def _left_unsettled(config: Path) -> None:
    (archive_of(config) / "unsettled").touch()


def _with_another_catalog(config: Path) -> None:
    catalog = archive_of(config) / "catalog.sqlite"
    shutil.copy2(catalog, catalog.with_name("copy"))
    os.replace(catalog.with_name("copy"), catalog)


def _excluding(config: Path) -> None:
    config.write_text(config.read_text() + '\n[folders]\nexclude = ["Empty"]\n')


def _held(config: Path) -> None:
    command("hold", config, "--reason", "a court asked")


@pytest.mark.parametrize(
    "change",
    [
        _left_unsettled,
        _with_another_catalog,
        _excluding,
        _held,
        lambda config: shutil.rmtree(archive_of(config) / "runs"),
        lambda config: (config.with_suffix(".archive")).unlink(),
        lambda config: (config.parent / "defaults.toml").write_text("[folders]\nexclude = ['Empty']\n"),
    ],
    ids=["unsettled", "catalog", "account-file", "journal", "reports", "note", "defaults"],
)
def test_what_changed_on_this_side_is_looked_into(
    fleet: Fleet, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    change(fleet["b"][0])

    ended = night(tmp_path)

    assert opened(ended) == ({"a", "b", "c"} if "exclude" in (tmp_path / "defaults.toml").read_text() else {"b"})
    assert opened(night(tmp_path)) == set()


@pytest.mark.parametrize(
    "empty",
    [
        lambda maildir: [each.unlink() for each in (*maildir.glob("cur/*"), *maildir.glob("new/*"))],
        lambda maildir: (shutil.rmtree(maildir), maildir.mkdir()),
        shutil.rmtree,
    ],
    ids=["files", "folders", "all"],
)
def test_messages_that_are_not_there_are_missed(
    fleet: Fleet, tmp_path: Path, empty: Callable[[Path], object]
) -> None:
    """A run does not look at each file, but it sees a folder that has none."""
    empty(archive_of(fleet["b"][0]) / "Maildir")

    for _ in range(2):
        ended = night(tmp_path, expect=3)
        assert opened(ended) == {"b"}
        (failure,) = json.loads(Path(ended["b"]["report"]).read_text())["failures"]
        assert failure["folder"] == "INBOX"
        assert failure["reason"] == "no file is where the archive has 1 message of this folder"
        assert f"`archiver repair {fleet['b'][0]}`" in failure["next"]
    command("repair", fleet["b"][0])
    assert opened(night(tmp_path)) == {"b"}
    assert opened(night(tmp_path)) == set()


def test_an_archive_that_is_not_there_is_missed(fleet: Fleet, tmp_path: Path) -> None:
    archive = archive_of(fleet["b"][0])
    archive.rename(tmp_path / "unmounted")
    archive.mkdir()

    ended = night(tmp_path, expect=8)

    assert {name: each["exit_code"] for name, each in ended.items()} == {"a": 0, "b": 8, "c": 0}
    assert opened(ended) == {"b"}


def test_a_refused_login_is_an_error_and_is_not_tried_twice(fleet: Fleet, tmp_path: Path) -> None:
    server = fleet["b"][1]
    server.login_reply, connections = b"NO wrong", server.connections

    ended = night(tmp_path, expect=5)

    assert {name: each["exit_code"] for name, each in ended.items()} == {"a": 0, "b": 5, "c": 0}
    assert server.connections == connections + 1
    assert json.loads(Path(ended["b"]["report"]).read_text())["status"] == "failed"
    known = ledger_of(tmp_path)["b"]
    assert (known.last.status, known.last.exit_code, known.fingerprint) == ("failed", 5, None)
    server.login_reply, server.users["u1"] = None, "another"
    (tmp_path / "b.password").write_text("another\n")
    assert opened(night(tmp_path)) == {"b"}
    assert opened(night(tmp_path)) == set()


def test_a_login_that_the_destination_refuses_is_not_tried_twice(dovecot: Dovecot, tmp_path: Path) -> None:
    there = dovecot.fresh_user()
    for name in ("a", "b"):
        keys = {**destination(tmp_path / name, dovecot, there if name == "b" else dovecot.fresh_user())}
        dovecot.append_many(user := dovecot.fresh_user(), "INBOX", mails([1]))
        member(tmp_path, dovecot, user, name=name, **keys)
    night(tmp_path)
    assert opened(night(tmp_path)) == set()
    logins = dovecot.logins(there)
    (tmp_path / "b" / "new.password").write_text("wrong\n")

    ended = night(tmp_path, expect=5)

    assert {name: each["exit_code"] for name, each in ended.items()} == {"a": 0, "b": 5}
    assert dovecot.log().count(f"user=<{there}>, method") - logins <= 1


def test_a_server_without_counts_of_changes_is_never_just_looked_at(scripted: Scripted, tmp_path: Path) -> None:
    for name, capabilities in (("can", None), ("cannot", ("IMAP4rev1", "LIST-EXTENDED", "LIST-STATUS"))):
        folder = ScriptedFolder()
        folder.add(ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n"))
        keys = {} if capabilities is None else {"capabilities": capabilities}
        member(tmp_path, scripted({b"INBOX": folder}, **keys), "u1", name=name)
    night(tmp_path)

    assert opened(night(tmp_path)) == {"cannot"}


def test_what_waits_for_another_try_is_tried(fleet: Fleet, scripted: Scripted, tmp_path: Path) -> None:
    broken = ScriptedMessage(b"Subject: x\r\n\r\nx\r\n", fetch="nil")
    member(tmp_path, scripted({b"INBOX": ScriptedFolder(7, {1: broken})}), "u1", name="broken")
    night(tmp_path, expect=3)

    for _ in range(2):
        assert opened(night(tmp_path, expect=3)) == {"broken"}


def test_news_that_came_during_a_run_are_found_by_the_next(fleet: Fleet, tmp_path: Path) -> None:
    """The fingerprint is of what was listed before the run, and is kept only if the archive ends as that says."""
    server, seen = fleet["b"][1], []
    inbox, other = server.folders[b"INBOX"], server.folders[b"Empty"]
    inbox.add(ScriptedMessage(b"Subject: one\r\n\r\none\r\n"))

    def come(*_: object) -> None:
        if not seen:
            seen.append(True)
            other.add(ScriptedMessage(b"Subject: two\r\n\r\ntwo\r\n"))

    server.on(b"EXAMINE", come)
    assert opened(night(tmp_path)) == {"b"}

    ended = night(tmp_path)

    assert opened(ended) == {"b"}
    assert ended["b"]["totals"]["stored"] == 3


def test_once_a_week_everything_is_looked_at(fleet: Fleet, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "fleet.sqlite")) as ledger, ledger:
        for name, text in ledger.execute("SELECT account, fingerprint FROM account").fetchall():
            found = Fingerprint.read(text)
            assert found is not None
            days = {"a": 6, "b": 15, "c": -1}[name]
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 86400 * days))
            aged = Fingerprint(found.form, found.run, at, found.here, found.source, found.there).text()
            ledger.execute("UPDATE account SET fingerprint = ? WHERE account = ?", (aged, name))

    assert opened(night(tmp_path)) == {"b", "c"}


def test_a_night_with_a_name_is_looked_at_once(fleet: Fleet, tmp_path: Path) -> None:
    night(tmp_path, "--run", "2026-11-29")
    connections = [server.connections for _, server in fleet.values()]
    success = ledger_of(tmp_path)["a"].success
    time.sleep(1.1)

    again = night(tmp_path, "--run", "2026-11-29")
    first = night(tmp_path, "--run", "first")

    assert [server.connections for _, server in fleet.values()] == connections
    assert {(each["run"], each["exit_code"]) for each in again.values()} == {("2026-11-29", 0)}
    assert {(each["run"], each["exit_code"]) for each in first.values()} == {("first", 0)}
    assert ledger_of(tmp_path)["a"].success == success


def test_a_night_whose_name_only_an_archive_has_looks_at_the_destination(dovecot: Dovecot, tmp_path: Path) -> None:
    there = {}
    for name in ("lost", "whole"):
        user, there[name] = dovecot.fresh_user(), dovecot.fresh_user()
        dovecot.append_many(user, "INBOX", mails(range(3)))
        keys = destination(tmp_path / name, dovecot, there[name])
        member(tmp_path / "fleet", dovecot, user, name=name, **keys)
    night(tmp_path / "fleet", "--run", "first")
    assert {each.last.verb for each in ledger_of(tmp_path / "fleet").values()} == {"run"}
    command("archive", tmp_path / "fleet", "--run", "2026-11-29")
    dovecot.expunge(there["lost"], "INBOX", [1])

    ended = night(tmp_path / "fleet", "--run", "2026-11-29")

    assert opened(ended) == {"lost"}
    assert ended["lost"]["totals"]["destination"]["removed"] == 1
    assert {each.last.verb for each in ledger_of(tmp_path / "fleet").values()} == {"run"}
    logins = {name: dovecot.logins(user) for name, user in there.items()}
    assert opened(night(tmp_path / "fleet", "--run", "2026-11-29")) == {"lost"}
    assert dovecot.logins(there["whole"]) == logins["whole"]


def test_an_archive_from_a_backup_is_opened_even_if_the_night_was_looked_at(fleet: Fleet, tmp_path: Path) -> None:
    archive, inbox = archive_of(fleet["b"][0]), fleet["b"][1].folders[b"INBOX"]
    subprocess.run(["cp", "-a", archive, tmp_path / "backup"], check=True)  # with times, as backups have them
    inbox.add(ScriptedMessage(b"Subject: one\r\n\r\none\r\n"))
    night(tmp_path, "--run", "2026-11-28")
    assert opened(night(tmp_path, "--run", "2026-11-29")) == set()
    shutil.rmtree(archive)
    (tmp_path / "backup").rename(archive)

    ended = night(tmp_path, "--run", "2026-11-29")

    assert opened(ended) == {"b"}
    assert (ended["b"]["totals"]["stored"], ended["b"]["totals"]["fetched"]) == (2, 1)


def test_what_was_killed_in_its_look_is_looked_at_again(fleet: Fleet, tmp_path: Path) -> None:
    processes: list[int] = []

    def kill(*_: object) -> None:
        if processes:
            os.kill(processes.pop(), signal.SIGKILL)

    fleet["b"][1].on(b"LIST", kill)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "run", str(tmp_path), "--quiet"], stderr=subprocess.DEVNULL
    )
    processes.append(process.pid)
    assert process.wait() == -signal.SIGKILL

    assert opened(night(tmp_path)) == set()


def test_another_run_of_the_account_is_respected(fleet: Fleet, tmp_path: Path) -> None:
    import fcntl

    with (archive_of(fleet["b"][0]) / "lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = night(tmp_path, expect=7)

    assert {name: each["exit_code"] for name, each in ended.items()} == {"a": 0, "b": 7, "c": 0}


def test_metrics_and_notices_count_it_as_complete(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "defaults.toml").write_text(f'[metrics]\ntextfile = "{tmp_path}/archiver.prom"\n')
    night(tmp_path)
    before = (tmp_path / "archiver.prom").read_text()
    time.sleep(1.1)
    assert opened(night(tmp_path)) == set()

    after = (tmp_path / "archiver.prom").read_text()
    held = [line for line in after.splitlines() if line.startswith('archiver_messages{account="a"')]
    assert held
    assert held[0].endswith(" 1")

    def success(text: str) -> float:
        name = 'archiver_last_success_timestamp_seconds{account="a"} '
        return float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])

    assert success(after) > success(before)
