"""An account that cannot be used stops only itself, whatever is wrong with it: one line, its exit code, no
traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver.config.load import load_account
from archiver.imap import connecting
from pipelines.engine.run import Options, run_accounts
from pipelines.events import AnyEvent, Began, log_line
from tests.accounts import Server, account_file, run
from tests.faults.unprivileged import run_lines
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]
Fleet = tuple[Path, Path]


@pytest.fixture
def fleet(scripted: Scripted, tmp_path: Path) -> Fleet:
    """Three accounts that were archived; the folder of their files, and the archive of the second one."""
    folder = ScriptedFolder()
    folder.add(ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n"))
    server = scripted({b"INBOX": folder})
    for name in ("first", "second", "third"):
        run(account_file(tmp_path, server, "u1", name=name, archive__path=str(tmp_path / "archives" / name)))
    return tmp_path, tmp_path / "archives" / "second"


def verbs(configs: Path) -> dict[str, list[str | Path]]:
    """A line for each verb that works on archives; `rebuild` comes last, since it mends some of them."""
    second = configs / "second.toml"
    return {
        **{verb: [verb, configs] for verb in ("run", "archive", "retry", "status", "check", "repair", "gc")},
        "report": ["report", configs],
        "verify": ["verify", "--offline", configs],
        "search": ["search", configs, "--subject", "hello"],
        "export": ["export", second, configs / "exported", "--to", "mbox"],
        "rebuild": ["rebuild", second],
    }


def locked_up(archive: Path) -> None:
    archive.chmod(0)


def a_file(archive: Path) -> None:
    archive.rename(archive.with_name("moved"))
    archive.write_text("")


def a_circle(archive: Path) -> None:
    archive.rename(archive.with_name("moved"))
    archive.symlink_to(archive)


def another_file(archive: Path) -> None:
    (archive / "catalog.sqlite").write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(
    ("harm", "code", "others"),
    [
        (locked_up, 8, {}),
        (a_file, 8, {}),
        (a_circle, 8, {}),
        (another_file, 6, {"report": 0, "rebuild": 0}),
    ],
)
def test_an_archive(fleet: Fleet, harm: Callable[[Path], None], code: int, others: dict[str, int]) -> None:
    configs, archive = fleet
    harm(archive)
    lines = verbs(configs)

    ended = dict(zip(lines, run_lines(*lines.values()), strict=True))

    assert {verb: each for verb, (each, _) in ended.items()} == dict.fromkeys(lines, code) | others
    for verb, (each, said) in ended.items():
        assert "Traceback" not in said, said
        assert each == 0 or re.search(r"second: .*; |/second.*; ", said), said
        if verb in ("run", "archive", "retry", "check"):
            assert len(re.findall(r"^(?:first|third) +(?:complete|ok)", said, re.MULTILINE)) == 2, said


def unreadable_password(configs: Path, archive: Path) -> None:
    (configs / "second.password").chmod(0)


def unreadable_config(configs: Path, archive: Path) -> None:
    (configs / "second.toml").chmod(0)


def circular_config(configs: Path, archive: Path) -> None:
    (configs / "second.toml").unlink()
    (configs / "second.toml").symlink_to(configs / "second.toml")


def locked_reports(configs: Path, archive: Path) -> None:
    (archive / "runs").chmod(0)


def reports_a_file(configs: Path, archive: Path) -> None:
    (archive / "runs").rename(archive / "moved")
    (archive / "runs").write_text("")


def locked_journal(configs: Path, archive: Path) -> None:
    (archive / "journal").chmod(0)


def locked_lock(configs: Path, archive: Path) -> None:
    (archive / "lock").chmod(0)


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (unreadable_password, 2),
        (unreadable_config, 2),
        (circular_config, 2),
        (locked_reports, 8),
        (reports_a_file, 8),
        (locked_journal, 8),
        (locked_lock, 8),
    ],
)
def test_a_run(fleet: Fleet, harm: Callable[[Path, Path], None], code: int) -> None:
    configs, archive = fleet
    harm(configs, archive)

    ((ended, said),) = run_lines(["run", configs])

    assert ended == code, said
    assert "Traceback" not in said
    assert re.search(r"second(?:: |\.toml: |\.password).*", said), said
    assert len(re.findall(r"^(?:first|third) +complete", said, re.MULTILINE)) == 2, said


class TestAServerThatIsDown:
    """Is waited for once, not by every account of a fleet; and what to check is said with the first attempt."""

    @pytest.fixture
    def connects(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """With how many seconds for the greeting each connection was made."""
        made: list[float] = []

        def noted(server: Any, where: Any, tls: Any, speaks: Any, *, most_seconds: float | None) -> Any:
            made.append(min(server.connect_timeout, most_seconds or server.connect_timeout))
            return reached(server, where, tls, speaks, most_seconds=0.5)

        reached = connecting._reached
        monkeypatch.setattr(connecting, "_reached", noted)
        return made

    def runs(self, directory: Path, server: Server, number: int) -> str:
        files = [
            account_file(
                directory,
                server,
                "u1",
                name=f"a{each}",
                source__attempts=5,
                source__connect_timeout=30.0,
                archive__path=str(directory / f"archive{each}"),
            )
            for each in range(number)
        ]
        reported: list[str] = []
        outcomes = run_accounts(
            [load_account(each) for each in files],
            Options(),
            lambda _, event: reported.append(log_line(event) or ""),
        )
        assert {each.exit_code for each in outcomes} == {5}
        return "\n".join(reported)

    def test_costs_two_attempts_and_each_other_account_one(
        self, scripted: Scripted, tmp_path: Path, connects: list[float]
    ) -> None:
        reported = self.runs(tmp_path, scripted(silent=True), 3)
        assert connects == [30, 5, 5, 5]
        hint = "check `host`, `port` and `tls` (a TLS port is silent to a client that does not speak TLS)"
        assert f"no greeting within 0.5 seconds; {hint}; attempt 2 of 2 in 0.25 seconds" in reported

    def test_is_not_remembered_by_the_next_command(
        self, scripted: Scripted, tmp_path: Path, connects: list[float]
    ) -> None:
        silent = scripted(silent=True)
        self.runs(tmp_path, silent, 1)
        self.runs(tmp_path, silent, 1)
        assert connects == [30, 5, 30, 5]

    def test_that_answered_before_is_tried_as_often_as_configured(
        self, scripted: Scripted, tmp_path: Path, connects: list[float]
    ) -> None:
        server = scripted({b"INBOX": ScriptedFolder()})
        config = account_file(tmp_path, server, "u1", source__attempts=3)

        def listener(_: str, event: AnyEvent) -> None:
            if isinstance(event, Began) and event.step == "archive":
                server.silent = True
                server.drop_all()

        server.folders[b"INBOX"].add(ScriptedMessage(b"Subject: hello\r\n\r\nhello\r\n"))
        (outcome,) = run_accounts([load_account(config)], Options(), listener)
        assert outcome.exit_code == 5
        assert len(connects) == 3  # the first attempt was over the connection that had listed the folders
