"""The log for machines: each line says when, which account, which run; and a log that cannot be written harms
nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import ARCHIVER, account_file, command
from tests.faults.unprivileged import run_lines
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]


@pytest.fixture
def fleet(scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four accounts: complete, with a message that cannot be fetched, without its password, with a broken file."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    for name, oddity in (("good", {}), ("odd", {"fetch": "nil"}), ("refused", {})):
        folder = ScriptedFolder()
        folder.add(
            ScriptedMessage(b"Subject: x\r\n\r\n1\r\n", **oddity), ScriptedMessage(b"Subject: x\r\n\r\n2\r\n")
        )
        server = scripted({b"INBOX": folder})
        account_file(tmp_path, server, "u1", name=name, archive__path=str(tmp_path / "archives" / name))
    (tmp_path / "refused.password").unlink()
    (tmp_path / "broken.toml").write_text("[source\n")
    return tmp_path


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_stderr_may_be_json_and_nothing_else(fleet: Path) -> None:
    # As a list it is a process that was not started before: it takes TZ from its environment.
    ended = command("run", fleet, "--log-format", "json", "--json", expect=None, program=list(ARCHIVER))

    # stdout has the document, stderr comes behind it
    text = ended.output[ended.output.index('\n{"time"') + 1 :]
    found = lines_of(text)
    assert all(list(each) == ["time", "level", "account", "folder", "run", "message"] for each in found)
    (odd,) = [each for each in found if each["message"].startswith("incomplete, exit code 3")]
    assert (odd["account"], odd["folder"], odd["level"]) == ("odd", "INBOX", "warning")
    runs = {each["account"]: each["run"] for each in found if each["run"]}
    assert runs.keys() == {"good", "odd", "refused"}
    assert all(re.fullmatch(r"\d{8}T\d{6}Z", run) for run in runs.values())
    (refused,) = [each for each in found if each["account"] == "refused" and each["level"] == "error"]
    assert "cannot be read" in refused["message"]
    assert any(each["account"] == "broken" and "is not TOML" in each["message"] for each in found)
    assert found[-1]["message"] == "archiver run: exit code 2"
    assert datetime.fromisoformat(found[0]["time"]).utcoffset() == timedelta(hours=5, minutes=30)


def test_a_file_is_added_to_and_has_everything_also_with_quiet(fleet: Path) -> None:
    log = fleet / "archiver.log"
    log.write_text("before\n")
    log.chmod(0o640)

    ((code, said), _) = run_lines(
        ["run", fleet, "--quiet", "--log-file", log],
        ["verify", fleet / "good.toml", "--offline", "--quiet", "--log-file", log],
    )

    first, *found = log.read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert (code, first) == (2, "before")
    assert log.stat().st_mode & 0o777 == 0o640
    assert [line for line in found if not re.match(rf"{stamp} (info|warning|error) ", line)] == []
    assert [line for line in found if re.fullmatch(rf"{stamp} info good: complete, report: .*/report.json", line)]
    assert "complete, report" not in said
    assert found[-1].endswith("info archiver verify: exit code 0")


def test_a_new_file_is_private_and_is_what_the_next_command_opens_again(fleet: Path) -> None:
    log = fleet / "archiver.log"
    line: list[str | Path] = ["verify", fleet / "good.toml", "--offline", "--log-file", log]
    run_lines(["run", fleet / "good.toml", "--log-file", log])
    assert log.stat().st_mode & 0o777 == 0o600
    log.rename(fleet / "archiver.log.1")

    run_lines(line)

    assert "exit code 0" in log.read_text()


def test_a_full_disk_harms_no_run(fleet: Path) -> None:
    ((code, said),) = run_lines(["run", fleet / "good.toml", "--log-file", "/dev/full"])
    assert (code, "Traceback" in said) == (0, False)


@pytest.mark.parametrize("what", ["no folder", "a folder", "a pipe"])
def test_a_file_that_cannot_be_opened_is_one_line(fleet: Path, what: str) -> None:
    log = fleet / "there" / "log" if what == "no folder" else fleet / "log"
    if what == "a folder":
        log.mkdir()
    elif what == "a pipe":
        os.mkfifo(log)

    ((code, said),) = run_lines(["run", fleet / "good.toml", "--log-file", log])

    assert code == 2
    assert re.fullmatch(rf"archiver: --log-file: {log} cannot be opened: .*\n", said)
    assert not (fleet / "archives").exists()


def test_a_folders_name_is_one_value(scripted: Scripted, tmp_path: Path) -> None:
    folder = ScriptedFolder()
    folder.add(ScriptedMessage(b"Subject: x\r\n\r\n1\r\n", fetch="nil"))
    server = scripted({b'a b\\"}{c': folder})
    config = account_file(tmp_path, server, "u1")

    run_lines(["run", config, "--log-file", tmp_path / "log", "--log-format", "json", "--quiet"])

    found = lines_of((tmp_path / "log").read_text())
    assert any("the server gave NIL" in each["message"] for each in found)
