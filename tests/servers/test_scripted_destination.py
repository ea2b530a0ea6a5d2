"""The scripted server as a destination: it takes mail as the RFCs say, and errs in the ways a test asks for."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.servers.scripted import (
    DESTINATION,
    DROP,
    MINIMAL,
    After,
    Appended,
    Appending,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)
from tests.servers.scripted_append import (
    EPOCH,
    AppendUidOddity,
    Reply,
    refolded,
    with_final_crlf,
    without_nul,
)
from tests.servers.scripted_mail import SYSTEM_FLAGS
from tests.servers.sink_server import SinkServer
from tests.servers.wire import Append, Wire, WireError, append

ODD = b"Subject: odd\n\r\n\0 bare\nlf \x80 and a bare \r here"
DATE = "05-Feb-1999 10:11:12 +0330"
TOOBIG = b"NO [TOOBIG] too big for us"
BYE = b"* BYE Invalid character in literal"
Scripted = Callable[..., ScriptedServer]
Start = Callable[..., ScriptedServer]


@pytest.fixture
def destination(scripted: Scripted) -> Start:
    """A writable server with an empty INBOX, and a message in "Sent"; further words set what they name in its
    `Appending`."""

    def start(capabilities: tuple[str, ...] = DESTINATION, **how: object) -> ScriptedServer:
        folders = {
            b"INBOX": ScriptedFolder(7),
            b"Sent": ScriptedFolder(8, {4: ScriptedMessage(b"Subject: 4\r\n\r\n", ("\\Seen",))}),
        }
        return scripted(folders, capabilities=capabilities, writable=True, appending=Appending(**how))  # type: ignore[arg-type]

    return start


def client(server: ScriptedServer, *, waits: bool = False, timeout: float = 30) -> Wire:
    return Wire(server.port, literal_plus=not waits, timeout=timeout).login("u1", "pw")


def answer(wire: Wire, tag: bytes = b"t") -> list[bytes]:
    """All lines up to the tagged one, or up to the end of the connection, which is an empty one."""
    found: list[bytes] = []
    while not found or (found[-1] and not found[-1].startswith(tag + b" ")):
        found.append(wire._reader.readline())
    return [line.removesuffix(b"\r\n") for line in found]


def said(wire: Wire, line: str, *literals: bytes) -> list[bytes]:
    """The answer to a command; each NUL in the line becomes the next literal, sent without waiting."""
    parts = line.encode().split(b"\0")
    out = [b"t ", parts[0]]
    for literal, part in zip(literals, parts[1:], strict=True):
        out += [b"{%d+}\r\n" % len(literal), literal, part]
    wire.send(b"".join([*out, b"\r\n"]))
    return answer(wire)


def mail(number: int) -> bytes:
    return b"Subject: %d\r\n\r\nbody\r\n" % number


def octets(server: ScriptedServer, folder: bytes = b"INBOX") -> list[bytes]:
    return [message.octets for _, message in sorted(server.folders[folder].messages.items())]


def flags(server: ScriptedServer, folder: bytes, uid: int) -> tuple[str, ...]:
    return server.folders[folder].messages[uid].flags


class TestASourceCannotBeChanged:
    @pytest.mark.parametrize(
        "command",
        ["SELECT INBOX", "APPEND INBOX \0", "CREATE a", "SUBSCRIBE INBOX", "UNSUBSCRIBE INBOX", "DELETE INBOX",
         "UID STORE 1 +FLAGS (\\Seen)", "EXPUNGE", "UID EXPUNGE 1"],
    )  # fmt: skip
    def test_unless_it_is_writable(self, scripted: Scripted, command: str) -> None:
        folder = ScriptedFolder(messages={1: ScriptedMessage(mail(1))})
        server = scripted({b"INBOX": folder}, capabilities=DESTINATION)
        with client(server) as wire:
            wire.command("EXAMINE INBOX")
            literals = [mail(2)] * command.count("\0")
            assert said(wire, command, *literals) == [b"t BAD unknown command"]
        assert folder == ScriptedFolder(messages={1: ScriptedMessage(mail(1))})
        assert server.commands[-1].startswith(command.partition("\0")[0].encode())


class TestFolders:
    def test_select_says_what_can_be_set(self, destination: Start) -> None:
        server = destination()
        server.folders[b"Sent"].permanentflags = ("\\Seen", "$MDNSent")
        with client(server) as wire:
            opened = said(wire, "SELECT INBOX")
            assert b"* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] read-write" in opened
            assert opened[-1] == b"t OK [READ-WRITE] opened"
            opened = said(wire, "SELECT Sent")
            assert opened[0] == b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $MDNSent)"
            assert b"* OK [PERMANENTFLAGS (\\Seen $MDNSent)] read-write" in opened
            assert b"* OK [UIDNEXT 5] predicted" in opened
            opened = said(wire, "EXAMINE INBOX")
            assert b"* OK [PERMANENTFLAGS ()] read-only" in opened
            assert said(wire, "UID STORE 1 +FLAGS (\\Seen)") == [b"t NO the mailbox is read-only"]

    def test_create_with_parents_and_a_use(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire:
            assert said(wire, "CREATE a/b/c/") == [b"t OK CREATE completed"]
            wire.command(b"CREATE \0 (USE (\\Drafts))", b"caf\xe9")
            assert said(wire, "CREATE a/b") == [b"t NO [ALREADYEXISTS] it exists"]
            assert said(wire, "CREATE inbox") == [b"t NO [ALREADYEXISTS] it exists"]
            for command in ("CREATE d (USE (\\Drafts))", "CREATE d (USE (\\All))"):
                assert said(wire, command) == [b"t NO [USEATTR] not for this folder"]
            assert said(wire, "CREATE a//b") == [b"t NO [CANNOT] no folder can have this name"]
        assert list(server.folders) == [b"INBOX", b"Sent", b"a", b"a/b", b"a/b/c", b"caf\xe9"]
        assert server.folders[b"caf\xe9"].attributes == ("\\Drafts",)
        assert len({folder.uidvalidity for folder in server.folders.values()}) == 6

    def test_what_is_not_offered_is_refused(self, destination: Start) -> None:
        server = destination(MINIMAL)
        with client(server) as wire:
            wire.command("SELECT INBOX")
            for command in ("CREATE a (USE (\\Sent))", "UID EXPUNGE 1", "GETQUOTAROOT INBOX", 'GETQUOTA ""'):
                assert said(wire, command)[-1].startswith(b"t BAD")

    def test_a_name_outside_the_namespace_is_refused(self, scripted: Scripted) -> None:
        server = scripted({b"INBOX": ScriptedFolder()}, delimiter=b".", prefix=b"INBOX.", writable=True)
        with client(server) as wire:
            assert said(wire, "CREATE Sent")[-1].startswith(b"t NO [CANNOT]")
            assert said(wire, "CREATE INBOX.Sent.2020") == [b"t OK CREATE completed"]
        assert list(server.folders) == [b"INBOX", b"INBOX.Sent", b"INBOX.Sent.2020"]

    def test_a_recreated_folder_has_another_uidvalidity(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire:
            wire.command("CREATE a")
            before = server.folders[b"a"].uidvalidity
            wire.command("DELETE a")
            assert said(wire, "DELETE a") == [b"t NO [NONEXISTENT] no such mailbox"]
            assert said(wire, "DELETE INBOX") == [b"t NO [CANNOT] INBOX stays"]
            wire.command("CREATE a")
        assert server.folders[b"a"].uidvalidity > before

    def test_a_folder_with_children_is_emptied(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire:
            wire.command("CREATE Sent/2020")
            wire.command("DELETE Sent")
            assert said(wire, 'LIST "" Sent') == [b'* LIST (\\Noselect) "/" Sent', b"t OK LIST completed"]
            assert said(wire, "SELECT Sent") == [b"t NO [CANNOT] it holds no messages"]
            assert said(wire, "APPEND Sent \0", mail(1)) == [b"t NO [TRYCREATE] no such mailbox"]
            assert said(wire, "DELETE Sent") == [b"t NO [HASCHILDREN] there are folders below it"]
            wire.command("CREATE Sent")
            assert said(wire, "SELECT Sent")[-1] == b"t OK [READ-WRITE] opened"

    def test_subscriptions(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire:
            wire.command("SUBSCRIBE Sent")
            wire.command("SUBSCRIBE INBOX")
            wire.command("UNSUBSCRIBE INBOX")
            assert said(wire, "SUBSCRIBE nowhere") == [b"t NO [NONEXISTENT] no such mailbox"]
            assert said(wire, 'LSUB "" *')[:-1] == [b'* LSUB () "/" Sent']


class TestAppend:
    @pytest.mark.parametrize("waits", [False, True])
    def test_octets_flags_and_dates_are_kept_as_they_were_sent(self, destination: Start, waits: bool) -> None:
        server = destination()
        with client(server, waits=waits) as wire:
            append(wire, "INBOX", [Append(ODD, ["\\seen", "$Forwarded"], DATE), Append(mail(2))])
            append(wire, "Sent", [Append(ODD, [], DATE), Append(mail(2))], multi=False)
            wire.command("EXAMINE INBOX")
            (found,) = wire.command("UID FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])")
            assert (
                found.line
                == f'* 1 FETCH (UID 1 FLAGS (\\Seen $Forwarded) INTERNALDATE "{DATE}" BODY[] {{n}})'.encode()
            )
            assert found.literals == (ODD,)
            reported = said(wire, "STATUS Sent (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)")
            assert reported[0] == b"* STATUS Sent (MESSAGES 3 UIDNEXT 7 UIDVALIDITY 8 HIGHESTMODSEQ 3)"
        plus = b"" if waits else b"+"
        assert b'APPEND "Sent" () "%s" {%d%s}' % (DATE.encode(), len(ODD), plus) in server.commands
        one = server.appended[0]
        assert (one.octets, one.size, one.digest) == (ODD, len(ODD), hashlib.sha256(ODD).hexdigest())
        assert (one.flags, one.internaldate) == (("\\seen", "$Forwarded"), DATE)

    def test_appenduid(self, destination: Start) -> None:
        with client(destination()) as wire:
            assert said(wire, "APPEND Sent \0", ODD) == [b"t OK [APPENDUID 8 5] APPEND completed"]
            assert said(wire, "APPEND Sent \0 \0", ODD, ODD) == [b"t OK [APPENDUID 8 6:7] APPEND completed"]
        with client(destination((*MINIMAL, "LITERAL+"))) as wire:
            assert said(wire, "APPEND Sent \0", ODD) == [b"t OK APPEND completed"]

    def test_without_flags_and_date(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire:
            wire.command("APPEND Sent \0", ODD)
        message = server.folders[b"Sent"].messages[5]
        assert message.flags == ()
        assert message.internaldate is not None
        assert message.internaldate.split()[0] == time.strftime("%d-%b-%Y", time.gmtime())

    def test_pipelined_commands_are_one_flight(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire:
            before = server.flights
            wire.send(b"".join(b"a%d APPEND INBOX {%d+}\r\n%s\r\n" % (n, len(mail(n)), mail(n)) for n in range(9)))
            wire.send(b"t UID FETCH 1 (UID)\r\n")
            assert answer(wire)[-2:] == [b"a8 OK [APPENDUID 7 9] APPEND completed", b"t BAD no mailbox selected"]
            assert server.flights == before + 1
        with client(server, waits=True) as wire:
            before = server.flights
            wire.command("APPEND INBOX \0 \0", mail(1), mail(2))
            assert server.flights == before + 3

    def test_a_folder_named_by_a_literal(self, destination: Start) -> None:
        server = destination()
        server.folders[b'caf\xe9 "'] = ScriptedFolder()
        for waits in (False, True):
            with client(server, waits=waits) as wire:
                wire.command("APPEND \0 (\\Seen) \0", b'caf\xe9 "', mail(1))
        assert octets(server, b'caf\xe9 "') == [mail(1)] * 2
        assert server.commands[-1] == b'APPEND "caf\xe9 \\"" (\\Seen) {%d}' % len(mail(1))

    def test_a_missing_folder_is_reported_before_a_literal_that_waits(self, destination: Start) -> None:
        server = destination()
        with client(server, waits=True) as wire:
            wire.send(b"t APPEND a {100}\r\n")
            assert answer(wire) == [b"t NO [TRYCREATE] no such mailbox"]
            assert said(wire, "APPEND a (\\Seen) \0 \0", ODD, ODD) == [b"t NO [TRYCREATE] no such mailbox"]
            assert said(wire, "NOOP") == [b"t OK NOOP completed"]
        assert server.commands[-3:] == [
            b"APPEND a {100}",
            b"APPEND a (\\Seen) {%d+} {%d+}" % (len(ODD), len(ODD)),
            b"NOOP",
        ]

    @pytest.mark.parametrize(
        ("line", "status"),
        [
            ("APPEND INBOX", b"t BAD"),
            ("APPEND INBOX (\\Seen) text", b"t BAD"),
            ("APPEND INBOX \0 more", b"t BAD"),
            ("APPEND INBOX (a{b) \0", b"t BAD"),
            ('APPEND INBOX "5-Feb-1999 10:11:12 +0330" \0', b"t BAD invalid date-time"),
            ('APPEND INBOX "31-Feb-1999 10:11:12 +0330" \0', b"t BAD invalid date-time"),
            ('APPEND INBOX " 5-Feb-1999 10:11:12 +0330" \0', b"t OK"),
            ("APPEND INBOX\0", b"t BAD"),
            ("APPEND INBOX () \0", b"t OK"),
            ("append inbox \0", b"t OK"),
        ],
    )
    def test_syntax(self, destination: Start, line: str, status: bytes) -> None:
        server = destination()
        with client(server) as wire:
            assert said(wire, line, *[mail(1)] * line.count("\0"))[-1].startswith(status)
            assert said(wire, "NOOP") == [b"t OK NOOP completed"]
        assert bool(octets(server)) == status.startswith(b"t OK")

    def test_a_message_of_no_octets_is_refused(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire:
            assert said(wire, "APPEND INBOX \0 \0", mail(1), b"") == [b"t NO a message of no octets"]
        assert octets(server) == []

    def test_many_messages_need_multiappend(self, destination: Start) -> None:
        server = destination((*MINIMAL, "LITERAL+"))
        with client(server) as wire:
            assert said(wire, "APPEND INBOX \0 \0", mail(1), mail(2)) == [b"t BAD one message at a time"]
        assert octets(server) == []

    @pytest.mark.parametrize(
        ("capabilities", "size", "taken"),
        [(("LITERAL+",), 9999, True), (("LITERAL-",), 4096, True), (("LITERAL-",), 4097, False), ((), 10, False)],
    )
    def test_literals_that_do_not_wait(
        self, destination: Start, capabilities: tuple[str, ...], size: int, taken: bool
    ) -> None:
        server = destination((*MINIMAL, *capabilities))
        with client(server) as wire:
            (status,) = said(wire, "APPEND INBOX \0", b"x" * size)
            assert status == (b"t OK APPEND completed" if taken else b"t BAD a literal that nobody asked for")
            if not taken:
                assert said(wire, "CREATE \0", b"y" * size) == [b"t BAD a literal that nobody asked for"]
            wire.send(b"t APPEND INBOX {%d}\r\n" % size)
            assert answer(wire, b"+") == [b"+ go on"]
            wire.send(b"x" * size + b"\r\n")
            assert answer(wire) == [b"t OK APPEND completed"]
        assert octets(server) == [b"x" * size] * (1 + taken)

    def test_a_literal8(self, destination: Start) -> None:
        server = destination((*DESTINATION, "BINARY"))
        with client(server) as wire:
            wire.command("APPEND INBOX ~\0 ~\0", b"a\0b", b"c")
        assert octets(server) == [b"a\0b", b"c"]
        assert [message.literal for message in server.appended] == [b"~{3+}", b"~{1+}"]
        with client(destination()) as wire:
            assert said(wire, "APPEND INBOX ~\0", b"a\0b") == [b"t BAD expected a literal"]

    def test_flags_that_the_folder_does_not_keep(self, destination: Start) -> None:
        server = destination()
        server.folders[b"Sent"].permanentflags = SYSTEM_FLAGS
        with client(server) as wire:
            wire.command("APPEND Sent (\\Seen \\SEEN \\Recent todo \\Odd) \0", mail(1))
            wire.command("APPEND INBOX (\\Seen \\Recent todo \\Odd) \0", mail(1))
        assert flags(server, b"Sent", 5) == ("\\Seen",)
        assert flags(server, b"INBOX", 1) == ("\\Seen", "todo")

    def test_a_cut_literal_is_not_stored(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire:
            wire.send(b"t APPEND INBOX {1000+}\r\n" + b"x" * 999)
        with client(server) as wire:
            wire.command("APPEND INBOX \0", mail(1))
        assert octets(server) == [mail(1)]

    def test_several_clients_at_once(self, destination: Start) -> None:
        server = destination()
        wires = [client(server) for _ in range(4)]
        for wire in wires:
            wire.send(b"".join(b"t%d APPEND INBOX {5+}\r\n%05d\r\n" % (number, number) for number in range(100)))
        for wire in wires:
            wire.answer(b"t99")
            wire.close()
        assert list(server.folders[b"INBOX"].messages) == list(range(1, 401))

    def test_a_large_message_is_hashed_and_not_kept(self) -> None:
        digest, piece, count = hashlib.sha256(), b"All work and no play\r\n" * 50_000, 60
        with SinkServer() as server:
            with Wire(server.port).login("u1", "pw") as wire:
                wire.send(b't APPEND INBOX (\\Seen) "%s" {%d+}\r\n' % (DATE.encode(), count * len(piece)))
                for _ in range(count):
                    wire.send(piece)
                    digest.update(piece)
                wire.send(b"\r\n")
                assert answer(wire) == [b"t OK [APPENDUID 1 1] APPEND completed"]
                append(wire, "INBOX", [Append(mail(2))])
                wire.command("EXAMINE INBOX")
                sizes = [row.number("RFC822.SIZE") for row in wire.command("UID FETCH 1:2 (RFC822.SIZE)")]
            large, small = server.taken()
            with open(f"/proc/{server.pid}/status") as status:
                peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        assert (large.size, large.digest) == (count * len(piece), digest.hexdigest())
        assert (large.folder, large.flags, large.internaldate) == ("INBOX", ("\\Seen",), DATE)
        assert sizes == [large.size, small.size]
        assert small.digest == hashlib.sha256(mail(2)).hexdigest()
        assert peak * 1024 < large.size


class TestTheOpenFolder:
    def test_what_came_is_reported(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire, client(server) as other:
            wire.command("SELECT Sent")
            assert said(wire, "APPEND Sent \0", ODD)[:-1] == [b"* 2 EXISTS", b"* 1 RECENT"]
            assert said(wire, "APPEND INBOX \0", ODD)[:-1] == []
            other.command("APPEND Sent \0 \0", ODD, ODD)
            assert said(wire, "NOOP") == [b"* 4 EXISTS", b"* 3 RECENT", b"t OK NOOP completed"]
            assert said(wire, "NOOP") == [b"t OK NOOP completed"]
            wire.command("UNSELECT")
            assert said(wire, "APPEND Sent \0", ODD)[:-1] == []

    def test_flags_are_stored(self, destination: Start) -> None:
        server = destination((*DESTINATION, "CONDSTORE"))
        with client(server) as wire:
            wire.command("SELECT Sent")
            assert (
                said(wire, "UID STORE 4 +FLAGS (\\flagged todo)")[0]
                == b"* 1 FETCH (UID 4 FLAGS (\\Seen \\Flagged todo))"
            )
            assert said(wire, "UID STORE 4 -FLAGS.SILENT \\Seen \\Flagged") == [b"t OK STORE completed"]
            assert flags(server, b"Sent", 4) == ("todo",)
            wire.command("ENABLE CONDSTORE")
            assert said(wire, "UID STORE 1:* FLAGS.SILENT ()")[0] == b"* 1 FETCH (UID 4 MODSEQ (4))"
            for wrong in ("UID STORE 4 +FLAGS", "UID STORE 4 FLAG (a)", "UID STORE x FLAGS (a)"):
                assert said(wire, wrong)[-1].startswith(b"t BAD")
        assert flags(server, b"Sent", 4) == ()

    def test_expunging(self, destination: Start) -> None:
        server = destination()
        with client(server) as wire, client(server) as other:
            wire.command("SELECT Sent")
            other.command("SELECT Sent")
            append(
                wire, "Sent", [Append(mail(number), ["\\Deleted"] if number % 2 else []) for number in range(5, 11)]
            )
            assert said(wire, "UID EXPUNGE 5:6,9") == [b"* 6 EXPUNGE", b"* 2 EXPUNGE", b"t OK EXPUNGE completed"]
            assert said(wire, "EXPUNGE") == [b"* 3 EXPUNGE", b"t OK EXPUNGE completed"]
            assert said(other, "UID FETCH 8 (UID)")[:-1] == [b"* 4 EXISTS", b"* 3 RECENT", b"* 3 FETCH (UID 8)"]
            other.command("ENABLE QRESYNC")
            wire.command("UID STORE 10 +FLAGS.SILENT (\\Deleted)")
            wire.command("CLOSE")
            assert said(other, "NOOP")[0] == b"* VANISHED 10"
            wire.command("APPEND Sent \0", mail(11))
        assert list(server.folders[b"Sent"].messages) == [4, 6, 8, 11]
        assert list(server.folders[b"Sent"].vanished) == [5, 9, 7, 10]


class TestRefusals:
    @staticmethod
    def odd(reply: Reply, number: int | None = None) -> Callable[[Appended], Reply | None]:
        """Refuse the message of this number, or the one that is odd."""
        return lambda each: reply if each.number == number or (number is None and each.size == len(ODD)) else None

    @pytest.mark.parametrize(
        "reply", [TOOBIG, b"BAD Command Argument Error. 11", b"NO Message contains NUL characters"]
    )
    def test_before_and_after_the_literal(self, destination: Start, reply: bytes) -> None:
        for when in ("refuse_early", "refuse"):
            server = destination(**{when: self.odd(reply)})
            with client(server, waits=True) as wire:
                wire.send(b"t APPEND INBOX {%d}\r\n" % len(ODD))
                if when == "refuse":
                    assert answer(wire, b"+") == [b"+ go on"]
                    wire.send(ODD + b"\r\n")
                assert answer(wire) == [b"t " + reply]
                assert said(wire, "APPEND INBOX \0", ODD) == [b"t " + reply]
                assert said(wire, "APPEND INBOX \0", mail(1))[-1].startswith(b"t OK")
            assert octets(server) == [mail(1)]

    @pytest.mark.parametrize("when", ["refuse_early", "refuse"])
    @pytest.mark.parametrize(("reply", "last_words"), [(BYE, [BYE, b""]), (DROP, [b""])])
    def test_with_the_end_of_the_connection(
        self, destination: Start, when: str, reply: Reply, last_words: list[bytes]
    ) -> None:
        server = destination(**{when: self.odd(reply)})
        with client(server) as wire:
            assert said(wire, "APPEND INBOX \0", mail(1))[-1].startswith(b"t OK")
            assert [line for line in said(wire, "APPEND INBOX \0 \0", mail(2), ODD) if line != b"t"] == last_words
        assert octets(server) == [mail(1)]

    def test_by_what_the_message_is(self, destination: Start) -> None:
        server = destination(
            refuse=lambda each: b"NO Message contains NUL characters" if b"\0" in each.octets else None,
            refuse_early=lambda each: b"NO APPEND Invalid flag list" if "$odd" in each.flags else None,
        )
        with client(server) as wire:
            assert said(wire, "APPEND INBOX \0", ODD) == [b"t NO Message contains NUL characters"]
            assert said(wire, "APPEND INBOX ($odd) \0", mail(1)) == [b"t NO APPEND Invalid flag list"]

    @pytest.mark.parametrize("when", ["refuse_early", "refuse"])
    def test_one_of_many_refuses_all(self, destination: Start, when: str) -> None:
        server = destination(**{when: self.odd(TOOBIG, 2)})
        with client(server) as wire:
            assert said(wire, "APPEND INBOX \0 \0 \0", mail(1), mail(2), mail(3)) == [b"t " + TOOBIG]
        assert (octets(server), server.appended) == ([], [])

    @pytest.mark.parametrize("when", ["refuse_early", "refuse"])
    def test_a_server_that_stores_those_before_it(self, destination: Start, when: str) -> None:
        server = destination(**{when: self.odd(TOOBIG, 3)}, atomic=False)
        with client(server) as wire:
            assert said(wire, "APPEND INBOX \0 \0 \0 \0", *map(mail, range(1, 5))) == [b"t " + TOOBIG]
        assert octets(server) == [mail(1), mail(2)]

    def test_the_second_of_many_may_be_refused_before_it_is_sent(self, destination: Start) -> None:
        server = destination(refuse_early=self.odd(TOOBIG))
        with client(server) as wire:
            wire.send(b"t APPEND INBOX {%d+}\r\n%s {%d}\r\n" % (len(mail(1)), mail(1), len(ODD)))
            assert answer(wire) == [b"t " + TOOBIG]
            assert said(wire, "NOOP") == [b"t OK NOOP completed"]

    def test_appendlimit(self, destination: Start) -> None:
        server = destination((*DESTINATION, "APPENDLIMIT=30"))
        with client(server) as wire:
            assert said(wire, "APPEND INBOX \0", b"x" * 30)[-1].startswith(b"t OK")
            assert said(wire, "APPEND INBOX \0", b"x" * 31)[-1].startswith(b"t NO [TOOBIG]")

    def test_quota(self, destination: Start) -> None:
        server = destination(quota=2048)
        with client(server) as wire:
            assert said(wire, "GETQUOTAROOT Sent")[:-1] == [
                b'* QUOTAROOT Sent ""',
                b'* QUOTA "" (STORAGE 1 2)',
            ]
            append(wire, "INBOX", [Append(b"x" * 1000)])
            full = [b"t NO [OVERQUOTA] Quota exceeded"]
            assert said(wire, "APPEND INBOX \0 \0", b"x" * 1000, b"x" * 1000) == full
            assert said(wire, "APPEND INBOX \0", b"x" * 1035) == full
            assert said(wire, "APPEND INBOX \0", b"x" * 1034)[-1].startswith(b"t OK")
            assert said(wire, 'GETQUOTA ""')[0] == b'* QUOTA "" (STORAGE 2 2)'
            server.appending.quota = None
            assert said(wire, "GETQUOTAROOT INBOX")[:-1] == [b"* QUOTAROOT INBOX"]
            assert said(wire, 'GETQUOTA ""') == [b"t NO [NONEXISTENT] no such quota root"]

    @pytest.mark.parametrize(
        "status",
        [
            b"NO [THROTTLED] Request is throttled. Suggested Backoff Time: 300 milliseconds",
            b"NO [LIMIT] too many commands",
        ],
    )
    def test_throttling(self, destination: Start, status: bytes) -> None:
        server = destination()
        server.on(b"APPEND", status, times=2)
        with client(server) as wire:
            replies = [said(wire, "APPEND INBOX \0", mail(number)) for number in range(3)]
        assert replies[:2] == [[b"t " + status]] * 2
        assert octets(server) == [mail(2)]

    def test_a_folder_that_refuses(self, destination: Start) -> None:
        server = destination()
        server.folders[b"Sent"].refuse = b"NO [NOPERM] not yours"
        with client(server) as wire:
            assert said(wire, "APPEND Sent \0", mail(1)) == [b"t NO [NOPERM] not yours"]


class TestLies:
    @pytest.mark.parametrize(
        ("oddity", "one", "two"),
        [
            ("missing", b"", b""),
            ("swapped", b"[APPENDUID 5 8] ", b"[APPENDUID 6:7 8] "),
            ("wrong-count", b"[APPENDUID 8 5:6] ", b"[APPENDUID 8 6] "),
            ("wrong-uids", b"[APPENDUID 8 6] ", b"[APPENDUID 8 8:9] "),
            ("wrong-uidvalidity", b"[APPENDUID 9 5] ", b"[APPENDUID 9 6:7] "),
        ],
    )
    def test_about_the_uids(self, destination: Start, oddity: AppendUidOddity, one: bytes, two: bytes) -> None:
        with client(destination(appenduid=oddity)) as wire:
            assert said(wire, "APPEND Sent \0", mail(5)) == [b"t OK %sAPPEND completed" % one]
            assert said(wire, "APPEND Sent \0 \0", mail(6), mail(7)) == [b"t OK %sAPPEND completed" % two]

    def test_about_what_is_stored(self, destination: Start) -> None:
        server = destination(loses=lambda each: each.number == 2)
        with client(server) as wire:
            wire.command("SELECT INBOX")
            reported = said(wire, "APPEND INBOX \0 \0 \0", mail(1), mail(2), mail(3))
        assert reported == [b"* 2 EXISTS", b"* 2 RECENT", b"t OK [APPENDUID 7 1:3] APPEND completed"]
        assert list(server.folders[b"INBOX"].messages) == [1, 3]
        assert len(server.appended) == 3

    def test_stored_and_answered_no(self, destination: Start) -> None:
        server = destination()

        def store_and_deny(_line: bytes, tag: bytes, session: Session) -> bytes:
            session.writing.store(session.appended)
            return tag + b" NO [UNAVAILABLE] timeout\r\n"

        server.on(b"APPEND", store_and_deny, times=1)
        with client(server) as wire:
            assert said(wire, "APPEND INBOX \0", mail(1)) == [b"t NO [UNAVAILABLE] timeout"]
        assert octets(server) == [mail(1)]

    def test_a_script_sees_the_messages(self, destination: Start) -> None:
        server, seen = destination(), []

        def look(line: bytes, _tag: bytes, session: Session) -> None:
            seen.append((line, session.appended))

        server.on(b"APPEND", look)
        with client(server) as wire:
            wire.command(f'APPEND Sent (\\Seen a) "{DATE}" \0 \0', ODD, mail(2))
        ((line, (one, two)),) = seen
        assert line == b't APPEND Sent (\\Seen a) "%s" {%d+} {%d+}' % (DATE.encode(), len(ODD), len(mail(2)))
        assert (one.folder, one.flags, one.internaldate, one.octets) == (b"Sent", ("\\Seen", "a"), DATE, ODD)
        assert (two.number, two.flags, two.internaldate, two.octets) == (2, (), None, mail(2))

    @pytest.mark.parametrize("cut", [0, 1, 13, 38])
    @pytest.mark.parametrize("stored", [True, False])
    def test_the_answer_is_cut(self, destination: Start, cut: int, stored: bool) -> None:
        server = destination(loses=None if stored else lambda _: True)
        server.on(b"APPEND", After(cut), times=1)
        with client(server) as wire:
            wire.send(b"t APPEND INBOX {%d+}\r\n%s\r\n" % (len(mail(1)), mail(1)))
            assert wire._reader.read() == b"t OK [APPENDUID 7 1] APPEND completed\r\n"[:cut]
        assert octets(server) == ([mail(1)] if stored else [])

    def test_nothing_is_stored_and_nothing_answered(self, destination: Start) -> None:
        server = destination()
        server.on(b"APPEND", DROP, times=1)
        with client(server) as wire, pytest.raises(WireError, match="hung up"):
            wire.command("APPEND INBOX \0", mail(1))
        assert octets(server) == []

    def test_the_answer_is_late(self, destination: Start) -> None:
        server = destination(after=lambda folder, messages: time.sleep(0.5))
        with client(server, timeout=0.2) as wire, pytest.raises(TimeoutError):
            wire.command("APPEND INBOX \0", mail(1))
        assert octets(server) == [mail(1)]


class TestChanges:
    @pytest.mark.parametrize(
        ("rewrite", "sent", "kept"),
        [
            (refolded, b"A: b \r\n\t c\t\r\n\r\nbody \r\n\t", b"A: b\r\n c\r\n\r\nbody \r\n\t"),
            (with_final_crlf, b"A: b\r\n\r\nbody", b"A: b\r\n\r\nbody\r\n"),
            (with_final_crlf, b"A: b\r\n\r\nbody\r\n", b"A: b\r\n\r\nbody\r\n"),
            (without_nul, b"A: b\r\n\r\n\0", b"A: b\r\n\r\n\x80"),
        ],
    )
    def test_of_the_octets(
        self, destination: Start, rewrite: Callable[[bytes], bytes], sent: bytes, kept: bytes
    ) -> None:
        server = destination(rewrite=rewrite)
        with client(server) as wire:
            append(wire, "INBOX", [Append(sent)])
            wire.command("EXAMINE INBOX")
            (found,) = wire.command("UID FETCH 1 (RFC822.SIZE BODY.PEEK[])")
        assert (found.number("RFC822.SIZE"), found.literals) == (len(kept), (kept,))
        assert server.appended[0].octets == sent

    def test_of_the_flags(self, destination: Start) -> None:
        server = destination(drop_flags=("\\Flagged",))
        with client(server) as wire:
            wire.command("APPEND INBOX (\\Seen \\FLAGGED) \0", mail(1))
            assert flags(server, b"INBOX", 1) == ("\\Seen",)
            wire.command("SELECT INBOX")
            wire.command("UID STORE 1 +FLAGS (\\Flagged)")
        assert flags(server, b"INBOX", 1) == ("\\Seen", "\\Flagged")

    def test_of_old_dates(self, destination: Start) -> None:
        old, first = "31-Dec-1969 23:59:59 +0000", "01-Jan-1970 00:00:00 +0000"
        server = destination(oldest=EPOCH)
        with client(server) as wire:
            append(wire, "INBOX", [Append(mail(1), internaldate=old), Append(mail(2), internaldate=first)])
        dates = [message.internaldate for message in server.folders[b"INBOX"].messages.values()]
        assert dates[0] is not None
        assert re.fullmatch(r"\d\d-[A-Z][a-z]{2}-20\d\d \d\d:\d\d:\d\d \+0000", dates[0])
        assert dates[1] == first

    def test_old_dates_refused(self, destination: Start) -> None:
        server = destination(
            refuse_early=lambda each: b"BAD invalid date" if each.arrived and each.arrived < EPOCH else None
        )
        with client(server) as wire:
            line = 'APPEND INBOX "31-Dec-1969 23:59:59 +0000" \0'
            assert said(wire, line, mail(1)) == [b"t BAD invalid date"]
            assert said(wire, line.replace("+0000", "-0100"), mail(1))[-1].startswith(b"t OK")

    def test_other_mail_arrives_between(self, destination: Start) -> None:
        def deliver(folder: ScriptedFolder, _: list[Appended]) -> None:
            folder.add(ScriptedMessage(b"Subject: other\r\n\r\n"))

        server = destination(before=deliver, after=deliver)
        with client(server) as wire:
            assert said(wire, "APPEND Sent \0 \0", mail(1), mail(2))[-1].startswith(b"t OK [APPENDUID 8 6:7]")
            server.appending = replace(server.appending, before=None, after=None)
            assert said(wire, "APPEND Sent \0", mail(3))[-1].startswith(b"t OK [APPENDUID 8 9]")
        assert [each.split()[1] for each in octets(server, b"Sent")] == [
            b"4",
            b"other",
            b"1",
            b"2",
            b"other",
            b"3",
        ]
