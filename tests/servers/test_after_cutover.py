"""After the cutover people live at the destination: a run adds what is new, and changes nothing else there."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.cli.main import invoke
from tests.accounts import archive_of
from tests.servers.scripted import DESTINATION, Appending, ScriptedServer
from tests.servers.test_replay_following import Migration, folder, messages, there


@pytest.fixture
def account(scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Migration:
    """Thirty messages in INBOX and five in Work, replayed; the source has changed since, and people moved over."""
    source = scripted({b"INBOX": folder(5, messages(range(1, 31))), b"Work": folder(6, messages(range(40, 45)))})
    destination = scripted({b"INBOX": folder(7)}, capabilities=DESTINATION, writable=True, appending=Appending())
    account = Migration(source, destination, tmp_path, {"replay__vanished": "expunge"})
    account.run()
    mark(account, "cutover", "--yes")
    account.inbox.mark(1, ["\\Seen"])
    account.inbox.expunge([3])
    account.inbox.add(*messages([31]))
    return account


def mark(account: Migration, state: str, *options: str) -> None:
    assert invoke(["mark", str(account.config), state, *options, "--json"]) == 0


def test_new_mail_comes_and_nothing_else_happens(account: Migration) -> None:
    for _ in range(3):
        result = account.run()
        assert there(result, "pending", "differences") == (0, 0)
    assert account.numbers() == Counter(range(1, 32))
    assert account.copies.messages[1].flags == ()
    assert account.verify(deep=True).exit_code == 0
    assert account.run(steps="replay").exit_code == 0
    assert not [line for line in account.there.commands if b"STORE" in line or b"EXPUNGE" in line]


def test_all_is_followed_if_it_is_asked_for_or_marked_back(account: Migration) -> None:
    account.run()
    account.run(after_cutover=True)
    assert account.copies.messages[1].flags == ("\\Seen",)
    assert account.numbers() == Counter(range(1, 32)) - Counter([3])
    account.inbox.mark(2, ["\\Seen"])
    account.run()
    assert account.copies.messages[2].flags == ()
    mark(account, "final")
    account.run()
    assert account.copies.messages[2].flags == ("\\Seen",)


def test_a_backup_from_before_the_cutover_changes_nothing_either(
    scripted: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    source = scripted({b"INBOX": folder(5, messages(range(1, 31)))})
    destination = scripted({b"INBOX": folder(7)}, capabilities=DESTINATION, writable=True, appending=Appending())
    account = Migration(source, destination, tmp_path, {"replay__vanished": "expunge"})
    account.run()
    shutil.copytree(archive_of(account.config), tmp_path / "backup")
    mark(account, "cutover", "--yes")
    account.run()
    shutil.rmtree(archive_of(account.config))
    (tmp_path / "backup").rename(archive_of(account.config))
    account.inbox.mark(1, ["\\Seen"])
    account.inbox.expunge([3])
    account.inbox.add(*messages([31]))

    for _ in range(3):
        result = account.run(expect=3)
        assert account.numbers() == Counter(range(1, 32))
        assert account.copies.messages[1].flags == ()
    assert "`archiver mark" in result.report["failures"][0]["next"]
    mark(account, "final")
    account.run()
    assert account.copies.messages[1].flags == ("\\Seen",)
    assert account.numbers() == Counter(range(1, 32)) - Counter([3])


def test_a_folder_that_is_renamed_at_the_source_is_neither_renamed_nor_sent_again(account: Migration) -> None:
    account.source.folders = {b"INBOX": account.inbox, b"Job": account.source.folders[b"Work"]}
    result = account.run(expect=3)
    (failure,) = result.report["failures"]
    assert failure["folder"] == "Job"
    assert 'its mail is in "Work" at the destination; rename it there, or give --after-cutover' in failure["reason"]
    assert {name: len(each.messages) for name, each in account.there.folders.items()} == {b"INBOX": 31, b"Work": 5}
    account.run(after_cutover=True)
    assert {name: len(each.messages) for name, each in account.there.folders.items()} == {b"INBOX": 30, b"Job": 5}
