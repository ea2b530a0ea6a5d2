"""An archive's folders as files for other programs: all of it, octet for octet, as it is and as it was."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from archiver.account.account import Account
from archiver.account.export import FORMS, ExportOptions, Form, export_account
from archiver.config.load import load_account
from archiver.errors import ArchiveNotWritable, ArchiverError
from archiver.events import Event, Exported
from archiver.mail.dates import internaldate_seconds
from pipelines.cli.main import invoke
from tests.accounts import (
    PROJECT,
    UNSTOPPED,
    account_file,
    archive_of,
    archive_state,
    assert_whole,
    command,
    mail,
    run,
)
from tests.buckets import bucket_account, forget_locally
from tests.exported import Held, held
from tests.patience import PATIENCE
from tests.servers import small_disk
from tests.servers.corpora import CorpusMessage
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import wait
from tests.servers.mailbox_generator import TINY, generate
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.test_archive_served import instants, subscribed
from tests.servers.test_hostile_names import SLASHED
from tests.warm import WarmProcess

Scripted = Callable[..., ScriptedServer]
DATE = "02-Jan-2020 10:00:00 +0000"


def export(config: Path, path: Path, form: Form = "mbox", progress: Callable[[Event], None] = lambda _: None,
           **options: Any) -> dict[bytes, Counter[Held]]:  # fmt: skip
    """Export in this process; what is there then."""
    given = ExportOptions(form, path, **options)
    with Account(load_account(config)).opened() as archive:
        export_account(archive, given, replace(UNSTOPPED, progress=progress))
    return held(path)


def served(server: ScriptedServer) -> dict[bytes, Counter[Held]]:
    """What a scripted server holds, as an export should have it."""
    return {
        raw: Counter(
            (sha256(each.octets).hexdigest(), frozenset(each.flags), internaldate_seconds(each.internaldate) or 0)
            for each in folder.messages.values()
        )
        for raw, folder in server.folders.items()
    }


def numbered(numbers: Iterable[int], *flags: str) -> dict[int, ScriptedMessage]:
    return {n: ScriptedMessage(mail(n), flags, f"02-Jan-2020 00:{n % 60:02}:00 +0000") for n in numbers}


@pytest.fixture
def source(scripted: Scripted) -> ScriptedServer:
    """Five messages in INBOX, three in Work and two in Old."""
    return scripted(
        {
            b"INBOX": ScriptedFolder(5, numbered(range(1, 6), "\\Seen", "$a"), subscribed=True),
            b"Work": ScriptedFolder(6, numbered(range(11, 14))),
            b"Old": ScriptedFolder(7, numbered(range(21, 23), "\\Flagged")),
        }
    )


@pytest.fixture
def config(source: ScriptedServer, tmp_path: Path) -> Path:
    """The account, archived once."""
    file = account_file(tmp_path, source, "u1")
    run(file)
    return file


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    """One form after the other."""
    chosen: Form = request.param
    return chosen


class TestEveryOctet:
    def test_of_the_corpora(
        self, scripted: Scripted, corpora: list[CorpusMessage], form: Form, tmp_path: Path
    ) -> None:
        octets = [*(each.octets for each in corpora), b"", b"\n", b"From ", b"no end", b"\0\r\r\n\xff" * 9]
        flags = [(), ("\\Seen",), ("\\Flagged", "$Forwarded"), ("\\Deleted", "NonJunk", "todo")]
        dates = [DATE, "31-Dec-1969 23:00:00 +0000", "29-Feb-2024 23:59:60 -0930"]
        folder = ScriptedFolder(
            messages={n: ScriptedMessage(each, flags[n % 4], dates[n % 3]) for n, each in enumerate(octets, 1)}
        )
        server = scripted({b"INBOX": folder})
        file = account_file(tmp_path, server, "u1")
        run(file)
        assert export(file, tmp_path / "out", form) == served(server)

    def test_of_a_large_message(self, scripted: Scripted, form: Form, tmp_path: Path) -> None:
        large = b"Subject: large\r\n\r\n" + b"From the start\r\n>From\r\n" * 200_000
        server = scripted(
            {b"INBOX": ScriptedFolder(messages={1: ScriptedMessage(large), 2: ScriptedMessage(b"x")})}
        )
        file = account_file(tmp_path, server, "u1")
        run(file)
        assert export(file, tmp_path / "out", form) == served(server)
        assert not (tmp_path / "out" / "spool").exists()

    def test_of_folders_with_any_name(self, scripted: Scripted, form: Form, tmp_path: Path) -> None:
        """Within the export, private, each by itself, also where case does not count."""
        names = [b"INBOX", *SLASHED]
        server = scripted({raw: ScriptedFolder(n, numbered(range(n, n + n % 3))) for n, raw in enumerate(names, 1)})
        file = account_file(tmp_path / "account", server, "u1")
        run(file)
        out = tmp_path / "there" / "out"
        assert export(file, out, form) == served(server)
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        for path in (out, *out.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        places = [each["place"].lower() for each in json.loads((out / "export.json").read_text())["folders"]]
        if form != "maildir":
            assert len(set(places)) == len(places)


class TestAMaildirPlusPlus:
    def test_is_served_as_the_source_serves_it(
        self, dovecot: Dovecot, mail_user: str, dovecot_with: Callable[..., Dovecot], tmp_path: Path
    ) -> None:
        """And so is what an archive of the exported Maildir exports."""
        second = dovecot_with(
            extra="mail_location = maildir:~/Maildir\nmail_plugins = listescape\n"
            'plugin {\n  listescape_char = "\\\\"\n}\nprotocol imap {\n  mail_plugins = listescape\n}'
        )
        dovecot.install(mail_user, generate(tmp_path / "generated", TINY).home)
        dovecot.subscribe(mail_user, "Sent", "日本語", "Lists/dovecot.users")
        file = account_file(tmp_path / "first", dovecot, mail_user)
        run(file)
        out = tmp_path / "out"
        first = export(file, out, "maildir")
        second.install("u1", out)
        there, copy = dovecot.dump(mail_user), second.dump("u1")
        assert there.keys() == copy.keys()
        for raw, folder in there.items():
            assert (raw, copy[raw].uidvalidity, copy[raw].uidnext) == (raw, folder.uidvalidity, folder.uidnext)
            assert instants(copy[raw]) == instants(folder), raw
        assert subscribed(second, "u1") == subscribed(dovecot, mail_user)

        again = account_file(tmp_path / "second", second, "u1")
        run(again)
        assert export(again, tmp_path / "again", "maildir") == first

    def test_reports_which_flags_it_cannot_hold(self, scripted: Scripted, tmp_path: Path) -> None:
        messages = {n: ScriptedMessage(mail(n), (f"k{n:02}",)) for n in range(1, 31)}
        file = account_file(tmp_path, scripted({b"INBOX": ScriptedFolder(messages=messages)}), "u1")
        run(file)
        reported: list[Event] = []
        there = export(file, tmp_path / "out", "maildir", reported.append)
        assert sum(not flags for _, flags, _ in there[b"INBOX"].elements()) == 4
        assert sum("4 messages have flags" in str(event) for event in reported) == 1


class TestAsItWas:
    def test_a_day_is_as_an_export_of_that_day(
        self, source: ScriptedServer, day: Callable[[int], str], form: Form, tmp_path: Path
    ) -> None:
        """Whatever becomes of the mail later: flags, deletions, moves, other UIDs, folders that come and go."""
        file = account_file(tmp_path, source, "u1")
        ends, then = [], []
        inbox, work = source.folders[b"INBOX"], source.folders[b"Work"]

        def second() -> None:
            inbox.mark(1, ("\\Answered", "$b"))
            inbox.expunge([2])
            inbox.add(*numbered([30, 31]).values())

        def third() -> None:
            work.add(inbox.messages[3])
            inbox.expunge([3])
            source.folders[b"New"] = ScriptedFolder(9, numbered([40]))

        def fourth() -> None:
            source.folders[b"Work"] = ScriptedFolder(66, dict(enumerate(work.messages.values(), 100)))
            source.folders[b"Renamed"] = source.folders.pop(b"Old")

        def fifth() -> None:
            inbox.add(*numbered([2]).values())
            inbox.mark(1, ())
            source.folders[b"Old"] = ScriptedFolder(77, numbered([50]))

        for number, change in enumerate((lambda: None, second, third, fourth, fifth), 1):
            ends.append(day(number))
            change()
            run(file)
            then.append(export(file, tmp_path / f"day {number}", form))
            assert then[-1] == served(source)
        for number, (end, expected) in enumerate(zip(ends, then, strict=True), 1):
            assert export(file, tmp_path / f"day {number} again", form, moment=end) == expected, number
            if number > 1:  # the run was at noon
                moment = f"{end[:11]}11:59:59Z"
                assert export(file, tmp_path / f"before {number}", form, moment=moment) == then[number - 2]
        assert_whole(archive_of(file))

    def test_is_found_without_a_catalog(self, config: Path, source: ScriptedServer, tmp_path: Path) -> None:
        for file in archive_of(config).glob("catalog.sqlite*"):
            file.unlink()
        assert invoke(["export", str(config), str(tmp_path / "out"), "--to", "mbox", "--quiet"]) == 0
        assert held(tmp_path / "out") == served(source)

    def test_a_date_before_the_archive_began(self, config: Path, tmp_path: Path, capsys: Any) -> None:
        assert invoke(["export", str(config), str(tmp_path / "out"), "--to", "eml", "--as-of", "2001-01-01"]) == 2
        assert "it began at 20" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_leaves_nothing_next_to_the_catalog(self, config: Path, tmp_path: Path) -> None:
        before = sorted(path.name for path in archive_of(config).iterdir())
        export(config, tmp_path / "out")
        assert sorted(path.name for path in archive_of(config).iterdir()) == before


class TestWhatIsGoneFromTheSource:
    @pytest.fixture
    def changed(self, config: Path, source: ScriptedServer) -> dict[bytes, Counter[Held]]:
        """Two messages are gone, one was moved away and back, Work has another UIDVALIDITY, Old is gone. What
        the folders held in all."""
        before = served(source)
        inbox = source.folders[b"INBOX"]
        moved = inbox.messages[3]
        inbox.expunge([1, 2, 3])
        source.folders[b"Work"].uidvalidity = 66
        del source.folders[b"Old"]
        run(config)
        inbox.add(moved)
        run(config)
        return before

    def test_is_left_out(
        self, changed: Any, config: Path, source: ScriptedServer, form: Form, tmp_path: Path
    ) -> None:
        assert export(config, tmp_path / "out", form) == served(source)
        summary = json.loads((tmp_path / "out" / "export.json").read_text())
        assert (summary["left_out"], summary["totals"]["vanished"]) == (1, 0)

    def test_comes_too_if_asked_for(
        self, changed: dict[bytes, Counter[Held]], config: Path, form: Form, tmp_path: Path
    ) -> None:
        """Each message as often as its folder held it."""
        assert export(config, tmp_path / "out", form, vanished=True) == changed
        summary = json.loads((tmp_path / "out" / "export.json").read_text())
        assert (summary["left_out"], summary["totals"]["vanished"]) == (0, 2)


class TestAConcurrentRun:
    def test_moves_messages_and_nothing_is_missing(self, scripted: Scripted, form: Form, tmp_path: Path) -> None:
        """The export is of the moment when it began."""
        folders = {b"INBOX": ScriptedFolder(1, numbered(range(1, 700))), b"Z": ScriptedFolder(2, numbered([1]))}
        server = scripted(folders)
        file = account_file(tmp_path, server, "u1")
        run(file)
        before = served(server)
        runs: list[Event] = []

        def work(event: Event) -> None:
            if isinstance(event, Exported) and not runs:
                runs.append(event)
                for uid in range(450, 650):
                    folders[b"INBOX"].mark(uid, ("\\Seen",))
                folders[b"Z"].add(*numbered(range(650, 699)).values())
                folders[b"INBOX"].expunge(range(650, 699))
                run(file)

        assert export(file, tmp_path / "out", form, work) == before
        assert len(runs) == 1
        assert_whole(archive_of(file))


class TestAnEndInBetween:
    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
    def test_leaves_what_says_that_it_is_not_complete(
        self, scripted: Scripted, form: Form, tmp_path: Path, how: signal.Signals
    ) -> None:
        """And the next one removes what is left next to the catalog."""
        messages = {n: ScriptedMessage(mail(n, body="x" * 3000)) for n in range(1, 800)}
        server = scripted({b"INBOX": ScriptedFolder(messages=messages)})
        file = account_file(tmp_path, server, "u1")
        run(file)
        before = sorted(path.name for path in archive_of(file).iterdir())
        words = ["-m", "pipelines", "export", str(file), str(tmp_path / "out"), "--to", form]
        with WarmProcess(words) as process:
            wait(lambda: any(path.is_file() for path in (tmp_path / "out").rglob("*")), "the first file")
            process.send_signal(how)
            assert process.stderr is not None
            said = process.stderr.read().decode()
        assert process.returncode == (130 if how == signal.SIGINT else -9)
        assert ("remove the incomplete export, and export again" in said) == (how == signal.SIGINT)
        assert not (tmp_path / "out" / "export.json").exists()
        assert export(file, tmp_path / "again", form) == served(server)
        assert sorted(path.name for path in archive_of(file).iterdir()) == before

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a namespace of processes")
    def test_leaves_another_one_alone_in_whose_container_its_process_is_not_known(
        self, scripted: Scripted, tmp_path: Path
    ) -> None:
        """Two containers on one volume: neither knows the other one's processes by their numbers."""
        messages = {n: ScriptedMessage(mail(n, body="x" * 3000)) for n in range(1, 800)}
        server = scripted({b"INBOX": ScriptedFolder(messages=messages)})
        file = account_file(tmp_path, server, "u1")
        run(file)
        before = sorted(path.name for path in archive_of(file).iterdir())
        words = ["-m", "pipelines", "export", str(file), "--to", "mbox"]
        with WarmProcess([*words, str(tmp_path / "one")]) as process:
            wait(lambda: any(path.is_file() for path in (tmp_path / "one").rglob("*")), "the first file")
            process.send_signal(signal.SIGSTOP)
            try:
                at_work = sorted(archive_of(file).glob("catalog.sqlite.export-*"))
                contained = ["unshare", "--pid", "--fork", sys.executable, *words, str(tmp_path / "other")]
                subprocess.run(contained, cwd=PROJECT, check=True, timeout=PATIENCE)
                assert at_work
                assert sorted(archive_of(file).glob("catalog.sqlite.export-*")) == at_work
            finally:
                process.send_signal(signal.SIGCONT)
            assert process.wait(60) == 0
        assert sorted(path.name for path in archive_of(file).iterdir()) == before


class TestOutOfABucket:
    @pytest.mark.parametrize("layout", ["objects", "packs"])
    def test_it_is_the_same(
        self, source: ScriptedServer, gateway: Endpoint, layout: str,
        day: Callable[[int], str], tmp_path: Path,
    ) -> None:  # fmt: skip
        """Also of a day before, and with every local file lost."""
        file = bucket_account(tmp_path, source, "u1", gateway, s3={"layout": layout})
        end = day(1)
        run(file)
        first = served(source)
        day(2)
        source.folders[b"INBOX"].expunge([1, 2])
        source.folders[b"INBOX"].mark(3, ())
        source.folders[b"INBOX"].add(*numbered([30]).values())
        run(file)
        forget_locally(file)
        assert invoke(["rebuild", str(file), "--quiet"]) == 0
        for form in FORMS:
            assert export(file, tmp_path / f"{form} now", form) == served(source)
            assert export(file, tmp_path / f"{form} then", form, moment=end) == first


class TestDamage:
    def test_is_listed_and_everything_else_exported(
        self, config: Path, source: ScriptedServer, form: Form, tmp_path: Path
    ) -> None:
        first, second, *_ = sorted((archive_of(config) / "Maildir" / "cur").iterdir())
        octets = first.read_bytes()
        first.write_bytes(octets[:-3] + b"?" + octets[-2:])
        second.unlink()
        done = command("export", config, tmp_path / "out", "--to", form, "--json", expect=6)
        assert [(each["folder"], each["uid"]) for each in done.report["damaged"]] == [("INBOX", 1), ("INBOX", 2)]
        assert done.report["totals"]["damaged"] == 2
        there, whole = held(tmp_path / "out"), served(source)
        assert there[b"INBOX"] < whole.pop(b"INBOX")
        assert there.pop(b"INBOX").total() == 3
        assert there == whole

    def test_of_the_journal_ends_it(self, config: Path, tmp_path: Path, capsys: Any) -> None:
        segment = min((archive_of(config) / "journal").iterdir())
        segment.write_bytes(segment.read_bytes()[:-9])
        assert invoke(["export", str(config), str(tmp_path / "out"), "--to", "eml"]) == 6
        assert segment.name in capsys.readouterr().err


class TestItsPlace:
    @pytest.mark.parametrize("where", ["a file", "a full directory", "the archive"])
    def test_is_its_own(self, config: Path, tmp_path: Path, capsys: Any, where: str) -> None:
        out = tmp_path / "out"
        if where == "a file":
            out.write_text("mine")
        elif where == "a full directory":
            out.mkdir()
            (out / "mine").write_text("mine")
        else:
            out = archive_of(config) / "Maildir" / "out"
        assert invoke(["export", str(config), str(out), "--to", "mbox"]) == 2
        said = capsys.readouterr().err
        assert str(out) in said
        assert "empty directory" in said or "within the archive" in said
        assert not out.exists() or "mine" in (out if out.is_file() else out / "mine").read_text()

    def test_may_be_an_empty_directory(self, config: Path, source: ScriptedServer, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        assert export(config, tmp_path / "out") == served(source)
        with pytest.raises(ArchiverError, match="is not empty"):
            export(config, tmp_path / "out")

    def test_is_full(self, scripted: Scripted, form: Form, tmp_path: Path) -> None:
        messages = {n: ScriptedMessage(b"Subject: %d\r\n\r\n" % n + b"x" * 30_000) for n in range(1, 60)}
        file = account_file(tmp_path, scripted({b"INBOX": ScriptedFolder(messages=messages)}), "u1")
        run(file)
        with small_disk.mounted(tmp_path / "disk") as disk:
            done = command("export", file, disk / "out", "--to", form, expect=8)
            assert "No space left on device" in done.output
            assert "Traceback" not in done.output
            assert not (disk / "out" / "export.json").exists()
        assert archive_state(archive_of(file)) == assert_whole(archive_of(file))

    def test_cannot_be_made(self, config: Path) -> None:
        with pytest.raises(ArchiveNotWritable, match="/proc/nowhere"):
            export(config, Path("/proc/nowhere/out"))


class TestTheCommand:
    def test_reports_what_it_did(self, config: Path, tmp_path: Path) -> None:
        done = command("export", config, tmp_path / "out", "--to", "mbox", "--folder", "W*", "--folder", "INBOX")
        lines = [line.split() for line in done.output.splitlines()]
        assert ["INBOX", "5", "INBOX.mbox"] in [[*line[:2], line[-1]] for line in lines if line]
        assert ["Work", "3", "Work.mbox"] in [[*line[:2], line[-1]] for line in lines if line]
        assert "u1: 8 messages exported from 2 folders" in done.output
        assert held(tmp_path / "out").keys() == {b"INBOX", b"Work"}

    def test_gives_one_document(self, config: Path, tmp_path: Path) -> None:
        document = command("export", config, tmp_path / "out", "--to", "eml", "--json").report
        summary = json.loads((tmp_path / "out" / "export.json").read_text())
        assert document["exit_code"] == 0
        same = summary.keys() - {"archive_id", "exported_at"}
        assert {key: document[key] for key in same} == {key: summary[key] for key in same}

    def test_says_nothing_if_quiet(self, config: Path, tmp_path: Path) -> None:
        assert command("export", config, tmp_path / "out", "--to", "maildir", "--quiet").output == ""

    def test_knows_no_such_folder(self, config: Path, tmp_path: Path, capsys: Any) -> None:
        out = tmp_path / "out"
        assert invoke(["export", str(config), str(out), "--to", "mbox", "--folder", "Nope"]) == 2
        assert "matches Nope" in capsys.readouterr().err
        assert not out.exists() or not list(out.iterdir())
