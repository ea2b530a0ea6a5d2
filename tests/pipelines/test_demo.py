"""The demo, as `archiver demo --dir DIR` runs it: everything it says is so, and it clears only what it made."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from archiver.errors import ConfigError
from pipelines.cli.demo import verify_deep
from pipelines.cli.main import invoke
from pipelines.demo import run as demo
from pipelines.demo.mail import RENAMED, USER, Mail
from pipelines.demo.mailbox import SourceMailbox
from pipelines.demo.run import MARKER, clear, run_demo
from pipelines.demo.server import SampleServer
from pipelines.demo.tour import Tour
from tests.patience import PATIENCE
from tests.servers.pymap_server import PymapServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pymap() -> None:
    """Skip where the demo's server is not installed."""
    missing = PymapServer.missing()
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def toured(pymap: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory in which the demo ran twice, and what the second one printed."""
    directory = tmp_path_factory.mktemp("demo") / "dir"
    run_demo(directory, Console(file=io.StringIO()), verify_deep)
    printed = io.StringIO()
    exit_code = run_demo(directory, Console(file=printed, width=120), verify_deep)
    assert exit_code == 0, printed.getvalue()
    return directory, printed.getvalue()


def test_it_says_what_happened(toured: tuple[Path, str]) -> None:
    reported = [line for line in toured[1].splitlines() if line.startswith("✓")]
    assert reported == [
        "✓ 29 messages fetched from the source, one for two folders",
        "✓ 30 messages replayed to the destination",
        "✓ 30 compared there by size, date and flags: equal",
        "✓ 4 messages fetched: those that arrived",
        "✓ 2 messages with new flags",
        "✓ 1 message vanished from the source, kept in the archive",
        "✓ 4 messages replayed: those that arrived",
        "✓ 0 messages fetched",
        "✓ 0 messages sent",
        "✓ 39 files in the archive, each with exactly the bytes of its message",
        "✓ 15 folders at the destination",
        "✓ 34 messages there with the same bytes, in the same folder",
        "✓ 34 of them with the same date of arrival (INTERNALDATE)",
        "✓ 34 of them also with the same flags, except keywords",
        "✓ 4 of them without their keywords, and the report lists the same number",
        "✓ 0 messages there that are not from the source",
        "✓ 33 messages of the source came back with exactly their bytes",
    ]


def test_nothing_it_expected_was_otherwise(toured: tuple[Path, str]) -> None:
    assert "✗" not in toured[1]


def test_it_lists_the_keywords_that_the_destination_does_not_keep(toured: tuple[Path, str]) -> None:
    assert '  folder "INBOX", 1 message: the destination does not keep the flags $label1 NonJunk\n' in toured[1]


def test_it_fits_into_80_columns_but_for_what_is_to_be_copied(pymap: None, tmp_path: Path) -> None:
    printed = io.StringIO()
    assert run_demo(tmp_path / "dir", Console(file=printed, width=80), verify_deep) == 0
    wide = [line for line in printed.getvalue().splitlines() if len(line) > 80 and not line.startswith("  ")]
    assert wide == []


def test_where_it_says_to_look_is_something_to_see(toured: tuple[Path, str]) -> None:
    directory, printed = toured
    lines = [line.strip() for line in printed.splitlines()]
    assert f"mutt -f {directory}/archive/Maildir" in lines
    (page,) = [line for line in lines if line.endswith("/report.html")]
    assert Path(page).read_text(encoding="utf-8").startswith("<!")
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("archiver ")]
    assert [each[0] for each in commands] == ["report", "report", "status", "verify"]
    for command in commands:  # the page is there: no browser is needed for it
        assert invoke([each for each in command if each != "--open"]) == 0


def test_three_runs_left_three_reports_that_balance(toured: tuple[Path, str]) -> None:
    reports = sorted((toured[0] / "archive" / "runs").glob("*/report.json"))
    totals = [json.loads(path.read_text(encoding="utf-8"))["totals"] for path in reports]
    assert [(each["on_server"], each["stored"], each["fetched"]) for each in totals] == [
        (30, 30, 29),
        (33, 33, 4),
        (33, 33, 0),
    ]
    there = [each["destination"] for each in totals]
    assert [(each["replayed"], each["already_there"], each["verified"]) for each in there] == [
        (30, 0, 30),
        (4, 29, 33),
        (0, 33, 33),
    ]


def test_its_account_file_holds_no_password(toured: tuple[Path, str]) -> None:
    configs = toured[0] / "configs"
    for name in ("source.password", "destination.password"):
        password = (configs / name).read_text(encoding="utf-8").strip()
        assert password not in (configs / "demo.toml").read_text(encoding="utf-8")
        assert password not in toured[1]
        assert (configs / name).stat().st_mode & 0o777 == 0o600


def test_its_own_record_is_what_the_server_has(pymap: None) -> None:
    with SampleServer(USER) as server:
        source = SourceMailbox(server)
        source.fill()
        assert server.contents() == source.ever()
        source.change()
        there, ever = server.contents(), source.ever()
    assert sum(map(len, there.values())) == source.messages
    gone = {folder: mails[len(there.get(folder, ())) :] for folder, mails in ever.items()}
    assert {folder: len(mails) for folder, mails in gone.items() if mails} == {"Trash": 1, RENAMED[0]: 5}
    assert there == {name: mails[: len(there[name])] for name, mails in ever.items() if name in there}


def test_the_proof_sees_what_is_not_as_it_should_be(
    pymap: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tamper(tour: Tour) -> None:
        tour._destination.expunge("Sent", 0)
        tour._destination.add_flags("INBOX", 1, "\\Answered")
        tour._destination.deliver("Drafts", Mail(b"Subject: strange\r\n\r\n.\r\n", datetime.now(UTC)))
        (file,) = (tmp_path / "demo" / "archive" / "Maildir" / ".Drafts" / "cur").iterdir()
        file.write_bytes(file.read_bytes() + b" ")

    monkeypatch.setattr(Tour, "_third", tamper)
    printed = io.StringIO()
    assert run_demo(tmp_path / "demo", Console(file=printed, width=120), verify_deep) == 1
    reported = [line for line in printed.getvalue().splitlines() if line.startswith("✗")]
    assert reported == [
        "✗ 38 files in the archive, each with exactly the bytes of its message; 39 were expected",
        "✗ 33 messages there with the same bytes, in the same folder; 34 were expected",
        "✗ 33 of them with the same date of arrival (INTERNALDATE); 34 were expected",
        "✗ 32 of them also with the same flags, except keywords; 34 were expected",
        "✗ 4 of them without their keywords, and the report lists the same number; 3 were expected",
        "✗ 1 messages there that are not from the source; 0 were expected",
    ]
    assert "5. Verify" not in printed.getvalue()


def test_one_that_is_stopped_says_so_and_the_next_starts_over(pymap: None, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines", "demo", "--dir", str(tmp_path / "demo")]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if line.startswith("1. The first run"):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (130, "archiver: the demo was stopped; the next one starts over\n")
    printed = io.StringIO()
    assert run_demo(tmp_path / "demo", Console(file=printed), verify_deep) == 0, printed.getvalue()


def test_a_directory_that_no_demo_made_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="has files that no demo created: archive"):
        clear(tmp_path)
    assert (tmp_path / "archive" / "mine").read_text() == "mine"
    assert not (tmp_path / MARKER).exists()


def test_what_an_older_demo_left_is_cleared(tmp_path: Path) -> None:
    clear(tmp_path / "demo")
    configs = tmp_path / "demo" / "configs"
    configs.mkdir()
    (configs / "password").write_text("")
    clear(tmp_path / "demo")
    assert [each.name for each in (tmp_path / "demo").iterdir()] == [MARKER]


def test_a_stranger_in_the_directory_of_an_earlier_demo_is_refused(tmp_path: Path) -> None:
    clear(tmp_path / "demo")
    configs = tmp_path / "demo" / "configs"
    configs.mkdir()
    (configs / "mine.toml").write_text("")
    with pytest.raises(ConfigError, match=r"configs/mine\.toml"):
        clear(tmp_path / "demo")
    assert (configs / "mine.toml").exists()


def test_a_link_in_place_of_the_archive_is_not_followed(tmp_path: Path) -> None:
    clear(tmp_path / "demo")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "mail").write_text("")
    (tmp_path / "demo" / "archive").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="archive"):
        clear(tmp_path / "demo")
    assert (tmp_path / "real" / "mail").exists()


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is not a directory"):
        clear(tmp_path / "file")


def test_without_its_server_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install 'mail-archiver\[demo\]'") as caught:
        run_demo(tmp_path / "demo", Console(file=io.StringIO()), verify_deep)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "demo").exists()


def test_the_journal_reader_of_the_documentation_reads_its_archive(
    toured: tuple[Path, str], tmp_path: Path
) -> None:
    documentation = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    (reader,) = re.findall(r"read_journal\.py.*?```python\n(.*?)```", documentation, re.DOTALL)
    (tmp_path / "read_journal.py").write_text(reader, encoding="utf-8")
    archive = toured[0] / "archive"
    command = [sys.executable, str(tmp_path / "read_journal.py"), str(archive)]
    read = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=PATIENCE)
    rows = [line.split("\t") for line in read.stdout.splitlines()]
    assert sorted(row[0] for row in rows) == sorted(
        str(path) for tree in ("Maildir", "vanished") for path in (archive / tree).rglob("cur/*")
    )
    for file, digest, _folder in rows:
        assert hashlib.sha256(Path(file).read_bytes()).hexdigest() == digest
    assert {row[2] for row in rows} >= {"Lists/dovecot.users", "Lists/Dovecot", "日本語", "AT&T"}
