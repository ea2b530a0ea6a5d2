"""kill -9 at random moments, then one run to the end: the same archive as if nothing had happened.

A server is brought from one state to the next (an increment, then a new UIDVALIDITY); in each of them the run is
killed again and again on one archive before it may come to its end.
"""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.accounts import ArchiveState, account_file, archive_of, archive_state, assert_whole, run
from tests.faults.attempts import KILLED_BEFORE_THE_FACTS, SMALL_BATCHES, Attempt, is_locked, to_the_end, wait_for
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import SMALL_FOLDERS, Shape, generate
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


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(story: Story, tmp_path: Path, seed: int) -> None:
    """Four seeds make more than fifty kills. The next attempt follows at once, on what the killed one left."""
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
