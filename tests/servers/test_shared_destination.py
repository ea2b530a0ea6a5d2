"""Several accounts, one mailbox: refused unless intended, and no account's mail is deleted because of another."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archiver.config.load import load_account
from pipelines.cli.main import invoke
from pipelines.cli.verify import VerifyOptions, verify_accounts
from pipelines.engine.run import Options, Run, run_accounts
from pipelines.outcome import AccountOutcome
from tests.accounts import RunResult, archive_of, mail, run
from tests.faults.replays import migration
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import DESTINATION, ScriptedServer
from tests.servers.test_replay_following import folder, messages
from tests.servers.wire import Append

BOTH, ALICE, BOB = range(1, 6), range(11, 16), range(21, 26)
STRANGER = 99
WORK = range(40, 45)


@dataclass
class Office:
    """Alice and Bob each have mail of their own and mail that was sent to both; both move to one new mailbox."""

    server: Dovecot
    directory: Path
    alice: str
    bob: str
    team: str

    def account(self, name: str, **keys: Any) -> Path:
        """The account file of "alice" or "bob"."""
        user = self.alice if name == "alice" else self.bob
        archive = {"archive__path": str(self.directory / "archive" / name), "name": name, **keys}
        return migration(self.directory, self.server, user, self.server, self.team, **archive)

    def numbers(self, folder: bytes = b"INBOX") -> Counter[int]:
        """Which messages the new mailbox holds in a folder, and how often."""
        digests = {hashlib.sha256(mail(number)).hexdigest(): number for number in range(100)}
        return Counter(digests[each.digest] for each in self.server.dump(self.team)[folder].messages.values())


@pytest.fixture
def office(dovecot: Dovecot, tmp_path: Path) -> Office:
    alice, bob, team = (dovecot.fresh_user() for _ in range(3))
    for user, own in ((alice, ALICE), (bob, BOB)):
        dovecot.append_many(user, "INBOX", [Append(mail(number)) for number in (*BOTH, *own)])
        dovecot.bump_uidvalidity(user, "INBOX", by=-10_000)  # mailboxes are not made in one and the same second
    return Office(dovecot, tmp_path, alice, bob, team)


def run_all(configs: Sequence[Path], **options: Any) -> dict[str, AccountOutcome[Run]]:
    """One command for these accounts."""
    outcomes = run_accounts(list(map(load_account, configs)), Options(**options), lambda *_: None)
    return {each.account: each for each in outcomes}


def failure(result: RunResult) -> str:
    (only,) = result.report["failures"]
    assert only["step"] == "replay"
    return f"{only['reason']}; {only['next']}"


class TestCommandsAtTheSameTime:
    def test_fill_it_one_after_the_other(self, office: Office) -> None:
        alice, bob = (office.account(name, destination__shared=True) for name in ("alice", "bob"))
        with alice.open() as first:
            fcntl.flock(first, fcntl.LOCK_EX)  # as the command of one of them does
            meanwhile: list[Counter[int]] = []

            def hear(*event: object) -> None:
                if "waiting until another account that fills the same mailbox" in repr(event):
                    meanwhile.append(office.numbers())
                    fcntl.flock(first, fcntl.LOCK_UN)

            run_accounts([load_account(bob)], Options(), hear)
        assert meanwhile == [Counter()]
        assert office.numbers() == Counter([*BOTH, *BOB])
        run(alice)
        assert office.numbers() == Counter([*BOTH, *BOB, *ALICE])


class TestForgetting:
    def test_a_copy_that_another_account_counts_on_stays_until_that_one_forgets_it(
        self, office: Office, capsys: pytest.CaptureFixture[str]
    ) -> None:
        alice, bob = (office.account(name, destination__shared=True) for name in ("alice", "bob"))
        run(alice)
        run(bob)
        digests = [hashlib.sha256(mail(number)).hexdigest()[:16] for number in (BOTH[0], ALICE[0])]

        def forget(config: Path, *options: str, expect: int) -> Any:
            capsys.readouterr()
            assert invoke(["forget", str(config), *options, "--also-at-destination", "--json"]) == expect
            return json.loads(capsys.readouterr().out)

        said = ("--reason", "request", "--yes")
        (kept,) = forget(alice, *digests, *said, expect=3)["kept"]
        assert "bob counts on it, too: forget it there, too" in kept["why"]
        assert office.numbers() == Counter([*BOTH, *BOB, *ALICE[1:]])
        assert forget(bob, digests[0], *said, expect=0)["kept"] == []
        assert office.numbers() == Counter([*BOTH[1:], *BOB, *ALICE[1:]])
        assert forget(alice, "--finish", expect=0)["kept"] == []
        for config in (alice, bob):
            assert run(config).report["status"] == "complete"


class TestOneMailboxForAll:
    def test_is_named_by_check_and_refused_by_run_before_anything_is_touched(
        self, office: Office, capsys: pytest.CaptureFixture[str]
    ) -> None:
        office.server.append(office.team, "INBOX", mail(STRANGER))
        alice, bob = office.account("alice"), office.account("bob")
        carol = office.account("carol", destination__user=office.server.fresh_user())

        assert invoke(["check", str(office.directory), "--json"]) == 2
        checked = {each["account"]: each for each in json.loads(capsys.readouterr().out)["accounts"]}
        assert {name: each["exit_code"] for name, each in checked.items()} == {"alice": 2, "bob": 2, "carol": 0}
        assert checked["alice"]["shares"] == {"destination": [str(bob)], "source": []}
        assert checked["bob"]["shares"] == {"destination": [str(alice)], "source": [str(carol)]}
        assert f"is filled by {bob}, too; give each its own user or prefix" in checked["alice"]["message"]
        assert checked["alice"]["destination"]["not_ours"] == {"messages": 1, "below_prefix": 1, "untold": 0}

        assert invoke(["run", str(office.directory), "--dry-run"]) == 2
        assert invoke(["run", str(office.directory), "--quiet"]) == 2
        said = capsys.readouterr().err
        assert f"{alice}: destination: {office.team} at 127.0.0.1 is filled by {bob}, too" in said
        assert office.numbers() == Counter([STRANGER])
        assert [path.name for path in (office.directory / "archive").iterdir()] == ["carol"]

    def test_is_filled_by_all_where_all_files_allow_it(
        self, office: Office, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pair = [office.account(name, destination__shared=True) for name in ("alice", "bob")]
        outcomes = run_all(pair)
        assert {each.exit_code for each in outcomes.values()} == {0}
        assert set(office.numbers()) == {*BOTH, *ALICE, *BOB}
        assert invoke(["check", str(pair[0])]) == 0
        reported = capsys.readouterr()
        assert f"is filled by {pair[1]}, too, as shared = true allows" in reported.out
        assert reported.err == ""

    def test_is_no_matter_to_what_leaves_it_alone(self, office: Office) -> None:
        pair = [office.account("alice"), office.account("bob")]
        assert {each.exit_code for each in run_all(pair, steps="archive").values()} == {0}
        assert {each.exit_code for each in run_all(pair, steps="replay").values()} == {2}
        assert office.numbers() == Counter()

    def test_is_named_where_another_command_fills_it(
        self, office: Office, capsys: pytest.CaptureFixture[str]
    ) -> None:
        alice, bob = office.account("alice"), office.account("bob")
        assert invoke(["run", str(alice), "--quiet"]) == 0
        assert (
            f"{alice}: destination: {office.team} at 127.0.0.1 is filled by {bob}, too" in capsys.readouterr().err
        )

    def test_of_two_with_one_archive_both_stop_and_others_go_on(
        self, office: Office, capsys: pytest.CaptureFixture[str]
    ) -> None:
        one = str(office.directory / "one")
        alice = office.account("alice", destination__prefix="Alice", archive__path=one)
        bob = office.account("bob", destination__prefix="Bob", archive__path=one)
        office.account("carol")
        assert invoke(["run", str(office.directory), "--quiet"]) == 2
        assert f"{alice}: archive.path: {one} is that of {bob}, too; give each its own" in capsys.readouterr().err
        assert set(office.numbers()) == {*BOTH, *BOB}
        assert office.server.dump(office.team).keys() == {b"INBOX"}

    def test_may_be_named_twice_by_one_command(self, office: Office) -> None:
        alice = office.account("alice")
        assert invoke(["run", str(alice), str(office.directory), str(alice), "--quiet"]) == 0
        assert office.numbers() == Counter([*BOTH, *ALICE])


class TestWhatAnotherAccountCountsOn:
    """Alice deletes a mail that was sent to both, and one of her own."""

    def moved(self, office: Office, *, policy: str = "expunge", **bobs: Any) -> tuple[Path, Path]:
        """Both were replayed one after the other: Bob found Alice's copies there. Then she deletes."""
        alice = office.account("alice", replay__vanished=policy)
        bob = office.account("bob", **bobs)
        run(alice)
        result = run(bob, destination_is="new")
        assert result.total("destination")[0]["already_there"] == len(BOTH)
        office.server.expunge(office.alice, "INBOX", [1, 6])
        run(alice)
        return alice, bob

    def test_holds_deletions_back_where_the_files_name_one_mailbox(self, office: Office) -> None:
        alice, bob = self.moved(office, policy="mark", replay__vanished="mark")
        before = office.server.dump(office.team)
        reported = failure(run(alice, expect=3, confirm_deletions=True))
        assert reported == (
            f"2 copies of messages gone from the source stayed: {bob} fills the same mailbox; give each account "
            'its own prefix there, or write vanished = "keep"'
        )
        assert office.server.dump(office.team) == before
        assert run(bob).total("destination")[0]["removed"] == 0

    def test_is_left_to_it_where_the_files_name_the_mailbox_otherwise(self, office: Office) -> None:
        alice, _ = self.moved(office, destination__host="localhost")
        result = run(alice, confirm_deletions=True)
        note = "1 copy of a message that is gone from the source stayed, since they also belong to bob"
        note = f'destination folder "INBOX": {note}'
        assert result.report["notices"] == [{"folder": "INBOX", "kind": "shared", "count": 1, "text": note}]
        assert note in result.output
        assert office.numbers() == Counter([*BOTH, *ALICE, *BOB]) - Counter([11])
        assert run(alice, confirm_deletions=True).report["notices"] == []  # said once, and true for ever
        assert office.numbers() == Counter([*BOTH, *ALICE, *BOB]) - Counter([11])
        (verified,) = verify_accounts([load_account(alice)], VerifyOptions(deep=True), lambda *_: None)
        assert verified.exit_code == 0

    def test_is_left_to_it_where_prefixes_came_later(self, office: Office) -> None:
        alice, bob = self.moved(office)
        office.account("bob", destination__prefix="Bob")
        alice = office.account("alice", replay__vanished="expunge", destination__prefix="Alice")
        run(alice)
        run(bob)
        office.server.expunge(office.alice, "INBOX", [2])
        run(alice)
        run(alice, confirm_deletions=True)
        assert office.numbers() == Counter([*BOTH, *ALICE, *BOB])
        assert office.numbers(b"Alice/INBOX") == Counter([*BOTH, *ALICE]) - Counter([1, 2, 11])
        assert office.numbers(b"Bob/INBOX") == Counter([*BOTH, *BOB])

    def test_holds_deletions_back_in_a_folder_that_both_fill(self, office: Office) -> None:
        office.server.create(office.alice, "Bob/INBOX")
        office.server.append_many(office.alice, "Bob/INBOX", [Append(mail(number)) for number in BOTH])
        alice = office.account("alice", replay__vanished="expunge")
        bob = office.account("bob", destination__prefix="Bob")
        assert {each.exit_code for each in run_all([alice]).values()} == {0}
        assert {each.exit_code for each in run_all([bob], destination_is="new").values()} == {0}
        office.server.expunge(office.alice, "Bob/INBOX", [1])
        run(alice)
        reported = failure(run(alice, expect=3, confirm_deletions=True))
        assert (
            f'1 copy of a message gone from the source stayed: {bob} fills the folder "Bob/INBOX", too' in reported
        )
        assert office.numbers(b"Bob/INBOX") == Counter([*BOTH, *BOB])

    def test_is_not_guessed_where_its_archive_or_its_file_gives_no_answer(self, office: Office) -> None:
        alice = office.account("alice", replay__vanished="expunge", destination__prefix="Alice")
        bob = office.account("bob", destination__prefix="Bob")
        run(bob)
        run(alice)
        office.server.expunge(office.alice, "INBOX", [2])
        run(alice)
        before = office.server.dump(office.team)
        catalog = archive_of(bob) / "catalog.sqlite"
        whole = catalog.with_name("whole")
        for harm in (_damage, Path.unlink, _fall_behind, _outdate_us):
            shutil.copy(catalog, whole)
            harm(catalog)
            assert f"1 copy of a message gone from the source stayed: {catalog}: " in failure(
                run(alice, expect=3, confirm_deletions=True)
            )
            shutil.copy(whole, catalog)
        catalog.parent.joinpath("journal", LATER).unlink()

        wrong = office.directory / "wrong.toml"
        this_mailbox = f'[destination]\nhost = "127.0.0.1"\nuser = "{office.team}"\nprefx = "x"\n'
        for text in ("[destination\n", this_mailbox, "[destination]\nprefx = 'x'\n"):
            wrong.write_text(text)
            assert f"stayed: {wrong} has mistakes" in failure(run(alice, expect=3, confirm_deletions=True))
        assert office.server.dump(office.team) == before
        for text in (this_mailbox.replace(office.team, "somebody"), '[project]\nname = "no account"\n'):
            wrong.write_text(text)
            run(alice, confirm_deletions=True)
        assert office.numbers(b"Alice/INBOX") == Counter([*BOTH, *ALICE]) - Counter([2])


@dataclass
class Pair:
    """Two accounts that fill one mailbox and meet in its folder Old/Work, which the second one calls Work."""

    first: ScriptedServer
    second: ScriptedServer
    there: ScriptedServer
    directory: Path

    def config(self, name: str, **keys: Any) -> Path:
        source = self.first if name == "first" else self.second
        archive = {"name": name, "archive__path": str(self.directory / "archive" / name), **keys}
        return migration(self.directory, source, "u1", self.there, "u1", **archive)

    def both(self, **keys: Any) -> tuple[Path, Path]:
        return (
            self.config("first", replay__vanished="expunge", **keys),
            self.config("second", destination__prefix="Old", **keys),
        )

    def held(self) -> dict[bytes, int]:
        return {name: len(each.messages) for name, each in self.there.folders.items() if each.messages}


@pytest.fixture
def pair(scripted: Callable[..., ScriptedServer], tmp_path: Path) -> Pair:
    return Pair(
        scripted({b"INBOX": folder(5, messages(range(1, 31))), b"Old/Work": folder(6, messages(WORK))}),
        scripted({b"INBOX": folder(15, messages(range(60, 63))), b"Work": folder(16, messages(WORK))}),
        scripted({b"INBOX": folder(7)}, capabilities=DESTINATION, writable=True),
        tmp_path,
    )


class TestAFolderOfTwoAccounts:
    def test_is_not_renamed_for_one_of_them(self, pair: Pair) -> None:
        first, second = pair.both()
        run(first)
        run(second, destination_is="new")
        pair.first.folders = {b"Job" if n == b"Old/Work" else n: each for n, each in pair.first.folders.items()}
        result = run(first)
        assert f'"Old/Work": not renamed to "Job": {second} fills the folder "Old/Work", too' in result.output
        assert pair.held() == {b"INBOX": 30, b"Old/Work": 5, b"Old/INBOX": 3, b"Job": 5}
        (notice,) = result.report["notices"]
        assert notice["text"] == "folder Old/Work is gone from the source; 5 of our copies stay"
        counts = run(second).total("destination")[0]
        assert (counts["already_there"], counts["removed"], counts["verified"]) == (8, 0, 8)

    def test_is_not_renamed_where_the_archive_of_the_other_one_gives_no_answer(self, pair: Pair) -> None:
        first, second = pair.both()
        run(first)
        run(second, destination_is="new")
        _damage(archive_of(second) / "catalog.sqlite")
        pair.first.folders = {b"Job" if n == b"Old/Work" else n: each for n, each in pair.first.folders.items()}
        assert '"Old/Work": not renamed to "Job": ' in run(first).output
        assert pair.held()[b"Old/Work"] == 5

    def test_is_known_as_such_at_every_address_of_the_mailbox(self, pair: Pair) -> None:
        first, second = pair.both()
        run(first)
        run(second, destination_is="new")
        first, second = pair.both(destination__host="localhost")
        run(first)
        run(second)
        pair.first.folders[b"Old/Work"].expunge([1, 2])
        run(first)
        reported = failure(run(first, expect=3, confirm_deletions=True))
        assert (
            f'2 copies of messages gone from the source stayed: {second} fills the folder "Old/Work", too'
            in reported
        )
        assert pair.held()[b"Old/Work"] == 5


LATER = "99999999-later.jsonl.gz"


def _damage(catalog: Path) -> None:
    catalog.write_bytes(b"no database at all" * 100)


def _fall_behind(catalog: Path) -> None:
    catalog.parent.joinpath("journal", LATER).write_bytes(b"")


def _outdate_us(catalog: Path) -> None:
    with closing(sqlite3.connect(catalog)) as connection, connection:
        connection.execute("UPDATE meta SET value = '1000' WHERE key = 'schema_version'")
