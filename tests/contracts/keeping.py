"""The contract of what a catalog knows of what must be kept. An adapter's test gives the fixture `catalog`, new and
empty."""

from __future__ import annotations

import pytest

from archiver.catalog.keeping import Holdable, KnownHold, LeftCopy
from archiver.catalog.port import Catalog
from archiver.facts.archive import HeadersFact
from archiver.facts.destination import IntentFact, RemovedFact, RestorePlaceFact, TargetFact, TwinFact, UnsentFact
from archiver.facts.keeping import (
    BY_RULE,
    CopiesErasedFact,
    ForgottenFact,
    HoldEndedFact,
    HoldFact,
    StateMarkedFact,
)
from archiver.mail.model import Headers
from archiver.upkeep.holds import held
from tests.contracts.catalog import AT, FIRST, INBOX, LATER, OF_WORK, WORK, apply, digest_of, stored
from tests.contracts.replicas import ACCOUNT, NONE, copied

BOB = Headers("Bob <bob@example.net>", "alice@example.org", "Lunch", None)
CAROL = Headers("alice@example.org", "Dave <d@x>, CAROL@Example.net", "Re: Lunch", None)


def hold(number: int, *folders: str, addresses: tuple[str, ...] = ()) -> HoldFact:
    return HoldFact(number, folders, addresses, "lawsuit", "root@here", AT)


def ended(number: int) -> HoldEndedFact:
    return HoldEndedFact(number, "settled", "root@here", LATER)


class KeepingContract:
    @pytest.fixture
    def account(self, catalog: Catalog) -> Catalog:
        """1 is from Bob, 2 was sent to Carol, and of 3 no headers are known; 1 is in the folder Work, too."""
        known = (HeadersFact(digest_of("message 1"), BOB), HeadersFact(digest_of("message 2"), CAROL))
        facts = (INBOX, WORK, FIRST, OF_WORK, *map(stored, (1, 2, 3)), stored(1, epoch=2), *known)
        apply(catalog, *facts)
        return catalog

    def test_a_hold_lasts_until_it_ends(self, account: Catalog) -> None:
        assert held(account.keeping, [(1, 1)]) == {}
        apply(account, hold(1), hold(2, "Work*", addresses=("bob@example.net",)))
        apply(account, ended(1))
        assert account.keeping.holds() == [
            KnownHold(hold(1), ended(1)),
            KnownHold(hold(2, "Work*", addresses=("bob@example.net",)), None),
        ]
        assert held(account.keeping, [(1, 1), (2, 1)]) == {(2, 1): hold(2, "Work*", addresses=("bob@example.net",))}
        apply(account, ended(2))
        assert held(account.keeping, [(1, 1), (2, 1)]) == {}

    def test_copies_of_what_was_forgotten_are_known_until_they_are_gone(self, catalog: Catalog) -> None:
        """By nothing that they say; those that were removed by then are not among them."""
        place = RestorePlaceFact(2, "mail.example.org", "alice", 993, None, AT)
        restored = TargetFact(3, 2, b"Back", 79, "first", AT)
        apply(catalog, *ACCOUNT, place, restored, *map(stored, (1, 2, 3)))
        apply(catalog, copied(1, 11), copied(2, 12), copied(3, 13), copied(1, 14, target=3))
        apply(catalog, RemovedFact(1, (13,), "user", AT), TwinFact(1, 15, 1, 1, NONE, True, AT))
        keeping = catalog.keeping
        assert [(each.uid, each.key, each.restored) for each in keeping.copies([(1, 1), (1, 2), (1, 3)])] == [
            (11, (1, 1), False),
            (12, (1, 2), False),
            (15, (1, 1), False),
            (14, (1, 1), True),
        ]
        apply(catalog, IntentFact(1, 16, ((1, 2), (1, 3)), AT), UnsentFact(1, ((1, 2),), AT))
        assert (keeping.being_sent([(1, 1), (1, 3)]), keeping.being_sent([(1, 1), (1, 2)])) == (1, 0)
        there = ((1, 11, "octets", digest_of("message 1"), 101), (1, 15, "size", "", 99))
        first = stored(1).message
        gone = (1, 1, first.digest, first.size, first.crlf_size, first.arrived, 1)
        apply(catalog, ForgottenFact(1, (gone,), (), "request", "root@here", AT, there))
        apply(
            catalog, ForgottenFact(2, (), (), "rule", BY_RULE, AT, ((1, 12, "octets", digest_of("message 2"), 9),))
        )
        assert [(each.copies_left, each.by_rule) for each in keeping.forgets()] == [(2, False), (1, True)]
        assert keeping.left_copies()[1] == LeftCopy(
            2, 1, b"INBOX", 77, (1, 12, "octets", digest_of("message 2"), 9)
        )
        for _ in range(2):
            apply(catalog, CopiesErasedFact(1, (11, 12, 999), LATER))
        assert [(each.forget, each.copy) for each in keeping.left_copies()] == [(1, there[1])]
        assert [each.copies_left for each in keeping.forgets()] == [1, 0]

    def test_a_hold_without_conditions_holds_whatever_there_is(self, account: Catalog) -> None:
        apply(account, hold(1))
        every = [(1, 1), (1, 2), (1, 3), (2, 1), (9, 9)]
        assert held(account.keeping, every) == dict.fromkeys(every, hold(1))

    @pytest.mark.parametrize(
        ("its", "keys"),
        [
            (hold(1, "work*"), []),
            (hold(1, "Nowhere", "inbox"), [(1, 1), (1, 2), (1, 3)]),
            (hold(1, addresses=("BOB@example.net",)), [(1, 1), (1, 3), (2, 1)]),
            (hold(1, addresses=("carol@example.net", "nobody@x")), [(1, 2), (1, 3)]),
            (hold(1, "Work/*", addresses=("carol@example.net",)), []),
        ],
    )
    def test_a_hold_is_of_folders_and_of_addresses(
        self, account: Catalog, its: HoldFact, keys: list[tuple[int, int]]
    ) -> None:
        """A message of which no headers are known may be anybody's."""
        apply(account, its)
        assert sorted(held(account.keeping, [(1, 1), (1, 2), (1, 3), (2, 1)])) == keys

    def test_marks_are_kept_in_their_order(self, account: Catalog) -> None:
        marks = [StateMarkedFact(state, "", "me", at) for state, at in (("frozen", LATER), ("cutover", AT))]
        assert account.keeping.marks() == []
        apply(account, marks[0])
        apply(account, marks[1])
        assert account.keeping.marks() == marks

    def test_a_list_of_recipients_that_may_be_cut_off_is_everybodys(self, account: Catalog) -> None:
        known = [("x@y, " * 10).strip(", "), "x@y, " * 400]
        facts = [
            HeadersFact(digest_of(f"message {uid}"), Headers("a@b", recipients, "", None))
            for uid, recipients in enumerate(known, 1)
        ]
        apply(account, *facts, hold(1, "INBOX", addresses=("carol@example.net",)))
        assert sorted(held(account.keeping, [(1, 1), (1, 2)])) == [(1, 2)]

    def test_what_decides_whether_a_message_is_held(self, account: Catalog) -> None:
        assert list(account.keeping.holdable([(1, 3), (2, 1), (1, 9)])) == [
            Holdable((1, 3), digest_of("message 3"), ("INBOX",), None),
            Holdable((2, 1), digest_of("message 1"), ("Work", "ÿ"), f"{BOB.sender}, {BOB.recipients}"),
        ]
