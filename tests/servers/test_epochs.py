"""UIDs that stop meaning what they meant: nothing lost, nothing twice, no needless download.

A server is restored from a backup, a folder is deleted, recreated or renamed, the account is another one: what is
served now has to be in the archive under the present UIDs, and all that was archived before must still be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.accounts import (
    ArchiveState,
    RunResult,
    account_file,
    archive_of,
    archive_state,
    assert_whole,
    command,
    mail,
    mails,
    run,
    snapshot_files,
)
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import (
    DROP,
    FULL,
    MINIMAL,
    End,
    ScriptedFolder,
    ScriptedMessage,
    ScriptedServer,
    Session,
)
from tests.servers.wire import Append, wire_name


def held(server: Dovecot, user: str, config: Path, before: ArchiveState | None = None) -> ArchiveState:
    """The archive holds what the server serves now, and still all of `before`; a second run does nothing."""
    state = assert_whole(archive_of(config))
    for raw, folder in server.dump(user).items():
        assert state.digests(raw) == {uid: message.digest for uid, message in folder.messages.items()}, raw
    if before is not None:
        kept = {file.digest for file in state.files.values()}
        assert {file.digest for file in before.files.values()} <= kept
    files = snapshot_files(archive_of(config))
    again = run(config)
    assert again.total("fetched", "flags_changed", "vanished") == (0, 0, 0)
    assert again.balanced
    assert snapshot_files(archive_of(config)) == files
    assert archive_state(archive_of(config)) == state
    return state


@pytest.fixture
def config(server: Dovecot, user: str, tmp_path: Path) -> Path:
    return account_file(tmp_path, server, user)


class TestANewUidvalidity:
    @pytest.mark.parametrize("renumber", [False, True])
    def test_costs_no_download(self, server: Dovecot, user: str, config: Path, renumber: bool) -> None:
        server.append_many(user, "INBOX", mails(range(1, 8)))
        server.store_flags(user, "INBOX", [3], ["\\Flagged", "$Work"])
        server.expunge(user, "INBOX", [2])
        run(config)
        before = archive_state(archive_of(config))
        uidvalidity = server.bump_uidvalidity(user, "INBOX", renumber=renumber)
        result = run(config)
        assert result.total("fetched", "vanished", "stored") == (0, 0, 6)
        assert result.folder()["uidvalidity"] == uidvalidity
        state = held(server, user, config, before)
        assert [row[:2] for row in state.epochs.values()] == [(False, "first"), (True, "uidvalidity")]

    def test_fetches_what_cannot_be_distinguished(self, server: Dovecot, user: str, config: Path) -> None:
        server.append_many(user, "INBOX", mails(range(1, 4)))
        server.append_many(user, "INBOX", mails([4, 5], message_id=False))
        server.append_many(user, "INBOX", [Append(mail(6), (), "03-Jan-2020 00:00:00 +0000")] * 2)
        other = mail(7, body="one"), mail(7, body="two")
        server.append_many(user, "INBOX", [Append(octets) for octets in other])
        run(config)
        before = archive_state(archive_of(config))
        server.bump_uidvalidity(user, "INBOX")
        assert run(config).total("fetched", "vanished") == (6, 0)
        held(server, user, config, before)

    def test_with_new_and_expunged_mail_at_once(self, server: Dovecot, user: str, config: Path) -> None:
        server.append_many(user, "INBOX", mails(range(1, 8)))
        run(config)
        before = archive_state(archive_of(config))
        server.bump_uidvalidity(user, "INBOX")
        server.append_many(user, "INBOX", mails([20, 21]))
        server.expunge(user, "INBOX", [1, 7])
        assert run(config).total("fetched", "stored") == (2, 7)
        held(server, user, config, before)

    def test_again_and_again(self, server: Dovecot, user: str, config: Path) -> None:
        server.append_many(user, "INBOX", mails(range(1, 5)))
        run(config)
        for _ in range(3):
            before = archive_state(archive_of(config))
            server.bump_uidvalidity(user, "INBOX")
            assert run(config).total("fetched") == (0,)
            held(server, user, config, before)
        assert len(archive_state(archive_of(config)).epochs) == 4


class TestAServerPutBack:
    """To a snapshot of UIDs 1 to 6, after 7 to 10 were archived."""

    @pytest.fixture
    def before(self, server: Dovecot, user: str, config: Path) -> ArchiveState:
        server.append_many(user, "INBOX", mails(range(1, 7)))
        snapshot = server.snapshot(user)
        server.append_many(user, "INBOX", mails(range(7, 11)))
        run(config)
        server.restore(user, snapshot)
        return assert_whole(archive_of(config))

    @pytest.mark.parametrize("others", [0, 2, 4, 7], ids="UIDNEXT {} of other mail".format)
    def test_with_other_mail_under_known_uids(self, server: Dovecot, user: str, config: Path, before: ArchiveState,
                                              others: int) -> None:  # fmt: skip
        server.append_many(user, "INBOX", mails(range(50, 50 + others)))
        result = run(config)
        assert result.total("fetched", "vanished", "stored") == (others, 0, 6 + others)
        held(server, user, config, before)

    def test_to_mail_of_the_same_sizes(
        self, server: Dovecot, user: str, config: Path, before: ArchiveState
    ) -> None:
        server.append_many(
            user, "INBOX", [Append(mail(57 + n), (), f"04-Jan-2020 10:00:0{n} +0000") for n in range(7)]
        )
        assert run(config).total("fetched", "vanished") == (7, 0)
        held(server, user, config, before)

    def test_where_the_newest_of_them_are_gone_again(
        self, server: Dovecot, user: str, config: Path, before: ArchiveState
    ) -> None:
        server.append_many(user, "INBOX", mails(range(50, 60)))
        server.expunge(user, "INBOX", [8, 9, 10])
        assert run(config).total("fetched") == (7,)
        held(server, user, config, before)

    def test_after_all_of_them_had_vanished(
        self, server: Dovecot, user: str, config: Path, before: ArchiveState
    ) -> None:
        server.append_many(user, "INBOX", mails(range(50, 54)))
        run(config)
        snapshot = server.snapshot(user)
        server.append_many(user, "INBOX", mails(range(60, 64)))
        run(config)
        server.expunge(user, "INBOX", range(1, 15))
        run(config)
        emptied = assert_whole(archive_of(config))
        server.restore(user, snapshot)
        server.append_many(user, "INBOX", mails(range(70, 90)))
        server.expunge(user, "INBOX", [30])
        assert run(config).total("fetched", "vanished") == (19, 0)
        held(server, user, config, emptied)

    def test_twice(self, server: Dovecot, user: str, config: Path, before: ArchiveState) -> None:
        server.append_many(user, "INBOX", mails(range(50, 57)))
        run(config)
        between = archive_state(archive_of(config))
        snapshot = server.snapshot(user)
        server.append_many(user, "INBOX", mails(range(57, 60)))
        run(config)
        server.restore(user, snapshot)
        server.append_many(user, "INBOX", mails(range(80, 90)))
        assert run(config).total("fetched") == (10,)
        held(server, user, config, between)

    @pytest.mark.parametrize("others", [0, 3])
    def test_with_messages_back_that_had_vanished(
        self, server: Dovecot, user: str, config: Path, others: int
    ) -> None:
        server.append_many(user, "INBOX", mails(range(1, 11)))
        snapshot = server.snapshot(user)
        run(config)
        server.expunge(user, "INBOX", [3, 4, 10])
        run(config)
        before = assert_whole(archive_of(config))
        server.restore(user, snapshot)
        server.append_many(user, "INBOX", mails(range(50, 50 + others)))
        assert run(config).total("fetched", "vanished", "stored") == (others, 0, 10 + others)
        held(server, user, config, before)

    def test_in_every_folder_at_once(self, server: Dovecot, user: str, config: Path) -> None:
        server.create(user, "A", "B")
        for folder, first in (("INBOX", 1), ("A", 101), ("B", 201)):
            server.append_many(user, folder, mails(range(first, first + 3)))
        snapshot = server.snapshot(user)
        for folder, first in (("INBOX", 11), ("A", 111), ("B", 211)):
            server.append_many(user, folder, mails(range(first, first + 2)))
        run(config)
        before = assert_whole(archive_of(config))
        server.restore(user, snapshot)
        for folder, first in (("INBOX", 21), ("A", 121), ("B", 221)):
            server.append_many(user, folder, mails(range(first, first + 5)))
        assert run(config).total("fetched", "stored") == (15, 24)
        held(server, user, config, before)


class TestAFolder:
    @pytest.fixture
    def before(self, server: Dovecot, user: str, config: Path) -> ArchiveState:
        server.create(user, "Work", "Work/Sub", "Other")
        server.append_many(user, "Work", mails(range(1, 6)))
        server.append_many(user, "Work/Sub", mails(range(6, 9)))
        server.append_many(user, "Other", mails(range(11, 13)))
        run(config)
        return assert_whole(archive_of(config))

    def test_that_is_deleted_stays_in_the_archive(self, server: Dovecot, user: str, config: Path,
                                                  before: ArchiveState) -> None:  # fmt: skip
        server.delete(user, "Other")
        result = run(config)
        assert result.total("fetched", "vanished") == (0, 0)
        assert "Other" not in [folder["name"] for folder in result.report["folders"]]
        state = assert_whole(archive_of(config))
        assert (state.files, state.messages) == (before.files, before.messages)
        assert state.folders[b"Other"][-1] == 0

    def test_that_is_deleted_and_recreated(self, server: Dovecot, user: str, config: Path,
                                           before: ArchiveState) -> None:  # fmt: skip
        server.delete(user, "Other")
        server.create(user, "Other")
        server.append_many(user, "Other", mails([30, 31, 32]))
        assert run(config).total("fetched", "vanished") == (3, 0)
        held(server, user, config, before)

    def test_that_is_recreated_after_it_was_missed(self, server: Dovecot, user: str, config: Path,
                                                   before: ArchiveState) -> None:  # fmt: skip
        server.delete(user, "Other")
        run(config)
        server.create(user, "Other")
        server.append_many(user, "Other", mails([11, 31]))
        assert run(config).total("fetched", "vanished") == (1, 0)
        held(server, user, config, before)

    @pytest.mark.parametrize("to", ["Werk", "日本語", "Other/Below"])
    def test_that_is_renamed_costs_no_download(self, server: Dovecot, user: str, config: Path, before: ArchiveState,
                                               to: str) -> None:  # fmt: skip
        server.rename(user, "Work", to)
        result = run(config)
        assert result.total("fetched", "vanished") == (0, 0)
        assert result.folder(to)["stored"] == 5
        assert result.folder(f"{to}/Sub")["stored"] == 3
        state = held(server, user, config, before)
        assert len(state.uids(wire_name(to))) == 5

    def test_that_is_renamed_and_whose_name_is_taken_by_another(
        self, server: Dovecot, user: str, config: Path, before: ArchiveState
    ) -> None:
        server.rename(user, "Work", "Old work")
        server.rename(user, "Other", "Work")
        server.append_many(user, "Work", mails([40]))
        assert run(config).total("fetched", "vanished") == (1, 0)
        held(server, user, config, before)

    def test_that_is_excluded_later_has_not_vanished(self, server: Dovecot, user: str, config: Path, tmp_path: Path,
                                                     before: ArchiveState) -> None:  # fmt: skip
        account_file(tmp_path, server, user, folders__exclude=["Work*"])
        server.append_many(user, "Work", mails([41]))
        server.expunge(user, "Work", [1])
        result = run(config)
        assert result.total("fetched", "vanished") == (0, 0)
        assert sorted(each["name"] for each in result.report["skipped"]) == ["Work", "Work/Sub"]
        state = assert_whole(archive_of(config))
        assert (state.files, state.messages) == (before.files, before.messages)
        account_file(tmp_path, server, user)
        assert run(config).total("fetched", "vanished") == (1, 1)
        held(server, user, config, before)


class TestAnotherSource:
    def test_is_refused_and_nothing_is_touched(
        self, server: Dovecot, user: str, config: Path, tmp_path: Path
    ) -> None:
        server.append_many(user, "INBOX", mails(range(1, 4)))
        run(config)
        files, before = snapshot_files(archive_of(config)), archive_state(archive_of(config))
        other = server.fresh_user()
        server.append_many(other, "INBOX", mails(range(11, 14)))
        account_file(tmp_path, server, other, name=user)
        result = run(config, expect=2)
        assert "--new-source" in result.output
        assert (snapshot_files(archive_of(config)), archive_state(archive_of(config))) == (files, before)
        account_file(tmp_path, server, user)
        assert run(config).total("fetched") == (0,)

    def test_that_is_confirmed_begins_new_epochs(
        self, server: Dovecot, user: str, config: Path, tmp_path: Path
    ) -> None:
        """Even where the other account's folders stand just where those of the one before stood, in octets too."""
        server.create(user, "Work")
        server.append_many(user, "INBOX", mails(range(1, 7)))
        server.append_many(user, "Work", mails(range(31, 34)))
        other = server.fresh_user()
        server.install(other, server.snapshot(user))
        for each, first in ((user, 11), (other, 61)):
            server.append_many(each, "INBOX", mails(range(first, first + 4)))
        run(config)
        before = assert_whole(archive_of(config))
        account_file(tmp_path, server, other, name=user)
        assert run(config, new_source=True).total("fetched", "vanished", "stored") == (4, 0, 13)
        held(server, other, config, before)
        both = assert_whole(archive_of(config))
        account_file(tmp_path, server, user)
        run(config, expect=2)
        assert run(config, new_source=True).total("vanished", "stored") == (0, 13)
        held(server, user, config, both)


Scripted = Callable[..., ScriptedServer]


def serving(numbers: Iterable[int], *, of: int = 0, modseq: int = 1) -> dict[int, ScriptedMessage]:
    """Messages under these UIDs; `of` makes other ones under the same UIDs."""
    return {uid: ScriptedMessage(mail(of + uid), modseq=modseq) for uid in numbers}


def test_a_resumed_run_does_not_take_the_mail_of_another_account(scripted: Scripted, tmp_path: Path) -> None:
    """Though it listed the folders before the account file named somebody else."""
    server = scripted({b"INBOX": ScriptedFolder(7, serving(range(1, 4)))}, users={"u1": "pw", "u2": "pw"})
    config = account_file(tmp_path, server, "u1", source__attempts=1)
    server.on(b"EXAMINE", DROP, times=1)
    command("run", config, "--run", "A", expect=5)
    account_file(tmp_path, server, "u2", name="u1")
    assert "belongs to account u1 (u1 at" in command("run", config, "--run", "A", expect=2).output
    assert archive_state(archive_of(config)).messages == {}


def test_a_uidvalidity_that_changes_during_the_run_stops_only_its_folder(
    scripted: Scripted, tmp_path: Path
) -> None:
    inbox = ScriptedFolder(7, serving(range(1, 4)))
    server = scripted({b"INBOX": inbox, b"Work": ScriptedFolder(7, serving([1, 2], of=50))})

    def begin_another(line: bytes, _tag: bytes, session: Session) -> End | None:
        if b"BODY.PEEK[]" not in line or session.folder is not inbox:
            return None
        inbox.uidvalidity = 8
        return DROP

    server.on(b"UID FETCH", begin_another, times=1)
    config = account_file(tmp_path, server, "u1", source__connections=1)
    result = run(config, expect=3)
    assert (result.folder("Work")["stored"], result.folder()["stored"]) == (2, 0)
    (failure,) = result.report["failures"]
    assert failure["reason"].startswith("UIDVALIDITY changed from 7 to 8 during the run; ")  # its line has the name
    assert run(config).total("fetched", "stored") == (3, 5)
    assert_whole(archive_of(config))


class TestMailThatVanished:
    """Its octets and its row stay, whatever comes after it."""

    @pytest.mark.parametrize("capabilities", [FULL, MINIMAL], ids=["all extensions", "no extensions"])
    def test_is_not_replaced_by_other_mail_under_its_uid(
        self, scripted: Scripted, tmp_path: Path, capabilities: tuple[str, ...]
    ) -> None:
        """A pass met it and failed; the server was put back to before it, and then gave its UID to other mail."""
        inbox = ScriptedFolder(7, serving(range(1, 5)))
        server = scripted({b"INBOX": inbox}, capabilities=capabilities)
        config = account_file(tmp_path, server, "u1", source__connections=1, source__attempts=1)
        run(config)
        inbox.messages |= serving([5, 6], modseq=10) | {7: ScriptedMessage(mail(7), modseq=10, fetch="bye")}
        left = [None, None]  # logins before the server refuses all further ones
        server.on(b"LOGIN", lambda _line, _tag, _session: left.pop() if left else DROP)
        run(config, expect=5)
        left.extend([None] * 100)
        for uid in (5, 6, 7):
            del inbox.messages[uid]
        assert run(config).total("vanished") == (2,)
        before = assert_whole(archive_of(config))
        inbox.messages |= serving([5, 6], of=100, modseq=12)
        assert run(config).total("fetched", "stored") == (2, 6)
        state = assert_whole(archive_of(config))
        assert {each.digest for each in before.messages.values()} <= {
            each.digest for each in state.messages.values()
        }

    def test_and_is_back_with_flags_that_change_in_between(self, scripted: Scripted, tmp_path: Path) -> None:
        inbox = ScriptedFolder(7, serving(range(1, 5)))
        server = scripted({b"INBOX": inbox}, capabilities=MINIMAL)
        config = account_file(tmp_path, server, "u1")
        run(config)
        back = inbox.messages.pop(3)
        run(config)
        inbox.messages[3] = back

        def mark_as_seen(line: bytes, *_: object) -> None:
            if b" 1:* (UID FLAGS" in line:
                back.flags = ("\\Seen",)

        server.on(b"UID FETCH", mark_as_seen)
        assert run(config).total("fetched", "stored") == (0, 4)
        assert_whole(archive_of(config))
        run(config)
        (row,) = (row for (_, uid), row in assert_whole(archive_of(config)).messages.items() if uid == 3)
        assert row.flags == {"\\Seen"}


class TestAServerThatSaysLessThanItHas:
    """Never makes anything vanish."""

    @pytest.fixture(params=["all extensions", "no extensions"])
    def source(self, request: pytest.FixtureRequest, scripted: Scripted) -> ScriptedServer:
        folders = {
            name: ScriptedFolder(7, {n: ScriptedMessage(mail(first + n), modseq=n + 1) for n in range(1, 6)})
            for first, name in ((0, b"INBOX"), (10, b"Work"))
        }
        options = {"capabilities": MINIMAL} if request.param == "no extensions" else {}
        return scripted(folders, **options)

    @pytest.fixture
    def config(self, source: ScriptedServer, tmp_path: Path) -> Path:
        config = account_file(tmp_path, source, "u1")
        run(config)
        return config

    @staticmethod
    def changed(source: ScriptedServer) -> None:
        """Something to make the folder be opened."""
        source.folders[b"INBOX"].messages[6] = ScriptedMessage(mail(6), modseq=9)

    @staticmethod
    def unharmed(config: Path, before: ArchiveState, result: RunResult) -> ArchiveState:
        state = assert_whole(archive_of(config))
        assert not any(folder["vanished"] for folder in result.report["folders"])
        assert before.messages.items() <= state.messages.items()
        assert before.files.items() <= state.files.items()
        return state

    def test_no_folders_at_all(self, source: ScriptedServer, config: Path) -> None:
        before = archive_state(archive_of(config))
        source.on(b"LIST", b"OK nothing here")
        state = self.unharmed(config, before, run(config, expect=5))
        assert state == before

    def test_a_list_that_breaks_off(self, source: ScriptedServer, config: Path) -> None:
        before = archive_state(archive_of(config))
        row = b'* LIST (\\HasNoChildren) "/" INBOX\r\n'
        source.on(b"LIST", lambda _, tag, __: row + tag + b" NO [SERVERBUG] internal error\r\n")
        state = self.unharmed(config, before, run(config, expect=5))
        assert state == before

    def test_a_folder_left_out(self, source: ScriptedServer, config: Path) -> None:
        before = archive_state(archive_of(config))
        work = source.folders.pop(b"Work")
        state = self.unharmed(config, before, run(config))
        assert state.messages == before.messages
        source.folders[b"Work"] = work
        result = run(config)
        assert result.total("fetched", "stored") == (0, 10)
        assert assert_whole(archive_of(config)) == before

    @pytest.mark.parametrize("answer", [b"* SEARCH 1 2\r\n", b"* SEARCH\r\n", b""])
    def test_a_search_cut_short(self, source: ScriptedServer, config: Path, answer: bytes) -> None:
        before = archive_state(archive_of(config))
        self.changed(source)
        source.on(b"UID SEARCH", lambda _, tag, __: answer + tag + b" OK done\r\n")
        result = run(config)
        assert result.total("fetched") == (1,)
        self.unharmed(config, before, result)

    def test_fewer_uids_than_messages(self, source: ScriptedServer, config: Path) -> None:
        before = archive_state(archive_of(config))
        inbox = source.folders[b"INBOX"]
        inbox.exists = 5
        del inbox.messages[2], inbox.messages[3]
        inbox.highestmodseq = 20
        result = run(config, expect=3)
        assert result.report["status"] == "incomplete"
        assert [each["folder"] for each in result.report["failures"]] == ["INBOX"]
        state = self.unharmed(config, before, result)
        assert state.files == before.files

    def test_a_folder_that_cannot_be_opened_today(self, source: ScriptedServer, config: Path) -> None:
        before = archive_state(archive_of(config))
        source.folders[b"INBOX"].refuse = b"NO [SERVERBUG] internal error"
        result = run(config, expect=3)
        self.unharmed(config, before, result)
        source.folders[b"INBOX"].refuse = None
        self.changed(source)
        assert run(config).total("fetched", "vanished") == (1, 0)
        self.unharmed(config, before, result)
