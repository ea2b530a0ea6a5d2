"""What a run decides, as tables: which folders are opened and why, which epoch it is, which mail is known again."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from msgspec.structs import replace

from archiver.archive.plan.amounts import few_arrived, slices
from archiver.archive.plan.folders import gone_folders, live_epochs, plan_run, visit_reason
from archiver.archive.plan.same import compare_known, judge_epoch
from archiver.archive.plan.twins import full_identity, groups_of, header_key, twins_by_identity, unique_twins
from archiver.facts.known import FolderState, KnownEpoch, KnownFolder
from archiver.mail.model import (
    Attributes,
    Digest,
    Folder,
    FolderStatus,
    KnownState,
    Listed,
    Placement,
    StoredMessage,
)
from archiver.mail.uidset import UidSet

STATUS = FolderStatus(uidvalidity=7, uidnext=10, messages=5, highestmodseq=100, size=5000)
STATE = FolderState(uidnext=10, highestmodseq=100, messages=5, filter=None, size=5000)
EPOCH = KnownEpoch(number=3, folder=1, uidvalidity=7, state=STATE)
DATE = "02-Jan-2020 10:00:00 +0000"


def folder(name: str, *attributes: str) -> Folder:
    return Folder(name.encode(), tuple(name.split("/")), "/", frozenset(attributes))


def twin(digest: str, *, uid: int = 1, directory: str = ".A", present: bool = True) -> Placement:
    return Placement(directory, 7, 1, StoredMessage.bare(uid, Digest(digest), 10, 10, 1577959200), present=present)


class TestWhichFoldersAreOpened:
    @pytest.mark.parametrize(
        ("status", "epoch", "search", "waiting", "reason"),
        [
            (STATUS, EPOCH, None, (), None),
            (STATUS, None, None, (), "new"),
            (None, EPOCH, None, (), "the server does not report its status"),
            (replace(STATUS, uidvalidity=8), EPOCH, None, (), "UIDVALIDITY changed"),
            (STATUS, replace(EPOCH, state=None), None, (), "its last pass was not complete"),
            (STATUS, replace(EPOCH, failed=True), None, (), "its last pass failed"),
            (STATUS, replace(EPOCH, other_source=True), None, (), "the source is another server now"),
            (STATUS, EPOCH, "SEEN", (), "the filter changed"),
            (STATUS, replace(EPOCH, state=replace(STATE, filter="SEEN")), None, (), "the filter changed"),
            (
                STATUS,
                replace(EPOCH, state=replace(STATE, filter="SEEN")),
                "SEEN",
                (),
                "the search filter may match other messages now",
            ),
            (STATUS, EPOCH, None, (3,), "quarantined messages are due for another try"),
            (replace(STATUS, highestmodseq=None), EPOCH, None, (), "flags may have changed (no HIGHESTMODSEQ)"),
            (replace(STATUS, uidnext=11), EPOCH, None, (), "changed"),
            (replace(STATUS, messages=4), EPOCH, None, (), "changed"),
            (replace(STATUS, highestmodseq=101), EPOCH, None, (), "changed"),
            (replace(STATUS, size=5001), EPOCH, None, (), "its size changed or was unknown"),
        ],
    )
    def test_the_reason(
        self,
        status: FolderStatus | None,
        epoch: KnownEpoch | None,
        search: str | None,
        waiting: Collection[int],
        reason: str | None,
    ) -> None:
        assert visit_reason(status, epoch, search=search, waiting=waiting) == reason

    def test_folders_are_dealt_with_their_reasons(self) -> None:
        listed = [
            Listed(folder("INBOX"), STATUS),
            Listed(folder("Work"), STATUS),
            Listed(folder("Junk"), STATUS),
            Listed(folder("Lists", "\\noselect")),
        ]
        known = {b"INBOX": KnownFolder(1, folder("INBOX"), "")}
        plan = plan_run(listed, known, {1: EPOCH}, include=["*"], exclude=["Junk"], search=None, waiting=())
        assert [(each.folder.name, why) for each, why in plan.visit] == [("Work", "new")]
        assert [each.folder.name for each in plan.unchanged] == ["INBOX"]
        assert [(each.name, why) for each, why in plan.skip] == [
            ("Junk", "in [folders] exclude"),
            ("Lists", "it holds no messages itself (\\Noselect)"),
        ]


class TestWhichFoldersAreGone:
    INBOX = KnownFolder(1, Folder(b"INBOX", ("INBOX",), "/"), "")
    LISTED = KnownFolder(2, folder("A"), ".A")
    GONE = KnownFolder(3, folder("B"), ".B", listed=False)

    def gone(
        self, *known: KnownFolder, include: Collection[str] = ("*",), exclude: Collection[str] = ()
    ) -> list[int]:
        return [each.number for each in gone_folders(known, include=[*include], exclude=[*exclude])]

    def test_those_that_are_not_listed_or_hold_no_messages_any_more(self) -> None:
        parent = KnownFolder(4, folder("C", "\\noselect"), ".C")
        assert self.gone(self.INBOX, self.LISTED, self.GONE, parent) == [3, 4]
        assert self.gone(self.INBOX, self.GONE) == [3]

    def test_none_by_a_listing_that_cannot_be_believed(self) -> None:
        assert self.gone(self.GONE) == []
        assert self.gone(replace(self.INBOX, listed=False), self.LISTED, self.GONE) == []

    def test_none_that_is_named_in_another_way_now(self) -> None:
        dotted = KnownFolder(4, replace(folder("D"), delimiter="."), ".D")
        assert self.gone(self.INBOX, dotted, self.GONE) == []
        elsewhere = KnownFolder(5, replace(folder("B"), raw=b"INBOX/B"), ".INBOX/B")
        assert self.gone(self.INBOX, self.LISTED, elsewhere, self.GONE) == []

    def test_none_that_the_rules_leave_out(self) -> None:
        assert self.gone(self.INBOX, self.LISTED, self.GONE, exclude=["B"]) == []
        assert self.gone(self.INBOX, self.LISTED, self.GONE, include=["A", "INBOX"]) == []


class TestWhichEpochItIs:
    @pytest.mark.parametrize(
        ("epoch", "status", "verdict"),
        [
            (None, STATUS, "first"),
            (EPOCH, STATUS, "same"),
            (EPOCH, replace(STATUS, uidnext=12, highestmodseq=130), "same"),
            (EPOCH, replace(STATUS, uidvalidity=8), "uidvalidity"),
            (EPOCH, replace(STATUS, uidnext=9), "rewound"),
            (EPOCH, replace(STATUS, highestmodseq=99), "rewound"),
            (EPOCH, replace(STATUS, uidnext=None, highestmodseq=None), "same"),
            (replace(EPOCH, state=None), replace(STATUS, uidnext=1), "same"),
            (replace(EPOCH, other_source=True), STATUS, "source"),
        ],
    )
    def test_the_verdict(self, epoch: KnownEpoch | None, status: FolderStatus, verdict: str) -> None:
        assert judge_epoch(epoch, status) == verdict

    @pytest.mark.parametrize(
        ("size", "date", "doubt"),
        [
            (10, DATE, "same"),
            (10, "02-Jan-2020 11:00:00 +0100", "same"),
            (None, None, "same"),
            (11, DATE, "doubtful"),
            (10, "02-Jan-2020 10:00:01 +0000", "doubtful"),
            (11, "02-Jan-2020 10:00:01 +0000", "other"),
        ],
    )
    def test_whether_a_uid_shows_the_message_it_showed(
        self, size: int | None, date: str | None, doubt: str
    ) -> None:
        recorded = Attributes(1, internaldate=DATE, size=10)
        assert compare_known(recorded, Attributes(1, internaldate=date, size=size)) == doubt


class TestWhichMailIsKnownAgain:
    def test_a_key_needs_all_its_parts(self) -> None:
        full = Attributes(1, internaldate=DATE, size=10)
        assert header_key(full, "<1@x>", Digest("h")) is not None
        assert header_key(full, None, Digest("h")) is None
        assert header_key(full, "<1@x>", None) is None
        assert header_key(replace(full, size=None), "<1@x>", Digest("h")) is None
        assert header_key(replace(full, internaldate=None), "<1@x>", Digest("h")) is None

    def test_an_identity_of_another_server_is_distinguished_by_size_and_date(self) -> None:
        one = Attributes(1, frozenset(), internaldate=DATE, size=10, emailid="M1")
        assert full_identity(one) == full_identity(replace(one, uid=2))
        assert full_identity(one) != full_identity(replace(one, size=11))

    @pytest.mark.parametrize("left_out", ["emailid", "size", "internaldate", "flags"])
    def test_an_identity_needs_all_that_the_server_has_to_say(self, left_out: str) -> None:
        one = Attributes(1, frozenset(), internaldate=DATE, size=10, emailid="M1")
        assert full_identity(replace(one, **{left_out: None})) is None

    def test_an_identity_names_a_message_of_that_size_and_rather_a_present_one(self) -> None:
        def archived(uid: int, *, present: bool = True, size: int = 10, crlf_size: int = 12) -> Placement:
            message = StoredMessage.bare(uid, Digest("a"), size, crlf_size, 0)
            seen = Attributes(uid, frozenset(), DATE, size=12, emailid="M1")
            return Placement("", 7, 1, message.seen_as(seen), present)

        vanished, present, cut_off = archived(1, present=False), archived(2), archived(3, size=8, crlf_size=9)
        identity = full_identity(present.message.attributes)
        assert twins_by_identity([vanished]) == {identity: vanished}
        assert twins_by_identity([vanished, present]) == {identity: present}
        assert twins_by_identity([present, vanished]) == {identity: present}
        assert twins_by_identity([cut_off]) == {}

    @pytest.mark.parametrize(
        ("status", "since", "few"),
        [
            (None, None, False),
            (replace(STATUS, messages=0), None, False),
            (replace(STATUS, messages=1000), None, True),
            (replace(STATUS, messages=1001), None, False),
            (replace(STATUS, messages=5000), KnownState(7, 10), False),
            (replace(STATUS, messages=5000, uidnext=11), KnownState(7, 10), True),
            (replace(STATUS, messages=5000, uidnext=None), KnownState(7, 10), False),
        ],
    )
    def test_few_new_messages_are_described_at_once(
        self, status: FolderStatus | None, since: KnownState | None, few: bool
    ) -> None:
        assert few_arrived(status, since) is few

    def test_two_digests_under_one_key_make_it_useless(self) -> None:
        assert unique_twins([("k", twin("a")), ("k", twin("b"))], [True, True]) == {}

    def test_one_digest_in_several_places_is_one(self) -> None:
        first, second = twin("a", uid=1), twin("a", uid=2)
        assert unique_twins([("k", first), ("k", second)], [False, True]) == {"k": second}

    def test_what_is_not_usable_still_counts_against_uniqueness(self) -> None:
        assert unique_twins([("k", twin("a")), ("k", twin("b"))], [True, False]) == {}

    def test_mail_of_a_folder_that_is_listed_is_shown_from_its_first_epoch_on(self) -> None:
        """A duplicate in a folder archived in the same run must not be taken for mail that moved."""
        known = {
            b"INBOX": KnownFolder(1, folder("INBOX"), ""),
            b"New": KnownFolder(2, folder("New"), ".New"),
            b"Gone": KnownFolder(4, folder("Gone"), ".Gone"),
        }
        listed = [Listed(folder("INBOX"), STATUS), Listed(folder("New"), replace(STATUS, uidvalidity=9))]
        assert live_epochs(listed, known, {1: EPOCH}) == {("", 7), (".New", 9)}

    def test_mail_of_an_epoch_about_to_end_is_not_shown(self) -> None:
        known = {b"INBOX": KnownFolder(1, folder("INBOX"), "")}
        listed = [Listed(folder("INBOX"), replace(STATUS, uidvalidity=8))]
        assert live_epochs(listed, known, {1: EPOCH}) == {("", 8)}


class TestHowWorkIsDealt:
    def test_slices_hold_every_uid_once_in_order(self) -> None:
        dealt = slices(UidSet(range(5000, 0, -1)), replace(STATUS, size=5000 * 1000, messages=5000))
        assert [uid for part in dealt for uid in part] == list(range(1, 5001))
        assert [len(part) for part in dealt] == [2000, 2000, 1000]

    def test_large_messages_make_small_slices(self) -> None:
        dealt = slices(UidSet(range(1, 301)), replace(STATUS, size=300 << 20, messages=300))
        assert {len(part) for part in dealt} == {100}

    def test_groups_stay_below_the_most(self) -> None:
        groups = list(groups_of({1: 4, 2: 4, 3: 4, 4: 20}, 8))
        assert groups == [{1, 2}, {3}, {4}]
