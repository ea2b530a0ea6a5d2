"""kill -9 while an archive is replayed, then a run to the end: every message is at the destination, and once.

At random moments of a replay and of a whole run, the parent alone or with its whole group; and at each moment that
matters: an intent is lasting, octets are sent, an answer is heard, facts are written, and so on.
"""

from __future__ import annotations

import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.accounts import CATALOG, archive_of, mails, run
from tests.faults.attempts import is_killed, is_locked, signalled_after, to_the_end, wait_for
from tests.faults.replays import (
    SMALL_BATCHES,
    Archived,
    Mailbox,
    archived,
    as_dovecot,
    mailbox_of,
    migration,
    odd_account,
    scripted_mailbox,
    settle_within,
)
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import SMALL_FOLDERS, Shape, generate
from tests.servers.scripted import ScriptedServer
from tests.servers.wire import Append

KILLS_OF_ONE_SEED = 17
KILLS_IN_A_STATE = 6


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Archived:
    return archived(tmp_path_factory.mktemp("large"), odd_account(70))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Archived:
    return archived(tmp_path_factory.mktemp("small"), odd_account(10))


@pytest.fixture(params=["all extensions", "no extensions"])
def there(request: pytest.FixtureRequest) -> Dovecot:
    """With UIDPLUS and without; as with MULTIAPPEND and without."""
    server: Dovecot = request.getfixturevalue("dovecot" if request.param == "all extensions" else "plain_dovecot")
    return server


def assert_nothing_is_left_to_do(config: Path, there: Dovecot, new_user: str) -> None:
    """A further replay sends nothing and changes nothing."""
    before = there.dump(new_user)
    there.record(new_user)
    run(config, steps="replay")
    words = [word for command in there.commands(new_user) for word in command.upper().split()[:2]]
    assert not {b"APPEND", b"STORE", b"CREATE", b"EXPUNGE"} & set(words)
    assert there.dump(new_user) == before


def kinds_of_copies(config: Path) -> Counter[str]:
    """How the copies came to be known: what we sent is not taken for what others brought."""
    with closing(sqlite3.connect(archive_of(config) / CATALOG)) as catalog:
        return Counter(row[0] for row in catalog.execute("SELECT how FROM copy"))


def test_killed_at_random_moments_of_a_replay(large: Archived, there: Dovecot, tmp_path: Path) -> None:
    """The next attempt follows immediately, on what the killed one left there and here."""
    chance, kills = random.Random(1), 0
    while kills < KILLS_OF_ONE_SEED:
        new_user, before = there.fresh_user(), kills
        config = large.config(tmp_path / new_user, there, new_user, destination__connections=2)
        while kills < KILLS_OF_ONE_SEED and is_killed(config, chance=chance, program=SMALL_BATCHES, verb="replay"):
            kills += 1
        assert kills > before
        ended = to_the_end(config, program=SMALL_BATCHES, verb="replay")
        assert ended.exit_code == 0, ended.output
        assert mailbox_of(there, new_user) == large.expected
        assert set(kinds_of_copies(config)) <= {"appended", "found"}
        assert_nothing_is_left_to_do(config, there, new_user)


def test_killed_at_random_moments_of_a_run(dovecot: Dovecot, there: Dovecot, tmp_path: Path) -> None:
    """From a Dovecot to another one, where somebody else brought half of it before. Then there are news, a folder
    more and other flags."""
    chance, account = random.Random(7), generate(tmp_path, SHAPE)
    user, new_user = dovecot.fresh_user(), there.fresh_user()
    dovecot.install(user, account.home)
    there.install(new_user, account.home)
    there.delete(new_user, "Sent", "Archive/2019", "R&D")
    there.expunge(new_user, "INBOX", [each.uid for each in account.messages if each.folder == "INBOX"][::2])
    config = migration(tmp_path / "to", dovecot, user, there, new_user, destination__connections=2)
    for change in (lambda: None, lambda: _increment(dovecot, user)):
        change()
        kills = 0
        while kills < KILLS_IN_A_STATE and is_killed(
            config, chance=chance, program=SMALL_BATCHES, within=20, options=COPIED
        ):
            kills += 1
        assert kills > 0
        ended = to_the_end(config, program=SMALL_BATCHES, options=COPIED)
        assert ended.exit_code == 0, ended.output
        assert mailbox_of(there, new_user) == mailbox_of(dovecot, user)
    assert_nothing_is_left_to_do(config, there, new_user)


COPIED = ("--new-destination",)  # two mailboxes that a copy of files made equal
SHAPE = Shape(250, 1200, 1.0, SMALL_FOLDERS, 20_000)


def _increment(server: Dovecot, user: str) -> None:
    server.create(user, "Later/Still later")
    for folder in ("INBOX", "R&D", "Later/Still later"):
        server.append_many(
            user, folder, [Append(each.octets, ["$new"], each.internaldate) for each in mails(range(30))]
        )
    server.store_flags(user, "INBOX", range(1, 100), ["\\Flagged", "$seen-again"])
    server.store_flags(user, "Sent", range(1, 100), ["\\Seen"], mode="-")


def test_stopped_by_signals(large: Archived, dovecot: Dovecot, tmp_path: Path) -> None:
    """Lines are cut while messages are under way; the next attempt goes on behind them."""
    chance, new_user = random.Random(3), dovecot.fresh_user()
    config = large.config(tmp_path, dovecot, new_user, destination__connections=2)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        program = signalled_after(chance.randint(5, 10), 0, number, program=SMALL_BATCHES)
        ended = to_the_end(config, program=program, verb="replay")
        assert ended.exit_code == 128 + number, ended.output
    ended = to_the_end(config, program=SMALL_BATCHES, verb="replay")
    assert ended.exit_code == 0, ended.output
    assert mailbox_of(dovecot, new_user) == large.expected


@pytest.mark.parametrize("group", [False, True], ids=["the parent alone", "the whole group"])
def test_killed_with_two_accounts_side_by_side(dovecot: Dovecot, tmp_path: Path, group: bool) -> None:
    """Each account is a forked worker. An orphan ends itself and gives the lock back."""
    chance, new_users = random.Random(5), [dovecot.fresh_user(), dovecot.fresh_user()]
    with ScriptedServer(odd_account(20)) as source:
        configs = [migration(tmp_path / user, source, "u1", dovecot, user, name=user) for user in new_users]
        for config in configs:
            run(config, steps="archive")
        expected = scripted_mailbox(source, as_dovecot)
    two = {"program": SMALL_BATCHES, "verb": "replay", "options": ["--workers", "2"]}
    kills = 0
    while kills < 3 and is_killed(*configs, chance=chance, group=group, **two):
        kills += 1
        wait_for(lambda: not any(is_locked(archive_of(config)) for config in configs), "the orphans to end")
    assert kills > 0
    ended = to_the_end(*configs, **two)
    assert ended.exit_code == 0, ended.output
    for user in new_users:
        assert mailbox_of(dovecot, user) == expected


_KILLED = """
import itertools, os, signal
from archiver.facts import destination as copy_facts
from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.destination.imap import ImapDestination
from archiver.journal.recorder import Recorder

def killed(nth, owner, name, when, fact=None):
    call, calls = getattr(owner, name), itertools.count(1)
    def wrapped(self, *arguments):
        facts = getattr(arguments[0], "facts", arguments[0]) if fact else ()
        its = fact is None or any(isinstance(each, getattr(copy_facts, fact)) for each in facts)
        now = its and next(calls) == nth
        if now and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(self, *arguments)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, wrapped)

killed({})
"""

POINTS = {
    "folders are made": '1, ImapDestination, "create_all", "after"',
    "folders are made and not recorded": '1, Recorder, "write", "before", "MappedFact"',
    "a folder is known": '2, Recorder, "write", "after", "TargetFact"',
    "an intent is lasting": '2, Recorder, "write", "after", "IntentFact"',
    "an intent is in the journal alone": '2, SqlCatalog, "apply", "before", "IntentFact"',
    "octets are sent": '2, ImapDestination, "begin_append", "after"',
    "an answer is heard": '2, ImapDestination, "end_append", "after"',
    "copies are not recorded": '2, Recorder, "write", "before", "CopiedFact"',
    "copies are in the journal alone": '2, SqlCatalog, "apply", "before", "CopiedFact"',
    "copies are recorded": '2, Recorder, "write", "after", "CopiedFact"',
    "a folder's state is not recorded": '2, Recorder, "write", "before", "TargetStateFact"',
}
TWICE = {
    "what was not sent is known": (POINTS["an intent is lasting"], '1, Recorder, "write", "after", "UnsentFact"'),
    "what was found is not recorded": (
        POINTS["an answer is heard"],
        '1, Recorder, "write", "before", "CopiedFact"',
    ),
    "what was found is recorded": (POINTS["octets are sent"], '1, Recorder, "write", "after", "CopiedFact"'),
}
FOLLOWING = {
    "flags are to be followed": '1, ImapDestination, "store", "before"',
    "flags are followed": '1, ImapDestination, "store", "after"',
    "followed flags are recorded": '1, Recorder, "write", "after", "ReflaggedFact"',
}
WITHDRAWING = {
    "copies are marked": '1, ImapDestination, "store", "after"',
    "marks are recorded": '1, Recorder, "write", "after", "MarkedFact"',
    "copies are expunged": '1, ImapDestination, "expunge", "after"',
    "what was expunged is recorded": '1, Recorder, "write", "after", "RemovedFact"',
}


def killed_at(point: str, config: Path, *options: str) -> None:
    """A replay that is killed there."""
    program = ("-c", _KILLED.format(point) + SMALL_BATCHES[1])
    ended = to_the_end(config, program=program, verb="replay", options=options)
    assert ended.exit_code == -signal.SIGKILL, ended.output


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not to be seen is not waited for long, in this process too."""
    settle_within(monkeypatch, 0.2)


@pytest.mark.usefixtures("quick")
class TestKilledWhen:
    @pytest.mark.parametrize("point", POINTS)
    def test_in_a_replay(self, small: Archived, dovecot: Dovecot, tmp_path: Path, point: str) -> None:
        new_user = dovecot.fresh_user()
        config = small.config(tmp_path, dovecot, new_user)
        killed_at(POINTS[point], config)
        run(config, steps="replay")
        assert mailbox_of(dovecot, new_user) == small.expected
        assert set(kinds_of_copies(config)) <= {"appended", "found"}

    @pytest.mark.parametrize("point", TWICE)
    def test_and_again(self, small: Archived, there: Dovecot, tmp_path: Path, point: str) -> None:
        new_user = there.fresh_user()
        config = small.config(tmp_path, there, new_user)
        for each in TWICE[point]:
            killed_at(each, config)
        run(config, steps="replay")
        assert mailbox_of(there, new_user) == small.expected

    @pytest.mark.parametrize("point", FOLLOWING)
    def test_while_flags_are_followed(self, moving: Moving, point: str) -> None:
        moving.dovecot.store_flags(moving.user, "INBOX", range(1, 9), ["\\Flagged", "$new"])
        moving.dovecot.store_flags(moving.user, "INBOX", range(5, 12), ["\\Seen"], mode="-")
        run(moving.config, steps="archive")
        killed_at(FOLLOWING[point], moving.config)
        run(moving.config, steps="replay")
        assert moving.there == moving.here

    @pytest.mark.parametrize("point", WITHDRAWING)
    def test_while_deletions_are_carried_out(self, moving: Moving, point: str) -> None:
        """What we expunged comes again when its message does."""
        octets, dovecot = mails(range(3)), moving.dovecot
        dovecot.expunge(moving.user, "INBOX", [1, 2, 3])
        for _ in range(2):
            run(moving.config, steps="archive")
        killed_at(WITHDRAWING[point], moving.config, "--confirm-deletions")
        run(moving.config, steps="replay", confirm_deletions=True)
        assert moving.there == moving.here
        dovecot.append_many(moving.user, "INBOX", octets)
        run(moving.config)
        assert moving.there == moving.here


@dataclass(frozen=True)
class Moving:
    """An account at a Dovecot that was archived and replayed once."""

    dovecot: Dovecot
    user: str
    new_user: str
    config: Path

    @property
    def here(self) -> Mailbox:
        return mailbox_of(self.dovecot, self.user)

    @property
    def there(self) -> Mailbox:
        return mailbox_of(self.dovecot, self.new_user)


@pytest.fixture
def moving(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Moving:
    new_user = dovecot.fresh_user()
    dovecot.append_many(mail_user, "INBOX", [Append(each.octets, ["\\Seen"]) for each in mails(range(20))])
    config = migration(tmp_path, dovecot, mail_user, dovecot, new_user, replay__vanished="expunge")
    run(config)
    return Moving(dovecot, mail_user, new_user, config)
