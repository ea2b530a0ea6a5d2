"""A server that sends an octet now and then, for ever: the run ends, and the lock is free for the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.imap import line, session
from tests.accounts import mails, run
from tests.faults.replays import migration, settle_within
from tests.servers.scripted import DESTINATION, DROP, End, ScriptedFolder, ScriptedMessage, ScriptedServer, Session
from tests.servers.stream import HungUp

LIMIT = 0.3
WORD = b"* OK Still here\r\n"
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


@pytest.mark.parametrize("trickle", [*TRICKLES, *ENDLESS])
def test_the_run_ends(
    scripted: Callable[..., ScriptedServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trickle: str
) -> None:
    monkeypatch.setattr(line, "OCTETS_A_MINUTE", 60_000)
    monkeypatch.setattr(line, "_LATE", 2)
    settle_within(monkeypatch, 0.01)
    side, command, begin, drop = TRICKLES[trickle] if trickle in TRICKLES else (*ENDLESS[trickle], b"", REQUESTS)
    says = (
        "bytes a minute"
        if trickle in TRICKLES
        else "not IMAP"
        if trickle in ("in a fetch", "in an append")
        else "again and again"
    )
    messages = {uid: ScriptedMessage(each.octets) for uid, each in enumerate(mails(range(3)), 1)}
    source = scripted({b"INBOX": ScriptedFolder(1, messages)})
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=DESTINATION, writable=True, users={"u2": "pw"})
    limits = {"source__read_timeout": LIMIT, "destination__read_timeout": LIMIT, "destination__attempts": 2}
    config = migration(tmp_path, source, "u1", there, "u2", **limits)
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


@pytest.mark.parametrize("side", ["source", "destination"])
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
