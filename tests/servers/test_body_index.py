"""The index of contents in its file: a search finds what comparing all texts finds, whatever became of the file."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

import archiver.catalog.sqlite.search.inside as inside
import archiver.catalog.sqlite.search.vocabulary as vocabulary
from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.catalog.sqlite.place import SqlitePlace
from archiver.catalog.sqlite.search.body_index import BodyIndex
from archiver.errors import ArchiverError
from archiver.facts.archive import HeadersFact
from archiver.facts.query import Query
from archiver.mail.headers import folded
from archiver.upkeep import index_contents as step
from archiver.upkeep.index_contents import ContentsIndexed
from tests.contracts.catalog import apply, digest_of
from tests.contracts.content_index import NOBODY, ContentIndexContract, Octets, filled, read, removed, uids
from tests.servers.test_text_index import HARM, WORDS

#: Limits of the ways to search, each so that another one has to find everything: how many are a sample, how many
#: are many, and how many of the newest are compared first.
WAYS = {
    "what is named": (5000, 50_000, 4000),
    "the newest": (1, 0, 4000),
    "the newest, then what is named": (1, 0, 2),
    "the newest, then all that is named": (1, 50_000, 2),
}


@pytest.fixture
def place(tmp_path: Path) -> SqlitePlace:
    return SqlitePlace(tmp_path / "catalog.sqlite")


@pytest.fixture
def catalog(place: SqlitePlace) -> Iterator[SqlCatalog]:
    catalog = place.open()
    yield catalog
    catalog.close()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "bodies.sqlite"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, limit in zip(("_SAMPLE", "_MANY", "_FIRST"), WAYS[request.param], strict=True):
        monkeypatch.setattr(inside, name, limit)
    monkeypatch.setattr(inside, "_MARGIN", 0)
    monkeypatch.setattr(inside, "_AT_ONCE", 10)
    return str(request.param)


@pytest.mark.usefixtures("way")
class TestEachWay(ContentIndexContract):
    pass


def texts(count: int) -> dict[int, str]:
    chosen = random.Random(7)
    return {uid: " ".join(chosen.choices(WORDS, k=chosen.randint(0, 6))) for uid in range(1, count + 1)}


@pytest.mark.usefixtures("way")
def test_a_search_finds_what_comparing_every_text_finds(catalog: SqlCatalog) -> None:
    said = texts(150)
    read(catalog, filled(catalog, {uid: b"\n" + text.encode() for uid, text in said.items()}))
    chosen = random.Random(1)
    for _ in range(80):
        text = chosen.choice([*said.values(), "会議室 приве́т", "Q"])
        start = chosen.randrange(len(text) + 1)
        asked = text[start : start + chosen.randint(1, 12)].strip() or "e"
        expected = [uid for uid in reversed(said) if folded(asked) in folded(" ".join(said[uid].split()))]
        expected += [1] if 1 in expected else []
        for limit in (1000, 5):
            assert uids(catalog, Query(body=asked, limit=limit)) == expected[:limit], asked
            assert uids(catalog, Query(body=asked, limit=limit, smaller=1 << 40)) == expected[:limit], asked


#: One kind of run each; a blank is the mark of grams in the index.
KINDS = ["ab", "a1", "会議室", "กข", "-.", "ßπ", "\ue000a", " "]


def odd_text(chosen: random.Random) -> str:
    runs = (chosen.choices(chosen.choice(KINDS), k=chosen.choice((1, 2, 3, 7, 26))) for _ in range(12))
    return " ".join("".join(each for run in runs for each in run).split())


@pytest.mark.usefixtures("way")
def test_any_part_of_words_of_any_kind_and_length_is_found(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_FREQUENT", 3)
    chosen = random.Random(3)
    said = {uid: odd_text(chosen) for uid in range(1, 101)}
    read(catalog, filled(catalog, {uid: b"\n" + text.encode() for uid, text in said.items()}))
    for _ in range(300):
        text = chosen.choice(list(said.values()))
        start = chosen.randrange(len(text))
        asked = text[start : start + chosen.choice((1, 2, 3, 5, 12, 40))].strip()
        expected = [uid for uid in reversed(said) if folded(asked) in folded(said[uid])]
        assert uids(catalog, Query(body=asked, limit=1000, folders={1})) == expected, asked


def test_a_killed_process_leaves_what_it_added(
    catalog: SqlCatalog, place: SqlitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed twice, each time within a batch: the whole batches before it are kept, and searched."""
    monkeypatch.setattr(step, "_AT_ONCE", 10)
    store = filled(catalog, {uid: b"\nvoice %d" % uid for uid in range(1, 41)})
    catalog.close()
    for last in (15, 25):
        if not (process := os.fork()):
            try:
                store.ends_at = last
                with closing(place.open()) as mine:
                    read(mine, store)
            finally:
                os._exit(1)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert uids(catalog, Query(body="voice", folders={1})) == list(range(30, 0, -1))

    assert read(catalog, store) == ContentsIndexed(10, 0, 0)
    assert uids(catalog, Query(body="voice", folders={1})) == list(range(40, 0, -1))


@pytest.mark.parametrize("harm", HARM)
def test_an_index_that_is_no_good_is_made_again(catalog: SqlCatalog, index: Path, harm: str) -> None:
    store = filled(catalog, {uid: b"\nvoice %d " % uid + os.urandom(3000).hex().encode() for uid in range(1, 41)})
    read(catalog, store)
    HARM[harm](index)
    for _ in range(2):  # what is damaged is removed when it is found out
        with suppress(ArchiverError):
            uids(catalog, Query(body="voice 3"))
        with suppress(ArchiverError):
            read(catalog, store)

    assert (catalog.index.contents.count_missing(), uids(catalog, Query(body="voice 33"))) == (0, [33])
    assert index.lstat().st_mode == 0o100600


def test_another_catalog_uses_what_was_read_and_removes_what_it_does_not_know(
    catalog: SqlCatalog, place: SqlitePlace
) -> None:
    """As after `rebuild`: the same messages, numbered otherwise, one of them gone."""
    store = filled(catalog, {uid: b"\nvoice %d" % uid for uid in range(1, 5)})
    read(catalog, store)
    catalog.close()
    place.file.unlink()
    with closing(place.open()) as rebuilt:
        filled(rebuilt, {3: b"", 2: b"", 1: b""})
        apply(rebuilt, HeadersFact(digest_of("1"), NOBODY))
        assert (uids(rebuilt, Query(body="voice")), rebuilt.index.contents.count_missing()) == ([3, 2, 1, 1], 0)
        removed(rebuilt, [])
        with rebuilt.index.contents.extending() as extension:
            assert extension is not None
            assert extension.next(10) == ()
        assert store.reads == 4
    with closing(place.open()) as again:
        assert again.index.contents.count_missing() == 0


def test_words_that_were_purged_are_nowhere_in_the_file(catalog: SqlCatalog, index: Path) -> None:
    """Neither whole, nor parts of them; words of other messages stay."""
    message = (
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b; name=sezzame.pdf\n\nx\n--b\n"
        "Content-Type: text/plain; charset=utf-8\n\nother 2719-4481 0f3c9a7b5d2e4c6a8f1b3d5e7 暗証 qwyjibo\n--b--"
    )
    store = filled(catalog, {1: message.encode(), 2: b"\nsome other"})
    read(catalog, store)
    words = ["sezzame", "zzam", "2719", "4481", "0f3c", "暗証", "qwyjibo"]
    assert [word for word in words if word.encode() not in index.read_bytes()] == []

    BodyIndex(index).purge([digest_of("1")], 2)

    octets = index.read_bytes()
    assert [word for word in words if word.encode() in octets] == []
    assert bytes.fromhex(digest_of("1")) not in octets
    assert (uids(catalog, Query(body="ome other")), uids(catalog, Query(body="qwyjibo"))) == ([2], [])


def test_a_copy_uses_the_index_and_leaves_it_as_it_is(
    catalog: SqlCatalog, place: SqlitePlace, index: Path, tmp_path: Path
) -> None:
    store: Octets = filled(catalog)
    read(catalog, store)
    before = index.read_bytes()
    (tmp_path / "copy").mkdir()
    with closing(place.copied(tmp_path / "copy").open()) as copy:
        assert (uids(copy, Query(body="invoice")), copy.index.contents.may_change) == ([2], False)
        with copy.index.contents.extending() as extension:
            assert extension is None
    assert index.read_bytes() == before


def test_while_another_process_extends_it_what_it_has_is_found(catalog: SqlCatalog, place: SqlitePlace) -> None:
    read(catalog, filled(catalog))
    with closing(place.open()) as other, other.index.contents.extending() as extension:
        assert extension is not None
        assert uids(catalog, Query(body="invoice")) == [2]
        with catalog.index.contents.extending() as second:
            assert second is None
