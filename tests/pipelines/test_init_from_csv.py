"""`init --from-csv`: what it writes and what it leaves alone, and the accounts it makes, on a real server."""

from __future__ import annotations

import json
import os
import stat
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver.config.fleet.files import Chosen, find_accounts
from archiver.config.load import load_account
from archiver.config.references import SecretReference
from archiver.config.tables.server import ServerSettings
from pipelines.cli.main import invoke
from tests.servers.dovecot import Dovecot

Init = Callable[..., tuple[int, str, str]]
HEAD = "account,user,password,to_user,to_password\n"
SERVERS = ("--host", "imap.example.org", "--to-host", "imap.example.net")


@pytest.fixture
def init(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Init:
    """`init configs --from-csv people.csv` with this text and these options; returns code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *options: str) -> tuple[int, str, str]:
        Path("people.csv").write_bytes(text.encode())
        capsys.readouterr()
        return (invoke(["init", "configs", "--from-csv", "people.csv", *options]), *capsys.readouterr())

    return run


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_accounts_passwords_and_defaults_are_written_privately(init: Init, tmp_path: Path) -> None:
    code, out, err = init(HEAD + "alice,a@x,pw 1,al@y,pw2\nbob,b@x,ü,bo@y,pw4\n", *SERVERS)
    assert (code, out.splitlines()[0]) == (
        0, "wrote 2 account files and defaults.toml in configs, and 4 passwords in configs/passwords",
    )  # fmt: skip
    assert "people.csv still has the passwords, and other users can read it; delete it" in err
    alice, bob = map(load_account, find_accounts(Chosen((tmp_path / "configs",))).files)
    for each, users in ((alice, ("a@x", "al@y")), (bob, ("b@x", "bo@y"))):
        assert isinstance(each.source, ServerSettings)
        assert each.destination is not None
        assert (each.source.host, each.destination.host) == ("imap.example.org", "imap.example.net")
        assert (each.source.user, each.destination.user) == users
        assert each.archive.path == Path("/srv/mail-archive") / each.account
    passwords = tmp_path / "configs" / "passwords"
    assert isinstance(bob.source, ServerSettings)
    assert bob.source.password == SecretReference("file", str(passwords / "source" / "bob"))
    assert (passwords / "source" / "bob").read_bytes() == "ü\n".encode()
    assert (passwords / "destination" / "alice").read_bytes() == b"pw2\n"
    for path in (tmp_path / "configs").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert not any(word in path.read_bytes() for path in (tmp_path / "configs").glob("*.toml") for word in (b"pw",))


def test_a_dry_run_prints_what_the_run_writes_and_no_password(init: Init, tmp_path: Path) -> None:
    text = HEAD + "alice,a@x,hunter2,al@y,hunter3\n"
    code, out, _ = init(text, *SERVERS, "--dry-run")
    assert (code, "hunter" in out, (tmp_path / "configs").exists()) == (0, False, False)
    assert init(text, *SERVERS)[0] == 0
    for file in ("alice", "defaults"):
        printed = out.split(f"{file}.toml\n", 1)[1].split("\n# ")[0].split("would write")[0]
        assert tomllib.loads(printed) == tomllib.loads((tmp_path / "configs" / f"{file}.toml").read_text())


def test_again_only_what_is_new_is_written_and_what_differs_is_listed(init: Init, tmp_path: Path) -> None:
    assert init(HEAD + "alice,a@x,p1,al@y,p2\nbob,b@x,p3,bo@y,p4\ncarol,c@x,p5,ca@y,p6\n", *SERVERS)[0] == 0
    configs = tmp_path / "configs"
    (configs / "passwords" / "source" / "carol").unlink()
    before = tree(configs)
    code, out, _ = init(HEAD + "alice,a2@x,p1,al@y,other\nbob,b@x,p3,bo@y,p4\ncarol,c@x,p5,ca@y,p6\n"
                        "dave,d@x,p7,da@y,p8\n", *SERVERS, "--json")  # fmt: skip
    accounts = {each["account"]: each for each in json.loads(out)["accounts"]}
    assert (code, {name: each["state"] for name, each in accounts.items()}) == (
        0, {"alice": "differs", "bob": "same", "carol": "same", "dave": "new"},
    )  # fmt: skip
    place = configs / "passwords" / "destination" / "alice"
    assert accounts["alice"]["differs"] == ["source.user", f"the password in {place}"]
    after = tree(configs)
    assert {name: octets for name, octets in after.items() if name in before} == before
    assert sorted(Path(name).relative_to(configs).as_posix() for name in after.keys() - before.keys()) == [
        "dave.toml", "passwords/destination/dave", "passwords/source/carol", "passwords/source/dave",
    ]  # fmt: skip


def test_an_account_that_was_moved_to_another_wave_is_found_there(init: Init, tmp_path: Path) -> None:
    text = "account,user,folder\nalice,a,\nbob,b,wave1\n"
    options = (*SERVERS, "--to-user", "{account}", "--password-env", "P", "--to-password-file", "p/{account}")
    assert init(text, *options)[0] == 0
    configs = tmp_path / "configs"
    bob = load_account(configs / "wave1" / "bob.toml")
    assert bob.destination is not None
    assert bob.destination.password == SecretReference("file", str(configs / "p" / "bob"))
    (configs / "wave2").mkdir()
    (configs / "alice.toml").rename(configs / "wave2" / "alice.toml")
    code, out, _ = init(text, *options)
    assert (code, out.splitlines()[0]) == (0, "wrote no account files in configs; 2 are there already")


def test_what_options_say_beside_defaults_that_are_there_goes_into_the_files(init: Init, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    text = '[source]\nhost = "old.example"\ntls = "starttls"\n[archive]\npath = "a/{account}"\n'
    (configs / "defaults.toml").write_text(text)
    options = ("--host", "new.example", "--tls", "starttls", "--password-env", "P")
    for _ in range(2):
        assert init("account,user\nalice,a\n", *options)[0] == 0
    assert (configs / "defaults.toml").read_text() == text
    assert tomllib.loads((configs / "alice.toml").read_text()) == {
        "source": {"host": "new.example", "password": {"env": "P"}, "user": "a"}
    }


def test_all_mistakes_are_named_by_line_and_nothing_is_written(init: Init, tmp_path: Path) -> None:
    rows = (
        "alice,a,p,t,p",
        "../up,,p,,", "Alice,c,p,,", "defaults,d,p,,", "a\x1bb,e,p,,", "carol,,p,,", "dave,A,p,v,p",
        ".hid,f,p,,", "erin,g,,,", "frank,h,p,t,", "x.toml,i,p,,", f"{'n' * 101},j,p,,", "con,k,p", "gina,l,p,z,p",
        "hugo,m,p,Z,p",
    )  # fmt: skip
    code, out, err = init(HEAD + "\n".join(rows), *SERVERS)
    assert (code, out, (tmp_path / "configs").exists()) == (2, "", False)
    told = [line.removeprefix("archiver: people.csv: ") for line in err.splitlines()]
    for line, text in {
        "line 3": 'account "../up": use ASCII letters',
        "line 4": 'account "Alice" is that of line 2, too; names that differ only by case count as one',
        "line 5": 'account "defaults": has a meaning of its own',
        "line 6": "column account has a control character",
        "line 8": "has the mailbox A at imap.example.org, like line 2",
        "line 9": 'account ".hid": use ASCII letters',
        "line 10": "the source has no password: fill the column password",
        "line 12": 'account "x.toml": leave out ".toml"',
        "line 13": f'account "{"n" * 101}": use at most 100 characters',
        "line 14": "has 3 cells, and the header 5",
        "line 16": "has the destination Z at imap.example.net, like line 15",
        "lines 3, 7": "the source has no user: fill the column user, or write it below [source] in defaults.toml",
    }.items():
        assert any(each.startswith(f"{line}: {text}") for each in told), (line, told)
    assert any("the destination has no password: fill the column to_password" in each for each in told)
    assert told[-1].endswith("; nothing was written")


def test_a_mistake_in_a_cell_hides_no_other_of_its_row(init: Init, tmp_path: Path) -> None:
    """Nor one of another row; and what a wrong cell would have filled is not missing."""
    rows = "alice,a\x1b,p,143", "Alice,,p,99999", ",b,\x1b,1x", "bob,c,p,1x"
    code, _, err = init("account,user,password,port\n" + "\n".join(rows), "--host", "h")

    assert code == 2
    assert [
        line.removeprefix("archiver: people.csv: ").removesuffix("; nothing was written")
        for line in err.splitlines()
    ] == [
        "line 2: column user has a control character, such as the end of a line",
        'line 3: account "Alice" is that of line 2, too; names that differ only by case count as one',
        "line 3: column port: must be less than or equal to 65535",
        "line 3: the source has no user: fill the column user, or write it below [source] in defaults.toml",
        "line 4: column password has a control character, such as the end of a line",
        "lines 4 to 5: column port must be a whole number",
        "line 4: names no account; fill the column account",
    ]


def test_two_accounts_of_one_archive_or_one_mailbox_are_found_also_among_those_that_are_there(
    init: Init, tmp_path: Path
) -> None:
    text = "account,user,password_env,path\n"
    assert init(text + "alice,a,P,/srv/a\n", "--host", "h")[0] == 0
    code, _, err = init(
        text + "bob,b,P,/srv/a\ncarol,A,P,/srv/c\ndave,d,P,/srv/d\nerin,e,P,/srv/d\n", "--host", "h"
    )
    alice = tmp_path / "configs" / "alice.toml"
    assert (code, err.splitlines()) == (2, [
        f"archiver: people.csv: line 2: has the archive /srv/a, like {alice}",
        f"archiver: people.csv: line 3: has the mailbox A at h, like {alice}",
        "archiver: people.csv: line 5: has the archive /srv/d, like line 4; nothing was written",
    ])  # fmt: skip


def test_what_stands_in_the_way_is_named(init: Init, tmp_path: Path) -> None:
    text, configs = HEAD + "alice,a,secret,b,secret\n", tmp_path / "configs"
    (configs / "passwords" / "source").mkdir(parents=True, mode=0o700)
    (configs / "passwords").chmod(0o755)
    assert "passwords: other users can enter it (mode 755); `chmod 700 " in init(text, *SERVERS)[2]
    (configs / "passwords").chmod(0o700)
    (configs / "passwords" / "source").chmod(0o700)
    (configs / "passwords" / "source" / "alice").write_text("older\n")
    code, _, err = init(text, *SERVERS)
    assert (code, "is there with another password; remove it, or correct it" in err, "secret" in err) == (
        2,
        True,
        False,
    )
    for options in (("--force",), ("--encoding", "ebcdic")):
        assert init(text, *options)[0] == 2
    assert invoke(["init", "x.toml", "--dry-run"]) == 2
    assert not list(configs.glob("*.toml"))


def test_two_thousand_rows_take_seconds(init: Init) -> None:
    text = HEAD + "".join(f"u{n},u{n}@x,p{n},v{n}@y,q{n}\n" for n in range(2000))
    began = time.process_time()
    assert init(text, *SERVERS)[0] == 0
    assert init(text, *SERVERS)[1].startswith("wrote no account files in configs; 2,000 are there already")
    assert time.process_time() - began < 12, "2 seconds on a quiet machine for both"


def test_the_accounts_work_on_a_real_server(init: Init, dovecot: Dovecot, tmp_path: Path, capsys: Any) -> None:
    users = [dovecot.fresh_user() for _ in range(3)]
    for user in users:
        dovecot.append(user, "INBOX", b"Subject: hello\r\n\r\nthere\r\n")
    options = ("--host", dovecot.host, "--port", str(dovecot.port), "--tls", "off", "--path", "{account}.archive.d")
    rows = "".join(f"{user};{user};pw\r\n" for user in users)
    assert init("\ufeffName;User;Password\r\n" + rows, *options)[0] == 0
    assert invoke(["run", "configs", "--except", users[2], "--quiet"]) == 0
    capsys.readouterr()
    assert invoke(["status", "configs", "--json"]) != 0
    held = {
        each["account"]: (each.get("totals") or {}).get("stored")
        for each in json.loads(capsys.readouterr().out)["accounts"]
    }
    assert [held[user] for user in users[:2]] == [1, 1]
    assert sorted(os.listdir(tmp_path / "configs" / f"{users[0]}.archive.d"))
