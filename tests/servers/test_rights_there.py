"""Access rights that go with the mail: `[replay] acls`, between Cyrus, Dovecot and Courier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import RunResult, archive_of, command, journal_files, run
from tests.faults.replays import migration
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.scripted import DESTINATION, FULL, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.test_access import WITH_ACL, said

MAIL = b"Subject: x\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def cyrus() -> Iterator[Cyrus]:
    """One of its own: what is shared there is listed to the users of other tests."""
    if reason := Cyrus.missing():
        pytest.skip(reason)
    with Cyrus() as server:
        yield server


@pytest.fixture(scope="module")
def dovecot_with_acl() -> Iterator[Dovecot]:
    if reason := Dovecot.missing():
        pytest.skip(reason)
    with Dovecot(extra=WITH_ACL) as server:
        yield server


def rights(server: MailServer, user: str, folder: str) -> dict[str, frozenset[str]]:
    """What GETACL shows of others than the user itself."""
    with server.wire(user) as wire:
        (row,) = [
            each.line for each in wire.command(f'GETACL "{folder}"') if each.line.upper().startswith(b"* ACL")
        ]
    words = [word.strip('"') for word in row.decode().split()[3:]]
    shown = dict(zip(words[0::2], words[1::2], strict=True))
    return {
        name: frozenset(letters) for name, letters in shown.items() if name not in (user, "owner", "administrators")
    }


def owner(server: MailServer, user: str, folder: str) -> str:
    with server.wire(user) as wire:
        return wire.command(f'MYRIGHTS "{folder}"')[0].line.decode()


def notices(result: RunResult) -> list[Mapping[str, Any]]:
    return [each for each in result.report["notices"] if each["kind"] == "rights"]


def another_user(server: MailServer, user: str) -> str:
    """One that is called otherwise: a name that both mailboxes have would be its own."""
    return next(name for name in iter(server.fresh_user, "") if name != user)


def of(letters: str) -> frozenset[str]:
    return frozenset(letters)


def first_run(config: Path) -> RunResult:
    """Both servers take a UIDVALIDITY from the clock: folders that were made in one second may look the same."""
    return run(config, destination_is="new")


def test_from_cyrus_to_dovecot(cyrus: Cyrus, dovecot_with_acl: Dovecot, tmp_path: Path) -> None:
    there, user = dovecot_with_acl, cyrus.fresh_user()
    new = another_user(there, user)
    cyrus.create(user, "Team")
    cyrus.append(user, "Team", MAIL)
    said(cyrus, user, b"SETACL Team u2 lrsw", b"SETACL Team u3 lrswipkxte", b"SETACL Team anyone l",
         b"SETACL Team %b lr" % new.encode(), b"SETACL Team left lr", b"SETACL Team -anyone w",
         b"SETACL INBOX u2 lr")  # fmt: skip
    config = migration(tmp_path, cyrus, user, there, new, replay__acls=True,
                       replay__acl_users={"u2": "j.doe", "left": ""})  # fmt: skip
    mine = owner(there, new, "INBOX")

    result = first_run(config)

    assert rights(there, new, "Team") == {"j.doe": of("lrsw"), "u3": of("lrswipkxtecd")}
    assert rights(there, new, "INBOX") == {"j.doe": of("lr")}
    assert (owner(there, new, "INBOX"), owner(there, new, "Team")) == (mine, mine.replace("INBOX", "Team"))
    (notice,) = notices(result)
    assert (notice["folder"], notice["count"]) == ("Team", 1)
    assert "\"anyone\" (BAD Error in IMAP command SETACL: 'anyone' identifier is disallowed" in notice["text"]

    # Nothing changed: nothing is asked, nothing is written, and what was refused stays in the report.
    segments = journal_files(archive_of(config))
    there.record(new)
    again = run(config)
    assert notices(again) == [notice]
    assert not any(b"ACL" in each for each in there.commands(new))
    assert journal_files(archive_of(config)) == segments

    # What is given and taken away at the source is given and taken away; what its user took away there stays so.
    said(there, new, b"SETACL Team u3 -xte", b"SETACL Team other lr")
    said(cyrus, user, b"SETACL Team u2 lr", b"DELETEACL Team u3", b"SETACL Team u4 lrs", b"SETACL INBOX u2 +s")
    run(config)
    assert {each for each, letters in rights(there, new, "Team").items() if letters - {'"'}} >= {
        "j.doe",
        "u4",
        "other",
    }
    held = rights(there, new, "Team")
    assert (held["j.doe"], held["u4"], held["other"]) == (of("lr"), of("lrs"), of("lr"))
    assert not held.get("u3", frozenset()) - {'"'}
    assert rights(there, new, "INBOX") == {"j.doe": of("lrs")}

    said(there, new, b"SETACL INBOX j.doe -s")
    cyrus.append(user, "Team", MAIL)
    run(config)
    assert rights(there, new, "INBOX") == {"j.doe": of("lr")}
    differing = command("verify", config, "--json", expect=4).report["accounts"][0]
    assert [
        (each["folder"], each["what"], each["expected"], each["found"])
        for each in differing["destination"]["differences"]
    ] == [("INBOX", "access rights", "j.doe: lrs", "j.doe: lr")]
    said(there, new, b"SETACL INBOX j.doe +s")
    command("verify", config)


def test_from_dovecot_to_cyrus_and_a_folder_that_is_made_again(
    cyrus: Cyrus, dovecot_with_acl: Dovecot, tmp_path: Path
) -> None:
    source, user = dovecot_with_acl, dovecot_with_acl.fresh_user()
    new = another_user(cyrus, user)
    source.create(user, "Team")
    source.append(user, "Team", MAIL)
    source.append(user, "INBOX", MAIL)
    said(source, user, b"SETACL Team u2 lrsw", b"SETACL Team {5+}\r\nJ\xc3\xb6rg lr")
    config = migration(tmp_path, source, user, cyrus, new, replay__acls=True)

    result = first_run(config)

    assert rights(cyrus, new, "Team") == {"u2": of("lrsw")}
    assert '"Jörg" (NO Invalid identifier)' in notices(result)[0]["text"]
    command("verify", config)

    cyrus.delete(new, "Team")
    source.append(user, "Team", MAIL)
    run(config)
    assert rights(cyrus, new, "Team") == {"u2": of("lrsw")}


def test_from_courier_to_dovecot_and_back(courier: Courier, dovecot_with_acl: Dovecot, tmp_path: Path) -> None:
    """Courier knows the rights of RFC 2086 alone, and names what every folder has."""
    there, user = dovecot_with_acl, courier.fresh_user()
    new = another_user(there, user)
    courier.create(user, "INBOX.Team")
    courier.append(user, "INBOX", MAIL)
    said(courier, user, b'SETACL "INBOX.Team" u2 lrscd')
    config = migration(tmp_path, courier, user, there, new, replay__acls=True)
    assert not notices(first_run(config))
    assert rights(there, new, "Team") == {"u2": of("lrskxtecd")}

    back = courier.fresh_user()
    there.append(new, "Team", MAIL)
    config = migration(tmp_path / "back", there, new, courier, back, replay__acls=True)
    assert not notices(first_run(config))
    assert rights(courier, back, "INBOX.Team") == {"u2": of("lrscd")}
    command("verify", config)


class TestScripted:
    def there(self, scripted: Callable[..., ScriptedServer], *capabilities: str) -> ScriptedServer:
        return scripted({b"INBOX": ScriptedFolder(7)}, capabilities=(*DESTINATION, *capabilities), writable=True)

    def start(self, scripted: Callable[..., ScriptedServer], to: ScriptedServer, directory: Path) -> Path:
        source = scripted({b"INBOX": ScriptedFolder(5, {1: ScriptedMessage(MAIL)})}, capabilities=(*FULL, "ACL"))
        source.play(b"GETACL", b"* ACL INBOX u2 lr", b"A1 OK")
        return migration(directory, source, "u1", to, "u9", replay__acls=True)

    @pytest.fixture
    def users(self, scripted: Callable[..., ScriptedServer]) -> Callable[..., ScriptedServer]:
        return lambda *args, **keys: scripted(*args, users={"u1": "pw", "u9": "pw"}, **keys)

    def test_a_destination_without_rights(self, users: Callable[..., ScriptedServer], tmp_path: Path) -> None:
        to = self.there(users)
        config = self.start(users, to, tmp_path)
        (notice,) = notices(run(config))
        assert notice["text"].endswith("(the destination offers no access rights (ACL))")
        assert not any(b"ACL" in each for each in to.commands)
        run(config)

    def test_a_destination_that_says_ok_and_does_nothing(
        self, users: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        to = self.there(users, "ACL", "RIGHTS=kxte")
        to.play(b"GETACL", b"* ACL INBOX u9 lrswipkxtea", b"A1 OK")
        to.play(b"SETACL", b"A1 OK")
        config = self.start(users, to, tmp_path)
        (notice,) = notices(run(config))
        assert "accepted, and not shown afterwards" in notice["text"]
        assert [each for each in to.commands if each.startswith(b"SETACL")] == [b'SETACL "INBOX" "u2" +lr']

    def test_nothing_is_asked_without_the_key(self, users: Callable[..., ScriptedServer], tmp_path: Path) -> None:
        to = self.there(users, "ACL")
        config = self.start(users, to, tmp_path)
        config.write_text(config.read_text().replace("acls = true", ""))
        run(config)
        assert not any(b"ACL" in each for each in to.commands)
