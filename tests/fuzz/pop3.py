"""A connection to a POP3 server that says given octets, whatever it is asked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import patch

from archiver.config.references import SecretReference
from archiver.config.secrets import Secret
from archiver.config.tables.server import ServerSettings
from archiver.errors import AllRefused, ArchiverError, CountsDisagree
from archiver.login.password import PasswordAuthenticator
from archiver.mail.model import INBOX, Fetched, Folder
from archiver.source.numbering import UnrecordedNumbers
from archiver.source.pop3.source import Pop3Source
from tests.fuzz.conversation import SilentSocket, spool

_GREETING = b"+OK ready\r\n"
_INBOX = Folder(INBOX, ("INBOX",), None, frozenset(), subscribed=True)
_SERVER = ServerSettings(
    protocol="pop3", host="127.0.0.1", user="alice", tls="off", password=SecretReference("env", "PASSWORD"),
    connect_timeout=1, read_timeout=1,
)  # fmt: skip
_MESSAGE = b"+OK 24 octets\r\nSubject: a\r\n\r\n..dot\r\n.\r\n"
#: What a server answers; the first that matches counts.
_ANSWERS = (
    (b"CAPA", b"+OK\r\n%b.\r\n"),
    (b"STAT", b"+OK 2 48\r\n"),
    (b"LIST", b"+OK\r\n1 24\r\n2 24\r\n.\r\n"),
    (b"UIDL", b"+OK\r\n1 one\r\n2 two\r\n.\r\n"),
    (b"RETR", _MESSAGE),
    (b"TOP", _MESSAGE),
    (b"", b"+OK\r\n"),
)
_OFFERS = (b"UIDL\r\nTOP\r\nPIPELINING\r\nUSER\r\n", b"USER\r\n")


class _Answering(SilentSocket):
    """A server that answers. `said` is all that it said after the greeting."""

    def __init__(self, offer: bytes) -> None:
        super().__init__(_GREETING)
        self._offer = offer
        self.said = b""

    def send(self, octets: memoryview) -> int:
        answers = b"".join(map(self._answer, bytes(octets).splitlines()))
        self.said += answers
        self.left = io.BytesIO(self.left.read() + answers)
        return super().send(octets)

    def _answer(self, command: bytes) -> bytes:
        return next(answer for word, answer in _ANSWERS if command.startswith(word)).replace(b"%b", self._offer)


def conversations() -> tuple[bytes, ...]:
    """What `converse` takes for a whole conversation, one with each kind of server."""
    servers = [_Answering(offer) for offer in _OFFERS]
    for server in servers:
        _use(server)
    return tuple(server.said for server in servers)


def converse(octets: bytes) -> bytes:
    """Log in, list, open the folder, fetch headers and messages. To whatever it is asked the server says these.

    Returns what was sent. What it raises is a fault, since our own errors are caught.
    """
    sock = SilentSocket(_GREETING + octets)
    _use(sock)
    return b"".join(sock.sent)


def _use(sock: SilentSocket) -> None:
    authenticator = PasswordAuthenticator("alice", lambda: Secret("pw"))
    with patch("archiver.imap.wire.line.dial", lambda *_: sock), suppress(ArchiverError):
        source = Pop3Source(_SERVER, authenticator, spool, UnrecordedNumbers())
        for step in _steps(source):
            with suppress(AllRefused, CountsDisagree):
                for outcome in step():
                    if isinstance(outcome, Fetched):
                        outcome.body.discard()


def _steps(source: Pop3Source) -> Iterator[Any]:
    yield source.list_folders
    yield lambda: [source.open(_INBOX)]
    yield lambda: [source.uids()]
    yield lambda: source.scan(None)
    yield lambda: source.headers([1, 2])
    yield lambda: source.fetch([1, 2])
