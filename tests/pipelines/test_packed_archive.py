"""An account whose archive is in packs: changed layouts, killed runs, damage and repair, lost files, a replay."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.accounts import CATALOG, archive_of, command, mails, run
from tests.buckets import (
    assert_bucket_whole,
    bucket_account,
    forget_locally,
    objects_of,
    packed,
    root_of,
    s3_of,
)
from tests.faults.attempts import KILLED_BEFORE_THE_FACTS, SMALL_BATCHES, Attempt, to_the_end
from tests.faults.replays import mailbox_of, migration
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import SMALL_FOLDERS, Shape, generate
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint

SHAPE = Shape(200, 1500, 1.0, SMALL_FOLDERS, 60_000)
KILLS = 4
MAIL = ("messages/", "packs/")


@pytest.fixture
def endpoint(radosgw: RadosGateway, aws: Callable[[Endpoint], None]) -> Endpoint:
    aws(radosgw.http)
    return radosgw.http


def packs_of(config: Path, endpoint: Endpoint) -> dict[str, list[bytes]]:
    """The messages of each pack in the bucket, by its key."""
    objects = objects_of(config, endpoint)
    return {key: packed(octets) for key, octets in objects.items() if key.startswith("packs/")}


def known_packs(config: Path) -> Mapping[str, int]:
    """Those of the catalog, with the number of messages that it finds there."""
    query = (
        "SELECT pack.digest, count(frame.digest) FROM pack LEFT JOIN frame ON frame.pack = pack.digest GROUP BY 1"
    )
    with closing(sqlite3.connect(f"file:{archive_of(config) / CATALOG}?mode=ro", uri=True)) as catalog:
        return {f"packs/{digest[:2]}/{digest}.pack": count for digest, count in catalog.execute(query)}


def test_a_layout_is_for_new_messages_alone(
    dovecot: Dovecot, mail_user: str, endpoint: Endpoint, tmp_path: Path
) -> None:
    bucket = endpoint.fresh_bucket()
    for number, layout in enumerate(["objects", "packs", "objects", "packs"]):
        dovecot.append_many(mail_user, "INBOX", mails(range(20 * number, 20 * number + 20)))
        config = bucket_account(tmp_path, dovecot, mail_user, endpoint, bucket, s3={"layout": layout})
        before = objects_of(config, endpoint)
        assert run(config).total("fetched", "stored") == (20, 20 * number + 20)
        new = {key.split("/")[0] for key in objects_of(config, endpoint).keys() - before.keys()}
        assert new & {"messages", "packs"} == {"messages" if layout == "objects" else "packs"}
        assert_bucket_whole(config, endpoint)
        command("verify", config, "--deep")
    assert [len(messages) for messages in packs_of(config, endpoint).values()] == [20, 20]


def test_what_came_in_one_layout_is_not_stored_again_in_the_other(
    dovecot: Dovecot, mail_user: str, endpoint: Endpoint, tmp_path: Path
) -> None:
    bucket = endpoint.fresh_bucket()
    dovecot.append_many(mail_user, "INBOX", mails(range(20)))
    for layout in ("packs", "objects"):
        config = bucket_account(tmp_path, dovecot, mail_user, endpoint, bucket, s3={"layout": layout})
        run(config)
        before = {key for key in objects_of(config, endpoint) if key.startswith(MAIL)}
        dovecot.create(mail_user, f"Copy {layout}")
        dovecot.append_many(mail_user, f"Copy {layout}", mails(range(20)))
    run(config)
    assert {key for key in objects_of(config, endpoint) if key.startswith(MAIL)} == before
    command("verify", config, "--deep")


class TestAWholeAccount:
    """200 generated messages in all their folders."""

    @pytest.fixture
    def config(self, dovecot: Dovecot, mail_user: str, endpoint: Endpoint, tmp_path: Path) -> Path:
        tmp_path.chmod(0o755)
        dovecot.install(mail_user, generate(tmp_path / "home", SHAPE).home)
        return bucket_account(tmp_path, dovecot, mail_user, endpoint, s3={"layout": "packs"}, source__connections=1)

    def test_is_rebuilt_from_its_bucket_alone(self, config: Path, endpoint: Endpoint) -> None:
        run(config)
        before, packs = assert_bucket_whole(config, endpoint), known_packs(config)
        forget_locally(config)
        command("rebuild", config)
        after = assert_bucket_whole(config, endpoint)
        assert (after.messages, after.epochs, known_packs(config)) == (before.messages, before.epochs, packs)
        command("verify", config, "--deep")
        assert run(config).total("fetched") == (0,)

    def test_arrives_at_a_destination(
        self, config: Path, dovecot: Dovecot, mail_user: str, endpoint: Endpoint, tmp_path: Path
    ) -> None:
        run(config)
        new_user, bucket = dovecot.fresh_user(), s3_of(config).bucket
        keys = {"archive__store": "s3", "archive__s3": _table(config)}
        moving = migration(tmp_path, dovecot, mail_user, dovecot, new_user, **keys)
        result = run(moving)
        assert result.report["totals"]["destination"]["differences"] == 0
        assert mailbox_of(dovecot, new_user) == mailbox_of(dovecot, mail_user)
        assert s3_of(moving).bucket == bucket

    def test_what_a_killed_run_sent_is_not_sent_again(self, config: Path, endpoint: Endpoint) -> None:
        assert to_the_end(config, program=KILLED_BEFORE_THE_FACTS).exit_code != 0
        sent = packs_of(config, endpoint)
        assert sent
        run(config)
        packs = packs_of(config, endpoint)
        assert sent.items() <= packs.items()
        assert {key: len(messages) for key, messages in packs.items()} == known_packs(config)
        assert_bucket_whole(config, endpoint)

    @pytest.mark.parametrize("seed", range(2))
    def test_killed_at_random_moments(self, config: Path, endpoint: Endpoint, seed: int) -> None:
        """The end is that of an undisturbed run: each message in one pack, and no unknown pack."""
        began = time.monotonic()
        undisturbed = Attempt(config, program=SMALL_BATCHES).begun()
        assert undisturbed.end().exit_code == 0
        seconds, expected = time.monotonic() - began, assert_bucket_whole(config, endpoint)
        endpoint.delete(s3_of(config).bucket, *endpoint.keys(s3_of(config).bucket))
        forget_locally(config)
        config.with_suffix(".archive").unlink()  # as if there had been none
        chance = random.Random(seed)
        for _ in range(KILLS):
            attempt = Attempt(config, program=SMALL_BATCHES).begun()
            if attempt.ends_within(chance.uniform(0, seconds / 3)):
                assert attempt.end().exit_code == 0
                break
            attempt.kill(group=True)
        run(config)
        after = assert_bucket_whole(config, endpoint)
        assert (after.messages, after.epochs) == (expected.messages, expected.epochs)
        packs = {key: len(messages) for key, messages in packs_of(config, endpoint).items()}
        assert packs == known_packs(config)
        assert sum(packs.values()) == len(set(_digests(config)))
        command("verify", config, "--deep")

    @pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
    def test_damage_is_found_named_and_repaired(self, config: Path, endpoint: Endpoint, harm: str) -> None:
        run(config)
        expected = assert_bucket_whole(config, endpoint)
        key, messages = max(packs_of(config, endpoint).items(), key=lambda item: len(item[1]))
        bucket, whole = s3_of(config).bucket, root_of(config) + key
        if harm == "flipped":
            endpoint.flip(bucket, whole, at=len(endpoint.get(bucket, whole)) // 2)
        elif harm == "cut":
            endpoint.put(bucket, whole, endpoint.get(bucket, whole)[:-1000])
        else:
            endpoint.delete(bucket, whole)
        found = command("verify", config, "--deep", expect=6)
        assert key in found.output
        command("repair", config, "--deep")
        forget_locally(config)
        command("rebuild", config)
        command("verify", config, "--deep")
        assert len(messages) <= sum(known_packs(config).values()) == len(set(_digests(config)))
        assert len(expected.messages) == len(_digests(config))


def _table(config: Path) -> dict[str, object]:
    """[archive.s3] as it is in the account file."""
    s3 = s3_of(config)
    return {"bucket": s3.bucket, "endpoint_url": s3.endpoint_url, "addressing_style": "path", "layout": s3.layout}


def _digests(config: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{archive_of(config) / CATALOG}?mode=ro", uri=True)) as catalog:
        return [row[0] for row in catalog.execute("SELECT digest FROM message")]
