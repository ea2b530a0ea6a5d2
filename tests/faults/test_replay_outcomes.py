"""APPENDs whose outcome is unknown, or other than the server says: every message arrives, and once.

The scripted server plays what real ones do at a bad moment: it stores and hangs up, stores late, stores half of a
command, reports wrong UIDs, loses what it took, always hangs up on one message.
"""

from __future__ import annotations

import itertools
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archiver.replay import run as replay_run
from archiver.replay import sync_folder
from archiver.replay.send import append as appending
from archiver.replay.send import prepare
from pipelines.stop import STOP
from tests.accounts import RunResult, archive_of, mail, run
from tests.faults.replays import Mailbox, archived, migration, scripted_mailbox, settle_within
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    MINIMAL,
    STALL,
    After,
    Appended,
    Appending,
    End,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)
from tests.servers.scripted_append import AppendUidOddity, refolded, with_final_crlf, without_nul

Abilities = tuple[str, ...]
Answer = Callable[[bytes, bytes, Session], "bytes | After | End | None"]
Octets = Callable[[bytes], bytes]
Start = Callable[..., "Migration"]

ABILITIES = {
    "all extensions": DESTINATION,
    "without UIDPLUS": tuple(word for word in DESTINATION if word != "UIDPLUS"),
    "UIDPLUS alone": (*MINIMAL, "UIDPLUS"),
}
BYE = b"* BYE Invalid character in literal"
POISON = b"Subject: message 13\r\n"


def account() -> list[bytes]:
    """Messages of which some stand twice, some have no Message-ID or one of another message, some are odd."""
    twins = [mail(4), mail(4), mail(5), mail(5), mail(5)]
    namesakes = [mail(7, body=f"body {number}") for number in range(3)]
    nameless = [mail(number, message_id=False) for number in range(200, 204)]
    odd = [
        b"Subject: \0 in the header\r\nMessage-ID: <nul@example.org>\r\n\r\nand \0 in the body\r\n",
        b"Subject: bare line feeds\n\nhere\nand here\r\n",
        b"Subject: folded\r\n   anew  \r\n\r\nand no end",
        b"no header at all\r\n",
        b"\r\n",
    ]
    return [*(mail(number) for number in range(16)), *twins, *namesakes, *nameless, *odd, mail(16)]


def messages(octets: list[bytes]) -> dict[int, ScriptedMessage]:
    return {
        uid: ScriptedMessage(
            each, ("\\Seen", "$a")[: uid % 3], f"{uid % 28 + 1:02}-Mar-2021 {uid % 24:02}:15:{uid % 60:02} +0530"
        )
        for uid, each in enumerate(octets, 1)
    }


def other_mail(size: int = 0) -> ScriptedMessage:
    """What is delivered in between."""
    octets = b"Subject: other\r\n\r\n"
    return ScriptedMessage(octets.ljust(size, b"x"), (), f"{datetime.now(UTC):%d-%b-%Y %H:%M:%S +0000}")


@dataclass
class Migration:
    """An archived account and the server that it is replayed to."""

    config: Path
    source: ScriptedServer
    there: ScriptedServer

    def replay(self, expect: int = 0) -> RunResult:
        return run(self.config, steps="replay", expect=expect)

    @property
    def inbox(self) -> ScriptedFolder:
        return self.there.folders[b"INBOX"]

    @property
    def held(self) -> Mailbox:
        return scripted_mailbox(self.there)

    @property
    def missing(self) -> list[bytes]:
        return list((octets_in(self.source) - octets_in(self.there)).elements())

    @property
    def unexpected(self) -> list[bytes]:
        """What is there and is not of the source, or is there once more."""
        return list((octets_in(self.there) - octets_in(self.source)).elements())

    def assert_once(self, rewrite: Octets = bytes, *, others: int = 0, expect: int = 0) -> None:
        """All of it is there, and `others` as well; another run changes nothing."""
        held, expected = self.held, scripted_mailbox(self.source, rewrite)
        for raw, wanted in expected.items():
            assert wanted - held.get(raw, Counter()) == Counter()
        assert sum(map(Counter.total, held.values())) == sum(map(Counter.total, expected.values())) + others
        before = len(self.there.commands)
        self.replay(expect)
        said = self.there.commands[before:]
        assert not [line for line in said if line.startswith(b"APPEND") or b"STORE" in line]
        assert self.held == held


def octets_in(server: ScriptedServer) -> Counter[bytes]:
    return Counter(message.octets for folder in server.folders.values() for message in folder.messages.values())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small groups and short pauses."""
    monkeypatch.setattr(prepare, "GROUP_MESSAGES", 4)
    monkeypatch.setattr(sync_folder, "BATCH_MESSAGES", 15)
    settle_within(monkeypatch, 0.01)
    pause = STOP.pause
    monkeypatch.setattr(STOP, "pause", lambda seconds: pause(min(seconds, 0.01)))


@pytest.fixture(params=ABILITIES)
def abilities(request: pytest.FixtureRequest) -> Abilities:
    return ABILITIES[request.param]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the account; for all tests of it, each of which takes a copy."""
    return archived(tmp_path_factory.mktemp("archived"), {b"INBOX": ScriptedFolder(1, messages(account()))}).path


@pytest.fixture
def start(scripted: Callable[..., ScriptedServer], tmp_path: Path, archive: Path) -> Start:
    def started(abilities: Abilities = DESTINATION, octets: list[bytes] | None = None, **keys: object) -> Migration:
        source = scripted({b"INBOX": ScriptedFolder(1, messages(octets or account()))})
        there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=abilities, writable=True, users={"u2": "pw"})
        config = migration(tmp_path, source, "u1", there, "u2", **keys)
        if octets is None:
            shutil.copytree(archive, archive_of(config))
        else:
            run(config, steps="archive")
        return Migration(config, source, there)

    return started


def at(numbers: set[int], answer: Answer | After | End) -> Answer:
    """This answer to the APPENDs of these numbers, the usual one to the others."""
    appends = itertools.count()

    def answered(line: bytes, tag: bytes, session: Session) -> bytes | After | End | None:
        if next(appends) not in numbers:
            return None
        return answer(line, tag, session) if callable(answer) else answer

    return answered


def stored_and(end: End) -> Answer:
    """The messages are stored, and then it ends."""

    def answered(_line: bytes, _tag: bytes, session: Session) -> End:
        session.writing.store(session.appended)
        return end

    return answered


def as_exchange(octets: bytes) -> bytes:
    """Headers and bodies become others."""
    return b"X-Added: 1\r\n" + octets.replace(b"This is", b"This was") + b"and a last line\r\n"


LOSSES = {
    "stored": stored_and(DROP),
    "stored, then silence": stored_and(STALL),
    "not stored": DROP,
    "within the OK": After(5),
}


class TestTheConnectionIsLost:
    @pytest.mark.parametrize("loss", LOSSES)
    def test_and_comes_again(self, start: Start, abilities: Abilities, loss: str) -> None:
        migration = start(abilities, destination__read_timeout=0.3)
        migration.there.on(b"APPEND", at({0, 4, 9, 13}, LOSSES[loss]))
        migration.replay()
        migration.assert_once()

    @pytest.mark.parametrize(
        ("abilities", "rewrite"),
        [("all extensions", refolded), ("without UIDPLUS", with_final_crlf), ("UIDPLUS alone", without_nul)],
    )
    def test_where_messages_are_rewritten(self, start: Start, abilities: str, rewrite: Octets) -> None:
        migration = start(ABILITIES[abilities])
        migration.there.appending = Appending(rewrite=rewrite)
        migration.there.on(b"APPEND", at({0, 3, 4, 7}, stored_and(DROP)))
        migration.replay()
        migration.assert_once(rewrite)

    def test_where_headers_and_bodies_become_others(self, start: Start, abilities: Abilities) -> None:
        """As Exchange does it. The Message-ID and the date identify it; what was altered is reported."""

        migration = start(abilities, [mail(number) for number in range(20)])
        migration.there.appending = Appending(rewrite=as_exchange)
        migration.there.on(b"APPEND", at({0, 3, 4}, stored_and(DROP)))
        migration.replay(expect=4)
        migration.assert_once(as_exchange, expect=4)

    def test_and_what_it_brought_is_stored_later(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        """The wait begins with the loss: on a slow line the intent is older than the wait is long."""
        migration = start()
        monkeypatch.undo()
        settle_within(monkeypatch, 1.0)

        def slow_and_late(_line: bytes, _tag: bytes, session: Session) -> End:
            threading.Event().wait(2.1)
            threading.Timer(0.5, session.writing.store, [session.appended]).start()
            return DROP

        migration.there.on(b"APPEND", slow_and_late, times=1)
        migration.replay()
        migration.assert_once()

    def test_and_the_folder_has_other_uids_then(self, start: Start, abilities: Abilities) -> None:
        """What was known of the old ones means nothing any more."""

        def renumbered(line: bytes, tag: bytes, session: Session) -> bytes | After | End | None:
            migration.inbox.uidvalidity += 1
            return stored_and(DROP)(line, tag, session)

        migration = start(abilities)
        migration.there.on(b"APPEND", at({2}, renumbered))
        migration.replay()
        migration.assert_once()

    def test_and_the_folder_has_other_uids_while_it_settles(
        self, start: Start, abilities: Abilities, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The folder's messages are then, in effect, those of another folder."""
        migration = start(abilities)
        settle_within(monkeypatch, 60.0)  # it always has to wait; a pause is as short as ever
        migration.there.on(b"APPEND", at({2}, DROP))
        migration.there.on(b"SELECT", renumbered_at(migration, {2}))
        migration.replay()
        migration.assert_once()

    @pytest.mark.parametrize("fate", ["is stored later", "is never stored"])
    def test_and_the_folder_has_other_uids_and_what_was_sent(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, fate: str
    ) -> None:
        migration = start()
        monkeypatch.undo()
        settle_within(monkeypatch, 2.0)

        late: list[threading.Timer] = []

        def renumbered_and_late(_line: bytes, _tag: bytes, session: Session) -> End:
            migration.inbox.uidvalidity += 1
            if fate == "is stored later":
                late.append(threading.Timer(1.0, session.writing.store, [session.appended]))
                late[0].start()
            return DROP

        migration.there.on(b"APPEND", renumbered_and_late, times=1)
        migration.replay()
        for timer in late:
            timer.join()
        migration.assert_once()

    def test_while_other_mail_arrives(self, start: Start, abilities: Abilities) -> None:
        others = itertools.count()
        migration = start(abilities)
        migration.there.appending = Appending(
            before=lambda folder, _: folder.add(other_mail(50 + next(others))),
            after=lambda folder, sent: folder.add(other_mail(sent[-1].size + 0 * next(others))),
        )
        migration.there.on(b"APPEND", at({1, 2, 5, 11}, stored_and(DROP)))
        migration.replay()
        migration.assert_once(others=next(others))


def renumbered_at(migration: Migration, times: Container[int]) -> Answer:
    """INBOX has another UIDVALIDITY when it is opened for the time of these numbers."""
    opened = itertools.count()

    def answered(line: bytes, _tag: bytes, _session: Session) -> None:
        if b"INBOX" in line and next(opened) in times:
            migration.inbox.uidvalidity += 1

    return answered


class TestAMessageThatBreaksEveryConnection:
    def test_is_refused_and_the_others_arrive(self, start: Start, abilities: Abilities) -> None:
        """Few attempts are enough: to come closer to it is to get on."""
        migration = start(abilities, destination__attempts=2)
        migration.there.appending = hangs_up_on(POISON)
        (failure,) = migration.replay(expect=3).report["failures"]
        assert (failure["folder"], failure["uid"], failure["server_reply"]) == ("INBOX", 14, BYE.decode()[2:])
        assert "the connection broke 3 times at it" in failure["reason"]
        assert (migration.missing, migration.unexpected) == ([mail(13)], [])
        migration.there.appending = Appending()
        migration.replay()
        migration.assert_once()

    def test_without_a_word(self, start: Start) -> None:
        migration = start()
        migration.there.appending = Appending(refuse=lambda message: DROP if POISON in message.octets else None)
        migration.replay(expect=3)
        assert (migration.missing, migration.unexpected) == ([mail(13)], [])

    def test_is_tried_again_behind_all_others(self, start: Start) -> None:
        migration = start()
        migration.there.appending = hangs_up_on(POISON)
        migration.replay(expect=3)
        migration.source.folders[b"INBOX"].add(ScriptedMessage(mail(500)))
        run(migration.config, steps="archive")
        before = len(migration.there.commands)
        migration.replay(expect=3)
        said = [line for line in migration.there.commands[before:] if line.startswith(b"APPEND")]
        assert [b"{%d+}" % len(mail(500)) in line for line in said] == [True, False, False, False]
        assert (migration.missing, migration.unexpected) == ([mail(13)], [])

    def test_is_sent_repaired_where_that_is_allowed(self, start: Start, abilities: Abilities) -> None:
        """Gmail hangs up on a NUL."""
        migration = start(abilities, replay__repair=["nul"])
        migration.there.appending = hangs_up_on(b"\0")
        (loss,) = migration.replay().report["losses"]
        assert (loss["kind"], loss["detail"], loss["count"]) == ("repaired", "nul", 1)
        migration.assert_once(lambda octets: octets.replace(b"\0", b""))

    def test_and_many_others_stop_their_folder_alone(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever is to blame there: what can be done is done."""
        for module in (appending, replay_run):
            monkeypatch.setattr(module, "MOST_BLAMED", 2)
        migration = start()
        migration.source.folders[b"Small"] = ScriptedFolder(2, messages([mail(900)]))
        run(migration.config, steps="archive")
        migration.there.appending = hangs_up_on(b"\r\n", unless=b"message 900")
        failures = migration.replay(expect=3).report["failures"]
        assert Counter(failure["folder"] for failure in failures) == {"INBOX": 3}
        assert octets_in(migration.there) == {mail(900): 1}
        migration.there.appending = Appending()
        migration.replay()
        migration.assert_once()


def hangs_up_on(octets: bytes, unless: bytes = b"\0\0") -> Appending:
    return Appending(refuse=lambda each: BYE if octets in each.octets and unless not in each.octets else None)


class TestRepairedMessages:
    @pytest.mark.parametrize("in_between", ["the connection is lost", "other mail arrives"])
    def test_are_known_again(self, start: Start, abilities: Abilities, in_between: str) -> None:
        migration = start(abilities, replay__repair=["nul", "crlf"])
        repaired = {clean(octets) for octets in account()} - set(account())
        assert len(repaired) == 2
        others = itertools.count()

        def lost(line: bytes, tag: bytes, session: Session) -> bytes | After | End | None:
            octets = {message.octets for message in session.appended} & repaired
            repaired.difference_update(octets)
            return stored_and(DROP)(line, tag, session) if octets else None

        migration.there.appending = Appending(refuse=not_clean)
        if in_between == "the connection is lost":
            migration.there.on(b"APPEND", lost)
        else:
            migration.there.appending.before = lambda folder, _: folder.add(other_mail(60 + next(others)))
        losses = {loss["detail"]: loss["count"] for loss in migration.replay().report["losses"]}
        assert losses in ({"nul": 1, "crlf": 1}, {"nul": 1, "line ends": 1})  # the second cannot be distinguished
        assert not repaired or in_between == "other mail arrives"
        migration.assert_once(clean, others=next(others))


def clean(octets: bytes) -> bytes:
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets.replace(b"\0", b""))


def not_clean(message: Appended) -> bytes | None:
    if b"\0" in message.octets:
        return b"NO Message contains NUL characters"
    return b"NO Message contains bare newlines" if clean(message.octets) != message.octets else None


class TestAnswersThatAreNotTrue:
    @pytest.mark.parametrize("lie", ["missing", "swapped", "wrong-count", "wrong-uids", "wrong-uidvalidity"])
    @pytest.mark.parametrize("abilities", ["all extensions", "UIDPLUS alone"])
    def test_appenduid(self, start: Start, abilities: str, lie: AppendUidOddity) -> None:
        """Alone and while other mail arrives. Every copy is that of its own message: flags that change later go to
        it and to no other."""

        def deliver(folder: ScriptedFolder, sent: list[Appended]) -> None:
            if any(each.octets in (mail(9), mail(10)) for each in sent):
                folder.add(other_mail(sent[0].size))

        migration = start(ABILITIES[abilities])
        migration.there.appending = Appending(appenduid=lie, after=deliver)
        migration.replay()
        for uid, message in migration.source.folders[b"INBOX"].messages.items():
            migration.source.folders[b"INBOX"].mark(uid, (*message.flags, f"was-{uid}"))
        run(migration.config, steps="archive")
        migration.replay()
        others = [each for each in migration.inbox.messages.values() if each.octets.startswith(b"Subject: other")]
        assert not any(each.flags for each in others)
        migration.assert_once(others=len(others))

    @pytest.mark.parametrize("rewrite", [bytes, with_final_crlf], ids=["as it is", "rewritten"])
    @pytest.mark.parametrize("abilities", ["all extensions", "without UIDPLUS", "no extensions"])
    def test_an_ok_to_what_is_not_stored(self, start: Start, abilities: str, rewrite: Octets) -> None:
        """While other mail of its size arrives in its place. It is listed, and arrives when the server is well."""
        lost = {mail(3), mail(9), account()[-2]}
        migration = start({**ABILITIES, "no extensions": MINIMAL}[abilities])
        migration.there.appending = Appending(
            rewrite=rewrite,
            loses=lambda message: message.octets in lost,
            before=lambda folder, sent: [folder.add(other_mail(each.size)) for each in sent if each.octets in lost],
        )
        failures = migration.replay(expect=3).report["failures"]
        assert {failure["reason"] for failure in failures} == {"the destination answered OK but does not show it"}
        assert len(failures) == 3
        migration.there.appending = Appending(rewrite=rewrite)
        migration.replay()
        migration.assert_once(rewrite, others=3)

    @pytest.mark.parametrize("when", ["in a moment", "in the morning"])
    def test_an_ok_to_what_shows_later(
        self, start: Start, abilities: Abilities, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        """Behind others that have higher UIDs. It is not sent once more."""
        late: dict[int, ScriptedMessage] = {}

        def hide(folder: ScriptedFolder, sent: list[Appended]) -> None:
            for uid in [uid for uid, each in folder.messages.items() if each.octets in (mail(3), mail(5))]:
                if uid not in late:
                    late[uid] = folder.messages.pop(uid)
                    if when == "in a moment":
                        threading.Timer(0.3, folder.messages.__setitem__, [uid, late[uid]]).start()

        migration = start(abilities)
        migration.there.appending = Appending(after=hide)
        if when == "in a moment":
            monkeypatch.undo()
            settle_within(monkeypatch, 0.6)
            migration.replay()
        else:
            migration.replay(expect=3)
            migration.inbox.messages.update(late)
            migration.there.appending = Appending()
            migration.replay()
        migration.assert_once()

    def test_an_ok_to_what_shows_later_and_otherwise(self, start: Start) -> None:
        """It is known again as what was sent, though no other mail is recognised on so little evidence."""
        late: dict[int, ScriptedMessage] = {}

        def hide(folder: ScriptedFolder, sent: list[Appended]) -> None:
            if sent[0].octets == mail(0):
                late[1] = folder.messages.pop(1)

        migration = start(octets=[mail(number) for number in range(10)])
        migration.there.appending = Appending(after=hide, rewrite=as_exchange)
        migration.replay(expect=4)
        migration.inbox.messages.update(late)
        migration.there.appending = Appending(rewrite=as_exchange)
        migration.replay(expect=4)
        migration.assert_once(as_exchange, expect=4)

    @pytest.mark.parametrize("often", [1, 99], ids=["once", "again and again"])
    def test_an_ok_to_what_is_not_stored_and_then_other_uids(
        self, start: Start, monkeypatch: pytest.MonkeyPatch, often: int
    ) -> None:
        """What is known of the old UIDs is not taken for the new ones'. One folder does not hold up the others."""
        migration, times = start(), set(range(1, 1 + often))
        settle_within(monkeypatch, 60.0)  # there always is something left to wait for; a pause is as short as ever
        migration.source.folders[b"Small"] = ScriptedFolder(2, messages([mail(900)]))
        run(migration.config, steps="archive")
        migration.there.appending = Appending(loses=lambda message: message.octets == mail(3))
        migration.there.on(b"SELECT", renumbered_at(migration, times))
        reason = migration.replay(expect=3).report["failures"][0]["reason"]
        if often == 1:
            assert reason == "the destination answered OK but does not show it"
            assert migration.missing == [mail(3)]
        else:
            assert reason.startswith("UIDVALIDITY changed at the destination during the run; ")
        assert (mail(900) in octets_in(migration.there), migration.unexpected) == (True, [])
        migration.there.appending = Appending()
        times.clear()
        migration.replay()
        migration.assert_once()

    def test_half_of_a_command_is_stored_and_all_of_it_refused(self, start: Start) -> None:
        """MULTIAPPEND has to be atomic."""
        migration = start()
        migration.there.appending = Appending(
            atomic=False, refuse=lambda message: b"NO bad message" if POISON in message.octets else None
        )
        migration.there.on(b"APPEND", at({2, 5}, stored_and(DROP)))
        migration.replay(expect=3)
        assert (migration.missing, migration.unexpected) == ([mail(13)], [])

    @pytest.mark.parametrize("code", [b"THROTTLED", b"INUSE", b"UNAVAILABLE"])
    def test_a_no_that_means_later(self, start: Start, code: bytes) -> None:
        migration = start()
        migration.there.on(b"APPEND", b"NO [%s] come again" % code, times=4)
        migration.replay()
        migration.assert_once()

    def test_other_programs_at_work(self, start: Start, abilities: Abilities) -> None:
        """One delivers, one expunges, one marks as read, between any two of ours."""

        def work(folder: ScriptedFolder, _sent: list[Appended]) -> None:
            folder.add(other_mail())
            others = [uid for uid, each in folder.messages.items() if each.octets == other_mail().octets]
            folder.mark(others[0], ("\\Seen",))
            if len(others) > 3:
                folder.expunge(others[:2])

        migration = start(abilities)
        migration.there.appending = Appending(before=work, after=work)
        migration.there.on(b"APPEND", at({1, 2, 6}, stored_and(DROP)))
        migration.replay()
        left = [each for each in migration.inbox.messages.values() if each.octets == other_mail().octets]
        migration.assert_once(others=len(left))
