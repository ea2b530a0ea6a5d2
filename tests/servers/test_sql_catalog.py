"""The catalog in SQLite: the contract of a catalog, and what befalls files, threads and processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.catalog.sqlite.database import refuse_network
from archiver.catalog.sqlite.migrations import MIGRATIONS
from archiver.catalog.sqlite.place import SqlitePlace
from archiver.errors import ArchiveNotWritable, ConfigError, IntegrityError
from archiver.journal.files import FileJournal
from archiver.mail.model import Digest, Placement, StoredMessage
from archiver.storage.mounts import file_system_of
from tests.contracts.catalog import AT, FIRST, INBOX, SEEN, CatalogContract, apply, following, placement, stored
from tests.contracts.catalog_place import CatalogPlaceContract
from tests.contracts.message_index import MessageIndexContract
from tests.servers.small_disk import fill, make_read_only, mounted
from tests.warm import ended


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive" / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path) -> Iterator[SqlCatalog]:
    catalog = SqlCatalog(path)
    yield catalog
    catalog.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small") as directory:
        yield directory


class TestSqlCatalog(CatalogContract):
    pass


class TestSqlMessageIndex(MessageIndexContract):
    pass


class TestSqlitePlace(CatalogPlaceContract):
    @pytest.fixture
    def place(self, path: Path) -> SqlitePlace:
        path.parent.mkdir()
        return SqlitePlace(path)

    @pytest.fixture
    def same_place(self, tmp_path: Path, place: SqlitePlace) -> SqlitePlace:
        (tmp_path / "link").symlink_to(place.file.parent)
        return SqlitePlace(tmp_path / "link" / place.file.name)

    @pytest.fixture
    def elsewhere(self, tmp_path: Path) -> SqlitePlace:
        return SqlitePlace(tmp_path / "other" / "catalog.sqlite")


def test_what_is_read_is_as_frozen_as_what_is_made(catalog: SqlCatalog) -> None:
    apply(catalog, INBOX, FIRST, stored(1))

    (place,) = catalog.messages.placements(1)

    assert (place, hash(place)) == (placement(1), hash(placement(1)))
    assert (type(place), type(place.message)) == (Placement, StoredMessage)
    for value, name in ((place, "present"), (place.message, "uid")):
        with pytest.raises(AttributeError):
            setattr(value, name, 2)


# The file


def test_nothing_is_opened_before_it_is_needed(path: Path) -> None:
    SqlCatalog(path).close()

    assert not path.exists()


def test_no_other_user_may_read_it(path: Path, catalog: SqlCatalog) -> None:
    apply(catalog, INBOX)

    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    assert modes == {
        "catalog.sqlite": "0o600",
        "catalog.sqlite-shm": "0o600",
        "catalog.sqlite-wal": "0o600",
    }


def test_closed_it_is_one_file(path: Path, catalog: SqlCatalog) -> None:
    apply(catalog, INBOX)

    catalog.close()
    catalog.close()

    assert os.listdir(path.parent) == ["catalog.sqlite"]


def test_closed_it_opens_again(catalog: SqlCatalog) -> None:
    apply(catalog, INBOX)
    catalog.close()

    assert list(catalog.account.folders()) == [b"INBOX"]


def test_only_a_catalog_that_stays_is_synced(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path / "catalog.sqlite")
    with place.scratch("verify") as thrown_away, place.scratch("rebuild", to_install=True) as kept:
        modes = []
        for each in (thrown_away, kept):
            with each._database.reading() as connection:
                modes.append(connection.execute("PRAGMA synchronous").fetchone()[0])
    off, full = 0, 2
    assert modes == [off, full]


def test_a_commit_survives_power_loss(catalog: SqlCatalog) -> None:
    with catalog._database.writing() as connection:
        settings = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }

    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@pytest.mark.parametrize("octets", [b"no database " * 1000, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_what_is_no_database_is_reported(path: Path, octets: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(octets)

    with pytest.raises(IntegrityError) as caught:
        SqlCatalog(path).last_segment()

    assert "archiver rebuild" in str(caught.value)
    assert str(path) in caught.value.message


def test_a_damaged_database_is_reported(path: Path, catalog: SqlCatalog) -> None:
    apply(catalog, INBOX, FIRST, *map(stored, range(1, 2000)))
    catalog.close()
    octets = bytearray(path.read_bytes())
    octets[4096 * 20 :] = b"\xa5" * (len(octets) - 4096 * 20)
    path.write_bytes(octets)

    with pytest.raises(IntegrityError):
        catalog.messages.known(1)


def test_a_directory_in_its_place_is_reported(path: Path) -> None:
    path.mkdir(parents=True)

    with pytest.raises(ArchiveNotWritable):
        SqlCatalog(path).last_segment()


def test_a_full_disk_is_reported_and_changes_nothing(small_disk: Path) -> None:
    catalog = SqlCatalog(small_disk / "catalog.sqlite")
    apply(catalog, INBOX, FIRST, stored(1))
    ballast = fill(small_disk, spare=8192)

    with pytest.raises(ArchiveNotWritable):
        apply(catalog, *map(stored, range(2, 2000)))

    assert catalog.messages.known(1) == {1: SEEN}
    ballast.unlink()
    apply(catalog, stored(2))
    assert catalog.messages.known(1) == {1: SEEN, 2: SEEN}
    catalog.close()


def test_a_read_only_disk_is_reported(small_disk: Path) -> None:
    make_read_only(small_disk)

    with pytest.raises(ArchiveNotWritable):
        SqlCatalog(small_disk / "catalog.sqlite").last_segment()


# File systems

MOUNTS = """\
22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /srv/mail rw,relatime shared:1 master:2 - nfs4 nas:/mail rw,vers=4.2
41 40 254:1 / /srv/mail/local\\040disk rw - xfs /dev/vdb rw
42 27 0:51 / /mnt/share rw - cifs //nas/share rw
43 42 254:2 / /mnt/share rw - btrfs /dev/vdc rw
44 27 0:52 / /home/a/remote rw - fuse.sshfs a@b:/ rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/other/catalog.sqlite", "ext4"),
        ("/srv/mail/alice/catalog.sqlite", "nfs4"),
        ("/srv/mailbox/catalog.sqlite", "ext4"),
        ("/srv/mail/local disk/catalog.sqlite", "xfs"),
        ("/mnt/share/catalog.sqlite", "btrfs"),
        ("/home/a/remote/catalog.sqlite", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("path", ["/srv/mail/alice/catalog.sqlite", "/home/a/remote/catalog.sqlite"])
def test_a_network_file_system_is_refused(tmp_path: Path, path: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    with pytest.raises(ConfigError) as caught:
        refuse_network(Path(path), mounts)

    assert "local directory" in str(caught.value)


def test_a_local_file_system_will_do(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    refuse_network(Path("/srv/other/catalog.sqlite"), mounts)
    refuse_network(Path("/srv/mail/catalog.sqlite"), tmp_path / "no such file")


# Versions of the schema


def add_colour(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE folder ADD COLUMN colour TEXT")


def paint(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE folder SET colour = 'red'")


def fail(connection: sqlite3.Connection) -> None:
    paint(connection)
    raise ArchiveNotWritable("the disk is full")


def colours(path: Path) -> list[tuple[str | None]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT colour FROM folder").fetchall()
    finally:
        connection.close()


def test_an_older_catalog_is_migrated_step_by_step(path: Path, catalog: SqlCatalog) -> None:
    apply(catalog, INBOX)
    catalog.close()

    for _ in range(2):
        newer = SqlCatalog(path, migrations=[*MIGRATIONS, add_colour, paint])
        assert list(newer.account.folders()) == [b"INBOX"]
        newer.close()

    assert colours(path) == [("red",)]


def test_a_migration_that_fails_is_undone_alone(path: Path, catalog: SqlCatalog) -> None:
    apply(catalog, INBOX)
    catalog.close()

    with pytest.raises(ArchiveNotWritable):
        SqlCatalog(path, migrations=[*MIGRATIONS, add_colour, fail]).last_segment()
    assert colours(path) == [(None,)]

    repaired = SqlCatalog(path, migrations=[*MIGRATIONS, add_colour, paint])
    assert repaired.last_segment()[0] == 1
    repaired.close()
    assert colours(path) == [("red",)]


def test_a_newer_catalog_is_refused(path: Path, catalog: SqlCatalog) -> None:
    apply(catalog, INBOX)
    catalog.close()
    newer = SqlCatalog(path, migrations=[*MIGRATIONS, add_colour])
    newer.last_segment()
    newer.close()

    with pytest.raises(ConfigError) as caught:
        catalog.last_segment()

    assert f"schema version {2 + len(MIGRATIONS)}" in caught.value.message
    assert caught.value.hint == f"install a mail-archiver that knows schema version {2 + len(MIGRATIONS)}"


# Threads and processes


def test_threads_write_and_read_at_once(catalog: SqlCatalog) -> None:
    apply(catalog, INBOX, FIRST, *map(stored, range(1, 500)))
    ledger = catalog.ledger

    def work(thread: int) -> int:
        for number in range(20):
            ledger.begin(f"{thread}-{number}", AT)
        return sum(1 for _ in catalog.messages.placements())

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(work, range(6))) == [499] * 6
    assert len(ledger.runs()) == 120


BEGIN_RUNS = """
import sys
from pathlib import Path
from archiver.catalog.sqlite.catalog import SqlCatalog
catalog = SqlCatalog(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
for number in range(25):
    catalog.ledger.begin(f"{sys.argv[2]}-{number}", "now")
catalog.close()
"""


def test_processes_create_and_write_it_at_once(path: Path, catalog: SqlCatalog) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN_RUNS, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    for child in children:
        assert child.stdout is not None
        child.stdout.close()

    assert [child.wait(60) for child in children] == [0] * 4
    assert len(catalog.ledger.runs()) == 100


def forked(work: Callable[[], None]) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    return process.exitcode


def test_a_forked_child_reopens_it(catalog: SqlCatalog) -> None:
    apply(catalog, INBOX, FIRST)

    def child() -> None:
        apply(catalog, stored(1))
        catalog.close()

    assert forked(child) == 0
    apply(catalog, stored(2))
    assert catalog.messages.known(1) == {1: SEEN, 2: SEEN}


def test_a_child_forked_before_the_first_use(catalog: SqlCatalog) -> None:
    assert forked(lambda: apply(catalog, INBOX)) == 0

    assert list(catalog.account.folders()) == [b"INBOX"]


KILL_AT_STATEMENT = """
import functools, os, signal, sqlite3, sys
from pathlib import Path
from tests.contracts.catalog import AT, apply, failed, stored
from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.facts.archive import FlagsFact, VanishedFact
left = [0]
def count():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
class Counted(sqlite3.Connection):
    def execute(self, *args):
        count()
        return super().execute(*args)
    def executemany(self, *args):
        count()
        return super().executemany(*args)
sqlite3.connect = functools.partial(sqlite3.connect, factory=Counted)
catalog = SqlCatalog(Path(sys.argv[1]))
catalog.last_segment()
left[0] = int(sys.argv[2])
apply(
    catalog,
    VanishedFact(1, (1, 2), AT),
    *map(stored, range(3, 2000)),
    FlagsFact(1, 3, frozenset(), AT),
    failed(5000),
)
"""


def test_killed_at_any_statement_it_is_before_or_after(tmp_path: Path) -> None:
    before = (2, {1: SEEN, 2: SEEN}, 0)
    after = (3, {3: frozenset(), **dict.fromkeys(range(4, 2000), SEEN)}, 1)
    exits: list[int] = []
    while not exits or exits[-1] != 0:
        path = tmp_path / str(len(exits)) / "catalog.sqlite"
        catalog = SqlCatalog(path)
        apply(catalog, INBOX, FIRST)
        apply(catalog, stored(1), stored(2))
        catalog.close()

        exits.append(ended("-c", KILL_AT_STATEMENT, str(path), str(len(exits) + 1)).returncode)

        state = (catalog.last_segment()[0], catalog.messages.known(1), len(catalog.account.quarantined()))
        catalog.close()
        assert state == (after if exits[-1] == 0 else before)

    assert exits[:-1] == [-signal.SIGKILL] * (len(exits) - 1)
    assert len(exits) > 10


# Journal and catalog together


def test_a_catalog_rebuilt_from_the_journal_is_the_same(tmp_path: Path) -> None:
    """Also shows, with `pytest -s`, what fifty thousand messages cost."""
    journal, catalog = FileJournal(tmp_path), SqlCatalog(tmp_path / "catalog.sqlite")
    began = time.perf_counter()
    catalog.apply(journal.append("R1", (INBOX, FIRST), (0, Digest(""))))
    for first in range(1, 50_001, 1000):
        facts = following(catalog, *map(stored, range(first, first + 1000))).facts
        catalog.apply(journal.append("R1", facts, catalog.last_segment()))
    print(f"\n50 batches of 1,000 journalled and applied in {time.perf_counter() - began:.2f} s")

    began = time.perf_counter()
    rebuilt = SqlCatalog(tmp_path / "rebuilt.sqlite")
    for segment in journal.read((0, Digest(""))):
        rebuilt.apply(segment)
    print(f"rebuilt in {time.perf_counter() - began:.2f} s")

    began = time.perf_counter()
    assert list(rebuilt.messages.placements()) == list(catalog.messages.placements())
    print(f"100,000 placements read in {time.perf_counter() - began:.2f} s")
    assert rebuilt.last_segment() == catalog.last_segment()
    assert rebuilt.messages.known(1) == catalog.messages.known(1)
    assert rebuilt.account.tallies("R1") == catalog.account.tallies("R1")
    catalog.close()
    rebuilt.close()
