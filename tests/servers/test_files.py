"""Mail that lies in files as an account's source: into an archive, and from there to real servers."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from archiver.mail.dates import internaldate_seconds
from archiver.mail.uidset import parse_uid_set
from pipelines.cli.main import invoke
from tests.accounts import account_file, archive_of, archive_state, assert_whole, mail, run
from tests.faults.replays import destination
from tests.mail_files import MBOXES, maildir, on_the_wire, single_files, tarred, zipped
from tests.servers.corpora import CorpusMessage
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.wire import Append


def files_account(directory: Path, path: Path, **keys: Any) -> Path:
    """An account file whose source are the files at `path`."""
    none = dict.fromkeys(
        ("source__host", "source__port", "source__tls", "source__user", "source__password", "source__attempts")
    )
    server: Any = type("Nobody", (), {"host": "", "port": 0})
    values = {**none, "source__protocol": "files", "source__path": str(path), **keys}
    return account_file(directory, server, "alice", **values)


def digests(messages: Sequence[bytes]) -> Counter[str]:
    return Counter(hashlib.sha256(each).hexdigest() for each in messages)


def held(config: Path, folder: bytes = b"INBOX") -> Counter[str]:
    return Counter(archive_state(archive_of(config)).digests(folder).values())


def served(server: MailServer, user: str, folder: bytes = b"INBOX") -> Counter[str]:
    return Counter(each.digest for each in server.dump(user)[folder].messages.values())


def unaltered(corpora: Sequence[CorpusMessage]) -> list[bytes]:
    """The messages that a server gives back as it got them: not those with NUL or a CR that ends no line, nor an
    empty one, which it refuses."""
    odd = re.compile(rb"\0|\r(?!\n)")
    return [each.octets for each in corpora if each.octets and not odd.search(each.octets)]


FORMS: dict[str, Callable[[Path, Sequence[bytes]], Path]] = {
    "maildir": maildir,
    "eml": single_files,
    "zip": lambda path, them: zipped(path.with_suffix(".zip"), {f"m/{n}.eml": each for n, each in enumerate(them)}),
    "tar": lambda path, them: tarred(path.with_suffix(".tgz"), {f"{n}.eml": each for n, each in enumerate(them)}),
    **{
        dialect: lambda path, them, write=write: (
            path.with_suffix(".spool").write_bytes(write(them)),
            path.with_suffix(".spool"),
        )[1]  # type: ignore[misc]
        for dialect, write in MBOXES.items()
    },
}


class TestTheCorpora:
    @pytest.mark.parametrize("form", FORMS)
    def test_arrive_at_dovecot(
        self, corpora: list[CorpusMessage], dovecot: Dovecot, mail_user: str, tmp_path: Path, form: str
    ) -> None:
        messages = unaltered(corpora)
        place = FORMS[form](tmp_path / "mail", messages)
        config = files_account(tmp_path, place, **destination(tmp_path, dovecot, mail_user))
        result = run(config)
        folder = b"m" if form == "zip" else b"INBOX"
        assert sum(held(config, folder).values()) == len(messages)
        assert served(dovecot, mail_user, folder) == held(config, folder)
        if form not in MBOXES:
            assert held(config, folder) == digests([on_the_wire(each) for each in messages])
        assert result.balanced
        assert_whole(archive_of(config))
        assert invoke(["verify", str(config), "--deep", "--quiet"]) == 0
        again = run(config)
        assert again.total("fetched", "vanished", "flags_changed") == (0, 0, 0)
        assert again.report["totals"]["destination"]["replayed"] == 0

    @pytest.mark.parametrize(
        ("kind", "form"), [("dovecot", "eml"), ("cyrus", "maildir"), ("cyrus", "mboxrd"), ("cyrus", "eml")]
    )
    def test_of_all_of_them_each_one_arrives_or_is_named(
        self, corpora: list[CorpusMessage], request: pytest.FixtureRequest, tmp_path: Path, kind: str, form: str
    ) -> None:
        """Also the empty ones and those without a header, which Cyrus refuses. Of those with NUL a server may show
        other bytes, and then that is a difference."""
        server: MailServer = request.getfixturevalue(kind)
        user = server.fresh_user()
        place = FORMS[form](tmp_path / "mail", [each.octets for each in corpora])
        config = files_account(tmp_path, place, **destination(tmp_path, server, user))
        result = run(config, expect=None)
        differences = result.report["totals"]["destination"]["differences"]
        assert (result.exit_code, differences) in ((3, 0), (4, 1))
        here, there = held(config), served(server, user)
        if kind == "dovecot":  # it has the NUL, shows it as 0x80, and gives it by BINARY: test_nul_octets.py
            for octets in (on_the_wire(each.octets) for each in corpora if b"\0" in each.octets):
                (true,), (shown,) = digests([octets]), digests([octets.replace(b"\0", b"\x80")])
                there[true] += there.pop(shown, 0)
        losses = [each for each in result.report["losses"] if each["kind"] in ("rewritten", "repaired")]
        altered = [uid for each in losses for uid in parse_uid_set(each["uids"].encode())]
        refused = [each for each in result.report["failures"] if each["step"] == "replay"]
        assert sum(here.values()) == len(corpora)
        assert sum((here - there).values()) == len(refused) + len(altered)
        assert sum((there - here).values()) == len(altered)
        assert all("does not accept" in each["reason"] or "cannot read" in each["reason"] for each in refused)
        assert result.balanced

        if form != "mboxrd":
            for path in sorted(each for each in place.rglob("*") if each.is_file())[::2]:
                path.rename(path.with_name(f"16{path.name}"))
        again = run(config, expect=result.exit_code)
        assert again.total("fetched", "vanished", "flags_changed") == (0, 0, 0)
        assert again.report["totals"]["destination"]["replayed"] == 0
        assert len(again.report["failures"]) == len(refused)


class TestARunAgain:
    @pytest.fixture
    def account(self, tmp_path: Path) -> Path:
        """Three folders of mail of each kind, archived."""
        self.root = tmp_path / "mail"
        maildir(self.root / "box", [mail(n) for n in range(20)], ["", "S"])
        (self.root / "spool").write_bytes(MBOXES["mboxrd"]([mail(n) for n in range(20, 40)]))
        single_files(self.root / "single", [mail(n) for n in range(40, 50)])
        config = files_account(tmp_path, self.root)
        assert run(config).total("fetched", "on_server") == (50, 50)
        return config

    def nothing(self, config: Path) -> None:
        assert run(config).total("fetched", "vanished", "flags_changed", "stored") == (0, 0, 0, 50)
        assert_whole(archive_of(config))

    def test_brings_nothing(self, account: Path) -> None:
        self.nothing(account)

    def test_brings_nothing_if_half_of_the_files_are_renamed(self, account: Path) -> None:
        for number, path in enumerate(sorted((self.root / "box" / "cur").iterdir())):
            if number % 2:
                path.rename(path.with_name(f"16{number:08}.renamed{path.name[path.name.index(':') :]}"))
        for path in sorted((self.root / "single").iterdir())[::2]:
            path.rename(path.with_name(f"x{path.name}"))
        self.nothing(account)

    def test_brings_nothing_if_all_is_copied_elsewhere(self, account: Path, tmp_path: Path) -> None:
        shutil.copytree(self.root, tmp_path / "new")
        account.write_text(account.read_text().replace(str(self.root), str(tmp_path / "new")))
        assert "--new-source" in run(account, expect=2).output
        again = run(account, new_source=True)
        assert again.total("on_server", "stored") == (50, 50)
        assert digests([mail(n) for n in range(20)]) == held(account, b"box")

    def test_brings_nothing_without_its_cache(self, account: Path) -> None:
        (archive_of(account) / "files.sqlite").unlink()
        self.nothing(account)

    def test_brings_what_is_new_follows_flags_and_keeps_what_is_gone(self, account: Path) -> None:
        cur = self.root / "box" / "cur"
        first, second, *_ = sorted(cur.iterdir())
        first.unlink()
        second.rename(second.with_name(f"{second.name}T"))
        (self.root / "box" / "new" / "1800000000.x").write_bytes(mail(60))
        with (self.root / "spool").open("ab") as spool:
            spool.write(MBOXES["mboxrd"]([mail(61), mail(62)]))
        again = run(account)
        assert again.total("fetched", "vanished", "flags_changed") == (3, 1, 1)
        assert held(account, b"spool") == digests([mail(n) for n in (*range(20, 40), 61, 62)])
        assert again.balanced
        assert_whole(archive_of(account))

    def test_after_the_disk_is_gone_takes_nothing_away(self, account: Path) -> None:
        self.root.rename(self.root.with_name("unmounted"))
        result = run(account, expect=2)
        assert "mail: no such file or directory" in result.output
        assert "mount the disk" in result.output
        self.root.mkdir()
        assert "no mail here" in run(account, expect=2).output
        assert held(account, b"box") == digests([mail(n) for n in range(20)])

    def test_lists_what_cannot_be_read_until_it_can(self, account: Path) -> None:
        odd = self.root / "single" / "odd.eml"
        odd.symlink_to("/etc/passwd")
        result = run(account, expect=3)
        assert "odd.eml: is a symbolic link" in result.report["failures"][0]["reason"]
        odd.unlink()
        odd.write_bytes(mail(70))
        assert run(account).total("fetched", "quarantined") == (1, 0)

    def test_takes_only_mail_of_the_ages_that_are_asked_for(self, tmp_path: Path) -> None:
        root = maildir(tmp_path / "mail", [mail(1), mail(2), mail(3)])
        now = int(time.time())
        for path, days in zip(sorted((root / "cur").iterdir()), (400, 100, 0), strict=True):
            path.rename(path.with_name(f"{now - 86400 * days}.x:2,"))
        config = files_account(tmp_path, root, messages__older_than="30d", messages__newer_than="1y")
        for _ in range(2):
            assert run(config).total("stored", "excluded") == (1, 2)
        assert held(config) == digests([mail(2)])


class TestWhatIsListed:
    def test_messages_that_could_be_read_in_another_way(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "spool").write_bytes(MBOXES["mboxo"]([b"A: 1\n\nFrom here\n", b"B: 2\n\nx\n"]))
        config = files_account(tmp_path, tmp_path / "spool")
        assert invoke(["check", str(config), "--json"]) == 0
        (seen,) = json.loads(capsys.readouterr().out)["accounts"][0]["notices"]
        assert (seen["kind"], seen["folder"], seen["count"]) == ("doubtful", "INBOX", 1)
        for _ in range(2):
            (notice,) = run(config).report["notices"]
            assert (notice["kind"], notice["folder"], notice["count"]) == ("doubtful", "INBOX", 1)
            assert notice["text"].endswith("was taken off: uid 1")


class TestOurOwnExports:
    @pytest.mark.parametrize("form", ["maildir", "mbox", "eml"])
    def test_come_back(
        self, corpora: list[CorpusMessage], dovecot: Dovecot, mail_user: str, tmp_path: Path, form: str
    ) -> None:
        odd = [b"bare\nline\r\n", b"no end", b"From me\r\n\r\n>From you\r\n", b"A: 1\r\n\r\n\r\n"]
        flags = [("\\Seen", "$Work"), ("\\Flagged",), (), ("\\Answered", "\\Draft")]
        sent = [Append(octets, each, "02-Jan-2020 10:00:00 +0200") for octets, each in zip(odd, flags, strict=True)]
        dovecot.create(mail_user, "Work")
        dovecot.append_many(mail_user, "INBOX", sent)
        dovecot.append_many(mail_user, "Work", sent[:2])
        first = account_file(tmp_path / "first", dovecot, mail_user)
        run(first)
        assert invoke(["export", str(first), str(tmp_path / "export"), "--to", form, "--quiet"]) == 0
        second = files_account(tmp_path / "second", tmp_path / "export")
        run(second)
        one, other = (archive_state(archive_of(each)) for each in (first, second))
        seen = [
            {
                epoch.folder: sorted(
                    (m.digest, sorted(m.flags), internaldate_seconds(m.internaldate))
                    for (its, _), m in state.messages.items()
                    if its == epoch
                )
                for epoch in state.epochs
            }
            for state in (one, other)
        ]
        assert seen[0] == seen[1]


class TestAnImport:
    @pytest.fixture
    def account(self, dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Path:
        dovecot.append_many(mail_user, "INBOX", [Append(mail(n)) for n in range(5)])
        self.user, self.new_user = mail_user, dovecot.fresh_user()
        config = account_file(tmp_path, dovecot, mail_user, **destination(tmp_path, dovecot, self.new_user))
        run(config)
        return config

    def test_adds_what_the_archive_does_not_hold(
        self, account: Path, dovecot: Dovecot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        old = maildir(tmp_path / "old", [mail(n) for n in range(3, 9)], ["S"])
        maildir(old / ".Sent", [mail(8), mail(9), mail(9)])
        capsys.readouterr()
        assert invoke(["import", str(account), str(old), "--dry-run"]) == 0
        would = "5 messages to import below Imported, 605 B; 4 messages that the archive holds already"
        assert capsys.readouterr().out.splitlines()[-1].endswith(would)
        before = archive_state(archive_of(account))
        for _ in range(2):
            assert invoke(["import", str(account), str(old), "--quiet"]) == 0
            assert_whole(archive_of(account))
        assert len(before.messages) == 5
        names = [b"\0Imported/INBOX", b"\0Imported/Sent"]
        assert [held(account, each) for each in names] == [
            digests([mail(n) for n in range(5, 9)]),
            digests([mail(9)]),
        ]
        (old / "new" / "1800000000.x").write_bytes(mail(20))
        assert invoke(["import", str(account), str(old), "--quiet"]) == 0
        result = run(account)
        assert result.total("fetched", "vanished", "stored") == (0, 0, 11)
        assert served(dovecot, self.new_user, b"Imported/INBOX") == digests([mail(n) for n in (5, 6, 7, 8, 20)])
        assert served(dovecot, self.new_user, b"Imported/Sent") == digests([mail(9)])
        assert b"Imported/INBOX" not in dovecot.dump(self.user)
        assert run(account).total("fetched", "vanished", "stored") == (0, 0, 11)
        assert invoke(["verify", str(account), "--quiet"]) == 0
        assert invoke(["rebuild", str(account), "--quiet"]) == 0
        assert run(account).total("fetched", "vanished", "stored") == (0, 0, 11)

    def test_of_other_files_leaves_what_was_imported_before(
        self, account: Path, dovecot: Dovecot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Also if they go to the same folder. Done again, nothing happens, in empty folders neither."""
        one, other = maildir(tmp_path / "one", [mail(n) for n in range(10, 13)]), tmp_path / "other"
        maildir(maildir(other, [mail(n) for n in range(12, 15)]) / ".Empty", [])
        assert invoke(["import", str(account), str(one), "--quiet"]) == 0
        capsys.readouterr()
        assert invoke(["import", str(account), str(other), "--dry-run", "--json"]) == 0
        looked = json.loads(capsys.readouterr().out)["folders"]
        octets = sum(len(mail(n)) for n in (13, 14))
        assert [(each["added"], each["octets"], each["already_there"]) for each in looked] == [
            (2, octets, 1),
            (0, 0, 0),
        ]
        for files in (other, other, one):
            assert invoke(["import", str(account), str(files), "--verbose"]) == 0
            assert "UIDVALIDITY" not in capsys.readouterr().err
            assert held(account, b"\0Imported/INBOX") == digests([mail(n) for n in range(10, 15)])
        assert run(account).total("vanished") == (0,)
        assert served(dovecot, self.new_user, b"Imported/INBOX") == digests([mail(n) for n in range(10, 15)])

    def test_of_nothing_is_refused(self, account: Path, tmp_path: Path) -> None:
        assert invoke(["import", str(account), str(tmp_path / "nothing"), "--quiet"]) == 2
        assert invoke(["import", str(account), str(tmp_path), "--into", "INBOX/x", "--quiet"]) == 2
