"""A server that sends an octet now and then, for ever: the run ends, and the lock is free for the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.imap import line
from tests.accounts import mails, run
from tests.faults.replays import migration, settle_within
from tests.servers.scripted import DESTINATION, DROP, End, ScriptedFolder, ScriptedMessage, ScriptedServer, Session
from tests.servers.stream import HungUp

LIMIT = 0.3
WORD = b"* OK Still here\r\n"
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
}


@pytest.mark.parametrize("trickle", TRICKLES)
def test_the_run_ends(
    scripted: Callable[..., ScriptedServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trickle: str
) -> None:
    monkeypatch.setattr(line, "OCTETS_A_MINUTE", 60_000)
    monkeypatch.setattr(line, "_LATE", 2)
    settle_within(monkeypatch, 0.01)
    side, command, begin, drop = TRICKLES[trickle]
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
    assert "bytes a minute" in reported.output
    trickles.clear()
    run(config)
