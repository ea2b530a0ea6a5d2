"""Connections to a destination cut at any octet: the replay goes on by itself, and every message arrives once."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from archiver.replay import sync_folder
from archiver.replay.send import flags, prepare
from pipelines.stop import STOP
from tests.accounts import run
from tests.faults.attempts import wait_for
from tests.faults.replays import Archived, Mailbox, archived, mailbox_of, odd_account, settle_within
from tests.servers.faultproxy import Direction, FaultProxy
from tests.servers.mail_server import MailServer

Proxy = Callable[..., FaultProxy]

CUTS = (("reset", "down"), ("close", "up"), ("stall", "down"))
SERVERS = ("dovecot", "plain_dovecot", "courier")
SETTLE = 0.2
IMPATIENT = {
    "destination__read_timeout": 0.4,
    "destination__connect_timeout": 2.0,
    "destination__attempts": 6,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small groups and short pauses."""
    monkeypatch.setattr(prepare, "GROUP_MESSAGES", 4)
    monkeypatch.setattr(sync_folder, "BATCH_MESSAGES", 10)
    monkeypatch.setattr(flags, "BATCH_MESSAGES", 10)
    settle_within(monkeypatch, SETTLE)
    pause = STOP.pause
    monkeypatch.setattr(STOP, "pause", lambda seconds: pause(seconds if seconds <= SETTLE else 0.05))


@dataclass(frozen=True)
class Undisturbed:
    """A server, an archive for it, what the server holds after a replay, and the octets of that replay."""

    server: MailServer
    archive: Archived
    expected: Mailbox
    record: dict[Direction, bytes]


@pytest.fixture(scope="module", params=SERVERS)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    server: MailServer = request.getfixturevalue(request.param)
    directory, new_user = tmp_path_factory.mktemp("undisturbed"), server.fresh_user()
    archive = archived(directory, odd_account(8))
    with FaultProxy((server.host, server.port), keep=True) as through, pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "GROUP_MESSAGES", 4)
        patch.setattr(sync_folder, "BATCH_MESSAGES", 10)
        patch.setattr(flags, "BATCH_MESSAGES", 10)
        run(archive.config(directory / "to", through, new_user, destination__connections=1), steps="replay")
        record = {way: bytes(octets) for way, octets in through.record.items()}
    return Undisturbed(server, archive, mailbox_of(server, new_user), record)


def replayed(there: Undisturbed, through: FaultProxy, directory: Path, **keys: object) -> Path:
    """Replay over a line that is cut; all of it is there once."""
    new_user = there.server.fresh_user()
    config = there.archive.config(directory, through, new_user, **IMPATIENT, **keys)
    run(config, steps="replay")
    assert mailbox_of(there.server, new_user) == there.expected
    return config


@pytest.mark.parametrize(("kind", "direction"), CUTS)
def test_cut_again_and_again_at_random_octets(
    undisturbed: Undisturbed, proxy: Proxy, tmp_path: Path, kind: str, direction: Direction
) -> None:
    """Five connections in one replay get some way, then it is over."""
    chance, most = random.Random(f"{kind}-{direction}"), len(undisturbed.record[direction])
    connections = 1 + chance.randrange(2)
    octets = [chance.randrange(most // 4 // connections) for _ in range(5)]
    through = proxy(undisturbed.server.port, direction=direction, once=True, then=octets[1:])
    setattr(through, f"{kind}_after", octets[0])
    replayed(undisturbed, through, tmp_path, destination__connections=connections)
    assert through.faults >= 4


@pytest.mark.parametrize(("kind", "direction"), [("reset", "down"), ("close", "down"), ("close", "up")])
def test_cut_between_the_last_octet_of_a_message_and_its_ok(
    undisturbed: Undisturbed, proxy: Proxy, tmp_path: Path, kind: str, direction: Direction
) -> None:
    """The server took it, and nothing shows that."""
    record = undisturbed.record[direction]
    if direction == "down":
        found = re.finditer(rb"A\d+ OK (?:\[APPENDUID [^]]*\] )?(?:APPEND|Completed)", record, re.IGNORECASE)
    else:
        found = re.finditer(rb"A\d+ \S+", record)
    ends = [each.start() for each in found]
    chance = random.Random(f"{kind}-{direction}")
    after = chance.choice(ends[len(ends) // 3 : -len(ends) // 3]) + chance.choice([-2, 0, 0, 1, 4])
    through = proxy(undisturbed.server.port, direction=direction, once=True, **{f"{kind}_after": after})
    replayed(undisturbed, through, tmp_path, destination__connections=1)
    assert through.faults == 1


@pytest.mark.parametrize(("direction", "octets"), [("down", 20_000), ("up", 12_000)])
def test_every_connection_ends_early(
    undisturbed: Undisturbed, proxy: Proxy, tmp_path: Path, direction: Direction, octets: int
) -> None:
    """Each gets a little further, so that attempts are no limit."""
    through = proxy(undisturbed.server.port, direction=direction, reset_after=octets)
    replayed(undisturbed, through, tmp_path, destination__connections=1)
    assert through.faults >= len(undisturbed.record[direction]) // octets - 1


def test_all_connections_are_dropped_at_once(undisturbed: Undisturbed, proxy: Proxy, tmp_path: Path) -> None:
    through = proxy(undisturbed.server.port, latency=0.001)
    over = threading.Event()

    def drop_when(passed: int) -> None:
        wait_for(lambda: through.octets["up"] > passed or over.is_set(), "octets to pass")
        through.drop_all()

    def drop() -> None:
        for share in (4, 3, 2):
            drop_when(len(undisturbed.record["up"]) // share)

    dropper = threading.Thread(target=drop)
    dropper.start()
    try:
        replayed(undisturbed, through, tmp_path, destination__connections=2)
    finally:
        over.set()
        dropper.join()
    assert through.connections >= 4


def test_a_server_that_dies_and_lives_again(undisturbed: Undisturbed, proxy: Proxy, tmp_path: Path) -> None:
    """What is known to be there is not sent again in the next night."""
    new_user = undisturbed.server.fresh_user()
    through = proxy(undisturbed.server.port, direction="up", close_after=len(undisturbed.record["up"]) // 2)
    keys = {**IMPATIENT, "destination__attempts": 2, "destination__connections": 1}
    config = undisturbed.archive.config(tmp_path, through, new_user, **keys)
    undertaker = threading.Thread(target=_refuse_after_the_first_fault, args=[through])
    undertaker.start()
    reported = run(config, steps="replay", expect=5)
    undertaker.join()
    assert reported.report["status"] == "failed"
    assert any(mailbox_of(undisturbed.server, new_user).values())
    through.refuse = False
    through.close_after = None
    run(config, steps="replay")
    assert mailbox_of(undisturbed.server, new_user) == undisturbed.expected


def _refuse_after_the_first_fault(through: FaultProxy) -> None:
    wait_for(lambda: through.faults > 0, "the fault")
    through.refuse = True
