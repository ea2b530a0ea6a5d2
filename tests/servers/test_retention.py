"""`[retention] vanished`: what has been gone for long is forgotten after a run, within a limit, unless it is
held."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.account.upkeep import retention
from archiver.control.run import utc_today
from pipelines.cli.main import invoke
from tests.accounts import account_file, archive_of, archive_state, assert_whole, mail, run
from tests.faults.replays import destination, mailbox_of
from tests.servers.dovecot import Dovecot
from tests.servers.wire import Append
from tests.traces import traces

MESSAGES = 40
DURABLE = {"archive__durability": "batch"}
RULE = {"retention__vanished": "180d", **DURABLE}


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let so many days pass for the rule: `passed(181)`."""

    def pass_by(days: int) -> None:
        monkeypatch.setattr(retention, "utc_today", lambda: utc_today() + timedelta(days))

    assert isinstance(utc_today(), date)
    return pass_by


@pytest.fixture
def config(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Path:
    """Of 40 messages, the first three are gone; the first one was moved to Work."""
    dovecot.create(mail_user, "Work")
    dovecot.append_many(mail_user, "INBOX", [Append(mail(n), ("\\Seen",)) for n in range(MESSAGES)])
    file = account_file(tmp_path, dovecot, mail_user, **DURABLE)
    run(file)
    dovecot.append_many(mail_user, "Work", [Append(mail(0))])
    dovecot.expunge(mail_user, "INBOX", [1, 2, 3])
    run(file)
    return file


def with_rule(config: Path, dovecot: Dovecot, user: str) -> None:
    account_file(config.parent, dovecot, user, **RULE)


def notices(ran: Any) -> list[tuple[str, int]]:
    return [(each["kind"], each["count"]) for each in ran.report["notices"]]


def digests(config: Path) -> set[str]:
    return {each.digest for each in archive_state(archive_of(config)).messages.values()}


def test_what_is_gone_for_long_is_forgotten(config: Path, dovecot: Dovecot, mail_user: str, passed: Any) -> None:
    """Not what was only moved, nor before its time; and a quiet run does it, too."""
    archive = archive_of(config)
    passed(181)
    assert notices(run(config)) == []  # there is no rule
    with_rule(config, dovecot, mail_user)
    passed(179)
    assert notices(run(config)) == []
    assert traces(archive, b"message 1\r\n")
    passed(181)
    ran = run(config)
    assert notices(ran) == [("forgotten", 2)]
    assert (ran.report["status"], "retention" in ran.report["timings"]) == ("complete", True)
    gone = {hashlib.sha256(mail(n)).hexdigest() for n in (1, 2)}
    assert digests(config) == {hashlib.sha256(mail(n)).hexdigest() for n in range(MESSAGES)} - gone
    assert traces(archive, b"message 1\r\n", b"message 2\r\n", b"a1@example.org", b"<2@example.org>") == []
    assert invoke(["verify", str(config)]) == 0
    assert notices(run(config)) == []
    assert_whole(archive)


def test_more_than_the_limit_waits_for_a_confirmation(
    config: Path, dovecot: Dovecot, mail_user: str, passed: Any
) -> None:
    dovecot.expunge(mail_user, "INBOX", range(4, 10))
    with_rule(config, dovecot, mail_user)
    run(config)
    passed(181)
    before = digests(config)
    ran = run(config, expect=3)
    (failure,) = ran.report["failures"]
    assert failure["step"] == "retention"
    assert failure["reason"] == "8 messages gone for longer than 180d stayed, since that is more than 50 or 10 %"
    assert f"`archiver run --confirm-deletions {config}` forgets them" in failure["next"]
    assert digests(config) == before
    assert notices(run(config, confirm_deletions=True)) == [("forgotten", 8)]
    assert len(digests(config)) == MESSAGES - 8


def test_what_is_held_stays(config: Path, dovecot: Dovecot, mail_user: str, passed: Any) -> None:
    with_rule(config, dovecot, mail_user)
    assert invoke(["hold", str(config), "--reason", "lawsuit", "--address", "a1@example.org"]) == 0
    passed(181)
    assert notices(run(config)) == [("forgotten", 1), ("held", 1)]
    assert hashlib.sha256(mail(1)).hexdigest() in digests(config)
    assert invoke(["release", str(config), "1", "--reason", "settled"]) == 0
    assert notices(run(config)) == [("forgotten", 1)]
    assert hashlib.sha256(mail(1)).hexdigest() not in digests(config)


def test_what_was_pruned_stays(config: Path, dovecot: Dovecot, mail_user: str, passed: Any) -> None:
    """Nobody deleted it: it was removed from the source because the archive has it. Not even by --vanished."""
    with_rule(config, dovecot, mail_user)
    assert invoke(["prune", str(config), "--older-than", "1d", "--confirm", "--confirm-deletions"]) == 0
    run(config)
    held = digests(config)
    passed(400)
    assert notices(run(config)) == [("forgotten", 2)]  # which somebody deleted before
    gone = {hashlib.sha256(mail(n)).hexdigest() for n in (1, 2)}
    assert digests(config) == held - gone
    assert invoke(["forget", str(config), "--vanished", "--reason", "all that is gone", "--yes"]) == 0
    assert digests(config) == held - gone


def test_copies_of_what_the_rule_forgot_stay_unless_somebody_names_its_number(
    dovecot: Dovecot, tmp_path: Path, passed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """They follow `[replay] vanished`."""
    user, new = dovecot.fresh_user(), dovecot.fresh_user()
    dovecot.append_many(user, "INBOX", [Append(mail(n)) for n in range(MESSAGES)])
    file = account_file(tmp_path, dovecot, user, **destination(tmp_path, dovecot, new), **RULE)
    run(file)
    dovecot.expunge(user, "INBOX", [2, 3])
    run(file)
    passed(181)
    assert notices(run(file)) == [("forgotten", 2)]
    capsys.readouterr()
    assert invoke(["status", str(file)]) == 0
    assert "still at the destination" not in capsys.readouterr().out
    later = ["forget", str(file), "--finish", "--also-at-destination"]
    assert invoke(later) == 0
    assert "nothing is left" in capsys.readouterr().out
    assert mailbox_of(dovecot, new)[b"INBOX"].total() == MESSAGES
    assert invoke([*later, "--number", "1"]) == 0
    assert "2 copies" in capsys.readouterr().out
    assert mailbox_of(dovecot, new) == mailbox_of(dovecot, user)
    assert run(file).report["status"] == "complete"
