"""Runs after the first: what changed at the source, at the destination or in the rules is followed, and no more.

Both servers are scripted, so that mail can vanish, come back and get other UIDs between two runs as a test asks.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from archiver.config.load import load_account
from pipelines.cli.verify import VerifyOptions, VerifyOutcome, verify_accounts
from pipelines.outcome import AccountOutcome
from tests.accounts import CATALOG, RunResult, archive_of, command, mail, run
from tests.faults.replays import migration
from tests.servers.scripted import (
    DESTINATION,
    Appended,
    Appending,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
)

NUL = b"NO Message contains NUL characters"


def messages(numbers: Iterable[int], *flags: str) -> list[ScriptedMessage]:
    return [ScriptedMessage(mail(number), flags, f"02-Jan-2020 00:{number % 60:02}:00 +0000") for number in numbers]


def folder(uidvalidity: int, held: Iterable[ScriptedMessage] = ()) -> ScriptedFolder:
    return ScriptedFolder(uidvalidity, dict(enumerate(held, 1)))


def about(number: int) -> Callable[[Appended], bytes | None]:
    """Refuse one message for ever."""
    return lambda message: NUL if b"Subject: message %d\r\n" % number in message.octets else None


@dataclass
class Migration:
    """An account from one scripted server to another; `keys` are further ones of its file."""

    source: ScriptedServer
    there: ScriptedServer
    directory: Path
    keys: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return migration(self.directory, self.source, "u1", self.there, "u1", **self.keys)

    @property
    def inbox(self) -> ScriptedFolder:
        return self.source.folders[b"INBOX"]

    @property
    def copies(self) -> ScriptedFolder:
        return self.there.folders[b"INBOX"]

    def run(self, *, expect: int = 0, **options: Any) -> RunResult:
        return run(self.config, expect=expect, **options)

    def archive(self, times: int = 1) -> None:
        for _ in range(times):
            self.run(steps="archive")

    def restore(self, *, expect: int = 0, **options: Any) -> RunResult:
        return self.run(expect=expect, steps="replay", include_vanished=True, **options)

    def verify(self, *, deep: bool = True) -> AccountOutcome[VerifyOutcome]:
        (outcome,) = verify_accounts([load_account(self.config)], VerifyOptions(deep=deep), lambda *_: None)
        return outcome

    def numbers(self, name: bytes = b"INBOX") -> Counter[int]:
        """Which messages a folder of the destination holds, and how often."""
        known = {mail(number): number for number in range(1000)}
        return Counter(known[each.octets] for each in self.there.folders[name].messages.values())


@pytest.fixture
def account(scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Migration:
    """Thirty messages in INBOX, and an empty destination."""
    source = scripted({b"INBOX": folder(5, messages(range(1, 31)))})
    there = scripted({b"INBOX": folder(7)}, capabilities=DESTINATION, writable=True, appending=Appending())
    return Migration(source, there, tmp_path)


def there(result: RunResult, *names: str) -> tuple[int, ...]:
    """These counts at the destination."""
    return tuple(result.report["totals"]["destination"][name] for name in names)


class TestDeletionsAreMirrored:
    """Where [replay] vanished asks for it, of what we appended, after it was seen gone twice."""

    def test_expunged_copies_come_back_with_their_message(self, account: Migration) -> None:
        account.keys["replay__vanished"] = "expunge"
        account.run()
        gone = account.inbox.messages[3]
        account.inbox.expunge([3])
        account.run()
        assert account.numbers() == Counter(range(1, 31))
        account.run()
        assert account.numbers() == Counter(range(1, 31)) - Counter([3])
        account.inbox.add(gone)
        account.run()
        assert account.numbers() == Counter(range(1, 31))

    def test_a_run_whose_clock_was_ahead_does_not_count_as_one_that_saw_it(self, account: Migration) -> None:
        account.keys["replay__vanished"] = "expunge"
        account.run()
        with closing(sqlite3.connect(archive_of(account.config) / CATALOG)) as catalog, catalog:
            catalog.execute("UPDATE step SET at = '2035-06-01T00:05:00Z'")
        account.inbox.expunge([3])
        account.run()
        assert account.numbers() == Counter(range(1, 31))
        account.run()
        assert account.numbers() == Counter(range(1, 31)) - Counter([3])

    def test_a_marked_copy_that_somebody_expunged_comes_back_with_its_message(self, account: Migration) -> None:
        account.keys["replay__vanished"] = "mark"
        account.run()
        gone = account.inbox.messages[3]
        account.inbox.expunge([3])
        account.run()
        account.run()
        assert [uid for uid, each in account.copies.messages.items() if "\\Deleted" in each.flags] == [3]
        account.copies.expunge([3])  # as mail programs do when they tidy up
        account.run()
        account.inbox.add(gone)
        assert there(account.run(), "replayed", "removed") == (1, 0)
        assert account.numbers() == Counter(range(1, 31))

    def test_a_copy_that_got_another_owner_stays_ours(self, account: Migration) -> None:
        account.keys["replay__vanished"] = "expunge"
        account.run()
        account.inbox.uidvalidity = 99
        account.run()
        account.inbox.expunge([3])
        account.run()
        account.run()
        assert account.numbers() == Counter(range(1, 31)) - Counter([3])

    def test_what_others_brought_is_never_withdrawn(self, account: Migration) -> None:
        account.keys["replay__vanished"] = "expunge"
        account.copies.add(*messages([3]))
        account.run(destination_is="new")
        account.inbox.uidvalidity = 99
        account.run()
        account.inbox.expunge([3])
        account.run()
        account.run()
        assert account.numbers() == Counter(range(1, 31))

    def test_a_server_that_cannot_expunge_one_alone_is_left_as_it_is(self, account: Migration) -> None:
        account.keys["replay__vanished"] = "expunge"
        account.there.capabilities = [word for word in DESTINATION if word != "UIDPLUS"]
        account.run()
        account.inbox.expunge([3])
        account.run()
        result = account.run(expect=3)
        (failure,) = result.report["failures"]
        assert (failure["folder"], failure["step"]) == ("INBOX", "replay")
        hint = 'the destination cannot expunge single messages; use [replay] vanished = "mark" to mark them'
        assert hint in failure["reason"]
        assert {each.flags for each in account.copies.messages.values()} == {()}
        account.inbox.add(*messages([40]))
        assert there(account.run(expect=3), "replayed", "verified") == (1, 30)


class TestWhatVanishedIsAskedFor:
    """`replay --include-vanished`."""

    def test_is_compared_too(self, account: Migration) -> None:
        account.archive()
        account.inbox.expunge(range(1, 31))
        account.archive()
        assert there(account.restore(), "verified", "differences") == (30, 0)
        account.copies.messages[7].octets = mail(8)
        outcome = account.verify()
        assert outcome.exit_code == 4
        assert outcome.result.destination is not None
        assert {(each.uid, each.what) for each in outcome.result.destination.differences} == {
            (7, "octets"),
            (7, "size"),
        }

    def test_is_listed_where_the_destination_refuses_it(self, account: Migration) -> None:
        account.there.appending.refuse = about(7)
        account.archive()
        account.inbox.expunge([6, 7, 8])
        account.archive()
        (failure,) = account.restore(expect=3).report["failures"]
        assert (failure["folder"], failure["uid"], failure["subject"]) == ("INBOX", 7, "message 7")
        assert account.numbers() == Counter(range(1, 31)) - Counter([7])
        account.restore(retry="accept")
        account.restore()

    def test_is_not_sent_again_when_the_source_is_restored(self, account: Migration) -> None:
        account.archive()
        held = list(account.inbox.messages.values())
        account.inbox.expunge(range(1, 31))
        account.archive()
        account.restore()
        account.inbox.add(*held)
        assert there(account.run(), "replayed", "already_there") == (0, 30)
        account.inbox.uidvalidity = 99
        assert there(account.run(), "replayed", "already_there") == (0, 30)
        account.restore()
        assert account.numbers() == Counter(range(1, 31))

    def test_is_one_message_if_it_was_moved_away_and_back(self, account: Migration) -> None:
        account.archive()
        moved = account.inbox.messages[3]
        account.inbox.expunge([3])
        account.archive()
        account.inbox.add(moved)
        account.archive()
        account.restore()
        assert account.numbers() == Counter(range(1, 31))

    def test_stays_where_deletions_are_mirrored(self, account: Migration) -> None:
        account.keys["replay__vanished"] = "expunge"
        account.run()
        account.inbox.expunge([3])
        account.archive(2)
        account.restore()
        account.run()
        account.run()
        assert account.numbers() == Counter(range(1, 31))

    def test_loses_our_mark(self, account: Migration) -> None:
        account.keys["replay__vanished"] = "mark"
        account.run()
        account.inbox.expunge([3])
        account.run()
        account.run()
        assert set(account.copies.messages[3].flags) == {"\\Deleted"}
        account.restore()
        account.run()
        assert set(account.copies.messages[3].flags) == set()

    def test_takes_folders_along_that_the_source_no_longer_has(self, account: Migration) -> None:
        account.source.folders = {**account.source.folders, b"Old": folder(6, messages([40, 41]))}
        account.there.appending.refuse = about(41)
        account.archive()
        account.source.folders = {b"INBOX": account.inbox}
        account.archive()
        (failure,) = account.restore(expect=3).report["failures"]
        assert (failure["folder"], failure["uid"]) == ("Old", 2)
        assert account.numbers(b"Old") == Counter([40])
        account.there.appending.refuse = None
        account.restore(retry="all")
        assert account.numbers(b"Old") == Counter([40, 41])
        account.run()
        assert account.numbers(b"Old") == Counter([40, 41])


class TestOtherUidsThere:
    """The destination was moved, or put back from a backup."""

    def test_what_its_user_removed_stays_removed(self, account: Migration) -> None:
        account.run()
        account.copies.expunge([3])
        account.run()
        account.copies.uidvalidity = 77
        assert there(account.run(), "replayed", "already_there", "removed") == (0, 29, 1)
        assert account.numbers() == Counter(range(1, 31)) - Counter([3])
        account.inbox.uidvalidity = 99
        assert there(account.run(), "replayed", "already_there", "removed") == (0, 29, 1)
        account.copies.uidvalidity = 78
        assert there(account.run(), "replayed", "already_there", "removed") == (0, 29, 1)

    @pytest.mark.parametrize("others", [0, 1, 4, 9])
    def test_what_a_backup_lacks_is_sent_again(self, account: Migration, others: int) -> None:
        """However much mail came there since, under the UIDs that our copies had."""
        account.run()
        for uid in (28, 29, 30):
            del account.copies.messages[uid]
        account.copies.uidnext = 28
        for number in range(others):
            account.copies.add(ScriptedMessage(mail(900 + number), (), "03-Jan-2021 00:00:00 +0000"))
        assert there(account.run(), "replayed", "already_there", "removed") == (3, 27, 0)
        assert account.numbers() == Counter(range(1, 31)) + Counter(range(900, 900 + others))


class TestWhatItsUserRemoved:
    """Stays removed, unless a person asks for it or it is there after all."""

    def test_comes_back_in_the_same_run_if_it_is_asked_for(self, account: Migration) -> None:
        account.run()
        account.copies.expunge([3, 4])
        assert there(account.run(steps="replay", include_removed=True), "replayed", "removed") == (2, 0)
        assert account.numbers() == Counter(range(1, 31))

    def test_a_folder_that_was_away_is_followed_as_before(self, account: Migration) -> None:
        account.source.folders = {**account.source.folders, b"Work": folder(6, messages(range(40, 45)))}
        account.run()
        work = account.there.folders[b"Work"]
        account.there.folders = {b"INBOX": account.copies}
        assert there(account.run(), "removed", "verified") == (5, 30)
        account.there.folders = {b"INBOX": account.copies, b"Work": work}
        account.source.folders[b"Work"].mark(1, ["\\Seen"])
        assert there(account.run(), "already_there", "removed", "verified") == (35, 0, 35)
        assert work.messages[1].flags == ("\\Seen",)
        account.source.folders[b"Work"].add(*messages([50]))
        account.run()
        assert account.numbers(b"Work") == Counter([*range(40, 45), 50])


class TestMailThatIsThereAlready:
    """Put there by another program before the first run."""

    def test_is_adopted_when_it_comes_to_the_archive_later(self, account: Migration) -> None:
        account.copies.add(*messages(range(1, 11)))
        for uid in (1, 2, 3):
            account.inbox.messages[uid].fetch = "missing"
        assert there(account.run(expect=3, destination_is="new"), "replayed", "already_there") == (20, 7)
        for uid in (1, 2, 3):
            account.inbox.messages[uid].fetch = ""
        assert there(account.run(retry="all"), "replayed", "already_there") == (0, 30)
        assert account.numbers() == Counter(range(1, 31))


class TestSubscriptions:
    """Are those of the source when a folder is made, or when the source's change; else the destination's user's."""

    @pytest.fixture
    def work(self, account: Migration) -> ScriptedFolder:
        account.source.folders[b"Work"] = folder(6, messages([40]))
        account.source.folders[b"Work"].subscribed = True
        account.run()
        assert account.there.folders[b"Work"].subscribed
        return account.source.folders[b"Work"]

    def is_subscribed_after_mail(self, account: Migration, number: int) -> bool:
        account.source.folders[b"Work"].add(*messages([number]))
        account.run()
        assert account.numbers(b"Work")[number] == 1
        return account.there.folders[b"Work"].subscribed

    def test_what_its_user_unsubscribed_stays_so(self, account: Migration, work: ScriptedFolder) -> None:
        account.there.folders[b"Work"].subscribed = False
        assert not self.is_subscribed_after_mail(account, 41)
        command("rebuild", account.config)
        assert not self.is_subscribed_after_mail(account, 42)

    def test_a_later_subscription_at_the_source_is_followed(self, account: Migration, work: ScriptedFolder) -> None:
        account.there.folders[b"Work"].subscribed = work.subscribed = False
        account.run()
        assert not self.is_subscribed_after_mail(account, 41)
        work.subscribed = True
        assert self.is_subscribed_after_mail(account, 42)

    def test_a_folder_that_is_recreated_is_subscribed_again(self, account: Migration, work: ScriptedFolder) -> None:
        del account.there.folders[b"Work"]
        assert self.is_subscribed_after_mail(account, 41)


class TestAFolderDeletedInMidRun:
    """Stops alone, in one line; the next run makes it again and sends what was never there."""

    @pytest.fixture
    def deleted(self, account: Migration) -> Migration:
        account.source.folders[b"Work"] = folder(6, messages(range(100, 400)))

        def delete(_: ScriptedFolder, some: list[Appended]) -> None:
            if any(each.folder == b"Work" for each in some):
                account.there.folders.pop(b"Work", None)

        account.there.appending = Appending(after=delete)
        return account

    def test_is_one_failure_and_whole_after_the_next_run(self, deleted: Migration) -> None:
        result = deleted.run(expect=4)  # the comparison misses the copies that were deleted
        (failure,) = result.report["failures"]
        assert (failure["folder"], failure["uid"]) == ("Work", None)
        assert "the folder was deleted during the run" in failure["reason"]
        assert [line for line in result.output.splitlines() if "refused" in line] == []
        assert there(result, "refused") == (0,)
        assert deleted.numbers() == Counter(range(1, 31))

        deleted.there.appending = Appending()
        result = deleted.run()
        assert there(result, "pending", "refused") == (0, 0)
        assert there(result, "replayed")[0] + there(result, "removed")[0] == 300


class TestOtherRules:
    """[folders] was changed between two runs."""

    def test_a_refusal_in_the_old_place_is_none_in_the_new_one(self, account: Migration) -> None:
        account.there.appending.refuse = about(41)
        account.source.folders = {**account.source.folders, b"Work": folder(6, messages([40, 41, 42]))}
        for _ in range(5):
            account.run(expect=3)
        account.there.appending.refuse = None
        account.keys["folders__rename"] = {"Work": "Other"}
        result = account.run()
        assert result.report["failures"] == []
        assert '"Work" was mapped to "Work" and is now mapped to "Other"' in result.output
        assert account.numbers(b"Other") == Counter([40, 41, 42])
        assert account.verify().exit_code == 0

    def test_a_folder_that_is_left_out_is_neither_counted_nor_compared(self, account: Migration) -> None:
        account.source.folders = {**account.source.folders, b"Work": folder(6, messages([40, 41, 42]))}
        account.there.appending.refuse = about(41)
        account.keys["folders__rename"] = {"Work": "INBOX"}
        account.run(expect=3)
        account.keys["folders__exclude"] = ["Work"]
        result = account.run()
        assert [each["name"] for each in result.report["folders"]] == ["INBOX"]
        assert there(result, "already_there", "verified", "refused") == (30, 30, 0)
        account.copies.messages.popitem()
        assert account.verify().exit_code == 0


class TestTheComparison:
    """`archiver verify` does not pass while something is missing."""

    def test_finds_a_folder_that_was_never_replayed(self, account: Migration) -> None:
        account.run()
        account.source.folders = {**account.source.folders, b"New": folder(6, messages([40, 41]))}
        account.archive()
        outcome = account.verify()
        assert outcome.exit_code == 4
        assert outcome.result.destination is not None
        assert [(each.folder, each.what, each.expected) for each in outcome.result.destination.differences] == [
            ("New", "not replayed", "the folder with 2 messages")
        ]

    def test_reports_what_the_destination_refused(self, account: Migration) -> None:
        account.there.appending.refuse = about(7)
        account.run(expect=3)
        outcome = account.verify()
        assert outcome.exit_code == 3
        assert outcome.message.endswith("all are equal; 1 more missing there because the server refused them")
        account.run(retry="accept")
        assert account.verify().exit_code == 0

    def test_finds_whatever_else_is_otherwise(self, account: Migration) -> None:
        account.run()
        account.copies.messages[1].octets = mail(1).replace(b"message 1.", b"message 2.")
        account.copies.messages[2].internaldate = "02-Jan-2020 00:02:01 +0000"
        account.copies.messages[3].octets += b"more\r\n"
        account.copies.mark(4, ["\\Flagged"])
        account.copies.expunge([5])
        outcome = account.verify()
        assert outcome.result.destination is not None
        found = {(each.uid, each.what) for each in outcome.result.destination.differences}
        assert found == {(1, "octets"), (2, "INTERNALDATE"), (3, "octets"), (3, "size")}
        check = outcome.result.destination.folders["INBOX"]
        assert (check.verified, check.differences, check.removed, check.changed) == (26, 3, 1, 1)
        assert {each.what for each in account.verify(deep=False).result.destination.differences} == {
            "INTERNALDATE",
            "size",
        }  # type: ignore[union-attr]


class TestTheStatus:
    """Says what the destination lacks, in the numbers of a run's report."""

    def status(self, account: Migration, *, expect: int) -> tuple[int, list[tuple[str, int]]]:
        document = command("status", account.config, "--json", expect=expect).report
        there = document["accounts"][0]["destination"]
        return there["totals"]["pending"], [(each["name"], each["pending"]) for each in there["folders"]]

    def test_counts_mail_of_folders_that_have_no_place_there_yet(self, account: Migration) -> None:
        account.archive()
        assert self.status(account, expect=3) == (30, [("INBOX", 30)])
        account.run()
        assert self.status(account, expect=0) == (0, [("INBOX", 0)])
        account.source.folders[b"Work"] = folder(6, messages(range(40, 47)))
        account.archive()
        assert self.status(account, expect=3) == (7, [("INBOX", 0), ("Work", 7)])
