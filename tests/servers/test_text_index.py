"""The index of texts: a search finds the same as without it, whatever became of the file, and reads less."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

import archiver.catalog.sqlite.search.messages as searching
from archiver.catalog.sqlite import database
from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.catalog.sqlite.place import SqlitePlace
from archiver.facts.archive import HeadersFact, VanishedFact
from archiver.facts.query import Query
from archiver.mail.headers import folded
from archiver.mail.model import Headers
from archiver.storage.scratch_lock import in_use
from tests.contracts.catalog import FIRST, INBOX, LATER, apply, digest_of
from tests.contracts.message_index import MessageIndexContract, with_headers

WORDS = [
    *("straße", "Grüße", "ÜNÏCODE", "会議", "会議室", "приве́т", "Λόγος", "ΣΊΣΥΦΟΣ", "İstanbul", "ﬁsch"),
    *("\U0001f600\U0001f601", 'a"b', "100%", "x_y", "AND", "OR"),
]


def texts(seed: int) -> Headers:
    chosen = random.Random(seed)
    some = [" ".join(chosen.choices(WORDS, k=chosen.randint(0, 3))) for _ in range(3)]
    return Headers(f"{some[0]} <{seed}@example.org>", some[1], some[2], None)


def fill(catalog: SqlCatalog, count: int, first: int = 1, run: str = "R1") -> None:
    """`count` messages more, the last of them gone."""
    facts = [with_headers(uid, texts(uid), digest=digest_of(str(uid))) for uid in range(first, first + count)]
    apply(
        catalog,
        *([INBOX, FIRST] if first == 1 else []),
        *facts,
        VanishedFact(1, (first + count - 1,), LATER),
        run=run,
    )


@pytest.fixture
def place(tmp_path: Path) -> SqlitePlace:
    return SqlitePlace(tmp_path / "catalog.sqlite")


@pytest.fixture
def catalog(place: SqlitePlace, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlCatalog]:
    """An empty catalog that keeps an index of however few headers."""
    monkeypatch.setattr(searching, "_WORTH_INDEXING", 1)
    catalog = place.open()
    yield catalog
    catalog.close()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "search.sqlite"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many texts were compared since it was last asked, by connections that are opened from now on."""
    count = 0

    def counting(text: str) -> str:
        nonlocal count
        count += 1
        return folded(text)

    def asked() -> int:
        nonlocal count
        before, count = count, 0
        return before

    monkeypatch.setattr(database, "folded", counting)
    return asked


def queries() -> Iterator[Query]:
    """Parts of words, from one character to five, in one field and in several."""
    chosen = random.Random(1)
    for number in range(60):
        word = chosen.choice(WORDS)
        start = chosen.randrange(len(word))
        part = word[start : start + chosen.randint(1, 5)]
        other = chosen.choice(WORDS)[:3]
        yield (Query(text=part), Query(subject=part), Query(sender=part, recipients=other))[number % 3]
    yield Query(text="")
    yield Query(text="nobody at all")
    yield Query(sender="7@example", vanished=True, limit=3)


def found(catalog: SqlCatalog, asked: Sequence[Query]) -> list[list[int]]:
    return [[each.placement.uid for each in catalog.index.find(query)] for query in asked]


def without_index(place: SqlitePlace, asked: Sequence[Query]) -> list[list[int]]:
    with closing(SqlCatalog(place.file)) as catalog:
        return found(catalog, asked)


def covered(catalog: SqlCatalog) -> int:
    """Extend the index; returns by how many headers."""
    return sum(catalog.index.cover())


#: Limits of the ways to search, each so that another way has to find everything.
WAYS = {
    "the index": (1000, (), 0),
    "the newest": (-1, (2, 1000), 0),
    "a long list": (-1, (), 1000),
    "all": (-1, (), -1),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    few, newest, many = WAYS[request.param]
    monkeypatch.setattr(searching, "_FEW", few)
    monkeypatch.setattr(searching, "_NEWEST", newest)
    monkeypatch.setattr(searching, "_MANY", many)
    return str(request.param)


@pytest.mark.usefixtures("way")
class TestEachWay(MessageIndexContract):
    @pytest.fixture
    def catalog(self, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> SqlCatalog:
        """Its index is extended before each search."""
        find = catalog.index.find

        def covered_first(query: Query) -> object:
            covered(catalog)
            return find(query)

        monkeypatch.setattr(catalog.index, "find", covered_first)
        return catalog


@pytest.mark.usefixtures("way")
def test_a_search_finds_the_same_as_without_the_index(catalog: SqlCatalog, place: SqlitePlace) -> None:
    fill(catalog, 200)
    assert covered(catalog) == 200
    fill(catalog, 100, 201)
    asked = list(queries())

    assert found(catalog, asked) == without_index(place, asked)


def test_a_search_compares_what_the_index_names_and_what_it_does_not_cover(
    catalog: SqlCatalog, place: SqlitePlace, compared: Callable[[], int]
) -> None:
    fill(catalog, 300)
    covered(catalog)
    with closing(place.open()) as opened:
        assert found(opened, [Query(sender="123@exa")]) == [[123]]
        assert compared() == 1

        fill(catalog, 10, 301)
        assert found(opened, [Query(sender="123@exa"), Query(sender="<305@exa")]) == [[123], [305]]
        assert compared() == 2 * 10 + 1


def test_the_newest_are_read_first_if_many_match(
    catalog: SqlCatalog, place: SqlitePlace, compared: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_FEW", 50)
    monkeypatch.setattr(searching, "_NEWEST", (40,))
    fill(catalog, 300)
    covered(catalog)
    with closing(place.open()) as opened:
        assert found(opened, [Query(sender="@example.org", limit=5)]) == [[299, 298, 297, 296, 295]]
        assert compared() == 5


def test_only_what_is_new_is_added(catalog: SqlCatalog) -> None:
    fill(catalog, 30)
    assert (catalog.index.count_uncovered(), covered(catalog)) == (30, 30)
    assert (catalog.index.count_uncovered(), covered(catalog)) == (0, 0)

    fill(catalog, 2, 31)

    assert (catalog.index.count_uncovered(), covered(catalog)) == (2, 2)


def test_few_headers_need_no_index(catalog: SqlCatalog, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_WORTH_INDEXING", 31)
    fill(catalog, 30)

    assert (catalog.index.count_uncovered(), index.exists()) == (0, False)


def test_a_header_that_changes_is_found_as_it_is_now(catalog: SqlCatalog) -> None:
    fill(catalog, 10)
    covered(catalog)

    apply(catalog, HeadersFact(digest_of("4"), Headers("renamed", "", "", None)))

    assert found(catalog, [Query(sender="renam"), Query(sender="4@exa")]) == [[4], []]
    assert covered(catalog) == 1
    assert found(catalog, [Query(sender="renam"), Query(sender="4@exa")]) == [[4], []]


def test_what_was_added_before_an_interruption_is_kept(
    catalog: SqlCatalog, place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_AT_ONCE", 10)
    fill(catalog, 25)
    work = catalog.index.cover()
    assert next(work) == 10
    work.close()  # type: ignore[attr-defined]
    asked = list(queries())

    assert found(catalog, asked) == without_index(place, asked)
    assert (list(catalog.index.cover()), catalog.index.count_uncovered()) == ([10, 5], 0)


def test_a_killed_process_leaves_a_whole_index(
    catalog: SqlCatalog, place: SqlitePlace, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within a transaction: what it began is undone by the next one."""
    monkeypatch.setattr(searching, "_AT_ONCE", 10)
    fill(catalog, 25)
    if not (process := os.fork()):
        try:
            next(iter(catalog.index.cover()))
            with sqlite3.connect(index, isolation_level=None) as connection:
                connection.execute("PRAGMA cache_size = 1")
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("DELETE FROM texts_data")
                connection.execute("UPDATE covered SET header = 25")
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert index.with_name("search.sqlite-journal").exists()
    asked = list(queries())

    assert found(catalog, asked) == without_index(place, asked)
    assert covered(catalog) == 15
    assert found(catalog, asked) == without_index(place, asked)


def torn(index: Path) -> None:
    octets = index.read_bytes()
    index.write_bytes(octets[: len(octets) // 2])


def scribbled(index: Path) -> None:
    octets = bytearray(index.read_bytes())
    for start in range(4096, len(octets), 4096):
        octets[start : start + 200] = b"\xff" * 200
    index.write_bytes(octets)


def linked(index: Path) -> None:
    index.rename(index.with_name("elsewhere"))
    index.symlink_to("elsewhere")


def otherwise_made(index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("DROP TABLE covered")
        connection.execute("CREATE VIEW covered AS SELECT 'x', 1, 'x', 9999, 'x'")


HARM: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda index: index.write_bytes(b""),
    "no database": lambda index: index.write_bytes(b"mail" * 5000),
    "torn": torn,
    "scribbled over": scribbled,
    "a link": linked,
    "another form": otherwise_made,
}


@pytest.mark.parametrize("harm", HARM)
def test_an_index_that_is_no_good_is_made_anew(
    catalog: SqlCatalog, place: SqlitePlace, index: Path, harm: str
) -> None:
    fill(catalog, 40)
    covered(catalog)
    HARM[harm](index)
    asked = list(queries())
    expected = without_index(place, asked)

    assert found(catalog, asked) == expected
    assert covered(catalog) == 40
    assert found(catalog, asked) == expected
    assert index.lstat().st_mode == 0o100600


def test_an_index_of_another_catalog_is_made_anew(catalog: SqlCatalog, place: SqlitePlace, tmp_path: Path) -> None:
    """As after `rebuild`: the same facts, the headers numbered otherwise."""
    fill(catalog, 40)
    covered(catalog)
    catalog.close()
    place.file.unlink()
    rebuilt = place.open()
    apply(rebuilt, HeadersFact(digest_of("40"), texts(40)))
    fill(rebuilt, 40)
    asked = list(queries())

    assert found(rebuilt, asked) == without_index(place, asked)
    assert covered(rebuilt) == 40
    rebuilt.close()


def test_a_catalog_from_a_backup_that_went_on_otherwise(catalog: SqlCatalog, place: SqlitePlace) -> None:
    fill(catalog, 20)
    catalog.close()
    backup = place.file.with_name("backup")
    shutil.copyfile(place.file, backup)
    fill(catalog, 20, 21)
    covered(catalog)
    catalog.close()
    shutil.copyfile(backup, place.file)
    fill(catalog, 30, 51, run="R2")
    asked = list(queries())

    assert found(catalog, asked) == without_index(place, asked)
    assert covered(catalog) == 50


def test_a_copy_uses_the_index_and_leaves_it_as_it_is(
    catalog: SqlCatalog, place: SqlitePlace, index: Path, tmp_path: Path, compared: Callable[[], int]
) -> None:
    fill(catalog, 40)
    covered(catalog)
    before = index.read_bytes()
    (tmp_path / "copy").mkdir()
    with closing(place.copied(tmp_path / "copy").open()) as copy:
        fill(copy, 2, 41)

        assert (found(copy, [Query(sender="<33@"), Query(sender="<41@")]), compared()) == ([[33], [41]], 5)
        assert (copy.index.count_uncovered(), covered(copy), index.read_bytes()) == (0, 0, before)
        torn(index)
        assert found(copy, [Query(sender="<33@")]) == [[33]]
    assert sorted(each.name for each in (tmp_path / "copy").iterdir()) == ["catalog.sqlite"]


def test_while_another_process_extends_it_a_search_reads_what_is_not_covered(
    catalog: SqlCatalog, index: Path
) -> None:
    fill(catalog, 40)
    with in_use(index):
        assert covered(catalog) == 0
        assert found(catalog, [Query(sender="<33@")]) == [[33]]
    assert covered(catalog) == 40


def test_a_full_disk_costs_only_speed(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch, index: Path) -> None:
    fill(catalog, 40)
    index.mkdir()  # nothing can be written there

    assert covered(catalog) == 0
    assert found(catalog, [Query(sender="<33@")]) == [[33]]
