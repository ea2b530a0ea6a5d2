"""An archive is begun once and aloud; where one should be and is not, nothing is begun in its place."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.cli.main import invoke
from tests.accounts import PROJECT, account_file, archive_of, archive_state, mails, report, run
from tests.buckets import bucket_account, forget_locally, objects_of, s3_of
from tests.servers.dovecot import Dovecot
from tests.servers.radosgw import RadosGateway
from tests.warm import ended

MISSING = 8
Command = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """The command line, in this process: what it says, stdout before stderr."""

    def said(*arguments: str | Path, expect: int = 0) -> str:
        capsys.readouterr()
        code = invoke([*map(str, arguments)])
        reported = "".join(capsys.readouterr())
        assert code == expect, reported
        return reported

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield said
    for number, handler in before.items():
        signal.signal(number, handler)


def luigi(config: Path) -> str:
    """What the bare `luigi` command says; it exits 0 whatever happened."""
    program = "from luigi.cmdline import luigi_run; luigi_run()"
    line = ["--module", "pipelines", "ArchiveAccount", "--config", str(config), "--local-scheduler"]
    done = subprocess.run([sys.executable, "-c", program, *line], cwd=PROJECT, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture
def config(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Path:
    """An account of five messages; its archive lies on a disk of its own, `tmp_path/disk`."""
    dovecot.append_many(mail_user, "INBOX", mails(range(5)))
    (tmp_path / "disk").mkdir()
    return account_file(tmp_path, dovecot, mail_user, archive__path=str(tmp_path / "disk" / "archive"))


def unplug(config: Path) -> Path:
    """The disk is not mounted: the mount point is empty. → where the disk is now."""
    disk = archive_of(config).parent
    aside = disk.with_name("unplugged")
    disk.rename(aside)
    disk.mkdir()
    return aside


def note_of(config: Path) -> Path:
    return config.with_suffix(".archive")


class TestTheFirstRun:
    def test_says_that_it_begins_an_archive_even_when_quiet(self, config: Path, command: Command) -> None:
        announced = f"no archive at {archive_of(config)} yet; the first run begins one"
        before = command("check", config)
        first, second = command("run", config, "--quiet"), command("run", config, "--quiet")
        after = command("check", config)

        (line,) = first.splitlines()
        assert line.endswith(f"{config.stem}: began a new archive at {archive_of(config)}")
        assert second == ""
        assert announced in before
        assert announced not in after

    def test_says_so_in_its_report_and_in_no_later_one(self, config: Path, command: Command) -> None:
        assert run(config).report["began_archive"] is True
        assert "This run began the archive" in command("report", config)
        assert run(config).report["began_archive"] is False

    def test_under_the_bare_luigi_command_says_so_too(self, config: Path) -> None:
        begun = luigi(config)
        unplug(config)
        refused = luigi(config)

        assert f"began a new archive at {archive_of(config)}" in begun
        assert "is the disk mounted?" in refused
        assert not archive_of(config).exists()

    def test_notes_which_archive_is_the_account_s(self, config: Path) -> None:
        run(config)

        note = json.loads(note_of(config).read_text())

        assert (note["format"], note["account"]) == ("archiver-note/1", config.stem)
        assert note["place"] == str(archive_of(config))
        assert re.fullmatch("[0-9a-f]{32}", note["archive_id"])
        assert note_of(config).stat().st_mode & 0o777 == 0o600

    def test_says_what_to_do_where_nothing_can_be_noted(self, config: Path) -> None:
        note_of(config).with_name(f"{note_of(config).name}.tmp").mkdir()  # the tests may run as root

        begun = run(config)

        assert "set [archive] must_exist = true" in begun.output
        assert not note_of(config).exists()

    @pytest.mark.parametrize("moment", ["Archive.confirm_identity", "report_beginning"])
    def test_that_was_killed_is_resumed(self, config: Path, moment: str) -> None:
        """Killed between the directory and the first fact, and between that and the note."""
        text = (
            "import os, sys, pipelines.steps as steps\n"
            f"steps.{moment} = lambda *_, **__: os.kill(os.getpid(), 9)\n"
            f"from pipelines.cli.main import main; sys.argv[1:] = ['run', {str(config)!r}]; main()"
        )
        assert ended("-c", text).returncode == -9

        run(config)

        assert note_of(config).exists()
        assert len(archive_state(archive_of(config)).uids()) == 5


class TestWhereTheArchiveIsNot:
    def test_no_verb_takes_an_empty_mount_point_for_an_archive(self, config: Path, command: Command) -> None:
        run(config)
        aside = unplug(config)
        disk = archive_of(config).parent
        verbs = [["run", "--quiet"], ["run", "--dry-run"], ["archive"], ["retry"], ["status"], ["report"]]
        verbs += [["verify"], ["check"], ["repair"], ["gc"], ["rebuild"], ["search", "--text", "x"]]

        for verb, *options in verbs:
            reported = command(verb, config, *options, expect=MISSING)
            assert f"{archive_of(config)}: no archive here" in reported, verb
            assert reported.count("is the disk mounted?") == 1, verb
            assert list(disk.iterdir()) == [], verb

        disk.rmdir()
        aside.rename(disk)
        assert run(config).total("fetched") == (0,)

    def test_a_person_may_begin_another_one(self, config: Path, command: Command) -> None:
        run(config)
        first = json.loads(note_of(config).read_text())["archive_id"]
        unplug(config)

        reported = command("run", config, "--new-archive", "--quiet")

        assert "began a new archive" in reported
        assert report(archive_of(config))["began_archive"] is True
        assert json.loads(note_of(config).read_text())["archive_id"] != first
        run(config)

    def test_another_archive_than_the_noted_one_is_left_alone(self, config: Path, command: Command) -> None:
        """What an earlier version began on the mount point shows whenever the disk is not mounted."""
        run(config)
        unplug(config)
        note = note_of(config).read_bytes()
        run(config, new_archive=True)
        note_of(config).write_bytes(note)
        before = sorted(map(str, archive_of(config).rglob("*")))

        refused = run(config, expect=MISSING)

        assert "holds another archive" in refused.output
        assert sorted(map(str, archive_of(config).rglob("*"))) == before
        run(config, new_archive=True)
        run(config)

    def test_one_that_was_moved_is_followed(self, config: Path, tmp_path: Path) -> None:
        run(config)
        before, after = archive_of(config), tmp_path / "elsewhere"
        config.write_text(config.read_text().replace(str(before), str(after)))

        lost = run(config, expect=MISSING)
        shutil.move(before, after)
        found = run(config)

        assert f"says that it is at {before}" in lost.output
        assert found.total("fetched") == (0,)
        assert json.loads(note_of(config).read_text())["place"] == str(after)

    @pytest.mark.parametrize("note", [None, "{", '{"archive_id": "x"}'])
    def test_a_note_that_was_lost_or_damaged_is_rewritten(self, config: Path, note: str | None) -> None:
        """As for an archive of before there were notes."""
        run(config)
        whole = note_of(config).read_bytes()
        note_of(config).unlink()
        if note is not None:
            note_of(config).write_text(note)

        run(config)

        assert json.loads(note_of(config).read_text())["archive_id"] == json.loads(whole)["archive_id"]
        note_of(config).write_text("{")
        unplug(config)
        run(config, expect=MISSING)

    def test_the_other_accounts_go_on(
        self, config: Path, dovecot: Dovecot, tmp_path: Path, command: Command
    ) -> None:
        other = account_file(tmp_path, dovecot, dovecot.fresh_user(), archive__path=str(tmp_path / "other"))
        run(config)
        unplug(config)

        command("run", config, other, "--workers", "2", expect=MISSING)

        assert report(tmp_path / "other")["status"] == "complete"

    def test_a_replay_alone_begins_none(self, config: Path, dovecot: Dovecot, tmp_path: Path) -> None:
        password = {"file": str(config.with_suffix(".password"))}
        there = account_file(
            tmp_path, dovecot, "alone", destination__host=dovecot.host, destination__port=dovecot.port,
            destination__tls="off", destination__user=dovecot.fresh_user(), destination__password=password,
        )  # fmt: skip
        refused = run(there, steps="replay", expect=2)
        assert "there is no archive here yet" in refused.output
        assert not archive_of(there).exists()


class TestMustExist:
    def test_a_run_never_begins_one(self, config: Path, command: Command) -> None:
        config.write_text(config.read_text().replace("[archive]\n", "[archive]\nmust_exist = true\n"))

        for verb in ("run", "check"):
            reported = command(verb, config, "--quiet", expect=MISSING)
            assert f"{archive_of(config)}: no archive here; is the disk mounted?" in reported
        assert list(archive_of(config).parent.iterdir()) == []
        command("run", config, "--new-archive")
        assert command("run", config, "--quiet") == ""
        note_of(config).unlink()
        unplug(config)
        run(config, expect=MISSING)


class TestABucket:
    @pytest.fixture
    def in_bucket(self, dovecot: Dovecot, mail_user: str, gateway: RadosGateway, tmp_path: Path) -> Path:
        dovecot.append_many(mail_user, "INBOX", mails(range(5)))
        return bucket_account(tmp_path, dovecot, mail_user, gateway)

    def test_is_enough_when_all_that_is_local_is_lost(self, in_bucket: Path) -> None:
        begun = run(in_bucket)
        forget_locally(in_bucket)

        again = run(in_bucket)

        assert f"began a new archive at s3://{s3_of(in_bucket).bucket}/{in_bucket.stem}" in begun.output
        assert (again.total("fetched"), again.report["began_archive"]) == ((0,), False)

    @pytest.mark.parametrize("must_exist", [False, True])
    def test_that_is_another_one_is_not_written_to(
        self, in_bucket: Path, gateway: RadosGateway, command: Command, *, must_exist: bool
    ) -> None:
        """A bucket or a prefix that was mistyped is empty, and the local part may be lost, too."""
        run(in_bucket)
        forget_locally(in_bucket)
        text = in_bucket.read_text().replace(s3_of(in_bucket).bucket, gateway.fresh_bucket())
        if must_exist:
            text = text.replace("[archive]\n", "[archive]\nmust_exist = true\n")
            note_of(in_bucket).unlink()
        in_bucket.write_text(text)

        refused = run(in_bucket, expect=MISSING)

        assert "no archive here" in refused.output
        assert objects_of(in_bucket, gateway) == {}
        assert "no archive here" in command("check", in_bucket, expect=MISSING)
        run(in_bucket, new_archive=True)


def test_init_over_an_archive_notes_it(config: Path, command: Command) -> None:
    run(config)
    note_of(config).unlink()
    options = ["--host", "127.0.0.1", "--user", config.stem, "--password-env", "PW", "--path", archive_of(config)]

    reported = command("init", config, "--force", *options)

    assert f"there is already an archive at {archive_of(config)}" in reported
    assert note_of(config).exists()


class TestARenamedAccountFile:
    """Does not begin a second archive and orphan the first."""

    @pytest.fixture
    def renamed(self, config: Path, dovecot: Dovecot, mail_user: str, tmp_path: Path, command: Command) -> Path:
        command("run", config, "--quiet")
        config.unlink()
        keys = {"name": "renamed", "archive__path": str(tmp_path / "disk" / "renamed")}
        return account_file(tmp_path, dovecot, mail_user, **keys)

    def test_is_recognised_by_the_note_that_was_left(self, config: Path, renamed: Path, command: Command) -> None:
        said = command("run", renamed, "--quiet", expect=MISSING)
        assert f"whose archive is at {config.parent / 'disk' / 'archive'}, and there is no {config.name}" in said
        assert f"`mv {note_of(config)} {note_of(renamed)}`" in said
        assert not archive_of(renamed).exists()

        note_of(config).rename(note_of(renamed))
        (config.parent / "disk" / "archive").rename(archive_of(renamed))
        command("run", "--new-source", renamed)
        command("run", renamed)
        assert json.loads(note_of(renamed).read_text())["place"] == str(archive_of(renamed))

    def test_is_a_new_account_if_the_user_says_so(self, renamed: Path, command: Command) -> None:
        command("run", "--new-archive", renamed)
        command("run", renamed)


def test_a_name_of_a_run_that_was_used_before_brings_back_no_other_account(
    dovecot: Dovecot, config: Path, tmp_path: Path
) -> None:
    """In one process: Luigi keeps the tasks of a run, and they would keep what the account file said then."""
    run(config, run_id="tonight")
    shutil.rmtree(tmp_path / "disk" / "archive")
    config.with_suffix(".archive").unlink()
    other = dovecot.fresh_user()
    dovecot.append_many(other, "INBOX", mails(range(2)))
    account_file(tmp_path, dovecot, other, archive__path=str(tmp_path / "disk" / "archive")).rename(config)
    assert run(config, run_id="tonight").total("stored") == (2,)
