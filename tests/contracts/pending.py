"""The contract of what a folder of a destination lacks. An adapter's test gives the fixtures `catalog`, new and
empty, and `pending`, over that catalog."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from archiver.catalog.port import Catalog
from archiver.catalog.replicas import PendingMessages
from archiver.facts.archive import VanishedFact
from archiver.facts.destination import IntentFact, RemovedFact, TargetFact, UnsentFact
from archiver.facts.outgoing import Intent, Outgoing, Refused, Watch
from archiver.facts.replica import MessageKey
from tests.contracts.catalog import AT, LATER, apply, stored
from tests.contracts.replicas import ACCOUNT, NONE, SECOND_EPOCH, about, copied, keys, outgoing, refused
from tests.stored_messages import altered


def sent_as_now(found: Iterable[Outgoing]) -> list[Outgoing]:
    """Without what a message of the past says of the present."""
    return [replace(each, followed=None) for each in found]


def begun_as_now(found: Iterable[Intent]) -> list[Intent]:
    return [replace(each, outgoing=replace(each.outgoing, followed=None)) for each in found]


class PendingContract:
    def test_pending_is_what_has_no_copy(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (3, 1, 2, 9)), copied(2))

        assert sent_as_now(pending.batch(1, [1], after=(0, 0), limit=10)) == [outgoing(1), outgoing(3), outgoing(9)]
        assert pending.count(1, [1]) == (3, 101 + 103 + 109)

    def test_for_a_target_that_is_not_known_yet_everything_is_pending(
        self, catalog: Catalog, pending: PendingMessages
    ) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), copied(2))

        assert pending.count(0, [1]) == (2, 203)
        assert keys(pending.batch(0, [1], after=(0, 0), limit=10)) == [(1, 1), (1, 2)]

    def test_pending_goes_on_behind_a_message_whatever_became_of_it(
        self, catalog: Catalog, pending: PendingMessages
    ) -> None:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 7)))
        apply(catalog, copied(2), VanishedFact(1, (3,), LATER))

        assert keys(pending.batch(1, [1], after=(1, 2), limit=2)) == [(1, 4), (1, 5)]
        assert keys(pending.batch(1, [1, 2], after=(1, 6), limit=2)) == []
        assert keys(pending.batch(1, [1], after=(0, 99), limit=1)) == [(1, 1)]

    def test_pending_is_of_the_folders_that_are_asked_for(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, stored(1), stored(2, epoch=2))

        assert sent_as_now(pending.batch(1, [2], after=(0, 0), limit=9)) == [outgoing(2, 2, ".Work")]
        assert keys(pending.batch(1, [1, 2], after=(0, 0), limit=9)) == [(1, 1), (2, 2)]
        assert pending.batch(1, [], after=(0, 0), limit=9) == pending.batch(1, [3], after=(0, 0), limit=9) == []
        assert (
            pending.count(1, [2]),
            pending.count(1, []),
            pending.count(1, [1, 2]),
        ) == ((1, 102), (0, 0), (2, 203))

    def test_messages_that_no_other_folder_has(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(
            catalog, *ACCOUNT, *map(stored, (1, 2, 3)), stored(2, epoch=2), stored(7, epoch=2), stored(8, epoch=2)
        )

        assert pending.without_equal([1], [2]) == {1: 2}
        assert pending.without_equal([2], [1]) == {2: 2}
        assert pending.without_equal([1, 2], [1, 2]) == pending.without_equal([], [1]) == {}
        assert pending.without_equal([1], []) == {1: 3}

    def test_a_watch_lasts_until_something_is_sent(self, catalog: Catalog, pending: PendingMessages) -> None:
        """By one clock, and for each folder by itself."""
        apply(catalog, *ACCOUNT, stored(1))
        watched = pending.watched
        first, later = Watch("a boot", 7.5), Watch("a boot", 99.25)

        assert [watched(1, each) for each in (first, later, later)] == [first] * 3
        assert watched(2, later) == later
        apply(catalog, IntentFact(1, 3, ((1, 1),), AT))
        assert watched(1, later) == later
        assert watched(1, first) == first  # the clock went back
        assert watched(1, Watch("another boot", 9.0)) == Watch("another boot", 9.0)
        assert watched(1, later) == later

    def test_a_copy_in_another_target_is_none_here(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1, target=2))

        assert keys(pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 1)]
        assert keys(pending.batch(2, [1], after=(0, 0), limit=9)) == []

    def test_what_is_not_present_is_not_pending(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), VanishedFact(1, (1,), LATER))
        assert keys(pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 2)]

        apply(catalog, SECOND_EPOCH, stored(7, epoch=3))
        assert keys(pending.batch(1, [1], after=(0, 0), limit=9)) == [(3, 7)]
        assert pending.count(1, [1]) == (1, 107)

    def test_equal_messages_are_pending_one_by_one(self, catalog: Catalog, pending: PendingMessages) -> None:
        twin = altered(stored(2), digest=stored(1).message.digest)
        apply(catalog, *ACCOUNT, stored(1), twin, altered(twin, uid=3), copied(2))

        assert keys(pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 1), (1, 3)]

    def test_a_refused_message_and_one_with_an_intent_are_pending(
        self, catalog: Catalog, pending: PendingMessages
    ) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), refused(1), IntentFact(1, 50, about([2]), AT))

        assert keys(pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 1), (1, 2)]

    def test_pending_has_what_little_is_known(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, altered(stored(1), internaldate=None, message_id=None, flags=NONE))

        (found,) = pending.batch(1, [1], after=(0, 0), limit=9)
        assert (found.message.internaldate, found.message.message_id, found.message.flags) == (None, None, NONE)

    def test_pending_comes_in_parts_and_ends(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 11)), *(stored(uid, epoch=2) for uid in (4, 5)))
        apply(catalog, *map(copied, (1, 2, 3, 4, 9)))
        found: list[MessageKey] = []
        after = (0, 0)
        while part := pending.batch(1, [2, 1], after=after, limit=4):
            assert len(part) <= 4
            found += keys(part)
            after = part[-1].key

        assert found == [*((1, uid) for uid in (5, 6, 7, 8, 10)), (2, 4), (2, 5)]
        assert pending.count(1, [2, 1]) == (7, 105 + 106 + 107 + 108 + 110 + 104 + 105)

    def test_what_its_user_removed_is_not_pending(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), *map(copied, (1, 2)), RemovedFact(1, (1001,), "user", LATER))
        assert (pending.batch(1, [1], after=(0, 0), limit=9), pending.count(1, [1])) == ([], (0, 0))

        apply(catalog, TargetFact(3, 1, b"INBOX", 79, "uidvalidity", LATER))
        assert keys(pending.batch(3, [1], after=(0, 0), limit=9)) == [(1, 2)]
        assert pending.count(3, [1]) == (1, 102)

    def test_intents_in_the_order_of_their_messages(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), stored(1, epoch=2))
        apply(catalog, IntentFact(1, 50, about([3, 1]), AT), IntentFact(1, 60, about([1], 2), LATER))
        apply(catalog, IntentFact(2, 70, about([2]), AT))

        assert begun_as_now(pending.intents(1)) == [
            Intent(outgoing(1), 50, AT),
            Intent(outgoing(3), 50, AT),
            Intent(outgoing(1, 2, ".Work"), 60, LATER),
        ]
        assert begun_as_now(pending.intents(2)) == [Intent(outgoing(2), 70, AT)]

    def test_an_intent_that_was_not_settled_keeps_the_lowest_uidnext(
        self, catalog: Catalog, pending: PendingMessages
    ) -> None:
        apply(catalog, *ACCOUNT, stored(1), IntentFact(1, 50, about([1]), AT))

        for uidnext in (70, 40, 60):
            apply(catalog, IntentFact(1, uidnext, about([1]), LATER))

        assert begun_as_now(pending.intents(1)) == [Intent(outgoing(1), 40, LATER)]

    def test_a_copy_a_refusal_or_nothing_ends_an_intent(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 6)), IntentFact(1, 50, about(range(1, 6)), AT))
        apply(catalog, IntentFact(2, 50, about(range(1, 6)), AT))

        apply(catalog, copied(1), refused(2), UnsentFact(1, about([3, 99]), AT))

        assert [each.outgoing.key for each in pending.intents(1)] == list(about([4, 5]))
        assert [each.outgoing.key for each in pending.intents(2)] == list(about(range(1, 6)))

    def test_an_intent_that_ended_starts_over(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, stored(1), IntentFact(1, 50, about([1]), AT), UnsentFact(1, about([1]), AT))

        apply(catalog, IntentFact(1, 70, about([1]), LATER))

        assert begun_as_now(pending.intents(1)) == [Intent(outgoing(1), 70, LATER)]

    def test_an_intent_of_what_vanished_in_between(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, stored(1), IntentFact(1, 50, about([1]), AT), VanishedFact(1, (1,), LATER))

        assert begun_as_now(pending.intents(1)) == [Intent(outgoing(1, present=False), 50, AT)]

    def test_a_refused_message(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(
            catalog, *ACCOUNT, *map(stored, (1, 2)), stored(3, epoch=2), refused(3, epoch=2, target=2), refused(2)
        )
        bare: dict[str, Any] = {"server_reply": None, "date": None, "subject": None}
        apply(catalog, refused(1, **bare, refusal="unknown"))

        common = ("it is too big", "NO [TOOBIG]", "Wed, 1 Jan 2020", "hello", 1, False)
        assert pending.refused(1) == [
            Refused("INBOX", 1, (1, 1), "unknown", "it is too big", None, None, None, 1, False),
            Refused("INBOX", 1, (1, 2), "too-big", *common),
            Refused("Work/ÿ", 2, (2, 3), "too-big", *common),
        ]
        assert pending.refused(2) == []

    def test_tries_are_counted_once_for_each_run(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, stored(1), refused(1), refused(1), run="R1")
        apply(catalog, refused(1), run="R1")
        assert [each.tries for each in pending.refused(1)] == [1]

        apply(catalog, refused(1, refusal="nul", reason="a NUL", server_reply="BAD", subject="other"), run="R2")

        assert pending.refused(1) == [
            Refused("INBOX", 1, (1, 1), "nul", "a NUL", "BAD", "Wed, 1 Jan 2020", "other", 2, False)
        ]

    def test_an_accepted_loss_is_no_try_and_stays_accepted(
        self, catalog: Catalog, pending: PendingMessages
    ) -> None:
        apply(catalog, *ACCOUNT, stored(1), refused(1), run="R1")
        apply(catalog, refused(1, accepted=True), run="R2")
        apply(catalog, refused(1), run="R3")

        assert [(each.tries, each.accepted) for each in pending.refused(1)] == [(2, True)]

    def test_a_loss_may_be_accepted_immediately(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, stored(1), refused(1, accepted=True))

        assert [(each.tries, each.accepted) for each in pending.refused(1)] == [(0, True)]

    def test_each_target_refuses_by_itself(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, stored(1), refused(1), refused(1, target=2, refusal="nul"))

        apply(catalog, copied(1, target=2))

        assert [(each.target, each.refusal) for each in pending.refused(1)] == [(1, "too-big")]

    def test_a_copy_ends_a_refusal(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), refused(1), refused(2))

        apply(catalog, copied(1))

        assert [each.key for each in pending.refused(1)] == [(1, 2)]

    def test_undecodable_text_is_kept_readable(self, catalog: Catalog, pending: PendingMessages) -> None:
        odd = "\udcff\x00 ü"
        apply(catalog, *ACCOUNT, stored(1), refused(1, reason=odd, server_reply=odd, date=odd, subject=odd))

        (found,) = pending.refused(1)
        assert {found.reason, found.server_reply, found.date, found.subject} == {"\\udcff\x00 ü"}

    def test_the_refusal_of_what_is_gone_is_none(self, catalog: Catalog, pending: PendingMessages) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), refused(1), refused(2), VanishedFact(1, (1,), LATER))
        assert [each.key for each in pending.refused(1)] == [(1, 2)]

        apply(catalog, SECOND_EPOCH)
        assert pending.refused(1) == []

    def test_no_replica_of_what_is_present_is_one_of_what_vanished(
        self, catalog: Catalog, pending: PendingMessages
    ) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), *map(copied, (1, 2)))

        assert pending.vanished(1) == []
        assert pending.vanished(1, gone=[1]) == []
