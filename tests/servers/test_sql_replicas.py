"""What the SQL catalog knows of destinations: the contract, and what a rebuilt one knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archiver.catalog.replicas import PendingMessages
from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.facts.archive import Fact
from archiver.journal.files import FileJournal
from archiver.mail.model import Digest
from tests.contracts.catalog import SEEN, following, stored
from tests.contracts.pending import PendingContract
from tests.contracts.replicas import ACCOUNT, ReplicasContract, copied, everything, refused


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    catalog = SqlCatalog(tmp_path / "catalog.sqlite")
    yield catalog
    catalog.close()


@pytest.fixture
def rebuilt(tmp_path: Path) -> Iterator[SqlCatalog]:
    rebuilt = SqlCatalog(tmp_path / "rebuilt.sqlite")
    yield rebuilt
    rebuilt.close()


class TestSqlReplicas(ReplicasContract):
    pass


class TestSqlPending(PendingContract):
    @pytest.fixture
    def pending(self, catalog: SqlCatalog) -> PendingMessages:
        return catalog.replicas.pending


# Journal and catalog together


def test_a_catalog_rebuilt_from_the_journal_is_the_same(
    catalog: SqlCatalog, rebuilt: SqlCatalog, tmp_path: Path
) -> None:
    journal = FileJournal(tmp_path / "journal")
    batches: list[Sequence[Fact]] = [
        ACCOUNT,
        [*map(stored, range(1, 20))],
        [*map(copied, range(1, 10)), refused(10), refused(11, server_reply="NO \udcff", subject='"\x00')],
        [copied(1, 3000), copied(2, 3001, repaired=("crlf", "nul"), lost=SEEN)],
    ]
    for facts in batches:
        catalog.apply(journal.append("R1", following(catalog, *facts).facts, catalog.last_segment()))

    for segment in journal.read((0, Digest(""))):
        rebuilt.apply(segment)

    assert everything(rebuilt) == everything(catalog)
