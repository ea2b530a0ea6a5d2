"""ImapDestination passes the destination contract on every server: with all extensions, with none, on programs that
refuse or alter what they get. A scripted server plays the replies that none of them gives."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest
from msgspec.structs import replace

from archiver.destination.imap import ImapDestination
from archiver.errors import (
    ArchiverError,
    ArchiveUnreachable,
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    FolderNotFound,
    FolderRefused,
    IntegrityError,
    MessageRefused,
    PermissionDenied,
    ServerUnavailable,
    Throttled,
)
from archiver.facts.mailbox import Appended
from archiver.imap.append import LARGE_OCTETS
from archiver.mail.content import Spool
from archiver.mail.refusal import classify
from tests.contracts.destination import (
    ODD,
    PASSWORD,
    DestinationContract,
    LargeLetter,
    There,
    appended,
    letter,
    message,
)
from tests.servers.certificates import Certificates
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.logins import login_at
from tests.servers.mail_server import MailServer
from tests.servers.pymap_server import PymapServer
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    MINIMAL,
    After,
    Appending,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)
from tests.servers.scripted import Appended as Arrived
from tests.servers.wire import Append, Wire

Scripted = Callable[..., ScriptedServer]

NAMES = (b'He said "hi"', b"back\\slash", b"a;b", b"per%cent", b"st*r", b"br[ack", b"R&-D", b"a b")
"""Each with something in it that means something else outside of quotes."""


def spool_in(directory: Path) -> Spool:
    numbers = itertools.count()

    def spool() -> BinaryIO:
        return open(directory / f"spool-{next(numbers)}", "xb")

    return spool


def logged_in(spool: Spool, user: str, *, port: int, password: str = "pw") -> ImapDestination:
    return ImapDestination(*login_at(port, user, password), spool)


def there_on(server: MailServer, directory: Path, **ways: object) -> There:
    """A user of a real server that no test has used."""
    user = server.fresh_user()
    return There(
        open=partial(logged_in, spool_in(directory), user, port=server.port),
        wire=lambda: server.wire(user),
        port=server.port,
        **ways,  # type: ignore[arg-type]
    )


def as_dovecot_keeps(octets: bytes) -> bytes:
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets.replace(b"\0", b"\x80"))


def as_courier_keeps(octets: bytes) -> bytes:
    lines = re.sub(rb"\r(?!\n)", b"", octets).replace(b"\r\n", b"\n")
    return (lines if lines.endswith(b"\n") else lines + b"\n").replace(b"\n", b"\r\n")


def on_dovecot(server: Dovecot, directory: Path) -> There:
    return there_on(
        server,
        directory,
        unwanted=Append(b""),
        unnameable=(b"a//b", b"8 bit \xe9", b"control \x01"),
        odd_names=NAMES,
        given_back=as_dovecot_keeps(ODD),
    )


class TestDovecot(DestinationContract):
    @pytest.fixture
    def there(self, dovecot: Dovecot, tmp_path: Path) -> There:
        return on_dovecot(dovecot, tmp_path)


class TestDovecotWithoutExtensions(DestinationContract):
    @pytest.fixture
    def there(self, plain_dovecot: Dovecot, tmp_path: Path) -> There:
        return on_dovecot(plain_dovecot, tmp_path)


class TestCyrus(DestinationContract):
    @pytest.fixture
    def there(self, cyrus: Cyrus, tmp_path: Path) -> There:
        clean = re.sub(rb"(?<!\r)\n", b"\r\n", ODD.replace(b"\0", b""))
        return there_on(
            cyrus,
            tmp_path,
            unwanted=Append(b"Subject: 1\r\n\r\n\0\r\n"),
            unnameable=(b"a;b", b'"', b"back\\slash", b"8 bit \xe9"),
            odd_names=(b"st*r", b"br[ack", b"R&-D", b"a b"),
            odd=clean,
            given_back=clean,
            special_use=True,
        )


@pytest.fixture(scope="module")
def cyrus_below_inbox(cyrus: Cyrus, certificates: Certificates) -> Iterator[Cyrus]:
    with Cyrus(certificate=certificates.good, altnamespace=False, unixhierarchysep=False) as server:
        yield server


class TestCyrusBelowInbox(DestinationContract):
    """Folders like `INBOX.a.b`."""

    @pytest.fixture
    def there(self, cyrus_below_inbox: Cyrus, tmp_path: Path) -> There:
        clean = re.sub(rb"(?<!\r)\n", b"\r\n", ODD.replace(b"\0", b""))
        return there_on(
            cyrus_below_inbox,
            tmp_path,
            unwanted=Append(b"Subject: 1\r\n\r\n\0\r\n"),
            unnameable=(b"INBOX.a;b", b"Outside"),
            odd_names=(b"INBOX.st*r", b"INBOX.a b"),
            odd=clean,
            given_back=clean,
            prefix=b"INBOX.",
            delimiter=".",
            special_use=True,
        )


class TestCourier(DestinationContract):
    @pytest.fixture
    def there(self, courier: Courier, tmp_path: Path) -> There:
        return there_on(
            courier,
            tmp_path,
            unwanted=Append(message(7), (), "31-Dec-1960 00:00:00 +0000"),
            unnameable=(b"INBOX.a..b", b"INBOX.&2D3eAA-", b"Outside"),
            odd_names=[b"INBOX." + name for name in NAMES],
            given_back=as_courier_keeps(ODD),
            prefix=b"INBOX.",
            delimiter=".",
        )


class TestPymap(DestinationContract):
    @pytest.fixture
    def there(self, pymap: PymapServer, tmp_path: Path) -> There:
        return There(
            open=partial(logged_in, spool_in(tmp_path), "alice", port=pymap.port, password="secret"),
            wire=lambda: pymap.wire("alice"),
            port=pymap.port,
            unwanted=Append(b""),
            unnameable=(),
            odd_names=NAMES,
            any_keyword=False,
            apart=False,
        )


class ScriptedContract(DestinationContract):
    capabilities: Sequence[str]

    @pytest.fixture
    def there(self, scripted: Scripted, tmp_path: Path) -> There:
        server = scripted(writable=True, capabilities=self.capabilities)
        return There(
            open=partial(logged_in, spool_in(tmp_path), "u1", port=server.port),
            wire=lambda: Wire(server.port, literal_plus="LITERAL+" in self.capabilities).login("u1", "pw"),
            port=server.port,
            unwanted=Append(b""),
            unnameable=(b"a//b",),
            odd_names=(*NAMES, b"needs a literal: \xe9\xff", b"needs\ttwo\x7f\x80"),
            special_use="CREATE-SPECIAL-USE" in self.capabilities,
            apart=False,
        )


class TestScripted(ScriptedContract):
    capabilities = DESTINATION


class TestScriptedWithShortLiterals(ScriptedContract):
    capabilities = ("IMAP4rev1", "LITERAL-", "MULTIAPPEND", "UIDPLUS", "NAMESPACE")


class TestScriptedSendingAheadOneByOne(ScriptedContract):
    capabilities = ("IMAP4rev1", "LITERAL+")


class TestScriptedWithoutExtensions(ScriptedContract):
    capabilities = MINIMAL


# What goes over the wire


@pytest.fixture
def connected(
    scripted: Scripted, tmp_path: Path
) -> Iterator[Callable[..., tuple[ScriptedServer, ImapDestination]]]:
    """A scripted server with these abilities, and a destination on it whose INBOX is open for writing. Further
    words set what they name in the server's `Appending`."""
    opened: list[ImapDestination] = []

    def start(
        capabilities: Sequence[str] = DESTINATION,
        folders: dict[bytes, ScriptedFolder] | None = None,
        **how: object,
    ) -> tuple[ScriptedServer, ImapDestination]:
        appending = Appending(**how)  # type: ignore[arg-type]
        server = scripted(folders, writable=True, capabilities=capabilities, appending=appending)
        destination = logged_in(spool_in(tmp_path), "u1", port=server.port)
        opened.append(destination)
        destination.open(b"INBOX")
        return server, destination

    yield start
    for destination in opened:
        destination.close()


Connected = Callable[..., tuple[ScriptedServer, ImapDestination]]


def literals(server: ScriptedServer) -> list[bytes]:
    return [each.literal for each in server.appended]


def appends(server: ScriptedServer) -> int:
    return sum(command.startswith(b"APPEND") for command in server.commands)


class TestOnTheWire:
    def test_a_group_is_one_command_in_one_flight(self, connected: Connected) -> None:
        server, destination = connected()
        before = server.flights

        (answer,) = appended(destination, *(letter(message(number)) for number in range(50)))

        assert (answer.count, answer.uids) == (50, (1, tuple(range(1, 51))))
        assert (appends(server), server.flights - before) == (1, 1)

    def test_without_multiappend_a_group_is_many_commands_in_one_flight(self, connected: Connected) -> None:
        server, destination = connected(("IMAP4rev1", "LITERAL+", "UIDPLUS"))
        before = server.flights

        answers = appended(destination, *(letter(message(number)) for number in range(50)))

        assert [(answer.count, answer.uids) for answer in answers] == [(1, (1, (uid,))) for uid in range(1, 51)]
        assert (appends(server), server.flights - before) == (50, 1)

    @pytest.mark.parametrize(
        ("offered", "short", "long", "longer"),
        [
            ("LITERAL+", b"{4096+}", b"{4097+}", b"{%d+}"),
            ("LITERAL-", b"{4096+}", b"{4097}", b"{%d}"),
            ("ID", b"{4096}", b"{4097}", b"{%d}"),
        ],
    )
    def test_a_literal_waits_where_it_has_to_or_is_large(
        self, connected: Connected, offered: str, short: bytes, long: bytes, longer: bytes
    ) -> None:
        server, destination = connected(("IMAP4rev1", offered))
        for size in (4096, 4097, LARGE_OCTETS, LARGE_OCTETS + 1):
            appended(destination, letter(b"x" * size))

        assert literals(server) == [short, long, longer % LARGE_OCTETS, b"{%d}" % (LARGE_OCTETS + 1)]

    def test_the_date_is_sent_verbatim(self, connected: Connected) -> None:
        server, destination = connected()
        dates = (" 5-Feb-1999 10:11:12 +0330", "31-Dec-1960 23:59:59 -0001", "01-Jan-9999 00:00:00 +0000")

        appended(destination, *(letter(message(1), (), date) for date in dates))

        assert [each.internaldate for each in server.appended] == list(dates)

    def test_flags_are_sent_as_they_are(self, connected: Connected) -> None:
        server, destination = connected()

        appended(destination, letter(message(1), ("\\Seen", "$Forwarded", "a.b/c")), letter(message(2)))

        assert [set(each.flags) for each in server.appended] == [{"\\Seen", "$Forwarded", "a.b/c"}, set()]

    def test_uids_of_a_server_without_uidplus_are_not_believed(self, connected: Connected) -> None:
        server, destination = connected(("IMAP4rev1", "LITERAL+"))
        server.on(b"APPEND", b"OK [APPENDUID 1 1] done")

        assert appended(destination, letter(message(1)))[0].uids is None

    @pytest.mark.parametrize(
        ("said", "uids"),
        [
            (b"[APPENDUID 7 3:5,9] done", (7, (3, 4, 5, 9))),
            (b"[appenduid 7 5:3] done", (7, (3, 4, 5))),
            (b"[APPENDUID 7 1:4294967295] done", None),
            (b"[APPENDUID 7 1:] done", None),
            (b"[APPENDUID 7 " + b"9" * 5000 + b"] done", None),
            (b"[APPENDUID 99999999999 1] done", None),
            (b"[APPENDUID 7 *] done", None),
            (b"[APPENDUID 7] done", None),
            (b"done [APPENDUID 7 1]", None),
            (b"", None),
        ],
    )
    def test_uids_are_reported_as_far_as_they_can_be_true(
        self, connected: Connected, said: bytes, uids: tuple[int, tuple[int, ...]] | None
    ) -> None:
        server, destination = connected()
        server.on(b"APPEND", b"OK " + said)

        (answer,) = appended(destination, letter(message(1)))

        assert (answer.ok, answer.uids) == (True, uids)


class TestRefusals:
    TOOBIG = b"NO [TOOBIG] too big for us"

    def test_a_limit_that_is_advertised_is_reported(self, connected: Connected) -> None:
        server, destination = connected((*DESTINATION, "APPENDLIMIT=300", "APPENDLIMIT"))

        answers = [appended(destination, letter(b"x" * size))[0] for size in (300, 301)]

        assert destination.list_folders().append_limit == 300
        assert [answer.ok for answer in answers] == [True, False]
        assert classify(answers[1].reply) == "too-big"
        assert len(server.appended) == 1

    def test_a_large_message_that_is_refused_is_not_sent(self, connected: Connected) -> None:
        server, destination = connected((*DESTINATION, f"APPENDLIMIT={1 << 20}"))
        large = LargeLetter(LARGE_OCTETS + (1 << 20))

        (answer,) = appended(destination, letter(message(1)), large.letter, letter(message(2)))

        assert (answer.ok, answer.count, large.opened) == (False, 3, 0)
        assert appended(destination, letter(message(3)))[0].ok
        assert [each.octets for each in server.appended] == [message(3)]

    @pytest.mark.parametrize("capabilities", [DESTINATION, ("IMAP4rev1", "LITERAL+"), MINIMAL])
    @pytest.mark.parametrize("when", ["refuse", "refuse_early"])
    def test_answers_are_in_the_order_of_the_letters(
        self, connected: Connected, capabilities: Sequence[str], when: str
    ) -> None:
        """Two groups, in each the second and the fourth of five refused."""
        unwanted = [len(message(2)), len(message(4, octets=200))]

        def refuse(each: Arrived) -> bytes | None:
            return self.TOOBIG if each.size in (unwanted[0] + 1, unwanted[1]) else None

        server, destination = connected(capabilities, **{when: refuse})
        group = [message(1), message(2) + b"x", message(3), message(4, octets=200), message(5)]
        answers: list[Sequence[Appended]] = []
        if destination.most_in_flight > 1:
            destination.begin_append(list(map(letter, group)))
            destination.begin_append(list(map(letter, group)))
            answers += [destination.end_append(), destination.end_append()]
        else:
            answers += [appended(destination, *map(letter, group)), appended(destination, *map(letter, group))]

        multi = "MULTIAPPEND" in capabilities
        expected = [(5, False)] if multi else [(1, number % 2 == 1) for number in range(1, 6)]
        assert [[(each.count, each.ok) for each in some] for some in answers] == [expected] * 2
        assert {each.error.server_reply for some in answers for each in some if each.error} == {
            self.TOOBIG.decode()
        }
        assert [each.octets for each in server.appended] == ([] if multi else [group[0], group[2], group[4]] * 2)

    def test_what_a_refusal_means_is_reported_with_it(self, connected: Connected) -> None:
        server, destination = connected()
        replies = {
            b"NO [TRYCREATE] no such mailbox": FolderNotFound,
            b"NO [NOPERM] not yours": PermissionDenied,
            b"NO [UNAVAILABLE] later": ServerUnavailable,
            b"NO [THROTTLED] slowly. Suggested Backoff Time: 300 milliseconds": Throttled,
            b"BAD Command Argument Error. 11": MessageRefused,
        }
        for reply in replies:
            server.on(b"APPEND", reply, times=1)

        answers = [appended(destination, letter(message(1)))[0] for _ in replies]

        assert [answer.reply for answer in answers] == list(replies)[::-1]
        assert [type(answer.error) for answer in answers] == list(replies.values())[::-1]


class TestLastWords:
    BYE = b"* BYE Invalid character in literal"

    @pytest.mark.parametrize("when", ["refuse", "refuse_early"])
    @pytest.mark.parametrize("capabilities", [DESTINATION, ("IMAP4rev1", "LITERAL+"), MINIMAL])
    def test_of_a_server_that_hangs_up_on_a_message(
        self, connected: Connected, capabilities: Sequence[str], when: str
    ) -> None:
        """Whatever is still under way to it."""
        _, destination = connected(capabilities, **{when: lambda each: self.BYE if b"\0" in each.octets else None})
        if when == "refuse_early":
            _, destination = connected(
                capabilities, refuse_early=lambda each: self.BYE if each.size > 9000 else None
            )
        odd = b"Subject: odd\r\n\r\n" + b"\0" * 10_000

        group = [letter(message(1)), letter(odd), *(letter(message(number, octets=200_000)) for number in range(9))]

        with pytest.raises(ConnectionLost) as caught:
            appended(destination, *group)

        assert caught.value.server_reply == "BYE Invalid character in literal"

    def test_are_received_before_anything_reads_them(self, connected: Connected) -> None:
        """The server has hung up before the next group is on its way."""
        server, destination = connected(("IMAP4rev1", "LITERAL+"), refuse=lambda _: self.BYE)
        destination.begin_append([letter(message(1))])
        server._threads[-1].join(10)

        with pytest.raises(ConnectionLost) as caught:
            destination.begin_append([letter(message(2, octets=3_000_000))])

        assert caught.value.server_reply == "BYE Invalid character in literal"

    def test_that_mean_more(self, connected: Connected) -> None:
        server, destination = connected()
        server.on(b"APPEND", lambda *_: b"* BYE [UNAVAILABLE] going down\r\n", times=1)

        with pytest.raises(ServerUnavailable, match="going down"):
            appended(destination, letter(message(1)))

    @pytest.mark.parametrize("end", [DROP, After(0), After(7)])
    def test_that_are_none(self, connected: Connected, end: object) -> None:
        server, destination = connected()
        server.on(b"APPEND", end)  # type: ignore[arg-type]

        with pytest.raises(ConnectionLost) as caught:
            appended(destination, letter(message(1)))

        assert caught.value.server_reply is None

    def test_that_are_not_imap(self, connected: Connected) -> None:
        server, destination = connected()
        server.on(b"APPEND", lambda *_: b"HTTP/1.1 400 Bad Request\r\n")

        with pytest.raises(ConnectionLost, match="this is not IMAP"):
            appended(destination, letter(message(1)))


class TestOctetsThatCannotBeHad:
    @pytest.mark.parametrize("capabilities", [DESTINATION, ("IMAP4rev1", "LITERAL+"), MINIMAL])
    @pytest.mark.parametrize("error", [IntegrityError("altered"), ArchiveUnreachable("no answer")])
    def test_leave_no_message_that_the_next_command_completes(
        self, connected: Connected, capabilities: Sequence[str], error: ArchiverError
    ) -> None:
        """A goodbye is as long as what is missing of the message."""
        begun = message(1, octets=300_000)

        def octets() -> Iterator[bytes]:
            yield begun
            raise error

        for missing in range(8, 16):
            server, destination = connected(capabilities)
            broken = replace(letter(begun), size=len(begun) + missing, octets=octets)
            with pytest.raises((ConnectionLost, ArchiveUnreachable)):
                appended(destination, broken)
            destination.close()
            assert literals(server) == []


class TestFolders:
    def test_a_name_is_a_literal_where_it_has_to_be(self, connected: Connected) -> None:
        raw = b'8 bit \xe9, "quoted" and \\'
        server, destination = connected()

        destination.create(raw, "\\sent")
        destination.open(raw)
        answers = appended(destination, letter(message(1)), letter(message(2)))

        assert [answer.uids for answer in answers] == [(server.folders[raw].uidvalidity, (1, 2))]
        assert {each.folder for each in server.appended} == {raw}
        assert {each.folder.raw for each in destination.list_folders().listed} == {b"INBOX", raw}

    def test_a_folder_that_disappears_refuses_its_messages(self, connected: Connected) -> None:
        raw = b"8 bit \xe9"
        server, destination = connected()
        destination.create(raw, None)
        destination.open(raw)
        server.folders = {b"INBOX": server.folders[b"INBOX"]}

        (answer,) = appended(destination, letter(message(1)), letter(message(2)))

        assert (answer.count, type(answer.error)) == (2, FolderNotFound)

    @pytest.mark.parametrize(
        ("use", "sent"),
        [
            ("\\sent", b'CREATE "New" (USE (\\Sent))'),
            ("\\Archive", b'CREATE "New" (USE (\\Archive))'),
            ("junk", b'CREATE "New" (USE (\\Junk))'),
            (None, b'CREATE "New"'),
        ],
    )
    def test_a_special_use_is_asked_for_once(self, connected: Connected, use: str | None, sent: bytes) -> None:
        server, destination = connected()

        destination.create(b"New", use)

        assert [command for command in server.commands if command.startswith(b"CREATE")] == [sent]

    def test_many_are_made_in_one_flight(self, connected: Connected) -> None:
        server, destination = connected()
        before = server.flights

        made = list(destination.create_all([(b"F%d" % number, None) for number in range(8)]))

        assert server.flights - before == 1
        assert made == [(b"F%d" % number, None) for number in range(8)]

    def test_those_made_before_a_failure_are_known(self, connected: Connected) -> None:
        server, destination = connected()
        server.on(b"CREATE", lambda line, tag, _: tag + b" NO [UNAVAILABLE] later\r\n" if b"F3" in line else None)
        making = destination.create_all([(b"F%d" % number, None) for number in range(8)])

        assert [next(making) for _ in range(3)] == [(b"F0", None), (b"F1", None), (b"F2", None)]
        with pytest.raises(ServerUnavailable):
            next(making)

    def test_a_folder_that_is_there_by_words_alone(self, connected: Connected) -> None:
        server, destination = connected()
        server.on(b"CREATE", b"NO Mailbox exists")

        destination.create(b"INBOX", None)
        with pytest.raises(FolderRefused, match="Mailbox exists"):
            destination.create(b"New", None)

    def test_a_folder_that_cannot_be_asked_for_now_is_not_taken_for_renamed(self, connected: Connected) -> None:
        folders = {name: ScriptedFolder(1) for name in (b"INBOX", b"Old", b"New")}
        server, destination = connected(folders=folders)
        busy = b" NO [UNAVAILABLE] later\r\n"
        server.on(b"STATUS", lambda line, tag, _: tag + busy if b"Old" in line else None)

        with pytest.raises(ServerUnavailable):
            destination.rename(b"Old", b"New")

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (b"NO [UNAVAILABLE] later", ServerUnavailable),
            (b"NO [INUSE] busy", ServerUnavailable),
            (b"NO [THROTTLED] slowly", Throttled),
            (b"NO Request is throttled. Suggested Backoff Time: 300 milliseconds", Throttled),
            (b"NO [LIMIT] too many mailboxes", FolderRefused),
            (b"NO Too many mailboxes", FolderRefused),
            (b"NO [NOPERM] Permission denied", FolderRefused),
            (b"NO [OVERQUOTA] no more", FolderRefused),
            (b"BAD whatever", FolderRefused),
        ],
    )
    def test_only_a_name_is_refused_by_a_refusal(
        self, connected: Connected, reply: bytes, kind: type[Exception]
    ) -> None:
        server, destination = connected()
        server.on(b"CREATE", reply)

        with pytest.raises(kind, match=re.escape(reply.decode())):
            destination.create(b"New", "\\sent")

    def test_a_folder_that_may_only_be_read_is_denied(self, connected: Connected) -> None:
        server, destination = connected()
        server.on(b"SELECT", b"OK [READ-ONLY] look and do not touch")

        with pytest.raises(PermissionDenied):
            destination.open(b"INBOX")
        destination.open(b"INBOX", readonly=True)

    @pytest.mark.parametrize(
        ("permanent", "any_keyword", "kept"),
        [
            (("\\Seen", "\\*"), True, {"\\Seen", "a", "B"}),
            (("\\Seen", "\\Deleted", "b"), False, {"\\Seen", "B"}),
            ((), False, set()),
        ],
    )
    def test_the_flags_that_it_keeps(
        self, connected: Connected, permanent: tuple[str, ...], any_keyword: bool, kept: set[str]
    ) -> None:
        _, destination = connected(folders={b"INBOX": ScriptedFolder(permanentflags=permanent)})

        opened = destination.open(b"INBOX")

        assert opened.any_keyword == any_keyword
        assert opened.kept(frozenset({"\\Seen", "\\Flagged", "a", "B"})) == kept

    def test_a_server_that_does_not_say_which_flags_it_keeps_keeps_all(self, connected: Connected) -> None:
        server, destination = connected()
        server.on(b"SELECT", lambda _, tag, __: b"* 0 EXISTS\r\n" + tag + b" OK [READ-WRITE] opened\r\n")

        opened = destination.open(b"INBOX")

        assert (opened.permanent, opened.uidnext, opened.messages) == (None, 1, 0)
        assert opened.kept(frozenset({"\\Seen", "\\X", "a"})) == {"\\Seen", "\\X", "a"}

    def test_uidnext_is_asked_for_where_it_is_not_reported(self, connected: Connected) -> None:
        folders = {b"INBOX": ScriptedFolder(7, {4: ScriptedMessage(message(1))}, uidnext=9)}
        server, destination = connected(folders=folders)
        server.on(b"SELECT", _opened_without_uidnext)

        assert destination.open(b"INBOX").uidnext == 9
        server.on(b"STATUS", b"NO not of the open one")
        assert destination.open(b"INBOX").uidnext == 5

    def test_the_room_that_is_left(self, connected: Connected) -> None:
        server, destination = connected(quota=4096)
        appended(destination, letter(b"x" * 1000))

        assert destination.free_octets() == 3 * 1024
        server.appending.quota = None
        assert destination.free_octets() is None
        _, without = connected(MINIMAL)
        assert without.free_octets() is None


def _opened_without_uidnext(_line: bytes, tag: bytes, session: Session) -> bytes:
    session.open(b"INBOX", read_only=False)
    session.stream._out.clear()
    return b"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\n" + tag + b" OK [READ-WRITE] opened\r\n"


class TestTheOpenFolder:
    def folder(self) -> ScriptedFolder:
        return ScriptedFolder(7, {uid: ScriptedMessage(message(uid), ("\\Seen",)) for uid in (3, 5, 8)})

    def test_the_last_message_is_not_shown_for_those_behind_it(self, connected: Connected) -> None:
        """ "n:*" names it all the same (RFC 3501 section 6.4.8)."""
        _, destination = connected(folders={b"INBOX": self.folder()})

        assert [sorted(destination.list_since(since)) for since in (1, 5, 6, 9, 4_294_967_295)] == [
            [3, 5, 8],
            [5, 8],
            [8],
            [],
            [],
        ]

    def test_unsolicited_data_about_a_message_hides_nothing(self, connected: Connected) -> None:
        """Flags that somebody changes in between come as rows of their own."""
        server, destination = connected(folders={b"INBOX": self.folder()})
        server.inject(b"UID FETCH", b"* 1 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ (9))", after=2)

        shown = destination.list_since(1)

        assert {uid: (each.size, each.internaldate is None) for uid, each in shown.items()} == {
            uid: (len(message(uid)), False) for uid in (3, 5, 8)
        }

    def test_what_was_expunged_in_between_is_not_shown(self, connected: Connected) -> None:
        server, destination = connected(folders={b"INBOX": self.folder()})
        assert len(destination.list_since(1)) == 3
        server.folders[b"INBOX"].expunge([3, 5, 8])

        assert destination.list_since(1) == {}
        assert destination.uids() == set()

    @pytest.mark.parametrize("digits", [20, 30, 4000])
    def test_numbers_beyond_all_measure_are_as_good_as_none(self, connected: Connected, digits: int) -> None:
        number = b"9" * digits
        server, destination = connected((*DESTINATION, f"APPENDLIMIT={number.decode()}"))
        server.on(b"GETQUOTAROOT", lambda _, tag, __: b'* QUOTA "" (STORAGE 1 %b)\r\n%b OK\r\n' % (number, tag))

        assert destination.list_folders().append_limit is None
        assert destination.free_octets() is None

    def test_a_server_that_cannot_list_changes_now_does_not_seem_unchanged(self, connected: Connected) -> None:
        server, destination = connected(folders={b"INBOX": self.folder()})
        server.on(b"NOOP", b"NO [SERVERBUG] not now", times=1)

        with pytest.raises(ServerUnavailable):
            destination.list_since(9)
        assert destination.list_since(9) == {}

    def test_after_a_full_answer_changes_are_not_asked_for(self, connected: Connected) -> None:
        server, destination = connected(folders={b"INBOX": self.folder()})
        appended(destination, letter(message(1)), letter(message(2)))
        before = server.commands.count(b"NOOP")

        assert len(destination.list_since(9, taken=2)) == 2
        assert server.commands.count(b"NOOP") == before
        appended(destination, letter(message(3)))
        for taken in (2, 0):
            assert len(destination.list_since(9, taken=taken)) == 3
        assert server.commands.count(b"NOOP") == before + 2

    def test_folders_are_examined_in_one_flight(self, connected: Connected) -> None:
        folders = {
            b"INBOX": self.folder(),
            b"8 bit \xe9": self.folder(),
            **{b"%d" % n: self.folder() for n in range(9)},
        }
        server, destination = connected(folders=folders)
        before = server.flights

        looks = destination.stat([(raw, [3, 8]) for raw in folders])

        assert server.flights == before + 1
        assert [each is not None for each in looks] == [True, False, *[True] * 9]
        assert [[row.uid for row in each.seen] for each in looks if each is not None] == [[3, 8]] * 10

    @pytest.mark.parametrize("command", [b"EXAMINE", b"UID FETCH"])
    def test_a_folder_that_cannot_be_examined_reports_nothing(self, connected: Connected, command: bytes) -> None:
        server, destination = connected(folders={b"INBOX": self.folder(), b"Other": self.folder()})
        server.on(command, b"NO [UNAVAILABLE] later", times=1)

        one, other = destination.stat([(b"INBOX", [3]), (b"Other", [5])])

        assert one is None
        assert other is not None
        assert [row.uid for row in other.seen] == [5]

    def test_flags_that_only_a_store_sets(self, connected: Connected) -> None:
        """Exchange."""
        _, destination = connected(drop_flags=("\\Flagged",))
        appended(destination, letter(message(1), ("\\Seen", "\\Flagged")))

        assert destination.list_since(1)[1].flags == frozenset({"\\Seen"})
        assert destination.store({(frozenset({"\\Flagged"}), frozenset()): [1]}) == {1: {"\\Seen", "\\Flagged"}}

    @pytest.mark.parametrize(
        "reply", [b"NO [CANNOT] no such flag", b"BAD invalid keyword", b"NO Too many user flags"]
    )
    def test_a_change_that_is_refused_was_not_made(self, connected: Connected, reply: bytes) -> None:
        server, destination = connected(folders={b"INBOX": self.folder()})

        def refuse(line: bytes, tag: bytes, _session: Session) -> bytes | None:
            return tag + b" " + reply + b"\r\n" if b"odd" in line else None

        server.on(b"UID STORE", refuse)
        odd, flagged = frozenset({"odd"}), frozenset({"\\Flagged"})
        changes = {(odd | flagged, frozenset({"\\Seen"})): [3], (flagged, odd): [5, 8], (odd, frozenset()): [8]}

        shown = destination.store(changes)

        assert shown == {3: {"\\Flagged"}, 5: {"\\Flagged", "\\Seen"}, 8: {"\\Flagged", "\\Seen"}}
        stores = [command for command in server.commands if command.startswith(b"UID STORE")]
        assert len(stores) == len(set(stores)) == 7

    def test_a_server_that_cannot_now_is_asked_again_later(self, connected: Connected) -> None:
        server, destination = connected(folders={b"INBOX": self.folder()})
        server.on(b"UID STORE", b"NO [UNAVAILABLE] later", times=1)

        with pytest.raises(ServerUnavailable):
            destination.store({(frozenset({"\\Flagged"}), frozenset()): [3, 5]})

    def test_keywords_beyond_what_cyrus_has_room_for(self, cyrus: Cyrus, tmp_path: Path) -> None:
        """Its folders know about a hundred, and the answer looks like one that will pass."""
        there = there_on(cyrus, tmp_path, unwanted=Append(b""), unnameable=(), odd_names=())
        destination = there.open()
        destination.open(b"INBOX")
        appended(destination, letter(message(1)))
        (uid,) = destination.list_since(1)
        keywords = [f"k{number:03}" for number in range(130)]

        for start in (0, 65):
            some = frozenset({"\\Seen", *keywords[start : start + 65]})
            shown = destination.store({(some, frozenset()): [uid]})
        destination.close()

        assert 65 < len(shown[uid]) < 130
        assert "\\Seen" in shown[uid]


class TestSecrets:
    """A server may say anything again."""

    def echo(self, line: bytes, tag: bytes, _session: Session) -> bytes:
        return tag + b" NO you said: " + PASSWORD.encode() + b" " + line + b"\r\n"

    def test_at_login(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(writable=True, users={"u1": PASSWORD})
        server.on(b"LOGIN", self.echo)

        with pytest.raises(AuthenticationFailed) as caught:
            logged_in(spool_in(tmp_path), "u1", port=server.port, password=PASSWORD)

        assert "***" in str(caught.value.server_reply)
        assert "pässword" not in f"{caught.value} {caught.value.server_reply}"

    def test_later(self, scripted: Scripted, tmp_path: Path) -> None:
        server = scripted(writable=True, users={"u1": PASSWORD}, capabilities=DESTINATION)
        destination = logged_in(spool_in(tmp_path), "u1", port=server.port, password=PASSWORD)
        destination.open(b"INBOX")
        for command in (b"CREATE", b"SELECT", b"APPEND", b"UID EXPUNGE", b"UID FETCH", b"UID SEARCH"):
            server.on(command, self.echo)
        failures: list[BackendError | None] = [appended(destination, letter(message(1)))[0].error]
        server.folders[b"INBOX"].add(ScriptedMessage(message(2)))
        for attempt in (
            lambda: destination.create(b"New", None),
            lambda: destination.expunge([1]),
            lambda: destination.list_since(1),
            lambda: destination.flags([1]),
            lambda: destination.uids(),
            lambda: destination.open(b"INBOX"),
        ):
            with pytest.raises(BackendError) as caught:
                attempt()
            failures.append(caught.value)
        server.on(b"NOOP", lambda *_: b"* BYE " + PASSWORD.encode() + b"\r\n")
        with pytest.raises(ConnectionLost) as lost:
            destination.list_since(1)

        said = [f"{each} {each.server_reply} {each.hint}" for each in (*failures, lost.value) if each is not None]
        assert len(said) == 8
        assert [each for each in said if "***" not in each or "pässword" in each] == []
        destination.close()


def test_what_a_server_says_of_itself_may_be_overridden(dovecot: Dovecot) -> None:
    server, authenticator = login_at(dovecot.port, dovecot.fresh_user(), "pw")
    for provider, said in ((None, "Dovecot"), ("cyrus", "cyrus")):
        there = ImapDestination(replace(server, provider=provider), authenticator, io.BytesIO)
        assert said in there.list_folders().said
        there.close()
