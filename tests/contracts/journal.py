"""The contract of a journal. An adapter's test gives the fixture `journal`, new and empty."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from archiver.errors import IntegrityError
from archiver.facts.archive import Fact, FlagsFact, Segment, VanishedFact
from archiver.journal.port import Journal
from archiver.mail.model import Digest

NOTHING = (0, Digest(""))
AT = "2026-11-23T07:00:00Z"


def facts(uid: int) -> Sequence[Fact]:
    return (FlagsFact(1, uid, frozenset({"\\Seen", "$Forwarded"}), AT), VanishedFact(1, (uid, uid + 1), AT))


def end_of(segment: Segment) -> tuple[int, Digest]:
    return segment.number, segment.digest


def filled(journal: Journal, count: int = 3) -> list[Segment]:
    """A journal of `count` segments, each of its own run."""
    segments: list[Segment] = []
    for number in range(1, count + 1):
        after = end_of(segments[-1]) if segments else NOTHING
        segments.append(journal.append(f"run-{number}", facts(number), after))
    return segments


class JournalContract:
    def test_an_empty_journal_has_no_segments(self, journal: Journal) -> None:
        assert list(journal.read(NOTHING)) == []

    def test_what_was_appended_is_read_in_order(self, journal: Journal) -> None:
        segments = filled(journal)

        assert list(journal.read(NOTHING)) == segments
        assert [tuple(segment.facts) for segment in segments] == [facts(1), facts(2), facts(3)]

    def test_each_segment_names_the_one_before(self, journal: Journal) -> None:
        first, second, third = filled(journal)

        assert (first.number, second.number, third.number) == (1, 2, 3)
        assert (first.previous, second.previous, third.previous) == ("", first.digest, second.digest)

    def test_reading_goes_on_after_a_segment(self, journal: Journal) -> None:
        first, second, third = filled(journal)

        assert list(journal.read(end_of(first))) == [second, third]
        assert list(journal.read(end_of(third))) == []

    def test_a_segment_without_facts_is_a_segment(self, journal: Journal) -> None:
        segment = journal.append("run", (), NOTHING)

        assert list(journal.read(NOTHING)) == [segment]

    def test_any_text_and_any_octets_survive(self, journal: Journal) -> None:
        odd = FlagsFact(1, 1, frozenset({"line\nbreak", "\udcff", '"', "Ünïcode", "\x00"}), AT)

        journal.append("run", (odd,), NOTHING)

        assert [fact for segment in journal.read(NOTHING) for fact in segment.facts] == [odd]

    def test_a_number_is_given_once(self, journal: Journal) -> None:
        first, *_ = filled(journal, 2)

        with pytest.raises(IntegrityError):
            journal.append("run-2", facts(9), end_of(first))
        with pytest.raises(IntegrityError):
            journal.append("another-run", facts(9), end_of(first))
        assert len(list(journal.read(NOTHING))) == 2

    def test_the_journal_of_another_archive_is_noticed(self, journal: Journal) -> None:
        filled(journal)

        with pytest.raises(IntegrityError):
            list(journal.read((2, Digest("0" * 64))))

    def test_a_journal_that_went_back_in_time_is_noticed(self, journal: Journal) -> None:
        filled(journal)

        with pytest.raises(IntegrityError):
            list(journal.read((7, Digest("0" * 64))))

    def test_a_segment_that_does_not_follow_is_noticed(self, journal: Journal) -> None:
        filled(journal, 1)
        journal.append("run-2", facts(2), (1, Digest("0" * 64)))

        reading = journal.read(NOTHING)

        assert next(reading).number == 1
        with pytest.raises(IntegrityError):
            next(reading)

    def test_a_missing_segment_is_noticed(self, journal: Journal) -> None:
        first = filled(journal, 1)[0]
        journal.append("run-3", facts(3), (2, first.digest))

        with pytest.raises(IntegrityError):
            list(journal.read(NOTHING))
