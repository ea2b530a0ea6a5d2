"""A folder that was renamed at the source is renamed at the destination: nothing is sent twice or stays behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.replay.folders import rename as rename_folders
from tests.accounts import RunResult, command, mail, run
from tests.faults.replays import migration
from tests.servers.mail_server import MailServer
from tests.servers.scripted import DESTINATION, DROP, Appending, End, ScriptedServer, Session
from tests.servers.test_replay_following import Migration, about, folder, messages, there
from tests.servers.wire import Append

WORK = range(40, 65)


@pytest.fixture
def account(scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Migration:
    """Thirty messages in INBOX, 25 in Work and five below it, replayed."""
    source = scripted(
        {
            b"INBOX": folder(5, messages(range(1, 31))),
            b"Work": folder(6, messages(WORK)),
            b"Work/old": folder(8, messages(range(70, 75))),
        }
    )
    destination = scripted({b"INBOX": folder(7)}, capabilities=DESTINATION, writable=True, appending=Appending())
    account = Migration(source, destination, tmp_path)
    account.run()
    return account


def rename(account: Migration, old: bytes = b"Work", new: bytes = b"Job") -> None:
    """As the source's user does it, with what is below."""
    rename_on(account.source, old, new)


def rename_on(server: ScriptedServer, old: bytes = b"Work", new: bytes = b"Job") -> None:
    server.folders = {
        new + name.removeprefix(old) if name.startswith(old) else name: each
        for name, each in server.folders.items()
    }


def held(account: Migration) -> dict[bytes, int]:
    return {name: len(each.messages) for name, each in account.there.folders.items() if name != b"INBOX"}


def assert_followed(account: Migration, result: RunResult) -> None:
    """Everything is under the new name, once, and was not sent again."""
    assert held(account) == {b"Job": 25, b"Job/old": 5}
    assert account.numbers(b"Job") == Counter(WORK)
    assert there(result, "replayed", "already_there", "pending", "verified", "differences") == (0, 60, 0, 60, 0)
    assert result.report["notices"] == []


@pytest.mark.parametrize("policy", ["keep", "expunge"])
def test_it_is_renamed_there_with_those_below_it(account: Migration, policy: str) -> None:
    account.keys["replay__vanished"] = policy
    rename(account)
    assert_followed(account, account.run())
    assert_followed(account, account.run(confirm_deletions=True))
    account.source.folders[b"Job"].mark(1, ["\\Seen"])
    account.source.folders[b"Job"].add(*messages([90]))
    account.run()
    assert account.numbers(b"Job") == Counter([*WORK, 90])
    assert account.there.folders[b"Job"].messages[1].flags == ("\\Seen",)
    rename(account, b"Job", b"Work")
    account.run()
    assert held(account) == {b"Work": 26, b"Work/old": 5}


def test_what_was_deleted_in_between_goes_with_it(account: Migration) -> None:
    account.keys["replay__vanished"] = "expunge"
    account.source.folders[b"Work"].expunge([1, 2])
    account.there.folders[b"Work"].expunge([3])
    rename(account)
    result = account.run()
    assert (held(account), there(result, "removed")) == ({b"Job": 24, b"Job/old": 5}, (1,))
    (notice,) = result.report["notices"]
    assert notice["text"] == "folder Work is gone from the source; 2 of our copies stay"
    account.run(confirm_deletions=True)
    assert account.numbers(b"Job") == Counter(WORK) - Counter([40, 41, 42])


def test_the_name_is_that_of_the_map(account: Migration) -> None:
    account.keys["folders__rename"] = {"Job": "Arbeit/2020"}
    rename(account)
    account.run()
    assert {name for name, number in held(account).items() if number} == {b"Arbeit/2020", b"Arbeit/2020/old"}


def test_mail_of_others_is_not_moved_along(account: Migration) -> None:
    account.there.folders[b"Work"].add(*messages([90]))
    rename(account)
    result = account.run()
    assert account.numbers(b"Work") == Counter([*WORK, 90])
    assert account.numbers(b"Job") == Counter(WORK)
    assert [each["text"] for each in result.report["notices"]] == [
        "folder Work is gone from the source; 25 of our copies stay"
    ]
    assert held(account) == {b"Work": 26, b"Job": 25, b"Job/old": 5}  # what is below it is ours


def test_a_folder_of_others_below_it_is_not_moved_along(account: Migration) -> None:
    account.there.folders = {**account.there.folders, b"Work/mine": folder(80, messages([90]))}
    rename(account)
    account.run()
    assert held(account) == {b"Work": 25, b"Work/mine": 1, b"Job": 25, b"Job/old": 5}


def test_one_that_is_created_again_under_the_old_name_is_another_one(account: Migration) -> None:
    rename(account)
    account.source.folders = {**account.source.folders, b"Work": folder(99, messages([90]))}
    account.run()
    assert held(account) == {b"Job": 25, b"Job/old": 5, b"Work": 1}


def test_a_copy_of_a_folder_moves_nothing(account: Migration) -> None:
    account.source.folders = {**account.source.folders, b"Copy": folder(99, messages(WORK))}
    account.source.folders[b"Work"].uidvalidity = 98
    account.run()
    assert held(account) == {b"Work": 25, b"Work/old": 5, b"Copy": 25}


def test_a_destination_that_refuses_it_gets_a_new_folder(account: Migration) -> None:
    account.there.on(b"RENAME", b"NO [NOPERM] not allowed")
    rename(account)
    result = account.run()
    assert "does not rename the folder" in result.output
    assert held(account) == {b"Work": 25, b"Work/old": 5, b"Job": 25, b"Job/old": 5}
    account.run()
    assert held(account) == {b"Work": 25, b"Work/old": 5, b"Job": 25, b"Job/old": 5}


@pytest.mark.parametrize("new", [b"Q.1", b"Jo&AOk-b"])
def test_a_rename_that_is_refused_once_garbles_no_name(account: Migration, new: bytes) -> None:
    account.there.on(b"RENAME", b"NO [CANNOT] not this name", times=1)
    rename(account, b"Work", new)
    for _ in range(2):
        result = account.run()
        assert held(account) == {b"Work": 25, new: 25, new + b"/old": 5}
        assert {each["text"] for each in result.report["notices"]} == {
            "folder Work is gone from the source; 25 of our copies stay"
        }


@pytest.mark.parametrize("done", [True, False])
def test_a_connection_that_is_lost_during_it(account: Migration, done: bool) -> None:
    def cut(line: bytes, tag: bytes, session: Session) -> End:
        if done:
            rename_on(account.there)
        return DROP

    account.there.on(b"RENAME", cut, times=1)
    rename(account)
    assert_followed(account, account.run())


@pytest.mark.parametrize("before", ["rename", "_record_names"])
def test_a_run_that_ends_in_the_middle(account: Migration, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    def stop(*_: object) -> None:
        raise RuntimeError("killed")

    rename(account)
    with monkeypatch.context() as killed:
        if before == "rename":
            killed.setattr("archiver.destination.imap.ImapDestination.rename", stop)
        else:
            killed.setattr(rename_folders, before, stop)
        account.run(expect=1)
    assert_followed(account, account.run())


def test_one_that_is_undone_after_a_run_that_was_cut(account: Migration) -> None:
    account.keys |= {"replay__vanished": "expunge", "destination__attempts": 1}
    rename(account)
    account.there.on(b"SELECT", DROP, times=1)
    account.run(expect=3)
    assert held(account) == {b"Job": 25, b"Job/old": 5}
    rename(account, b"Job", b"Work")
    for _ in range(3):
        result = account.run(confirm_deletions=True)
        assert held(account) == {b"Work": 25, b"Work/old": 5}
        assert there(result, "replayed", "already_there", "verified") == (0, 60, 60)


def test_a_copy_stays_while_its_message_is_refused_under_the_new_name(account: Migration) -> None:
    account.keys["replay__vanished"] = "expunge"
    account.there.folders[b"Work"].add(*messages([90]))  # so it is not renamed
    rename(account)
    account.there.appending.refuse = about(42)
    for _ in range(2):
        result = account.run(expect=3, confirm_deletions=True)
    assert (account.numbers(b"Work"), account.numbers(b"Job")) == (Counter([42, 90]), Counter(WORK) - Counter([42]))
    (notice,) = result.report["notices"]
    assert notice["text"] == "folder Work is gone from the source; 1 of our copies stays"
    account.there.appending.refuse = lambda _: None
    account.run(retry="all", confirm_deletions=True)
    assert (account.numbers(b"Work"), account.numbers(b"Job")) == (Counter([90]), Counter(WORK))


PREFIXES = {"courier": "INBOX."}


@pytest.mark.parametrize(
    ("source", "destination"), [("dovecot", "cyrus"), ("cyrus", "courier"), ("courier", "dovecot")]
)
def test_on_real_servers_and_after_a_rebuild(
    source: str, destination: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    old: MailServer = request.getfixturevalue(source)
    new: MailServer = request.getfixturevalue(destination)
    user, new_user = old.fresh_user(), new.fresh_user()
    above, there_above = PREFIXES.get(source, ""), PREFIXES.get(destination, "").encode()
    step = "." if source == "courier" else "/"
    kid = f"Work{step}kid"
    old.create(user, f"{above}Work", f"{above}{kid}")
    old.append_many(user, f"{above}Work", [Append(mail(number)) for number in WORK])
    old.append_many(user, f"{above}{kid}", [Append(mail(number)) for number in range(70, 73)])
    old.expunge(user, f"{above}Work", [2, 3])
    old.append_many(user, "INBOX", [Append(mail(number)) for number in range(1, 4)])
    config = migration(tmp_path, old, user, new, new_user, replay__vanished="expunge")
    run(config)
    old.rename(user, f"{above}Work", f"{above}Job")
    run(config)
    command("rebuild", config)
    result = run(config, confirm_deletions=True)
    assert there(result, "replayed", "already_there", "verified", "differences") == (0, 29, 29, 0)
    below = b".kid" if destination == "courier" else b"/kid"
    held = {name: len(each.messages) for name, each in new.dump(new_user).items()}
    assert held == {b"INBOX": 3, there_above + b"Job": 23, there_above + b"Job" + below: 3}
    old.expunge(user, f"{above}Job", [1])
    for _ in range(2):
        run(config, confirm_deletions=True)
    # Courier gives a renamed folder other UIDs, so what is in it was adopted; elsewhere it is still ours.
    left = 23 if destination == "courier" else 22
    assert len(new.dump(new_user)[there_above + b"Job"].messages) == left
