"""Labels replayed onto Gmail and cut off at each step: the next attempt ends in the same state, and once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.replay.send import labels
from pipelines.stop import STOP
from tests.accounts import run
from tests.faults.attempts import to_the_end
from tests.faults.replays import migration, settle_within
from tests.servers.gmail import GMAIL, Gmail, GmailServer, message
from tests.servers.scripted import DROP, End, ScriptedServer, Session

Scripted = Callable[..., ScriptedServer]

KILLED_AT = """
import os, signal
from archiver.destination.labels import LabelCommands
from archiver.facts.destination import CopiedFact, LabelledFact
from archiver.journal.recorder import Recorder
from archiver.replay.send import labels
from pipelines.cli.main import main

labels._MESSAGES = 3
def killing(of, name, when, is_it=lambda *_: True):
    real = getattr(of, name)
    def wrapped(*arguments, **named):
        its = is_it(*arguments)
        if its and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **named)
        if its:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(of, name, wrapped)

def writes(kind):
    return lambda _, facts: any(isinstance(each, kind) for each in facts)
"""
MOMENTS = [
    'killing(Recorder, "write", "after", writes(CopiedFact))',
    'killing(LabelCommands, "read", "before")',
    'killing(LabelCommands, "_store", "before")',
    'killing(LabelCommands, "_store", "after")',
    'killing(LabelCommands, "store", "after")',
    'killing(Recorder, "write", "before", writes(LabelledFact))',
    'killing(Recorder, "write", "after", writes(LabelledFact))',
]


@pytest.fixture
def there() -> Iterator[GmailServer]:
    with GmailServer() as server:
        yield server


def account() -> Gmail:
    return Gmail(
        message(number, "\\Inbox", *(["Odd"] if number % 2 else []), f"L{number % 3}") for number in range(8)
    )


def everything_is_there_once(gmail: Gmail, there: GmailServer) -> bool:
    return there.labelled() == {each.octets: each.labels for each in gmail.all.messages.values()}


@pytest.fixture
def moved(scripted: Scripted, there: GmailServer, tmp_path: Path) -> tuple[Gmail, Path]:
    gmail = account()
    source = scripted(gmail.folders, capabilities=GMAIL)
    return gmail, migration(tmp_path, source, "u1", there, "u1", replay__labels="labels")


def test_killed_at_each_step(moved: tuple[Gmail, Path], there: GmailServer) -> None:
    """One attempt after the other, each killed a step further; then one to the end."""
    gmail, config = moved
    run(config, steps="archive")
    for moment in MOMENTS:
        program = ("-c", f"{KILLED_AT}\n{moment}\nmain()\n")
        assert to_the_end(config, program=program, verb="replay").exit_code == -9, moment

    result = run(config)

    assert everything_is_there_once(gmail, there)
    assert len(there.appended) == 8
    assert result.report["status"] == "complete"
    before = len(there.commands)
    run(config)
    assert not [line for line in there.commands[before:] if line.startswith((b"UID STORE", b"APPEND"))]


@pytest.mark.parametrize("command", [b"APPEND", b"UID STORE", b"UID FETCH", b"CREATE"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_line_that_is_cut_at_each_command(
    moved: tuple[Gmail, Path], there: GmailServer, monkeypatch: pytest.MonkeyPatch, command: bytes, when: str
) -> None:
    gmail, config = moved
    settle_within(monkeypatch, 0.2)
    pause = STOP.pause
    monkeypatch.setattr(STOP, "pause", lambda seconds: pause(min(seconds, 0.05)))
    monkeypatch.setattr(labels, "_MESSAGES", 3)
    cut: list[bytes] = []

    def hang_up(line: bytes, tag: bytes, session: Session) -> End | None:
        if len(cut) == 3 or (command == b"UID FETCH" and b"X-GM-LABELS" not in line):
            return None
        cut.append(line)
        if when == "after" and command == b"APPEND":
            session.writing.store(session.appended)
        elif when == "after":
            name = "do_" + command.decode().lower().replace(" ", "_")
            act = getattr(session.writing, name, None) or getattr(session, name)
            act(tag, line.split(b" ", command.count(b" ") + 2)[-1])
        return DROP

    def refuse(line: bytes, tag: bytes, _: Session) -> bytes | None:
        missing = b'"Odd"' in line and b"Odd" not in there.folders
        return tag + b" NO [NONEXISTENT] No such label\r\n" if missing else None

    there.on(b"UID STORE", refuse)
    there.on(command, hang_up)
    result = run(config)

    assert cut
    assert everything_is_there_once(gmail, there)
    assert result.report["status"] == "complete"
    assert result.report["losses"] == []
    run(config)
    assert len(there.folders[b"[Gmail]/All Mail"].messages) == 8
