"""What a run says to the server: a night without news costs one connection and a few round trips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounts import RunResult, account_file, run
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import FULL, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.wire import Append

FOLDERS = 30


def folders() -> dict[bytes, ScriptedFolder]:
    names = [b"INBOX", *(b"folder-%02d" % number for number in range(1, FOLDERS))]
    return {name: ScriptedFolder(7, {1: message(name), 2: message(name + b" again")}) for name in names}


def message(text: bytes, modseq: int = 1) -> ScriptedMessage:
    return ScriptedMessage(b"Subject: " + text + b"\r\n\r\n" + text + b"\r\n", modseq=modseq)


class AfterLogin:
    """What a scripted server hears once it has said that the login is good."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._flights: list[int] = []
        for command in (b"LOGIN", b"AUTHENTICATE"):
            server.on(command, self._logging_in)

    def _logging_in(self, *_: object) -> None:
        self._flights.append(self._server.flights)

    def begin(self) -> None:
        """Count from here on."""
        self._flights.clear()
        self._server.sessions.clear()

    @property
    def connections(self) -> int:
        return self._server.connections

    @property
    def flights(self) -> int:
        (at_login,) = self._flights
        return self._server.flights - at_login

    @property
    def commands(self) -> list[bytes]:
        """The first words of what was said after login, ID and the second CAPABILITY included."""
        said = [command.split()[0].upper() for command in self._server.commands]
        login = next(index for index, word in enumerate(said) if word in (b"LOGIN", b"AUTHENTICATE"))
        return said[login + 1 :]

    def opened(self) -> list[bytes]:
        """The folders that were opened, in order."""
        return [command.split()[1] for command in self._server.commands if command.startswith(b"EXAMINE")]


def test_a_night_without_news_takes_one_connection_and_three_round_trips(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    with_everything = scripted(folders(), capabilities=FULL)
    heard = AfterLogin(with_everything)
    config = account_file(tmp_path, with_everything, "u1", source__connections=4)
    assert run(config).total("fetched") == (2 * FOLDERS,)

    heard.begin()
    run(config)

    assert heard.connections == 1
    assert heard.flights <= 3
    assert [word for word in heard.commands if word != b"CAPABILITY"] == [
        b"ID", b"NAMESPACE", b"ENABLE", b"LIST", b"LOGOUT",
    ]  # fmt: skip


def test_rights_and_annotations_take_few_round_trips_and_none_without_news(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    flights = []
    for capabilities in (FULL, (*FULL, "ACL", "METADATA")):
        server = scripted(folders(), capabilities=capabilities)
        server.play(b"GETACL", b"* ACL x u1 lr", b"A1 OK")
        server.on(b"GETMETADATA", b"OK")
        heard = AfterLogin(server)
        config = account_file(tmp_path / str(len(flights)), server, "u1", source__connections=1)
        assert run(config).total("fetched") == (2 * FOLDERS,)
        flights.append(heard.flights)
        asked = heard.commands.count(b"GETACL"), heard.commands.count(b"GETMETADATA")
        assert asked == ((0, 0) if capabilities == FULL else (FOLDERS, FOLDERS + 1))

        heard.begin()
        run(config)

        assert heard.flights <= 3
        assert not {b"GETACL", b"GETMETADATA"} & set(heard.commands)
    # How many share a flight depends on when answers come in; one for each folder would be 30.
    assert flights[1] - flights[0] < FOLDERS // 3


def test_dovecot_hears_three_round_trips_on_one_connection_in_a_night_without_news(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    names = ["INBOX", *(f"folder {number}" for number in range(1, FOLDERS))]
    dovecot.create(mail_user, *names[1:])
    for name in names:
        dovecot.append_many(mail_user, name, [Append(f"Subject: {name} {n}\r\n\r\n".encode()) for n in range(3)])
    config = account_file(tmp_path, dovecot, mail_user, source__connections=4)
    assert run(config).total("fetched") == (3 * FOLDERS,)
    before = dovecot.logins(mail_user)

    dovecot.record(mail_user)
    run(config)

    assert dovecot.flights(mail_user) <= 3
    assert dovecot.logins(mail_user) - before == 1
    said = [command.split()[0] for command in dovecot.commands(mail_user)]
    assert [word for word in said if word != b"CAPABILITY"] == [
        b"ID", b"NAMESPACE", b"ENABLE", b"LIST", b"LOGOUT",
    ]  # fmt: skip


def test_a_greeting_that_names_ways_to_log_in_is_not_asked_again(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    asked = scripted(folders(), greeting=b"* OK [CAPABILITY IMAP4rev1 SASL-IR] ready")
    reported = scripted(folders(), greeting=b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready")
    for number, server in enumerate((asked, reported)):
        run(account_file(tmp_path / str(number), server, "u1"))

    assert asked.commands[0] == b"CAPABILITY"
    assert reported.commands[0].startswith(b"AUTHENTICATE PLAIN ")


def test_a_folder_with_news_takes_two_round_trips(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> None:
    """It is opened and its UIDs are asked for in one, its messages in the other."""
    names = ["INBOX", *(f"folder {number}" for number in range(1, FOLDERS))]
    dovecot.create(mail_user, *names[1:])
    for name in names:
        dovecot.append(mail_user, name, f"Subject: {name}\r\n\r\n".encode())
    before = dovecot.logins(mail_user)

    dovecot.record(mail_user)
    config = account_file(tmp_path, dovecot, mail_user, source__connections=1)
    result = run(config)

    assert result.total("fetched") == (FOLDERS,)
    assert dovecot.flights(mail_user) <= 2 * FOLDERS + 3
    assert dovecot.logins(mail_user) - before == 1

    for name in names:
        dovecot.append(mail_user, name, f"Subject: {name} again\r\n\r\n".encode())
    before = dovecot.logins(mail_user)

    dovecot.record(mail_user)
    result = run(config)

    assert result.total("fetched") == (FOLDERS,)
    assert dovecot.flights(mail_user) <= 2 * FOLDERS + 3
    assert dovecot.logins(mail_user) - before == 1


def at_destination(result: RunResult) -> tuple[int, int]:
    """How many messages were replayed, and how many verified."""
    (totals,) = result.total("destination")
    return totals["replayed"], totals["verified"]


class TestADestination:
    @pytest.fixture
    def there(self, dovecot: Dovecot) -> str:
        return dovecot.fresh_user()

    @pytest.fixture
    def config(self, dovecot: Dovecot, mail_user: str, there: str, tmp_path: Path) -> Path:
        """An account of thirty subscribed folders with a message in each, and where it goes."""
        names = [f"folder {number:02}" for number in range(1, FOLDERS)]
        dovecot.create(mail_user, *names)
        dovecot.subscribe(mail_user, *names)
        for name in ("INBOX", *names):
            dovecot.append(mail_user, name, f"Subject: {name}\r\n\r\n".encode())
        password = tmp_path / "there.password"
        password.write_text("pw\n")
        password.chmod(0o600)
        destination = {"host": dovecot.host, "port": dovecot.port, "tls": "off", "user": there,
                       "password": {"file": str(password)}, "connections": 1}  # fmt: skip
        return account_file(
            tmp_path, dovecot, mail_user, **{f"destination__{key}": value for key, value in destination.items()}
        )

    def test_thirty_folders_are_made_subscribed_and_compared_in_few_round_trips(
        self, dovecot: Dovecot, there: str, config: Path
    ) -> None:
        dovecot.record(there)
        assert at_destination(run(config)) == (FOLDERS, FOLDERS)

        listed, made, subscribed, looks = 3, 2, 2, 3  # first it is asked whether it is the source
        sent = 2 * FOLDERS + 1  # appended, looked through and the next one opened
        assert dovecot.flights(there) <= listed + made + subscribed + sent + looks + 1  # and left
        assert dovecot.logins(there) == 1

    def test_a_night_without_news_takes_one_connection_and_three_round_trips(
        self, dovecot: Dovecot, there: str, config: Path
    ) -> None:
        run(config)
        before = dovecot.logins(there)

        dovecot.record(there)
        result = run(config)

        assert at_destination(result) == (0, FOLDERS)
        assert dovecot.logins(there) - before == 1
        assert dovecot.flights(there) <= 3
        said = [command.split()[0] for command in dovecot.commands(there)]
        assert [word for word in said if word != b"CAPABILITY"] == [
            b"ID", b"NAMESPACE", b"ENABLE", b"LIST", b"LOGOUT",
        ]  # fmt: skip

    def test_of_a_folder_whose_flags_its_user_changed_only_these_are_read(
        self, dovecot: Dovecot, there: str, config: Path
    ) -> None:
        run(config)
        dovecot.store_flags(there, "folder 17", [1], ["\\Seen"])

        dovecot.record(there)
        result = run(config)

        assert at_destination(result) == (0, FOLDERS)
        said = [command for command in dovecot.commands(there) if b"EXAMINE" in command or b"FETCH" in command]
        assert [command.split(b" (CHANGEDSINCE ")[0] for command in said] == [
            b'EXAMINE "folder 17"', b"UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)",
        ]  # fmt: skip
        assert dovecot.flights(there) <= 6


def test_of_thirty_folders_only_the_one_that_changed_is_opened(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    server = scripted(folders(), capabilities=FULL)
    heard = AfterLogin(server)
    config = account_file(tmp_path, server, "u1", source__connections=4)
    run(config)

    server.folders[b"folder-17"].messages[3] = message(b"news", modseq=2)
    server.sessions.clear()
    result = run(config)

    assert heard.opened() == [b'"folder-17"']
    assert result.total("fetched", "flags_changed", "vanished") == (1, 0, 0)
    assert heard.connections <= 2  # one lists, one fetches


@pytest.mark.parametrize("change", ["a flag", "an expunge"])
def test_whatever_changed_in_a_folder_it_is_the_only_one_opened_on_dovecot(
    dovecot: Dovecot, mail_user: str, tmp_path: Path, change: str
) -> None:
    names = [f"folder {number}" for number in range(1, FOLDERS)]
    dovecot.create(mail_user, *names)
    for name in names:
        dovecot.append_many(mail_user, name, [Append(f"Subject: {name} {n}\r\n\r\n".encode()) for n in range(3)])
    config = account_file(tmp_path, dovecot, mail_user)
    run(config)

    if change == "a flag":
        dovecot.store_flags(mail_user, "folder 17", [2], ["\\Flagged"])
    else:
        dovecot.expunge(mail_user, "folder 17", [2])
    dovecot.record(mail_user)
    result = run(config)

    opened = [command for command in dovecot.commands(mail_user) if command.startswith(b"EXAMINE")]
    assert [command.split(b'"')[1] for command in opened] == [b"folder 17"]
    expected = (0, 1, 0) if change == "a flag" else (0, 0, 1)
    assert result.total("fetched", "flags_changed", "vanished") == expected
