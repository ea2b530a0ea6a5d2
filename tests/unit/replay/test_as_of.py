"""What a destination lacks of the folders as they stood: the contract of what is pending, and what is of the past
alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from archiver.catalog.replicas import PendingMessages
from archiver.catalog.sqlite.catalog import SqlCatalog
from archiver.facts.archive import (
    ArchiveFact,
    EpochFact,
    FlagsFact,
    FolderFact,
    Segment,
    StateFact,
    StoredFact,
    VanishedFact,
)
from archiver.facts.destination import IntentFact
from archiver.replay.restore.as_of import PastPending
from tests.contracts.catalog import AT, LATER, SEEN, apply, stored
from tests.contracts.pending import PendingContract
from tests.contracts.replicas import ACCOUNT, FLAGGED, SECOND_EPOCH, about, copied, keys, outgoing, refused
from tests.stored_messages import altered

OF_THE_PAST = (ArchiveFact, FolderFact, EpochFact, StateFact, StoredFact, FlagsFact, VanishedFact)


class RememberedCatalog(SqlCatalog):
    """A catalog, and the facts of its folders and messages in `then`, until the `moment` is over."""

    def __init__(self, path: Path) -> None:
        super().__init__(path / "now.sqlite")
        self.then = SqlCatalog(path / "then.sqlite")
        self.is_over = False

    def apply(self, segment: Segment) -> None:
        super().apply(segment)
        if not self.is_over:
            facts = tuple(each for each in segment.facts if isinstance(each, OF_THE_PAST))
            self.then.apply(replace(segment, facts=facts))

    def close(self) -> None:
        super().close()
        self.then.close()


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[RememberedCatalog]:
    catalog = RememberedCatalog(tmp_path)
    yield catalog
    catalog.close()


@pytest.fixture
def pending(catalog: RememberedCatalog) -> PendingMessages:
    return PastPending(catalog.then, catalog)


class TestPastPending(PendingContract):
    pass


def test_what_vanished_since_is_pending_and_what_came_since_is_not(
    catalog: RememberedCatalog, pending: PendingMessages
) -> None:
    apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)))
    catalog.is_over = True
    apply(catalog, VanishedFact(1, (1,), LATER), stored(4), copied(2))

    assert keys(pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 1), (1, 3)]
    assert pending.count(1, [1]) == (2, 101 + 103)


def test_a_message_has_its_present_place_and_its_flags_at_that_time(
    catalog: RememberedCatalog, pending: PendingMessages
) -> None:
    apply(catalog, *ACCOUNT, stored(1))
    catalog.is_over = True
    apply(catalog, FlagsFact(1, 1, FLAGGED, LATER), VanishedFact(1, (1,), LATER))

    gone = outgoing(1, present=False)
    assert pending.batch(1, [1], after=(0, 0), limit=9) == [replace(gone, followed=FLAGGED)]
    assert gone.message.flags == SEEN


def test_the_flags_of_an_intent_are_followed_from_now_on(
    catalog: RememberedCatalog, pending: PendingMessages
) -> None:
    apply(catalog, *ACCOUNT, stored(1), IntentFact(1, 50, about([1]), AT))

    (found,) = pending.intents(1)
    assert found.outgoing == replace(outgoing(1), followed=SEEN)


def test_each_replica_of_equal_octets_that_came_since_stands_for_one_message(
    catalog: RememberedCatalog, pending: PendingMessages
) -> None:
    """After a new UIDVALIDITY at the source the replicas are those of the new messages."""
    twin = altered(stored(2), digest=stored(1).message.digest)
    apply(catalog, *ACCOUNT, stored(1), twin, stored(3))
    catalog.is_over = True
    apply(catalog, SECOND_EPOCH, stored(1, epoch=3), stored(3, epoch=3), copied(1, epoch=3), copied(3, epoch=3))

    for _ in range(2):
        assert keys(pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 2)]
    assert pending.count(1, [1]) == (1, twin.message.size)


def test_a_replica_of_what_was_there_then_stands_for_itself_alone(
    catalog: RememberedCatalog, pending: PendingMessages
) -> None:
    twin = altered(stored(2), digest=stored(1).message.digest)
    apply(catalog, *ACCOUNT, stored(1), twin, copied(1))

    assert keys(pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 2)]


def test_refusals_and_replicas_are_those_of_what_was_there_then(
    catalog: RememberedCatalog, pending: PendingMessages
) -> None:
    apply(catalog, *ACCOUNT, *map(stored, (1, 2)))
    catalog.is_over = True
    apply(catalog, *map(stored, (3, 4)), refused(1), refused(3), copied(2), copied(4))
    apply(catalog, VanishedFact(1, (1, 2, 3, 4), LATER))

    assert [each.key for each in pending.refused(1)] == [(1, 1)]
    assert [each.key for each in pending.vanished(1)] == [(1, 2)]
