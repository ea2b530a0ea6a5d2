"""kill -9 at random moments, then one run to the end: the same archive as if nothing had happened.

A server is brought from one state to the next (an increment, then a new UIDVALIDITY); in each of them the run is
killed again and again on one archive before it may come to its end.
"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.accounts import CATALOG, ArchiveState, account_file, archive_of, archive_state, assert_whole, mail, run
from tests.faults.attempts import KILLED_BEFORE_THE_FACTS, SMALL_BATCHES, Attempt, is_locked, to_the_end, wait_for
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import SMALL_FOLDERS, Shape, generate
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.served import ServedFolder
from tests.servers.wire import Append

SHAPE = Shape(400, 1500, 1.0, SMALL_FOLDERS, 60_000)
KILLS_OF_ONE_SEED = 13
KILLS_IN_A_STATE = 5


@dataclass(frozen=True)
class ServerState:
    """A user's mail at a moment, what an undisturbed archive holds then, and how long that run took."""

    snapshot: Path
    expected: ArchiveState
    seconds: float


@dataclass(frozen=True)
class Story:
    """The states a server goes through."""

    server: Dovecot
    user: str
    states: tuple[ServerState, ...]


@pytest.fixture(scope="module")
def story(dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A small account; the same with news, other flags and gaps; the same with a folder under a new UIDVALIDITY."""
    directory = tmp_path_factory.mktemp("undisturbed")
    user = dovecot.fresh_user()
    dovecot.install(user, generate(directory / "account", SHAPE).home)
    config = account_file(directory, dovecot, user, archive__durability="batch")
    states = []
    for change in (_nothing, _increment, _new_uidvalidity):
        change(dovecot, user)
        snapshot = dovecot.snapshot(user)
        attempt = Attempt(config, program=SMALL_BATCHES).begun()
        began = time.monotonic()
        ended = attempt.end()
        seconds = time.monotonic() - began
        assert ended.exit_code == 0, ended.output
        states.append(ServerState(snapshot, assert_whole(archive_of(config)), seconds))
    return Story(dovecot, user, tuple(states))


def _nothing(_server: Dovecot, _user: str) -> None:
    pass


def _increment(server: Dovecot, user: str) -> None:
    news = [Append(b"Subject: %d\r\n\r\n" % n + b"news\r\n" * n, ["\\Seen", "$new"]) for n in range(60)]
    server.create(user, "Later/Still later")
    for folder in ("INBOX", "R&D", "Later/Still later"):
        server.append_many(user, folder, news)
    server.store_flags(user, "INBOX", range(1, 200), ["\\Flagged", "$seen-again"])
    server.store_flags(user, "Sent", range(1, 40), ["\\Seen"], mode="-")
    server.expunge(user, "INBOX", range(40, 90))
    server.expunge(user, "Archive/2019", range(1, 1000))
    server.delete(user, "Trash")


def _new_uidvalidity(server: Dovecot, user: str) -> None:
    server.bump_uidvalidity(user, "INBOX", renumber=True)
    server.bump_uidvalidity(user, "Archive")
    server.append(user, "INBOX", b"Subject: after\r\n\r\nthe restore\r\n")
    server.expunge(user, "Sent", range(1, 20))


@pytest.mark.lasts(15)
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(story: Story, tmp_path: Path, seed: int) -> None:
    """Four seeds make more than fifty kills. The next attempt follows immediately, on what the killed one left."""
    chance = random.Random(seed)
    kills = rounds = 0
    while kills < KILLS_OF_ONE_SEED:
        rounds += 1
        assert rounds <= KILLS_OF_ONE_SEED, "most attempts ended before they could be killed"
        config = account_file(tmp_path / str(rounds), story.server, story.user, archive__durability="batch")
        for state in story.states:
            story.server.restore(story.user, state.snapshot)
            for _ in range(KILLS_IN_A_STATE):
                attempt = Attempt(config, program=SMALL_BATCHES)
                if chance.random() < 0.9:
                    attempt.begun()  # else it is hit while it loads
                if attempt.ends_within(chance.uniform(0, state.seconds)):
                    assert attempt.end().exit_code == 0
                    break
                attempt.kill(group=chance.random() < 0.5)
                kills += 1
            run(config)
            assert assert_whole(archive_of(config)) == state.expected


@pytest.mark.parametrize("group", [False, True], ids=["the parent alone", "the whole group"])
def test_killed_with_two_accounts_side_by_side(story: Story, tmp_path: Path, group: bool) -> None:
    """Each account is a forked worker. An orphan ends itself and gives the lock back."""
    chance, before = random.Random(5), story.states[0]
    story.server.restore(story.user, before.snapshot)
    other = story.server.fresh_user()
    story.server.install(other, before.snapshot)
    configs = [
        account_file(tmp_path / user, story.server, user, archive__durability="batch")
        for user in (story.user, other)
    ]
    archives = [archive_of(config) for config in configs]
    for _ in range(4):
        attempt = Attempt(*configs, program=SMALL_BATCHES, options=["--workers", "2"]).begun()
        if attempt.ends_within(chance.uniform(0, before.seconds)):
            assert attempt.end().exit_code == 0
            break
        attempt.kill(group=group)
        wait_for(lambda: not any(map(is_locked, archives)), "the orphans to end", seconds=10)
    ended = to_the_end(*configs, options=["--workers", "2"])
    assert ended.exit_code == 0, ended.output
    assert assert_whole(archives[0]) == before.expected
    assert assert_whole(archives[1]) == before.expected


def test_a_server_that_goes_on_while_runs_are_killed(story: Story, tmp_path: Path) -> None:
    """No attempt comes to its end before the server has moved on: what it holds at last is all that it misses."""
    chance = random.Random(11)
    config = account_file(tmp_path, story.server, story.user, archive__durability="batch")
    for state in story.states:
        story.server.restore(story.user, state.snapshot)
        for _ in range(2):
            attempt = Attempt(config, program=SMALL_BATCHES).begun()
            if attempt.ends_within(chance.uniform(0, state.seconds * 0.7)):
                assert attempt.end().exit_code == 0
                break
            attempt.kill(group=True)
    run(config)
    held, served = assert_whole(archive_of(config)), story.server.dump(story.user)
    assert {raw: held.digests(raw) for raw in served} == {raw: digests(folder) for raw, folder in served.items()}


def test_the_undisturbed_archive_is_what_the_server_has(story: Story) -> None:
    """Else all the others would compare with something wrong."""
    story.server.restore(story.user, story.states[-1].snapshot)
    served = story.server.dump(story.user)
    held = story.states[-1].expected
    assert {raw: held.digests(raw) for raw in served} == {raw: digests(folder) for raw, folder in served.items()}


def digests(folder: ServedFolder) -> dict[int, str]:
    """What the server gives for each UID."""
    return {uid: message.digest for uid, message in folder.messages.items()}


@pytest.mark.parametrize(
    "then", ["expunged", "a new uidvalidity", "deleted", "excluded", "not found by the filter"]
)
def test_what_a_crash_left_is_never_without_a_row(
    dovecot: Dovecot, mail_user: str, tmp_path: Path, then: str
) -> None:
    """Octets were durable when the run was killed, their facts were not. Whatever became of the messages since,
    the octets are recorded, are not fetched again, and lie where the server's view of them says."""
    dovecot.create(mail_user, "Sent")
    dovecot.append_many(mail_user, "Sent", [Append(b"Subject: %d\r\n\r\nmail\r\n" % n) for n in range(10)])
    config = account_file(tmp_path, dovecot, mail_user)
    killed = to_the_end(config, program=KILLED_BEFORE_THE_FACTS)
    assert killed.exit_code == -signal.SIGKILL, killed.output
    assert len(archive_state(archive_of(config)).files) == 10
    assert archive_state(archive_of(config)).messages == {}
    keys = {}
    match then:
        case "expunged":
            dovecot.expunge(mail_user, "Sent", range(1, 6))
        case "a new uidvalidity":
            dovecot.bump_uidvalidity(mail_user, "Sent")
        case "deleted":
            dovecot.delete(mail_user, "Sent")
        case "excluded":
            keys = {"folders__exclude": ["Sent"]}
        case _:
            keys = {"messages__search": "SUBJECT 3"}
    dovecot.record(mail_user)
    assert run(account_file(tmp_path, dovecot, mail_user, **keys)).balanced
    if then != "a new uidvalidity":
        assert not any(b"BODY.PEEK[]" in command for command in dovecot.commands(mail_user))
    held = assert_whole(archive_of(config))
    if then == "a new uidvalidity":
        assert sum(not path.startswith("Maildir/") for path in held.files) == 10
    gone = 5 if then == "expunged" else 0
    assert (len(held.uids(b"Sent")), len(held.uids(b"Sent", present=False))) == (10 - gone, gone)
    assert run(config).exit_code == 0
    assert assert_whole(archive_of(config)).digests(b"Sent") == held.digests(b"Sent")


class TestOctetsThatWereLeft:
    """By a run that was killed before it could record them."""

    @pytest.fixture
    def server(self, scripted: Callable[..., ScriptedServer]) -> ScriptedServer:
        return scripted({b"INBOX": ScriptedFolder(7, self.messages(range(1, 4)))})

    @pytest.fixture
    def config(self, server: ScriptedServer, tmp_path: Path) -> Path:
        return account_file(tmp_path, server, "u1", source__connections=1)

    @staticmethod
    def messages(uids: Iterable[int], *, of: int = 0, date: str = "01-Jan-2020") -> dict[int, ScriptedMessage]:
        return {uid: ScriptedMessage(mail(of + uid), (), f"{date} 00:00:00 +0000", modseq=uid) for uid in uids}

    @staticmethod
    def killed(config: Path) -> None:
        ended = to_the_end(config, program=KILLED_BEFORE_THE_FACTS)
        assert ended.exit_code == -signal.SIGKILL, ended.output

    @staticmethod
    def run_without_a_download(server: ScriptedServer, config: Path) -> ArchiveState:
        before = len(server.commands)
        assert run(config).balanced
        assert not any(b"BODY.PEEK[]" in command for command in server.commands[before:])
        return assert_whole(archive_of(config))

    @staticmethod
    def read_by_their_user(server: ScriptedServer) -> None:
        for message in server.folders[b"INBOX"].messages.values():
            message.flags, message.modseq = ("\\Seen",), 20

    def test_are_noticed_though_clocks_went_back(self, server: ScriptedServer, config: Path) -> None:
        run(config)
        with closing(sqlite3.connect(archive_of(config) / CATALOG)) as catalog, catalog:
            catalog.execute("UPDATE run SET started = '2037-01-01T00:00:00Z'")
        server.folders[b"INBOX"].messages |= self.messages(range(4, 8))
        self.killed(config)
        self.read_by_their_user(server)
        assert len(self.run_without_a_download(server, config).uids()) == 7

    def test_are_noticed_with_the_catalog_of_last_week(
        self, server: ScriptedServer, config: Path, tmp_path: Path
    ) -> None:
        run(config)
        shutil.copy(archive_of(config) / CATALOG, tmp_path / "last-week")
        server.folders[b"INBOX"].messages |= self.messages([4])
        run(config)
        server.folders[b"INBOX"].messages |= self.messages(range(5, 8))
        self.killed(config)
        for file in archive_of(config).glob(f"{CATALOG}*"):
            file.unlink()
        shutil.copy(tmp_path / "last-week", archive_of(config) / CATALOG)
        self.read_by_their_user(server)
        assert len(self.run_without_a_download(server, config).uids()) == 7

    def test_are_known_where_the_server_reports_wrong_sizes(self, server: ScriptedServer, config: Path) -> None:
        for message in server.folders[b"INBOX"].messages.values():
            message.size = 5000
        self.killed(config)
        self.read_by_their_user(server)
        assert len(self.run_without_a_download(server, config).uids()) == 3

    @pytest.mark.parametrize("date", ["01-Jan-2020", "01-Jan-2021"], ids=["at the same time", "of another time"])
    def test_are_of_an_ended_epoch_when_their_uids_are_other_mail_now(
        self, server: ScriptedServer, config: Path, date: str
    ) -> None:
        self.killed(config)
        left = {file.digest for file in archive_state(archive_of(config)).files.values()}
        server.folders[b"INBOX"].messages = self.messages(range(1, 4), of=60, date=date)
        assert run(config).total("fetched", "stored") == (3, 3)
        state = assert_whole(archive_of(config))
        assert left <= {each.digest for each in state.messages.values()}
