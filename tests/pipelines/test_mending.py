"""`archiver repair`: what is missing or damaged is fetched again from where it still is; what is lost is named."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.config.load import load_account
from archiver.upkeep.repair import RepairResult
from pipelines.cli.main import invoke
from pipelines.cli.repair import RepairOptions, repair_accounts
from pipelines.cli.verify import VerifyOptions, verify_accounts
from pipelines.outcome import AccountOutcome
from tests.accounts import account_file, archive_of, archive_state, run
from tests.faults.replays import migration
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import SMALL, generate
from tests.servers.scripted import DESTINATION, ScriptedFolder, ScriptedMessage, ScriptedServer

START = Callable[..., ScriptedServer]
SENT = b"Sent"


def message(number: int, body: bytes = b"x") -> ScriptedMessage:
    octets = b"Message-ID: <%d@x>\r\nSubject: number %d\r\n\r\n%s\r\n" % (number, number, body * number)
    return ScriptedMessage(octets, ("\\Seen", "later") if number % 2 else ())


@pytest.fixture
def server(scripted: START) -> ScriptedServer:
    return scripted(
        {
            b"INBOX": ScriptedFolder(7, {uid: message(uid) for uid in range(1, 11)}, subscribed=True),
            SENT: ScriptedFolder(8, {uid: message(uid + 20) for uid in range(1, 6)}),
        }
    )


@pytest.fixture
def account(server: ScriptedServer, tmp_path: Path) -> Path:
    config = account_file(tmp_path, server, "u1", source__attempts=1)
    run(config)
    return config


def repair(config: Path, *, expect: int = 0, dry_run: bool = False) -> AccountOutcome[RepairResult]:
    (outcome,) = repair_accounts([load_account(config)], RepairOptions(dry_run=dry_run), lambda _, __: None)
    assert outcome.exit_code == expect, outcome.message
    return outcome


def verified(config: Path) -> int:
    (outcome,) = verify_accounts([load_account(config)], VerifyOptions(offline=True), lambda _, __: None)
    return outcome.exit_code


def file_of(config: Path, folder: str, uid: int) -> Path:
    (found,) = (archive_of(config) / folder / "cur").glob(f"*U{uid}.*")
    return found


def flip(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[-3] ^= 1
    path.write_bytes(octets)


def repaired(outcome: AccountOutcome[RepairResult]) -> dict[tuple[str | None, int], str]:
    assert outcome.result is not None
    return {(each.folder, each.uid): each.origin for each in outcome.result.repaired}


def lost(outcome: AccountOutcome[RepairResult]) -> list[tuple[str | None, int]]:
    assert outcome.result is not None
    return [(each.folder, each.uid) for each in outcome.result.lost]


def test_a_whole_archive_needs_nothing_and_no_server(account: Path, server: ScriptedServer) -> None:
    before = archive_state(archive_of(account))
    server.stop()
    outcome = repair(account)
    assert outcome.message == "15 messages checked: nothing is missing or damaged"
    assert archive_state(archive_of(account)) == before


def test_missing_and_damaged_messages_come_from_the_source(account: Path) -> None:
    before = archive_state(archive_of(account))
    file_of(account, "Maildir", 3).unlink()
    flip(file_of(account, "Maildir", 5))
    cut = file_of(account, "Maildir/.Sent", 2)
    cut.write_bytes(b"")
    assert repaired(repair(account)) == {
        ("INBOX", 3): "the source", ("INBOX", 5): "the source", ("Sent", 2): "the source",
    }  # fmt: skip
    assert archive_state(archive_of(account)) == before
    assert verified(account) == 0
    assert repaired(repair(account)) == {}


def test_a_damaged_file_that_a_mail_program_renamed_gives_way(account: Path) -> None:
    path = file_of(account, "Maildir", 4)
    renamed = path.rename(path.with_name(path.name + "F"))
    flip(renamed)
    repair(account)
    assert verified(account) == 0
    assert not renamed.exists()


def test_a_dry_run_says_from_where_and_writes_nothing(account: Path) -> None:
    path = file_of(account, "Maildir", 3)
    flip(path)
    before = sorted((each, each.stat().st_mtime_ns) for each in archive_of(account).rglob("*U*"))
    outcome = repair(account, dry_run=True)
    assert repaired(outcome) == {("INBOX", 3): "the source"}
    assert "1 can be repaired" in outcome.message
    assert sorted((each, each.stat().st_mtime_ns) for each in archive_of(account).rglob("*U*")) == before
    assert verified(account) == 6


def test_other_octets_under_the_same_uid_are_not_accepted(account: Path, server: ScriptedServer) -> None:
    path = file_of(account, "Maildir", 3)
    flip(path)
    damaged = path.read_bytes()
    server.folders[b"INBOX"].messages[3] = message(3, b"y")
    outcome = repair(account, expect=6)
    assert lost(outcome) == [("INBOX", 3)]
    assert path.read_bytes() == damaged


def test_another_epoch_of_the_folder_is_not_asked(account: Path, server: ScriptedServer) -> None:
    file_of(account, "Maildir", 3).unlink()
    server.folders[b"INBOX"].uidvalidity = 99
    assert lost(repair(account, expect=6)) == [("INBOX", 3)]


def test_what_is_lost_is_named_with_date_and_subject(account: Path, server: ScriptedServer) -> None:
    file_of(account, "Maildir", 3).unlink()
    file_of(account, "Maildir", 4).unlink()
    del server.folders[b"INBOX"].messages[3]
    outcome = repair(account, expect=6)
    assert repaired(outcome) == {("INBOX", 4): "the source"}
    assert outcome.result is not None
    (gone,) = outcome.result.lost
    assert (gone.folder, gone.uid, gone.subject) == ("INBOX", 3, "number 3")
    assert gone.reason == "its bytes are not in the store; no other copy was found"


def test_a_source_that_cannot_be_asked_is_reported_and_nothing_is_harmed(
    account: Path, server: ScriptedServer
) -> None:
    file_of(account, "Maildir", 3).unlink()
    server.stop()
    outcome = repair(account, expect=6)
    assert lost(outcome) == [("INBOX", 3)]
    assert "not contacted: the source: " in outcome.message


def test_a_copy_elsewhere_in_the_archive_is_enough(scripted: START, tmp_path: Path) -> None:
    same = message(5).octets
    server = scripted(
        {
            b"INBOX": ScriptedFolder(7, {1: ScriptedMessage(same, (), "01-Mar-2021 10:00:00 +0000")}),
            SENT: ScriptedFolder(8, {1: ScriptedMessage(same, (), "02-Mar-2021 10:00:00 +0000")}),
        }
    )
    config = account_file(tmp_path, server, "u1")
    run(config)
    server.stop()
    flip(file_of(config, "Maildir", 1))
    assert repaired(repair(config)) == {("INBOX", 1): "the archive itself"}
    assert verified(config) == 0


def test_all_places_of_the_same_octets_are_repaired_with_their_own_dates(scripted: START, tmp_path: Path) -> None:
    same = message(5).octets
    dates = ["01-Mar-2021 10:00:00 +0000", "02-Mar-2021 10:00:00 +0000", "02-Mar-2021 10:00:00 +0000"]
    server = scripted(
        {b"INBOX": ScriptedFolder(7, {uid: ScriptedMessage(same, (), date) for uid, date in enumerate(dates, 1)})}
    )
    config = account_file(tmp_path, server, "u1")
    run(config)
    before = archive_state(archive_of(config))
    for path in archive_of(config).glob("Maildir/cur/*"):
        path.unlink()
    assert sorted(repaired(repair(config))) == [("INBOX", 1), ("INBOX", 2), ("INBOX", 3)]
    assert archive_state(archive_of(config)) == before


def test_a_large_message_goes_by_a_file_that_is_gone_afterwards(scripted: START, tmp_path: Path) -> None:
    large = b"Subject: large\r\n\r\n" + os.urandom(3 << 20).hex().encode()
    server = scripted({b"INBOX": ScriptedFolder(7, {1: ScriptedMessage(large), 2: ScriptedMessage(large)})})
    config = account_file(tmp_path, server, "u1")
    run(config)
    for path in archive_of(config).glob("Maildir/cur/*"):
        path.write_bytes(b"damaged")
    assert len(repaired(repair(config, dry_run=True))) == 2
    assert len(repaired(repair(config))) == 2
    assert verified(config) == 0
    assert list(archive_of(config).glob("spool/*")) == []


def test_what_left_the_source_comes_from_the_destination(
    server: ScriptedServer, scripted: START, tmp_path: Path
) -> None:
    there = scripted({b"INBOX": ScriptedFolder(1, {})}, capabilities=DESTINATION, writable=True)
    config = migration(tmp_path, server, "u1", there, "u1", source__attempts=1)
    run(config)
    before = archive_state(archive_of(config))
    del server.folders[b"INBOX"].messages[3]
    file_of(config, "Maildir", 3).unlink()
    flip(file_of(config, "Maildir", 4))
    assert repaired(repair(config)) == {("INBOX", 3): "the destination", ("INBOX", 4): "the source"}
    assert archive_state(archive_of(config)) == before
    server.stop()
    flip(file_of(config, "Maildir/.Sent", 1))
    outcome = repair(config)
    assert repaired(outcome) == {("Sent", 1): "the destination"}
    assert archive_state(archive_of(config)) == before


def test_a_vanished_message_comes_from_the_destination(
    server: ScriptedServer, scripted: START, tmp_path: Path
) -> None:
    there = scripted({b"INBOX": ScriptedFolder(1, {})}, capabilities=DESTINATION, writable=True)
    config = migration(tmp_path, server, "u1", there, "u1")
    run(config)
    del server.folders[b"INBOX"].messages[10]
    server.folders[b"INBOX"].vanished[10] = 2
    run(config)
    file_of(config, "vanished/.INBOX.V7", 10).unlink()
    assert repaired(repair(config)) == {("INBOX", 10): "the destination"}
    assert verified(config) == 0


def test_a_destination_that_rewrites_has_other_octets(
    server: ScriptedServer, scripted: START, tmp_path: Path
) -> None:
    there = scripted({b"INBOX": ScriptedFolder(1, {})}, capabilities=DESTINATION, writable=True)
    config = migration(tmp_path, server, "u1", there, "u1", source__attempts=1)
    run(config)
    for folder in there.folders.values():
        for uid, each in folder.messages.items():
            folder.messages[uid] = ScriptedMessage(each.octets + b"\r\n", each.flags, each.internaldate)
    server.stop()
    file_of(config, "Maildir", 3).unlink()
    assert lost(repair(config, expect=6)) == [("INBOX", 3)]


def test_a_whole_account_is_repaired_from_real_servers_that_are_only_read(
    dovecot: Dovecot, mail_user: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    new_user = dovecot.fresh_user()
    dovecot.install(mail_user, generate(tmp_path / "home", SMALL).home)
    config = migration(tmp_path, dovecot, mail_user, dovecot, new_user)
    run(config)
    before = archive_state(archive_of(config))
    dovecot.expunge(mail_user, "INBOX", range(1, 200))
    source, there = dovecot.dump(mail_user), dovecot.dump(new_user)
    files = sorted(path for path in archive_of(config).rglob("cur/*") if path.is_file())
    chosen = random.Random(1).sample(files, 300)
    for number, path in enumerate(chosen):
        path.unlink() if number % 2 or not path.stat().st_size else path.write_bytes(b"x" * path.stat().st_size)

    origins = Counter(repaired(repair(config)).values())

    assert min(origins["the source"], origins["the destination"]) > 10
    assert archive_state(archive_of(config)) == before
    assert verified(config) == 0
    assert (dovecot.dump(mail_user), dovecot.dump(new_user)) == (source, there)


def test_strays_are_left_alone(account: Path) -> None:
    stray = archive_of(account) / "Maildir/cur/anything"
    stray.write_bytes(b"x")
    repair(account)
    assert stray.read_bytes() == b"x"


def test_as_json(account: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    file_of(account, "Maildir", 3).unlink()
    file_of(account, "Maildir", 4).unlink()
    del server.folders[b"INBOX"].messages[3]
    assert invoke(["repair", str(account), "--json"]) == 6
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["dry_run"], document["exit_code"]) == ("archiver-repair/1", False, 6)
    (result,) = document["accounts"]
    assert [each["uid"] for each in result["mended"]] == [4]
    assert [(each["uid"], each["subject"], each["size"]) for each in result["lost"]] == [(3, "number 3", 45)]
    assert (result["messages"], result["unasked"], result["damage"]) == (15, [], [])


def test_as_text(account: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    file_of(account, "Maildir", 3).unlink()
    file_of(account, "Maildir", 4).unlink()
    del server.folders[b"INBOX"].messages[3]
    assert invoke(["repair", str(account)]) == 6
    said = capsys.readouterr().out
    assert 'folder "INBOX", uid 4: from the source' in said
    assert 'lost: folder "INBOX", uid 3, ' in said
    assert '"number 3": its bytes are not in the store; no other copy was found' in said
