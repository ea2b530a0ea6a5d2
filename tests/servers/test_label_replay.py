"""`[replay] labels`: Gmail's mail replayed with its labels, or All Mail alone, each message once."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import archive_of, command, run
from tests.faults.replays import migration
from tests.servers.dovecot import Dovecot
from tests.servers.gmail import ALL_MAIL, GMAIL, SPAM, TRASH, Gmail, GmailServer, message
from tests.servers.scripted import DESTINATION, ScriptedServer, Session
from tests.servers.test_same_mail import Downloads

Scripted = Callable[..., ScriptedServer]

ODD = ['say "hi"', "Père/Noël & π", "(brackets) {5}"]


@pytest.fixture
def there() -> Iterator[GmailServer]:
    with GmailServer() as server:
        yield server


def account(count: int = 6) -> Gmail:
    """Mail with labels, without any, and in Spam and Trash."""
    gmail = Gmail(
        [
            message(1, "\\Inbox", "\\Important", "Work", flags=("\\Seen",)),
            message(2, "\\Sent", "Work", "Work/Clients", flags=("\\Seen", "\\Answered")),
            message(3),
            message(4, "\\Starred", *ODD, flags=("\\Flagged",)),
            *(message(number, "\\Inbox", "Lists") for number in range(5, count + 1)),
        ]
    )
    gmail.folders[SPAM].add(message(90))
    gmail.folders[TRASH].add(message(91, "Work"))
    return gmail


def labels_of(gmail: Gmail) -> dict[bytes, frozenset[str]]:
    return {each.octets: each.labels for each in gmail.all.messages.values()}


def flags_of(server: ScriptedServer, folder: bytes) -> dict[bytes, set[str]]:
    return {each.octets: set(each.flags) for each in server.folders[folder].messages.values()}


def moved(tmp_path: Path, source: ScriptedServer, there: Any, labels: str = "labels", **keys: Any) -> Path:
    return migration(tmp_path, source, "u1", there, "u1", replay__labels=labels, **keys)


def test_each_message_goes_once_and_gets_its_labels(scripted: Scripted, there: GmailServer, tmp_path: Path) -> None:
    gmail = account()
    config = moved(tmp_path, scripted(gmail.folders, capabilities=GMAIL), there)

    result = run(config)

    assert result.report["status"] == "complete"
    assert there.labelled() == labels_of(gmail)
    assert flags_of(there, ALL_MAIL) == flags_of(ScriptedServer(gmail.folders), ALL_MAIL)
    assert len(there.appended) == 8
    assert there.labelled(SPAM) == {message(90).octets: frozenset()}
    assert there.labelled(TRASH) == {message(91).octets: frozenset({"Work"})}
    assert {raw for raw, each in there.folders.items() if len(each.messages)} >= {b"INBOX", b"Work", b"Lists"}
    books = result.report["totals"]
    at = books["destination"]
    assert (at["replayed"], at["pending"], at["verified"]) == (8, 0, 8)
    assert books["stored"] == at["replayed"] + at["left_out"]
    assert command("verify", config).exit_code == 0
    assert command("status", config).exit_code == 0
    (checked,) = command("check", config, "--json").report["accounts"]
    assert checked["destination"]["not_ours"]["messages"] == 0
    assert {each["name"]: each["there"] for each in checked["destination"]["folders"]} == {
        raw.decode(): raw.decode() for raw in (ALL_MAIL, SPAM, TRASH)
    }
    assert "nothing to send" in command("check", config).output


def test_labels_that_change_are_followed_and_those_of_the_new_user_stay(
    scripted: Scripted, there: GmailServer, tmp_path: Path
) -> None:
    gmail = account()
    source = scripted(gmail.folders, capabilities=GMAIL)
    config = moved(tmp_path, source, there)
    run(config)
    mine = {each.octets: uid for uid, each in there.gmail.all.messages.items()}
    there.relabel(there.gmail.all, mine[message(3).octets], frozenset({"Mine"}))
    there.relabel(there.gmail.all, mine[message(1).octets], frozenset({"\\Inbox", "Work"}))  # not important

    gmail.relabel(1, "\\Important", "Work", "Done")
    gmail.relabel(3, "Theirs")
    source.folders.update(gmail.folders)
    result = run(config)

    assert there.labelled()[message(1).octets] == {"Work", "Done"}
    assert there.labelled()[message(3).octets] == {"Mine", "Theirs"}
    assert len(there.appended) == 8
    assert result.report["differences"] == []
    before = len(there.commands)
    assert run(config).total("flags_changed") == (0,)
    assert not [line for line in there.commands[before:] if line.startswith((b"UID STORE", b"APPEND"))]
    command("verify", config)
    command("rebuild", config)
    before = len(there.commands)
    run(config)
    assert not [line for line in there.commands[before:] if line.startswith((b"UID STORE", b"APPEND"))]
    assert len(there.appended) == 8


def test_a_label_that_the_destination_refuses_is_listed_and_costs_no_other(
    scripted: Scripted, there: GmailServer, tmp_path: Path
) -> None:
    gmail = account()
    config = moved(tmp_path, scripted(gmail.folders, capabilities=GMAIL), there)

    def refuse(line: bytes, tag: bytes, session: Session) -> bytes | None:
        return tag + b" NO [CANNOT] Invalid label\r\n" if b'"\\\\Sent"' in line or b"hi" in line else None

    there.on(b"UID STORE", refuse)
    result = run(config)

    expected = {octets: labels - {"\\Sent", ODD[0]} for octets, labels in labels_of(gmail).items()}
    assert there.labelled() == expected
    lost = {each["detail"]: each["count"] for each in result.report["losses"] if each["kind"] == "labels"}
    assert lost == {"\\Sent": 1, ODD[0]: 1}
    assert result.report["differences"] == []
    command("verify", config)


def test_a_label_that_has_to_exist_first_is_created(scripted: Scripted, there: GmailServer, tmp_path: Path) -> None:
    gmail = account()
    config = moved(tmp_path, scripted(gmail.folders, capabilities=GMAIL), there)

    def refuse(line: bytes, tag: bytes, session: Session) -> bytes | None:
        missing = b"Work/Clients" in line and b"Work/Clients" not in there.folders
        return tag + b" NO [NONEXISTENT] No such label\r\n" if missing else None

    there.on(b"UID STORE", refuse)
    run(config)
    assert there.labelled() == labels_of(gmail)


def test_verify_finds_a_label_that_was_not_replayed(scripted: Scripted, there: GmailServer, tmp_path: Path) -> None:
    gmail = account()
    source = scripted(gmail.folders, capabilities=GMAIL)
    config = moved(tmp_path, source, there)
    run(config)
    gmail.relabel(3, "Later")
    source.folders.update(gmail.folders)
    command("archive", config)

    found = command("verify", config, "--json", expect=4).report["accounts"][0]

    assert "Later" in str(found)
    command("replay", config)
    command("verify", config)


class TestAllMailAlone:
    @pytest.mark.parametrize("kind", ["another server", "Gmail"])
    def test_no_other_folder_is_replayed(
        self, scripted: Scripted, there: GmailServer, tmp_path: Path, kind: str
    ) -> None:
        gmail = account()
        server = there if kind == "Gmail" else scripted(capabilities=DESTINATION, writable=True)
        config = moved(tmp_path, scripted(gmail.folders, capabilities=GMAIL), server, "all-mail")

        result = run(config)

        assert {raw for raw, each in server.folders.items() if each.messages} == {ALL_MAIL}
        assert flags_of(server, ALL_MAIL) == flags_of(ScriptedServer(gmail.folders), ALL_MAIL)
        at = result.report["totals"]["destination"]
        assert (at["replayed"], at["pending"]) == (6, 0)
        assert [each["folder"] for each in result.report["notices"] if each["kind"] == "left-out"] == [
            "[Gmail]/Spam",
            "[Gmail]/Trash",
        ]
        assert not [line for line in server.commands if line.startswith(b"UID STORE") and b"X-GM" in line]
        command("verify", config)

    def test_on_a_dovecot(self, scripted: Scripted, dovecot: Dovecot, tmp_path: Path) -> None:
        gmail, user = account(), dovecot.fresh_user()
        config = migration(
            tmp_path, scripted(gmail.folders, capabilities=GMAIL), "u1", dovecot, user, replay__labels="all-mail"
        )
        run(config)
        command("verify", "--deep", config)

        (there,) = [raw for raw, each in dovecot.dump(user).items() if each.messages]
        served = dovecot.dump(user)
        assert there == ALL_MAIL
        assert {each.digest: each.flags - {"\\Recent"} for each in served[there].messages.values()} == {
            sha256(each.octets).hexdigest(): frozenset(each.flags) for each in gmail.all.messages.values()
        }
        run(config)
        assert dovecot.dump(user) == served

    def test_a_message_that_all_mail_lacks_is_missing(self, scripted: Scripted, tmp_path: Path) -> None:
        gmail = account()
        gmail.folders[b"Work"].add(message(80, "Work"))
        server = scripted(capabilities=DESTINATION, writable=True)
        config = moved(tmp_path, scripted(gmail.folders, capabilities=GMAIL), server, "all-mail")

        result = run(config, expect=3)

        (failure,) = result.report["failures"]
        assert (failure["folder"], failure["reason"].split(",")[0]) == ("Work", "1 message is not in All Mail")
        assert result.report["totals"]["destination"]["pending"] == 1
        command("verify", config, expect=4)
        command("status", config, expect=3)


class TestWrongCombinations:
    def test_labels_onto_another_server(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(capabilities=DESTINATION, writable=True)
        config = moved(tmp_path, scripted(account().folders, capabilities=GMAIL), server)

        for verb in ("run", "check"):
            said = command(verb, config, expect=2).output
            assert 'needs a destination of Gmail, and this one does not offer X-GM-EXT-1; write "folders"' in said
        assert server.appended == []

    @pytest.mark.parametrize("labels", ["labels", "all-mail"])
    def test_a_source_without_all_mail(
        self, scripted: Scripted, there: GmailServer, tmp_path: Path, labels: str
    ) -> None:
        gmail = account()
        gmail.all.attributes = ()
        config = moved(tmp_path, scripted(gmail.folders, capabilities=GMAIL), there, labels)

        for verb in ("run", "run", "check"):
            said = command(verb, config, expect=2).output
            assert f'labels = "{labels}" needs All Mail, and no folder that is archived has' in said
        assert there.appended == []

    def test_an_unknown_word(self, scripted: Scripted, there: GmailServer, tmp_path: Path) -> None:
        config = moved(tmp_path, scripted(account().folders, capabilities=GMAIL), there, "tags")
        assert "labels" in command("run", config, expect=2).output


def test_all_mail_goes_where_the_destination_shows_all_mail(
    scripted: Scripted, there: GmailServer, tmp_path: Path
) -> None:
    """Names are translated, attributes are not."""
    gmail = account()
    gmail.folders[b"[Gmail]/Alle Nachrichten"] = gmail.folders.pop(ALL_MAIL)
    config = moved(tmp_path, scripted(gmail.folders, capabilities=GMAIL), there)
    run(config)
    assert there.labelled() == labels_of(gmail)


def test_from_folders_to_labels(scripted: Scripted, there: GmailServer, tmp_path: Path) -> None:
    """Who changes the key later gets the labels on what is there; what the folders brought stays."""
    gmail = account()
    source = scripted(gmail.folders, capabilities=GMAIL)
    config = moved(tmp_path, source, there, "labels")
    run(config)
    file = config.read_text()
    config.write_text(file.replace('labels = "labels"', 'labels = "all-mail"'))
    gmail.relabel(3, "Later")
    source.folders.update(gmail.folders)
    run(config)
    assert there.labelled()[message(3).octets] == set()
    config.write_text(file)
    run(config)
    assert there.labelled() == labels_of(gmail)
    assert len(there.appended) == 8


LABELS = ["\\Inbox", "\\Sent", "\\Important", "\\Starred", *(f"Label {number}" for number in range(8))]


def test_five_thousand_messages_in_twelve_labels(
    scripted: Scripted, there: GmailServer, dovecot: Dovecot, tmp_path: Path
) -> None:
    """Each is fetched once; the labels come back at Gmail, their folders at a Dovecot."""
    chance, count = random.Random(12), 5000
    each = (message(number, *chance.sample(LABELS, chance.choice((0, 1, 1, 2)))) for number in range(count))
    gmail = Gmail(each, LABELS)
    source = scripted(gmail.folders, capabilities=GMAIL)
    asked = Downloads(source)
    config, user = moved(tmp_path / "labels", source, there), dovecot.fresh_user()
    run(config, steps="archive")
    again = migration(tmp_path / "folders", source, "u1", dovecot, user, folders__exclude=["*All Mail"])
    shutil.copytree(archive_of(config), archive_of(again))

    result = run(config)

    assert asked.bodies.total() == len(asked.bodies) == count
    assert there.labelled() == labels_of(gmail)
    assert len(there.appended) == count
    at = result.report["totals"]["destination"]
    assert (at["replayed"], at["verified"], at["pending"]) == (count, count, 0)
    assert result.report["totals"]["stored"] == at["replayed"] + at["left_out"]

    run(again)

    assert asked.bodies.total() == count
    folders = {raw: each for raw, each in gmail.folders.items() if each.messages and raw != ALL_MAIL}
    served = {raw: each for raw, each in dovecot.dump(user).items() if each.messages}
    assert {raw: sorted(m.digest for m in each.messages.values()) for raw, each in served.items()} == {
        raw: sorted(sha256(m.octets).hexdigest() for m in each.messages.values()) for raw, each in folders.items()
    }
