"""What the SQL catalog knows of destinations: the contract, and how an older catalog comes to know of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, text

from archiver.catalogs.schema import COPY, DESTINATION, INTENT, MAPPED, META, METADATA, MIGRATIONS, REFUSAL, TARGET
from archiver.catalogs.sql import SqlCatalog
from archiver.facts import Fact
from archiver.model import Digest
from archiver.stores.journal import FileJournal
from tests.contracts.catalog import AT, FIRST, INBOX, SEEN, apply, following, stored
from tests.contracts.copies import ACCOUNT, THERE, CopiesContract, copied, everything, refused

_OF_DESTINATIONS = {table.name for table in (DESTINATION, MAPPED, TARGET, COPY, INTENT, REFUSAL)}


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


class TestSqlCopies(CopiesContract):
    pass


# From version 1, which knew of no destinations


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A catalog of version 1 with a message in it."""
    path = tmp_path / "older.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    tables = [table for table in METADATA.sorted_tables if table.name not in _OF_DESTINATIONS]
    with engine.begin() as connection:
        METADATA.create_all(connection, tables=tables)
        connection.execute(text("ALTER TABLE step DROP COLUMN seconds"))
        connection.execute(text("INSERT INTO step VALUES ('R0', 'archive', '{}', '2026-11-22T07:00:00Z')"))
        connection.execute(insert(META).values(key="schema_version", value="1"))
    engine.dispose()
    known = SqlCatalog(path, migrations=())
    apply(known, INBOX, FIRST, stored(1), run="R0")
    known.close()
    return path


def schema_of(path: Path) -> dict[str, object]:
    """All tables with their columns, keys and indices, and the version."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, object] = {
            name: {
                pragma: sorted(connection.execute(f"PRAGMA {pragma}({name})").fetchall())
                for pragma in ("table_info", "foreign_key_list", "index_list")
            }
            for name in names
        }
        indices = "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
        found["indices"] = connection.execute(indices).fetchall()
        found["version"] = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall()
        return found


def test_an_older_catalog_becomes_just_like_a_new_one(older: Path, catalog: SqlCatalog, tmp_path: Path) -> None:
    assert not _OF_DESTINATIONS & schema_of(older).keys()
    migrated = SqlCatalog(older)
    migrated.last_segment()
    migrated.close()
    catalog.last_segment()
    catalog.close()

    assert schema_of(older) == schema_of(tmp_path / "catalog.sqlite")
    assert schema_of(older)["version"] == [(str(1 + len(MIGRATIONS)),)]


def test_an_older_catalog_keeps_what_it_knows_and_learns_more(older: Path) -> None:
    migrated = SqlCatalog(older)
    copies = migrated.at_destinations()
    assert migrated.known(1) == {1: SEEN}
    assert migrated.ledger().step_result("R0", "archive") == "{}"
    assert copies.destination(THERE.host, THERE.user) is None

    apply(migrated, *(fact for fact in ACCOUNT if fact not in (INBOX, FIRST)), stored(2), copied(1))

    assert copies.claimed(1) == {1001: True}
    assert [each.key for each in copies.pending(1, [1], after=(0, 0), limit=9)] == [(1, 2)]
    migrated.ledger().complete_step("R1", "archive", "{}", AT, 1.5)
    assert migrated.ledger().timings("R1") == {"archive": 1.5}
    migrated.close()


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
