"""The folders of a day of the past onto a destination: what was there then, with its flags at that time, and no
harm to what is there now."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import invoke
from tests.accounts import RunResult, archive_of, mail, run
from tests.buckets import bucket_account, forget_locally
from tests.faults.replays import Mailbox, mailbox_of, migration, settle_within
from tests.faults.test_replay_outcomes import stored_and
from tests.servers.dovecot import Dovecot
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import DESTINATION, DROP, Appending, ScriptedFolder, ScriptedServer
from tests.servers.test_replay_following import Migration, folder, messages, there
from tests.servers.wire import Append

Day = Callable[[int], str]


def appended(numbers: Iterable[int], *flags: str) -> list[Append]:
    return [Append(mail(n), flags, f"{n % 28 + 1:02}-Mar-2021 10:00:00 +0200") for n in numbers]


def flags_of(account: Migration, number: int) -> list[frozenset[str]]:
    """The flags of each copy of a message in INBOX."""
    return [frozenset(each.flags) for each in account.copies.messages.values() if each.octets == mail(number)]


class TestOnRealServers:
    """A Dovecot whose mail changes day by day, and another user of it who gets one of these days."""

    @pytest.fixture
    def days(self, dovecot: Dovecot, mail_user: str, day: Day, tmp_path: Path) -> list[Mailbox]:
        """What the source held at the end of each day."""
        tmp_path.chmod(0o755)
        self.user, self.new_user = mail_user, dovecot.fresh_user()
        self.config = migration(tmp_path, dovecot, mail_user, dovecot, self.new_user)
        self.ends, found = [], []

        def begin() -> None:
            dovecot.create(mail_user, "Work", "Work/日本語".encode("utf-7").replace(b"+", b"&"))
            dovecot.append_many(mail_user, "INBOX", appended(range(20), "\\Seen", "$a"))
            dovecot.append_many(mail_user, "Work", appended(range(100, 110)))

        def change() -> None:
            dovecot.store_flags(mail_user, "INBOX", range(1, 6), ["\\Flagged"])
            dovecot.expunge(mail_user, "INBOX", range(6, 10))
            dovecot.append_many(mail_user, "INBOX", appended(range(30, 35)))
            dovecot.append_many(mail_user, "Work", appended([100]))

        def wipe() -> None:
            dovecot.store_flags(mail_user, "INBOX", range(1, 4), ["\\Deleted"])
            dovecot.delete(mail_user, "Work")

        def lose() -> None:
            dovecot.expunge(mail_user, "INBOX", range(1, 20))

        for number, what in enumerate((begin, change, wipe, lose), 1):
            self.ends.append(day(number))
            what()
            self.archive()
            found.append(mailbox_of(dovecot, mail_user))
        return found

    def archive(self) -> None:
        assert invoke(["archive", str(self.config), "--quiet"]) == 0

    def replay(self, *options: str) -> int:
        return invoke(["replay", str(self.config), "--quiet", *options])

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_an_empty_mailbox_gets_that_day(self, days: list[Mailbox], dovecot: Dovecot, number: int) -> None:
        """And nothing else; the source is not asked. Once more is nothing more."""
        logins = dovecot.logins(self.user)
        assert self.replay("--as-of", self.ends[number - 1]) == 0
        restored = mailbox_of(dovecot, self.new_user)
        assert restored == days[number - 1]
        assert self.replay("--as-of", self.ends[number - 1]) == 0
        assert mailbox_of(dovecot, self.new_user) == restored
        assert dovecot.logins(self.user) == logins

    def test_day_after_day_adds_up(self, days: list[Mailbox], dovecot: Dovecot) -> None:
        """What a mailbox has of an earlier day is not sent again, and keeps its flags."""
        for end in self.ends:
            assert self.replay("--as-of", end) == 0
        got = mailbox_of(dovecot, self.new_user)
        octets = {raw: Counter(digest for digest, _, _ in here.elements()) for raw, here in got.items()}
        for held in days:
            for raw, here in held.items():
                assert Counter(digest for digest, _, _ in here.elements()) <= octets[raw]
        assert octets[b"INBOX"].total() == 25
        assert octets[b"Work"].total() == 11
        assert days[0][b"INBOX"] <= got[b"INBOX"]

    def test_runs_go_on_afterwards(self, days: list[Mailbox], dovecot: Dovecot) -> None:
        """What came since the day comes by the next replay, once; what was restored is left alone."""
        assert self.replay("--as-of", self.ends[0]) == 0
        restored = mailbox_of(dovecot, self.new_user)
        for _ in range(2):
            assert self.replay() == 0
            assert mailbox_of(dovecot, self.new_user) == {
                raw: restored.get(raw, Counter()) + (days[3].get(raw, Counter()) - restored.get(raw, Counter()))
                for raw in restored.keys() | days[3].keys()
            }

    def test_without_catalog_and_source(self, days: list[Mailbox], dovecot: Dovecot, tmp_path: Path) -> None:
        """From the journal and the messages alone."""
        for file in archive_of(self.config).glob("catalog.sqlite*"):
            file.unlink()
        shutil.rmtree(archive_of(self.config) / "runs", ignore_errors=True)
        # Runs are named by their second, and the catalog that knows which are taken is gone.
        assert self.replay("--as-of", self.ends[1], "--run", "restored") == 0
        assert mailbox_of(dovecot, self.new_user) == days[1]


@pytest.fixture
def account(scripted: Callable[..., ScriptedServer], day: Day, tmp_path: Path) -> Migration:
    """Thirty messages in INBOX on the first day, and a destination that has nothing of them yet."""
    source = scripted({b"INBOX": folder(5, messages(range(1, 31), "\\Seen"))})
    there = scripted({b"INBOX": folder(7)}, capabilities=DESTINATION, writable=True, appending=Appending())
    day(1)
    return Migration(source, there, tmp_path)


FIRST = "2026-03-01T23:59:59Z"
SECOND = "2026-03-02T23:59:59Z"


def restore(account: Migration, moment: str = FIRST, **options: Any) -> RunResult:
    return account.run(steps="replay", as_of=moment, **options)


class TestWhatIsThereAlready:
    def test_keeps_its_flags_and_is_not_sent_again(self, account: Migration, day: Day) -> None:
        account.run()
        day(2)
        account.inbox.mark(1, ("\\Seen", "\\Flagged"))
        account.inbox.expunge([2])
        account.run()
        account.copies.mark(3, ())
        copies = dict(account.copies.messages)
        result = restore(account)
        assert there(result, "replayed", "restored", "pending") == (0, 0, 0)
        assert account.copies.messages == copies
        assert flags_of(account, 1) == [frozenset({"\\Seen", "\\Flagged"})]
        assert flags_of(account, 3) == [frozenset()]

    def test_is_not_removed_with_what_came_later(self, account: Migration, day: Day) -> None:
        account.keys["replay__vanished"] = "expunge"
        account.run()
        day(2)
        account.inbox.add(*messages([50]))
        account.inbox.expunge([2])
        account.archive(2)
        restore(account)
        assert account.numbers() == Counter(range(1, 31))

    def test_stays_although_a_policy_takes_away_what_vanished(self, account: Migration, day: Day) -> None:
        """A restore is meant to last."""
        account.run()
        day(2)
        account.inbox.expunge([2, 3])
        account.archive(2)
        account.there.folders[b"INBOX"].expunge([])
        restore(account)
        account.keys["replay__vanished"] = "expunge"
        for _ in range(2):
            account.run()
            assert account.numbers() == Counter(range(1, 31))

    def test_loses_our_mark_alone(self, account: Migration, day: Day) -> None:
        account.keys["replay__vanished"] = "mark"
        account.run()
        day(2)
        account.inbox.expunge([2])
        account.run()
        account.run()
        assert flags_of(account, 2) == [frozenset({"\\Seen", "\\Deleted"})]
        restore(account)
        assert flags_of(account, 2) == [frozenset({"\\Seen"})]
        account.run()
        assert flags_of(account, 2) == [frozenset({"\\Seen"})]

    def test_is_recognised_if_another_program_brought_it(self, account: Migration, day: Day) -> None:
        account.archive()
        day(2)
        account.inbox.mark(4, ("\\Deleted",))
        account.archive()
        account.inbox.expunge([4])
        account.archive()
        account.copies.add(*messages(range(1, 11), "\\Flagged"))
        result = restore(account, destination_is="new")
        assert account.numbers() == Counter(range(1, 31))
        assert flags_of(account, 4) == [frozenset({"\\Flagged"})]
        assert there(result, "replayed") == (20,)
        account.run()
        assert flags_of(account, 4) == [frozenset({"\\Flagged"})]


class TestOctetsThatAreTheSame:
    def test_after_a_new_uidvalidity_are_not_sent_again(self, account: Migration, day: Day) -> None:
        day(2)
        account.source.folders[b"INBOX"] = folder(55, messages(range(1, 31), "\\Seen"))
        account.run()
        assert account.numbers() == Counter(range(1, 31))
        restore(account, SECOND)
        account.archive()
        restore(account, SECOND)
        assert account.numbers() == Counter(range(1, 31))

    def test_of_a_day_before_that_neither(self, account: Migration, day: Day) -> None:
        account.archive()
        day(2)
        account.source.folders[b"INBOX"] = folder(55, messages(range(11, 31), "\\Seen"))
        account.run()
        assert account.numbers() == Counter(range(11, 31))
        restore(account)
        assert account.numbers() == Counter(range(1, 31))
        account.run()
        restore(account)
        assert account.numbers() == Counter(range(1, 31))

    def test_moved_away_and_back_are_one_message(self, account: Migration, day: Day) -> None:
        account.archive()
        moved = account.inbox.messages[5]
        day(2)
        account.inbox.expunge([5])
        account.archive()
        day(3)
        account.inbox.add(moved)
        account.run()
        restore(account)
        assert account.numbers() == Counter(range(1, 31))

    def test_come_as_often_as_they_were_there(self, account: Migration, day: Day) -> None:
        """Three alike then, one of them now."""
        account.inbox.add(*messages([5, 5]))
        account.archive()
        day(2)
        account.inbox.expunge([5, 31])
        account.run()
        assert account.numbers()[5] == 1
        restore(account)
        assert account.numbers() == Counter([*range(1, 31), 5, 5])
        restore(account)
        account.run()
        assert account.numbers() == Counter([*range(1, 31), 5, 5])


@pytest.mark.parametrize("seed", range(3))
def test_any_day_after_any_history(account: Migration, day: Day, seed: int) -> None:
    """Mail comes several times, goes, comes back and gets other UIDs; runs and restores take turns. After a restore
    every message is there as often as on that day, or as it was there before, if that was more."""
    chance = random.Random(seed)
    ends, then = [], []
    for number in range(1, 9):
        ends.append(day(number))
        inbox = account.inbox
        gone = chance.sample(inbox.uids, k=min(len(inbox.uids), chance.randrange(12)))
        inbox.expunge(gone)
        inbox.add(*messages(chance.choices(range(1, 12), k=chance.randrange(8))))
        if chance.random() < 0.3:
            account.source.folders[b"INBOX"] = folder(100 + number, inbox.messages.values())
        account.archive()
        then.append(Counter(each.octets for each in account.inbox.messages.values()))
        if chance.random() < 0.4:
            account.run()
        which = chance.randrange(number)
        before = held_there(account)
        restore(account, ends[which])
        assert held_there(account) == before | then[which], (number, which)


def held_there(account: Migration) -> Counter[bytes]:
    return Counter(each.octets for each in account.copies.messages.values())


class TestItsUser:
    def test_removed_what_is_not_sent_again(self, account: Migration, day: Day) -> None:
        account.run()
        account.copies.expunge([7])
        day(2)
        account.inbox.expunge([7])
        account.run()
        restore(account)
        assert account.numbers() == Counter(range(1, 31)) - Counter([7])
        restore(account, include_removed=True)
        assert account.numbers() == Counter(range(1, 31))

    def test_removed_it_before_the_folder_got_other_uids(self, account: Migration, day: Day) -> None:
        account.run()
        account.copies.expunge([7])
        account.run()
        account.there.folders[b"INBOX"] = ScriptedFolder(8, dict(enumerate(account.copies.messages.values(), 1)))
        day(2)
        account.inbox.expunge([8])
        account.archive()
        restore(account)
        assert account.numbers() == Counter(range(1, 31)) - Counter([7])


class TestAnOutcomeThatIsNotKnown:
    def test_is_found_out_by_the_next_one(
        self, account: Migration, day: Day, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server stores and hangs up, again and again."""
        settle_within(monkeypatch, 0.01)
        account.keys["destination__attempts"] = 1
        account.archive()
        day(2)
        account.inbox.mark(1, ("\\Deleted",))
        account.archive()
        account.inbox.expunge(range(1, 21))
        account.archive()
        account.there.on(b"APPEND", stored_and(DROP))
        restore(account, expect=5)
        sent = account.numbers().total()
        assert sent > 0
        account.there.forget()
        restore(account)
        assert account.numbers() == Counter(range(1, 31))
        assert flags_of(account, 1) == [frozenset({"\\Seen"})]
        account.run()
        assert account.numbers() == Counter(range(1, 31))
        assert flags_of(account, 1) == [frozenset({"\\Seen"})]


@pytest.mark.parametrize("layout", ["objects", "packs"])
def test_out_of_a_bucket(
    account: Migration, gateway: Endpoint, day: Day, layout: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With every local file lost, and the source gone."""
    monkeypatch.setenv("NEW_PASSWORD", "pw")
    destination = {
        "destination__host": account.there.host,
        "destination__port": account.there.port,
        "destination__tls": "off",
        "destination__user": "u1",
        "destination__password": {"env": "NEW_PASSWORD"},
    }
    config = bucket_account(account.directory, account.source, "u1", gateway, s3={"layout": layout}, **destination)
    run(config, steps="archive")
    day(2)
    account.inbox.expunge(range(1, 11))
    run(config, steps="archive")
    forget_locally(config)
    account.source.folders.clear()
    assert invoke(["rebuild", str(config), "--quiet"]) == 0
    run(config, steps="replay", as_of=FIRST)
    assert account.numbers() == Counter(range(1, 31))


class TestTheReport:
    def test_balances_and_is_complete(self, account: Migration, day: Day) -> None:
        """What came later is reported, and is no failure."""
        account.archive()
        day(2)
        account.inbox.expunge([1, 2])
        account.inbox.add(*messages(range(40, 45)))
        account.archive()
        result = restore(account)
        assert (result.report["status"], result.report["as_of"]) == ("complete", FIRST)
        assert there(result, "replayed", "restored", "pending", "differences") == (28, 2, 5, 0)
        assert result.report["failures"] == []

    def test_of_folders_that_are_gone(self, account: Migration, day: Day) -> None:
        account.source.folders[b"Old"] = folder(9, messages(range(70, 75)))
        account.archive()
        day(2)
        del account.source.folders[b"Old"]
        account.archive()
        result = restore(account)
        assert account.numbers(b"Old") == Counter(range(70, 75))
        assert there(result, "restored") == (5,)

    def test_folders_that_came_later_are_not_made(self, account: Migration, day: Day) -> None:
        account.archive()
        day(2)
        account.source.folders[b"New"] = folder(9, messages(range(70, 75)))
        account.archive()
        restore(account)
        assert b"New" not in account.there.folders


class TestTheCommand:
    def test_says_when_the_archive_began(self, account: Migration, capsys: Any) -> None:
        account.archive()
        assert invoke(["replay", str(account.config), "--as-of", "2026-02-28T23:00Z"]) == 2
        assert "it began at 2026-03-01T12:00:00Z" in capsys.readouterr().err
        assert account.numbers() == Counter()

    @pytest.mark.parametrize("other", ["--include-vanished", "--confirm-deletions"])
    def test_takes_no_contradiction(self, account: Migration, capsys: Any, other: str) -> None:
        assert invoke(["replay", str(account.config), "--as-of", "2026-03-01", other]) == 2
        assert other in capsys.readouterr().err
