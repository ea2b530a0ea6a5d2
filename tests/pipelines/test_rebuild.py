"""`archiver rebuild`: the catalog from Maildir and journal alone, and what was there before is kept."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.config.load import load_account
from pipelines.cli.rebuild import Rebuilt, rebuild_account, to_json
from pipelines.cli.verify import VerifyOptions, verify_accounts
from pipelines.outcome import AccountOutcome
from tests.accounts import (
    CATALOG,
    account_file,
    archive_of,
    archive_state,
    assert_whole,
    journal_files,
    run,
    snapshot_files,
)
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

START = Callable[..., ScriptedServer]
SENT = b"Sent"


def message(number: int, *flags: str) -> ScriptedMessage:
    octets = b"Message-ID: <%d@x>\r\nSubject: number %d\r\n\r\n%s\r\n" % (number, number, b"x" * number)
    return ScriptedMessage(octets, flags, modseq=1)


@pytest.fixture
def server(scripted: START) -> ScriptedServer:
    return scripted(
        {
            b"INBOX": ScriptedFolder(7, {uid: message(uid, "\\Seen", "$Forwarded") for uid in range(1, 11)}),
            SENT: ScriptedFolder(8, {uid: message(uid) for uid in range(1, 6)}, subscribed=True),
            b"Old": ScriptedFolder(6, {1: message(60)}),
        }
    )


@pytest.fixture
def account(server: ScriptedServer, tmp_path: Path) -> Path:
    """An account with all there can be: changed flags, a vanished message, an ended epoch, a folder that is no
    longer listed, a quarantined message."""
    server.folders[b"INBOX"].messages[9].fetch = "nil"
    config = account_file(tmp_path, server, "u1")
    run(config, expect=3)
    inbox = server.folders[b"INBOX"]
    del inbox.messages[10]
    inbox.vanished[10] = 2
    inbox.messages[1] = message(1, "\\Answered", "Label1")
    inbox.messages[1].modseq = 3
    server.folders[SENT] = ScriptedFolder(9, {uid: message(uid + 100) for uid in range(1, 4)}, subscribed=True)
    del server.folders[b"Old"]
    run(config, expect=3)
    return config


def rebuild(config: Path, *, expect: int = 0) -> AccountOutcome[Rebuilt]:
    outcome = rebuild_account(load_account(config), lambda _, __: None)
    assert outcome.exit_code == expect, outcome.message
    return outcome


def remove_catalog(archive: Path) -> None:
    for name in (CATALOG, f"{CATALOG}-wal", f"{CATALOG}-shm"):
        (archive / name).unlink(missing_ok=True)


def test_the_rebuilt_catalog_is_the_one_that_was_there(account: Path) -> None:
    archive = archive_of(account)
    before, files = archive_state(archive), snapshot_files(archive)
    outcome = rebuild(account)
    assert archive_state(archive) == before
    assert snapshot_files(archive) == files
    assert (outcome.result.segments, outcome.result.messages, outcome.result.orphans) == (
        len(journal_files(archive)),
        len(before.messages),
        (),
    )
    assert outcome.result.aside is not None
    assert Path(outcome.result.aside).name.startswith(f"{CATALOG}.before-")
    assert to_json(outcome)["aside"] == outcome.result.aside
    assert Path(outcome.result.aside).is_file()
    assert not list(archive.glob(f"{CATALOG}.rebuild*"))


def test_a_catalog_that_is_lost_altogether_is_recreated(account: Path) -> None:
    before = archive_state(archive_of(account))
    remove_catalog(archive_of(account))
    assert rebuild(account).result.aside is None
    assert archive_state(archive_of(account)) == before


@pytest.mark.parametrize("octets", [b"", b"this is no database" * 1000])
def test_a_damaged_catalog_is_put_aside(account: Path, octets: bytes) -> None:
    archive = archive_of(account)
    before = archive_state(archive)
    remove_catalog(archive)
    (archive / CATALOG).write_bytes(octets)
    outcome = rebuild(account)
    assert archive_state(archive) == before
    assert outcome.result.aside is not None
    if octets:
        assert Path(outcome.result.aside).read_bytes() == octets


def test_a_run_after_a_rebuild_changes_nothing_and_fetches_nothing_new(
    account: Path, server: ScriptedServer
) -> None:
    rebuild(account)
    before = archive_state(archive_of(account))
    result = run(account, expect=3)
    assert result.total("fetched", "flags_changed", "vanished") == (0, 0, 0)
    assert result.balanced
    assert archive_state(archive_of(account)) == before


def test_a_store_left_in_disorder_is_put_in_order(account: Path) -> None:
    archive = archive_of(account)
    before = archive_state(archive)
    vanished = next((archive / "vanished/.INBOX.V7/cur").iterdir())
    vanished.rename(archive / "Maildir/cur" / vanished.name)
    renamed = next((archive / "Maildir/cur").glob("*U3.*"))
    renamed.rename(renamed.with_name(renamed.name.partition(":")[0] + ":2,T"))
    (archive / "Maildir/.Sent/dovecot-uidlist").unlink()
    (archive / "Maildir/subscriptions").unlink()
    (archive / "Maildir/.Sent/archiver-folder.json").write_text("{}")
    remove_catalog(archive)
    rebuild(account)
    assert archive_state(archive) == before
    assert_whole(archive)


def test_octets_without_facts_are_reported_and_adopted_by_the_next_run(
    account: Path, server: ScriptedServer
) -> None:
    archive = archive_of(account)
    journal = archive / "journal"
    known = set(journal_files(archive))
    server.folders[SENT].messages[9] = message(9)
    server.folders[SENT].messages[9].modseq = 5
    run(account, expect=3)
    assert_whole(archive)
    whole = archive_state(archive)
    for name in set(journal_files(archive)) - known:  # as if killed before it wrote them
        (journal / name).unlink()
    remove_catalog(archive)
    (orphan,) = rebuild(account).result.orphans
    assert (archive / orphan).is_file()
    assert "U9." in orphan
    fetched_before = _bodies(server)
    run(account, expect=3)
    assert _bodies(server) - fetched_before <= {b"9"}  # the quarantined one alone
    assert archive_state(archive).files == whole.files
    assert archive_state(archive).control_files == whole.control_files
    assert_whole(archive)


def _bodies(server: ScriptedServer) -> set[bytes]:
    return {command.split()[2] for command in server.commands if b"BODY.PEEK[]" in command}


@pytest.mark.parametrize("catalog", ["there", "lost"])
def test_a_damaged_journal_is_refused_and_the_old_catalog_stays(account: Path, catalog: str) -> None:
    archive = archive_of(account)
    if catalog == "lost":
        remove_catalog(archive)
    files = snapshot_files(archive)
    name = journal_files(archive)[2]
    path = archive / "journal" / name
    path.write_bytes(path.read_bytes()[:-5])
    old = (archive / CATALOG).read_bytes() if catalog == "there" else None
    assert name in rebuild(account, expect=6).message
    assert [each.name for each in archive.glob(f"{CATALOG}*")] == ([CATALOG] if old is not None else [])
    if old is not None:
        assert (archive / CATALOG).read_bytes() == old
    assert snapshot_files(archive) == files


def test_a_segment_missing_in_the_middle_is_named(account: Path) -> None:
    (archive_of(account) / "journal" / journal_files(archive_of(account))[2]).unlink()
    assert "segment 3 is missing" in rebuild(account, expect=6).message


def test_a_journal_that_lost_its_end_does_not_replace_a_catalog_that_knows_more(account: Path) -> None:
    archive = archive_of(account)
    before = archive_state(archive)
    *_, last = journal_files(archive)
    (archive / "journal" / last).unlink()
    assert "the catalog has segment" in rebuild(account, expect=6).message
    assert archive_state(archive) == before


def test_an_empty_journal_replaces_nothing(account: Path) -> None:
    archive = archive_of(account)
    shutil.rmtree(archive / "journal")
    before = archive_state(archive)
    assert "the journal is empty" in rebuild(account, expect=6).message
    assert archive_state(archive) == before


def test_an_account_without_an_archive_has_nothing_to_rebuild(server: ScriptedServer, tmp_path: Path) -> None:
    config = account_file(tmp_path, server, "u1")
    assert "there is no archive here yet" in rebuild(config, expect=2).message
    assert not archive_of(config).exists()


def test_nothing_is_rebuilt_while_another_run_holds_the_lock(account: Path) -> None:
    with (archive_of(account) / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert "another run holds the lock" in rebuild(account, expect=7).message
    assert len(list(archive_of(account).glob(f"{CATALOG}.before-*"))) == 0


def test_a_rebuilt_archive_is_verified_as_whole(account: Path) -> None:
    remove_catalog(archive_of(account))
    rebuild(account)
    (outcome,) = verify_accounts([load_account(account)], VerifyOptions(), lambda _, __: None)
    assert outcome.exit_code == 0, outcome.message


def test_the_next_run_after_a_rebuild_looks_through_the_store(account: Path) -> None:
    rebuild(account)
    assert "checking what is in the archive" in run(account, expect=3).output
    assert "checking what is in the archive" not in run(account, expect=3).output


def test_a_new_archive_is_not_looked_through(server: ScriptedServer, tmp_path: Path) -> None:
    assert "checking what is in the archive" not in run(account_file(tmp_path, server, "u1")).output
