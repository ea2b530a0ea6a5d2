"""What a disk lost after `write` said that all was well is noticed before anything is recorded."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.errors import ArchiveNotWritable
from archiver.export.run import ExportStep
from archiver.mail.content import body_of
from archiver.storage import syncing
from archiver.storage.maildir.store import MaildirStore
from archiver.storage.syncing import WatchedFileSystem, reports_losses
from pipelines.cli.main import invoke
from tests.accounts import account_file, archive_of, mails, run
from tests.contracts.store import HELLO, placement_of, put
from tests.servers.dovecot import Dovecot
from tests.servers.failing_disk import failing_disk
from tests.stored_messages import message_files

LARGE = [os.urandom(1 << 20) for _ in range(12)]
PLACES = [placement_of(octets, uid) for uid, octets in enumerate(LARGE, 2)]


@pytest.fixture(params=["as a whole", "one by one"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the disk is synced: as on a new Linux, or as on one that reports no losses."""
    named: str = request.param
    if named == "one by one":
        monkeypatch.setattr(syncing, "reports_losses", lambda _: False)
    return named


def test_pages_that_were_lost_before_the_commit_are_no_commit(how: str, tmp_path: Path) -> None:
    """Another program may have synced, and have got the only report of the loss."""
    with failing_disk(tmp_path / "disk") as disk:
        store = MaildirStore(disk.path / "archive")
        put(store, (placement_of(HELLO, 1), HELLO))
        disk.begin()
        batch = store.batch()

        def work() -> None:
            for place, octets in zip(PLACES, LARGE, strict=True):
                batch.put(place, body_of(octets))
            assert [disk.sync() == 0 for _ in range(2)] == [False, True]
            batch.commit()

        with pytest.raises(ArchiveNotWritable, match=r"(Input/output error|No space left on device); "):
            work()
        assert len(message_files(disk.path / "archive")) == 1
        batch.abandon()


def test_a_spooled_message_that_was_lost_is_no_commit(tmp_path: Path) -> None:
    """It is written before there is a batch."""
    with failing_disk(tmp_path / "disk") as disk:
        store = MaildirStore(disk.path / "archive")
        put(store, (placement_of(HELLO, 1), HELLO))
        store = MaildirStore(disk.path / "archive")
        store.spool().close()
        disk.begin()
        with store.spool() as spool:
            for octets in LARGE:
                spool.write(octets)
        assert disk.sync() != 0
        whole = b"".join(LARGE)
        batch = store.batch()
        batch.put(placement_of(whole, 2), replace(body_of(whole), octets=None, spool=Path(spool.name)))
        with pytest.raises(ArchiveNotWritable):
            batch.commit()


def test_an_export_onto_it_is_not_complete(
    how: str, dovecot: Dovecot, mail_user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dovecot.append_many(mail_user, "INBOX", mails(range(3)))
    config = account_file(tmp_path, dovecot, mail_user)
    run(config)
    export = ExportStep.run
    with failing_disk(tmp_path / "disk") as disk:

        def lost_on_the_way(step: ExportStep) -> object:
            result = export(step)
            (disk.path / "out" / "large").write_bytes(b"".join(LARGE))
            disk.sync()
            return result

        monkeypatch.setattr(ExportStep, "run", lost_on_the_way)
        (disk.path / "out").mkdir()
        disk.begin()
        assert invoke(["export", str(config), str(disk.path / "out"), "--to", "mbox"]) == 8
        assert not (disk.path / "out" / "export.json").exists()
    assert len(list((archive_of(config) / "Maildir" / "cur").iterdir())) == 3


def test_a_loss_reported_to_one_connection_reaches_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports it once; which of them wrote what was lost is unknown."""
    answers = [errno.EIO, 0]
    real = syncing.sync_descriptor
    monkeypatch.setattr(syncing, "sync_descriptor", lambda number: answers.pop(0) if number >= 0 else real(number))
    store = MaildirStore(tmp_path / "archive")
    batches = [store.batch(), store.batch()]
    for uid, batch in enumerate(batches, 1):
        batch.put(placement_of(HELLO, uid), body_of(HELLO))
    for batch in batches:
        with pytest.raises(ArchiveNotWritable, match="Input/output error; check the disk"):
            batch.commit()
    assert message_files(tmp_path / "archive") == []
    assert answers == [0]


@pytest.mark.parametrize(
    ("system", "release", "kind", "reported"),
    [
        ("linux", "6.1.0-18-amd64", "ext4", True),
        ("linux", "5.8.0", "xfs", True),
        ("linux", "5.7.19", "ext4", False),
        ("linux", "4.18.0-553.el8_10.x86_64", "xfs", False),
        ("linux", "6.1.0", "overlay", False),
        ("linux", "6.1.0", "fuse.mergerfs", False),
        ("linux", "6.1.0", None, False),
        ("linux", "unknown", "ext4", False),
        ("darwin", "23.1.0", "ext4", False),
    ],
)
def test_syncing_everything_is_relied_on_where_it_reports_losses(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, kind: str | None, reported: bool
) -> None:
    monkeypatch.setattr(syncing.sys, "platform", system)
    monkeypatch.setattr(syncing.platform, "release", lambda: release)
    monkeypatch.setattr(syncing, "kind_of", lambda _: kind)
    assert reports_losses("/srv") is reported


def test_a_sandbox_without_the_call_syncs_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(syncing, "sync_descriptor", lambda _: errno.EPERM)
    assert syncing.watched(str(tmp_path)) is None


def test_the_descriptor_is_closed_with_its_store(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        WatchedFileSystem(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) <= before + 1
