"""Accounts in buckets that show what they showed before end unopened; whatever happened in the bucket is found."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archiver.storage.bucket.lease import Claimant, Written
from tests.accounts import archive_of, command, mails
from tests.buckets import bucket_account, objects_of, root_of, s3_of
from tests.pipelines.test_looked_over import ledger_of, night, opened
from tests.servers.dovecot import Dovecot
from tests.servers.s3_endpoint import Endpoint
from tests.servers.s3_proxy import S3Proxy

Fleet = dict[str, Path]

#: The command, begun in a certain second.
IN_ONE_SECOND = """
from pipelines.engine import names
from pipelines.cli.main import main
names.new_run_id = lambda: "20261130T020000Z"
main()
"""


@pytest.fixture
def bucket(gateway: Endpoint) -> str:
    return gateway.fresh_bucket()


@pytest.fixture
def users(dovecot: Dovecot) -> dict[str, str]:
    made = {name: dovecot.fresh_user() for name in ("a", "b")}
    for user in made.values():
        dovecot.append_many(user, "INBOX", mails(range(3)))
    return made


@pytest.fixture
def fleet(dovecot: Dovecot, users: dict[str, str], gateway: Endpoint, bucket: str, tmp_path: Path) -> Fleet:
    """Two accounts that were archived."""
    (tmp_path / "defaults.toml").touch()
    made = {name: account(tmp_path, dovecot, user, gateway, bucket, name) for name, user in users.items()}
    night(tmp_path, "--run", "first")
    return made


def account(
    directory: Path, server: Dovecot, user: str, endpoint: Endpoint, bucket: str, name: str, **s3: Any
) -> Path:
    path = str(directory / "archives" / name)
    return bucket_account(directory, server, user, endpoint, bucket, s3=s3, name=name, archive__path=path)


def test_a_look_writes_nothing_and_news_are_found(
    fleet: Fleet, dovecot: Dovecot, users: dict[str, str], gateway: Endpoint, tmp_path: Path
) -> None:
    before = {name: objects_of(config, gateway) for name, config in fleet.items()}

    looked = night(tmp_path)

    assert opened(looked) == set()
    assert looked["a"]["totals"]["stored"] == 3
    assert {name: objects_of(config, gateway) for name, config in fleet.items()} == before
    dovecot.append_many(users["b"], "INBOX", mails([7]))
    ended = night(tmp_path)
    assert opened(ended) == {"b"}
    assert (ended["b"]["totals"]["stored"], ended["b"]["totals"]["fetched"]) == (4, 1)
    assert opened(night(tmp_path)) == set()


def test_a_look_is_two_lists(
    fleet: Fleet, s3_proxy: Callable[..., S3Proxy], gateway: Endpoint, tmp_path: Path
) -> None:
    proxy = s3_proxy(gateway)
    for config in fleet.values():
        config.write_text(config.read_text().replace(gateway.url, proxy.endpoint.url))
    night(tmp_path)
    proxy.clear()

    assert opened(night(tmp_path)) == set()

    assert proxy.counts == {"ListObjectsV2": 4}


def _gone_on(config: Path, dovecot: Dovecot, user: str, elsewhere: Path) -> None:
    """Another machine archived what came, in a run that began in the same second as the next one here."""
    dovecot.append_many(user, "INBOX", mails([8]))
    for file in config.parent.glob("b.*"):
        shutil.copy(file, elsewhere)
    there = elsewhere / config.name
    there.write_text(there.read_text().replace(str(archive_of(config)), str(elsewhere / "archive")))
    command("run", there, program=("-c", IN_ONE_SECOND))


def test_what_another_machine_wrote_is_caught_up_with(
    fleet: Fleet,
    dovecot: Dovecot,
    users: dict[str, str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    elsewhere = tmp_path_factory.mktemp("machine")
    _gone_on(fleet["b"], dovecot, users["b"], elsewhere)

    document = command("run", tmp_path, "--json", program=("-c", IN_ONE_SECOND)).report

    ended = {each["account"]: each for each in document["accounts"]}
    assert opened(ended) == {"b"}
    assert (ended["b"]["totals"]["stored"], ended["b"]["totals"]["fetched"]) == (4, 0)
    assert re.fullmatch("20261130T020000Z-[a-z]{4}", ended["b"]["run"])
    assert opened(night(tmp_path)) == set()


def _segments(config: Path, gateway: Endpoint) -> list[str]:
    return gateway.keys(s3_of(config).bucket, f"{root_of(config)}journal/")


def test_an_older_state_of_a_bucket_is_noticed(fleet: Fleet, gateway: Endpoint, tmp_path: Path) -> None:
    gateway.delete(s3_of(fleet["b"]).bucket, _segments(fleet["b"], gateway)[-1])

    ended = night(tmp_path, expect=6)

    assert {name: each["exit_code"] for name, each in ended.items()} == {"a": 0, "b": 6}
    assert opened(ended) == {"b"}
    assert "journal" in ended["b"]["message"]


def test_a_bucket_that_was_put_back_is_looked_into(fleet: Fleet, gateway: Endpoint, tmp_path: Path) -> None:
    """Its octets are the same, and it is another object."""
    last = _segments(fleet["b"], gateway)[-1]
    gateway.put(s3_of(fleet["b"]).bucket, last, gateway.get(s3_of(fleet["b"]).bucket, last))

    assert opened(night(tmp_path)) == {"b"}
    assert opened(night(tmp_path)) == set()


def test_a_machine_that_is_at_work_is_respected(fleet: Fleet, gateway: Endpoint, tmp_path: Path) -> None:
    leases = gateway.keys(s3_of(fleet["b"]).bucket, f"{root_of(fleet['b'])}lease/")
    number = int(Path(leases[-1]).stem) + 1
    claimant = Claimant("night", "another", 1, "elsewhere", "2026-11-30T00:00:00Z")
    key = f"{root_of(fleet['b'])}lease/{number:08d}.json"
    gateway.put(s3_of(fleet["b"]).bucket, key, Written(number, claimant, 120.0, released=False).octets())

    ended = night(tmp_path, expect=7)

    assert {name: each["exit_code"] for name, each in ended.items()} == {"a": 0, "b": 7}


def test_a_bucket_that_is_gone_is_missed(fleet: Fleet, gateway: Endpoint, tmp_path: Path) -> None:
    config = fleet["b"]
    for key in gateway.keys(s3_of(config).bucket, root_of(config)):
        gateway.delete(s3_of(config).bucket, key)

    ended = night(tmp_path, expect=8)

    assert {name: each["exit_code"] for name, each in ended.items()} == {"a": 0, "b": 8}


@pytest.mark.parametrize(
    "lose",
    [
        lambda archive: (archive / "catalog.sqlite").unlink(),
        shutil.rmtree,
        lambda archive: shutil.rmtree(archive / "runs"),
    ],
    ids=["catalog", "all", "reports"],
)
def test_what_is_lost_here_is_made_again(fleet: Fleet, tmp_path: Path, lose: Callable[[Path], object]) -> None:
    lose(archive_of(fleet["b"]))

    ended = night(tmp_path)

    assert opened(ended) == {"b"}
    assert ended["b"]["totals"]["stored"] == 3
    assert opened(night(tmp_path)) == set()


def test_an_account_that_takes_no_lease_is_looked_at_too(
    dovecot: Dovecot, users: dict[str, str], gateway: Endpoint, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "defaults.toml").touch()
    for name, user in users.items():
        account(tmp_path, dovecot, user, gateway, bucket, name, single_writer=True)
    night(tmp_path)

    assert opened(night(tmp_path)) == set()
    assert json.loads(ledger_of(tmp_path)["a"].fingerprint)[-1][1] == 0
