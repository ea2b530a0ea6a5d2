"""`archiver report`, and the file every run leaves: which report is shown, what is said of it, and its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver.report.page import render_html
from pipelines.cli.main import invoke
from pipelines.reporting.files import write_report
from tests.accounts import PROJECT, account_file, archive_of, run
from tests.reports import HOSTILE, document, failed, folder, many_folders, one_folder, with_everything, with_text
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

START = Callable[..., ScriptedServer]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def server(scripted: START) -> ScriptedServer:
    messages = {uid: ScriptedMessage(b"Subject: s%d\r\n\r\nbody\r\n" % uid) for uid in range(1, 6)}
    return scripted({b"INBOX": ScriptedFolder(7, messages), b"<b>Sent\x1b[31m": ScriptedFolder(8, {})})


@pytest.fixture
def account(server: ScriptedServer, tmp_path: Path) -> Path:
    return account_file(tmp_path, server, "u1")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were given to the browser."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    return addresses


def reported(capsys: Capture, *arguments: str | Path, expect: int = 0) -> str:
    """What `archiver report` says on stdout; on failure, what it says on stderr."""
    capsys.readouterr()
    code = invoke(["report", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert code == expect, err
    return err if expect else out


def put(account: Path, report: dict[str, Any], run_id: str = "r1") -> Path:
    """A report where a run would have written it, without its page."""
    path = archive_of(account) / "runs" / run_id / "report.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(report), encoding="utf-8")
    return path


# -- what a run leaves -------------------------------------------------------------------------------------------


def test_a_run_writes_the_report_and_the_page_is_made_on_demand_both_for_their_owner_alone(
    account: Path, capsys: Capture
) -> None:
    done = run(account, run_id="r1")
    here = archive_of(account) / "runs" / "r1"
    assert [path.name for path in here.iterdir()] == ["report.json"]
    assert reported(capsys, account, "--page") == f"{here / 'report.html'}\n"
    assert {path.name: path.stat().st_mode & 0o777 for path in here.iterdir()} == {
        "report.json": 0o600, "report.html": 0o600,
    }  # fmt: skip
    page = (here / "report.html").read_text(encoding="utf-8")
    assert page == render_html(done.report)
    assert "Everything is there: 5 messages in 2 folders" in page
    assert "&lt;b&gt;Sent" in page


def test_a_run_does_not_load_what_makes_the_page(account: Path) -> None:
    script = "import sys; sys.modules['jinja2'] = None; from pipelines.cli.main import invoke; invoke(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, "run", str(account)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((archive_of(account) / "runs").glob("*/report.json"))) == 1


def test_the_page_of_a_failed_run_that_is_resumed_is_old(
    account: Path, server: ScriptedServer, capsys: Capture
) -> None:
    run(account)
    password = account.with_suffix(".password")
    password.write_text("wrong\n")
    run(account, run_id="r1", expect=5)
    page = Path(reported(capsys, account, "--page").strip())
    assert "The run did not finish" in page.read_text(encoding="utf-8")
    assert f"page {page}" in reported(capsys, account)
    password.write_text("pw\n")
    run(account, run_id="r1")
    assert f"page {page}" not in reported(capsys, account)
    reported(capsys, account, "--page")
    assert "Everything is there" in page.read_text(encoding="utf-8")


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r1" / "report.json"
    write_report(path, one_folder())
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_report(path, failed())
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


# -- which report is shown ---------------------------------------------------------------------------------------


def test_the_last_run_is_shown_or_the_one_that_is_named(account: Path, capsys: Capture) -> None:
    run(account, run_id="z-first")
    run(account, run_id="a-second")
    assert "u1: run a-second, " in reported(capsys, account)
    reported(capsys, account, "--run", "z-first", "--page")
    for name in ("report.json", "report.html"):  # by a clock that was ahead
        os.utime(archive_of(account) / "runs" / "z-first" / name, (2e9, 2e9))
    assert "u1: run a-second, " in reported(capsys, account)
    first = reported(capsys, account, "--run", "z-first")
    assert "u1: run z-first, " in first
    assert "5 on server = 5 stored" in first
    assert "complete, exit code 0: Everything is there: 5 messages in 2 folders" in first
    assert f"page {archive_of(account) / 'runs' / 'z-first' / 'report.html'}" in first


def test_where_there_is_no_report_it_says_how_to_get_one(account: Path, capsys: Capture) -> None:
    assert f"there is no report yet; `archiver run {account}` writes one" in reported(capsys, account, expect=2)
    run(account, run_id="r1")
    err = reported(capsys, account, "--run", "r2", expect=2)
    assert f"there is no report of the run r2; `archiver status {account} --runs` lists all runs" in err
    assert "--run: an ID has" in reported(capsys, account, "--run", "../r1", expect=2)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "7", "null", "[" * 100_000),
        '{"format": "archiver-report/2"}',
        '{"format": "archiver-report/1"}',
        '{"format": "archiver-report/1", "folders": [7]}',
        '{"format": "archiver-report/1", "totals": 7}',
    ],
)
def test_a_report_that_cannot_be_read_is_a_problem_of_one_line(account: Path, capsys: Capture, text: str) -> None:
    path = put(account, {})
    path.write_text(text)
    err = reported(capsys, account, expect=2)
    assert str(path) in err
    assert len(err.splitlines()) == 1


def test_neither_server_nor_catalog_is_needed(account: Path, server: ScriptedServer, capsys: Capture) -> None:
    run(account)
    before = len(server.sessions)
    (archive_of(account) / "catalog.sqlite").unlink()
    assert "Everything is there" in reported(capsys, account)
    assert len(server.sessions) == before


def test_several_accounts_and_one_document(server: ScriptedServer, tmp_path: Path, capsys: Capture) -> None:
    configs = tmp_path / "configs"
    for name in ("a", "b"):
        account = account_file(configs, server, "u1", name=name, archive__path=str(tmp_path / name))
        put(account, failed() if name == "a" else one_folder())
    found = json.loads(reported(capsys, configs, "--json"))
    assert (found["format"], found["exit_code"]) == ("archiver-reports/1", 0)
    assert [each["account"] for each in found["accounts"]] == ["a", "b"]
    assert [each["document"] for each in found["accounts"]] == [failed(), one_folder()]
    assert found["accounts"][0] | {"document": {}} == {
        "account": "a", "exit_code": 0, "message": None, "run": "r1", "document": {}, "page": None,
        "report": str(tmp_path / "a" / "runs" / "r1" / "report.json"), "looked_at": None,
    }  # fmt: skip
    account_file(configs, server, "u1", name="c", archive__path=str(tmp_path / "c"))
    assert invoke(["report", str(configs), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [each["exit_code"] for each in found["accounts"]] == [0, 0, 2]
    pages = [tmp_path / name / "runs" / "r1" / "report.html" for name in ("a", "b")]
    assert reported(capsys, configs / "a.toml", configs / "b.toml", "--page").split() == list(map(str, pages))
    found = json.loads(reported(capsys, configs / "a.toml", configs / "b.toml", "--page", "--json"))
    assert [each["page"] for each in found["accounts"]] == list(map(str, pages))
    shown = reported(capsys, configs / "a.toml", configs / "b.toml")
    assert re.findall(r"^([ab]): run", shown, re.MULTILINE) == ["a", "b"]


# -- what is said ------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_reported(
    account: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")  # in fewer, names are folded
    put(account, with_everything())
    out = reported(capsys, account)
    for words in (
        "source: alice@example.org at imap.example.org", "destination: alice@example.net at mail.example.net",
        "1,250 on server = 1,240 stored + 5 excluded + 2 quarantined + 3 not archived yet",
        "1,240 stored = 1,164 replayed + 20 already there + 12 refused + 4 removed there + 40 not sent yet",
        "Sent Items", "incomplete, exit code 3: 2 messages could not be archived; 12 messages could not be",
        "15 failures:", 'folder "INBOX", uids 17, 18: the server sent no body (NO [SERVERBUG] cannot read it)',
        "→ raise the limit", "duration: enumerate 0.4 s, archive 12 s", "left out: Lists: it holds no",
        "uid 12 (uid 45 there): flags: expected \\Seen, found none",
        "312 messages: the destination does not keep the flags $Forwarded",
    ):  # fmt: skip
        assert words in out


def test_long_lists_are_cut_unless_all_is_asked_for(account: Path, capsys: Capture) -> None:
    losses = [{"folder": "F", "kind": "flags", "detail": "x", "count": 1, "uids": str(uid)} for uid in range(90)]
    skipped = [{"name": f"Shared {number}", "reason": "excluded"} for number in range(90)]
    put(account, many_folders(60, delivered=False) | {"losses": losses, "skipped": skipped})
    short, long = reported(capsys, account), reported(capsys, account, "--verbose")
    assert "left out: 40 more; --verbose lists them" in short
    assert "Clients/Contoso/2005" not in short
    assert "Clients/Contoso/2005" in long
    assert long.count("left out: Shared ") == 90
    assert short.count("flags x") < 90


def test_an_old_report_and_a_hostile_one_are_shown_too(account: Path, capsys: Capture) -> None:
    old = document([folder("INBOX", 3)])
    for key in ("source", "destination", "timings", "losses", "differences"):
        del old[key]
    put(account, old, "r1")
    put(account, with_text(with_everything(), HOSTILE), "r2")
    assert "Everything is there: 3 messages in 1 folder" in reported(capsys, account, "--run", "r1")
    out = reported(capsys, account, "--run", "r2", "--verbose")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", out)


# -- the page ----------------------------------------------------------------------------------------------------


def test_open_shows_the_page_in_the_browser(account: Path, capsys: Capture, opened: list[str]) -> None:
    run(account, run_id="r1")
    page = Path(reported(capsys, account, "--page").strip())
    before = page.stat()
    assert f"opening {page}" in reported(capsys, account, "--open")
    assert (opened, page.stat()) == ([page.as_uri()], before)
    reported(capsys, account)
    assert len(opened) == 1


def test_a_page_made_while_a_run_replaces_the_report_is_old(
    account: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = put(account, failed())
    os.utime(report, (1e9, 1e9))

    def slowly(document: dict[str, Any]) -> str:
        report.write_text(json.dumps(one_folder()), encoding="utf-8")
        return render_html(document)

    with monkeypatch.context() as patched:
        patched.setattr("archiver.report.page.render_html", slowly)
        reported(capsys, account, "--page")
    page = Path(reported(capsys, account, "--page").strip())
    assert page.read_text(encoding="utf-8") == render_html(one_folder())


def test_where_no_page_can_be_written_it_is_made_in_the_temporary_directory(
    account: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(account, one_folder())
    page = archive_of(account) / "runs" / "r1" / "report.html"
    page.mkdir()
    os.utime(page, (1, 1))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert invoke(["report", str(account), "--page"]) == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()).read_text(encoding="utf-8") == render_html(one_folder())
    assert err == f"archiver: {page}: cannot be written: Is a directory; the page is {out}"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert "No such file or directory" in reported(capsys, account, "--page", expect=8)


def test_open_makes_a_page_that_is_not_there_or_not_of_this_report(
    account: Path, capsys: Capture, opened: list[str]
) -> None:
    page = put(account, one_folder()).with_suffix(".html")
    assert f"page {page}" not in reported(capsys, account)
    assert f"page {page}" in reported(capsys, account, "--open")
    assert page.read_text(encoding="utf-8") == render_html(one_folder())
    page.write_text("of another report")
    os.utime(page, (1, 1))
    reported(capsys, account, "--open")
    assert page.read_text(encoding="utf-8") == render_html(one_folder())
    assert opened == [page.as_uri()] * 2


def test_without_a_browser_it_says_where_the_page_is(
    account: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = put(account, one_folder()).with_suffix(".html")
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert invoke(["report", str(account), "--open"]) == 0
    assert f"no browser was found; open {page} yourself" in capsys.readouterr().err
