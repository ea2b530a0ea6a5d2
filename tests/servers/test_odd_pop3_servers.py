"""POP3 servers as users of getmail and fetchmail met them: nothing is lost or doubled, nothing changes there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import RunResult, account_file, archive_of, assert_whole, mail, run
from tests.servers.scripted_pop3 import CAPABILITIES, ScriptedPop3, stuffed

Start = Callable[..., ScriptedPop3]
WITHOUT_TOP = tuple(each for each in CAPABILITIES if each != "TOP")
WITHOUT_UIDL = tuple(each for each in CAPABILITIES if each != "UIDL")


@pytest.fixture
def pop3() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*messages: bytes, **options: Any) -> ScriptedPop3:
            return stack.enter_context(ScriptedPop3(messages or [mail(n) for n in range(1, 6)], **options))

        yield start


def archived(directory: Path, server: ScriptedPop3, *, expect: int | None = 0, **keys: Any) -> RunResult:
    """A run of the account, after which its archive is whole and has what the server shows."""
    keys.setdefault("source__attempts", 3)
    config = account_file(directory, server, "u1", source__protocol="pop3", **keys)
    result = run(config, expect=expect)
    held = assert_whole(archive_of(config))
    if expect == 0:
        shown = sorted(hashlib.sha256(each).hexdigest() for each in server.messages)
        assert sorted(held.digests().values()) == shown
    assert server.asked(b"DELE", b"RSET") == []
    return result


def counts(result: RunResult) -> tuple[int, ...]:
    return result.total("on_server", "stored", "fetched", "vanished")


# -- UIDLs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uidl", [b"a b c", b"x" * 200, b'"<.%s>"', b"\xe9\xff", b"."], ids=["blanks", "long", "odd", "8-bit", "dot"]
)
def test_uidls_that_rfc_1939_does_not_allow(pop3: Start, tmp_path: Path, uidl: bytes) -> None:
    server = pop3(uidls=[uidl + b"%d" % n for n in range(1, 6)])
    assert counts(archived(tmp_path, server)) == (5, 5, 5, 0)
    server.messages.append(mail(6))
    server.uidls = [uidl + b"%d" % n for n in range(1, 7)]
    del server.messages[0]
    server.uidls = server.uidls[1:]
    assert counts(archived(tmp_path, server)) == (5, 5, 1, 1)


@pytest.mark.parametrize("capabilities", [WITHOUT_UIDL, ("TOP", "USER")])
def test_without_uidl_messages_are_known_by_their_octets(
    pop3: Start, tmp_path: Path, capabilities: tuple[str, ...]
) -> None:
    server = pop3(mail(1), mail(2), mail(1), capabilities=capabilities, moods={b"UIDL": lambda _: b"-ERR no\r\n"})
    first = archived(tmp_path, server)
    assert counts(first) == (3, 3, 3, 0)
    assert {each["kind"]: each["count"] for each in first.report["notices"]} == {"received": 3, "by-digest": 3}
    assert counts(archived(tmp_path, server)) == (3, 3, 0, 0)
    server.messages = [mail(2), mail(4), mail(1)]
    assert counts(archived(tmp_path, server)) == (3, 3, 1, 1)


def test_a_uidl_that_two_messages_have_counts_for_none(pop3: Start, tmp_path: Path) -> None:
    server = pop3(mail(1), mail(2), mail(3), uidls=[b"a", b"b", b"b"])
    result = archived(tmp_path, server)
    assert {each["kind"]: each["count"] for each in result.report["notices"]} == {"received": 3, "by-digest": 2}
    server.messages.append(mail(4))
    server.uidls = [b"a", b"b", b"b", b"a"]
    assert counts(archived(tmp_path, server)) == (4, 4, 1, 0)
    server.uidls = [b"a", b"b", b"c", b"d"]
    assert counts(archived(tmp_path, server)) == (4, 4, 0, 0)


def test_uidls_that_are_others_in_each_session(pop3: Start, tmp_path: Path) -> None:
    server = pop3()
    sessions = iter(range(1000))
    server.moods[b"UIDL"] = lambda _: (
        b"+OK\r\n"
        + stuffed(
            b"".join(
                b"%d s%d-%d\r\n" % (n, session, n)
                for session in [next(sessions)]
                for n in range(1, len(server.messages) + 1)
            )
        )
    )
    assert counts(archived(tmp_path, server)) == (5, 5, 5, 0)
    assert counts(archived(tmp_path, server)) == (5, 5, 0, 0)
    server.messages = [*server.messages[1:], mail(9)]
    assert counts(archived(tmp_path, server)) == (5, 5, 1, 1)


def test_uidls_that_are_the_numbers_of_messages(pop3: Start, tmp_path: Path) -> None:
    """When the first one is deleted, each of the others has the UIDL of the one before it."""
    server = pop3(uidls=[b"%d" % n for n in range(1, 100)])
    assert counts(archived(tmp_path, server)) == (5, 5, 5, 0)
    server.messages = [*server.messages[1:], mail(7), mail(8)]
    assert counts(archived(tmp_path, server)) == (6, 6, 2, 1)


def test_a_uidl_that_is_given_again(pop3: Start, tmp_path: Path) -> None:
    server = pop3(mail(1), mail(2), uidls=[b"a", b"b"])
    archived(tmp_path, server)
    server.messages, server.uidls = [mail(2)], [b"b"]
    assert counts(archived(tmp_path, server)) == (1, 1, 0, 1)
    server.messages, server.uidls = [mail(2), mail(31)], [b"b", b"a"]
    assert counts(archived(tmp_path, server)) == (2, 2, 1, 0)
    assert assert_whole(tmp_path / "archive").uids(present=False) == [1]


def test_other_numbers_in_another_order(pop3: Start, tmp_path: Path) -> None:
    server = pop3(mail(1), mail(2), mail(3), uidls=[b"a", b"b", b"c"])
    archived(tmp_path, server)
    server.messages, server.uidls = [mail(3), mail(4), mail(1), mail(2)], [b"c", b"d", b"a", b"b"]
    assert counts(archived(tmp_path, server)) == (4, 4, 1, 0)
    digests = assert_whole(tmp_path / "archive").digests()
    assert digests == {n: hashlib.sha256(mail(n)).hexdigest() for n in range(1, 5)}


# -- listings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [b"LIST", b"UIDL"])
def test_an_error_in_the_middle_of_a_list_is_no_end_of_it(pop3: Start, tmp_path: Path, command: bytes) -> None:
    server = pop3()
    archived(tmp_path, server)
    rows = {b"LIST": b"1 100\r\n", b"UIDL": b"1 a\r\n"}
    server.moods[command] = lambda _: b"+OK\r\n" + rows[command] + b"-ERR disk failure\r\n.\r\n"
    failed = archived(tmp_path, server, expect=5)
    assert f"a line of {command.decode()} cannot be read: -ERR disk failure" in failed.output
    assert len(assert_whole(tmp_path / "archive").uids()) == 5


def test_a_list_that_is_cut_off_makes_nothing_vanish(pop3: Start, tmp_path: Path) -> None:
    server = pop3()
    archived(tmp_path, server)
    server.messages.append(mail(6))
    server.moods[b"LIST"] = lambda _: b"+OK\r\n1 100\r\n2 100\r\n.\r\n"
    odd = archived(tmp_path, server, expect=3)
    assert "the server reports 6 messages but lists 2 UIDs; no message is counted as vanished" in odd.output
    del server.moods[b"LIST"]
    assert counts(archived(tmp_path, server)) == (6, 6, 1, 0)


def test_uidls_that_are_cut_off_double_nothing(pop3: Start, tmp_path: Path) -> None:
    server = pop3()
    archived(tmp_path, server)
    server.moods[b"UIDL"] = lambda _: b"+OK\r\n.\r\n"
    assert counts(archived(tmp_path, server)) == (5, 5, 0, 0)
    del server.moods[b"UIDL"]
    assert counts(archived(tmp_path, server)) == (5, 5, 0, 0)


def test_an_empty_maildrop_is_believed_if_the_next_session_shows_it_too(pop3: Start, tmp_path: Path) -> None:
    server = pop3()
    archived(tmp_path, server)
    messages, server.messages = server.messages, []

    def moved(_: list[bytes]) -> bytes | None:
        server.messages = [] if server.sessions % 2 == 0 else messages
        return None

    server.moods[b"STAT"] = moved
    assert counts(archived(tmp_path, server)) == (5, 5, 0, 0)
    del server.moods[b"STAT"]
    server.messages = []
    gone = archived(tmp_path, server)
    assert counts(gone) == (0, 0, 0, 5)
    assert "the maildrop shows no messages, the archive has 5 of it: asking again" in gone.output
    server.messages = messages
    assert counts(archived(tmp_path, server)) == (5, 5, 0, 0)


def test_a_maildrop_of_exactly_as_many_messages_as_providers_show(pop3: Start, tmp_path: Path) -> None:
    server = pop3(*(b"Subject: %d\r\n\r\n" % n for n in range(1000)))
    result = archived(tmp_path, server)
    assert [each["kind"] for each in result.report["notices"]] == ["window", "received"]


# -- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capabilities", [CAPABILITIES, WITHOUT_TOP, ()], ids=["usual", "no TOP", "no CAPA"])
def test_dots_and_odd_octets(pop3: Start, tmp_path: Path, capabilities: tuple[str, ...]) -> None:
    server = pop3(
        b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n\r\n..b\r\n...\r\n",
        b".Subject: first line\r\n\r\nx\r\n",
        b"Subject: bare\n\r\na\rb\n.c\n\r\n",
        b"Subject: \xff\x00\r\n\r\n\x00\x80\r\n",
        b"no header at all\r\n",
        b"Subject: long\r\n\r\n" + b"y" * 300_000 + b"\r\n",
        b"Subject: spooled\r\n\r\n" + (b".z" * 500 + b"\r\n") * 1500,
        capabilities=capabilities,
    )
    assert counts(archived(tmp_path, server)) == (7, 7, 7, 0)
    assert (server.asked(b"QUIT") == []) == (capabilities == WITHOUT_TOP)


def test_a_message_whose_last_line_has_no_end_gets_one(pop3: Start, tmp_path: Path) -> None:
    server = pop3(b"Subject: 1\r\n\r\nno end", b"Subject: 2\r\n\r\n")
    config = account_file(tmp_path, server, "u1", source__protocol="pop3")
    run(config)
    ended = hashlib.sha256(b"Subject: 1\r\n\r\nno end\r\n").hexdigest()
    assert assert_whole(archive_of(config)).digests()[1] == ended
    assert server.asked(b"RETR") == []


@pytest.mark.parametrize("off", [-50, 13, 1_000_000])
def test_sizes_that_lie(pop3: Start, tmp_path: Path, off: int) -> None:
    server = pop3()
    server.moods[b"LIST"] = lambda _: (
        b"+OK\r\n"
        + stuffed(
            b"".join(b"%d %d\r\n" % (n, max(1, len(each) + off)) for n, each in enumerate(server.messages, 1))
        )
    )
    assert counts(archived(tmp_path, server)) == (5, 5, 5, 0)
    assert counts(archived(tmp_path, server)) == (5, 5, 0, 0)


def test_a_top_that_cuts_messages_off_is_not_believed(pop3: Start, tmp_path: Path) -> None:
    server = pop3(*(b"Subject: %d\r\n\r\nfirst\r\nsecond\r\n" % n for n in range(20)))
    server.moods[b"TOP"] = lambda its: b"+OK\r\n" + stuffed(b"Subject: %d\r\n\r\nfirst\r\n" % (int(its[0]) - 1))
    assert counts(archived(tmp_path, server)) == (20, 20, 20, 0)
    assert (len(server.asked(b"RETR")), server.asked(b"QUIT")) == (20, [])


def test_a_message_that_is_refused_is_quarantined_and_the_others_come(pop3: Start, tmp_path: Path) -> None:
    server = pop3()

    def damaged(its: list[bytes]) -> bytes | None:
        return b"-ERR cannot open message\r\n" if its[0] == b"3" else None

    server.moods |= {b"RETR": damaged, b"TOP": damaged}
    result = archived(tmp_path, server, expect=3)
    assert result.total("on_server", "stored", "quarantined") == (5, 4, 1)
    (failure,) = result.report["failures"]
    assert (failure["uid"], failure["server_reply"]) == (3, "-ERR cannot open message")
    server.moods.clear()
    assert counts(archived(tmp_path, server)) == (5, 5, 1, 0)
    assert sorted(assert_whole(tmp_path / "archive").digests()) == [1, 2, 3, 4, 5]


def test_a_server_that_refuses_all_messages_blames_none(pop3: Start, tmp_path: Path) -> None:
    server = pop3()
    server.moods |= {name: lambda _: b"-ERR cannot open message\r\n" for name in (b"RETR", b"TOP")}
    result = archived(tmp_path, server, expect=75, source__attempts=1)
    assert result.total("on_server", "stored", "quarantined") == (5, 0, 0)
    server.moods.clear()
    assert counts(archived(tmp_path, server)) == (5, 5, 5, 0)


def test_a_message_at_which_the_connection_breaks_holds_up_no_other(pop3: Start, tmp_path: Path) -> None:
    server = pop3(*(mail(n, body="x" * 70) for n in range(1, 21)))

    def cut(its: list[bytes]) -> bytes | None:
        return b"+OK\r\nSubject: message 4\r\n\r\nThis is mes" if its[0] == b"4" else None

    server.moods |= {b"RETR": cut, b"TOP": cut}
    result = archived(tmp_path, server, expect=3)
    assert result.total("on_server", "stored", "quarantined") == (20, 19, 1)
    server.moods.clear()
    assert counts(archived(tmp_path, server)) == (20, 20, 1, 0)


# -- logins --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"-ERR [IN-USE] Do you have another POP session running?", 75),
        (b"-ERR Unable to lock maildrop: Mailbox is locked by POP server", 75),
        (b"-ERR maildrop already locked", 75),
        (b"-ERR [LOGIN-DELAY] minimum time between mail checks violation", 75),
        (b"-ERR [SYS/TEMP] Temporary system problem", 5),
        (b"-ERR [SYS/PERM] Permanent system problem", 5),
        (b"-ERR [AUTH] Authentication failed", 5),
        (b"-ERR invalid user or password", 5),
    ],
)
def test_a_refused_login(pop3: Start, tmp_path: Path, reply: bytes, code: int) -> None:
    server = pop3(moods={b"PASS": lambda _: reply + b"\r\n"})
    result = run(account_file(tmp_path, server, "u1", source__protocol="pop3", source__attempts=1), expect=code)
    assert reply.decode() in result.output
    assert len(server.asked(b"PASS")) == 1


def test_a_maildrop_that_is_in_use_for_a_while(pop3: Start, tmp_path: Path) -> None:
    server = pop3()
    logins = iter(range(100))
    server.moods[b"PASS"] = lambda _: b"-ERR [IN-USE] try again in 1 ms\r\n" if next(logins) < 2 else None
    assert counts(archived(tmp_path, server)) == (5, 5, 5, 0)


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"* OK IMAP4rev1 ready", "this is an IMAP server: check `protocol` and `port`"),
        (b"220 smtp.example.org ESMTP", "this is not a POP3 server: 220 smtp.example.org ESMTP"),
        (b"-ERR [SYS/TEMP] too many connections", "-ERR [SYS/TEMP] too many connections"),
    ],
)
def test_another_greeting(pop3: Start, tmp_path: Path, greeting: bytes, words: str) -> None:
    server = pop3(greeting=greeting)
    result = run(account_file(tmp_path, server, "u1", source__protocol="pop3", source__attempts=1), expect=None)
    assert (result.exit_code in (5, 75), words in result.output) == (True, True)


def test_stls_that_is_not_offered_sends_no_password(pop3: Start, tmp_path: Path) -> None:
    server = pop3()
    keys = {"source__protocol": "pop3", "source__tls": "starttls", "source__attempts": 1}
    result = run(account_file(tmp_path, server, "u1", **keys), expect=5)
    assert "unknown command" in result.output
    assert server.asked(b"USER", b"PASS", b"AUTH") == []


def test_a_line_without_end_is_not_kept(pop3: Start, tmp_path: Path) -> None:
    server = pop3(moods={b"STAT": lambda _: b"+OK " + b"9" * 100_000 + b"\r\n"})
    result = run(account_file(tmp_path, server, "u1", source__protocol="pop3", source__attempts=1), expect=5)
    assert "an unexpected line of 8192 bytes or more" in result.output
