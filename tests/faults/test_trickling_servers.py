"""A server that sends an octet or a row now and then, for ever: the run ends, and the lock is free again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

from archiver.imap import session
from archiver.imap.wire import pace
from tests.accounts import Server, mails, run
from tests.faults.replays import migration, settle_within
from tests.servers.certificates import Certificates
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    End,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)
from tests.servers.stream import HungUp

SIDES = ("source", "destination")
LIMIT = 0.3
WORD = b"* OK Still here\r\n"
SERVER_HELLO = b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03"  # of 16 KB
REQUESTS = 20 * b"+ go on\r\n"
ROW = b'* 1 FETCH (UID 1 FLAGS () INTERNALDATE "01-Mar-2021 10:15:00 +0530" RFC822.SIZE 9999 BODY[] {9999}\r\n'


def dripping(begin: bytes, drop: bytes) -> Callable[[bytes, bytes, Session], End]:
    """Says `begin`, and then one `drop` after the other."""

    def answered(_line: bytes, _tag: bytes, session: Session) -> End:
        octets = begin
        try:
            while True:
                session.stream.send(octets)
                session.stream.flush()
                time.sleep(0.05)
                octets = drop
        except (OSError, HungUp):
            return DROP

    return answered


TRICKLES = {
    "the line of a login": ("destination", b"LOGIN", b"* OK ", b"x"),
    "a message": ("source", b"UID FETCH", ROW, b"x"),
    "folders while a message is stored": ("destination", b"APPEND", b"", 60 * b'* LIST () "/" INBOX\r\n'),
    "words while a message is fetched": ("source", b"UID FETCH", b"", WORD),
    "words while a message is stored": ("destination", b"APPEND", b"", WORD),
    "rows while flags are looked at": ("destination", b"UID FETCH", b"", b"* 1 FETCH (FLAGS ())\r\n"),
    "many words while folders are listed": ("source", b"LIST", b"", 40 * WORD),
    "many words while a folder is opened": ("source", b"EXAMINE", b"", 40 * WORD),
    "many words while UIDs are searched": ("source", b"UID SEARCH", b"", 40 * WORD),
    "many counts while a message is stored": ("destination", b"APPEND", b"", 100 * b"* 1 RECENT\r\n"),
    "the line of a list": ("destination", b"LIST", b'* LIST () "', b"x"),
}
ENDLESS = {
    "in a login": ("destination", b"LOGIN"),
    "in a list": ("source", b"LIST"),
    "in a search": ("source", b"UID SEARCH"),
    "in a fetch": ("source", b"UID FETCH"),
    "in an append": ("destination", b"APPEND"),
}


#: What is also tried inside TLS.
ENCRYPTED = (
    "the line of a login",
    "a message",
    "words while a message is fetched",
    "words while a message is stored",
)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minimum pace that takes tenths of a second to notice."""
    monkeypatch.setattr(pace, "OCTETS_A_MINUTE", 60_000)
    monkeypatch.setattr(pace, "_LATE", 2)
    settle_within(monkeypatch, 0.01)


def between(tmp_path: Path, source: Server, there: Server, **keys: Any) -> Path:
    """A migration with servers that may be silent for a moment only."""
    limits = {
        f"{side}__{key}": value for side in SIDES for key, value in (("read_timeout", LIMIT), ("attempts", 1))
    }
    return migration(tmp_path, source, "u1", there, "u2", **{**limits, **keys})


@pytest.fixture(params=["off", "implicit"])
def servers(
    request: pytest.FixtureRequest, scripted: Callable[..., ScriptedServer], certificates: Certificates
) -> tuple[ScriptedServer, ScriptedServer, dict[str, str]]:
    """A source with mail and a destination, both with or without TLS, and the keys that say so."""
    tls = request.param
    secured: dict[str, Any] = {"certificate": certificates.good, "implicit_tls": True} if tls == "implicit" else {}
    messages = {uid: ScriptedMessage(each.octets) for uid, each in enumerate(mails(range(3)), 1)}
    source = scripted({b"INBOX": ScriptedFolder(1, messages)}, **secured)
    users = {"u2": "pw"}
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=DESTINATION, writable=True, users=users, **secured)
    keys = {f"{side}__tls": tls for side in SIDES}
    if secured:
        keys |= {f"{side}__ca_file": str(certificates.good.ca) for side in SIDES}
    return source, there, keys


@pytest.mark.parametrize(
    ("servers", "trickle"),
    [*(("off", each) for each in (*TRICKLES, *ENDLESS)), *(("implicit", each) for each in ENCRYPTED)],
    indirect=["servers"],
)
def test_the_run_ends(
    servers: tuple[ScriptedServer, ScriptedServer, dict[str, str]], hurry: None, tmp_path: Path, trickle: str
) -> None:
    source, there, keys = servers
    side, command, begin, drop = TRICKLES[trickle] if trickle in TRICKLES else (*ENDLESS[trickle], b"", REQUESTS)
    says = (
        "bytes a minute"
        if trickle in TRICKLES
        else "not IMAP"
        if trickle in ("in a fetch", "in an append")
        else "again and again"
    )
    config = between(tmp_path, source, there, **keys)
    trickles = [True]
    drips = dripping(begin, drop)
    server = there if side == "destination" else source
    server.on(command, lambda *said: drips(*said) if trickles else None)
    began = time.monotonic()
    reported = run(config, expect=None)
    assert reported.exit_code in (3, 5)
    assert time.monotonic() - began < 60
    assert says in reported.output
    trickles.clear()
    run(config)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("begin", "drop"),
    [(b"* BYE ", b"x"), (b"", WORD), (b"", 500 * b"* BYE bye\r\n"), (b"", b"+ go on\r\n")],
    ids=["an octet", "words", "many goodbyes", "requests"],
)
def test_a_goodbye_without_an_end_does_not_hold_a_finished_run(
    scripted: Callable[..., ScriptedServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    begin: bytes,
    drop: bytes,
) -> None:
    monkeypatch.setattr(session, "_GOODBYE_SECONDS", 0.2)
    messages = {uid: ScriptedMessage(each.octets) for uid, each in enumerate(mails(range(3)), 1)}
    source = scripted({b"INBOX": ScriptedFolder(1, messages)})
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=DESTINATION, writable=True, users={"u2": "pw"})
    (there if side == "destination" else source).on(b"LOGOUT", dripping(begin, drop))
    began = time.monotonic()

    run(migration(tmp_path, source, "u1", there, "u2"))

    assert time.monotonic() - began < 30


class HandshakeWithoutEnd:
    """A port that says `said`, each after the client spoke, and then a TLS record that has no end."""

    host = "127.0.0.1"

    def __init__(self, *said: bytes) -> None:
        self._said = (*said, SERVER_HELLO)

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self._listener.accept()[0] as connection, contextlib.suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        for octets in self._said:
            connection.sendall(octets)
            if octets is not SERVER_HELLO:
                connection.recv(1000)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("tls", "said", "reported"),
    [
        ("implicit", (b"",), "no greeting within"),
        (
            "starttls",
            (b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n", b"A1 OK begin\r\n"),
            "during the TLS handshake",
        ),
    ],
    ids=["implicit", "starttls"],
)
def test_a_handshake_without_an_end_is_noticed(
    scripted: Callable[..., ScriptedServer],
    hurry: None,
    tmp_path: Path,
    side: str,
    tls: str,
    said: tuple[bytes, ...],
    reported: str,
) -> None:
    there = scripted(capabilities=DESTINATION, writable=True, users={"u2": "pw"})
    sides: dict[str, Server] = {"source": scripted(), "destination": there}
    keys = {f"{side}__tls": tls, f"{side}__connect_timeout": LIMIT}
    began = time.monotonic()
    with HandshakeWithoutEnd(*said) as server:
        sides[side] = server
        output = run(between(tmp_path, sides["source"], sides["destination"], **keys), expect=5).output
    assert time.monotonic() - began < 30
    assert reported in output


@pytest.mark.parametrize(
    ("command", "row"),
    [(b"LIST", b'* LIST () "/" folder%d\r\n'), (b"UID SEARCH", b"* SEARCH %d\r\n")],
    ids=["folders", "UIDs"],
)
def test_an_answer_of_ever_new_rows_is_not_read_for_ever(
    servers: tuple[ScriptedServer, ScriptedServer, dict[str, str]],
    hurry: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: bytes,
    row: bytes,
) -> None:
    monkeypatch.setattr(session, "_LONGEST", 2)
    source, there, keys = servers
    numbers = count(1)

    def answered(_line: bytes, _tag: bytes, session: Session) -> End:
        try:
            while True:
                session.stream.send(b"".join(row % next(numbers) for _ in range(60)))
                session.stream.flush()
                time.sleep(0.05)
        except (OSError, HungUp):
            return DROP

    source.on(command, answered)
    reported = run(between(tmp_path, source, there, **keys), expect=None)
    assert reported.exit_code in (3, 5)
    assert "the server's answer does not end: it has taken" in reported.output
    assert "raise `read_timeout`" in reported.output
