"""An archive in a bucket: archived, followed, lost and found again, restored; on real servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.storage.s3.open import client_of
from tests.accounts import account_file, archive_of, archive_state, command, mails, run
from tests.buckets import assert_bucket_whole, bucket_account, forget_locally, s3_of
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import SMALL, generate
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint


@pytest.fixture(params=["objects", "packs"])
def layout(request: pytest.FixtureRequest) -> str:
    """One after the other."""
    named: str = request.param
    return named


def held_in(config: Path, gateway: Endpoint) -> list[str]:
    """The keys of the bucket, without the leases: each run has one of its own."""
    return [key for key in gateway.keys(s3_of(config).bucket) if "/lease/" not in key]


class TestAWholeAccount:
    """2,000 generated messages in twelve folders."""

    def test_is_as_exact_as_in_a_maildir(
        self, dovecot: Dovecot, mail_user: str, gateway: Endpoint, layout: str, tmp_path: Path
    ) -> None:
        tmp_path.chmod(0o755)
        dovecot.install(mail_user, generate(tmp_path / "home", SMALL).home)
        on_disk = account_file(tmp_path / "disk", dovecot, mail_user)
        config = bucket_account(tmp_path / "bucket", dovecot, mail_user, gateway, s3={"layout": layout})

        result = run(config)
        run(on_disk)

        assert result.balanced
        state, expected = assert_bucket_whole(config, gateway), archive_state(archive_of(on_disk))
        assert (state.messages, state.epochs, state.folders) == (
            expected.messages,
            expected.epochs,
            expected.folders,
        )

        before = held_in(config, gateway)
        assert run(config).total("fetched", "vanished") == (0, 0)
        assert held_in(config, gateway) == before


class TestTheBucketAlone:
    @pytest.fixture
    def config(self, dovecot: Dovecot, mail_user: str, gateway: Endpoint, layout: str, tmp_path: Path) -> Path:
        dovecot.append_many(mail_user, "INBOX", mails(range(20)))
        return bucket_account(tmp_path, dovecot, mail_user, gateway, s3={"layout": layout})

    def test_fetches_in_a_new_epoch_what_it_lost(
        self, config: Path, dovecot: Dovecot, mail_user: str, gateway: Endpoint
    ) -> None:
        """Known messages are linked there; one that the bucket lost stops none of the others."""
        run(config)
        bucket = s3_of(config).bucket
        lost = next(key for key in gateway.keys(bucket) if "/messages/" in key or "/packs/" in key)
        gateway.delete(bucket, lost)
        dovecot.bump_uidvalidity(mail_user, "INBOX")

        result = run(config)

        assert result.balanced
        assert result.total("stored") == (20,)
        assert result.total("fetched") == ((20,) if "/packs/" in lost else (1,))
        assert_bucket_whole(config, gateway)

    def test_is_enough_to_go_on(self, config: Path, dovecot: Dovecot, mail_user: str, gateway: Endpoint) -> None:
        run(config)
        before = assert_bucket_whole(config, gateway)
        forget_locally(config)
        dovecot.append_many(mail_user, "INBOX", mails(range(20, 25)))

        assert run(config).total("fetched", "stored") == (5, 25)
        after = assert_bucket_whole(config, gateway)
        assert before.messages.items() <= after.messages.items()


class TestCheck:
    def test_only_reads_and_says_what_holds(
        self,
        dovecot: Dovecot,
        mail_user: str,
        radosgw: RadosGateway,
        aws: Callable[[Endpoint], None],
        tmp_path: Path,
    ) -> None:
        aws(radosgw.http)
        config = bucket_account(tmp_path, dovecot, mail_user, radosgw.http)
        before = command("check", config).output
        assert "(empty)" in before
        assert "unknown until the first run tests" in before
        assert radosgw.http.keys(s3_of(config).bucket) == []

        run(config)
        keys = radosgw.http.keys(s3_of(config).bucket)
        after = command("check", config).output
        assert "(exists)" in after
        assert "the endpoint checks uploads against their digests" in after
        assert radosgw.http.keys(s3_of(config).bucket) == keys

        found = command("check", config, "--json").report["accounts"][0]["archive"]["bucket"]
        assert (found["exists"], found["layout"], found["found"]["account"]) == (True, "objects", mail_user)
        assert found["client"] == client_of(s3_of(config))

    def test_says_what_is_wrong_with_the_bucket(
        self,
        dovecot: Dovecot,
        mail_user: str,
        radosgw: RadosGateway,
        aws: Callable[[Endpoint], None],
        tmp_path: Path,
    ) -> None:
        aws(radosgw.http)
        config = bucket_account(tmp_path, dovecot, mail_user, radosgw.http, "no-such-bucket")
        reported = command("check", config, expect=8).output
        assert 'there is no bucket "no-such-bucket"' in reported
