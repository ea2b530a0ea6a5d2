"""The contract of a catalog. An adapter's test gives the fixture `catalog`, new and empty."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from archiver.catalog.port import Catalog
from archiver.errors import IntegrityError
from archiver.facts.archive import (
    ArchiveFact,
    EpochFact,
    Fact,
    FlagsFact,
    FolderFact,
    HeadersFact,
    LabelsFact,
    PackedFact,
    PassFact,
    QuarantinedFact,
    ReleasedFact,
    Segment,
    StateFact,
    StoredFact,
    VanishedFact,
)
from archiver.facts.known import FolderState, KnownEpoch, KnownFolder, Quarantined, Tally
from archiver.mail.model import Digest, Folder, Frame, Headers, Placement, StoredMessage
from archiver.mail.uidset import UidSet
from tests.stored_messages import altered

AT = "2026-11-23T07:00:00Z"
LATER = "2026-11-24T07:00:00Z"
SEEN = frozenset({"\\Seen"})

INBOX = FolderFact(1, b"INBOX", ("INBOX",), "/", "INBOX", frozenset(), True, True, AT)
WORK = FolderFact(2, b"Work/\xff", ("Work", "ÿ"), "/", ".Work", frozenset({"\\archive"}), False, True, AT)
FIRST = EpochFact(1, 1, 7, 1, "first", AT)
OF_WORK = EpochFact(2, 2, 7, 1, "first", AT)


def digest_of(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def stored(uid: int, epoch: int = 1) -> StoredFact:
    """A message that was fetched; its octets follow from its UID, whatever the epoch."""
    return StoredFact(
        epoch=epoch,
        message=StoredMessage(
            uid=uid,
            digest=digest_of(f"message {uid}"),
            size=100 + uid,
            crlf_size=200 + uid,
            server_size=300 + uid,
            internaldate="17-Jul-1996 02:44:25 -0700",
            arrived=837596665,
            flags=SEEN,
            message_id=f"<{uid}@example.org>",
            header_digest=digest_of(f"header {uid}"),
            emailid=None,
        ),
        matched=None,
        at=AT,
    )


def placement(uid: int, directory: str = "INBOX", *, present: bool = True) -> Placement:
    """Where `stored(uid)` is."""
    return Placement(directory, 7, 1, stored(uid).message, present)


def failed(uid: int, epoch: int = 1, *, at: str = AT) -> QuarantinedFact:
    return QuarantinedFact(epoch, uid, "fetch", "no body", "NO [SERVERBUG]", False, at)


def following(catalog: Catalog, *facts: Fact, run: str = "R1") -> Segment:
    number, digest = catalog.last_segment()
    return Segment(number + 1, run, digest, digest_of(f"segment {number + 1} of {run}"), facts)


def apply(catalog: Catalog, *facts: Fact, run: str = "R1") -> None:
    """Each run's facts as one segment."""
    catalog.apply(following(catalog, *facts, run=run))


class CatalogContract:
    def test_a_new_catalog_knows_nothing(self, catalog: Catalog) -> None:
        assert catalog.last_segment() == (0, "")
        assert catalog.account.identity() is None
        assert catalog.account.folders() == {}
        assert catalog.account.epochs() == {}
        assert catalog.account.next_numbers() == (1, 1, {}, 1, 1)
        assert catalog.messages.known(1) == {}
        assert list(catalog.messages.placements()) == []
        assert list(catalog.messages.by_digest()) == []
        assert catalog.messages.frames([digest_of("")]) == {}
        assert list(catalog.messages.packs()) == []
        assert catalog.messages.uids(1) == UidSet()
        assert catalog.messages.twins([digest_of("")]) == {}
        assert catalog.messages.candidates([1]) == []
        assert catalog.account.quarantined() == []
        assert catalog.account.tallies() == []

    # Segments

    def test_segments_are_applied_in_order(self, catalog: Catalog) -> None:
        segment = following(catalog, INBOX)

        catalog.apply(segment)

        assert catalog.last_segment() == (1, segment.digest)
        assert catalog.has_segment(1, segment.digest)
        assert not catalog.has_segment(1, digest_of("another"))
        assert not catalog.has_segment(2, segment.digest)

    def test_a_segment_is_applied_once(self, catalog: Catalog) -> None:
        segment = following(catalog, INBOX, FIRST, stored(1))
        catalog.apply(segment)

        with pytest.raises(IntegrityError):
            catalog.apply(segment)
        assert catalog.messages.known(1) == {1: SEEN}

    def test_a_segment_is_not_left_out(self, catalog: Catalog) -> None:
        segment = following(catalog, INBOX)

        with pytest.raises(IntegrityError):
            catalog.apply(replace(segment, number=2))
        assert catalog.last_segment() == (0, "")

    def test_the_segment_of_another_journal_is_refused(self, catalog: Catalog) -> None:
        apply(catalog, INBOX)

        with pytest.raises(IntegrityError):
            catalog.apply(replace(following(catalog, WORK), previous=digest_of("another")))
        assert list(catalog.account.folders()) == [b"INBOX"]

    def test_a_segment_that_does_not_fit_changes_nothing(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST)
        before = catalog.last_segment()

        with pytest.raises(IntegrityError):
            apply(catalog, stored(1), stored(1, epoch=99))
        assert catalog.last_segment() == before
        assert catalog.messages.known(1) == {}

    # Identity, folders, epochs

    def test_the_identity_is_the_last_one_confirmed(self, catalog: Catalog) -> None:
        first = ArchiveFact("id", "alice", "imap", "old.example.org", "alice@example.org", AT)
        moved = replace(first, host="new.example.org", at=LATER)

        apply(catalog, first, moved)

        assert catalog.account.identity() == moved

    def test_folders_by_their_raw_name(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK)

        assert catalog.account.folders() == {
            b"INBOX": KnownFolder(1, Folder(b"INBOX", ("INBOX",), "/", frozenset(), True), "INBOX"),
            b"Work/\xff": KnownFolder(
                2, Folder(b"Work/\xff", ("Work", "ÿ"), "/", frozenset({"\\archive"}), False), ".Work"
            ),
        }

    def test_a_folder_seen_again_with_other_attributes(self, catalog: Catalog) -> None:
        apply(catalog, WORK)

        apply(catalog, replace(WORK, subscribed=True, attributes=frozenset({"\\sent"}), listed=False, at=LATER))

        known = catalog.account.folders()[WORK.raw]
        assert (known.folder.subscribed, known.folder.special_use, known.listed) == (True, "\\sent", False)
        assert (known.number, known.directory) == (2, ".Work")

    def test_the_current_epoch_of_each_folder(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK)
        apply(catalog, EpochFact(3, 1, 8, 1, "uidvalidity", LATER), EpochFact(4, 1, 7, 2, "rewound", LATER))

        assert catalog.account.epochs() == {1: KnownEpoch(4, 1, 7, 2), 2: KnownEpoch(2, 2, 7, 1)}

    def test_numbers_are_given_once(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, EpochFact(3, 1, 7, 2, "rewound", LATER))

        assert catalog.account.next_numbers() == (3, 4, {(1, 7): 2, (2, 7): 1}, 1, 1)

    def test_the_state_of_a_complete_pass(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, StateFact(1, 100, 2**63 - 1, 12, "SINCE 1-Jan-2020", AT))
        assert catalog.account.epochs()[1].state == FolderState(100, 2**63 - 1, 12, "SINCE 1-Jan-2020")

        apply(catalog, StateFact(1, None, None, 13, None, LATER))
        assert catalog.account.epochs()[1].state == FolderState(None, None, 13, None)

        apply(catalog, StateFact(1, None, None, 13, None, LATER, size=4096))
        assert catalog.account.epochs()[1].state == FolderState(None, None, 13, None, 4096)

    def test_an_epoch_of_a_source_that_was_left_is_foreign_until_it_comes_back(self, catalog: Catalog) -> None:
        here = ArchiveFact("a1", "alice", "imap", "imap.example.org", "alice", AT)
        there = replace(here, host="imap.example.net")
        apply(catalog, here, INBOX, FIRST)

        for identity, other_source in ((replace(here, account="al"), False), (there, True), (here, False)):
            apply(catalog, identity)
            assert catalog.account.epochs()[1].other_source == other_source

    def test_an_epoch_whose_newest_pass_failed(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, PassFact(1, 5, 0, "NO [SERVERBUG]", AT), run="R1")
        assert catalog.account.epochs()[1].failed

        apply(catalog, PassFact(1, 5, 0, None, LATER), run="R2")
        assert not catalog.account.epochs()[1].failed

    def test_a_new_epoch_has_no_state(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, StateFact(1, 100, 5, 12, None, AT), EpochFact(2, 1, 8, 1, "uidvalidity", AT))

        assert catalog.account.epochs()[1].state is None

    # Messages

    def test_known_are_the_present_messages(self, catalog: Catalog) -> None:
        flagged = altered(stored(2), flags=frozenset({"\\Flagged", "$Forwarded"}))
        apply(catalog, INBOX, FIRST, stored(1), flagged, stored(3), VanishedFact(1, (3,), AT))

        assert catalog.messages.known(1) == {1: SEEN, 2: frozenset({"\\Flagged", "$Forwarded"})}

    def test_equal_flags_are_one_object(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, stored(1), stored(2))

        known = catalog.messages.known(1)

        assert known[1] is known[2]

    def test_flags_are_kept_as_they_are(self, catalog: Catalog) -> None:
        odd = frozenset({"\\Seen", "a b", '"', "NonJunk", "nonjunk", "ü", "\udcff"})
        apply(catalog, INBOX, FIRST, altered(stored(1), flags=odd), altered(stored(2), flags=frozenset()))

        assert catalog.messages.known(1) == {1: odd, 2: frozenset()}

    def test_nothing_is_present_in_an_ended_epoch(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, stored(1), EpochFact(2, 1, 8, 1, "uidvalidity", AT), stored(5, epoch=2))

        assert catalog.messages.known(1) == {}
        assert list(catalog.messages.placements()) == [
            placement(1, present=False),
            replace(placement(5), uidvalidity=8),
        ]

    def test_facts_take_effect_in_their_order(self, catalog: Catalog) -> None:
        apply(
            catalog,
            INBOX,
            FIRST,
            stored(1),
            VanishedFact(1, (1,), AT),
            stored(2),
            FlagsFact(1, 2, frozenset({"a"}), AT),
            FlagsFact(1, 2, frozenset({"b"}), AT),
            stored(1),
            FlagsFact(1, 1, frozenset({"c"}), AT),
        )

        assert catalog.messages.known(1) == {1: frozenset({"c"}), 2: frozenset({"b"})}

    def test_changed_flags(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, stored(1), stored(2))

        apply(catalog, FlagsFact(1, 2, frozenset(), LATER))

        assert catalog.messages.known(1) == {1: SEEN, 2: frozenset()}

    def test_changed_labels(self, catalog: Catalog) -> None:
        labels = frozenset({"\\Inbox", "Père"})
        apply(
            catalog, INBOX, FIRST, altered(stored(1), emailid="gm:1"), altered(stored(2), labels=labels, thrid="5")
        )
        assert catalog.account.epochs()[1].unlabelled

        apply(catalog, LabelsFact(1, 1, "6", labels, LATER), LabelsFact(1, 2, "5", frozenset(), LATER), run="R2")

        found = {each.uid: (each.message.thrid, each.message.labels) for each in catalog.messages.placements(1)}
        assert found == {1: ("6", labels), 2: ("5", frozenset())}
        assert not catalog.account.epochs()[1].unlabelled
        assert [each.flags_changed for each in catalog.account.tallies("R2")] == [1]  # those of 1 were not known

    def test_flags_of_a_message_that_is_not_stored_say_nothing(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, FlagsFact(1, 2, SEEN, AT))

        assert catalog.messages.known(1) == {}

    def test_a_message_stored_again_is_present_again(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, stored(1), VanishedFact(1, (1,), AT))
        assert catalog.messages.known(1) == {}

        apply(catalog, altered(stored(1), flags=frozenset(), at=LATER))

        assert catalog.messages.known(1) == {1: frozenset()}
        assert list(catalog.messages.placements(1)) == [altered(placement(1), flags=frozenset())]

    def test_placements_of_an_epoch_in_uid_order(self, catalog: Catalog) -> None:
        uids = [4_294_967_295, 9, 10, 1]
        apply(catalog, INBOX, FIRST, *map(stored, uids), VanishedFact(1, (10,), AT))

        assert list(catalog.messages.placements(1)) == [
            placement(1),
            placement(9),
            placement(10, present=False),
            placement(4_294_967_295),
        ]

    def test_placements_of_all(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, stored(2, epoch=2), stored(1), stored(3))

        assert list(catalog.messages.placements()) == [placement(1), placement(3), placement(2, ".Work")]

    def test_placements_of_some(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, *map(stored, range(1, 2001)))

        assert list(catalog.messages.placements(1, uids={7, 5, 9999})) == [placement(5), placement(7)]
        assert list(catalog.messages.placements(1, uids=[])) == []
        assert [place.uid for place in catalog.messages.placements(1, uids=range(2000, 0, -1))] == list(
            range(1, 2001)
        )

    def test_placements_by_digest_are_of_all_epochs(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, *map(stored, range(1, 100)), VanishedFact(1, (7,), AT))
        apply(catalog, EpochFact(3, 2, 8, 1, "uidvalidity", AT), stored(3, epoch=2), stored(7, epoch=3))

        found = list(catalog.messages.by_digest())

        assert [place.digest for place in found] == sorted(place.digest for place in found)
        assert len(found) == 101
        assert [place for place in found if place.uid in (3, 7)] == sorted(
            [
                placement(3),
                placement(3, ".Work", present=False),
                placement(7, present=False),
                replace(placement(7, ".Work"), uidvalidity=8),  # the later epoch
            ],
            key=lambda place: place.digest,
        )

    @pytest.mark.parametrize("ask", ["placements", "by_digest"])
    def test_facts_may_be_applied_while_all_are_read(self, catalog: Catalog, ask: str) -> None:
        apply(catalog, INBOX, FIRST, *map(stored, range(1, 6001)))
        reading = getattr(catalog.messages, ask)()

        read = [next(reading)]
        apply(catalog, VanishedFact(1, tuple(range(1, 6001)), LATER))
        read.extend(reading)

        assert sorted(read, key=lambda place: place.uid) == [placement(uid) for uid in range(1, 6001)]

    def test_facts_may_be_applied_while_placements_are_read(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, *map(stored, range(1, 6001)))
        reading = catalog.messages.placements(1)

        read = [next(reading)]
        apply(catalog, VanishedFact(1, tuple(range(1, 6001)), LATER))
        assert catalog.messages.known(1) == {}
        read.extend(reading)

        assert read == [placement(uid) for uid in range(1, 6001)]

    def test_the_uids_and_the_flags_of_some(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, *(stored(uid) for uid in range(1, 1301)), VanishedFact(1, (2,), AT))

        assert catalog.messages.uids(1) == UidSet([1, *range(3, 1301)])
        assert catalog.messages.known(1, UidSet([1, 2, 99_999])) == {1: SEEN}
        asked = UidSet([3, 5, *range(100, 900), 1299])
        assert catalog.messages.known(1, asked).keys() == asked
        assert [each.uid for each in catalog.messages.placements(1, uids=asked)] == list(asked)
        assert catalog.messages.known(1, UidSet()) == {}

    # Twins and candidates

    def test_twins_are_equal_octets_of_the_same_second(self, catalog: Catalog) -> None:
        apply(
            catalog,
            INBOX,
            FIRST,
            stored(1),
            altered(stored(2), digest=stored(1).message.digest, arrived=5),
            stored(3),
        )

        wanted = stored(1).message.digest
        twins = catalog.messages.twins([wanted, digest_of("unknown")])

        assert {key: twin.uid for key, twin in twins.items()} == {(wanted, 837596665): 1, (wanted, 5): 2}
        assert twins[wanted, 837596665] == placement(1)

    def test_a_present_twin_is_preferred(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, stored(1), stored(1, epoch=2), VanishedFact(1, (1,), AT))
        key = (stored(1).message.digest, 837596665)

        assert catalog.messages.twins([stored(1).message.digest]) == {key: placement(1, ".Work")}

        apply(catalog, VanishedFact(2, (1,), AT))
        assert not catalog.messages.twins([stored(1).message.digest])[key].present

    def test_twins_of_very_many(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, *map(stored, range(1, 2001)))

        twins = catalog.messages.twins({stored(uid).message.digest for uid in range(1, 3001)})

        assert sorted(twin.uid for twin in twins.values()) == list(range(1, 2001))

    def test_candidates_are_of_the_whole_account(self, catalog: Catalog) -> None:
        apply(
            catalog,
            *(INBOX, WORK, FIRST, OF_WORK),
            stored(1),
            altered(stored(2, epoch=2), server_size=301, emailid="M1"),
            stored(3),
            altered(stored(4), server_size=None),
            EpochFact(3, 1, 8, 1, "uidvalidity", AT),
        )

        candidates = sorted(catalog.messages.candidates([301, 999]), key=lambda each: each.uid)

        assert candidates == [
            placement(1, present=False),
            altered(placement(2, ".Work"), server_size=301, emailid="M1"),
        ]

    def test_candidates_have_an_identity_that_names_one_message(self, catalog: Catalog) -> None:
        def seen(uid: int, emailid: str, *, like: int, epoch: int = 1, server_size: int = 300) -> StoredFact:
            fact: StoredFact = altered(stored(like, epoch=epoch), uid=uid, emailid=emailid, server_size=server_size)
            return fact

        apply(
            catalog,
            *(INBOX, WORK, FIRST, OF_WORK),
            stored(1),
            *(seen(2, "M1", like=2), seen(3, "M1", like=2, epoch=2)),
            *(seen(4, "other octets", like=4), seen(5, "other octets", like=5, epoch=2)),
            *(seen(6, "other size", like=6), seen(7, "other size", like=6, server_size=301)),
            seen(8, "M2", like=8),
            EpochFact(3, 1, 8, 1, "uidvalidity", AT),
        )

        def found(*emailids: str) -> list[tuple[int, bool]]:
            candidates = catalog.messages.candidates(emailids=emailids)
            return sorted((each.uid, each.present) for each in candidates)

        assert found("M1", "other octets", "other size", "nowhere") == [(2, False), (3, True)]
        assert found("M2") == [(8, False)]

    def test_candidates_have_an_identity_of_the_present_source(self, catalog: Catalog) -> None:
        here = ArchiveFact("a1", "alice", "imap", "imap.example.org", "alice", AT)
        apply(catalog, here, INBOX, WORK, FIRST, altered(stored(1), emailid="M1"))
        apply(catalog, replace(here, host="imap.example.net"))
        assert catalog.messages.candidates(emailids=["M1"]) == []

        apply(catalog, OF_WORK, altered(stored(2, epoch=2), emailid="M1"))
        assert [each.uid for each in catalog.messages.candidates(emailids=["M1"])] == [2]

    # Packs

    def test_messages_in_packs(self, catalog: Catalog) -> None:
        one, two = digest_of("pack one"), digest_of("pack two")
        first, second, third, loose = (digest_of(f"message {uid}") for uid in range(1, 5))
        apply(
            catalog,
            PackedFact(two, 90, ((third, 0, 90),)),
            PackedFact(one, 300, ((first, 0, 100), (second, 100, 150))),
        )

        assert catalog.messages.frames([first, third, loose]) == {
            first: Frame(one, 0, 100),
            third: Frame(two, 0, 90),
        }
        assert list(catalog.messages.packs()) == sorted([(one, 300), (two, 90)])

    def test_a_pack_recorded_again_is_fine(self, catalog: Catalog) -> None:
        fact = PackedFact(digest_of("pack"), 300, ((digest_of("message 1"), 2**40, 100),))
        apply(catalog, fact, fact)

        apply(catalog, fact)

        assert catalog.messages.frames([digest_of("message 1")]) == {
            digest_of("message 1"): Frame(fact.pack, 2**40, 100)
        }
        assert list(catalog.messages.packs()) == [(fact.pack, 300)]

    def test_the_newest_frame_of_a_message_counts(self, catalog: Catalog) -> None:
        message = digest_of("message 1")
        apply(catalog, *(PackedFact(digest_of(name), 9, ((message, 3, 4),)) for name in ("old", "newer")))
        assert catalog.messages.frames([message])[message].pack == digest_of("newer")

        apply(catalog, PackedFact(digest_of("newest"), 9, ((message, 5, 6),)))

        assert catalog.messages.frames([message]) == {message: Frame(digest_of("newest"), 5, 6)}
        assert len(list(catalog.messages.packs())) == 3

    def test_frames_of_very_many(self, catalog: Catalog) -> None:
        digests = [digest_of(f"message {uid}") for uid in range(3000)]
        apply(catalog, PackedFact(digest_of("pack"), 1, tuple((digest, 0, 1) for digest in digests[:2000])))

        assert catalog.messages.frames(digests).keys() == set(digests[:2000])

    def test_headers_by_digest(self, catalog: Catalog) -> None:
        one, two = digest_of("message 1"), digest_of("message 2")
        headers = Headers("a@x", "b@x, c@x", "On digests", "2026-01-05T01:30:00Z")
        apply(catalog, HeadersFact(one, headers))

        assert catalog.index.headers([one, two]) == {one: headers}
        assert catalog.index.headers([]) == {}

    # Quarantine

    def test_a_quarantined_message(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, failed(5), failed(9, epoch=2))

        first = Quarantined("INBOX", 1, 5, "fetch", "no body", "NO [SERVERBUG]", 1, False, AT)
        assert catalog.account.quarantined() == [first, replace(first, folder="Work/ÿ", epoch=2, uid=9)]
        assert catalog.account.quarantined(1) == [first]

    def test_tries_are_counted_once_for_each_run(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, failed(5), failed(5), run="R1")
        apply(catalog, failed(5), run="R1")
        assert [waiting.tries for waiting in catalog.account.quarantined()] == [1]

        apply(catalog, replace(failed(5, at=LATER), step="store", reason="cut short", server_reply=None), run="R2")

        assert catalog.account.quarantined() == [
            Quarantined("INBOX", 1, 5, "store", "cut short", None, 2, False, AT)
        ]

    def test_an_accepted_loss_is_no_try_and_stays_accepted(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, failed(5), run="R1")
        apply(catalog, replace(failed(5), accepted=True), run="R2")
        apply(catalog, failed(5), run="R3")

        assert [(waiting.tries, waiting.accepted) for waiting in catalog.account.quarantined()] == [(2, True)]

    def test_a_stored_message_leaves_quarantine(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, failed(5), failed(6), stored(5))

        assert [waiting.uid for waiting in catalog.account.quarantined()] == [6]

    def test_a_released_message_leaves_quarantine(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, failed(5), failed(6), failed(7))

        apply(catalog, ReleasedFact(1, (5, 7, 99), AT))

        assert [waiting.uid for waiting in catalog.account.quarantined()] == [6]

    def test_the_quarantine_of_an_ended_epoch_waits_for_nothing(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, failed(5), EpochFact(2, 1, 8, 1, "uidvalidity", AT))

        assert catalog.account.quarantined() == []
        assert catalog.account.quarantined(1) == []

    def test_the_quarantine_of_an_unlisted_folder_waits_until_it_is_listed(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, failed(5), failed(6, epoch=2), replace(WORK, listed=False))
        assert [waiting.uid for waiting in catalog.account.quarantined()] == [5]

        apply(catalog, WORK)
        assert [waiting.uid for waiting in catalog.account.quarantined()] == [5, 6]

    def test_undecodable_text_is_kept_readable(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, replace(failed(5), server_reply="NO \udcff\x00 ü"))

        assert [waiting.server_reply for waiting in catalog.account.quarantined()] == ["NO \\udcff\x00 ü"]

    # Tallies

    def test_the_equation_of_a_first_run(self, catalog: Catalog) -> None:
        apply(
            catalog,
            *(INBOX, FIRST, stored(1), stored(2), replace(stored(3), matched="emailid"), failed(4)),
            PassFact(1, 6, 2, None, AT),
            run="R1",
        )

        tally = Tally(
            "INBOX",
            7,
            on_server=6,
            stored=3,
            excluded=2,
            quarantined=1,
            fetched=2,
            fetched_bytes=203,
            stored_bytes=306,
        )
        assert catalog.account.tallies("R1") == [tally]
        assert tally.balanced
        assert catalog.account.tallies() == [replace(tally, fetched=0, fetched_bytes=0)]

    def test_the_work_of_a_later_run(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, *map(stored, (1, 2, 3)), PassFact(1, 3, 0, None, AT), run="R1")
        apply(
            catalog,
            *(stored(4), FlagsFact(1, 1, frozenset({"a"}), LATER), FlagsFact(1, 1, frozenset({"b"}), LATER)),
            *(FlagsFact(1, 2, SEEN, LATER), VanishedFact(1, (3, 99), LATER), VanishedFact(1, (3,), LATER)),
            PassFact(1, 3, 0, None, LATER),
            run="R2",
        )

        assert catalog.account.tallies("R2") == [
            Tally(
                "INBOX", 7, 3, 3, 0, 0, fetched=1, fetched_bytes=104, flags_changed=1, vanished=1, stored_bytes=307
            )
        ]

    def test_what_a_folder_could_not_do(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, stored(1), PassFact(1, 9, 0, "connection lost", AT))

        assert catalog.account.tallies("R1") == [
            Tally("INBOX", 7, 9, 1, 0, 0, fetched=1, fetched_bytes=101, error="connection lost", stored_bytes=101)
        ]

    def test_a_folder_that_was_not_visited_stands_where_it_was(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, WORK, FIRST, OF_WORK, PassFact(1, 5, 5, None, AT), run="R1")
        apply(catalog, PassFact(1, 6, 6, None, LATER), run="R2")
        apply(catalog, PassFact(2, 7, 7, None, LATER), run="R3")

        def on_server(run: str | None) -> list[int]:
            return [tally.on_server for tally in catalog.account.tallies(run)]

        assert on_server("R1") == [5, 7]
        assert on_server("R3") == [6, 7]
        assert on_server(None) == [6, 7]

    def test_a_pass_again_in_one_run_counts_last(self, catalog: Catalog) -> None:
        apply(catalog, INBOX, FIRST, PassFact(1, 5, 0, "stopped", AT), run="R1")
        apply(catalog, PassFact(1, 4, 4, None, LATER), run="R1")

        assert catalog.account.tallies("R1") == [
            Tally("INBOX", 7, on_server=4, stored=0, excluded=4, quarantined=0)
        ]

    def test_only_the_current_epoch_of_a_listed_folder_counts(self, catalog: Catalog) -> None:
        gone = replace(WORK, listed=False)
        without_epoch = replace(WORK, number=3, raw=b"New", path=("New",), directory=".New")
        apply(catalog, INBOX, gone, without_epoch, FIRST, OF_WORK, stored(1), stored(1, epoch=2), failed(2))
        apply(catalog, EpochFact(3, 1, 8, 1, "uidvalidity", AT), stored(9, epoch=3), PassFact(3, 1, 0, None, AT))

        assert catalog.account.tallies() == [
            Tally("INBOX", 8, on_server=1, stored=1, excluded=0, quarantined=0, stored_bytes=109)
        ]

    # Runs

    def test_runs_and_their_ends(self, catalog: Catalog) -> None:
        ledger = catalog.ledger
        ledger.begin("R1", AT)
        ledger.begin("R2", LATER)
        ledger.finish("R1", "complete", 0, LATER)
        ledger.begin("R1", LATER)

        assert list(catalog.ledger.runs()) == [("R1", AT, LATER, "complete", 0), ("R2", LATER, None, None, None)]

    def test_the_last_run_is_the_one_recorded_last_whatever_its_clock_said(self, catalog: Catalog) -> None:
        for run, at in (("now", AT), ("in 2035", "2035-06-01T00:05:00Z"), ("after it", LATER)):
            catalog.ledger.begin(run, at)
            catalog.ledger.finish(run, "complete", 0, at)

        assert [each[0] for each in catalog.ledger.runs()] == ["now", "in 2035", "after it"]

    def test_a_run_resumed_ends_again(self, catalog: Catalog) -> None:
        ledger = catalog.ledger
        ledger.begin("R1", AT)
        ledger.finish("R1", "failed", 5, AT)
        ledger.finish("R1", "complete", 0, LATER)

        assert list(ledger.runs()) == [("R1", AT, LATER, "complete", 0)]

    def test_reports_that_may_go_are_of_runs_that_ended_well_and_not_the_last_of_them(
        self, catalog: Catalog
    ) -> None:
        ledger = catalog.ledger
        for run, status, code, day in (
            ("well", "complete", 0, 1), ("badly", "incomplete", 3, 2), ("late", "complete", 0, 20),
            ("not at all", "failed", 5, 3), ("last", "complete", 0, 4), ("badly again", "failed", 1, 5),
        ):  # fmt: skip
            ledger.begin(run, f"2026-11-{day:02}T01:00:00Z")
            ledger.finish(run, status, code, f"2026-11-{day:02}T02:00:00Z")
        ledger.begin("killed", "2026-11-06T01:00:00Z")

        assert list(ledger.old_reports("2026-11-01")) == []
        assert list(ledger.old_reports("2026-11-10")) == ["well"]
        assert list(ledger.old_reports("2027-01-01")) == ["well", "late"]

        ledger.forget_reports(["well"], LATER)
        assert list(ledger.old_reports("2027-01-01")) == ["late"]
        ledger.finish("well", "complete", 0, "2026-11-30T02:00:00Z")  # the same name was given again
        assert list(ledger.old_reports("2027-01-01")) == ["well", "late"]

    def test_steps_that_are_done(self, catalog: Catalog) -> None:
        ledger = catalog.ledger
        ledger.complete_step("R1", "archive", '{"a": 1}', AT)
        ledger.complete_step("R1", "archive", '{"a": 2}', LATER)

        assert catalog.ledger.step_result("R1", "archive") == '{"a": 2}'
        assert ledger.step_result("R1", "verify") is None
        assert ledger.step_result("R2", "archive") is None
