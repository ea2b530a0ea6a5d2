"""`--max-duration` ends a night in good order: what is there is kept, the rest is named, the next one goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounts import account_file, archive_of, assert_whole, command, report
from tests.faults.attempts import Attempt, is_locked, to_the_end
from tests.servers.dovecot import Dovecot
from tests.servers.faultproxy import FaultProxy
from tests.servers.wire import Append

Proxy = Callable[..., FaultProxy]
OVER = "the time of --max-duration is over"

MAIL = [Append(b"Subject: %d\r\n\r\n" % number + b"0123456789abcdef\r\n" * 200) for number in range(60)]
OCTETS = sum(len(message.octets) for message in MAIL)


@pytest.fixture
def users(dovecot: Dovecot) -> list[str]:
    """Three users with sixty messages each."""
    found = [dovecot.fresh_user() for _ in range(3)]
    for user in found:
        dovecot.append_many(user, "INBOX", MAIL)
    return found


@pytest.mark.parametrize("workers", ["1", "2"])
def test_accounts_at_work_stop_and_no_other_begins(
    dovecot: Dovecot, users: list[str], proxy: Proxy, tmp_path: Path, workers: str
) -> None:
    """The server falls silent half way: what came before that is kept."""
    through = proxy(dovecot.port, stall_after=OCTETS // 2)
    configs = [account_file(tmp_path / user, through, user, source__connections=1) for user in users]
    began = time.monotonic()
    ended = to_the_end(*configs, options=["--workers", workers, "--max-duration", "3s", "--json"])
    seconds = time.monotonic() - began
    at_work, waiting = configs[: int(workers)], configs[int(workers) :]

    assert (ended.exit_code, seconds < 8) == (3, True), ended.output
    assert "Traceback" not in ended.output
    document = json.loads(ended.stdout)
    assert [each["exit_code"] for each in document["accounts"]] == [3, 3, 3]
    assert all(OVER in each["message"] for each in document["accounts"])
    for config in at_work:
        told = report(archive_of(config))
        assert (told["status"], told["exit_code"]) == ("incomplete", 3)
        assert "the run was stopped before this folder" in str(told["failures"])
        assert 10 < len(assert_whole(archive_of(config)).uids()) < len(MAIL)
    assert through.connections == len(at_work)
    assert all(report(archive_of(config))["failures"][0]["reason"] == OVER for config in waiting)
    assert not any(is_locked(archive_of(config)) for config in at_work)

    through.stall_after = None
    assert to_the_end(*configs, options=["--max-duration", "1h"]).exit_code == 0
    for config in configs:
        assert len(assert_whole(archive_of(config)).uids()) == len(MAIL)
    assert all(report(archive_of(config))["totals"]["fetched"] < len(MAIL) - 10 for config in at_work)


def test_what_was_not_sent_is_pending(dovecot: Dovecot, users: list[str], proxy: Proxy, tmp_path: Path) -> None:
    user, there = users[0], dovecot.fresh_user()
    through = proxy(dovecot.port, direction="up", stall_after=OCTETS // 2)
    target = {"host": through.host, "port": through.port, "tls": "off", "user": there}
    target |= {"password": {"file": str(tmp_path / f"{user}.password")}}
    config = account_file(tmp_path, dovecot, user, **{f"destination__{key}": each for key, each in target.items()})

    ended = to_the_end(config, options=["--max-duration", "3s"])

    assert ended.exit_code == 3, ended.output
    assert OVER in ended.stderr
    assert report(archive_of(config))["status"] == "incomplete"
    totals = report(archive_of(config))["totals"]
    assert totals["stored"] == len(MAIL)
    assert totals["destination"]["pending"] > 10


def test_with_quiet_one_line_for_each_account(
    dovecot: Dovecot, users: list[str], proxy: Proxy, tmp_path: Path
) -> None:
    through = proxy(dovecot.port, stall_after=0)
    configs = [account_file(tmp_path / user, through, user) for user in users]
    ended = command("archive", *configs, "--quiet", "--max-duration", "1s", "--workers", "1", expect=3)
    lines = ended.output.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines if OVER in line] == users, ended.output
    assert len(lines) == len(users)


def test_a_signal_after_the_end_of_its_time_changes_nothing(
    dovecot: Dovecot, users: list[str], proxy: Proxy, tmp_path: Path
) -> None:
    """The process is ending already; its password command holds it up for a moment."""
    config = account_file(
        tmp_path, dovecot, users[0], source__password={"command": ["sh", "-c", "sleep 4; echo pw"]}
    )
    attempt = Attempt(config, options=["--max-duration", "1s"]).begun()
    assert not attempt.ends_within(2)
    attempt.signal(15)
    assert attempt.end().exit_code == 3


@pytest.mark.parametrize("text", ["5", "0h", "1d", "-1h", "1.5h", "", "h"])
def test_a_bad_value_gets_one_line(tmp_path: Path, text: str) -> None:
    ended = command("run", tmp_path, "--max-duration", text, expect=2)
    assert len(ended.output.splitlines()) == 1
    assert f"invalid value for '--max-duration': {text!r} is not hours, minutes or seconds" in ended.output
