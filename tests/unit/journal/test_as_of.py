"""What the folders held at a moment, by the times of the facts, however these lie in the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.errors import ConfigError, IntegrityError
from archiver.facts.archive import ArchiveFact, EpochFact, Fact, FlagsFact, FolderFact, VanishedFact
from archiver.facts.outgoing import Outgoing
from archiver.journal.as_of import places_now, replay_past
from archiver.journal.files import FileJournal
from archiver.mail.model import Digest
from tests.contracts.catalog import FIRST, INBOX, OF_WORK, WORK, apply, stored
from tests.stored_messages import altered

Then = Callable[[str | None], SqlCatalog]
ARCHIVE = ArchiveFact("a" * 32, "alice", "imap", "imap.example.org", "alice", "")


def at(hour: int) -> str:
    return f"2026-11-20T{hour:02}:00:00Z"


def of(hour: int, *facts: Fact) -> list[Fact]:
    """Facts of that hour."""
    return [replace(fact, at=at(hour)) for fact in facts]  # type: ignore[call-arg]


def nothing() -> None:
    """No end is asked for."""


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path, "none")


@pytest.fixture
def then(journal: FileJournal, tmp_path: Path) -> Iterator[Then]:
    """The catalog of an hour."""
    made: list[SqlCatalog] = []

    def replayed(moment: str | None) -> SqlCatalog:
        catalog = SqlCatalog(tmp_path / f"{len(made)}.sqlite")
        made.append(catalog)
        replay_past(journal, 99, catalog, moment, nothing)
        return catalog

    yield replayed
    for catalog in made:
        catalog.close()


def write(journal: FileJournal, *segments: Sequence[Fact]) -> None:
    after = (0, Digest(""))
    for facts in segments:
        segment = journal.append("r", facts, after)
        after = (segment.number, segment.digest)


def test_a_moment_is_up_to_its_second(journal: FileJournal, then: Then) -> None:
    write(
        journal,
        of(8, ARCHIVE, INBOX, FIRST, stored(1), stored(2)),
        of(9, FlagsFact(1, 1, frozenset({"\\Flagged"}), ""), VanishedFact(1, (2,), "")),
        of(10, replace(stored(2), matched="returned"), WORK, OF_WORK, stored(7, epoch=2)),
    )
    assert then(at(8)).messages.known(1) == {1: stored(1).message.flags, 2: stored(2).message.flags}
    assert then("2026-11-20T08:59:59Z").messages.known(1).keys() == {1, 2}
    assert then(at(9)).messages.known(1) == {1: frozenset({"\\Flagged"})}
    assert then(at(10)).messages.known(1).keys() == {1, 2}
    assert then(None).account.folders().keys() == {b"INBOX", WORK.raw}
    assert then(at(9)).account.folders().keys() == {b"INBOX"}


def test_connections_record_side_by_side(journal: FileJournal, then: Then) -> None:
    """What one of them saw earlier stands behind what another one saw later."""
    write(
        journal,
        of(8, ARCHIVE, INBOX, WORK, FIRST, OF_WORK),
        of(10, stored(1), stored(2)),
        of(9, stored(7, epoch=2)),
    )
    assert (then(at(9)).messages.known(1), then(at(9)).messages.known(2).keys()) == ({}, {7})


def test_a_clock_that_was_put_back(journal: FileJournal, then: Then) -> None:
    """Messages do not stand in a folder that was not there yet."""
    write(
        journal, of(8, ARCHIVE), of(12, INBOX, FIRST, stored(1)), of(9, stored(2), FlagsFact(1, 1, frozenset(), ""))
    )
    assert then(at(9)).account.epochs() == {}
    assert list(then(at(9)).messages.placements()) == []
    assert then(at(12)).messages.known(1) == {1: frozenset(), 2: stored(2).message.flags}


def test_an_epoch_that_ended_later(journal: FileJournal, then: Then) -> None:
    again = EpochFact(3, 1, 8, 1, "uidvalidity", "")
    write(journal, of(8, ARCHIVE, INBOX, FIRST, stored(1)), of(9, again, stored(5, epoch=3)))
    assert [(each.uid, each.present) for each in then(at(8)).messages.placements()] == [(1, True)]
    assert [(each.uid, each.present) for each in then(at(9)).messages.placements()] == [(1, False), (5, True)]


def test_before_the_archive_began(journal: FileJournal, then: Then) -> None:
    write(journal, of(8, ARCHIVE, INBOX))
    with pytest.raises(ConfigError, match=f"it began at {at(8)}"):
        then(at(7))


def test_an_empty_journal(then: Then) -> None:
    with pytest.raises(IntegrityError, match="empty"):
        then(None)


def test_a_placeholder_whose_message_came_later(tmp_path: Path) -> None:
    """Other octets under the same UID are not what was there then."""
    catalog = SqlCatalog(tmp_path / "now.sqlite")
    folder = FolderFact(1, b"INBOX", ("INBOX",), "/", "", frozenset(), False, True, at(8))
    apply(catalog, folder, FIRST, stored(1), stored(2), stored(3))
    places = {each.uid: each for each in catalog.messages.placements()}
    was = [
        places[1],  # as it is now
        altered(places[2], digest=places[3].digest, flags=frozenset({"\\Draft"})),  # now the octets of another one
        altered(places[3], digest=Digest("0" * 64)),  # now nowhere else
    ]
    assert places_now(catalog.messages, [Outgoing(1, each) for each in was]) == {
        (1, 1): places[1],
        (1, 2): places[3],
        (1, 3): was[2],
    }
    catalog.close()
