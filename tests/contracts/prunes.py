"""The contract of what a catalog knows of messages that were removed from the source. An adapter's test gives the
fixture `catalog`, new and empty."""

from __future__ import annotations

from msgspec.structs import replace

from archiver.catalog.port import Catalog
from archiver.catalog.pruning import BegunPrune, Pruned, Unsent
from archiver.facts.archive import VanishedFact
from archiver.facts.destination import RemovedFact
from archiver.facts.pruning import PrunedFact, PruningFact, UnprunedFact
from tests.contracts.catalog import AT, FIRST, INBOX, LATER, apply, digest_of, stored
from tests.contracts.replicas import ACCOUNT, copied


class PrunesContract:
    def test_what_was_begun_is_open_until_its_outcome_is_known(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, *map(stored, (1, 2, 3, 4)))
        assert catalog.prunes.tally() == Pruned(0, None, 0)
        apply(catalog, PruningFact(1, (1, 2, 3), (2,), "root@here", AT))
        assert catalog.prunes.begun(1) == {
            1: BegunPrune(AT, False),
            2: BegunPrune(AT, True),
            3: BegunPrune(AT, False),
        }
        assert set(catalog.prunes.unsettled()) == {1}

        apply(catalog, PrunedFact(1, (1,), LATER))
        apply(catalog, UnprunedFact(1, (3,), LATER))
        assert list(catalog.prunes.begun(1)) == [2]
        assert list(catalog.prunes.done(1)) == [1]
        assert catalog.prunes.unlisted() == {}
        assert catalog.prunes.tally() == Pruned(1, LATER, 1)

    def test_what_was_begun_and_vanished_was_removed_by_us(self, catalog: Catalog) -> None:
        """And counts as no change of the source's, and is in no list yet."""
        apply(catalog, INBOX, FIRST, *map(stored, (1, 2)))
        apply(catalog, PruningFact(1, (1,), (), "root@here", AT))
        apply(catalog, VanishedFact(1, (1, 2), LATER), run="R2")
        assert list(catalog.prunes.done(1)) == [1]
        assert catalog.prunes.unlisted() == {1: {1}}
        assert catalog.account.tallies("R2")[0].vanished == 1
        apply(catalog, PrunedFact(1, (1,), "2026-12-24T00:00:00Z"))
        assert (catalog.prunes.unlisted(), catalog.prunes.tally()) == ({}, Pruned(1, LATER, 0))

    def test_a_destination_is_to_have_it_unless_it_had_it(self, catalog: Catalog) -> None:
        """1 was deleted by its user, 2 was pruned and is there, 3 was removed there, 4 and 5 never were there; the
        octets of 5 came back, and what becomes of those is another message's."""
        back = replace(stored(6), message=replace(stored(6).message, digest=stored(5).message.digest), at=LATER)
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3, 4, 5)), copied(2, 12), copied(3, 13))
        pruned = (2, 3, 4, 5)
        apply(catalog, PruningFact(1, pruned, (), "root@here", AT), RemovedFact(1, (13,), "user", LATER))
        assert catalog.prunes.unsent(1) == {}  # they are at the source
        apply(catalog, VanishedFact(1, (1, *pruned), LATER), run="R2")
        apply(catalog, back, run="R3")
        pending = catalog.replicas.pending
        assert (catalog.prunes.unsent(1), pending.count(1, [1])[0]) == ({1: Unsent(1, 0)}, 2)
        batch = pending.batch(1, [1], after=(0, 0), limit=9)
        assert [(each.key, each.present) for each in batch] == [((1, 4), False), ((1, 6), True)]
        assert (catalog.prunes.unsent(None), set(catalog.prunes.folders())) == ({1: Unsent(3, 0)}, {1})

    def test_begun_twice_it_ends_once(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, stored(1))
        for at in (AT, LATER):
            apply(catalog, PruningFact(1, (1,), (), "root@here", at))
        assert catalog.prunes.begun(1) == {1: BegunPrune(LATER, False)}
        apply(catalog, PrunedFact(1, (1,), LATER), UnprunedFact(1, (1,), LATER))
        assert list(catalog.prunes.done(1)) == [1]

    def test_a_message_that_is_there_again_is_none_of_ours(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, stored(1))
        apply(catalog, PruningFact(1, (1,), (), "root@here", AT), PrunedFact(1, (1,), AT))
        apply(catalog, VanishedFact(1, (1,), LATER))
        apply(catalog, replace(stored(1), matched="returned"))
        assert not catalog.prunes.done(1)
        apply(catalog, VanishedFact(1, (1,), LATER), run="R3")
        assert catalog.account.tallies("R3")[0].vanished == 1

    def test_no_rule_forgets_it_also_if_its_folder_begins_an_epoch(self, catalog: Catalog) -> None:
        """Of 2 it is not known whether it was removed, 3 was deleted by its user."""
        apply(catalog, INBOX, FIRST, *map(stored, (1, 2, 3)))
        apply(catalog, PruningFact(1, (1, 2), (), "root@here", AT), PrunedFact(1, (1,), AT))
        apply(catalog, VanishedFact(1, (1, 3), AT))
        apply(catalog, replace(FIRST, number=2, uidvalidity=9, reason="uidvalidity", at=LATER))
        assert catalog.keeping.gone_before("2100-01-01T00:00:00Z") == [digest_of("message 3")]
        assert [catalog.keeping.next_gone(moment) for moment in ("2000-01-01T00:00:00Z", LATER)] == [AT, None]
