"""Access rights (ACL) and annotations (METADATA) of folders, as Cyrus, Dovecot and Courier have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, command, journal_files, run
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.scripted import FULL, ScriptedFolder, ScriptedMessage, ScriptedServer

WITH_ACL = """
mail_plugins = $mail_plugins acl
mail_attribute_dict = file:%h/dovecot-attributes
plugin {
  acl = vfile
}
protocol imap {
  mail_plugins = $mail_plugins acl imap_acl
  imap_metadata = yes
}
"""
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


def said(server: MailServer, user: str, *commands: bytes) -> None:
    with server.wire(user) as wire:
        for each in commands:
            wire.command(each)


def shown(config: Path) -> Mapping[str, Mapping[str, object]]:
    """What `status` shows of each folder, by name; "" is the server."""
    (account,) = command("status", config, "--json", expect=None).report["accounts"]
    return {each["folder"]: each for each in account["sharing"]}


def commands_of(server: Dovecot, user: str) -> list[bytes]:
    return [each.split()[0] for each in server.commands(user)]


class TestRecorded:
    def test_from_cyrus(self, cyrus: Cyrus, tmp_path: Path) -> None:
        user = cyrus.fresh_user()
        cyrus.create(user, "Team")
        cyrus.append(user, "INBOX", MAIL)
        said(
            cyrus, user, b"SETACL Team u2 lrs", b"SETACL Team anyone l",
            b'SETMETADATA Team (/shared/comment "for all" /private/comment {5+}\r\n"\\\xc3\xa4\xff)',
            b'SETMETADATA "" (/private/comment "mine")',
        )  # fmt: skip
        config = account_file(tmp_path, cyrus, user)
        run(config)

        team = shown(config)["Team"]
        assert team["rights"] == {user: "lrswipkxtecdan", "u2": "lrs", "anyone": "l"}
        notes = team["annotations"]
        assert isinstance(notes, dict)
        assert (notes["/shared/comment"], notes["/private/comment"]) == ("for all", '"\\ä\\xff')
        assert not any("lastupdate" in entry or "size" in entry for entry in notes)
        assert shown(config)[""]["annotations"] == {"/private/comment": "mine"}

        # Cyrus counts a change of rights in HIGHESTMODSEQ, so the next run sees it.
        said(
            cyrus, user, b"SETACL Team u2 lr", b"DELETEACL Team anyone", b"SETMETADATA Team (/private/comment NIL)"
        )
        run(config)
        team = shown(config)["Team"]
        assert team["rights"] == {user: "lrswipkxtecdan", "u2": "lr"}
        annotations = team["annotations"]
        assert isinstance(annotations, dict)
        assert "/private/comment" not in annotations

        segments = journal_files(archive_of(config))
        run(config)
        assert journal_files(archive_of(config)) == segments

        before = shown(config)
        command("rebuild", config)
        assert shown(config) == before

    def test_where_this_user_may_not_read_them_its_own_are(self, cyrus: Cyrus, tmp_path: Path) -> None:
        owner, user = cyrus.fresh_user(), cyrus.fresh_user()
        cyrus.create(owner, "Shared")
        said(cyrus, owner, b"SETACL Shared %b lrs" % user.encode())
        cyrus.append(user, "INBOX", MAIL)
        config = account_file(tmp_path, cyrus, user, folders__include=["INBOX", f"Other Users/{owner}/*"])
        run(config)
        there = shown(config)[f"Other Users/{owner}/Shared"]
        assert (there["rights"], there["mine"]) == (None, "lrs")

    def test_from_dovecot(self, dovecot_with_acl: Dovecot, tmp_path: Path) -> None:
        server, user = dovecot_with_acl, dovecot_with_acl.fresh_user()
        server.create(user, "Team")
        server.append(user, "Team", MAIL)
        said(
            server, user, b"SETACL Team u2 lrs", b"SETACL Team {5+}\r\nJ\xc3\xb6rg l",
            b'SETMETADATA Team (/private/vendor/kolab/color "ff0000")',
            b"SETMETADATA Team (/shared/comment {70000+}\r\n" + b"x" * 70000 + b")",
        )  # fmt: skip
        config = account_file(tmp_path, server, user)
        server.record(user)
        run(config)

        team = shown(config)["Team"]
        assert team["rights"] == {user: "lrwstipekxacd", "u2": "lrs", "Jörg": "l"}
        assert (team["annotations"], team["left_out"]) == ({"/private/vendor/kolab/color": "ff0000"}, 70000)
        # All in one flight: it is one more than three for the list and two for the folder.
        assert server.flights(user) <= 6
        assert commands_of(server, user).count(b"GETACL") == 2

        server.record(user)
        run(config)
        assert server.flights(user) <= 3
        assert not {b"GETACL", b"GETMETADATA", b"MYRIGHTS"} & set(commands_of(server, user))

        # If the server counts no change of rights, it is seen with the next message in any folder.
        said(server, user, b"SETACL Team u2 lr")
        server.append(user, "INBOX", MAIL)
        run(config)
        assert shown(config)["Team"]["rights"] == {user: "lrwstipekxacd", "u2": "lr", "Jörg": "l"}

    def test_from_courier(self, courier: Courier, tmp_path: Path) -> None:
        user = courier.fresh_user()
        courier.create(user, "INBOX.Team")
        courier.append(user, "INBOX", MAIL)
        said(courier, user, b'SETACL "INBOX.Team" u2 lrs')
        config = account_file(tmp_path, courier, user)
        run(config)
        team = shown(config)["Team"]
        assert team["rights"] == {"owner": "acdilrsw", "administrators": "acdilrsw", "u2": "lrs"}
        assert team["annotations"] == {}


class TestScripted:
    """What no real server says."""

    FOLDERS = 250

    def folders(self) -> dict[bytes, ScriptedFolder]:
        names = [b"INBOX", *(b"folder %03d" % number for number in range(1, self.FOLDERS))]
        return {name: ScriptedFolder(7, {1: ScriptedMessage(MAIL)} if name == b"INBOX" else {}) for name in names}

    def test_nothing_is_asked_where_nothing_is_announced(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        server = scripted(self.folders(), capabilities=FULL)
        run(account_file(tmp_path, server, "u1"))
        said = {each.split()[0] for each in server.commands}
        assert not said & {b"GETACL", b"GETMETADATA", b"MYRIGHTS"}

    def test_refusals_never_come_ten_in_a_row_and_cost_no_folder(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        """Courier hangs up then."""
        server = scripted(self.folders(), capabilities=(*FULL, "ACL", "METADATA"))
        in_a_row, most = 0, 0

        def refuse(*_: object) -> None:
            nonlocal in_a_row, most
            in_a_row, most = in_a_row + 1, max(most, in_a_row + 1)

        def forget(*_: object) -> None:
            nonlocal in_a_row
            in_a_row = 0

        for each in (b"GETACL", b"GETMETADATA", b"MYRIGHTS"):  # unknown here: BAD
            server.on(each, refuse)
        server.on(b"NOOP", forget)
        config = account_file(tmp_path, server, "u1")
        assert run(config).total("fetched") == (1,)
        assert most == 8
        assert shown(config) == {}

    @pytest.mark.parametrize(
        ("reply", "rights", "notes"),
        [
            pytest.param(b'* ACL INBOX', {}, {}, id="no entries"),
            pytest.param(b'* ACL "INBOX" NIL lr "a b" "" x', {"NIL": "lr", "a b": ""}, {}, id="one too many"),
            pytest.param(b"* acl INBOX u2 lr\r\n* METADATA INBOX /shared/comment", {"u2": "lr"}, {}, id="a change"),
            pytest.param(b"* ACL INBOX {3}\r\nu 2 {2}\r\nlr", {"u 2": "lr"}, {}, id="literals"),
            pytest.param(
                b"* ACL INBOX u2 lr\r\n* METADATA INBOX (/shared/a ~{4}\r\na\0)b /shared/b NIL /shared/c \"\")",
                {"u2": "lr"}, {"/shared/a": "a\\x00)b", "/shared/c": ""}, id="a binary literal",
            ),
        ],
    )  # fmt: skip
    def test_odd_answers(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path, reply: bytes,
        rights: dict[str, str], notes: dict[str, str],
    ) -> None:  # fmt: skip
        server = scripted({b"INBOX": ScriptedFolder(7, {1: ScriptedMessage(MAIL)})},
                          capabilities=(*FULL, "ACL", "METADATA"))  # fmt: skip
        acl, _, metadata = reply.partition(b"\r\n* METADATA")
        server.play(b"GETACL", acl, b"A1 OK")
        server.play(b"GETMETADATA", *([b"* METADATA" + metadata] if metadata else ()), b"A1 OK")
        config = account_file(tmp_path, server, "u1")
        run(config)
        inbox = shown(config)["INBOX"]
        assert (inbox["rights"], inbox["annotations"]) == (rights, notes)

    def test_a_server_that_hangs_up_at_it_costs_no_mail(
        self, scripted: Callable[..., ScriptedServer], tmp_path: Path
    ) -> None:
        server = scripted({b"INBOX": ScriptedFolder(7, {1: ScriptedMessage(MAIL)})}, capabilities=(*FULL, "ACL"))
        server.play(b"GETACL", b"* BYE out of order")
        assert run(account_file(tmp_path, server, "u1")).total("fetched") == (1,)
