"""kill -9 and cut lines while messages are restored: the next attempt finds out what arrived, and every message is
back once."""

from __future__ import annotations

import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archiver.replay import sync_folder
from archiver.replay.send import prepare
from pipelines.cli.main import invoke
from tests.accounts import CATALOG, account_file, archive_of, mail, run
from tests.faults.attempts import is_killed, signalled_after, to_the_end
from tests.faults.replays import SMALL_BATCHES, mailbox_of, settle_within
from tests.faults.test_replay_outcomes import stored_and
from tests.servers.faultproxy import FaultProxy
from tests.servers.mail_server import MailServer
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    Appending,
    End,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)
from tests.servers.wire import Append

KILLS = 5


@pytest.fixture(params=["Dovecot", "Dovecot without extensions", "Cyrus", "Courier"])
def server(request: pytest.FixtureRequest) -> MailServer:
    fixture = {"Dovecot": "dovecot", "Cyrus": "cyrus", "Courier": "courier"}.get(request.param, "plain_dovecot")
    found: MailServer = request.getfixturevalue(fixture)
    return found


@pytest.mark.parametrize("place", [("--in-place",), ("--into", "Back")], ids=["in place", "below a folder"])
def test_killed_at_random_moments(server: MailServer, tmp_path: Path, place: tuple[str, ...]) -> None:
    """Some messages stand twice in a folder; one of each comes back. Some mail stayed, and some is new."""
    chance, user = random.Random(11), server.fresh_user()
    top = "INBOX." if server.name == "Courier" else ""
    work = f"{top}Work"
    server.create(user, work)
    config = account_file(tmp_path, server, user, source__connections=2)
    for folder, first in (("INBOX", 0), (work, 100)):
        some = [
            Append(mail(n), ("\\Seen", "$a")[: n % 3], "05-Mar-2021 10:00:00 +0200")
            for n in range(first, first + 60)
        ]
        server.append_many(user, folder, some)
    run(config)
    whole = mailbox_of(server, user)
    for folder in ("INBOX", work):
        server.expunge(user, folder, range(1, 51))
    run(config)
    left = mailbox_of(server, user)
    options = ("--folder", "*", "--yes", *place)
    stopped = signalled_after(3, 0.02, signal.SIGTERM, program=SMALL_BATCHES)
    ended = to_the_end(config, program=stopped, verb="restore", options=options)
    assert ended.exit_code == 128 + signal.SIGTERM, ended.output
    kills = 0
    while kills < KILLS and is_killed(
        config, chance=chance, program=SMALL_BATCHES, verb="restore", options=options, group=True, within=14
    ):
        kills += 1
    assert kills > 0
    for _ in range(2):
        ended = to_the_end(config, program=SMALL_BATCHES, verb="restore", options=options)
        assert ended.exit_code == 0, ended.output
        held = mailbox_of(server, user)
        if place == ("--in-place",):
            assert held == whole
        else:
            back = [f"{top}Back".encode(), f"{top}Back{'.' if top else '/'}Work".encode()]
            assert held == left | {
                there: whole[raw] - left[raw] for there, raw in zip(back, (b"INBOX", work.encode()), strict=True)
            }


@pytest.mark.parametrize("direction", ["up", "down"])
def test_cut_again_and_again(
    server: MailServer, proxy: Callable[..., FaultProxy], tmp_path: Path, quick: None, direction: str
) -> None:
    """Each attempt is cut somewhere behind its first APPEND and gives up; then one is left alone. The port of the
    source is another one each time."""
    chance, user = random.Random(direction), server.fresh_user()
    config = account_file(tmp_path, server, user)
    server.append_many(
        user, "INBOX", [Append(mail(n), ("\\Seen",), "05-Mar-2021 10:00:00 +0200") for n in range(60)]
    )
    run(config)
    whole = mailbox_of(server, user)
    server.expunge(user, "INBOX", range(1, 51))
    run(config)
    codes = []
    for _ in range(6):
        # A login and what opens the folder take some 2 kB down and 0.5 kB up.
        octets = chance.randrange(700, 5000) if direction == "up" else chance.randrange(2500, 4500)
        through = proxy(server.port, direction=direction, reset_after=octets)
        account_file(tmp_path, through, user, source__attempts=1)
        codes.append(invoke(["restore", str(config), "--folder", "*", "--yes", "--in-place"]))
    assert set(codes) <= {0, 5}
    assert codes.count(5) >= 2
    account_file(tmp_path, server, user)
    assert invoke(["restore", str(config), "--folder", "*", "--yes", "--in-place"]) == 0
    assert mailbox_of(server, user) == whole


class Lost:
    """An account at a scripted server; messages 2 to 6 are gone from it."""

    def __init__(self, directory: Path) -> None:
        inbox = ScriptedFolder(7, {uid: ScriptedMessage(mail(uid), ("\\Seen",)) for uid in range(1, 7)})
        self.server = ScriptedServer(
            {b"INBOX": inbox}, capabilities=DESTINATION, writable=True, appending=Appending()
        )
        self.server.__enter__()
        self.config = account_file(directory, self.server, "u1", source__attempts=1)
        run(self.config)
        inbox.expunge(range(2, 7))
        run(self.config)

    def restore(self, *arguments: str) -> int:
        return invoke(["restore", str(self.config), "--folder", "*", "--yes", *arguments])

    def held(self, *raws: bytes) -> Counter[bytes]:
        folders = (self.server.folders.get(raw) for raw in raws)
        return Counter(each.octets for folder in folders if folder is not None for each in folder.messages.values())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small groups and short pauses."""
    monkeypatch.setattr(prepare, "GROUP_MESSAGES", 4)
    monkeypatch.setattr(sync_folder, "BATCH_MESSAGES", 10)
    settle_within(monkeypatch, 0.05)


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lost]:
    settle_within(monkeypatch, 0.01)
    account = Lost(tmp_path)
    yield account
    account.server.__exit__()


BACK = Counter(mail(n) for n in range(2, 7))


@pytest.mark.parametrize("second", ["Back", "The next day"])
def test_cut_before_the_answer(lost: Lost, second: str) -> None:
    """The server stored the messages and hung up. The next attempt may be one of the next day."""
    lost.server.on(b"APPEND", stored_and(DROP))
    assert lost.restore("--into", "Back") == 5
    assert lost.held(b"Back")
    lost.server.forget()
    for _ in range(2):
        assert lost.restore("--into", second) == 0
        assert lost.held(*{b"Back", second.encode()}) == BACK


def test_cut_before_anything_arrived(lost: Lost, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is another one the next time; nothing waits for ever."""
    lost.server.on(b"APPEND", DROP)
    assert lost.restore("--into", "Back") == 5
    assert lost.held(b"Back") == Counter()
    capsys.readouterr()
    assert invoke(["status", str(lost.config)]) == 3
    assert "5 not sent yet: give the same `archiver restore` again" in capsys.readouterr().out
    lost.server.forget()
    for _ in range(2):
        assert lost.restore("--into", "The next day") == 0
        assert lost.held(b"Back", b"The next day") == BACK
    assert invoke(["status", str(lost.config)]) == 0


def test_stored_twice_by_a_slow_server_is_said(
    lost: Lost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was not answered is sent again, and then the first one appears, too."""
    delayed: list[ScriptedMessage] = []

    def swallow(_line: bytes, _tag: bytes, session: Session) -> End:
        delayed.extend(ScriptedMessage(each.octets, each.flags, each.internaldate) for each in session.appended)
        return DROP

    lost.server.on(b"APPEND", swallow, times=1)
    lost.server.appending.after = lambda folder, _: folder.add(*(delayed.pop() for _ in delayed[:1]))
    assert lost.restore("--into", "Back") == 5
    capsys.readouterr()
    assert lost.restore("--into", "Back") == 3
    assert "stored twice, because the first answer came too late: UIDs" in capsys.readouterr().out


def rows_of(config: Path) -> dict[str, list[object]]:
    """What the catalog knows of places to restore to."""
    tables = ("destination", "address", "restore_place", "restore", "mapped", "target", "copy", "intent")
    with closing(sqlite3.connect(archive_of(config) / CATALOG)) as catalog:
        return {table: sorted(catalog.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in tables}


def test_a_rebuilt_catalog_knows_it(lost: Lost) -> None:
    """What was restored, and what was under way, is in the journal."""
    lost.server.on(b"APPEND", stored_and(DROP))
    assert lost.restore("--into", "Back") == 5
    lost.server.forget()
    before = rows_of(lost.config)
    assert invoke(["rebuild", str(lost.config)]) == 0
    assert rows_of(lost.config) == before
    assert lost.restore("--into", "Back") == 0
    assert lost.held(b"Back") == BACK
    assert invoke(["rebuild", str(lost.config)]) == 0
    assert lost.restore("--into", "Back") == 0
    assert lost.held(b"Back") == BACK
