"""A server that lies, never ends, or says what no server should: the source stays in step, takes nothing for mail
that is none, bounds what it keeps, and reveals no secret."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from archiver.errors import (
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    ConnectionRefused,
    ServerUnavailable,
    Throttled,
)
from archiver.imap import answers, session
from archiver.imap.wire import pace
from archiver.mail.content import header_digest
from archiver.mail.model import Changes, Fetched, Folder, KnownState, Undelivered
from archiver.source.imap import ImapSource
from archiver.source.retry import RetryingSource
from tests.accounts import UNSTOPPED
from tests.servers.logins import login_at, spool_in
from tests.servers.scripted import DROP, FULL, MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.scripted import Session as Connection

Start = Callable[..., ScriptedServer]
Connect = Callable[..., ImapSource]
INBOX = Folder(b"INBOX", ("INBOX",), "/")
MAIL = b"Subject: %d\r\n\r\nbody\r\n"


def mailbox(count: int = 3) -> dict[bytes, ScriptedFolder]:
    return {b"INBOX": ScriptedFolder(1, {uid: ScriptedMessage(MAIL % uid) for uid in range(1, count + 1)})}


def rows(*lines: bytes, status: bytes = b"OK done") -> Callable[[bytes, bytes, Connection], bytes]:
    """An answer of these lines and a tagged status."""
    return lambda _, tag, __: b"".join(line + b"\r\n" for line in lines) + tag + b" " + status + b"\r\n"


@pytest.fixture
def inbox(connect: Connect) -> Connect:
    """A source with the INBOX open."""

    def opened(server: ScriptedServer) -> ImapSource:
        source = connect(server)
        source.open(INBOX)
        return source

    return opened


def outcome(source: ImapSource, uid: int = 1) -> bytes | str:
    """The octets of a message, or why it did not come."""
    (only,) = source.fetch([uid])
    if isinstance(only, Undelivered):
        return only.reason
    assert only.body.octets is not None
    return only.body.octets


# -- what is no message --------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", [b"BODY[HEADER]", b"BODY[TEXT]", b"BODY[]<0>", b"BODY[1]"])
def test_a_part_of_a_message_is_not_the_message(scripted: Start, inbox: Connect, item: bytes) -> None:
    server = scripted(mailbox())
    source = inbox(server)
    server.on(b"UID FETCH", rows(b"* 1 FETCH (UID 1 RFC822.SIZE 20 %b {4}\r\npart)" % item), times=2)

    assert outcome(source) == "the server answered OK without the message"


def test_a_row_with_two_bodies_is_out_of_step(scripted: Start, inbox: Connect, tmp_path: Path) -> None:
    server = scripted(mailbox())
    source = inbox(server)
    large = b"{1100000}\r\n" + b"x" * 1_100_000
    server.on(b"UID FETCH", rows(b"* 1 FETCH (UID 1 BODY[] %b BODY[] {3}\r\nabc)" % large))

    with pytest.raises(ConnectionLost):
        list(source.fetch([1]))
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_breaks_behind_a_large_literal_leaves_no_spool_file(
    scripted: Start, inbox: Connect, tmp_path: Path
) -> None:
    server = scripted(mailbox())
    source = inbox(server)

    def half(_: bytes, __: bytes, connection: Connection) -> bytes:
        connection.stream.send(b"* 1 FETCH (UID 1 BODY[] {1100000}\r\n" + b"x" * 1_100_000)
        connection.stream.end(DROP)
        return b""

    server.on(b"UID FETCH", half)
    with pytest.raises(ConnectionLost):
        list(source.fetch([1]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [b"* 1 GIVE (UID 1 BODY[] %b)", b"* 1 FETCH (UID 1 FLAGS (BODY[] %b) BODY[] NIL)"])
def test_a_large_literal_that_is_no_message_leaves_no_spool_file(
    scripted: Start, inbox: Connect, tmp_path: Path, line: bytes
) -> None:
    server = scripted(mailbox())
    source = inbox(server)
    server.on(b"UID FETCH", rows(line % (b"{1100000}\r\n" + b"x" * 1_100_000)), times=2)

    assert isinstance(next(iter(source.fetch([1]))), Undelivered)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mark", [b"\x000\x00", b"\x00\x00"])
def test_octets_that_look_like_the_place_of_a_literal_are_none(
    scripted: Start, inbox: Connect, mark: bytes
) -> None:
    server = scripted(mailbox())
    source = inbox(server)
    server.on(b"UID FETCH", rows(b"* 1 FETCH (UID 1 RFC822.SIZE 20 BODY[] %b)" % mark), times=2)

    assert outcome(source) == "the server answered OK without the message"


def test_a_name_that_looks_like_the_place_of_a_literal_is_a_name(scripted: Start, connect: Connect) -> None:
    server = scripted(mailbox(), capabilities=MINIMAL)
    server.on(b"LIST", rows(b'* LIST () "/" INBOX', b'* LIST () "/" \x007\x00', b'* LIST () "/" "\x00'))

    assert [each.folder.raw for each in connect(server).list_folders()] == [b"INBOX", b'"\x80', b"\x807\x80"]


def test_windows_may_be_answered_in_any_order(
    scripted: Start, inbox: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3501 section 5.5: a server may work on several commands at the same time."""
    monkeypatch.setattr("archiver.imap.fetch.WINDOW", 1)
    server = scripted(mailbox(3))
    source = inbox(server)
    assert len(list(source.fetch([3]))) == 1  # until something is given, one command is sent at a time
    waiting: list[bytes] = []

    def backwards(line: bytes, tag: bytes, _: Connection) -> bytes:
        uid = int(line.split()[3])
        octets = MAIL % uid
        waiting.append(b"* %d FETCH (UID %d BODY[] {%d}\r\n%b)\r\n%b OK\r\n" % (uid, uid, len(octets), octets, tag))
        return b"".join(reversed(waiting)) if len(waiting) == 2 else b""

    server.on(b"UID FETCH", backwards)

    found = {each.attributes.uid: each.body.octets for each in source.fetch([1, 2]) if isinstance(each, Fetched)}
    assert found == {1: MAIL % 1, 2: MAIL % 2}


def test_a_message_that_a_search_does_not_know_is_not_taken_for_gone(scripted: Start, inbox: Connect) -> None:
    folders = mailbox()
    folders[b"INBOX"].messages[2].fetch = "no"
    server = scripted(folders)
    source = inbox(server)
    server.on(b"UID SEARCH", rows(b"* SEARCH"))

    (undelivered,) = source.fetch([2])

    assert isinstance(undelivered, Undelivered)
    assert not undelivered.gone


# -- what does not end, or is too much ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"* 1 FETCH (UID 1 X {%d}\r\n%b" % (3 << 20, b"x" * (3 << 20)), id="literals"),
        pytest.param(b"* 1 FETCH (UID 1 FLAGS (%b" % (b"x" * 70_000), id="text"),
    ],
)
def test_a_response_is_bounded(scripted: Start, inbox: Connect, line: bytes) -> None:
    server = scripted(mailbox())
    source = inbox(server)
    server.on(b"UID FETCH", rows(line + b" X {3000000}\r\n" + b"y" * 3_000_000 + b")"))

    with pytest.raises(ConnectionLost, match=r"unexpected|does not end"):
        list(source.scan([1]))


def test_a_long_list_of_numbers_is_none_of_that(scripted: Start, inbox: Connect) -> None:
    server = scripted({b"INBOX": ScriptedFolder(1, {uid: ScriptedMessage() for uid in range(1, 20_001)})})
    server.capabilities.remove("ESEARCH")
    source = inbox(server)

    assert source.uids() == set(range(1, 20_001))


@pytest.mark.parametrize("command", [b"EXAMINE", b"UID SEARCH"])
def test_what_is_kept_until_a_command_ends_is_bounded(
    scripted: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch, command: bytes
) -> None:
    monkeypatch.setattr(answers, "_SHORT_ANSWER", 100_000)
    monkeypatch.setattr(answers, "_OF_A_MESSAGE", 0)
    server = scripted(mailbox())
    server.inject(command, *[b"* OK still here"] * 1000, times=1)
    source = connect(server)

    def look() -> None:
        source.open(INBOX)
        source.uids()

    named = rf"does not end: it has 0 MB already \(.*{command.decode()}"
    with pytest.raises(ConnectionLost, match=named) as caught:
        look()
    assert str(caught.value).startswith(f"127.0.0.1:{server.port}")


@pytest.mark.parametrize(("command", "is_read"), [(b"LIST", True), (b"EXAMINE", False), (b"LOGIN", False)])
def test_an_answer_is_as_large_as_that_of_its_command_can_be(
    scripted: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch, command: bytes, is_read: bool
) -> None:
    """What a refusal shows of a command has no password."""
    monkeypatch.setattr(answers, "_SHORT_ANSWER", 1 << 20)
    server = scripted(mailbox())
    server.inject(command, *[b'* LIST () "/" "Folder %d"' % number for number in range(5_000)], times=1)

    def look() -> None:
        source = connect(server)
        source.list_folders()
        source.open(INBOX)

    if is_read:
        look()
        return
    with pytest.raises(ConnectionLost, match=rf"it has 1 MB already \({command.decode()}\);"):
        look()


def test_connections_to_both_sides_share_what_may_be_kept(
    scripted: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that keeps the most gives up, and nothing of it is kept after that."""
    monkeypatch.setattr(answers.BUDGET, "most", 4 << 20)
    small, large = scripted(mailbox()), scripted(mailbox())
    for server, count in ((small, 8_000), (large, 50_000)):
        server.inject(b"LIST", *[b'* LIST () "/" "Folder %d"' % number for number in range(count)])
    first, second = connect(small), connect(large)

    assert len(first.list_folders()) == 8_001
    shared = r"it has . MB already \(.*LIST\), and all connections together may have 4 MB"
    with pytest.raises(ConnectionLost, match=shared) as lost:
        second.list_folders()
    assert str(lost.value).startswith(f"127.0.0.1:{large.port}")
    del lost  # its traceback has the rows
    second.close()
    assert len(connect(small).list_folders()) == 8_001
    assert len(first.list_folders()) == 8_001


@pytest.mark.parametrize("read", ["scan", "fetch"])
def test_rows_that_bring_nothing_are_not_read_for_ever(scripted: Start, inbox: Connect, read: str) -> None:
    server = scripted(mailbox(1))
    source = inbox(server)

    def endless(_: bytes, __: bytes, connection: Connection) -> bytes:
        while True:
            connection.stream.send(b"* 1 FETCH (FLAGS (\\Seen))\r\n" * 1000)
            connection.stream.flush()

    server.on(b"UID FETCH", endless)
    with pytest.raises(ConnectionLost, match="does not end"):
        list(getattr(source, read)([1]))


@pytest.mark.parametrize("row", [b"* SEARCH 1", b'* LIST () "/" x', b"* 9 FETCH (UID 9)", b"* 1 EXISTS"])
def test_rows_of_an_answer_that_bring_nothing_are_not_kept_for_ever(
    scripted: Start, inbox: Connect, row: bytes
) -> None:
    server = scripted(mailbox(1))
    source = inbox(server)
    server.on(b"UID SEARCH", rows(*[row] * 20_000))
    with pytest.raises(ConnectionLost, match="does not end: nothing of what it sent lately was asked for"):
        source.uids("SEEN")


LARGE = b"* 1 FETCH (UID 1 RFC822.SIZE 900000 BODY[] {900000}\r\n" + bytes(900_000) + b")\r\n"
NOTHING = {
    "words behind a large message": (b"UID FETCH", LARGE, b"* OK still here\r\n"),
    "messages that do not exist": (b"UID FETCH", b"", b"* 9 FETCH (UID 9 BODY[] {50}\r\n%050d)\r\n" % 0),
    "flags of a message again and again": (b"UID FETCH", b"", b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n"),
    "the same folder again and again": (b"LIST", b"", b'* LIST () "/" INBOX\r\n'),
    "the same status again and again": (b"LIST", b"", b"* STATUS INBOX (MESSAGES 1)\r\n"),
    "the same UIDs again and again": (b"UID SEARCH", b"", b"* SEARCH 1 2 3\r\n"),
    "folders while UIDs are searched": (b"UID SEARCH", b"", b'* LIST () "/" INBOX\r\n'),
}


@pytest.mark.parametrize("what", NOTHING)
def test_rows_that_bring_nothing_gain_no_time(
    scripted: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A thousand octets a second are the minimum pace here, and these are many more."""
    monkeypatch.setattr(pace, "OCTETS_A_MINUTE", 60_000)
    monkeypatch.setattr(pace, "_LATE", 2)
    monkeypatch.setattr(session, "_PATIENCE", 10**9)
    command, begin, drop = NOTHING[what]
    server = scripted(mailbox(1))

    def dripping(_: bytes, __: bytes, connection: Connection) -> bytes:
        octets = begin
        while True:
            connection.stream.send(octets)
            connection.stream.flush()
            time.sleep(0.05)
            octets = drop * (1024 // len(drop))

    server.on(command, dripping)
    source = ImapSource(*login_at(server.port, "u1", "pw", patience=0.3), spool_in(tmp_path))

    def read() -> None:
        source.list_folders()
        source.open(INBOX)
        source.uids("SEEN")
        list(source.fetch([1]))

    with pytest.raises(ConnectionLost, match=r"not finished within .* of what was asked for"):
        read()
    source.hang_up()


def test_messages_that_nobody_asked_for_are_not_read_for_ever(
    scripted: Start, inbox: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large ones are not read as often as small ones."""
    monkeypatch.setattr(session, "_PIECE", 100)
    server = scripted(mailbox(1))
    source = inbox(server)
    sent = [0]

    def endless(_: bytes, __: bytes, connection: Connection) -> bytes:
        while True:
            connection.stream.send(b"* 9 FETCH (UID 9 BODY[] {50000}\r\n" + bytes(50_000) + b")\r\n")
            connection.stream.flush()
            sent[0] += 1

    server.on(b"UID FETCH", endless)
    with pytest.raises(ConnectionLost, match="does not end"):
        list(source.fetch([1]))
    assert sent[0] < 200


def test_an_emptied_folder_is_no_answer_without_an_end(scripted: Start, inbox: Connect) -> None:
    """Another client removes 40,000 messages while one is fetched."""
    server = scripted(mailbox(1))
    source = inbox(server)
    server.inject(b"UID SEARCH", b"* 40001 EXISTS")
    source.uids("SEEN")
    server.inject(b"UID FETCH", *[b"* 2 EXPUNGE"] * 40_000, after=0)
    assert len(list(source.fetch([1]))) == 1


@pytest.mark.parametrize("exists", [b"4294967295", b"99999999999999999999"])
@pytest.mark.parametrize(
    "found",
    [
        pytest.param(b"* SEARCH 1", id="one"),
        pytest.param(b'* ESEARCH (TAG "A1") UID ALL 1:4294967295', id="all there could be"),
        pytest.param(b'* ESEARCH (TAG "A1") UID ALL ' + b",".join([b"1:9000"] * 1_000_000), id="again and again"),
    ],
)
def test_a_number_of_messages_that_cannot_be(
    scripted: Start, inbox: Connect, monkeypatch: pytest.MonkeyPatch, exists: bytes, found: bytes
) -> None:
    monkeypatch.setattr("archiver.imap.folder._MOST_UIDS", 10_000)
    server = scripted(mailbox())
    server.inject(b"EXAMINE", b"* %b EXISTS" % exists, after=99)
    server.on(b"UID SEARCH", rows(found))

    with pytest.raises((ServerUnavailable, ConnectionLost)):
        inbox(server).uids()


def test_a_folder_said_to_be_empty_whose_messages_are_found_is_not_empty(scripted: Start, inbox: Connect) -> None:
    folders = mailbox()
    folders[b"INBOX"].exists = 0

    with pytest.raises(ServerUnavailable):
        inbox(scripted(folders)).uids()


@pytest.mark.parametrize(
    "gone", [b"* VANISHED 1000:5000", b"\r\n".join([b"* 1 EXPUNGE"] * 2000)], ids=["VANISHED", "EXPUNGE"]
)
def test_more_messages_are_expunged_than_there_were(scripted: Start, inbox: Connect, gone: bytes) -> None:
    server = scripted(mailbox())
    source = inbox(server)
    server.inject(b"UID SEARCH", gone)

    with pytest.raises(ServerUnavailable):
        source.uids()


def test_a_header_without_an_end_is_cut_and_not_refused(scripted: Start, inbox: Connect) -> None:
    endless = b"Subject: one line\r\n" + b"x" * 5_000_000
    source = inbox(scripted({b"INBOX": ScriptedFolder(1, {1: ScriptedMessage(endless)})}))

    ((_, header),) = source.headers([1])

    assert header_digest(header) == header_digest(endless)


@pytest.mark.parametrize("line", [b"300}", b"* SEARCH {}", b"* 1 FETCH }", b"}", b"* LIST {+}", b"{300", b"x{-1}"])
def test_a_bracket_without_a_number_announces_no_literal(scripted: Start, connect: Connect, line: bytes) -> None:
    server = scripted(mailbox())
    server.on(b"EXAMINE", lambda _, tag, __: line + b"\r\n" + tag + b" NO\r\n")

    with pytest.raises(BackendError):
        connect(server).open(Folder(b"INBOX", ("INBOX",)))


def test_words_for_people_announce_no_literal(scripted: Start, connect: Connect) -> None:
    """A server that shows the command it did not take."""
    server = scripted(mailbox())
    server.on(b"EXAMINE", rows(b"* NO what is EXAMINE {19}", status=b"BAD unexpected literal: EXAMINE {19}"))

    with pytest.raises(BackendError, match="unexpected literal"):
        connect(server).open(INBOX)


# -- a folder that was open before -------------------------------------------------------------------------------


def test_data_about_the_previous_folder_is_not_taken_for_this_one(scripted: Start, inbox: Connect) -> None:
    """RFC 7162 section 3.2.11: all up to CLOSED."""
    folders = mailbox() | {b"Other": ScriptedFolder(2, {5: ScriptedMessage(MAIL % 5, modseq=9)})}
    server = scripted(folders)
    source = inbox(server)
    before = (b"* 1 FETCH (UID 5 FLAGS (\\Deleted) MODSEQ (99))", b"* VANISHED 5", b"* OK [CLOSED] it is")
    here = (b"* 1 EXISTS", b"* OK [UIDVALIDITY 2]", b"* OK [UIDNEXT 6]", b"* OK [HIGHESTMODSEQ 9]")
    server.on(b"EXAMINE", rows(*before, *here))

    opened = source.open(Folder(b"Other", ("Other",), "/"), KnownState(2, 5, 9))

    assert (opened.changes, opened.status.messages) == (Changes(frozenset(), ()), 1)


# -- listing ---------------------------------------------------------------------------------------------------


def test_a_status_belongs_to_the_folder_that_it_names(scripted: Start, connect: Connect) -> None:
    """Whatever the order of the answers."""
    folders = {b"INBOX": ScriptedFolder(1), b"a": ScriptedFolder(2), b"b": ScriptedFolder(3)}
    server = scripted(folders, capabilities=MINIMAL)
    reported = b"* STATUS %b (MESSAGES 0 UIDVALIDITY %d)"
    server.on(b"STATUS", rows())
    server.on(b"STATUS", rows(reported % (b"b", 3), reported % (b"a", 2), reported % (b"inbox", 1)), times=1)

    listed = connect(server).list_folders()

    assert {each.folder.raw: each.status and each.status.uidvalidity for each in listed} == {
        b"INBOX": 1, b"a": 2, b"b": 3,
    }  # fmt: skip


def test_an_inbox_spelt_in_two_ways_has_its_status(scripted: Start, connect: Connect) -> None:
    server = scripted(mailbox())
    server.on(
        b"LIST",
        rows(b'* LIST () "/" "Inbox"', b"* STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 1)", b'* LIST () "/" x'),
    )

    (inbox, _) = connect(server).list_folders()

    assert inbox.status is not None


@pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["extended", "plain"])
@pytest.mark.parametrize("cautious", [False, True], ids=["", "cautious"])
@pytest.mark.parametrize(
    ("status", "meant"),
    [
        (b"NO [SERVERBUG] internal error", ServerUnavailable),
        (b"BAD what", ServerUnavailable),
        (b"NO please try again later", Throttled),
    ],
)
def test_a_list_that_breaks_off_is_no_list(
    scripted: Start,
    connect: Connect,
    capabilities: tuple[str, ...],
    cautious: bool,
    status: bytes,
    meant: type[BackendError],
) -> None:
    server = scripted(mailbox() | {b"a": ScriptedFolder(2)}, capabilities=capabilities)
    server.on(b"LIST", rows(b'* LIST () "/" INBOX', status=status))

    with pytest.raises(meant):
        connect(server, cautious=cautious).list_folders()


def test_an_extended_list_that_breaks_off_is_asked_for_in_the_plain_way(scripted: Start, connect: Connect) -> None:
    server = scripted(mailbox() | {b"a": ScriptedFolder(2)})
    server.on(b"LIST", rows(b'* LIST () "/" INBOX', status=b"NO [SERVERBUG] internal error"), times=1)

    assert [each.folder.name for each in connect(server).list_folders()] == ["INBOX", "a"]


def test_subscriptions_that_cannot_be_listed_now_are_not_taken_for_none(scripted: Start, connect: Connect) -> None:
    server = scripted(mailbox(), capabilities=MINIMAL)
    server.on(b"LSUB", b"BAD no such command")
    server.on(b"LSUB", b"NO [UNAVAILABLE] later", times=1)

    with pytest.raises(ServerUnavailable):
        connect(server).list_folders()
    (inbox,) = connect(server).list_folders()

    assert not inbox.folder.subscribed


def test_a_namespace_that_is_no_level_cuts_no_name(scripted: Start, connect: Connect) -> None:
    server = scripted(mailbox() | {b"INBOXES": ScriptedFolder(2)}, prefix=b"INBOX")

    assert [each.folder.name for each in connect(server).list_folders()] == ["INBOX", "INBOXES"]


# -- logging in --------------------------------------------------------------------------------------------------

PASSWORD = 'tr"ou\\ba dor'


def refused(server: ScriptedServer, tls: Literal["off", "starttls"] = "off") -> BackendError:
    login = login_at(server.port, "u1", PASSWORD, tls=tls, patience=5)
    with pytest.raises(BackendError) as caught:
        ImapSource(*login, spool_in(Path("/nonexistent")))
    return caught.value


@pytest.mark.parametrize("capabilities", [MINIMAL, (*MINIMAL, "AUTH=PLAIN"), (*MINIMAL, "AUTH=PLAIN", "SASL-IR")])
@pytest.mark.parametrize("words", [b"%b BAD no such thing: %b\r\n", b"* BYE %b %b\r\n", b"?? %b %b\r\n"])
def test_a_server_that_repeats_our_line_reveals_no_password(
    scripted: Start, capabilities: tuple[str, ...], words: bytes
) -> None:
    def again(line: bytes, tag: bytes, connection: Connection) -> bytes:
        if line.endswith(b"PLAIN"):
            connection.stream.send(b"+ \r\n")
            connection.stream.flush()
            line = connection.stream.line()
        return words % (tag, line)

    server = scripted(mailbox(), capabilities=capabilities)
    server.on(b"LOGIN", again)
    server.on(b"AUTHENTICATE", again)

    error = refused(server)

    shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    for secret in (PASSWORD, "tr\\", "ba dor", "AHUxAHRyIm91XGJhIGRvcg"):
        assert secret not in shown
    assert "***" in shown


@pytest.mark.parametrize("capabilities", [(*MINIMAL, "AUTH=PLAIN"), (*MINIMAL, "AUTH=PLAIN", "SASL-IR")])
def test_a_server_that_asks_again_and_again_learns_that_there_is_no_more(
    scripted: Start, capabilities: tuple[str, ...]
) -> None:
    said: list[bytes] = []

    def asks(_: bytes, tag: bytes, connection: Connection) -> bytes:
        while b"*" not in said:
            connection.stream.send(b"+ more\r\n")
            connection.stream.flush()
            said.append(connection.stream.line())
        return tag + b" BAD cancelled\r\n"

    server = scripted(mailbox(), capabilities=capabilities)
    server.on(b"AUTHENTICATE", asks)

    assert isinstance(refused(server), AuthenticationFailed)


def test_octets_sent_before_tls_began_are_refused(scripted: Start) -> None:
    server = scripted(capabilities=(*MINIMAL, "STARTTLS"))
    server.on(b"STARTTLS", lambda _, tag, __: tag + b" OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")

    error = refused(server, tls="starttls")

    assert isinstance(error, ConnectionRefused)
    assert "before the TLS handshake" in str(error)
    assert server.commands[-1] == b"STARTTLS"


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param(b"* OK " + b"x" * 100_000, id="too long"),
        pytest.param(b"* OKAY", id="another word"),
        pytest.param(b"* 5 EXISTS", id="no status"),
        pytest.param(b"*", id="nothing"),
    ],
)
def test_a_greeting_that_no_server_sends(scripted: Start, greeting: bytes) -> None:
    assert isinstance(refused(scripted(greeting=greeting)), ConnectionRefused)


@pytest.mark.parametrize(
    "greeting",
    [
        b"* OK [ALERT] down at noon",
        b"* OK [CAPABILITY] ready",
        b"* OK [CAPABILITY \xff AUTH=PLAIN IMAP4rev1] ready",
        b"* OK {99999999999999999999}",
        b"* OK {3000000000}",
        b"* OK {%b}" % (b"9" * 5000),
        b"* OK hello\r\n" + b"\r\n".join([b"* OK still here"] * 2000),
    ],
)
def test_a_greeting_with_an_odd_code_is_one(scripted: Start, connect: Connect, greeting: bytes) -> None:
    assert connect(scripted(mailbox(), greeting=greeting)).list_folders()


def test_a_capability_that_is_no_ascii(scripted: Start, connect: Connect) -> None:
    assert connect(scripted(mailbox(), capabilities=("IMAP4rev1", "CAFÉ"))).list_folders()


def test_capabilities_without_their_bracket(scripted: Start, connect: Connect) -> None:
    server = scripted(mailbox())

    def login(_: bytes, tag: bytes, connection: Connection) -> bytes:
        connection.user = "u1"
        return tag + b" OK [CAPABILITY IMAP4rev1 ESEARCH\r\n"

    server.on(b"LOGIN", login)
    assert connect(server).capabilities == {"IMAP4REV1", "ESEARCH"}


# -- going on after a loss ---------------------------------------------------------------------------------------


@pytest.fixture
def retrying(connect: Connect) -> Callable[..., RetryingSource]:
    def source(server: ScriptedServer, attempts: int = 5) -> RetryingSource:
        def again(*, fallback: bool) -> ImapSource:
            return connect(server, cautious=fallback)

        return RetryingSource(again, attempts=attempts, control=UNSTOPPED)

    return source


@pytest.mark.parametrize("read", ["scan", "headers"])
def test_a_line_that_always_breaks_at_the_same_row_is_not_tried_for_ever(
    scripted: Start, retrying: Callable[..., RetryingSource], read: str
) -> None:
    server = scripted(mailbox())

    def breaks(_: bytes, __: bytes, connection: Connection) -> bytes:
        connection.stream.send(b"* 1 FETCH (UID 1 FLAGS () BODY[HEADER] {2}\r\n\r\n)\r\n")
        connection.stream.end(DROP)
        return b""

    server.on(b"UID FETCH", breaks, times=50)
    source = retrying(server)
    source.open(INBOX)

    with pytest.raises(ConnectionLost):
        list(getattr(source, read)([1, 2, 3]))
    assert server.connections <= 7


def test_a_listing_that_breaks_once_is_listed_again_with_its_namespace(
    scripted: Start, retrying: Callable[..., RetryingSource]
) -> None:
    """Without the namespace folders have other paths, and what the account excludes is something else."""
    folders = {b"INBOX": ScriptedFolder(1), b"INBOX.Junk": ScriptedFolder(2)}
    server = scripted(folders, delimiter=b".", prefix=b"INBOX.")
    server.on(b"LIST", DROP, times=1)

    assert [each.folder.name for each in retrying(server).list_folders()] == ["INBOX", "Junk"]


@pytest.mark.parametrize("attempts", [2, 5])
def test_a_server_that_hangs_up_at_a_namespace_is_asked_without(
    scripted: Start, retrying: Callable[..., RetryingSource], attempts: int
) -> None:
    server = scripted({b"INBOX": ScriptedFolder(1)})
    server.on(b"NAMESPACE", DROP)

    assert [each.folder.name for each in retrying(server, attempts).list_folders()] == ["INBOX"]


def test_a_message_at_which_the_server_says_bye_is_set_aside(
    scripted: Start, retrying: Callable[..., RetryingSource]
) -> None:
    server = scripted(mailbox())

    def bye(line: bytes, _: bytes, connection: Connection) -> bytes | None:
        if b"2" not in line.split()[3] and b":" not in line.split()[3]:
            return None
        connection.stream.send(b"* 1 FETCH (UID 1 FLAGS () BODY[] {2}\r\nab)\r\n" if b"1:" in line else b"")
        connection.stream.send(b"* BYE [UNAVAILABLE] internal error\r\n")
        connection.stream.end(DROP)
        return b""

    server.on(b"UID FETCH", bye)
    source = retrying(server)
    source.open(INBOX)

    outcomes = list(source.fetch([1, 2, 3]))

    assert [each.uid for each in outcomes if isinstance(each, Undelivered)] == [2]
    assert sorted(each.attributes.uid for each in outcomes if isinstance(each, Fetched)) == [1, 3]


def test_a_session_that_became_useless_is_no_fault_of_its_messages(
    scripted: Start, retrying: Callable[..., RetryingSource]
) -> None:
    """Exchange, which goes well again on another connection."""
    server = scripted(mailbox())
    server.on(b"UID FETCH", b"BAD User is authenticated but not connected.", times=1)
    source = retrying(server)
    source.open(INBOX)

    assert [each.attributes.uid for each in source.fetch([1, 2, 3]) if isinstance(each, Fetched)] == [1, 2, 3]
    assert server.connections == 2


def test_a_silent_server_does_not_hold_up_a_goodbye(
    scripted: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_GOODBYE_SECONDS", 0.05)
    server = scripted(mailbox())
    source = connect(server)
    server.on(b"LOGOUT", lambda *_: b"")

    source.close()
    source.close()


@pytest.mark.parametrize("look", ["scan", "headers", "fetch"])
def test_an_identity_that_is_advertised_and_refused_is_done_without(
    scripted: Start, inbox: Connect, look: str
) -> None:
    server = scripted(mailbox())
    server.on(
        b"UID FETCH", lambda line, tag, _: tag + b" BAD unknown item EMAILID\r\n" if b"EMAILID" in line else None
    )
    source = inbox(server)
    if look == "scan":
        assert {each.uid for each in source.scan(None)} == {1, 2, 3}
    elif look == "headers":
        assert {each.uid for each, _ in source.headers([1, 2, 3])} == {1, 2, 3}
    else:
        assert {each.attributes.uid for each in source.fetch([1, 2, 3]) if isinstance(each, Fetched)} == {1, 2, 3}
