"""How an older catalog becomes a newer one: it is just like a new one, and keeps what it knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.catalog.sqlite.migrations import MIGRATIONS
from archiver.facts.archive import PackedFact
from archiver.facts.replica import KnownDestination
from archiver.mail.model import Frame, Headers
from tests.contracts.catalog import AT, FIRST, INBOX, SEEN, apply, digest_of, stored
from tests.contracts.replicas import ACCOUNT, HERE, THERE, copied

_OF_COPIES = {"forgotten_copy"}
_OF_PRUNES = {"prune", *_OF_COPIES}
_OF_FORGETTING = {"forget", "forgotten", "forgotten_place", *_OF_PRUNES}
_OF_MARKS = {"mark", *_OF_FORGETTING}
_OF_HOLDS = {"hold", *_OF_MARKS}
_OF_WATCHES = {"watch", *_OF_HOLDS}
_OF_RESTORES = {"restore", "restore_place", *_OF_WATCHES}
_OF_ACCESS = {"rights", "annotations", "granted", *_OF_RESTORES}
_OF_LABELS = {"label_change", *_OF_ACCESS}
_OF_NAMES = {"numbering", "name", *_OF_LABELS}
LATER_TABLES = {
    1: {
        *("destination", "mapped", "target", "copy", "intent", "refusal", "header", "pack", "frame"),
        *("attempt", "twin", "address", "distinct_source", *_OF_NAMES),
    },
    2: {"header", "pack", "frame", "attempt", "twin", "address", "distinct_source", *_OF_NAMES},
    3: {"attempt", "twin", "address", "distinct_source", *_OF_NAMES},
    4: _OF_NAMES,
    5: _OF_NAMES,
    6: _OF_NAMES,
    7: _OF_NAMES,
    8: _OF_NAMES,
    9: _OF_LABELS,
    10: _OF_ACCESS,
    11: _OF_RESTORES,
    12: _OF_WATCHES,
    13: _OF_HOLDS,
    14: _OF_MARKS,
    15: _OF_FORGETTING,
    16: _OF_PRUNES,
    17: _OF_COPIES,
}
"""The tables that a catalog of a version does not have yet."""

LATER_COLUMNS = {
    2: [("step", "seconds")],
    4: [("pass", "shown"), ("folder", "gone_at"), ("folder", "gone_run"), ("target", "renaming")],
    5: [("mapped", "subscribed")],
    6: [("copy", "accepted_at")],
    7: [
        *(("target", f"compared_{name}") for name in ("uidnext", "messages", "modseq", "size")),
        ("copy", "compared"),
    ],
    10: [
        *(("message", name) for name in ("thrid", "labels")),
        *(("copy", name) for name in ("source_labels", "labels", "lost_labels")),
    ],
}
"""The columns that came with a version, and not with their table."""

LATER_INDICES = {6: ["ix_message_emailid"], 8: ["ix_message_arrived"], 10: ["ix_message_unlabelled"]}
"""The indices that came with a version, and not with their table."""

HEADER_BEFORE_8 = """
CREATE TABLE header (
    digest TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    subject TEXT NOT NULL,
    sent TEXT,
    PRIMARY KEY (digest)
) WITHOUT ROWID
"""


@pytest.fixture(params=sorted(LATER_TABLES))
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def older(tmp_path: Path, version: int) -> Path:
    """A catalog of an older version with a message in it: a new one without what came later."""
    path = tmp_path / "older.sqlite"
    known = SqlCatalog(path)
    apply(known, INBOX, FIRST, stored(1), run="R0")
    known.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        for later, indices in LATER_INDICES.items():
            for index in indices if version < later else ():
                connection.execute(f"DROP INDEX {index}")
        for later, columns in LATER_COLUMNS.items():
            for table, column in columns if version < later else ():
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in LATER_TABLES[version]:
            connection.execute(f"DROP TABLE {table}")
        if version < 8:
            connection.execute("DELETE FROM meta WHERE key = 'catalog'")
        if 3 <= version < 8:
            connection.execute("DROP TABLE header")
            connection.execute(HEADER_BEFORE_8)
            connection.execute("INSERT INTO header VALUES (?, 'zoe', '', 'Hello', NULL)", (digest_of("old"),))
        row = "INSERT INTO step (run, step, result, at) VALUES ('R0', 'archive', '{}', '2026-11-22T07:00:00Z')"
        connection.execute(row)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(version),))
    return path


@pytest.fixture
def migrated(older: Path) -> Iterator[SqlCatalog]:
    catalog = SqlCatalog(older)
    yield catalog
    catalog.close()


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


def test_an_older_catalog_becomes_just_like_a_new_one(older: Path, version: int, tmp_path: Path) -> None:
    assert not LATER_TABLES[version] & schema_of(older).keys()
    for path in (older, tmp_path / "new.sqlite"):
        catalog = SqlCatalog(path)
        catalog.last_segment()
        catalog.close()

    assert schema_of(older) == schema_of(tmp_path / "new.sqlite")
    assert schema_of(older)["version"] == [(str(1 + len(MIGRATIONS)),)]


def test_it_keeps_what_it_knows(migrated: SqlCatalog) -> None:
    assert migrated.messages.known(1) == {1: SEEN}
    assert migrated.ledger.step_result("R0", "archive") == "{}"


def test_it_learns_of_destinations(migrated: SqlCatalog) -> None:
    replicas = migrated.replicas
    assert migrated.replicas.destinations.at(HERE) is None

    apply(migrated, *(fact for fact in ACCOUNT if fact not in (INBOX, FIRST)), stored(2), copied(1))

    assert replicas.messages.claimed(1) == {1001: True}
    assert [each.key for each in replicas.pending.batch(1, [1], after=(0, 0), limit=9)] == [(1, 2)]
    migrated.ledger.complete_step("R1", "archive", "{}", AT, 1.5)
    assert migrated.ledger.timings("R1") == {"archive": 1.5}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_destination_keeps_its_address_and_learns_its_port(older: Path, version: int) -> None:
    if version > 1:
        with closing(sqlite3.connect(older)) as connection, connection:
            connection.execute("INSERT INTO destination VALUES (1, ?, ?, ?)", (HERE.host, HERE.user, AT))
    migrated = SqlCatalog(older)
    if version == 1:
        apply(migrated, THERE)
    assert migrated.replicas.destinations.at(HERE) == KnownDestination(1, replace(HERE, port=None))
    migrated.close()


def test_it_learns_of_headers_and_packs(migrated: SqlCatalog) -> None:
    frame = Frame(digest_of("pack"), 0, 99)
    headers = Headers("Zoë <zoe@example.org>", "", "Hello", None)

    apply(
        migrated,
        replace(stored(2), headers=headers),
        PackedFact(frame.pack, 99, ((stored(1).message.digest, frame.offset, frame.length),)),
    )

    assert migrated.messages.known(1) == {1: SEEN, 2: SEEN}
    one, two = (stored(uid).message.digest for uid in (1, 2))
    assert migrated.messages.frames([one, two]) == {one: frame}


@pytest.mark.parametrize("version", [3, 7])
def test_it_keeps_its_headers(migrated: SqlCatalog) -> None:
    old = digest_of("old")

    assert migrated.index.headers([old]) == {old: Headers("zoe", "", "Hello", None)}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_it_learns_since_when_a_folder_is_gone(older: Path) -> None:
    """The newest archive step counts as the first that saw it."""
    with closing(sqlite3.connect(older)) as connection, connection:
        connection.execute("UPDATE folder SET listed = 0")
    catalog = SqlCatalog(older)
    catalog.last_segment()
    catalog.close()
    with closing(sqlite3.connect(older)) as connection:
        gone = connection.execute("SELECT gone_at, gone_run FROM folder").fetchall()
    assert gone == [("2026-11-22T07:00:00Z", "R0")]
