"""What a POP3 server sends, read piece by piece: multi-line answers, listings, and which message is which."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import ServerUnavailable, Where
from archiver.mail.model import StoredMessage
from archiver.mail.uidset import UidSet
from archiver.source.numbering import KnownNumbers, UnrecordedNumbers
from archiver.source.pop3.maildrop import Maildrop, maildrop_of, name_of_uidl, names_of_digests
from archiver.source.pop3.naming import Naming
from archiver.source.pop3.session import Undotted
from tests.contracts.catalog import stored
from tests.servers.scripted_pop3 import stuffed

WHERE = Where("pop.example.org:995")
LINES = st.lists(st.binary(max_size=40) | st.from_regex(rb"[0-9]{1,3} [0-9a-z]{1,4}", fullmatch=True), max_size=9)


@given(st.text("\r\n.a", max_size=30).map(str.encode), st.lists(st.integers(1, 9), min_size=1))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(octets: bytes, sizes: list[int]) -> None:
    stream, undotted, read, place = stuffed(octets) + b"+OK next", Undotted(), b"", 0
    while not undotted.ended:
        piece = stream[place : place + sizes[place % len(sizes)]]
        more, used = undotted.feed(piece)
        read, place = read + more, place + used
    assert read == (octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n")
    assert stream[place:] == b"+OK next"


@given(
    st.binary(max_size=200),
    st.lists(st.binary(max_size=40), max_size=9),
    st.lists(st.binary(max_size=40), max_size=9),
)
def test_a_listing_is_read_or_refused_whatever_it_says(
    stat: bytes, listed: list[bytes], uidls: list[bytes]
) -> None:
    try:
        maildrop = maildrop_of(b"+OK " + stat, listed, uidls, WHERE)
    except ServerUnavailable:
        return
    assert set(maildrop.uidls) <= set(maildrop.sizes)
    assert len(set(maildrop.uidls.values())) == len(maildrop.uidls)


def test_a_listing() -> None:
    maildrop = maildrop_of(b"+OK 3 600", [b"1 100", b"2 200 x", b"3"], [b"1 a", b"2  a b ", b"9 z"], WHERE)
    assert maildrop == Maildrop(3, 600, {1: 100, 2: None, 3: None}, {1: b"a", 2: b"a b"})
    assert (maildrop.agrees, maildrop.unnamed) == (True, [3])


@pytest.mark.parametrize("line", [b"", b"0 1", b"x", b"-ERR", b"-1 5", b"99999999999 1", b"1" * 5000])
def test_a_line_that_is_none_means_that_nothing_is_known(line: bytes) -> None:
    with pytest.raises(ServerUnavailable, match="a line of LIST cannot be read"):
        maildrop_of(b"+OK 1 1", [line], [], WHERE)


def test_names_are_short_printable_and_of_one_message() -> None:
    uidls = [b"a", b"A", b"a b", b"x" * 70, b"x" * 71, b"\xff", b"u:a"]
    names = list(map(name_of_uidl, uidls)) + list(names_of_digests({1: "a", 2: "a", 3: "b"}).values())
    assert len(set(names)) == len(names)
    assert all(name.isascii() and name.isprintable() and len(name) <= 80 for name in names)
    assert names_of_digests({3: "a", 1: "b", 2: "a"}) == {1: "d:b", 2: "d:a", 3: "d:a-2"}


class CountingNumbers(UnrecordedNumbers):
    """The archive has all messages with these UIDs; counts how often it is asked for them."""

    def __init__(self, held: int) -> None:
        super().__init__()
        self.held, self.asked = held, 0
        self.number(b"INBOX", [f"u:{uid}" for uid in range(1, held + 1)])

    def known(self, raw: bytes) -> KnownNumbers:
        self.asked += 1
        return KnownNumbers(uidnext=super().known(raw).uidnext, held=UidSet(range(1, self.held + 1)))

    def recorded(self, raw: bytes, uids: Collection[int]) -> Iterator[StoredMessage]:
        self.asked += 1
        return (stored(uid).message for uid in uids)


def test_the_archive_is_asked_a_few_times_however_many_messages_there_are() -> None:
    numbers = CountingNumbers(2_000)
    sizes: dict[int, int | None] = {number: 300 + number for number in range(1, 2_021)}
    maildrop = Maildrop(2_020, None, sizes, {number: b"%d" % number for number in sizes})
    uids = Naming(maildrop, numbers, cast(Any, NothingToRead()), {}).uids()
    assert uids == {number: number for number in sizes}
    assert numbers.asked < 10


class NothingToRead:
    """A retriever that is not needed."""

    def headers(self, wanted: list[Any]) -> Iterator[Any]:
        assert wanted == []
        return iter(())

    digests = headers
