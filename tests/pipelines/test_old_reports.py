"""`[reports] keep`: reports of runs that ended well go when they are old, all others stay."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from archiver.report.pruning import prune_reports
from tests.accounts import CATALOG, account_file, archive_of, command, run
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]


@pytest.fixture
def config(scripted: Scripted, tmp_path: Path) -> Path:
    """An account with the runs first, second (which failed) and third, all from 2020, and one of today."""
    folder = ScriptedFolder()
    folder.add(ScriptedMessage(b"Message-ID: <1@x>\r\n\r\n1\r\n"))
    server = scripted({b"INBOX": folder})
    config = account_file(tmp_path, server, "u1", source__attempts=1)
    run(config, run_id="first")
    account_file(tmp_path, server, "u1", source__attempts=1, source__port=1)
    run(config, run_id="second", expect=5)
    account_file(tmp_path, server, "u1", source__attempts=1, reports__keep="90d")
    run(config, run_id="third")
    with closing(sqlite3.connect(tmp_path / "archive" / CATALOG)) as catalog, catalog:
        catalog.execute("UPDATE run SET finished = '2020-01-0' || rowid || 'T01:00:00Z'")
    return config


def reports(config: Path) -> list[str]:
    return sorted(path.name for path in (archive_of(config) / "runs").iterdir())


class TestOldReports:
    def test_of_runs_that_ended_well_go_after_a_run(self, config: Path) -> None:
        command("report", config, "--run", "first", "--page")
        assert len(list((archive_of(config) / "runs" / "first").iterdir())) == 2

        command("run", config, "--run", "today")

        assert reports(config) == ["second", "today"]
        gone = command("report", config, "--run", "first", expect=2)
        assert "there is no report of the run first" in gone.output
        assert 'keep = "90d"' in gone.output
        listed = command("status", config, "--runs", "--json").report["accounts"][0]["runs"]
        assert {each["run"] for each in listed} == {"first", "second", "third", "today"}

    def test_stay_while_they_are_the_last_success(self, config: Path) -> None:
        with closing(sqlite3.connect(archive_of(config) / CATALOG)) as catalog, catalog:
            catalog.execute("UPDATE run SET status = 'incomplete', exit_code = 3 WHERE run = 'first'")
        password = config.parent / "u1.password"
        password.rename(config.parent / "away")
        run(config, run_id="fails", expect=2)
        assert reports(config) == ["first", "second", "third"]

        (config.parent / "away").rename(password)
        run(config, run_id="today")
        assert reports(config) == ["first", "second", "today"]

    def test_stay_without_the_key(self, config: Path) -> None:
        config.write_text(config.read_text().replace('keep = "90d"', ""))
        run(config, run_id="today")
        assert reports(config) == ["first", "second", "third", "today"]

    def test_leave_what_is_not_theirs(self, config: Path) -> None:
        runs = archive_of(config) / "runs"
        (runs / "first" / "notes.txt").write_text("signed by the head of IT")
        (runs / "first" / ".report-killed").write_text("{")
        run(config, run_id="today")
        assert [path.name for path in (runs / "first").iterdir()] == ["notes.txt"]
        assert reports(config) == ["first", "second", "today"]

    def test_a_night_without_old_ones_reads_no_directory_of_them(self, config: Path) -> None:
        run(config, run_id="today")
        run(config, run_id="with imports")
        with watched() as looked_at:
            run(config, run_id="later")
        assert len(reports(config)) == 4
        assert not [path for path in looked_at if "/runs" in path]

    def test_that_cannot_be_removed_harm_no_run(self, config: Path) -> None:
        runs = archive_of(config) / "runs"
        (runs / "first" / "report.html").mkdir()  # which even root cannot unlink
        done = run(config, run_id="today")
        assert "old reports in" in done.output
        assert "are not removed" in done.output
        (runs / "first" / "report.html").rmdir()
        run(config, run_id="later")
        assert reports(config) == ["later", "second", "today"]

    def test_a_name_leads_nowhere_else(self, tmp_path: Path) -> None:
        runs, outside = tmp_path / "runs", tmp_path / "outside"
        for each in (runs, outside):
            each.mkdir()
            (each / "report.json").write_text("{}")
        (runs / "link").symlink_to(outside)
        names = ["", ".", "..", "../outside", str(outside), "link", "missing", "report.json"]
        assert prune_reports(runs, _Ledger(names), before="", at="", check_stop=lambda: None) == 0
        assert (outside / "report.json").exists()
        assert (runs / "report.json").exists()


class TestAKill:
    @pytest.mark.parametrize("moment", range(6))
    def test_at_any_moment_is_made_good_by_the_next_run(self, config: Path, moment: int) -> None:
        """Two reports with their pages: four files and two directories are removed."""
        command("report", config, "--run", "first", "--page")
        command("report", config, "--run", "third", "--page")
        if (pid := os.fork()) == 0:
            _killed_at(moment)
            run(config, run_id="killed", expect=None)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

        run(config, run_id="today")

        assert [each for each in reports(config) if each != "killed"] == ["second", "today"]
        assert run(config, run_id="later").report["status"] == "complete"


class _Ledger:
    def __init__(self, names: list[str]) -> None:
        self.names = names

    def old_reports(self, before: str) -> list[str]:
        return self.names

    def forget_reports(self, runs: object, at: str) -> None:
        pass


_seen: list[str] | None = None


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    as_directory = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_DIRECTORY
    if _seen is not None and (as_directory or event in ("os.listdir", "os.scandir", "glob.glob")):
        _seen.append(str(arguments[0]))


@contextmanager
def watched() -> Iterator[list[str]]:
    """The directories that are read in the meantime."""
    global _seen
    sys.addaudithook(_listen)
    _seen = seen = []
    try:
        yield seen
    finally:
        _seen = None


_PARTS = ("report.json", "report.html", "first", "third")


def _killed_at(moment: int) -> None:
    """Have this process killed before it removes one more file or directory of a report than `moment`."""
    left = moment

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("os.remove", "os.rmdir") and str(arguments[0]) in _PARTS:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(listen)
