"""The contract of a MailDestination, as a suite that it passes on every server.

A destination joins by subclassing `DestinationContract` with the fixture `there`: a server with an empty INBOX, a
way to log in to it, and a raw connection. What the server holds is read by that alone.
"""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from archiver.destination.port import MailDestination
from archiver.errors import (
    AuthenticationFailed,
    BackendError,
    ConnectionLost,
    FolderNotFound,
    FolderRefused,
    PermissionDenied,
)
from archiver.facts.mailbox import Appended, AppendMessage, SelectedFolder
from archiver.mail.dates import internaldate_seconds
from archiver.mail.model import Fetched, Flags
from tests.servers.faultproxy import FaultProxy
from tests.servers.served import ServedFolder, dump
from tests.servers.wire import DATE, Append, Wire, append, wire_name

SYSTEM_FLAGS = frozenset({"\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen"})
ODD = b"Subject: odd \xe9\xff\r\n\r\n" + bytes(range(256)) + b"\r\rtwo\n\nthree\r\n\r\nno end"
PASSWORD = "not the pässword"

_MB = 1 << 20
_PIECE = 64 << 10
_HELD_AT_MOST = 2 * _MB  # of a message that is sent in pieces

Kept = tuple[str, Flags, int | None]
"""A message as a server keeps it: digest, flags, and the moment of INTERNALDATE."""


@dataclass(frozen=True)
class There:
    """A server to replay to, and what it does its own way.

    `open` logs in at `port`, or at another one, with the right password or another one. `prefix` stands before the
    names of all folders but INBOX. `unnameable` are names that it makes no folder of, `odd_names` are some that it
    does. `odd` are octets that it takes, and `given_back` is what it makes of them. `unwanted` is a message that it
    refuses. `apart`: it is a process of its own.
    """

    open: Callable[..., MailDestination]
    wire: Callable[[], Wire]
    port: int
    unwanted: Append
    unnameable: Sequence[bytes]
    odd_names: Sequence[bytes]
    odd: bytes = ODD
    given_back: bytes = ODD
    prefix: bytes = b""
    delimiter: str = "/"
    special_use: bool = False
    any_keyword: bool = True
    apart: bool = True

    def name(self, path: str) -> bytes:
        """The name on the wire of a path with "/" between levels."""
        return self.prefix + wire_name(path.replace("/", self.delimiter))

    def holds(self) -> dict[bytes, ServedFolder]:
        """All that it serves."""
        return dump(self.wire())

    def kept(self, folder: bytes = b"INBOX") -> list[Kept]:
        """What is in a folder, in the order of its UIDs."""
        messages = self.holds()[folder].messages
        return [
            (each.digest, each.flags - {"\\Recent"}, internaldate_seconds(each.internaldate))
            for _, each in sorted(messages.items())
        ]

    def digests(self, folder: bytes = b"INBOX") -> list[str]:
        return [digest for digest, _, _ in self.kept(folder)]

    def uids(self, folder: bytes = b"INBOX") -> list[int]:
        return sorted(self.holds()[folder].messages)

    def put(self, *messages: Append, folder: bytes = b"INBOX") -> None:
        """Mail that somebody else delivers."""
        with self.wire() as wire:
            append(wire, folder, messages, multi=False)
            wire.logout()

    def command(self, *lines: bytes) -> None:
        with self.wire() as wire:
            for line in lines:
                wire.command(line)
            wire.logout()


def message(number: int, *, octets: int = 0) -> bytes:
    """A message of its own."""
    head = f"From: a@example.org\r\nSubject: {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n".encode()
    return head + b"body of it\r\n" + (b"x" * 70 + b"\r\n") * (octets // 72)


def digest_of(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def letter(octets: bytes, flags: Iterable[str] = (), internaldate: str = DATE) -> AppendMessage:
    return AppendMessage(frozenset(flags), internaldate, len(octets), lambda: [octets])


def letter_of(message: Append) -> AppendMessage:
    return letter(message.octets, message.flags, message.internaldate)


def as_kept(message: Append) -> Kept:
    """The message as it should be kept."""
    return digest_of(message.octets), frozenset(message.flags), internaldate_seconds(message.internaldate)


def appended(destination: MailDestination, *letters: AppendMessage) -> list[Appended]:
    """The answers to one group."""
    destination.begin_append(letters)
    return list(destination.end_append())


def arrived(destination: MailDestination, *letters: AppendMessage) -> list[int]:
    """Send one group; the UIDs of all that is shown then."""
    assert all(answer.ok for answer in appended(destination, *letters))
    return sorted(destination.list_since(1))


class LargeLetter:
    """A letter of many MB that is never in memory as a whole. `opened` counts how often it was read."""

    def __init__(self, octets: int) -> None:
        self.opened = 0
        self._count = octets // _PIECE
        digest, size = hashlib.sha256(), 0
        for piece in self._pieces():
            digest.update(piece)
            size += len(piece)
        self.digest = digest.hexdigest()
        self.letter = AppendMessage(frozenset({"\\Seen"}), DATE, size, self._opened)

    def _opened(self) -> Iterable[bytes]:
        self.opened += 1
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        yield message(1)
        for number in range(self._count):
            line = f"piece {number} ".encode().ljust(62, b".") + b"\r\n"
            yield line * (_PIECE // len(line))


class DestinationContract:
    """What a replay relies on."""

    @pytest.fixture
    def there(self) -> There:
        raise NotImplementedError

    @pytest.fixture
    def destination(self, there: There) -> Iterator[MailDestination]:
        destination = there.open()
        yield destination
        destination.close()

    @pytest.fixture
    def inbox(self, destination: MailDestination) -> SelectedFolder:
        """The INBOX, open for writing."""
        return destination.open(b"INBOX")

    # Folders

    def test_folders_are_listed_without_their_prefix(self, there: There, destination: MailDestination) -> None:
        destination.create(there.name("Work/Ærø & Co"), None)
        there.put(Append(message(1)), folder=there.name("Work/Ærø & Co"))

        reported = destination.list_folders()

        found = {each.folder.name: each for each in reported.listed}
        assert (reported.prefix, reported.delimiter) == (there.prefix, there.delimiter)
        assert {"INBOX", "Work", "Work/Ærø & Co"} <= found.keys()
        assert found["Work/Ærø & Co"].folder.raw == there.name("Work/Ærø & Co")
        status = found["Work/Ærø & Co"].status
        assert status is not None
        assert status.messages == 1

    def test_a_folder_is_made(self, there: There, destination: MailDestination) -> None:
        destination.create(there.name("Äpfel"), None)

        assert there.name("Äpfel") in there.holds()

    def test_a_folder_below_others_is_made(self, there: There, destination: MailDestination) -> None:
        destination.create(there.name("One/Two/Three"), None)

        assert there.name("One/Two/Three") in there.holds()
        assert destination.open(there.name("One/Two/Three")).messages == 0

    def test_a_folder_is_made_above_another(self, there: There, destination: MailDestination) -> None:
        destination.create(there.name("One/Two"), None)
        destination.create(there.name("One"), None)

        assert {there.name("One"), there.name("One/Two")} <= there.holds().keys()

    def test_a_folder_that_is_there_is_left_as_it_is(self, there: There, destination: MailDestination) -> None:
        destination.create(there.name("Work"), None)
        there.put(Append(message(1)), folder=there.name("Work"))
        before = there.holds()

        for use in (None, "\\sent"):
            destination.create(there.name("Work"), use)
        destination.create(b"INBOX", None)

        after = there.holds()
        assert after.keys() == before.keys()
        assert after[there.name("Work")] == before[there.name("Work")]

    def test_a_folder_with_a_special_use(self, there: There, destination: MailDestination) -> None:
        destination.create(there.name("Gesendet"), "\\sent")

        made = next(each.folder for each in destination.list_folders().listed if each.folder.name == "Gesendet")
        assert made.special_use == ("\\sent" if there.special_use else None)

    def test_a_special_use_that_is_not_to_be_had_keeps_no_folder_out(
        self, there: There, destination: MailDestination
    ) -> None:
        destination.create(there.name("Gesendet"), "\\sent")
        destination.create(there.name("Sent"), "\\sent")
        destination.create(there.name("Wichtig"), "\\important")

        assert {there.name("Sent"), there.name("Wichtig")} <= there.holds().keys()

    def test_a_name_it_does_not_want_is_refused(self, there: There, destination: MailDestination) -> None:
        before = there.holds().keys()

        for raw in there.unnameable:
            with pytest.raises(FolderRefused) as caught:
                destination.create(raw, "\\sent")
            assert caught.value.server_reply
            assert caught.value.hint
        destination.create(there.name("Work"), None)

        assert there.holds().keys() == before | {there.name("Work")}

    def test_many_folders_are_made_at_once(self, there: There, destination: MailDestination) -> None:
        """Some are refused, some are there; none of that keeps out the others."""
        destination.create(there.name("Work"), None)
        good = [there.name(path) for path in ("Work", "A", "A/B", "A/B/Ærø", "Sent", *(f"F{n}" for n in range(15)))]
        wanted = [raw for each in (*good, *there.odd_names) for raw in (each, *there.unnameable)]
        uses = {there.name("Sent"): "\\sent", there.name("A"): "\\important"}

        made = list(destination.create_all([(raw, uses.get(raw)) for raw in wanted]))

        assert [raw for raw, _ in made] == wanted
        assert {raw for raw, refused in made if refused is None} == {*good, *there.odd_names}
        assert {raw for raw, refused in made if isinstance(refused, FolderRefused)} == set(there.unnameable)
        assert there.holds().keys() == {b"INBOX", *good, *there.odd_names}
        assert list(destination.create_all([])) == []

    def test_odd_names_are_names(self, there: There, destination: MailDestination) -> None:
        for number, raw in enumerate(there.odd_names):
            destination.create(raw, None)
            destination.subscribe([raw])
            destination.open(raw)
            appended(destination, letter(message(number)))

        assert [there.digests(raw) for raw in there.odd_names] == [
            [digest_of(message(number))] for number in range(len(there.odd_names))
        ]
        listed = {each.folder.raw: each.folder.subscribed for each in destination.list_folders().listed}
        assert [listed[raw] for raw in there.odd_names] == [True] * len(there.odd_names)

    def test_a_folder_is_renamed_with_all_in_it_and_below_it(
        self, there: There, destination: MailDestination
    ) -> None:
        old, new = there.name("Old"), there.name("New")
        destination.create_all([(old, None)])
        for name in (old, there.name("Old/below")):
            destination.create(name, None)
        there.put(Append(message(1), ("\\Flagged",)), Append(message(2)), folder=old)
        there.put(Append(message(3)), folder=there.name("Old/below"))
        kept = there.kept(old)
        destination.open(old)
        for _ in range(2):  # the second time it is done already
            destination.rename(old, new)
            assert there.kept(new) == kept
            assert there.digests(there.name("New/below")) == [digest_of(message(3))]
            assert old not in there.holds()
        assert destination.open(new).messages == 2

    def test_a_folder_is_not_renamed_where_that_cannot_be(self, there: There, destination: MailDestination) -> None:
        old, new = there.name("Old"), there.name("New")
        for name in (old, new):
            destination.create(name, None)
        there.put(Append(message(1)), folder=old)
        for name, to in ((old, new), (there.name("nowhere"), there.name("Other"))):
            with pytest.raises(FolderRefused):
                destination.rename(name, to)
        assert (there.digests(old), there.digests(new)) == ([digest_of(message(1))], [])

    def test_folders_are_subscribed(self, there: There, destination: MailDestination) -> None:
        for name in ("Work", "Play"):
            destination.create(there.name(name), None)

        destination.subscribe([there.name("Nowhere"), there.name("Work")])

        subscribed = {each.folder.name: each.folder.subscribed for each in destination.list_folders().listed}
        assert (subscribed["Work"], subscribed["Play"]) == (True, False)

    # Opening

    def test_an_opened_folder_reports_its_state(self, there: There, destination: MailDestination) -> None:
        there.put(*(Append(message(number)) for number in range(3)))
        for readonly in (False, True):
            opened = destination.open(b"INBOX", readonly=readonly)

            served = there.holds()[b"INBOX"]
            assert (opened.uidvalidity, opened.messages) == (served.uidvalidity, 3)
            assert opened.uidnext == max(served.messages) + 1

    def test_an_empty_folder_reports_its_state(self, there: There, destination: MailDestination) -> None:
        destination.create(there.name("Empty"), None)
        opened = destination.open(there.name("Empty"))
        appended(destination, letter(message(1)))

        assert opened.messages == 0
        assert there.uids(there.name("Empty")) == [opened.uidnext]

    def test_an_opened_folder_reports_which_flags_it_keeps(self, there: There, inbox: SelectedFolder) -> None:
        assert inbox.kept(SYSTEM_FLAGS) == SYSTEM_FLAGS
        assert inbox.kept(frozenset({"$Forwarded"})) == ({"$Forwarded"} if there.any_keyword else frozenset())

    def test_reading_changes_nothing(self, there: There, destination: MailDestination) -> None:
        there.put(Append(message(1)), Append(message(2), ("\\Flagged",)))
        before = there.holds()

        destination.open(b"INBOX", readonly=True)
        uids = destination.uids()
        assert len(list(destination.fetch(sorted(uids)))) == 2
        assert destination.list_since(1).keys() == destination.flags(uids).keys() == uids
        destination.list_folders()
        destination.close()

        assert there.holds() == before

    def test_a_folder_that_is_not_there_is_only_its_own_failure(
        self, there: There, destination: MailDestination
    ) -> None:
        for readonly in (False, True):
            with pytest.raises(FolderNotFound):
                destination.open(there.name("Nowhere"), readonly=readonly)
        assert destination.open(b"INBOX").messages == 0
        assert all(answer.ok for answer in appended(destination, letter(message(1))))

    def test_later_calls_speak_of_the_folder_opened_last(self, there: There, destination: MailDestination) -> None:
        destination.create(there.name("Work"), None)
        destination.open(b"INBOX")
        arrived(destination, letter(message(1)), letter(message(2)))
        destination.open(there.name("Work"))
        uids = arrived(destination, letter(message(3)))

        assert len(uids) == 1
        assert destination.uids() == destination.flags(range(1, 1000)).keys() == set(uids)
        assert there.digests(there.name("Work")) == [digest_of(message(3))]

    # Sending

    def test_octets_are_sent_as_they_are(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        (answer,) = appended(destination, letter(there.odd))

        assert answer.ok
        assert there.digests() == [digest_of(there.given_back)]

    def test_pieces_add_up_to_the_message(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        octets = there.odd
        single = AppendMessage(
            frozenset(), DATE, len(octets), lambda: (octets[i : i + 1] for i in range(len(octets)))
        )
        with_empty_ones = AppendMessage(
            frozenset(), DATE, len(octets), lambda: [b"", octets[:20], b"", octets[20:], b""]
        )

        appended(destination, single, with_empty_ones)

        assert there.digests() == [digest_of(there.given_back)] * 2

    def test_flags_and_dates_are_kept(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        flags = (("\\Seen",), ("\\Flagged", "\\Answered", "\\Draft", "\\Deleted"), ("$Forwarded", "\\Seen"), ())
        dates = (
            *("05-Feb-1999 10:11:12 +0330", " 3-Jan-1970 00:00:00 -1200", "31-Dec-2019 23:59:59 +1400"),
            "29-Feb-2024 12:00:00 +0000",
        )
        messages = [Append(message(number), *rest) for number, rest in enumerate(zip(flags, dates, strict=True), 1)]

        appended(destination, *map(letter_of, messages))

        assert there.kept() == [as_kept(each) for each in messages]

    def test_many_are_answered_and_kept_in_their_order(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        octets = [message(number, octets=100 * number) for number in range(100)]

        answers = appended(destination, *map(letter, octets))

        assert {answer.ok for answer in answers} == {True}
        assert sum(answer.count for answer in answers) == 100
        assert there.digests() == list(map(digest_of, octets))

    def test_uids_that_are_reported_are_the_messages(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        there.put(Append(message(1)))

        answers = appended(destination, *(letter(message(number)) for number in range(2, 6)))

        reported = [answer.uids for answer in answers if answer.uids is not None]
        assert reported == [] or {uidvalidity for uidvalidity, _ in reported} == {inbox.uidvalidity}
        assert [uid for _, uids in reported for uid in uids] in ([], there.uids()[1:])
        assert all(len(answer.uids[1]) == answer.count for answer in answers if answer.uids is not None)

    def test_as_many_groups_as_it_says_are_in_flight(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        octets = [message(number, octets=50_000) for number in range(90)]
        waiting = [octets[start : start + 30] for start in range(0, 90, 30)]
        counts: list[int] = []
        begun = 0
        while len(counts) < 3:
            while begun < 3 and begun - len(counts) < destination.most_in_flight:
                destination.begin_append([letter(each) for each in waiting[begun]])
                begun += 1
            counts.append(sum(answer.count for answer in destination.end_append() if answer.ok))

        assert counts == [30, 30, 30]
        assert there.digests() == list(map(digest_of, octets))

    def test_accepted_messages_are_looked_at_while_others_are_on_their_way(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        if destination.most_in_flight == 1:
            pytest.skip("it waits for each answer")
        letters = [letter(message(number, octets=900 + number), {"\\Seen"}) for number in range(6)]
        assert all(answer.ok for answer in appended(destination, *letters[:4]))
        first = there.uids()

        destination.begin_append(letters[4:5])
        destination.begin_look(first)
        destination.begin_append(letters[5:])
        answers = [*destination.end_append()]
        shown = destination.end_look()
        answers += destination.end_append()

        assert [answer.ok for answer in answers] == [True, True]
        assert sorted(shown) == first
        assert [shown[uid].size for uid in first] == [each.size for each in letters[:4]]
        assert all(shown[uid].flags >= {"\\Seen"} for uid in first)
        assert len(destination.list_since(inbox.uidnext)) == 6

    def test_all_messages_of_a_command_are_taken_or_none(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        letters = [letter(message(number)) for number in range(1, 6)]
        letters[2] = letter_of(there.unwanted)

        answers = appended(destination, *letters)

        each = [answer for answer in answers for _ in range(answer.count)]
        assert len(each) == 5
        assert not each[2].ok
        assert each[2].reply[:3].rstrip() in (b"NO", b"BAD")
        assert isinstance(each[2].error, BackendError)
        assert each[2].uids is None
        assert there.digests() == [digest_of(message(number)) for number in (1, 2, 4, 5) if each[number - 1].ok]

    def test_a_refused_message_is_only_its_own_failure(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        """Courier hangs up at the tenth refusal in a row."""
        refused = [answer.ok for _ in range(12) for answer in appended(destination, letter_of(there.unwanted))]
        taken = [answer.ok for answer in appended(destination, letter(message(1)))]

        assert (refused, taken) == ([False] * 12, [True])
        assert there.digests() == [digest_of(message(1))]

    def test_a_large_message_is_sent_in_pieces(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        large = LargeLetter(8 * _MB)
        tracemalloc.start()
        try:
            answers = appended(destination, large.letter)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert [answer.ok for answer in answers] == [True]
        assert there.digests() == [large.digest]
        assert large.opened == 1
        if there.apart:
            assert most < _HELD_AT_MOST

    def test_a_large_message_among_small_ones(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        large = LargeLetter(3 * _MB)

        answers = appended(destination, letter(message(1)), large.letter, letter(message(2)))

        assert sum(answer.count for answer in answers if answer.ok) == 3
        assert there.digests() == [digest_of(message(1)), large.digest, digest_of(message(2))]

    # What is there

    def test_nothing_is_shown_where_nothing_is(self, destination: MailDestination, inbox: SelectedFolder) -> None:
        assert destination.list_since(1) == {}
        assert destination.list_since(inbox.uidnext) == {}
        assert destination.uids() == set()

    def test_what_came_since_is_shown(self, there: There, destination: MailDestination) -> None:
        there.put(Append(message(1)))
        opened = destination.open(b"INBOX")
        assert destination.list_since(opened.uidnext) == {}

        new = [Append(message(2), ("\\Seen",), "05-Feb-1999 10:11:12 +0330"), Append(message(3), ())]
        appended(destination, *map(letter_of, new))

        shown = destination.list_since(opened.uidnext)
        assert sorted(shown) == there.uids()[1:]
        seen = [shown[uid] for uid in sorted(shown)]
        assert [each.flags for each in seen] == [frozenset(each.flags) for each in new]
        assert [each.size for each in seen] == [len(each.octets) for each in new]
        assert [internaldate_seconds(each.internaldate) for each in seen] == [
            internaldate_seconds(each.internaldate) for each in new
        ]
        assert len(destination.list_since(1)) == 3
        assert destination.list_since(max(shown) + 1) == {}

    def test_all_that_was_taken_is_shown(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        for number in range(3):
            there.put(Append(message(100 + number)))
            letters = [letter(message(2 * number)), letter(message(2 * number + 1))]
            assert all(answer.ok for answer in appended(destination, *letters))

            shown = destination.list_since(inbox.uidnext, taken=2)

            sent = {digest_of(message(each)) for each in range(2 * number + 2)}
            held = {uid: each.digest for uid, each in there.holds()[b"INBOX"].messages.items()}
            assert sent <= {held[uid] for uid in shown}

    def test_the_next_folder_is_opened_along_with_what_is_shown(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        work = there.name("Work")
        destination.create(work, None)
        there.put(Append(message(8)), Append(message(9)), folder=work)
        destination.open(b"INBOX")
        assert appended(destination, letter(message(1)))[0].ok

        assert sorted(destination.list_since(inbox.uidnext, taken=1, then=work)) == there.uids()

        opened = destination.open(work)
        assert (opened.messages, sorted(destination.list_since(1))) == (2, there.uids(work))
        assert opened == destination.open(work)

    def test_until_then_everything_is_about_the_present_one(
        self, there: There, destination: MailDestination
    ) -> None:
        work = there.name("Work")
        destination.create(work, None)
        there.put(Append(message(8)), Append(message(9)), folder=work)
        calls: list[Callable[[list[int]], object]] = [
            lambda uids: destination.store({(frozenset({"\\Flagged"}), frozenset()): uids}),
            lambda uids: [*destination.flags(uids)] == uids,
            lambda uids: [*destination.uids()] == uids,
            lambda uids: [each.uid for each in destination.scan(uids)] == uids,
            lambda uids: len([*destination.fetch(uids)]) == len(uids),
            lambda uids: [*destination.list_since(1)] == uids,
            lambda _: appended(destination, letter(message(1))),
        ]
        for call in calls:
            opened = destination.open(b"INBOX")
            assert all(answer.ok for answer in appended(destination, letter(message(1))))
            uids = sorted(destination.list_since(1, then=work))

            assert call(uids), opened

        assert [flags for _, flags, _ in there.kept(work)] == [frozenset(), frozenset()]
        assert len(there.uids()) == len(calls) + 1

    def test_what_others_brought_is_shown_too(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        appended(destination, letter(message(1)))
        there.put(Append(message(2)))

        assert sorted(destination.list_since(inbox.uidnext)) == there.uids()

    def test_what_was_sent_can_be_read(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        uids = arrived(destination, letter(message(1), ("\\Seen",)), letter(message(2)))

        fetched = {each.attributes.uid: each for each in destination.fetch(uids) if isinstance(each, Fetched)}
        assert [fetched[uid].body.octets for uid in uids] == [message(1), message(2)]
        assert [each.flags for each in sorted(destination.scan(uids), key=lambda each: each.uid)] == [
            {"\\Seen"},
            frozenset(),
        ]
        named = {each.uid: header.strip() for each, header in destination.headers(uids, "MESSAGE-ID")}
        assert [named[uid].lower() for uid in uids] == [
            b"message-id: <1@example.org>",
            b"message-id: <2@example.org>",
        ]
        assert destination.uids() == set(uids)

    # Looking in passing

    def test_several_folders_are_examined_together(self, there: There, destination: MailDestination) -> None:
        work, nowhere = there.name("Work"), there.name("Nowhere")
        destination.create(work, None)
        there.put(Append(message(1), ("\\Seen",), "05-Feb-1999 10:11:12 +0330"), Append(message(2)))
        there.put(Append(message(3), ("\\Flagged",)), folder=work)
        uids, (other,) = there.uids(), there.uids(work)
        before = there.holds()

        looks = destination.stat([(work, [other]), (nowhere, [1]), (b"INBOX", [uids[0], uids[1] + 50]), (work, [])])

        assert [None if each is None else each.uidvalidity for each in looks] == [
            before[work].uidvalidity,
            None,
            before[b"INBOX"].uidvalidity,
            before[work].uidvalidity,
        ]
        seen = [{row.uid: row for row in each.seen} for each in looks if each is not None]
        assert [sorted(rows) for rows in seen] == [[other], [uids[0]], []]
        row = seen[1][uids[0]]
        assert (row.flags, row.size) == (frozenset({"\\Seen"}), len(message(1)))
        assert internaldate_seconds(row.internaldate) == internaldate_seconds("05-Feb-1999 10:11:12 +0330")
        assert seen[0][other].flags == frozenset({"\\Flagged"})
        assert there.holds() == before

    def test_what_changed_in_a_folder_is_shown_with_how_much_it_holds(
        self, there: There, destination: MailDestination
    ) -> None:
        if not destination.facts.capabilities & {"CONDSTORE", "QRESYNC"}:
            pytest.skip("the server has no HIGHESTMODSEQ")
        there.put(*(Append(message(number)) for number in range(1, 6)))
        first, second, third, *_ = there.uids()
        (status,) = (each.status for each in destination.list_folders().listed if each.folder.raw == b"INBOX")
        assert status is not None
        assert status.highestmodseq is not None

        (looked,) = destination.stat([(b"INBOX", [])], since={b"INBOX": status.highestmodseq})
        assert looked is not None
        assert (looked.messages, looked.seen) == (5, [])

        there.put(Append(message(6)))
        there.command(
            b"SELECT INBOX",
            b"UID STORE %d +FLAGS (\\Flagged)" % second,
            b"UID STORE %d +FLAGS (\\Deleted)" % third,
            b"UID EXPUNGE %d" % third,
        )
        (looked,) = destination.stat([(b"INBOX", [first])], since={b"INBOX": status.highestmodseq})

        assert looked is not None
        assert looked.messages == 5
        assert {row.uid for row in looked.seen} == {first, second, there.uids()[-1]}
        assert {row.flags for row in looked.seen if row.uid == second} == {frozenset({"\\Flagged"})}

    def test_looking_disturbs_nothing(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        destination.create(there.name("Work"), None)
        assert destination.stat([]) == []
        (looked,) = destination.stat([(there.name("Work"), range(1, 3000, 2))])
        assert looked is not None
        assert looked.seen == []

        destination.open(b"INBOX")
        (uid,) = arrived(destination, letter(message(1)))
        assert destination.store({(frozenset({"\\Seen"}), frozenset()): [uid]}) == {uid: {"\\Seen"}}

    # Flags

    def test_flags_are_added_and_removed(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        uids = arrived(destination, *(letter(message(number), ("\\Seen",)) for number in range(4)))
        seen, flagged = frozenset({"\\Seen"}), frozenset({"\\Flagged", "\\Answered"})
        changes = {(flagged, seen): [uids[0]], (flagged, frozenset()): uids[1:3]}

        shown = destination.store(changes)

        expected = [flagged, flagged | seen, flagged | seen, seen]
        assert shown == dict(zip(uids[:3], expected[:3], strict=True))
        assert [flags for _, flags, _ in there.kept()] == expected

    def test_keywords_are_added_and_removed(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        keywords = inbox.kept(frozenset({"$Forwarded", "work"}))
        (uid,) = arrived(destination, letter(message(1), ("\\Seen",)))

        assert destination.store({(keywords, frozenset()): [uid]}) == {uid: keywords | {"\\Seen"}}
        assert destination.store({(frozenset(), keywords - {"work"}): [uid]}) == {
            uid: keywords & {"work"} | {"\\Seen"}
        }

    def test_a_flag_that_it_does_not_take_keeps_out_no_other(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        uids = arrived(destination, letter(message(1)), letter(message(2)))

        shown = destination.store({(frozenset({"\\Flagged", "\\Nonsense"}), frozenset()): uids})

        assert [shown[uid] - {"\\Nonsense"} for uid in uids] == [{"\\Flagged"}] * 2

    def test_flags_of_what_is_gone_are_not_shown(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        (uid,) = arrived(destination, letter(message(1), ("\\Flagged",)))
        asked = {uid, uid + 1, uid + 1000}

        assert destination.flags(asked) == {uid: {"\\Flagged"}}
        assert destination.store({(frozenset({"\\Seen"}), frozenset()): asked}) == {uid: {"\\Flagged", "\\Seen"}}
        assert destination.flags([]) == destination.store({}) == {}

    def test_flags_of_very_many(self, there: There, destination: MailDestination, inbox: SelectedFolder) -> None:
        uids = arrived(destination, *(letter(message(number)) for number in range(500)))
        seen = frozenset({"\\Seen"})

        shown = destination.store({(seen, frozenset()): uids[::2]})

        assert shown == dict.fromkeys(uids[::2], seen)
        assert [flags for _, flags, _ in there.kept()] == [seen, frozenset()] * 250

    # Removing

    def test_only_what_is_named_is_removed(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        uids = arrived(destination, *(letter(message(number), ("\\Deleted",)) for number in range(4)))
        if destination.can_expunge:
            destination.expunge(uids[1:3])
            assert there.uids() == [uids[0], uids[3]]
            assert destination.flags(uids).keys() == {uids[0], uids[3]}
        else:
            with pytest.raises(PermissionDenied):
                destination.expunge(uids[1:3])
            assert there.uids() == uids

    def test_what_is_not_marked_is_not_removed(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        uids = arrived(destination, letter(message(1)), letter(message(2), ("\\Deleted",)))
        if destination.can_expunge:
            destination.expunge([*uids, max(uids) + 1000])
            assert there.uids() == uids[:1]

    def test_nothing_is_removed_by_the_way(
        self, there: There, destination: MailDestination, inbox: SelectedFolder
    ) -> None:
        """CLOSE would expunge."""
        destination.create(there.name("Work"), None)
        appended(destination, letter(message(1), ("\\Deleted",)))
        destination.open(there.name("Work"))
        destination.open(b"INBOX")
        destination.close()

        assert len(there.uids()) == 1

    # The line

    @pytest.mark.parametrize("octets", [700, 40_000, 250_000])
    def test_a_connection_that_is_cut_is_lost(
        self, there: There, proxy: Callable[..., FaultProxy], octets: int
    ) -> None:
        """Somewhere in the middle of twenty messages: what arrived are whole ones, and the first ones."""
        line = proxy(there.port, close_after=octets, direction="up")
        sent = [message(number, octets=15_000) for number in range(20)]
        destination = there.open(port=line.port)
        destination.open(b"INBOX")

        with pytest.raises(ConnectionLost):
            appended(destination, *map(letter, sent))
        with pytest.raises(ConnectionLost):
            destination.list_since(1)
        destination.close()

        arrived = there.digests()
        assert arrived == list(map(digest_of, sent))[: len(arrived)]
        assert len(arrived) < 20

    def test_a_connection_that_is_cut_before_the_answer_is_lost(
        self, there: There, proxy: Callable[..., FaultProxy]
    ) -> None:
        line = proxy(there.port)
        destination = there.open(port=line.port)
        destination.open(b"INBOX")
        line.close_after = line.octets["down"] + 10

        with pytest.raises(ConnectionLost):
            appended(destination, letter(message(1)))
        destination.hang_up()

    def test_a_password_is_in_no_error(self, there: There) -> None:
        with pytest.raises(AuthenticationFailed) as caught:
            there.open(password=PASSWORD)

        said = f"{caught.value} {caught.value!r} {caught.value.server_reply} {caught.value.hint}"
        assert not any(answer in said for answer in (PASSWORD, "pässword", PASSWORD.encode().decode("latin-1")))

    def test_closing_twice_is_fine(self, there: There) -> None:
        for order in ("cc", "ch", "hc", "hh"):
            destination = there.open()
            destination.open(b"INBOX")
            for step in order:
                (destination.close if step == "c" else destination.hang_up)()
