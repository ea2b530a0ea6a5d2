"""The servers of the tests do what the tests rely on; checked with plain sockets and imaplib."""

from __future__ import annotations

import hashlib
import imaplib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tests.servers.certificates import Certificate, Certificates
from tests.servers.corpora import CorpusMessage
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import ODD_PASSWORD, ODD_USER, Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.mail_server import PASSWORD, MailServer, living
from tests.servers.mailbox_generator import TINY, generate
from tests.servers.postgresql import OWNER_PASSWORD, Postgresql
from tests.servers.pymap_server import PymapServer
from tests.servers.scripted import DROP, MINIMAL, STALL, After, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.scripted_mail import FetchOddity
from tests.servers.served import dump
from tests.servers.wire import Append, Wire, WireError, append, wire_name

MAIL = b"From: a@example.org\r\nSubject: hello\r\n\r\n\x80 8-bit and a bare \r here\r\n"
Scripted = Callable[..., ScriptedServer]
Proxy = Callable[..., FaultProxy]


def scripted_inbox(**oddities: ScriptedMessage) -> ScriptedFolder:
    """Three messages; `uid2=...` replaces one."""
    messages = {
        uid: ScriptedMessage(b"Subject: %d\r\n\r\nbody %d\r\n" % (uid, uid), ("\\Seen",)) for uid in (1, 2, 3)
    }
    for name, message in oddities.items():
        messages[int(name.removeprefix("uid"))] = message
    return ScriptedFolder(uidvalidity=7, messages=messages)


def rows(wire: Wire, command: str) -> list[bytes]:
    return [response.line for response in wire.command(command)]


def ends_listening(port: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            pass  # it is just ending
    return False


class TestDovecot:
    def test_appended_octets_flags_and_dates_are_served(self, dovecot: Dovecot, mail_user: str) -> None:
        date = "05-Feb-1999 10:11:12 +0330"
        dovecot.append(mail_user, "INBOX", MAIL, ["\\Seen", "$Forwarded"], date)
        message = dovecot.dump(mail_user)[b"INBOX"].messages[1]
        assert message.digest == hashlib.sha256(MAIL).hexdigest()
        assert {"\\Seen", "$Forwarded"} <= message.flags
        assert message.internaldate.split()[0] == "05-Feb-1999"

    def test_hundreds_are_appended_in_order(self, dovecot: Dovecot, mail_user: str) -> None:
        dovecot.append_many(mail_user, "INBOX", [Append(b"Subject: %d\r\n\r\n" % n) for n in range(1, 251)])
        messages = dovecot.dump(mail_user)[b"INBOX"].messages
        assert list(messages) == list(range(1, 251))
        assert messages[250].digest == hashlib.sha256(b"Subject: 250\r\n\r\n").hexdigest()

    def test_folder_names_in_many_scripts(self, dovecot: Dovecot, mail_user: str) -> None:
        names: list[str | bytes] = ["日本語", "a/b & c", 'He said "hi"', "back\\slash %{}", b"raw.name"]
        dovecot.create(mail_user, *names)
        raw = {name if isinstance(name, bytes) else wire_name(name) for name in names}
        assert set(dovecot.dump(mail_user)) == raw | {b"INBOX"}
        dovecot.rename(mail_user, "日本語", "中文")
        dovecot.delete(mail_user, b"raw.name")
        dovecot.subscribe(mail_user, "中文")
        assert set(dovecot.dump(mail_user)) == (raw | {b"INBOX", wire_name("中文")}) - {
            wire_name("日本語"),
            b"raw.name",
        }

    def test_snapshot_and_restore_go_back_in_time(self, dovecot: Dovecot, mail_user: str) -> None:
        dovecot.append_many(mail_user, "INBOX", [Append(MAIL)] * 3)
        before, snapshot = dovecot.dump(mail_user), dovecot.snapshot(mail_user)
        dovecot.expunge(mail_user, "INBOX", [2])
        dovecot.store_flags(mail_user, "INBOX", [1], ["\\Flagged"])
        dovecot.append(mail_user, "INBOX", b"Subject: later\r\n\r\n")
        assert sorted(dovecot.dump(mail_user)[b"INBOX"].messages) == [1, 3, 4]
        dovecot.restore(mail_user, snapshot)
        assert dovecot.dump(mail_user) == before

    @pytest.mark.parametrize(("renumber", "uids"), [(False, [1, 3]), (True, [1, 2])])
    def test_uidvalidity_changes(self, dovecot: Dovecot, mail_user: str, renumber: bool, uids: list[int]) -> None:
        dovecot.create(mail_user, "Réponses")
        dovecot.append_many(mail_user, "Réponses", [Append(MAIL)] * 3)
        dovecot.expunge(mail_user, "Réponses", [2])
        before = dovecot.dump(mail_user)[wire_name("Réponses")].uidvalidity
        bumped = dovecot.bump_uidvalidity(mail_user, "Réponses", renumber=renumber)
        folder = dovecot.dump(mail_user)[wire_name("Réponses")]
        assert folder.uidvalidity == bumped > before
        assert list(folder.messages) == uids

    def test_reading_leaves_no_trace(self, dovecot: Dovecot, mail_user: str) -> None:
        dovecot.append(mail_user, "INBOX", MAIL)
        first = dovecot.dump(mail_user)
        assert first[b"INBOX"].recent == 1
        assert dovecot.dump(mail_user) == first

    def test_a_generated_account_is_served_as_it_says(
        self, dovecot: Dovecot, mail_user: str, tmp_path: Path
    ) -> None:
        account = generate(tmp_path, TINY)
        dovecot.install(mail_user, account.home)
        served = dovecot.dump(mail_user)
        assert set(served) == {wire_name(name) for name in account.folders}
        expected = [(m.folder, m.uid, m.digest, m.size, m.flags) for m in account.messages]
        actual = []
        for name in account.folders:
            for uid, message in served[wire_name(name)].messages.items():
                flags = message.flags - {"\\Recent"}
                actual.append((name, uid, message.digest, message.size, flags))
        assert actual == expected
        assert generate(tmp_path / "again", TINY).messages == account.messages

    def test_tls_with_a_certificate_that_fits(self, dovecot: Dovecot, mail_user: str) -> None:
        context = ssl.create_default_context(cafile=str(dovecot.ca))
        with imaplib.IMAP4_SSL("127.0.0.1", dovecot.tls_port, ssl_context=context) as client:
            assert client.login(mail_user, PASSWORD)[0] == "OK"
        with imaplib.IMAP4("127.0.0.1", dovecot.port) as client:
            client.starttls(context)
            assert client.login(mail_user, PASSWORD)[0] == "OK"

    @pytest.mark.parametrize("fault", ["expired", "untrusted"])
    def test_tls_with_a_certificate_that_does_not(
        self, dovecot_with: Callable[..., Dovecot], certificates: Certificates, fault: str
    ) -> None:
        bad: Certificate = getattr(certificates, fault)
        server = dovecot_with(certificate=bad)
        with pytest.raises(ssl.SSLCertVerificationError):
            Wire(server.tls_port, tls=certificates.good.client_context())

    def test_odd_password_and_wrong_password(self, dovecot: Dovecot, mail_user: str) -> None:
        with Wire(dovecot.port) as wire:
            wire.login(ODD_USER, ODD_PASSWORD)
        with Wire(dovecot.port) as wire, pytest.raises(WireError, match="AUTHENTICATIONFAILED"):
            wire.login(mail_user, "wrong")

    def test_logins_commands_and_flights_are_counted(self, dovecot: Dovecot, mail_user: str) -> None:
        dovecot.record(mail_user)
        with dovecot.wire(mail_user) as wire:
            wire.command('LIST "" "*"')
            wire.send(b"x EXAMINE INBOX\r\ny UID SEARCH ALL\r\n")
            wire.answer(b"y")
            wire.command(b"STATUS \0 (MESSAGES)", b"INBOX")
            wire.logout()
        commands = [b'LIST "" "*"', b"EXAMINE INBOX", b"UID SEARCH ALL", b"STATUS {5+} (MESSAGES)", b"LOGOUT"]
        assert dovecot.commands(mail_user) == commands
        assert dovecot.flights(mail_user) == 4
        assert dovecot.logins(mail_user) == 1

    def test_process_limit_and_extra_configuration(self, dovecot_with: Callable[..., Dovecot]) -> None:
        server = dovecot_with(process_limit=1, extra="login_greeting = just one at a time")
        with server.wire("u1") as wire:
            assert wire.greeting.endswith(b"just one at a time\r\n")
            assert "process_limit" not in server.log()
        server.restart()
        assert list(server.dump("u1")) == [b"INBOX"]

    def test_it_does_not_outlive_a_killed_test_run(self, dovecot: Dovecot) -> None:
        code = "import time\nfrom tests.servers.dovecot import Dovecot\nd = Dovecot().__enter__()\n"
        code += "print(d.port, d.root, flush=True)\ntime.sleep(600)\n"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port, root = process.stdout.readline().split()
            process.send_signal(signal.SIGKILL)
        assert ends_listening(int(port), seconds=10)
        subprocess.run(["rm", "-rf", root], check=True)


def test_a_dovecot_without_extensions_takes_mail_in_small_steps(plain_dovecot: Dovecot) -> None:
    user = plain_dovecot.fresh_user()
    with Wire(plain_dovecot.port, literal_plus=False).login(user, PASSWORD) as wire:
        assert rows(wire, "CAPABILITY") == [b"* CAPABILITY IMAP4rev1"]
        append(wire, "INBOX", [Append(MAIL, ["\\Seen", "kept"]), Append(b"Subject: 2\r\n\r\n")], multi=False)
        with pytest.raises(WireError, match="TRYCREATE"):
            append(wire, "none", [Append(MAIL)], multi=False)
    first, second = plain_dovecot.dump(user)[b"INBOX"].messages.values()
    assert (first.digest, second.size) == (hashlib.sha256(MAIL).hexdigest(), 14)
    assert {"\\Seen", "kept"} <= first.flags


@pytest.fixture(params=["cyrus", "courier"])
def other(request: pytest.FixtureRequest) -> MailServer:
    """The real servers besides Dovecot, one after the other."""
    server: MailServer = request.getfixturevalue(request.param)
    return server


class TestCyrusAndCourier:
    CLEAN = b"From: a@example.org\r\nSubject: \xe4\r\n\r\n\x80 8-bit\r\n"

    def name(self, server: MailServer, *parts: str) -> str:
        return ".".join(("INBOX", *parts)) if isinstance(server, Courier) else "/".join(parts)

    def test_appended_octets_flags_and_dates_are_served(self, other: MailServer) -> None:
        user, date = other.fresh_user(), "05-Feb-1999 10:11:12 +0330"
        other.append(user, "INBOX", self.CLEAN, ["\\Seen", "$Forwarded", "Kw_with.dot-1"], date)
        message = other.dump(user)[b"INBOX"].messages[1]
        assert message.digest == hashlib.sha256(self.CLEAN).hexdigest()
        assert message.flags - {"\\Recent"} == {"\\Seen", "$Forwarded", "Kw_with.dot-1"}
        served, appended = (
            datetime.strptime(text.strip(), "%d-%b-%Y %H:%M:%S %z") for text in (message.internaldate, date)
        )
        assert served == appended

    def test_hundreds_are_appended_in_order(self, other: MailServer) -> None:
        user = other.fresh_user()
        other.append_many(user, "INBOX", [Append(b"Subject: %d\r\n\r\n" % n) for n in range(1, 251)])
        messages = other.dump(user)[b"INBOX"].messages
        assert list(messages) == list(range(1, 251))
        assert messages[250].digest == hashlib.sha256(b"Subject: 250\r\n\r\n").hexdigest()

    def test_folders_are_listed(self, other: MailServer) -> None:
        user = other.fresh_user()
        parent, child, moved = (
            self.name(other, "日本語"),
            self.name(other, "日本語", "b c"),
            self.name(other, "中文"),
        )
        other.create(user, parent, child, self.name(other, "a"))
        other.subscribe(user, child)
        other.rename(user, self.name(other, "a"), moved)
        assert set(other.dump(user)) == {b"INBOX", *map(wire_name, (parent, child, moved))}
        with other.wire(user) as wire:
            assert [line for line in rows(wire, 'LSUB "" "*"') if wire_name(child) in line]

    def test_flags_change_and_messages_go(self, other: MailServer) -> None:
        user = other.fresh_user()
        other.append_many(user, "INBOX", [Append(self.CLEAN, ["\\Seen"])] * 3)
        other.store_flags(user, "INBOX", [3], ["\\Flagged", "new"])
        other.expunge(user, "INBOX", [2])
        messages = other.dump(user)[b"INBOX"].messages
        assert list(messages) == [1, 3]
        assert messages[3].flags - {"\\Recent"} == {"\\Seen", "\\Flagged", "new"}

    def test_reading_leaves_no_trace_and_a_restart_neither(self, other: MailServer) -> None:
        user = other.fresh_user()
        other.append(user, "INBOX", self.CLEAN)
        first = other.dump(user)
        assert other.dump(user) == first
        other.restart()
        assert other.dump(user) == first

    def test_tls(self, other: MailServer) -> None:
        user, context = other.fresh_user(), ssl.create_default_context(cafile=str(other.ca))
        with Wire(other.tls_port, tls=context).login(user, PASSWORD) as wire:
            assert rows(wire, 'LIST "" INBOX')
        with imaplib.IMAP4("127.0.0.1", other.port) as client:
            client.starttls(context)
            assert client.login(user, PASSWORD)[0] == "OK"

    def test_it_leaves_nothing_behind(self, other: MailServer) -> None:
        with type(other)() as server, server.wire("u1") as wire:
            wire.command("SELECT INBOX")
            session = os.getsid(server.processes()[0])
            assert len(living(session)) > 1
        assert living(session) == []
        assert not server.root.exists()

    def test_it_does_not_outlive_a_killed_test_run(self, other: MailServer) -> None:
        kind = type(other)
        code = f"import time\nfrom {kind.__module__} import {kind.__name__}\ns = {kind.__name__}().__enter__()\n"
        code += "w = s.wire('u1')\nprint(s.port, s.root, flush=True)\ntime.sleep(600)\n"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port, root = process.stdout.readline().split()
            process.send_signal(signal.SIGKILL)
        ended = ends_listening(int(port), seconds=10)
        subprocess.run(["rm", "-rf", root], check=True)
        assert ended


class TestCyrus:
    REFUSED = (
        (b"Subject: x\r\n\r\na\0b\r\n", "NO Message contains NUL characters"),
        (b"Subject: x\r\n\r\na\nb\r\n", "NO Message contains bare newlines"),
        (b"no header\r\n\r\nbody\r\n", "NO Message contains invalid header"),
        (b"", "NO Zero-length message literal"),
    )

    def test_what_it_refuses(self, cyrus: Cyrus) -> None:
        user = cyrus.fresh_user()
        for octets, reply in self.REFUSED:
            with pytest.raises(WireError, match=reply):
                cyrus.append(user, "INBOX", octets)
        with pytest.raises(WireError, match="BAD Invalid date-time in Append command"):
            cyrus.append(user, "INBOX", MAIL, internaldate="31-Dec-1969 23:59:59 +0000")
        assert cyrus.dump(user)[b"INBOX"].messages == {}

    def test_octets_are_kept_that_courier_changes(self, cyrus: Cyrus) -> None:
        user, kept = cyrus.fresh_user(), (MAIL, b"Subject: x\r\n\r\nno end", b"\r\n", b"Subject: no body\r\n")
        cyrus.append_many(user, "INBOX", map(Append, kept))
        served = [message.digest for message in cyrus.dump(user)[b"INBOX"].messages.values()]
        assert served == [hashlib.sha256(octets).hexdigest() for octets in kept]

    def test_one_refused_message_refuses_its_command(self, cyrus: Cyrus) -> None:
        user = cyrus.fresh_user()
        with pytest.raises(WireError, match="NUL"):
            cyrus.append_many(user, "INBOX", [Append(MAIL), Append(b"Subject: x\r\n\r\n\0"), Append(MAIL)])
        assert cyrus.dump(user)[b"INBOX"].messages == {}

    @pytest.mark.parametrize(
        ("altnamespace", "unixhierarchysep", "namespace", "folder"),
        [
            (True, False, b'(("" ".")) ', b"a.b"),
            (False, True, b'(("INBOX/" "/")) ', b"INBOX/a/b"),
            (False, False, b'(("INBOX." ".")) ', b"INBOX.a.b"),
        ],
    )
    def test_namespaces(
        self,
        cyrus_with: Callable[..., Cyrus],
        altnamespace: bool,
        unixhierarchysep: bool,
        namespace: bytes,
        folder: bytes,
    ) -> None:
        server = cyrus_with(altnamespace=altnamespace, unixhierarchysep=unixhierarchysep)
        with server.wire("u1") as wire:
            assert rows(wire, "NAMESPACE")[0].startswith(b"* NAMESPACE " + namespace)
        server.create("u1", folder)
        server.append("u1", folder, MAIL)
        assert server.dump("u1")[folder].messages[1].digest == hashlib.sha256(MAIL).hexdigest()

    def test_wrong_password(self, cyrus: Cyrus) -> None:
        with Wire(cyrus.port) as wire, pytest.raises(WireError, match="NO authentication failure"):
            wire.login(cyrus.fresh_user(), "wrong")

    def test_any_option(self, cyrus_with: Callable[..., Cyrus]) -> None:
        server = cyrus_with(munge8bit=True, **{"autocreate_inbox_folders": "Sent", "xlist-sent": "Sent"})
        server.append("u1", "Sent", b"Subject: \xe4\r\n\r\n")
        assert server.dump("u1")[b"Sent"].messages[1].digest == hashlib.sha256(b"Subject: X\r\n\r\n").hexdigest()
        with server.wire("u1") as wire:
            assert rows(wire, 'LIST "" Sent') == [b'* LIST (\\HasNoChildren \\sent) "/" Sent']

    def test_it_says_why_it_does_not_start(self, cyrus_with: Callable[..., Cyrus]) -> None:
        with pytest.raises(RuntimeError, match="non-switch value for munge8bit"):
            cyrus_with(munge8bit="perhaps")


class TestCourier:
    ALTERED = (
        (b"Subject: x\r\n\r\na\nb\r\n", b"Subject: x\r\n\r\na\r\nb\r\n"),
        (b"Subject: x\r\n\r\na\rb\r\n", b"Subject: x\r\n\r\nab\r\n"),
        (b"Subject: x\r\n\r\nno end", b"Subject: x\r\n\r\nno end\r\n"),
        (b"", b"\r\n"),
    )
    KEPT = (b"Subject: x\r\n\r\na\0b\r\n", b"no header\r\n\r\nbody\r\n")

    def test_what_it_alters_and_what_it_keeps(self, courier: Courier) -> None:
        user = courier.fresh_user()
        courier.append_many(
            user, "INBOX", [Append(octets) for octets, _ in self.ALTERED] + [*map(Append, self.KEPT)]
        )
        served = [message.digest for message in courier.dump(user)[b"INBOX"].messages.values()]
        expected = [*(octets for _, octets in self.ALTERED), *self.KEPT]
        assert served == [hashlib.sha256(octets).hexdigest() for octets in expected]

    def test_what_it_refuses(self, courier: Courier) -> None:
        user = courier.fresh_user()
        for options in ({"internaldate": "31-Dec-1969 23:59:59 +0000"}, {"flags": ["a]b"]}):
            with pytest.raises(WireError, match="NO Error in IMAP command received by server"):
                courier.append(user, "INBOX", MAIL, **options)
        for folder in ("top", "INBOX.🙂"):
            with pytest.raises(WireError, match="NO "):
                courier.create(user, folder)
        with courier.wire(user) as wire:
            wire.command("EXAMINE INBOX")
            with pytest.raises(WireError, match="NO Current box is selected READ-ONLY"):
                append(wire, "INBOX", [Append(MAIL)])
        with Wire(courier.port).login(user, PASSWORD) as wire, pytest.raises(WireError, match="NO Error"):
            append(wire, "INBOX", [Append(MAIL)])
        assert courier.dump(user)[b"INBOX"].messages == {}


class TestScripted:
    def test_octets_are_given_unaltered(self, scripted: Scripted) -> None:
        octets = [b"", b"\0", b"bare\nlf", b"bare\rcr\r\n\r\n", bytes(range(256)) * 1000]
        messages = {uid: ScriptedMessage(each) for uid, each in enumerate(octets, 1)}
        server = scripted({b"INBOX": ScriptedFolder(messages=messages)})
        with Wire(server.port).login("u1", "pw") as wire:
            wire.command("EXAMINE INBOX")
            found = wire.command("UID FETCH 1:* (BODY.PEEK[])")
        assert [response.literals[0] for response in found] == octets

    def test_dump_agrees_with_what_is_served(self, scripted: Scripted) -> None:
        server = scripted({b"INBOX": scripted_inbox(), b"b": ScriptedFolder(attributes=("\\Noselect",))})
        with Wire(server.port).login("u1", "pw") as wire:
            served = dump(wire)
        assert list(served) == [b"INBOX"]
        assert served[b"INBOX"].uidvalidity == 7
        assert list(served[b"INBOX"].messages) == [1, 2, 3]

    def test_imaplib_can_talk_to_it(self, scripted: Scripted, certificates: Certificates) -> None:
        server = scripted(
            {b"INBOX": scripted_inbox()}, capabilities=(*MINIMAL, "STARTTLS"), certificate=certificates.good
        )
        with imaplib.IMAP4("127.0.0.1", server.port) as client:
            client.starttls(certificates.good.client_context())
            client.login("u1", "pw")
            assert client.select("INBOX", readonly=True) == ("OK", [b"3"])
            assert client.uid("SEARCH", "ALL") == ("OK", [b"1 2 3"])
            assert client.status("INBOX", "(MESSAGES)") == ("OK", [b"INBOX (MESSAGES 3)"])

    def test_implicit_tls(self, scripted: Scripted, certificates: Certificates) -> None:
        server = scripted(certificate=certificates.good, implicit_tls=True)
        with Wire(server.port, tls=certificates.good.client_context()) as wire:
            assert wire.greeting == b"* OK ready\r\n"
        with pytest.raises(ssl.SSLCertVerificationError):
            Wire(server.port, tls=ssl.create_default_context())

    def test_names_on_the_wire(self, scripted: Scripted) -> None:
        names: dict[bytes, ScriptedFolder] = {
            name: ScriptedFolder() for name in (b"INBOX", b"[a]", b"a b", b'q"\\')
        }
        names |= {
            b"tab\t": ScriptedFolder(listed_as=b"tab\t"),
            b"caf\xe9": ScriptedFolder(),
            b"NIL": ScriptedFolder(),
        }
        server = scripted(names, delimiter=None)
        with Wire(server.port).login("u1", "pw") as wire:
            listed = wire.command('LIST "" "*"')
            for name in names:
                wire.command(b"EXAMINE \0", name)
        lines = [response.line.removeprefix(b"* LIST () NIL ") for response in listed]
        assert lines == [b"INBOX", b"[a]", b'"a b"', b'"q\\"\\\\"', b"tab\t", b"{n}", b'"NIL"']
        assert listed[5].literals == (b"caf\xe9",)

    def test_list_status_in_one_round_trip(self, scripted: Scripted) -> None:
        server = scripted(
            {b"INBOX": scripted_inbox(), b"Sent": ScriptedFolder(attributes=("\\Sent",), subscribed=True)}
        )
        with Wire(server.port).login("u1", "pw") as wire:
            found = rows(wire, 'LIST "" "*" RETURN (SPECIAL-USE SUBSCRIBED STATUS (MESSAGES UIDNEXT))')
        assert found == [
            b'* LIST () "/" INBOX',
            b"* STATUS INBOX (MESSAGES 3 UIDNEXT 4)",
            b'* LIST (\\Sent \\Subscribed) "/" Sent',
            b"* STATUS Sent (MESSAGES 0 UIDNEXT 1)",
        ]

    def test_what_is_not_offered_is_refused(self, scripted: Scripted) -> None:
        server = scripted({b"INBOX": scripted_inbox()}, capabilities=MINIMAL)
        with Wire(server.port).login("u1", "pw") as wire:
            wire.command("EXAMINE INBOX")
            for command in ("ENABLE QRESYNC", "NAMESPACE", 'LIST "" "*" RETURN (STATUS (MESSAGES))', "ID NIL",
                            "STATUS INBOX (HIGHESTMODSEQ)", "UID SEARCH RETURN (ALL) ALL", "UID FETCH 1 (MODSEQ)",
                            "UID FETCH 1 (FLAGS) (CHANGEDSINCE 1)", "STORE 1 FLAGS ()"):  # fmt: skip
                with pytest.raises(WireError, match="BAD"):
                    wire.command(command)

    def test_search(self, scripted: Scripted) -> None:
        big = ScriptedMessage(b"x" * 1000, ("\\Deleted", "todo"), "03-Mar-2021 00:00:00 +0000")
        server = scripted({b"INBOX": scripted_inbox(uid2=big)})
        with Wire(server.port).login("u1", "pw") as wire:
            wire.command("EXAMINE INBOX")
            asked = {"ALL": "1:3", "LARGER 500": "2", "SINCE 1-Jan-2021": "2", "UNSEEN": "2", "NOT DELETED": "1,3",
                     "KEYWORD todo": "2", "UID 3:*": "3", "NOT LARGER 500 SEEN": "1,3",
                     "(OR UID 1 DELETED)": "1:2"}  # fmt: skip
            for keys, found in asked.items():
                assert rows(wire, f"UID SEARCH RETURN (ALL) {keys}") == [
                    f'* ESEARCH (TAG "t") UID ALL {found}'.encode()
                ]
            assert rows(wire, "UID SEARCH LARGER 500") == [b"* SEARCH 2"]

    def test_what_changed_since(self, scripted: Scripted) -> None:
        folder = scripted_inbox(uid2=ScriptedMessage(b"x", modseq=9))
        folder.vanished = {4: 5, 5: 12}
        server = scripted({b"INBOX": folder})
        with Wire(server.port).login("u1", "pw") as wire:
            wire.command("ENABLE QRESYNC")
            reported = rows(wire, "EXAMINE INBOX (QRESYNC (7 8))")[-2:]
            assert reported == [b"* VANISHED (EARLIER) 5", b"* 2 FETCH (UID 2 FLAGS () MODSEQ (9))"]
            changed = rows(wire, "UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE 1)")
        assert changed == [b"* 2 FETCH (UID 2 FLAGS () MODSEQ (9))"]

    @pytest.mark.parametrize(
        ("oddity", "expected"),
        [
            ("missing", [1, 3]),
            ("no-body", [1, (2, b"* 2 FETCH (UID 2)"), 3]),
            ("nil", [1, (2, b"* 2 FETCH (UID 2 BODY[] NIL)"), 3]),
            ("empty-string", [1, (2, b'* 2 FETCH (UID 2 BODY[] "")'), 3]),
            ("no", "NO [UNAVAILABLE]"),
            ("no-partway", [1, "NO [UNAVAILABLE]"]),
            ("no-at-end", [1, 3, "NO Some"]),
            ("bye", [1, (None, b"* BYE server is going away"), "hung up"]),
            ("uid-after-body", [1, (2, b"* 2 FETCH (BODY[] {n} UID 2)"), 3]),
            ("twice", [1, 2, 2, 3]),
            ("split", [1, (2, b"* 2 FETCH (UID 2)"), 2, 3]),
        ],
    )
    def test_oddities_of_a_message(
        self, scripted: Scripted, oddity: FetchOddity, expected: list[object] | str
    ) -> None:
        message = ScriptedMessage(b"Subject: odd\r\n\r\n", fetch=oddity)
        server = scripted({b"INBOX": scripted_inbox(uid2=message)})
        seen: list[object] = []
        with Wire(server.port).login("u1", "pw") as wire:
            wire.command("EXAMINE INBOX")
            assert len(rows(wire, "UID FETCH 1:* (FLAGS)")) == 3
            wire.send(b"t UID FETCH 1:* (UID BODY.PEEK[])\r\n")
            try:
                while not (response := wire.response()).line.startswith(b"t "):
                    plain = response.literals and response.line.endswith(b"BODY[] {n})")
                    seen.append(response.number("UID") if plain else (response.number("UID"), response.line))
                if not response.line.startswith(b"t OK"):
                    seen.append(response.line.decode())
            except WireError as error:
                seen.append(str(error))
        wanted = [expected] if isinstance(expected, str) else expected
        assert len(seen) == len(wanted)
        for got, want in zip(seen, wanted, strict=True):
            assert want in got if isinstance(want, str) and isinstance(got, str) else got == want

    def test_a_literal_cut_short(self, scripted: Scripted) -> None:
        server = scripted({b"INBOX": scripted_inbox(uid2=ScriptedMessage(b"x" * 100, fetch="short-literal"))})
        with Wire(server.port).login("u1", "pw") as wire:
            wire.command("EXAMINE INBOX")
            wire.send(b"t UID FETCH 2 (BODY.PEEK[])\r\n")
            assert wire.readline().endswith(b"BODY[] {100}\r\n")
            with pytest.raises(WireError):
                wire.readline().endswith(b"x") and wire.readline()

    def test_scripts_and_injections(self, scripted: Scripted) -> None:
        server = scripted({b"INBOX": scripted_inbox()})
        server.on(b"EXAMINE", b"NO [INUSE] later", times=1)
        server.on(b"NOOP", lambda line, tag, session: b"* 9 EXISTS\r\n" + tag + b" OK " + line + b"\r\n")
        server.inject(b"UID FETCH", b"* 3 EXPUNGE", b"* 1 FETCH (FLAGS (\\Answered))", after=2)
        with Wire(server.port).login("u1", "pw") as wire:
            with pytest.raises(WireError, match="INUSE"):
                wire.command("EXAMINE INBOX")
            wire.command("EXAMINE INBOX")
            assert rows(wire, "NOOP") == [b"* 9 EXISTS"]
            found = rows(wire, "UID FETCH 1:* (UID)")
        assert [line.split()[2] for line in found] == [b"FETCH", b"FETCH", b"EXPUNGE", b"FETCH", b"FETCH"]

    def test_the_connection_ends_after_so_many_octets(self, scripted: Scripted) -> None:
        server = scripted({b"INBOX": scripted_inbox()})
        server.on(b"UID FETCH", After(30, DROP), times=1)
        server.on(b"NOOP", STALL)
        with Wire(server.port).login("u1", "pw") as wire:
            wire.command("EXAMINE INBOX")
            wire.send(b"t UID FETCH 1:* (BODY.PEEK[])\r\n")
            received = b""
            while piece := wire._socket.recv(4096):
                received += piece
        assert len(received) == 30
        with Wire(server.port, timeout=0.2).login("u1", "pw") as wire, pytest.raises(TimeoutError):
            wire.command("NOOP")
        server.drop_all()
        assert server.connections == 2

    def test_flights_are_round_trips(self, scripted: Scripted) -> None:
        server = scripted({b"INBOX": scripted_inbox()})
        with Wire(server.port).login("u1", "pw") as wire:
            before = server.flights
            wire.send(b"a EXAMINE INBOX\r\nb UID FETCH 1 (BODY.PEEK[])\r\nc UID FETCH 2:3 (BODY.PEEK[])\r\n")
            wire.answer(b"c")
            assert server.flights == before + 1
            wire.command("NOOP")
            assert server.flights == before + 2
        assert server.commands[-2:] == [b"UID FETCH 2:3 (BODY.PEEK[])", b"NOOP"]

    @pytest.mark.parametrize(
        ("options", "greeting", "reply"),
        [
            ({"greeting": b"+OK POP3 ready"}, b"+OK POP3 ready\r\n", None),
            ({"login_reply": b"NO [AUTHENTICATIONFAILED] app password"}, b"* OK ready\r\n", "app password"),
            ({"users": {"u1": "other"}}, b"* OK ready\r\n", "invalid credentials"),
        ],
    )
    def test_greetings_and_logins(
        self, scripted: Scripted, options: dict[str, object], greeting: bytes, reply: str | None
    ) -> None:
        server = scripted(**options)
        with Wire(server.port) as wire:
            assert wire.greeting == greeting
            if reply is not None:
                with pytest.raises(WireError, match=reply):
                    wire.login("u1", "pw")

    def test_a_silent_port(self, scripted: Scripted) -> None:
        server = scripted(silent=True)
        with pytest.raises(TimeoutError):
            Wire(server.port, timeout=0.2)


class TestPymap:
    def test_octets_are_kept(self, pymap: PymapServer) -> None:
        odd = b"Subject: odd\r\n\r\n\0 bare\nlf \x80\r\n"
        pymap.create("alice", "a/b")
        pymap.append_many("alice", "a/b", [Append(MAIL, ["\\Seen"]), Append(odd)])
        served = pymap.dump("alice")
        digests = [message.digest for message in served[b"a/b"].messages.values()]
        assert digests == [hashlib.sha256(octets).hexdigest() for octets in (MAIL, odd)]
        assert served[b"INBOX"].messages == {}


class TestFaultProxy:
    def fetch(self, proxy: FaultProxy) -> bytes:
        """What comes through until the connection ends."""
        received = b""
        with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
            client.sendall(b"a LOGIN u1 pw\r\nb EXAMINE INBOX\r\nc UID FETCH 1:* (BODY.PEEK[])\r\nd LOGOUT\r\n")
            while piece := client.recv(65536):
                received += piece
        return received

    def server(self, scripted: Scripted) -> ScriptedServer:
        return scripted({b"INBOX": ScriptedFolder(messages={1: ScriptedMessage(b"x" * 100_000)})})

    def test_everything_passes(self, scripted: Scripted, proxy: Proxy) -> None:
        through = proxy(self.server(scripted).port, slice=1000)
        received = self.fetch(through)
        assert b"x" * 100_000 in received
        assert (through.connections, through.octets["down"]) == (1, len(received))

    def test_closed_once(self, scripted: Scripted, proxy: Proxy) -> None:
        through = proxy(self.server(scripted).port, close_after=5000, once=True)
        assert len(self.fetch(through)) == 5000
        assert len(self.fetch(through)) > 100_000
        assert through.faults == 1

    def test_reset(self, scripted: Scripted, proxy: Proxy) -> None:
        through = proxy(self.server(scripted).port, reset_after=5000)
        with pytest.raises(ConnectionResetError):
            self.fetch(through)

    def test_stalled(self, scripted: Scripted, proxy: Proxy) -> None:
        through = proxy(self.server(scripted).port, stall_after=10)
        with socket.create_connection((through.host, through.port), timeout=0.3) as client:
            assert client.recv(100) == b"* OK ready"
            with pytest.raises(TimeoutError):
                client.recv(100)

    def test_one_octet_corrupted(self, scripted: Scripted, proxy: Proxy) -> None:
        through = proxy(self.server(scripted).port, corrupt_at=50_000)
        received = self.fetch(through)
        assert received.count(b"x" * 1000 + b"y") == 1

    def test_refused_and_dropped(self, scripted: Scripted, proxy: Proxy) -> None:
        through = proxy(self.server(scripted).port)
        with Wire(through.port) as wire:
            wire.login("u1", "pw")
            through.drop_all()
            with pytest.raises((ConnectionResetError, WireError)):
                wire.command("NOOP")
        through.refuse = True
        with pytest.raises(ConnectionResetError):
            Wire(through.port)

    def test_latency_is_paid_once_by_what_is_pipelined(self, scripted: Scripted, proxy: Proxy) -> None:
        through = proxy(self.server(scripted).port, latency=0.05)
        with Wire(through.port).login("u1", "pw") as wire:
            began = time.monotonic()
            wire.send(b"".join(b"t%d NOOP\r\n" % number for number in range(10)))
            for number in range(10):
                wire.answer(b"t%d" % number)
            assert 0.1 <= time.monotonic() - began < 0.5


def test_the_corpora_are_read_octet_by_octet(corpora: list[CorpusMessage]) -> None:
    assert len({message.name for message in corpora}) == len(corpora)
    assert any(b"\0" in message.octets for message in corpora if "NUL" in message.features)
    assert os.environ.get("MAIL_CORPORA") or len(corpora) > 1000


def test_postgresql_asks_for_the_password_and_keeps_what_was_committed_when_it_is_killed(
    own_postgresql: Postgresql,
) -> None:
    database = own_postgresql.fresh_database()
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(own_postgresql.url(database))
    with psycopg.connect(own_postgresql.url(database), password=OWNER_PASSWORD) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    own_postgresql.kill()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(own_postgresql.url(database), password=OWNER_PASSWORD)
    own_postgresql.start()
    own_postgresql.restart()
    with psycopg.connect(own_postgresql.socket_url(database)) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
