"""UIDs for messages that have names: each name gets one, no UID is given twice, and what was given is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.facts.archive import ArchiveFact, EpochFact, Fact, NumberedFact, StateFact, VanishedFact
from archiver.facts.known import FolderState
from archiver.journal.files import FileJournal
from archiver.journal.numbering import RecordedNumbers
from archiver.journal.recorder import Recorder
from archiver.mail.model import HIGHEST_UID, Digest
from archiver.source.numbering import KnownNumbers, Numbering, UnrecordedNumbers
from tests.contracts.catalog import AT, INBOX, failed, stored

RAW = b"INBOX"
HERE = ArchiveFact("a" * 32, "alice", "pop3", "pop.example.org", "alice", AT)


class Archive:
    """A journal and its catalog, on a disk."""

    def __init__(self, path: Path) -> None:
        self.catalog = SqlCatalog(path / "catalog.sqlite")
        self.journal = FileJournal(path, "none")
        self.recorder = Recorder(self.journal, self.catalog, "R1")
        self.record(HERE, INBOX)

    def record(self, *facts: Fact) -> None:
        self.recorder.write(facts)

    def numbering(self) -> RecordedNumbers:
        """That of another run."""
        return RecordedNumbers(self.catalog, self.recorder)

    def looking(self) -> RecordedNumbers:
        """That of a look, which records nothing."""
        return RecordedNumbers(self.catalog)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path)
    yield archive
    archive.catalog.close()


def test_new_names_are_numbered_in_order_and_keep_their_numbers(archive: Archive) -> None:
    assert archive.numbering().number(RAW, ["c", "a", "c"]) == {"c": 1, "a": 2}
    assert archive.numbering().number(RAW, ["b", "a"]) == {"a": 2, "b": 3}
    assert archive.numbering().uids(RAW, ["a", "b", "c", "d"]) == {"a": 2, "b": 3, "c": 1}


def test_a_number_is_never_given_again(archive: Archive) -> None:
    """Also if its name does not show again, and none of its messages was ever stored."""
    archive.numbering().number(RAW, ["a", "b", "c"])
    assert archive.numbering().number(RAW, ["d"]) == {"d": 4}
    assert archive.numbering().known(RAW).uidnext == 5


def test_more_names_than_a_line_holds(archive: Archive) -> None:
    names = [f"n{number}" for number in range(4_321)]
    assert archive.numbering().number(RAW, names) == {name: uid for uid, name in enumerate(names, 1)}
    *_, segment = archive.journal.read((0, Digest("")))
    assert [len(fact.names) for fact in segment.facts if isinstance(fact, NumberedFact)] == [2_000, 2_000, 321]


def test_a_look_records_nothing_and_does_not_contradict_itself(archive: Archive) -> None:
    archive.numbering().number(RAW, ["a"])
    looking, before = archive.looking(), archive.catalog.last_segment()
    assert looking.number(RAW, ["b", "a", "c"]) == {"a": 1, "b": 2, "c": 3}
    assert looking.number(RAW, ["d", "b"]) == {"b": 2, "d": 4}
    assert looking.known(RAW).uidnext == 5
    assert archive.catalog.last_segment() == before
    assert archive.numbering().number(RAW, ["d"]) == {"d": 2}


def test_a_name_may_get_another_number_and_a_number_another_name(archive: Archive) -> None:
    archive.numbering().number(RAW, ["a", "b", "c"])
    archive.numbering().rename(RAW, {"x": 1, "y": 2, "z": 3, "a": 9})
    assert archive.numbering().uids(RAW, list("abcxyz")) == {"a": 9, "b": 2, "c": 3, "x": 1, "y": 2, "z": 3}
    assert archive.numbering().number(RAW, ["new"]) == {"new": 10}


def test_what_is_held_is_present_or_in_quarantine(archive: Archive) -> None:
    archive.numbering().number(RAW, list("abcd"))
    archive.record(
        EpochFact(1, 1, 1, 1, "first", AT), *map(stored, (1, 2, 3)), failed(4), VanishedFact(1, (2,), AT)
    )
    archive.record(StateFact(1, 5, 3, 4, None, AT, 100))
    known = archive.numbering().known(RAW)
    assert (known.uidvalidity, known.uidnext, sorted(known.held)) == (1, 5, [1, 3, 4])
    assert known.state == FolderState(5, 3, 4, None, 100)
    assert [each.uid for each in archive.numbering().recorded(RAW, [1, 2, 9])] == [1, 2]


def test_the_uidvalidity_is_above_all_that_the_folder_had(archive: Archive) -> None:
    archive.record(EpochFact(1, 1, 77, 1, "first", AT), EpochFact(2, 1, 5, 1, "uidvalidity", AT))
    assert archive.numbering().known(RAW).uidvalidity == 78


def test_killed_before_the_epoch_began_it_goes_on_with_the_same_numbers(archive: Archive) -> None:
    archive.record(EpochFact(1, 1, 77, 1, "first", AT))
    archive.numbering().number(RAW, ["a"])
    assert archive.numbering().number(RAW, ["b", "a"]) == {"a": 1, "b": 2}
    assert archive.numbering().known(RAW).uidvalidity == 78
    archive.record(EpochFact(2, 1, 78, 1, "uidvalidity", AT))
    assert archive.numbering().known(RAW).uidvalidity == 78


def test_at_another_source_the_same_names_are_other_messages(archive: Archive) -> None:
    archive.numbering().number(RAW, ["a"])
    archive.record(EpochFact(1, 1, 1, 1, "first", AT), stored(1))
    archive.record(ArchiveFact("a" * 32, "alice", "pop3", "pop.example.net", "alice", AT))
    assert archive.numbering().known(RAW) == KnownNumbers(2, 1)
    assert archive.numbering().number(RAW, ["b", "a"]) == {"b": 1, "a": 2}
    archive.record(EpochFact(2, 1, 2, 1, "source", AT), HERE)
    assert archive.numbering().known(RAW).uidvalidity == 3


def test_where_no_higher_uidvalidity_is_left_another_one_is_used(archive: Archive) -> None:
    archive.record(EpochFact(1, 1, HIGHEST_UID, 1, "first", AT))
    archive.numbering().number(RAW, ["a"])
    assert archive.numbering().known(RAW).uidvalidity == 1
    archive.record(EpochFact(2, 1, 1, 1, "uidvalidity", AT))
    assert archive.numbering().number(RAW, ["a", "b"]) == {"a": 1, "b": 2}


@pytest.mark.parametrize("folder", [b"INBOX", b"Nowhere"])
def test_a_folder_that_is_not_recorded_can_be_looked_at(archive: Archive, folder: bytes) -> None:
    numberings: list[Numbering] = [archive.looking(), UnrecordedNumbers()]
    for numbering in numberings:
        assert numbering.known(folder) == KnownNumbers()
        assert numbering.number(folder, ["b", "a"]) == {"b": 1, "a": 2}
        assert numbering.uids(folder, ["a", "c"]) == {"a": 2}
        assert numbering.known(folder).uidnext == 3
        numbering.rename(folder, {"c": 1})
        assert numbering.uids(folder, ["c"]) == {"c": 1}
        assert list(numbering.recorded(folder, [1])) == []


def test_the_status_of_a_folder_shows_whether_anything_changed(archive: Archive) -> None:
    archive.numbering().number(RAW, ["a", "b"])
    archive.record(EpochFact(1, 1, 1, 1, "first", AT), stored(1), stored(2), StateFact(1, 3, 6, 2, None, AT, 300))
    known = archive.numbering().known(RAW)
    status = known.status(known.held, 0, size=300)
    assert (status.uidvalidity, status.uidnext, status.messages, status.highestmodseq) == (1, 3, 2, 6)
    assert known.status(known.held, 1, size=400).uidnext == 4
    changed = [known.status(known.held - [1], 1), known.status(known.held - [1], 0)]
    changed.append(known.status(known.held, 0, flags_changed=True))
    assert {each.highestmodseq for each in changed} == {7}
