"""Answers to FETCH as real servers send them, odd as they are, line by line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.errors import ConnectionLost
from archiver.mail.model import Attributes, Fetched, Folder, Undelivered
from archiver.source.imap import ImapSource
from tests.accounts import account_file, run
from tests.servers.scripted import MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer, Session
from tests.servers.scripted_mail import uids_in

Start = Callable[..., ScriptedServer]
Connect = Callable[..., ImapSource]
INBOX = Folder(b"INBOX", ("INBOX",), "/")
MAIL = b"Subject: one\r\n\r\nbody\r\n"
LITERAL = b"{%d}\r\n%b" % (len(MAIL), MAIL)
SEEN = frozenset({"\\Seen"})


def mailbox(count: int = 3) -> dict[bytes, ScriptedFolder]:
    messages = {uid: ScriptedMessage(b"Subject: %d\r\n\r\nx\r\n" % uid) for uid in range(1, count + 1)}
    return {b"INBOX": ScriptedFolder(1, messages)}


@pytest.fixture
def inbox(scripted: Start, connect: Connect) -> tuple[ScriptedServer, ImapSource]:
    """A server, and a source with its INBOX open."""
    server = scripted(mailbox(), capabilities=MINIMAL)
    source = connect(server)
    source.open(INBOX)
    return server, source


WHOLE: dict[str, list[bytes]] = {
    "Exchange 2003: items behind the literal": [b"* 1 FETCH (BODY[] %b UID 1 FLAGS (\\Seen))"],
    "Cyrus 2.2: flags first": [b"* 1 FETCH (FLAGS (\\Seen) UID 1 BODY[] %b)"],
    "Microsoft 365: sizes first": [b"* 1 FETCH (RFC822.SIZE 22 UID 1 FLAGS (\\Seen) BODY[] %b)"],
    "imaptest: lower case": [b"* 1 fetch (uid 1 flags (\\seen) body[] %b)"],
    "DavMail: two blanks": [b"* 1 FETCH (UID 1 FLAGS (\\Seen)  BODY[] %b)"],
    "blanks wherever they can be": [b"*  1  FETCH  ( UID  1  FLAGS  ( \\Seen )  BODY[]  %b )"],
    "no blank before the bracket": [b"* 1 FETCH(UID 1 FLAGS (\\Seen) BODY[] %b)"],
    "Domino: brackets too many": [b"* 1 FETCH (UID 1 (FLAGS (\\Seen)) (BODY[] %b))"],
    "flags in a row of their own before": [b"* 1 FETCH (UID 1 FLAGS (\\Seen))", b"* 1 FETCH (UID 1 BODY[] %b)"],
    "flags in another row without a UID": [b"* 1 FETCH (FLAGS ())", b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] %b)"],
    "Proton: another message's flags in between": [
        b"* 3 FETCH (FLAGS (NonJunk) UID 3)",
        b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] %b)",
    ],
    "the row twice": [b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] %b)"] * 2,
    "EXPUNGE, EXISTS and RECENT in between": [
        b"* 2 EXPUNGE",
        b"* 2 EXISTS",
        b"* 1 RECENT",
        b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] %b)",
        b"* 1 EXPUNGE",
    ],
    "an alert in between": [
        b"* NO [ALERT] over 90 %% of your quota",
        b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] %b)",
    ],
    "a response code without a status": [
        b"* [COPYUID 55 31 6] copied",
        b"* [ALERT] down at noon",
        b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] %b)",
    ],
    "Zoho: modseq 0": [b"* 1 FETCH (MODSEQ (0) FLAGS (\\Seen) UID 1 BODY[] %b)"],
    "Zoho: modseq -1": [b"* 1 FETCH (MODSEQ (-1) FLAGS (\\Seen) UID 1 BODY[] %b)"],
    "Gmail: items nobody asked for": [
        b'* 1 FETCH (X-GM-THRID 12 X-GM-LABELS (a "b c" \\Inbox) UID 1 FLAGS (\\Seen) BODY[] %b)'
    ],
    "an envelope nobody asked for": [
        b'* 1 FETCH (UID 1 ENVELOPE (NIL "{5}" (("a" NIL "b" "c")) NIL NIL NIL NIL NIL) FLAGS (\\Seen) BODY[] %b)'
    ],
    "an origin of the whole": [b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] %b FLAGS (\\Seen))"],
    "a section in lower case": [b"* 1 FETCH (uid 1 Flags (\\SEEN) Body[] %b)"],
    "a literal8": [b"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] ~%b)"],
}


@pytest.mark.parametrize("what", WHOLE)
def test_rows(inbox: tuple[ScriptedServer, ImapSource], what: str) -> None:
    server, source = inbox
    server.play(b"UID FETCH", *[each.replace(b"%b", LITERAL) for each in WHOLE[what]], b"A1 OK FETCH completed.")
    (only,) = source.fetch([1])
    assert isinstance(only, Fetched), only
    assert (only.body.octets, only.attributes.uid, only.attributes.flags) == (MAIL, 1, SEEN)


SCANNED: dict[str, tuple[bytes, Attributes]] = {
    "QQ: a blank before the bracket": (b"* 1 FETCH (UID 19436 )", Attributes(19436)),
    "Microsoft 365: the UID last": (b"* 1 FETCH (RFC822.SIZE 45274 UID 84)", Attributes(84, size=45274)),
    "mail.ru: a size with an exponent": (b"* 1 FETCH (UID 1 RFC822.SIZE 9.3736e+06)", Attributes(1, size=9373600)),
    "Kopano: no size": (b"* 1 FETCH (UID 1 RFC822.SIZE NIL)", Attributes(1)),
    "IceWarp: null": (b"* 1 FETCH (UID 1 RFC822.SIZE null)", Attributes(1)),
    "a size in quotes": (b'* 1 FETCH (UID 1 RFC822.SIZE "12")', Attributes(1)),
    "Zoho: modseq 0": (b"* 1 FETCH (MODSEQ (0) FLAGS (\\Seen) UID 1)", Attributes(1, SEEN)),
    "Zoho: modseq -1": (b"* 1 FETCH (MODSEQ (-1) FLAGS (\\Seen) UID 1)", Attributes(1, SEEN)),
    "a modseq without brackets": (b"* 1 FETCH (MODSEQ 12 FLAGS (\\Seen) UID 1)", Attributes(1, SEEN)),
    "imaptest: a flag called NIL": (b"* 1 fetch (uid 1 flags (NIL))", Attributes(1, frozenset({"NIL"}))),
    "flags NIL": (b"* 1 FETCH (UID 1 FLAGS NIL)", Attributes(1)),
    "Domino: a date that is none": (
        b'* 1 FETCH (UID 1 INTERNALDATE "00-Jan-0000 00:00:00 +0000")',
        Attributes(1, internaldate="00-Jan-0000 00:00:00 +0000"),
    ),
    "IceWarp: a date before its time": (
        b'* 1 FETCH (UID 1 INTERNALDATE "30-Dec-1899 00:00:00 +0530")',
        Attributes(1, internaldate="30-Dec-1899 00:00:00 +0530"),
    ),
    "a month in another language": (
        b'* 1 FETCH (UID 1 INTERNALDATE "27-JAG-2018 10:11:12 +0100")',
        Attributes(1, internaldate="27-JAG-2018 10:11:12 +0100"),
    ),
    "a day of one digit": (
        b'* 1 FETCH (UID 1 INTERNALDATE "8-Mar-2023 12:16:47 +0800")',
        Attributes(1, internaldate="8-Mar-2023 12:16:47 +0800"),
    ),
    "no date": (b"* 1 FETCH (UID 1 INTERNALDATE NIL)", Attributes(1)),
    "an empty date": (b'* 1 FETCH (UID 1 INTERNALDATE "")', Attributes(1, internaldate="")),
    "an envelope in brackets too many": (
        b"* 1 FETCH (UID 14935 (ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)) BODYSTRUCTURE (NIL))",
        Attributes(14935),
    ),
    "items that nobody knows": (b"* 1 FETCH (UID 1 X-FOO BAR FLAGS (\\Seen) SNIPPET NIL)", Attributes(1, SEEN)),
}


@pytest.mark.parametrize("what", SCANNED)
def test_attributes(inbox: tuple[ScriptedServer, ImapSource], what: str) -> None:
    server, source = inbox
    row, expected = SCANNED[what]
    server.play(b"UID FETCH", row, b"A1 OK")
    assert list(source.scan([1])) == [expected]


NONE: dict[str, list[bytes]] = {
    "iCloud: OK without the message": [b"* 1 FETCH (UID 1)", b"A1 OK FETCH completed"],
    "Exchange: OK without a row": [b"A1 OK FETCH completed."],
    "OK without a row or a word": [b"A1 OK"],
    "Yandex: a value left out": [b"* 1 FETCH (UID 1 BODY[] )", b"A1 OK"],
    "NIL": [b"* 1 FETCH (UID 1 RFC822.SIZE 22 BODY[] NIL)", b"A1 OK"],
    "NIL in lower case": [b"* 1 FETCH (UID 1 RFC822.SIZE 22 BODY[] nil)", b"A1 OK"],
    "an empty string of a message that has a size": [b'* 1 FETCH (UID 1 RFC822.SIZE 22 BODY[] "")', b"A1 OK"],
    "a literal of no octets of a message that has a size": [
        b"* 1 FETCH (UID 1 RFC822.SIZE 22 BODY[] {0}",
        b")",
        b"A1 OK",
    ],
    "the header alone": [b"* 1 FETCH (UID 1 BODY[HEADER] %b)", b"A1 OK"],
    "a part": [b"* 1 FETCH (UID 1 BODY[1.2] {0}", b")", b"A1 OK"],
    "another message": [b"* 2 FETCH (UID 2 BODY[] %b)", b"A1 OK"],
    "a row without a UID": [b"* 1 FETCH (BODY[] %b)", b"A1 OK"],
    "Yahoo: NO": [b"A1 NO [UNAVAILABLE] UID FETCH Server error while fetching messages"],
    "Gmail: NO": [b"A1 NO Some messages could not be FETCHed (Failure)"],
    "BAD": [b"A1 BAD"],
    "Exchange: its own words instead": [b"* 1 FETCH (UID 1 BODY[] %p)", b"A1 OK"],
}
PLACEHOLDER = (
    b"From: Microsoft Exchange Server 2010\r\n"
    b"Subject: Retrieval using the IMAP4 protocol failed for the following\r\n"
    b" message: 20004\r\n\r\nThe server couldn't retrieve the following message:\r\n"
)


@pytest.mark.parametrize("what", NONE)
def test_no_message(inbox: tuple[ScriptedServer, ImapSource], what: str) -> None:
    """It is never stored as if it were one, and the others come."""
    server, source = inbox
    placeholder = b"{%d}\r\n%b" % (len(PLACEHOLDER), PLACEHOLDER)
    lines = [each.replace(b"%b", LITERAL).replace(b"%p", placeholder) for each in NONE[what]]

    def first(line: bytes, tag: bytes, _: Session) -> bytes | None:
        if line.split()[3] != b"1" or b"BODY.PEEK[]" not in line or b"<0.1>" in line:
            return None
        return b"".join((tag + each[2:] if each[:2] == b"A1" else each) + b"\r\n" for each in lines)

    server.on(b"UID FETCH", first)
    (only,) = source.fetch([1])
    assert isinstance(only, Undelivered)
    assert not only.gone
    assert [type(each) for each in source.fetch([2, 3])] == [Fetched, Fetched]


@pytest.mark.parametrize("body", [b"{0}\r\n", b'""', b"NIL", b"~{0}\r\n"])
@pytest.mark.parametrize("size", [b" RFC822.SIZE 0", b""])
def test_a_message_of_no_octets_is_one(inbox: tuple[ScriptedServer, ImapSource], body: bytes, size: bytes) -> None:
    server, source = inbox
    server.play(b"UID FETCH", b"* 1 FETCH (UID 1%b BODY[] %b)" % (size, body), b"A1 OK")
    (only,) = source.fetch([1])
    if body == b"NIL" and not size:
        assert isinstance(only, Undelivered)
    else:
        assert isinstance(only, Fetched)
        assert only.body.size == 0


@pytest.mark.parametrize("size", [19189, 1, 20, 24])
def test_the_literal_is_as_long_as_it_says_whatever_rfc822_size_says(
    inbox: tuple[ScriptedServer, ImapSource], size: int
) -> None:
    """Exchange and OVH: far too large; hMailServer and WildDuck: a few octets off."""
    server, source = inbox
    server.play(b"UID FETCH", b"* 1 FETCH (UID 1 RFC822.SIZE %d BODY[] %b)" % (size, LITERAL), b"A1 OK")
    (only,) = source.fetch([1])
    assert isinstance(only, Fetched)
    assert only.body.octets == MAIL


OUT_OF_STEP = {
    "Domino: fewer octets than announced": b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b)" % (len(MAIL) + 9, MAIL),
    "Yandex: more octets than announced": b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b)" % (len(MAIL) - 9, MAIL),
    "counted in characters": b"* 1 FETCH (UID 1 BODY[] {38}\r\n" + "ä".encode() * 38 + b")",
}


@pytest.mark.parametrize("what", OUT_OF_STEP)
def test_a_literal_of_the_wrong_length_ends_the_connection(
    inbox: tuple[ScriptedServer, ImapSource], tmp_path: Path, what: str
) -> None:
    server, source = inbox
    server.on(b"UID FETCH", lambda *_: OUT_OF_STEP[what] + b"\r\n* BYE\r\n")
    with pytest.raises(ConnectionLost):
        list(source.fetch([1]))


@pytest.mark.parametrize("what", OUT_OF_STEP)
def test_a_literal_of_the_wrong_length_costs_its_message_alone(scripted: Start, tmp_path: Path, what: str) -> None:
    server = scripted(mailbox(4), capabilities=MINIMAL)

    def answer(line: bytes, tag: bytes, session: Session) -> bytes | None:
        if b"BODY.PEEK[]" not in line or line.split()[3] not in (b"1", b"1:*", b"1:4", b"1:2", b"1:3"):
            return None
        session.stream.send(OUT_OF_STEP[what] + b"\r\n" + tag + b" OK FETCH completed\r\n")
        session.stream.end()
        return b""

    server.on(b"UID FETCH", answer)
    ended = run(account_file(tmp_path, server, "u1"), expect=3)
    assert ended.total("stored", "quarantined") == (3, 1)
    assert ended.balanced


def test_gmail_ends_a_session_after_many_messages(scripted: Start, tmp_path: Path) -> None:
    server = scripted(mailbox(250), capabilities=MINIMAL)

    def answer(_: bytes, __: bytes, session: Session) -> None:
        if sum(each.startswith(b"UID FETCH") and b"BODY" in each for each in session.commands) > 2:
            session.stream.send(b"* BYE Session expired, please login again.\r\n")
            session.stream.end()

    server.on(b"UID FETCH", answer)
    ended = run(account_file(tmp_path, server, "u1", source__attempts=5))
    assert ended.total("stored", "quarantined") == (250, 0)


def test_a_server_that_gives_other_octets_each_time_is_archived_once(scripted: Start, tmp_path: Path) -> None:
    """WildDuck and Exchange make new MIME, with other boundaries."""
    server = scripted(mailbox(2), capabilities=MINIMAL)
    config = account_file(tmp_path, server, "u1")
    run(config)
    for message in server.folders[b"INBOX"].messages.values():
        message.octets += b"--another boundary--\r\n"
    assert run(config).total("stored", "fetched", "vanished") == (2, 0, 0)


def test_the_size_of_a_message_is_asked_for_once(scripted: Start, tmp_path: Path) -> None:
    """DavMail reads the whole message to know it."""
    server = scripted(mailbox(3), capabilities=MINIMAL)
    config = account_file(tmp_path, server, "u1")
    asked: list[int] = []

    def sizes(line: bytes, _: bytes, session: Session) -> None:
        if b"RFC822.SIZE" in line and session.folder is not None:
            asked.extend(uids_in(line.split(b" ")[3], sorted(session.folder.messages)))

    server.on(b"UID FETCH", sizes)
    run(config)
    assert sorted(asked) == [1, 2, 3]
    server.folders[b"INBOX"].messages[4] = ScriptedMessage(MAIL)
    del asked[:]
    run(config)
    assert sorted(asked) == [1, 2, 3, 4], "the newest known ones, to recognise the folder, and what is new"
