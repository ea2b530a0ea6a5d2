"""What is found in files of each kind: folders, messages, flags, dates; and what is odd about them."""

from __future__ import annotations

import hashlib
import json
import mailbox
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archiver.config.tables.server import FilesSettings
from archiver.errors import ConfigError, CountsDisagree, ServerUnavailable
from archiver.mail.model import Fetched, Undelivered
from archiver.source.files.found import FoundFile, FoundMessage
from archiver.source.files.reading import messages_in
from archiver.source.files.source import FilesSource
from archiver.source.numbering import UnrecordedNumbers
from tests.accounts import mail
from tests.mail_files import maildir, mboxrd, single_files, tarred, zipped


@dataclass(frozen=True)
class Found:
    """A message as the source gives it; `problem` if it does not."""

    octets: bytes
    flags: frozenset[str]
    internaldate: str | None
    problem: str | None = None


class Reader:
    """A source of files, with numbers that are remembered and a cache."""

    def __init__(self, path: Path, cache: Path, **keys: Any) -> None:
        self._settings = FilesSettings(path=path, **keys)
        self._numbers, self._cache = UnrecordedNumbers(), cache

    def source(self) -> FilesSource:
        spool = self._cache.parent
        return FilesSource(
            self._settings,
            lambda: open(spool / f"spool-{os.urandom(4).hex()}", "w+b"),
            self._numbers,
            self._cache / "files.sqlite",
            writable=True,
            check_stop=lambda: None,
        )

    def read(self) -> dict[str, dict[int, Found]]:
        found = {}
        with closing(self.source()) as source:
            for listed in source.list_folders():
                opened = source.open(listed.folder)
                assert listed.status is not None
                assert opened.status.messages == len(source.uids())
                found[listed.folder.name] = dict(sorted(_messages(source)))
        return found

    def octets(self) -> dict[str, list[bytes]]:
        return {name: [each.octets for each in folder.values()] for name, folder in self.read().items()}


def _messages(source: FilesSource) -> Iterator[tuple[int, Found]]:
    for outcome in source.fetch(list(source.uids())):
        if isinstance(outcome, Undelivered):
            yield outcome.uid, Found(b"", frozenset(), None, outcome.reason)
            continue
        assert isinstance(outcome, Fetched)
        octets = outcome.body.octets if outcome.body.spool is None else outcome.body.spool.read_bytes()
        assert octets is not None
        assert hashlib.sha256(octets).hexdigest() == outcome.body.digest
        seen = outcome.attributes
        yield seen.uid, Found(octets, seen.flags or frozenset(), seen.internaldate)


Read = Callable[..., Reader]


@pytest.fixture
def reader(tmp_path_factory: pytest.TempPathFactory) -> Read:
    def of(path: Path, **keys: Any) -> Reader:
        return Reader(path, tmp_path_factory.mktemp("cache"), **keys)

    return of


class TestMaildirs:
    def test_flags_keywords_and_folders(self, tmp_path: Path, reader: Read) -> None:
        root = maildir(tmp_path / "m", [mail(1), mail(2)], ["", "FRSa"])
        (root / "dovecot-keywords").write_text("0 $Work\n")
        maildir(root / ".Sent", [mail(3)], ["DPT"])
        maildir(root / ".Work.&ZeVnLIqe-.a\\2eb", [mail(4)])
        (root / "new" / "1700000009.M1.mx").write_bytes(mail(5))
        found = reader(root).read()
        assert list(found) == ["INBOX", "Sent", "Work/日本語/a.b"]
        assert [each.flags for each in found["INBOX"].values()] == [
            frozenset(), {"\\Flagged", "\\Answered", "\\Seen", "$Work"}, frozenset(),
        ]  # fmt: skip
        assert found["Sent"][1].flags == {"\\Draft", "\\Deleted", "$Forwarded"}
        assert [each.octets for each in found["INBOX"].values()] == [mail(1), mail(2), mail(5)]

    def test_nested_ones_and_those_of_offlineimap(self, tmp_path: Path, reader: Read) -> None:
        maildir(tmp_path / "INBOX", [mail(1)])
        maildir(tmp_path / "Work" / "2020", [mail(2)])
        there = maildir(tmp_path / "Lists.dovecot", [])
        (there / "cur" / "1700000000_0.1.mx,U=7,FMD5=7e33429f656f1e6e9d79b29c3f82c57e:2,S").write_bytes(mail(3))
        assert reader(tmp_path).octets() == {
            "INBOX": [mail(1)], "Lists/dovecot": [mail(3)], "Work/2020": [mail(2)],
        }  # fmt: skip

    def test_the_date_is_the_earlier_one(self, tmp_path: Path, reader: Read) -> None:
        root = maildir(tmp_path / "m", [mail(1), mail(2)])
        before, now = sorted((root / "cur").iterdir())
        os.utime(before, (1600000000, 1600000000))
        os.utime(now, (1800000000, 1800000000))
        assert [each.internaldate for each in reader(root).read()["INBOX"].values()] == [
            "13-Sep-2020 12:26:40 +0000", "14-Nov-2023 22:13:21 +0000",
        ]  # fmt: skip

    def test_a_renamed_file_keeps_its_uid(self, tmp_path: Path, reader: Read) -> None:
        root = maildir(tmp_path / "m", [mail(n) for n in range(6)])
        files = reader(root)
        before = files.read()["INBOX"]
        for number, path in enumerate(sorted((root / "cur").iterdir())):
            if number % 2:
                path.rename(root / "cur" / f"{1500000000 + number}.other:2,S")
        after = files.read()["INBOX"]
        assert {uid: each.octets for uid, each in after.items()} == {
            uid: each.octets for uid, each in before.items()
        }
        assert [sorted(each.flags) for each in after.values()] == [[], ["\\Seen"]] * 3

    def test_the_same_octets_twice_are_two_messages(self, tmp_path: Path, reader: Read) -> None:
        root = maildir(tmp_path / "m", [mail(1), mail(2), mail(1), mail(1)])
        files = reader(root)
        assert len(files.read()["INBOX"]) == 4
        sorted((root / "cur").iterdir())[0].unlink()
        assert sorted(files.octets()["INBOX"]) == sorted([mail(1), mail(2), mail(1)])
        assert sorted(files.read()["INBOX"]) == [1, 2, 3]

    def test_one_that_changes_all_the_time_is_read_whole(self, tmp_path: Path, reader: Read) -> None:
        root = maildir(tmp_path / "m", [mail(n) for n in range(300)])
        stopped = threading.Event()

        def rename() -> None:
            while not stopped.is_set():
                for path in list((root / "cur").iterdir())[:50]:
                    base, _, letters = path.name.partition(":2,")
                    path.rename(path.with_name(f"{base}:2,{'' if letters else 'S'}"))

        thread = threading.Thread(target=rename)
        thread.start()
        try:
            files = reader(root)
            found = [files.octets()["INBOX"] for _ in range(3)]
        finally:
            stopped.set()
            thread.join()
        assert [sorted(each) for each in found] == [sorted(mail(n) for n in range(300))] * 3


class TestMboxes:
    def test_folders_are_files(self, tmp_path: Path, reader: Read) -> None:
        (tmp_path / "inbox").write_bytes(mboxrd([mail(1)]))
        (tmp_path / "Archive").mkdir()
        (tmp_path / "Archive" / "2020.mbox").write_bytes(mboxrd([mail(2), mail(3)]))
        (tmp_path / "notes.txt").write_bytes(mboxrd([mail(4)]))
        assert reader(tmp_path).octets() == {"Archive/2020": [mail(2), mail(3)], "INBOX": [mail(1)]}

    def test_flags_that_change_in_place_make_no_new_message(self, tmp_path: Path, reader: Read) -> None:
        path = tmp_path / "alice"
        path.write_bytes(mboxrd([b"Status: O\nA: 1\n\nx\n", b"A: 2\n\ny\n"]))
        files = reader(path)
        before = files.read()["INBOX"]
        path.write_bytes(mboxrd([b"Status: RO\nX-Status: F\nA: 1\n\nx\n", b"A: 2\nStatus: R\n\ny\n"]))
        after = files.read()["INBOX"]
        assert [sorted(each.flags) for each in before.values()] == [[], []]
        assert [sorted(each.flags) for each in after.values()] == [["\\Flagged", "\\Seen"], ["\\Seen"]]
        assert list(before) == list(after) == [1, 2]

    def test_what_is_appended_is_new_and_the_others_stay(self, tmp_path: Path, reader: Read) -> None:
        path = tmp_path / "alice"
        path.write_bytes(mboxrd([mail(1), mail(2)]))
        files = reader(path)
        assert list(files.read()["INBOX"]) == [1, 2]
        path.write_bytes(mboxrd([mail(2), mail(3)]))
        assert {uid: each.octets for uid, each in files.read()["INBOX"].items()} == {2: mail(2), 3: mail(3)}

    def test_one_that_changes_while_it_is_fetched_is_opened_again(self, tmp_path: Path, reader: Read) -> None:
        path = tmp_path / "alice"
        path.write_bytes(mboxrd([mail(n) for n in range(5)]))
        with closing(reader(path).source()) as source:
            (listed,) = source.list_folders()
            source.open(listed.folder)
            path.write_bytes(mboxrd([mail(n) for n in range(1, 5)]))
            with pytest.raises(ServerUnavailable, match="changed while it was read"):
                list(source.fetch([1, 2, 3, 4, 5]))
            source.open(listed.folder)
            assert [each.attributes.uid for each in source.fetch([2, 3, 4, 5]) if isinstance(each, Fetched)] == [
                2, 3, 4, 5,
            ]  # fmt: skip

    @pytest.mark.parametrize("octets", [b"Subject: x\n\nno mbox\n", b"\0" * 100])
    def test_one_that_is_none_is_refused(self, tmp_path: Path, reader: Read, octets: bytes) -> None:
        (tmp_path / "alice").write_bytes(octets)
        with pytest.raises(ConfigError, match="is no mbox"):
            reader(tmp_path / "alice", format="mbox").read()

    def test_the_last_message_of_one_that_grows_waits(
        self, tmp_path: Path, reader: Read, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "alice"
        path.write_bytes(mboxrd([mail(1), mail(2)]) + mboxrd([mail(3)])[:150])

        def arriving(octets: bytes) -> frozenset[str]:
            with path.open("ab") as file:
                file.write(mboxrd([mail(3)])[150:])
            monkeypatch.undo()
            return frozenset()

        monkeypatch.setattr("archiver.source.files.mbox.flags_of", arriving)
        files = reader(path)
        assert files.octets() == {"INBOX": [mail(1), mail(2), mail(3)]}
        assert list(files.read()["INBOX"]) == [1, 2, 3]

    def test_nothing_is_known_of_what_was_in_a_file_that_cannot_be_read(
        self, tmp_path: Path, reader: Read, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        single_files(tmp_path, [mail(1), mail(2)])
        (tmp_path / "00001.eml").chmod(0)

        def refused(file: FoundFile, find: object) -> Iterator[FoundMessage]:
            if file.base == "00001.eml":
                raise PermissionError(13, "Permission denied", file.path)
            return messages_in(file)

        monkeypatch.setattr("archiver.source.files.index.messages_in", refused)
        with closing(reader(tmp_path).source()) as source:
            (listed,) = source.list_folders()
            source.open(listed.folder)
            with pytest.raises(
                CountsDisagree, match=r"1 file cannot be read, such as .*00001.eml: permission denied"
            ):
                source.uids()

    def test_those_that_the_library_writes(self, tmp_path: Path, reader: Read) -> None:
        with closing(mailbox.mbox(tmp_path / "box")) as box:
            for number in range(3):
                message = mailbox.mboxMessage(mail(number).replace(b"\r\n", b"\n"))
                message.set_flags("RF")
                box.add(message)
        found = reader(tmp_path / "box").read()["INBOX"]
        assert [sorted(each.flags) for each in found.values()] == [["\\Flagged", "\\Seen"]] * 3


class TestOtherForms:
    def test_a_thunderbird_profile(self, tmp_path: Path, reader: Read) -> None:
        local = tmp_path / "Mail" / "Local Folders"
        (local / "Inbox.sbd" / "Work.sbd").mkdir(parents=True)
        (local / "Inbox").write_bytes(mboxrd([b"X-Mozilla-Status: 0001\n" + mail(1)]))
        (local / "Inbox.msf").write_bytes(b'// <!-- <mdb:mork:z v="1.4"/> -->\n')
        (local / "Inbox.sbd" / "Work").write_bytes(mboxrd([mail(2)]))
        (local / "Inbox.sbd" / "Work.sbd" / "Old").write_bytes(b"From \n" + mail(3) + b"\n")
        (local / "Sent").write_bytes(b"")
        (local / "Sent.msf").write_bytes(b"")
        (local / "msgFilterRules.dat").write_bytes(b"version=9\n")
        found = reader(local).read()
        assert {name: len(folder) for name, folder in found.items()} == {
            "INBOX": 1, "INBOX/Work": 1, "INBOX/Work/Old": 1, "Sent": 0,
        }  # fmt: skip
        assert found["INBOX"][1].flags == {"\\Seen"}

    def test_a_takeout_by_labels(self, tmp_path: Path, reader: Read) -> None:
        labels = ["Inbox,Opened,Work/2020", "Sent", "Archived,Unread", "Spam,Starred", "=?UTF-8?Q?Entw=C3=BCrfe?="]
        octets = [b"X-Gmail-Labels: %b\r\n" % each.encode() + mail(n) for n, each in enumerate(labels)]
        (tmp_path / "All mail.mbox").write_bytes(mboxrd(octets))
        found = reader(tmp_path).read()
        assert {name: [each.octets for each in folder.values()] for name, folder in found.items()} == {
            "Archive": [octets[2]], "Entwürfe": [octets[4]], "INBOX": [octets[0]], "Sent": [octets[1]],
            "Spam": [octets[3]], "Work/2020": [octets[0]],
        }  # fmt: skip
        assert found["INBOX"][1].flags == {"\\Seen"}
        assert found["Archive"][1].flags == frozenset()
        assert found["Spam"][1].flags == {"\\Seen", "\\Flagged"}

    def test_a_takeout_with_labels_as_keywords(self, tmp_path: Path, reader: Read) -> None:
        (tmp_path / "All mail.mbox").write_bytes(mboxrd([b"X-Gmail-Labels: Inbox,My Work,Opened\r\n" + mail(1)]))
        found = reader(tmp_path, labels="keywords").read()
        assert list(found) == ["All mail"]
        assert found["All mail"][1].flags == {"\\Seen", "Inbox", "My_Work"}

    def test_imap_backup(self, tmp_path: Path, reader: Read) -> None:
        stored = [b"From: a@b.c\n\n>From here\n>Fromage\n\n", b"From: d@e.f\n\nx\n\n"]
        lines = [
            b"From a@b.c Wed Jan 10 08:05:00 2024\n" + each.replace(b"\nFrom: ", b"\n>From: ") for each in stored
        ]
        rows = [{"uid": 7, "offset": 0, "length": len(lines[0]), "flags": ["Seen", "$Work"]}]
        rows.append({"uid": 9, "offset": len(lines[0]), "length": len(lines[1]), "flags": []})
        (tmp_path / "Work").mkdir()
        (tmp_path / "Work" / "2020.mbox").write_bytes(b"".join(lines))
        record = {"version": 3, "uid_validity": 1, "messages": rows}
        (tmp_path / "Work" / "2020.imap").write_text(json.dumps(record))
        found = reader(tmp_path).read()["Work/2020"]
        assert [each.octets for each in found.values()] == [
            b"From: a@b.c\r\n\r\nFrom here\r\nFromage\r\n", b"From: d@e.f\r\n\r\nx\r\n",
        ]  # fmt: skip
        assert [each.flags for each in found.values()] == [{"\\Seen", "$Work"}, frozenset()]

    @pytest.mark.parametrize(("pack", "name"), [(zipped, "mail.zip"), (tarred, "mail.tar.gz")])
    def test_packed_files(self, tmp_path: Path, reader: Read, pack: Any, name: str) -> None:
        large = mail(3, body="x" * 3_000_000)
        files = {"a.eml": mail(1), "Work/b.eml": mail(2), "../../etc/c.eml": large, "readme.txt": b"x"}
        pack(tmp_path / name, files)
        assert reader(tmp_path / name).octets() == {"INBOX": [mail(1)], "Work": [mail(2)], "etc": [large]}

    def test_a_damaged_packed_file_is_refused(self, tmp_path: Path, reader: Read) -> None:
        path = zipped(tmp_path / "mail.zip", {"a.eml": mail(1) * 1000})
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ConfigError, match="cannot be unpacked"):
            reader(path).read()

    def test_single_files(self, tmp_path: Path, reader: Read) -> None:
        single_files(tmp_path, [mail(1), b"", mail(2, body="y" * 2_000_000)])
        single_files(tmp_path / "Work" / "a", [mail(3).replace(b"\r\n", b"\n")])
        (tmp_path / "notes.txt").write_bytes(b"x")
        assert reader(tmp_path).octets() == {
            "INBOX": [mail(1), b"", mail(2, body="y" * 2_000_000)], "Work/a": [mail(3)],
        }  # fmt: skip

    def test_any_file_if_that_is_asked_for(self, tmp_path: Path, reader: Read) -> None:
        (tmp_path / "1").write_bytes(mail(1))
        (tmp_path / "2.txt").write_bytes(mail(2))
        assert reader(tmp_path, format="eml").octets() == {"INBOX": [mail(1), mail(2)]}


class TestOddTrees:
    def test_links_are_not_followed(self, tmp_path: Path, reader: Read) -> None:
        root = maildir(tmp_path / "m", [mail(1)])
        secret = tmp_path / "secret"
        secret.write_bytes(mail(2))
        (root / "cur" / "1700000005.x:2,").symlink_to(secret)
        maildir(tmp_path / "other", [mail(3)])
        (root / ".Other").symlink_to(tmp_path / "other")
        (root / ".Loop").symlink_to(root)
        found = reader(root).read()
        assert list(found) == ["INBOX"]
        assert [each.octets for each in found["INBOX"].values() if each.problem is None] == [mail(1)]
        problems = [each.problem for each in found["INBOX"].values() if each.problem is not None]
        assert len(problems) == 3
        assert all("is a symbolic link, which is not followed" in each for each in problems)

    def test_pipes_do_not_hang(self, tmp_path: Path, reader: Read) -> None:
        root = maildir(tmp_path / "m", [mail(1)])
        os.mkfifo(root / "cur" / "1700000005.x:2,")
        os.mkfifo(tmp_path / "pipe.eml")
        os.mkfifo(tmp_path / "Sent")
        assert reader(tmp_path).octets() == {"m": [mail(1)]}

    def test_any_name_can_be_one(self, tmp_path: Path, reader: Read) -> None:
        names = [b"a\nb", b"\xff\xfe", b"caf\xc3\xa9", b"..a", b"x" * 200, b"&", b"%2f", b"a\\b"]
        for number, name in enumerate(names):
            maildir(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)), [mail(number)])
        found = reader(tmp_path).octets()
        assert sorted(octets for folder in found.values() for octets in folder) == sorted(
            map(mail, range(len(names)))
        )

    def test_a_file_that_cannot_be_read_is_told_and_read_later(self, tmp_path: Path, reader: Read) -> None:
        single_files(tmp_path, [mail(1), mail(2)])
        (tmp_path / "00001.eml").unlink()
        (tmp_path / "00001.eml").symlink_to("nowhere")
        files = reader(tmp_path)
        found = files.read()["INBOX"]
        assert [bool(each.problem) for each in found.values()] == [False, True]
        (tmp_path / "00001.eml").unlink()
        (tmp_path / "00001.eml").write_bytes(mail(2))
        assert {uid: each.octets for uid, each in files.read()["INBOX"].items()} == {1: mail(1), 3: mail(2)}

    @pytest.mark.parametrize("name", ["", "nothing"])
    def test_nothing_is_an_error(self, tmp_path: Path, reader: Read, name: str) -> None:
        with pytest.raises(ConfigError, match="mount the disk"):
            reader(tmp_path / name).read()

    def test_nothing_is_written_there(self, tmp_path: Path, reader: Read) -> None:
        root = maildir(tmp_path / "m", [mail(1)])
        (tmp_path / "m" / "box").write_bytes(mboxrd([mail(2)]))

        def state() -> list[tuple[str, os.stat_result]]:
            return [(str(path), path.stat()[:8]) for path in sorted(tmp_path.rglob("*"))]  # type: ignore[misc]

        before = state()
        reader(root).read()
        assert state() == before


class TestTheCache:
    def test_saves_reading_what_did_not_change(
        self, tmp_path: Path, reader: Read, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = maildir(tmp_path / "m", [mail(n) for n in range(4)])
        files = reader(root)
        with closing(files.source()) as source:
            source.list_folders()
        read: list[str] = []
        monkeypatch.setattr(
            "archiver.source.files.index.messages_in", lambda file, _: read.append(file.base) or iter(())
        )
        (root / "cur" / "1700000009.new:2,").write_bytes(mail(9))
        with closing(files.source()) as source:
            source.list_folders()
        assert read == ["1700000009.new"]

    @pytest.mark.parametrize("octets", [b"", b"not a database, but something else entirely" * 100])
    def test_is_made_again_if_it_is_damaged(self, tmp_path: Path, reader: Read, octets: bytes) -> None:
        root = maildir(tmp_path / "m", [mail(n) for n in range(4)])
        files = reader(root)
        before = files.read()
        (files._cache / "files.sqlite").write_bytes(octets)
        assert files.read() == before
