"""The next folders are asked for behind what is in flight. Whatever the server says, each answer counts for the
folder that it is about, and every message arrives as if folders were opened one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.errors import ConnectionLost, FolderChanged, FolderNotFound
from archiver.mail.model import Fetched, Folder, KnownState
from archiver.source.imap import ImapSource
from archiver.source.port import Opening
from archiver.source.retry import RetryingSource
from tests.accounts import UNSTOPPED, account_file, archive_state, run
from tests.servers.dovecot import Dovecot
from tests.servers.logins import login_at
from tests.servers.mail_server import wait
from tests.servers.scripted import DROP, FULL, MINIMAL, After, End, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.scripted import Session as Connection
from tests.servers.scripted_mail import FetchOddity
from tests.servers.test_imap_source import spool_in

Start = Callable[..., ScriptedServer]
PLAIN = tuple(each for each in FULL if each != "OBJECTID")
A, B, C = (Folder(name, (name.decode(),), "/") for name in (b"A", b"B", b"C"))


def mail(name: bytes, uid: int) -> bytes:
    return b"Subject: %b %d\r\n\r\nbody\r\n" % (name, uid)


def folders(count: int = 3) -> dict[bytes, ScriptedFolder]:
    return {
        each.raw: ScriptedFolder(number, {uid: ScriptedMessage(mail(each.raw, uid)) for uid in range(1, count + 1)})
        for number, each in enumerate((A, B, C), start=5)
    }


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., ImapSource]]:
    """A source on a server; hung up at the end."""
    opened: list[ImapSource] = []

    def source(server: ScriptedServer, **how: bool) -> ImapSource:
        opened.append(ImapSource(*login_at(server.port, "u1", "pw"), spool_in(tmp_path), **how))
        return opened[-1]

    yield source
    for each in opened:
        each.hang_up()


Connect = Callable[..., ImapSource]


def few(folder: Folder) -> Opening:
    """All messages of the folder are wanted, and are to come along."""
    return Opening(folder, ask="all", fetch="few")


def begin(source: ImapSource, *openings: Opening) -> None:
    """Open the first of these; the others are announced."""
    source.prepare(openings)
    first = openings[0]
    source.open(first.folder, first.since, first.ask, known=first.known, fetch=first.fetch)


def octets(source: ImapSource, *uids: int) -> dict[int, bytes | None]:
    return {
        each.attributes.uid: each.body.octets for each in source.fetch(uids) if isinstance(each, Fetched)
    }  # fmt: skip


def all_of(folder: Folder, *uids: int) -> dict[int, bytes]:
    return {uid: mail(folder.raw, uid) for uid in uids}


def test_three_folders_and_their_messages_come_in_one_round_trip(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(), capabilities=PLAIN)
    source = connect(server)
    before = server.flights

    begin(source, few(A), few(B), few(C))
    got = [octets(source, 1, 2, 3)]
    for rest in ([few(B), few(C)], [few(C)]):
        begin(source, *rest)
        assert source.uids() == {1, 2, 3}
        got.append(octets(source, 1, 2, 3))

    assert got == [all_of(each, 1, 2, 3) for each in (A, B, C)]
    assert server.flights - before == 1
    opened = [each for each in server.commands if each.startswith(b"EXAMINE")]
    assert len(opened) == 3


def test_the_next_folder_is_asked_for_behind_the_last_messages(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(300), capabilities=PLAIN)
    source = connect(server)
    source.open(A, ask="all")
    source.prepare([Opening(B, ask="all")])

    def said() -> list[bytes]:
        return [each.split()[0] for each in server.commands if not each.startswith(b"UID FETCH")]

    assert octets(source, *range(1, 301)) == all_of(A, *range(1, 301))
    wait(lambda: said()[-2:] == [b"EXAMINE", b"UID"], "the next folder to be asked for, before anybody opens it")
    source.open(B, ask="all")
    assert source.uids() == set(range(1, 301))
    assert octets(source, 7) == all_of(B, 7)


def test_a_request_that_nobody_expected_is_about_the_open_folder(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(), capabilities=PLAIN)
    source = connect(server)
    begin(source, few(A), few(B), few(C))

    subjects = {row.uid: header for row, header in source.headers([2])}

    assert subjects == {2: b"Subject: A 2\r\n\r\n"}
    assert octets(source, 1, 2, 3) == all_of(A, 1, 2, 3)
    assert source.uids() == {1, 2, 3}
    begin(source, few(B), few(C))
    assert octets(source, 1, 2, 3) == all_of(B, 1, 2, 3)


def test_a_refused_message_is_requested_again_in_its_own_folder(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(), capabilities=PLAIN)
    server.folders[b"A"].messages[2].fetch = "no-partway"
    source = connect(server)
    begin(source, few(A), few(B))

    outcomes = list(source.fetch([1, 2, 3]))

    got = {each.attributes.uid: each.body.octets for each in outcomes if isinstance(each, Fetched)}
    assert (got, len(outcomes)) == (all_of(A, 1, 3), 3)
    begin(source, few(B))
    assert octets(source, 1, 2, 3) == all_of(B, 1, 2, 3)


def test_new_uids_of_a_folder_that_has_to_be_opened_again_are_noticed(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(), capabilities=PLAIN)
    source = connect(server)
    begin(source, few(A), few(B))
    source.uids()
    server.folders[b"A"].uidvalidity = 99

    with pytest.raises(FolderChanged):
        list(source.scan([1]))


@pytest.mark.parametrize("status", [b"NO [NOPERM] not you", b"BAD what"])
def test_after_a_refusal_nothing_of_the_previous_folder_is_taken_for_the_next_ones(
    scripted: Start, connect: Connect, status: bytes
) -> None:
    """The previous folder is still open on this server, so that it answers the search and the FETCH behind."""
    server = scripted(folders(), capabilities=MINIMAL)
    source = connect(server)

    def examine(line: bytes, tag: bytes, _: Connection) -> bytes | None:
        return tag + b" " + status + b"\r\n" if b'"B"' in line else None

    server.on(b"EXAMINE", examine)
    begin(source, few(A), few(B), few(C))
    assert octets(source, 1, 2, 3) == all_of(A, 1, 2, 3)

    with pytest.raises(FolderNotFound if status.startswith(b"BAD") else Exception):
        begin(source, few(B), few(C))
    begin(source, few(C))

    assert octets(source, 1, 2, 3) == all_of(C, 1, 2, 3)


def test_messages_that_nobody_wants_after_all_are_read_and_dropped(
    scripted: Start, connect: Connect, tmp_path: Path
) -> None:
    there = folders()
    there[b"A"].messages[3] = ScriptedMessage(b"Subject: large\r\n\r\n" + b"x" * 1_100_000)
    source = connect(scripted(there, capabilities=PLAIN))

    begin(source, few(A), few(B))
    begin(source, few(B))

    assert octets(source, 1) == all_of(B, 1)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_come_before_the_search_has_ended_are_kept(scripted: Start, connect: Connect) -> None:
    """Dovecot works on a search and on what is behind it at the same time."""
    server = scripted(folders(), capabilities=PLAIN)
    late: list[bytes] = []

    def search(_: bytes, tag: bytes, __: Connection) -> bytes:
        late.append(b'* ESEARCH (TAG "%b") UID ALL 1:3\r\n%b OK found\r\n' % (tag, tag))
        return b"* OK searching\r\n"

    def fetch(_: bytes, tag: bytes, __: Connection) -> bytes:
        rows = b"".join(
            b"* %d FETCH (UID %d FLAGS () RFC822.SIZE %d BODY[] {%d}\r\n%b)\r\n" % (n, n, size, size, mail(b"A", n))
            for n in (1, 2, 3)
            for size in [len(mail(b"A", n))]
        )
        return rows[: len(rows) // 2] and rows + late.pop() + tag + b" OK done\r\n"

    server.on(b"UID SEARCH", search, times=1)
    server.on(b"UID FETCH", fetch, times=1)
    source = connect(server)

    begin(source, few(A))

    assert source.uids() == {1, 2, 3}
    assert octets(source, 1, 2, 3) == all_of(A, 1, 2, 3)
    assert sum(each.startswith(b"UID FETCH") for each in server.commands) == 1


def test_the_last_known_message_is_not_taken_for_a_new_one(scripted: Start, connect: Connect) -> None:
    """ "n:*" names it, even if its UID is below n."""
    server = scripted(folders(), capabilities=PLAIN)
    source = connect(server)
    since = KnownState(5, 4, 1)

    begin(source, Opening(A, since, "new", fetch="few"))

    assert source.uids(since=since) == set()
    assert octets(source) == {}


def test_a_server_that_opens_the_next_folder_too_early_is_not_believed(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(), capabilities=PLAIN)
    server.inject(b"UID FETCH", b"* OK [CLOSED] on to the next", after=1, times=1)
    source = connect(server)
    begin(source, few(A), few(B))

    with pytest.raises(ConnectionLost, match="before it has delivered"):
        list(source.fetch([1, 2, 3]))


def test_nothing_is_asked_ahead_of_a_server_that_hangs_up_on_much(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(), capabilities=PLAIN)
    source = connect(server, cautious=True)

    begin(source, Opening(A, ask="all", fetch="none"), few(B))

    assert [each for each in server.commands if each.startswith(b"EXAMINE")] == [b'EXAMINE "A"']


def test_once_a_connection_was_lost_folders_are_opened_one_by_one(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(), capabilities=PLAIN)
    source = RetryingSource(lambda *, fallback: connect(server), attempts=3, control=UNSTOPPED)
    server.on(b"EXAMINE", lambda line, _, __: DROP if b'"B"' in line and server.connections == 1 else None)
    asked = [Opening(each, ask="all", fetch="none") for each in (A, B, C)]

    for number, each in enumerate(asked):
        source.prepare(asked[number:])
        source.open(each.folder, ask="all", fetch="none")
        assert source.uids() == {1, 2, 3}

    first, second = server.sessions
    said = [each for each in second.commands if each.startswith((b"EXAMINE", b"UID SEARCH"))]
    assert [each.split()[0] for each in first.commands].count(b"EXAMINE") >= 2
    assert [each.split()[0] for each in said] == [b"EXAMINE", b"UID"] * (len(said) // 2)
    source.close()


# -- whole runs --------------------------------------------------------------------------------------------------


def many(count: int = 12) -> dict[bytes, ScriptedFolder]:
    names = [b"INBOX", *(b"folder-%02d" % number for number in range(1, count))]
    return {
        name: ScriptedFolder(7, {uid: ScriptedMessage(mail(name, uid), modseq=uid) for uid in range(1, 4)})
        for name in names
    }


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("oddity", ["no", "nil", "missing", "short-literal", "twice", "split"])
def test_one_odd_message_of_many_folders_delays_only_itself(
    scripted: Start, tmp_path: Path, oddity: FetchOddity, attempts: int
) -> None:
    there = many()
    there[b"folder-03"].messages[2].fetch = oddity
    server = scripted(there, capabilities=PLAIN)
    config = account_file(tmp_path, server, "u1", source__connections=1, source__attempts=attempts)

    result = run(config, expect=None)

    bad = oddity not in ("twice", "split")
    counts = result.exit_code, result.total("fetched", "quarantined")
    assert counts == (3 if bad else 0, (36 - bad, int(bad))), result.output
    assert result.balanced
    expected = sorted(
        hashlib.sha256(each.octets).hexdigest()
        for folder in there.values()
        for each in folder.messages.values()
        if not (bad and each.fetch)
    )
    assert sorted(digests(tmp_path / "archive" / "Maildir")) == expected


def digests(archive: Path) -> list[str]:
    return [hashlib.sha256(each.read_bytes()).hexdigest() for each in archive.rglob("cur/*")]


def test_eight_folders_with_news_take_as_many_round_trips_as_one(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    names = ["INBOX", *(f"folder {number}" for number in range(1, 8))]
    dovecot.create(mail_user, *names[1:])
    for name in names:
        dovecot.append(mail_user, name, f"Subject: {name}\r\n\r\n".encode())
    config = account_file(tmp_path, dovecot, mail_user, source__connections=4)
    assert run(config).total("fetched") == (8,)
    for name in names:
        dovecot.append(mail_user, name, f"Subject: {name} again\r\n\r\n".encode())
    dovecot.store_flags(mail_user, "folder 3", [1], ["\\Flagged"])
    before = dovecot.logins(mail_user)

    dovecot.record(mail_user)
    result = run(config)

    assert result.total("fetched", "flags_changed") == (8, 1)
    assert dovecot.flights(mail_user) <= 4  # the list, the folders, and to leave
    assert dovecot.logins(mail_user) - before == 1
    again = archive_state(tmp_path / "archive")
    run(config)
    assert archive_state(tmp_path / "archive") == again


def test_folders_that_a_lost_connection_had_reserved_are_left_to_the_others(
    scripted: Start, tmp_path: Path
) -> None:
    there = many()
    there[b"INBOX"] = ScriptedFolder(7, {uid: ScriptedMessage(mail(b"INBOX", uid)) for uid in range(1, 600)})
    server = scripted(there, capabilities=PLAIN)
    lost: list[Connection] = []

    def examine(line: bytes, _: bytes, connection: Connection) -> object:
        is_first = connection is server.sessions[0]
        if is_first or b'"INBOX"' in line or lost.count(connection) or len(server.sessions) < 2:
            return None
        lost.append(connection)
        return DROP

    server.on(b"EXAMINE", examine)  # type: ignore[arg-type]
    config = account_file(tmp_path, server, "u1", source__connections=2, source__attempts=1)

    result = run(config, expect=None)

    assert (result.exit_code, result.total("fetched"), result.balanced) == (0, (599 + 11 * 3,), True)


@pytest.mark.parametrize("command", [b"EXAMINE", b"UID SEARCH", b"UID FETCH"])
def test_wherever_the_line_is_cut_every_message_arrives_once(
    scripted: Start, tmp_path: Path, command: bytes
) -> None:
    """Cut before the answer to a command of a night with news in twelve folders, or within it."""
    for cut in (2, 5, 8):
        there = many()
        server = scripted(there, capabilities=PLAIN)
        config = account_file(tmp_path / str(cut), server, "u1", source__attempts=3)
        run(config)
        for name, folder in there.items():
            folder.messages |= {uid: ScriptedMessage(mail(name, uid), modseq=uid) for uid in (4, 5)}
            folder.messages[1].flags, folder.messages[1].modseq = ("\\Flagged",), 9
            folder.vanished[2] = 9
            del folder.messages[2]
        heard: list[bytes] = []

        def answer(
            line: bytes, _: bytes, __: Connection, heard: list[bytes] = heard, cut: int = cut
        ) -> End | After | None:
            heard.append(line)
            return (After(60) if cut % 2 else DROP) if len(heard) == cut else None

        server.on(command, answer)
        result = run(config)

        assert result.total("fetched", "flags_changed", "vanished") == (2 * 12, 12, 12), (cut, result.output)
        expected = sorted(
            hashlib.sha256(each.octets).hexdigest()
            for folder in there.values()
            for each in folder.messages.values()
        )
        assert sorted(digests(tmp_path / str(cut) / "archive" / "Maildir")) == expected
        assert len(heard) >= cut


def test_what_is_said_of_the_previous_folder_is_not_counted_for_the_next(scripted: Start, connect: Connect) -> None:
    server = scripted(folders(), capabilities=MINIMAL)
    server.inject(b"EXAMINE", b"* 2 EXPUNGE", b"* 7 EXISTS", b"* 7 FETCH (FLAGS (\\Deleted))", after=0)
    source = connect(server)

    begin(source, few(A), few(B))
    assert octets(source, 1, 2, 3) == all_of(A, 1, 2, 3)
    source.prepare([few(B)])
    opened = source.open(B, ask="all", fetch="few")

    assert (opened.status.messages, opened.changes, opened.seen) == (3, None, ())
    assert octets(source, 1, 2, 3) == all_of(B, 1, 2, 3)
