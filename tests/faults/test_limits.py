"""A provider's limit is nobody's fault: no message is blamed for it, the server is left alone, and the run says
when to come back."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.imap.limits import asked_to_wait, limits_reading, says_limit
from tests.accounts import RunResult, account_file, archive_of, assert_whole, command, run
from tests.servers.scripted import FULL, MINIMAL, End, ScriptedFolder, ScriptedMessage, ScriptedServer, Session

Start = Callable[..., ScriptedServer]

GMAIL = b"NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)"
YAHOO = b"NO [UNAVAILABLE] UID FETCH Server error while fetching messages"
LIMITS = (
    GMAIL,
    b"NO [LIMIT] slower",
    b"NO [THROTTLED] slower",
    b"NO Too many requests",
    b"BAD Request is throttled. Suggested Backoff Time: 10 milliseconds",
    b"NO bandwidth exceeded",
    b"NO please try again later",
    YAHOO,
    b"* BYE [OVERQUOTA] Account exceeded command or bandwidth limits.",
    b"* BYE Temporary problem, try again later",
)
_IDS = [each.decode()[:28] for each in LIMITS]


def mailbox(count: int, uidvalidity: int = 7) -> ScriptedFolder:
    folder = ScriptedFolder(uidvalidity)
    folder.add(*(ScriptedMessage(b"Subject: %d\r\n\r\nbody\r\n" % number) for number in range(1, count + 1)))
    return folder


def limit(server: ScriptedServer, reply: bytes, *, after: int = 0) -> None:
    """From the message with the UID `after` on, no more octets of any message."""

    def answer(line: bytes, tag: bytes, session: Session) -> bytes | End | None:
        if b"BODY" not in line:
            return None
        asked = re.findall(rb"\d+", line.partition(b"FETCH ")[2].split()[0])
        if max(map(int, asked)) <= after and b"<" not in line:
            return None
        return reply + b"\r\n" if reply.startswith(b"*") else tag + b" " + reply + b"\r\n"

    server.on(b"UID FETCH", answer)
    server.on(b"FETCH", answer)


def fetches(server: ScriptedServer) -> int:
    return sum(b"BODY.PEEK[]" in each for each in server.commands)


def books(result: RunResult) -> tuple[int, ...]:
    return result.total("on_server", "stored", "quarantined")


@pytest.mark.parametrize("reply", LIMITS, ids=_IDS)
@pytest.mark.parametrize("connections", [1, 2])
def test_a_limit_of_everything_blames_nothing_and_is_asked_a_few_times(
    scripted: Start, tmp_path: Path, reply: bytes, connections: int
) -> None:
    server = scripted({b"INBOX": mailbox(450), b"Other": mailbox(100)})
    limit(server, reply)
    config = account_file(tmp_path, server, "u1", source__connections=connections, source__attempts=1)
    before = datetime.now(UTC)
    reported = run(config, expect=75)
    assert books(reported) == (550, 0, 0)
    # What words alone say is asked of a few other messages; Yahoo's does not say that it is a limit.
    certain = b"[" in reply or b"Backoff Time" in reply or reply.startswith(b"*")
    assert fetches(server) <= (40 if reply == YAHOO else 6 if certain else 12)
    again = datetime.fromisoformat(reported.report["again_at"])
    assert before <= again <= before + timedelta(hours=2)
    assert "try again after " in reported.output
    assert {each["uid"] for each in reported.report["failures"]} == {None}


@pytest.mark.parametrize("reply", [GMAIL, YAHOO], ids=["said", "not said"])
def test_a_limit_in_the_middle_keeps_what_came_before(scripted: Start, tmp_path: Path, reply: bytes) -> None:
    server = scripted({b"INBOX": mailbox(450)})
    limit(server, reply, after=200)
    config = account_file(tmp_path, server, "u1", source__attempts=1)
    reported = run(config, expect=75)
    assert (books(reported)[2], books(reported)[1] >= 100) == (0, True)
    assert fetches(server) <= 45
    server.forget()
    assert books(run(config)) == (450, 450, 0)
    assert_whole(archive_of(config))


@pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["full", "minimal"])
def test_a_message_that_is_unavailable_is_blamed_where_another_is_given(
    scripted: Start, tmp_path: Path, capabilities: tuple[str, ...]
) -> None:
    """Yahoo's; also where it is the only one that is new."""
    server = scripted({b"INBOX": mailbox(300)}, capabilities=capabilities)
    for uid in (1, 2, 3, 4, 150, 300):
        server.folders[b"INBOX"].messages[uid].fetch = "no"
    config = account_file(tmp_path, server, "u1")
    assert books(run(config, expect=3)) == (300, 294, 6)
    server.folders[b"INBOX"].add(ScriptedMessage(b"Subject: new\r\n\r\n", fetch="no"))
    assert books(run(config, expect=3)) == (301, 294, 7)


@pytest.mark.parametrize("size", [3, 200], ids=["met last", "met first"])
def test_a_folder_of_which_nothing_is_given_stops_no_other(scripted: Start, tmp_path: Path, size: int) -> None:
    broken = mailbox(size)
    for each in broken.messages.values():
        each.fetch = "no"
    server = scripted({b"INBOX": mailbox(5), b"Broken": broken, b"Other": mailbox(5)})
    config = account_file(tmp_path, server, "u1", source__connections=1)
    reported = run(config, expect=3)
    assert books(reported)[:2] == (size + 10, 10)
    if size == 3:
        assert (books(reported)[2], reported.folder("Broken")["error"]) == (3, None)
        assert books(run(config, retry="accept")) == (13, 10, 3)
    else:
        assert books(reported)[2] < 10  # those that were asked for alone
        assert "the server delivers no message: " in reported.folder("Broken")["error"]
        assert fetches(server) <= 60


def test_what_an_earlier_version_quarantined_for_a_limit_is_tried_again(scripted: Start, tmp_path: Path) -> None:
    """However often it was tried."""
    server = scripted({b"INBOX": mailbox(3)})
    server.folders[b"INBOX"].messages[2].fetch = "nil"
    config = account_file(tmp_path, server, "u1")
    for _ in range(5):
        run(config, expect=3)
    catalog = archive_of(config) / "catalog.sqlite"
    with closing(sqlite3.connect(catalog)) as database, database:
        database.execute("UPDATE quarantine SET server_reply = ?", (GMAIL.decode(),))
    server.folders[b"INBOX"].messages[2].fetch = ""
    assert books(run(config)) == (3, 3, 0)


@pytest.mark.parametrize("reply", [GMAIL, b"NO Too many simultaneous connections, try again later"])
def test_a_limit_at_login(scripted: Start, tmp_path: Path, reply: bytes) -> None:
    server = scripted({b"INBOX": mailbox(3)}, login_reply=reply)
    reported = run(account_file(tmp_path, server, "u1", source__attempts=1), expect=75)
    assert "try again after " in reported.output


def test_a_long_wait_is_reported_to_the_minute_and_not_waited_for(scripted: Start, tmp_path: Path) -> None:
    server = scripted({b"INBOX": mailbox(30)})
    limit(server, b"BAD Request is throttled. Suggested Backoff Time: 7200000 milliseconds")
    config = account_file(tmp_path, server, "u1")
    expected = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    reported = command("run", "--json", config, expect=75)
    again = datetime.fromisoformat(reported.report["accounts"][0]["again_at"])
    assert expected <= again <= expected + timedelta(minutes=2)
    assert fetches(server) == 1


@pytest.mark.parametrize(
    ("text", "is_limit", "in_reading"),
    [
        (GMAIL, True, True),
        (b"NO [OVERQUOTA] Quota exceeded", False, True),
        (b"NO [LIMIT] x", True, True),
        (b"BYE too many connections", True, True),
        (b"NO Maximum connections exceeded", True, True),
        (b"BYE The connection limit is reached", True, True),
        (b"NO [ALERT] IMAP access is temporarily blocked due to excessive usage", True, True),
        (b"BYE server too busy", True, True),
        (b"NO Message exceeds the maximum size", False, False),
        (b"NO [OVERQUOTA] Mailbox limit exceeded", False, True),
        (b"NO server busy, try again later", False, True),
        (b"NO Some messages could not be FETCHed (Failure)", False, False),
        (YAHOO, False, False),
    ],
)
def test_what_a_limit_is(text: bytes, is_limit: bool, in_reading: bool) -> None:
    assert (says_limit(text), limits_reading(text)) == (is_limit, in_reading)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"Suggested Backoff Time: 297459 milliseconds", 297.459),
        (b"retry after 30 s", 30.0),
        (b"Try again in 5 minutes", 300.0),
        (b"try again after 2 hours", 7200.0),
        (b"try again later", None),
        (b"Try again in 999999999 hours", 7 * 86400.0),
    ],
)
def test_how_long_a_server_wants_us_to_wait(text: bytes, seconds: float | None) -> None:
    assert asked_to_wait(text) == seconds


def one(server: ScriptedServer, uid: int, reply: bytes) -> None:
    """One message is answered so, in whatever range it is asked for."""

    def answer(line: bytes, tag: bytes, session: Session) -> bytes | None:
        asked = line.partition(b"FETCH ")[2].split()[0]
        ranges = (each.partition(b":") for each in asked.split(b","))
        hit = any(int(first) <= uid and (last == b"*" or uid <= int(last or first)) for first, _, last in ranges)
        return tag + b" " + reply + b"\r\n" if hit and b"BODY" in line else None

    server.on(b"UID FETCH", answer)


@pytest.mark.parametrize(
    "reply",
    [
        b"NO Message temporarily not available, try again later",
        b"NO [SERVERBUG] Too many nested MIME parts",
    ],
)
@pytest.mark.parametrize("uid", [1, 11, 12])
def test_words_of_a_limit_about_one_message_blame_it_alone(
    scripted: Start, tmp_path: Path, reply: bytes, uid: int
) -> None:
    server = scripted({b"INBOX": mailbox(12)})
    one(server, uid, reply)
    config = account_file(tmp_path, server, "u1", source__connections=1, source__attempts=1)
    reported = run(config, expect=3)
    assert (books(reported), [each["uid"] for each in reported.report["failures"]]) == ((12, 11, 1), [uid])


@pytest.mark.parametrize(
    "reply",
    [b'NO Mailbox "Bandwidth" cannot be opened', b"NO Bandwidth is broken", b"NO is locked, try again later"],
)
def test_a_folder_that_is_refused_in_words_of_a_limit_stops_no_other(
    scripted: Start, tmp_path: Path, reply: bytes
) -> None:
    server = scripted({b"INBOX": mailbox(5), b"Bandwidth": mailbox(6), b"Other": mailbox(3)})
    server.on(b"EXAMINE", lambda line, tag, _: tag + b" " + reply + b"\r\n" if b"Bandwidth" in line else None)
    reported = run(account_file(tmp_path, server, "u1", source__connections=1), expect=3)
    assert books(reported)[:2] == (14, 8)
    assert server.connections <= 2  # it is not tried again in this run


@pytest.mark.parametrize(
    ("reply", "exit_code"),
    [
        (b"NO Invalid credentials, check your password and try again later", 5),
        (b"NO Login failed, try again later", 5),
        (b"NO Too many simultaneous connections", 75),
    ],
)
def test_a_login_that_is_refused_without_a_code_is_not_put_back(
    scripted: Start, tmp_path: Path, reply: bytes, exit_code: int
) -> None:
    """More logins would lock the user out."""
    server = scripted({b"INBOX": mailbox(3)}, login_reply=reply)
    command("run", "--quiet", account_file(tmp_path, server, "u1", source__attempts=1), expect=exit_code)
    assert server.connections == 1


def test_two_folders_of_which_nothing_new_is_given_stop_no_account(scripted: Start, tmp_path: Path) -> None:
    """Also in a night without other mail."""
    server = scripted({b"INBOX": mailbox(5), b"A": mailbox(8), b"B": mailbox(9)})
    config = account_file(tmp_path, server, "u1", source__connections=1)
    run(config)
    for name in (b"A", b"B"):
        for each in server.folders[name].messages.values():
            each.fetch = "no"
        server.folders[name].add(ScriptedMessage(b"Subject: new\r\n\r\n", fetch="no"))
    assert books(run(config, expect=3)) == (24, 22, 2)
