"""What destinations answer to APPEND, CREATE and SELECT, odd as they are: one message that they do not take stops
no other, and what could not be done is in the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import RunResult, command, mail, run
from tests.faults.replays import migration, settle_within
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    Appended,
    Appending,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
)
from tests.servers.scripted import Session as Connection
from tests.servers.scripted_append import Reply

Start = Callable[..., ScriptedServer]
ONE_BY_ONE = ("IMAP4rev1", "UIDPLUS", "LITERAL+", "NAMESPACE")


def held() -> dict[bytes, ScriptedFolder]:
    """Three messages, of which the second has what a destination may not like."""
    flags = {2: ("\\Seen", "$X-ME-Annot-2", "domain.com")}
    return {b"INBOX": ScriptedFolder(5, {uid: ScriptedMessage(mail(uid), flags.get(uid, ())) for uid in (1, 2, 3)})}


def refusing(reply: Reply, when: Callable[[Appended], bool]) -> Appending:
    return Appending(refuse=lambda message: reply if when(message) else None)


def is_second(message: Appended) -> bool:
    return message.octets.startswith(mail(2)[:40]) and b"Subject: message 2\r\n" in message.octets


def has_keyword(message: Appended) -> bool:
    return any(not flag.startswith("\\") for flag in message.flags)


def moved(
    scripted: Start, directory: Path, appending: Appending, expect: int, **keys: Any
) -> tuple[RunResult, ScriptedServer]:
    source = scripted(held())
    there = scripted(
        {b"INBOX": ScriptedFolder(7, permanentflags=("\\Seen", "\\*"))},
        capabilities=ONE_BY_ONE, writable=True, appending=appending,
    )  # fmt: skip
    config = migration(directory, source, "u1", there, "u1", destination__attempts=2, **keys)
    return run(config, expect=expect), there


def arrived(there: ScriptedServer) -> list[bytes]:
    return sorted(each.octets for each in there.folders[b"INBOX"].messages.values())


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"BAD Command Argument Error. 11", id="Exchange: a long line"),
        pytest.param(b"BAD Command Error. 10", id="Exchange: a size"),
        pytest.param(b"NO Maximum size of appendable message has been exceeded", id="a size"),
        pytest.param(b"BAD maximum message size exceeded", id="a size, BAD"),
        pytest.param(b"NO Message contains NUL characters", id="Cyrus: NUL"),
        pytest.param(b"NO Message contains invalid header", id="Cyrus: a header"),
        pytest.param(b"NO Message contains bare newlines", id="Cyrus: bare LF"),
        pytest.param(
            b"BAD invalid rfc5322 message: `Sender` should not be present if equal to `From`", id="Proton: Sender"
        ),
        pytest.param(b"NO Message refused because it contains a virus", id="a virus filter"),
        pytest.param(
            b"BAD [CLIENTBUG] Additional arguments found after last expected argument", id="Yahoo: no CRLF"
        ),
        pytest.param(b"* BYE Invalid character in literal.", id="Gmail: it hangs up"),
        pytest.param(b"* BYE Connection closed. 14", id="Exchange: it hangs up"),
        pytest.param(b"NO", id="NO without a word"),
        pytest.param(b"BAD", id="BAD without a word"),
    ],
)
def test_one_message_that_is_refused(
    scripted: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: bytes
) -> None:
    settle_within(monkeypatch, 0.05)
    result, there = moved(scripted, tmp_path, refusing(reply, is_second), 3)
    (failure,) = result.report["failures"]
    assert (failure["folder"], failure["uid"]) == ("INBOX", 2)
    assert failure["server_reply"] == reply.removeprefix(b"* ").decode()
    assert arrived(there) == sorted([mail(1), mail(3)])


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"BAD Parse Error (took 0 ms)", id="iCloud"),
        pytest.param(b"NO APPEND Invalid flag list", id="Courier"),
        pytest.param(b"BAD Invalid system flag \\FORWARDED", id="a system flag"),
        pytest.param(b"NO [LIMIT] Too many user flags in mailbox", id="Cyrus"),
        pytest.param(b"NO", id="NO without a word"),
    ],
)
def test_keywords_that_are_refused_cost_the_keywords_alone(scripted: Start, tmp_path: Path, reply: bytes) -> None:
    source, appending = scripted(held()), refusing(reply, has_keyword)
    there = scripted(
        {b"INBOX": ScriptedFolder(7, permanentflags=("\\Seen", "\\*"))},
        capabilities=ONE_BY_ONE, writable=True, appending=appending,
    )  # fmt: skip
    there.on(b"UID STORE", reply)
    result = run(migration(tmp_path, source, "u1", there, "u1", destination__attempts=2))
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))
    assert [(each["kind"], each["uids"]) for each in result.report["losses"]] == [("flags", "2")]
    assert {flag for each in there.folders[b"INBOX"].messages.values() for flag in each.flags} <= {"\\Seen"}


def test_flags_that_an_append_forgets_are_stored(scripted: Start, tmp_path: Path) -> None:
    """Exchange: other clients do not see a \\Flagged of APPEND."""
    source = scripted({b"INBOX": ScriptedFolder(5, {1: ScriptedMessage(mail(1), ("\\Flagged", "\\Recent"))})})
    there = scripted(capabilities=ONE_BY_ONE, writable=True, appending=Appending(drop_flags=("\\Flagged",)))
    run(migration(tmp_path, source, "u1", there, "u1"))
    (message,) = there.folders[b"INBOX"].messages.values()
    assert message.flags == ("\\Flagged",)
    assert not any("\\Recent" in each.flags for each in there.appended)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"NO [OVERQUOTA] Not enough disk quota", id="Dovecot"),
        pytest.param(b"NO Mailbox is full / Blocks limit exceeded / Inode limit exceeded", id="Courier"),
    ],
)
def test_no_room_stops_the_account_and_is_said_once(scripted: Start, tmp_path: Path, reply: bytes) -> None:
    appending = Appending(refuse=lambda _: reply)
    source = scripted(held())
    there = scripted(capabilities=ONE_BY_ONE, writable=True, appending=appending)
    config = migration(tmp_path, source, "u1", there, "u1", destination__attempts=2)
    stopped = run(config, expect=None)
    assert stopped.exit_code == 3
    assert len(stopped.report["failures"]) == 1
    appending.refuse = None
    run(config)
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))


@pytest.mark.parametrize(
    "appenduid",
    [
        pytest.param(b"[APPENDUID 7064 1] APPEND completed", id="DavMail: the wrong way round"),
        pytest.param(b"APPEND completed", id="Proton: none"),
        pytest.param(b"", id="no word"),
        pytest.param(b"[APPENDUID 7] done", id="half"),
        pytest.param(b"[APPENDUID 7 0] done", id="no UID"),
        pytest.param(b"[APPENDUID 7 99999999999999999999] done", id="beyond all measure"),
        pytest.param(b"[appenduid 8 1] done", id="lower case, another folder's"),
        pytest.param(b" [APPENDUID 7 1]", id="blanks"),
    ],
)
def test_uids_that_append_names_are_believed_if_they_can_be_true(
    scripted: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, appenduid: bytes
) -> None:
    settle_within(monkeypatch, 0.05)
    source = scripted({b"INBOX": ScriptedFolder(5, {1: ScriptedMessage(mail(1))})})
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=ONE_BY_ONE, writable=True)

    def append(_: bytes, tag: bytes, connection: Connection) -> bytes:
        connection.writing.store(connection.appended)
        return tag + b" OK" + (b" " if appenduid else b"") + appenduid + b"\r\n"

    there.on(b"APPEND", append)
    config = migration(tmp_path, source, "u1", there, "u1")
    first, second = run(config), run(config)
    assert arrived(there) == [mail(1)]
    assert [each.report["totals"]["destination"]["replayed"] for each in (first, second)] == [1, 0]


@pytest.mark.parametrize(
    ("before", "after"),
    [("APPENDLIMIT=10485760", "APPENDLIMIT=100"), ("APPENDLIMIT", "APPENDLIMIT=100")],
    ids=["Zoho: another one after the login", "Proton: none before"],
)
def test_what_is_too_large_by_the_limit_after_the_login_is_not_sent(
    scripted: Start, tmp_path: Path, before: str, after: str
) -> None:
    source = scripted(
        {
            b"INBOX": ScriptedFolder(
                5, {1: ScriptedMessage(mail(1, body="x" * 200)), 2: ScriptedMessage(b"A: b\r\n\r\n")}
            )
        }
    )
    there = scripted(capabilities=(*ONE_BY_ONE, before), writable=True)

    def capability(_: bytes, tag: bytes, session: Connection) -> bytes | None:
        said = b"* CAPABILITY IMAP4rev1 UIDPLUS LITERAL+ %b\r\n" % after.encode()
        return said + tag + b" OK\r\n" if session.user else None

    there.on(b"CAPABILITY", capability)
    run(migration(tmp_path, source, "u1", there, "u1"), expect=3)
    assert [each.octets for each in there.appended] == [b"A: b\r\n\r\n"]


def test_a_limit_without_a_number_is_none(scripted: Start, tmp_path: Path) -> None:
    there = scripted(capabilities=(*DESTINATION, "APPENDLIMIT"), writable=True)
    run(migration(tmp_path, scripted(held()), "u1", there, "u1"))
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"NO Folder name is reserved", id="Microsoft 365"),
        pytest.param(b"NO [CANNOT] Folder contains excess whitespace (Failure)", id="Gmail"),
        pytest.param(b"NO [CANNOT] Character not allowed in mailbox name: '.'", id="Dovecot"),
        pytest.param(b"NO Invalid mailbox name: ml/Mga-qa", id="Courier"),
        pytest.param(b"NO [CANNOT] Mailbox doesn't allow inferior mailboxes", id="Dovecot: no children"),
        pytest.param(b"NO", id="no word"),
    ],
)
def test_a_folder_that_cannot_be_made_stops_no_other(scripted: Start, tmp_path: Path, reply: bytes) -> None:
    source = scripted(held() | {b"Odd": ScriptedFolder(9, {1: ScriptedMessage(mail(9))})})
    there = scripted(capabilities=ONE_BY_ONE, writable=True)
    there.on(b"CREATE", reply)
    result = run(migration(tmp_path, source, "u1", there, "u1"), expect=3)
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))
    assert {each["folder"] for each in result.report["failures"]} == {"Odd"}
    assert reply.decode() in str(result.report["failures"])


@pytest.mark.parametrize("go_ahead", [b"+", b"+ ", b"+go on"])
def test_a_literal_that_waits_is_sent_after_any_plus(scripted: Start, tmp_path: Path, go_ahead: bytes) -> None:
    there = scripted(capabilities=("IMAP4rev1", "UIDPLUS"), writable=True)
    there.go_ahead = go_ahead
    run(migration(tmp_path, scripted(held()), "u1", there, "u1"))
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))


def test_without_uidplus_nothing_is_expunged(scripted: Start, tmp_path: Path) -> None:
    """FTGate: a plain EXPUNGE would remove what others have marked as deleted."""
    source = scripted(held())
    there = scripted(capabilities=("IMAP4rev1", "LITERAL+"), writable=True)
    config = migration(tmp_path, source, "u1", there, "u1")
    run(config)
    source.folders[b"INBOX"].expunge([2])
    run(config, expect=None)
    assert not [each for each in there.commands if b"EXPUNGE" in each]
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))


@pytest.mark.parametrize(
    "garbled",
    [
        rb"\\\\Seen \\Draft",
        rb"\Seen,\Answered,\*",
        rb'"\Seen"',
        rb"(\Seen \Answered",
        b"\\Se\xff\xfeen",
        b"\\Seen\t\\*",
    ],
)
def test_a_garbled_list_of_flags_costs_none(scripted: Start, tmp_path: Path, garbled: bytes) -> None:
    """Nobody knows which it means. All are sent, and what the folder shows is what it keeps."""
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=ONE_BY_ONE, writable=True)
    there.inject(b"SELECT", b"* OK [PERMANENTFLAGS (%s)] limited" % garbled, after=99)
    result = run(migration(tmp_path, scripted(held()), "u1", there, "u1"))
    flags = {frozenset(each.flags) for each in there.folders[b"INBOX"].messages.values()}
    assert flags == {frozenset(), frozenset(held()[b"INBOX"].messages[2].flags)}
    assert result.report["losses"] == []


def test_flags_that_it_does_not_keep_although_it_says_so_are_listed(scripted: Start, tmp_path: Path) -> None:
    there = scripted(
        {b"INBOX": ScriptedFolder(7, permanentflags=("\\Seen",))}, capabilities=ONE_BY_ONE, writable=True
    )
    there.inject(b"SELECT", rb"* OK [PERMANENTFLAGS (\\Seen)] limited", after=99)
    (loss,) = run(migration(tmp_path, scripted(held()), "u1", there, "u1")).report["losses"]
    assert (loss["kind"], loss["detail"], loss["uids"]) == ("flags", "$X-ME-Annot-2 domain.com", "2")


UNSAFE = b"NO SELECT Unsafe Login. Please contact kefu@188.com for help"


def test_163_opens_folders_for_clients_that_name_themselves(scripted: Start, tmp_path: Path) -> None:
    """Also on connections that list nothing, and where several folders are read in one flight."""
    names = [b"INBOX", b"a", b"b", b"c"]
    source = scripted({name: ScriptedFolder(5, {1: ScriptedMessage(mail(n))}) for n, name in enumerate(names)})
    there = scripted(capabilities=(*ONE_BY_ONE, "ID"), writable=True)

    def opened(_: bytes, tag: bytes, connection: Connection) -> bytes | None:
        named = any(each.startswith(b"ID (") for each in connection.commands)
        return None if named else tag + b" " + UNSAFE + b"\r\n"

    there.on(b"SELECT", opened)
    there.on(b"EXAMINE", opened)
    config = migration(tmp_path, source, "u1", there, "u1", destination__connections=3)
    run(config)
    assert {name: len(there.folders[name].messages) for name in names} == dict.fromkeys(names, 1)
    source.folders[b"a"].messages[2] = ScriptedMessage(mail(9))
    run(config)
    assert len(there.folders[b"a"].messages) == 2


def test_exchange_tells_no_case(scripted: Start, tmp_path: Path) -> None:
    """ "trash" beside "Trash" is the same folder there."""
    source = scripted({b"Trash": ScriptedFolder(5, {1: ScriptedMessage(mail(1))}),
                       b"trash": ScriptedFolder(6, {1: ScriptedMessage(mail(2))})})  # fmt: skip
    there = scripted(
        {b"INBOX": ScriptedFolder(7), b"Trash": ScriptedFolder(8)}, capabilities=ONE_BY_ONE, writable=True
    )
    there.on(b"CREATE", lambda line, tag, _: tag + b" NO Mailbox already exists\r\n" if b"trash" in line else None)
    there.on(b"STATUS", lambda line, tag, _: tag + b" OK\r\n" if b"trash" in line else None)
    result = run(migration(tmp_path, source, "u1", there, "u1"), expect=None)
    held = {name: [each.octets for each in folder.messages.values()] for name, folder in there.folders.items()}
    assert [*held[b"Trash"]] == [mail(1)]
    assert result.exit_code == 2 or result.exit_code == 3, held
    assert "trash" in result.output


def test_exchange_says_no_more_about_a_full_mailbox_than_that_it_is_unavailable(
    scripted: Start, tmp_path: Path
) -> None:
    appending = Appending(refuse=lambda _: b"NO Server Unavailable. 15")
    there = scripted(capabilities=ONE_BY_ONE, writable=True, appending=appending)
    config = migration(tmp_path, scripted(held()), "u1", there, "u1", destination__attempts=2)
    stopped = run(config, expect=None)
    assert stopped.exit_code in (3, 75)
    assert len(stopped.report["failures"]) == 1
    assert "Server Unavailable. 15" in stopped.output
    assert len(there.commands) < 60
    appending.refuse = None
    run(config)
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))


@pytest.mark.parametrize("bad", [range(1, 30), range(3, 41, 3)], ids=["in a row", "here and there"])
def test_exchange_hangs_up_after_ten_errors(
    scripted: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: range
) -> None:
    """Whatever is sent next is not to blame."""
    settle_within(monkeypatch, 0.05)
    every = range(1, 41)
    source = scripted({b"INBOX": ScriptedFolder(5, {uid: ScriptedMessage(mail(uid)) for uid in every})})
    there = scripted(capabilities=ONE_BY_ONE, writable=True)
    errors: dict[Connection, int] = {}

    def append(_: bytes, tag: bytes, connection: Connection) -> bytes | None:
        (message,) = connection.appended
        if errors.get(connection, 0) == 10:
            connection.stream.send(b"* BYE Connection closed.\r\n")
            connection.stream.end()
        if not any(b"Subject: message %d\r\n" % uid in message.octets for uid in bad):
            return None
        errors[connection] = errors.get(connection, 0) + 1
        return tag + b" BAD Command Argument Error. 11\r\n"

    there.on(b"APPEND", append)
    result = run(migration(tmp_path, source, "u1", there, "u1"), expect=3)
    assert {each["uid"] for each in result.report["failures"]} == {*bad}
    assert arrived(there) == sorted(mail(uid) for uid in every if uid not in bad)


def test_a_folder_that_is_gone_when_a_message_comes_is_made_again(scripted: Start, tmp_path: Path) -> None:
    """APPEND says TRYCREATE, and nothing is lost or twice."""
    there = scripted(capabilities=ONE_BY_ONE, writable=True)
    config = migration(tmp_path, scripted(held()), "u1", there, "u1", destination__attempts=2)
    there.play(b"APPEND", b"A1 NO [TRYCREATE] Mailbox doesn't exist: INBOX", times=1)
    stopped = run(config, expect=None)
    assert stopped.exit_code in (0, 3)
    run(config, expect=None)
    assert run(config).report["totals"]["destination"]["replayed"] == 0
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))


def test_yahoo_takes_a_message_that_ends_with_a_line(scripted: Start, tmp_path: Path) -> None:
    """What was changed is in the report, and the archive keeps what came."""
    without = mail(2).rstrip(b"\r\n")
    source = scripted({b"INBOX": ScriptedFolder(5, {1: ScriptedMessage(mail(1)), 2: ScriptedMessage(without)})})
    reply = b"BAD [CLIENTBUG] Additional arguments found after last expected argument"
    appending = refusing(reply, lambda message: not message.octets.endswith(b"\r\n"))
    there = scripted(capabilities=ONE_BY_ONE, writable=True, appending=appending)
    result = run(migration(tmp_path, source, "u1", there, "u1"))
    assert arrived(there) == sorted([mail(1), without + b"\r\n"])
    assert [each["uids"] for each in result.report["losses"]] == ["2"]


@pytest.mark.parametrize("prefix", ["", "INBOX"])
def test_gmx_and_hmailserver_say_no_namespace(scripted: Start, tmp_path: Path, prefix: str) -> None:
    """The delimiter is that of the list; where everything goes is what the account file says."""
    there = scripted({b"INBOX": ScriptedFolder(7), b"INBOX.Sent": ScriptedFolder(8)}, capabilities=("IMAP4rev1",),
                     delimiter=b".", writable=True)  # fmt: skip
    source = scripted(held() | {b"a/b": ScriptedFolder(9, {1: ScriptedMessage(mail(9))})})
    run(migration(tmp_path, source, "u1", there, "u1", destination__prefix=prefix))
    below = b"INBOX." if prefix else b""
    assert [each.octets for each in there.folders[below + b"a.b"].messages.values()] == [mail(9)]


@pytest.mark.parametrize("created", [b"OK Success", b"NO [ALREADYEXISTS] Duplicate folder name (Failure)"])
def test_gmail_lists_a_folder_that_cannot_be_opened_until_it_is_created(
    scripted: Start, tmp_path: Path, created: bytes
) -> None:
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=ONE_BY_ONE, writable=True)
    asked: list[bytes] = []

    def select(_: bytes, tag: bytes, __: Connection) -> bytes | None:
        unknown = tag + b" NO [NONEXISTENT] Unknown Mailbox: INBOX (now in authenticated state) (Failure)\r\n"
        return None if asked else unknown

    def create(line: bytes, tag: bytes, _: Connection) -> bytes:
        asked.append(line)
        return tag + b" " + created + b"\r\n"

    there.on(b"SELECT", select)
    there.on(b"CREATE", create)
    result = run(migration(tmp_path, scripted(held()), "u1", there, "u1"))
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))
    assert [line.split(b" ", 1)[1] for line in asked] == [b'CREATE "INBOX"']
    assert result.report["failures"] == []


def test_a_folder_that_cannot_be_opened_at_all_is_created_once_and_reported(
    scripted: Start, tmp_path: Path
) -> None:
    there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=ONE_BY_ONE, writable=True)
    there.on(b"SELECT", b"NO [NONEXISTENT] Unknown Mailbox: INBOX (Failure)")
    result = run(migration(tmp_path, scripted(held()), "u1", there, "u1"), expect=3)
    assert "Unknown Mailbox" in str(result.report["failures"])
    assert len([each for each in there.commands if each.startswith(b"CREATE")]) == 1


def test_gmail_throws_away_a_message_that_it_has_already(scripted: Start, tmp_path: Path) -> None:
    """APPEND is answered with OK and a new UID, which is never shown; what is there already is not sent again."""
    twice = {uid: ScriptedMessage(mail(1)) for uid in (1, 2)}
    source = scripted({b"INBOX": ScriptedFolder(5, {**twice, 3: ScriptedMessage(mail(3))})})
    seen: set[bytes] = set()

    def known(message: Appended) -> bool:
        new = message.octets not in seen
        seen.add(message.octets)
        return not new

    there = scripted(capabilities=(*ONE_BY_ONE, "X-GM-EXT-1"), writable=True, appending=Appending(loses=known))
    config = migration(tmp_path, source, "u1", there, "u1", destination__read_timeout=0.5)

    result = run(config, expect=3)

    assert arrived(there) == [mail(1), mail(3)]
    (failure,) = result.report["failures"]
    assert "does not show it" in failure["reason"]
    command("retry", "--accept", config)
    assert run(config).report["totals"]["destination"]["refused"] == 1
    assert arrived(there) == [mail(1), mail(3)]


def test_a_folder_at_which_a_destination_hangs_up_stops_no_other(
    scripted: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_within(monkeypatch, 0.05)
    source = scripted(held() | {name: ScriptedFolder(9, {1: ScriptedMessage(mail(9))}) for name in (b"Bad ", b"Z")})
    there = scripted(capabilities=ONE_BY_ONE, writable=True)
    there.on(b"SELECT", lambda line, _, __: DROP if b"Bad " in line else None)
    there.on(b"EXAMINE", lambda line, _, __: DROP if b"Bad " in line else None)
    result = run(migration(tmp_path, source, "u1", there, "u1", destination__attempts=2), expect=None)
    assert arrived(there) == sorted(mail(uid) for uid in (1, 2, 3))
    assert len(there.folders[b"Z"].messages) == 1
    assert result.exit_code == 3
    assert {each["folder"] for each in result.report["failures"]} == {"Bad "}
