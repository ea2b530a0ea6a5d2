"""Which messages at a destination are messages of the archive, by the octets that it gives back."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, cast

import pytest
from msgspec.structs import replace

from archiver.errors import IntegrityError
from archiver.facts.outgoing import Outgoing
from archiver.mail.content import body_of, message_id
from archiver.mail.dates import internaldate_seconds
from archiver.mail.fingerprint import fingerprint_of
from archiver.mail.model import Attributes, Body, Fetched, Placement, StoredMessage, Undelivered
from archiver.mail.reader import MailReader
from archiver.replay.context import ReplayContext, ReplayJob
from archiver.replay.send.match import MessageMatcher, RecognisedMessage, UnclaimedMessages, fingerprint_of_fetched
from tests.accounts import UNSTOPPED

DATE = "05-Feb-1999 10:11:12 +0330"
LATER = "06-Feb-1999 10:11:12 +0330"


def mail(number: int, body: str = "body", *, name: str | None = "") -> bytes:
    """A message; its Message-ID follows from its number, unless it has another or none."""
    identity = "" if name is None else f"Message-ID: <{name or number}@example.org>\r\n"
    return f"From: a@example.org\r\nSubject: {number}\r\n{identity}\r\n{body} {number}\r\n".encode()


@dataclass
class Shelf:
    """A folder in memory, by UID, and the octets of the archive's messages; `fetched` are the UIDs that were asked
    for."""

    folder: dict[int, tuple[bytes, str | None]] = field(default_factory=dict)
    archive: dict[str, bytes] = field(default_factory=dict)
    fetched: list[int] = field(default_factory=list)
    undelivered: set[int] = field(default_factory=set)
    damage: list[IntegrityError] = field(default_factory=list)
    looks: int = 0

    # The folder

    def fetch(self, uids: Sequence[int]) -> Iterator[Fetched | Undelivered]:
        for uid in reversed(uids):
            self.fetched.append(uid)
            if uid in self.undelivered:
                yield Undelivered(uid, "no body")
            else:
                yield Fetched(self._seen(uid), body_of(self.folder[uid][0]))

    def headers(self, uids: Collection[int], name: str | None = None) -> Iterator[tuple[Attributes, bytes]]:
        self.looks += 1
        assert name == "MESSAGE-ID"
        for uid in self.folder:  # unsolicited rows, too
            found = message_id(self.folder[uid][0])
            yield self._seen(uid), f"Message-ID: {found}\r\n\r\n".encode() if found else b"\r\n"

    def _seen(self, uid: int) -> Attributes:
        octets, date = self.folder[uid]
        return Attributes(uid, frozenset({"\\Seen"}), date, len(octets))

    def holds(
        self, messages: Iterable[bytes], date: str | None = DATE, *, first: int = 100
    ) -> dict[int, Attributes]:
        """Put messages there, the first at this UID; what the server shows of them."""
        uids = range(first, first + 1000)
        self.folder |= {uid: (octets, date) for uid, octets in zip(uids, messages, strict=False)}
        return {uid: self._seen(uid) for uid in self.folder}

    # The archive

    def open(self, placement: Placement) -> BinaryIO:
        if placement.digest not in self.archive:
            raise IntegrityError("it is not there")
        return io.BytesIO(self.archive[placement.digest])

    def outgoing(self, uid: int, octets: bytes, date: str = DATE) -> Outgoing:
        """A message of the archive, to be sent or sent already."""
        body = body_of(octets)
        self.archive[body.digest] = octets
        arrived = internaldate_seconds(date) or 0
        bare = StoredMessage.bare(uid, body.digest, body.size, body.crlf_size, arrived)
        message = replace(bare, internaldate=date, message_id=message_id(octets))
        return Outgoing(1, Placement("INBOX", 7, 1, message))

    # The step

    def matcher(self, job: ReplayJob | None = None, *, repairs: Collection[str] = ()) -> MessageMatcher:
        context = SimpleNamespace(store=self, repairs=repairs, control=UNSTOPPED, damaged=self.damage.append)
        return MessageMatcher(self.reader, cast(ReplayContext, context), job or a_job())

    @property
    def reader(self) -> MailReader:
        return cast(MailReader, self)


def a_job() -> ReplayJob:
    return ReplayJob(b"INBOX", "INBOX", (1,), None, None)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


# What we sent


def test_what_arrived_is_known_by_its_octets(shelf: Shelf) -> None:
    sent = [shelf.outgoing(number, mail(number)) for number in (1, 2, 3)]
    seen = shelf.holds([mail(3), mail(9), mail(1)])

    assert shelf.matcher().sent(sent, seen) == {
        (1, 3): RecognisedMessage(seen[100], "exact"),
        (1, 1): RecognisedMessage(seen[102], "exact"),
    }


def test_equal_messages_stay_as_many_as_they_are(shelf: Shelf) -> None:
    sent = [shelf.outgoing(uid, mail(1)) for uid in (1, 2, 3)]
    seen = shelf.holds([mail(1), mail(1)])

    assert shelf.matcher().sent(sent, seen) == {
        (1, 1): RecognisedMessage(seen[100], "exact"),
        (1, 2): RecognisedMessage(seen[101], "exact"),
    }


def test_of_equal_messages_the_one_of_the_same_moment_is_taken(shelf: Shelf) -> None:
    sent = [shelf.outgoing(1, mail(1), LATER), shelf.outgoing(2, mail(1), DATE)]
    seen = shelf.holds([mail(1)], DATE) | shelf.holds([mail(1)], LATER, first=200)

    found = shelf.matcher().sent(sent, seen)

    assert {key: one.seen.uid for key, one in found.items()} == {(1, 1): 200, (1, 2): 100}


def test_what_the_destination_wrote_in_its_own_way_is_known_too(shelf: Shelf) -> None:
    """Dovecot and Courier; Gmail; and, where the moment is the same, one that rewrote the whole body."""
    sent = [shelf.outgoing(number, mail(number, "bo\0dy\rno end").rstrip()) for number in (1, 2, 3, 4)]
    shelf.holds([mail(1, "bo\x80dyno end"), mail(2, "bo\0dy\rno end").rstrip().replace(b": ", b":  ")])
    shelf.holds([mail(3, "another body")], first=200)
    seen = shelf.holds([mail(4, "another body")], LATER, first=300)
    shelf.folder[100] = (shelf.folder[100][0].replace("\x80".encode(), b"\x80"), DATE)

    found = shelf.matcher().sent(sent, seen)

    assert {key: (one.seen.uid, one.how) for key, one in found.items()} == {
        (1, 1): (100, "line-ends"),
        (1, 2): (101, "headers"),
        (1, 3): (200, "other"),
    }


def test_what_was_sent_repaired_is_as_sure_as_what_was_not(shelf: Shelf) -> None:
    """In whatever forms it may have been sent, whether we would send it so today or not."""
    octets = b"Subject: 1\r\n\r\nNUL \0\r\n" + b"x" * 1500 + b"\r\n"
    sent = [shelf.outgoing(1, octets)]
    repaired = b"Subject: 1\r\n\r\nNUL \r\n" + b"x" * 998 + b"\r\n" + b"x" * 502 + b"\r\n"
    seen = shelf.holds([repaired], LATER)

    (one,) = shelf.matcher().sent(sent, seen).values()

    assert (one.how, one.repaired) == ("exact", ("long-lines", "nul"))
    assert one.sent_digest == body_of(repaired).digest


def test_the_true_octets_are_preferred_to_repaired_ones(shelf: Shelf) -> None:
    octets = b"Subject: 1\n\nbody\n"
    seen = shelf.holds([octets.replace(b"\n", b"\r\n"), octets])

    found = shelf.matcher().sent([shelf.outgoing(1, octets)], seen)

    assert found == {(1, 1): RecognisedMessage(seen[101], "exact")}


def test_nothing_is_fetched_for_nothing(shelf: Shelf) -> None:
    seen = shelf.holds([mail(1)])

    assert shelf.matcher().sent([], seen) == {}
    assert shelf.matcher().sent([shelf.outgoing(1, mail(1))], []) == {}
    assert shelf.matcher().match_levels({}) == {}
    assert shelf.fetched == []


def test_what_was_fetched_once_is_not_fetched_again(shelf: Shelf) -> None:
    """Not even over another connection."""
    job = a_job()
    seen = shelf.holds(map(mail, (1, 2, 3)))
    sent = [shelf.outgoing(number, mail(number)) for number in (7, 8, 3)]
    shelf.matcher(job).sent(sent[:1], [100, 101])

    found = shelf.matcher(job).sent(sent, seen)

    assert sorted(shelf.fetched) == [100, 101, 102]
    assert {key: one.seen.uid for key, one in found.items()} == {(1, 3): 102}
    assert sorted(job.fetched) == [100, 101]  # which belong to no copy yet
    assert job.steps == 3


def test_only_those_that_are_asked_for_are_taken(shelf: Shelf) -> None:
    job = a_job()
    shelf.holds([mail(1), mail(1)])
    sent = [shelf.outgoing(1, mail(1))]
    shelf.matcher(job).sent([shelf.outgoing(9, mail(9))], [100, 101])

    (one,) = shelf.matcher(job).sent(sent, [101]).values()

    assert one.seen.uid == 101


def test_what_is_not_delivered_is_not_known(shelf: Shelf) -> None:
    seen = shelf.holds([mail(1), mail(2)])
    shelf.undelivered = {100}
    sent = [shelf.outgoing(number, mail(number)) for number in (1, 2)]

    assert list(shelf.matcher().sent(sent, seen)) == [(1, 2)]


def test_what_the_archive_lost_is_reported_and_stops_nothing(shelf: Shelf) -> None:
    seen = shelf.holds([mail(1), mail(2)])
    sent = [shelf.outgoing(number, mail(number)) for number in (1, 2)]
    del shelf.archive[sent[0].placement.digest]

    assert list(shelf.matcher().sent(sent, seen)) == [(1, 2)]
    assert [str(each) for each in shelf.damage] == ["it is not there"]


# What others brought


def test_what_others_brought_is_known_by_its_octets_alone(shelf: Shelf) -> None:
    """Mail of the same header and moment may be other mail."""
    sent = [shelf.outgoing(number, mail(number)) for number in (1, 2, 3)]
    shelf.holds([mail(1, "another body")])
    seen = shelf.holds([mail(2).replace(b"\r\n", b"\n"), mail(3)], LATER, first=200)

    found = shelf.matcher().match_unclaimed(sent, seen)

    assert {key: (one.seen.uid, one.how) for key, one in found.items()} == {
        (1, 2): (200, "line-ends"),
        (1, 3): (201, "exact"),
    }


def test_what_others_brought_repaired_is_known_as_far_as_we_may_repair(shelf: Shelf) -> None:
    octets = b"Subject: 1\r\n\r\nNUL \0 here\r\n"
    sent = [shelf.outgoing(1, octets)]
    seen = shelf.holds([octets.replace(b"\0", b"")])

    assert shelf.matcher(repairs=["crlf"]).match_unclaimed(sent, seen) == {}
    (one,) = shelf.matcher(repairs=["nul"]).match_unclaimed(sent, seen).values()
    assert (one.how, one.repaired) == ("exact", ("nul",))


# What must be ours


def test_copies_are_compared_with_what_was_sent(shelf: Shelf) -> None:
    job = a_job()
    shelf.holds([mail(1), mail(2).replace(b"\r\n", b"\n"), mail(9), mail(4)])
    shelf.undelivered = {103}
    pairs = {uid: shelf.outgoing(number, mail(number)) for uid, number in ((100, 1), (101, 2), (102, 3), (103, 4))}

    assert shelf.matcher(job).match_levels(pairs) == {100: "exact", 101: "line-ends", 102: "other"}
    assert job.fetched == {}


def test_a_large_one_leaves_no_spool_file(tmp_path: Path) -> None:
    octets = mail(1, "x" * 3_000_000)
    spool = tmp_path / "spool"
    spool.write_bytes(octets)
    body = body_of(octets)
    fetched = Fetched(Attributes(1), Body(body.digest, body.size, body.crlf_size, body.header, None, spool))

    assert fingerprint_of_fetched(fetched) == fingerprint_of([octets])
    assert not spool.exists()


# Candidates


def candidates(shelf: Shelf, *messages: bytes) -> list[set[int]]:
    unclaimed = UnclaimedMessages(shelf.reader, shelf.folder.keys() - {999})
    return [unclaimed.candidates(shelf.outgoing(number, octets)) for number, octets in enumerate(messages)]


def test_a_message_of_the_same_message_id_is_a_candidate_whatever_its_size(shelf: Shelf) -> None:
    shelf.holds([mail(1), mail(1, "another body"), mail(2)])

    assert candidates(shelf, mail(1), mail(2), mail(3)) == [{100, 101}, {102}, set()]


def test_one_without_a_message_id_is_a_candidate_by_its_size(shelf: Shelf) -> None:
    shelf.holds([mail(1, name=None), mail(2), mail(3, "longer", name=None)])

    assert candidates(shelf, mail(4, name=None), mail(5, "longer", name=None), mail(5, "!", name=None)) == [
        {100},
        {102},
        set(),
    ]


def test_the_size_may_be_that_with_crlf(shelf: Shelf) -> None:
    shelf.holds([mail(1, name=None)])

    assert candidates(shelf, mail(1, name=None).replace(b"\r\n", b"\n")) == [{100}]


def test_two_different_message_ids_are_two_messages_whatever_their_sizes(shelf: Shelf) -> None:
    shelf.holds([mail(1, name="aa")])

    assert candidates(shelf, mail(1, name="bb"), mail(1, "------", name=None)) == [set(), set()]


def test_one_that_lost_its_message_id_there_is_a_candidate_by_its_size(shelf: Shelf) -> None:
    shelf.holds([b"x" * len(mail(1))])

    assert candidates(shelf, mail(1)) == [{100}]


def test_mail_that_was_not_asked_about_is_no_candidate(shelf: Shelf) -> None:
    shelf.holds([mail(1)])
    shelf.holds([mail(1)], first=999)

    assert candidates(shelf, mail(1)) == [{100}]


def test_without_strangers_nothing_is_asked(shelf: Shelf) -> None:
    assert UnclaimedMessages(shelf.reader, set()).candidates(shelf.outgoing(1, mail(1))) == set()
    assert shelf.looks == 0
