"""Nights that a timer or cron begins: the units and the lines work as printed, and a night that is begun again does
again only what is not done."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import PROJECT, account_file, command
from tests.faults.unprivileged import run_lines
from tests.patience import PATIENCE
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]
EXAMPLES = PROJECT / "configs" / "examples"
BIN = Path(sys.executable).parent


def mail() -> dict[bytes, ScriptedFolder]:
    folder = ScriptedFolder()
    folder.add(ScriptedMessage(b"Message-ID: <1@x>\r\n\r\n1\r\n"))
    return {b"INBOX": folder}


@pytest.fixture
def fleet(scripted: Scripted, tmp_path: Path) -> tuple[Path, dict[str, ScriptedServer]]:
    """Two accounts, a migration, and one without its password; each with a server of its own."""
    servers = {name: scripted(mail()) for name in ("first", "moving", "refused", "second")}
    there = scripted(writable=True, capabilities=DESTINATION)
    target = {"host": there.host, "port": there.port, "tls": "off", "user": "u1", "attempts": 1}
    target |= {"password": {"file": str(tmp_path / "moving.password")}}
    for name, server in servers.items():
        keys: dict[str, Any] = {f"destination__{key}": each for key, each in target.items()}
        more = keys if name == "moving" else {}
        account_file(tmp_path, server, "u1", name=name, archive__path=str(tmp_path / "archives" / name), **more)
    (tmp_path / "refused.password").rename(tmp_path / "away")
    return tmp_path, servers


def codes(document: Any) -> dict[str, tuple[int, str]]:
    return {each["account"]: (each["exit_code"], each["status"]) for each in document["accounts"]}


class TestANightWithAName:
    @pytest.mark.parametrize("workers", ["1", "3"])
    def test_is_done_once_however_often_it_is_begun(
        self, fleet: tuple[Path, dict[str, ScriptedServer]], workers: str
    ) -> None:
        configs, servers = fleet
        line = ["run", configs, "--run", "2026-11-29", "--workers", workers, "--json"]
        first, again = (command(*line, expect=2) for _ in range(2))
        asked = {name: len(server.commands) for name, server in servers.items()}
        (configs / "away").rename(configs / "refused.password")
        mended = command(*line)

        good = dict.fromkeys(("first", "moving", "second"), (0, "complete"))
        assert codes(first.report) == codes(again.report) == {**good, "refused": (2, "failed")}
        assert codes(mended.report) == {**good, "refused": (0, "complete")}
        assert {name for name, server in servers.items() if len(server.commands) != asked[name]} == {"refused"}
        assert "died" not in first.output + again.output + mended.output

    def test_has_one_run_in_each_archive(self, fleet: tuple[Path, dict[str, ScriptedServer]]) -> None:
        configs, _ = fleet
        (configs / "refused.toml").unlink()
        line: list[str | Path] = ["run", configs, "--run", "2026-11-29"]

        ended = run_lines(line, line, ["status", configs])

        assert [code for code, _ in ended] == [0, 0, 0]
        assert [
            sorted(os.listdir(configs / "archives" / name / "runs")) for name in ("first", "moving", "second")
        ] == [["2026-11-29"]] * 3


class TestCron:
    def test_the_line_runs_as_printed(self, fleet: tuple[Path, dict[str, ScriptedServer]], tmp_path: Path) -> None:
        configs, _ = fleet
        (configs / "refused.toml").unlink()
        text = (PROJECT / "docs" / "monitoring.md").read_text(encoding="utf-8")
        (line,) = re.findall(r"^30 1,\S+ \* \* \* (.*)$", text, re.MULTILINE)
        assert "\\%" in line  # cron takes a bare % for the end of the line
        line = line.replace("\\%", "%").replace("/etc/mail-archiver", str(configs))
        line = line.replace("/srv/mail-archive/archiver.log", str(tmp_path / "archiver.log"))

        done = subprocess.run(
            ["/bin/sh", "-c", line],
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

        assert (done.returncode, done.stdout) == (0, "")
        assert all("began a new archive" in each for each in done.stderr.splitlines())
        (run,) = os.listdir(configs / "archives" / "first" / "runs")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", run)
        assert (tmp_path / "archiver.log").read_text().endswith(" info archiver run: exit code 0\n")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units as they are shipped, the templates for "wave1", and the program where it is here."""
    if shutil.which("systemd-analyze") is None:
        message = "systemd-analyze: not installed (.ci/install-servers installs it)"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("units")
    for file in (*EXAMPLES.glob("*.service"), *EXAMPLES.glob("*.timer")):
        text = file.read_text(encoding="utf-8").replace("/opt/mail-archiver/bin", str(BIN))
        (folder / file.name.replace("@.", "@wave1.")).write_text(text)
    return folder


class TestSystemd:
    def test_takes_the_units(self, units: Path) -> None:
        names = sorted(each.name for each in units.iterdir())
        assert len(names) == 6
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *(f"./{name}" for name in names)],
            cwd=units, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    @pytest.mark.parametrize("name", ["archiver.service", "archiver@wave1.service"])
    def test_shuts_them_in(self, units: Path, name: str) -> None:
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=20", f"./{name}"],
            cwd=units, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-300:]

    def test_a_failure_starts_a_unit_that_is_there(self) -> None:
        for file in EXAMPLES.glob("archiver*.service"):
            for unit in re.findall(r"^OnFailure=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE):
                assert (EXAMPLES / unit).exists()

    def test_the_templates_line_names_the_night(
        self, fleet: tuple[Path, dict[str, ScriptedServer]], tmp_path: Path
    ) -> None:
        configs, _ = fleet
        (configs / "refused.toml").unlink()
        text = (EXAMPLES / "archiver@.service").read_text(encoding="utf-8")
        (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        line = line.replace("%%", "%").replace("$$", "$").replace("%I", configs.name)
        line = line.replace("/opt/mail-archiver/bin", str(BIN)).replace("/etc/mail-archiver", str(configs.parent))

        subprocess.run(line, shell=True, check=True, capture_output=True, timeout=PATIENCE)

        (run,) = os.listdir(configs / "archives" / "first" / "runs")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", run)
