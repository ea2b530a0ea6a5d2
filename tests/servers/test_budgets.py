"""What an account may do on a day is not exceeded, over any number of runs, connections and kills; and then it goes
on where it stopped."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.config.load import load_account
from pipelines.engine.run import Options, run_accounts
from tests.accounts import RunResult, account_file, archive_of, assert_whole, command, run
from tests.faults.attempts import SMALL_BATCHES, Attempt, signalled_after, to_the_end
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.wire import Append

Proxy = Callable[..., FaultProxy]
Scripted = Callable[..., ScriptedServer]

BUDGET = 300_000
LISTS = 12_000  # what lists, flags and answers may add to a day


def octets_of(number: int, size: int = 12_000) -> bytes:
    line = b"%06d " % number + b"x" * 69 + b"\r\n"
    return b"Subject: %d\r\n\r\n" % number + line * (size // len(line))


def fill(server: Dovecot, messages: int = 60) -> str:
    """A user with so many messages of 12 kB."""
    user = server.fresh_user()
    server.append_many(user, "INBOX", [Append(octets_of(number)) for number in range(messages)])
    return user


def passed(proxy: FaultProxy) -> int:
    """What has passed through the proxy since the last call."""
    total = sum(proxy.octets.values())
    proxy.octets = {"down": 0, "up": 0}
    return total


def used(config: Path, side: str = "source") -> int:
    return int((archive_of(config) / f"used-at-{side}").read_text().split()[1])


@pytest.mark.parametrize("connections", [1, 3])
def test_a_source_is_read_within_its_budget_over_days(
    dovecot: Dovecot, proxy: Proxy, tmp_path: Path, day: Callable[[int], str], connections: int
) -> None:
    between, user = proxy(dovecot.port), fill(dovecot)
    config = account_file(
        tmp_path, between, user, source__limits={"octets_per_day": BUDGET}, source__connections=connections
    )
    stored = []
    for number in range(1, 6):
        day(number)
        ended = run(config, expect=None)
        stored.append(ended.total("stored")[0])
        assert passed(between) <= BUDGET + LISTS, number
        assert used(config) <= BUDGET + LISTS
        assert ended.exit_code == (75 if number < 3 else 0), ended.output
        if ended.exit_code:
            again = f"2026-03-{number + 1:02}T00:00:00Z"
            assert (ended.report["again_at"], ended.report["status"]) == (again, "failed")
            assert f"[source.limits] octets_per_day are used up; a run after {again} goes on" in ended.output
            idle = run(config, expect=75)
            assert (idle.total("stored")[0], idle.report["again_at"]) == (stored[-1], again)
            assert passed(between) <= LISTS
    assert stored[0] < stored[1] < stored[2] == stored[3] == stored[4] == 60
    assert stored[0] >= 20  # and the budget is used
    assert_whole(archive_of(config))


def test_a_maildrop_is_read_within_its_budget_over_days(
    pop3_dovecot: Dovecot, proxy: Proxy, tmp_path: Path, day: Callable[[int], str]
) -> None:
    between, user = proxy(pop3_dovecot.pop3_port), fill(pop3_dovecot)
    config = account_file(
        tmp_path, between, user, source__protocol="pop3", source__limits={"octets_per_day": BUDGET}
    )
    for number, exit_code in ((1, 75), (2, 75), (3, 0), (4, 0)):
        day(number)
        ended = run(config, expect=exit_code)
        assert passed(between) <= BUDGET + LISTS, number
    assert ended.total("stored") == (60,)
    assert_whole(archive_of(config))


def test_octets_are_those_on_the_wire(dovecot: Dovecot, proxy: Proxy, tmp_path: Path) -> None:
    between = proxy(dovecot.port)
    config = account_file(tmp_path, between, fill(dovecot), source__limits={"octets_per_day": 10_000_000})
    for _ in range(3):
        run(config)
        assert used(config) == sum(between.octets.values())


def test_a_run_that_is_killed_has_counted(dovecot: Dovecot, proxy: Proxy, tmp_path: Path) -> None:
    between, chance = proxy(dovecot.port), random.Random(4)
    config = account_file(tmp_path, between, fill(dovecot), source__limits={"octets_per_day": BUDGET})
    kills = 0
    for _ in range(6):
        killed = signalled_after(chance.randint(1, 3), chance.uniform(0, 0.02), program=SMALL_BATCHES)
        ended = to_the_end(config, program=killed)
        kills += ended.exit_code == -signal.SIGKILL
        assert ended.exit_code in (75, -signal.SIGKILL), ended.output
        # What the system had received for the killed process was not read by it.
        assert sum(between.octets.values()) - 400_000 <= used(config) <= BUDGET + LISTS
    assert kills
    before = run(config, expect=75).total("stored")
    assert 0 < before[0] < 60
    (archive_of(config) / "used-at-source").unlink()
    assert run(config, expect=None).total("stored") > before


def test_a_message_that_no_day_has_room_for_is_set_aside(
    scripted: Scripted, tmp_path: Path, day: Callable[[int], str]
) -> None:
    folder = ScriptedFolder(7)
    folder.add(*(ScriptedMessage(octets_of(number, 400_000 if number == 2 else 2000)) for number in range(5)))
    config = account_file(tmp_path, scripted({b"INBOX": folder}), "u1", source__limits={"octets_per_day": 100_000})
    day(1)
    ended = run(config, expect=3)
    assert ended.total("on_server", "stored", "quarantined") == (5, 4, 1)
    assert "larger than [source.limits] octets_per_day allows" in ended.output
    config = account_file(tmp_path, scripted({b"INBOX": folder}), "u1", source__limits={"octets_per_day": 500_000})
    day(2)
    assert run(config, new_source=True).total("stored") == (5,)


@pytest.mark.parametrize("connections", [1, 2])
def test_a_destination_is_filled_within_its_budget_over_days(
    dovecot: Dovecot, proxy: Proxy, tmp_path: Path, day: Callable[[int], str], connections: int
) -> None:
    between, user, new_user = proxy(dovecot.port), fill(dovecot), dovecot.fresh_user()
    dovecot.create(user, "Other")
    dovecot.append_many(user, "Other", [Append(octets_of(number)) for number in range(100, 120)])
    there = {"host": between.host, "port": between.port, "tls": "off", "user": new_user, "connections": connections}
    there |= {"password": {"file": str(tmp_path / f"{user}.password")}, "limits": {"octets_per_day": BUDGET}}
    config = account_file(tmp_path, dovecot, user, **{f"destination__{key}": each for key, each in there.items()})
    held = []
    for number in range(1, 6):
        day(number)
        ended = run(config, expect=None)
        held.append(sum(len(each.messages) for each in dovecot.dump(new_user).values()))
        assert passed(between) <= BUDGET + LISTS, number
        assert ended.exit_code == (75 if number < 4 else 0), ended.output
        if ended.exit_code:
            assert ended.report["again_at"] == f"2026-03-{number + 1:02}T00:00:00Z"
    assert held == sorted(held)
    assert (held[0] >= 18, held[-1]) == (True, 80)


def test_a_rate_of_messages(dovecot: Dovecot, tmp_path: Path) -> None:
    user, new_user = fill(dovecot, 60), dovecot.fresh_user()
    limits = {"messages_per_second": 20}
    there = {"host": dovecot.host, "port": dovecot.port, "tls": "off", "user": new_user, "limits": limits}
    there |= {"password": {"file": str(tmp_path / f"{user}.password")}}
    keys = {f"destination__{key}": each for key, each in there.items()}
    config = account_file(tmp_path, dovecot, user, source__limits=limits, **keys)
    began = time.monotonic()
    assert run(config).total("stored") == (60,)
    assert time.monotonic() - began >= (60 - 20) / 20 + (60 - 40) / 20 - 0.5


def test_a_rate_of_octets(dovecot: Dovecot, tmp_path: Path) -> None:
    config = account_file(tmp_path, dovecot, fill(dovecot, 50), source__limits={"octets_per_second": 300_000})
    began = time.monotonic()
    assert run(config).total("stored") == (50,)
    assert time.monotonic() - began >= (600_000 - 300_000 - 64_000) / 300_000


def test_a_signal_ends_a_wait(dovecot: Dovecot, tmp_path: Path) -> None:
    config = account_file(tmp_path, dovecot, fill(dovecot, 20), source__limits={"messages_per_second": 0.05})
    attempt = Attempt(config).begun()
    time.sleep(1.5)
    attempt.signal(signal.SIGTERM)
    began = time.monotonic()
    ended = attempt.end()
    assert (ended.exit_code, time.monotonic() - began < 5) == (143, True), ended.output
    assert assert_whole(archive_of(config)) is not None


@pytest.mark.parametrize("workers", [1, 2])
def test_other_accounts_are_not_held(
    dovecot: Dovecot, tmp_path: Path, day: Callable[[int], str], workers: int
) -> None:
    day(1)
    limited = account_file(tmp_path / "a", dovecot, fill(dovecot), source__limits={"octets_per_day": 100_000})
    others = [account_file(tmp_path / name, dovecot, fill(dovecot, 5)) for name in ("b", "c")]
    began = time.monotonic()
    outcomes = run_accounts(
        [load_account(each) for each in (limited, *others)], Options(workers=workers), lambda *_: None
    )
    assert [each.exit_code for each in outcomes] == [75, 0, 0]
    assert time.monotonic() - began < 30


def test_the_time_of_resumption_is_in_json_and_status(dovecot: Dovecot, tmp_path: Path) -> None:
    config = account_file(tmp_path, dovecot, fill(dovecot), source__limits={"octets_per_day": 100_000})
    ended: RunResult = command("run", "--json", config, expect=75)
    again = ended.report["accounts"][0]["again_at"]
    assert again.endswith("T00:00:00Z")
    status = command("status", "--json", config, expect=75).report
    assert status["accounts"][0]["again_at"] == again
    assert again in command("status", config, expect=75).output
