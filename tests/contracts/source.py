"""The contract of a MailSource, as a suite that every source passes on every server.

A source joins by subclassing `SourceContract` with the fixture `served`: a server that holds the mail described
here, a way to open sources on it, and a raw connection to change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import pytest

from archiver.errors import FolderNotFound, MessageRefused
from archiver.mail.content import body_of, header_block
from archiver.mail.dates import internaldate_seconds
from archiver.mail.model import Attributes, Fetched, Folder, FolderStatus, KnownState, Undelivered
from archiver.source.port import MailSource, NextRequest
from tests.servers.wire import Append, Wire, WireError

DATE = "02-Jan-2020 10:00:00 +0000"


def message(number: int, *, octets: int = 0) -> bytes:
    """A message of its own."""
    head = f"From: a@example.org\r\nSubject: {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n".encode()
    return head + b"body of it\r\n" + b"x" * 70 * (octets // 70) + b"\r\n"


#: What is in the INBOX: UIDs follow the order, and the third one is over the size that stays in memory.
INBOX = (
    Append(message(1), ("\\Seen",), DATE),
    Append(message(2), ("\\Flagged", "$Forwarded"), DATE),
    Append(message(3, octets=1_500_000), (), DATE),
    Append(message(4), ("\\Answered", "\\Seen"), DATE),
)


@dataclass(frozen=True)
class Served:
    """A server that holds `INBOX`, an empty folder "Empty", and one below another, "Work/Ærø & Co"."""

    open: Callable[[], MailSource]
    wire: Callable[[], Wire]

    def change(self, *commands: str) -> None:
        """Select the INBOX for writing and run commands."""
        with self.wire() as wire:
            wire.command("SELECT INBOX")
            for command in commands:
                wire.command(command)
            wire.logout()


def known(status: FolderStatus) -> KnownState:
    """Where a folder stands, for a later run."""
    return KnownState(status.uidvalidity, status.uidnext, status.highestmodseq)


class SourceContract:
    """What steps rely on."""

    @pytest.fixture
    def served(self) -> Served:
        raise NotImplementedError

    @pytest.fixture
    def source(self, served: Served) -> Iterator[MailSource]:
        source = served.open()
        yield source
        source.close()

    @pytest.fixture
    def inbox(self, source: MailSource) -> Folder:
        """The INBOX, open."""
        folder = next(each.folder for each in source.list_folders() if each.folder.raw == b"INBOX")
        source.open(folder)
        return folder

    @pytest.fixture
    def uids(self, source: MailSource, inbox: Folder) -> list[int]:
        return sorted(source.uids())

    def test_folders_are_listed_by_their_paths(self, source: MailSource) -> None:
        names = {each.folder.name for each in source.list_folders() if each.folder.selectable}
        assert {"INBOX", "Empty", "Work/Ærø & Co"} <= names

    def test_the_listing_gives_the_state_of_folders(self, source: MailSource) -> None:
        counts = {each.folder.name: each.status.messages for each in source.list_folders() if each.status}
        assert (counts["INBOX"], counts["Empty"]) == (4, 0)

    def test_an_opened_folder_has_the_state_the_listing_gave(self, source: MailSource) -> None:
        listed = next(each for each in source.list_folders() if each.folder.raw == b"INBOX")
        status = source.open(listed.folder).status
        assert listed.status is not None
        assert (status.uidvalidity, status.messages) == (listed.status.uidvalidity, listed.status.messages)

    def test_a_folder_that_is_not_there_is_only_its_own_failure(self, source: MailSource, inbox: Folder) -> None:
        with pytest.raises(FolderNotFound):
            source.open(Folder(b"Nowhere", ("Nowhere",), "/"))
        source.open(inbox)
        assert len(source.uids()) == 4

    def test_all_uids_or_those_of_a_search(self, source: MailSource, uids: list[int]) -> None:
        assert len(uids) == 4
        assert source.uids("SEEN") == {uids[0], uids[3]}
        assert source.uids("SEEN FLAGGED") == set()

    def test_a_search_the_server_does_not_take_is_refused(self, source: MailSource, uids: list[int]) -> None:
        with pytest.raises(MessageRefused):
            source.uids("NO SUCH KEY")
        assert sorted(source.uids()) == uids

    def test_a_scan_gives_flags_dates_and_sizes(self, source: MailSource, uids: list[int]) -> None:
        seen = {each.uid: each for each in source.scan(None)}
        assert [seen[uid].flags for uid in uids] == [frozenset(each.flags) for each in INBOX]
        assert [seen[uid].size for uid in uids] == [len(each.octets) for each in INBOX]
        instants = {internaldate_seconds(each.internaldate) for each in seen.values()}
        assert instants == {internaldate_seconds(DATE)}

    def test_a_scan_of_some_leaves_out_what_is_gone(self, source: MailSource, uids: list[int]) -> None:
        assert {each.uid for each in source.scan([uids[1], uids[3], 999_999])} == {uids[1], uids[3]}

    def test_a_scan_may_be_left_half_way(self, source: MailSource, uids: list[int]) -> None:
        assert isinstance(next(iter(source.scan(None))), Attributes)
        assert sorted(source.uids()) == uids

    def test_attributes_of_known_messages_come_with_the_folder(self, served: Served) -> None:
        source = served.open()
        folder = Folder(b"INBOX", ("INBOX",), "/")
        source.open(folder)
        uids = sorted(source.uids())
        state = {each.uid: each for each in source.scan(uids[:2])}
        seen = source.open(folder, ask="all", known=[*uids[:2], 999_999]).seen
        assert {each.uid: each for each in seen} == state
        assert sorted(source.uids()) == uids
        source.close()

    def test_flags_may_be_left_half_way(self, source: MailSource, uids: list[int]) -> None:
        assert next(iter(source.flags()))[0].uid in uids
        assert sorted(source.uids()) == uids

    def test_only_changes_are_scanned_where_the_server_counts_them(self, served: Served) -> None:
        source = served.open()
        folder = Folder(b"INBOX", ("INBOX",), "/")
        before = known(source.open(folder).status)
        uids = sorted(source.uids())
        assert before.highestmodseq is None or [*chain(*source.flags(since=before))] == []
        assert {each.uid for each in chain(*source.flags())} == set(uids)
        source.close()
        served.change(f"UID STORE {uids[1]} +FLAGS.SILENT (\\Seen)")
        source = served.open()
        source.open(folder)
        changed = {each.uid: each.flags for each in chain(*source.flags(since=before))}
        source.close()
        assert changed.keys() == (set(uids) if before.highestmodseq is None else {uids[1]})
        assert changed[uids[1]] == frozenset({"\\Seen", "\\Flagged", "$Forwarded"})

    @pytest.mark.parametrize("ask", ["all", "new", None])
    def test_what_came_since_is_named_and_nothing_else(self, served: Served, ask: NextRequest | None) -> None:
        source = served.open()
        folder = Folder(b"INBOX", ("INBOX",), "/")
        before = known(source.open(folder).status)
        assert before.uidnext is None or source.uids(since=before) == set()
        uids = sorted(source.uids())
        source.close()
        served.change(f"UID COPY {uids[0]},{uids[1]} INBOX")
        source = served.open()
        source.open(folder, before, ask)
        came = source.uids(since=before)
        left = source.uids()
        source.close()
        assert came == (left if before.uidnext is None else left - set(uids))
        assert len(left) == 6

    def test_resuming_gives_what_vanished_and_changed_or_that_it_was_not_asked(self, served: Served) -> None:
        source = served.open()
        folder = Folder(b"INBOX", ("INBOX",), "/")
        status = source.open(folder).status
        uids = sorted(source.uids())
        source.close()
        served.change(f"UID STORE {uids[0]} +FLAGS.SILENT (\\Deleted)", "EXPUNGE")
        served.change(f"UID STORE {uids[3]} +FLAGS.SILENT (\\Draft)")
        source = served.open()
        opened = source.open(folder, known(status))
        left = source.uids()
        source.close()
        assert left == set(uids[1:])
        if (changes := opened.changes) is not None:
            assert uids[0] in changes.vanished
            assert not changes.vanished & left
            assert uids[3] in {each.uid for each in changes.changed}

    def test_headers_are_the_octets_up_to_the_blank_line(self, source: MailSource, uids: list[int]) -> None:
        headers = {attributes.uid: header for attributes, header in source.headers(uids)}
        assert [headers[uid].rstrip() for uid in uids] == [header_block(each.octets).rstrip() for each in INBOX]

    def test_messages_come_octet_for_octet_with_their_attributes(self, source: MailSource, uids: list[int]) -> None:
        fetched = {}
        for outcome in source.fetch(uids):
            assert isinstance(outcome, Fetched)
            body = outcome.body
            octets = body.octets if body.spool is None else body.spool.read_bytes()
            assert octets is not None
            assert (body.digest, body.size) == (body_of(octets).digest, len(octets))
            fetched[outcome.attributes.uid] = (octets, outcome.attributes.flags)
        assert [fetched[uid] for uid in uids] == [(each.octets, frozenset(each.flags)) for each in INBOX]

    def test_a_large_message_is_spooled_and_a_small_one_is_not(self, source: MailSource, uids: list[int]) -> None:
        outcomes = {each.attributes.uid: each for each in source.fetch(uids[1:3]) if isinstance(each, Fetched)}
        assert outcomes[uids[1]].body.spool is None
        assert outcomes[uids[2]].body.octets is None

    def test_each_uid_has_exactly_one_outcome_and_what_is_gone_is_reported_gone(
        self, source: MailSource, uids: list[int]
    ) -> None:
        outcomes = list(source.fetch([uids[0], 999_998, uids[1], 999_999]))
        gone = {each.uid: each.gone for each in outcomes if isinstance(each, Undelivered)}
        assert len(outcomes) == 4
        assert gone == {999_998: True, 999_999: True}

    def test_a_message_expunged_in_between_is_gone_and_the_others_come(self, served: Served) -> None:
        source = served.open()
        source.open(Folder(b"INBOX", ("INBOX",), "/"))
        uids = sorted(source.uids())
        served.change(f"UID STORE {uids[1]} +FLAGS.SILENT (\\Deleted)", "EXPUNGE")
        outcomes = list(source.fetch(uids))
        source.close()
        # A server may still give a message that another connection expunged (RFC 2180 section 4.1).
        fetched = {each.attributes.uid for each in outcomes if isinstance(each, Fetched)}
        gone = {each.uid for each in outcomes if isinstance(each, Undelivered) and each.gone}
        assert (fetched | gone, fetched & gone) == (set(uids), set())
        assert fetched >= set(uids) - {uids[1]}

    def test_reading_changes_nothing(self, served: Served, source: MailSource, uids: list[int]) -> None:
        before = {each.uid: each.flags for each in source.scan(None)}
        for outcome in source.fetch(uids):
            if isinstance(outcome, Fetched) and outcome.body.spool:
                outcome.body.spool.unlink()
        list(source.headers(uids))
        source.close()
        again = served.open()
        again.open(Folder(b"INBOX", ("INBOX",), "/"))
        after = {each.uid: each.flags for each in again.scan(None)}
        again.close()
        assert after == before

    def test_an_empty_folder_holds_nothing(self, source: MailSource, inbox: Folder) -> None:
        opened = source.open(Folder(b"Empty", ("Empty",), "/"))
        assert (opened.status.messages, source.uids(), list(source.scan(None)), list(source.fetch([]))) == (
            0,
            set(),
            [],
            [],
        )

    def test_closing_twice_is_fine(self, served: Served) -> None:
        source = served.open()
        source.list_folders()
        source.close()
        source.close()


def fill(wire: Wire, append: Callable[..., None]) -> None:
    """Put the suite's mail on a server; `append(folder, messages)` keeps octets."""
    for command in ('CREATE "Empty"', 'CREATE "Work/&AMY-r&APg- &- Co"'):
        try:
            wire.command(command)
        except WireError as error:
            raise AssertionError(f"the server does not take {command}: {error}") from error
    wire.logout()
    append("INBOX", INBOX)
