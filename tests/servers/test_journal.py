"""The journal as files: the contract of a journal, and what befalls files."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archiver.errors import ArchiveNotWritable, ConfigError, IntegrityError
from archiver.facts.codec import fact_to_json
from archiver.journal.files import FileJournal
from tests.contracts.journal import NOTHING, JournalContract, end_of, facts, filled
from tests.servers.small_disk import fill, make_read_only, mounted


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "archive")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small") as directory:
        yield directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "archive" / "journal"


class TestFileJournal(JournalContract):
    pass


class TestFileJournalWithoutSync(JournalContract):
    @pytest.fixture
    def journal(self, tmp_path: Path) -> FileJournal:
        return FileJournal(tmp_path, durability="none")


class TestFileJournalWithoutHardLinks(JournalContract):
    @pytest.fixture
    def journal(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileJournal:
        def refused(*_: Any) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
        return FileJournal(tmp_path)


def test_a_segment_is_a_compressed_file_of_lines(journal: FileJournal, directory: Path) -> None:
    first, second = filled(journal, 2)
    octets = (directory / "00000002-run-2.jsonl.gz").read_bytes()

    assert second.digest == hashlib.sha256(octets).hexdigest()
    header, *lines = gzip.decompress(octets).decode().splitlines()
    assert json.loads(header) == {
        "format": "archiver-journal/1",
        "number": 2,
        "run": "run-2",
        "previous": first.digest,
    }
    assert lines == [fact_to_json(fact) for fact in facts(2)]


def test_the_same_facts_are_the_same_octets(tmp_path: Path) -> None:
    one, two = (filled(FileJournal(tmp_path / name))[-1] for name in ("one", "two"))

    assert one == two


def test_no_other_user_may_read_it(journal: FileJournal, directory: Path) -> None:
    segment = filled(journal)[0]

    assert oct(directory.stat().st_mode & 0o777) == "0o700"
    assert oct((directory / segment.name).stat().st_mode & 0o777) == "0o600"


def test_the_directory_is_listed_once_however_many_segments_are_written(
    journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []
    monkeypatch.setattr(os, "listdir", lambda path, list=os.listdir: listed.append(path) or list(path))  # type: ignore[func-returns-value]
    last = NOTHING
    for _ in range(30):
        last = end_of(journal.append("run", facts(1), last))

    assert len(listed) <= 1


def test_a_number_that_something_else_took_meanwhile_is_refused(journal: FileJournal, directory: Path) -> None:
    last = end_of(journal.append("run", facts(1), NOTHING))
    (directory / "00000002-other.jsonl.gz").write_bytes(b"")
    os.utime(directory)

    with pytest.raises(IntegrityError, match="already has that number"):
        journal.append("run", facts(1), last)


def test_nothing_but_segments_is_left_behind(journal: FileJournal, directory: Path) -> None:
    segments = filled(journal)

    assert sorted(os.listdir(directory)) == [segment.name for segment in segments]


def test_what_is_not_a_segment_is_left_alone(journal: FileJournal, directory: Path) -> None:
    segments = filled(journal)
    (directory / "README").write_text("by a person")

    assert list(journal.read(NOTHING)) == segments
    assert (directory / "README").exists()


def test_a_run_id_cannot_leave_the_journal(journal: FileJournal) -> None:
    with pytest.raises(ConfigError):
        journal.append("../../evil", facts(1), NOTHING)


KILLED_WHILE_PUBLISHING = """
import os, signal, sys
from pathlib import Path
from archiver.journal.files import FileJournal
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
FileJournal(Path(sys.argv[1])).append("run", (), (0, ""))
"""


def test_killed_before_publishing_leaves_no_segment(tmp_path: Path, journal: FileJournal, directory: Path) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED_WHILE_PUBLISHING, str(tmp_path / "archive")], check=False)

    assert child.returncode == -signal.SIGKILL
    assert os.listdir(directory) == [".00000001-run.jsonl.gz.tmp"]
    assert list(journal.read(NOTHING)) == []

    segment = journal.append("run", (), NOTHING)

    assert os.listdir(directory) == [segment.name]


KILLED_WHILE_RENAMING = """
import errno, os, signal, sys
from pathlib import Path
from archiver.journal.files import FileJournal
def refused(*_):
    raise OSError(errno.EPERM, "Operation not permitted")
os.link = refused
Path.replace = os.rename = os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
FileJournal(Path(sys.argv[1])).append("run", (), (0, ""))
"""


def test_killed_without_hard_links_leaves_no_segment(tmp_path: Path, journal: FileJournal) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED_WHILE_RENAMING, str(tmp_path / "archive")], check=False)

    assert child.returncode == -signal.SIGKILL
    assert list(journal.read(NOTHING)) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 0x40
    path.write_bytes(octets)


def extended(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def removed(path: Path) -> None:
    path.unlink()


def twice(path: Path) -> None:
    path.with_name(path.name.replace("run-2", "run-9")).write_bytes(path.read_bytes())


def renamed(path: Path) -> None:
    path.rename(path.with_name(path.name.replace("run-2", "run-9")))


def rewritten(edit: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        path.write_bytes(gzip.compress("".join(line + "\n" for line in edit(lines)).encode()))

    rewrite.__name__ = edit.__name__
    return rewrite


def without_header(lines: list[str]) -> list[str]:
    return lines[1:]


def without_anything(lines: list[str]) -> list[str]:
    return []


def of_a_newer_format(lines: list[str]) -> list[str]:
    return [lines[0].replace("journal/1", "journal/3"), *lines[1:]]


def with_a_broken_line(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1][:-1]]


def with_an_unknown_fact(lines: list[str]) -> list[str]:
    return [*lines, '{"fact":"unheard of"}']


def with_a_changed_fact(lines: list[str]) -> list[str]:
    return [line.replace("Seen", "Flagged") for line in lines]


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        emptied,
        flipped,
        extended,
        removed,
        twice,
        renamed,
        rewritten(without_header),
        rewritten(without_anything),
        rewritten(with_a_broken_line),
        rewritten(with_an_unknown_fact),
        rewritten(with_a_changed_fact),
    ],
    ids=lambda damage: damage.__name__,
)
def test_damage_is_noticed(journal: FileJournal, directory: Path, damage: Callable[[Path], None]) -> None:
    segments = filled(journal)
    damage(directory / segments[1].name)

    with pytest.raises(IntegrityError) as caught:
        list(journal.read(NOTHING))

    assert str(directory) in caught.value.message
    assert caught.value.hint


def test_a_newer_format_is_not_damage(journal: FileJournal, directory: Path) -> None:
    segments = filled(journal)
    rewritten(of_a_newer_format)(directory / segments[1].name)
    with pytest.raises(ConfigError, match=r"archiver-journal/3.*; install a mail-archiver that knows"):
        list(journal.read(NOTHING))


def test_damage_to_the_last_segment_known_is_noticed(journal: FileJournal, directory: Path) -> None:
    segments = filled(journal)
    with_changed_fact = rewritten(with_a_changed_fact)
    with_changed_fact(directory / segments[1].name)

    with pytest.raises(IntegrityError):
        list(journal.read(end_of(segments[1])))


def test_only_one_of_two_journals_gets_a_number(tmp_path: Path) -> None:
    one, two = FileJournal(tmp_path), FileJournal(tmp_path)
    first = one.append("one", facts(1), NOTHING)

    with pytest.raises(IntegrityError):
        two.append("two", facts(2), NOTHING)
    assert list(two.read(NOTHING)) == [first]


def test_a_full_disk_is_reported_and_leaves_nothing(small_disk: Path) -> None:
    journal = FileJournal(small_disk)
    first = journal.append("run", facts(1), NOTHING)
    ballast = fill(small_disk, spare=4096)
    long = tuple(fact for uid in range(10_000) for fact in facts(uid))

    with pytest.raises(ArchiveNotWritable) as caught:
        journal.append("run", long, end_of(first))

    assert "No space left" in caught.value.message
    assert os.listdir(small_disk / "journal") == [first.name]
    ballast.unlink()
    assert journal.append("run", facts(2), end_of(first)).number == 2


def test_a_read_only_disk_is_reported(small_disk: Path) -> None:
    journal = FileJournal(small_disk)
    first = journal.append("run", facts(1), NOTHING)
    make_read_only(small_disk)

    with pytest.raises(ArchiveNotWritable):
        journal.append("run", facts(2), end_of(first))
    assert list(journal.read(NOTHING)) == [first]


def test_a_path_that_is_not_a_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ArchiveNotWritable):
        FileJournal(tmp_path / "file").append("run", (), NOTHING)
