"""Messages made ready for the wire: proved, in another form, repaired, and dealt into groups."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from archiver.errors import IntegrityError
from archiver.facts.mailbox import SelectedFolder
from archiver.facts.outgoing import Outgoing
from archiver.facts.replica import MessageKey
from archiver.mail.content import body_of
from archiver.mail.dates import date_time, internaldate_seconds, internaldate_to_send, same_moment
from archiver.mail.model import Digest, Flags, Placement, StoredMessage
from archiver.mail.rewrite import REPAIRS
from archiver.replay.send.prepare import (
    BATCH_OCTETS,
    EARLIEST,
    GROUP_MESSAGES,
    GROUP_OCTETS,
    LARGE_OCTETS,
    PreparedMessage,
    as_variant,
    batches,
    groups,
    keywords_of,
    prepare,
    with_repairs,
)
from archiver.storage.port import MessageStore
from tests.servers.corpora import CorpusMessage
from tests.stored_messages import altered

DATE = "05-Feb-1999 10:11:12 +0330"
ARRIVED = 918197472
OPEN = SelectedFolder(7, 100, 50)
MAIL = b"Subject: 1\r\n\r\nbody\r\n"
FLAGS = frozenset({"\\Seen", "\\Flagged", "$a", "b"})


class Shelf:
    """A store of one message. `pieces` are what its file gives at a time; `opened` counts."""

    def __init__(self, octets: bytes, pieces: Iterable[int] = ()) -> None:
        self.octets, self.pieces, self.opened = octets, list(pieces), 0

    def open(self, _: Placement) -> BinaryIO:
        self.opened += 1
        return cast(BinaryIO, _InPieces(self.octets, self.pieces))

    def display_path(self, placement: Placement) -> str:
        return f"cur/{placement.uid}"


class _InPieces(io.BytesIO):
    def __init__(self, octets: bytes, pieces: list[int]) -> None:
        super().__init__(octets)
        self._pieces = iter(pieces)

    def read(self, size: int | None = -1) -> bytes:
        return super().read(next(self._pieces, size))


def store_of(octets: bytes, pieces: Iterable[int] = ()) -> MessageStore:
    return cast(MessageStore, Shelf(octets, pieces))


def outgoing(octets: bytes = MAIL, uid: int = 1, *, flags: Flags = FLAGS, date: str | None = DATE) -> Outgoing:
    body = body_of(octets)
    arrived = internaldate_seconds(date)
    bare = StoredMessage.bare(uid, body.digest, body.size, body.crlf_size, arrived or 0, flags)
    return Outgoing(1, Placement("INBOX", 7, 1, replace(bare, internaldate=date)))


def sized(uid: int, size: int) -> Outgoing:
    """A message of this size that is never opened."""
    return Outgoing(1, Placement("INBOX", 7, 1, StoredMessage.bare(uid, Digest(""), size, size, 0)))


def message(octets: bytes = MAIL, opened: SelectedFolder = OPEN, **how: Any) -> PreparedMessage:
    return prepare(store_of(octets), outgoing(octets, **how), opened)


def sent(made: PreparedMessage) -> bytes:
    return b"".join(made.to_append.octets())


# Ready


def test_a_message_goes_as_it_is() -> None:
    made = message()

    assert (made.key, sent(made), made.to_append.size, made.crlf_size) == ((1, 1), MAIL, len(MAIL), len(MAIL))
    assert (made.to_append.flags, made.to_append.internaldate) == (FLAGS, DATE)
    assert (made.repaired, made.sent_digest, made.dated, made.tried) == ((), None, True, frozenset())


def test_it_can_be_sent_again_without_being_read_again() -> None:
    shelf = Shelf(MAIL)
    made = prepare(cast(MessageStore, shelf), outgoing(), OPEN)

    assert [sent(made), sent(made), shelf.opened] == [MAIL, MAIL, 1]


def test_a_large_one_is_read_again_each_time() -> None:
    octets = b"Subject: 1\r\n\r\n" + b"x" * LARGE_OCTETS
    shelf = Shelf(octets)
    made = prepare(cast(MessageStore, shelf), outgoing(octets), OPEN)

    assert (made.to_append.size, shelf.opened) == (len(octets), 1)
    assert [sent(made) == octets, sent(made) == octets, shelf.opened] == [True, True, 3]
    assert max(map(len, made.to_append.octets())) < LARGE_OCTETS


@pytest.mark.parametrize("kinds", [[], ["nul"]])
def test_a_large_one_that_is_another_when_it_is_sent_does_not_come_to_its_end(kinds: list[str]) -> None:
    octets = b"Subject: 1\r\n\r\n" + b"x\0" * LARGE_OCTETS
    shelf = Shelf(octets)
    store = cast(MessageStore, shelf)
    made = prepare(store, outgoing(octets), OPEN)
    made = with_repairs(store, made, kinds) if kinds else made
    shelf.octets = b"T" + octets[1:]

    given = []
    with pytest.raises(IntegrityError, match="cur/1: its bytes are not those that were stored"):
        given.extend(made.to_append.octets())

    assert sum(map(len, given)) < made.to_append.size


@pytest.mark.parametrize("found", [b"", MAIL[:-1], MAIL + b"\n", MAIL.replace(b"1", b"2"), b"x" * LARGE_OCTETS * 2])
def test_what_is_not_what_was_stored_is_not_sent(found: bytes) -> None:
    with pytest.raises(IntegrityError, match="cur/1: its bytes are not those that were stored"):
        prepare(store_of(found), outgoing(), OPEN)


def test_what_is_not_there_is_not_sent() -> None:
    class Empty(Shelf):
        def open(self, placement: Placement) -> BinaryIO:
            raise IntegrityError(f"{self.display_path(placement)}: not there")

    with pytest.raises(IntegrityError, match="not there"):
        prepare(cast(MessageStore, Empty(b"")), outgoing(), OPEN)


@pytest.mark.parametrize(
    ("permanent", "any_keyword", "kept"),
    [
        (None, True, {"\\Seen", "$a"}),
        (frozenset({"\\Seen"}), True, {"\\Seen", "$a"}),
        (frozenset({"\\Flagged", "$A"}), False, {"$a"}),
        (frozenset(), False, set()),
    ],
)
def test_flags_go_as_far_as_they_are_kept_and_can_be_written(
    permanent: Flags | None, any_keyword: bool, kept: set[str]
) -> None:
    opened = SelectedFolder(7, 100, 50, permanent, any_keyword)

    assert message(opened=opened, flags=frozenset({"\\Seen", "$a", "a]b", "ü"})).to_append.flags == kept


def test_sizes_that_may_be_shown_of_it() -> None:
    made = message(b"Subject: 1\n\nbody\n")

    assert [made.fits(size) for size in (None, 17, 20, 16, 18, 0)] == [True, True, True, False, False, False]


def test_dates_that_may_be_shown_of_it() -> None:
    made = message()

    same = (DATE, " 5-Feb-1999 06:41:12 +0000", "05-Feb-1999 07:41:12 +0100", None, "no date")
    other = ("05-Feb-1999 06:41:13 +0000", "05-Feb-1999 10:11:12 +0000")
    assert [made.shows_its_date(each) for each in (*same, *other)] == [True] * 5 + [False] * 2


def test_keywords() -> None:
    assert keywords_of(FLAGS) == {"$a", "b"}


# In another form

OLD = "31-Dec-1960 23:59:59 -0100"
SYSTEM = frozenset({"\\Seen", "\\Flagged"})


@pytest.mark.parametrize(
    ("variant", "flags", "date"),
    [
        ("no keywords", SYSTEM, OLD),
        ("no flags", frozenset(), OLD),
        ("1970", FLAGS, " 2-Jan-1970 00:00:00 +0000"),
        ("no keywords, 1970", SYSTEM, " 2-Jan-1970 00:00:00 +0000"),
        ("no flags, 1970", frozenset(), " 2-Jan-1970 00:00:00 +0000"),
        ("as it is", FLAGS, OLD),
    ],
)
def test_a_form_is_made_from_the_message_itself(variant: str, flags: Flags, date: str) -> None:
    """Whatever was tried before."""
    for before in (None, "no flags", "1970"):
        made = message(date=OLD)
        made = made if before is None else as_variant(made, OPEN, before)

        again = as_variant(made, OPEN, variant)

        assert (again.to_append.flags, again.to_append.internaldate) == (flags, date)
        assert again.dated == (date == OLD)
        assert again.tried == {variant} | ({before} if before else set())
        assert (sent(again), again.to_append.size, again.outgoing) == (MAIL, len(MAIL), made.outgoing)


def test_a_form_keeps_what_was_repaired() -> None:
    made = with_repairs(store_of(b"A: b\n\n\0"), message(b"A: b\n\n\0"), ["nul"])

    again = as_variant(made, OPEN, "no flags")

    assert (sent(again), again.repaired, again.sent_digest) == (b"A: b\n\n", ("nul",), made.sent_digest)


def test_the_earliest_date_is_one_that_cyrus_and_courier_keep() -> None:
    assert internaldate_seconds(date_time(EARLIEST)) == 86_400


# Repaired

OCTETS = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b"a", b"A: b", b"x" * 1200, b" ", b"\xff"])
).map(b"".join)


def test_a_repaired_message_records_what_was_sent() -> None:
    octets = b"Subject: 1\n\nNUL \0 here\r\n" + b"x" * 1500

    made = with_repairs(store_of(octets), message(octets), ["crlf", "nul"])

    assert sent(made) == b"Subject: 1\r\n\r\nNUL  here\r\n" + b"x" * 1500
    assert made.repaired == ("crlf", "nul")
    assert made.to_append.size == len(sent(made)) == made.crlf_size
    assert made.sent_digest == hashlib.sha256(sent(made)).hexdigest()
    assert (made.to_append.flags, made.to_append.internaldate, made.dated) == (FLAGS, DATE, True)


def test_it_is_repaired_from_the_true_octets_again() -> None:
    octets = b"A: b\n\n\0"
    store = store_of(octets)

    once = with_repairs(store, message(octets), ["nul"])
    twice = with_repairs(store, once, ["crlf"])

    assert (sent(once), once.crlf_size) == (b"A: b\n\n", 8)
    assert (sent(twice), twice.repaired, twice.crlf_size) == (b"A: b\r\n\r\n\0", ("crlf",), 9)


@given(OCTETS, st.lists(st.integers(1, 5), max_size=40), st.sets(st.sampled_from(REPAIRS)))
def test_its_sizes_do_not_depend_on_the_pieces(octets: bytes, pieces: list[int], kinds: set[str]) -> None:
    made = with_repairs(store_of(octets, pieces), message(octets), sorted(kinds))

    whole = sent(made)
    assert made.to_append.size == len(whole)
    assert made.crlf_size == len(re.sub(rb"(?<!\r)\n", b"\r\n", whole))
    assert made.sent_digest == hashlib.sha256(whole).hexdigest()
    assert whole == sent(with_repairs(store_of(octets), message(octets), sorted(kinds)))


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_crlf_between_two_pieces_is_one(cut: int) -> None:
    octets = b"a\r\nb\n\r\n\r"

    made = with_repairs(store_of(octets, [cut]), message(octets), ["nul"])

    assert (made.to_append.size, made.crlf_size) == (8, 9)


def test_odd_messages_of_the_world_fit_their_copies(corpora: list[CorpusMessage]) -> None:
    for each in corpora:
        made = with_repairs(store_of(each.octets), message(each.octets), REPAIRS)
        assert made.to_append.size == len(sent(made)) == made.crlf_size


# Groups


def dealt(messages: Iterable[Outgoing], alone: Iterable[MessageKey] = ()) -> list[list[int]]:
    return [[each.placement.uid for each in group] for group in groups(messages, set(alone))]


def test_groups_of_so_many_messages() -> None:
    found = dealt(sized(uid, 10) for uid in range(2 * GROUP_MESSAGES + 1))

    assert list(map(len, found)) == [GROUP_MESSAGES, GROUP_MESSAGES, 1]
    assert [uid for group in found for uid in group] == list(range(2 * GROUP_MESSAGES + 1))


def test_groups_of_so_many_octets() -> None:
    found = dealt(sized(uid, LARGE_OCTETS) for uid in range(9))
    assert list(map(len, found)) == [4, 4, 1]

    a_bit_more = [sized(0, 1), *(sized(uid, LARGE_OCTETS) for uid in range(1, 5))]
    assert GROUP_OCTETS == 4 * LARGE_OCTETS
    assert dealt(a_bit_more) == [[0, 1, 2, 3], [4]]


def test_a_large_message_is_a_group_by_itself_in_its_place() -> None:
    sizes = [1, LARGE_OCTETS + 1, LARGE_OCTETS + 1, 1, LARGE_OCTETS, 1, 1 << 30]

    assert dealt(sized(uid, size) for uid, size in enumerate(sizes)) == [[0], [1], [2], [3, 4, 5], [6]]


def test_what_is_to_go_alone_goes_alone() -> None:
    messages = [sized(uid, 1) for uid in range(6)]

    assert dealt(messages, [(1, 2), (1, 3), (9, 1)]) == [[0, 1], [2], [3], [4, 5]]
    assert dealt(messages, [(1, 0), (1, 5)]) == [[0], [1, 2, 3, 4], [5]]


def test_no_messages_are_no_groups() -> None:
    assert dealt([]) == []


@given(st.lists(st.integers(0, LARGE_OCTETS * 2), max_size=300), st.sets(st.integers(0, 300)))
def test_all_are_dealt_in_their_order_into_groups_that_are_not_too_large(sizes: list[int], alone: set[int]) -> None:
    messages = [sized(uid, size) for uid, size in enumerate(sizes)]

    found = list(groups(messages, {(1, uid) for uid in alone}))

    assert [each for group in found for each in group] == messages
    for group in found:
        assert 1 <= len(group) <= GROUP_MESSAGES
        if len(group) > 1:
            assert sum(each.placement.size for each in group) <= GROUP_OCTETS
            assert all(each.placement.size <= LARGE_OCTETS for each in group)
            assert not alone & {each.placement.uid for each in group}


@given(st.lists(st.integers(0, BATCH_OCTETS * 2), max_size=100))
def test_batches_are_not_too_large_either_and_an_empty_message_may_come_first(sizes: list[int]) -> None:
    messages = [sized(uid, size) for uid, size in enumerate(sizes)]

    found = batches(messages)

    assert [each for batch in found for each in batch] == messages
    assert all(len(batch) == 1 or sum(each.placement.size for each in batch) <= BATCH_OCTETS for batch in found)


# Dates


@pytest.mark.parametrize(
    "date",
    [
        DATE,
        " 5-Feb-1999 10:11:12 +0330",
        "31-Dec-1960 23:59:59 -0100",
        "01-Jan-1970 00:00:00 +0000",
        "01-Jan-1970 01:00:00 +0100",
        "29-Feb-2024 00:00:00 -1130",
        "01-Jan-0001 12:00:00 +0000",
        "31-Dec-9999 23:59:59 +2359",
    ],
)
def test_a_date_goes_as_the_source_wrote_it(date: str) -> None:
    assert internaldate_to_send(date, 12345) == date
    assert outgoing(date=date).message.internaldate == message(date=date).to_append.internaldate


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        "5-Feb-1999 10:11:12 +0330",  # one column for the day
        "05-feb-1999 10:11:12 +0330",
        "05-Feb-1999 10:11:12",
        "05-Feb-99 10:11:12 +0330",
        "05-Feb-1999  10:11:12 +0330",
        "05-Feb-1999 10:11:12 +0330 ",
        "30-Feb-1999 10:11:12 +0330",
        " 0-Feb-1999 10:11:12 +0330",
        "05-Feb-1999 24:00:00 +0330",
        "05-Feb-1999 10:60:00 +0330",
        "05-Feb-0000 10:11:12 +0330",
        "05-Feb-1999 10:11:12 +2400",
        "05-Feb-1999 10:11:12 +0060",
        '05-Feb-1999 10:11:12 +0330" {5}',
        "٠٥-Feb-1999 10:11:12 +0330",
    ],
)
def test_any_other_text_becomes_the_moment_that_was_recorded(date: str | None) -> None:
    assert internaldate_to_send(date, ARRIVED) == " 5-Feb-1999 06:51:12 +0000"


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_a_moment_is_the_same_after_it_was_written(seconds: int) -> None:
    text = date_time(seconds)

    assert internaldate_seconds(text) == seconds
    assert internaldate_to_send(text, 0) == text
    assert len(text) == 26


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, " 1-Jan-1970 00:00:00 +0000"),
        (-1, "31-Dec-1969 23:59:59 +0000"),
        (-(10**12), " 1-Jan-0001 00:00:00 +0000"),
        (10**12, "31-Dec-9999 23:59:59 +0000"),
    ],
)
def test_a_moment_that_no_calendar_has_is_the_nearest_one(seconds: int, text: str) -> None:
    assert date_time(seconds) == text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (5, 5, True),
        (None, 5, True),
        (None, -5, True),
        (5, 6, False),
        (-5, -5, True),
        (-5 + (1 << 32), -5, True),  # Dovecot, out of its cache
        (-6 + (1 << 32), -5, False),
        (5 + (1 << 32), 5, False),
        (-5, -5 + (1 << 32), False),
    ],
)
def test_moments_that_are_the_same_as_far_as_servers_keep_them(one: int | None, other: int, same: bool) -> None:
    assert same_moment(one, other) == same


def test_a_message_without_a_date_goes_with_the_one_that_was_recorded() -> None:
    made = outgoing(date=None)
    undated = replace(made, placement=altered(made.placement, arrived=ARRIVED))

    assert prepare(store_of(MAIL), undated, OPEN).to_append.internaldate == " 5-Feb-1999 06:51:12 +0000"
