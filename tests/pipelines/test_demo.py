"""The demo, as `archiver demo --dir DIR` runs it: everything it says is so, and it clears only what it made."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from archiver.errors import ConfigError
from pipelines import demo
from pipelines.demo import MARKER, clear, run_demo
from tests.servers.pymap_server import PymapServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory in which the demo ran twice, and what the second one printed."""
    missing = PymapServer.missing()
    if missing:
        pytest.skip(missing)
    directory = tmp_path_factory.mktemp("demo") / "dir"
    run_demo(directory, Console(file=io.StringIO()))
    printed = io.StringIO()
    exit_code = run_demo(directory, Console(file=printed, width=120))
    assert exit_code == 0, printed.getvalue()
    return directory, printed.getvalue()


def test_it_says_what_happened_and_where_to_look(toured: tuple[Path, str]) -> None:
    directory, printed = toured
    for words in (
        "30 messages fetched",
        "4 messages fetched",
        "2 flags followed",
        "1 vanished and kept",
        "0 messages fetched",
        f"mutt -f {directory}/archive/Maildir",
        f"archiver status {directory}/configs/demo.toml",
    ):
        assert words in printed


def test_nothing_it_expected_was_otherwise(toured: tuple[Path, str]) -> None:
    assert "✗" not in toured[1]


def test_three_runs_left_three_reports_that_balance(toured: tuple[Path, str]) -> None:
    reports = sorted((toured[0] / "archive" / "runs").glob("*/report.json"))
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in reports]
    totals = [document["totals"] for document in documents]
    assert [(each["on_server"], each["stored"], each["fetched"]) for each in totals] == [
        (30, 30, 30),
        (33, 33, 4),
        (33, 33, 0),
    ]


def test_its_account_file_holds_no_password(toured: tuple[Path, str]) -> None:
    configs = toured[0] / "configs"
    password = (configs / "password").read_text(encoding="utf-8").strip()
    assert password not in (configs / "demo.toml").read_text(encoding="utf-8")
    assert password not in toured[1]
    assert (configs / "password").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_no_demo_made_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="holds what no demo made: archive"):
        clear(tmp_path)
    assert (tmp_path / "archive" / "mine").read_text() == "mine"
    assert not (tmp_path / MARKER).exists()


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
    with pytest.raises(ConfigError, match="is not a folder"):
        clear(tmp_path / "file")


def test_without_its_server_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install 'mail-archiver\[demo\]'") as caught:
        run_demo(tmp_path / "demo", Console(file=io.StringIO()))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "demo").exists()


def test_the_journal_reader_of_the_documentation_reads_its_archive(
    toured: tuple[Path, str], tmp_path: Path
) -> None:
    documentation = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    (reader,) = re.findall(r"```python\n(.*?)```", documentation, re.DOTALL)
    (tmp_path / "read_journal.py").write_text(reader, encoding="utf-8")
    archive = toured[0] / "archive"
    command = [sys.executable, str(tmp_path / "read_journal.py"), str(archive)]
    read = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=60)
    rows = [line.split("\t") for line in read.stdout.splitlines()]
    assert sorted(row[0] for row in rows) == sorted(
        str(path) for tree in ("Maildir", "vanished") for path in (archive / tree).rglob("cur/*")
    )
    for file, digest, _folder in rows:
        assert hashlib.sha256(Path(file).read_bytes()).hexdigest() == digest
    assert {row[2] for row in rows} >= {"Lists/dovecot.users", "Lists/Dovecot", "日本語", "AT&T"}
