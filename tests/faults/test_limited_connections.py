"""A server that limits one connection after it logged in: what that one had to do is done by the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, run
from tests.patience import PATIENCE
from tests.servers.scripted import DROP, After, End, ScriptedFolder, ScriptedMessage, ScriptedServer, Session

Start = Callable[..., ScriptedServer]
Handler = Callable[[bytes, bytes, Session], "bytes | After | End | None"]

MESSAGES = 900
_LIMITS: dict[str, bytes | End] = {
    "limit": b" NO [LIMIT] too many sessions are reading\r\n",
    "bye": b"* BYE Too many simultaneous connections\r\n",
    "hang-up": DROP,
    "refused": b" NO Not on this connection\r\n",
    "unavailable": b" NO [UNAVAILABLE] not you\r\n",
    "bye unavailable": b"* BYE [UNAVAILABLE] only one\r\n",
}


@pytest.fixture
def server(scripted: Start) -> ScriptedServer:
    folders = {b"INBOX": ScriptedFolder(7), b"Other": ScriptedFolder(8)}
    for number, folder in enumerate(folders.values()):
        text = b"Subject: %d of %d\r\n\r\n"
        folder.add(*(ScriptedMessage(text % (uid, number)) for uid in range(1, MESSAGES // 2 + 1)))
    return scripted(folders)


def limited(server: ScriptedServer, which: Callable[[int], bool], how: str, command: bytes = b"BODY") -> Handler:
    """The connections for which `which` holds may not fetch. Number 0 also lists the folders."""

    def answer(line: bytes, tag: bytes, session: Session) -> bytes | End | None:
        if command not in line or not which(server.sessions.index(session)):
            return None
        limit = _LIMITS[how]
        return tag + limit if isinstance(limit, bytes) and limit.startswith(b" ") else limit

    return answer


@pytest.mark.parametrize("how", _LIMITS)
@pytest.mark.parametrize("connections", [2, 4])
def test_further_connections_that_are_limited_after_login_leave_their_work_to_the_first(
    server: ScriptedServer, tmp_path: Path, how: str, connections: int
) -> None:
    was_limited = threading.Event()
    limits = limited(server, lambda number: number > 0, how)

    def answer(line: bytes, tag: bytes, session: Session) -> bytes | After | End | None:
        if (limit := limits(line, tag, session)) is not None:
            was_limited.set()
        elif b"BODY" in line:  # the first one is slow, so that others are of use
            assert was_limited.wait(PATIENCE)
        return limit

    server.on(b"UID FETCH", answer)
    server.on(b"FETCH", answer)
    config = account_file(tmp_path, server, "u1", source__connections=connections)
    reported = run(config)
    assert reported.total("on_server", "stored", "quarantined") == (MESSAGES, MESSAGES, 0)
    assert how in ("refused", "unavailable") or "going on with one connection less" in reported.output
    state = assert_whole(archive_of(config))
    assert len(state.uids(b"INBOX")) == len(state.uids(b"Other")) == MESSAGES // 2
    assert run(config).total("fetched") == (0,)


def test_a_first_connection_that_is_limited_leaves_its_work_to_the_others(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """Once it has begun: some servers cut off the oldest one."""

    def oldest(number: int) -> bool:
        return number == 0 and server.connections > 1

    server.on(b"UID FETCH", limited(server, oldest, "limit"))
    config = account_file(tmp_path, server, "u1", source__connections=2)
    reported = run(config)
    assert reported.total("stored", "fetched") == (MESSAGES, MESSAGES)


def test_a_survey_that_is_limited_is_done_by_another_connection(scripted: Start, tmp_path: Path) -> None:
    """Also where it had begun an epoch: the epoch is not begun a second time."""
    folders = {b"F%d" % number: ScriptedFolder(number + 1) for number in range(8)}
    for number, folder in enumerate(folders.values()):
        text = b"Message-ID: <%d.%d@x>\r\n\r\n"
        folder.add(*(ScriptedMessage(text % (uid, number)) for uid in range(1, 101)))
    server = scripted({b"INBOX": ScriptedFolder(1), **folders}, capabilities=("IMAP4rev1",))
    config = account_file(tmp_path, server, "u1", source__connections=2)
    server.on(b"UID SEARCH", limited(server, lambda number: number > 0, "limit", b"ALL"))
    assert run(config).total("stored") == (800,)
    assert_whole(archive_of(config))


def test_a_single_connection_that_is_limited_ends_the_run_with_75(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(b"UID FETCH", limited(server, lambda number: True, "limit"))
    config = account_file(tmp_path, server, "u1", source__connections=2, source__attempts=1)
    reported = run(config, expect=75)
    assert reported.total("stored", "quarantined") == (0, 0)
