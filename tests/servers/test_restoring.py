"""Messages that are gone are given back to a mailbox by `archiver restore`: to the source, the destination, another
account; byte for byte, with dates and flags, each once."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest

from archiver.mail.dates import internaldate_seconds
from pipelines.cli import restore
from pipelines.cli.main import invoke
from tests.accounts import account_file, archive_of, mail, run
from tests.buckets import bucket_account, forget_locally
from tests.faults.replays import Message, destination, mailbox_of
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import DESTINATION, Appending, ScriptedFolder, ScriptedMessage, ScriptedServer, Session
from tests.servers.scripted_mail import uids_in
from tests.servers.wire import Append

TODAY = "2026-11-28"
INTO = f"Restored/{TODAY}".encode()
FLAGS = ("\\Seen", "$Forwarded")


def appended(numbers: Iterable[int], *flags: str) -> list[Append]:
    return [Append(mail(n), flags or FLAGS, date_of(n)) for n in numbers]


def date_of(number: int) -> str:
    return f"{number % 28 + 1:02}-Mar-2021 10:00:00 +0200"


def message(number: int, *flags: str) -> Message:
    """A message as a server shows it."""
    digest = hashlib.sha256(mail(number)).hexdigest()
    return digest, frozenset(flags or FLAGS), internaldate_seconds(date_of(number))


class Noon(datetime):
    """Midnight passes in no test."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 11, 28, 12, tzinfo=tz)


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "datetime", Noon)


class Person:
    """A user of a server whose mail is archived; what they lost is restored by the command line."""

    def __init__(self, server: MailServer, capsys: pytest.CaptureFixture[str], config: Path, user: str) -> None:
        self.server, self.config, self.user, self._capsys = server, config, user, capsys

    def archive(self) -> dict[str, Any]:
        result = run(self.config, steps="archive")
        assert result.balanced
        return dict(result.report)

    def told(self, verb: str, *arguments: str, expect: int = 0) -> str:
        """What a command says, on stdout and then on stderr."""
        self._capsys.readouterr()
        code = invoke([verb, str(self.config), *arguments])
        said = self._capsys.readouterr()
        assert code == expect, said
        return said.out + said.err

    def restore(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Its JSON document."""
        self._capsys.readouterr()
        code = invoke(["restore", str(self.config), "--json", *arguments])
        said = self._capsys.readouterr()
        assert code == expect, said
        return dict(json.loads(said.out))

    def states(self, *arguments: str, expect: int = 0) -> Counter[str]:
        return Counter(each["state"] for each in self.restore(*arguments, expect=expect)["messages"])

    def status(self, *, expect: int = 0) -> dict[str, Any]:
        self._capsys.readouterr()
        assert invoke(["status", str(self.config), "--json"]) == expect
        return dict(json.loads(self._capsys.readouterr().out)["accounts"][0])

    @property
    def place(self) -> bytes:
        """The folder to which the last one went."""
        return str(self.status()["restored"][0]["into"]).encode()

    @property
    def folders(self) -> dict[bytes, Counter[Message]]:
        """All folders that hold mail, with "/" between the levels of their names."""
        return {raw.replace(b".", b"/"): held for raw, held in mailbox_of(self.server, self.user).items()}


@pytest.fixture
def person(server: Dovecot, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Person:
    """With ten messages in INBOX and five in Work, archived."""
    person = Person(server, capsys, account_file(tmp_path, server, user), user)
    server.create(user, "Work")
    server.append_many(user, "INBOX", appended(range(10)))
    server.append_many(user, "Work", appended(range(20, 25)))
    person.archive()
    return person


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


class TestOneMessage:
    def test_is_back_by_two_commands(self, person: Person) -> None:
        """And only once, however often they are given. The next run stores it no second time."""
        person.server.expunge(person.user, "INBOX", [4])
        person.archive()

        assert "nothing found; 1 message matches among the mail that is gone from the source: --vanished" in (
            person.told("search", "--subject", "message 3")
        )
        hit = next(
            line for line in lines(person.told("search", "--vanished", "--subject", "message 3")) if "20" in line
        )
        reference = hit.split()[-1]
        assert reference == "INBOX/4"
        said = person.told("restore", reference)
        assert f"restore writes to {person.user} at" in said
        assert "the account's source: the only command that adds to it" in said
        assert person.folders[INTO] == Counter([message(3)])
        assert person.states(reference) == {"restored before": 1}
        assert person.told("show", reference)
        assert person.folders[INTO] == Counter([message(3)])
        before = stored_octets(person.config)
        report = person.archive()
        assert {each["name"] for each in report["folders"]} >= {"INBOX", INTO.decode()}
        assert stored_octets(person.config) == before
        assert person.states(reference) == {"restored before": 1}
        (place,) = person.status()["restored"]
        assert (place["into"], place["asked"], place["restored"], place["waiting"]) == (INTO.decode(), 1, 1, 0)

    def test_goes_back_to_its_folder(self, person: Person) -> None:
        """In place; there it is a new message, and the old one stays what it was: gone."""
        before = person.folders
        person.server.expunge(person.user, "Work", [2])
        person.archive()
        assert person.states("Work/2", "--in-place") == {"restored": 1}
        assert person.folders == before
        report = person.archive()
        (work,) = [each for each in report["folders"] if each["name"] == "Work"]
        assert (work["on_server"], work["stored"], work["fetched"], work["vanished"]) == (5, 5, 1, 0)
        assert person.states("Work/2", "--in-place") == {"restored before": 1}
        assert person.folders == before

    def test_of_a_folder_that_is_gone_gets_it_again(self, person: Person) -> None:
        before = person.folders
        person.server.delete(person.user, "Work")
        person.archive()
        assert person.states("--folder", "W*", "--in-place", "--yes") == {"restored": 5}
        assert person.folders == before

    def test_is_sent_without_what_would_remove_it(self, person: Person) -> None:
        """Its last flags have the mark of its deletion."""
        person.server.store_flags(person.user, "INBOX", [1], ["\\Deleted", "\\Flagged"])
        person.archive()
        person.server.expunge(person.user, "INBOX", [1])
        person.archive()
        person.restore("INBOX/1")
        assert person.folders[INTO] == Counter([message(0, *FLAGS, "\\Flagged")])

    def test_that_was_moved_or_is_there_is_left_alone(self, person: Person) -> None:
        person.server.append_many(person.user, "Work", appended([5]))
        person.server.expunge(person.user, "INBOX", [6])
        person.archive()
        (moved,) = person.restore("INBOX/6")["messages"]
        assert (moved["state"], moved["there"]) == ("still there", ["Work"])
        assert person.states("INBOX/1") == {"still there": 1}
        assert INTO not in person.folders
        assert person.states("INBOX/6", "--also-present", "--in-place") == {"restored": 1}
        assert person.states("INBOX/1", "--also-present", "--in-place") == {"still there": 1}
        assert person.folders[b"INBOX"] == Counter(message(n) for n in range(10))

    def test_that_was_imported_goes_to_the_mailbox(self, person: Person, tmp_path: Path) -> None:
        """It never was there; where it is known from there, it is."""
        files = tmp_path / "files"
        (files / "cur").mkdir(parents=True)
        (files / "new").mkdir()
        for number in (5, 40):
            (files / "cur" / f"{number}.x:2,S").write_bytes(mail(number))
        person.told("import", str(files))
        assert person.states("--folder", "Imported*", "--yes", "--into", "Old") == {"restored": 1}
        assert person.folders.keys() - {b"INBOX", b"Work"} == {b"Old/Imported/INBOX"}
        assert person.folders[b"Old/Imported/INBOX"].total() == 1

    def test_that_its_user_put_away_comes_back_only_if_asked_for(self, person: Person) -> None:
        person.server.expunge(person.user, "INBOX", [4])
        person.archive()
        person.restore("INBOX/4")
        person.server.expunge(person.user, INTO.replace(b"/", delimiter_of(person)), [1])
        assert person.states("INBOX/4") == {"restored before": 1}  # as far as known
        assert person.states("INBOX/4", "--again") == {"restored": 1}
        assert person.folders[INTO] == Counter([message(3)])
        assert person.states("INBOX/4", "--again") == {"restored before": 1}
        person.server.delete(person.user, INTO.replace(b"/", delimiter_of(person)))
        assert person.states("INBOX/4", "--again") == {"restored": 1}
        assert person.folders[INTO] == Counter([message(3)])


class TestSeveralMessages:
    def test_are_listed_until_it_is_confirmed(self, person: Person) -> None:
        """Those of a folder, and of a search that is piped to it."""
        before = person.folders
        person.server.expunge(person.user, "INBOX", range(1, 6))
        person.server.expunge(person.user, "Work", range(1, 3))
        person.archive()
        gone = person.folders
        said = person.told("restore", "--folder", "*")
        assert "dry run: 7 messages" in said
        assert "--yes restores them" in said
        assert f"would go to {INTO.decode()}/Work" in said
        assert person.folders == gone
        assert person.states("--folder", "*", "--before", "2021-03-02T12:00") == {"to restore": 2}
        assert person.states("--folder", "*", "--yes", "--dry-run") == {"to restore": 7}
        assert person.states("--folder", "*", "--yes") == {"restored": 7}
        assert person.folders == gone | {
            INTO: before[b"INBOX"] - gone[b"INBOX"],
            INTO + b"/Work": before[b"Work"] - gone[b"Work"],
        }
        assert person.states("--folder", "*", "--yes") == {"restored before": 7}

    def test_are_named_by_a_search(self, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        """`search --json | restore --refs -`, and references one a line."""
        person.server.expunge(person.user, "INBOX", [2, 3])
        person.archive()
        person.told("search", "--vanished", "--subject", "message 1")
        document = person.told("search", "--vanished", "--unflagged", "Flagged", "--folder", "INBOX", "--json")
        monkeypatch.setattr(sys, "stdin", io.StringIO(document))
        assert person.states("--refs", "-", "--yes") == {"still there": 8, "restored": 2}
        listed = person.config.with_name("references")
        listed.write_text("# what Alice misses\n\nINBOX/2\nINBOX/3\n")
        assert person.states("--refs", str(listed), "--yes", "--in-place") == {"restored before": 2}
        listed.write_text("{}")
        assert "is neither what" in person.told("restore", "--refs", str(listed), expect=2)

    def test_come_as_they_were_at_a_moment(self, person: Person, day: Callable[[int], str]) -> None:
        """With the flags of that time; what came later is not among them, what is there neither."""
        end = day(300)
        person.server.append_many(person.user, "INBOX", appended([30]))
        person.archive()
        day(301)
        person.server.store_flags(person.user, "INBOX", [1, 11], ["\\Answered"])
        person.server.append_many(person.user, "INBOX", appended([31]))
        person.archive()
        day(302)
        person.server.expunge(person.user, "INBOX", [1, 11, 12])
        person.archive()
        assert person.states("--folder", "INBOX", "--as-of", end, "--yes") == {"restored": 2}
        assert person.folders[person.place] == Counter([message(0), message(30)])
        assert "was in no folder at" in person.told("restore", "INBOX/12", "--as-of", end, expect=2)


class TestTheDestination:
    """A person has moved; what they deleted at the new server is brought back there."""

    @pytest.fixture
    def moved(self, person: Person, tmp_path: Path) -> Person:
        self.new_user = person.server.fresh_user()
        keys = destination(tmp_path, person.server, self.new_user)
        account_file(tmp_path, person.server, person.user, **keys, replay__vanished="expunge")
        run(person.config)
        return person

    def there(self, person: Person) -> dict[bytes, Counter[Message]]:
        return {raw.replace(b".", b"/"): held for raw, held in mailbox_of(person.server, self.new_user).items()}

    def test_gets_back_what_its_user_deleted(self, moved: Person) -> None:
        whole = self.there(moved)
        moved.server.expunge(moved.server and self.new_user, "INBOX", [3])
        run(moved.config)
        to = ("--to", "destination", "--in-place")
        assert moved.states("INBOX/3", *to) == {"restored": 1}
        assert moved.states("INBOX/4", *to) == {"restored before": 1}
        assert self.there(moved) == whole
        for _ in range(2):
            assert run(moved.config).report["totals"]["destination"]["removed"] == 0
            assert self.there(moved) == whole

    @pytest.mark.parametrize("server", ["all extensions"], indirect=True)  # the other one cannot expunge
    def test_keeps_what_a_policy_would_delete(self, moved: Person) -> None:
        """Its message is gone from the source, and copies of such messages are expunged."""
        whole = self.there(moved)
        moved.server.expunge(moved.user, "INBOX", [3])
        for _ in range(2):
            run(moved.config, confirm_deletions=True)
        assert self.there(moved) != whole
        for place in (("--in-place",), ("--into", "Back")):
            moved.states("INBOX/3", "--to", "destination", "--also-present", *place)
        expected = whole | {b"Back": Counter([message(2)])}
        assert self.there(moved) == expected
        for _ in range(3):
            run(moved.config, confirm_deletions=True)
            assert self.there(moved) == expected

    def test_of_another_account(self, person: Person, tmp_path: Path) -> None:
        bob = person.server.fresh_user()
        other = account_file(tmp_path / "other", person.server, bob)
        said = person.told("restore", "INBOX/1", "--also-present", "--to", str(other), "--into", "From Alice/old")
        assert f"restore writes to {bob} at" in said
        held = {raw.replace(b".", b"/"): mail for raw, mail in mailbox_of(person.server, bob).items()}
        assert held == {b"From Alice/old": Counter([message(0)])}
        assert b"From Alice/old" not in person.folders


def refuses(config: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command line ends."""
    capsys.readouterr()
    assert invoke(["restore", str(config), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


class TestOneLine:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((), "which messages? Give REF"),
            (("INBOX/1", "--folder", "x"), "cannot be combined with options that choose"),
            (("INBOX/1", "--into", "a", "--in-place"), "contradict each other"),
            (("INBOX/1", "--vanished", "--also-present"), "contradict each other"),
            (("INBOX/1", "--into", "a//b"), '"a//b" is not the name of a folder'),
            (("INBOX/1", "--into", "a/../b"), '"a/../b" is not the name of a folder'),
            (("INBOX/1", "--to", "nowhere"), "neither source nor destination nor an account file"),
            (("INBOX/1", "--to", "destination"), "has no [destination]"),
            (("INBOX/99",), "INBOX/99: no such message in the archive"),
            (("--folder", "Nothing"), "matches no folder of the archive"),
            (("INBOX/1", "--refs", "/nowhere"), "/nowhere: No such file"),
        ],
    )
    def test_says_what_is_wrong(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], archived: Path, arguments: list[str], words: str
    ) -> None:
        assert words in refuses(archived, capsys, *arguments)

    @pytest.fixture
    def archived(self, tmp_path: Path) -> Iterator[Path]:
        with ScriptedServer({b"INBOX": ScriptedFolder(7, {1: scripted(1)})}) as source:
            config = account_file(tmp_path, source, "u1")
            run(config)
            yield config

    @pytest.mark.parametrize("protocol", ["pop3", "files"])
    def test_says_that_a_source_takes_no_mail(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str
    ) -> None:
        (tmp_path / "mail" / "cur").mkdir(parents=True)
        (tmp_path / "mail" / "new").mkdir()
        (tmp_path / "mail" / "cur" / "1.x:2,S").write_bytes(mail(1))
        nothing = dict.fromkeys(("host", "port", "tls", "user", "password", "attempts"))
        keys = {f"source__{name}": value for name, value in nothing.items()} if protocol == "files" else {}
        if protocol == "files":
            keys["source__path"] = str(tmp_path / "mail")

        class Nowhere:
            host, port = "127.0.0.1", 1

        config = account_file(tmp_path, Nowhere(), "u1", source__protocol=protocol, **keys)
        words = "files" if protocol == "files" else "a POP3 maildrop"
        assert f"its source is {words}, to which nothing can be written" in refuses(config, capsys, "INBOX/1")


def scripted(number: int) -> ScriptedMessage:
    return ScriptedMessage(mail(number), FLAGS, date_of(number))


class Scripted:
    """An account at a server that answers as a test wants; messages 1 to 6 of INBOX and 11 to 13 of Work are gone
    but 1."""

    def __init__(self, directory: Path, **keys: Any) -> None:
        inbox = ScriptedFolder(7, {uid: scripted(uid) for uid in range(1, 7)})
        work = ScriptedFolder(8, {uid: scripted(10 + uid) for uid in range(1, 4)})
        self.server = ScriptedServer(
            {b"INBOX": inbox, b"Work": work}, capabilities=DESTINATION, writable=True, appending=Appending()
        )
        self.server.__enter__()
        self.config = account_file(directory, self.server, "u1", **keys)
        run(self.config)
        inbox.expunge(range(2, 7))
        work.expunge(range(1, 4))
        run(self.config)

    def restore(self, *arguments: str) -> int:
        return invoke(["restore", str(self.config), "--yes", *arguments])

    def held(self, raw: bytes) -> Counter[bytes]:
        folder = self.server.folders.get(raw)
        return Counter() if folder is None else Counter(each.octets for each in folder.messages.values())


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Scripted]:
    account = Scripted(tmp_path)
    yield account
    account.server.__exit__()


class TestWhatIsRefused:
    def test_a_message_stops_only_itself(self, lost: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
        lost.server.appending.refuse = lambda each: b"NO [LIMIT] too ugly" if each.octets == mail(3) else None
        capsys.readouterr()
        assert lost.restore("--folder", "*") == 3
        said = capsys.readouterr().out
        assert "7 messages restored" in said
        assert "INBOX/3: refused" in said
        assert "too ugly" in said
        assert lost.held(INTO) == Counter(mail(n) for n in (2, 4, 5, 6))
        lost.server.appending.refuse = None
        assert lost.restore("--folder", "*") == 0
        assert lost.held(INTO) == Counter(mail(n) for n in (2, 3, 4, 5, 6))

    def test_a_full_mailbox_ends_it_and_the_next_one_goes_on(self, lost: Scripted) -> None:
        lost.server.appending.quota = sum(len(mail(n)) for n in (1, 2, 3))
        assert lost.restore("--folder", "*") == 3
        lost.server.appending.quota = None
        assert lost.restore("--folder", "*") == 0
        assert lost.held(INTO) == Counter(mail(n) for n in range(2, 7))
        assert lost.held(INTO + b"/Work") == Counter(mail(n) for n in range(11, 14))

    def test_a_folder_that_may_not_be_made(self, lost: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
        lost.server.on(b"CREATE", b"NO [NOPERM] not here")
        capsys.readouterr()
        assert lost.restore("Work/1") == 3
        assert "not here" in capsys.readouterr().out
        assert lost.restore("INBOX/2", "--in-place") == 0
        assert lost.held(b"INBOX") == Counter([mail(1), mail(2)])

    def test_a_folder_that_can_only_be_read(self, lost: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
        """Others are finished. Nothing is taken for restored, and nothing waits for what was never sent."""
        lost.server.on(b"APPEND", b"NO [NOPERM] Permission denied")
        capsys.readouterr()
        assert lost.restore("--folder", "*", "--in-place") == 3
        said = capsys.readouterr().out
        assert "no messages restored to" in said
        assert "Permission denied" in said
        lost.server.forget()
        assert lost.restore("--folder", "*", "--in-place") == 0
        assert lost.held(b"INBOX") == Counter(mail(n) for n in range(1, 7))

    def test_a_damaged_message_is_not_sent(self, lost: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
        (file,) = [
            path for path in archive_of(lost.config).glob("vanished/**/cur/*") if path.read_bytes() == mail(4)
        ]
        file.chmod(0o600)
        file.write_bytes(mail(4).replace(b"4", b"5"))
        capsys.readouterr()
        assert lost.restore("--folder", "INBOX") == 6
        said = capsys.readouterr().out
        assert "INBOX/4: refused: the archive's own copy is missing or altered" in said
        assert lost.held(INTO) == Counter(mail(n) for n in (2, 3, 5, 6))

    def test_a_message_in_quarantine_is_named(self, lost: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
        inbox = lost.server.folders[b"INBOX"]
        inbox.add(scripted(7), scripted(8))

        def refuse(line: bytes, tag: bytes, session: Session) -> bytes | None:
            asked = b"BODY.PEEK[])" in line and 7 in uids_in(line.split()[3], inbox.uids)
            return tag + b" NO [UNAVAILABLE] not this one\r\n" if asked else None

        lost.server.on(b"UID FETCH", refuse)
        assert run(lost.config, expect=3).total("quarantined") == (1,)
        assert "is in quarantine and not in the archive" in refuses(lost.config, capsys, "INBOX/7")
        assert "is in quarantine and not in the archive" in refuses(lost.config, capsys, "inbox/7")


class TestFromABucket:
    def test_one_message_is_back_without_any_local_file(
        self,
        dovecot: Dovecot,
        mail_user: str,
        gateway: Endpoint,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Packed, and only the account file is left; by two commands."""
        config = bucket_account(tmp_path, dovecot, mail_user, gateway, s3={"layout": "packs"})
        person = Person(dovecot, capsys, config, mail_user)
        dovecot.append_many(mail_user, "INBOX", appended(range(10)))
        person.archive()
        dovecot.expunge(mail_user, "INBOX", [4, 5])
        person.archive()
        for number in (4, 5):
            forget_locally(config)
            reference = f"INBOX/{number}"
            assert reference in person.told("search", "--vanished", "--subject", f"message {number - 1}")
            assert person.states(reference) == {"restored": 1}
        for file in archive_of(config).glob("catalog.sqlite*"):  # as if it had been killed before there was one
            file.unlink()
        assert person.states("INBOX/4", "INBOX/5", "--yes") == {"restored before": 2}
        assert person.folders[INTO] == Counter([message(3), message(4)])
        person.archive()

    def test_says_that_there_is_none(
        self,
        dovecot: Dovecot,
        mail_user: str,
        gateway: Endpoint,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        config = bucket_account(tmp_path, dovecot, mail_user, gateway)
        for _ in range(2):
            assert "there is no archive here yet" in Person(dovecot, capsys, config, mail_user).told(
                "search", expect=2
            )


class TestOnCyrus:
    def test_messages_go_below_a_folder_and_in_place(
        self, cyrus_with: Callable[..., Cyrus], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where all folders are children of INBOX, with dots between levels."""
        cyrus = cyrus_with(altnamespace=False, unixhierarchysep=False)
        user = cyrus.fresh_user()
        person = Person(cyrus, capsys, account_file(tmp_path, cyrus, user), user)
        cyrus.create(user, "INBOX.Work")
        cyrus.append_many(user, "INBOX", appended(range(6)))
        cyrus.append_many(user, "INBOX.Work", appended(range(20, 25)))
        person.archive()
        cyrus.expunge(user, "INBOX", [1, 2])
        cyrus.delete(user, "INBOX.Work")
        person.archive()
        gone = person.folders
        assert person.states("--folder", "*", "--yes") == {"restored": 7}
        below = b"INBOX/" + INTO
        assert person.folders == gone | {
            below: Counter([message(0), message(1)]),
            below + b"/Work": Counter(message(n) for n in range(20, 25)),
        }
        person.archive()
        assert person.states("--folder", "*", "--yes", "--in-place") == {"restored before": 7}
        assert person.folders == gone | {raw: held for raw, held in person.folders.items() if INTO in raw}


def delimiter_of(person: Person) -> bytes:
    return b"." if any(b"Restored." in raw for raw in mailbox_of(person.server, person.user)) else b"/"


def stored_octets(config: Path) -> set[int]:
    """The files of all messages: those of equal octets are one."""
    return {path.stat().st_ino for path in archive_of(config).glob("Maildir/**/cur/*")} | {
        path.stat().st_ino for path in archive_of(config).glob("vanished/**/cur/*")
    }
