"""`archiver verify`: what is missing, damaged or strange in an archive is named; what is whole is said to be."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from archiver.config.load import load_account
from pipelines.cli.verify import VerifyOptions, VerifyOutcome, to_json, verify_accounts
from pipelines.events import AnyEvent
from pipelines.outcome import AccountOutcome
from tests.accounts import CATALOG, account_file, archive_of, archive_state, journal_files, run
from tests.servers.scripted import ScriptedFolder, ScriptedMessage, ScriptedServer

START = Callable[..., ScriptedServer]
SENT = b"Gesendete Objekte"


def message(number: int) -> ScriptedMessage:
    octets = b"Message-ID: <%d@x>\r\nSubject: number %d\r\n\r\n%s\r\n" % (number, number, b"x" * number)
    flags = ("\\Seen", "$Forwarded") if number % 2 else ()
    return ScriptedMessage(octets, flags)


@pytest.fixture
def server(scripted: START) -> ScriptedServer:
    return scripted(
        {
            b"INBOX": ScriptedFolder(7, {uid: message(uid) for uid in range(1, 11)}, subscribed=True),
            SENT: ScriptedFolder(
                8, {uid: message(uid + 50) for uid in range(1, 6)}
            ),  # equal ones would be one file
        }
    )


@pytest.fixture
def account(server: ScriptedServer, tmp_path: Path) -> Path:
    """An account whose archive has present messages, a vanished one and an ended epoch."""
    config = account_file(tmp_path, server, "u1")
    run(config)
    del server.folders[b"INBOX"].messages[10]
    server.folders[b"INBOX"].vanished[10] = 2
    server.folders[SENT] = ScriptedFolder(9, {uid: message(uid + 100) for uid in range(1, 4)})
    run(config)
    return config


def verify(config: Path, *, expect: int = 0, sample: float | None = None) -> AccountOutcome[VerifyOutcome]:
    (outcome,) = verify_accounts([load_account(config)], VerifyOptions(sample=sample), lambda _, __: None)
    assert outcome.exit_code == expect, outcome.message
    return outcome


def file_of(config: Path, folder: str, uid: int) -> Path:
    (found,) = (archive_of(config) / folder / "cur").glob(f"*U{uid}.*")
    return found


def test_an_intact_archive_is_reported_intact_and_is_not_changed(account: Path) -> None:
    before = archive_state(archive_of(account))
    outcome = verify(account)
    assert outcome.result is not None
    assert (outcome.result.archive.messages, outcome.result.archive.checked) == (18, 18)
    assert outcome.result.archive.octets == sum(each.size for each in before.messages.values())
    assert "all intact" in outcome.message
    assert archive_state(archive_of(account)) == before
    assert not list(archive_of(account).glob(f"{CATALOG}.*verify*"))


def test_an_archive_into_which_nothing_came_yet_is_not_called_whole(server: ScriptedServer, tmp_path: Path) -> None:
    config = account_file(tmp_path, server, "u1")
    server.on(b"EXAMINE", b"NO [SERVERBUG] not today", times=2)
    run(config, expect=3)
    nothing = f"nothing was archived yet, so there is nothing to check; `archiver run {config}` archives it"
    assert verify(config, expect=3).message == nothing
    for each in server.folders.values():
        each.messages.clear()
    run(config)
    assert verify(config).message == "0 messages, as all folders are empty"


def test_missing_messages_are_named_present_vanished_or_of_an_ended_epoch(account: Path) -> None:
    lost = [
        file_of(account, "Maildir", 3),
        file_of(account, "vanished/.INBOX.V7", 10),
        file_of(account, "vanished/.Gesendete Objekte.V8", 2),
    ]
    for path in lost:
        path.unlink()
    result = verify(account, expect=6).result.archive
    assert result is not None
    assert [(each.folder, each.uid, each.path) for each in result.missing] == [
        (name, uid, path.relative_to(archive_of(account)).as_posix())
        for name, uid, path in zip(("INBOX", "INBOX", "Gesendete Objekte"), (3, 10, 2), lost, strict=True)
    ]
    assert (result.damaged, result.strays, result.journal, result.catalog) == ((), (), None, None)


def test_a_changed_octet_and_a_cut_file_are_damage(account: Path) -> None:
    flipped, cut = file_of(account, "Maildir", 3), file_of(account, "Maildir", 4)
    octets = bytearray(flipped.read_bytes())
    octets[20] ^= 1
    flipped.write_bytes(octets)
    cut.write_bytes(cut.read_bytes()[:-1])
    result = verify(account, expect=6).result.archive
    assert result is not None
    assert [each.uid for each in result.damaged] == [3, 4]
    assert "its bytes have the digest" in result.damaged[0].reason
    assert "bytes, was stored with" in result.damaged[1].reason
    assert (result.missing, result.strays) == ((), ())


@pytest.mark.parametrize(
    "place",
    [
        "Maildir/cur/1577836800.V7U77.0123456789abcdef,S=1,W=1:2,",
        "Maildir/new/1577836800.M1P2.host",
        "Maildir/.Gesendete Objekte/cur/anything",
        "Maildir/.Gesendete Objekte/note.txt",
        "Maildir/note.txt",
        "Maildir/.New/cur/1577836800.M1P2.host:2,S",
        "vanished/.INBOX.V7/cur/anything",
        "vanished/note.txt",
    ],
)
def test_a_file_that_no_message_accounts_for_is_a_stray(account: Path, place: str) -> None:
    path = archive_of(account) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    result = verify(account, expect=4).result.archive
    assert result is not None
    assert [each.path for each in result.strays] == [place]
    assert (result.missing, result.damaged) == ((), ())


def test_a_message_that_a_mail_program_renamed_is_whole_but_not_in_its_place(account: Path) -> None:
    path = file_of(account, "Maildir", 4)
    path.rename(path.with_name(path.name + "T"))
    result = verify(account, expect=4).result.archive
    assert result is not None
    assert [(each.path, each.reason) for each in result.strays] == [
        (f"Maildir/cur/{path.name}T", "a message of the archive, but under another name than recorded")
    ]


@pytest.mark.parametrize(
    "place",
    ["Maildir/dovecot.index", "Maildir/.notmuch/xapian/flintlock", "Maildir/.mbsyncstate", "Maildir/tmp/leftover"],
)
def test_what_other_programs_keep_in_a_maildir_is_no_stray(account: Path, place: str) -> None:
    path = archive_of(account) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    verify(account)


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_segment_that_is_lost_breaks_the_journal(account: Path, which: int) -> None:
    (archive_of(account) / "journal" / journal_files(archive_of(account))[which]).unlink()
    outcome = verify(account, expect=6)
    assert outcome.result is not None
    assert outcome.result.archive.journal is not None
    assert (outcome.result.archive.missing, outcome.result.archive.damaged, outcome.result.archive.strays) == (
        (),
        (),
        (),
    )


def test_a_damaged_segment_is_named_and_the_messages_are_verified_all_the_same(account: Path) -> None:
    name = journal_files(archive_of(account))[1]
    path = archive_of(account) / "journal" / name
    path.write_bytes(path.read_bytes()[:-9])
    outcome = verify(account, expect=6)
    assert outcome.result is not None
    assert name in (outcome.result.archive.journal or "")
    assert outcome.result.archive.checked == 18


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE message SET flags = '[\"\\\\Draft\"]' WHERE uid = 1",
        "DELETE FROM message WHERE uid = 1",
        "UPDATE folder SET listed = 0",
        "UPDATE epoch SET uidnext = 1",
        "UPDATE header SET subject = 'another'",
        "DELETE FROM header",
        "INSERT INTO pack VALUES ('00', 1)",
    ],
)
def test_a_catalog_that_disagrees_with_the_journal_is_detected(account: Path, change: str) -> None:
    with closing(sqlite3.connect(archive_of(account) / CATALOG)) as catalog, catalog:
        catalog.execute(change)
    outcome = verify(account, expect=6)
    assert outcome.result is not None
    assert outcome.result.archive.catalog is not None
    assert "archiver rebuild" in outcome.message


def test_a_segment_that_a_killed_run_left_is_no_difference(account: Path) -> None:
    with closing(sqlite3.connect(archive_of(account) / CATALOG)) as catalog, catalog:
        last = catalog.execute("SELECT max(number) FROM segment").fetchone()[0]
        catalog.execute("DELETE FROM pass WHERE segment = ?", (last,))
        catalog.execute("DELETE FROM segment WHERE number = ?", (last,))
    verify(account)


def test_a_sample_reads_some_and_looks_for_all(account: Path) -> None:
    first, again = verify(account, sample=0.5), verify(account, sample=0.5)
    assert first.result is not None
    assert first.result == again.result
    assert 0 < first.result.archive.checked < first.result.archive.messages == 18
    file_of(account, "Maildir", 1).unlink()
    cut = file_of(account, "Maildir", 2)
    cut.write_bytes(b"")
    result = verify(account, sample=0.0001, expect=6).result.archive
    assert result is not None
    assert [each.uid for each in result.missing] == [1]
    assert [each.uid for each in result.damaged] == [2]


def test_progress_adds_up_to_what_was_planned(account: Path) -> None:
    reported: list[AnyEvent] = []
    verify_accounts([load_account(account)], VerifyOptions(), lambda _, event: reported.append(event))
    planned = [(each.messages, each.octets) for each in reported if type(each).__name__ == "Planned"]
    verified = [(each.messages, each.octets) for each in reported if type(each).__name__ == "Verified"]
    assert [tuple(map(sum, zip(*verified, strict=True)))] == planned


def test_the_outcome_as_json_has_safe_names(server: ScriptedServer, tmp_path: Path) -> None:
    server.folders[b"evil\x1b[2J"] = ScriptedFolder(3, {1: message(1)})
    config = account_file(tmp_path, server, "u1")
    run(config)
    for path in (archive_of(config) / "Maildir").glob(".evil*/cur/*"):
        path.unlink()
    document = to_json(verify(config, expect=6))
    assert json.loads(json.dumps(document)) == document
    (missing,) = document["missing"]
    assert missing["folder"] == "evil\\x1b[2J"
    assert (document["account"], document["exit_code"], document["checked"]) == ("u1", 6, 16)


def test_an_account_that_cannot_be_verified_stops_only_itself(
    account: Path, server: ScriptedServer, tmp_path: Path
) -> None:
    settings = load_account(account)
    absent = load_account(account_file(tmp_path, server, "bob", archive__path=str(tmp_path / "none")))
    outcomes = verify_accounts([absent, settings], VerifyOptions(), lambda _, __: None)
    assert [each.exit_code for each in outcomes] == [2, 0]
    assert "there is no archive here yet" in outcomes[0].message
    assert to_json(outcomes[0]) == {
        "account": "bob", "exit_code": 2, "message": outcomes[0].message, "destination": None,
    }  # fmt: skip
    assert not (tmp_path / "none").exists()


def test_verify_does_not_wait_for_a_holder_of_the_lock(account: Path) -> None:
    with (archive_of(account) / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert "another run holds the lock" in verify(account, expect=7).message
    verify(account)
