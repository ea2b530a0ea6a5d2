"""`mark`: what only people know of a migration, in the journal and in the ledger."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from archiver.account.account import Account as ConfiguredAccount
from archiver.config.load import load_account
from archiver.fleet.model import Account, Enrolled
from archiver.fleet.open import open_ledger
from pipelines.fleet.history import MigrationState, known_state
from tests.accounts import CATALOG, Archiver, account_file, archive_of, command, mails, run
from tests.servers.dovecot import Dovecot


@pytest.fixture
def config(dovecot: Dovecot, mail_user: str, tmp_path: Path) -> Path:
    dovecot.append_many(mail_user, "INBOX", mails(range(3)))
    (tmp_path / "defaults.toml").touch()
    return account_file(tmp_path, dovecot, mail_user)


def known(config: Path) -> MigrationState:
    with ConfiguredAccount(load_account(config)).opened() as archive:
        return known_state(archive)


def test_the_catalog_knows_the_state_without_a_ledger(config: Path, archiver: Archiver) -> None:
    run(config, run_id="one")
    assert (known(config).state, known(config).by) == ("presynced", "one")
    run(config)
    run(config)
    assert known(config).state == "delta"
    (marked,) = archiver("mark", config, "frozen", "--by", "the mail team", "--reason", "change 4711")["accounts"]
    assert (marked["before"], marked["state"], marked["warnings"]) == ("delta", "frozen", [])
    assert known(config).by == "the mail team"
    time.sleep(1.01 - time.time() % 1)  # in one second a person has the last word
    run(config, run_id="final")
    assert (known(config).state, known(config).by) == ("final", "final")
    (archive_of(config) / CATALOG).unlink()
    archiver("rebuild", config)
    assert known(config) == MigrationState("frozen", known(config).since, "the mail team")
    archiver("verify", config, "--offline")


def test_a_rebuilt_catalog_without_a_mark_counts_as_archived(config: Path, archiver: Archiver) -> None:
    run(config)
    run(config)
    (archive_of(config) / CATALOG).unlink()
    archiver("rebuild", config)
    assert known(config).state == "presynced"


def test_a_cutover_that_was_not_verified_needs_a_yes(config: Path, archiver: Archiver) -> None:
    (refused,) = archiver("mark", config, "cutover", expect=2)["accounts"]
    assert "has no archive yet, in whose journal a mark is kept" in refused["message"]
    run(config)
    (refused,) = archiver("mark", config, "cutover", expect=2)["accounts"]
    assert (
        "is presynced, not verified: nobody marked its source as frozen; no run was complete" in refused["message"]
    )
    assert known(config).state == "presynced"
    (marked,) = archiver("mark", config, "cutover", "--yes")["accounts"]
    assert (marked["state"], len(marked["warnings"])) == ("cutover", 1)
    (back,) = archiver("mark", config, "delta")["accounts"]
    assert back["warnings"] == ["from the next run on, flags and deletions are followed at the destination again"]


def in_ledger(config: Path) -> Account:
    """The account's row."""
    place = load_account(config).fleet
    assert place is not None
    ledger = open_ledger(place)
    try:
        return ledger.accounts.known()[place.account]
    finally:
        ledger.close()


def test_the_whole_way_is_in_the_ledger_and_a_lost_one_is_filled_again(config: Path, archiver: Archiver) -> None:
    archiver("check", config)
    assert in_ledger(config).state == "checked"
    archiver("run", config, "--run", "one")
    archiver("run", config, "--run", "one")
    assert (in_ledger(config).state, in_ledger(config).state_by) == ("presynced", "one")
    archiver("run", config)
    archiver("mark", config, "frozen")
    archiver("verify", config)
    assert in_ledger(config).state == "frozen"
    time.sleep(1.01 - time.time() % 1)
    archiver("run", config, "--run", "last")
    assert in_ledger(config).state == "final"
    archiver("verify", config, "--offline")
    assert in_ledger(config).state == "final"
    archiver("verify", config)
    before = in_ledger(config)
    assert (before.state, before.state_by) == ("verified", "verify")
    for file in config.parent.glob("fleet.sqlite*"):
        file.unlink()
    archiver("check", config)
    after = in_ledger(config)
    assert (after.state, after.state_by) == ("final", "last")  # nothing but the ledger knew that it was verified
    assert before.last is not None
    assert after.last is not None
    assert (after.last.run, after.last.exit_code, after.last.ended) == ("last", 0, before.last.ended)
    assert (after.success, after.amounts) == (before.success, before.amounts)


def test_the_ledger_gets_it_and_decides_what_was_there_before(config: Path, archiver: Archiver) -> None:
    archiver("run", config)
    place = load_account(config).fleet
    assert place is not None
    ledger = open_ledger(place)
    ledger.accounts.set_state([place.account], "verified", "2026-11-20T00:00:00Z", "verify")
    shown = command("mark", config, "cutover", "--by", "me").output
    assert f"{place.account}: cutover since 20" in shown
    assert "says me; it was verified" in shown
    assert (in_ledger(config).state, in_ledger(config).state_by) == ("cutover", "me")
    ledger.accounts.forget([place.account])
    ledger.accounts.enrol([Enrolled(place.account, "", "another at elsewhere", "elsewhere")])
    ledger.close()
    assert "is it the ledger of another fleet?" in command("run", config, expect=2).output
    archiver("mark", config, "new")
    archiver("run", config)
