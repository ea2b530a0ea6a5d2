"""The contract of what a catalog knows of messages that were given back. An adapter's test gives the fixture
`catalog`, new and empty."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from archiver.catalog.port import Catalog
from archiver.catalog.replicas import Restores
from archiver.facts.archive import VanishedFact
from archiver.facts.destination import (
    IntentFact,
    RefusedFact,
    RemovedFact,
    RestoreFact,
    RestorePlaceFact,
    TargetFact,
)
from archiver.facts.replica import Address, ReplicaFolder
from archiver.facts.restored import Restored, RestorePlace, RestoreTally
from tests.contracts.catalog import AT, LATER, WORK, apply, digest_of, stored
from tests.contracts.replicas import ACCOUNT, HERE, NONE, copied

SOURCE = Address("imap.example.org", "alice@example.org", 993)
BACK = RestorePlace(2, SOURCE, "Restored/2026-11-29")
BACK_FACT = RestorePlaceFact(2, SOURCE.host, SOURCE.user, 993, BACK.into, AT)
FOLDER = TargetFact(3, 2, b"Restored/2026-11-29", 9, "first", AT)
EARLIER = "2026-01-01T00:00:00Z"


def asked(*uids: int, place: int = 2, at: str = AT) -> RestoreFact:
    return RestoreFact(place, tuple((1, uid) for uid in uids), "root@here", at)


def tally(**counts: int) -> RestoreTally:
    none = dict.fromkeys(("asked", "restored", "removed", "refused", "waiting"), 0)
    return RestoreTally(BACK, at=AT, by="root@here", **{**none, **counts})


class RestoresContract:
    @pytest.fixture
    def restores(self, catalog: Catalog) -> Restores:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 6)), stored(1, epoch=2), BACK_FACT, FOLDER)
        return catalog.replicas.restores

    def test_a_place_is_no_destination(self, catalog: Catalog, restores: Restores) -> None:
        apply(catalog, copied(1, target=3, how="restored"))
        destinations = catalog.replicas.destinations
        assert restores.places(SOURCE) == [BACK]
        assert restores.places(HERE) == restores.places(replace(SOURCE, port=143)) == []
        assert destinations.at(SOURCE) is None
        assert [each.number for each in destinations.with_history()] == [1]
        assert catalog.account.next_numbers().destination == 3
        assert FOLDER.raw not in catalog.replicas.folders.holding(1)

    def test_what_was_asked_for_waits_for_its_outcome(self, catalog: Catalog, restores: Restores) -> None:
        refusal = RefusedFact(3, 1, 2, "virus", "a virus", None, None, None, False, AT)
        apply(catalog, asked(1, 2, 3), IntentFact(3, 10, ((1, 1), (1, 2), (1, 3)), AT))
        assert restores.tallies() == [tally(asked=3, waiting=3)]
        folder = ReplicaFolder(3, FOLDER.raw, 9)
        assert restores.unresolved([1, 2]) == [(2, folder)]
        apply(catalog, copied(1, target=3, how="restored"), refusal, copied(3, target=3, how="restored"))
        assert restores.unresolved([1, 2]) == []
        assert restores.tallies() == [tally(asked=3, restored=2, refused=1)]
        apply(catalog, RemovedFact(3, (1003,), "user", LATER))
        assert restores.tallies() == [tally(asked=3, restored=1, removed=1, refused=1)]

    def test_an_outcome_is_what_came_after_it_was_asked_for(self, catalog: Catalog, restores: Restores) -> None:
        """A copy that its user removed before is none; one that is there counts, no matter who brought it."""
        apply(catalog, copied(1, at=EARLIER), copied(2, at=EARLIER), RemovedFact(1, (1001,), "user", EARLIER))
        apply(catalog, asked(1, 2, place=1), asked(3))
        there = Restored(1, b"INBOX", 1002, False, NONE, True, EARLIER)
        assert restores.outcomes([1, 2], [(1, 1), (1, 2), (1, 3)]) == {(1, 2): there}
        apply(catalog, copied(1, 1007, how="restored"))
        back = Restored(1, b"INBOX", 1007, False, NONE, True, AT)
        assert restores.outcomes([1], [(1, 1)]) == {(1, 1): back}
        apply(catalog, RemovedFact(1, (1007,), "user", LATER), asked(1, place=1, at=LATER))
        assert restores.outcomes([1], [(1, 1)]) == {(1, 1): replace(back, removed=True)}
        assert restores.outcomes([2], [(1, 1)]) == {}

    def test_what_went_elsewhere_in_the_end_waits_no_more(self, catalog: Catalog, restores: Restores) -> None:
        apply(
            catalog,
            asked(1, 2),
            replace(BACK_FACT, number=3, into="Back"),
            replace(FOLDER, number=4, destination=3),
        )
        apply(catalog, asked(1, place=3, at=LATER), copied(1, target=4, how="restored", at=LATER))
        first, second = restores.tallies()
        assert (first.place.into, first.asked, first.restored) == ("Back", 1, 1)
        assert (second.place.into, second.asked, second.waiting) == (BACK.into, 1, 1)

    def test_copies_that_live(self, catalog: Catalog, restores: Restores) -> None:
        apply(catalog, copied(1, target=3), copied(2, target=3), copied(3), RemovedFact(3, (1002,), "user", AT))
        assert restores.live(3, [(1, 1), (1, 2), (1, 3), (2, 1)]) == {(1, 1)}

    def test_which_folders_still_have_a_message(self, catalog: Catalog, restores: Restores) -> None:
        digest = stored(1).message.digest
        assert restores.at_source([digest, digest_of("none")]) == {digest: {1, 2}}
        apply(catalog, VanishedFact(1, (1,), AT))
        assert restores.at_source([digest]) == {digest: {2}}
        apply(catalog, replace(WORK, listed=False))
        assert restores.at_source([digest]) == {}
        apply(catalog, copied(1), copied(2, target=3))
        assert restores.at_destination(1, [digest, stored(2).message.digest]) == {digest: {b"INBOX"}}
        apply(catalog, RemovedFact(1, (1001,), "user", AT))
        assert restores.at_destination(1, [digest]) == {}
