"""A folder that was deleted at the source: its copies are vanished mail like any other, and as long as they stay
that is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounts import command, mail, run
from tests.faults.replays import migration
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.scripted import DESTINATION, Appending, ScriptedServer
from tests.servers.test_replay_following import Migration, folder, messages, there
from tests.servers.wire import Append

WORK = range(40, 65)
STAY = "folder Work is gone from the source; 25 of our copies stay"


@pytest.fixture
def account(scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Migration:
    """Thirty messages in INBOX and 25 in Work, replayed; what vanishes has to be expunged."""
    source = scripted({b"INBOX": folder(5, messages(range(1, 31))), b"Work": folder(6, messages(WORK))})
    destination = scripted({b"INBOX": folder(7)}, capabilities=DESTINATION, writable=True, appending=Appending())
    account = Migration(source, destination, tmp_path, {"replay__vanished": "expunge"})
    account.run()
    return account


def notices(result: object) -> list[str]:
    return [each["text"] for each in result.report["notices"]]  # type: ignore[attr-defined]


def lose_work(account: Migration) -> None:
    account.source.folders = {b"INBOX": account.inbox}


def test_its_copies_go_in_the_second_run_if_a_person_confirms(account: Migration) -> None:
    lose_work(account)
    result = account.run(confirm_deletions=True)
    assert notices(result) == [STAY]
    assert STAY in result.output
    assert account.numbers(b"Work") == Counter(WORK)

    result = account.run(expect=3)
    (failure,) = result.report["failures"]
    assert "25 copies of messages that are gone from the source stayed" in failure["reason"]
    assert '"Work"' in failure["reason"]
    assert notices(result) == [STAY]

    result = account.run(confirm_deletions=True)
    assert (account.numbers(b"Work"), notices(result)) == (Counter(), [])
    assert account.numbers() == Counter(range(1, 31))
    assert there(account.run(), "already_there", "verified", "differences") == (30, 30, 0)


def test_a_small_part_of_the_account_goes_without_a_word(account: Migration) -> None:
    """Of a folder that is gone every copy goes, so only the account decides whether these are many."""
    account.source.folders = {**account.source.folders, b"Few": folder(8, messages(range(80, 86)))}
    account.run()
    account.source.folders = {name: each for name, each in account.source.folders.items() if name != b"Few"}
    assert notices(account.run()) == ["folder Few is gone from the source; 6 of our copies stay"]
    account.inbox.expunge([1, 2, 3, 4])  # more than a tenth of a folder that is there
    account.run()
    assert (account.numbers(b"Few"), len(account.numbers())) == (Counter(), 30)
    (failure,) = account.run(expect=3).report["failures"]
    assert (
        '4 copies of messages that are gone from the source stayed, since that is more than 50 or 10 %: "INBOX"'
        in (failure["reason"])
    )


def test_they_are_marked_once(account: Migration) -> None:
    account.keys["replay__vanished"] = "mark"
    lose_work(account)
    for _ in range(3):
        account.run(confirm_deletions=True)
    marked = account.there.folders[b"Work"].messages.values()
    assert [each.flags for each in marked] == [("\\Deleted",)] * 25


def test_they_stay_where_deletion_is_off_and_that_is_reported(account: Migration) -> None:
    account.keys["replay__vanished"] = "keep"
    lose_work(account)
    for _ in range(3):
        assert notices(account.run(confirm_deletions=True)) == [STAY]
    assert account.numbers(b"Work") == Counter(WORK)
    assert f"note: {STAY}" in command("status", account.config).output
    assert f"note: {STAY}" in command("report", account.config).output
    page = command("report", account.config, "--page").output.strip()
    assert STAY in Path(page).read_text()


def test_one_that_comes_back_is_as_before(account: Migration) -> None:
    work = account.source.folders[b"Work"]
    lose_work(account)
    account.run(confirm_deletions=True)
    account.source.folders = {b"INBOX": account.inbox, b"Work": work}
    result = account.run(confirm_deletions=True)
    assert (there(result, "already_there", "verified"), notices(result)) == ((55, 55), [])
    lose_work(account)
    account.run(confirm_deletions=True)  # the count begins again
    assert account.numbers(b"Work") == Counter(WORK)
    account.run(confirm_deletions=True)
    account.source.folders = {b"INBOX": account.inbox, b"Work": work}
    account.run()
    assert account.numbers(b"Work") == Counter(WORK)


def test_one_that_is_only_the_parent_of_others_now_is_gone(account: Migration) -> None:
    child = folder(8, messages(range(70, 75)))
    account.source.folders = {**account.source.folders, b"Work/2020": child}
    account.run()
    parent = folder(6)
    parent.attributes = ("\\Noselect",)
    account.source.folders = {b"INBOX": account.inbox, b"Work": parent, b"Work/2020": child}
    assert notices(account.run(confirm_deletions=True)) == [STAY]
    account.run(confirm_deletions=True)
    assert (account.numbers(b"Work"), account.numbers(b"Work/2020")) == (Counter(), Counter(range(70, 75)))


def test_one_that_the_rules_leave_out_has_not_vanished(account: Migration) -> None:
    account.keys["folders__exclude"] = ["Work"]
    for _ in range(2):
        assert notices(account.run(confirm_deletions=True)) == []
    lose_work(account)
    for _ in range(3):
        assert notices(account.run(confirm_deletions=True)) == []
    assert account.numbers(b"Work") == Counter(WORK)


def test_what_others_brought_and_what_a_person_had_brought_back_stays(account: Migration) -> None:
    account.there.folders[b"Work"].add(*messages([90]))
    lose_work(account)
    account.archive(2)
    account.restore()
    for _ in range(2):
        assert notices(account.run(confirm_deletions=True)) == []
    assert account.numbers(b"Work") == Counter([*WORK, 90])


def test_two_folders_in_one_lose_only_what_is_gone(account: Migration) -> None:
    account.source.folders = {**account.source.folders, b"Old": folder(8, messages(range(80, 90)))}
    account.keys["folders__rename"] = {"Old": "Work"}
    account.run()
    assert account.numbers(b"Work") == Counter([*WORK, *range(80, 90)])
    account.source.folders = {name: each for name, each in account.source.folders.items() if name != b"Work"}
    for _ in range(2):
        account.run(confirm_deletions=True)
    assert account.numbers(b"Work") == Counter(range(80, 90))


def test_folders_that_are_named_in_another_way_have_not_vanished(account: Migration) -> None:
    account.source.folders = {b"INBOX": account.inbox, b"INBOX.Work": account.source.folders[b"Work"]}
    account.source.prefix, account.source.delimiter = b"INBOX.", b"."
    for _ in range(3):
        result = account.run(confirm_deletions=True)
    assert there(result, "already_there", "pending") == (55, 0)
    assert account.numbers(b"Work") == Counter(WORK)


SERVERS = {"dovecot": Dovecot, "cyrus": Cyrus, "courier": Courier}


@pytest.mark.parametrize(
    ("source", "destination"), [("dovecot", "cyrus"), ("cyrus", "courier"), ("courier", "dovecot")]
)
def test_on_real_servers(source: str, destination: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    old: MailServer = request.getfixturevalue(source)
    new: MailServer = request.getfixturevalue(destination)
    user, new_user = old.fresh_user(), new.fresh_user()
    prefix = "INBOX." if source == "courier" else ""
    old.create(user, f"{prefix}Work")
    old.append_many(user, f"{prefix}Work", [Append(mail(number)) for number in WORK])
    old.append_many(user, "INBOX", [Append(mail(number)) for number in range(1, 4)])
    config = migration(tmp_path, old, user, new, new_user, replay__vanished="expunge")
    run(config)
    old.delete(user, f"{prefix}Work")
    assert STAY in run(config).output
    run(config, confirm_deletions=True)
    held = {name: len(each.messages) for name, each in new.dump(new_user).items()}
    assert held == {b"INBOX": 3, (b"INBOX.Work" if destination == "courier" else b"Work"): 0}
