"""Accounts whose rules are about days end unopened until a day has something for them to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.account import archiving
from archiver.account.upkeep import retention
from archiver.fleet.fingerprint import Fingerprint
from pipelines import steps
from pipelines.cli.main import invoke
from pipelines.engine import light
from pipelines.fleet import fingerprints
from tests.accounts import mail
from tests.pipelines.test_looked_over import ledger_of, member, opened
from tests.servers.dovecot import Dovecot
from tests.servers.wire import Append

Night = Callable[..., Mapping[str, Mapping[str, Any]]]

TODAY = datetime.now(UTC).replace(hour=12)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Night:
    """Run the fleet so many days from today; how each account ended."""

    def run(days: int, expect: int = 0) -> Mapping[str, Mapping[str, Any]]:
        now = TODAY + timedelta(days)
        for module in (archiving, fingerprints, retention, steps):
            monkeypatch.setattr(module, "utc_today", now.date)
        monkeypatch.setattr(light, "utc_moment", lambda: now + timedelta(hours=1))
        monkeypatch.setattr(fingerprints, "utc_now", lambda: f"{now:%Y-%m-%dT%H:%M:%SZ}")
        capsys.readouterr()
        assert invoke(["run", str(tmp_path), "--json"]) == expect
        return {each["account"]: each for each in json.loads(capsys.readouterr().out)["accounts"]}

    return run


def add(server: Dovecot, user: str, number: int, days: int) -> None:
    """A message that arrived so many days from today."""
    at = f"{TODAY + timedelta(days):%d-%b-%Y %H:%M:%S +0000}"
    server.append_many(user, "INBOX", [Append(mail(number), internaldate=at)])


def until(directory: Path, name: str) -> str | None:
    """The day from which the account is opened."""
    found = Fingerprint.read(ledger_of(directory)[name].fingerprint)
    assert found is not None
    return found.until


def test_what_becomes_too_old_is_nothing_to_do(dovecot: Dovecot, tmp_path: Path, night: Night) -> None:
    user = dovecot.fresh_user()
    for number, days in enumerate((-40, -29, -2)):
        add(dovecot, user, number, days)
    member(tmp_path, dovecot, user, name="a", messages__newer_than="30d")
    member(tmp_path, dovecot, dovecot.fresh_user(), name="b")
    first = night(0)["a"]["totals"]

    assert (first["stored"], first["excluded"]) == (2, 1)
    assert [opened(night(days)) for days in (0, 1, 5)] == [set()] * 3
    add(dovecot, user, 3, -3)
    ended = night(6)
    assert opened(ended) == {"a"}
    assert (ended["a"]["totals"]["stored"], ended["a"]["totals"]["excluded"]) == (3, 1)
    assert opened(night(6)) == set()


def test_what_becomes_old_enough_is_fetched_on_its_day(dovecot: Dovecot, tmp_path: Path, night: Night) -> None:
    users = {name: dovecot.fresh_user() for name in ("all-old", "some-young")}
    for name, user in users.items():
        add(dovecot, user, 0, -40)
        member(tmp_path, dovecot, user, name=name, messages__older_than="30d")
    add(dovecot, users["some-young"], 1, -29)
    night(0)

    assert opened(night(0)) == set()
    second = night(2)
    assert opened(second) == {"some-young"}
    assert second["some-young"]["totals"]["fetched"] == 1
    assert opened(night(3)) == set()  # now it is old, too


def test_a_rule_of_retention_is_looked_at_on_its_day(dovecot: Dovecot, tmp_path: Path, night: Night) -> None:
    users = {name: dovecot.fresh_user() for name in ("none-gone", "one-gone", "one-held")}
    for name, user in users.items():
        dovecot.append_many(user, "INBOX", [Append(mail(number)) for number in range(20)])
        keys = {"retention__vanished": "5d", "archive__durability": "batch"}
        member(tmp_path, dovecot, user, name=name, **keys)
    night(0)
    for name in ("one-gone", "one-held"):
        dovecot.expunge(users[name], "INBOX", [1])
    assert invoke(["hold", str(tmp_path / "one-held.toml"), "--reason", "a court asked"]) == 0
    night(0)

    day = f"{TODAY + timedelta(6):%Y-%m-%d}"
    assert [until(tmp_path, name) for name in users] == [None, day, day]
    assert [opened(night(days)) for days in (0, 5)] == [set()] * 2
    ended = night(6)
    assert opened(ended) == {"one-gone", "one-held"}
    kinds = {name: [each["kind"] for each in _notices(ended[name])] for name in users}
    assert kinds == {"none-gone": [], "one-gone": ["forgotten"], "one-held": ["held"]}
    assert opened(night(6)) == set()
    assert invoke(["release", str(tmp_path / "one-held.toml"), "1", "--reason", "it is settled"]) == 0
    released = night(6)
    assert opened(released) == {"one-held"}
    assert [each["kind"] for each in _notices(released["one-held"])] == ["forgotten"]


def _notices(ended: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(ended["report"]).read_text())["notices"]
    return found


def test_what_waits_for_a_confirmation_is_never_just_looked_at(
    dovecot: Dovecot, tmp_path: Path, night: Night
) -> None:
    user = dovecot.fresh_user()
    dovecot.append_many(user, "INBOX", [Append(mail(number)) for number in range(20)])
    member(tmp_path, dovecot, user, name="a", retention__vanished="5d", archive__durability="batch")
    member(tmp_path, dovecot, dovecot.fresh_user(), name="b")
    night(0)
    dovecot.expunge(user, "INBOX", range(1, 10))
    night(0)

    assert opened(night(5)) == set()
    for _ in range(2):
        assert opened(night(6, expect=3)) == {"a"}


def test_what_a_search_finds_is_asked_every_time(dovecot: Dovecot, tmp_path: Path, night: Night) -> None:
    for name in ("a", "b"):
        user = dovecot.fresh_user()
        add(dovecot, user, 0, -40)
        member(tmp_path, dovecot, user, name=name, messages__search="SEEN" if name == "b" else None)
    night(0)

    assert opened(night(0)) == {"b"}
