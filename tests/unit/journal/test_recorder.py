"""What one connection gathers: what goes wrong with some of it is never taken for something else."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.errors import ArchiveNotWritable, IntegrityError
from archiver.facts.archive import EpochFact, Fact, FolderFact
from archiver.journal.files import FileJournal
from archiver.journal.recorder import Batch, Recorder
from archiver.mail.content import body_of
from archiver.storage.maildir.batch import MaildirBatch
from archiver.storage.maildir.store import MaildirStore
from tests.contracts.store import placement_of
from tests.memory_bucket import MemoryBucket
from tests.patience import PATIENCE
from tests.recorded_packs import RecordedPacks
from tests.unit.upkeep.test_repair import AT, OCTETS, stored


def test_a_link_that_fills_the_batch_hides_no_failure_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be recorded with the next batch, and its octets would be nowhere."""
    archive = RecordedPacks(MemoryBucket(), tmp_path / "archive")
    archive.recorder.write(
        [
            FolderFact(1, b"INBOX", ("INBOX",), "/", "", frozenset(), True, True, AT),
            EpochFact(1, 1, 7, 1, "first", AT),
        ]
    )
    twin = placement_of(OCTETS[1], 1)
    there = archive.open().batch()
    there.put(twin, body_of(OCTETS[1]))
    there.commit()
    spool = tmp_path / "spooled"
    spool.write_bytes(b"other bytes")
    spoilt = replace(body_of(OCTETS[2]), octets=None, spool=spool)
    monkeypatch.setattr("archiver.journal.recorder.BATCH_MESSAGES", 2)

    batch = Batch(archive.recorder, archive.open(), archive.catalog.messages, lambda _: None)
    batch.stored(stored(2), placement_of(OCTETS[2], 2), spoilt)
    with pytest.raises(IntegrityError, match="disk and memory for damage"):
        batch.linked(stored(1), twin, twin)
    batch.abandon()

    assert list(archive.catalog.messages.placements(1)) == []
    archive.catalog.close()


class _Held(MaildirStore):
    """A Maildir whose commits wait until they may end, or fail."""

    def __init__(self, path: Path, *, fails: bool = False) -> None:
        super().__init__(path, "none")
        self.may_end = threading.Event()
        self.fails = fails

    def batch(self) -> MaildirBatch:
        batch = super().batch()
        commit = batch.commit

        def held() -> Sequence[Fact]:
            assert self.may_end.wait(PATIENCE)
            if self.fails:
                raise ArchiveNotWritable("the disk is full")
            return commit()

        batch.commit = held  # type: ignore[method-assign]
        return batch


def begun(path: Path) -> tuple[SqlCatalog, Recorder]:
    path.mkdir()
    catalog = SqlCatalog(path / "catalog.sqlite")
    recorder = Recorder(FileJournal(path, "none"), catalog, "run")
    folder = FolderFact(1, b"INBOX", ("INBOX",), "/", "", frozenset(), True, True, AT)
    recorder.write([folder, EpochFact(1, 1, 7, 1, "first", AT)])
    return catalog, recorder


def files_of(path: Path) -> dict[str, int]:
    return {sub: len(list((path / "Maildir" / sub).iterdir())) for sub in ("tmp", "cur")}


def test_a_full_batch_becomes_durable_while_more_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be done when it is durable is done then, not before."""
    monkeypatch.setattr("archiver.journal.recorder.BATCH_MESSAGES", 2)
    path = tmp_path / "archive"
    catalog, recorder = begun(path)
    store = _Held(path)
    batch = Batch(recorder, store, catalog.messages, lambda _: None)
    done: list[list[int]] = []

    def note() -> None:
        done.append([each.uid for each in catalog.messages.placements(1)])

    batch.then(note)
    for uid in (1, 2, 3):
        batch.stored(stored(uid), placement_of(OCTETS[uid], uid), body_of(OCTETS[uid]))
    assert (done, files_of(path)["cur"]) == ([], 0)
    store.may_end.set()
    batch.flush()

    assert done == [[1, 2]]
    assert [each.uid for each in catalog.messages.placements(1)] == [1, 2, 3]
    assert files_of(path) == {"tmp": 0, "cur": 3}
    catalog.close()


def test_a_full_batch_that_cannot_become_durable_fails_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is recorded, nothing of it is left, and what waited for it is not done."""
    monkeypatch.setattr("archiver.journal.recorder.BATCH_MESSAGES", 2)
    path = tmp_path / "archive"
    catalog, recorder = begun(path)
    store = _Held(path, fails=True)
    batch = Batch(recorder, store, catalog.messages, lambda _: None)
    done: list[str] = []
    batch.then(lambda: done.append("durable"))
    for uid in (1, 2, 3):
        batch.stored(stored(uid), placement_of(OCTETS[uid], uid), body_of(OCTETS[uid]))
    store.may_end.set()

    for _ in range(2):  # a worker tries to keep what it has before it gives up
        with pytest.raises(ArchiveNotWritable):
            batch.flush()
    batch.abandon()

    assert (done, list(catalog.messages.placements(1))) == ([], [])
    assert files_of(path) == {"tmp": 0, "cur": 0}
    catalog.close()
