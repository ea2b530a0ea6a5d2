"""kill -9 and cut lines while messages are removed from the source: the next attempt finds out what was done,
nothing else is removed, and no copy of what is gone by our doing is ever deleted at the destination."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.imap.session import Session
from archiver.journal.recorder import Recorder
from archiver.upkeep import prune
from archiver.upkeep.pruned_list import PrunedList
from pipelines.cli.main import invoke
from pipelines.stop import STOP
from tests.accounts import CATALOG, account_file, archive_of, assert_whole, mail, run
from tests.faults.attempts import is_killed, signalled_after, to_the_end
from tests.faults.replays import destination, mailbox_of
from tests.servers.faultproxy import FaultProxy
from tests.servers.mail_server import MailServer
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.wire import Append

OLD = "05-Mar-2021 10:00:00 +0200"
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).strftime("%d-%b-%Y 10:00:00 +0000")
ALL = ("--older-than", "365d", "--confirm", "--confirm-deletions")
OLD_ONES = range(40)

_SMALL = """
from archiver.upkeep import prune
from pipelines.cli.main import main
assert prune._TOGETHER == 500
prune._TOGETHER = 5
main()
"""
SMALL = ("-c", _SMALL)
"""The program, with a hundred times as many moments at which something is removed."""


@pytest.fixture(params=["dovecot", "cyrus", "courier"])
def server(request: pytest.FixtureRequest) -> MailServer:
    found: MailServer = request.getfixturevalue(request.param)
    return found


def filled(server: MailServer, user: str) -> None:
    """Forty old messages, one of them marked by its user; a new one, and a new one that is marked."""
    some = [Append(mail(n), ("\\Deleted",) if n == 7 else (), OLD) for n in OLD_ONES]
    new = [Append(mail(n), flags, YESTERDAY) for n, flags in ((100, ()), (101, ("\\Deleted",)))]
    server.append_many(user, "INBOX", [*some, *new])


def pruned(config: Path) -> tuple[int, int]:
    """How many messages were begun, and how many are known to be gone."""
    with closing(sqlite3.connect(archive_of(config) / CATALOG)) as catalog:
        found: tuple[int, int] = catalog.execute("SELECT count(*), count(pruned_at) FROM prune").fetchone()
    return found


def listed(config: Path) -> set[int]:
    """What all lists together name."""
    files = (archive_of(config) / "pruned").glob("*.jsonl")
    return {json.loads(line)["uid"] for file in files for line in file.read_text().splitlines()}


def test_killed_at_random_moments(server: MailServer, dovecot: MailServer, tmp_path: Path) -> None:
    """With a destination that mirrors deletions; sometimes a run comes before the next attempt."""
    chance, user, there = random.Random(5), server.fresh_user(), dovecot.fresh_user()
    filled(server, user)
    keys = destination(tmp_path, dovecot, there)
    config = account_file(tmp_path, server, user, **keys, archive__durability="batch", replay__vanished="expunge")
    run(config)
    copies, kills = mailbox_of(dovecot, there), 0
    stopped = signalled_after(3, 0.02, signal.SIGTERM, program=SMALL)
    ended = to_the_end(config, program=stopped, verb="prune", options=ALL)
    assert ended.exit_code == 128 + signal.SIGTERM, ended.output
    for _ in range(6):
        kills += is_killed(config, chance=chance, program=SMALL, verb="prune", options=ALL, group=True, within=6)
        if chance.random() < 0.4:
            assert run(config, confirm_deletions=True).total("vanished") == (0,)
    assert kills > 1
    ended = to_the_end(config, program=SMALL, verb="prune", options=ALL)
    assert ended.exit_code == 0, ended.output
    assert pruned(config) == (40, 40)
    assert len(listed(config)) == 40
    assert len(server.dump(user)[b"INBOX"].messages) == 2
    for _ in range(3):
        assert run(config, confirm_deletions=True).total("vanished", "stored") == (0, 2)
    assert mailbox_of(dovecot, there) == copies
    assert invoke(["verify", str(config), "--deep"]) == 0
    assert len(assert_whole(archive_of(config)).uids(present=False)) == 40


@pytest.mark.parametrize("direction", ["up", "down"])
def test_cut_again_and_again(
    server: MailServer,
    proxy: Callable[..., FaultProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    direction: str,
) -> None:
    monkeypatch.setattr(prune, "_TOGETHER", 5)
    monkeypatch.setattr(STOP, "pause", lambda _: STOP.check())
    chance, user = random.Random(direction), server.fresh_user()
    filled(server, user)
    config = account_file(tmp_path, server, user, archive__durability="batch")
    run(config)
    codes = []
    for _ in range(8):
        # A login takes some 1.5 kB down and 0.2 kB up, a batch some 0.8 kB down and 0.3 kB up.
        octets = chance.randrange(250, 900) if direction == "up" else chance.randrange(1500, 4000)
        through = proxy(server.port, direction=direction, reset_after=octets)
        account_file(tmp_path, through, user, archive__durability="batch", source__attempts=1)
        codes.append(invoke(["prune", str(config), *ALL]))
    assert set(codes) <= {0, 5}
    assert codes.count(5) >= 2
    account_file(tmp_path, server, user, archive__durability="batch")
    assert invoke(["prune", str(config), *ALL]) == 0
    assert len(server.dump(user)[b"INBOX"].messages) == 2
    assert (pruned(config), len(listed(config))) == ((40, 40), 40)
    assert run(config).total("vanished", "stored") == (0, 2)


def killed_at(moment: int) -> None:
    """Have this process killed when it has come to that many moments: just before or after something is sent, or
    becomes lasting."""
    left = moment

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            pass_by()
            result = function(*arguments, **options)
            pass_by()
            return result

        def pass_by() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    for cls, name in ((Session, "flight"), (Recorder, "write"), (PrunedList, "add")):
        setattr(cls, name, counted(getattr(cls, name)))


class TestEachMoment:
    def test_leads_to_the_same_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two batches of three messages; 7 is new, and marked by its user, as is 2. Every other time a run comes
        before the next attempt."""
        monkeypatch.setattr(prune, "_TOGETHER", 3)
        with served() as (server, _):
            run(account_file(tmp_path / "before", server, "u1", archive__durability="batch"))
        moment = 0
        while not self.killed_and_again(tmp_path, moment):
            moment += 1
        assert moment > 30

    def killed_and_again(self, tmp_path: Path, moment: int) -> bool:
        """Whether it came to its end before that moment."""
        directory = tmp_path / str(moment)
        shutil.copytree(tmp_path / "before", directory)
        with served() as (server, inbox):
            config = account_file(directory, server, "u1", archive__durability="batch")
            if (pid := os.fork()) == 0:
                killed_at(moment)
                os._exit(invoke(["prune", str(config), *ALL]))
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code in (0, -signal.SIGKILL)
            if moment % 2:
                assert run(config).total("vanished") == (0,)
            assert invoke(["prune", str(config), *ALL]) == 0
            assert {uid: each.flags for uid, each in inbox.messages.items()} == {7: ("\\Deleted",)}
            assert pruned(config) == (6, 6)
            assert listed(config) == set(range(1, 7))
            if moment % 5 == 0:
                assert run(config).total("vanished", "stored") == (0, 1)
        return code == 0


@contextmanager
def served() -> Iterator[tuple[ScriptedServer, ScriptedFolder]]:
    """Six old messages, and a new one."""
    flags = {2: ("\\Deleted",), 7: ("\\Deleted",)}
    inbox = ScriptedFolder(
        7, {n: ScriptedMessage(mail(n), flags.get(n, ()), OLD if n < 7 else YESTERDAY) for n in range(1, 8)}
    )
    with ScriptedServer({b"INBOX": inbox}, capabilities=DESTINATION, writable=True) as server:
        yield server, inbox
