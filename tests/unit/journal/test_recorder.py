"""What one connection gathers: what goes wrong with some of it is never taken for something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.errors import IntegrityError
from archiver.facts.archive import EpochFact, FolderFact
from archiver.journal.recorder import Batch
from archiver.mail.content import body_of
from tests.contracts.store import placement_of
from tests.memory_bucket import MemoryBucket
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
