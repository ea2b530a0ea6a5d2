"""Hosts that share the accounts of a fleet: at the same time, killed, asleep, and while the database restarts."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import hosts
from tests.faults.attempts import wait_for
from tests.faults.hosts import Fleet
from tests.servers.dovecot import Dovecot
from tests.servers.postgresql import Postgresql
from tests.servers.s3_endpoint import Endpoint

MakeFleet = Callable[..., Fleet]


@pytest.fixture
def fleet_of(
    tmp_path: Path, dovecot: Dovecot, gateway: Endpoint, own_postgresql: Postgresql
) -> Iterator[MakeFleet]:
    if (why := hosts.missing()) is not None:
        pytest.fail(why, pytrace=False) if os.environ.get("CI") else pytest.skip(why)
    made: list[Fleet] = []

    def make(sizes: list[int]) -> Fleet:
        made.append(Fleet(tmp_path / "fleet", dovecot, gateway, own_postgresql, sizes))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_two_hosts_share_a_night_and_a_restart_of_the_database_costs_it_a_line(fleet_of: MakeFleet) -> None:
    fleet = fleet_of([60] * 6)
    commands = [
        fleet.host(name).start("run", str(fleet.configs), "--workers", "2", "--json") for name in ("a", "b")
    ]
    wait_for(lambda: len(fleet.claims()) == 4, "both hosts to work")
    fleet.postgresql.restart()

    assert [each.wait() for each in commands] == [0, 0], [each.said for each in commands]

    accounts = [each.document["accounts"] for each in commands]
    for mine in accounts:
        assert [each["status"] for each in mine] == ["complete"] * 6
    runs = fleet.runs()
    assert len(runs) == 6
    assert {owner.partition(":")[0] for _, owner, *_ in runs} == {"a", "b"}
    reported = [{each["account"] for each in mine if each["report"]} for mine in accounts]
    assert not reported[0] & reported[1]
    assert len(reported[0] | reported[1]) == 6
    for command, other in zip(commands, "ba", strict=True):
        here = re.findall(r"(a\d\d): complete, report: ", command.said)
        there = re.findall(rf"(a\d\d): done by {other}: complete", command.said)
        assert sorted(here + there) == fleet.names, (here, there, runs, [each.said for each in commands])
    assert fleet.claims() == {}
    fleet.assert_arrived()


def test_the_accounts_of_a_host_that_is_killed_are_done_by_another(fleet_of: MakeFleet) -> None:
    fleet = fleet_of([100] * 4)
    one = fleet.host("a").start("run", str(fleet.configs), "--workers", "2", "--json")
    wait_for(lambda: len(fleet.claims()) == 2, "the first host to work")
    other = fleet.host("b").start("run", str(fleet.configs), "--workers", "2", "--json")
    wait_for(lambda: len(fleet.claims()) == 4, "both hosts to work")
    one.kill()
    one.process.wait()
    killed = time.monotonic()

    assert other.wait() == 0, other.said

    assert time.monotonic() - killed < 60
    assert [each["status"] for each in other.document["accounts"]] == ["complete"] * 4
    fleet.assert_whole()


def test_a_host_that_slept_longer_than_its_claims_stops_and_learns_how_the_other_ended(fleet_of: MakeFleet) -> None:
    fleet = fleet_of([200] * 2)
    one = fleet.host("a").start("run", str(fleet.configs), "--workers", "2", "--json")
    wait_for(lambda: len(fleet.claims()) == 2, "the first host to work")
    wait_for(lambda: one.said.count("to fetch") == 2, "messages to be fetched")
    one.kill(signal.SIGSTOP)
    other = fleet.host("b").run("run", str(fleet.configs), "--json")
    one.kill(signal.SIGCONT)

    assert other.process.returncode == 0, other.said
    assert one.wait() == 0, one.said
    assert one.said.count("done by b: complete") == 2
    assert [each["status"] for each in one.document["accounts"]] == ["complete"] * 2
    fleet.assert_arrived()


def test_workers_do_what_is_due_until_they_are_stopped(fleet_of: MakeFleet) -> None:
    fleet = fleet_of([5] * 3)
    workers = [fleet.host(name).start("worker", str(fleet.configs), "--every", "1h") for name in ("a", "b")]
    wait_for(lambda: len([run for run in fleet.runs() if run[2] == "0"]) == 3, "all accounts to be done")
    for each in workers:
        each.process.send_signal(signal.SIGTERM)
    assert [each.wait() for each in workers] == [0, 0], [each.said for each in workers]

    once = fleet.host("c").run("worker", str(fleet.configs), "--once")

    assert once.process.returncode == 0, once.said
    assert len(fleet.runs()) == 3
    fleet.assert_arrived()


def test_two_hosts_that_begin_together_do_once_what_is_due_once(fleet_of: MakeFleet) -> None:
    fleet = fleet_of([5] * 6)
    both = [fleet.host(name).start("worker", str(fleet.configs), "--once", "--workers", "1") for name in ("a", "b")]

    assert [each.wait() for each in both] == [0, 0], [each.said for each in both]

    assert len(fleet.runs()) == 6
    fleet.assert_arrived()


def test_of_two_hosts_one_sends_the_notice_and_both_know_what_was_told(fleet_of: MakeFleet, tmp_path: Path) -> None:
    fleet = fleet_of([5] * 4)
    told = tmp_path / "told"
    table = f"""[notify]
on = ["failure", "change"]
command = ["/bin/sh", "-c", "tr -d '\\n' >>{told}; echo >>{told}"]
"""
    hosts = [fleet.host(name) for name in ("a", "b")]
    for host in hosts:
        defaults = host.own / "configs" / "defaults.toml"
        defaults.write_text(defaults.read_text() + table)
        (host.own / "configs" / "a02.password").write_text("wrong\n")

    def both() -> list[dict[str, object]]:
        told.unlink(missing_ok=True)
        commands = [host.start("run", str(fleet.configs), "--workers", "1") for host in hosts]
        codes = [each.wait() for each in commands]
        assert codes[0] == codes[1], [each.said for each in commands]
        return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []

    (notice,) = both()
    assert (notice["exit_code"], notice["counts"]) == (5, {"accounts": 4, "complete": 3, "failed": 1})
    for host in hosts:
        (host.own / "configs" / "a02.password").write_text("pw\n")
    (notice,) = both()
    assert (notice["occasions"], notice["exit_code"]) == (["change"], 0)
    assert both() == []
    known = [json.loads((host.own / "configs" / "outcomes.json").read_text())["accounts"] for host in hosts]
    assert {name: each["ok"] for name, each in known[0].items()} == dict.fromkeys(fleet.names, True)
    assert [each["run"] for each in known[0].values()] == [each["run"] for each in known[1].values()]


def test_a_database_that_is_not_there_ends_a_run_before_anything_is_done(fleet_of: MakeFleet) -> None:
    fleet = fleet_of([1])
    fleet.postgresql.kill()
    for verb in ("run", "worker"):
        command = fleet.host(verb).run(verb, str(fleet.configs))
        assert command.process.returncode == 5
        lines = [line for line in command.said.splitlines() if line.startswith("archiver: ")]
        assert len(lines) == 1, command.said
        assert "the fleet's ledger" in lines[0]
        assert "start the database" in lines[0]
    fleet.postgresql.start()


def test_the_ledger_of_another_fleet_is_named(fleet_of: MakeFleet) -> None:
    fleet = fleet_of([1])
    stranger = fleet.host("b")
    config = stranger.own / "configs" / "a00.toml"
    config.write_text(config.read_text().replace(f'"{fleet.users[0]}"', '"u9"').replace("127.0.0.1", "localhost"))
    assert fleet.host("a").run("run", str(fleet.configs)).process.returncode == 0

    command = stranger.run("run", str(fleet.configs))

    assert command.process.returncode == 2
    assert "is it the ledger of another fleet?" in command.said
    assert len(fleet.runs()) == 1
