"""A connection to a server that says given octets, whatever it is asked: all of the client's layers read them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO
from unittest.mock import patch

from archiver.config.references import SecretReference
from archiver.config.secrets import Secret
from archiver.config.tables.server import ServerSettings
from archiver.errors import AllRefused, ArchiverError, CountsDisagree
from archiver.login.password import PasswordAuthenticator
from archiver.mail.model import Fetched, Folder, KnownState
from archiver.source.imap import ImapSource

_OFFERS = (
    b"IMAP4rev1",
    b"IMAP4rev1 ID ENABLE NAMESPACE LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH CONDSTORE QRESYNC LITERAL+",
    b"IMAP4rev1 ID UIDPLUS CONDSTORE OBJECTID X-GM-EXT-1 UTF8=ACCEPT",
)
_ROW = b'* 1 FETCH (UID 1 FLAGS (\\Seen) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 12'
_LISTED = b'* LIST (\\HasNoChildren) "/" INBOX\r\n* LIST () "/" {3}\r\na/b\r\n'
_STATUS = b"* STATUS INBOX (MESSAGES 1 UIDNEXT 3 UIDVALIDITY 1 HIGHESTMODSEQ 4 SIZE 12)\r\n"
_EXAMINED = b"* FLAGS (\\Seen $a)\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n* OK [UIDNEXT 3] .\r\n"
_CHANGED = b"* OK [HIGHESTMODSEQ 4] .\r\n* VANISHED (EARLIER) 2\r\n%b MODSEQ (3))\r\n" % _ROW
#: What a server answers to a command with these words; the first one counts.
_ANSWERS = (
    ("RETURN (SUBSCRIBED", _LISTED + _STATUS),
    ("LIST", _LISTED),
    ("LSUB", b'* LSUB () "/" INBOX\r\n'),
    ("STATUS", _STATUS),
    ("NAMESPACE", b'* NAMESPACE (("" "/")) NIL NIL\r\n'),
    ("ENABLE", b"* ENABLED QRESYNC\r\n"),
    ("ID (", b'* ID ("name" "x")\r\n'),
    ("QRESYNC", _EXAMINED + _CHANGED),
    ("EXAMINE", _EXAMINED),
    ("RETURN (ALL)", b'* ESEARCH (TAG "%b") UID ALL 1\r\n'),
    ("SEARCH", b"* SEARCH 1\r\n"),
    ("HEADER", _ROW + b" BODY[HEADER] {12}\r\nSubject: a\r\n)\r\n"),
    ("BODY", _ROW + b" BODY[] {12}\r\nSubject: a\r\n)\r\n"),
    ("FETCH", _ROW + b" MODSEQ (3))\r\n"),
)
_INBOX = Folder(b"INBOX", ("INBOX",), "/", frozenset(), subscribed=True)
_SERVER = ServerSettings(
    host="127.0.0.1", user="alice", tls="off", password=SecretReference("env", "PASSWORD"), connect_timeout=1,
    read_timeout=1,
)  # fmt: skip


class SilentSocket:
    """Both directions of a connection. These octets are read from it; what is `sent` goes nowhere."""

    def __init__(self, octets: bytes) -> None:
        self.left = io.BytesIO(octets)
        self.sent: list[bytes] = []

    def recv_into(self, buffer: Any) -> int:
        return self.left.readinto(buffer)

    def send(self, octets: memoryview) -> int:
        self.sent.append(bytes(octets))
        return len(octets)

    def gettimeout(self) -> float:
        return 1.0

    def settimeout(self, seconds: float | None) -> None:
        pass

    def setsockopt(self, *option: int) -> None:
        pass

    def shutdown(self, how: int) -> None:
        pass

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 143

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass


class _Socket(SilentSocket):
    """First a greeting and the answer to imaplib's question, whose tag is random, then the octets."""

    def __init__(self, capabilities: bytes, octets: bytes) -> None:
        super().__init__(b"* PREAUTH ready\r\n")
        self._capabilities, self._octets = capabilities, octets

    def send(self, octets: memoryview) -> int:
        if not self.sent:
            answer = b"* CAPABILITY %b\r\n%b OK done\r\n" % (self._capabilities, bytes(octets).split()[0])
            self.left = io.BytesIO(answer + self._octets)
        return super().send(octets)


class _Answering(_Socket):
    """A server that answers. `said` is all that it said after the greeting."""

    def __init__(self, capabilities: bytes) -> None:
        super().__init__(capabilities, b"")
        self.said = b""
        self._given = 0

    def send(self, octets: memoryview) -> int:
        if self.sent:
            self.said += b"".join(map(self._answer, bytes(octets).splitlines()))
        left = self.left.read()
        super().send(octets)
        if len(self.sent) > 1:
            self.left = io.BytesIO(left + self.said[self._given :])
            self._given = len(self.said)
        return len(octets)

    def _answer(self, command: bytes) -> bytes:
        tag, _, words = command.partition(b" ")
        if words == b"CAPABILITY":
            return b"* CAPABILITY %b\r\n%b OK .\r\n" % (self._capabilities, tag)
        answer = next((answer for said, answer in _ANSWERS if said.encode() in words), b"")
        return answer.replace(b"%b", tag) + tag + b" OK .\r\n"


def spool() -> BinaryIO:
    """Where a message goes whose announced size is large; it never comes whole."""
    return tempfile.NamedTemporaryFile("x+b", delete=False)  # type: ignore[return-value]


def conversations() -> tuple[bytes, ...]:
    """What `converse` takes for a whole conversation, one with each kind of server."""
    servers = [_Answering(offer) for offer in _OFFERS]
    for server in servers:
        _use(server)
    return tuple(bytes([number]) + server.said for number, server in enumerate(servers))


def converse(octets: bytes) -> bytes:
    """Log in, list, open a folder, search it, read its flags, headers and messages. The first octet chooses what
    the server offers; the rest it says to whatever it is asked.

    Returns what was sent. What it raises is a fault, since our own errors are caught.
    """
    sock = _Socket(_OFFERS[octets[0] % len(_OFFERS) if octets else 0], octets[1:])
    _use(sock)
    return b"".join(sock.sent)


def _use(sock: _Socket) -> None:
    authenticator = PasswordAuthenticator("alice", lambda: Secret("pw"))
    with patch("archiver.imap.wire.line.dial", lambda *_: sock), suppress(ArchiverError):
        source = ImapSource(_SERVER, authenticator, spool)
        for step in _steps(source):
            with suppress(AllRefused, CountsDisagree):
                for outcome in step():
                    if isinstance(outcome, Fetched):
                        outcome.body.discard()


def _steps(source: ImapSource) -> Iterator[Any]:
    known = KnownState(uidvalidity=1, uidnext=3, highestmodseq=2)
    yield source.list_folders
    yield lambda: [source.open(_INBOX, known, "new", identify=True, known=[1, 2])]
    yield lambda: [source.uids(), source.uids("SEEN")]
    yield lambda: source.scan(None)
    yield lambda: source.flags(since=known)
    yield lambda: source.headers([1, 2])
    yield lambda: source.fetch([1, 2, 3])
