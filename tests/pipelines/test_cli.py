"""The command line as a person or a program meets it: words, documents, exit codes, and what it leaves alone."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archiver.config.load import load_account
from archiver.config.providers.lookup import Internet
from archiver.config.tables.server import ServerSettings
from archiver.errors import SEVERITY
from pipelines.cli.main import EXIT_CODES, invoke
from tests.accounts import PROJECT, account_file, archive_of, assert_whole
from tests.patience import PATIENCE
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

START = Callable[..., ScriptedServer]
VERBS = (
    *("init", "login", "check", "run", "worker", "archive", "replay", "status", "report", "search", "show"),
    *(
        "restore",
        "forget",
        "hold",
        "release",
        "mark",
        "prune",
        "verify",
        "repair",
        "retry",
        "export",
        "import",
        "gc",
        "rebuild",
        "demo",
    ),
)
FOLDERS = ("INBOX", "Sent", "[bold]mail\\x1b[31m")


def message(number: int, **oddity: Any) -> ScriptedMessage:
    return ScriptedMessage(b"Message-ID: <%d@x>\r\nSubject: s%d\r\n\r\nbody\r\n" % (number, number), **oddity)


@pytest.fixture
def server(scripted: START) -> ScriptedServer:
    """INBOX with 5 messages, Sent with 2, and a folder whose name wants to paint the terminal red, with 1."""
    return scripted(
        {
            b"INBOX": ScriptedFolder(7, {uid: message(uid) for uid in range(1, 6)}),
            b"Sent": ScriptedFolder(8, {uid: message(10 + uid) for uid in range(1, 3)}),
            b"[bold]mail\x1b[31m": ScriptedFolder(9, {1: message(20)}),
        }
    )


@pytest.fixture
def account(server: ScriptedServer, tmp_path: Path) -> Path:
    return account_file(tmp_path, server, "u1")


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, **options,
    )  # fmt: skip


class Archiver:
    """The command in this process, which is quick; `start` is the real one."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Done:
        self._capsys.readouterr()
        code = invoke([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Done(code, out, err)


@pytest.fixture
def archiver(capsys: pytest.CaptureFixture[str]) -> Iterator[Archiver]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Archiver(capsys)
    for number, handler in before.items():
        signal.signal(number, handler)


def tree(directory: Path) -> dict[str, bytes]:
    """Every file below it with its octets."""
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


# -- help and usage ----------------------------------------------------------------------------------------------


def test_help_lists_every_verb_and_every_exit_code(archiver: Archiver) -> None:
    done = archiver("--help")
    assert done.code == 0
    listed = re.findall(r"^  ([a-z]+)  +[A-Z]", done.out, re.MULTILINE)
    assert listed == list(VERBS)
    for code, text in EXIT_CODES.items():
        assert re.search(rf"^ +{'128.N' if code == 128 else code} {re.escape(text)}$", done.out, re.MULTILINE)
    assert max(map(len, done.out.splitlines())) <= 80


def test_every_exit_code_of_the_library_is_explained() -> None:
    assert set(EXIT_CODES) == {0, *SEVERITY, 128}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(archiver: Archiver, verb: str) -> None:
    done = archiver(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: archiver {verb}" in done.out
    assert "--json" in done.out
    assert len(done.out.splitlines()) > 10


def test_help_does_not_wait_for_what_only_a_run_needs() -> None:
    heavy = {
        "luigi",
        "sqlite3",
        "boto3",
        "imaplib",
        "imapclient",
        "jinja2",
        "multiprocessing",
        "rich",
        "ssl",
        "pydantic",
    }
    script = f"""
import sys
from pipelines.cli.main import invoke
for line in (["--help"], ["run", "--help"], ["search", "--help"], ["--version"]):
    assert invoke(line) == 0
sys.exit(repr({heavy!r} & set(sys.modules)) if {heavy!r} & set(sys.modules) else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["rnu"], "archiver: no such command 'rnu' (did you mean 'run'?); `archiver --help` lists the verbs"),
        (["run"], "missing argument 'CONFIG...'"),
        (["run", "--jsn", "x.toml"], "archiver run: no such option '--jsn' (did you mean '--json'"),
        (
            ["run", "no-such.toml"],
            "no-such.toml: no such file or folder; name an account file, or a folder of them",
        ),
        (["run", "x.toml", "--run", "../x"], "--run: an ID has"),
        (["run", "x.toml", "--workers", "0"], "0 is not in the range 1 or more"),
        (["run", "x.toml", "--workers", "two"], "'two' is not a valid integer"),
        (["export", "x.toml", "there"], "missing option '--to'. Choose from: maildir, mbox, eml"),
        (["export", "x.toml", "there", "--to", "pst"], "'pst' is not one of 'maildir', 'mbox', 'eml'"),
        (["verify", "x.toml", "--sample", "lots"], '"lots" is not a share'),
        (["check", "x.toml", "-q", "-v"], "contradict"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(archiver: Archiver, line: list[str], said: str) -> None:
    done = archiver(*line)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert done.err.startswith(("archiver: ", f"archiver {line[0]}: "))
    assert said in done.err


def raising(error: BaseException) -> Callable[..., Any]:
    def work(*_: object) -> None:
        raise error

    return work


def test_ctrl_c_before_the_work_begins_is_exit_code_130(
    archiver: Archiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cli.status.find_accounts", raising(KeyboardInterrupt()))
    assert archiver("status", "x.toml") == Done(130, "", "")


@pytest.mark.parametrize("error", [EOFError(), BrokenPipeError(errno.EPIPE, "Broken pipe")], ids=repr)
def test_an_error_that_nobody_foresaw_is_raised_as_it_is(
    archiver: Archiver, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("pipelines.cli.status.find_accounts", raising(error))
    with pytest.raises(type(error)):
        archiver("status", "x.toml")


def test_without_a_verb_there_is_help_and_exit_code_2(archiver: Archiver) -> None:
    done = archiver()
    assert (done.code, done.out) == (2, "")
    assert "Usage: archiver" in done.err


@pytest.mark.parametrize("line", [["rnu"], ["run", "no-such.toml"], ["check"], ["init", "x.toml"]])
def test_an_error_is_a_json_document_too(archiver: Archiver, line: list[str], tmp_path: Path) -> None:
    done = archiver(*line, "--json")
    assert (done.code, done.document["error"]["exit_code"]) == (2, 2)
    assert done.document["error"]["message"]


# -- init --------------------------------------------------------------------------------------------------------


def test_init_writes_a_private_account_file_and_never_overwrites_one(archiver: Archiver, tmp_path: Path) -> None:
    file = tmp_path / "new" / "alice.toml"
    line = ["init", file, "--host", "imap.example.org", "--user", "alice", "--path", str(tmp_path / "a")]
    password = ["--password-command", "pass show 'mail alice'"]
    assert archiver(*line, *password).code == 0
    settings = load_account(file)
    assert (settings.source.host, settings.source.password.value) == (
        "imap.example.org",
        ("pass", "show", "mail alice"),
    )
    assert file.stat().st_mode & 0o777 == 0o600
    written = file.read_bytes()
    again = archiver(*line, "--password-env", "X", "--json")
    assert (again.code, file.read_bytes()) == (2, written)
    assert "--force" in again.document["error"]["hint"]
    assert archiver(*line, "--password-env", "X", "--force").code == 0
    assert load_account(file).source.password.kind == "env"
    assert [path.name for path in file.parent.iterdir()] == ["alice.toml"]


def test_init_writes_an_account_of_files(archiver: Archiver, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    archiver("init", tmp_path / "a.toml", "--files", str(tmp_path / "old"), "--path", str(tmp_path / "a"))
    source = load_account(tmp_path / "a.toml").source
    assert (source.protocol, source.user) == ("files", str(tmp_path / "old"))
    assert archiver("init", tmp_path / "b.toml", "--files", "x", "--host", "imap.example.org").code == 2


def test_init_without_a_terminal_names_everything_that_is_missing(archiver: Archiver, tmp_path: Path) -> None:
    done = archiver("init", tmp_path / "alice.toml")
    assert done.code == 2
    assert all(word in done.err for word in ("--host", "--user", "--password-env"))
    assert list(tmp_path.iterdir()) == []


def test_init_does_not_write_what_would_not_load(archiver: Archiver, tmp_path: Path) -> None:
    done = archiver("init", tmp_path / "a.toml", "--host", "not a host", "--user", "u", "--password-env", "no name")
    assert done.code == 2
    assert "source.host" in done.err
    assert "source.password" in done.err
    assert list(tmp_path.iterdir()) == []


def test_init_of_an_address_finds_the_server_in_the_table(
    archiver: Archiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = archiver("init", "alice@icloud.com", "--password-env", "X", "--json")
    assert (done.code, done.document["file"]) == (0, "alice@icloud.com.toml")
    assert done.err.splitlines() == [
        "found imap.mail.me.com:993 (TLS: implicit) by the table of providers",
        "iCloud wants an app-specific password",
    ]
    source = load_account(tmp_path / "alice@icloud.com.toml").source
    assert (source.host, source.port, source.tls, source.user) == ("imap.mail.me.com", 993, "implicit", "alice")
    assert archiver("init", "carol@aol.com", "--password-env", "X", "--protocol", "pop3").code == 0
    source = load_account(tmp_path / "carol@aol.com.toml").source
    assert (source.host, source.port, source.protocol) == ("pop.aol.com", 995, "pop3")
    below = archiver("init", "new/bob@gmail.com", "--password-env", "X", "--tls", "starttls")
    assert (below.code, below.out.split()[1]) == (0, "new/bob@gmail.com.toml.")
    source = load_account(tmp_path / "new/bob@gmail.com.toml").source
    assert (source.host, source.port, source.tls, source.user) == (
        "imap.gmail.com",
        143,
        "starttls",
        "bob@gmail.com",
    )


def test_init_of_an_address_that_takes_only_tokens(
    archiver: Archiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = archiver("init", "alice@contoso.onmicrosoft.com")
    assert done.code == 2
    assert "archiver init: --oauth2 microsoft is missing, and --client-id with it" in done.err
    line = ["init", "alice@contoso.onmicrosoft.com", "--oauth2", "microsoft", "--client-id", "1-2"]
    assert archiver(*line, "--tenant", "contoso.onmicrosoft.com").code == 0
    source = load_account(tmp_path / "alice@contoso.onmicrosoft.com.toml").source
    assert isinstance(source, ServerSettings)
    assert (source.host, source.auth) == ("outlook.office365.com", "oauth2")


def test_init_of_an_address_says_what_it_asks(
    archiver: Archiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Internet, "_records", lambda *_: [])
    monkeypatch.setattr(Internet, "page", lambda *_: b"")
    done = archiver("init", "alice@example.org", "--password-env", "X")
    assert done.code == 2
    assert [line.partition(" ")[0] for line in done.err.splitlines()] == [*["asking"] * 5, "archiver:"]
    assert done.err.endswith(
        "archiver: alice@example.org: the IMAP server of example.org is not found; give it with --host\n"
    )
    offline = archiver("init", "alice@example.org", "--password-env", "X", "--offline")
    assert (offline.code, len(offline.err.splitlines())) == (2, 1)
    given = archiver("init", "alice@example.org", "--password-env", "X", "--host", "h", "--user", "alice")
    assert (given.code, given.err) == (0, "")
    assert archiver("init", "alice@example.org", "--password-env", "X").err.count("already exists") == 1


# -- check and dry run -------------------------------------------------------------------------------------------


def test_check_shows_what_is_there_and_changes_nothing(archiver: Archiver, account: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    done = archiver("check", account)
    assert done.code == 0, done.err
    said = " ".join(done.out.split())  # a long path breaks lines
    for words in ("INBOX", "Sent", "CONDSTORE", "will be created", "about 8 messages", "Maildir/.Sent"):
        assert words in said
    assert tree(tmp_path) == before
    assert not archive_of(account).exists()


def test_check_as_a_document(archiver: Archiver, account: Path) -> None:
    done = archiver("check", account, "--json")
    (found,) = done.document["accounts"]
    assert done.document["format"] == "archiver-check/1"
    assert found["totals"] | {"size": 0, "octets": 0} == {
        "folders": 3, "messages": 8, "size": 0, "to_visit": 3, "to_fetch": 8, "octets": 0,
    }  # fmt: skip
    assert sorted(folder["name"] for folder in found["folders"]) == sorted(FOLDERS)
    assert "QRESYNC" in found["server"]["used"]


def test_check_shows_whose_server_it_is(archiver: Archiver, account: Path, server: ScriptedServer) -> None:
    server.greeting = b"* OK Gimap ready for requests from 127.0.0.1 i9if"
    (found,) = archiver("check", account, "--json").document["accounts"]
    assert found["server"]["provider"] == {
        "key": "gmail", "name": "Gmail, Google Workspace", "by": "greeting", "octets_in_a_day": 2_500_000_000,
    }  # fmt: skip
    said = " ".join(archiver("check", account).out.split())
    assert "provider Gmail, Google Workspace (by what it says of itself)" in said
    assert "about 2.5 GB a day can be downloaded" in said
    account.write_text(account.read_text().replace("[source]", '[source]\nprovider = "courier"'))
    assert "provider Courier (by the account file)" in " ".join(archiver("check", account).out.split())


def test_check_says_how_many_days_a_daily_limit_makes_of_it(
    archiver: Archiver, account: Path, server: ScriptedServer
) -> None:
    assert "a day at" not in archiver("check", account).out
    server.greeting = b"* OK Gimap ready for requests from 127.0.0.1 i9if"
    inbox = server.folders[b"INBOX"]
    facts = inbox.facts
    inbox.facts = lambda: {**facts(), "SIZE": 6_000_000_000}  # type: ignore[method-assign]
    said = " ".join(archiver("check", account).out.split())
    assert "with about 2.5 GB a day at Gmail, Google Workspace that takes 3 days" in said


def test_check_warns_of_a_mailbox_that_shows_nothing(archiver: Archiver, scripted: START, tmp_path: Path) -> None:
    server = scripted({b"INBOX": ScriptedFolder(1), b"Sent": ScriptedFolder(2)})
    (found,) = archiver("check", account_file(tmp_path, server, "u1"), "--json").document["accounts"]
    (notice,) = found["notices"]
    assert (notice["kind"], notice["text"].partition(":")[0]) == (
        "empty",
        "the server shows no message in any folder",
    )


@pytest.mark.parametrize("shown", [10_000, 1_000])
def test_check_warns_of_a_folder_that_is_cut_off(
    archiver: Archiver, scripted: START, tmp_path: Path, shown: int
) -> None:
    server = scripted({b"INBOX": ScriptedFolder(1, {uid: message(1) for uid in range(1, shown + 1)})})
    (found,) = archiver("check", account_file(tmp_path, server, "u1"), "--json").document["accounts"]
    assert [(each["kind"], each["count"]) for each in found["notices"]] == [("window", shown)]


def test_check_tries_a_password_once(archiver: Archiver, account: Path, server: ScriptedServer) -> None:
    server.users["u1"] = "another"
    done = archiver("check", account)
    assert (done.code, len(server.sessions)) == (5, 1)
    assert done.err.splitlines() == [line for line in done.err.splitlines() if line.startswith("archiver: u1: ")]
    assert "pw" not in done.err.replace("check `user` and the password", "")


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    archiver: Archiver, account: Path, server: ScriptedServer, tmp_path: Path
) -> None:
    done = archiver("run", account, "--dry-run")
    assert done.code == 0, done.err
    assert "about 8 messages" in done.out
    assert not archive_of(account).exists()
    assert archiver("run", account, "-q").code == 0
    server.folders[b"INBOX"].messages[6] = message(6)
    before = tree(tmp_path)
    plan = archiver("run", account, "--dry-run", "--json").document
    assert plan["format"] == "archiver-plan/1"
    reasons = {folder["name"]: folder["reason"] for folder in plan["accounts"][0]["folders"]}
    assert (reasons["INBOX"], reasons["Sent"]) == ("changed", None)
    assert plan["accounts"][0]["totals"]["to_fetch"] == 1
    assert tree(tmp_path) == before


# -- run ---------------------------------------------------------------------------------------------------------


def test_a_run_shows_the_books_and_a_second_one_fetches_nothing(archiver: Archiver, account: Path) -> None:
    done = archiver("run", account)
    assert done.code == 0, done.err
    assert "8 on server = 8 stored" in done.out
    assert "complete" in done.out
    assert "u1: about 8 messages to fetch" in done.err
    again = archiver("run", account, "--json")
    (result,) = again.document["accounts"]
    assert (again.document["format"], again.document["exit_code"]) == ("archiver-run/1", 0)
    assert (result["status"], result["totals"]["fetched"], result["totals"]["stored"]) == ("complete", 0, 8)
    assert json.loads(Path(result["report"]).read_text())["run"] == result["run"]
    assert_whole(archive_of(account))


def test_a_server_cannot_paint_or_forge_the_terminal(archiver: Archiver, account: Path) -> None:
    for line in (["run", account, "--dry-run"], ["check", account], ["run", account, "-v"], ["status", account]):
        done = archiver(*line)
        assert done.code == 0
        assert "\x1b" not in done.out + done.err
        assert "[bold]mail" in done.out


def test_quiet_says_nothing_when_all_is_well(archiver: Archiver, account: Path) -> None:
    assert "began a new archive" in archiver("run", account, "--quiet").err
    for verb in ("check", "run", "status", "verify", "retry"):
        done = archiver(verb, account, "--quiet")
        assert (verb, done.code, done.out, done.err) == (verb, 0, "", "")


def test_what_could_not_be_had_is_listed_with_what_to_do(
    archiver: Archiver, account: Path, server: ScriptedServer
) -> None:
    server.folders[b"INBOX"].messages[3] = message(3, fetch="no")
    for quiet in ([], ["--quiet"]):
        done = archiver("run", account, *quiet)
        assert done.code == 3
        reported = done.err if quiet else done.out
        assert 'folder "INBOX", uid 3: ' in reported
        assert f"`archiver retry {account}` tries again" in reported
    waiting = archiver("status", account)
    assert (waiting.code, "1 in quarantine" in waiting.out) == (3, True)
    accepted = archiver("retry", account, "--accept", "--json")
    assert (accepted.code, accepted.document["accounts"][0]["totals"]["quarantined"]) == (0, 1)
    assert archiver("status", account, "--quiet").code == 0


def test_status_says_of_each_folder_whether_the_archive_has_all_of_it(
    archiver: Archiver, account: Path, server: ScriptedServer
) -> None:
    """After the first run the server does not open Sent any more, nor New, and the account file excludes Old."""
    server.folders[b"Old"] = ScriptedFolder(11, {1: message(30)})
    assert archiver("run", account, "-q").code == 0
    server.folders[b"New"] = ScriptedFolder(12, {1: message(40)}, refuse=b"NO")
    server.folders[b"Sent"].messages[3] = message(13)
    server.folders[b"Sent"].refuse = b"NO"
    account.write_text(account.read_text() + '[folders]\nexclude = ["Old"]\n')
    assert archiver("run", account, "-q").code == 3
    done = archiver("status", account, "--json")
    (result,) = done.document["accounts"]
    states = {each["name"].split("mail")[0]: each["state"] for each in result["folders"]}
    well = {"INBOX": "complete", "[bold]": "complete", "Old": "left out"}
    assert (done.code, states) == (3, well | {"Sent": "failed", "New": "not opened"})
    said = archiver("status", account).out
    for words in (r"New +\? +· +not opened to the end yet", r"Sent +\? +2 +✗ failed", r"Old +1 +1 +left out now"):
        assert re.search(words, said), said
    assert "7 counted on server so far, 9 stored; some folders were not opened to the end" in said
    server.folders[b"New"].refuse = server.folders[b"Sent"].refuse = None
    assert (archiver("run", account, "-q").code, archiver("status", account, "-q").code) == (0, 0)
    assert re.search(r"total +11 +11 +✓", archiver("status", account).out)


def test_a_folder_that_failed_and_holds_no_messages_any_more_is_no_failure(
    archiver: Archiver, account: Path, server: ScriptedServer
) -> None:
    assert archiver("run", account, "-q").code == 0
    server.folders[b"Sent"].messages[3] = message(13)
    server.folders[b"Sent"].refuse = b"NO"
    assert archiver("run", account, "-q").code == 3
    server.folders[b"Sent"].attributes = ("\\Noselect",)
    assert (archiver("run", account, "-q").code, archiver("status", account, "-q").code) == (0, 0)


def test_one_bad_account_stops_only_itself(archiver: Archiver, server: ScriptedServer, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    server.users |= {"u2": "pw", "u3": "pw"}
    for user in ("u1", "u2", "u3"):
        account_file(configs, server, user, archive__path=str(tmp_path / user))
    (configs / "u4.toml").write_text("[sauce]\n")
    server.users["u2"] = "changed"
    done = archiver("run", configs, "--json")
    assert done.code == done.document["exit_code"] == 2
    ended = {each["account"]: (each["status"], each["exit_code"]) for each in done.document["accounts"]}
    assert ended == {"u1": ("complete", 0), "u2": ("failed", 5), "u3": ("complete", 0), "u4": ("failed", 2)}
    shown = archiver("run", configs)
    rows = [line.split()[:2] for line in shown.out.splitlines() if re.match(r"u\d ", line)]
    assert rows == [["u1", "complete"], ["u3", "complete"], ["u2", "failed"], ["u4", "failed"]]


def test_two_accounts_with_one_archive_are_refused_before_anything_begins(
    archiver: Archiver, server: ScriptedServer, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        account_file(tmp_path / "configs", server, "u1", name=name, archive__path=str(tmp_path / "same"))
    done = archiver("run", tmp_path / "configs")
    assert (done.code, len(server.sessions), (tmp_path / "same").exists()) == (2, 0, False)


def test_a_broken_file_and_a_name_of_nobody_stop_only_themselves(
    archiver: Archiver, server: ScriptedServer, tmp_path: Path
) -> None:
    configs = tmp_path / "configs"
    good = account_file(configs / "wave1", server, "u1")
    (configs / "wave1" / "broken.toml").write_text("[source\n")
    (configs / "wave2").mkdir()
    (configs / "wave2" / "typo.toml").write_text(good.read_text().replace("tls =", "tsl ="))
    for verb in ("run", "status", "check"):
        done = archiver(verb, configs, "--only", "wave?/*", "--only", "nobody", "--json")
        codes = {each["account"]: each["exit_code"] for each in done.document["accounts"]}
        assert (verb, done.code, codes) == (verb, 2, {"u1": 0, "broken": 2, "typo": 2, "nobody": 2})
        assert "--only nobody: matches no account" in done.err
    assert archiver("run", configs, "--only", "u1").code == 0
    told = archiver("run", configs)
    assert re.findall(r"^(\w+) +(complete|failed) ", told.out, re.MULTILINE) == [
        ("u1", "complete"), ("broken", "failed"), ("typo", "failed"),
    ]  # fmt: skip
    nothing = archiver("run", configs, "--only", "nobody")
    assert (nothing.code, nothing.out, len(nothing.err.splitlines())) == (2, "", 1)


def test_two_files_of_one_name_in_two_folders_are_refused(
    archiver: Archiver, server: ScriptedServer, tmp_path: Path
) -> None:
    for wave in ("wave1", "wave2"):
        account_file(tmp_path / wave, server, "u1")
    done = archiver("run", tmp_path, "--json")
    assert (done.code, len(server.sessions)) == (2, 0)
    assert done.err.count('has the account name "u1", as ') == 2
    assert archiver("run", tmp_path, "--except", "wave2/*").code == 0


def test_a_damaged_catalog_is_exit_code_6_and_rebuild_mends_it(archiver: Archiver, account: Path) -> None:
    assert archiver("run", account, "-q").code == 0
    catalog = archive_of(account) / "catalog.sqlite"
    catalog.write_bytes(b"this is no catalog" * 1000)
    for verb in ("run", "status", "verify", "repair"):
        done = archiver(verb, account)
        assert (verb, done.code) == (verb, 6), done.err
        assert "Traceback" not in done.err
    rebuilt = archiver("rebuild", account, "--json")
    assert (rebuilt.code, rebuilt.document["messages"]) == (0, 8)
    assert archiver("verify", account, "--quiet").code == 0
    assert archiver("status", account, "--quiet").code == 0


def test_every_verb_prints_one_document_and_nothing_else(archiver: Archiver, account: Path) -> None:
    for verb in ("run", "status", "verify", "repair", "gc", "retry", "rebuild", "check", "archive"):
        done = archiver(verb, account, "--json")
        assert (verb, done.code) == (verb, 0), done.err
        assert done.document["format"].startswith("archiver-")


def test_verify_finds_what_was_altered(archiver: Archiver, account: Path) -> None:
    assert archiver("run", account, "-q").code == 0
    victim = next(path for path in (archive_of(account) / "Maildir").rglob("cur/*") if path.is_file())
    victim.write_bytes(victim.read_bytes().replace(b"body", b"BODY"))
    done = archiver("verify", account)
    assert done.code == 6
    assert victim.name in done.out
    assert archiver("verify", account, "--json").document["accounts"][0]["damaged"]


def test_an_unexpected_error_shows_its_traceback_and_exits_1(account: Path, tmp_path: Path) -> None:
    script = f"""
import sys
import pipelines.steps
from pipelines.cli.main import main
def broken(*arguments, **options):
    return 1 / 0
pipelines.steps.archive_listed = broken
main(["run", {str(account)!r}, *sys.argv[1:]])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    reported = subprocess.run(
        [sys.executable, "-c", script, "--json"], cwd=PROJECT, capture_output=True, check=False
    )
    document = json.loads(reported.stdout)
    assert (document["exit_code"], document["accounts"][0]["exit_code"]) == (1, 1)
    assert "ZeroDivisionError" in document["accounts"][0]["message"]


def test_a_reader_that_goes_away_changes_nothing(account: Path) -> None:
    for line in (["run", account], ["status", account], ["status", account, "--json"]):
        process = start(*line)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        assert (process.wait(60), "Traceback" in err, "BrokenPipe" in err) == (0, False, False)
        process.stderr.close()
    assert_whole(archive_of(account))


@pytest.mark.parametrize(
    ("line", "shell", "environment"),
    [
        ("run", ">/dev/full 2>&1", {}),
        ("run", ">&- 2>&- <&-", {}),
        ("run --json", ">/dev/full", {}),
        ("status", "", {"PYTHONIOENCODING": "ascii"}),
        ("check", "", {"PYTHONIOENCODING": "latin-1"}),
    ],
)
def test_output_that_cannot_be_written_changes_no_exit_code(
    account: Path, line: str, shell: str, environment: dict[str, str]
) -> None:
    assert invoke(["run", str(account), "--quiet"]) == 0
    verb, *options = line.split()
    program = shlex.join([sys.executable, "-m", "pipelines", verb, str(account), *options])
    environment = {**os.environ, **environment}
    done = subprocess.run(
        ["sh", "-c", f"{program} {shell}"], cwd=PROJECT, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert (b"No space left on device" in done.stderr) == (shell == ">/dev/full")
    assert_whole(archive_of(account))


def test_a_message_that_could_not_be_written_completely_is_no_success(account: Path) -> None:
    assert invoke(["run", str(account), "--quiet"]) == 0
    program = shlex.join([sys.executable, "-m", "pipelines", "show", str(account), "INBOX/1", "--raw"])
    done = subprocess.run(["sh", "-c", f"{program} >/dev/full"], cwd=PROJECT, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[0] == (
        "archiver: standard output: No space left on device; the message was not written completely"
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_good_order(
    archiver: Archiver, scripted: START, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    server = scripted({b"INBOX": ScriptedFolder(7, {uid: message(uid) for uid in range(1, 6)})})

    def hold(*_: object) -> None:  # and then answer as usual
        reached.set()
        go_on.wait(30)

    server.on(b"UID FETCH", hold)
    account = account_file(tmp_path, server, "u1")
    process = start("run", account)
    assert reached.wait(60)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    go_on.set()
    assert (process.returncode, "stopping after the current batch" in err) == (code, True)
    assert "Traceback" not in err
    assert archiver("run", account, "-q").code == 0
    assert_whole(archive_of(account))


# -- a real server -----------------------------------------------------------------------------------------------


def test_check_shows_how_a_real_server_is_secured(
    archiver: Archiver, dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    dovecot.append(mail_user, "INBOX", b"Subject: hello\r\n\r\nthere\r\n")
    account = account_file(
        tmp_path, dovecot, mail_user, source__tls="implicit", source__port=dovecot.tls_port,
        source__host="localhost", source__ca_file=str(dovecot.ca),
    )  # fmt: skip
    done = archiver("check", account, "--json")
    (found,) = done.document["accounts"]
    assert (done.code, found["server"]["tls"]["version"]) == (0, "TLSv1.3")
    assert "localhost" in found["server"]["tls"]["subject"]
    assert "Dovecot" in found["server"]["greeting"]
    assert found["folders"][0]["to_fetch"] == 1
    assert found["folders"][0]["size"] > 0


def test_the_environment_names_no_secret(archiver: Archiver, account: Path) -> None:
    text = account.read_text().replace('{ file = "', '{ env = "UNSET_VARIABLE" } #')
    account.write_text(text)
    done = archiver("check", account)
    assert done.code == 2
    assert "the environment variable UNSET_VARIABLE is not set; export it before the run" in done.err
    assert "UNSET_VARIABLE" not in os.environ


def test_init_writes_a_destination_and_an_authority(archiver: Archiver, tmp_path: Path) -> None:
    file, known = tmp_path / "a.toml", ["--host", "a.example", "--user", "u", "--password-env", "P"]
    (tmp_path / "ca.pem").write_text("")
    ca = str(tmp_path / "ca.pem")
    there = ["--to-host", "b.example", "--to-user", "v", "--to-password-file", "pw"]
    for part in (
        ["--to-host", "b.example"],
        ["--to-prefix", "Old"],
        there[:-2],
        [*there, "--to-password-env", "Q"],
    ):
        assert archiver("init", file, *known, *part).code == 2
    assert archiver("init", file, *known, *there, "--to-tls", "ssl").err.startswith("archiver: --to-tls: ")
    assert archiver("init", file, *known, "--ca-file", ca, *there).code == 0
    settings = load_account(file)
    assert settings.source.ca_file == tmp_path / "ca.pem"
    assert settings.destination is not None
    assert (settings.destination.host, settings.destination.user) == ("b.example", "v")
    assert settings.destination.password.value == str(tmp_path / "pw")
    assert (settings.destination.port, settings.destination.prefix, settings.destination.ca_file) == (993, "", None)


def test_init_writes_how_to_reach_the_destination(archiver: Archiver, tmp_path: Path) -> None:
    file, known = tmp_path / "a.toml", ["--host", "a.example", "--user", "u", "--password-env", "P"]
    (tmp_path / "ca.pem").write_text("")
    there = ["--to-host", "b.example", "--to-user", "v", "--to-password-command", "pass show b"]
    odd = ["--to-tls", "starttls", "--to-ca-file", str(tmp_path / "ca.pem"), "--to-prefix", "Old mail"]
    assert archiver("init", file, *known, *there, *odd).code == 0
    settings = load_account(file)
    found = settings.destination
    assert found is not None
    assert (found.tls, found.port, found.ca_file, found.prefix) == (
        "starttls", 143, tmp_path / "ca.pem", "Old mail"
    )  # fmt: skip
    assert found.password.value == ("pass", "show", "b")
    assert (settings.source.tls, settings.source.port) == ("implicit", 993)
    assert archiver("init", file, *known, *there, *odd, "--to-port", "1143", "--force").code == 0
    assert getattr(load_account(file).destination, "port", None) == 1143


def test_init_writes_a_pop3_account(archiver: Archiver, tmp_path: Path) -> None:
    file, known = tmp_path / "a.toml", ["--host", "a.example", "--user", "u", "--password-env", "P"]
    assert archiver("init", file, *known, "--protocol", "pop3").code == 0
    source = load_account(file).source
    assert (source.protocol, source.port, source.connections) == ("pop3", 995, 1)
    assert archiver("init", file, *known, "--protocol", "pop3", "--tls", "starttls", "--force").code == 0
    assert load_account(file).source.port == 110
    refused = archiver("init", tmp_path / "b.toml", *known, "--protocol", "smtp")
    assert (refused.code, refused.err) == (2, 'archiver: --protocol: "smtp" is not one of imap, pop3\n')


def test_init_takes_the_path_of_a_file_from_the_current_folder_too(
    archiver: Archiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    for name in ("configs/a.password", "configs/b.password", "ca.pem"):
        (tmp_path / name).write_text("")
    known = ["--host", "a.example", "--user", "u", "--password-file", "configs/a.password", "--ca-file", "ca.pem"]
    there = ["--to-host", "b.example", "--to-user", "v", "--to-password-file", "b.password"]
    assert archiver("init", "configs/a.toml", *known, *there).code == 0
    text = (tmp_path / "configs/a.toml").read_text()
    assert 'password = { file = "a.password" }' in text
    assert 'password = { file = "b.password" }' in text  # beside the account file, as always
    assert load_account(tmp_path / "configs/a.toml").source.ca_file == tmp_path / "ca.pem"
