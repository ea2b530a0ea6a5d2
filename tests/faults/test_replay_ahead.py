"""Folders that are archived completely are sent while others are still fetched: the same end in all cases.

Whatever happens to either side meanwhile, and wherever the run is killed: every message is at the destination, and
once; the archive step neither fails nor waits for it; and what is wrong is reported by the replay step.
"""

from __future__ import annotations

import gzip
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver.account import replay as wiring
from archiver.facts.mailbox import DestinationFolders
from archiver.mail.model import Folder, FolderStatus, Listed
from archiver.replay.ahead import ReplayAhead, may_begin
from archiver.replay.context import ReplayJob
from archiver.replay.send.append import Sender
from tests.accounts import RunResult, archive_of, mail, run
from tests.faults.attempts import is_killed, signalled_after, to_the_end
from tests.faults.replays import (
    SMALL_BATCHES,
    mailbox_of,
    migration,
    odd_account,
    scripted_mailbox,
    settle_within,
)
from tests.patience import PATIENCE
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.mailbox_generator import SMALL_FOLDERS, GeneratedAccount, Shape, generate
from tests.servers.scripted import DESTINATION, DROP, STALL, ScriptedFolder, ScriptedServer
from tests.servers.wire import Append

KILLS = 8
SHAPE = Shape(250, 1200, 1.0, SMALL_FOLDERS, 20_000)

_STEPS = """
import time
from archiver.account import replay
from archiver.replay.ahead import ReplayAhead
replay._WORTH_A_BEGINNING = 1
completed = ReplayAhead.completed
def in_step(self, folder):
    completed(self, folder)
    while self._thread.is_alive() and not (self._waits and self._ready is None):
        time.sleep(0.002)
ReplayAhead.completed = in_step
"""
IN_STEP = ("-c", _STEPS + SMALL_BATCHES[1])
"""The program, whose archive step waits after each folder until it is sent."""


COMPLETED = ReplayAhead.completed


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were sent ahead. The archive step waits after each folder, until it is sent."""
    names: list[str] = []
    send = ReplayAhead._pass

    def in_step(ahead: ReplayAhead, folder: int) -> None:
        COMPLETED(ahead, folder)
        end = time.monotonic() + PATIENCE
        while ahead._thread.is_alive() and not (ahead._waits and ahead._ready is None):
            assert time.monotonic() < end
            time.sleep(0.002)

    def passed(ahead: ReplayAhead, destination: Any, job: ReplayJob) -> None:
        names.append(job.name)
        send(ahead, destination, job)

    monkeypatch.setattr(ReplayAhead, "completed", in_step)
    monkeypatch.setattr(ReplayAhead, "_pass", passed)
    monkeypatch.setattr(wiring, "_WORTH_A_BEGINNING", 1)
    settle_within(monkeypatch, 0.2)
    return names


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> GeneratedAccount:
    return generate(tmp_path_factory.mktemp("account"), SHAPE)


@pytest.fixture
def user(dovecot: Dovecot, account: GeneratedAccount) -> str:
    """A user at the source with this account."""
    name = dovecot.fresh_user()
    dovecot.install(name, account.home)
    return name


def kinds(config: Path) -> list[str]:
    """The facts of the journal in their order."""
    segments = sorted((archive_of(config) / "journal").glob("*.jsonl.gz"))
    lines = (line for each in segments for line in gzip.decompress(each.read_bytes()).splitlines()[1:])
    return [json.loads(line)["fact"] for line in lines]


def assert_quiet(config: Path, there: Dovecot, new_user: str) -> None:
    """A further run sends nothing and changes nothing."""
    before = there.dump(new_user)
    there.record(new_user)
    run(config)
    words = [word for command in there.commands(new_user) for word in command.upper().split()[:2]]
    assert not {b"APPEND", b"STORE", b"CREATE", b"EXPUNGE"} & set(words)
    assert there.dump(new_user) == before


class TestOnDovecot:
    @pytest.mark.parametrize("connections", [1, 2])
    def test_the_end_is_the_same(
        self, dovecot: Dovecot, user: str, plain_dovecot: Dovecot, tmp_path: Path, sent: list[str], connections: int
    ) -> None:
        there = (dovecot, plain_dovecot)[connections - 1]
        new_user = there.fresh_user()
        config = migration(tmp_path, dovecot, user, there, new_user, destination__connections=connections)
        reported = run(config)
        assert mailbox_of(there, new_user) == mailbox_of(dovecot, user)
        facts = kinds(config)
        assert facts.index("copied") < len(facts) - facts[::-1].index("stored")
        assert len(sent) == len(set(sent)) >= 5, sent
        assert reported.balanced
        assert {each["destination"]["replayed"] for each in reported.report["folders"]} == {
            each["stored"] for each in reported.report["folders"]
        }
        assert_quiet(config, there, new_user)

    def test_messages_are_in_the_order_of_the_source(
        self, dovecot: Dovecot, user: str, tmp_path: Path, sent: list[str]
    ) -> None:
        new_user = dovecot.fresh_user()
        run(migration(tmp_path, dovecot, user, dovecot, new_user))
        here, there = dovecot.dump(user), dovecot.dump(new_user)
        for raw, folder in here.items():
            assert [each.digest for _, each in sorted(folder.messages.items())] == [
                each.digest for _, each in sorted(there[raw].messages.items())
            ]

    def test_the_connection_is_the_one_that_looked_and_the_one_that_goes_on(
        self, dovecot: Dovecot, user: str, tmp_path: Path, sent: list[str]
    ) -> None:
        new_user = dovecot.fresh_user()
        run(migration(tmp_path, dovecot, user, dovecot, new_user, destination__connections=1))
        assert len(sent) >= 5
        assert dovecot.logins(new_user) == 1

    def test_killed_at_random_moments(self, dovecot: Dovecot, user: str, tmp_path: Path) -> None:
        chance, kills = random.Random(5), 0
        expected = mailbox_of(dovecot, user)
        while kills < KILLS:
            new_user, before = dovecot.fresh_user(), kills
            config = migration(tmp_path / new_user, dovecot, user, dovecot, new_user, destination__connections=2)
            while kills < KILLS and is_killed(config, chance=chance, program=IN_STEP, within=60):
                kills += 1
            assert kills > before
            ended = to_the_end(config, program=IN_STEP)
            assert ended.exit_code == 0, ended.output
            assert mailbox_of(dovecot, new_user) == expected
            assert_quiet(config, dovecot, new_user)

    def test_stopped_by_a_signal(self, dovecot: Dovecot, user: str, tmp_path: Path) -> None:
        new_user = dovecot.fresh_user()
        config = migration(tmp_path, dovecot, user, dovecot, new_user)
        ended = to_the_end(config, program=signalled_after(25, 0, signal.SIGTERM, program=IN_STEP))
        assert ended.exit_code == 128 + signal.SIGTERM, ended.output
        assert mailbox_of(dovecot, new_user)[b"Drafts"].total() > 0
        ended = to_the_end(config, program=IN_STEP)
        assert ended.exit_code == 0, ended.output
        assert mailbox_of(dovecot, new_user) == mailbox_of(dovecot, user)

    def test_a_source_that_changes_meanwhile(
        self, dovecot: Dovecot, user: str, tmp_path: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder that was sent gets news and other flags, and one gets another name: the next run follows, as
        if it had happened between two runs."""
        new_user, send = dovecot.fresh_user(), ReplayAhead._pass

        def passed(ahead: ReplayAhead, destination: Any, job: ReplayJob) -> None:
            send(ahead, destination, job)
            if job.name == "R&D":
                dovecot.append_many(user, "R&D", [Append(mail(1), ["$late"])])
                dovecot.store_flags(user, "R&D", range(1, 4), ["$changed"])
            if job.name == "Archive":
                dovecot.rename(user, "Lists/dovecot.users", "Lists/renamed")

        monkeypatch.setattr(ReplayAhead, "_pass", passed)
        config = migration(tmp_path, dovecot, user, dovecot, new_user)
        run(config, expect=None)
        run(config)
        assert {"R&D", "Archive"} <= set(sent)
        assert mailbox_of(dovecot, new_user) == mailbox_of(dovecot, user)
        assert_quiet(config, dovecot, new_user)

    def test_a_line_of_the_source_that_is_cut(
        self,
        dovecot: Dovecot,
        user: str,
        tmp_path: Path,
        sent: list[str],
        proxy: Callable[..., FaultProxy],
    ) -> None:
        new_user = dovecot.fresh_user()
        line = proxy(dovecot.port, reset_after=150_000, once=True)
        run(migration(tmp_path, line, user, dovecot, new_user, source__connections=1))
        assert line.faults == 1
        assert sent
        assert mailbox_of(dovecot, new_user) == mailbox_of(dovecot, user)

    def test_damage_in_the_archive_is_reported(
        self, dovecot: Dovecot, user: str, tmp_path: Path, sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        new_user, send = dovecot.fresh_user(), ReplayAhead._pass
        config = migration(tmp_path, dovecot, user, dovecot, new_user)

        def passed(ahead: ReplayAhead, destination: Any, job: ReplayJob) -> None:
            if job.name == "R&D":
                damaged = next(iter((archive_of(config) / "Maildir").glob(".R&-D/cur/*")))
                damaged.write_bytes(b"Subject: another\r\n\r\n")
            send(ahead, destination, job)

        monkeypatch.setattr(ReplayAhead, "_pass", passed)
        assert "not those that were stored" in run(config, expect=6).output
        expected, there = mailbox_of(dovecot, user), mailbox_of(dovecot, new_user)
        assert sum((expected[b"R&-D"] - there[b"R&-D"]).values()) == 1
        assert {**there, b"R&-D": None} == {**expected, b"R&-D": None}

    def test_a_mailbox_in_use_is_left_alone(
        self, dovecot: Dovecot, user: str, tmp_path: Path, sent: list[str]
    ) -> None:
        """The archive is brought up to date, and nothing at the destination is touched before somebody confirms."""
        new_user = dovecot.fresh_user()
        dovecot.append_many(new_user, "INBOX", [Append(mail(number)) for number in range(1000, 1030)])
        before = dovecot.dump(new_user)
        config = migration(tmp_path, dovecot, user, dovecot, new_user)
        assert "is it somebody else's" in run(config, expect=2).output
        assert (sent, dovecot.dump(new_user)) == ([], before)


class Odd:
    """A migration to a scripted server."""

    def __init__(self, config: Path, source: ScriptedServer, there: ScriptedServer) -> None:
        self.config, self.source, self.there = config, source, there

    def run(self, expect: int = 0) -> RunResult:
        return run(self.config, expect=expect)

    @property
    def is_equal(self) -> bool:
        return scripted_mailbox(self.there) == scripted_mailbox(self.source)

    def twice(self) -> int:
        """How many messages stand there beyond those of the source."""
        here, held = (
            Counter(each.octets for folder in server.folders.values() for each in folder.messages.values())
            for server in (self.source, self.there)
        )
        return (held - here).total()

    def logins(self) -> int:
        return sum(line.upper().startswith(b"LOGIN") for line in self.there.commands)


@pytest.fixture
def odd(scripted: Callable[..., ScriptedServer], tmp_path: Path, sent: list[str]) -> Callable[..., Odd]:
    def begun(abilities: tuple[str, ...] = DESTINATION, **keys: Any) -> Odd:
        source = scripted(odd_account(20))
        there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=abilities, writable=True, users={"u2": "pw"})
        keys = {"destination__connections": 1, "source__connections": 1, **keys}
        return Odd(migration(tmp_path, source, "u1", there, "u2", **keys), source, there)

    return begun


CLOSES = tuple(word for word in DESTINATION if word != "UNSELECT")


class TestAnOddDestination:
    def test_a_refused_login_is_not_tried_twice(self, odd: Callable[..., Odd], sent: list[str]) -> None:
        """One that was accepted a moment ago, by a server whose connections cannot wait."""
        one = odd(CLOSES)
        logins = iter(range(100))
        one.there.on(
            b"LOGIN", lambda _, tag, __: tag + b" NO [AUTHENTICATIONFAILED] no\r\n" if next(logins) else None
        )
        assert "AUTHENTICATIONFAILED" in one.run(expect=5).output
        assert (one.logins(), sent) == (2, [])
        assert len(list((archive_of(one.config) / "Maildir").rglob("*.V*"))) > 100

    @pytest.mark.parametrize("times", [1, None])
    def test_one_that_is_full(self, odd: Callable[..., Odd], sent: list[str], times: int | None) -> None:
        one = odd()
        one.there.on(b"APPEND", lambda _, tag, __: tag + b" NO [OVERQUOTA] full\r\n", times=times)
        one.run(expect=3 if times is None else 0)
        assert sent
        assert one.twice() == 0
        if times is None:
            assert not scripted_mailbox(one.there)
            one.there.forget()
            one.run()
        assert one.is_equal

    def test_one_that_falls_silent(self, odd: Callable[..., Odd], sent: list[str]) -> None:
        one = odd(destination__read_timeout=0.3)
        one.there.on(b"APPEND", STALL, times=1)
        one.run()
        assert sent
        assert one.is_equal

    def test_one_that_stores_what_it_did_not_answer(self, odd: Callable[..., Odd], sent: list[str]) -> None:
        one = odd()

        def stored(_line: bytes, _tag: bytes, session: Any) -> Any:
            session.writing.store(session.appended)
            return DROP

        one.there.on(b"APPEND", stored, times=2)
        one.run()
        assert sent
        assert one.is_equal

    def test_one_that_shows_late_what_it_accepted(
        self, odd: Callable[..., Odd], sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The archive step ends meanwhile. Nothing is sent again before it is certain that it does not arrive."""
        settle_within(monkeypatch, 2.5)
        one = odd()
        hidden, leave = threading.Event(), ReplayAhead.__exit__
        late: list[threading.Timer] = []

        def hide(folder: ScriptedFolder, messages: list[Any]) -> None:
            if not hidden.is_set():
                newest = sorted(folder.messages)[-len(messages) : -1]
                kept = {uid: folder.messages.pop(uid) for uid in newest}
                late.append(threading.Timer(0.3, folder.messages.update, [kept]))
                hidden.set()

        def completed(ahead: ReplayAhead, folder: int) -> None:
            COMPLETED(ahead, folder)
            assert hidden.wait(PATIENCE)

        def left(ahead: ReplayAhead, *error: Any) -> None:
            late[0].start()
            leave(ahead, *error)

        monkeypatch.setattr(ReplayAhead, "completed", completed)
        monkeypatch.setattr(ReplayAhead, "__exit__", left)
        one.there.appending.after = hide
        one.run()
        late[0].join()
        assert one.twice() == 0
        assert one.is_equal

    def test_a_failure_of_its_own_is_as_a_kill(
        self, odd: Callable[..., Odd], sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was on its way is stored after the replay step began: it waits for that."""
        settle_within(monkeypatch, 1.5)
        one = odd(destination__read_timeout=1)
        on_its_way: list[Any] = []
        late: list[threading.Timer] = []

        def dropped(_line: bytes, _tag: bytes, session: Any) -> Any:
            on_its_way.extend(session.appended)
            late.append(threading.Timer(0.5, session.writing.store, [session.appended]))
            return DROP

        def opened(line: bytes, _tag: bytes, _session: Any) -> None:
            if late and late[0].ident is None and on_its_way[0].folder in line:
                late[0].start()

        def failed(*_: Any) -> None:
            monkeypatch.setattr(Sender, "_note_suspects", note)
            raise ValueError("something that nobody thought of")

        note = Sender._note_suspects
        monkeypatch.setattr(Sender, "_note_suspects", failed)
        one.there.on(b"APPEND", dropped, times=1)
        one.there.on(b"SELECT", opened)
        assert "replaying later: ValueError" in one.run().output
        late[0].join()
        assert one.twice() == 0
        assert one.is_equal

    def test_one_that_throttles(self, odd: Callable[..., Odd], sent: list[str]) -> None:
        one = odd()
        one.there.on(b"APPEND", lambda _, tag, __: tag + b" NO [LIMIT] slow down\r\n", times=1)
        one.run()
        assert sent
        assert one.is_equal

    def test_a_refused_message_is_tried_once_in_a_run(self, odd: Callable[..., Odd], sent: list[str]) -> None:
        one = odd()
        letter = next(iter(one.source.folders[b"Sent"].messages.values())).octets
        tries = []

        def answer(_line: bytes, tag: bytes, session: Any) -> bytes | None:
            if not any(each.octets == letter for each in session.appended):
                return None
            tries.append(len(session.appended))
            return tag + b" NO [CANNOT] not this one\r\n"

        one.there.on(b"APPEND", answer)
        one.run(expect=3)
        assert sent
        alone, before = tries.count(1), len(tries)
        one.run(expect=3)
        assert (alone, len(tries) - before) == (tries[before:].count(1), alone)
        assert one.twice() == 0


def _listed(raw: bytes, messages: int, uidnext: int | None, uidvalidity: int = 7) -> Listed:
    return Listed(Folder(raw, (raw.decode(),), "/"), FolderStatus(uidvalidity, uidnext, messages))


@pytest.mark.parametrize(
    ("there", "begins"),
    [
        ([_listed(b"INBOX", 0, 1)], True),
        ([_listed(b"INBOX", 2, 3)], True),
        ([_listed(b"INBOX", 2, 3), _listed(b"Spam", 3, 4)], True),
        ([_listed(b"INBOX", 2, 3), _listed(b"Spam", 4, 5)], False),
        ([_listed(b"INBOX", 1, 8)], False),  # of which six are gone
        ([_listed(b"INBOX", 0, 8)], False),
        ([_listed(b"INBOX", 0, None)], False),
        ([Listed(_listed(b"INBOX", 0, 1).folder)], False),
        ([_listed(b"INBOX", 2, 3, uidvalidity=5)], False),  # that of the source's
        ([_listed(b"INBOX", 0, 1, uidvalidity=5)], True),
    ],
)
def test_only_a_mailbox_that_is_nobodys_for_certain(there: list[Listed], begins: bool) -> None:
    """Nothing else that the archive is going to hold may change the answer."""
    source = [_listed(b"INBOX", 500, 501, uidvalidity=5)]
    assert may_begin(DestinationFolders(there), source) is begins


def test_nobody_knows_what_a_source_without_statuses_has() -> None:
    source, there = [Listed(_listed(b"INBOX", 1, 2).folder)], [_listed(b"INBOX", 1, 2)]
    assert not may_begin(DestinationFolders(there), source)
