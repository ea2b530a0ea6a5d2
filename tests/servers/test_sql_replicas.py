"""What the SQL catalog knows of destinations: the contract, and what a rebuilt one knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from archiver.catalog.replicas import PendingMessages
from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.facts.archive import Fact
from archiver.journal.files import FileJournal
from archiver.mail.model import Digest
from tests.contracts.catalog import SEEN, following, stored
from tests.contracts.keeping import KeepingContract
from tests.contracts.pending import PendingContract
from tests.contracts.prunes import PrunesContract
from tests.contracts.replicas import ACCOUNT, ReplicasContract, SharingContract, copied, everything, refused
from tests.contracts.restores import RestoresContract


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


class TestSqlSharing(SharingContract):
    pass


class TestSqlRestores(RestoresContract):
    pass


class TestSqlPending(PendingContract):
    @pytest.fixture
    def pending(self, catalog: SqlCatalog) -> PendingMessages:
        return catalog.replicas.pending


def steps_of(catalog: SqlCatalog, call: Callable[[], object]) -> int:
    """How many steps of SQLite's machine a call takes."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with catalog._database.reading() as connection:
        connection.set_progress_handler(step, 1)
    call()
    with catalog._database.reading() as connection:
        connection.set_progress_handler(None, 1)
    return steps


def test_what_is_asked_of_a_folder_in_each_run_does_not_grow_with_it(catalog: SqlCatalog) -> None:
    messages = catalog.replicas.messages
    catalog.apply(following(catalog, *ACCOUNT))
    taken = []
    for uids in (range(10, 20), range(20, 600)):
        catalog.apply(following(catalog, *map(stored, uids), *map(copied, uids)))
        newest = 1000 + uids[-1]
        taken.append(
            (
                steps_of(catalog, lambda: messages.newest(1, 1, removed=True)),
                steps_of(catalog, lambda newest=newest: messages.claimed(1, since=newest)),  # type: ignore[misc]
                steps_of(catalog, lambda: messages.newest(1, 5)),
            )
        )

    assert taken[0] == taken[1]


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


class TestSqlKeeping(KeepingContract):
    """What must be kept is read from the same tables."""


class TestSqlPrunes(PrunesContract):
    """So is what was removed from the source."""
