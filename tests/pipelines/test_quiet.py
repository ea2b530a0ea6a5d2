"""`--quiet` says nothing while all is well, and for every other exit code why, on whichever verb."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.run import _show_trouble
from pipelines.cli.terminal import Terminal
from pipelines.show.reasons import reason_of
from tests.accounts import account_file, run
from tests.faults.unprivileged import run_lines
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer

Scripted = Callable[..., ScriptedServer]


def mail(count: int, **oddity: Any) -> dict[bytes, ScriptedFolder]:
    folder = ScriptedFolder()
    for number in range(count):
        octets = b"Message-ID: <%d@x>\r\nSubject: %d\r\n\r\n%d\r\n" % (number, number, number)
        folder.add(ScriptedMessage(octets, **(oddity if number == 0 else {})))
    return {b"INBOX": folder}


def destination(server: ScriptedServer, directory: Path) -> dict[str, Any]:
    keys = {"host": server.host, "port": server.port, "tls": "off", "user": "u1"}
    keys |= {"password": {"file": str(directory / "u1.password")}, "attempts": 1}
    return {f"destination__{name}": value for name, value in keys.items()}


@pytest.fixture
def prepared(scripted: Scripted, tmp_path: Path) -> Iterator[dict[str, Path]]:
    """An account for each outcome of its next run."""
    made: dict[str, Path] = {}

    def account(name: str, server: ScriptedServer, **keys: Any) -> Path:
        made[name] = account_file(tmp_path / name, server, "u1", source__attempts=1, **keys)
        return made[name]

    def archive(name: str) -> Path:
        return tmp_path / name / "archive"

    run(account("complete", scripted(mail(1))))
    account("no password", scripted(mail(1)))
    (tmp_path / "no password" / "u1.password").unlink()
    account("quarantine", scripted(mail(3, fetch="nil")))

    source, there = scripted(mail(3)), scripted(writable=True, capabilities=DESTINATION)
    keys = destination(there, tmp_path / "deletions") | {"replay__vanished": "expunge"}
    run(account("deletions", source, **keys))
    del source.folders[b"INBOX"].messages[1]
    run(made["deletions"], expect=None)

    there = scripted(writable=True, capabilities=DESTINATION)
    run(account("difference", scripted(mail(2)), **destination(there, tmp_path / "difference")))
    there.folders[b"INBOX"].messages[1].internaldate = "01-Jan-2001 00:00:00 +0000"
    there.folders[b"INBOX"].mark(1, ("\\Seen",))  # so that it is read again

    account("refused", scripted(mail(1), login_reply=b"NO [AUTHENTICATIONFAILED] no"))
    run(account("damaged", scripted(mail(1))))
    (archive("damaged") / "catalog.sqlite").write_bytes(b"no database" * 1000)
    run(account("unreadable", scripted(mail(1))))
    archive("unreadable").chmod(0)
    account("throttled", scripted(mail(1), login_reply=b"NO [THROTTLED] later"))
    run(account("locked", scripted(mail(1))))
    with open(archive("locked") / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield made


@pytest.mark.lasts(20)
def test_every_outcome_has_its_line(prepared: dict[str, Path]) -> None:
    reported = {
        "complete": (0, ""),
        "no password": (2, "cannot be read: No such file or directory"),
        "quarantine": (3, "1 problem:"),
        "deletions": (3, "--confirm-deletions"),
        "difference": (4, "01-Jan-2001"),
        "refused": (5, "no; check `user`"),
        "damaged": (6, "recreates the catalog from the journal"),
        "locked": (7, "another run holds the lock"),
        "unreadable": (8, "Permission denied"),
        "throttled": (75, "later"),
    }
    lines = [["run", config, "--quiet"] for config in prepared.values()]

    ended = dict(zip(prepared, run_lines(*lines), strict=True))

    assert {name: code for name, (code, _) in ended.items()} == {name: code for name, (code, _) in reported.items()}
    for name, (_, said) in ended.items():
        assert reported[name][1] in said, said
        assert "Traceback" not in said
        assert bool(said) == (name != "complete"), said

    status = {
        "complete": (0, ""),
        "no password": (2, "the last run ended with exit code 2; run it again to see why"),
        "quarantine": (3, "the server gave NIL instead of the message"),
        "deletions": (3, "--confirm-deletions"),
        "difference": (4, "1 difference"),
        "refused": (5, "is refused"),
        "damaged": (6, "recreates the catalog from the journal"),
        "locked": (0, ""),
        "unreadable": (8, "Permission denied"),
        "throttled": (75, "try again after"),
    }
    reasons = {
        "deletions": "more than 50 or 10 %",
        "difference": "1 difference at the destination",
        "refused": "no",
        "throttled": "later",
    }
    quiet = dict(
        zip(prepared, run_lines(*(["status", each, "--quiet"] for each in prepared.values())), strict=True)
    )

    assert {name: code for name, (code, _) in quiet.items()} == {name: code for name, (code, _) in status.items()}
    for name, (_, said) in quiet.items():
        assert status[name][1] in said, said
        assert reasons.get(name, "") in said, said
        assert bool(said) == (status[name][0] != 0), said


def test_an_outcome_without_an_earlier_message_is_still_reported(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"account": "alice", "exit_code": 3, "status": "incomplete", "message": None, "document": {}}

    _show_trouble(result, Terminal(as_json=False, quiet=True, verbose=False))

    assert capsys.readouterr().err == "alice: incomplete, exit code 3: see `archiver report`\n"


def test_the_reason_in_one_line() -> None:
    failures = [
        {"folder": "INBOX", "uid": 3, "reason": "NIL", "next": "retry"},
        {"folder": "INBOX", "uid": 4, "reason": "NIL", "next": "retry"},
        {"folder": "Sent", "uid": None, "reason": "no", "next": "run again"},
        {"folder": None, "uid": None, "reason": "60 deletions wait", "next": "confirm"},
    ]

    assert reason_of({"failures": failures, "differences": [{}]}) == (
        '60 deletions wait; 2 messages and 1 folder incomplete (folder "INBOX", uid 3: NIL); '
        "1 difference at the destination"
    )
    assert reason_of({"failures": [], "differences": []}) is None
