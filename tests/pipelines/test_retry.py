"""Messages a server does not deliver: each ends in quarantine, named with its reason, and stops no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import RunResult, account_file, archive_of, archive_state, assert_whole, run
from tests.servers.scripted import FULL, MINIMAL, PLACEHOLDER, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.scripted_mail import FetchOddity

START = Callable[..., ScriptedServer]
BAD = 4
ALL = list(range(1, 8))

#: What the server does instead of delivering, and what the report says of it: (reason, the server's own words).
NOT_DELIVERED: dict[FetchOddity, tuple[str, str | None]] = {
    "missing": ("the server answered OK without the message", "OK FETCH completed"),
    "no-body": ("the server answered OK without the message", "OK FETCH completed"),
    "nil": ("the server gave NIL instead of the message", None),
    "empty-string": ("the server gave 0 of the message's", None),
    "no": (
        "the server refuses to give the message",
        "NO [UNAVAILABLE] UID FETCH Server error while fetching messages",
    ),
    "no-partway": (
        "the server refuses to give the message",
        "NO [UNAVAILABLE] UID FETCH Server error while fetching messages",
    ),
    "no-at-end": (
        "the server refuses to give the message",
        "NO Some messages could not be FETCHed (Failure)",
    ),
    "placeholder": ("the server gave a placeholder instead of the message", None),
    "short-literal": ("the connection broke 3 times at it", None),
    "wrong-literal": ("the connection broke 3 times at it", None),
    "bye": ("the connection broke 3 times at it", None),
}  # fmt: skip
QUICK: list[FetchOddity] = [each for each in NOT_DELIVERED if "broke" not in NOT_DELIVERED[each][0]]


def message(number: int, *, fetch: FetchOddity = "", size: int = 0) -> ScriptedMessage:
    octets = b"Message-ID: <%d@x>\r\nSubject: number %d\r\n\r\n%s\r\n" % (
        number,
        number,
        b"body " * (number + size),
    )
    return ScriptedMessage(octets, fetch=fetch)


@pytest.fixture
def server(scripted: START) -> ScriptedServer:
    return scripted({b"INBOX": ScriptedFolder(7, {uid: message(uid) for uid in ALL})})


@pytest.fixture
def account(server: ScriptedServer, tmp_path: Path) -> Path:
    return account_file(tmp_path, server, "u1", source__connections=1, source__attempts=5)


def break_message(server: ScriptedServer, fetch: FetchOddity, uid: int = BAD) -> None:
    server.folders[b"INBOX"].messages[uid].fetch = fetch


def asked(server: ScriptedServer, uid: int = BAD) -> int:
    """How many times this message was asked for alone."""
    return sum(
        command.startswith(b"UID FETCH %d (" % uid) and b"BODY.PEEK[]" in command for command in server.commands
    )


def failure(result: RunResult) -> dict[str, Any]:
    (found,) = result.report["failures"]
    return dict(found)


def books(result: RunResult) -> tuple[int, ...]:
    assert result.balanced
    return result.total("on_server", "stored", "excluded", "quarantined")


# -- one message that is not delivered -------------------------------------------------------------------------


@pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["full", "minimal"])
@pytest.mark.parametrize("fetch", NOT_DELIVERED)
def test_one_bad_message_is_quarantined_and_all_others_are_stored(
    scripted: START, tmp_path: Path, fetch: FetchOddity, capabilities: tuple[str, ...]
) -> None:
    server = scripted({b"INBOX": ScriptedFolder(7, {uid: message(uid) for uid in ALL})}, capabilities=capabilities)
    account = account_file(tmp_path, server, "u1", source__connections=1, source__attempts=5)
    break_message(server, fetch)
    result = run(account, expect=3)
    assert books(result) == (7, 6, 0, 1)
    assert result.report["status"] == "incomplete"
    reason, reply = NOT_DELIVERED[fetch]
    found = failure(result)
    assert (found["folder"], found["uid"], found["step"]) == ("INBOX", BAD, "fetch")
    assert found["reason"].startswith(reason)
    assert "archiver retry" in found["next"]
    if reply is not None:
        assert found["server_reply"] == reply
    state = assert_whole(archive_of(account))
    assert state.uids() == [uid for uid in ALL if uid != BAD]


def test_several_bad_messages_in_one_range_cost_only_themselves(server: ScriptedServer, account: Path) -> None:
    for uid, fetch in ((1, "no"), (4, "no"), (5, "nil"), (7, "missing")):
        break_message(server, fetch, uid)  # type: ignore[arg-type]
    result = run(account, expect=3)
    assert books(result) == (7, 3, 0, 4)
    assert [each["uid"] for each in result.report["failures"]] == [1, 4, 5, 7]
    assert assert_whole(archive_of(account)).uids() == [2, 3, 6]


def test_a_refusal_among_many_is_found_in_few_commands(server: ScriptedServer, account: Path) -> None:
    server.folders[b"INBOX"].messages = {uid: message(uid) for uid in range(1, 301)}
    break_message(server, "no", 157)
    result = run(account, expect=3)
    assert books(result) == (300, 299, 0, 1)
    assert sum(b"BODY.PEEK[]" in command for command in server.commands) < 25


# -- odd, and delivered all the same ---------------------------------------------------------------------------


@pytest.mark.parametrize("fetch", ["uid-after-body", "twice", "split"])
def test_odd_rows_are_stored_once(server: ScriptedServer, account: Path, fetch: FetchOddity) -> None:
    for uid in ALL:
        break_message(server, fetch, uid)
    assert books(run(account)) == (7, 7, 0, 0)
    assert assert_whole(archive_of(account)).uids() == ALL


@pytest.mark.parametrize("size", [19189, b"9.3736e+06", b"NIL", b"0"])
def test_a_wrong_size_is_stored_and_both_sizes_are_recorded(
    server: ScriptedServer, account: Path, size: int | bytes
) -> None:
    server.folders[b"INBOX"].messages[BAD].size = size
    assert books(run(account)) == (7, 7, 0, 0)
    state = assert_whole(archive_of(account))
    (row,) = (row for (_, uid), row in state.messages.items() if uid == BAD)
    assert row.size == len(server.folders[b"INBOX"].messages[BAD].octets)
    said = {19189: 19189, b"9.3736e+06": 9373600, b"NIL": None, b"0": 0}[size]
    assert row.rest[1] == said
    assert run(account).total("fetched", "stored") == (0, 7)


def test_an_empty_message_is_a_message_of_no_octets(server: ScriptedServer, account: Path) -> None:
    for uid, fetch in ((2, ""), (3, "nil"), (4, "empty-string")):
        server.folders[b"INBOX"].messages[uid] = ScriptedMessage(b"", fetch=fetch)  # type: ignore[arg-type]
    assert books(run(account)) == (7, 7, 0, 0)
    assert assert_whole(archive_of(account)).uids() == ALL


@pytest.mark.parametrize(
    "line",
    [
        b"* 2 FETCH (FLAGS (\\Seen))",
        b"* 2 FETCH (UID 2 FLAGS (\\Seen \\Flagged))",
        b"* 51868 FETCH (FLAGS (NonJunk) UID 51958)",
        b"* 9 FETCH (UID 4294967297 FLAGS ())",
        b"* 9 FETCH (UID 9 RFC822.SIZE 99999999999999999999 MODSEQ (99999999999999999999))",
        b"* 3 FETCH (X-UNKNOWN (a b))",
        b"* OK still here",
        b"* FLAGS (\\Seen)",
    ],
)
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_an_unrequested_change_in_between_does_no_harm(
    server: ScriptedServer, account: Path, line: bytes, large: bool
) -> None:
    if large:  # above what is held in memory
        server.folders[b"INBOX"].messages[3] = message(3, size=300_000)
    server.inject(b"UID FETCH", line, after=3)
    assert books(run(account)) == (7, 7, 0, 0)
    assert_whole(archive_of(account))


def test_a_message_expunged_in_between_is_no_failure(server: ScriptedServer, account: Path) -> None:
    folder = server.folders[b"INBOX"]

    def expunge(line: bytes, tag: bytes, session: object) -> None:
        if b"BODY.PEEK[]" in line:
            folder.messages.pop(BAD, None)
            folder.vanished[BAD] = 2

    server.on(b"UID FETCH", expunge)
    server.inject(b"UID FETCH", b"* 4 EXPUNGE", after=2, times=1)
    result = run(account)
    assert books(result) == (6, 6, 0, 0)
    assert assert_whole(archive_of(account)).uids() == [uid for uid in ALL if uid != BAD]
    assert run(account).total("fetched", "stored", "vanished") == (0, 6, 0)


def test_a_large_message_cut_short_leaves_nothing_behind(server: ScriptedServer, account: Path) -> None:
    server.folders[b"INBOX"].messages[BAD] = message(BAD, fetch="short-literal", size=400_000)
    run(account, expect=3)
    spool = archive_of(account) / "spool"
    assert list(spool.iterdir()) == []


# -- again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fetch", ["nil", "no", "missing"])
def test_a_quarantined_message_is_tried_in_the_next_three_runs_and_not_after(
    server: ScriptedServer, account: Path, fetch: FetchOddity
) -> None:
    break_message(server, fetch)
    run(account, expect=3)
    for _ in range(3):
        before = asked(server)
        assert books(run(account, expect=3)) == (7, 6, 0, 1)
        assert asked(server) > before
    before = asked(server)
    result = run(account, expect=3)
    assert asked(server) == before
    assert failure(result)["uid"] == BAD


def test_retry_tries_again_whatever_was_tried_before(server: ScriptedServer, account: Path) -> None:
    break_message(server, "nil")
    for _ in range(5):
        run(account, expect=3)
    before = asked(server)
    assert books(run(account, retry="all", expect=3)) == (7, 6, 0, 1)
    assert asked(server) > before


@pytest.mark.parametrize("fetch", QUICK)
@pytest.mark.parametrize("retry", ["due", "all"])
def test_a_message_that_the_server_delivers_again_leaves_quarantine(
    server: ScriptedServer, account: Path, fetch: FetchOddity, retry: str
) -> None:
    break_message(server, fetch)
    run(account, expect=3)
    break_message(server, "")
    result = run(account, retry=retry)
    assert books(result) == (7, 7, 0, 0)
    assert result.total("fetched") == (1,)
    assert result.report["failures"] == []
    state = assert_whole(archive_of(account))
    assert (state.uids(), state.quarantine) == (ALL, frozenset())


def test_a_quarantined_message_that_is_expunged_is_released(server: ScriptedServer, account: Path) -> None:
    break_message(server, "nil")
    run(account, expect=3)
    folder = server.folders[b"INBOX"]
    del folder.messages[BAD]
    folder.vanished[BAD] = 2
    result = run(account)
    assert books(result) == (6, 6, 0, 0)
    assert result.report["failures"] == []
    assert assert_whole(archive_of(account)).quarantine == frozenset()


# -- a person's word -------------------------------------------------------------------------------------------


def test_accept_stores_the_placeholder(server: ScriptedServer, account: Path) -> None:
    break_message(server, "placeholder")
    run(account, expect=3)
    result = run(account, retry="accept")
    assert books(result) == (7, 7, 0, 0)
    state = assert_whole(archive_of(account))
    (path,) = (archive_of(account) / "Maildir/cur").glob(f"*U{BAD}.*")
    assert path.read_bytes() == PLACEHOLDER % BAD
    assert state.quarantine == frozenset()


@pytest.mark.parametrize("fetch", ["nil", "no", "missing", "empty-string"])
def test_accept_takes_the_loss_of_what_the_server_does_not_have(
    server: ScriptedServer, account: Path, fetch: FetchOddity
) -> None:
    break_message(server, fetch)
    run(account, expect=3)
    result = run(account, retry="accept")
    assert books(result) == (7, 6, 0, 1)
    assert result.report["status"] == "complete"
    assert failure(result)["next"] == "a person accepted that this message is not in the archive"
    before = asked(server)
    later = run(account)
    assert books(later) == (7, 6, 0, 1)
    assert asked(server) == before


def test_what_was_accepted_as_lost_is_stored_when_retry_finds_it_after_all(
    server: ScriptedServer, account: Path
) -> None:
    break_message(server, "nil")
    run(account, expect=3)
    run(account, retry="accept")
    break_message(server, "")
    assert books(run(account, retry="all")) == (7, 7, 0, 0)
    assert archive_state(archive_of(account)).quarantine == frozenset()


def test_accept_concerns_what_waits_and_nothing_that_is_met_for_the_first_time(
    server: ScriptedServer, account: Path
) -> None:
    break_message(server, "nil")
    run(account, expect=3)
    server.folders[b"INBOX"].messages[8] = message(8, fetch="nil")
    server.folders[b"INBOX"].messages[8].modseq = 2
    server.folders[b"INBOX"].messages[9] = message(9, fetch="placeholder")
    server.folders[b"INBOX"].messages[9].modseq = 2
    result = run(account, retry="accept", expect=3)
    assert books(result) == (9, 6, 0, 3)
    accepted = {each["uid"]: "accepted" in each["next"] for each in result.report["failures"]}
    assert accepted == {4: True, 8: False, 9: False}
