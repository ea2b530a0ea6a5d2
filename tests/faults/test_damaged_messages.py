"""Messages at which a server hangs up: they cost only themselves, however many they are and wherever they stand."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.accounts import RunResult, account_file, archive_of, assert_whole, mails, run
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import DROP, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.wire import Append

Start = Callable[..., ScriptedServer]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archiver.source.retry._LONGEST_PAUSE_AT_A_MESSAGE", 0.0)


def folder(count: int, bad: Iterable[int] = ()) -> ScriptedFolder:
    made = ScriptedFolder(7)
    made.add(*(ScriptedMessage(b"Subject: %d\r\n\r\nbody\r\n" % number) for number in range(1, count + 1)))
    damage(made, bad)
    return made


def damage(folder: ScriptedFolder, uids: Iterable[int]) -> None:
    for uid in uids:
        folder.messages[uid].fetch = "short-literal"


def books(result: RunResult) -> dict[str, tuple[int, int, int]]:
    return {
        each["name"]: (each["on_server"], each["stored"], each["quarantined"]) for each in result.report["folders"]
    }


def bodies(server: ScriptedServer) -> list[bytes]:
    """What was asked of messages' octets, without the items."""
    asked = (re.match(rb"UID FETCH (\S+) .*BODY\.PEEK\[\]\)", each) for each in server.commands)
    return [found[1] for found in asked if found]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_neighbours_with_a_wrong_size_on_dovecot(
    dovecot: Dovecot, mail_user: str, tmp_path: Path, attempts: int
) -> None:
    """Dovecot believes the `S=` of a file's name and hangs up in the middle of the message."""
    dovecot.append_many(mail_user, "INBOX", mails(range(1, 41)))
    dovecot.create(mail_user, "Archive")
    dovecot.append_many(mail_user, "Archive", mails(range(41, 46)))
    dovecot.wait_idle(mail_user)
    maildir = dovecot.home(mail_user) / "Maildir"
    for index in maildir.glob("dovecot.index*"):
        index.unlink()
    for file in sorted(maildir.glob("new/*"))[6:10]:
        file.rename(file.with_name(re.sub(r"S=\d+", "S=10", file.name)))
    config = account_file(tmp_path, dovecot, mail_user, source__attempts=attempts)

    first = run(config, expect=3)
    assert books(first) == {"INBOX": (40, 36, 4), "Archive": (5, 5, 0)}
    assert first.balanced
    dovecot.append_many(mail_user, "INBOX", [Append(b"Subject: new\r\n\r\nnew\r\n")])
    second = run(config, expect=3)
    assert (books(second)["INBOX"], second.total("fetched")) == ((41, 37, 4), (1,))
    assert len(assert_whole(archive_of(config)).uids()) == 37


def test_a_damaged_stretch_is_left_behind_step_by_step(scripted: Start, tmp_path: Path) -> None:
    """What is sound is stored in the first run, the other folders too, and the connections are bounded."""
    server = scripted({b"INBOX": folder(600, range(101, 401)), b"Other": folder(20)})
    config = account_file(tmp_path, server, "u1", source__attempts=2)
    first = run(config, expect=3)
    assert books(first)["Other"] == (20, 20, 0)
    stored = books(first)["INBOX"][1]
    assert stored >= 295
    assert server.connections < 150
    (of_folder,) = (each for each in first.report["failures"] if each["uid"] is None)
    assert "more are left for the next run" in of_folder["reason"]

    before, known = server.connections, books(first)["INBOX"][2]
    server.folders[b"INBOX"].add(ScriptedMessage(b"Subject: new\r\n\r\n"))
    second = run(config, expect=3)
    assert books(second)["INBOX"][0] == 601
    assert 301 >= books(second)["INBOX"][1] > stored
    assert books(second)["INBOX"][2] > known > 30
    assert server.connections - before < 150

    before, known = server.connections, books(second)["INBOX"][2]
    third = run(config, expect=3)
    assert books(third)["INBOX"][2] > known
    assert server.connections - before < 150


def test_what_broke_in_an_earlier_run_is_asked_for_last_and_alone(scripted: Start, tmp_path: Path) -> None:
    server = scripted({b"INBOX": folder(10, [2, 3]), b"Other": folder(5)})
    config = account_file(tmp_path, server, "u1", source__connections=1)
    run(config, expect=3)
    server.folders[b"INBOX"].add(ScriptedMessage(b"Subject: new\r\n\r\n"))
    server.folders[b"Other"].add(ScriptedMessage(b"Subject: new\r\n\r\n"))
    damage(server.folders[b"INBOX"], [])
    server.folders[b"INBOX"].messages[3].fetch = ""
    before = len(bodies(server))
    again = run(config, expect=3)
    assert bodies(server)[before:] == [b"11", b"6", b"2", b"2", b"3"]
    assert books(again) == {"INBOX": (11, 10, 1), "Other": (6, 6, 0)}


def test_a_server_at_which_nothing_works_is_given_up_and_no_message_is_blamed(
    scripted: Start, tmp_path: Path
) -> None:
    """It hangs up at every FETCH of a message, in whatever folder."""
    server = scripted({name: folder(30) for name in (b"INBOX", b"A", b"B", b"C", b"D")})
    config = account_file(tmp_path, server, "u1", source__attempts=2)
    server.on(b"UID FETCH", lambda line, *_: DROP if b"BODY" in line else None)
    reported = run(config, expect=5)
    assert books(reported) == dict.fromkeys(("INBOX", "A", "B", "C", "D"), (30, 0, 0))
    assert all(each["error"] for each in reported.report["folders"])
    assert server.connections < 40


def test_folders_that_were_not_reached_stand_in_the_report_as_they_are(scripted: Start, tmp_path: Path) -> None:
    server = scripted({b"INBOX": folder(3), b"Known": folder(2), b"New": folder(4)})
    config = account_file(tmp_path, server, "u1", folders__exclude=["New"])
    run(config)
    server.folders[b"Known"].add(ScriptedMessage(b"Subject: new\r\n\r\n"))
    server.on(b"EXAMINE", DROP)
    reported = run(account_file(tmp_path, server, "u1"), expect=5)
    rows = {each["name"]: (each["on_server"], each["stored"]) for each in reported.report["folders"]}
    assert rows == {"INBOX": (3, 3), "Known": (3, 2), "New": (4, 0)}
    errors = {each["name"]: each["error"] for each in reported.report["folders"]}
    assert errors["INBOX"] is None
    assert "the server closed the connection" in errors["Known"]
    assert errors["New"].startswith("not reached: ")


@pytest.mark.parametrize("count", [1, 3, 50])
def test_an_outage_of_all_messages_blames_none_and_new_mail_comes_afterwards(
    scripted: Start, tmp_path: Path, count: int
) -> None:
    server = scripted({b"INBOX": folder(10), b"Other": folder(5)})
    config = account_file(tmp_path, server, "u1", source__attempts=2)
    run(config)
    server.folders[b"INBOX"].add(*(ScriptedMessage(b"Subject: new %d\r\n\r\n" % each) for each in range(count)))
    server.on(b"UID FETCH", lambda line, *_: DROP if b"BODY" in line else None)
    before = server.connections
    for _ in range(2):
        assert run(config, expect=5).total("stored", "quarantined") == (15, 0)
    assert server.connections - before <= 20
    server.forget()
    assert run(config).total("stored", "quarantined") == (15 + count, 0)
    assert_whole(archive_of(config))


def test_a_message_that_broke_and_that_a_crashed_run_stored_is_not_stored_twice(
    scripted: Start, tmp_path: Path
) -> None:
    """The crash came after its octets and before the record of them; its flags change before the next run."""
    server = scripted({b"INBOX": folder(4, [2])})
    config = account_file(tmp_path, server, "u1", source__connections=1)
    run(config, expect=3)
    archive = archive_of(config)
    shutil.copytree(archive / "journal", tmp_path / "journal")
    shutil.copy(archive / "catalog.sqlite", tmp_path / "catalog")
    server.folders[b"INBOX"].messages[2].fetch = ""
    run(config)
    shutil.rmtree(archive / "journal")
    shutil.copytree(tmp_path / "journal", archive / "journal")
    for file in archive.glob("catalog.sqlite*"):
        file.unlink()
    shutil.copy(tmp_path / "catalog", archive / "catalog.sqlite")
    (archive / "unsettled").touch()
    server.folders[b"INBOX"].messages[2].flags = ("\\Seen",)
    before = bodies(server)
    assert run(config).total("stored", "quarantined") == (4, 0)
    assert bodies(server) == before
    assert len(list(archive.glob("Maildir/cur/*"))) == 4
    assert_whole(archive)
