"""One archive in a bucket and several machines that work on it: in turn, killed, asleep, and at the same time."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver.config.load import load_account
from tests.accounts import archive_of, mails, run
from tests.buckets import assert_bucket_whole, bucket_account, objects_of, root_of, s3_of
from tests.faults.attempts import Attempt, Ended, is_locked, wait_for
from tests.faults.replays import Mailbox, mailbox_of, migration
from tests.servers.dovecot import Dovecot
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_faults import During, Request
from tests.servers.s3_proxy import S3Proxy

_SHORT_LEASE = """
from archiver.journal import recorder
from archiver.replay import sync_folder
from archiver.replay.send import prepare
from archiver.storage.bucket import lease
from pipelines.cli.main import main
assert (lease.TTL, recorder.BATCH_MESSAGES, prepare.GROUP_MESSAGES) == (120, 1000, 100)
lease.TTL = 6.0
recorder.BATCH_MESSAGES, sync_folder.BATCH_MESSAGES, prepare.GROUP_MESSAGES = 5, 6, 3
main()
"""
SHORT_LEASE = ("-c", _SHORT_LEASE)
"""The program with a lease of six seconds, and many moments at which something becomes lasting."""

MESSAGES = 60


@pytest.fixture
def s3(radosgw: RadosGateway, aws: Callable[[Endpoint], None]) -> Endpoint:
    aws(radosgw.http)
    return radosgw.http


@pytest.fixture
def user(dovecot: Dovecot, mail_user: str) -> str:
    dovecot.append_many(mail_user, "INBOX", mails(range(MESSAGES)))
    return mail_user


@pytest.fixture
def machine(dovecot: Dovecot, user: str, s3: Endpoint, tmp_path: Path) -> Callable[..., Path]:
    """The account file of one bucket on a machine: `machine("here")`."""
    bucket = s3.fresh_bucket()

    def account(name: str, endpoint: Endpoint = s3, **keys: Any) -> Path:
        return bucket_account(tmp_path / name, dovecot, user, endpoint, bucket, **keys)

    return account


def is_segment(request: Request) -> bool:
    return request.kind == "PutObject" and "/journal/" in request.key


def at_segment(proxy: S3Proxy, number: int, attempt: list[Attempt], signal_number: int) -> None:
    """Send the process a signal while it waits for the answer that this segment is written."""
    action = During(lambda: os.kill(attempt[0].pid, signal_number), at="answer")
    proxy.on(is_segment, action, skip=number - 1)


def segments(config: Path, s3: Endpoint) -> list[str]:
    return [key for key in objects_of(config, s3) if key.startswith("journal/")]


def run_as_soon_as_it_may(config: Path, **options: Any) -> None:
    """Run until no other machine holds the archive any more."""
    reported: list[Ended] = []

    def is_done() -> bool:
        reported.append(Attempt(config, program=SHORT_LEASE, **options).end())
        return reported[-1].exit_code != 7

    wait_for(is_done, "the lease to run out", 60)
    assert reported[-1].exit_code == 0, reported[-1].output
    assert all("another machine holds the archive (host " in each.output for each in reported[:-1])


def test_two_machines_work_in_turn(machine: Callable[..., Path], dovecot: Dovecot, user: str, s3: Endpoint) -> None:
    here, there = machine("here"), machine("there")
    run(here)
    dovecot.append_many(user, "INBOX", mails(range(MESSAGES, MESSAGES + 3)))

    assert run(there).total("fetched", "stored") == (3, MESSAGES + 3)
    assert run(here).total("fetched", "stored") == (0, MESSAGES + 3)

    assert assert_bucket_whole(here, s3) == assert_bucket_whole(there, s3)


def test_a_run_without_changes_writes_no_segment_and_costs_few_requests(
    machine: Callable[..., Path], s3: Endpoint, s3_proxy: Callable[..., S3Proxy]
) -> None:
    proxy = s3_proxy(s3)
    config = machine("here", proxy.endpoint)
    run(config)
    before = segments(config, s3)
    proxy.clear()

    run(config)

    assert segments(config, s3) == before
    kept = [each for each in proxy.requests if "/lease/" in each.key + each.query.get("prefix", "")]
    read = [each for each in proxy.requests if "/journal/" in each.key + each.query.get("prefix", "")]
    assert (len(kept), len(read)) == (4, 6)
    assert len(proxy.requests) - len(kept) - len(read) <= 2  # the marker


@pytest.mark.parametrize(
    ("which", "skip"),
    [("/lease/", 0), ("/journal/", 0), ("/journal/", 5), ("/journal/", 10), ("/lease/", 1)],
    ids=["lease taken", "first segment", "sixth segment", "eleventh segment", "lease renewed or given back"],
)
def test_after_a_kill_the_same_machine_resumes_immediately(
    machine: Callable[..., Path], s3: Endpoint, s3_proxy: Callable[..., S3Proxy], which: str, skip: int
) -> None:
    """Killed when the endpoint has done it, before the answer."""
    proxy, attempts = s3_proxy(s3), list[Attempt]()
    config = machine("here", proxy.endpoint)
    kill = During(lambda: attempts[0].kill(group=True), at="answer")
    proxy.on(lambda request: request.kind == "PutObject" and which in request.key, kill, skip=skip)
    attempts.append(Attempt(config, program=SHORT_LEASE))
    wait_for(lambda: proxy.faults > 0 and not is_locked(archive_of(config)), "its death", 60)

    run(config)

    assert len(assert_bucket_whole(config, s3).uids()) == MESSAGES


def test_after_a_kill_another_machine_waits_until_the_lease_runs_out(
    machine: Callable[..., Path], s3: Endpoint, s3_proxy: Callable[..., S3Proxy]
) -> None:
    proxy, attempts = s3_proxy(s3), list[Attempt]()
    here, there = machine("here", proxy.endpoint), machine("there")
    at_segment(proxy, 6, attempts, signal.SIGKILL)
    attempts.append(Attempt(here, program=SHORT_LEASE))
    assert attempts[0].end().exit_code == -signal.SIGKILL

    refused = Attempt(there, program=SHORT_LEASE).end()
    assert (refused.exit_code, "wait for it to end" in refused.output) == (7, True)
    run_as_soon_as_it_may(there)

    assert len(assert_bucket_whole(there, s3).uids()) == MESSAGES
    assert run(here).total("fetched", "stored") == (0, MESSAGES)


def test_a_machine_that_slept_writes_nothing_more(
    machine: Callable[..., Path], s3: Endpoint, s3_proxy: Callable[..., S3Proxy]
) -> None:
    proxy, attempts = s3_proxy(s3), list[Attempt]()
    here, there = machine("here", proxy.endpoint), machine("there")
    at_segment(proxy, 6, attempts, signal.SIGSTOP)
    attempts.append(Attempt(here, program=SHORT_LEASE))
    wait_for(lambda: proxy.faults > 0, "the sleep")

    run_as_soon_as_it_may(there)
    before = segments(there, s3)
    os.kill(attempts[0].pid, signal.SIGCONT)
    ended = attempts[0].end()

    assert (ended.exit_code, "run again to catch up" in ended.output) == (7, True), ended.output
    assert "Traceback" not in ended.output
    assert segments(there, s3) == before
    assert len(assert_bucket_whole(there, s3).uids()) == MESSAGES
    assert run(here).total("fetched", "stored") == (0, MESSAGES)


def test_a_machine_that_slept_over_its_intent_sends_nothing_more(
    machine: Callable[..., Path], dovecot: Dovecot, user: str, s3: Endpoint, s3_proxy: Callable[..., S3Proxy],
    tmp_path: Path,
) -> None:  # fmt: skip
    """It is stopped when the intent is in the journal, before it learns that. The other one sends the messages."""
    proxy, attempts, new_user = s3_proxy(s3), list[Attempt](), dovecot.fresh_user()
    keys = destination_keys(tmp_path, dovecot, new_user)
    here, there = machine("here", proxy.endpoint, **keys), machine("there", **keys)
    run(here, steps="archive")
    expected: Mailbox = mailbox_of(dovecot, user)
    proxy.clear()
    at_segment(proxy, 5, attempts, signal.SIGSTOP)
    attempts.append(Attempt(here, program=SHORT_LEASE, verb="replay"))
    wait_for(lambda: proxy.faults > 0, "the sleep")
    assert 0 < sum(sum(folder.values()) for folder in mailbox_of(dovecot, new_user).values()) < MESSAGES

    run_as_soon_as_it_may(there, verb="replay")
    assert mailbox_of(dovecot, new_user) == expected
    before = segments(there, s3)
    os.kill(attempts[0].pid, signal.SIGCONT)
    ended = attempts[0].end()

    assert ended.exit_code == 7, ended.output
    assert mailbox_of(dovecot, new_user) == expected
    assert segments(there, s3) == before
    run(here, steps="replay")
    assert mailbox_of(dovecot, new_user) == expected


def destination_keys(directory: Path, there: Dovecot, new_user: str) -> dict[str, Any]:
    settings = load_account(migration(directory / "unused", there, "nobody", there, new_user)).destination
    assert settings is not None
    return {
        "destination__host": settings.host,
        "destination__port": settings.port,
        "destination__tls": "off",
        "destination__user": new_user,
        "destination__password": {"file": str(directory / "unused" / "new.password")},
        "destination__connections": 1,
        "destination__read_timeout": 3.0,  # what another machine had under way is looked for as long
    }


def test_each_account_of_a_run_has_a_lease_of_its_own_for_all_its_steps(
    dovecot: Dovecot, user: str, s3: Endpoint, tmp_path: Path
) -> None:
    configs = [bucket_account(tmp_path / name, dovecot, user, s3, name=name) for name in ("one", "two")]

    ended = Attempt(*configs, options=("--workers", "2")).end(120)

    assert ended.exit_code == 0, ended.output
    for config in configs:
        assert len(assert_bucket_whole(config, s3).uids()) == MESSAGES
        assert not is_locked(archive_of(config))
        leases = [key for key in objects_of(config, s3) if key.startswith("lease/")]
        assert leases == ["lease/00000001.json"]
        assert b'"released": true' in objects_of(config, s3)[leases[0]]


def test_one_machine_may_do_without_a_lease(machine: Callable[..., Path], s3: Endpoint) -> None:
    config = machine("here", s3={"single_writer": True})

    run(config)

    assert s3_of(config).single_writer
    assert not [key for key in objects_of(config, s3) if key.startswith("lease/")]
    assert len(assert_bucket_whole(config, s3).uids()) == MESSAGES


def test_an_endpoint_where_no_lock_can_hold_is_refused_without_a_persons_word(
    machine: Callable[..., Path], s3: Endpoint
) -> None:
    config = machine("here", s3={"single_writer": True})
    run(config)
    marker = json.loads(objects_of(config, s3)["archive.json"])
    octets = json.dumps(marker | {"atomic": False}).encode()
    s3.put(s3_of(config).bucket, f"{root_of(config)}archive.json", octets)
    assert Attempt(config).end().exit_code == 0
    before = objects_of(config, s3)

    ended = Attempt(machine("here")).end()

    assert (ended.exit_code, "[archive.s3] single_writer = true" in ended.output) == (2, True), ended.output
    assert objects_of(config, s3) == before
