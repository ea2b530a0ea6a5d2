"""A limit or a hang-up that strikes one of several connections after its login: the others do its work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.archive import queue
from tests.accounts import account_file, mail, run
from tests.faults.replays import migration, scripted_mailbox, settle_within
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    After,
    End,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)

Answer = Callable[[bytes, bytes, Session], "bytes | After | End | None"]

NAMES = (b"INBOX", b"One", b"Two", b"Three", b"Four", b"Five", b"Six", b"Seven")


def _bye(_line: bytes, _tag: bytes, session: Session) -> End:
    session.stream.send(b"* BYE too many sessions\r\n")
    session.stream.flush()
    return DROP


STRIKES: dict[str, tuple[bytes, Answer]] = {
    "a limit when a folder is opened": (
        b"SELECT",
        lambda _, tag, __: tag + b" NO [LIMIT] too many connections\r\n",
    ),
    "a limit without words to a message": (b"APPEND", lambda _, tag, __: tag + b" NO [LIMIT] no\r\n"),
    "a farewell": (b"SELECT", _bye),
    "a hang-up at a message": (b"APPEND", lambda _, __, ___: DROP),
}


@pytest.mark.parametrize("welcome", ["the first", "the last"])
@pytest.mark.parametrize("strike", STRIKES)
def test_the_others_do_its_work(
    scripted: Callable[..., ScriptedServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strike: str,
    welcome: str,
) -> None:
    settle_within(monkeypatch, 0.01)
    folders = {
        name: ScriptedFolder(n, {uid: ScriptedMessage(mail(100 * n + uid)) for uid in range(1, 4)})
        for n, name in enumerate(NAMES, 1)
    }
    source = scripted(folders)
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=DESTINATION, writable=True, users={"u2": "pw"})
    config = migration(tmp_path, source, "u1", there, "u2", destination__connections=2)
    run(config, steps="archive")
    both, (command, answer) = threading.Event(), STRIKES[strike]
    at_work: list[Session] = []

    def opened(_line: bytes, _tag: bytes, session: Session) -> None:
        if session not in at_work:
            at_work.append(session)
        if len(at_work) == 2:
            both.set()
        both.wait(5)

    def struck(line: bytes, tag: bytes, session: Session) -> bytes | After | End | None:
        both.wait(5)
        well = at_work[0] if welcome == "the first" else at_work[1]
        return None if session is well else answer(line, tag, session)

    there.on(command, struck)
    there.on(b"SELECT", opened)
    reported = run(config, steps="replay")
    assert scripted_mailbox(there) == scripted_mailbox(source)
    assert "going on with one connection less" in reported.output


@pytest.mark.parametrize(("calm", "connections"), [(0.0, 3), (3600.0, 2)])
def test_another_connection_is_tried_when_it_has_been_calm(
    scripted: Callable[..., ScriptedServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calm: float,
    connections: int,
) -> None:
    monkeypatch.setattr(queue, "_CALM_SECONDS", calm)
    folders = {
        name: ScriptedFolder(n, {uid: ScriptedMessage(mail(1000 * n + uid)) for uid in range(1, 301)})
        for n, name in enumerate(NAMES, 1)
    }
    server = scripted(folders)

    def struck(_line: bytes, tag: bytes, session: Session) -> bytes | None:
        return tag + b" NO [LIMIT] too many connections\r\n" if session is server.sessions[1] else None

    def slowly(_line: bytes, _tag: bytes, _session: Session) -> None:
        time.sleep(0.02)

    server.on(b"UID FETCH", slowly)
    server.on(
        b"EXAMINE", lambda line, tag, session: (len(server.sessions) > 1 and struck(line, tag, session)) or None
    )
    assert run(account_file(tmp_path, server, "u1", source__connections=2)).total("stored") == (2400,)
    assert server.connections == connections
