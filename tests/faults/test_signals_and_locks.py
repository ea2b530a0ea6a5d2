"""A signal ends a run in good order, also while a server keeps it waiting; two simultaneous runs are kept apart."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, report
from tests.faults.attempts import SMALL_BATCHES, Attempt, Ended, is_locked, to_the_end, wait_for
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.wire import Append

Proxy = Callable[..., FaultProxy]
SIGNALS = [signal.SIGINT, signal.SIGTERM]
A_FEW_SECONDS = 5.0

MAIL = [Append(b"Subject: %d\r\n\r\n" % number + b"0123456789abcdef\r\n" * 200) for number in range(100)]
OCTETS = sum(len(message.octets) for message in MAIL)


@pytest.fixture
def user(dovecot: Dovecot, mail_user: str) -> str:
    """Has a hundred messages in INBOX."""
    dovecot.append_many(mail_user, "INBOX", MAIL)
    return mail_user


def config_through(proxy: FaultProxy, dovecot: Dovecot, user: str, directory: Path, tls: str) -> Path:
    """The account, reached through the proxy, with the patience a user would have by default."""
    keys = {"source__host": "localhost", "source__tls": tls}
    if tls != "off":
        keys["source__ca_file"] = str(dovecot.ca)
    return account_file(directory, proxy, user, **keys)


def signalled(attempt: Attempt, number: int) -> tuple[Ended, float]:
    """Send the signal; how it ended and after how many seconds."""
    began = time.monotonic()
    attempt.signal(number)
    return attempt.end(), time.monotonic() - began


@pytest.mark.parametrize(
    ("number", "tls", "after"),
    [
        (signal.SIGTERM, "off", 0),  # connected, no greeting
        (signal.SIGINT, "implicit", 100),  # TLS half begun
        (signal.SIGTERM, "starttls", 300),
        (signal.SIGINT, "implicit", 3000),  # about the list of folders
        (signal.SIGTERM, "implicit", OCTETS // 2),
        (signal.SIGINT, "off", OCTETS // 2),
    ],
)
def test_a_stalled_server_does_not_hold_up_the_end(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path, number: signal.Signals, tls: str, after: int
) -> None:
    through = proxy(dovecot.tls_port if tls == "implicit" else dovecot.port, stall_after=after)
    config = config_through(through, dovecot, user, tmp_path, tls)
    attempt = Attempt(config)
    wait_for(lambda: through.faults > 0, "the stall")
    ended, seconds = signalled(attempt, number)
    assert ended.exit_code == 128 + number, ended.output
    assert seconds < A_FEW_SECONDS
    assert "Traceback" not in ended.output
    assert ended.stderr.count("run again to resume") == 1
    reported = report(archive_of(config))
    assert (reported["status"], reported["exit_code"]) == ("failed", 128 + number)

    through.stall_after = None
    assert to_the_end(config).exit_code == 0
    assert len(assert_whole(archive_of(config)).uids()) == len(MAIL)


def test_what_was_complete_is_recorded(dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path) -> None:
    """Half of the messages are here when the server falls silent. The next run fetches the others."""
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    config = config_through(through, dovecot, user, tmp_path, "off")
    attempt = Attempt(config)
    wait_for(lambda: through.faults > 0, "the stall")
    wait_for(lambda: all(attempt.is_idle() for _ in range(20)), "it to have taken what came before")
    signalled(attempt, signal.SIGTERM)
    held = len(assert_whole(archive_of(config)).uids())
    assert 40 <= held < 60
    through.stall_after = None
    assert to_the_end(config).exit_code == 0
    assert report(archive_of(config))["totals"]["fetched"] == len(MAIL) - held


def test_two_connections_stalled(dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path) -> None:
    """The second one is another thread, which no signal wakes."""
    folders = [f"Folder {number}" for number in range(4)]
    dovecot.create(user, *folders)
    for folder in folders:
        dovecot.append_many(user, folder, MAIL)
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    config = account_file(tmp_path, through, user, source__connections=2)
    attempt = Attempt(config, program=SMALL_BATCHES)
    wait_for(lambda: through.faults > 1, "two stalls")
    ended, seconds = signalled(attempt, signal.SIGINT)
    assert (ended.exit_code, seconds < A_FEW_SECONDS) == (130, True), ended.output
    through.stall_after = None
    assert to_the_end(config).exit_code == 0
    assert len(assert_whole(archive_of(config)).messages) == 5 * len(MAIL)


def test_a_signal_that_the_main_thread_does_not_see(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path
) -> None:
    """One that comes just before it waits for the server is not seen until it has waited; nor is one that the
    system gives to another thread."""
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    config = config_through(through, dovecot, user, tmp_path, "off")
    attempt = Attempt(config, program=("-c", _ANOTHER_THREAD_GETS_SIGNALS))
    wait_for(lambda: through.faults > 0, "a stall")
    ended, seconds = signalled(attempt, signal.SIGINT)
    assert (ended.exit_code, seconds < A_FEW_SECONDS) == (130, True), ended.output


_ANOTHER_THREAD_GETS_SIGNALS = """
import signal, threading, time
from pipelines.cli.main import main
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
main()
"""


def test_a_host_that_does_not_answer_at_all(tmp_path: Path) -> None:
    """The connection is still being made: its queue at the server is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        config = account_file(tmp_path, _Port(port), "u1")
        attempt = Attempt(config).begun()
        assert not attempt.ends_within(1.0)
        ended, seconds = signalled(attempt, signal.SIGTERM)
        for filler in fillers:
            filler.close()
    assert (ended.exit_code, seconds < A_FEW_SECONDS) == (143, True), ended.output


class _Port:
    host = "127.0.0.1"

    def __init__(self, port: int) -> None:
        self.port = port


def test_while_it_waits_for_another_attempt(proxy: Proxy, dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    through = proxy(dovecot.port, refuse=True)
    config = account_file(tmp_path, through, user, source__attempts=100)
    attempt = Attempt(config)
    wait_for(lambda: through.connections >= 3, "three attempts")  # the next one is seconds away
    ended, seconds = signalled(attempt, signal.SIGTERM)
    assert (ended.exit_code, seconds < A_FEW_SECONDS) == (143, True), ended.output


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("terminal", [False, True], ids=["to the parent alone", "to the whole group"])
def test_forked_workers_end_too(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path, number: signal.Signals, terminal: bool
) -> None:
    """A terminal sends ^C to all processes in the foreground, `kill` to one."""
    other = dovecot.fresh_user()
    dovecot.append_many(other, "INBOX", MAIL)
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    configs = [config_through(through, dovecot, name, tmp_path / name, "off") for name in (user, other)]
    attempt = Attempt(*configs, options=["--workers", "2"])
    wait_for(lambda: through.faults > 1, "two stalls")
    began = time.monotonic()
    if terminal:
        os.killpg(attempt.pid, number)
    else:
        attempt.signal(number)
    ended = attempt.end()
    assert (ended.exit_code, time.monotonic() - began < A_FEW_SECONDS) == (128 + number, True), ended.output
    assert [report(archive_of(config))["exit_code"] for config in configs] == [128 + number] * 2
    through.stall_after = None
    assert to_the_end(*configs, options=["--workers", "2"]).exit_code == 0
    for config in configs:
        assert len(assert_whole(archive_of(config)).uids()) == len(MAIL)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_accounts_without_news_that_wait_for_their_servers_side_by_side(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path, number: signal.Signals
) -> None:
    through = proxy(dovecot.port)
    names = ("one", "two", "three")
    configs = [account_file(tmp_path / name, through, user, name=name) for name in names]
    assert to_the_end(*configs).exit_code == 0
    through.stall_after = 300  # within the list of folders
    attempt = Attempt(*configs, options=["--workers", "2"])
    wait_for(lambda: through.faults > 1, "two stalls")
    assert [is_locked(archive_of(config)) for config in configs] == [True, True, False]
    ended, seconds = signalled(attempt, number)
    assert (ended.exit_code, seconds < A_FEW_SECONDS) == (128 + number, True), ended.output
    assert [report(archive_of(config))["exit_code"] for config in configs] == [128 + number] * 2 + [0]
    assert "Traceback" not in ended.output

    killed = Attempt(*configs, options=["--workers", "2"])
    wait_for(lambda: through.faults > 3, "two stalls again")
    killed.kill(group=True)
    through.stall_after = None
    assert to_the_end(*configs).exit_code == 0
    assert [report(archive_of(config))["totals"]["stored"] for config in configs] == [len(MAIL)] * 3


def test_a_second_signal_kills(dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path) -> None:
    """Its password command hangs, and nothing but the kernel can end that; the lock is free afterwards."""
    config = account_file(tmp_path, dovecot, user, source__password={"command": ["sleep", "30"]})
    attempt = Attempt(config).begun()
    assert not attempt.ends_within(0.5)
    attempt.signal(signal.SIGTERM)
    assert not attempt.ends_within(0.5)
    attempt.signal(signal.SIGTERM)
    assert attempt.ends_within(A_FEW_SECONDS)
    assert not is_locked(archive_of(config))
    attempt.kill(group=True)


def test_the_second_of_two_runs_says_who_holds_the_lock(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path
) -> None:
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    config = config_through(through, dovecot, user, tmp_path, "off")
    first = Attempt(config)
    wait_for(lambda: through.faults > 0, "the stall")
    second = to_the_end(config)
    assert second.exit_code == 7, second.output
    (line,) = [line for line in second.stderr.splitlines() if "another run holds the lock" in line]
    for word in (f"pid {first.pid}", "run ", "host ", "since ", "; wait for it to end, or stop it"):
        assert word in line
    assert "Traceback" not in second.output

    ended, _ = signalled(first, signal.SIGTERM)
    assert ended.exit_code == 143
    through.stall_after = None
    assert to_the_end(config).exit_code == 0
    assert len(assert_whole(archive_of(config)).uids()) == len(MAIL)


def test_an_account_is_free_when_it_is_done_though_others_of_the_run_are_not(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path
) -> None:
    """Workers that were forked while its lock was held do not keep it."""
    through, quick = proxy(dovecot.port, stall_after=OCTETS // 2), dovecot.fresh_user()
    slow = config_through(through, dovecot, user, tmp_path / user, "off")
    config = account_file(tmp_path / quick, dovecot, quick)
    both = Attempt(slow, config, options=["--workers", "2"])
    wait_for(lambda: through.faults > 0, "the stall")
    wait_for(lambda: any((archive_of(config) / "runs").glob("*/report.json")), "the end of the other account")
    wait_for(lambda: not is_locked(archive_of(config)), "its lock", seconds=5)
    assert is_locked(archive_of(slow))
    ended, _ = signalled(both, signal.SIGTERM)
    assert ended.exit_code == 143


@pytest.mark.parametrize("workers", [1, 2])
def test_accounts_that_have_not_begun_are_free(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path, workers: int
) -> None:
    """All workers are busy with slow accounts. Another command works on the next one; what another process holds
    when its turn comes is refused, and the others go on."""
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    slow = [account_file(tmp_path / name, through, user, name=name) for name in ("slow", "slower")[:workers]]
    users = {name: dovecot.fresh_user() for name in ("free", "taken", "new")}
    waiting = [account_file(tmp_path / name, dovecot, user, name=name) for name, user in users.items()]
    free, taken, new = waiting
    assert to_the_end(free, taken).exit_code == 0
    for name in ("free", "taken"):  # without news they would be done at once
        dovecot.append_many(users[name], "INBOX", MAIL[:1])

    run = Attempt(*slow, *waiting, options=["--workers", str(workers), "--json"])
    wait_for(lambda: through.faults == workers, "the stalls")
    assert [is_locked(archive_of(config)) for config in (*slow, *waiting)] == [True] * workers + [False] * 3
    assert to_the_end(free, verb="verify").exit_code == 0
    assert not (archive_of(new) / "catalog.sqlite").exists()
    with (archive_of(taken) / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        through.stall_after = None
        through.drop_all()
        ended = run.end()

    outcomes = {each["account"]: each["exit_code"] for each in json.loads(ended.stdout)["accounts"]}
    assert list(outcomes.values()) == [0] * workers + [0, 7, 0], ended.output
    assert ended.stderr.count("another run holds the lock") == 1
    for config in (*slow, free, new):
        assert_whole(archive_of(config))


def test_an_account_is_free_when_it_was_refused_though_others_of_the_run_go_on(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path
) -> None:
    """A refused account has no report."""
    config = account_file(tmp_path / "other", dovecot, dovecot.fresh_user(), name="other")
    assert to_the_end(config).exit_code == 0
    account_file(tmp_path / "other", dovecot, dovecot.fresh_user(), name="other")  # now it names another user
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    slow = config_through(through, dovecot, user, tmp_path / user, "off")
    both = Attempt(config, slow)
    wait_for(lambda: through.faults > 0, "the stall")
    assert (is_locked(archive_of(config)), is_locked(archive_of(slow))) == (False, True)
    ended, _ = signalled(both, signal.SIGTERM)
    assert ended.exit_code == 143
    assert "belongs to account" in ended.stderr


def test_an_account_is_free_when_its_worker_was_killed_though_others_of_the_run_go_on(
    dovecot: Dovecot, user: str, proxy: Proxy, tmp_path: Path
) -> None:
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    other = dovecot.fresh_user()
    dovecot.append_many(other, "INBOX", MAIL)
    configs = [config_through(through, dovecot, name, tmp_path / name, "off") for name in (user, other)]
    both = Attempt(*configs, options=["--workers", "2"])
    wait_for(lambda: through.faults > 1, "two stalls")
    workers = Path(f"/proc/{both.pid}/task/{both.pid}/children").read_text().split()
    at_work = [each for each in workers if ") Z" not in Path(f"/proc/{each}/stat").read_text()]
    os.kill(int(at_work[0]), signal.SIGKILL)
    wait_for(lambda: sum(is_locked(archive_of(config)) for config in configs) == 1, "one lock")
    through.stall_after = None
    through.drop_all()
    ended = both.end()
    assert ended.exit_code == 1, ended.output
    assert ended.stderr.count("the worker process died unexpectedly; run again to resume") == 1
    assert to_the_end(*configs).exit_code == 0
    for config in configs:
        assert len(assert_whole(archive_of(config)).uids()) == len(MAIL)


def test_a_lock_left_by_a_dead_process_is_no_lock(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    """What the file says decides nothing, not even with the pid of a living process."""
    config = account_file(tmp_path, dovecot, user)
    archive_of(config).mkdir()
    (archive_of(config) / "lock").write_text(
        json.dumps({"run": "r", "pid": os.getpid(), "host": "h", "since": "s"})
    )
    assert to_the_end(config).exit_code == 0


def test_a_lock_held_by_something_else(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    config = account_file(tmp_path, dovecot, user)
    archive_of(config).mkdir()
    with (archive_of(config) / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = to_the_end(config)
    assert ended.exit_code == 7, ended.output
    assert "unknown holder" in ended.stderr
