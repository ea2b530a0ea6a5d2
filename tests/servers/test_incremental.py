"""The nightly run: nothing when nothing changed, exactly the changes otherwise, and the source as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.accounts import (
    RunResult,
    account_file,
    archive_of,
    archive_state,
    assert_whole,
    journal_files,
    mail,
    mails,
    run,
    snapshot_files,
)
from tests.servers.dovecot import Dovecot
from tests.servers.mailbox_generator import TINY, generate
from tests.servers.pymap_server import PymapServer

WORK = ("fetched", "flags_changed", "vanished")


@pytest.fixture
def config(server: Dovecot, user: str, tmp_path: Path) -> Path:
    """An account with ten messages in INBOX and two in Work, all of them archived once."""
    server.create(user, "Work", "Empty")
    server.append_many(user, "INBOX", mails(range(1, 11)))
    server.append_many(user, "Work", mails([11, 12]))
    server.subscribe(user, "Work")
    config = account_file(tmp_path / "kept", server, user)
    assert run(config).total(*WORK) == (12, 0, 0)
    return config


def fresh(server: Dovecot, user: str, tmp_path: Path) -> Path:
    """A new archive of the server as it is now."""
    config = account_file(tmp_path / "fresh", server, user)
    run(config)
    return archive_of(config)


class TestASecondRun:
    def test_fetches_nothing_and_touches_no_file(self, config: Path) -> None:
        before, state = snapshot_files(archive_of(config)), archive_state(archive_of(config))
        result = run(config)
        assert result.report["status"] == "complete"
        assert result.total(*WORK) == (0, 0, 0)
        assert result.balanced
        assert snapshot_files(archive_of(config)) == before
        assert archive_state(archive_of(config)) == state

    def test_opens_no_folder_where_the_server_says_that_none_changed(
        self, dovecot: Dovecot, mail_user: str, tmp_path: Path
    ) -> None:
        dovecot.create(mail_user, "A", "B", "C")
        dovecot.append_many(mail_user, "B", mails(range(1, 4)))
        config = account_file(tmp_path, dovecot, mail_user)
        run(config)
        segments = journal_files(archive_of(config))
        dovecot.record(mail_user)
        run(config)
        assert [line for line in dovecot.commands(mail_user) if line.startswith((b"EXAMINE", b"SELECT"))] == []
        assert dovecot.flights(mail_user) <= 3
        assert journal_files(archive_of(config)) == segments

    def test_on_a_server_without_extensions(self, pymap: PymapServer, tmp_path: Path) -> None:
        pymap.create("alice", "Work")
        pymap.append_many("alice", "Work", mails(range(1, 4)))
        config = account_file(tmp_path, pymap, "alice")
        assert run(config).total(*WORK) == (3, 0, 0)
        before, state = snapshot_files(archive_of(config)), assert_whole(archive_of(config))
        assert run(config).total(*WORK) == (0, 0, 0)
        assert (snapshot_files(archive_of(config)), archive_state(archive_of(config))) == (before, state)

    def test_of_a_whole_account_is_nothing_too(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        account = generate(tmp_path / "made", TINY)
        server.install(user, account.home)
        config = account_file(tmp_path, server, user, source__connections=3)
        result = run(config)
        assert result.total("on_server", "stored", "fetched") == (len(account.messages),) * 3
        before, state = snapshot_files(archive_of(config)), assert_whole(archive_of(config))
        assert sorted(message.digest for message in state.messages.values()) == sorted(
            message.digest for message in account.messages
        )
        assert run(config).total(*WORK) == (0, 0, 0)
        assert (snapshot_files(archive_of(config)), archive_state(archive_of(config))) == (before, state)


class TestAnIncrement:
    def test_of_new_changed_and_expunged_messages_is_exactly_that(
        self, server: Dovecot, user: str, config: Path, tmp_path: Path
    ) -> None:
        first = archive_state(archive_of(config))
        server.append_many(user, "INBOX", mails([13, 14, 15]))
        server.store_flags(user, "INBOX", [1, 2], ["\\Flagged", "$Label1"])
        server.store_flags(user, "INBOX", [3], ["\\Seen"], mode="")
        server.expunge(user, "INBOX", [4, 5])
        result = run(config)
        inbox = result.folder("INBOX")
        assert tuple(inbox[name] for name in ("on_server", "stored", *WORK)) == (11, 11, 3, 3, 2)
        assert result.balanced
        state = assert_whole(archive_of(config))
        assert (state.uids(), state.uids(present=False)) == ([1, 2, 3, *range(6, 14)], [4, 5])
        gone = [path for path in state.files if path.startswith("vanished/")]
        assert len(gone) == 2
        assert {state.files[path].digest for path in gone} == {first.digests()[4], first.digests()[5]}
        assert [change[1:] for change in state.history] == [
            (1, "[]", json.dumps(["$Label1", "\\Flagged"], separators=(",", ":"))),
            (2, "[]", json.dumps(["$Label1", "\\Flagged"], separators=(",", ":"))),
            (3, "[]", json.dumps(["\\Seen"])),
            (4, 0),
            (5, 0),
        ]
        assert state.present == archive_state(fresh(server, user, tmp_path)).present

    def test_of_new_folders_and_new_mail_in_others(
        self, server: Dovecot, user: str, config: Path, tmp_path: Path
    ) -> None:
        server.create(user, "日本語", "Work/Deeper")
        server.append_many(user, "日本語", mails([20]))
        server.append_many(user, "Empty", mails([21]))
        server.append_many(user, "Work/Deeper", mails([22]))
        result = run(config)
        assert result.total(*WORK) == (3, 0, 0)
        state = assert_whole(archive_of(config))
        assert state.present == archive_state(fresh(server, user, tmp_path)).present

    def test_of_flags_that_come_and_go_keeps_every_change(self, server: Dovecot, user: str, config: Path) -> None:
        for mode in ("+", "-", "+"):
            server.store_flags(user, "INBOX", [10], ["\\Answered"], mode=mode)
            assert run(config).total(*WORK) == (0, 1, 0)
        changes = [change[2:] for change in assert_whole(archive_of(config)).history]
        answered = json.dumps(["\\Answered"])
        assert changes == [("[]", answered), (answered, "[]"), ("[]", answered)]

    def test_a_message_moved_to_another_folder_is_kept_in_both_states(
        self, server: Dovecot, user: str, config: Path
    ) -> None:
        with server.wire(user) as wire:
            wire.command("SELECT INBOX")
            wire.command("UID MOVE 7 Work")
            wire.logout()
        result = run(config)
        assert result.total("vanished", "on_server", "stored") == (1, 12, 12)
        state = assert_whole(archive_of(config))
        assert state.uids(present=False) == [7]
        assert len(state.uids(b"Work")) == 3

    def test_expunging_everything_empties_the_folder_and_loses_nothing(
        self, server: Dovecot, user: str, config: Path
    ) -> None:
        held = archive_state(archive_of(config)).digests()
        server.expunge(user, "INBOX", range(1, 11))
        assert run(config).total(*WORK) == (0, 0, 10)
        state = assert_whole(archive_of(config))
        assert (state.uids(), state.uids(present=False)) == ([], list(range(1, 11)))
        assert set(held.values()) <= {file.digest for file in state.files.values()}
        assert run(config).total(*WORK) == (0, 0, 0)

    def test_several_runs_end_like_one(self, server: Dovecot, user: str, config: Path, tmp_path: Path) -> None:
        steps: list[Callable[[], Any]] = [
            lambda: server.append_many(user, "Work", mails([30, 31])),
            lambda: server.expunge(user, "Work", [1]),
            lambda: server.store_flags(user, "Work", [2, 3], ["$Work", "\\Seen"]),
            lambda: server.append_many(user, "INBOX", mails([32])),
            lambda: server.store_flags(user, "Work", [2], ["$Work"], mode="-"),
            lambda: server.expunge(user, "INBOX", [10, 11]),
        ]
        for step in steps:
            step()
            assert run(config).balanced
        state = assert_whole(archive_of(config))
        assert state.present == archive_state(fresh(server, user, tmp_path)).present


class TestTheSource:
    def test_is_untouched(self, server: Dovecot, user: str, tmp_path: Path) -> None:
        server.create(user, "Work", "Other")
        server.append_many(user, "INBOX", mails(range(1, 6)))
        server.append_many(user, "Work", mails(range(6, 9)))
        server.store_flags(user, "INBOX", [2], ["\\Seen", "$Forwarded"])
        server.append(user, "Work", mail(9))
        before = server.dump(user)
        assert sum(folder.recent or 0 for folder in before.values()) > 0
        config = account_file(tmp_path, server, user, messages__search="UNSEEN")
        run(config)
        run(account_file(tmp_path, server, user))
        assert server.dump(user) == before


class TestACatalog:
    def test_from_last_week_catches_up(self, server: Dovecot, user: str, config: Path, tmp_path: Path) -> None:
        archive = archive_of(config)
        shutil.copy(archive / "catalog.sqlite", tmp_path / "last-week")
        server.append_many(user, "INBOX", mails([40, 41]))
        server.expunge(user, "INBOX", [1])
        run(config)
        server.store_flags(user, "INBOX", [2], ["\\Flagged"])
        server.append_many(user, "Work", mails([42]))
        run(config)
        expected, files = archive_state(archive), snapshot_files(archive)
        for _ in range(2):
            shutil.copy(tmp_path / "last-week", archive / "catalog.sqlite")
            assert run(config).total(*WORK) == (0, 0, 0)
            assert assert_whole(archive) == expected
            assert snapshot_files(archive) == files

    def test_from_last_week_goes_on_with_what_is_new(self, server: Dovecot, user: str, config: Path,
                                                     tmp_path: Path) -> None:  # fmt: skip
        archive = archive_of(config)
        shutil.copy(archive / "catalog.sqlite", tmp_path / "last-week")
        server.append_many(user, "INBOX", mails([40, 41]))
        run(config)
        shutil.copy(tmp_path / "last-week", archive / "catalog.sqlite")
        server.append_many(user, "INBOX", mails([43]))
        server.expunge(user, "INBOX", [11])
        assert run(config).total(*WORK) == (1, 0, 1)
        assert assert_whole(archive).present == archive_state(fresh(server, user, tmp_path)).present

    def test_that_is_lost_is_recreated_from_the_journal(self, server: Dovecot, user: str, config: Path) -> None:
        archive = archive_of(config)
        server.expunge(user, "INBOX", [1])
        server.store_flags(user, "INBOX", [2], ["\\Flagged"])
        run(config)
        expected, files = archive_state(archive), snapshot_files(archive)
        (archive / "catalog.sqlite").unlink()
        result: RunResult = run(config)
        assert result.total(*WORK) == (0, 0, 0)
        assert assert_whole(archive) == expected
        assert snapshot_files(archive) == files
