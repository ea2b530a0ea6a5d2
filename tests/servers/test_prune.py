"""`archiver prune` removes from the source what the archive has: exactly that, and nothing that is kept for a
reason."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.account.account import Account
from archiver.account.upkeep.pruning import PruneRequest, plan_of, prune_source
from archiver.config.load import load_account
from archiver.destination.imap import ImapDestination
from archiver.upkeep.prune_plan import PruneRules
from pipelines.cli.main import invoke
from tests.accounts import CATALOG, UNSTOPPED, account_file, archive_of, archive_state, assert_whole, mail, run
from tests.buckets import bucket_account
from tests.faults.replays import destination, mailbox_of, scripted_mailbox
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import MailServer
from tests.servers.s3_endpoint import Endpoint
from tests.servers.scripted import (
    DESTINATION,
    DROP,
    End,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)
from tests.servers.scripted_append import Appending
from tests.servers.scripted_mail import uids_in
from tests.servers.wire import Append

OLD = "05-Mar-2021 10:00:00 +0200"
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).strftime("%d-%b-%Y 10:00:00 +0000")
ALL = ("--older-than", "365d", "--confirm", "--confirm-deletions")

Prune = Callable[..., dict[str, Any]]


def old(numbers: Iterable[int], *flags: str) -> list[Append]:
    return [Append(mail(number), flags, OLD) for number in numbers]


@pytest.fixture
def prune(capsys: pytest.CaptureFixture[str]) -> Prune:
    """Calls it; its JSON document's account."""

    def call(config: Path, *options: str, expect: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        code = invoke(["prune", str(config), "--json", *options])
        said = capsys.readouterr()
        assert code == expect, said
        (account,) = json.loads(said.out)["accounts"]
        return dict(account)

    return call


def account(directory: Path, server: Any, user: str, **keys: Any) -> Path:
    return account_file(directory, server, user, **{"archive__durability": "batch", **keys})


def uids(server: MailServer, user: str, folder: bytes = b"INBOX") -> list[int]:
    return sorted(server.dump(user)[folder].messages)


@pytest.fixture(params=["dovecot", "cyrus", "courier"])
def server(request: pytest.FixtureRequest) -> MailServer:
    found: MailServer = request.getfixturevalue(request.param)
    return found


class TestPrune:
    def test_removes_exactly_what_is_old_and_in_the_archive(
        self, server: MailServer, tmp_path: Path, prune: Prune, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """15 is new, 16 as well and marked by somebody, 17 is old and came after the last run."""
        user = server.fresh_user()
        server.append_many(user, "INBOX", old(range(1, 14)))
        server.append_many(user, "INBOX", old([14], "\\Flagged"))
        server.append_many(user, "INBOX", [Append(mail(15), (), YESTERDAY)])
        server.append_many(user, "INBOX", [Append(mail(16), ("\\Deleted",), YESTERDAY)])
        config = account(tmp_path, server, user)
        run(config)
        server.append_many(user, "INBOX", old([17], "\\Deleted"))
        before = archive_state(archive_of(config))

        shown = prune(config, "--older-than", "365d")
        assert "14 messages older than 365d can be removed" in shown["message"]
        assert "1 of them flagged: --keep-flagged leaves it" in shown["message"]
        assert "nothing was changed: --confirm --confirm-deletions removes them" in shown["message"]
        stopped = prune(config, "--older-than", "365d", "--confirm", expect=3)
        assert "14 messages stay: that is more than 50 or 10 %" in stopped["message"]
        assert uids(server, user) == list(range(1, 18))

        done = prune(config, *ALL, "--keep-flagged")
        (folder,) = done["folders"]
        assert (folder["pruned"], folder["kept_flagged"], folder["present"]) == (13, 1, 16)
        assert uids(server, user) == [14, 15, 16, 17]
        lines = [json.loads(line) for line in Path(done["list"]).read_text().splitlines()]
        assert [each["uid"] for each in lines] == list(range(1, 14))
        assert {each["digest"] for each in lines} == {before.digests()[uid] for uid in range(1, 14)}
        assert (lines[0]["folder"], lines[0]["size"]) == ("INBOX", len(mail(1)))

        capsys.readouterr()
        assert invoke(["status", str(config)]) == 0
        assert "pruned from the source: 13 messages, last on" in capsys.readouterr().out

        told = run(config).folder()
        assert (told["on_server"], told["stored"], told["vanished"]) == (4, 4, 0)
        state = assert_whole(archive_of(config))
        assert state.uids(present=False) == list(range(1, 14))
        again = prune(config, *ALL, "--keep-flagged")
        assert again["folders"][0]["pruned"] == 1  # 17, which the run has archived since
        assert uids(server, user) == [14, 15, 16]
        assert invoke(["rebuild", str(config)]) == invoke(["verify", str(config)]) == 0
        last = prune(config, *ALL, "--keep-flagged")
        assert (last["list"], last["folders"][0]["present"]) == (None, 3)

    def test_restores_what_it_removed(self, dovecot: Dovecot, tmp_path: Path, prune: Prune) -> None:
        user = dovecot.fresh_user()
        dovecot.append_many(user, "INBOX", old(range(1, 4), "\\Seen"))
        config = account(tmp_path, dovecot, user)
        run(config)
        whole = mailbox_of(dovecot, user)
        prune(config, *ALL)
        run(config)
        assert not mailbox_of(dovecot, user)
        assert invoke(["restore", str(config), "--folder", "INBOX", "--in-place", "--yes"]) == 0
        assert mailbox_of(dovecot, user) == whole

    def test_folders_and_ages_are_chosen(self, dovecot: Dovecot, tmp_path: Path, prune: Prune) -> None:
        user = dovecot.fresh_user()
        dovecot.create(user, "Work", "Contracts/2020")
        for number, folder in enumerate(("INBOX", "Work", "Contracts/2020")):
            dovecot.append_many(user, folder, old([number]))
        config = account(tmp_path, dovecot, user)
        run(config)

        def found(*options: str) -> list[tuple[str, int]]:
            folders = prune(config, "--older-than", "1y", *options)["folders"]
            return sorted((each["name"], each["messages"]) for each in folders)

        assert found() == [("Contracts/2020", 1), ("INBOX", 1), ("Work", 1)]
        assert found("--folder", "Work", "--folder", "inbox") == [("INBOX", 1), ("Work", 1)]
        assert found("--except-folder", "Contracts*") == [("INBOX", 1), ("Work", 1)]
        assert not prune(config, "--older-than", "50y")["folders"]
        assert len(mailbox_of(dovecot, user)) == 3

    def test_a_held_message_stays(self, dovecot: Dovecot, tmp_path: Path, prune: Prune) -> None:
        user = dovecot.fresh_user()
        dovecot.append_many(user, "INBOX", old(range(1, 4)))
        config = account(tmp_path, dovecot, user)
        run(config)
        assert invoke(["hold", str(config), "--reason", "lawsuit", "--address", "a2@example.org"]) == 0
        (folder,) = prune(config, *ALL)["folders"]
        assert (folder["pruned"], folder["held"]) == (2, 1)
        assert uids(dovecot, user) == [2]
        assert invoke(["release", str(config), "1", "--reason", "settled"]) == 0
        assert prune(config, *ALL)["folders"][0]["pruned"] == 1

    def test_what_the_archive_has_lost_or_damaged_stays(
        self, dovecot: Dovecot, tmp_path: Path, prune: Prune
    ) -> None:
        user = dovecot.fresh_user()
        dovecot.append_many(user, "INBOX", old(range(1, 5)))
        config = account(tmp_path, dovecot, user)
        run(config)
        files = sorted((archive_of(config) / "Maildir" / "cur").iterdir(), key=lambda path: path.name.split(".")[1])
        files[0].unlink()
        files[1].write_bytes(files[1].read_bytes().replace(b"message 2", b"message 3"))
        done = prune(config, *ALL, expect=6)
        assert [each["uid"] for each in done["damaged"]] == [1, 2]
        assert "2 messages stay: damaged in the archive" in done["message"]
        assert uids(dovecot, user) == [1, 2]

    @pytest.mark.parametrize("layout", ["objects", "packs"])
    def test_an_archive_in_a_bucket(
        self, dovecot: Dovecot, gateway: Endpoint, tmp_path: Path, prune: Prune, layout: str
    ) -> None:
        user = dovecot.fresh_user()
        dovecot.append_many(user, "INBOX", old(range(1, 21)))
        config = bucket_account(
            tmp_path, dovecot, user, gateway, s3={"layout": layout}, archive__durability="batch"
        )
        run(config)
        assert prune(config, *ALL)["folders"][0]["pruned"] == 20
        assert run(config).total("stored", "on_server") == (0, 0)
        assert invoke(["verify", str(config), "--deep"]) == 0


class TestWithADestination:
    @pytest.fixture
    def config(self, dovecot: Dovecot, tmp_path: Path) -> Path:
        """Two folders with twenty old messages each were replayed, under a policy that deletes; another message
        was only archived."""
        user, there = dovecot.fresh_user(), dovecot.fresh_user()
        dovecot.create(user, "Work")
        for number, folder in enumerate(("INBOX", "Work")):
            dovecot.append_many(user, folder, old(range(100 * number, 100 * number + 20)))
        keys = destination(tmp_path, dovecot, there)
        config = account(tmp_path, dovecot, user, **keys, replay__vanished="expunge")
        run(config)
        dovecot.append_many(user, "INBOX", old([50]))
        run(config, steps="archive")
        return config

    def test_copies_of_what_was_pruned_stay_and_what_has_none_is_not_pruned(
        self, dovecot: Dovecot, config: Path, prune: Prune
    ) -> None:
        user = config.stem
        there = config.read_text().split("[destination]")[1].split('user = "')[1].split('"')[0]
        held = mailbox_of(dovecot, there)
        done = prune(config, *ALL)
        assert sum(each["pruned"] for each in done["folders"]) == 40
        assert sum(each["not_at_destination"] for each in done["folders"]) == 1
        assert uids(dovecot, user) == [21]
        for _ in range(3):
            assert run(config, confirm_deletions=True).report["status"] == "complete"
        assert mailbox_of(dovecot, there)[b"INBOX"] == held[b"INBOX"] + mailbox_of(dovecot, user)[b"INBOX"]
        assert mailbox_of(dovecot, there)[b"Work"] == held[b"Work"]

        dovecot.delete(user, "Work")  # by its user; what was pruned before is not theirs to delete any more
        dovecot.expunge(user, "INBOX", [21])
        for _ in range(3):
            run(config, confirm_deletions=True)
        assert mailbox_of(dovecot, there) == held

    def test_a_new_destination_gets_what_was_pruned_and_not_what_the_user_deleted(
        self, dovecot: Dovecot, config: Path, prune: Prune, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Also what was in folders that are gone, and once, however often it is asked for."""
        user = config.stem
        first = config.read_text().split("[destination]")[1].split('user = "')[1].split('"')[0]
        dovecot.expunge(user, "INBOX", [1, 2])  # by its user, before anything is pruned
        run(config)
        before = mailbox_of(dovecot, user)
        prune(config, *ALL)
        run(config)
        dovecot.append_many(user, "Work", old([300]))
        run(config, confirm_deletions=True)
        dovecot.delete(user, "Work")  # and with it the message that nobody pruned
        for _ in range(2):
            run(config, confirm_deletions=True)
        held = mailbox_of(dovecot, first)

        second = dovecot.fresh_user()
        keys = {**destination(tmp_path, dovecot, second), "replay__vanished": "expunge"}
        account(tmp_path, dovecot, user, **keys)
        capsys.readouterr()
        assert invoke(["status", str(config)]) == 3
        assert "39 of them not at the destination yet: `archiver run` sends them" in capsys.readouterr().out
        sent = run(config, destination_is="new").report
        assert (sent["status"], sent["totals"]["destination"]["restored"]) == ("complete", 39)
        assert mailbox_of(dovecot, second) == before
        assert invoke(["verify", str(config)]) == 0
        for _ in range(3):
            again = run(config, confirm_deletions=True).report["totals"]["destination"]
            assert (again["restored"], again["replayed"], again["pending"]) == (0, 0, 0)
        assert invoke(["rebuild", str(config)]) == invoke(["status", str(config)]) == 0
        assert run(config, steps="replay", confirm_deletions=True).report["status"] == "complete"
        assert (mailbox_of(dovecot, first), mailbox_of(dovecot, second)) == (held, before)

    def test_what_a_new_destination_refuses_is_named_and_tried_again(
        self, dovecot: Dovecot, config: Path, prune: Prune, tmp_path: Path
    ) -> None:
        """Also of a folder that is gone from the source."""
        user, refused = config.stem, hashlib.sha256(mail(105)).hexdigest()
        run(config)
        prune(config, *ALL)
        dovecot.delete(user, "Work")
        run(config)
        taking = Appending(refuse=lambda each: b"NO [LIMIT] no" if each.octets == mail(105) else None)
        new = ScriptedServer(
            {b"INBOX": ScriptedFolder(5)}, writable=True, capabilities=DESTINATION, appending=taking
        )
        with new as there:
            account(tmp_path, dovecot, user, **destination(tmp_path, there, "u1"))
            ran = run(config, expect=3, destination_is="new")
            (failure,) = ran.report["failures"]
            assert (failure["folder"], failure["uid"]) == ("Work", 6)
            taking.refuse = None
            assert run(config, retry="all").report["status"] == "complete"
            sent = {digest for messages in scripted_mailbox(there).values() for digest, _, _ in messages}
            assert (refused in sent, len(sent)) == (True, 41)

    def test_a_destination_that_has_it_gets_it_no_second_time(
        self, dovecot: Dovecot, config: Path, prune: Prune
    ) -> None:
        """Also under new UIDs or another name of its folder, and after its user deleted some of it."""
        there = config.read_text().split("[destination]")[1].split('user = "')[1].split('"')[0]
        prune(config, *ALL)
        dovecot.rename(config.stem, "Work", "Done")
        run(config, confirm_deletions=True)
        dovecot.bump_uidvalidity(there, "INBOX", by=1000)
        held = mailbox_of(dovecot, there)
        run(config, confirm_deletions=True)
        assert mailbox_of(dovecot, there) == held
        dovecot.expunge(there, "INBOX", [3])
        held = mailbox_of(dovecot, there)
        for _ in range(2):
            assert run(config, confirm_deletions=True).report["status"] == "complete"
            assert mailbox_of(dovecot, there) == held

    def test_a_backup_from_before_it_deletes_no_copy(
        self, dovecot: Dovecot, config: Path, prune: Prune, tmp_path: Path
    ) -> None:
        """To that archive, what was pruned is what the user deleted."""
        there = config.read_text().split("[destination]")[1].split('user = "')[1].split('"')[0]
        run(config)
        shutil.copytree(archive_of(config), tmp_path / "backup")
        prune(config, *ALL)
        held = mailbox_of(dovecot, there)
        shutil.rmtree(archive_of(config))
        (tmp_path / "backup").rename(archive_of(config))

        for _ in range(3):
            result = run(config, expect=3, confirm_deletions=True)
            (failure,) = result.report["failures"]
            assert "the archive is older than the note next to the account file" in failure["reason"]
            assert mailbox_of(dovecot, there) == held
        prune(config, *ALL)
        run(config, expect=3, confirm_deletions=True)
        assert mailbox_of(dovecot, there) == held
        assert invoke(["mark", str(config), "cutover", "--yes"]) == 0
        run(config, confirm_deletions=True)
        assert mailbox_of(dovecot, there) == held

    def test_what_was_about_to_be_pruned_counts_as_pruned_when_it_is_gone(
        self, dovecot: Dovecot, config: Path, prune: Prune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed before the outcome is recorded; a run sees it first."""
        there = config.read_text().split("[destination]")[1].split('user = "')[1].split('"')[0]
        held = mailbox_of(dovecot, there)
        expunge = ImapDestination.expunge

        def last(self: ImapDestination, some: Any) -> None:
            expunge(self, some)
            raise KeyboardInterrupt

        monkeypatch.setattr(ImapDestination, "expunge", last)
        rules = PruneRules(1_700_000_000, confirm_deletions=True)
        with Account(load_account(config)).writing("killed") as (archive, recorder):
            plans, request = plan_of(archive, rules), PruneRequest(rules, "test", "killed")
            with pytest.raises(KeyboardInterrupt):
                prune_source(archive, recorder, plans, request, UNSTOPPED)
        monkeypatch.undo()
        assert uids(dovecot, config.stem) == [21]

        for _ in range(3):
            assert run(config, confirm_deletions=True).total("vanished") == (0,)
        assert mailbox_of(dovecot, there)[b"INBOX"] - held[b"INBOX"] == mailbox_of(dovecot, config.stem)[b"INBOX"]
        assert not held[b"INBOX"] - mailbox_of(dovecot, there)[b"INBOX"]
        with closing(sqlite3.connect(archive_of(config) / CATALOG)) as catalog:
            assert catalog.execute("SELECT count(*), count(pruned_at) FROM prune").fetchone() == (20, 20)


class Odd:
    """An account at a scripted server with six old messages."""

    def __init__(self, directory: Path, **how: Any) -> None:
        self.inbox = ScriptedFolder(7, {uid: ScriptedMessage(mail(uid), ("\\Seen",), OLD) for uid in range(1, 7)})
        how = {"capabilities": DESTINATION, **how}
        self.server = ScriptedServer({b"INBOX": self.inbox}, writable=True, **how)
        self.server.__enter__()
        self.config = account(directory, self.server, "u1", source__attempts=2)
        run(self.config)

    @property
    def left(self) -> dict[int, tuple[str, ...]]:
        return {uid: each.flags for uid, each in self.inbox.messages.items()}

    def begun(self) -> int:
        with closing(sqlite3.connect(archive_of(self.config) / CATALOG)) as catalog:
            found: int = catalog.execute("SELECT count(*) FROM prune WHERE pruned_at IS NULL").fetchone()[0]
        return found


@pytest.fixture
def odd(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Odd]:
    def make(**how: Any) -> Odd:
        made = Odd(tmp_path, **how)
        request.addfinalizer(made.server.stop)
        return made

    return make


UNTOUCHED = dict.fromkeys(range(1, 7), ("\\Seen",))


class TestOddServers:
    def test_without_uidplus_it_is_refused_in_one_line(self, odd: Callable[..., Odd], prune: Prune) -> None:
        server = odd(capabilities=[each for each in DESTINATION if each != "UIDPLUS"])
        for options in (("--older-than", "1y"), ALL):
            done = prune(server.config, *options, expect=2)
            assert "offers no UID EXPUNGE (UIDPLUS)" in done["message"]
            assert len(done["message"].splitlines()) == 1
        assert server.left == UNTOUCHED

    def test_a_folder_that_shows_mail_of_others_is_left_out(self, odd: Callable[..., Odd], prune: Prune) -> None:
        server = odd()
        view = ScriptedFolder(8, dict(server.inbox.messages), attributes=("\\All",))
        server.server.folders = {**server.server.folders, b"Everything": view}
        run(server.config)
        assert [each["name"] for each in prune(server.config, "--older-than", "1y")["folders"]] == ["INBOX"]

    def test_gmail_is_refused(self, odd: Callable[..., Odd], prune: Prune) -> None:
        server = odd(capabilities=[*DESTINATION, "X-GM-EXT-1"])
        assert "is Gmail, where an EXPUNGE takes a label away" in prune(server.config, *ALL, expect=2)["message"]
        assert server.left == UNTOUCHED

    @pytest.mark.parametrize("answer", [b"NO [NOPERM] Permission denied", b"NO no", b"BAD unknown"])
    def test_a_store_that_is_refused(self, odd: Callable[..., Odd], prune: Prune, answer: bytes) -> None:
        server = odd()
        server.server.on(b"UID STORE", lambda _, tag, __: tag + b" " + answer + b"\r\n", times=None)
        done = prune(server.config, *ALL, expect=3)
        assert done["folders"][0]["refused"] == list(range(1, 7))
        assert server.left == UNTOUCHED
        assert server.begun() == 0
        assert not any(b"EXPUNGE" in each for each in server.server.commands)

    def test_an_expunge_that_is_refused_leaves_no_mark_of_ours(self, odd: Callable[..., Odd], prune: Prune) -> None:
        server = odd()
        server.inbox.mark(3, ("\\Seen", "\\Deleted"))
        run(server.config)
        server.server.on(b"UID EXPUNGE", lambda _, tag, __: tag + b" NO [NOPERM] not you\r\n", times=None)
        done = prune(server.config, *ALL, expect=3)
        assert "not you" in done["folders"][0]["error"]
        assert server.left == {**UNTOUCHED, 3: ("\\Seen", "\\Deleted")}
        assert server.begun() == 0

    def test_an_expunge_that_does_nothing_is_noticed(self, odd: Callable[..., Odd], prune: Prune) -> None:
        server = odd()
        server.server.on(b"UID EXPUNGE", lambda _, tag, __: tag + b" OK done\r\n", times=None)
        done = prune(server.config, *ALL, expect=3)
        assert done["folders"][0]["refused"] == list(range(1, 7))
        assert server.left == UNTOUCHED

    def test_another_session_expunges_meanwhile(self, odd: Callable[..., Odd], prune: Prune) -> None:
        """What is gone before is not ours; what goes while we are at it counts as ours."""
        server = odd()
        server.inbox.expunge([1])

        def stored(_: bytes, tag: bytes, session: Session) -> None:
            server.inbox.expunge([2])

        server.server.on(b"UID STORE", stored, times=1)
        (folder,) = prune(server.config, *ALL)["folders"]
        assert (folder["gone_before"], folder["pruned"]) == (1, 5)
        assert server.left == {}

    @pytest.mark.parametrize("moment", [b"UID FETCH", b"UID STORE", b"UID EXPUNGE"])
    def test_a_new_uidvalidity_stops_it(self, odd: Callable[..., Odd], prune: Prune, moment: bytes) -> None:
        """The connection is lost, and then the folder is another one."""
        server = odd()

        def changed(_: bytes, tag: bytes, session: Session) -> End:
            server.inbox.uidvalidity = 8
            return DROP

        server.server.on(moment, changed, times=1)
        done = prune(server.config, *ALL, expect=3)
        assert "UIDVALIDITY changed" in done["folders"][0]["error"]
        assert set(server.left) == set(UNTOUCHED)

    def test_a_bye_in_the_middle_of_an_expunge(self, odd: Callable[..., Odd], prune: Prune) -> None:
        server = odd()

        def half(_: bytes, tag: bytes, session: Session) -> End:
            server.inbox.expunge([1, 2, 3])
            session.stream.send(b"* 3 EXPUNGE\r\n* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n* BYE shutting down\r\n")
            return DROP

        server.server.on(b"UID EXPUNGE", half, times=1)
        done = prune(server.config, *ALL)
        assert done["folders"][0]["pruned"] == 6
        assert server.left == {}
        assert len({json.loads(line)["uid"] for line in Path(done["list"]).read_text().splitlines()}) == 6
        assert run(server.config).total("vanished", "stored") == (0, 0)

    def test_what_is_no_longer_what_was_archived_stays(self, odd: Callable[..., Odd], prune: Prune) -> None:
        server = odd()
        for uid, another in ((2, mail(2) + b"more"), (4, mail(4))):
            date = OLD if uid == 2 else "06-Mar-2021 10:00:00 +0200"
            server.inbox.messages[uid] = ScriptedMessage(another, (), date)
        done = prune(server.config, *ALL, expect=3)
        assert done["folders"][0]["differing"] == [2, 4]
        assert sorted(server.left) == [2, 4]

    def test_a_placeholder_that_was_accepted_is_not_the_message(
        self, odd: Callable[..., Odd], prune: Prune
    ) -> None:
        server = odd()
        given = b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 8\r\n\r\nsorry\r\n"
        server.inbox.add(ScriptedMessage(given, (), OLD))
        run(server.config, expect=3)
        run(server.config, retry="accept")
        (folder,) = prune(server.config, *ALL)["folders"]
        assert (folder["pruned"], folder["placeholders"]) == (6, 1)
        assert list(server.left) == [7]

    def test_a_mark_that_a_killed_attempt_left_goes_when_the_message_is_not_wanted_any_more(
        self, odd: Callable[..., Odd], prune: Prune
    ) -> None:
        """4 was marked by its user, who also flags everything."""
        server = odd()
        server.inbox.mark(4, ("\\Seen", "\\Deleted"))
        run(server.config)
        server.server.on(b"UID EXPUNGE", DROP, times=None)
        prune(server.config, *ALL, expect=5)
        assert all("\\Deleted" in flags for flags in server.left.values())
        assert server.begun() == 6
        server.server.forget()
        for uid in range(1, 7):
            server.inbox.mark(uid, (*server.left[uid], "\\Flagged"))
        (folder,) = prune(server.config, *ALL, "--keep-flagged")["folders"]
        assert folder["kept_flagged"] == 6
        assert [uid for uid, flags in server.left.items() if "\\Deleted" in flags] == [4]
        assert server.begun() == 6  # what was on its way may still arrive

    def test_only_these_messages_are_named_in_what_is_sent(self, odd: Callable[..., Odd], prune: Prune) -> None:
        server = odd()
        server.inbox.add(ScriptedMessage(mail(7), ("\\Deleted",), OLD))
        prune(server.config, *ALL)
        sent = [each for each in server.server.commands if each.startswith((b"UID STORE", b"UID EXPUNGE"))]
        assert [uids_in(each.split()[2], range(1, 8)) for each in sent] == [list(range(1, 7))] * 2
        assert b"+FLAGS.SILENT (\\Deleted)" in sent[0]
        assert sent[1].startswith(b"UID EXPUNGE ")
        assert list(server.left) == [7]


class TestRefusals:
    def test_other_sources(self, tmp_path: Path, prune: Prune, odd: Callable[..., Odd]) -> None:
        (tmp_path / "mail").mkdir()
        files = tmp_path / "files.toml"
        files.write_text(
            f'[source]\nprotocol = "files"\npath = "{tmp_path}/mail"\n[archive]\npath = "{tmp_path}/a"\n'
        )
        assert "its source is files, which are never changed" in prune(files, *ALL, expect=2)["message"]
        server = odd()
        pop3 = account(tmp_path / "pop3", server.server, "u1", source__protocol="pop3")
        assert "its source is a POP3 maildrop" in prune(pop3, *ALL, expect=2)["message"]
        weak = account(tmp_path / "weak", server.server, "u1", archive__durability="none")
        assert 'durability = "none"' in prune(weak, *ALL, expect=2)["message"]

    @pytest.mark.parametrize("options", [("--older-than", "7"), ("--older-than", "1h"), ()])
    def test_ages(
        self, odd: Callable[..., Odd], capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
    ) -> None:
        server = odd()
        capsys.readouterr()
        assert invoke(["prune", str(server.config), *options]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1

    def test_a_confirmation_of_nothing(self, odd: Callable[..., Odd], capsys: pytest.CaptureFixture[str]) -> None:
        server = odd()
        assert invoke(["prune", str(server.config), "--older-than", "1y", "--confirm-deletions"]) == 2
        assert "--confirm-deletions goes with --confirm" in capsys.readouterr().err
