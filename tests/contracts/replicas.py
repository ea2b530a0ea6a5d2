"""The contract of what a catalog knows of destinations. An adapter's test gives the fixtures `catalog` and
`rebuilt`, both new and empty."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from archiver.catalog.port import Catalog
from archiver.catalog.replicas import Replicas
from archiver.errors import IntegrityError
from archiver.facts.access import Annotations, AnnotationsFact, Granted, GrantedFact, Rights, RightsFact
from archiver.facts.archive import ArchiveFact, EpochFact, Fact, FlagsFact, LabelsFact, VanishedFact
from archiver.facts.destination import (
    AcceptedFact,
    ComparedFact,
    CopiedFact,
    DestinationFact,
    DistinctFact,
    IntentFact,
    LabelledFact,
    MappedFact,
    MarkedFact,
    ReachedFact,
    ReflaggedFact,
    RefusedFact,
    RemovedFact,
    RenamedFact,
    RenamingFact,
    SettledFact,
    TargetFact,
    TargetStateFact,
    TwinFact,
    UnsentFact,
)
from archiver.facts.outgoing import Attempt, LateTwin, Outgoing
from archiver.facts.replica import (
    Address,
    KnownDestination,
    Loss,
    MessageKey,
    Moved,
    Replica,
    ReplicaCount,
    ReplicaFolder,
    ReplicaFolderState,
    ReplicaTally,
    UnknownMessage,
)
from archiver.mail.model import Flags, FolderStatus
from tests.contracts.catalog import (
    AT,
    FIRST,
    INBOX,
    LATER,
    OF_WORK,
    SEEN,
    WORK,
    apply,
    digest_of,
    following,
    placement,
    stored,
)
from tests.stored_messages import altered

NONE: Flags = frozenset()
FLAGGED = frozenset({"\\Flagged"})
DATE = "17-Jul-1996 02:44:25 -0700"

THERE = DestinationFact(1, "mail.example.net", "alice@example.net", AT)
HERE = Address("mail.example.net", "alice@example.net", 993)
INTO_INBOX = MappedFact(1, 1, b"INBOX", ("INBOX",), "rules", AT)
INTO_WORK = MappedFact(1, 2, b"INBOX.Work.&AP8-", ("Work", "ÿ"), "rules", AT)
TARGET = TargetFact(1, 1, b"INBOX", 77, "first", AT)
OF_WORK_THERE = TargetFact(2, 1, b"INBOX.Work.&AP8-", 78, "first", AT)
SECOND_EPOCH = EpochFact(3, 1, 8, 1, "uidvalidity", LATER)

ACCOUNT: Sequence[Fact] = (*(INBOX, WORK, FIRST, OF_WORK, THERE, INTO_INBOX, INTO_WORK, TARGET, OF_WORK_THERE),)
"""An account of two folders, 1 and 2, in the epochs 1 and 2, and a destination with a target for each."""


def copied(
    uid: int, target_uid: int | None = None, *, epoch: int = 1, target: int = 1, **others: Any
) -> CopiedFact:
    """A copy of `stored(uid)`; its UID there is 1000 more, if nothing else is said."""
    fact = CopiedFact(
        target=target,
        target_uid=1000 + uid if target_uid is None else target_uid,
        epoch=epoch,
        uid=uid,
        how="appended",
        source_flags=SEEN,
        flags=SEEN,
        lost=NONE,
        size=200 + uid,
        repaired=(),
        sent_digest=None,
        dated=True,
        likeness=None,
        at=AT,
    )
    return replace(fact, **others)


def copy(uid: int, target_uid: int | None = None, **others: Any) -> Replica:
    """What is known of `copied(uid)`."""
    known = Replica(
        uid=1000 + uid if target_uid is None else target_uid,
        epoch=1,
        message=stored(uid).message,
        how="appended",
        sent_digest=None,
        size=200 + uid,
        dated=True,
        source_flags=SEEN,
        flags=SEEN,
        lost=NONE,
        likeness=None,
        repaired=(),
        folder=1,
    )
    return replace(known, **others)


def flagged(known: Replica, flags: Flags) -> Replica:
    """The copy of a message that has other flags by now."""
    return replace(known, message=replace(known.message, flags=flags))


def outgoing(uid: int, epoch: int = 1, directory: str = "INBOX", *, present: bool = True) -> Outgoing:
    """`stored(uid)`, to be sent."""
    place = placement(uid, directory, present=present)
    return Outgoing(epoch, place)


def refused(uid: int, **others: Any) -> RefusedFact:
    fact = RefusedFact(1, 1, uid, "too-big", "it is too big", "NO [TOOBIG]", "Wed, 1 Jan 2020", "hello", False, AT)
    return replace(fact, **others)


def about(uids: Iterable[int], epoch: int = 1) -> tuple[MessageKey, ...]:
    return tuple((epoch, uid) for uid in uids)


def keys(found: Iterable[Outgoing]) -> list[MessageKey]:
    return [each.key for each in found]


def everything(catalog: Catalog) -> dict[str, object]:
    """The answers to every question."""
    replicas = catalog.replicas
    destinations = catalog.replicas.destinations
    answers: dict[str, object] = {
        "destinations": [
            destinations.at(Address(host, user, port))
            for host in ("mail.example.net", "elsewhere")
            for user in ("alice@example.net", "bob")
            for port in (143, 993)
        ],
        "filled": destinations.with_history(),
    }
    digests = [digest_of(f"message {uid}") for uid in range(30)]
    for destination in (1, 2, 3):
        answers |= {
            f"distinct {destination}": destinations.is_distinct(destination),
            f"known before {destination}": destinations.known_before(destination),
            f"mapped {destination}": replicas.folders.mapped(destination),
            f"targets {destination}": replicas.folders.current(destination),
            f"refused {destination}": replicas.pending.refused(destination),
            f"refused {destination}, vanished": replicas.pending.refused(destination, vanished=True),
            f"losses {destination}": replicas.folders.losses(destination),
            f"stranded {destination}": replicas.folders.stranded(destination),
            f"moved {destination}": replicas.folders.moved(destination),
            f"counts {destination}": replicas.folders.counts(destination),
        }
        answers |= {
            f"tallies {destination} {run}": replicas.folders.tallies(destination, run) for run in (None, "R1", "R2")
        }
    for target in range(1, 7):
        answers |= {
            f"claimed {target}": replicas.messages.claimed(target),
            f"intents {target}": replicas.pending.intents(target),
            f"attempts {target}": replicas.changes.attempts(target),
            f"twins {target}": replicas.changes.twins(target),
            f"left over {target}": replicas.messages.left_over(target, digests),
            f"equal {target}": replicas.messages.equal(target, digests),
            f"reflagged {target}": replicas.changes.reflagged(target),
            f"vanished {target}": replicas.changes.deletable(target),
            f"vanished {target} once": replicas.pending.vanished(target),
            f"gone {target}": replicas.changes.deletable(target, gone=[1, 2]),
            f"newest {target}": replicas.messages.newest(target, 3),
            f"copies {target}": list(replicas.messages.all(target)),
            f"uncompared {target}": replicas.changes.uncompared(target, limit=9),
        }
        for vanished in (False, True):
            answers[f"work {target} {vanished}"] = replicas.pending.count(target, [1, 2], vanished=vanished)
            answers[f"pending {target} {vanished}"] = replicas.pending.batch(
                target, [1, 2], after=(0, 0), limit=1000, vanished=vanished
            )
    return answers


class ReplicasContract:
    @pytest.fixture
    def replicas(self, catalog: Catalog) -> Replicas:
        return catalog.replicas

    def test_a_new_catalog_knows_no_destination(self, catalog: Catalog, replicas: Replicas) -> None:
        assert catalog.replicas.destinations.at(HERE) is None
        assert (replicas.pending.count(0, []), replicas.pending.count(1, [1])) == ((0, 0), (0, 0))
        asked = everything(catalog)
        assert {name for name, answer in asked.items() if answer and not name.startswith(("work", "dest"))} == set()

    # Destinations, maps, targets

    def test_a_destination_is_known_by_its_addresses(self, catalog: Catalog) -> None:
        other, bob = replace(HERE, host="elsewhere"), replace(HERE, user="bob")
        apply(
            catalog,
            replace(THERE, port=993),
            replace(THERE, number=2, user="bob", port=993),
            ReachedFact(1, "elsewhere", HERE.user, 993, AT),
        )

        def number(address: Address) -> int | None:
            known = catalog.replicas.destinations.at(address)
            return known.number if known else None

        assert [number(each) for each in (HERE, bob, other)] == [1, 2, 1]
        assert [number(replace(each, port=143)) for each in (HERE, bob, other)] == [None, None, None]
        assert number(replace(other, user="bob")) is None
        apply(catalog, ReachedFact(2, "elsewhere", HERE.user, 993, AT))
        assert number(other) == 2  # the one reached there last

    def test_a_port_that_was_not_recorded_is_any_until_one_is(self, catalog: Catalog) -> None:
        apply(catalog, THERE)
        addresses = [replace(HERE, port=port) for port in (143, 993)]
        expected = KnownDestination(1, replace(HERE, port=None))
        assert [catalog.replicas.destinations.at(each) for each in addresses] == [expected, expected]
        apply(catalog, ReachedFact(1, HERE.host, HERE.user, 993, AT))
        assert [catalog.replicas.destinations.at(each) for each in addresses] == [None, KnownDestination(1, HERE)]

    def test_the_destination_met_last_is_the_first_with_a_history(self, catalog: Catalog) -> None:
        apply(catalog, *ACCOUNT, replace(THERE, number=2, user="bob"), replace(THERE, number=3, user="carol"))
        apply(catalog, TargetFact(3, 2, b"INBOX", 79, "first", AT))
        filled = catalog.replicas.destinations.with_history
        assert [each.address.user for each in filled()] == ["bob", "alice@example.net"]
        apply(catalog, ReachedFact(1, "elsewhere", HERE.user, 993, AT))
        assert filled()[0] == KnownDestination(1, replace(HERE, host="elsewhere"))

    def test_a_person_distinguishes_a_destination_from_one_source(self, catalog: Catalog) -> None:
        source = ArchiveFact("id", "alice", "imap", "a", "alice", AT)
        apply(catalog, source, *ACCOUNT, DistinctFact(1, AT), DistinctFact(1, LATER))
        assert catalog.replicas.destinations.is_distinct(1)
        apply(catalog, replace(source, host="b"))
        assert not catalog.replicas.destinations.is_distinct(1)
        apply(catalog, source)
        assert catalog.replicas.destinations.is_distinct(1)

    def test_a_folder_that_the_archive_knew_first_is_the_sources_own(self, catalog: Catalog) -> None:
        apply(catalog, *ACCOUNT, TargetFact(3, 1, b"Old", 7, "first", AT))
        assert catalog.replicas.destinations.known_before(1) == {7}
        apply(catalog, replace(OF_WORK, number=9, uidvalidity=78, at=LATER))
        assert catalog.replicas.destinations.known_before(1) == {7}

    def test_messages_of_the_archive_are_known_elsewhere(self, catalog: Catalog) -> None:
        facts = stored(1), altered(stored(2), message_id=None)
        apply(catalog, INBOX, FIRST, *facts)
        named, plain = (fact.message for fact in facts)
        known = [
            UnknownMessage(named.message_id, None, None),
            UnknownMessage(None, plain.size, plain.arrived),
            UnknownMessage(None, plain.crlf_size, plain.arrived),
        ]
        unknown = [
            UnknownMessage("<another@example.org>", named.size, named.arrived),
            UnknownMessage(None, plain.size, plain.arrived + 1),
            UnknownMessage(None, plain.size + 1, plain.arrived),
            UnknownMessage(None, None, plain.arrived),
        ]
        assert [catalog.replicas.destinations.count_known([each]) for each in (*known, *unknown)] == [
            1,
            1,
            1,
            0,
            0,
            0,
            0,
        ]
        assert catalog.replicas.destinations.count_known([*known, *unknown]) == 3

    def test_numbers_are_given_once(self, catalog: Catalog) -> None:
        apply(catalog, *ACCOUNT)
        assert (catalog.account.next_numbers().destination, catalog.account.next_numbers().target) == (2, 3)

        apply(catalog, replace(TARGET, number=7, uidvalidity=1), replace(THERE, number=5, user="bob"))
        assert (catalog.account.next_numbers().destination, catalog.account.next_numbers().target) == (6, 8)

    def test_a_destination_is_met_once(self, catalog: Catalog) -> None:
        apply(catalog, THERE)

        with pytest.raises(IntegrityError):
            apply(catalog, replace(THERE, user="bob"))

    def test_folders_and_their_places(self, catalog: Catalog, replicas: Replicas) -> None:
        elsewhere = replace(THERE, number=2, user="bob")
        apply(catalog, *ACCOUNT, elsewhere, replace(INTO_WORK, destination=2, raw=b"\xff", path=("x",)))

        assert replicas.folders.mapped(1) == {
            1: (b"INBOX", ("INBOX",), "rules", None),
            2: (b"INBOX.Work.&AP8-", ("Work", "ÿ"), "rules", None),
        }
        assert replicas.folders.mapped(2) == {2: (b"\xff", ("x",), "rules", None)}

    def test_a_folder_that_is_given_another_place(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT)

        moved = replace(INTO_WORK, raw=b"Old.Work", path=("Old", "Work"), rules="other rules", subscribed=True)
        apply(catalog, moved)

        assert replicas.folders.mapped(1)[2] == (b"Old.Work", ("Old", "Work"), "other rules", True)

    def test_targets_by_their_raw_names(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, replace(THERE, number=2, user="bob"), replace(TARGET, number=3, destination=2))

        assert replicas.folders.current(1) == {
            b"INBOX": ReplicaFolder(1, b"INBOX", 77),
            b"INBOX.Work.&AP8-": ReplicaFolder(2, b"INBOX.Work.&AP8-", 78),
        }
        assert replicas.folders.current(2) == {b"INBOX": ReplicaFolder(3, b"INBOX", 77)}

    def test_the_state_of_a_complete_pass(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, TargetStateFact(1, 9, 4, AT), TargetStateFact(2, 1, 0, AT))
        apply(catalog, TargetStateFact(1, 12, 5, LATER))

        states = {raw: known.state for raw, known in replicas.folders.current(1).items()}
        assert states == {b"INBOX": ReplicaFolderState(12, 5), b"INBOX.Work.&AP8-": ReplicaFolderState(1, 0)}

    def test_the_status_before_copies_were_compared(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, ComparedFact(1, (), 9, 4, 70, 1234, AT), ComparedFact(2, (), 1, 0, 7, None, AT))
        apply(catalog, ComparedFact(1, (), 12, 5, 71, 2345, LATER))

        known = {raw: each.compared for raw, each in replicas.folders.current(1).items()}
        assert known == {
            b"INBOX": FolderStatus(77, 12, 5, 71, 2345),
            b"INBOX.Work.&AP8-": FolderStatus(78, 1, 0, 7, None),
        }

        apply(catalog, ComparedFact(1, (), 0, 0, 0, None, LATER))
        assert replicas.folders.current(1)[b"INBOX"].compared is None

    def test_copies_that_were_compared_until_they_are_recorded_again(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        def uncompared() -> list[int]:
            return [each.uid for each in replicas.changes.uncompared(1, limit=9)]

        apply(catalog, *ACCOUNT, *map(stored, range(1, 6)), stored(1, 2), *map(copied, range(1, 6)))
        apply(catalog, copied(1, 2001, epoch=2), copied(4, likeness="headers"), AcceptedFact(1, (1005,), AT))
        assert uncompared() == [1001, 1002, 1003, 1004, 1005, 2001]
        assert replicas.folders.counts(1) == {1: {1: ReplicaCount(5, 1, 1, 5), 2: ReplicaCount(1, 0, 0, 1)}}

        apply(catalog, ComparedFact(1, ((1001, 1002), (1004, 1005), (2001, 2001)), 2002, 6, 9, None, AT))
        assert uncompared() == [1003]
        assert replicas.folders.counts(1) == {1: {1: ReplicaCount(5, 1, 1, 1), 2: ReplicaCount(1, 0, 0, 0)}}

        apply(catalog, copied(2, how="again"), FlagsFact(1, 1, FLAGGED, LATER))
        assert uncompared() == [1001, 1002, 1003]  # flags that were not replayed, recorded again, never compared
        apply(catalog, ReflaggedFact(1, 1001, FLAGGED, FLAGGED, NONE, LATER), VanishedFact(1, (3,), LATER))
        assert uncompared() == [1002]
        assert [each.uid for each in replicas.messages.all(1, uids=[1003, 1004, 2001, 7])] == [1004, 2001]

    def test_a_new_target_ends_the_one_before(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1), stored(2), refused(2), TargetStateFact(1, 9, 4, AT))

        apply(catalog, TargetFact(3, 1, b"INBOX", 79, "uidvalidity", LATER))

        assert replicas.folders.current(1) == {
            b"INBOX": ReplicaFolder(3, b"INBOX", 79),
            b"INBOX.Work.&AP8-": ReplicaFolder(2, b"INBOX.Work.&AP8-", 78),
        }
        assert keys(replicas.pending.batch(3, [1], after=(0, 0), limit=10)) == [(1, 1), (1, 2)]
        assert (replicas.messages.claimed(3), replicas.pending.refused(1), replicas.folders.losses(1)) == (
            {},
            [],
            [],
        )
        assert [tally.pending for tally in replicas.folders.tallies(1, None)] == [2, 0]

    # What has to be sent

    def test_pending_comes_in_parts(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 11)), *(stored(uid, epoch=2) for uid in (4, 5)), copied(3))
        found: list[MessageKey] = []
        sizes = []
        after = (0, 0)
        while part := replicas.pending.batch(1, [2, 1], after=after, limit=4):
            sizes.append(len(part))
            found += keys(part)
            after = part[-1].key

        assert found == [(1, uid) for uid in range(1, 11) if uid != 3] + [(2, 4), (2, 5)]
        assert sizes == [4, 4, 3]

    def test_what_vanished_is_pending_if_it_is_asked_for(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), copied(3), VanishedFact(1, (1, 3), LATER))

        assert replicas.pending.batch(1, [1], after=(0, 0), limit=9, vanished=True) == [
            outgoing(1, present=False),
            outgoing(2),
        ]
        assert replicas.pending.count(1, [1], vanished=True) == (2, 203)

    def test_what_vanished_is_pending_as_often_as_the_folder_held_it(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        """At the same time; one that was moved away and back is one message."""
        digest = stored(1).message.digest
        twin, back, later = (
            altered(stored(uid), digest=digest, at=at) for uid, at in ((2, AT), (3, LATER), (4, LATER))
        )
        apply(catalog, *ACCOUNT, stored(1), twin, run="R1")
        apply(catalog, VanishedFact(1, (1, 2), LATER), run="R2")

        def pending() -> list[MessageKey]:
            return keys(replicas.pending.batch(1, [1], after=(0, 0), limit=9, vanished=True))

        assert pending() == [(1, 1), (1, 2)]
        apply(catalog, back, run="R2")
        assert pending() == [(1, 3)]
        apply(catalog, VanishedFact(1, (3,), "2026-11-25T07:00:00Z"), run="R3")
        assert pending() == [(1, 3)]
        apply(catalog, replace(later, at="2026-11-26T07:00:00Z"), run="R4")
        assert pending() == [(1, 4)]

    def test_within_one_second_messages_are_as_many_as_they_are(self, catalog: Catalog, replicas: Replicas) -> None:
        """A clock has no more than seconds."""
        twin, back = (altered(stored(uid), digest=stored(1).message.digest) for uid in (2, 3))
        apply(catalog, *ACCOUNT, stored(1), twin, run="R1")
        apply(catalog, VanishedFact(1, (1, 2), AT), run="R2")
        assert keys(replicas.pending.batch(1, [1], after=(0, 0), limit=9, vanished=True)) == [(1, 1), (1, 2)]

        apply(catalog, back, run="R3")
        assert keys(replicas.pending.batch(1, [1], after=(0, 0), limit=9, vanished=True)) == [(1, 3)]

    def test_of_an_ended_epoch_is_pending_what_no_later_one_has(self, catalog: Catalog, replicas: Replicas) -> None:
        """Message 1 is there in the next epoch, 2 only in the one after, where it vanished; 3 and 4 nowhere."""
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3, 4)), VanishedFact(1, (4,), AT))
        apply(catalog, SECOND_EPOCH, stored(1, epoch=3))
        apply(catalog, EpochFact(4, 1, 9, 1, "uidvalidity", LATER))
        apply(catalog, stored(1, epoch=4), stored(2, epoch=4), VanishedFact(4, (2,), LATER))

        pending = replicas.pending.batch(1, [1], after=(0, 0), limit=9, vanished=True)
        assert keys(pending) == [(1, 3), (1, 4), (4, 1), (4, 2)]
        assert [each.present for each in pending] == [False, False, True, False]
        assert replicas.pending.count(1, [1], vanished=True) == (4, 103 + 104 + 101 + 102)

    def test_another_folder_represents_nothing(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), SECOND_EPOCH)
        apply(catalog, EpochFact(4, 2, 9, 1, "uidvalidity", LATER), stored(1, epoch=4))

        assert keys(replicas.pending.batch(1, [1, 2], after=(0, 0), limit=9, vanished=True)) == [(1, 1), (4, 1)]

    # Copies

    def test_the_uids_of_copies_and_which_of_them_live(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), copied(1), copied(2), copied(3, target=2))
        apply(catalog, RemovedFact(1, (1002, 4444), "user", LATER))

        assert replicas.messages.claimed(1) == {1001: True, 1002: False}
        assert replicas.messages.claimed(2) == {1003: True}
        assert replicas.messages.claimed(1, since=1002) == {1002: False}
        assert [each.uid for each in replicas.messages.newest(1, 1)] == [1001]
        assert [each.uid for each in replicas.messages.newest(1, 1, removed=True)] == [1002]
        assert replicas.messages.newest(9, 1, removed=True) == []

    def test_copies_as_recorded_in_the_order_of_their_uids(self, catalog: Catalog, replicas: Replicas) -> None:
        odd: dict[str, Any] = {
            "source_flags": NONE,
            "flags": FLAGGED,
            "lost": frozenset({"a", "B"}),
            "likeness": "headers",
        }
        altered: dict[str, Any] = {
            "repaired": ("crlf", "nul"),
            "sent_digest": digest_of("altered"),
            "dated": False,
            "size": None,
        }
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3, 4)), copied(1, 2000), copied(2, 9, **odd))
        apply(catalog, copied(3, 10, how="adopted", **altered), copied(4, target=2))

        assert list(replicas.messages.all(1)) == [
            copy(2, 9, **odd),
            copy(3, 10, how="adopted", **altered),
            copy(1, 2000),
        ]

    def test_copies_are_those_of_present_messages_that_live(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), *map(copied, (1, 2, 3)))
        apply(catalog, VanishedFact(1, (1,), LATER), RemovedFact(1, (1002,), "user", LATER))
        assert list(replicas.messages.all(1)) == [copy(3)]

        apply(catalog, SECOND_EPOCH)
        assert list(replicas.messages.all(1)) == []

    def test_copies_that_were_brought_back_are_among_them(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), VanishedFact(1, (1, 2), AT))
        apply(catalog, copied(1, how="restored", dated=False), copied(2, how="restored"))
        assert list(replicas.messages.all(1)) == [copy(1, how="restored", dated=False), copy(2, how="restored")]
        assert [loss.uids for loss in replicas.folders.losses(1)] == [(1,)]

        apply(catalog, SECOND_EPOCH, RemovedFact(1, (1002,), "user", LATER))
        assert list(replicas.messages.all(1)) == [copy(1, how="restored", dated=False)]

    def test_copies_of_another_size_that_were_not_compared(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 11)))
        odd = {"size": 999}
        apply(catalog, copied(1), copied(2, size=102), copied(3, size=None))  # as it is, with CRLF, not reported
        apply(catalog, copied(4, **odd), copied(5, likeness="other", **odd), copied(6, repaired=("nul",), **odd))
        apply(catalog, *(copied(uid, **odd) for uid in (7, 8, 9)), copied(10, target=2, **odd))
        apply(catalog, RemovedFact(1, (1007,), "user", LATER), VanishedFact(1, (8,), LATER))

        doubtful = [(copy(4, **odd), outgoing(4)), (copy(9, **odd), outgoing(9))]
        assert replicas.changes.doubtful(1, after=0, limit=10) == doubtful
        assert replicas.changes.doubtful(1, after=0, limit=1) == doubtful[:1]
        assert replicas.changes.doubtful(1, after=1004, limit=10) == doubtful[1:]

    def test_the_newest_copies(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 7)), *map(copied, range(1, 6)), copied(6, target=2))
        apply(catalog, RemovedFact(1, (1005,), "user", LATER), VanishedFact(1, (4,), LATER))

        assert replicas.messages.newest(1, 2) == [copy(4), copy(3)]
        assert replicas.messages.newest(2, 2) == [copy(6)]

    def test_facts_may_be_applied_while_copies_are_read(self, catalog: Catalog, replicas: Replicas) -> None:
        uids = range(1, 6001)
        apply(catalog, *ACCOUNT, *map(stored, uids), *map(copied, uids))
        reading = replicas.messages.all(1)

        read = [next(reading)]
        apply(catalog, RemovedFact(1, tuple(1000 + uid for uid in uids), "user", LATER))
        assert True not in replicas.messages.claimed(1).values()
        read.extend(reading)

        assert [each.uid for each in read] == [1000 + uid for uid in uids]

    def test_a_copy_known_already_is_recorded_again(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1))

        apply(catalog, copied(1, how="found", flags=NONE, likeness="line-ends", at=LATER))

        assert list(replicas.messages.all(1)) == [copy(1, how="found", flags=NONE, likeness="line-ends")]

    def test_a_message_has_one_copy_in_a_target(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1, 7), copied(1, target=2))

        apply(catalog, copied(1, 8))

        assert replicas.messages.claimed(1) == {8: True}
        assert replicas.messages.claimed(2) == {1001: True}

    def test_facts_about_copies_take_effect_in_their_order(self, catalog: Catalog, replicas: Replicas) -> None:
        """Also those about one message or one copy that stand next to each other."""
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)))

        apply(
            catalog,
            *(copied(1, 7), copied(1, 8), copied(2, 7), copied(2, 7, flags=FLAGGED), copied(3, 9)),
            *(RemovedFact(1, (9,), "policy", AT), copied(3, 9), ReflaggedFact(1, 7, NONE, NONE, NONE, AT)),
            *(ReflaggedFact(1, 7, NONE, FLAGGED, NONE, AT), MarkedFact(1, (7, 8), True, AT)),
            *(MarkedFact(1, (8,), False, AT), refused(3), copied(3, 9)),
        )

        assert list(replicas.messages.all(1)) == [
            copy(2, 7, source_flags=NONE, flags=FLAGGED, marked=True),
            copy(1, 8),
            copy(3, 9),
        ]
        assert replicas.pending.refused(1) == []

    def test_a_copy_that_is_handed_on(self, catalog: Catalog, replicas: Replicas) -> None:
        """The message came back under another UID; whether the copy's user removed it stays."""
        again = {uid: altered(stored(10 + uid), digest=stored(uid).message.digest) for uid in (1, 2)}
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), copied(1), copied(2), RemovedFact(1, (1002,), "user", AT))
        apply(catalog, VanishedFact(1, (1, 2), LATER), *again.values())

        apply(catalog, *(copied(10 + uid, 1000 + uid, how="again", size=200 + uid) for uid in (1, 2)))

        assert replicas.messages.claimed(1) == {1001: True, 1002: False}
        brought = copy(11, 1001, how="again", size=201)
        assert list(replicas.messages.all(1)) == [altered(brought, digest=stored(1).message.digest)]
        assert replicas.messages.left_over(1, [stored(1).message.digest, stored(2).message.digest]) == []
        assert keys(replicas.pending.batch(1, [1], after=(0, 0), limit=9)) == []
        tally = replicas.folders.tallies(1, None)[0]
        assert tally == ReplicaTally("INBOX", "INBOX", 0, 1, 0, 1, 0, altered=1)  # its size is another message's

    def test_copies_left_over_by_messages_that_are_gone(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3, 4, 5)), copied(1, 30), copied(2, 20), copied(3, 10))
        apply(catalog, copied(4, how="restored"), copied(5, target=2), VanishedFact(1, (1, 2, 4, 5), LATER))
        apply(catalog, RemovedFact(1, (30,), "user", LATER))
        digests = [stored(uid).message.digest for uid in range(1, 8)]

        assert replicas.messages.left_over(1, digests) == [
            copy(2, 20),
            copy(1, 30, removed=True),
            copy(4, how="restored"),
        ]
        assert replicas.messages.left_over(1, [stored(1).message.digest]) == [copy(1, 30, removed=True)]
        assert replicas.messages.left_over(1, []) == []

    def test_copies_left_over_by_an_ended_epoch(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), copied(1), copied(2), SECOND_EPOCH, stored(1, epoch=3))

        assert replicas.messages.left_over(1, [stored(1).message.digest]) == [copy(1)]
        assert keys(replicas.pending.batch(1, [1], after=(0, 0), limit=9)) == [(3, 1)]

    def test_copies_left_over_of_very_many(self, catalog: Catalog, replicas: Replicas) -> None:
        uids = range(1, 2001)
        apply(catalog, *ACCOUNT, *map(stored, uids), *map(copied, uids), VanishedFact(1, tuple(uids), LATER))

        found = replicas.messages.left_over(1, {stored(uid).message.digest for uid in range(1, 3001)})

        assert sorted(each.uid for each in found) == [1000 + uid for uid in uids]

    def test_copies_of_equal_octets_whatever_became_of_them(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), copied(1), copied(2, 20), copied(3, target=2))
        apply(catalog, VanishedFact(1, (1,), LATER), RemovedFact(1, (20,), "user", LATER))
        digests = [stored(uid).message.digest for uid in range(1, 5)]

        assert replicas.messages.equal(1, digests) == [copy(2, 20, removed=True), copy(1)]
        assert replicas.messages.equal(1, [stored(3).message.digest]) == []
        assert replicas.messages.equal(2, [stored(3).message.digest]) == [copy(3)]
        assert replicas.messages.equal(1, []) == []

    def test_messages_that_lack_a_copy(self, catalog: Catalog, replicas: Replicas) -> None:
        """Present or not; what its user removed lacks none, also after the folder got other UIDs there."""
        apply(catalog, *ACCOUNT, *map(stored, range(1, 7)), *map(copied, range(1, 4)), stored(1, epoch=2))
        apply(catalog, VanishedFact(1, (1, 4, 5), LATER), RemovedFact(1, (1002,), "user", LATER))
        messages = [*((1, uid) for uid in range(1, 10)), (2, 1)]

        assert replicas.messages.missing(1, messages) == {(1, 4), (1, 5), (1, 6), (2, 1)}
        assert replicas.messages.missing(1, [(1, 3), (1, 4)]) == {(1, 4)}
        assert replicas.messages.missing(1, []) == set()
        assert replicas.messages.missing(0, messages) == {*((1, uid) for uid in range(1, 7)), (2, 1)}

        apply(catalog, TargetFact(3, 1, b"INBOX", 99, "uidvalidity", LATER))
        assert replicas.messages.missing(3, messages) == {*((1, uid) for uid in (1, 3, 4, 5, 6)), (2, 1)}

    # What the destination's user or a policy took away

    def test_what_its_user_removed_is_remembered(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1), RemovedFact(1, (1001,), "user", LATER))

        assert replicas.messages.claimed(1) == {1001: False}
        assert replicas.pending.batch(1, [1], after=(0, 0), limit=9) == []
        assert replicas.pending.count(1, [1]) == (0, 0)

    def test_what_its_user_removed_is_remembered_when_the_folder_gets_other_uids(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), copied(1), copied(2), RemovedFact(1, (1001,), "user", AT))

        apply(catalog, TargetFact(3, 1, b"INBOX", 79, "uidvalidity", LATER))

        assert keys(replicas.pending.batch(3, [1], after=(0, 0), limit=9)) == [(1, 2)]
        assert replicas.pending.count(3, [1]) == (1, 102)
        assert replicas.folders.tallies(1, None)[0] == ReplicaTally("INBOX", "INBOX", 0, 0, 0, 1, 1)
        assert keys(replicas.pending.batch(2, [1], after=(0, 0), limit=9)) == [(1, 1), (1, 2)]

    def test_what_we_marked_and_somebody_removed_is_forgotten(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), copied(1), copied(2), VanishedFact(1, (1,), AT))
        apply(catalog, MarkedFact(1, (1001,), True, AT), RemovedFact(1, (1001, 1002), "user", LATER))
        assert replicas.messages.claimed(1) == {1002: False}

        apply(catalog, stored(1))
        assert keys(replicas.pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 1)]

    def test_what_a_policy_removed_is_forgotten(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1), VanishedFact(1, (1,), AT))
        apply(catalog, RemovedFact(1, (1001,), "policy", LATER))
        assert replicas.messages.claimed(1) == {}

        apply(catalog, stored(1))
        assert keys(replicas.pending.batch(1, [1], after=(0, 0), limit=9)) == [(1, 1)]

    # Twins

    def test_what_was_taken_for_unsent_and_has_a_copy_now(self, catalog: Catalog, replicas: Replicas) -> None:
        """Each time that it was sent and not to be seen counts, and the lowest UID."""
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), copied(1), copied(3))

        for uidnext in (70, 40, 60):
            apply(catalog, UnsentFact(1, about([1, 2, 3]), AT, tuple((*key, uidnext) for key in about([1, 2]))))

        known = Attempt(outgoing(1), 40, 3, frozenset({101, 201}), True, SEEN, AT, False)
        assert replicas.changes.attempts(1) == [known]
        assert replicas.changes.attempts(2) == []

        apply(catalog, UnsentFact(1, about([1]), LATER, tuple((*key, 90) for key in about([1])), silent=True))
        assert replicas.changes.attempts(1) == [replace(known, times=4, at=LATER, silent=True)]

        apply(catalog, SettledFact(1, about([1, 3]), LATER))
        assert replicas.changes.attempts(1) == []

    def test_twins_are_listed_until_they_are_gone(self, catalog: Catalog, replicas: Replicas) -> None:
        """No matter who removed them; one that became another message's copy no longer counts."""
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), *map(copied, (1, 2)))
        late = [TwinFact(1, 90 + n, 1, uid, SEEN, n % 2 == 0, AT) for n, uid in enumerate((1, 1, 2, 2))]

        apply(catalog, *late, RemovedFact(1, (1002,), "user", AT))

        first, second = LateTwin(90, (1, 1), 1001, SEEN, True), LateTwin(91, (1, 1), 1001, SEEN, False)
        third, last = LateTwin(92, (1, 2), None, SEEN, True), LateTwin(93, (1, 2), None, SEEN, False)
        assert replicas.changes.twins(1) == [first, second, third, last]
        assert replicas.folders.losses(1) == [Loss("INBOX", "twin", "90:93", (1, 1, 2, 2))]

        apply(catalog, RemovedFact(1, (90,), "user", AT), RemovedFact(1, (91,), "policy", AT), copied(3, 92))

        assert replicas.changes.twins(1) == [last]
        assert replicas.folders.losses(1) == []  # it is the last of its message

    # Flags

    def test_copies_whose_messages_have_other_flags_now(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3, 4)), *map(copied, (1, 2, 3, 4)))
        assert replicas.changes.reflagged(1) == []

        apply(catalog, *(FlagsFact(1, uid, FLAGGED, LATER) for uid in (3, 2, 4)), VanishedFact(1, (4,), LATER))
        assert replicas.changes.reflagged(1) == [flagged(copy(2), FLAGGED), flagged(copy(3), FLAGGED)]
        assert replicas.changes.reflagged(1, limit=1) == [flagged(copy(2), FLAGGED)]
        assert replicas.changes.reflagged(1, after=1002, limit=1) == [flagged(copy(3), FLAGGED)]

        apply(catalog, RemovedFact(1, (1002,), "user", LATER))
        assert replicas.changes.reflagged(1) == [flagged(copy(3), FLAGGED)]

    def test_what_the_destination_says_of_flags_is_no_change_of_the_message(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1, flags=FLAGGED, lost=SEEN))

        assert replicas.changes.reflagged(1) == []

    def test_an_adopted_copy_has_none_of_the_flags_yet(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), altered(stored(2), flags=NONE))
        apply(catalog, *(copied(uid, how="adopted", source_flags=NONE) for uid in (1, 2)))

        assert replicas.changes.reflagged(1) == [copy(1, how="adopted", source_flags=NONE)]

    def test_flags_that_were_replayed(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), *map(copied, (1, 2)), FlagsFact(1, 1, FLAGGED, LATER))

        apply(catalog, ReflaggedFact(1, 1001, FLAGGED, NONE, FLAGGED, LATER))

        assert replicas.changes.reflagged(1) == []
        assert list(replicas.messages.all(1)) == [
            flagged(copy(1, source_flags=FLAGGED, flags=NONE, lost=FLAGGED), FLAGGED),
            copy(2),
        ]

    def test_copies_whose_messages_have_other_labels_now(self, catalog: Catalog, replicas: Replicas) -> None:
        labels, fewer = frozenset({"\\Inbox", "Work"}), frozenset({"Work"})
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3, 4)), *map(copied, (1, 2, 3, 4)))
        assert replicas.changes.relabelled(1) == []

        apply(catalog, *(LabelsFact(1, uid, "7", labels, AT) for uid in (1, 2, 3)), VanishedFact(1, (3,), LATER))
        assert [each.uid for each in replicas.changes.relabelled(1)] == [1001, 1002]
        assert [each.uid for each in replicas.changes.relabelled(1, limit=1)] == [1001]
        assert [each.uid for each in replicas.changes.relabelled(1, after=1001)] == [1002]

        apply(
            catalog, *(LabelledFact(1, uid, labels, fewer, frozenset({"\\Inbox"}), LATER) for uid in (1001, 1002))
        )
        assert replicas.changes.relabelled(1) == []
        (found,) = replicas.messages.all(1, uids=[1001])
        assert (found.source_labels, found.labels, found.lost_labels) == (labels, fewer, {"\\Inbox"})
        assert (found.message.labels, found.message.thrid) == (labels, "7")

        apply(catalog, LabelsFact(1, 1, "7", fewer, LATER))
        assert [each.uid for each in replicas.changes.relabelled(1)] == [1001]

    def test_a_copy_that_got_labels_is_compared_again(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), *map(copied, (1, 2)))
        apply(catalog, ComparedFact(1, ((1001, 1002),), 1003, 2, 9, None, AT))
        assert replicas.changes.uncompared(1, limit=9) == []

        apply(catalog, LabelledFact(1, 1002, NONE, NONE, NONE, LATER))
        assert [each.uid for each in replicas.changes.uncompared(1, limit=9)] == [1002]

    def test_a_marked_copy_whose_message_is_back(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), *map(copied, (1, 2)), VanishedFact(1, (1, 2), AT))
        apply(catalog, MarkedFact(1, (1001, 1002), True, AT))
        assert replicas.changes.reflagged(1) == []

        apply(catalog, stored(1))
        assert replicas.changes.reflagged(1) == [copy(1, marked=True)]

        apply(catalog, MarkedFact(1, (1001,), False, LATER))
        assert replicas.changes.reflagged(1) == []

    # Deletions

    def test_a_copy_is_withdrawn_after_two_complete_archive_steps(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        ledger = catalog.ledger
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), *map(copied, (1, 2)))
        ledger.complete_step("R1", "archive", "{}", "2026-11-23T06:00:00Z")
        apply(catalog, VanishedFact(1, (1,), "2026-11-24T07:00:00Z"))
        seen = []
        for run, step, at in (
            ("R2", "enumerate", "2026-11-24T07:00:00Z"),
            ("R2", "archive", "2026-11-24T07:01:00Z"),
            ("R2", "replay", "2026-11-24T07:02:00Z"),
            ("R2", "archive", "2026-11-24T07:03:00Z"),
            ("R3", "verify", "2026-11-25T07:01:00Z"),
            ("R3", "archive", "2026-11-25T07:02:00Z"),
        ):
            ledger.complete_step(run, step, "{}", at)
            seen.append([each.key for each in replicas.changes.deletable(1)])

        assert seen == [[], [], [], [], [], [(1, 1)]]
        assert replicas.changes.deletable(1) == [copy(1)]

    def test_a_copy_is_immediately_known_to_be_without_its_message(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), copied(1), copied(2, how="adopted"))
        apply(catalog, VanishedFact(1, (1, 2), LATER))

        assert (replicas.changes.deletable(1), replicas.pending.vanished(1)) == ([], [copy(1)])

    def test_a_message_that_came_back_starts_over(self, catalog: Catalog, replicas: Replicas) -> None:
        ledger = catalog.ledger
        apply(catalog, *ACCOUNT, stored(1), copied(1), VanishedFact(1, (1,), AT))
        ledger.complete_step("R1", "archive", "{}", AT)
        ledger.complete_step("R2", "archive", "{}", LATER)
        assert [each.key for each in replicas.changes.deletable(1)] == [(1, 1)]

        apply(catalog, stored(1))
        assert replicas.changes.deletable(1) == []

        apply(catalog, VanishedFact(1, (1,), LATER))
        assert replicas.changes.deletable(1) == []
        ledger.complete_step("R3", "archive", "{}", LATER)
        assert [each.key for each in replicas.changes.deletable(1)] == [(1, 1)]

    def test_only_what_we_appended_is_withdrawn(self, catalog: Catalog, replicas: Replicas) -> None:
        ways = ("appended", "found", "adopted", "again", "restored")
        uids = range(1, 1 + len(ways))
        apply(catalog, *ACCOUNT, *map(stored, range(1, 8)))
        apply(catalog, *(copied(uid, how=how) for uid, how in zip(uids, ways, strict=True)), copied(6), copied(7))
        apply(catalog, VanishedFact(1, tuple(range(1, 7)), AT), RemovedFact(1, (1006,), "user", AT))
        for run in ("R1", "R2"):
            catalog.ledger.complete_step(run, "archive", "{}", LATER)

        assert replicas.changes.deletable(1) == [copy(1), copy(2, how="found"), copy(4, how="again")]
        assert replicas.changes.deletable(2) == []

    def test_a_copy_stays_while_it_is_all_that_is_there_of_a_message(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        """A message moved to another folder, and was not taken there yet."""
        moved = altered(stored(8, epoch=2), digest=stored(1).message.digest)
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), *map(copied, (1, 2)), moved, VanishedFact(1, (1, 2), AT))
        for run in ("R1", "R2"):
            catalog.ledger.complete_step(run, "archive", "{}", LATER)
        assert [each.uid for each in replicas.changes.deletable(1)] == [1002]
        assert [each.uid for each in replicas.pending.vanished(1)] == [1001, 1002]

        apply(catalog, copied(8, epoch=2, target=2))
        assert [each.uid for each in replicas.changes.deletable(1)] == [1001, 1002]
        apply(catalog, RemovedFact(2, (1008,), "policy", LATER))
        assert [each.uid for each in replicas.changes.deletable(1)] == [1002]
        apply(catalog, VanishedFact(2, (8,), LATER))
        assert [each.uid for each in replicas.changes.deletable(1)] == [1001, 1002]

    def test_nothing_of_an_ended_epoch_is_withdrawn(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(
            catalog, *ACCOUNT, *map(stored, (1, 2)), *map(copied, (1, 2)), VanishedFact(1, (1,), AT), SECOND_EPOCH
        )
        for run in ("R1", "R2"):
            catalog.ledger.complete_step(run, "archive", "{}", LATER)

        assert replicas.changes.deletable(1) == []

    @pytest.mark.parametrize("lost", [{"listed": False}, {"attributes": frozenset({"\\noselect"})}])
    def test_a_copy_of_a_folder_that_is_gone_is_withdrawn_after_two_complete_archive_steps(
        self, catalog: Catalog, replicas: Replicas, lost: dict[str, Any]
    ) -> None:
        apply(catalog, *ACCOUNT, *(stored(uid, epoch=2) for uid in range(1, 5)))
        ways = ("appended", "adopted", "restored", "again")
        apply(catalog, *(copied(uid, epoch=2, target=2, how=how) for uid, how in enumerate(ways, 1)))
        catalog.ledger.complete_step("R0", "archive", "{}", AT)
        gone = replace(WORK, at=LATER, **lost)
        apply(catalog, gone, run="R1")
        apply(catalog, replace(gone, subscribed=True, at="2026-11-26T07:00:00Z"), run="R3")
        seen = []
        for run in ("R1", "R2"):
            catalog.ledger.complete_step(run, "archive", "{}", LATER)
            seen.append([each.key for each in replicas.changes.deletable(2, gone=[2])])

        assert seen == [[], [(2, 1), (2, 4)]]
        assert (replicas.changes.deletable(2), replicas.changes.deletable(2, gone=[1])) == ([], [])
        assert (replicas.folders.stranded(1), replicas.folders.stranded(2)) == ({2: 2}, {})
        assert [each.key for each in replicas.messages.left_over(2, [digest_of("message 1")])] == [(2, 1)]

        apply(catalog, WORK)
        assert (replicas.pending.vanished(2, gone=[2]), replicas.folders.stranded(1)) == ([], {})
        assert replicas.messages.left_over(2, [digest_of("message 1")]) == []

    def test_a_mark_on_a_copy_of_a_folder_that_is_gone_is_meant(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1, epoch=2), copied(1, epoch=2, target=2), replace(WORK, listed=False))
        apply(catalog, MarkedFact(2, (1001,), True, LATER))
        assert replicas.changes.reflagged(2) == []

        apply(catalog, WORK)
        assert [each.uid for each in replicas.changes.reflagged(2)] == [1001]

    # Renamed folders

    def test_a_target_gets_another_name(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(
            catalog,
            *ACCOUNT,
            stored(1, epoch=2),
            copied(1, epoch=2, target=2),
            RenamingFact(2, b"INBOX.New", LATER),
        )
        raw = OF_WORK_THERE.raw
        assert replicas.folders.current(1)[raw] == ReplicaFolder(2, raw, 78, renaming=b"INBOX.New")

        apply(catalog, replace(TARGET, number=3, raw=b"INBOX.New"), RenamedFact(2, b"INBOX.New", LATER))
        assert replicas.folders.current(1) == {
            b"INBOX": ReplicaFolder(1, b"INBOX", 77),
            b"INBOX.New": ReplicaFolder(2, b"INBOX.New", 78),
        }
        assert replicas.messages.claimed(2) == {1001: True}

    def test_where_the_mail_of_a_folder_that_is_gone_is_now(self, catalog: Catalog, replicas: Replicas) -> None:
        other = replace(WORK, number=3, raw=b"Other", path=("Other",), directory=".Other")
        apply(catalog, *ACCOUNT, *(stored(uid, epoch=2) for uid in range(1, 5)), VanishedFact(2, (4,), AT))
        apply(catalog, *(copied(uid, epoch=2, target=2) for uid in range(1, 5)))
        apply(catalog, other, EpochFact(3, 3, 9, 1, "first", AT))
        apply(
            catalog, *(altered(stored(uid, epoch=3), digest=digest_of(f"message {uid - 10}")) for uid in (11, 12))
        )
        assert replicas.folders.moved(1) == []

        apply(catalog, replace(WORK, listed=False))
        (found,) = replicas.folders.moved(1)
        assert found == Moved(2, 3, equal=2, left=3, held=2, complete=False)
        assert (found.is_same, replace(found, equal=1, held=3).is_same) == (True, False)
        assert replicas.folders.moved(2) == []

        apply(catalog, RemovedFact(2, (1001, 1002), "user", LATER))
        assert replicas.folders.moved(1) == []

    def test_a_target_with_mail_of_a_folder_that_is_there_is_moved_to_its_place_alone(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        """As where a run was cut after it followed a rename that was undone before the next one."""
        other = replace(WORK, number=3, raw=b"Other", path=("Other",), directory=".Other")
        apply(
            catalog, *ACCOUNT, *(stored(uid, epoch=2) for uid in (1, 2)), other, EpochFact(3, 3, 9, 1, "first", AT)
        )
        apply(catalog, *(altered(stored(uid + 10, epoch=3), digest=stored(uid).message.digest) for uid in (1, 2)))
        apply(catalog, *(copied(uid, epoch=2, target=2) for uid in (1, 2)))
        assert replicas.folders.moved(1) == []

        apply(catalog, RenamedFact(2, b"INBOX.New", LATER))
        expected = Moved(2, 2, equal=2, left=2, held=2, complete=False)
        assert replicas.folders.moved(1) == [expected]
        apply(catalog, copied(11, 1002, epoch=3, target=2), replace(other, listed=False))  # one was handed on
        assert replicas.folders.moved(1) == [expected]

        apply(catalog, stored(1), copied(1, 1009, target=2))
        assert replicas.folders.moved(1) == []

    # Refusals

    def test_what_is_gone_from_the_source_is_no_refusal(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), refused(1), refused(2), VanishedFact(1, (1,), LATER))
        assert [each.key for each in replicas.pending.refused(1)] == [(1, 2)]

        apply(catalog, SECOND_EPOCH)
        assert replicas.pending.refused(1) == []
        assert [each.key for each in replicas.pending.refused(1, vanished=True)] == [(1, 1), (1, 2)]

    def test_a_refusal_where_the_folder_does_not_go_any_more_is_none(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        apply(catalog, *ACCOUNT, stored(1), refused(1), copied(1, target=2, dated=False))
        apply(catalog, replace(INTO_INBOX, raw=b"Old", path=("Old",)))

        assert (replicas.pending.refused(1), replicas.folders.losses(1)) == ([], [])

    # The equation at the destination

    def test_every_term_of_the_equation(self, catalog: Catalog, replicas: Replicas) -> None:
        uids = range(1, 21)
        apply(catalog, *ACCOUNT, *map(stored, uids), copied(1), copied(2), copied(3, how="adopted"), run="R1")
        apply(
            catalog,
            *(copied(4), copied(5, how="found"), copied(6, how="adopted"), copied(7, how="again")),
            *(refused(8), refused(9, accepted=True), copied(10), copied(11), copied(12)),
            *(RemovedFact(1, (1002, 1010), "user", LATER), RemovedFact(1, (1011,), "policy", LATER)),
            *(VanishedFact(1, (12, 19, 20), LATER), IntentFact(1, 50, about([13]), LATER)),
            run="R2",
        )

        inbox, work = replicas.folders.tallies(1, "R2")

        # 4 and 5; 1, 3, 6 and 7; 8 and 9; 2 and 10; 11, 13 to 18
        assert inbox == ReplicaTally("INBOX", "INBOX", 2, 4, 2, 2, 7)
        assert inbox.replayed + inbox.already_there + inbox.refused + inbox.removed + inbox.pending == 17
        assert work == ReplicaTally("Work/ÿ", "Work/ÿ", 0, 0, 0, 0, 0)
        assert replicas.folders.tallies(1, "R1")[0] == ReplicaTally("INBOX", "INBOX", 1, 5, 2, 2, 7)
        assert replicas.folders.tallies(1, None)[0] == ReplicaTally("INBOX", "INBOX", 0, 6, 2, 2, 7)

    def test_what_is_gone_and_was_restored_is_outside_the_equation(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 6)), copied(1), VanishedFact(1, (2, 3, 4, 5), AT))
        apply(catalog, copied(2, how="restored"), copied(3, how="restored"), copied(4, how="restored"), run="R2")
        apply(catalog, copied(5, how="restored"), RemovedFact(1, (1004,), "user", LATER), run="R3")

        def restored() -> list[int]:
            return [tally.restored for run in ("R1", "R2", "R3") for tally in replicas.folders.tallies(1, run)[:1]]

        assert replicas.folders.tallies(1, "R2")[0] == ReplicaTally("INBOX", "INBOX", 0, 1, 0, 0, 0, restored=2)
        assert restored() == [0, 2, 1]
        assert replicas.folders.tallies(1, None)[0] == ReplicaTally("INBOX", "INBOX", 0, 1, 0, 0, 0)

        apply(catalog, SECOND_EPOCH)
        assert restored() == [0, 2, 1]

        apply(catalog, replace(INTO_INBOX, raw=b"Old", path=("Old",)))
        assert restored() == [0, 0, 0]

    def test_what_was_restored_in_this_run_and_is_back_was_replayed(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        apply(catalog, *ACCOUNT, stored(1), VanishedFact(1, (1,), AT), copied(1, how="restored"))
        assert replicas.folders.tallies(1, "R1")[0] == ReplicaTally("INBOX", "INBOX", 0, 0, 0, 0, 0, restored=1)

        apply(catalog, stored(1))
        assert replicas.folders.tallies(1, "R1")[0] == ReplicaTally("INBOX", "INBOX", 1, 0, 0, 0, 0)

    def test_a_copy_belongs_to_the_run_that_brought_it(self, catalog: Catalog, replicas: Replicas) -> None:
        """Whatever a later run finds out about it. One that a person wants to keep was there all the time."""
        apply(catalog, *ACCOUNT, *map(stored, (1, 2)), copied(1), copied(2))
        apply(catalog, copied(1, likeness="headers"), run="R2")
        apply(catalog, VanishedFact(1, (2,), LATER), copied(2, how="restored"), run="R2")

        assert list(replicas.messages.all(1)) == [copy(1, likeness="headers"), copy(2, how="restored")]
        assert replicas.folders.tallies(1, "R2")[0] == ReplicaTally("INBOX", "INBOX", 0, 1, 0, 0, 0)

    def test_a_folder_without_a_target_waits_as_a_whole(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, THERE, INTO_INBOX, *map(stored, (1, 2)), stored(3, epoch=2))

        assert replicas.folders.tallies(1, None) == [ReplicaTally("INBOX", "INBOX", 0, 0, 0, 0, 2)]

    def test_a_folder_without_an_epoch_has_nothing(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, INBOX, THERE, INTO_INBOX)

        assert replicas.folders.tallies(1, None) == [ReplicaTally("INBOX", "INBOX", 0, 0, 0, 0, 0)]

    def test_only_the_current_epoch_counts(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), copied(1), refused(2), SECOND_EPOCH, stored(1, epoch=3))
        assert replicas.folders.tallies(1, None)[0] == ReplicaTally("INBOX", "INBOX", 0, 0, 0, 0, 1)

        apply(catalog, copied(1, epoch=3, how="again"))
        assert replicas.folders.tallies(1, "R1")[0] == ReplicaTally("INBOX", "INBOX", 0, 1, 0, 0, 0)

    def test_two_folders_in_one_target(self, catalog: Catalog, replicas: Replicas) -> None:
        merged = replace(INTO_WORK, raw=b"INBOX", path=("INBOX",))
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, THERE, INTO_INBOX, merged, TARGET)
        apply(
            catalog, *map(stored, (1, 2)), stored(1, epoch=2), stored(3, epoch=2), copied(1), copied(1, 7, epoch=2)
        )

        assert replicas.folders.tallies(1, "R1") == [
            ReplicaTally("INBOX", "INBOX", 1, 0, 0, 0, 1),
            ReplicaTally("Work/ÿ", "INBOX", 1, 0, 0, 0, 1),
        ]
        assert keys(replicas.pending.batch(1, [1, 2], after=(0, 0), limit=9)) == [(1, 2), (2, 3)]

    def test_a_folder_that_moved_waits_for_its_new_place(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1), replace(INTO_INBOX, raw=b"Old", path=("Old",)))

        assert replicas.folders.tallies(1, None)[0] == ReplicaTally("INBOX", "Old", 0, 0, 0, 0, 1)

    def test_each_destination_has_its_own_equation(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, stored(1), copied(1))
        apply(catalog, replace(THERE, number=2, user="bob"), replace(INTO_INBOX, destination=2))
        apply(catalog, replace(TARGET, number=3, destination=2))

        assert replicas.folders.tallies(1, None)[0] == ReplicaTally("INBOX", "INBOX", 0, 1, 0, 0, 0)
        assert replicas.folders.tallies(2, None) == [ReplicaTally("INBOX", "INBOX", 0, 0, 0, 0, 1)]

    # Losses

    def test_what_a_destination_altered_or_does_not_keep(self, catalog: Catalog, replicas: Replicas) -> None:
        apply(catalog, *ACCOUNT, *map(stored, range(1, 10)), stored(1, epoch=2), stored(2, epoch=2))
        keywords = frozenset({"b", "$a"})
        apply(
            catalog,
            *(copied(5, lost=keywords), copied(1, lost=keywords), copied(2, lost=SEEN), copied(3, dated=False)),
            *(copied(4, repaired=("crlf", "nul"), sent_digest=digest_of("x"), dated=False), copied(6)),
            *(copied(7, likeness="line-ends"), copied(8, likeness="headers"), copied(9, likeness="exact")),
            *(copied(1, epoch=2, target=2, likeness="other"), copied(2, epoch=2, target=2, lost=keywords)),
        )

        assert sorted(replicas.folders.losses(1), key=lambda loss: (loss.folder, loss.kind, loss.detail)) == [
            Loss("INBOX", "flags", "$a b", (1, 5)),
            Loss("INBOX", "flags", "\\Seen", (2,)),
            Loss("INBOX", "internaldate", "the destination does not keep it", (3, 4)),
            Loss("INBOX", "repaired", "crlf, nul", (4,)),
            Loss("INBOX", "rewritten", "headers", (8,)),
            Loss("INBOX", "rewritten", "line ends", (7,)),
            Loss("Work/ÿ", "flags", "$a b", (2,)),
            Loss("Work/ÿ", "rewritten", "the bytes", (1,)),
        ]
        assert replicas.folders.losses(2) == []

    def test_what_is_altered_or_cut_off_until_a_person_accepts_it(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        """What is learned about a copy later, and that it becomes another message's, does not change that."""
        apply(catalog, *ACCOUNT, *map(stored, range(1, 7)))
        apply(
            catalog,
            *(copied(1, size=1), copied(2, likeness="other"), copied(3, likeness="cut"), copied(4, likeness="cut")),
            *(copied(5, likeness="headers", size=1), copied(6, repaired=("nul",), size=1)),
            RemovedFact(1, (1004,), "user", AT),
        )
        assert replicas.changes.altered(1) == [1001, 1002, 1003]
        assert replicas.folders.tallies(1, None)[0].altered == 3

        apply(catalog, AcceptedFact(1, (1002, 1003), LATER), copied(3, likeness="cut", how="found"))
        apply(catalog, VanishedFact(1, (2,), LATER), stored(7), copied(7, 1002, likeness="other", how="again"))

        assert replicas.changes.altered(1) == [1001]
        assert [each.key[1] for each in replicas.messages.all(1) if each.accepted] == [7, 3]
        tally = replicas.folders.tallies(1, None)[0]
        assert (tally.altered, tally.accepted) == (1, 2)
        losses = [(each.kind, each.detail, each.uids) for each in replicas.folders.losses(1)]
        assert ("cut", "accepted", (3,)) in losses
        assert ("rewritten", "the bytes (accepted)", (7,)) in losses

    def test_how_a_message_looked_before_the_folder_got_other_uids(
        self, catalog: Catalog, replicas: Replicas
    ) -> None:
        one, two = (stored(uid).message.digest for uid in (1, 2))
        apply(catalog, *ACCOUNT, *map(stored, (1, 2, 3)), copied(1, likeness="cut", size=9), copied(2))
        apply(catalog, AcceptedFact(1, (1001,), AT), RemovedFact(1, (1002,), "user", AT))
        assert replicas.messages.shown_before(1, [one, two]) == {}

        apply(catalog, replace(TARGET, number=3, uidvalidity=99, reason="uidvalidity"))

        known = copy(1, likeness="cut", size=9, accepted=True)
        assert replicas.messages.shown_before(3, [one, two]) == {one: known}
        assert replicas.messages.shown_before(2, [one, two]) == {}

    def test_only_what_is_there_is_a_loss(self, catalog: Catalog, replicas: Replicas) -> None:
        uids = range(1, 5)
        apply(catalog, *ACCOUNT, *map(stored, uids), *(copied(uid, dated=False) for uid in uids))
        apply(catalog, VanishedFact(1, (1,), LATER), RemovedFact(1, (1002,), "user", LATER))
        assert [loss.uids for loss in replicas.folders.losses(1)] == [(3, 4)]

        apply(catalog, SECOND_EPOCH)
        assert replicas.folders.losses(1) == []

    # Facts

    @pytest.mark.parametrize(
        "fact",
        [
            replace(INTO_INBOX, destination=9),
            replace(INTO_INBOX, folder=9),
            replace(TARGET, number=9, destination=9),
            replace(TARGET, number=1),
            copied(1, target=9),
            refused(1, target=9),
            IntentFact(9, 1, about([1]), AT),
        ],
    )
    def test_a_fact_that_does_not_fit_changes_nothing(self, catalog: Catalog, fact: Fact) -> None:
        apply(catalog, *ACCOUNT, stored(1))
        before = everything(catalog)

        with pytest.raises(IntegrityError):
            apply(catalog, copied(1), fact)

        assert everything(catalog) == before

    @pytest.mark.parametrize("seed", range(6))
    def test_the_same_facts_give_the_same_answers(self, catalog: Catalog, rebuilt: Catalog, seed: int) -> None:
        """Applied one by one, as they happen, or many together, as a rebuild reads them."""
        chance = random.Random(seed)
        facts = [*ACCOUNT, *_any_facts(chance, 400)]
        for fact in facts:
            apply(catalog, fact)
        while facts:
            some = chance.randint(1, 60)
            rebuilt.apply(following(rebuilt, *facts[:some]))
            del facts[:some]
        for each in (catalog, rebuilt):
            for run, at in (("R1", AT), ("R2", LATER)):
                each.ledger.complete_step(run, "archive", "{}", at)

        answers = everything(catalog)
        assert everything(rebuilt) == answers
        assert sum(map(bool, answers.values())) > 20


def _any_facts(chance: random.Random, count: int) -> Iterable[Fact]:
    """What may happen to an account of `ACCOUNT`, in any order that facts can come in."""
    messages: dict[int, list[int]] = {1: [], 2: []}
    targets = {b"INBOX": 1, b"INBOX.Work.&AP8-": 2}
    flag_sets = [NONE, SEEN, FLAGGED, frozenset({"$a", "b"})]
    epochs, number_of_targets = 2, 2
    current = {1: 1, 2: 2}
    for _ in range(count):
        folder = chance.choice((1, 2))
        epoch, target = current[folder], chance.choice(list(targets.values()))
        uid = chance.choice([*messages[epoch], 99])
        near = [chance.randint(1, 12) for _ in range(chance.randint(1, 3))]
        flags, said = chance.choice(flag_sets), chance.choice(flag_sets)
        match chance.randint(0, 15):
            case 0 | 1 | 2:
                uid = len(messages[epoch]) + 1
                messages[epoch].append(uid)
                yield altered(stored(uid, epoch), digest=digest_of(f"message {chance.randint(1, 12)}"), flags=flags)
            case 3 | 4 | 5 if uid != 99:
                how = chance.choice(("appended", "found", "adopted", "again", "restored"))
                more: dict[str, Any] = {"flags": said, "lost": flags - said, "dated": chance.random() < 0.8}
                yield copied(uid, near[0], epoch=epoch, target=target, how=how, source_flags=flags, **more)
            case 6 if uid != 99:
                yield refused(uid, epoch=epoch, target=target, accepted=chance.random() < 0.2)
            case 7 if uid != 99:
                yield IntentFact(target, near[0], about(sorted({uid, *messages[epoch][:2]}), epoch), AT)
            case 8:
                attempted = tuple((*key, near[0]) for key in about(near, epoch) if chance.random() < 0.5)
                yield UnsentFact(target, about(near, epoch), AT, attempted, chance.random() < 0.5)
                if chance.random() < 0.1:
                    yield SettledFact(target, about(near, epoch), AT)
                yield TwinFact(target, near[-1], epoch, uid, flags, chance.random() < 0.5, AT)
            case 9:
                yield ReflaggedFact(target, near[0], flags, said, flags - said, AT)
            case 10:
                some: list[Fact] = [
                    RemovedFact(target, tuple(near), chance.choice(("user", "policy")), AT),
                    MarkedFact(target, tuple(near), chance.random() < 0.5, AT),
                    TargetStateFact(target, near[0], len(near), AT),
                    ComparedFact(target, ((min(near), max(near)),), 13, len(near), chance.randint(0, 9), None, AT),
                ]
                yield chance.choice(some)
            case 11 if chance.random() < 0.5:
                yield VanishedFact(epoch, tuple(near), AT)
            case 11:
                yield FlagsFact(epoch, near[0], flags, AT)
            case 12 if chance.random() < 0.2:
                epochs += 1
                current[folder], messages[epochs] = epochs, []
                yield EpochFact(epochs, folder, 100 + epochs, 1, "uidvalidity", AT)
            case 14 if chance.random() < 0.3:
                yield replace((INBOX, WORK)[folder - 1], listed=chance.random() < 0.5)
            case 13 if chance.random() < 0.2:
                number_of_targets += 1
                raw = chance.choice(list(targets))
                targets[raw] = number_of_targets
                yield TargetFact(number_of_targets, 1, raw, 100 + number_of_targets, "uidvalidity", AT)
            case 15 if chance.random() < 0.3:
                old, new = chance.choice(list(targets)), chance.choice([b"New", b"Other", *targets])
                yield RenamingFact(targets[old], new, AT)
                yield RenamedFact(targets[old], new, AT)
                targets[new] = targets.pop(old)


class SharingContract:
    """Implement `catalog`."""

    def test_rights_and_annotations_are_those_seen_last(self, catalog: Catalog) -> None:
        sharing = catalog.replicas.sharing
        assert (sharing.rights(), sharing.annotations(), sharing.granted(1)) == ({}, {}, {})
        odd = ("\ud800-\udcff", "lr")
        noted = AnnotationsFact(0, (("/x", "\xff\0"),), 7, AT)
        apply(catalog, *ACCOUNT, RightsFact(1, (("a", "lrs"), odd), None, AT), noted)
        assert sharing.rights() == {1: Rights((("a", "lrs"), odd))}
        assert sharing.annotations() == {0: Annotations((("/x", "\xff\0"),), 7)}
        apply(catalog, RightsFact(1, None, "lr", AT), AnnotationsFact(0, (), None, AT), run="R2")
        assert sharing.rights() == {1: Rights(None, "lr")}
        assert sharing.annotations() == {0: Annotations(())}

    def test_what_was_given_is_known_for_each_destination(self, catalog: Catalog) -> None:
        apply(catalog, *ACCOUNT, GrantedFact(1, 1, b"x", (("a", "lr"),), (("b", "NO no"),), AT))
        assert catalog.replicas.sharing.granted(1) == {1: Granted(b"x", (("a", "lr"),), (("b", "NO no"),))}
        apply(catalog, GrantedFact(1, 1, b"y", (), (), AT), run="R2")
        assert catalog.replicas.sharing.granted(1) == {1: Granted(b"y")}
        assert catalog.replicas.sharing.granted(2) == {}
