"""Greetings, capabilities and logins as real servers send them, odd as they are, line by line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.errors import AuthenticationFailed, BackendError, ServerUnavailable
from archiver.mail.model import Folder
from archiver.source.imap import ImapSource
from tests.accounts import account_file, run
from tests.servers.scripted import MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer, Session

Start = Callable[..., ScriptedServer]
Connect = Callable[..., ImapSource]
INBOX = Folder(b"INBOX", ("INBOX",), "/")
MAIL = b"Subject: one\r\n\r\nbody\r\n"
SASL = (*MINIMAL, "AUTH=PLAIN")


def mailbox() -> dict[bytes, ScriptedFolder]:
    return {b"INBOX": ScriptedFolder(1, {1: ScriptedMessage(MAIL)})}


def logins(server: ScriptedServer) -> list[bytes]:
    return [line.split()[0] for line in server.commands if line.startswith((b"LOGIN", b"AUTHENTICATE"))]


# -- greetings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param(
            b"* OK The Microsoft Exchange IMAP4 service is ready. [TQBXAEgAUABSADEANABDAEEAMAAwADEANAAuAG4A]",
            id="Exchange: base64 in brackets behind the words",
        ),
        pytest.param(b"* OK Gimap ready for requests from 127.0.0.1 i9if4", id="Gmail: no capabilities"),
        pytest.param(b"* OK Domino IMAP4 Server Release 8.5.1 ready Tue, 9 Feb 2010 17:01:50", id="Domino"),
        pytest.param(b"* OK IMAP4rev1 SmarterMail", id="SmarterMail: words like capabilities"),
        pytest.param(b"* OK Zoho IMAP ready. [CAPABILITY IMAP4rev1 AUTH=NTLM]", id="capabilities behind the words"),
        pytest.param(b"* OK [ALERT] [CAPABILITY IMAP4rev1 AUTH=NTLM] hello", id="capabilities behind another code"),
        pytest.param(b"* OK", id="no words"),
        pytest.param(b"* OK ", id="no words behind the blank"),
        pytest.param(b"* ok ready", id="lower case"),
        pytest.param(b"* Ok [capability imap4rev1] ready", id="capabilities in lower case"),
        pytest.param(b"* OK \xc3\x9cber IMAP", id="UTF-8"),
        pytest.param(b"* OK \xdcber IMAP", id="Latin-1"),
    ],
)
def test_greetings(scripted: Start, connect: Connect, greeting: bytes) -> None:
    server = scripted(mailbox(), greeting=greeting)
    source = connect(server)
    assert source.open(INBOX).status.messages == 1
    assert logins(server) == [b"LOGIN"]


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param(
            b"* PREAUTH [CAPABILITY IMAP4REV1 LITERAL+ SASL-IR] Pre-authenticated user fejj on localhost",
            id="UW: upper case",
        ),
        pytest.param(b"* PREAUTH Logged in as fejj", id="Dovecot: no capabilities"),
        pytest.param(b"* preauth [capability imap4rev1] ready", id="lower case"),
    ],
)
def test_a_server_that_has_logged_us_in(scripted: Start, connect: Connect, greeting: bytes) -> None:
    server = scripted(mailbox(), greeting=greeting)

    def capability(_: bytes, __: bytes, session: Session) -> None:
        session.user = "u1"

    server.on(b"CAPABILITY", capability)
    source = connect(server)
    assert source.open(INBOX).status.messages == 1
    assert logins(server) == []


# -- capabilities ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "capabilities"),
    [
        pytest.param(
            [b"* capability imap4rev1 starttls login special-use", b"A1 ok capability completed."],
            {"IMAP4REV1", "STARTTLS", "LOGIN", "SPECIAL-USE"},
            id="lower case",
        ),
        pytest.param(
            [b"* CAPABILITY IMAP4rev1 LITERAL + IDLE NAMESPACE", b"A1 OK completed"],
            {"IMAP4REV1", "LITERAL", "+", "IDLE", "NAMESPACE"},
            id="a blank in LITERAL+",
        ),
        pytest.param([b"* CAPABILITY IMAP4rev1 IDLE ", b"A1 OK"], {"IMAP4REV1", "IDLE"}, id="a blank at the end"),
        pytest.param(
            [b"*  CAPABILITY  IMAP4rev1  IDLE", b"A1  OK  done"], {"IMAP4REV1", "IDLE"}, id="two blanks each"
        ),
        pytest.param(
            [b"* CAPABILITY IMAP4rev1", b"* CAPABILITY IDLE", b"A1 OK"], {"IMAP4REV1", "IDLE"}, id="in two lines"
        ),
        pytest.param([b"* CAPABILITY IMAP4rev1 X=\xfc IDLE", b"A1 OK"], {"IMAP4REV1", "X=�", "IDLE"}, id="8-bit"),
        pytest.param([b"A1 OK completed"], set[str](), id="none at all"),
    ],
)
def test_capabilities(scripted: Start, connect: Connect, lines: list[bytes], capabilities: set[str]) -> None:
    server = scripted(mailbox())

    def asked(_: bytes, tag: bytes, session: Session) -> bytes | None:
        if session.user is None:
            return None
        return b"".join((tag + each[2:] if each[:2] == b"A1" else each) + b"\r\n" for each in lines)

    server.on(b"CAPABILITY", asked)
    source = connect(server)
    assert source.capabilities == capabilities
    assert source.open(INBOX).status.messages == 1


@pytest.mark.parametrize(
    ("lines", "capabilities"),
    [
        pytest.param(
            [b"A1 OK [CAPABILITY IMAP4rev1 MOVE UIDPLUS] Success (no protection)"],
            {"IMAP4REV1", "MOVE", "UIDPLUS"},
            id="Cyrus: in the tagged OK",
        ),
        pytest.param(
            [b"* CAPABILITY IMAP4rev1 CHILDREN UNSELECT", b"A1 OK AUTHENTICATE Completed."],
            {"IMAP4REV1", "CHILDREN", "UNSELECT"},
            id="Yandex: before the tagged OK",
        ),
        pytest.param(
            [b"* CAPABILITY IMAP4rev1 UNSELECT IDLE", b"A1 OK Thats all she wrote! n55mb16443"],
            {"IMAP4REV1", "UNSELECT", "IDLE"},
            id="Gmail: words of its own",
        ),
        pytest.param([b"A1 OK"], {"IMAP4REV1", "AUTH=PLAIN"}, id="OK without a word: asked for again"),
        pytest.param([b"A1 ok [capability imap4rev1 move]"], {"IMAP4REV1", "MOVE"}, id="lower case"),
        pytest.param(
            [b"* OK [CAPABILITY IMAP4rev1 MOVE] as of now", b"A1 OK"],
            {"IMAP4REV1", "MOVE"},
            id="in an untagged OK",
        ),
    ],
)
@pytest.mark.parametrize("capable", [MINIMAL, SASL], ids=["LOGIN", "AUTHENTICATE"])
def test_capabilities_that_come_with_the_login(
    scripted: Start, connect: Connect, capable: tuple[str, ...], lines: list[bytes], capabilities: set[str]
) -> None:
    server = scripted(mailbox(), capabilities=capable)

    def authenticate(_: bytes, tag: bytes, session: Session) -> bytes:
        session.stream.send(b"+ \r\n")
        session.stream.flush()
        session.stream.line()
        session.user = "u1"
        return b"".join((tag + each[2:] if each[:2] == b"A1" else each) + b"\r\n" for each in lines)

    server.play(b"LOGIN", *lines)
    server.on(b"AUTHENTICATE", authenticate)
    source = connect(server)
    assert source.capabilities == capabilities & {*map(str.upper, capable)} | (capabilities - {"AUTH=PLAIN"})
    assert source.open(INBOX).status.messages == 1


def test_exchange_has_more_capabilities_after_the_login(scripted: Start, connect: Connect) -> None:
    server = scripted(mailbox(), capabilities=("IMAP4", "IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "LITERAL+"))

    def capability(_: bytes, tag: bytes, session: Session) -> bytes | None:
        said = b"* CAPABILITY IMAP4 IMAP4rev1 MOVE CLIENTACCESSRULES BACKENDAUTHENTICATE\r\n"
        return said + tag + b" OK CAPABILITY completed.\r\n" if session.user else None

    server.on(b"CAPABILITY", capability)
    assert {"MOVE", "CLIENTACCESSRULES"} <= connect(server).capabilities


def test_yahoo_gives_a_highestmodseq_and_does_not_offer_condstore(scripted: Start, tmp_path: Path) -> None:
    """And it does not change with the flags, so that they have to be read."""
    capabilities = ("IMAP4rev1", "ID", "NAMESPACE", "UIDPLUS", "LITERAL+", "XAPPLEPUSHSERVICE", "XYMHIGHESTMODSEQ")
    folders = {
        b"INBOX": ScriptedFolder(1, {uid: ScriptedMessage(b"Subject: %d\r\n\r\nx\r\n" % uid) for uid in (1, 2)})
    }
    server = scripted(folders, capabilities=capabilities)
    server.inject(b"EXAMINE", b"* OK [HIGHESTMODSEQ 7]", after=99)
    config = account_file(tmp_path, server, "u1")
    run(config)

    folders[b"INBOX"].messages[1].flags = ("\\Seen",)
    again = run(config)

    assert again.total("flags_changed") == (1,)
    assert [each for each in server.commands if b"MODSEQ" in each or b"CHANGEDSINCE" in each] == []


# -- going on ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("go_ahead", [b"+", b"+ ", b"+ go on", b"+go on", b"+\tgo on"])
def test_a_plus_with_and_without_a_blank(scripted: Start, connect: Connect, go_ahead: bytes) -> None:
    """A server that imap-codec's authors met sends nothing behind it, Yahoo a blank."""
    name = "Entwürfe".encode()
    server = scripted(mailbox() | {name: ScriptedFolder(2)}, capabilities=SASL)
    server.go_ahead = go_ahead
    source = connect(server)
    assert source.open(Folder(name, ("Entwürfe",), "/")).status.uidvalidity == 2


@pytest.mark.parametrize("challenge", [b"+ %b", b"+%b", b"+  %b", b"+ %b "])
def test_a_challenge_with_and_without_a_blank(scripted: Start, connect: Connect, challenge: bytes) -> None:
    server = scripted(mailbox(), capabilities=(*MINIMAL, "LOGINDISABLED", "AUTH=CRAM-MD5"))

    def authenticate(_: bytes, tag: bytes, session: Session) -> bytes:
        session.stream.send(challenge % b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+" + b"\r\n")
        session.stream.flush()
        answered = session.stream.line()
        session.user = "u1"
        return tag + (b" OK\r\n" if answered == ANSWER else b" NO\r\n")

    server.on(b"AUTHENTICATE", authenticate)
    assert connect(server).open(INBOX).status.messages == 1


ANSWER = b"dTEgYjAzN2EwYThmZDhjZDI2MWRlNmE5Mzg3YTFlODI2NDg="

# -- tagged replies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [b"OK", b"OK ", b"ok", b"Ok done", b" OK done", b"OK [READ-ONLY]", b"OK\tdone"])
def test_a_tagged_ok(scripted: Start, connect: Connect, reply: bytes) -> None:
    server = scripted(mailbox(), capabilities=MINIMAL)
    server.play(b"CAPABILITY", b"* CAPABILITY IMAP4rev1", b"A1 " + reply)
    server.play(b"LOGIN", b"A1 " + reply.replace(b"OK\t", b"OK "))
    server.play(b"LOGIN", b"A1 OK" if b"OK" not in reply else b"A1 " + reply)
    server.play(b"LIST", b'* LIST () "/" INBOX', b"A1 " + reply)
    server.play(b"LSUB", b"A1 " + reply)
    server.play(b"STATUS", b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1)", b"A1 " + reply)
    server.play(b"EXAMINE", b"* 1 EXISTS", b"* OK [UIDVALIDITY 1]", b"A1 " + reply)
    server.play(b"UID SEARCH", b"* SEARCH 1", b"A1 " + reply)
    row = b"* 1 FETCH (UID 1 FLAGS () RFC822.SIZE %d BODY[] {%d}\r\n%b)" % (len(MAIL), len(MAIL), MAIL)
    server.play(b"UID FETCH", row, b"A1 " + reply)
    source = connect(server)

    assert [each.folder.name for each in source.list_folders()] == ["INBOX"]
    assert source.open(INBOX).status.messages == 1
    assert list(source.uids()) == [1]
    assert [each.uid for each in source.scan(None)] == [1]
    assert len(list(source.fetch([1]))) == 1


@pytest.mark.parametrize("reply", [b"NO", b"NO ", b"no", b"BAD", b"bad", b" NO", b"", b"OKAY", b"YES"])
@pytest.mark.parametrize("command", [b"LOGIN", b"LIST", b"EXAMINE", b"UID FETCH"])
def test_a_tagged_reply_that_is_no_ok(scripted: Start, connect: Connect, command: bytes, reply: bytes) -> None:
    server = scripted(mailbox(), capabilities=MINIMAL)
    server.play(command, b"A1 " + reply)

    def look() -> None:
        source = connect(server)
        source.list_folders()
        source.open(INBOX)
        list(source.scan(None))

    with pytest.raises(BackendError):
        look()


# -- logged in, and no use ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bye", [[], [b"* BYE Connection closed. 14"]], ids=["", "BYE"])
@pytest.mark.parametrize("command", [b"NAMESPACE", b"LIST", b"EXAMINE", b"STATUS", b"UID SEARCH", b"UID FETCH"])
def test_exchange_is_authenticated_but_not_connected(
    scripted: Start, tmp_path: Path, command: bytes, bye: list[bytes]
) -> None:
    server = scripted(mailbox(), capabilities=(*MINIMAL, "NAMESPACE"))

    def refuse(_: bytes, tag: bytes, session: Session) -> bytes:
        session.stream.send(tag + b" BAD User is authenticated but not connected.\r\n")
        for each in bye:
            session.stream.send(each + b"\r\n")
            session.stream.end()
        return b""

    for each in {command, *([b"LIST"] if command == b"NAMESPACE" else [])}:
        server.on(each, refuse)
    ended = run(account_file(tmp_path, server, "u1"), expect=None)
    if ended.exit_code == 0:  # it was asked in another way, which worked
        assert ended.total("stored") == (1,)
    else:
        assert ended.exit_code in (3, 5)
        assert "authenticated but not connected" in ended.output


ID_FIRST = b"NO EXAMINE Unsafe Login. Please contact kefu@188.com for help"


def test_163_opens_folders_for_clients_that_name_themselves(scripted: Start, tmp_path: Path) -> None:
    """On each connection."""
    folders = {
        name: ScriptedFolder(number, {1: ScriptedMessage(b"Subject: %b\r\n\r\nx\r\n" % name)})
        for number, name in enumerate((b"INBOX", b"a", b"b", b"c"), 1)
    }
    server = scripted(folders, capabilities=("IMAP4rev1", "XLIST", "SPECIAL-USE", "LITERAL+", "UIDPLUS", "ID"))

    def examine(_: bytes, tag: bytes, session: Session) -> bytes | None:
        named = any(each.startswith(b"ID (") for each in session.commands)
        return None if named else tag + b" " + ID_FIRST + b"\r\n"

    server.on(b"EXAMINE", examine)
    ended = run(account_file(tmp_path, server, "u1", source__connections=3))
    assert ended.total("stored") == (4,)


def test_163_that_opens_no_folder_all_the_same(scripted: Start, tmp_path: Path) -> None:
    server = scripted(mailbox())
    server.on(b"EXAMINE", ID_FIRST)
    ended = run(account_file(tmp_path, server, "u1"), expect=5)
    assert "Unsafe Login. Please contact kefu@188.com for help" in ended.output


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"A1 BAD Command Argument Error. 12"], id="Exchange: refused"),
        pytest.param([b"A1 NO"], id="refused without a word"),
        pytest.param([b"* ID NIL", b"A1 OK ID completed"], id="nothing to say"),
        pytest.param([b"A1 OK ID completed"], id="said nothing"),
        pytest.param([b'* ID ("name" {7}\r\nDovecot)', b"A1 OK"], id="a literal"),
        pytest.param([b"* id ()", b"A1 OK"], id="empty"),
    ],
)
def test_an_id_that_is_not_understood_ends_nothing(scripted: Start, connect: Connect, lines: list[bytes]) -> None:
    server = scripted(mailbox())
    server.play(b"ID", *lines)
    source = connect(server)
    assert [each.folder.name for each in source.list_folders()] == ["INBOX"]
    assert source.open(INBOX).status.messages == 1


# -- refused logins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "meant", "hint"),
    [
        pytest.param(
            b"NO [ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833 "
            b"(Failure)",
            AuthenticationFailed,
            "app password",
            id="Gmail: app password",
        ),
        pytest.param(
            b"NO [ALERT] Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 "
            b"(Failure)",
            AuthenticationFailed,
            "web browser",
            id="Gmail: web browser",
        ),
        pytest.param(
            b"NO [WEBALERT https://accounts.google.com/ContinueSignIn] Web login required.",
            AuthenticationFailed,
            "Web login",
            id="Gmail: WEBALERT",
        ),
        pytest.param(b"NO LOGIN failed.", AuthenticationFailed, "LOGIN failed", id="Exchange"),
        pytest.param(b"NO", AuthenticationFailed, "", id="no words"),
        pytest.param(b"BAD", AuthenticationFailed, "", id="BAD without words"),
        pytest.param(
            b"NO [UNAVAILABLE] Temporary authentication failure.", ServerUnavailable, "", id="Dovecot: later"
        ),
    ],
)
def test_refused_logins(
    scripted: Start, connect: Connect, reply: bytes, meant: type[BackendError], hint: str
) -> None:
    server = scripted(mailbox(), login_reply=reply)
    with pytest.raises(meant) as caught:
        connect(server)
    assert type(caught.value) is meant
    assert hint in str(caught.value)
    assert len(logins(server)) == 1
