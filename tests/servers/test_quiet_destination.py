"""A destination is not read again where it says that nothing has changed, and no change there is missed.

Its user, another connection, makes changes at the worst moments: between the status of a folder and the reading of
its copies, while messages are sent, after the replay step has looked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from archiver.destination.imap import ImapDestination
from archiver.errors import ServerUnavailable
from archiver.replay.compare.reading import ComparedFolder, CopyReader
from archiver.replay.compare.result import DestinationCheck
from archiver.replay.compare.verifier import DestinationVerifier
from tests.accounts import CATALOG, RunResult, archive_of, command, mail, run
from tests.faults.replays import migration
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.scripted import DESTINATION, Appending, ScriptedFolder, ScriptedMessage, ScriptedServer
from tests.servers.wire import Append

MESSAGES = 30
QUIET: dict[bytes, bool] = {}
"""No folder was read."""


@dataclass
class Comparisons:
    """What the last run read of the destination: of each folder all copies (True), or what changed (False).
    `changed` is how many copies it found with flags that the user changed there. `first` has what happens once at a
    moment."""

    read: dict[bytes, bool] = field(default_factory=dict)
    changed: int = 0
    first: dict[str, Callable[[], None]] = field(default_factory=dict)

    def before(self, moment: str, change: Callable[[], None]) -> None:
        self.first[moment] = change

    def reached(self, moment: str) -> None:
        self.first.pop(moment, lambda: None)()

    @classmethod
    def watched(cls, monkeypatch: pytest.MonkeyPatch) -> Comparisons:
        seen = cls()
        compare, read, end_append = DestinationVerifier.run, CopyReader.read, ImapDestination.end_append

        def comparing(self: DestinationVerifier, folders: Any) -> DestinationCheck:
            seen.read, seen.changed = {}, 0
            seen.reached("comparing")
            check = compare(self, folders)
            seen.changed = sum(each.changed for each in check.folders.values())
            return check

        def reading(self: CopyReader, folders: Sequence[ComparedFolder]) -> None:
            seen.reached("reading")
            seen.read |= {each.folder.raw: each.since is None for each in folders}
            read(self, folders)

        def appended(self: ImapDestination) -> Any:
            answers = end_append(self)
            seen.reached("the next group is sent")
            return answers

        monkeypatch.setattr(DestinationVerifier, "run", comparing)
        monkeypatch.setattr(CopyReader, "read", reading)
        monkeypatch.setattr(ImapDestination, "end_append", appended)
        return seen


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Comparisons:
    return Comparisons.watched(monkeypatch)


def counts(result: RunResult) -> tuple[int, ...]:
    """At the destination: replayed, already there, removed, verified, differences."""
    total = result.report["totals"]["destination"]
    return tuple(total[name] for name in ("replayed", "already_there", "removed", "verified", "differences"))


@dataclass
class Migration:
    """Two folders with mail and one without, from Dovecot to `there`, where `user` changes things."""

    source: Dovecot
    source_user: str
    there: MailServer
    user: str
    config: Path

    def run(self, **options: Any) -> RunResult:
        return run(self.config, **options)

    def flag(self, uid: int) -> None:
        self.there.store_flags(self.user, "Work", [uid], ["\\Flagged"])

    def remove(self, uid: int) -> None:
        self.there.expunge(self.user, "Work", [uid])

    def deliver(self, number: int) -> None:
        self.there.append(self.user, "Work", mail(number))

    def new_at_source(self, *numbers: int) -> None:
        self.source.append_many(self.source_user, "Work", [Append(mail(number)) for number in numbers])


@pytest.fixture(params=["dovecot", "cyrus"])
def there(request: pytest.FixtureRequest) -> MailServer:
    server: MailServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def account(dovecot: Dovecot, mail_user: str, there: MailServer, tmp_path: Path) -> Migration:
    dovecot.create(mail_user, "Work", "Empty")
    dovecot.append(mail_user, "INBOX", mail(1), ["\\Seen"])
    dovecot.append_many(mail_user, "Work", [Append(mail(number)) for number in range(2, MESSAGES + 1)])
    user = there.fresh_user()
    return Migration(dovecot, mail_user, there, user, migration(tmp_path, dovecot, mail_user, there, user))


class TestNothingIsMissed:
    """On real servers."""

    def test_a_second_run_reads_nothing_and_counts_the_same(self, account: Migration, seen: Comparisons) -> None:
        assert counts(account.run()) == (MESSAGES, 0, 0, MESSAGES, 0)
        assert seen.read == {b"INBOX": True, b"Work": True}

        assert counts(account.run()) == (0, MESSAGES, 0, MESSAGES, 0)
        assert seen.read == QUIET

    def test_flags_that_its_user_changed_are_read_once(self, account: Migration, seen: Comparisons) -> None:
        account.run()
        account.flag(3)

        assert counts(account.run()) == (0, MESSAGES, 0, MESSAGES, 0)
        assert (seen.read, seen.changed) == ({b"Work": False}, 1)
        account.run()
        assert seen.read == QUIET

    def test_flags_that_changed_after_the_status_was_asked_for_are_read_by_the_next_run(
        self, account: Migration, seen: Comparisons
    ) -> None:
        seen.before("reading", lambda: account.flag(3))
        account.run()

        account.run()
        assert seen.read == {b"Work": False}
        account.run()
        assert seen.read == QUIET

    def test_flags_that_changed_between_two_of_our_messages_are_read(
        self, account: Migration, seen: Comparisons, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account.run()
        account.new_at_source(*range(100, 105))
        monkeypatch.setattr("archiver.replay.send.prepare.GROUP_MESSAGES", 1)
        seen.before("the next group is sent", lambda: account.flag(3))

        assert counts(account.run()) == (5, MESSAGES, 0, MESSAGES + 5, 0)
        assert (seen.read, seen.changed) == ({b"Work": False}, 1)
        account.run()
        assert seen.read == QUIET

    @pytest.mark.parametrize("moment", ["comparing", "reading"])
    def test_what_its_user_removes_in_mid_run_is_known_to_the_next(
        self, account: Migration, seen: Comparisons, moment: str
    ) -> None:
        account.run()
        account.flag(4)
        seen.before(moment, lambda: account.remove(3))
        account.run()

        assert counts(account.run()) == (0, MESSAGES - 1, 1, MESSAGES - 1, 0)
        assert counts(account.run()) == (0, MESSAGES - 1, 1, MESSAGES - 1, 0)
        assert seen.read == QUIET

    def test_what_is_removed_while_other_mail_comes_is_missed(self, account: Migration, seen: Comparisons) -> None:
        """So the folder has as many messages as before."""
        account.run()

        def change() -> None:
            account.remove(3)
            account.deliver(500)

        account.flag(4)
        seen.before("reading", change)
        assert counts(account.run())[3:] == (MESSAGES - 1, 0)

        assert counts(account.run()) == (0, MESSAGES - 1, 1, MESSAGES - 1, 0)

    def test_new_mail_is_compared_without_the_old(self, account: Migration, seen: Comparisons) -> None:
        account.run()
        account.new_at_source(100, 101)

        assert counts(account.run()) == (2, MESSAGES, 0, MESSAGES + 2, 0)
        assert seen.read == {b"Work": False}
        account.run()
        assert seen.read == QUIET

    def test_a_message_that_was_there_already_is_compared_when_it_becomes_a_copy(
        self, account: Migration, seen: Comparisons, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The destination shows no change then."""
        account.there.create(account.user, "Work")
        account.deliver(100)
        account.run()
        account.run()
        assert seen.read == QUIET
        account.new_at_source(100)
        asked: list[Sequence[int]] = []
        stat = ImapDestination.stat
        monkeypatch.setattr(
            ImapDestination,
            "stat",
            lambda self, folders, **since: (
                asked.extend(list(uids) for _, uids in folders) or stat(self, folders, **since)
            ),
        )

        assert counts(account.run()) == (0, MESSAGES + 1, 0, MESSAGES + 1, 0)
        assert (seen.read, asked) == ({b"Work": False}, [[1]])

    def test_copies_that_a_crash_left_uncompared_are_compared(self, account: Migration, seen: Comparisons) -> None:
        account.run()
        account.new_at_source(100)

        def fall() -> None:
            raise ServerUnavailable("the machine is switched off")

        seen.before("comparing", fall)
        account.run(expect=None)
        assert counts(account.run()) == (0, MESSAGES + 1, 0, MESSAGES + 1, 0)
        assert seen.read == {b"Work": False}

    def test_a_catalog_made_again_from_the_journal_knows_it_too(
        self, account: Migration, seen: Comparisons
    ) -> None:
        account.run()
        (archive_of(account.config) / CATALOG).unlink()
        command("rebuild", account.config)

        assert counts(account.run()) == (0, MESSAGES, 0, MESSAGES, 0)
        assert seen.read == QUIET


class TestServersThatAreOtherwise:
    """Scripted ones."""

    @pytest.fixture
    def connected(self, scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Callable[..., Any]:
        def connect(capabilities: Sequence[str] = DESTINATION) -> tuple[ScriptedServer, Path]:
            mails = {number: ScriptedMessage(mail(number)) for number in range(1, 11)}
            source = scripted({b"INBOX": ScriptedFolder(5, mails)})
            there = scripted(
                {b"INBOX": ScriptedFolder(7)}, capabilities=capabilities, writable=True, appending=Appending()
            )
            return there, migration(tmp_path, source, "u1", there, "u1")

        return connect

    def test_without_condstore_all_is_read_in_every_run(
        self, connected: Callable[..., Any], seen: Comparisons
    ) -> None:
        modern = ("CONDSTORE", "QRESYNC")
        there, config = connected([each for each in DESTINATION if each not in modern])
        run(config)
        listings = sum(each.startswith(b"LIST") for each in there.commands)

        assert counts(run(config)) == (0, 10, 0, 10, 0)
        assert seen.read == {b"INBOX": True}
        assert sum(each.startswith(b"LIST") for each in there.commands) == listings + 1

    def test_a_folder_without_mod_sequences_is_read_in_every_run(
        self, connected: Callable[..., Any], seen: Comparisons, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """NOMODSEQ: its HIGHESTMODSEQ is 0."""
        facts = ScriptedFolder.facts
        monkeypatch.setattr(ScriptedFolder, "facts", lambda self: facts(self) | {"HIGHESTMODSEQ": 0})
        _, config = connected()
        run(config)
        run(config)
        assert seen.read == {b"INBOX": True}

    def test_a_difference_is_reported_in_every_run(self, connected: Callable[..., Any], seen: Comparisons) -> None:
        there, config = connected()
        run(config)
        folder = there.folders[b"INBOX"]
        folder.messages[3].octets += b"more\r\n"
        folder.mark(3, ["\\Seen"])

        for _ in range(2):
            assert counts(run(config, expect=4)) == (0, 10, 0, 9, 1)
            assert b"INBOX" in seen.read
        folder.messages[3].octets = mail(3)
        folder.mark(3, [])
        assert counts(run(config)) == (0, 10, 0, 10, 0)
        run(config)
        assert seen.read == QUIET

    def test_a_server_that_went_back_to_a_snapshot_is_read_as_a_whole(
        self, connected: Callable[..., Any], seen: Comparisons
    ) -> None:
        there, config = connected()
        run(config)
        folder = there.folders[b"INBOX"]
        folder.messages[3].octets += b"more\r\n"  # the same numbers, but for SIZE

        assert counts(run(config, expect=4)) == (0, 10, 0, 9, 1)
        assert seen.read == {b"INBOX": True}

    def test_where_too_much_may_have_changed_to_be_read_at_once_it_is_read_in_parts(
        self, connected: Callable[..., Any], seen: Comparisons, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its user may have marked a million messages as read."""
        monkeypatch.setattr("archiver.replay.compare.reading._MOST_CHANGES", 9)
        there, config = connected()
        run(config)
        there.folders[b"INBOX"].mark(3, ["\\Seen"])

        assert counts(run(config)) == (0, 10, 0, 10, 0)
        assert seen.changed == 1
        assert not any(b"CHANGEDSINCE" in each for each in there.commands)

    def test_a_server_that_refuses_to_show_changes_is_read_as_a_whole(
        self, connected: Callable[..., Any], seen: Comparisons
    ) -> None:
        there, config = connected()
        run(config)
        there.folders[b"INBOX"].mark(3, ["\\Seen"])
        refusal = b" BAD what is CHANGEDSINCE?\r\n"
        there.on(b"UID FETCH", lambda line, tag, _: tag + refusal if b"CHANGEDSINCE" in line else None)

        assert counts(run(config)) == (0, 10, 0, 10, 0)
        run(config)
        assert seen.read == QUIET
