"""An archive that can only be read is read: on a read-only medium, as another user, during a run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import invoke
from tests.accounts import CATALOG, PROJECT, account_file, archive_of, mails, run
from tests.buckets import bucket_account
from tests.servers import small_disk
from tests.servers.dovecot import Dovecot
from tests.servers.radosgw import RadosGateway

Command = Callable[..., dict[str, Any]]
READING = [
    ["status"],
    ["search", "--text", "1"],
    ["show", "INBOX/1"],
    ["restore", "INBOX/1", "--also-present", "--dry-run"],
    ["verify", "--offline"],
    ["repair", "--dry-run"],
    ["gc"],
    ["report"],
]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """The command line in this process: the one account of its JSON document, and what else it says as `said`."""

    def document(verb: str, config: Path, *options: str | Path, expect: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        code = invoke([verb, str(config), *map(str, options), "--json"])
        out, err = capsys.readouterr()
        assert code == expect, out + err
        found = json.loads(out)
        return {**found.get("accounts", [found])[0], "said": err}

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield document
    for number, handler in before.items():
        signal.signal(number, handler)


class Account:
    """An account whose archive is in `home`, and is read where `home` can only be read."""

    def __init__(self, dovecot: Dovecot, user: str, root: Path) -> None:
        self.dovecot, self.user, self.root = dovecot, user, root
        self.home = root / "home"
        self.home.mkdir()
        dovecot.append_many(user, "INBOX", mails(range(5)))
        self.config = account_file(root, dovecot, user, archive__path=str(self.home / "archive"))
        self.archive = archive_of(self.config)
        run(self.config)

    def read(self) -> Path:
        """The account file of the user who reads at `root/view`."""
        text = self.config.read_text().replace(str(self.home), str(self.root / "view"))
        config = self.root / "reader" / self.config.name
        config.parent.mkdir(exist_ok=True)
        config.write_text(text)
        return config

    def more(self) -> None:
        self.dovecot.append_many(self.user, "INBOX", mails(range(5, 8)))
        run(self.config)


@pytest.fixture
def account(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Account:
    return Account(dovecot, mail_user, tmp_path)


@pytest.fixture
def view(account: Account) -> Iterator[Path]:
    """What others see of the archive's home, and cannot write to."""
    with small_disk.read_only_view(account.home, account.root / "view") as view:
        yield view


def looks(directory: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in directory.rglob("*")}


def stored(status: dict[str, Any]) -> int:
    found: int = status["totals"]["stored"]
    return found


@pytest.mark.usefixtures("view")
class TestAReadOnlyMedium:
    def test_is_read_by_every_verb_that_writes_nothing(self, account: Account, command: Command) -> None:
        config, before = account.read(), looks(account.home)
        scratch = set(Path(tempfile.gettempdir()).glob("archiver-*"))

        for verb, *options in READING:
            command(verb, config, *options)
        exported = command("export", config, account.root / "out", "--to", "eml")
        check = command("check", config, expect=8)  # for a run could not write there

        assert exported["totals"]["messages"] == 5
        assert (check["totals"]["messages"], check["totals"]["to_fetch"]) == (5, 0)
        assert looks(account.home) == before
        assert set(Path(tempfile.gettempdir()).glob("archiver-*")) == scratch

    def test_is_written_to_by_no_verb(self, account: Account, command: Command) -> None:
        config = account.read()
        for verb in ("run", "archive", "retry", "rebuild", "repair"):
            assert "Read-only file system" in command(verb, config, expect=8)["said"], verb

    @pytest.mark.parametrize("without", [(), ("-shm",)], ids=["whole", "without shm"])
    def test_shows_what_a_killed_run_left_next_to_the_catalog(
        self, account: Account, command: Command, without: tuple[str, ...]
    ) -> None:
        """What is committed and not in the main file yet is in the `-wal`, with or without the `-shm`."""
        copy = account.root / "copied"
        with closing(sqlite3.connect(account.archive / CATALOG)) as writer:
            writer.execute("INSERT INTO run (run, started) VALUES ('killed', '2999-01-01T00:00:00Z')")
            writer.commit()
            shutil.copytree(account.archive, copy)
        shutil.rmtree(account.archive)
        copy.rename(account.archive)
        for suffix in without:
            (account.archive / (CATALOG + suffix)).unlink()
        assert (account.archive / f"{CATALOG}-wal").stat().st_size > 0

        status = command("status", account.read(), expect=3)

        assert status["runs"][0]["run"] == "killed"

    @pytest.mark.parametrize("lost", [False, True], ids=["behind", "lost"])
    def test_shows_what_the_journal_has_and_the_catalog_lacks(
        self, account: Account, command: Command, *, lost: bool
    ) -> None:
        """A run that was killed before it updated the catalog, or a catalog from a backup."""
        older = shutil.copy(account.archive / CATALOG, account.root / "older")
        account.more()
        (account.archive / CATALOG).unlink()
        if not lost:
            shutil.copy(older, account.archive / CATALOG)
        config = account.read()

        assert stored(command("status", config)) == 8
        assert len(command("search", config, "--text", "e")["found"]) == 8
        assert command("verify", config, "--offline")["checked"] == 8
        assert command("export", config, account.root / "out", "--to", "mbox")["totals"]["messages"] == 8

    def test_can_be_exported_as_of_a_past_day(self, account: Account, command: Command) -> None:
        out = account.root / "out"
        command("export", account.read(), out, "--to", "eml", "--as-of", "2999-01-01")
        assert len(list(out.rglob("*.eml"))) == 5

    def test_damage_there_is_found(self, account: Account, command: Command) -> None:
        message = next((account.archive / "Maildir" / "cur").iterdir())
        message.write_bytes(b"x" * message.stat().st_size)
        assert command("verify", account.read(), "--offline", expect=6)["damaged"]

    def test_a_damaged_journal_is_reported(
        self, account: Account, command: Command, caplog: pytest.LogCaptureFixture
    ) -> None:
        segment = max((account.archive / "journal").iterdir())
        segment.write_bytes(segment.read_bytes()[:-5])
        config = account.read()
        assert stored(command("status", config)) == 5
        (line,) = [each.getMessage() for each in caplog.records]
        assert segment.name in line
        assert line.endswith("what changed later is not shown")
        assert command("verify", config, "--offline", expect=6)["journal"]

    def test_without_space_for_a_copy_says_where_it_is_missing(
        self, account: Account, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with small_disk.mounted(account.root / "small", "64k") as small:
            monkeypatch.setattr(tempfile, "tempdir", str(small))
            said = command("status", account.read(), expect=8)["message"]
        assert "set TMPDIR" in said


def test_a_full_disk_is_read(dovecot: Dovecot, mail_user: str, command: Command, tmp_path: Path) -> None:
    dovecot.append_many(mail_user, "INBOX", mails(range(5)))
    with small_disk.mounted(tmp_path / "disk", "3m") as disk:
        config = account_file(tmp_path, dovecot, mail_user, archive__path=str(disk / "archive"))
        run(config)
        small_disk.fill(disk)
        for verb, *options in READING:
            command(verb, config, *options)
        command("export", config, tmp_path / "out", "--to", "eml")


@pytest.mark.usefixtures("view")
class TestDuringARun:
    @pytest.fixture
    def at_work(self, account: Account) -> Iterator[None]:
        """A writer holds the lock and has the catalog open; its last changes are in the `-wal`."""
        program = (
            "import fcntl, sqlite3, sys\n"
            f"lock = open({str(account.archive / 'lock')!r}, 'r+'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
            f"catalog = sqlite3.connect({str(account.archive / CATALOG)!r})\n"
            "catalog.execute(\"INSERT INTO run (run, started) VALUES ('now', '2999-01-01T00:00:00Z')\")\n"
            "catalog.commit(); catalog.execute('BEGIN IMMEDIATE'); print('at work', flush=True); sys.stdin.read()"
        )
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            yield
            process.communicate()

    def test_who_only_shows_sees_its_last_words(self, account: Account, at_work: None, command: Command) -> None:
        status = command("status", account.read(), expect=3)
        assert (status["runs"][0]["run"], stored(status)) == ("now", 5)
        command("export", account.read(), account.root / "out", "--to", "eml")

    def test_who_would_take_its_work_for_damage_waits(
        self, account: Account, at_work: None, command: Command
    ) -> None:
        assert "holds the lock" in command("verify", account.read(), "--offline", expect=7)["said"]

    def test_a_run_waits_for_a_reader_and_says_that_it_is_one(self, account: Account) -> None:
        with (account.archive / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            assert "only reads the archive" in run(account.config, expect=7).output

    def test_where_no_lock_can_be_taken_this_is_reported(self, account: Account, command: Command) -> None:
        (account.archive / "lock").unlink()
        said = command("verify", account.read(), "--offline", "--quiet")["said"]
        assert "no lock is held" in said


NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root to be another user")
def test_another_user_reads_what_he_may_read(dovecot: Dovecot, mail_user: str) -> None:
    program = (
        "import json, sys; from pipelines.cli.main import invoke\n"
        "sys.exit(max(invoke([*line, '--json']) for line in json.loads(sys.argv[1])))"
    )
    with tempfile.TemporaryDirectory() as name:
        account = Account(dovecot, mail_user, Path(name))
        subprocess.run(["chmod", "-R", "a+rX", name], check=True)
        scratch = Path(name) / "scratch"
        scratch.mkdir()
        scratch.chmod(0o777)
        environment = {**os.environ, "TMPDIR": str(scratch), "HOME": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}

        def read(lines: list[list[str]]) -> tuple[int, str]:
            line = [*NOBODY, sys.executable, "-c", program, json.dumps(lines)]
            done = subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout + done.stderr

        lines = [[verb, str(account.config), *options] for verb, *options in READING]
        code, said = read([*lines, ["export", str(account.config), str(scratch / "out"), "--to", "maildir"]])
        assert code == 0, said
        assert len(list((scratch / "out" / "Maildir" / "cur").iterdir())) == 5

        (account.archive / CATALOG).chmod(0o600)
        code, said = read(lines[:1])
        assert (code, "this user cannot read it" in said) == (8, True), said


def test_what_is_local_of_an_archive_in_a_bucket_may_be_read_only(
    dovecot: Dovecot, mail_user: str, gateway: RadosGateway, command: Command, tmp_path: Path
) -> None:
    dovecot.append_many(mail_user, "INBOX", mails(range(5)))
    home = tmp_path / "home"
    home.mkdir()
    config = bucket_account(tmp_path, dovecot, mail_user, gateway, archive__path=str(home / "archive"))
    run(config)
    with small_disk.read_only_view(home, tmp_path / "view"):
        config.write_text(config.read_text().replace(str(home), str(tmp_path / "view")))
        assert stored(command("status", config)) == 5
        assert command("verify", config, "--offline", "--deep")["checked"] == 5
        assert command("gc", config)["exit_code"] == 0
        assert command("export", config, tmp_path / "out", "--to", "eml")["totals"]["messages"] == 5
