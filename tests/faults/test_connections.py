"""Connections reset, closed and stalled at random octets: the run goes on, and holds the same archive at last."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.accounts import ArchiveState, account_file, archive_of, assert_whole, mails, run
from tests.faults.attempts import wait_for
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import Direction, FaultProxy
from tests.servers.mailbox_generator import SMALL_FOLDERS, Shape, generate
from tests.servers.wire import Append

Proxy = Callable[..., FaultProxy]

SHAPE = Shape(150, 1500, 1.0, SMALL_FOLDERS, 20_000)
IMPATIENT = {"source__read_timeout": 0.4, "source__connect_timeout": 2.0, "source__attempts": 4}
KINDS = ("reset", "close", "stall")
_LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000


@dataclass(frozen=True)
class Served:
    """A user's mail before and after an increment, what an undisturbed archive holds then, and the octets of it."""

    user: str
    snapshots: tuple[Path, Path]
    expected: tuple[ArchiveState, ArchiveState]
    octets: tuple[dict[Direction, int], dict[Direction, int]]


@pytest.fixture(scope="module")
def served(dovecot: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A small account, and the same with an increment."""
    directory, user = tmp_path_factory.mktemp("undisturbed"), dovecot.fresh_user()
    dovecot.install(user, generate(directory / "account", SHAPE).home)
    snapshots, expected, octets = [], [], []
    with FaultProxy((dovecot.host, dovecot.port)) as through:
        config = account_file(directory, through, user)
        for increment in (False, True):
            if increment:
                _increment(dovecot, user)
            snapshots.append(dovecot.snapshot(user))
            before = dict(through.octets)
            run(config)
            octets.append({way: through.octets[way] - before[way] for way in ("down", "up")})
            expected.append(assert_whole(archive_of(config)))
    return Served(user, tuple(snapshots), tuple(expected), tuple(octets))


def _increment(server: Dovecot, user: str) -> None:
    news = [Append(b"Subject: %d\r\n\r\n" % number + b"news\r\n" * number, ["$new"]) for number in range(30)]
    for folder in ("INBOX", "R&D"):
        server.append_many(user, folder, news)
    server.store_flags(user, "Sent", range(1, 40), ["\\Seen"], mode="-")
    server.expunge(user, "INBOX", range(10, 30))
    server.bump_uidvalidity(user, "Archive")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["down", "up"])
def test_one_fault_at_a_random_octet(
    dovecot: Dovecot, served: Served, proxy: Proxy, tmp_path: Path, kind: str, direction: Direction
) -> None:
    """Initial archive and increment, each hit once, several times over."""
    chance = random.Random(f"{kind}-{direction}")
    for number in range(3):
        through = proxy(dovecot.port, direction=direction, once=True)
        config = account_file(tmp_path / str(number), through, served.user, **IMPATIENT)
        for snapshot, expected, octets in zip(served.snapshots, served.expected, served.octets, strict=True):
            dovecot.restore(served.user, snapshot)
            setattr(through, f"{kind}_after", chance.randrange(octets[direction] // 2))
            run(config)
            assert assert_whole(archive_of(config)) == expected
            through.drop_all()  # a stalled proxy would keep its session at the server


def test_every_connection_ends_early(dovecot: Dovecot, served: Served, proxy: Proxy, tmp_path: Path) -> None:
    """Each one gets a little further, so that attempts are no limit."""
    dovecot.restore(served.user, served.snapshots[0])
    through = proxy(dovecot.port, reset_after=40_000)
    config = account_file(tmp_path, through, served.user, **IMPATIENT)
    run(config)
    assert assert_whole(archive_of(config)) == served.expected[0]
    assert through.faults >= served.octets[0]["down"] // 40_000 - 1


@pytest.mark.parametrize("kind", KINDS)
def test_faults_within_tls(dovecot: Dovecot, served: Served, proxy: Proxy, tmp_path: Path, kind: str) -> None:
    dovecot.restore(served.user, served.snapshots[0])
    for number, after in enumerate((0, 50, 1000, 3000, 40_000)):
        through = proxy(dovecot.tls_port, once=True, **{f"{kind}_after": after})
        tls = {"source__tls": "implicit", "source__ca_file": str(dovecot.ca), "source__host": "localhost"}
        config = account_file(tmp_path / str(number), through, served.user, **tls, **IMPATIENT)
        run(config)
        assert through.faults == 1
        assert assert_whole(archive_of(config)) == served.expected[0]


def test_all_connections_dropped_at_once(dovecot: Dovecot, served: Served, proxy: Proxy, tmp_path: Path) -> None:
    """While both are at work: what one had asked for is not lost with the other."""
    dovecot.restore(served.user, served.snapshots[0])
    through = proxy(dovecot.port, slice=4096, latency=0.002)
    config = account_file(tmp_path, through, served.user, source__connections=2, **IMPATIENT)
    through.close_after = served.octets[0]["down"] // 3
    through.once = True
    run(config)
    assert assert_whole(archive_of(config)) == served.expected[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_at_which_it_always_breaks(
    dovecot: Dovecot, mail_user: str, proxy: Proxy, tmp_path: Path, kind: str
) -> None:
    """It is set aside and listed, the others come; when the line is better it comes too."""
    small = [Append(b"Subject: %d\r\n\r\nsmall\r\n" % number) for number in range(20)]
    dovecot.append_many(mail_user, "INBOX", [*small[:10], Append(_LARGE), *small[10:]])
    through = proxy(dovecot.port, **{f"{kind}_after": len(_LARGE) // 2})
    config = account_file(tmp_path, through, mail_user, **IMPATIENT)
    reported = run(config, expect=3)
    assert reported.total("on_server", "stored", "quarantined") == (21, 20, 1)
    (failure,) = reported.report["failures"]
    assert (failure["folder"], failure["uid"]) == ("INBOX", 11)
    setattr(through, f"{kind}_after", None)
    assert run(config).total("fetched", "quarantined") == (1, 0)
    assert len(assert_whole(archive_of(config)).uids()) == 21


@pytest.mark.parametrize(("fault", "attempts"), [("refuse", 3), ("stall_after", 2), ("close_after", 3)])
def test_a_server_that_is_dead_for_good(
    dovecot: Dovecot, served: Served, proxy: Proxy, tmp_path: Path, fault: str, attempts: int
) -> None:
    """As many attempts as were configured, then exit code 5 with one line."""
    through = proxy(dovecot.port, **{fault: fault == "refuse"})
    keys = {"source__read_timeout": 0.3, "source__connect_timeout": 0.3, "source__attempts": attempts}
    config = account_file(tmp_path, through, served.user, **keys)
    reported = run(config, expect=5)
    assert through.connections == attempts
    assert (reported.report["status"], reported.report["exit_code"]) == ("failed", 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_dies_in_the_middle(
    dovecot: Dovecot, served: Served, proxy: Proxy, tmp_path: Path, kind: str
) -> None:
    """What came before is kept, and is not fetched again when the server lives again."""
    dovecot.restore(served.user, served.snapshots[0])
    through = proxy(dovecot.port)
    config = account_file(tmp_path, through, served.user, **IMPATIENT | {"source__attempts": 2})
    setattr(through, f"{kind}_after", served.octets[0]["down"] // 2)
    undertaker = threading.Thread(target=_refuse_after_the_first_fault, args=[through])
    undertaker.start()
    reported = run(config, expect=5)
    undertaker.join()
    held = len(assert_whole(archive_of(config)).messages)
    assert 0 < held < len(served.expected[0].messages)
    assert reported.report["status"] == "failed"
    through.refuse = False
    setattr(through, f"{kind}_after", None)
    again = run(config)
    assert again.total("fetched") == (len(served.expected[0].messages) - held,)
    assert assert_whole(archive_of(config)) == served.expected[0]


def _refuse_after_the_first_fault(through: FaultProxy) -> None:
    wait_for(lambda: through.faults > 0, "the fault")
    through.refuse = True


def test_a_server_that_allows_one_connection_gets_one(dovecot_with: Callable[..., Dovecot], tmp_path: Path) -> None:
    """The second connection is refused; the first one does all the work."""
    server = dovecot_with(extra="protocol imap {\n  mail_max_userip_connections = 1\n}\n")
    user = server.fresh_user()
    server.append_many(user, "INBOX", mails(range(1, 700)))
    server.wait_idle(user)
    config = account_file(tmp_path, server, user, source__connections=4, source__attempts=5)
    result = run(config)
    assert result.total("stored", "fetched") == (699, 699)
    assert "going on with one connection less" in result.output
