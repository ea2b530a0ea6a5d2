"""Packs with their records: a PackStore whose batches write journal and catalog, as a run does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.facts.archive import Fact
from archiver.journal.files import FileJournal
from archiver.journal.recorder import Recorder
from archiver.mail.model import Body, Placement
from archiver.storage.bucket.objects import ObjectStore
from archiver.storage.bucket.pack_batch import PackBatch
from archiver.storage.bucket.packs import PackStore
from archiver.storage.bucket.port import Bucket
from archiver.storage.bucket.prefetch import SMALL_OCTETS


class RecordedPacks:
    """An archive's packs over `bucket`, with journal and catalog below `path`."""

    def __init__(self, bucket: Bucket, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.bucket = bucket
        self.path = path
        self.catalog = SqlCatalog(path / "catalog.sqlite")
        self.recorder = Recorder(FileJournal(path, "none"), self.catalog, "run")

    def open(self, below: int = SMALL_OCTETS, connections: int = 8) -> RecordingStore:
        """The store opened again, as the next run would."""
        objects = ObjectStore(self.bucket, self.path, connections)
        return RecordingStore(self.bucket, objects, self.catalog, self.recorder, below)


class RecordingStore(PackStore):
    """A PackStore that records what its batches return by itself."""

    def __init__(
        self, bucket: Bucket, objects: ObjectStore, catalog: SqlCatalog, recorder: Recorder, below: int
    ) -> None:
        super().__init__(bucket, objects, catalog.messages.frames, below)
        self.recorder = recorder

    def batch(self) -> RecordingBatch:  # type: ignore[override]
        return RecordingBatch(super().batch(), self.recorder)

    def rewrite_batch(self, damaged: Sequence[Placement]) -> RecordingBatch:  # type: ignore[override]
        return RecordingBatch(super().rewrite_batch(damaged), self.recorder)


class RecordingBatch:
    """A StoreBatch."""

    def __init__(self, batch: PackBatch, recorder: Recorder) -> None:
        self.unrecorded = batch
        self.recorder = recorder

    def put(self, placement: Placement, body: Body, twin: Placement | None = None) -> None:
        self.unrecorded.put(placement, body, twin)

    def link(self, placement: Placement, twin: Placement) -> None:
        self.unrecorded.link(placement, twin)

    def abandon(self) -> None:
        self.unrecorded.abandon()

    def commit(self) -> Sequence[Fact]:
        facts = self.unrecorded.commit()
        self.recorder.write(facts)
        return facts
