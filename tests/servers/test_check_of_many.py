"""`check` of many accounts on a real server: what is wrong comes first, and nobody waits for who hangs."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import invoke
from tests.accounts import PROJECT, account_file
from tests.patience import PATIENCE
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedServer

Check = Callable[..., tuple[int, str, str]]
QUOTA = """
mail_plugins = $mail_plugins quota
protocol imap {
  mail_plugins = $mail_plugins quota imap_quota
}
plugin {
  quota = count:User quota
  quota_rule = *:storage=64K
  quota_vsizes = yes
}
"""


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        return (invoke(["check", *map(str, arguments)]), *capsys.readouterr())

    return run


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=50)) as listening:
        yield listening


def filled(server: Dovecot, octets: int = 200) -> str:
    user = server.fresh_user()
    server.append(user, "INBOX", b"Subject: hello\r\n\r\n" + b"there " * (octets // 6) + b"\r\n")
    return user


def replayed(directory: Path, server: Dovecot, user: str, to: str, **keys: Any) -> Path:
    """The account file of `user`, which is to be replayed to the mailbox `to`, with an archive of its own."""
    there = {"host": server.host, "port": server.port, "tls": "off", "user": to}
    there |= {"password": {"file": str(directory / f"{user}.password")}}
    keys = {f"destination__{name}": value for name, value in there.items()} | keys
    keys = {"archive__path": str(directory / "archives" / "{account}")} | keys
    return account_file(directory, server, user, **keys)


def test_thirty_accounts_of_which_ten_are_wrong_in_ten_ways(
    check: Check, dovecot: Dovecot, silent: socket.socket, tmp_path: Path
) -> None:
    configs = tmp_path / "configs"

    def make(**keys: Any) -> str:
        user = filled(dovecot)
        replayed(configs, dovecot, user, dovecot.fresh_user(), **keys)
        return user

    good = [make() for _ in range(20)]
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        closed = unused.getsockname()[1]
    blocked = tmp_path / "file"
    blocked.write_text("")
    used = filled(dovecot)
    wrong = {
        make(source__user="nobody"): (5, "the login of \"nobody\" (source) is refused"),
        make(destination__user="nobody"): (5, "the login of \"nobody\" (destination) is refused"),
        make(source__password={"file": "nowhere"}): (2, "nowhere cannot be read"),
        make(source__port=closed): (5, "refused"),
        make(source__host="no-such-host.invalid"): (5, "no-such-host.invalid"),
        make(destination__port=silent.getsockname()[1]): (5, "no answer for 4 seconds"),
        make(archive__path=str(blocked)): (8, "is not a"),
        make(destination__user=used): (2, ""),
        make(source__tls="starttls"): (5, "certificate"),
    }  # fmt: skip
    (configs / "broken.toml").write_text("[source\n")
    (configs / "wave1").mkdir()
    moved = good.pop()
    (configs / f"{moved}.toml").rename(configs / "wave1" / f"{moved}.toml")
    began = time.monotonic()
    code, out, _ = check(configs, "--timeout", "4", "--json")
    assert time.monotonic() - began < 60
    document = json.loads(out)
    found = {each["account"]: each for each in document["accounts"]}
    assert len(found) == 30
    assert [found[user]["exit_code"] for user in (*good, moved)] == [0] * 20
    for user, (exit_code, words) in wrong.items():
        its = found[user]
        assert (its["exit_code"], words in its["message"]) == (exit_code, True), its["message"]
    assert (found["broken"]["exit_code"], code, document["exit_code"]) == (2, 8, 8)
    assert not (configs / "archives").exists()
    _, out, err = check(configs, "--timeout", "4")
    states = re.findall(r"^(\w+) +(ok|look|exit code \d)", out, re.MULTILINE)
    assert [state for _, state in states] == [
        "exit code 8", *["exit code 2"] * 3, *["exit code 5"] * 6, *["ok"] * 20,
    ]  # fmt: skip
    assert "20 of 30 accounts OK" in out
    assert all(f"archiver: {user}: " in err for user in wrong)


def test_those_that_hang_hold_no_other(
    check: Check, dovecot: Dovecot, silent: socket.socket, tmp_path: Path
) -> None:
    for number in range(6):
        account_file(tmp_path, dovecot, "u1", name=f"a{number}", source__port=silent.getsockname()[1],
                     archive__path=str(tmp_path / "archives" / f"a{number}"))  # fmt: skip
    users = [filled(dovecot) for _ in range(6)]
    for user in users:
        account_file(tmp_path, dovecot, user, archive__path=str(tmp_path / "archives" / user))
    began = time.monotonic()
    code, out, _ = check(tmp_path, "--workers", "2", "--timeout", "8", "--json")
    # 6 silent ones, two at a time, 8 seconds each, would take 24.
    assert (code, time.monotonic() - began < 20) == (5, True)
    codes = {each["account"]: each["exit_code"] for each in json.loads(out)["accounts"]}
    assert codes == {**{f"a{number}": 5 for number in range(6)}, **dict.fromkeys(users, 0)}


def test_a_signal_ends_it_while_somebody_hangs(dovecot: Dovecot, silent: socket.socket, tmp_path: Path) -> None:
    for name in ("a", "b"):
        account_file(tmp_path, dovecot, "u1", name=name, source__port=silent.getsockname()[1],
                     archive__path=str(tmp_path / "archives" / name))  # fmt: skip
    silent.settimeout(PATIENCE)
    line = [sys.executable, "-m", "pipelines", "check", str(tmp_path)]
    with subprocess.Popen(line, cwd=PROJECT, stderr=subprocess.PIPE, text=True) as process, silent.accept()[0]:
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, time.monotonic() - began < 15, "Traceback" in err) == (130, True, False)


def test_what_has_no_room_is_to_be_looked_at(
    check: Check, dovecot: Dovecot, dovecot_with: Callable[..., Dovecot], tmp_path: Path
) -> None:
    small = dovecot_with(extra=QUOTA)
    large, little = filled(dovecot, 100_000), filled(dovecot)
    for user, there in ((little, "u2001"), (large, "u2002")):
        replayed(tmp_path, dovecot, user, there, destination__port=small.port)
    code, out, _ = check(tmp_path, "--json")
    found = {each["account"]: each for each in json.loads(out)["accounts"]}
    assert (code, found[little]["attention"]) == (0, [])
    (line,) = found[large]["attention"]
    assert re.fullmatch(r"no room: [\d.]+ kB to send, 6\d(\.\d)? kB free there", line), line
    _, out, _ = check(tmp_path)
    assert re.findall(r"^(\w+) +(ok|look)", out, re.MULTILINE) == [(large, "look"), (little, "ok")]


def test_messages_larger_than_the_destination_takes_are_counted_without_fetching_them(
    check: Check, dovecot: Dovecot, scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=(*DESTINATION, "APPENDLIMIT=5000"), writable=True)
    user = dovecot.fresh_user()
    for size in (100, 6000, 7000):
        dovecot.append(user, "INBOX", b"Subject: x\r\n\r\n" + b"y" * size + b"\r\n")
    account = replayed(tmp_path, dovecot, user, "u1", destination__port=there.port)
    for _ in range(2):
        code, out, err = check(account)
        assert code == 0, err
        assert "2 messages are larger than 5.0 kB, and will be refused" in " ".join(out.split())
        (found,) = json.loads(check(account, "--json")[1])["accounts"]
        assert (found["destination"]["append_limit"], found["destination"]["too_large"]) == (5000, 2)
        assert found["attention"] == ["2 messages are larger than the 5.0 kB that are taken there"]
        invoke(["archive", str(account), "--quiet"])  # then the archive knows


def test_how_long_a_run_takes_is_estimated_by_earlier_ones(check: Check, dovecot: Dovecot, tmp_path: Path) -> None:
    old, new = dovecot.fresh_user(), filled(dovecot)
    for number in range(60):
        dovecot.append(old, "INBOX", b"Subject: %d\r\n\r\nbody\r\n" % number)
    account_file(tmp_path, dovecot, old, archive__path=str(tmp_path / "archives" / old))
    assert json.loads(check(tmp_path, "--json")[1])["estimate"] == {"seconds": None, "accounts": 0, "workers": 4}
    assert invoke(["run", str(tmp_path), "--quiet"]) == 0
    account_file(tmp_path, dovecot, new, archive__path=str(tmp_path / "archives" / new))
    document = json.loads(check(tmp_path, "--json")[1])
    by_name = {each["account"]: each["estimate"] for each in document["accounts"]}
    assert by_name[old] is not None
    assert 0 < by_name[new] < 5, "by what the other account took at the same server"
    assert document["estimate"]["accounts"] == 2
    assert "a run takes about" in check(tmp_path)[1]
