"""A destination that takes its time with an APPEND: silence is no broken line, and every message arrives once."""

from __future__ import annotations

import itertools
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archiver.replay import deletions
from archiver.replay.send import twins
from pipelines.stop import STOP
from tests.accounts import RunResult, mail, run
from tests.faults.attempts import to_the_end
from tests.faults.replays import SMALL_BATCHES, migration, settle_within
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    MINIMAL,
    STALL,
    After,
    End,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)

LIMIT = 0.3
"""After so many seconds without a word a destination counts as silent."""

ABILITIES = {
    "all extensions": DESTINATION,
    "without UIDPLUS": tuple(word for word in DESTINATION if word != "UIDPLUS"),
    "one message a command": tuple(word for word in DESTINATION if word != "MULTIAPPEND"),
    "no extensions": MINIMAL,
}

Answer = Callable[[bytes, bytes, Session], "bytes | After | End | None"]


class Slow:
    """A migration to a server whose APPENDs are answered by `answer`."""

    def __init__(self, config: Path, source: ScriptedServer, there: ScriptedServer) -> None:
        self.config, self.source, self.there = config, source, there

    def replay(self, expect: int = 0) -> RunResult:
        return run(self.config, steps="replay", expect=expect)

    def twice(self) -> int:
        """How many messages stand there beyond those of the source; none is missing."""
        here, held = (
            Counter(each.octets for folder in server.folders.values() for each in folder.messages.values())
            for server in (self.source, self.there)
        )
        assert here - held == Counter()
        return (held - here).total()

    def appends(self) -> int:
        return sum(line.startswith(b"APPEND") for line in self.there.commands)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    settle_within(monkeypatch, 0.2, again=1.0)


@pytest.fixture
def start(scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Callable[..., Slow]:
    def started(
        count: int, answer: Answer | End | None, abilities: tuple[str, ...] = DESTINATION, **keys: Any
    ) -> Slow:
        letters = {
            uid: ScriptedMessage(mail(uid), ("\\Seen",), f"{uid % 28 + 1:02}-Mar-2021 10:15:{uid % 60:02} +0530")
            for uid in range(1, count + 1)
        }
        source = scripted({b"INBOX": ScriptedFolder(1, letters)})
        there = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=abilities, writable=True, users={"u2": "pw"})
        keys = {"destination__read_timeout": LIMIT, "destination__connections": 1, **keys}
        config = migration(tmp_path, source, "u1", there, "u2", **keys)
        run(config, steps="archive")
        if answer is not None:
            there.on(b"APPEND", answer)
        return Slow(config, source, there)

    return started


def after(seconds: float, *, each: bool = False, times: int = 1_000_000) -> Answer:
    """The messages are stored after so long, or after so long for each of them; then the answer."""
    commands = itertools.count()

    def answered(_line: bytes, _tag: bytes, session: Session) -> None:
        if next(commands) < times:
            threading.Event().wait(seconds * (len(session.appended) if each else 1))

    return answered


class TestEveryMessageTakesItsTime:
    @pytest.mark.parametrize("abilities", ["all extensions", "no extensions"])
    def test_groups_are_as_large_as_the_server_can_answer(self, start: Callable[..., Slow], abilities: str) -> None:
        """All at once would take longer than the limit, a group takes a quarter of it."""
        slow = start(40, after(0.08, each=True), ABILITIES[abilities], destination__read_timeout=3.0)
        reported = slow.replay()
        assert (slow.twice(), "silent" in reported.output) == (0, False)

    def test_a_fast_server_gets_large_groups(self, start: Callable[..., Slow]) -> None:
        slow = start(400, None, destination__read_timeout=120)
        slow.replay()
        assert (slow.twice(), slow.appends()) == (0, 5)


class TestAnAnswerThatComesLate:
    @pytest.mark.parametrize("abilities", ABILITIES)
    def test_is_waited_for_as_long_again(self, start: Callable[..., Slow], abilities: str) -> None:
        """Nothing is sent before that, and nothing again."""
        slow = start(11, after(1.7 * LIMIT, times=1), ABILITIES[abilities])
        slow.replay()
        assert slow.twice() == 0
        slow.replay()
        assert slow.twice() == 0

    @pytest.mark.parametrize(("abilities", "count"), [("all extensions", 11), ("one message a command", 3)])
    def test_and_so_is_the_next(self, start: Callable[..., Slow], abilities: str, count: int) -> None:
        """Every command takes so long, and a server takes one after the other."""
        slow = start(count, after(1.7 * LIMIT), ABILITIES[abilities])
        slow.replay()
        assert slow.twice() == 0

    def test_what_still_arrives_is_waited_for(self, start: Callable[..., Slow]) -> None:
        """One by one, for much longer than one silence."""

        def one_by_one(_line: bytes, tag: bytes, session: Session) -> bytes:
            for each in session.appended:
                threading.Event().wait(0.4 * LIMIT)
                session.writing.store([each])
            return tag + b" OK stored\r\n"

        slow = start(8, one_by_one)
        slow.replay()
        assert slow.twice() == 0

    def test_the_suspects_alone_are_sent_again(self, start: Callable[..., Slow]) -> None:
        """Of a command that a server stored by half before it went silent."""

        def half(_line: bytes, _tag: bytes, session: Session) -> End:
            session.writing.store(session.appended[: len(session.appended) // 2])
            return STALL

        slow = start(10, None)
        slow.there.on(b"APPEND", half, times=1)
        slow.replay()
        assert slow.twice() == 0
        assert slow.appends() == 6

    def test_and_the_run_was_killed_in_between(self, start: Callable[..., Slow]) -> None:
        """The next run knows of no silence, and waits as if there had been one."""
        slow = start(5, None, destination__read_timeout=2.0)

        def late(_line: bytes, _tag: bytes, session: Session) -> End:
            threading.Timer(1.5, session.writing.store, [session.appended]).start()
            return STALL

        slow.there.on(b"APPEND", late, times=1)
        killed = ("-c", KILLED + SMALL_BATCHES[1])
        assert to_the_end(slow.config, program=killed, verb="replay").exit_code == -signal.SIGKILL
        slow.replay()
        assert slow.twice() == 0

    def test_and_the_next_one_while_it_waited(
        self, start: Callable[..., Slow], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The third waits for the rest of that time, not again for all of it; after something new was sent, it
        would be."""
        slow = start(5, None, destination__read_timeout=2.0)

        def late(_line: bytes, _tag: bytes, session: Session) -> End:
            threading.Timer(2.0, session.writing.store, [session.appended]).start()
            return STALL

        slow.there.on(b"APPEND", late, times=1)
        for killed in (KILLED, KILLED_WAITING):
            program = ("-c", killed + SMALL_BATCHES[1])
            assert to_the_end(slow.config, program=program, verb="replay").exit_code == -signal.SIGKILL
        pause, paused = STOP.pause, []

        def noted(seconds: float) -> None:
            paused.append(seconds)
            pause(seconds)

        monkeypatch.setattr(STOP, "pause", noted)
        slow.replay()
        assert slow.twice() == 0
        assert sum(paused) <= 2.0 + 0.2 - 1.0


KILLED = """
import os, signal
from archiver.destination.imap import ImapDestination
begin = ImapDestination.begin_append
def killed(self, letters):
    begin(self, letters)
    os.kill(os.getpid(), signal.SIGKILL)
ImapDestination.begin_append = killed
"""
KILLED_WAITING = """
import os, signal, time
from pipelines.stop import STOP
def killed(seconds):
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)
STOP.pause = killed
"""


class TestNoAnswerAtAll:
    def test_ends_the_run_and_names_the_limit(self, start: Callable[..., Slow]) -> None:
        """The report does not claim that a repaired copy would help."""
        well = threading.Event()
        slow = start(12, lambda _, __, ___: None if well.is_set() else STALL)
        reported = slow.replay(expect=5)
        assert slow.there.folders[b"INBOX"].messages == {}
        silent = [each for each in reported.report["failures"] if each["uid"] is not None]
        assert [each["reason"] for each in silent] == 2 * [
            "no answer within 0.3 seconds, and the message has not appeared"
        ]
        assert all("read_timeout" in each["next"] for each in silent)
        assert "repair" not in str(reported.report)
        assert any("read_timeout" in each["next"] for each in reported.report["failures"] if each["uid"] is None)
        well.set()
        slow.replay()
        assert slow.twice() == 0

    def test_to_one_message(self, start: Callable[..., Slow]) -> None:
        """The others arrive; what was not answered is found when it shows."""
        held: list[Any] = []

        def silent(_line: bytes, _tag: bytes, session: Session) -> End | None:
            if not any(mail(3) in each.octets for each in session.appended):
                return None
            held.append(session.appended)
            return STALL

        slow = start(6, silent, destination__attempts=2)
        reported = slow.replay(expect=3)
        assert [each["uid"] for each in reported.report["failures"]] == [3]
        assert len(held) == 3
        slow.there.folders[b"INBOX"].add(
            ScriptedMessage(mail(3), ("\\Seen",), slow.source.folders[b"INBOX"].messages[3].internaldate)
        )
        slow.replay()
        assert (slow.twice(), len(held)) == (0, 3)


class TestATwinThatComesLate:
    """What was taken for unsent and sent again is stored after all."""

    @pytest.fixture
    def doubled(self, start: Callable[..., Slow]) -> Slow:
        """A mailbox in which message 2 stands twice, as UID 11, and a neighbour's that only looks like one of
        ours."""
        unheard: list[Any] = []

        def late(_line: bytes, _tag: bytes, session: Session) -> End | None:
            if not unheard:
                unheard.extend(session.appended)
                return STALL
            if any(mail(12) in each.octets for each in session.appended):
                session.writing.store(unheard[1:2])
            return None

        slow = start(12, late)
        slow.replay(expect=3)
        assert slow.twice() == 1
        inbox = slow.there.folders[b"INBOX"]
        inbox.add(ScriptedMessage(unheard[2].octets, (), "28-Nov-2026 10:00:00 +0000"))
        return slow

    def allow(self, slow: Slow) -> None:
        text = slow.config.read_text().replace("[archive]", '[replay]\nvanished = "expunge"\n\n[archive]')
        slow.config.write_text(text)

    def test_is_listed_until_somebody_deletes_it(self, doubled: Slow) -> None:
        reported = doubled.replay(expect=3)
        (twin,) = [each for each in reported.report["losses"] if each["kind"] == "twin"]
        assert (twin["folder"], twin["count"], twin["uids"], twin["detail"]) == ("INBOX", 1, "2", "11")
        assert [(each["uid"], each["step"]) for each in reported.report["failures"]] == [(2, "replay")]
        again = doubled.replay(expect=3)
        assert again.report["losses"] == reported.report["losses"]
        assert doubled.twice() == 2
        doubled.there.folders[b"INBOX"].expunge([11])
        assert doubled.replay().report["losses"] == []

    def test_is_listed_no_longer_than_there_are_two(self, doubled: Slow) -> None:
        doubled.there.folders[b"INBOX"].expunge([2])
        assert doubled.replay().report["losses"] == []

    def test_is_taken_away_where_that_is_allowed(self, doubled: Slow) -> None:
        """Within the limit of deletions; what is not ours stays."""
        self.allow(doubled)
        reported = doubled.replay()
        assert 11 not in doubled.there.folders[b"INBOX"].messages
        assert (doubled.twice(), reported.report["losses"]) == (1, [])
        assert doubled.replay().report["losses"] == []

    def test_is_left_where_its_user_touched_it(self, doubled: Slow) -> None:
        doubled.there.folders[b"INBOX"].mark(11, ("\\Seen", "\\Answered"))
        self.allow(doubled)
        assert [each["detail"] for each in doubled.replay(expect=3).report["losses"]] == ["11"]
        doubled.there.folders[b"INBOX"].expunge([11])
        assert doubled.replay().report["losses"] == []

    def test_goes_with_its_copy(self, doubled: Slow) -> None:
        """The message is deleted at the source."""
        self.allow(doubled)
        doubled.source.folders[b"INBOX"].expunge([2])
        for _ in range(2):
            run(doubled.config, steps="archive")
        assert doubled.replay().report["losses"] == []
        assert {2, 11} & doubled.there.folders[b"INBOX"].messages.keys() == set()

    def test_is_not_counted_as_gone_from_the_source(self, doubled: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
        """The limit of deletions holds for each of the two kinds, and says which it is."""
        monkeypatch.setattr(deletions, "exceeds_deletion_limit", lambda count, _held: count > 0)
        self.allow(doubled)
        reported = doubled.replay(expect=3).output
        assert "1 message that the destination had stored twice (the message itself is not gone) stayed" in reported
        assert "gone from the source stayed" not in reported
        assert 11 in doubled.there.folders[b"INBOX"].messages


class TestACopyThatSomebodyMadeThere:
    """It has the octets, the flags and the date of ours, and is never taken away."""

    @pytest.fixture
    def cut(self, start: Callable[..., Slow]) -> Callable[..., Slow]:
        """A mailbox to which the first APPEND was cut off in an earlier run, or was not answered, and nothing of it
        arrived."""

        def started(end: End, abilities: str = "all extensions") -> Slow:
            slow = start(12, None, ABILITIES[abilities], destination__attempts=1, replay__vanished="expunge")
            slow.there.on(b"APPEND", end, times=1)
            slow.replay(expect=5)
            slow.replay()
            assert slow.twice() == 0
            return slow

        return started

    def copy(self, slow: Slow, number: int) -> None:
        inbox = slow.there.folders[b"INBOX"]
        inbox.add(*(replace(each) for each in list(inbox.messages.values()) if mail(number) in each.octets))

    @pytest.mark.parametrize("abilities", ["all extensions", "no extensions"])
    def test_of_what_was_not_on_the_wire(self, cut: Callable[..., Slow], abilities: str) -> None:
        slow = cut(DROP, abilities)
        self.copy(slow, 12)
        assert (slow.replay().report["losses"], slow.twice()) == ([], 1)

    @pytest.mark.parametrize("end", [DROP, STALL])
    def test_of_what_was(self, cut: Callable[..., Slow], end: End) -> None:
        """Its origin is unknown, so it is listed."""
        slow = cut(end)
        self.copy(slow, 1)
        for _ in range(2):
            assert [each["uids"] for each in slow.replay(expect=3).report["losses"]] == ["1"]
        assert slow.twice() == 1

    def test_long_after(self, cut: Callable[..., Slow], monkeypatch: pytest.MonkeyPatch) -> None:
        slow = cut(STALL)
        monkeypatch.setattr(twins, "_WINDOW_SECONDS", 0)
        slow.there.folders[b"INBOX"].add(ScriptedMessage(b"Subject: lunch\r\n\r\nAt one?\r\n"))
        slow.replay()
        self.copy(slow, 1)
        assert (slow.replay().report["losses"], slow.twice()) == ([], 2)
