"""A provider that shows only the newest messages of a folder: what scrolls out of the window was not deleted.

Gmail shows 1,000, 2,000, 5,000 or 10,000, Yahoo 10,000. The servers here show 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from archiver.facts.archive import PassFact
from tests.accounts import command, mail, run
from tests.faults.replays import migration
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import DESTINATION, FULL, MINIMAL, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.test_replay_following import Migration, there
from tests.servers.wire import Append

SIZE = 1000


def messages(numbers: Iterable[int]) -> list[ScriptedMessage]:
    return [ScriptedMessage(mail(number), (), f"02-Jan-2020 00:{number % 60:02}:00 +0000") for number in numbers]


@pytest.fixture
def account(scripted: Callable[..., ScriptedServer], tmp_path: Path, request: pytest.FixtureRequest) -> Migration:
    """A window of 1,000 messages, replayed to an empty destination; what vanished has to be expunged there."""
    inbox = ScriptedFolder(5, dict(enumerate(messages(range(1, SIZE + 1)), 1)))
    source = scripted({b"INBOX": inbox}, capabilities=getattr(request, "param", FULL))
    destination = scripted({b"INBOX": ScriptedFolder(7)}, capabilities=DESTINATION, writable=True)
    account = Migration(source, destination, tmp_path, {"replay__vanished": "expunge"})
    account.run()
    return account


def scroll(account: Migration, first: int, number: int) -> None:
    """As many old messages are no longer shown as new ones came."""
    account.inbox.expunge(range(first, first + number))
    account.inbox.add(*messages(range(SIZE + first, SIZE + first + number)))


@pytest.mark.parametrize("account", [FULL, MINIMAL], ids=["QRESYNC", "plain"], indirect=True)
def test_what_scrolls_out_of_a_window_stays_everywhere(account: Migration) -> None:
    scroll(account, 1, 5)
    for _ in range(3):
        result = account.run()
    assert len(account.copies.messages) == SIZE + 5
    inbox = result.folder()
    assert (inbox["on_server"], inbox["stored"], inbox["shown"], inbox["vanished"]) == (SIZE + 5, SIZE + 5, SIZE, 0)
    assert result.balanced
    assert there(result, "already_there", "pending", "removed") == (SIZE + 5, 0, 0)
    (notice,) = result.report["notices"]
    assert (notice["folder"], notice["kind"], notice["count"]) == ("INBOX", "window", SIZE)
    assert "5 that it no longer shows stay" in notice["text"]

    scroll(account, 6, 3)
    del account.inbox.messages[500], account.inbox.messages[501]  # it is not filled up again immediately
    result = account.run()
    assert (result.folder()["on_server"], result.folder()["shown"], result.folder()["vanished"]) == (1006, 998, 2)
    assert len(account.copies.messages) == SIZE + 8
    account.run(confirm_deletions=True)
    assert len(account.copies.messages) == SIZE + 6

    account.inbox.messages |= dict(zip(range(1, 9), messages(range(1, 9)), strict=True))
    result = account.run(confirm_deletions=True)  # the limit was taken away: all is shown
    assert (result.folder()["on_server"], result.folder()["shown"], result.report["notices"]) == (1006, None, [])
    assert len(account.copies.messages) == SIZE + 6


def test_a_whole_folder_of_that_size_loses_one(account: Migration) -> None:
    account.inbox.expunge([1])
    result = account.run()
    assert (result.folder()["vanished"], result.folder()["shown"], result.report["notices"]) == (1, None, [])
    account.run()
    assert len(account.copies.messages) == SIZE - 1


def test_a_person_confirms_that_it_is_complete(account: Migration) -> None:
    scroll(account, 1, 5)
    account.run()
    account.keys["folders__whole"] = ["IN*"]
    result = account.run()
    assert (result.folder()["on_server"], result.folder()["vanished"], result.folder()["shown"]) == (SIZE, 5, None)
    account.run()
    assert len(account.copies.messages) == SIZE
    del account.keys["folders__whole"]
    assert account.run().folder()["shown"] == SIZE


def test_what_waits_in_quarantine_is_not_forgotten(account: Migration) -> None:
    for new in messages([SIZE + 1]):
        new.fetch = "missing"
        account.inbox.expunge([1])
        account.inbox.add(new)
    account.run(expect=3)
    account.inbox.expunge([SIZE + 1])
    account.inbox.add(*messages([SIZE + 2]))
    result = account.run(expect=3)
    assert (result.folder()["on_server"], result.folder()["quarantined"], result.balanced) == (SIZE + 2, 1, True)
    account.run(retry="accept")
    account.run()


def test_an_older_archive_that_took_it_for_deleted_loses_no_copy(
    account: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("archiver.mail.window.WINDOWS", ())
        scroll(account, 1, 5)
        assert account.run().folder()["vanished"] == 5
    for _ in range(2):
        assert account.run().folder()["shown"] == SIZE
    assert len(account.copies.messages) == SIZE + 5


def test_check_and_status_report_it_and_it_survives_a_rebuild(dovecot: Dovecot, tmp_path: Path) -> None:
    user, new_user = dovecot.fresh_user(), dovecot.fresh_user()
    dovecot.append_many(user, "INBOX", [Append(mail(number)) for number in range(1, SIZE + 1)])
    config = migration(tmp_path, dovecot, user, dovecot, new_user, replay__vanished="expunge")
    words = 'folder "INBOX" shows exactly 1,000 messages: the server probably shows only a part of it'
    assert f"note: {words}" in command("check", config).output
    run(config)
    dovecot.expunge(user, "INBOX", [1, 2, 3])
    dovecot.append_many(user, "INBOX", [Append(mail(number)) for number in range(1001, 1004)])
    assert words in run(config).output
    assert f"note: {words}" in command("status", config).output
    assert "Everything that the server shows is there" in command("report", config).output
    command("rebuild", config)
    run(config)
    run(config)
    assert len(dovecot.dump(new_user)[b"INBOX"].messages) == SIZE + 3


def test_a_pass_of_an_older_journal_showed_everything() -> None:
    assert PassFact(1, 5, 0, None, "2026-11-23T07:00:00Z").shown is None
