"""`verify`, `repair` and `gc` of an archive in a bucket, on real servers: what is wrong is named and mended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from archiver.config.load import load_account
from archiver.events import Planned
from archiver.mail.content import body_of
from archiver.storage.bucket.keys import message_key
from archiver.storage.bucket.pack_format import pack_key
from archiver.upkeep.gc import GarbageResult
from archiver.upkeep.repair import RepairResult
from pipelines.cli.gc import collect_accounts
from pipelines.cli.main import invoke
from pipelines.cli.repair import RepairOptions, repair_accounts
from pipelines.cli.verify import VerifyOptions, VerifyOutcome, verify_accounts
from pipelines.events import AnyEvent
from pipelines.outcome import AccountOutcome
from tests.accounts import account_file, archive_of, run
from tests.buckets import assert_bucket_whole, bucket_account, forget_locally, objects_of, root_of, s3_of
from tests.servers.radosgw import RadosGateway
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

START = Callable[..., ScriptedServer]


def message(number: int) -> ScriptedMessage:
    return ScriptedMessage(b"Subject: number %d\r\n\r\n%s\r\n" % (number, b"x" * number))


@pytest.fixture
def server(scripted: START) -> ScriptedServer:
    """Messages 1 to 9 in INBOX, the first three of them in Sent, too."""
    return scripted(
        {
            b"INBOX": ScriptedFolder(7, {uid: message(uid) for uid in range(1, 10)}),
            b"Sent": ScriptedFolder(8, {uid: message(uid) for uid in range(1, 4)}),
        }
    )


@pytest.fixture
def config(server: ScriptedServer, gateway: Endpoint, tmp_path: Path) -> Path:
    config = bucket_account(tmp_path, server, "u1", gateway, source__attempts=1)
    run(config)
    return config


def key_of(config: Path, uid: int) -> str:
    """The whole key of the object that holds message `uid`."""
    return root_of(config) + message_key(body_of(message(uid).octets).digest)


def verify(
    config: Path, *, expect: int = 0, deep: bool = False, sample: float | None = None
) -> AccountOutcome[VerifyOutcome]:
    options = VerifyOptions(sample, deep, offline=True)
    (outcome,) = verify_accounts([load_account(config)], options, lambda _, __: None)
    assert outcome.exit_code == expect, outcome.message
    return outcome


def repair(config: Path, *, expect: int = 0, deep: bool = False) -> AccountOutcome[RepairResult]:
    (outcome,) = repair_accounts([load_account(config)], RepairOptions(deep=deep), lambda _, __: None)
    assert outcome.exit_code == expect, outcome.message
    return outcome


def gc(
    config: Path, *, expect: int = 0, delete: bool = False, confirm_deletions: bool = False
) -> AccountOutcome[GarbageResult]:
    accounts = [load_account(config)]
    (outcome,) = collect_accounts(accounts, lambda _, __: None, delete=delete, confirm_deletions=confirm_deletions)
    assert outcome.exit_code == expect, outcome.message
    return outcome


def found(outcome: AccountOutcome[VerifyOutcome], kind: str) -> list[tuple[str | None, int | None]]:
    return [(each.folder, each.uid) for each in getattr(outcome.result.archive, kind)]


class TestVerify:
    def test_of_a_whole_archive(self, config: Path) -> None:
        assert verify(config).message == (
            "12 messages looked up, sizes compared, content not read (--deep reads it): all present"
        )
        assert verify(config, deep=True).message.endswith("messages read, 327 B: all intact")
        assert verify(config, sample=1.0).message.startswith("12 of 12 messages read")

    def test_names_a_flipped_octet(self, config: Path, gateway: Endpoint) -> None:
        gateway.flip(s3_of(config).bucket, key_of(config, 2), at=12)
        verify(config)
        assert found(verify(config, deep=True, expect=6), "damaged") == [("INBOX", 2), ("Sent", 2)]

    def test_names_a_missing_object_and_one_cut_short(self, config: Path, gateway: Endpoint) -> None:
        gateway.delete(s3_of(config).bucket, key_of(config, 3))
        gateway.put(s3_of(config).bucket, key_of(config, 5), b"")
        outcome = verify(config, expect=6)
        assert found(outcome, "missing") == [("INBOX", 3), ("Sent", 3)]
        assert found(outcome, "damaged") == [("INBOX", 5)]
        assert f"`archiver repair {config}` fetches them again" in outcome.message

    def test_names_extra_objects(self, config: Path, gateway: Endpoint) -> None:
        keys = [key_of(config, 77), root_of(config) + "note.txt"]
        for key in keys:
            gateway.put(s3_of(config).bucket, key, b"x")
        result = verify(config, expect=4).result.archive
        assert result is not None
        places = [
            f"s3://{s3_of(config).bucket}/{key}" for key in (key_of(config, 77), root_of(config) + "note.txt")
        ]
        assert [each.path for each in result.strays] == places
        assert all("written 20" in each.reason for each in result.strays)

    def test_names_an_edited_and_a_missing_segment(self, config: Path, gateway: Endpoint) -> None:
        segments = gateway.keys(s3_of(config).bucket, root_of(config) + "journal/")
        octets = gateway.get(s3_of(config).bucket, segments[1])
        gateway.flip(s3_of(config).bucket, segments[1], at=len(octets) // 2)
        result = verify(config, expect=6).result.archive
        assert result is not None
        assert segments[1] in (result.journal or "")
        gateway.delete(s3_of(config).bucket, segments[1])
        assert "segment 2 is missing" in verify(config, expect=6).message


class TestPacks:
    """The same with layout "packs": nine messages in one pack or more."""

    @pytest.fixture
    def config(self, server: ScriptedServer, gateway: Endpoint, tmp_path: Path) -> Path:
        config = bucket_account(tmp_path, server, "u1", gateway, s3={"layout": "packs"}, source__attempts=1)
        run(config)
        return config

    @pytest.fixture
    def pack(self, config: Path, gateway: Endpoint) -> str:
        """The whole key of the first pack."""
        return gateway.keys(s3_of(config).bucket, root_of(config) + "packs/")[0]

    def test_a_whole_archive(self, config: Path, gateway: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
        verify(config)
        verify(config, deep=True)
        before = gateway.contents(s3_of(config).bucket, root_of(config) + "packs/")
        gc(config, delete=True)
        assert gateway.contents(s3_of(config).bucket, root_of(config) + "packs/") == before

    def test_a_truncated_pack_is_named_and_repaired(self, config: Path, gateway: Endpoint, pack: str) -> None:
        octets = gateway.get(s3_of(config).bucket, pack)
        gateway.put(s3_of(config).bucket, pack, octets[: len(octets) // 2])
        outcome = verify(config, expect=6)
        assert outcome.result is not None
        assert f"s3://{s3_of(config).bucket}/{pack}" in [each.path for each in outcome.result.archive.damaged]
        assert ("INBOX", 9) in found(outcome, "damaged") or ("Sent", 3) in found(outcome, "damaged")
        repair(config)
        verify(config, deep=True)
        assert run(config).total("fetched") == (0,)

    def test_a_missing_pack_is_named_and_repaired(self, config: Path, gateway: Endpoint, pack: str) -> None:
        gateway.delete(s3_of(config).bucket, pack)
        assert found(verify(config, expect=6), "missing")
        repair(config)
        verify(config, deep=True)

    def test_a_flipped_octet_is_named_and_repaired(self, config: Path, gateway: Endpoint, pack: str) -> None:
        gateway.flip(s3_of(config).bucket, pack, at=24 + 20)
        verify(config)
        ((folder, uid), *_) = found(verify(config, expect=6, deep=True), "damaged")
        assert folder is not None
        result = repair(config, deep=True).result
        assert result is not None
        assert (folder, uid) in [(each.folder, each.uid) for each in result.repaired]
        verify(config, deep=True)

    def test_what_a_killed_run_left_is_collected(
        self, config: Path, gateway: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
        left = root_of(config) + pack_key(body_of(b"a pack").digest)
        gateway.put(s3_of(config).bucket, left, b"left behind")
        verify(config, expect=4)
        gc(config, delete=True)
        assert left not in gateway.keys(s3_of(config).bucket)
        verify(config, deep=True)


class TestRepair:
    def test_mends_objects_and_touches_no_other(self, config: Path, gateway: Endpoint) -> None:
        before = objects_of(config, gateway)
        gateway.delete(s3_of(config).bucket, key_of(config, 3))
        gateway.flip(s3_of(config).bucket, key_of(config, 2), at=12)
        assert repair(config, deep=True).result is not None
        after = objects_of(config, gateway)
        assert {key: octets for key, octets in after.items() if key.startswith("messages/")} == {
            key: octets for key, octets in before.items() if key.startswith("messages/")
        }
        verify(config, deep=True)
        assert_bucket_whole(config, gateway)

    def test_lists_what_is_lost(self, config: Path, gateway: Endpoint, server: ScriptedServer) -> None:
        gateway.delete(s3_of(config).bucket, key_of(config, 8))
        del server.folders[b"INBOX"].messages[8]
        result = repair(config, expect=6).result
        assert result is not None
        assert [(each.folder, each.uid, each.subject) for each in result.lost] == [("INBOX", 8, "number 8")]

    def test_works_with_every_local_file_lost(self, config: Path, gateway: Endpoint) -> None:
        forget_locally(config)
        assert invoke(["rebuild", str(config)]) == 0
        gateway.delete(s3_of(config).bucket, key_of(config, 3))
        result = repair(config).result
        assert result is not None
        assert sorted((each.folder, each.uid) for each in result.repaired) == [("INBOX", 3), ("Sent", 3)]
        verify(config, deep=True)


class TestGc:
    def test_finds_nothing_in_a_whole_archive(
        self, config: Path, gateway: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
        before = objects_of(config, gateway)
        result = gc(config, delete=True).result
        assert result is not None
        assert (result.garbage, result.young) == ((), 0)
        after = objects_of(config, gateway)
        own = ("lease/", f"journal/{result.segments:08d}")
        assert {key: octets for key, octets in after.items() if not key.startswith(own)} == {
            key: octets for key, octets in before.items() if not key.startswith("lease/")
        }

    def test_takes_a_number_before_it_reads_what_the_journal_names(self, config: Path, gateway: Endpoint) -> None:
        """A segment that was given up by a run and arrives late cannot name what is being removed."""
        before = [key for key in objects_of(config, gateway) if key.startswith("journal/")]
        gc(config)
        assert [key for key in objects_of(config, gateway) if key.startswith("journal/")] == before

        result = gc(config, delete=True).result

        assert result is not None
        assert result.segments == len(before) + 1
        assert f"journal/{result.segments:08d}.jsonl.gz" in objects_of(config, gateway)
        verify(config, deep=True)

    def test_does_not_begin_a_journal_that_is_empty(
        self, config: Path, gateway: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a journal that names nothing, all messages would be garbage."""
        monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
        gateway.delete(s3_of(config).bucket, *gateway.keys(s3_of(config).bucket, root_of(config) + "journal/"))
        for file in archive_of(config).glob("catalog.sqlite*"):
            file.unlink()
        before = objects_of(config, gateway)
        gc(config, delete=True, expect=8)
        messages = [key for key in before if not key.startswith("lease/")]
        assert [key for key in objects_of(config, gateway) if not key.startswith("lease/")] == messages

    def test_removes_what_a_killed_run_left_after_a_week(
        self, config: Path, gateway: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gateway.put(s3_of(config).bucket, key_of(config, 77), b"left behind")
        result = gc(config, delete=True).result
        assert result is not None
        assert (result.garbage, result.young, result.young_octets) == ((), 1, 11)

        monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
        assert "--delete removes them" in gc(config).message
        assert key_of(config, 77) in gateway.keys(s3_of(config).bucket)
        gc(config, delete=True)
        assert key_of(config, 77) not in gateway.keys(s3_of(config).bucket)
        verify(config, deep=True)

    def test_waits_for_confirmation_where_the_journal_was_lost_and_restarted(
        self,
        config: Path,
        gateway: Endpoint,
        server: ScriptedServer,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """It names what the source still has. Of the rest no other copy exists."""
        monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
        bucket = s3_of(config).bucket
        forget_locally(config)
        gateway.delete(bucket, *gateway.keys(bucket, root_of(config) + "journal/"))
        del server.folders[b"INBOX"].messages[9]
        time.sleep(1.1)  # objects are dated to the second
        run(config, new_archive=True)
        assert "1 of 9 objects are not named and older than the journal" in gc(config, expect=3).message
        assert "--confirm-deletions" in gc(config, delete=True, expect=3).message
        assert key_of(config, 9) in gateway.keys(bucket)

        assert invoke(["gc", str(config), "--confirm-deletions"]) == 2
        capsys.readouterr()
        assert invoke(["gc", str(config), "--delete"]) == 3
        shown = capsys.readouterr().out
        assert "nothing is removed" in shown
        assert key_of(config, 9) in shown
        assert invoke(["gc", str(config), "--delete", "--confirm-deletions"]) == 0
        assert key_of(config, 9) not in gateway.keys(bucket)
        verify(config, deep=True)

    def test_no_message_is_older_than_the_journal(self, config: Path, gateway: Endpoint) -> None:
        bucket, root = s3_of(config).bucket, root_of(config)

        def modified(under: str) -> list[datetime]:
            listed = gateway.client.list_objects_v2(Bucket=bucket, Prefix=root + under)["Contents"]
            return [each["LastModified"] for each in listed]

        assert modified("journal/00000001")[0] <= min(modified("messages/"))

    def test_refuses_a_damaged_journal(
        self, config: Path, gateway: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
        gateway.put(s3_of(config).bucket, key_of(config, 77), b"left behind")
        gateway.delete(s3_of(config).bucket, gateway.keys(s3_of(config).bucket, root_of(config) + "journal/")[0])
        gc(config, delete=True, expect=6)
        assert key_of(config, 77) in gateway.keys(s3_of(config).bucket)


def test_what_another_machine_writes_during_it_is_no_finding(
    server: ScriptedServer, radosgw: RadosGateway, aws: Callable[[Endpoint], None], tmp_path: Path
) -> None:
    aws(radosgw.http)
    here = bucket_account(tmp_path / "here", server, "u1", radosgw.http)
    run(here)
    there = bucket_account(tmp_path / "there", server, "u1", radosgw.http, s3_of(here).bucket)
    server.folders[b"INBOX"].messages[10] = message(10)
    ran: list[int] = []

    def on_event(_: str, event: AnyEvent) -> None:
        if isinstance(event, Planned) and not ran:
            ran.append(run(there).exit_code)

    for deep in (False, True):
        options = VerifyOptions(deep=deep, offline=True)
        (outcome,) = verify_accounts([load_account(here)], options, on_event)
        assert (outcome.exit_code, ran) == (0, [0]), outcome.message
    assert outcome.result is not None
    assert outcome.result.archive.messages == 13

    radosgw.http.put(s3_of(here).bucket, key_of(here, 77), b"x")
    assert found(verify(here, expect=4), "strays") == [(None, None)]


def test_an_object_lock_is_reported(
    server: ScriptedServer, radosgw: RadosGateway, aws: Callable[[Endpoint], None], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    gateway = radosgw.http
    aws(gateway)
    monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
    bucket = gateway.fresh_bucket(lock=True)
    config = bucket_account(tmp_path, server, "u1", gateway, bucket)
    run(config)
    key = key_of(config, 77)
    gateway.client.put_object(Bucket=bucket, Key=key, Body=b"kept", ObjectLockLegalHoldStatus="ON")
    gateway.put(bucket, key_of(config, 78), b"left behind")
    result = gc(config, delete=True).result
    assert result is not None
    assert [each.place for each in result.kept] == [f"s3://{bucket}/{key}"]
    assert gateway.get(bucket, key) == b"kept"
    assert key_of(config, 78) not in gateway.keys(bucket)


def test_a_maildir_has_nothing_to_collect(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = account_file(tmp_path, server, "u1")
    run(config)
    assert invoke(["gc", str(config), "--delete"]) == 0
    assert "its archive is a Maildir: there is nothing to collect" in capsys.readouterr().out
    assert (archive_of(config) / "journal").is_dir()


def test_gc_as_json(
    config: Path, gateway: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("archiver.upkeep.gc.MIN_AGE_SECONDS", -60.0)
    gateway.put(s3_of(config).bucket, key_of(config, 77), b"left behind")
    assert invoke(["gc", str(config), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["deleted"]) == ("archiver-gc/1", False)
    (account,) = document["accounts"]
    assert [(each["size"], each["kept"]) for each in account["garbage"]] == [(11, None)]
    assert (account["octets"], account["deleted"], account["held_back"]) == (11, False, None)
