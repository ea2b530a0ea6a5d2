"""Logging in while a password changes: it is looked up again after a refusal; a wrong one is not sent twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.config.references import SecretReference
from archiver.config.tables.server import ServerSettings
from archiver.errors import AuthenticationFailed, ConnectionLost
from archiver.login.choose import authenticator_of
from archiver.mail.model import Folder
from archiver.source.imap import ImapSource
from archiver.source.retry import RetryingSource
from tests.accounts import UNSTOPPED
from tests.servers.scripted import DROP, MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer

Start = Callable[..., ScriptedServer]
INBOX = Folder(b"INBOX", ("INBOX",), "/")


class Account:
    """A user whose password is in a file, and a server that knows it."""

    def __init__(self, server: ScriptedServer, file: Path) -> None:
        self.server, self.file = server, file
        self.write("pw")
        self.settings = ServerSettings(
            host=server.host, port=server.port, tls="off", user="u1", password=SecretReference("file", str(file))
        )
        self.authenticator = authenticator_of(self.settings)

    def write(self, password: str) -> None:
        self.file.write_text(password + "\n")
        self.file.chmod(0o600)

    def connect(self) -> ImapSource:
        return ImapSource(self.settings, self.authenticator, lambda: open("/dev/null", "rb"))

    @property
    def logins(self) -> list[bytes]:
        return [each for each in self.server.commands if each.startswith(b"LOGIN")]


@pytest.fixture
def account(scripted: Start, tmp_path: Path) -> Account:
    inbox = ScriptedFolder(1, {uid: ScriptedMessage(b"Subject: %d\r\n\r\n" % uid) for uid in range(1, 4)})
    return Account(scripted({b"INBOX": inbox}, capabilities=MINIMAL), tmp_path / "password")


def test_a_password_that_was_changed_during_a_run_is_read_again(account: Account) -> None:
    account.connect().close()
    account.write("new")
    account.server.users["u1"] = "new"

    account.connect().close()
    account.connect().close()

    assert account.logins == [b'LOGIN "u1" %b' % password for password in (b'"pw"', b'"pw"', b'"new"', b'"new"')]


def test_a_wrong_password_is_sent_once(account: Account) -> None:
    account.write("wrong")

    with pytest.raises(AuthenticationFailed):
        account.connect()
    assert account.logins == [b'LOGIN "u1" "wrong"']


def test_another_wrong_password_is_sent_once(account: Account) -> None:
    account.connect().close()
    account.write("wrong")
    account.server.users["u1"] = "new"

    with pytest.raises(AuthenticationFailed):
        account.connect()
    assert account.logins[1:] == [b'LOGIN "u1" "pw"', b'LOGIN "u1" "wrong"']


def test_a_password_that_is_gone_leaves_the_refusal(account: Account) -> None:
    account.connect().close()
    account.file.unlink()
    account.server.users["u1"] = "new"

    with pytest.raises(AuthenticationFailed):
        account.connect()
    assert len(account.logins) == 2


def test_a_password_that_still_works_is_not_read_again(account: Account) -> None:
    account.connect().close()
    account.write("new")

    account.connect().close()
    assert account.logins == [b'LOGIN "u1" "pw"'] * 2


def test_a_server_that_takes_no_passwords_is_not_asked_twice(account: Account) -> None:
    account.server.capabilities.append("LOGINDISABLED")
    with pytest.raises(AuthenticationFailed):
        account.connect()
    assert len(account.server.sessions) == 1


def test_a_reconnect_goes_on_with_the_new_password(account: Account) -> None:
    source = RetryingSource(lambda *, fallback: account.connect(), attempts=2, control=UNSTOPPED)
    source.open(INBOX)
    account.write("new")
    account.server.users["u1"] = "new"
    account.server.on(b"UID SEARCH", DROP, times=1)

    assert source.uids() == {1, 2, 3}
    source.close()


def test_a_line_that_breaks_at_the_login_is_no_refusal(account: Account) -> None:
    account.server.on(b"LOGIN", DROP)
    with pytest.raises(ConnectionLost):
        account.connect()
    assert len(account.logins) == 1
